//! A store in a folder of a local (or mounted) file system.

mod descriptors;
mod filesystem;
mod lock;
mod map;
mod pin;
mod temporary;

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind as Io, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use arrow_buffer::{Buffer, MutableBuffer};
use hyperslab_core::{Error, Result};

use self::descriptors::Descriptors;
use self::lock::FileLock;
use super::path::{check_file, check_folder, check_range, missing};
use super::{FileInfo, FileRange, LockGuard, PinFile, PinGuard, Storage};
use crate::layout::{LOCK, PAGE, PINS, TEMP_PREFIX, dir_of};

use filesystem::detect_in_place;
use temporary::move_file;
pub(crate) use temporary::{Temporary, exchange, publish, rename_folder, temporary_name};

/// A folder. It need not exist to be opened; the first write makes it.
#[derive(Debug)]
pub struct LocalStorage {
    root: PathBuf,
    read_only: bool,
    in_place: bool,
    /// Open files that were written to, so that many small appends cost one open.
    descriptors: Descriptors,
    /// Folders whose own names are durable.
    durable: Mutex<HashSet<PathBuf>>,
    lock: OnceLock<Arc<FileLock>>,
    dirs: OnceLock<Dirs>,
}

/// Where the store's further directories are.
#[derive(Debug)]
struct Dirs {
    roots: Vec<PathBuf>,
    in_place: bool,
}

impl LocalStorage {
    /// The folder at `path`; `in_place` says whether committed files may grow, and is found out if `None`.
    ///
    /// # Errors
    /// `Invalid` when `path` is there and no folder.
    pub fn open(path: impl AsRef<Path>, read_only: bool, in_place: Option<bool>) -> Result<Self> {
        let path = path.as_ref();
        let root = std::path::absolute(path).map_err(|e| Error::io("opening", path.display(), e))?;
        if fs::metadata(&root).is_ok_and(|found| !found.is_dir()) {
            return Err(Error::invalid(format!("{} is a file; a store is a folder", root.display())));
        }
        Ok(Self {
            in_place: in_place.unwrap_or_else(|| detect_in_place(&root)),
            root,
            read_only,
            descriptors: Descriptors::default(),
            durable: Mutex::default(),
            lock: OnceLock::new(),
            dirs: OnceLock::new(),
        })
    }

    /// Where a file of the store is.
    fn resolve(&self, path: &str) -> Result<PathBuf> {
        check_file(path)?;
        let (root, path) = self.root_of(path)?;
        Ok(root.join(path))
    }

    fn resolve_folder(&self, folder: &str) -> Result<PathBuf> {
        check_folder(folder)?;
        let (root, path) = self.root_of(folder)?;
        Ok(if path.is_empty() { root.to_path_buf() } else { root.join(path) })
    }

    /// The directory that a path is in, and the rest of the path.
    fn root_of<'a>(&self, path: &'a str) -> Result<(&Path, &'a str)> {
        let found = dir_of(path).and_then(|(dir, rest)| match dir {
            0 => Some((self.root.as_path(), rest)),
            _ => Some((self.roots().get(usize::from(dir) - 1)?.as_path(), rest)),
        });
        found.ok_or_else(|| {
            let why = format!("the log names {path}, and the store has {} further directories", self.roots().len());
            Error::corrupt(why)
        })
    }

    fn roots(&self) -> &[PathBuf] {
        self.dirs.get().map(|dirs| dirs.roots.as_slice()).unwrap_or_default()
    }

    fn resolve_for_writing(&self, path: &str) -> Result<PathBuf> {
        let path = self.resolve(path)?;
        if self.read_only {
            let message = format!("cannot write {}: the store was opened read-only", path.display());
            return Err(Error::read_only(message));
        }
        Ok(path)
    }

    fn durable(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `open`, and once more after making the folder of `path` if that is missing.
    fn with_folder(&self, path: &Path, open: impl Fn() -> io::Result<File>) -> Result<File> {
        let file = match (open(), path.parent()) {
            (Err(e), Some(folder)) if e.kind() == Io::NotFound => {
                fs::create_dir_all(folder).map_err(|e| write_failed("creating", folder, e))?;
                self.durable().clear();
                open()
            }
            (result, _) => result,
        };
        file.map_err(|e| write_failed("creating", path, e))
    }

    /// Writes the bytes to a new file beside `path`, under a name that nobody else uses.
    fn write_temporary(&self, path: &Path, bytes: &[u8], sync: bool) -> Result<Temporary> {
        let temporary = Temporary::beside(path);
        let open = || OpenOptions::new().write(true).create_new(true).open(&temporary.0);
        let mut file = self.with_folder(&temporary.0, open)?;
        file.write_all(bytes).map_err(|e| write_failed("writing", path, e))?;
        if sync {
            file.sync_data().map_err(|e| Error::io("syncing", path.display(), e))?;
        }
        Ok(temporary)
    }

    fn create(&self, path: &str, bytes: &[u8], sync: bool) -> Result<()> {
        let path = self.resolve_for_writing(path)?;
        let temporary = self.write_temporary(&path, bytes, sync)?;
        publish(temporary, &path).map_err(|e| match e.kind() {
            Io::AlreadyExists => Error::already_exists(format!("the file {} exists", path.display())),
            _ => write_failed("creating", &path, e),
        })
    }

    fn open_for_writing(&self, path: &str, full: &Path) -> Result<Arc<File>> {
        if let Some(file) = self.descriptors.get(path) {
            return Ok(file);
        }
        let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(full);
        let file = Arc::new(self.with_folder(full, open)?);
        self.descriptors.put(path, file.clone());
        Ok(file)
    }

    /// Opens a file to map a range of it, which it must hold.
    fn open_range(&self, range: &FileRange) -> Result<File> {
        let path = self.resolve(&range.path)?;
        let file = File::open(&path).map_err(|e| match e.kind() {
            Io::NotFound => missing(&range.path).with("store", self.root.display()),
            _ => Error::io("opening", path.display(), e),
        })?;
        let found = file.metadata().map_err(|e| Error::io("reading the length of", path.display(), e))?;
        check_range(&range.path, found.len(), range.offset, range.len)
            .map_err(|e| e.with("store", self.root.display()))?;
        Ok(file)
    }
}

impl Storage for LocalStorage {
    fn describe(&self) -> String {
        self.root.display().to_string()
    }

    fn place(&self, dirs: &[String]) -> Result<()> {
        let roots: Vec<PathBuf> = dirs.iter().map(PathBuf::from).collect();
        if let Some(dir) = roots.iter().find(|dir| dir.starts_with(&self.root)) {
            return Err(Error::invalid(format!("the directory {} is in the store itself", dir.display())));
        }
        if let Some(dir) = roots.iter().find(|dir| fs::metadata(dir).is_ok_and(|found| !found.is_dir())) {
            return Err(Error::invalid(format!("{} is a file, not a directory for shards", dir.display())));
        }
        let in_place = roots.iter().all(|dir| detect_in_place(dir));
        let placed = self.dirs.get_or_init(|| Dirs { roots: roots.clone(), in_place });
        match placed.roots == roots {
            true => Ok(()),
            false => Err(Error::invalid("the store's directories were changed while it was opened; open it again")),
        }
    }

    fn in_place(&self) -> bool {
        self.in_place && self.dirs.get().is_none_or(|dirs| dirs.in_place)
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn map(&self, ranges: &[FileRange]) -> Result<Option<Buffer>> {
        let ranges = joined(ranges);
        let lens = ranges.iter().map(|range| to_usize(range.len, &range.path)).collect::<Result<Vec<_>>>()?;
        match (ranges.as_slice(), lens.as_slice()) {
            ([], _) => Ok(Some(MutableBuffer::new(0).into())),
            ([range], [len]) => {
                let mapped = map::single(&self.open_range(range)?, range.offset, *len);
                mapped.map(Some).map_err(|e| Error::io("mapping", self.root.join(&range.path).display(), e))
            }
            ([body @ .., last], lens) => {
                // Where the system's pages are larger than ours, it refuses the map itself.
                let whole = body.iter().all(|range| (range.offset | range.len) % PAGE == 0);
                if !whole || last.offset % PAGE != 0 {
                    return Ok(None);
                }
                map::contiguous(lens, |piece| match ranges.get(piece) {
                    Some(range) => Ok((self.open_range(range)?, range.offset)),
                    None => Err(Error::invalid("there is no such piece")),
                })
            }
        }
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let path = self.resolve(path)?;
        found(fs::read(&path)).map_err(|e| Error::io("reading", path.display(), e))
    }

    fn len(&self, path: &str) -> Result<Option<u64>> {
        let path = self.resolve(path)?;
        let len = found(fs::metadata(&path)).map_err(|e| Error::io("reading the length of", path.display(), e))?;
        Ok(len.map(|found| found.len()))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let path = self.resolve_folder(folder)?;
        let failed = |e| Error::io("listing", path.display(), e);
        let Some(entries) = found(fs::read_dir(&path)).map_err(failed)? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            // A name that is no text is not ours, and a temporary file is not there yet.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !name.starts_with(TEMP_PREFIX) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create_new(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.create(path, bytes, false)
    }

    fn create_new_synced(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.create(path, bytes, true)
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let full = self.resolve_for_writing(path)?;
        let temporary = self.write_temporary(&full, bytes, false)?;
        self.descriptors.forget(path);
        fs::rename(&temporary.0, &full).map_err(|e| write_failed("replacing", &full, e))?;
        temporary.done();
        Ok(())
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        let full = self.resolve_for_writing(path)?;
        let file = self.open_for_writing(path, &full)?;
        write_all_at(&file, bytes, offset).map_err(|e| write_failed("writing", &full, e))
    }

    fn remove(&self, path: &str) -> Result<()> {
        let full = self.resolve_for_writing(path)?;
        self.descriptors.forget(path);
        found(fs::remove_file(&full)).map(drop).map_err(|e| write_failed("removing", &full, e))
    }

    fn files(&self, folder: &str) -> Result<Vec<FileInfo>> {
        let path = self.resolve_folder(folder)?;
        let failed = |e| Error::io("listing", path.display(), e);
        let Some(entries) = found(fs::read_dir(&path)).map_err(failed)? else { return Ok(Vec::new()) };
        let now = SystemTime::now();
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // What went meanwhile is not there.
            let Some(found) = found(entry.metadata()).map_err(failed)? else { continue };
            if !found.is_dir() {
                files.push(FileInfo { name, bytes: found.len(), age: age(&found, now) });
            }
        }
        Ok(files)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (old, new) = (self.resolve_for_writing(from)?, self.resolve_for_writing(to)?);
        if let Some(folder) = new.parent().filter(|folder| !folder.is_dir()) {
            fs::create_dir_all(folder).map_err(|e| write_failed("creating", folder, e))?;
            self.durable().clear();
        }
        self.descriptors.forget(from);
        move_file(&old, &new).map_err(|e| match e.kind() {
            Io::NotFound => Error::not_found(format!("there is no file {}", old.display())),
            Io::AlreadyExists => Error::already_exists(format!("the file {} exists", new.display())),
            _ => write_failed("renaming", &old, e),
        })
    }

    fn remove_folder(&self, folder: &str) -> Result<()> {
        let path = self.resolve_for_writing(folder)?;
        match fs::remove_dir(&path) {
            Err(e) if !matches!(e.kind(), Io::NotFound | Io::DirectoryNotEmpty) => {
                Err(write_failed("removing", &path, e))
            }
            _ => {
                self.durable().remove(&path);
                Ok(())
            }
        }
    }

    fn pin(&self) -> Result<Option<Box<dyn PinGuard>>> {
        let folder = self.resolve_for_writing(PINS)?;
        Ok(Some(Box::new(pin::LocalPin::new(&folder)?)))
    }

    fn pins(&self) -> Result<Vec<PinFile>> {
        let folder = self.resolve(PINS)?;
        let mut pins = Vec::new();
        for file in self.files(PINS)? {
            // Only the file systems known to be local are known to lock between all who use them.
            if !file.name.starts_with(TEMP_PREFIX)
                && let Some(pin) = pin::look(&folder, file, self.in_place, self.read_only)?
            {
                pins.push(pin);
            }
        }
        Ok(pins)
    }

    fn sync_file(&self, path: &str) -> Result<()> {
        let full = self.resolve_for_writing(path)?;
        // The descriptor that wrote reports what became of its writes; another may not.
        let file = match self.descriptors.get(path) {
            Some(file) => file,
            None => match OpenOptions::new().write(true).open(&full) {
                Ok(file) => Arc::new(file),
                Err(e) if e.kind() == Io::NotFound => {
                    return Err(Error::not_found(format!("there is no file {}", full.display())));
                }
                Err(e) => return Err(write_failed("syncing", &full, e)),
            },
        };
        file.sync_data().map_err(|e| Error::io("syncing", full.display(), e))
    }

    fn sync_folder(&self, folder: &str) -> Result<()> {
        let path = self.resolve_folder(folder)?;
        let failed = |path: &Path, e| Error::io("syncing", path.display(), e);
        sync_names(&path).map_err(|e| failed(&path, e))?;
        // The folder's own name is in its parent, and so on up to the store's own.
        let mut done = Vec::new();
        let mut folder = path.as_path();
        while !self.durable().contains(folder) {
            done.push(folder.to_path_buf());
            let Some(parent) = folder.parent() else { break };
            let synced = sync_names(parent);
            if folder == self.root || self.roots().iter().any(|root| root == folder) {
                // What is above the store need not be ours to read.
                match synced {
                    Err(e) if e.kind() == Io::PermissionDenied => {}
                    other => other.map_err(|e| failed(parent, e))?,
                }
                break;
            }
            synced.map_err(|e| failed(parent, e))?;
            folder = parent;
        }
        self.durable().extend(done);
        Ok(())
    }

    fn lock(&self, timeout: Duration) -> Result<Box<dyn LockGuard>> {
        let path = self.resolve_for_writing(LOCK)?;
        let lock = match self.lock.get() {
            Some(lock) => lock,
            None => {
                let lock = FileLock::of(&path)?;
                self.durable().clear();
                self.lock.get_or_init(|| lock)
            }
        };
        lock.acquire(timeout)
    }
}

/// The time since a file was written to.
fn age(found: &fs::Metadata, now: SystemTime) -> Duration {
    found.modified().ok().and_then(|written| now.duration_since(written).ok()).unwrap_or_default()
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        if written == 0 {
            return Err(Io::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
        offset += written as u64;
    }
    Ok(())
}

#[cfg(unix)]
fn sync_names(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere folders cannot be synced: the system journals names by itself.
#[cfg(not(unix))]
fn sync_names(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// The ranges without empty ones, and with neighbours in one file joined.
fn joined(ranges: &[FileRange]) -> Vec<FileRange> {
    let mut joined: Vec<FileRange> = Vec::with_capacity(ranges.len());
    for range in ranges.iter().filter(|range| range.len > 0) {
        match joined.last_mut() {
            Some(last) if last.path == range.path && last.offset.checked_add(last.len) == Some(range.offset) => {
                last.len = last.len.saturating_add(range.len);
            }
            _ => joined.push(range.clone()),
        }
    }
    joined
}

fn to_usize(len: u64, path: &str) -> Result<usize> {
    let fits = usize::try_from(len).ok().filter(|&len| isize::try_from(len).is_ok());
    fits.ok_or_else(|| Error::corrupt(format!("{path} cannot be {len} bytes long on this system")))
}

/// `None` for what is not there.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == Io::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The error of a step that writes: `ReadOnly` where the system forbids it.
fn write_failed(doing: &str, path: &Path, source: io::Error) -> Error {
    match source.kind() {
        Io::PermissionDenied | Io::ReadOnlyFilesystem => Error::read_only(format!(
            "{doing} {} is not permitted; open the store read-only, or change who may write there",
            path.display()
        ))
        .because(source),
        _ => Error::io(doing, path.display(), source),
    }
}

#[cfg(test)]
mod tests;
