//! The codecs of chunks: from stored bytes to those of elements and back.

use std::borrow::Cow;
use std::io::{Read, Write};

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use hyperslab_core::{Error, Result};

use super::blosc;
use super::filters::Filter;
use crate::hdf5::filters::{checked, shuffle, unshuffle};

/// The most bytes that a byte of any of the compressors can stand for, beyond which a result is not believed.
const MAX_RATIO: usize = 1 << 17;

/// A codec of bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
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
    /// Another checksum of four bytes, or one elsewhere.
    Sum(Sum),
    /// A filter of numbers.
    Filter(Filter),
}

/// The checksums of numcodecs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sum {
    /// CRC-32C before the bytes.
    Crc32cFirst,
    /// CRC-32, and whether it is before the bytes.
    Crc32(bool),
    /// Adler-32, and whether it is before the bytes.
    Adler32(bool),
    /// HDF5's, after the bytes.
    Fletcher32,
}

impl Codec {
    /// Whether it takes time.
    pub(super) fn is_compression(self) -> bool {
        !matches!(self, Self::Crc32c | Self::Sum(_))
    }

    /// The most bytes that are stored for so many.
    fn stored_bytes(&self, bytes: usize) -> usize {
        match self {
            Self::Filter(filter) => filter.stored_bytes(bytes),
            Self::Shuffle(_) => bytes,
            Self::Crc32c | Self::Sum(_) => bytes.saturating_add(4),
            // What does not compress gets a little longer.
            _ => bytes.saturating_add(bytes / 8 + 1024),
        }
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
            Self::Sum(sum) => sum.undo(bytes)?,
            Self::Filter(filter) => filter.undo(bytes, most)?,
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
            Self::Blosc | Self::Lz4 | Self::Sum(_) | Self::Filter(_) => {
                return Err(Error::unsupported("only gzip, zlib, zstd, crc32c and shuffle are written; choose zstd"));
            }
        })
    }
}

impl Sum {
    fn undo(self, bytes: Cow<'_, [u8]>) -> Result<Cow<'_, [u8]>> {
        let name = match self {
            Self::Fletcher32 => return checked(bytes),
            Self::Crc32cFirst => "crc32c",
            Self::Crc32(_) => "crc32",
            Self::Adler32(_) => "adler32",
        };
        let short = || Error::corrupt("a chunk has no room for its checksum");
        let at = match self {
            Self::Crc32(false) | Self::Adler32(false) => bytes.len().checked_sub(4).ok_or_else(short)?,
            _ => 0,
        };
        let stored = bytes[at..].first_chunk::<4>().map(|b| u32::from_le_bytes(*b)).ok_or_else(short)?;
        let rest = if at == 0 { 4..bytes.len() } else { 0..at };
        let found = match self {
            Self::Adler32(_) => adler32(&bytes[rest.clone()]),
            Self::Crc32(_) => {
                let mut crc = flate2::Crc::new();
                crc.update(&bytes[rest.clone()]);
                crc.sum()
            }
            _ => crc32c::crc32c(&bytes[rest.clone()]),
        };
        if found != stored {
            return Err(Error::corrupt(format!("a chunk's checksum ({name}) does not match: the file is damaged")));
        }
        Ok(match bytes {
            Cow::Borrowed(b) => Cow::Borrowed(&b[rest]),
            Cow::Owned(b) => Cow::Owned(b[rest].to_vec()),
        })
    }
}

/// Source: <https://www.rfc-editor.org/rfc/rfc1950#section-8>.
fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1_u32, 0_u32);
    // So many that the sums do not overflow.
    for part in bytes.chunks(5552) {
        for &byte in part {
            a += u32::from(byte);
            b += a;
        }
        (a, b) = (a % 65521, b % 65521);
    }
    b << 16 | a
}

/// The most bytes that codecs store for so many.
pub(super) fn stored_bytes(codecs: &[Codec], bytes: usize) -> usize {
    codecs.iter().fold(bytes, |bytes, codec| codec.stored_bytes(bytes))
}

/// Undoes codecs, the last one first; the result has at most `most` bytes.
pub(super) fn undo<'a>(codecs: &[Codec], stored: Cow<'a, [u8]>, most: usize) -> Result<Cow<'a, [u8]>> {
    let bytes = codecs.iter().enumerate().rev().try_fold(stored, |bytes, (i, codec)| -> Result<Cow<'a, [u8]>> {
        let room = stored_bytes(&codecs[..i], most);
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
