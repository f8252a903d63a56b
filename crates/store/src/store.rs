//! Opening a store and seeing its versions.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyperslab_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::action::{Action, Crc, Id, Protocol};
use crate::codec::Frames;
use crate::index::IndexKinds;
use crate::layout::{self, FORMAT, LOG, LogFile, STORE_FILE};
use crate::log::{Entry, Log, SyncMode, WRITER};
use crate::maintenance::Compaction;
use crate::pins::{Holds, Pins};
use crate::placement;
use crate::runs::Maps;
use crate::state::State;
use crate::storage::{LocalStorage, MemoryStorage};
use crate::transaction::now;
use crate::verify::Verified;
use crate::{OpenOptions, Snapshot, Storage, Transaction};

/// A store: a folder, or memory. Cheap to clone; clones are the same store. Any number of threads may use it.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// The last handle ends the store's own work. (A handle that the store makes for itself does not.)
    _closing: Option<Arc<Closing>>,
}

/// Ends the compaction of a store.
#[derive(Debug)]
struct Closing(Arc<Inner>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.compaction.close();
    }
}

/// What every handle of an open store shares.
#[derive(Debug)]
pub(crate) struct Inner {
    pub storage: Arc<dyn Storage>,
    pub options: OpenOptions,
    /// Whether appends extend files.
    pub in_place: bool,
    /// How many directories hold its files, its own among them.
    pub dirs: u16,
    pub log: Log,
    pub maps: Maps,
    /// What was decompressed.
    pub frames: Frames,
    pub verified: Verified,
    /// What keeps VACUUM off.
    pub pins: Arc<Pins>,
    /// What computes the columns of indexes.
    pub index_kinds: IndexKinds,
    /// Optimizes by itself.
    pub compaction: Compaction,
    /// A sync failed: what the system holds is no longer known to be what is on disk.
    poisoned: AtomicBool,
}

/// `hyperslab.json`. It never changes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreFile {
    format: u64,
    id: Id,
    in_place: bool,
    /// Further directories, as they were given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dirs: Vec<String>,
}

impl StoreFile {
    pub(crate) fn id(&self) -> Id {
        self.id
    }

    pub(crate) fn has_dirs(&self) -> bool {
        !self.dirs.is_empty()
    }
}

/// The `hyperslab.json` of a store in one directory.
///
/// # Errors
/// None in fact.
pub(crate) fn store_file_bytes(id: Id, in_place: bool) -> Result<Vec<u8>> {
    to_bytes(&StoreFile { format: FORMAT, id, in_place, dirs: Vec::new() })
}

fn to_bytes(file: &StoreFile) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(file).map_err(|e| Error::invalid("creating the store").because(e))?;
    bytes.push(b'\n');
    Ok(bytes)
}

impl Store {
    /// Opens the store at `path`, or creates it if there is none.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, OpenOptions { create: true, ..OpenOptions::default() })
    }

    /// Opens the store at `path`.
    ///
    /// # Errors
    /// `NotFound` if there is none and `create` is not set; `Invalid` for a folder that holds something else;
    /// `Unsupported` for a store of a newer format; `Corrupt`, naming the file of the log that is missing or damaged.
    pub fn open_with(path: impl AsRef<Path>, options: OpenOptions) -> Result<Self> {
        let storage = LocalStorage::open(path, options.read_only, None)?;
        Self::on(Arc::new(storage), options)
    }

    /// Whether a folder is a store, as far as its file of that name says.
    pub fn exists(path: impl AsRef<Path>) -> bool {
        path.as_ref().join(STORE_FILE).is_file()
    }

    /// An empty store in memory.
    pub fn memory() -> Self {
        let options = OpenOptions { create: true, ..OpenOptions::default() };
        #[expect(clippy::expect_used, reason = "memory does not fail")]
        Self::on(Arc::new(MemoryStorage::new()), options).expect("a store in memory can be created")
    }

    /// A store on any storage (tests, other backends).
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn on(storage: Arc<dyn Storage>, options: OpenOptions) -> Result<Self> {
        let named = |e: Error| e.with("store", storage.describe());
        let file = match read_store_file(storage.as_ref()).map_err(named)? {
            Some(file) => file,
            None => create(storage.as_ref(), &options).map_err(named)?,
        };
        let dirs = place(storage.as_ref(), &file, &options).map_err(named)?;
        let log = Log::open(storage.clone(), options.at).map_err(named)?;
        let options = OpenOptions { read_only: options.read_only || options.at.is_some(), ..options };
        let in_place = file.in_place && storage.in_place();
        let pins = Pins::new(storage.clone(), !(options.read_only || storage.read_only()));
        let (maps, frames, verified) = (Maps::default(), Frames::default(), Verified::default());
        let poisoned = AtomicBool::new(false);
        let compaction = Compaction::default();
        let index_kinds = IndexKinds::default();
        let inner = Inner {
            in_place,
            dirs,
            storage,
            options,
            log,
            maps,
            frames,
            verified,
            pins,
            index_kinds,
            compaction,
            poisoned,
        };
        let inner = Arc::new(inner);
        Ok(Self { _closing: Some(Arc::new(Closing(inner.clone()))), inner })
    }

    /// The newest committed version. Costs two looks for a file's name in the log's folder.
    ///
    /// # Errors
    /// `Corrupt`, naming the file of the log that is missing or damaged; `Io`.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>> {
        self.inner.snapshot()
    }

    /// Starts a transaction on the newest version. It holds no lock until it commits.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot).
    pub fn begin(&self) -> Result<Transaction> {
        Ok(Transaction::new(self.inner.clone(), self.snapshot()?))
    }

    /// Starts a transaction on a version that was read before: what was committed since, to the same rows, makes its
    /// commit a conflict.
    ///
    /// # Errors
    /// `Invalid` for a snapshot of another store.
    pub fn begin_at(&self, base: &Arc<Snapshot>) -> Result<Transaction> {
        if !base.is_of(&self.inner) {
            return Err(Error::invalid("the snapshot is one of another store"));
        }
        Ok(Transaction::new(self.inner.clone(), base.clone()))
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Whether both handles are the same open store.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// The path, or `memory`.
    pub fn describe(&self) -> String {
        self.inner.storage.describe()
    }

    /// How many frames of compressed shards were decompressed through this handle, for tests that count.
    #[cfg(any(test, feature = "testing"))]
    pub fn frames_decompressed(&self) -> u64 {
        self.inner.frames.decompressed()
    }

    /// Waits until compaction has looked at everything that was committed, for tests.
    #[cfg(any(test, feature = "testing"))]
    pub fn wait_for_compaction(&self) {
        self.inner.compaction.wait();
    }

    /// Whether it was opened read-only.
    pub fn read_only(&self) -> bool {
        self.inner.read_only()
    }
}

impl From<Arc<Inner>> for Store {
    fn from(inner: Arc<Inner>) -> Self {
        Self { inner, _closing: None }
    }
}

impl Inner {
    /// The newest committed version.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub(crate) fn snapshot(self: &Arc<Self>) -> Result<Arc<Snapshot>> {
        let named = |e: Error| e.with("store", self.storage.describe());
        loop {
            let state = self.log.newest().map_err(named)?;
            // It expired just now: then there is a newer one.
            if let Some(snapshot) = self.pinned(state).map_err(named)? {
                return Ok(snapshot);
            }
        }
    }

    /// A committed version.
    ///
    /// # Errors
    /// As [`Store::at`].
    pub(crate) fn at(self: &Arc<Self>, version: u64) -> Result<Arc<Snapshot>> {
        let named = |e: Error| e.with("store", self.storage.describe());
        loop {
            let state = self.log.at(version).map_err(named)?;
            // It expired just now: then looking for it again says so.
            if let Some(snapshot) = self.pinned(state).map_err(named)? {
                return Ok(snapshot);
            }
        }
    }

    /// A snapshot of a committed version that VACUUM sees; `None` if the version has expired.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub(crate) fn pinned(self: &Arc<Self>, state: Arc<State>) -> Result<Option<Arc<Snapshot>>> {
        let (hold, unsure) = self.pins.hold(state.version);
        if unsure {
            // VACUUM commits what expires before it looks at the pins.
            if !self.log.is_readable(state.version)? {
                return Ok(None);
            }
            self.pins.confirm(state.version);
        }
        Ok(Some(Arc::new(Snapshot::new(self.clone(), state, hold))))
    }

    /// Keeps VACUUM off older versions, all at once.
    ///
    /// # Errors
    /// `Conflict` (to be tried again) when one of them expired just now.
    pub(crate) fn hold_all(self: &Arc<Self>, newest: &State, versions: impl Iterator<Item = u64>) -> Result<Holds> {
        let holds = self.pins.hold_all(versions);
        // VACUUM commits what expires before it looks at the pins.
        let now = self.log.newest()?;
        if now.expired != newest.expired || !newest.tags.values().all(|&tagged| now.is_readable(tagged)) {
            return Err(Error::conflict("versions expired while they were being packed; run it again"));
        }
        Ok(holds)
    }

    pub(crate) fn read_only(&self) -> bool {
        self.options.read_only || self.storage.read_only()
    }

    /// Refuses writes where there can be none.
    ///
    /// # Errors
    /// `ReadOnly`; `OutcomeUnknown` after a failed sync.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.read_only() {
            return Err(Error::read_only("the store was opened read-only").with("store", self.storage.describe()));
        }
        if self.poisoned.load(Ordering::Acquire) {
            let why = "a sync failed earlier, so that what is on disk is not known; reopen the store to write to it";
            return Err(Error::new(ErrorKind::OutcomeUnknown, why).with("store", self.storage.describe()));
        }
        Ok(())
    }

    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }
}

/// Finds the store's directories, and says how many hold its files.
pub(crate) fn place(storage: &dyn Storage, file: &StoreFile, options: &OpenOptions) -> Result<u16> {
    let dirs = if options.dirs.is_empty() { file.dirs.clone() } else { placement::absolute(&options.dirs)? };
    if dirs.len() != file.dirs.len() {
        let why = format!("{} further directories were given, and the store has {}", dirs.len(), file.dirs.len());
        return Err(Error::invalid(format!("{why}; it keeps those that it was created with")));
    }
    storage.place(&dirs)?;
    placement::check(storage, file.id, &dirs)?;
    u16::try_from(dirs.len() + 1).map_err(|e| Error::corrupt("the store has too many directories").because(e))
}

pub(crate) fn read_store_file(storage: &dyn Storage) -> Result<Option<StoreFile>> {
    #[derive(Deserialize)]
    struct Format {
        format: u64,
    }
    let Some(bytes) = storage.read(STORE_FILE)? else { return Ok(None) };
    let bad = |e: serde_json::Error| Error::corrupt(format!("{STORE_FILE} is not understood")).because(e);
    let Format { format } = serde_json::from_slice(&bytes).map_err(bad)?;
    if format > FORMAT {
        return Err(Error::unsupported(format!(
            "the store has format version {format}, and this program reads up to {FORMAT}; use a newer hyperslab"
        )));
    }
    let file: StoreFile = serde_json::from_slice(&bytes).map_err(bad)?;
    if file.format == 0 {
        return Err(Error::corrupt(format!("{STORE_FILE} names the format version 0, which does not exist")));
    }
    Ok(Some(file))
}

/// Creates a store where there is nothing: its first log entry, then, as the last step, `hyperslab.json`.
fn create(storage: &dyn Storage, options: &OpenOptions) -> Result<StoreFile> {
    check_empty(storage)?;
    if !options.create || options.read_only || storage.read_only() {
        return Err(Error::not_found("there is no store; create it by opening it without read-only"));
    }
    let _lock = storage.lock(options.lock_timeout)?;
    if let Some(file) = read_store_file(storage)? {
        return Ok(file); // another process was faster
    }
    check_empty(storage)?;
    let first = Entry {
        version: 0,
        base: 0,
        txn: Id::random(),
        prev: Crc::default(),
        time: now(),
        sync: SyncMode::Full,
        writer: WRITER.to_owned(),
        message: None,
        actions: vec![Action::Protocol(Protocol::default())],
    };
    // The store's id is its first transaction's, so that whoever finishes what a killed process began uses the same.
    let id = match Log::create(storage, &first) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => first_txn(storage)?.ok_or(e)?,
        done => done.map(|()| first.txn)?,
    };
    let dirs = placement::absolute(&options.dirs)?;
    storage.place(&dirs)?;
    placement::create(storage, id, &dirs)?;
    let file = StoreFile { format: FORMAT, id, in_place: storage.in_place(), dirs };
    storage.create_new_synced(STORE_FILE, &to_bytes(&file)?)?;
    storage.sync_folder("")?;
    Ok(file)
}

/// The transaction of the first log entry, which a process wrote that was killed before the store was there.
fn first_txn(storage: &dyn Storage) -> Result<Option<Id>> {
    let path = layout::entry(0);
    let Some(bytes) = storage.read(&path)? else { return Ok(None) };
    Entry::parse(&bytes, &path).map(|(entry, _)| Some(entry.txn))
}

/// Refuses a place that holds anything but the beginnings of a store that was not finished.
fn check_empty(storage: &dyn Storage) -> Result<()> {
    let names = storage.list("")?;
    // A storage to which every path is just a name lists the further directories here.
    let ours =
        |name: &String| name == LOG || name == STORE_FILE || layout::dir_of(name).is_some_and(|(dir, _)| dir > 0);
    if let Some(other) = names.iter().find(|name| !ours(name)) {
        return Err(Error::invalid(format!(
            "the folder is not empty and is no store: it holds {other:?} and no {STORE_FILE}"
        )));
    }
    let log = storage.list(LOG)?;
    if log.iter().any(|name| !matches!(LogFile::parse(name), None | Some(LogFile::Entry(0)))) {
        return Err(Error::corrupt(format!("{STORE_FILE} is missing, and there is a log")));
    }
    Ok(())
}
