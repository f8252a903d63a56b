//! Blosc 1, the default compressor of Zarr 2: blocks of shuffled and compressed bytes. It is read and not written.
//!
//! Source: <https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst>.

use std::borrow::Cow;

use hyperslab_core::{Error, Result};

use super::codecs::{inflate, unzstd};
use crate::hdf5::filters::unshuffle;

/// Streams of a block are as many as bytes of an element, up to so many.
const MAX_SPLITS: usize = 16;
/// A block is not split into streams of fewer elements.
const MIN_ELEMENTS: usize = 128;

/// Decompresses a buffer, which holds at most `most` bytes.
pub(super) fn decompress(from: &[u8], most: usize) -> Result<Vec<u8>> {
    let bad = || Error::corrupt("a chunk cannot be decompressed: its blosc bytes are damaged");
    let number = |at: usize| from.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let &[version, _, flags, size, ..] = from else { return Err(bad()) };
    let (size, length) = (usize::from(size), number(4).ok_or_else(bad)? as usize);
    let block = number(8).ok_or_else(bad)? as usize;
    if version == 0 || version > 2 || size == 0 || length > most {
        return Err(bad());
    }
    if flags & 2 != 0 {
        return Ok(from.get(16..16 + length).ok_or_else(bad)?.to_vec());
    }
    if length == 0 {
        return Ok(Vec::new());
    }
    if block == 0 {
        return Err(bad());
    }
    // What is there bounds what it can become, whatever the header says.
    let mut to = Vec::new();
    for start in (0..length).step_by(block) {
        let bytes = block.min(length - start);
        let mut at = number(16 + start / block * 4).ok_or_else(bad)? as usize;
        let whole = bytes == block;
        let split = flags & 0x10 == 0 && size <= MAX_SPLITS && block / size >= MIN_ELEMENTS && whole;
        let streams = if split { size } else { 1 };
        let each = bytes / streams;
        let mut unpacked = Vec::new();
        for _ in 0..streams {
            let packed = number(at).ok_or_else(bad)? as usize;
            at += 4;
            let stream = from.get(at..at.checked_add(packed).ok_or_else(bad)?).ok_or_else(bad)?;
            at += packed;
            match packed == each {
                true => unpacked.extend_from_slice(stream),
                false => unpacked.extend_from_slice(&stream_bytes(flags >> 5, stream, each)?),
            }
        }
        if unpacked.len() != bytes {
            return Err(bad());
        }
        let block = match flags {
            f if f & 1 != 0 && size > 1 => Cow::Owned(unshuffle(&unpacked, size)),
            f if f & 4 != 0 => unshuffle_bits(&unpacked, size),
            _ => Cow::Borrowed(unpacked.as_slice()),
        };
        to.extend_from_slice(&block);
    }
    Ok(to)
}

fn stream_bytes(codec: u8, from: &[u8], len: usize) -> Result<Vec<u8>> {
    match codec {
        0 => unblosclz(from, len),
        1 => unlz4(from, len),
        3 => inflate(from, len),
        4 => unzstd(from, len),
        _ => Err(Error::unsupported(
            "a chunk uses snappy within blosc, which is not read; rewrite it with another codec",
        )),
    }
}

/// Bits of all elements together: bit `k` of byte `j` of element `i` is bit `i` of plane `8 j + k`.
fn unshuffle_bits(from: &[u8], size: usize) -> Cow<'_, [u8]> {
    let count = from.len() / size;
    if !count.is_multiple_of(8) {
        return Cow::Borrowed(from);
    }
    let plane = count / 8;
    let mut to = vec![0; from.len()];
    for (p, bits) in from[..count * size].chunks_exact(plane.max(1)).enumerate() {
        let (j, k) = (p / 8, p % 8);
        for (i, byte) in bits.iter().enumerate().filter(|(_, b)| **b != 0) {
            for bit in (0..8).filter(|bit| byte >> bit & 1 != 0) {
                to[(i * 8 + bit) * size + j] |= 1 << k;
            }
        }
    }
    to[count * size..].copy_from_slice(&from[count * size..]);
    Cow::Owned(to)
}

/// Repeats `count` bytes that start `back` bytes before the end.
fn repeat(to: &mut Vec<u8>, back: usize, count: usize, len: usize) -> Result<()> {
    let bad = || Error::corrupt("a chunk cannot be decompressed: its bytes are damaged");
    let start = to.len().checked_sub(back).filter(|_| back > 0).ok_or_else(bad)?;
    if count > len.saturating_sub(to.len()) {
        return Err(bad());
    }
    if back >= count {
        to.extend_from_within(start..start + count);
    } else {
        (start..start + count).for_each(|i| to.push(to[i]));
    }
    Ok(())
}

/// An LZ4 block of `len` bytes.
///
/// Source: <https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md>.
pub(super) fn unlz4(from: &[u8], len: usize) -> Result<Vec<u8>> {
    let bad = || Error::corrupt("a chunk cannot be decompressed: its lz4 bytes are damaged");
    let mut to = Vec::with_capacity(len.min(from.len().saturating_mul(255)));
    let mut rest = from;
    let more = |rest: &mut &[u8], count: usize| -> Result<usize> {
        let mut count = count;
        if count == 15 {
            loop {
                let (&byte, after) = rest.split_first().ok_or_else(bad)?;
                *rest = after;
                count += usize::from(byte);
                if byte != 255 {
                    break;
                }
            }
        }
        Ok(count)
    };
    while let Some((&token, after)) = rest.split_first() {
        rest = after;
        let literals = more(&mut rest, usize::from(token >> 4))?;
        if literals > rest.len() || literals > len - to.len() {
            return Err(bad());
        }
        to.extend_from_slice(&rest[..literals]);
        rest = &rest[literals..];
        // The last sequence has no match.
        let &[low, high, ..] = rest else { break };
        rest = &rest[2..];
        let count = more(&mut rest, usize::from(token & 15))? + 4;
        repeat(&mut to, usize::from(u16::from_le_bytes([low, high])), count, len)?;
    }
    Ok(to)
}

/// Blosc's own compressor.
///
/// Source: <https://github.com/Blosc/c-blosc/blob/main/blosc/blosclz.c>, `blosclz_decompress`.
fn unblosclz(from: &[u8], len: usize) -> Result<Vec<u8>> {
    let bad = || Error::corrupt("a chunk cannot be decompressed: its blosclz bytes are damaged");
    let mut to = Vec::with_capacity(len.min(from.len().saturating_mul(256)));
    let mut bytes = from.iter().copied();
    let mut next = bytes.next().map(|first| first & 31);
    while let Some(control) = next {
        if control < 32 {
            for _ in 0..=control {
                to.push(bytes.next().ok_or_else(bad)?);
            }
        } else {
            let mut count = usize::from(control >> 5) + 2;
            if control >> 5 == 7 {
                loop {
                    let byte = bytes.next().ok_or_else(bad)?;
                    count += usize::from(byte);
                    if byte != 255 {
                        break;
                    }
                }
            }
            let high = usize::from(control & 31) << 8;
            let low = bytes.next().ok_or_else(bad)?;
            let mut back = high + usize::from(low) + 1;
            if low == 255 && high == 31 << 8 {
                let far = [bytes.next().ok_or_else(bad)?, bytes.next().ok_or_else(bad)?];
                back = usize::from(u16::from_be_bytes(far)) + 8191 + 1;
            }
            repeat(&mut to, back, count, len)?;
        }
        if to.len() > len {
            return Err(bad());
        }
        next = bytes.next();
    }
    Ok(to)
}
