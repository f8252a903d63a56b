//! The filters of chunked datasets: deflate, shuffle, fletcher32, scale-offset and h5py's lzf.
//!
//! Source: <https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html> (filter pipeline message), h5py's
//! `lzf_filter.c` for 32000.

use std::borrow::Cow;
use std::io::Write;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Decompress, FlushDecompress, Status};
use hyperslab_core::{Error, Result};

use super::scale_offset::{self, ScaleOffset};

/// The most bytes that a byte of deflate can stand for.
const MAX_RATIO: usize = 1032;

/// One filter, as a chunk's writer applied it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    /// zlib at a level (of no meaning when reading).
    Deflate(u32),
    /// All first bytes of the elements, all second ones, and so on; elements have so many bytes.
    Shuffle(usize),
    /// A checksum of four bytes at the end.
    Fletcher32,
    /// Numbers in as few bits as they need; only read.
    ScaleOffset(ScaleOffset),
    /// h5py's fast compressor.
    Lzf,
}

impl Filter {
    /// The filter with HDF5's number.
    ///
    /// # Errors
    /// `Unsupported` for those that are none of these.
    pub(super) fn new(id: u16, parameters: &[u32]) -> Result<Self> {
        let first = parameters.first().copied();
        let name = match id {
            1 => return Ok(Self::Deflate(first.unwrap_or(4))),
            2 => return Ok(Self::Shuffle(first.unwrap_or(1) as usize)),
            3 => return Ok(Self::Fletcher32),
            6 => match ScaleOffset::new(parameters) {
                Some(how) => return Ok(Self::ScaleOffset(how)),
                None => "scale-offset as HDF5's library does not write it",
            },
            32000 => return Ok(Self::Lzf),
            4 => "szip",
            5 => "nbit",
            32001 => "blosc",
            32004 => "lz4",
            32008 => "bitshuffle",
            32013 => "zfp",
            32015 => "zstd",
            32026 => "blosc2",
            _ => "a plugin's",
        };
        Err(Error::unsupported(format!(
            "its chunks use filter {id} ({name}), which is not read; rewrite it with h5repack -f GZIP=4"
        )))
    }

    /// Whether it takes time.
    pub(super) fn is_compression(self) -> bool {
        matches!(self, Self::Deflate(_) | Self::ScaleOffset(_) | Self::Lzf)
    }
}

/// Undoes the filters, last one first, leaving out those that `mask` marks. The result has `len` bytes.
pub(super) fn undo<'a>(filters: &[Filter], mask: u32, stored: &'a [u8], len: usize) -> Result<Cow<'a, [u8]>> {
    // What a filter adds to a chunk that it cannot make smaller.
    let added = |f: &Filter| match f {
        Filter::Fletcher32 => 4,
        Filter::ScaleOffset(_) => scale_offset::HEAD,
        _ => 0,
    };
    let most = filters.iter().map(added).fold(len, usize::saturating_add);
    let mut bytes = Cow::Borrowed(stored);
    for (i, filter) in filters.iter().enumerate().rev() {
        if i < 32 && mask & (1 << i) != 0 {
            continue;
        }
        bytes = match *filter {
            Filter::Deflate(_) => Cow::Owned(inflate(&bytes, most)?),
            Filter::Lzf => Cow::Owned(unlzf(&bytes, most)?),
            Filter::Shuffle(size) if size > 1 => Cow::Owned(unshuffle(&bytes, size)),
            Filter::Shuffle(_) => bytes,
            Filter::Fletcher32 => checked(bytes)?,
            Filter::ScaleOffset(how) => Cow::Owned(how.unpack(&bytes, len)?),
        };
    }
    if bytes.len() != len {
        return Err(Error::corrupt(format!("a chunk has {} bytes instead of {len}", bytes.len())));
    }
    Ok(bytes)
}

/// Applies the filters to a chunk.
pub(super) fn apply(filters: &[Filter], chunk: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Cow::Borrowed(chunk);
    for filter in filters {
        bytes = match *filter {
            Filter::Deflate(level) => {
                let to = Vec::with_capacity(bytes.len() / 2 + 64);
                let mut encoder = ZlibEncoder::new(to, Compression::new(level));
                let done = encoder.write_all(&bytes).and_then(|()| encoder.finish());
                Cow::Owned(done.map_err(|e| Error::io("compressing", "a chunk", e))?)
            }
            Filter::Shuffle(size) if size > 1 => Cow::Owned(shuffle(&bytes, size)),
            Filter::Shuffle(_) => bytes,
            Filter::Fletcher32 => {
                let sum = fletcher32(&bytes);
                let mut bytes = bytes.into_owned();
                bytes.extend_from_slice(&sum.to_le_bytes());
                Cow::Owned(bytes)
            }
            Filter::Lzf | Filter::ScaleOffset(_) => {
                return Err(Error::unsupported("lzf and scale-offset are read and not written; choose gzip"));
            }
        };
    }
    Ok(bytes.into_owned())
}

fn inflate(from: &[u8], most: usize) -> Result<Vec<u8>> {
    let room = most.min(from.len().saturating_mul(MAX_RATIO).saturating_add(64));
    let mut to = Vec::with_capacity(room);
    let bad = |why: &str| Error::corrupt(format!("a chunk cannot be decompressed: {why}"));
    let mut state = Decompress::new(true);
    match state.decompress_vec(from, &mut to, FlushDecompress::Finish) {
        Ok(Status::StreamEnd) => Ok(to),
        Ok(_) if to.len() == room => Err(bad("it holds more than a chunk")),
        Ok(_) => Err(bad("it ends early")),
        Err(e) => Err(bad("its bytes are damaged").because(e)),
    }
}

/// LibLZF: a byte below 32 copies so many and one literal bytes, any other one repeats bytes that were there.
fn unlzf(from: &[u8], most: usize) -> Result<Vec<u8>> {
    let bad = || Error::corrupt("a chunk cannot be decompressed: its lzf bytes are damaged");
    let mut to = Vec::with_capacity(most.min(from.len().saturating_mul(264 / 2)));
    let mut at = 0_usize;
    let mut next = |n: usize| -> Option<&[u8]> {
        let bytes = from.get(at..at.checked_add(n)?)?;
        at += n;
        Some(bytes)
    };
    while let Some(&[control]) = next(1) {
        if control < 32 {
            to.extend_from_slice(next(usize::from(control) + 1).ok_or_else(bad)?);
        } else {
            let mut count = usize::from(control >> 5);
            if count == 7 {
                count += usize::from(next(1).ok_or_else(bad)?[0]);
            }
            let back = (usize::from(control & 31) << 8) + usize::from(next(1).ok_or_else(bad)?[0]) + 1;
            let start = to.len().checked_sub(back).ok_or_else(bad)?;
            for i in start..start + count + 2 {
                to.push(to[i]);
            }
        }
        if to.len() > most {
            return Err(Error::corrupt("a chunk cannot be decompressed: it holds more than a chunk"));
        }
    }
    Ok(to)
}

/// The bytes of each element together again; what is left over at the end stays there.
pub(crate) fn unshuffle(from: &[u8], size: usize) -> Vec<u8> {
    let count = from.len() / size;
    let mut to = vec![0; from.len()];
    let (planes, rest) = from.split_at(count * size);
    let plane = |i: usize| &planes[i * count..][..count];
    match size {
        2 => {
            let (a, b) = (plane(0), plane(1));
            let to = to.as_chunks_mut::<2>().0;
            to.iter_mut().zip(a).zip(b).for_each(|((t, &a), &b)| *t = [a, b]);
        }
        4 => {
            let (a, b, c, d) = (plane(0), plane(1), plane(2), plane(3));
            let to = to.as_chunks_mut::<4>().0;
            for ((((t, &a), &b), &c), &d) in to.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *t = [a, b, c, d];
            }
        }
        8 => unshuffle_8(planes, count, to.as_chunks_mut::<8>().0),
        _ => {
            for i in 0..size {
                plane(i).iter().zip(to[i..].iter_mut().step_by(size)).for_each(|(&b, t)| *t = b);
            }
        }
    }
    to[count * size..].copy_from_slice(rest);
    to
}

fn unshuffle_8(planes: &[u8], count: usize, to: &mut [[u8; 8]]) {
    let p: [&[u8]; 8] = std::array::from_fn(|i| &planes[i * count..][..count]);
    for (i, t) in to.iter_mut().enumerate().take(count) {
        *t = [p[0][i], p[1][i], p[2][i], p[3][i], p[4][i], p[5][i], p[6][i], p[7][i]];
    }
}

pub(crate) fn shuffle(from: &[u8], size: usize) -> Vec<u8> {
    let count = from.len() / size;
    let mut to = Vec::with_capacity(from.len());
    for i in 0..size {
        to.extend(from[i.min(from.len())..].iter().step_by(size).take(count));
    }
    to.extend_from_slice(&from[count * size..]);
    to
}

/// Takes the checksum off the end, and compares it.
pub(crate) fn checked(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, [u8]>> {
    let end = bytes.len().checked_sub(4).ok_or_else(|| Error::corrupt("a chunk has no room for its checksum"))?;
    let stored = u32::from_le_bytes([bytes[end], bytes[end + 1], bytes[end + 2], bytes[end + 3]]);
    let found = fletcher32(&bytes[..end]);
    // HDF5 1.6.2 and earlier stored the halves with their bytes swapped, and the library still accepts it.
    let swapped = found.rotate_left(16).swap_bytes();
    if stored != found && stored != swapped {
        return Err(Error::corrupt("a chunk's checksum (fletcher32) does not match: the file is damaged"));
    }
    Ok(match bytes {
        Cow::Borrowed(b) => Cow::Borrowed(&b[..end]),
        Cow::Owned(mut b) => {
            b.truncate(end);
            Cow::Owned(b)
        }
    })
}

/// HDF5's: over big-endian pairs of bytes, a last odd byte the upper one of a pair.
fn fletcher32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (0_u32, 0_u32);
    let fold = |x: u32| (x & 0xffff) + (x >> 16);
    let (pairs, odd) = bytes.as_chunks::<2>();
    for part in pairs.chunks(360) {
        for pair in part {
            a += u32::from(u16::from_be_bytes(*pair));
            b += a;
        }
        (a, b) = (fold(a), fold(b));
    }
    if let [last] = odd {
        a += u32::from(*last) << 8;
        b += a;
        (a, b) = (fold(a), fold(b));
    }
    (fold(b) << 16) | fold(a)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn filters_are_undone() {
        let chunk: Vec<u8> = (0..4003_u32).flat_map(|i| (i * i).to_le_bytes()).take(16001).collect();
        for size in [1, 2, 3, 4, 8, 16] {
            let all = [Filter::Shuffle(size), Filter::Deflate(4), Filter::Fletcher32];
            for filters in [&all[..], &all[..1], &all[1..2], &all[2..], &[]] {
                let stored = apply(filters, &chunk).unwrap();
                assert_eq!(undo(filters, 0, &stored, chunk.len()).unwrap().as_ref(), chunk.as_slice());
                assert!(undo(filters, 0, &stored, chunk.len() - 1).is_err());
                assert!(undo(filters, 0, &stored, chunk.len() + 1).is_err());
            }
            // A filter that was left out for this chunk.
            let stored = apply(&[Filter::Shuffle(size), Filter::Fletcher32], &chunk).unwrap();
            assert_eq!(undo(&all, 0b010, &stored, chunk.len()).unwrap().as_ref(), chunk.as_slice());
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let chunk: Vec<u8> = (0..=255).cycle().take(999).collect();
        let stored = apply(&[Filter::Fletcher32], &chunk).unwrap();
        for i in 0..stored.len() {
            let mut damaged = stored.clone();
            damaged[i] ^= 0x10;
            assert!(undo(&[Filter::Fletcher32], 0, &damaged, chunk.len()).is_err(), "byte {i}");
        }
    }

    #[test]
    fn lzf_repeats_and_copies() {
        // "abc", then 4 bytes from 3 back, which overlap.
        assert_eq!(unlzf(&[2, b'a', b'b', b'c', 2 << 5, 2], 100).unwrap(), b"abcabca");
        for damaged in [&[5, b'a'][..], &[2 << 5, 0], &[0, b'a', 7 << 5], &[0, b'a', 2 << 5], &[0, b'a', 2 << 5, 1]] {
            assert!(unlzf(damaged, 100).is_err(), "{damaged:?}");
        }
        assert!(unlzf(&[0, b'a', 7 << 5, 255, 0], 100).is_err());
    }
}
