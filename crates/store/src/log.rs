//! The log: the truth about a store. A version is a checkpoint at or below it and the entries after.

pub(crate) mod checkpoint;
mod entry;
mod files;
mod pack;
mod past;
mod reader;
mod seal;

use std::ops::RangeInclusive;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use hyperslab_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

pub(crate) use entry::{Entry, SyncMode, WRITER, damaged};
use files::LogFiles;
pub(crate) use reader::{Reader, packs_due};
pub(crate) use seal::{seal, unseal};

use crate::Storage;
use crate::action::Crc;
use crate::layout::{self, LAST_CHECKPOINT, LOG};
use crate::state::State;

/// How often a listing is repeated that a concurrent packing may have torn.
const LISTINGS: usize = 5;

/// Logs of up to this many bytes are read whole on opening, although a checkpoint covers them: a
/// small cost that finds every damaged entry.
const SMALL_LOG: u64 = 16 << 10;

/// Entries of less than this weight are not worth a checkpoint: reading them costs less than writing one so often.
const LEAST_LOG: u64 = 4 << 10;

/// The log of an open store, with the newest state that was read.
#[derive(Debug)]
pub(crate) struct Log {
    storage: Arc<dyn Storage>,
    current: Mutex<Arc<State>>,
    /// Woken when `current` is newer.
    changed: Condvar,
    /// The only version that is read, and those before it: what follows may be damaged.
    fixed: Option<u64>,
    past: past::Past,
    /// Held while entries are read forward.
    reading: Mutex<()>,
    /// Held while a checkpoint or a pack is written.
    upkeep: Mutex<Upkeep>,
}

/// What is known of the newest checkpoint, and the first entry that is not packed.
#[derive(Debug, Default, Clone)]
struct Upkeep {
    hint: Hint,
    older: Vec<u64>,
    first_loose: u64,
    /// The checkpoint that the log starts at, which stays.
    start: Option<u64>,
}

/// `_last_checkpoint`.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hint {
    /// The checkpoint's version.
    pub version: u64,
    /// Its size.
    bytes: u64,
    /// The bytes of all entries up to its version.
    log_bytes: u64,
}

/// What publishing an entry came to, when it is not an error that leaves the old version.
pub(crate) enum Published {
    Yes,
    /// The entry may be there, or durable, or not.
    Unknown(Error),
}

impl Log {
    /// Reads the newest state: one listing, the newest valid checkpoint, the entries after it.
    ///
    /// # Errors
    /// `Corrupt`, naming the file that is missing, cut short, altered or not understood; `Unsupported` for a feature.
    ///
    /// With `fixed` that version takes the newest's place, and what was committed after it is not looked at.
    pub(crate) fn open(storage: Arc<dyn Storage>, fixed: Option<u64>) -> Result<Self> {
        let (state, upkeep) = load(storage.as_ref(), fixed)?;
        let current = Mutex::new(Arc::new(state));
        let (reading, upkeep) = (Mutex::new(()), Mutex::new(upkeep));
        let (changed, past) = (Condvar::new(), past::Past::default());
        Ok(Self { storage, current, changed, fixed, past, reading, upkeep })
    }

    /// Writes the first entry of a new store.
    pub(crate) fn create(storage: &dyn Storage, first: &Entry) -> Result<()> {
        storage.create_new_synced(&layout::entry(0), &first.to_bytes()?.0)?;
        storage.sync_folder(LOG)
    }

    fn known(&self) -> Arc<State> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, state: Arc<State>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.version < state.version {
            *current = state;
            self.changed.notify_all();
        }
    }

    /// The newest committed state. Costs two looks at file names when nothing was committed.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn newest(&self) -> Result<Arc<State>> {
        let state = self.known();
        if self.is_newest(state.version)? { Ok(state) } else { self.read_forward() }
    }

    /// Whether a version can still be read: VACUUM may have committed since it was looked at.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn is_readable(&self, version: u64) -> Result<bool> {
        let known = self.known();
        if self.fixed.is_some() {
            return Ok(known.is_readable(version));
        }
        // The newest is looked at most often, and for one name only.
        let next = self.storage.len(&layout::entry(version.saturating_add(1)))?;
        Ok((known.version == version && next.is_none()) || self.newest()?.is_readable(version))
    }

    /// Whether there is no entry after `version`. Entries are packed oldest first, so that the one after a loose
    /// entry is loose too.
    fn is_newest(&self, version: u64) -> Result<bool> {
        if self.fixed.is_some() {
            return Ok(true);
        }
        let exists = |v| Ok::<_, Error>(self.storage.len(&layout::entry(v))?.is_some());
        Ok(!exists(version + 1)? && exists(version)?)
    }

    fn read_forward(&self) -> Result<Arc<State>> {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.known();
        loop {
            let path = layout::entry(state.version + 1);
            if let Some(bytes) = self.storage.read(&path)? {
                apply(Arc::make_mut(&mut state), &bytes, &path)?;
            } else if self.is_newest(state.version)? {
                break;
            } else if self.storage.len(&path)?.is_none() {
                // More than a hundred versions behind, or something is missing.
                state = self.reload(&state)?;
                break;
            }
        }
        self.set(state.clone());
        Ok(state)
    }

    fn reload(&self, known: &State) -> Result<Arc<State>> {
        let (state, upkeep) = load(self.storage.as_ref(), None)?;
        if state.version < known.version || (state.version == known.version && state.chain != known.chain) {
            let path = layout::entry(known.version);
            return Err(Error::corrupt(format!(
                "the log file {path} was there when this store was opened and is gone"
            )));
        }
        *self.upkeep.lock().unwrap_or_else(PoisonError::into_inner) = upkeep;
        Ok(Arc::new(state))
    }

    /// Creates the entry of `next`, the state after it. The writers' lock is held.
    ///
    /// # Errors
    /// Nothing was committed: `Conflict` if the version exists already, else what the storage says.
    pub(crate) fn publish(&self, next: State, bytes: &[u8], durable: bool) -> Result<Published> {
        let path = layout::entry(next.version);
        let created =
            if durable { self.storage.create_new_synced(&path, bytes) } else { self.storage.create_new(&path, bytes) };
        if let Err(error) = created {
            // The error may have come after the effect.
            match self.storage.read(&path) {
                Ok(None) => return Err(error),
                Ok(Some(found)) if found != bytes => {
                    let why = format!("version {} was committed by another writer that holds no lock", next.version);
                    return Err(Error::conflict(why).because(error));
                }
                Ok(Some(_)) if !durable => {}
                Ok(Some(_)) | Err(_) => return Ok(Published::Unknown(error)),
            }
        }
        if durable && let Err(error) = self.storage.sync_folder(LOG) {
            return Ok(Published::Unknown(error));
        }
        self.set(Arc::new(next));
        Ok(Published::Yes)
    }

    /// After a commit, without the lock: a checkpoint when the entries since the last one weigh more than it, and
    /// packs of what it covers. Nothing depends on either, so that an error only puts them off.
    pub(crate) fn maintain(&self) {
        let Ok(mut upkeep) = self.upkeep.try_lock() else { return };
        let state = self.known();
        let _put_off = self.write_checkpoint(&state, &mut upkeep);
    }

    fn write_checkpoint(&self, state: &State, upkeep: &mut Upkeep) -> Result<()> {
        let due = |hint: &Hint| state.log_bytes.saturating_sub(hint.log_bytes) > hint.bytes.max(LEAST_LOG);
        if !due(&upkeep.hint) {
            return Ok(());
        }
        if let Some(hint) = read_hint(self.storage.as_ref())?
            && hint.version > upkeep.hint.version
        {
            // Another process wrote one.
            if upkeep.start != Some(upkeep.hint.version) {
                upkeep.older.push(upkeep.hint.version);
            }
            upkeep.hint = hint;
        }
        if due(&upkeep.hint) {
            let bytes = checkpoint::to_bytes(state)?;
            let hint = Hint { version: state.version, bytes: bytes.len() as u64, log_bytes: state.log_bytes };
            match self.storage.create_new(&layout::checkpoint(state.version), &bytes) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                done => done?,
            }
            // Not replaced in one step: that makes ext4 write it out at once, and a missing hint is none.
            self.storage.remove(LAST_CHECKPOINT)?;
            match self.storage.create_new(LAST_CHECKPOINT, &seal(&hint)?.0) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                done => done?,
            }
            upkeep.older.push(upkeep.hint.version);
            upkeep.hint = hint;
        }
        // The one before stays, in case the newest is damaged.
        while upkeep.older.len() > 1 {
            self.storage.remove(&layout::checkpoint(upkeep.older.remove(0)))?;
        }
        for versions in pack::due(upkeep.first_loose, upkeep.hint.version, state.version) {
            let next = versions.end() + 1;
            if !pack::pack(self.storage.as_ref(), versions)? {
                break;
            }
            upkeep.first_loose = next;
        }
        Ok(())
    }

    /// Reads committed entries that are new, and therefore not packed but in rare cases.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn new_entries(&self, versions: RangeInclusive<u64>) -> Result<Vec<Entry>> {
        let read = |version| {
            let path = layout::entry(version);
            let bytes = self.storage.read(&path)?;
            bytes.map(|bytes| Entry::parse(&bytes, &path).map(|(entry, _)| entry)).transpose()
        };
        match versions.clone().map(read).collect::<Result<Option<Vec<Entry>>>>()? {
            Some(entries) => Ok(entries),
            None => self.entries(versions),
        }
    }

    /// The first version whose entry there is.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn first(&self) -> Result<u64> {
        Ok(LogFiles::list(self.storage.as_ref())?.start.map_or(0, |start| start + 1))
    }

    /// Reads committed entries, packed or not.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn entries(&self, versions: RangeInclusive<u64>) -> Result<Vec<Entry>> {
        relisted(|| {
            let mut files = LogFiles::list(self.storage.as_ref())?;
            versions
                .clone()
                .map(|version| {
                    let (bytes, path) = files.read(self.storage.as_ref(), version)?;
                    Entry::parse(&bytes, &path).map(|(entry, _)| entry)
                })
                .collect()
        })
    }
}

/// Repeats what failed for a missing file: packing moves entries while they are listed.
fn relisted<T>(mut read: impl FnMut() -> Result<T>) -> Result<T> {
    let mut result = read();
    for _ in 1..LISTINGS {
        match &result {
            Err(e) if e.kind() == ErrorKind::NotFound => result = read(),
            _ => break,
        }
    }
    result.map_err(|e| match e.kind() {
        ErrorKind::NotFound => Error::corrupt(e.message()),
        _ => e,
    })
}

/// The hint, or `None` where it is not there or not readable: nothing depends on it.
pub(crate) fn read_hint(storage: &dyn Storage) -> Result<Option<Hint>> {
    let text = storage.read(LAST_CHECKPOINT)?.and_then(|bytes| unseal(&bytes).ok());
    Ok(text.and_then(|(text, _)| serde_json::from_str(&text).ok()))
}

fn load(storage: &dyn Storage, fixed: Option<u64>) -> Result<(State, Upkeep)> {
    relisted(|| {
        // Before the listing, which must then show at least that version.
        let hint = if fixed.is_none() { read_hint(storage)? } else { None };
        let mut files = LogFiles::list(storage)?;
        if let Some(version) = fixed {
            files.forget_after(version);
        }
        let newest = files.newest(hint.map(|h| h.version))?;
        if let Some(version) = fixed.filter(|v| *v > newest) {
            return Err(Error::invalid(format!("there is no version {version} yet; the newest is {newest}")));
        }
        let (mut state, start) = start(storage, &files, newest)?;
        let mut upkeep = Upkeep { first_loose: files.first_loose(), ..Upkeep::default() };
        let older = |&v: &u64| start.is_none_or(|(s, _)| v < s) && files.start != Some(v);
        upkeep.older = files.checkpoints.iter().copied().filter(older).collect();
        upkeep.start = files.start;
        if let Some(first) = files.start {
            state.begin_at(first);
        }
        let mut next = 0;
        if let Some((version, bytes)) = start {
            upkeep.hint = Hint { version, bytes, log_bytes: state.log_bytes };
            next = version + 1;
            if state.log_bytes <= SMALL_LOG && files.start.is_none() {
                check_entries(storage, &mut files, &state)?;
            } else if version == newest {
                files.check_newest(storage, &state, bytes)?;
            }
        }
        for version in next..=newest {
            let (bytes, path) = files.read(storage, version)?;
            apply(&mut state, &bytes, &path)?;
        }
        Ok((state, upkeep))
    })
}

/// Holds every entry that the checkpoint of `state` covers against its chain of checksums.
///
/// # Errors
/// `Corrupt`, naming the entry that is damaged.
fn check_entries(storage: &dyn Storage, files: &mut LogFiles, state: &State) -> Result<()> {
    let mut whole = State::default();
    let mut last = String::new();
    for version in 0..=state.version {
        let (bytes, path) = files.read(storage, version)?;
        apply(&mut whole, &bytes, &path)?;
        last = path;
    }
    if whole.chain != state.chain {
        let why =
            format!("it has the checksum {}, and the checkpoint of its version says {}", whole.chain, state.chain);
        return Err(damaged(&last, Error::corrupt(why)));
    }
    Ok(())
}

/// The state of the newest checkpoint up to `newest` that is whole, its version and its size. A damaged one is passed over, since
/// it says nothing that the entries do not say too.
fn start(storage: &dyn Storage, files: &LogFiles, newest: u64) -> Result<(State, Option<(u64, u64)>)> {
    for &version in files.checkpoints.iter().rev().filter(|v| **v <= newest) {
        let path = layout::checkpoint(version);
        let Some(bytes) = storage.read(&path)? else { continue };
        match checkpoint::parse(&bytes, version, &path) {
            Ok(state) => return Ok((state, Some((version, bytes.len() as u64)))),
            Err(e) if e.kind() == ErrorKind::Corrupt => {}
            Err(e) => return Err(e),
        }
    }
    Ok((State::default(), None))
}

/// Applies the entry in the file `path`, which must be the next one.
pub(crate) fn apply(state: &mut State, bytes: &[u8], path: &str) -> Result<()> {
    let (entry, crc) = Entry::parse(bytes, path)?;
    let first = state.log_bytes == 0;
    let expected = if first { 0 } else { state.version + 1 };
    let bad = |why: String| damaged(path, Error::corrupt(why));
    if entry.version != expected {
        return Err(bad(format!("it is of version {}, not {expected}", entry.version)));
    }
    let prev = if first { Crc::default() } else { state.chain };
    if entry.prev != prev {
        return Err(bad(format!(
            "it follows an entry with the checksum {}, and the one before has {prev}",
            entry.prev
        )));
    }
    if !first && entry.time <= state.time {
        return Err(bad(format!("its time {} is not after that of the one before, {}", entry.time, state.time)));
    }
    state.apply(&entry, crc, bytes.len() as u64).map_err(|e| damaged(path, e))
}
