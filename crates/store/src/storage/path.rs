//! Paths inside a store: they come from the log, so they are not trusted.

use hyperslab_core::{Error, Result};

/// Refuses every path that could name something outside the store, on any system.
pub(crate) fn check_file(path: &str) -> Result<()> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':', '\0']);
    if path.split('/').all(plain) {
        return Ok(());
    }
    Err(Error::corrupt(format!("the log names a path outside the store: {path:?}")))
}

/// Like [`check_file`], and `""` is the store itself.
pub(crate) fn check_folder(folder: &str) -> Result<()> {
    if folder.is_empty() { Ok(()) } else { check_file(folder) }
}

/// The end of a range of a file of `actual` bytes, or the error of a file that is too short for it.
pub(crate) fn check_range(path: &str, actual: u64, offset: u64, len: u64) -> Result<u64> {
    let end = offset.checked_add(len).ok_or_else(|| {
        Error::corrupt(format!("the log names an impossible range of {path}: {len} bytes at {offset}"))
    })?;
    if actual < end {
        return Err(Error::corrupt(format!("shard {path} is shorter than committed: {actual} bytes, {end} needed")));
    }
    Ok(end)
}

/// The error of a file that the log names and that is not there.
pub(crate) fn missing(path: &str) -> Error {
    Error::corrupt(format!("shard {path}, which the log names, is missing"))
}
