//! Writes a seekable zstd file, frame by frame.

use hyperslab_core::{Error, Result};
use zstd::bulk::Compressor;

use super::{Codec, FRAME_BYTES, SEEKABLE, SKIPPABLE_HEADER, SKIPPABLE_PADDING, SKIPPABLE_TABLE, TABLE_FOOTER};

/// By how much the frame of the final header may be larger than that of the first one, which claims other rows.
const SLACK: usize = 64;

/// Writes one seekable zstd file. The first frame holds the header, whose final text is known last: room for it is
/// reserved, and what it does not fill is a skippable frame. The frames after it hold whole rows.
pub(crate) struct SeekableWriter {
    compressor: Compressor<'static>,
    /// Bytes of values of a full frame.
    frame: usize,
    /// Values that do not fill a frame yet.
    pending: Vec<u8>,
    /// Of each frame the bytes compressed and uncompressed; the first two are written last.
    table: Vec<(u32, u32)>,
    reserved: usize,
    /// Where the next frame goes.
    at: u64,
}

/// Where the writer puts bytes: a position in the file, and them.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<()>;

impl SeekableWriter {
    /// A file of rows of `row_bytes`, whose header will be about `header`.
    ///
    /// # Errors
    /// `Invalid` for a level that zstd does not know.
    pub(crate) fn new(level: i32, header: &[u8], row_bytes: usize) -> Result<Self> {
        Codec::Zstd(level).check()?;
        let failed = |e| Error::invalid("starting zstd").because(e);
        let mut compressor = Compressor::new(level).map_err(failed)?;
        compressor.include_checksum(true).map_err(failed)?;
        compressor.include_contentsize(true).map_err(failed)?;
        let sample = compressor.compress(header).map_err(failed)?;
        let reserved = sample.len() + SLACK + SKIPPABLE_HEADER;
        // A row that is larger than a frame is cut into frames.
        let frame = if row_bytes > 4 * FRAME_BYTES {
            FRAME_BYTES
        } else {
            (FRAME_BYTES / row_bytes.max(1)).max(1) * row_bytes.max(1)
        };
        Ok(Self { compressor, frame, pending: Vec::new(), table: vec![(0, 0); 2], reserved, at: reserved as u64 })
    }

    /// Takes values, and writes the frames that they fill.
    ///
    /// # Errors
    /// What the sink says; `Invalid` for too much.
    pub(crate) fn write(&mut self, mut values: &[u8], sink: Sink<'_>) -> Result<()> {
        while !values.is_empty() {
            if self.pending.is_empty() && values.len() >= self.frame {
                let (now, later) = values.split_at(self.frame);
                self.put(now, sink)?;
                values = later;
                continue;
            }
            let (now, later) = values.split_at(values.len().min(self.frame - self.pending.len()));
            self.pending.extend_from_slice(now);
            values = later;
            if self.pending.len() == self.frame {
                self.put_pending(sink)?;
            }
        }
        Ok(())
    }

    /// Writes what is left, the table of frames and the header; gives the file's length.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(crate) fn finish(mut self, header: &[u8], sink: Sink<'_>) -> Result<u64> {
        if !self.pending.is_empty() {
            self.put_pending(sink)?;
        }
        let mut head = self.compress(header)?;
        let room = self.reserved.checked_sub(head.len() + SKIPPABLE_HEADER);
        let room = room.ok_or_else(|| Error::invalid("a shard's header compresses to more than was thought"))?;
        let first = (length(head.len())?, length(header.len())?);
        head.extend_from_slice(&SKIPPABLE_PADDING.to_le_bytes());
        head.extend_from_slice(&length(room)?.to_le_bytes());
        head.resize(self.reserved, 0);
        let padding = (length(room + SKIPPABLE_HEADER)?, 0);
        if let Some(slots) = self.table.get_mut(..2) {
            slots.copy_from_slice(&[first, padding]);
        }
        let table = seek_table(&self.table)?;
        sink(self.at, &table)?;
        sink(0, &head)?;
        Ok(self.at + table.len() as u64)
    }

    fn put_pending(&mut self, sink: Sink<'_>) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.put(&pending, sink)?;
        self.pending = pending;
        self.pending.clear();
        Ok(())
    }

    fn put(&mut self, values: &[u8], sink: Sink<'_>) -> Result<()> {
        let frame = self.compress(values)?;
        sink(self.at, &frame)?;
        self.table.push((length(frame.len())?, length(values.len())?));
        self.at += frame.len() as u64;
        Ok(())
    }

    fn compress(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        self.compressor.compress(bytes).map_err(|e| Error::invalid("compressing with zstd").because(e))
    }
}

impl std::fmt::Debug for SeekableWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeekableWriter")
            .field("frames", &self.table.len())
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// The skippable frame that ends a seekable file: of each frame the bytes compressed and uncompressed.
///
/// # Errors
/// `Invalid` for more frames than it can count.
pub(crate) fn seek_table(table: &[(u32, u32)]) -> Result<Vec<u8>> {
    let mut bytes = SKIPPABLE_TABLE.to_le_bytes().to_vec();
    bytes.extend_from_slice(&length(table.len() * 8 + TABLE_FOOTER)?.to_le_bytes());
    for (compressed, plain) in table {
        bytes.extend_from_slice(&compressed.to_le_bytes());
        bytes.extend_from_slice(&plain.to_le_bytes());
    }
    bytes.extend_from_slice(&length(table.len())?.to_le_bytes());
    // No checksums here: every frame has its own.
    bytes.push(0);
    bytes.extend_from_slice(&SEEKABLE.to_le_bytes());
    Ok(bytes)
}

fn length(bytes: usize) -> Result<u32> {
    u32::try_from(bytes).map_err(|e| Error::invalid("a compressed shard has too many frames").because(e))
}
