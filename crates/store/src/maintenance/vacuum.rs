//! VACUUM: versions expire, then the files go that no version, reader or writer needs.
//!
//! The order is what makes it safe beside readers and writers of other processes, and to be killed:
//! 1. `expire` is committed durably. A reader that pins an expired version after step 3 finds that it has expired.
//! 2. The files are listed. What is created later is not looked at.
//! 3. The pins are read. Whoever created a file that was listed has named its transaction before, or committed.
//! 4. The newest state is read, and with it what was committed meanwhile.
//! 5. What is listed and needed by nobody is removed.

mod pinned;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hyperslab_core::{Error, Result};

use self::pinned::Needs;
use super::{array_folders, transaction_of};
use crate::action::{Action, Expire, Id};
use crate::layout::{self, LOG, PINS, TEMP_PREFIX};
use crate::refs;
use crate::state::State;
use crate::store::Inner;
use crate::transaction::now;
use crate::{ArrayName, FileInfo, Store};

/// So many log entries are held in memory at once.
const ENTRIES: u64 = 1000;

/// A temporary file gets its name, or is removed, well within this time.
const TEMPORARY: Duration = Duration::from_secs(60);

/// What VACUUM does.
#[derive(Debug, Clone)]
pub struct VacuumOptions {
    /// Versions that were the newest one within this time stay readable.
    pub retain: Duration,
    /// A file that no version needs, and no process says that it is writing, is left alone so long after it was last
    /// written to: what a killed process left, or one writes whose pin cannot be seen (on some network file systems).
    pub grace: Duration,
    /// Remove files of this array only. Versions expire all the same: they are those of the whole store.
    pub array: Option<ArrayName>,
    /// Only say what would go.
    pub dry_run: bool,
}

impl Default for VacuumOptions {
    fn default() -> Self {
        Self {
            retain: Duration::from_secs(7 * 24 * 3600),
            grace: Duration::from_secs(3600),
            array: None,
            dry_run: false,
        }
    }
}

/// What VACUUM did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VacuumReport {
    /// The oldest version that can be read now (tagged ones aside).
    pub oldest: u64,
    /// Versions that expired.
    pub versions: u64,
    /// Files removed: path in the store, bytes.
    pub files: Vec<(String, u64)>,
    /// Files that no version needs and that were kept, and why.
    pub kept: Vec<(String, String)>,
}

impl VacuumReport {
    /// The bytes of the files that were removed.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// A file that was listed.
struct Listed {
    path: String,
    info: FileInfo,
}

impl Store {
    /// Expires old versions and removes the files that nobody needs: no version that can be read, no snapshot of any
    /// process that lives, no transaction that is still writing them. Can be killed at any time and run again; never
    /// removes anything of the log.
    ///
    /// ```
    /// use std::time::Duration;
    /// use hyperslab_store::{Store, VacuumOptions};
    /// let store = Store::memory();
    /// let report = store.vacuum(&VacuumOptions { retain: Duration::ZERO, ..VacuumOptions::default() })?;
    /// assert_eq!((report.oldest, report.files.len()), (0, 0));
    /// # Ok::<(), hyperslab_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `ReadOnly`, but not of a dry run; `NotFound` for the array; `Conflict` when the lock was not to be had, or a pin not to be understood;
    /// `Io`; `Corrupt`.
    pub fn vacuum(&self, options: &VacuumOptions) -> Result<VacuumReport> {
        self.vacuum_inner(options).map_err(|e| e.with("store", self.describe()))
    }

    fn vacuum_inner(&self, options: &VacuumOptions) -> Result<VacuumReport> {
        let inner = self.inner();
        if !options.dry_run {
            inner.check_writable()?;
        }
        let only = match &options.array {
            Some(name) => Some(format!("/{}/", self.snapshot()?.array(name)?.state().id)),
            None => None,
        };
        let newest = inner.log.newest()?;
        let retain = i64::try_from(options.retain.as_micros()).unwrap_or(i64::MAX);
        let floor = match inner.log.version_at(now().saturating_sub(retain), newest.floor())? {
            None => newest.floor(),
            // A version that only expired others holds what the one before does: running again changes nothing.
            Some(version) if newest.expired.is_some_and(|expired| expired.by == version) => version - 1,
            Some(version) => version,
        };
        let tagged = |version: &u64| newest.tags.values().any(|tagged| tagged == version);
        let versions = (newest.floor()..floor).filter(|version| !tagged(version)).count() as u64;
        let durable = if options.dry_run { newest.version } else { self.expire(&newest, floor)? };

        let mut listed = list(inner)?;
        listed.retain(|file| only.as_ref().is_none_or(|folder| file.path.contains(folder)));
        let pins = Needs::read(inner, options.grace, !options.dry_run)?;
        let readable = readable(inner, durable, floor)?;
        let mut pinned = BTreeMap::new();
        for (version, who) in pins.versions.range(..floor).filter(|(version, _)| !tagged(version)) {
            refs::of_state(inner.log.state_at(*version)?.as_ref(), |file| {
                pinned.entry(file.path()).or_insert_with(|| format!("version {version} is being read by {who}"));
            });
        }
        let young = listed.iter().filter(|file| file.info.age < options.grace && !readable.contains(&file.path));
        let committed = committed(inner, young.filter_map(|file| transaction_of(&file.path)).collect(), options.grace)?;

        let mut report = VacuumReport { oldest: floor, versions, ..VacuumReport::default() };
        for file in listed {
            let txn = transaction_of(&file.path);
            let temporary = file.info.name.starts_with(TEMP_PREFIX);
            let grace = if temporary { options.grace.max(TEMPORARY) } else { options.grace };
            let why = if readable.contains(&file.path) {
                continue;
            } else if let Some(why) = pinned.remove(&file.path) {
                why
            } else if let Some(who) = txn.and_then(|id| pins.staging.get(&id)) {
                format!("a transaction of {who} is writing it")
            } else if file.info.age < grace && txn.is_none_or(|id| !committed.contains(&id)) {
                format!("it was written {:.0?} ago, and may be in use for {grace:?}", file.info.age)
            } else {
                report.files.push((file.path, file.info.bytes));
                continue;
            };
            report.kept.push((file.path, why));
        }
        if !options.dry_run {
            remove(inner, &report)?;
        }
        Ok(report)
    }

    /// Makes the versions before `floor` expire, and everything up to now durable: what is removed must not be needed
    /// by a version that a power cut brings back. Gives a version that is durable.
    fn expire(&self, newest: &State, floor: u64) -> Result<u64> {
        if floor == newest.floor() && newest.unsynced.is_none() {
            // Its commit may not have returned yet.
            self.inner().storage.sync_folder(LOG)?;
            return Ok(newest.version);
        }
        let mut tx = self.begin()?;
        tx.durably(Action::Expire(Expire { before: floor }));
        tx.commit()
    }
}

/// The files of all arrays, and what is being written anywhere.
fn list(inner: &Inner) -> Result<Vec<Listed>> {
    let storage = inner.storage.as_ref();
    let mut listed = Vec::new();
    let mut add = |folder: &str, all: bool| {
        for info in storage.files(folder)? {
            if all || info.name.starts_with(TEMP_PREFIX) {
                let path = if folder.is_empty() { info.name.clone() } else { format!("{folder}/{}", info.name) };
                listed.push(Listed { path, info });
            }
        }
        Ok::<_, Error>(())
    };
    for folder in ["", LOG, PINS] {
        add(folder, false)?;
    }
    (1..inner.dirs).try_for_each(|dir| add(&layout::in_dir(dir, ""), false))?;
    array_folders(storage, inner.dirs)?.iter().try_for_each(|folder| add(folder, true))?;
    Ok(listed)
}

/// The files that the versions from `floor` on and the tagged ones need. Of a tag counts also what it was at the version
/// `durable`, since a power cut may bring that back.
fn readable(inner: &Inner, durable: u64, floor: u64) -> Result<BTreeSet<String>> {
    let newest = inner.log.newest()?;
    let mut files = BTreeSet::new();
    let durable = inner.log.state_at(durable)?;
    let tags = durable.tags.values().chain(newest.tags.values()).filter(|&&version| version < floor);
    for version in tags.copied().chain([floor]).collect::<BTreeSet<_>>() {
        refs::of_state(inner.log.state_at(version)?.as_ref(), |file| {
            files.insert(file.path());
        });
    }
    let mut next = floor + 1;
    while next <= newest.version {
        let last = newest.version.min(next + ENTRIES - 1);
        for action in inner.log.entries(next..=last)?.iter().flat_map(|entry| &entry.actions) {
            refs::of_action(action, |file| {
                files.insert(file.path());
            });
        }
        next = last + 1;
    }
    Ok(files)
}

/// Those of the transactions that were committed within the grace period.
fn committed(inner: &Inner, mut wanted: BTreeSet<Id>, grace: Duration) -> Result<BTreeSet<Id>> {
    let mut found = BTreeSet::new();
    let since = now().saturating_sub(i64::try_from(grace.as_micros()).unwrap_or(i64::MAX));
    let mut end = inner.log.newest()?.version + 1;
    while end > 0 && !wanted.is_empty() {
        let first = end.saturating_sub(ENTRIES);
        let entries = inner.log.entries(first..=end - 1)?;
        found.extend(entries.iter().map(|entry| entry.txn).filter(|txn| wanted.remove(txn)));
        if entries.first().is_none_or(|entry| entry.time < since) {
            break;
        }
        end = first;
    }
    Ok(found)
}

/// Removes the files, and the folders of arrays of which nothing is left.
fn remove(inner: &Inner, report: &VacuumReport) -> Result<()> {
    let storage = inner.storage.as_ref();
    let mut folders = BTreeSet::new();
    for (path, _) in &report.files {
        storage.remove(path)?;
        folders.extend(path.rsplit_once('/').map(|(folder, _)| folder));
    }
    // Only its own rows go to an array's folder, and none come to one that no version knows.
    let newest = inner.log.newest()?;
    let lives = |folder: &str| {
        let id = folder.rsplit('/').next().and_then(|id| uuid::Uuid::try_parse(id).ok());
        id.is_none_or(|id| newest.array(Id(id)).is_some())
    };
    folders.into_iter().filter(|folder| !lives(folder)).try_for_each(|folder| storage.remove_folder(folder))
}
