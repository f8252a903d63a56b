//! The codecs of chunks: from stored bytes to those of elements and back.

use std::borrow::Cow;
use std::io::{Read, Write};

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use hyperslab_core::{Error, Result};

use super::blosc;
use crate::hdf5::filters::{shuffle, unshuffle};

/// The most bytes that a byte of any of the compressors can stand for, beyond which a result is not believed.
const MAX_RATIO: usize = 1 << 17;

/// A codec of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    /// gzip at a level, as are the next ones.
    Gzip(u32),
    /// zlib.
    Zlib(u32),
    /// Zstandard.
    Zstd(i32),
    /// Blosc 1, of whatever inside.
    Blosc,
    /// numcodecs' lz4: a length, then a block.
    Lz4,
    /// A checksum at the end.
    Crc32c,
    /// The bytes of elements of so many bytes by position.
    Shuffle(usize),
}

impl Codec {
    /// Whether it takes time.
    pub(super) fn is_compression(self) -> bool {
        !matches!(self, Self::Crc32c)
    }

    fn undo(self, bytes: Cow<'_, [u8]>, most: usize) -> Result<Cow<'_, [u8]>> {
        Ok(match self {
            Self::Gzip(_) => Cow::Owned(read_all(MultiGzDecoder::new(&*bytes), most, bytes.len())?),
            Self::Zlib(_) => Cow::Owned(inflate(&bytes, most)?),
            Self::Zstd(_) => Cow::Owned(unzstd(&bytes, most)?),
            Self::Blosc => Cow::Owned(blosc::decompress(&bytes, most)?),
            Self::Lz4 => {
                let length = bytes.first_chunk::<4>().map(|b| u32::from_le_bytes(*b) as usize);
                let length =
                    length.filter(|&l| l <= most).ok_or_else(|| Error::corrupt("a chunk of lz4 has no length"))?;
                Cow::Owned(blosc::unlz4(&bytes[4..], length)?)
            }
            Self::Crc32c => {
                let end = bytes.len().checked_sub(4);
                let end = end.ok_or_else(|| Error::corrupt("a chunk has no room for its checksum"))?;
                if bytes[end..] != crc32c::crc32c(&bytes[..end]).to_le_bytes() {
                    return Err(Error::corrupt("a chunk's checksum (crc32c) does not match: the file is damaged"));
                }
                match bytes {
                    Cow::Borrowed(b) => Cow::Borrowed(&b[..end]),
                    Cow::Owned(mut b) => {
                        b.truncate(end);
                        Cow::Owned(b)
                    }
                }
            }
            Self::Shuffle(size) if size > 1 => Cow::Owned(unshuffle(&bytes, size)),
            Self::Shuffle(_) => bytes,
        })
    }

    fn apply(self, bytes: Cow<'_, [u8]>) -> Result<Cow<'_, [u8]>> {
        let failed = |e| Error::io("compressing", "a chunk", e);
        Ok(match self {
            Self::Gzip(level) => {
                let mut to = GzEncoder::new(Vec::new(), flate2::Compression::new(level));
                Cow::Owned(to.write_all(&bytes).and_then(|()| to.finish()).map_err(failed)?)
            }
            Self::Zlib(level) => {
                let mut to = ZlibEncoder::new(Vec::new(), flate2::Compression::new(level));
                Cow::Owned(to.write_all(&bytes).and_then(|()| to.finish()).map_err(failed)?)
            }
            Self::Zstd(level) => Cow::Owned(zstd::bulk::compress(&bytes, level).map_err(failed)?),
            Self::Crc32c => {
                let sum = crc32c::crc32c(&bytes);
                let mut bytes = bytes.into_owned();
                bytes.extend_from_slice(&sum.to_le_bytes());
                Cow::Owned(bytes)
            }
            Self::Shuffle(size) if size > 1 => Cow::Owned(shuffle(&bytes, size)),
            Self::Shuffle(_) => bytes,
            Self::Blosc | Self::Lz4 => {
                return Err(Error::unsupported("blosc and lz4 are read and not written; choose zstd"));
            }
        })
    }
}

/// Undoes codecs, the last one first; the result has at most `most` bytes.
pub(super) fn undo<'a>(codecs: &[Codec], stored: Cow<'a, [u8]>, most: usize) -> Result<Cow<'a, [u8]>> {
    // A checksum or a frame makes what is in between a little longer.
    let between = most.saturating_add(most / 64 + 1024);
    let bytes = codecs.iter().enumerate().rev().try_fold(stored, |bytes, (i, codec)| -> Result<Cow<'a, [u8]>> {
        let room = if i == 0 { most } else { between };
        match bytes {
            Cow::Borrowed(b) => codec.undo(Cow::Borrowed(b), room),
            Cow::Owned(b) => Ok(Cow::Owned(codec.undo(Cow::Owned(b), room)?.into_owned())),
        }
    })?;
    if bytes.len() > most {
        return Err(Error::corrupt(format!("a chunk has {} bytes instead of {most}", bytes.len())));
    }
    Ok(bytes)
}

/// Applies codecs.
pub(super) fn apply<'a>(codecs: &[Codec], bytes: Cow<'a, [u8]>) -> Result<Cow<'a, [u8]>> {
    codecs.iter().try_fold(bytes, |bytes, codec| match bytes {
        Cow::Borrowed(b) => codec.apply(Cow::Borrowed(b)),
        Cow::Owned(b) => Ok(Cow::Owned(codec.apply(Cow::Owned(b))?.into_owned())),
    })
}

fn read_all(from: impl Read, most: usize, stored: usize) -> Result<Vec<u8>> {
    let mut to = Vec::with_capacity(most.min(stored.saturating_mul(1032).saturating_add(64)));
    let read = from.take(most as u64 + 1).read_to_end(&mut to);
    read.map_err(|e| Error::corrupt("a chunk cannot be decompressed: its bytes are damaged").because(e))?;
    match to.len() <= most {
        true => Ok(to),
        false => Err(Error::corrupt("a chunk cannot be decompressed: it holds more than a chunk")),
    }
}

/// zlib of at most `most` bytes.
pub(super) fn inflate(from: &[u8], most: usize) -> Result<Vec<u8>> {
    read_all(ZlibDecoder::new(from), most, from.len())
}

/// Zstandard of at most `most` bytes.
pub(super) fn unzstd(from: &[u8], most: usize) -> Result<Vec<u8>> {
    let room = most.min(from.len().saturating_mul(MAX_RATIO));
    zstd::bulk::decompress(from, room)
        .map_err(|e| Error::corrupt("a chunk cannot be decompressed: its zstd bytes are damaged").because(e))
}
