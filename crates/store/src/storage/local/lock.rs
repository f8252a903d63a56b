//! The writers' lock of a folder: a mutex inside the process, the system's file lock between processes.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use hyperslab_core::{Error, Result};

use super::write_failed;
use crate::storage::LockGuard;

/// The locks of this process by canonical path, so that all handles on a store share one.
static LOCKS: Mutex<BTreeMap<PathBuf, Weak<FileLock>>> = Mutex::new(BTreeMap::new());

/// The longest pause between two tries for a lock that another process holds.
const LONGEST_PAUSE: Duration = Duration::from_millis(4);

/// One lock file as this process sees it: one descriptor, kept between uses.
#[derive(Debug)]
pub(super) struct FileLock {
    path: PathBuf,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The process that this state is about. A forked child inherits a copy, in which nothing is true: the
    /// descriptor is shared with its parent, and so is the lock.
    process: u32,
    held: bool,
    file: Option<File>,
}

impl FileLock {
    /// The lock with this path; makes its folder.
    pub(super) fn of(path: &Path) -> Result<Arc<Self>> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::invalid(format!("{} cannot be a lock file", path.display())));
        };
        std::fs::create_dir_all(folder).map_err(|e| write_failed("creating", folder, e))?;
        let folder = folder.canonicalize().map_err(|e| Error::io("finding", folder.display(), e))?;
        let path = folder.join(name);
        let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(&path).and_then(Weak::upgrade) {
            return Ok(lock);
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(Self { path: path.clone(), state: Mutex::default(), freed: Condvar::new() });
        locks.insert(path, Arc::downgrade(&lock));
        Ok(lock)
    }

    /// Takes the lock, or fails after `timeout` (of which zero means one try).
    pub(super) fn acquire(self: &Arc<Self>, timeout: Duration) -> Result<Box<dyn LockGuard>> {
        let start = Instant::now();
        let left = || timeout.saturating_sub(start.elapsed());
        let mut guard = self.enter(left).ok_or_else(|| self.busy(timeout))?;
        let mut pause = Duration::from_micros(100);
        loop {
            if guard.try_lock().map_err(|e| write_failed("locking", &self.path, e))? {
                return Ok(Box::new(guard));
            }
            if left().is_zero() {
                return Err(self.busy(timeout));
            }
            std::thread::sleep(pause.min(left()));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Excludes the other threads of this process.
    fn enter(self: &Arc<Self>, left: impl Fn() -> Duration) -> Option<Guard> {
        let mut state = self.state();
        while state.held {
            let left = left();
            if left.is_zero() {
                return None;
            }
            state = self.freed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.held = true;
        Some(Guard { lock: self.clone(), process: state.process, file: state.file.take(), locked: false })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let process = std::process::id();
        if state.process != process {
            *state = State { process, ..State::default() };
        }
        state
    }

    fn busy(&self, waited: Duration) -> Error {
        Error::conflict("another writer holds the lock of the store; retry")
            .with("lock", self.path.display())
            .with("waited", format!("{waited:?}"))
    }
}

/// The lock held by this thread, and, once `locked`, by this process.
#[derive(Debug)]
struct Guard {
    lock: Arc<FileLock>,
    process: u32,
    file: Option<File>,
    locked: bool,
}

impl LockGuard for Guard {}

impl Guard {
    /// One try for the system's lock.
    fn try_lock(&mut self) -> io::Result<bool> {
        let path = &self.lock.path;
        let file = match self.file.take().filter(|file| is_at(file, path)) {
            Some(file) => file,
            None => open(path)?,
        };
        let file = self.file.insert(file);
        match file.try_lock() {
            Ok(()) => self.locked = true,
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(e)) => return Err(e),
        }
        // A store that was removed and made again meanwhile has another lock file: then ours excludes nobody.
        if !is_at(file, path) {
            self.locked = false;
            self.file = None;
        }
        Ok(self.locked)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            return;
        }
        let mut file = self.file.take();
        if self.locked && file.as_ref().is_some_and(|file| file.unlock().is_err()) {
            // Closing it unlocks too.
            file = None;
        }
        let mut state = self.lock.state();
        state.file = file;
        state.held = false;
        self.lock.freed.notify_one();
    }
}

fn open(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    match (open(), path.parent()) {
        (Err(e), Some(folder)) if e.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(folder)?;
            open()
        }
        (result, _) => result,
    }
}

/// Whether the path still names this file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |found: std::fs::Metadata| (found.dev(), found.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => identity(ours) == identity(theirs),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}
