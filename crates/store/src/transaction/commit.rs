//! Commit: conflicts, data, log entry, in that order.

use std::sync::Arc;
use std::time::SystemTime;

use hyperslab_core::{Error, ErrorKind, Result};

use super::{Touched, Transaction, exists};
use crate::Durability;
use crate::action::{Action, Id};
use crate::layout::{self, LOG};
use crate::log::{Entry, Published, SyncMode, WRITER};
use crate::maintenance;
use crate::state::State;
use crate::writer::{SegmentWriter, random_segment_id};

impl Transaction {
    /// Commits; returns the new version, or the base version when nothing was changed.
    ///
    /// # Errors
    /// `Conflict` (retryable) when another commit since the base changed what this one relies on, or the lock was not
    /// to be had; `AlreadyExists` when another commit took a name; `Io` when writing failed (then nothing was
    /// committed); `OutcomeUnknown` when the log entry could not be made durable: the store must be reopened to see.
    pub fn commit(mut self) -> Result<u64> {
        if self.failed {
            let why = "an append of this transaction failed, so that rows are missing; begin it again";
            return Err(Error::invalid(why));
        }
        let staged = self.touched.values().any(|t| !t.dropped && t.staged.rows > 0);
        if self.actions.is_empty() && !staged {
            return Ok(self.base.version());
        }
        self.check_writable()?;
        let store = self.store.clone();
        let version = self.commit_changes().map_err(|e| e.with("store", store.storage.describe()))?;
        store.log.maintain();
        Ok(version)
    }

    fn commit_changes(&mut self) -> Result<u64> {
        let durability = self.durability;
        let mut rows = self.stage_in_new_files()?;
        self.sync(durability)?;

        let lock = self.store.storage.lock(self.store.options.lock_timeout)?;
        let newest = self.store.log.newest()?;
        newest.protocol.check_writer()?;
        self.check_conflicts(&newest)?;
        rows.extend(self.append_in_place(&newest)?);
        self.sync(durability)?;
        if durability == Durability::Full {
            self.sync_earlier(&newest)?;
        }
        self.files.check_present()?;
        self.publish(&newest, rows, durability)?;
        self.files.write_headers();
        drop(lock);
        Ok(newest.version + 1)
    }

    /// Before the lock: rows that need no open segment are written to files of their own.
    fn stage_in_new_files(&mut self) -> Result<Vec<Action>> {
        let mut actions = Vec::new();
        let in_place = self.store.in_place;
        for touched in self.touched.values_mut().filter(|t| !t.dropped) {
            let Touched { staged, target, base, .. } = touched;
            let waits = in_place
                && staged.writer.is_none()
                && !target.compresses(staged.waiting.iter().map(Vec::len))
                && base.as_ref().is_some_and(|b| b.open_segment().is_some());
            if !waits {
                staged.spill(&mut self.files, target)?;
            }
            if let Some(writer) = staged.writer.take() {
                actions.extend(writer.finish(&mut self.files, in_place)?);
            }
        }
        Ok(actions)
    }

    /// Under the lock: the rows that are left extend the open segment of the newest version.
    fn append_in_place(&mut self, newest: &State) -> Result<Vec<Action>> {
        let mut actions = Vec::new();
        for (id, touched) in self.touched.iter_mut().filter(|(_, t)| !t.dropped && t.staged.waiting_rows > 0) {
            let open = newest.array(*id).and_then(|array| array.open_segment());
            let mut writer = SegmentWriter::new(touched.target.clone(), open.map(Arc::as_ref));
            let waiting: Vec<&[u8]> = touched.staged.waiting.iter().map(Vec::as_slice).collect();
            writer.write(&mut self.files, &waiting, touched.staged.waiting_rows)?;
            actions.extend(writer.finish(&mut self.files, true)?);
        }
        Ok(actions)
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
        let mut files = std::collections::BTreeSet::new();
        let mut folders = std::collections::BTreeSet::new();
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

    pub(super) fn publish(&mut self, newest: &State, rows: Vec<Action>, durability: Durability) -> Result<()> {
        let mut actions = std::mem::take(&mut self.actions);
        actions.extend(rows.into_iter().map(|action| with_new_id(action, newest)));
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
            actions,
        };
        let (bytes, crc) = entry.to_bytes()?;
        // What cannot be read must not be written.
        let mut next = newest.clone();
        next.apply(&entry, crc, bytes.len() as u64)?;
        let worn = maintenance::worn(&entry.actions, &next);
        match self.store.log.publish(next, &bytes, durability == Durability::Full) {
            Ok(Published::Yes) => {
                self.files.settled();
                self.store.compaction.look_at(&self.store, worn);
                Ok(())
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

    /// First committer wins: refuses what relies on something that was changed since the base.
    fn check_conflicts(&self, newest: &State) -> Result<()> {
        if newest.version == self.base.version() {
            return Ok(());
        }
        for (id, touched) in &self.touched {
            check_array(*id, touched, newest)?;
        }
        for (name, id) in &self.names {
            let Some(id) = id else { continue };
            let taken = newest.by_name(name).filter(|other| other.id != *id);
            // What this transaction itself drops or moves away leaves its name.
            if taken.is_some_and(|other| self.touched.get(&other.id).is_none_or(|t| !t.dropped && t.name == *name)) {
                return Err(exists(name).with("reason", "another commit took the name since this transaction began"));
            }
            if !newest.has_schema(&name.schema) && !self.schemas.contains_key(&name.schema) {
                return Err(conflict(format!("the schema {:?} was dropped", name.schema)));
            }
        }
        for (schema, created) in &self.schemas {
            let in_base = self.base.state().has_schema(schema);
            if *created && !in_base && newest.has_schema(schema) {
                return Err(Error::already_exists(format!("the schema {schema:?} exists: another commit created it")));
            }
            if in_base && !newest.has_schema(schema) {
                return Err(conflict(format!("the schema {schema:?} was dropped")));
            }
            let new = |name: &&crate::ArrayName| self.base.state().by_name(name).is_none();
            if !created && let Some(name) = newest.names_in(schema).find(new) {
                return Err(conflict(format!("the array {:?} was created", name.to_string())));
            }
        }
        Ok(())
    }
}

fn check_array(id: Id, touched: &Touched, newest: &State) -> Result<()> {
    let Some(base) = &touched.base else { return Ok(()) };
    let name = touched.name.to_string();
    let Some(now) = newest.array(id) else {
        return Err(conflict(format!("the array {name:?} was dropped")));
    };
    if now.shaped != base.shaped {
        return Err(conflict(format!(
            "the array {name:?} was changed in more than its rows (its name is {:?})",
            now.name.to_string()
        )));
    }
    if touched.reshaped && now.changed != base.changed {
        return Err(conflict(format!("rows were appended to the array {name:?}")));
    }
    Ok(())
}

fn conflict(what: String) -> Error {
    Error::conflict(format!("{what} by another commit since this transaction began; retry"))
}

/// Gives a new segment another id where its random one is taken.
fn with_new_id(action: Action, newest: &State) -> Action {
    let Action::SegmentAdd(mut add) = action else { return action };
    if let Some(array) = newest.array(add.array) {
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
