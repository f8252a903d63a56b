//! A storage that counts what is asked of it, fails on command, and knows what a power cut would leave.

mod counts;
mod journal;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow_buffer::Buffer;
use hyperslab_core::{Error, Result};

pub use self::counts::Counts;
pub use self::journal::Files;
use self::journal::Journal;
use super::path::{check_file, check_folder};
use super::{FileInfo, FileRange, LockGuard, MemoryStorage, PinFile, PinGuard, Storage};

/// What goes wrong. Calls, writes and syncs are counted from 0 when the fault is armed; only calls that change
/// something count: creating, replacing, writing, renaming, removing, syncing. Pins, which tell of processes and not of
/// the store, never go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This call fails and does nothing; later ones work.
    Fail {
        /// Which call.
        call: u64,
    },
    /// This call is torn (see [`Tear`](Fault::Tear)) and every later one fails: a killed process, when the store is
    /// then opened on the storage below, or after [`FaultStorage::disarm`].
    Kill {
        /// Which call.
        call: u64,
    },
    /// From this call on nothing happens any more, and every call says that it did: a disk that lies.
    Freeze {
        /// The first call.
        call: u64,
    },
    /// This creation, replacement or write fails: half of its bytes are written to a file that is written in place,
    /// and nothing is visible of one that is created or replaced.
    Tear {
        /// Which of the writes.
        write: u64,
    },
    /// This sync, of a file or folder, fails, and what it should have made durable never will be, as on Linux.
    FailSync {
        /// Which of the syncs.
        sync: u64,
    },
    /// The disk holds so many more bytes.
    DiskFull {
        /// How many bytes.
        bytes: u64,
    },
}

/// A storage around another one. Calls that change something run one after the other.
///
/// ```
/// use std::sync::Arc;
/// use hyperslab_store::testing::{Fault, FaultStorage};
/// use hyperslab_store::{MemoryStorage, Storage};
///
/// let storage = FaultStorage::new(Arc::new(MemoryStorage::new()))?;
/// storage.create_new_synced("a", b"kept")?;
/// storage.sync_folder("")?;
/// storage.create_new("b", b"lost")?;
/// assert_eq!(storage.counts().files_created, 2);
///
/// storage.arm(Fault::Fail { call: 1 });
/// storage.remove("a")?;
/// assert!(storage.remove("b").is_err());
///
/// let after = storage.crash()?;
/// assert_eq!(after.read("a")?.as_deref(), Some(&b"kept"[..]));
/// assert_eq!(after.read("b")?, None);
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
#[derive(Debug)]
pub struct FaultStorage {
    inner: Arc<dyn Storage>,
    in_place: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    counts: Counts,
    armed: Option<Armed>,
    /// `None` when the storage below was not empty at first: then what a crash leaves is not known.
    journal: Option<Journal>,
}

/// A fault and what happened since it was armed.
#[derive(Debug)]
struct Armed {
    fault: Fault,
    calls: u64,
    writes: u64,
    syncs: u64,
    bytes: u64,
}

/// A call that changes something.
#[derive(Clone, Copy)]
enum Call {
    /// All or nothing.
    Create(usize),
    InPlace(usize),
    Remove,
    Sync,
    CreateSynced(usize),
}

/// What becomes of it.
enum Verdict {
    Run,
    Pretend,
    Fail(io::Error),
    /// So many bytes are written, then it fails.
    Partly(usize, io::Error),
}

impl FaultStorage {
    /// Around `inner`, which works until a fault is armed. What a crash leaves is known if `inner` is empty.
    ///
    /// # Errors
    /// Those of listing `inner`.
    pub fn new(inner: Arc<dyn Storage>) -> Result<Self> {
        let journal = inner.list("")?.is_empty().then(Journal::default);
        Ok(Self::around(inner, journal))
    }

    /// Around `inner`, which is empty, and then holds these files, all durable.
    ///
    /// # Errors
    /// Those of creating the files.
    pub fn with_files(inner: Arc<dyn Storage>, files: Files) -> Result<Self> {
        for (path, bytes) in &files {
            inner.create_new(path, bytes)?;
        }
        Ok(Self::around(inner, Some(Journal::with_files(files))))
    }

    fn around(inner: Arc<dyn Storage>, journal: Option<Journal>) -> Self {
        let state = State { counts: Counts::default(), armed: None, journal };
        Self { in_place: inner.in_place(), inner, state: Mutex::new(state) }
    }

    /// Says of itself that committed files can, or cannot, be extended in place.
    #[must_use]
    pub fn with_in_place(self, in_place: bool) -> Self {
        Self { in_place, ..self }
    }

    /// The storage below, where nothing goes wrong.
    pub fn inner(&self) -> Arc<dyn Storage> {
        self.inner.clone()
    }

    /// Lets this go wrong from now on, instead of what was armed before.
    pub fn arm(&self, fault: Fault) {
        self.state().armed = Some(Armed { fault, calls: 0, writes: 0, syncs: 0, bytes: 0 });
    }

    /// Lets nothing go wrong any more.
    pub fn disarm(&self) {
        self.state().armed = None;
    }

    /// What was asked so far, whether it worked or not.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// A storage in memory as a power cut would leave this one at worst: with nothing that was not synced.
    ///
    /// # Errors
    /// As [`files_after_crash`](Self::files_after_crash).
    pub fn crash(&self) -> Result<Self> {
        self.crash_at(u64::MAX, |_| false)
    }

    /// Like [`crash`](Self::crash), but before the call of this number (as in [`Counts::mutations`]) was made, and
    /// keeping those unsynced steps for which `keep` answers true; it is asked with a running number.
    ///
    /// # Errors
    /// As [`files_after_crash`](Self::files_after_crash).
    pub fn crash_at(&self, call: u64, keep: impl FnMut(usize) -> bool) -> Result<Self> {
        let files = self.files_after_crash(call, keep)?;
        Ok(Self::with_files(Arc::new(MemoryStorage::new()), files)?.with_in_place(self.in_place))
    }

    /// The files that [`crash_at`](Self::crash_at) leaves, for instance to put them in a folder.
    ///
    /// A step is a name that appears or goes, or bytes written to a file. Bytes are durable once their file is synced,
    /// names once their folder is. A file whose name is durable and whose bytes are not is empty.
    ///
    /// # Errors
    /// `Unsupported` when the storage below was not empty at first.
    pub fn files_after_crash(&self, call: u64, keep: impl FnMut(usize) -> bool) -> Result<Files> {
        match &self.state().journal {
            Some(journal) => Ok(journal.files_after_crash(call, keep)),
            None => Err(Error::unsupported("what a crash leaves is known only if the storage was empty at first")),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a file is there, without being counted.
    fn exists(&self, path: &str) -> Result<bool> {
        Ok(self.inner.len(path)?.is_some())
    }

    fn create(&self, path: &str, bytes: &[u8], synced: bool) -> Result<()> {
        check_file(path)?;
        let mut state = self.state();
        state.counts.creates += 1;
        state.counts.file_syncs += u64::from(synced);
        let call = if synced { Call::CreateSynced(bytes.len()) } else { Call::Create(bytes.len()) };
        match state.decide(call) {
            Verdict::Run => match synced {
                true => self.inner.create_new_synced(path, bytes)?,
                false => self.inner.create_new(path, bytes)?,
            },
            Verdict::Pretend => return Ok(()),
            Verdict::Fail(e) | Verdict::Partly(_, e) => return Err(Error::io("creating", path, e)),
        }
        state.wrote(bytes.len(), true);
        state.note(|journal, call| journal.create(call, path, bytes, synced));
        Ok(())
    }
}

impl State {
    /// Counts a call and says what becomes of it.
    fn decide(&mut self, call: Call) -> Verdict {
        let Some(armed) = &mut self.armed else { return Verdict::Run };
        let (write, sync) = match call {
            Call::Create(len) | Call::InPlace(len) => (Some(len), false),
            Call::CreateSynced(len) => (Some(len), true),
            Call::Remove => (None, false),
            Call::Sync => (None, true),
        };
        let (calls, writes, syncs) = (armed.calls, armed.writes, armed.syncs);
        armed.calls += 1;
        armed.writes += u64::from(write.is_some());
        armed.syncs += u64::from(sync);
        let torn = || match call {
            Call::InPlace(len) => Verdict::Partly(len / 2, injected()),
            _ => Verdict::Fail(injected()),
        };
        match armed.fault {
            Fault::Fail { call } if calls == call => Verdict::Fail(injected()),
            Fault::Kill { call } if calls == call => torn(),
            Fault::Kill { call } if calls > call => Verdict::Fail(injected()),
            Fault::Freeze { call } if calls >= call => Verdict::Pretend,
            Fault::Tear { write: which } if write.is_some() && writes == which => torn(),
            Fault::FailSync { sync: which } if sync && syncs == which => Verdict::Fail(injected()),
            Fault::DiskFull { bytes } => match write {
                Some(len) if armed.bytes.saturating_add(len as u64) > bytes => {
                    let full = io::ErrorKind::StorageFull.into();
                    Verdict::Partly(usize::try_from(bytes.saturating_sub(armed.bytes)).unwrap_or(len), full)
                }
                _ => Verdict::Run,
            },
            _ => Verdict::Run,
        }
    }

    fn wrote(&mut self, bytes: usize, created: bool) {
        self.counts.bytes_written += bytes as u64;
        self.counts.files_created += u64::from(created);
        if let Some(armed) = &mut self.armed {
            armed.bytes += bytes as u64;
        }
    }

    /// Writes to the journal with the number of the call that is being made.
    fn note(&mut self, write: impl FnOnce(&mut Journal, u64)) {
        let call = self.counts.mutations() - 1;
        if let Some(journal) = &mut self.journal {
            write(journal, call);
        }
    }
}

fn injected() -> io::Error {
    io::Error::other("injected fault")
}

impl Storage for FaultStorage {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn place(&self, dirs: &[String]) -> Result<()> {
        self.inner.place(dirs)
    }

    fn in_place(&self) -> bool {
        self.in_place
    }

    fn read_only(&self) -> bool {
        self.inner.read_only()
    }

    fn map(&self, ranges: &[FileRange]) -> Result<Option<Buffer>> {
        self.state().counts.maps += 1;
        self.inner.map(ranges)
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.state().counts.reads += 1;
        self.inner.read(path)
    }

    fn len(&self, path: &str) -> Result<Option<u64>> {
        self.state().counts.lens += 1;
        self.inner.len(path)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.state().counts.lists += 1;
        self.inner.list(folder)
    }

    fn create_new(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.create(path, bytes, false)
    }

    fn create_new_synced(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.create(path, bytes, true)
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        check_file(path)?;
        let mut state = self.state();
        state.counts.replaces += 1;
        let created = !self.exists(path)?;
        match state.decide(Call::Create(bytes.len())) {
            Verdict::Run => self.inner.replace(path, bytes)?,
            Verdict::Pretend => return Ok(()),
            Verdict::Fail(e) | Verdict::Partly(_, e) => return Err(Error::io("replacing", path, e)),
        }
        state.wrote(bytes.len(), created);
        state.note(|journal, call| journal.create(call, path, bytes, false));
        Ok(())
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        check_file(path)?;
        let mut state = self.state();
        state.counts.writes += 1;
        let created = !self.exists(path)?;
        let (bytes, failure) = match state.decide(Call::InPlace(bytes.len())) {
            Verdict::Run => (bytes, None),
            Verdict::Pretend => return Ok(()),
            Verdict::Fail(e) => return Err(Error::io("writing", path, e)),
            Verdict::Partly(len, e) => (bytes.get(..len).unwrap_or(bytes), Some(Error::io("writing", path, e))),
        };
        self.inner.write_at(path, offset, bytes)?;
        state.wrote(bytes.len(), created);
        state.note(|journal, call| journal.write(call, path, offset, bytes));
        failure.map_or(Ok(()), Err)
    }

    fn remove(&self, path: &str) -> Result<()> {
        check_file(path)?;
        let mut state = self.state();
        state.counts.removes += 1;
        match state.decide(Call::Remove) {
            Verdict::Run => self.inner.remove(path)?,
            Verdict::Pretend => return Ok(()),
            Verdict::Fail(e) | Verdict::Partly(_, e) => return Err(Error::io("removing", path, e)),
        }
        state.note(|journal, call| journal.remove(call, path));
        Ok(())
    }

    fn files(&self, folder: &str) -> Result<Vec<FileInfo>> {
        self.state().counts.lists += 1;
        self.inner.files(folder)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        check_file(from)?;
        check_file(to)?;
        let mut state = self.state();
        state.counts.renames += 1;
        match state.decide(Call::Remove) {
            Verdict::Run => self.inner.rename(from, to)?,
            Verdict::Pretend => return Ok(()),
            Verdict::Fail(e) | Verdict::Partly(_, e) => return Err(Error::io("renaming", from, e)),
        }
        state.note(|journal, call| journal.rename(call, from, to));
        Ok(())
    }

    fn remove_folder(&self, folder: &str) -> Result<()> {
        check_file(folder)?;
        let mut state = self.state();
        state.counts.removes += 1;
        match state.decide(Call::Remove) {
            Verdict::Run => self.inner.remove_folder(folder),
            Verdict::Pretend => Ok(()),
            Verdict::Fail(e) | Verdict::Partly(_, e) => Err(Error::io("removing", folder, e)),
        }
    }

    fn pin(&self) -> Result<Option<Box<dyn PinGuard>>> {
        self.state().counts.pins += 1;
        self.inner.pin()
    }

    fn pins(&self) -> Result<Vec<PinFile>> {
        self.inner.pins()
    }

    fn sync_file(&self, path: &str) -> Result<()> {
        check_file(path)?;
        let mut state = self.state();
        state.counts.file_syncs += 1;
        state.counts.sync_calls += 1;
        match state.decide(Call::Sync) {
            Verdict::Run => self.inner.sync_file(path)?,
            Verdict::Pretend => return Ok(()),
            Verdict::Fail(e) | Verdict::Partly(_, e) => {
                state.note(|journal, _| journal.lose_file(path));
                return Err(Error::io("syncing", path, e));
            }
        }
        state.note(|journal, call| journal.sync_file(call, path));
        Ok(())
    }

    fn sync_folder(&self, folder: &str) -> Result<()> {
        check_folder(folder)?;
        let mut state = self.state();
        state.counts.folder_syncs += 1;
        state.counts.sync_calls += 1;
        match state.decide(Call::Sync) {
            Verdict::Run => self.inner.sync_folder(folder)?,
            Verdict::Pretend => return Ok(()),
            Verdict::Fail(e) | Verdict::Partly(_, e) => {
                state.note(|journal, _| journal.lose_folder(folder));
                return Err(Error::io("syncing", folder, e));
            }
        }
        state.note(|journal, call| journal.sync_folder(call, folder));
        Ok(())
    }

    fn lock(&self, timeout: Duration) -> Result<Box<dyn LockGuard>> {
        self.state().counts.locks += 1;
        self.inner.lock(timeout)
    }
}

#[cfg(test)]
mod tests;
