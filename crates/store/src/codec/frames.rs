//! The compressed files and decompressed frames that the readers of a store share.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_buffer::{Buffer, MutableBuffer};
use hyperslab_core::{Error, Result};

use super::Seekable;
use crate::shard::Shard;
use crate::{FileRange, Storage};

/// The most files that stay open.
const KEPT_FILES: usize = 1024;
/// The most frames that are kept…
const KEPT_FRAMES: usize = 1024;
/// …and their bytes.
const KEPT_BYTES: usize = 64 << 20;

/// Open files, and the frames that were used last.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    kept: Mutex<Kept>,
    decompressed: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    files: HashMap<String, (Arc<Seekable>, u64)>,
    frames: HashMap<(String, usize), (Buffer, u64)>,
    bytes: usize,
    clock: u64,
}

impl Frames {
    /// A compressed file of `stored` bytes, of `plain` bytes uncompressed.
    ///
    /// # Errors
    /// `Corrupt` for a file that is missing, of another length, or damaged.
    pub(crate) fn open(&self, storage: &dyn Storage, path: &str, stored: u64, plain: u64) -> Result<Arc<Seekable>> {
        let known = {
            let mut kept = self.kept();
            kept.clock += 1;
            let now = kept.clock;
            kept.files.get_mut(path).map(|(file, used)| {
                *used = now;
                file.clone()
            })
        };
        let file = match known {
            Some(file) => file,
            None => {
                let range = FileRange { path: path.to_owned(), offset: 0, len: stored };
                let bytes =
                    storage.map(&[range])?.ok_or_else(|| Error::corrupt(format!("shard {path} has no bytes")))?;
                let file = Arc::new(Seekable::open(path, bytes)?);
                self.kept().put_file(file.clone());
                file
            }
        };
        if file.len() != plain {
            let why = format!("shard {path} holds {} bytes uncompressed, and the log says {plain}", file.len());
            return Err(Error::corrupt(why));
        }
        Ok(file)
    }

    /// What the frame around a byte of the uncompressed file holds: which bytes, and them.
    ///
    /// # Errors
    /// `Corrupt`, naming the file.
    pub(crate) fn around(&self, file: &Seekable, byte: u64) -> Result<(Range<u64>, Buffer)> {
        let (index, holds) = file.frame_of(byte)?;
        Ok((holds, self.frame(file, index)?))
    }

    /// Bytes of the uncompressed file, and how many of them had to be copied together.
    ///
    /// # Errors
    /// `Corrupt`, naming the file.
    pub(crate) fn bytes(&self, file: &Seekable, range: Range<u64>) -> Result<(Buffer, u64)> {
        let part = |holds: &Range<u64>, frame: &Buffer, from: u64| {
            let end = range.end.min(holds.end);
            frame.slice_with_length((from - holds.start) as usize, (end - from) as usize)
        };
        if range.is_empty() {
            return Ok((MutableBuffer::new(0).into(), 0));
        }
        let (holds, frame) = self.around(file, range.start)?;
        if range.end <= holds.end {
            return Ok((part(&holds, &frame, range.start), 0));
        }
        // More than there is must not be allocated.
        file.frame_of(range.end - 1)?;
        let mut joined = MutableBuffer::with_capacity((range.end - range.start) as usize);
        let mut next = range.start;
        while next < range.end {
            let (holds, frame) = self.around(file, next)?;
            joined.extend_from_slice(&part(&holds, &frame, next));
            next = holds.end;
        }
        Ok((joined.into(), range.end - range.start))
    }

    /// The rows of a compressed shard that lie in one frame with `row`, which counts from the shard's first: which rows,
    /// their bytes, and how many of these had to be copied. (A row may be larger than a frame.)
    ///
    /// # Errors
    /// `Corrupt`, naming the file.
    pub(crate) fn rows(
        &self,
        storage: &dyn Storage,
        path: &str,
        shard: &Shard,
        row_bytes: u64,
        row: u64,
    ) -> Result<(Range<u64>, Buffer, u64)> {
        let file = self.open(storage, path, shard.file_bytes(), shard.offset.saturating_add(shard.bytes))?;
        let at = |row: u64| shard.offset + row * row_bytes;
        let (_, holds) = file.frame_of(at(row))?;
        let first = holds.start.saturating_sub(shard.offset).div_ceil(row_bytes.max(1));
        let end = holds.end.saturating_sub(shard.offset) / row_bytes.max(1);
        let rows = if first <= row && row < end { first..end } else { row..row + 1 };
        let (bytes, copied) = self.bytes(&file, at(rows.start)..at(rows.end))?;
        Ok((rows, bytes, copied))
    }

    /// How many frames were decompressed since the store was opened.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn decompressed(&self) -> u64 {
        self.decompressed.load(Ordering::Relaxed)
    }

    fn frame(&self, file: &Seekable, index: usize) -> Result<Buffer> {
        let key = (file.path().to_owned(), index);
        {
            let mut kept = self.kept();
            kept.clock += 1;
            let now = kept.clock;
            if let Some((frame, used)) = kept.frames.get_mut(&key) {
                *used = now;
                return Ok(frame.clone());
            }
        }
        let frame = file.decompress(index)?;
        self.decompressed.fetch_add(1, Ordering::Relaxed);
        self.kept().put_frame(key, frame.clone());
        Ok(frame)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn put_file(&mut self, file: Arc<Seekable>) {
        if self.files.len() >= KEPT_FILES
            && let Some(oldest) = self.files.iter().min_by_key(|(_, (_, used))| *used).map(|(path, _)| path.clone())
        {
            self.files.remove(&oldest);
        }
        self.files.insert(file.path().to_owned(), (file, self.clock));
    }

    fn put_frame(&mut self, key: (String, usize), frame: Buffer) {
        if frame.len() > KEPT_BYTES / 4 || self.frames.contains_key(&key) {
            return;
        }
        while self.frames.len() >= KEPT_FRAMES || self.bytes + frame.len() > KEPT_BYTES {
            let oldest = self.frames.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| key.clone());
            let Some((old, _)) = oldest.and_then(|key| self.frames.remove(&key)) else { break };
            self.bytes -= old.len();
        }
        self.bytes += frame.len();
        self.frames.insert(key, (frame, self.clock));
    }
}
