//! Files of which only one process changes the length at a time.

use std::fs::{File, Metadata, TryLockError};
use std::path::{Path, PathBuf};

use hyperslab_core::{Error, Result};

/// Opens a file to be changed, and locks it against others that do so by this module. The lock goes with the file.
///
/// # Errors
/// `NotFound`; `Conflict`, retryable, when another one has the lock and `wait` is false; `Invalid` for what is no
/// regular file; `Io`.
pub(super) fn open_locked(path: &Path, wait: bool) -> Result<File> {
    loop {
        let file = open(path)?;
        if wait {
            file.lock().map_err(|e| Error::io("locking", path.display(), e))?;
        } else {
            file.try_lock().map_err(|e| match e {
                TryLockError::WouldBlock => Error::conflict("another one is appending to the file; try again later")
                    .with("file", path.display()),
                TryLockError::Error(e) => Error::io("locking", path.display(), e),
            })?;
        }
        // While we waited, another file may have taken the name.
        if is_at(&file, path) {
            return Ok(file);
        }
    }
}

fn open(path: &Path) -> Result<File> {
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(format!("there is no file {}", path.display())),
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            Error::read_only(format!("{} may not be written", path.display())).because(e)
        }
        _ => Error::io("opening", path.display(), e),
    };
    // Opening a pipe would wait for a writer, so look first.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Error::invalid(format!("{} is not a regular file", path.display())));
    }
    File::options().read(true).write(true).open(path).map_err(failed)
}

/// Whether an open file is the one that has the name.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => same(&open, &named),
        // Whoever opens the name again says what is wrong with it.
        _ => false,
    }
}

#[cfg(unix)]
fn same(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn same(_a: &Metadata, _b: &Metadata) -> bool {
    true // A locked file is not replaced there.
}

/// The path that a link leads to, so that what lies beside the file is found by every name of it.
pub(super) fn real(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(format!("there is no file {}", path.display())),
        _ => Error::io("opening", path.display(), e),
    })
}
