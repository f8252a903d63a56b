//! The verifying read: a shard's checksum is compared once, before its first rows are given out.
//!
//! Frames of compressed shards have checksums of their own, which are compared whenever one is read, and so are files of
//! deleted rows; but only the log's tells a whole file that is another one.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyperslab_core::{Error, Result};

use crate::FileRange;
use crate::action::Crc;
use crate::shard::{Kind, Shard};
use crate::store::Inner;

/// So much of a file is looked at at once.
const PIECE: u64 = 8 << 20;

/// The files, and how much of each, that were found to be what was written.
#[derive(Debug, Default)]
pub(crate) struct Verified(Mutex<HashSet<(String, u64)>>);

impl Verified {
    fn files(&self) -> MutexGuard<'_, HashSet<(String, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Compares a shard's values with their checksum, if that was asked for and not done before.
    ///
    /// # Errors
    /// `Corrupt`, naming the file.
    pub(crate) fn verify(&self, shard: &Shard, path: &str) -> Result<()> {
        if self.options.verify { self.compare(shard, path) } else { Ok(()) }
    }

    /// Compares a shard's values with their checksum, if that was not done before.
    ///
    /// # Errors
    /// `Corrupt`, naming the file.
    pub(crate) fn compare(&self, shard: &Shard, path: &str) -> Result<()> {
        let key = (path.to_owned(), shard.bytes);
        if self.verified.files().contains(&key) {
            return Ok(());
        }
        let crc = match shard.kind {
            Kind::Raw => self.crc_of_raw(shard, path)?,
            Kind::Zstd => self.crc_of_compressed(shard, path)?,
        };
        if crc != shard.crc32c {
            return Err(Error::corrupt(format!(
                "shard {path} is not what was written: its values have the checksum {crc}, and the log says {}; \
                 CHECK says what can be saved",
                shard.crc32c
            )));
        }
        self.verified.files().insert(key);
        Ok(())
    }

    fn crc_of_raw(&self, shard: &Shard, path: &str) -> Result<Crc> {
        let (mut crc, mut at) = (Crc::default(), 0);
        while at < shard.bytes {
            let len = PIECE.min(shard.bytes - at);
            let range = FileRange { path: path.to_owned(), offset: shard.offset + at, len };
            let piece = self.storage.map(std::slice::from_ref(&range))?;
            crc = crc.append(&piece.ok_or_else(|| Error::corrupt(format!("{path} cannot be mapped")))?);
            at += len;
        }
        Ok(crc)
    }

    /// Of the uncompressed values, frame by frame; none of them is kept.
    fn crc_of_compressed(&self, shard: &Shard, path: &str) -> Result<Crc> {
        let (values, end) = (shard.offset, shard.offset.saturating_add(shard.bytes));
        let file = self.frames.open(self.storage.as_ref(), path, shard.file_bytes(), end)?;
        let (mut crc, mut at) = (Crc::default(), values);
        while at < end {
            let (index, holds) = file.frame_of(at)?;
            let frame = file.decompress(index)?;
            let skip = usize::try_from(at - holds.start).unwrap_or(usize::MAX);
            crc = crc.append(frame.get(skip..).unwrap_or_default());
            at = holds.end;
        }
        Ok(crc)
    }
}
