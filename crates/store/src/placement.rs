//! The directories that hold a store's shards: its own, and further ones, perhaps on other disks.

use std::path::PathBuf;

use hyperslab_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::Storage;
use crate::action::Id;
use crate::layout::{self, DIR_FILE};

/// The most further directories.
const MAX_DIRS: usize = 1000;
/// What file systems put in a directory by themselves.
const NOT_OURS: &str = "lost+found";

/// `hyperslab-dir.json`: whose directory this is.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DirFile {
    /// The store's id.
    store: Id,
    /// Which of its directories, from 1.
    number: u16,
}

/// The directories as they are written down: absolute.
///
/// # Errors
/// `Invalid` for too many, and for a path that is no text.
pub(crate) fn absolute(dirs: &[PathBuf]) -> Result<Vec<String>> {
    if dirs.len() > MAX_DIRS {
        return Err(Error::invalid(format!("{} directories; a store has at most {MAX_DIRS}", dirs.len())));
    }
    let text = |dir: &PathBuf| {
        let full = std::path::absolute(dir).map_err(|e| Error::io("finding", dir.display(), e))?;
        let text = full.to_str().map(str::to_owned);
        text.ok_or_else(|| Error::invalid(format!("the directory {} has a name that is no UTF-8", full.display())))
    };
    dirs.iter().map(text).collect()
}

/// Makes the directories those of a new store. A directory that an earlier, unfinished creation of the same store made
/// is taken over.
///
/// # Errors
/// `Invalid`, naming the directory, when it holds something, belongs to another store, or is given twice.
pub(crate) fn create(storage: &dyn Storage, store: Id, dirs: &[String]) -> Result<()> {
    for (number, dir) in numbered(dirs) {
        let (folder, path) = (layout::in_dir(number, ""), layout::in_dir(number, DIR_FILE));
        let names = storage.list(&folder)?;
        if let Some(other) = names.iter().find(|name| *name != DIR_FILE && *name != NOT_OURS) {
            return Err(Error::invalid(format!(
                "the directory {dir} cannot become one of the store's: it is not empty but holds {other:?}"
            )));
        }
        let file = DirFile { store, number };
        let mut bytes = serde_json::to_vec(&file).map_err(|e| Error::invalid("creating the store").because(e))?;
        bytes.push(b'\n');
        match storage.create_new_synced(&path, &bytes) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => check_one(storage, &file, dir)?,
            done => done?,
        }
        storage.sync_folder(&folder)?;
    }
    Ok(())
}

/// Refuses to open a store one of whose directories is not there, or is not the one that it should be.
///
/// # Errors
/// `NotFound` for a missing one (a disk that is not mounted), `Invalid` for another's, naming it.
pub(crate) fn check(storage: &dyn Storage, store: Id, dirs: &[String]) -> Result<()> {
    numbered(dirs).try_for_each(|(number, dir)| check_one(storage, &DirFile { store, number }, dir))
}

fn check_one(storage: &dyn Storage, expected: &DirFile, dir: &str) -> Result<()> {
    let number = expected.number;
    let what = format!("the store's directory {number}, {dir},");
    let Some(bytes) = storage.read(&layout::in_dir(number, DIR_FILE))? else {
        return Err(Error::not_found(format!(
            "{what} is not there (it has no {DIR_FILE}); mount its disk, or say where the directories are now"
        )));
    };
    let bad =
        |e: serde_json::Error| Error::corrupt(format!("{what} has a {DIR_FILE} that is not understood")).because(e);
    let found: DirFile = serde_json::from_slice(&bytes).map_err(bad)?;
    if found.store != expected.store {
        let why = format!("{what} belongs to another store, {}; this one is {}", found.store, expected.store);
        return Err(Error::invalid(why));
    }
    if found.number != number {
        return Err(Error::invalid(format!(
            "{what} is its directory {}: directories are given twice or in another order",
            found.number
        )));
    }
    Ok(())
}

fn numbered(dirs: &[String]) -> impl Iterator<Item = (u16, &str)> {
    (1..).zip(dirs.iter().map(String::as_str))
}
