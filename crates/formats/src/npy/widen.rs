//! `npy_ensure_appendable`: room in the header, without a moment at which a crash loses data.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use hyperslab_core::{Error, Result};

use super::growth::Header;
use super::lock::{open_locked, real};
use super::recover::write_header;
use crate::output::{folder, sync_folder, temporary};

mod shift;

/// How [`npy_ensure_appendable`] moves the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Widen {
    /// The file is copied and the copy takes its name and its mode: needs as much disk again, and leaves those who have
    /// the old file open with that.
    #[default]
    Copy,
    /// The data is shifted within the file, part by part, each kept in a journal beside it (`.NAME.widen`) until it is
    /// written. A call that was broken off makes the file unreadable (its version becomes 255) until the next one
    /// completes it.
    InPlace,
}

/// Sees to it that a `.npy` file's header has room for any length of its growth axis, so that appending changes nothing
/// but the header and the end of the file. Returns whether anything had to be changed. The file's mode is kept.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("a.npy");
/// use hyperslab_formats::npy::{Widen, npy_ensure_appendable, npy_info};
///
/// // As NumPy wrote files before version 1.23: a header of 80 bytes, without room.
/// let dict = "{'descr': '<i8', 'fortran_order': False, 'shape': (123456789,), }    \n";
/// std::fs::write(&path, [b"\x93NUMPY\x01\x00F\x00", dict.as_bytes(), &[7; 123]].concat())?;
/// assert!(!npy_info(&path)?.appendable);
/// assert!(npy_ensure_appendable(&path, Widen::InPlace)?);
/// assert!(npy_info(&path)?.appendable && !npy_ensure_appendable(&path, Widen::InPlace)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `Invalid` for an array without axes; `Corrupt` for a header that is not understood; `Unsupported` for dtypes
/// that are not read; `NotFound`; `ReadOnly`; `Io`.
pub fn npy_ensure_appendable(path: impl AsRef<Path>, how: Widen) -> Result<bool> {
    let path = &real(path.as_ref())?;
    let mut file = open_locked(path, true)?;
    if journal(path).exists() && shift::resume(&mut file, path)? {
        return Ok(true);
    }
    let header = Header::read(&mut file, path)?;
    let wide = header.with_room().map_err(|e| e.with("file", path.display()))?;
    if wide == header {
        return Ok(false);
    }
    if wide.len() == header.len() {
        write_header(&mut file, &wide).map_err(|e| Error::io("widening", path.display(), e))?;
        return Ok(true);
    }
    match how {
        Widen::Copy => copy(&mut file, &header, &wide, path).map_err(|e| Error::io("widening", path.display(), e))?,
        Widen::InPlace => shift::start(&mut file, &header, &wide, path)?,
    }
    Ok(true)
}

/// The journal of a file whose data is being shifted.
fn journal(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    folder(path).join(format!(".{name}.widen"))
}

/// Refuses a file whose data was being shifted when that was broken off.
pub(super) fn refuse_interrupted(path: &Path) -> Result<()> {
    if journal(path).exists() {
        return Err(Error::conflict(
            "the header was being widened in place and that was broken off or is under way; complete it with \
             npy_ensure_appendable",
        )
        .with("file", path.display()));
    }
    Ok(())
}

fn copy(file: &mut File, header: &Header, wide: &Header, path: &Path) -> io::Result<()> {
    let mut to = temporary(folder(path))?;
    let metadata = file.metadata()?;
    to.write_all(wide.bytes())?;
    file.seek(SeekFrom::Start(header.len()))?;
    io::copy(file, to.as_file_mut())?;
    keep_owner(to.as_file(), &metadata);
    to.as_file().set_permissions(metadata.permissions())?;
    to.as_file().sync_all()?;
    to.persist(path).map_err(|e| e.error)?;
    sync_folder(path)
}

/// The owner and the group, where we may give files away.
fn keep_owner(to: &File, metadata: &std::fs::Metadata) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let _ = fchown(to, Some(metadata.uid()), Some(metadata.gid()));
    }
    #[cfg(not(unix))]
    let _ = (to, metadata);
}

/// Reads exactly `length` bytes at a position.
fn read_at(file: &mut File, start: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Writes bytes at a position.
pub(super) fn write_at(file: &mut File, start: u64, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(start))?;
    #[cfg(test)]
    if let Some(torn) = tests::torn(bytes) {
        file.write_all(torn)?;
        return Err(io::Error::other("a crash"));
    }
    file.write_all(bytes)
}

#[cfg(test)]
mod tests;
