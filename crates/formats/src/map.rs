//! Files mapped into memory, shared with Arrow without copies.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use hyperslab_core::{Error, Result};
use memmap2::{Mmap, MmapOptions};

/// How many mapped files keep their descriptor. Those beyond (a glob of thousands) are looked up by path, so that the
/// system's limit of open files is no limit here.
const MAX_DESCRIPTORS: usize = 256;

static DESCRIPTORS: AtomicUsize = AtomicUsize::new(0);

/// A whole regular file, mapped read-only.
#[derive(Debug)]
pub(crate) struct MappedFile {
    path: PathBuf,
    descriptor: Option<Descriptor>,
    identity: Option<(u64, u64)>,
    /// When it was last written to, as far as that is known.
    modified: Option<SystemTime>,
    /// Whether others may append to it.
    may_grow: AtomicBool,
    /// Whether somebody was appending to it when it was opened, who may not have written the header yet.
    is_growing: AtomicBool,
    bytes: Bytes,
}

/// A map, and that it is known for as long as somebody may read it, of which a file's owner need not be the last.
struct KnownMap {
    map: Mmap,
    /// Not of a file that only this process knows.
    _known: Option<Known>,
}

impl AsRef<[u8]> for KnownMap {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

impl MappedFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let not_opened = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => Error::not_found(format!("there is no file {}", path.display())),
            _ => Error::io("opening", path.display(), e),
        };
        // Opening a pipe would wait for a writer, so look first.
        if !std::fs::metadata(path).map_err(not_opened)?.is_file() {
            return Err(Error::invalid(format!("{} is not a regular file", path.display())));
        }
        Self::mapped(File::open(path).map_err(not_opened)?, path, true)
    }

    /// Maps an open file that nobody else knows, which errors call `path`.
    pub(crate) fn of(file: File, path: &Path) -> Result<Self> {
        Self::mapped(file, path, false)
    }

    fn mapped(file: File, path: &Path, others_know_it: bool) -> Result<Self> {
        let metadata = file.metadata().map_err(|e| Error::io("opening", path.display(), e))?;
        // An empty file cannot be mapped everywhere.
        let bytes = if metadata.len() == 0 {
            Bytes::new()
        } else {
            let map = map(&file).map_err(|e| Error::io("mapping", path.display(), e))?;
            let _known = others_know_it.then(|| Known::of(path, map.len() as u64));
            Bytes::from_owner(KnownMap { map, _known })
        };
        Ok(Self {
            path: path.to_owned(),
            descriptor: Descriptor::keep(file),
            identity: identity(&metadata),
            modified: metadata.modified().ok(),
            may_grow: AtomicBool::new(false),
            is_growing: AtomicBool::new(false),
            bytes,
        })
    }

    /// Lets others append to the file: it is of a format that grows in place. `end`: where it ends by its header.
    pub(crate) fn let_it_grow(&self, end: u64) {
        self.may_grow.store(true, Ordering::Relaxed);
        self.is_growing.store(end < self.bytes.len() as u64, Ordering::Relaxed);
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Checks that the file still has `needed` bytes and that nobody wrote to it. Touching a mapped page beyond a file's
    /// end kills the process, so this precedes every read.
    pub(crate) fn check(&self, needed: u64) -> Result<()> {
        let metadata = match &self.descriptor {
            Some(descriptor) => descriptor.0.metadata(),
            None => match std::fs::metadata(&self.path) {
                // Another file took the name: the mapped one lives on, nameless, for as long as it is mapped.
                Ok(metadata) if identity(&metadata) != self.identity => return Ok(()),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                other => other,
            },
        };
        let metadata = metadata.map_err(|e| Error::io("reading the length of", self.path.display(), e))?;
        let length = metadata.len();
        if length < needed {
            return Err(Error::corrupt(format!(
                "{} shrank while it was open: {needed} bytes are needed and {length} are there; open it again",
                self.path.display()
            )));
        }
        let grew = self.may_grow.load(Ordering::Relaxed) && length > self.bytes.len() as u64;
        if metadata.modified().ok() != self.modified && !grew && !self.is_growing.load(Ordering::Relaxed) {
            return Err(Error::corrupt(format!(
                "{} was written to while it was open; open it again",
                self.path.display()
            )));
        }
        Ok(())
    }
}

/// The files that are mapped, with the bytes that they had.
static MAPPED: Mutex<BTreeMap<u64, (PathBuf, u64)>> = Mutex::new(BTreeMap::new());

fn mapped() -> MutexGuard<'static, BTreeMap<u64, (PathBuf, u64)>> {
    MAPPED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The mapped files that have become shorter since, under the names that they were opened by: for what a program says when
/// the system tells it, by SIGBUS, that it read beyond a file's end.
pub fn shrunk_files() -> Vec<PathBuf> {
    let shrunk = |(path, length): &&(PathBuf, u64)| std::fs::metadata(path).is_ok_and(|m| m.len() < *length);
    mapped().values().filter(shrunk).map(|(path, _)| path.clone()).collect()
}

/// An entry of [`MAPPED`], for as long as the file is mapped.
#[derive(Debug)]
struct Known(u64);

impl Known {
    fn of(path: &Path, length: u64) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        mapped().insert(number, (path.to_owned(), length));
        Self(number)
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        mapped().remove(&self.0);
    }
}

#[derive(Debug)]
struct Descriptor(File);

impl Descriptor {
    fn keep(file: File) -> Option<Self> {
        if DESCRIPTORS.fetch_add(1, Ordering::Relaxed) < MAX_DESCRIPTORS {
            return Some(Self(file));
        }
        DESCRIPTORS.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        DESCRIPTORS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Device and inode, where there are such.
fn identity(metadata: &Metadata) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Some((metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        None
    }
}

#[expect(unsafe_code, reason = "mapping a file is the point of this module")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is private to this module and read-only. That nobody else changes the file while it is mapped
    // cannot be enforced; as with numpy.memmap it is the user's to keep. What is read are plain numbers, every bit
    // pattern of which is valid (bools are tested against 0), and `check` turns a file that shrank into an
    // error.
    unsafe { MmapOptions::new().map(file) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use hyperslab_core::ErrorKind;

    use super::*;

    #[test]
    fn maps_and_notices_a_file_that_shrank() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"0123456789").unwrap();
        let mapped = MappedFile::open(&path).unwrap();
        assert_eq!(&mapped.bytes()[..], b"0123456789");
        mapped.check(10).unwrap();
        let mut unwatched = MappedFile::open(&path).unwrap();
        unwatched.descriptor = None;
        unwatched.check(10).unwrap();

        File::options().write(true).open(&path).unwrap().set_len(9).unwrap();
        for file in [&mapped, &unwatched] {
            let error = file.check(10).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.to_string().contains("10 bytes are needed and 9"), "{error}");
            let error = file.check(9).unwrap_err();
            assert!(error.to_string().contains("was written to while it was open"), "{error}");
            file.let_it_grow(10);
            file.check(9).unwrap_err();
            file.let_it_grow(9);
            file.check(9).unwrap();
        }
        assert!(shrunk_files().contains(&path));
        // Who has bytes of it need not have the file.
        let bytes = mapped.bytes().clone();
        drop(mapped);
        assert!(shrunk_files().contains(&path));
        let mapped = unwatched;
        let mut unwatched = MappedFile::open(&path).unwrap();
        unwatched.descriptor = None;

        // A replaced file leaves the mapped one alone.
        std::fs::write(folder.path().join("b"), b"").unwrap();
        std::fs::rename(folder.path().join("b"), &path).unwrap();
        mapped.check(9).unwrap();
        unwatched.check(9).unwrap();
        std::fs::remove_file(&path).unwrap();
        unwatched.check(9).unwrap();
        drop((mapped, unwatched, bytes));
        std::fs::write(&path, b"").unwrap();
        assert!(!shrunk_files().contains(&path));
    }

    #[test]
    fn only_regular_files_are_mapped() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(MappedFile::open(folder.path()).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(MappedFile::open(&folder.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
        std::fs::write(folder.path().join("empty"), b"").unwrap();
        assert!(MappedFile::open(&folder.path().join("empty")).unwrap().bytes().is_empty());
    }

    #[test]
    fn more_files_than_descriptors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"0123").unwrap();
        let files: Vec<_> = (0..MAX_DESCRIPTORS + 9).map(|_| MappedFile::open(&path).unwrap()).collect();
        assert!(files.iter().filter(|f| f.descriptor.is_none()).count() >= 9);
        assert!(files.iter().all(|f| f.check(4).is_ok()));
    }
}
