//! Commit: data, conflicts, what only the lock allows, log entry, in that order.

use std::collections::BTreeSet;
use std::time::SystemTime;

use hyperslab_core::{Error, ErrorKind, Result};

use super::Transaction;
use super::rebase::{Moves, conflict};
use super::rows::forget_orphans;
use crate::Durability;
use crate::action::Action;
use crate::layout::{self, LOG};
use crate::log::{Entry, Published, SyncMode, WRITER};
use crate::maintenance;
use crate::state::State;
use crate::writer::random_segment_id;

/// A log entry that is being put together, and the state after it: what cannot be read must not be written.
#[derive(Debug)]
pub(super) struct Draft {
    entry: Entry,
    pub next: State,
}

impl Draft {
    /// Adds an action.
    ///
    /// # Errors
    /// `Corrupt` when it does not fit to what is there.
    pub(super) fn add(&mut self, action: Action) -> Result<()> {
        let action = with_new_id(action, &self.next);
        self.next.act(&action, &self.entry)?;
        self.entry.actions.push(action);
        Ok(())
    }
}

impl Transaction {
    /// Commits; returns the new version, or the base version when nothing was changed.
    ///
    /// # Errors
    /// `Conflict` (retryable) when another commit since the base changed what this one relies on, or the lock was not
    /// to be had; `AlreadyExists` when another commit took a name; `Io` when writing failed (then nothing was
    /// committed); `OutcomeUnknown` when the log entry could not be made durable: the store must be reopened to see.
    pub fn commit(mut self) -> Result<u64> {
        if self.failed {
            let why = "a change of this transaction failed, so that rows are missing; begin it again";
            return Err(Error::invalid(why));
        }
        if self.actions.is_empty() && self.work.touched.is_empty() {
            return Ok(self.base.version());
        }
        self.check_writable()?;
        let store = self.store.clone();
        let version = self.commit_changes().map_err(|e| e.with("store", store.storage.describe()))?;
        if version > self.base.version() {
            store.log.maintain();
        }
        Ok(version)
    }

    fn commit_changes(&mut self) -> Result<u64> {
        let durability = self.durability;
        let mut early = self.write_early()?;
        self.sync(durability)?;

        let lock = self.store.storage.lock(self.store.options.lock_timeout)?;
        let newest = self.store.log.newest()?;
        newest.protocol.check_writer()?;
        let moves = self.check_conflicts(&newest)?;
        let none = Moves::default();
        let mut draft = self.draft(&newest, durability)?;
        let behind = newest.version > self.base.version();
        for action in std::mem::take(&mut self.actions) {
            // Where a check above does not know of a conflict.
            let lost = |e| if behind { conflict("what it changes was changed".into()).because(e) } else { e };
            draft.add(action).map_err(lost)?;
        }
        for id in self.changed() {
            self.add_rows(id, early.remove(&id), moves.get(&id).unwrap_or(&none), &mut draft)?;
        }
        if draft.entry.actions.is_empty() {
            return Ok(self.base.version());
        }
        forget_orphans(&mut self.files, &draft.entry.actions);
        self.sync(durability)?;
        if durability == Durability::Full {
            self.sync_earlier(&newest)?;
        }
        self.files.check_present()?;
        let version = self.publish(draft)?;
        self.files.write_headers();
        drop(lock);
        Ok(version)
    }

    /// Makes the data durable that was written so far.
    pub(super) fn sync(&mut self, durability: Durability) -> Result<()> {
        let synced = self.files.sync(durability);
        self.after_sync(synced)
    }

    /// After a failed sync the system may have dropped what it could not write: nothing more can be built on it.
    fn after_sync(&self, synced: Result<()>) -> Result<()> {
        synced.map_err(|e| {
            self.store.poison();
            let why = "the data could not be made durable; nothing was committed, and the store must be reopened";
            Error::new(ErrorKind::Io, why).because(e)
        })
    }

    /// Makes durable what earlier commits, of whatever process, left to the system.
    pub(super) fn sync_earlier(&self, newest: &State) -> Result<()> {
        let Some(first) = newest.unsynced else { return Ok(()) };
        let storage = &self.store.storage;
        let mut files = BTreeSet::new();
        let mut folders = BTreeSet::new();
        for entry in self.store.log.entries(first..=newest.version)? {
            files.insert(layout::entry(entry.version));
            for action in &entry.actions {
                for file in action.files() {
                    folders.extend(file.rsplit_once('/').map(|(folder, _)| folder.to_owned()));
                    files.insert(file);
                }
            }
        }
        folders.insert(LOG.to_owned());
        let sync = || {
            for file in &files {
                // A packed entry is durable already, and so is what was removed on purpose.
                if storage.len(file)?.is_some() {
                    storage.sync_file(file)?;
                }
            }
            folders.iter().try_for_each(|folder| storage.sync_folder(folder))
        };
        self.after_sync(sync())
    }

    /// The entry after the newest version, without actions.
    pub(super) fn draft(&mut self, newest: &State, durability: Durability) -> Result<Draft> {
        // Later than any before, whatever the clock says.
        let time = newest.time.checked_add(1).map(|next| next.max(now()));
        let time = time.ok_or_else(|| Error::corrupt("the time of the newest version is the last that there is"))?;
        let entry = Entry {
            version: newest.version + 1,
            base: self.base.version(),
            txn: self.id,
            prev: newest.chain,
            time,
            sync: SyncMode::from(durability),
            writer: WRITER.to_owned(),
            message: self.message.take(),
            actions: Vec::new(),
        };
        Ok(Draft { entry, next: newest.clone() })
    }

    /// Creates the log entry. This is the commit.
    pub(super) fn publish(&mut self, draft: Draft) -> Result<u64> {
        let Draft { entry, mut next } = draft;
        let (bytes, crc) = entry.to_bytes()?;
        next.seal(&entry, crc, bytes.len() as u64);
        let worn = maintenance::worn(&entry.actions, &next);
        match self.store.log.publish(next, &bytes, entry.sync == SyncMode::Full) {
            Ok(Published::Yes) => {
                self.files.settled();
                self.store.compaction.look_at(&self.store, worn);
                Ok(entry.version)
            }
            Ok(Published::Unknown(error)) => {
                self.files.settled();
                self.store.poison();
                let why = format!(
                    "whether version {} is committed is not known: {} could not be made durable; reopen the store to see",
                    entry.version,
                    layout::entry(entry.version)
                );
                Err(Error::new(ErrorKind::OutcomeUnknown, why).because(error))
            }
            Err(error) => Err(error),
        }
    }
}

/// Gives a new segment another id where its random one is taken.
fn with_new_id(action: Action, next: &State) -> Action {
    let Action::SegmentAdd(mut add) = action else { return action };
    if let Some(array) = next.array(add.array) {
        while array.segments().iter().any(|s| s.id == add.segment) {
            add.segment = random_segment_id();
        }
    }
    Action::SegmentAdd(add)
}

/// Microseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX - 1)
}
