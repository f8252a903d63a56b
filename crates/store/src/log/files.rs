//! What the log's folder holds.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use hyperslab_core::{Error, Result};

use super::entry::damaged;
use super::{Entry, pack};
use crate::Storage;
use crate::layout::{self, LOG, LOOSE_ENTRIES, LogFile};
use crate::state::State;

/// One listing of the log's folder.
#[derive(Debug, Default)]
pub(crate) struct LogFiles {
    entries: BTreeSet<u64>,
    /// By their first version.
    packs: Vec<RangeInclusive<u64>>,
    /// Ascending.
    pub checkpoints: Vec<u64>,
    /// The checkpoint that the log starts at, if what was before was given up.
    pub start: Option<u64>,
    /// The version that is looked at as the newest.
    last: Option<u64>,
    /// The pack that was read last.
    open: Option<(RangeInclusive<u64>, Vec<Vec<u8>>)>,
}

impl LogFiles {
    pub(crate) fn list(storage: &dyn Storage) -> Result<Self> {
        let mut files = Self::default();
        for name in storage.list(LOG)? {
            match LogFile::parse(&name) {
                Some(LogFile::Entry(version)) => {
                    files.entries.insert(version);
                }
                Some(LogFile::Checkpoint(version)) => files.checkpoints.push(version),
                Some(LogFile::Pack(versions)) => files.packs.push(versions),
                Some(LogFile::Start(version)) => files.start = files.start.max(Some(version)),
                None => {}
            }
        }
        files.checkpoints.sort_unstable();
        files.packs.sort_unstable_by_key(|p| (*p.start(), *p.end()));
        Ok(files)
    }

    /// The newest version, when every version up to it, and up to what the hint says, has its entry.
    ///
    /// # Errors
    /// `NotFound` (the caller lists again, then calls it corrupt), naming the entry that is missing.
    pub(crate) fn newest(&self, hint: Option<u64>) -> Result<u64> {
        let last = self.last.unwrap_or(u64::MAX);
        let packed = self.packs.iter().map(|p| last.min(*p.end())).max();
        let newest = self.entries.last().copied().max(packed).max(self.checkpoints.last().copied()).max(hint);
        let Some(newest) = newest else {
            return Err(missing(0));
        };
        let mut packs = self.packs.iter();
        let mut next = self.start.map_or(0, |start| start.saturating_add(1));
        while next <= newest {
            if self.entries.contains(&next) {
                next += 1;
            } else if let Some(pack) = packs.find(|p| *p.end() >= next)
                && pack.contains(&next)
            {
                next = pack.end().saturating_add(1);
            } else {
                return Err(missing(next));
            }
        }
        Ok(newest)
    }

    /// Passes over what was committed after a version.
    pub(crate) fn forget_after(&mut self, version: u64) {
        self.entries.retain(|&entry| entry <= version);
        self.packs.retain(|pack| *pack.start() <= version);
        self.checkpoints.retain(|&checkpoint| checkpoint <= version);
        self.last = Some(version);
    }

    /// The first version that is in no pack.
    pub(crate) fn first_loose(&self) -> u64 {
        let packed = self.packs.iter().map(|p| p.end().saturating_add(1)).max().unwrap_or(0);
        // The hundred that a repair has cut into is never packed.
        packed
            .max(self.start.map_or(0, |start| (start / LOOSE_ENTRIES).saturating_add(1).saturating_mul(LOOSE_ENTRIES)))
    }

    /// The bytes of an entry and the file that holds them.
    ///
    /// # Errors
    /// `NotFound` when it was moved since the listing.
    pub(crate) fn read(&mut self, storage: &dyn Storage, version: u64) -> Result<(Vec<u8>, String)> {
        if self.entries.contains(&version) {
            let path = layout::entry(version);
            let bytes = storage.read(&path)?.ok_or_else(|| missing(version))?;
            return Ok((bytes, path));
        }
        let pack = self.packs.iter().find(|p| p.contains(&version)).cloned().ok_or_else(|| missing(version))?;
        if self.open.as_ref().is_none_or(|(open, _)| *open != pack) {
            let lines = pack::read(storage, &pack)?.ok_or_else(|| missing(version))?;
            self.open = Some((pack.clone(), lines));
        }
        let line = usize::try_from(version - pack.start()).ok();
        let lines = self.open.as_ref().map(|(_, lines)| lines);
        let bytes = line.and_then(|i| lines?.get(i)).ok_or_else(|| missing(version))?;
        Ok((bytes.clone(), layout::pack(&pack)))
    }

    /// Holds the entry of the checkpoint's own version, the newest, against the checkpoint, unless it is larger.
    pub(crate) fn check_newest(&self, storage: &dyn Storage, state: &State, checkpoint_bytes: u64) -> Result<()> {
        let path = layout::entry(state.version);
        if storage.len(&path)?.is_none_or(|len| len > checkpoint_bytes) {
            return Ok(());
        }
        let Some(bytes) = storage.read(&path)? else { return Ok(()) };
        let (_, crc) = Entry::parse(&bytes, &path)?;
        if crc != state.chain {
            let why = format!("it has the checksum {crc}, and the checkpoint of its version says {}", state.chain);
            return Err(damaged(&path, Error::corrupt(why)));
        }
        Ok(())
    }
}

fn missing(version: u64) -> Error {
    Error::not_found(format!("the log file {} is missing", layout::entry(version)))
}
