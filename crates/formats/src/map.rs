//! Files mapped into memory, shared with Arrow without copies.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

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
    bytes: Bytes,
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
        Self::of(File::open(path).map_err(not_opened)?, path)
    }

    /// Maps an open file, which errors call `path`.
    pub(crate) fn of(file: File, path: &Path) -> Result<Self> {
        let metadata = file.metadata().map_err(|e| Error::io("opening", path.display(), e))?;
        // An empty file cannot be mapped everywhere.
        let bytes = if metadata.len() == 0 {
            Bytes::new()
        } else {
            Bytes::from_owner(map(&file).map_err(|e| Error::io("mapping", path.display(), e))?)
        };
        Ok(Self { path: path.to_owned(), descriptor: Descriptor::keep(file), identity: identity(&metadata), bytes })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Checks that the file still has `needed` bytes. Touching a mapped page beyond a file's end kills the process, so
    /// this precedes every read.
    pub(crate) fn check_length(&self, needed: u64) -> Result<()> {
        let metadata = match &self.descriptor {
            Some(descriptor) => descriptor.0.metadata(),
            None => match std::fs::metadata(&self.path) {
                // Another file took the name: the mapped one lives on, nameless, for as long as it is mapped.
                Ok(metadata) if identity(&metadata) != self.identity => return Ok(()),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                other => other,
            },
        };
        let length = metadata.map_err(|e| Error::io("reading the length of", self.path.display(), e))?.len();
        if length < needed {
            return Err(Error::corrupt(format!(
                "{} shrank while it was open: {needed} bytes are needed and {length} are there; open it again",
                self.path.display()
            )));
        }
        Ok(())
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
    // pattern of which is valid (bools are tested against 0), and `check_length` turns a file that shrank into an
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
        mapped.check_length(10).unwrap();
        let unwatched = MappedFile { descriptor: None, ..MappedFile::open(&path).unwrap() };
        unwatched.check_length(10).unwrap();

        File::options().write(true).open(&path).unwrap().set_len(9).unwrap();
        for file in [&mapped, &unwatched] {
            let error = file.check_length(10).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.to_string().contains("10 bytes are needed and 9"), "{error}");
            file.check_length(9).unwrap();
        }

        // A replaced file leaves the mapped one alone.
        std::fs::write(folder.path().join("b"), b"").unwrap();
        std::fs::rename(folder.path().join("b"), &path).unwrap();
        mapped.check_length(9).unwrap();
        unwatched.check_length(9).unwrap();
        std::fs::remove_file(&path).unwrap();
        unwatched.check_length(9).unwrap();
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
        assert!(files.iter().all(|f| f.check_length(4).is_ok()));
    }
}
