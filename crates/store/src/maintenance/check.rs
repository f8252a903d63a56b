//! CHECK: everything that can be known to be whole is looked at.

mod contents;
mod data;
mod files;
mod leftovers;
mod log;
mod repair;

use std::path::{Path, PathBuf};

use hyperslab_core::{Error, ErrorKind, Result};

use crate::layout::{LOG, STORE_FILE};
use crate::storage::LocalStorage;
use crate::{ArrayName, OpenOptions, Storage, Store};

/// What CHECK looks at.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// Only this array's shards.
    pub array: Option<ArrayName>,
    /// Sizes and cross references only: no value is read.
    pub quick: bool,
    /// Move damaged log entries at the end of the log aside, so that the last whole version can be written to again.
    pub repair: bool,
    /// Where the store's further directories are now, in order, if they were moved; as in [`OpenOptions`].
    pub dirs: Vec<PathBuf>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is lost: a left-over file, a stale hint.
    Note,
    /// Something is damaged that no version needs, or that can be made again.
    Warning,
    /// Values, or versions, are lost or wrong.
    Error,
}

impl Severity {
    /// As CHECK prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something that CHECK found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file in the store.
    pub file: String,
    /// The array concerned.
    pub array: Option<ArrayName>,
    /// What is wrong.
    pub problem: String,
    /// What can be saved, and how.
    pub advice: String,
}

/// Checks the store at `path`, also one that cannot be opened: the log from its first entry on, packs, checkpoints and
/// the hint, and every file of every version that can be read. Findings come in the order in which they were made.
///
/// ```
/// use hyperslab_store::{CheckOptions, Severity, Store, check};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("demo.slab");
/// drop(Store::open(&path)?);
/// assert!(check(&path, &CheckOptions::default())?.is_empty());
///
/// std::fs::write(path.join("_log/00000000000000000000.json"), "garbage")?;
/// let findings = check(&path, &CheckOptions::default())?;
/// assert_eq!(findings[0].severity, Severity::Error);
/// assert_eq!(findings[0].file, "_log/00000000000000000000.json");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `NotFound` when there is no store; `Io`; of a repair also `ReadOnly`, and `Conflict` when a writer holds the lock.
/// What is wrong with the store is no error but a finding.
pub fn check(path: impl AsRef<Path>, options: &CheckOptions) -> Result<Vec<Finding>> {
    let storage = LocalStorage::open(path, !options.repair, None)?;
    check_on(&storage, options)
}

impl Store {
    /// [`check`] of this store, while it is in use; nothing is repaired.
    ///
    /// # Errors
    /// `Io`.
    pub fn check(&self, options: &CheckOptions) -> Result<Vec<Finding>> {
        let dirs = self.inner().options.dirs.clone();
        check_on(self.inner().storage.as_ref(), &CheckOptions { repair: false, dirs, ..options.clone() })
    }
}

/// [`check`] of a store on any storage.
///
/// # Errors
/// As [`check`].
pub fn check_on(storage: &dyn Storage, options: &CheckOptions) -> Result<Vec<Finding>> {
    let inner = || {
        let mut findings = Vec::new();
        let dirs = check_store_file(storage, &options.dirs, &mut findings)?;
        let log = log::check(storage, &mut findings)?;
        if options.repair {
            repair::repair(storage, &log, &mut findings)?;
        }
        let files = files::Files::collect(storage, &log, options.array.as_ref())?;
        data::check(storage, &files, options.quick, &mut findings)?;
        if options.array.is_none() {
            leftovers::check(storage, dirs, &files, &mut findings)?;
        }
        Ok(findings)
    };
    inner().map_err(|e: Error| e.with("store", storage.describe()))
}

/// `hyperslab.json`, and the directories that it names; gives how many hold the store's files.
fn check_store_file(storage: &dyn Storage, dirs: &[PathBuf], findings: &mut Vec<Finding>) -> Result<u16> {
    let found = match crate::store::read_store_file(storage) {
        Ok(None) if storage.list(LOG)?.is_empty() => return Err(Error::not_found("there is no store")),
        Ok(found) => found.ok_or_else(|| Error::corrupt("it is missing")),
        Err(e) if e.kind() == ErrorKind::Unsupported => return Err(e),
        Err(e) => Err(e),
    };
    let (problem, advice) = match found {
        Err(e) => (e, format!("nothing else is lost: write {STORE_FILE} again, as docs/file-format.md says")),
        Ok(file) => {
            match crate::store::place(storage, &file, &OpenOptions { dirs: dirs.to_vec(), ..OpenOptions::default() }) {
                Ok(dirs) => return Ok(dirs),
                Err(e) => (
                    e,
                    "the shards in that directory are reported as missing; if it was moved, say where it is with --dir"
                        .to_owned(),
                ),
            }
        }
    };
    let (file, problem) = (STORE_FILE.to_owned(), problem.to_string());
    findings.push(Finding { severity: Severity::Error, file, array: None, problem, advice });
    Ok(1)
}
