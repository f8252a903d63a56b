//! Packs: a hundred log entries in one file, one line each, unchanged.

use std::ops::RangeInclusive;

use hyperslab_core::{Error, ErrorKind, Result};

use super::entry::damaged;
use crate::Storage;
use crate::layout::{self, LOG, LOOSE_ENTRIES};

/// Packs the entries of `versions` and removes their own files, oldest first. Nothing happens while one of them is
/// missing (another process is packing).
///
/// The pack is durable before the first file goes.
pub(crate) fn pack(storage: &dyn Storage, versions: RangeInclusive<u64>) -> Result<bool> {
    let path = layout::pack(&versions);
    let mut bytes = Vec::new();
    for version in versions.clone() {
        match storage.read(&layout::entry(version))? {
            Some(entry) => bytes.extend_from_slice(&entry),
            None if storage.len(&path)?.is_some() => break,
            None => return Ok(false),
        }
    }
    match storage.len(&path)? {
        Some(_) => storage.sync_file(&path)?,
        None => match storage.create_new_synced(&path, &bytes) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => storage.sync_file(&path)?,
            done => done?,
        },
    }
    storage.sync_folder(LOG)?;
    for version in versions {
        storage.remove(&layout::entry(version))?;
    }
    Ok(true)
}

/// The first versions of the packs that are due: full hundreds from `first_loose` up to `checkpoint`, of which the
/// newest entries of `newest` stay loose.
pub(crate) fn due(first_loose: u64, checkpoint: u64, newest: u64) -> impl Iterator<Item = RangeInclusive<u64>> {
    let end = checkpoint.min(newest.saturating_sub(LOOSE_ENTRIES)) + 1;
    let first = first_loose / LOOSE_ENTRIES;
    (first..end / LOOSE_ENTRIES).map(|k| k * LOOSE_ENTRIES..=k * LOOSE_ENTRIES + LOOSE_ENTRIES - 1)
}

/// The lines of a pack, with their newlines, in the order of their versions; or `None` if there is no such pack.
///
/// # Errors
/// `Corrupt`, naming the file, when it does not hold one line for each version.
pub(crate) fn read(storage: &dyn Storage, versions: &RangeInclusive<u64>) -> Result<Option<Vec<Vec<u8>>>> {
    let path = layout::pack(versions);
    let Some(bytes) = storage.read(&path)? else { return Ok(None) };
    let lines: Vec<Vec<u8>> = bytes.split_inclusive(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
    let expected = versions.end().saturating_sub(*versions.start()).saturating_add(1);
    if lines.len() as u64 != expected {
        let why = format!("it holds {} entries, and its name says {expected}", lines.len());
        return Err(damaged(&path, Error::corrupt(why)));
    }
    Ok(Some(lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_hundred_stay_loose() {
        let due = |first, checkpoint, newest| due(first, checkpoint, newest).collect::<Vec<_>>();
        assert_eq!(due(0, 250, 198), []);
        assert_eq!(due(0, 98, 500), []);
        assert_eq!(due(0, 99, 199), [0..=99]);
        assert_eq!(due(0, 420, 420), [0..=99, 100..=199, 200..=299]);
        assert_eq!(due(200, 420, 420), [200..=299]);
        assert_eq!(due(300, 420, 420), []);
    }
}
