//! Reads a seekable zstd file at random.

use std::cell::RefCell;
use std::ops::Range;

use arrow_buffer::{Buffer, MutableBuffer};
use hyperslab_core::{Error, Result};
use zstd::bulk::Decompressor;

use super::{
    MAX_FRAME, MOST_PER_BYTE, RESERVED, SEEKABLE, SKIPPABLE_HEADER, SKIPPABLE_TABLE, TABLE_FOOTER, WITH_CHECKSUMS,
};

/// A seekable zstd file, of which only the table of frames was looked at.
#[derive(Debug)]
pub(crate) struct Seekable {
    path: String,
    bytes: Buffer,
    /// The frames that hold something, in order.
    frames: Vec<Frame>,
}

/// Where a frame is, and what it holds of the uncompressed file.
#[derive(Debug)]
struct Frame {
    at: u64,
    len: u32,
    holds: Range<u64>,
}

impl Seekable {
    /// The file `path`, whose bytes are these.
    ///
    /// # Errors
    /// `Corrupt`, naming the file, when its table of frames is missing or does not say what it is.
    pub(crate) fn open(path: &str, bytes: Buffer) -> Result<Self> {
        let frames = frames(&bytes).map_err(|why| damaged(path, &why))?;
        Ok(Self { path: path.to_owned(), bytes, frames })
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// How long the uncompressed file is.
    pub(crate) fn len(&self) -> u64 {
        self.frames.last().map_or(0, |last| last.holds.end)
    }

    /// The frame that holds a byte of the uncompressed file, and what else it holds of it.
    ///
    /// # Errors
    /// `Corrupt` for a byte after the last.
    pub(crate) fn frame_of(&self, byte: u64) -> Result<(usize, Range<u64>)> {
        let index = self.frames.partition_point(|frame| frame.holds.end <= byte);
        match self.frames.get(index) {
            Some(frame) => Ok((index, frame.holds.clone())),
            None => Err(damaged(&self.path, &format!("it holds {} bytes, and byte {byte} was asked for", self.len()))),
        }
    }

    /// What a frame holds, its checksum compared.
    ///
    /// # Errors
    /// `Corrupt`, naming the file.
    pub(crate) fn decompress(&self, index: usize) -> Result<Buffer> {
        thread_local! {
            static ZSTD: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
        }
        let bad = |why: String| damaged(&self.path, &format!("frame {index}: {why}"));
        let frame = self.frames.get(index).ok_or_else(|| bad("there is none".into()))?;
        let (at, len) = (usize::try_from(frame.at).unwrap_or(usize::MAX), frame.len as usize);
        let compressed = at.checked_add(len).and_then(|end| self.bytes.as_slice().get(at..end));
        let compressed = compressed.ok_or_else(|| bad("it is not in the file".into()))?;
        let holds = frame.holds.end - frame.holds.start;
        if holds > (len as u64).saturating_mul(MOST_PER_BYTE) {
            return Err(bad(format!("no {len} bytes of zstd hold {holds}")));
        }
        let mut plain = MutableBuffer::from_len_zeroed((frame.holds.end - frame.holds.start) as usize);
        let found = ZSTD.with_borrow_mut(|zstd| {
            let zstd = match zstd {
                Some(zstd) => zstd,
                None => zstd.insert(Decompressor::new()?),
            };
            zstd.decompress_to_buffer(compressed, plain.as_slice_mut())
        });
        match found {
            Ok(found) if found == plain.len() => Ok(plain.into()),
            Ok(found) => Err(bad(format!("it holds {found} bytes, and the table says {}", plain.len()))),
            Err(e) => Err(bad("it cannot be decompressed".into()).because(e)),
        }
    }
}

/// The frames that the table at the end of `bytes` names.
fn frames(bytes: &[u8]) -> Result<Vec<Frame>, String> {
    let none = "it does not end with a table of zstd frames";
    let footer = bytes.len().checked_sub(TABLE_FOOTER).ok_or(none)?;
    let (count, descriptor) = (u32_at(bytes, footer).ok_or(none)?, bytes.get(footer + 4).copied().ok_or(none)?);
    if u32_at(bytes, footer + 5) != Some(SEEKABLE) || descriptor & RESERVED != 0 {
        return Err(none.into());
    }
    let entry = if descriptor & WITH_CHECKSUMS != 0 { 12 } else { 8 };
    let table = (count as usize).checked_mul(entry).and_then(|len| footer.checked_sub(len)).ok_or(none)?;
    let start = table.checked_sub(SKIPPABLE_HEADER).ok_or(none)?;
    let len = u32_at(bytes, start + 4).map(|len| len as usize);
    if u32_at(bytes, start) != Some(SKIPPABLE_TABLE) || len != Some(bytes.len() - table) {
        return Err(none.into());
    }
    let (mut at, mut plain) = (0_u64, 0_u64);
    let mut frames = Vec::new();
    for entry in bytes.get(table..footer).unwrap_or_default().chunks_exact(entry) {
        let (len, holds) = (u32_at(entry, 0).unwrap_or(0), u64::from(u32_at(entry, 4).unwrap_or(0)));
        if holds > MAX_FRAME {
            return Err(format!("its table names a frame of {holds} bytes"));
        }
        if holds > 0 {
            frames.push(Frame { at, len, holds: plain..plain + holds });
        }
        at += u64::from(len);
        plain += holds;
    }
    if at != start as u64 {
        return Err(format!("its frames are {start} bytes, and its table says {at}"));
    }
    Ok(frames)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes))
}

fn damaged(path: &str, why: &str) -> Error {
    Error::corrupt(format!("shard {path} is damaged: {why}"))
}
