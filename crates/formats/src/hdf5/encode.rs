//! The structures of an HDF5 file, as they are written: those of HDF5 1.8, which everything reads.
//!
//! Source: <https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html>.

use hyperslab_core::{DType, Error, Result};

use super::filters::Filter;

/// The address of what is not there.
pub(super) const UNDEFINED: u64 = u64::MAX;
/// Bytes of a reference into a global heap.
pub(super) const REFERENCE_BYTES: usize = 16;
/// Children of a node of a B-tree: the default of files that say nothing else.
const FANOUT: usize = 64;

/// The first bytes of a file: version 2, addresses and lengths of 8 bytes.
pub(super) fn superblock(end: u64, root: u64) -> Vec<u8> {
    let mut out = b"\x89HDF\r\n\x1a\n\x02\x08\x08\x00".to_vec();
    for address in [0, UNDEFINED, end, root] {
        out.extend_from_slice(&address.to_le_bytes());
    }
    let sum = lookup3(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// An object header (version 2) of messages, each with its type.
pub(super) fn object_header(messages: &[(u8, Vec<u8>)]) -> Result<Vec<u8>> {
    let bytes: usize = messages.iter().map(|(_, body)| 4 + body.len()).sum();
    let too_many = |_| Error::invalid("a group of so many datasets, or so many attributes, cannot be written");
    let mut out = b"OHDR\x02\x02".to_vec();
    out.extend_from_slice(&u32::try_from(bytes).map_err(too_many)?.to_le_bytes());
    for (kind, body) in messages {
        let length =
            u16::try_from(body.len()).map_err(|_| Error::invalid("a name or an attribute has 64 KiB or more"))?;
        out.push(*kind);
        out.extend_from_slice(&length.to_le_bytes());
        out.push(0);
        out.extend_from_slice(body);
    }
    let sum = lookup3(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    Ok(out)
}

/// The messages of a group of objects with their names.
pub(super) fn group(members: &[(String, u64)]) -> Vec<(u8, Vec<u8>)> {
    let mut link_info = vec![0, 0];
    link_info.extend_from_slice(&[0xff; 16]);
    let mut messages = vec![(0x02, link_info), (0x0a, vec![0, 0])];
    for (name, address) in members {
        // Version 1, the length of the name in two bytes, UTF-8.
        let mut link = vec![1, 0x11, 1];
        link.extend_from_slice(&(name.len() as u16).to_le_bytes());
        link.extend_from_slice(name.as_bytes());
        link.extend_from_slice(&address.to_le_bytes());
        messages.push((0x06, link));
    }
    messages
}

/// The dataspace message of a shape whose first axis may grow or not.
pub(super) fn dataspace(shape: &[u64], grows: bool) -> (u8, Vec<u8>) {
    let mut body = vec![2, shape.len() as u8, u8::from(grows), u8::from(!shape.is_empty())];
    shape.iter().for_each(|n| body.extend_from_slice(&n.to_le_bytes()));
    if grows {
        let most = std::iter::once(u64::MAX).chain(shape.iter().skip(1).copied());
        most.for_each(|n| body.extend_from_slice(&n.to_le_bytes()));
    }
    (0x01, body)
}

/// The fill value message; `None` for the default, zeros.
pub(super) fn fill(value: Option<&[u8]>, chunked: bool) -> (u8, Vec<u8>) {
    // Space is given as chunks come, or late; what is not written is filled if there is a value.
    let flags = if chunked { 3 } else { 2 } | 2 << 2;
    let body = match value {
        None => vec![3, flags],
        Some(value) => {
            let mut body = vec![3, flags | 0x20];
            body.extend_from_slice(&(value.len() as u32).to_le_bytes());
            body.extend_from_slice(value);
            body
        }
    };
    (0x05, body)
}

/// The layout message of a dataset in one piece.
pub(super) fn contiguous(address: u64, bytes: u64) -> (u8, Vec<u8>) {
    let mut body = vec![3, 1];
    body.extend_from_slice(&address.to_le_bytes());
    body.extend_from_slice(&bytes.to_le_bytes());
    (0x08, body)
}

/// The layout message of a dataset in chunks under a version 1 B-tree.
pub(super) fn chunked(tree: u64, chunk: &[u32], element: u32) -> (u8, Vec<u8>) {
    let mut body = vec![3, 2, chunk.len() as u8 + 1];
    body.extend_from_slice(&tree.to_le_bytes());
    chunk.iter().chain([&element]).for_each(|n| body.extend_from_slice(&n.to_le_bytes()));
    (0x08, body)
}

/// The filter pipeline message.
pub(super) fn pipeline(filters: &[Filter]) -> (u8, Vec<u8>) {
    let mut body = vec![2, filters.len() as u8];
    for filter in filters {
        let (id, value): (u16, Option<u32>) = match *filter {
            Filter::Deflate(level) => (1, Some(level)),
            Filter::Shuffle(size) => (2, Some(size as u32)),
            Filter::Fletcher32 => (3, None),
            // These two are not written: their chunks could not be made.
            Filter::ScaleOffset(_) => (6, None),
            Filter::Lzf => (32000, None),
        };
        let parts = [id, 0, u16::from(value.is_some())];
        parts.iter().for_each(|n| body.extend_from_slice(&n.to_le_bytes()));
        value.iter().for_each(|n| body.extend_from_slice(&n.to_le_bytes()));
    }
    (0x0b, body)
}

/// An attribute of one value.
pub(super) fn attribute(name: &str, datatype: &[u8], value: &[u8]) -> (u8, Vec<u8>) {
    let (_, space) = dataspace(&[], false);
    let mut body = vec![3, 0];
    for length in [name.len() + 1, datatype.len(), space.len()] {
        body.extend_from_slice(&(length as u16).to_le_bytes());
    }
    body.push(1);
    body.extend_from_slice(name.as_bytes());
    body.push(0);
    body.extend_from_slice(datatype);
    body.extend_from_slice(&space);
    body.extend_from_slice(value);
    (0x0c, body)
}

/// The encoding of a dtype, as h5py writes it: bool as an enum, complex as a compound, times as opaque bytes that say
/// their NumPy dtype.
pub(super) fn element(dtype: DType) -> Vec<u8> {
    match dtype {
        DType::Bool => {
            let mut out = head(0x38, [2, 0, 0], 1);
            out.extend_from_slice(&integer(1, true));
            out.extend_from_slice(b"FALSE\0TRUE\0\x00\x01");
            out
        }
        DType::Int8 | DType::Int16 | DType::Int32 | DType::Int64 => integer(dtype.size() as u32, true),
        DType::UInt8 | DType::UInt16 | DType::UInt32 | DType::UInt64 => integer(dtype.size() as u32, false),
        DType::Float16 => float(2, 5, 10, 15),
        DType::Float32 | DType::Bfloat16 => float(4, 8, 23, 127),
        DType::Float64 => float(8, 11, 52, 1023),
        DType::Complex64 | DType::Complex128 => {
            let part = element(if dtype == DType::Complex64 { DType::Float32 } else { DType::Float64 });
            let size = dtype.size() as u32;
            let mut out = head(0x36, [2, 0, 0], size);
            for (name, offset) in [(b"r\0", 0), (b"i\0", size as u8 / 2)] {
                out.extend_from_slice(name);
                out.push(offset);
                out.extend_from_slice(&part);
            }
            out
        }
        DType::Datetime64(_) | DType::Timedelta64(_) => opaque(8, &format!("NUMPY:{}", dtype.npy_descr())),
        DType::FixedBytes(n) => opaque(n, ""),
        DType::Utf8 | DType::Binary => {
            let text = dtype == DType::Utf8;
            let mut out = head(0x19, [u8::from(text), u8::from(text), 0], REFERENCE_BYTES as u32);
            out.extend_from_slice(&integer(1, false));
            out
        }
    }
}

fn head(class: u8, bits: [u8; 3], size: u32) -> Vec<u8> {
    let mut out = vec![class, bits[0], bits[1], bits[2]];
    out.extend_from_slice(&size.to_le_bytes());
    out
}

fn integer(size: u32, signed: bool) -> Vec<u8> {
    let mut out = head(0x10, [if signed { 8 } else { 0 }, 0, 0], size);
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&(size as u16 * 8).to_le_bytes());
    out
}

fn float(size: u32, exponent: u8, mantissa: u8, bias: u32) -> Vec<u8> {
    let mut out = head(0x11, [0x20, size as u8 * 8 - 1, 0], size);
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&(size as u16 * 8).to_le_bytes());
    out.extend_from_slice(&[mantissa, exponent, 0, mantissa]);
    out.extend_from_slice(&bias.to_le_bytes());
    out
}

fn opaque(size: u32, tag: &str) -> Vec<u8> {
    let padded = tag.len().next_multiple_of(8);
    let mut out = head(0x15, [padded as u8, 0, 0], size);
    out.extend_from_slice(tag.as_bytes());
    out.resize(8 + padded, 0);
    out
}

/// A chunk that was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) address: u64,
    pub(super) bytes: u32,
}

/// The nodes of a version 1 B-tree over chunks in order, to be written at `address`, one after the other, and the
/// root's address. `offset` gives the position of a chunk's first element; `chunk` is its shape.
pub(super) fn chunk_tree(
    chunks: &[Written],
    chunk: &[u32],
    element: u32,
    offset: impl Fn(usize) -> Vec<u64>,
    address: u64,
) -> (Vec<u8>, u64) {
    let key = |i: usize| {
        let written = chunks.get(i).copied();
        let mut key = written.map_or(0, |w| w.bytes).to_le_bytes().to_vec();
        key.extend_from_slice(&[0; 4]);
        let place = match written {
            Some(_) => offset(i).into_iter().chain([0]).collect::<Vec<_>>(),
            // After the last chunk, along every axis.
            None => {
                let last = offset(i - 1);
                let after = last.iter().zip(chunk).map(|(o, &n)| o + u64::from(n));
                after.chain([u64::from(element)]).collect()
            }
        };
        place.iter().for_each(|n| key.extend_from_slice(&n.to_le_bytes()));
        key
    };
    let key_bytes = 8 + 8 * (chunk.len() + 1);
    let node_bytes = 24 + (FANOUT + 1) * key_bytes + FANOUT * 8;
    let mut out = Vec::new();
    // The children of a level: the first chunk below each, and its address.
    let mut children: Vec<(usize, u64)> = chunks.iter().map(|w| w.address).enumerate().collect();
    let mut level = 0;
    loop {
        let start = address + out.len() as u64;
        let nodes = children.chunks(FANOUT).count();
        let at = |n: usize| start + (n * node_bytes) as u64;
        let mut above = Vec::with_capacity(nodes);
        for (n, part) in children.chunks(FANOUT).enumerate() {
            let from = out.len();
            out.extend_from_slice(b"TREE\x01");
            out.push(level);
            out.extend_from_slice(&(part.len() as u16).to_le_bytes());
            let siblings =
                [if n > 0 { at(n - 1) } else { UNDEFINED }, if n + 1 < nodes { at(n + 1) } else { UNDEFINED }];
            siblings.iter().for_each(|a| out.extend_from_slice(&a.to_le_bytes()));
            for (first, child) in part {
                out.extend_from_slice(&key(*first));
                out.extend_from_slice(&child.to_le_bytes());
            }
            let next = children.get((n + 1) * FANOUT).map_or(chunks.len(), |(first, _)| *first);
            out.extend_from_slice(&key(next));
            out.resize(from + node_bytes, 0);
            above.extend(part.first().map(|(first, _)| (*first, at(n))));
        }
        match above.as_slice() {
            [(_, root)] => return (out, *root),
            _ => (children, level) = (above, level + 1),
        }
    }
}

/// Bob Jenkins' hash, with which the newer structures are checked.
///
/// Source: <https://burtleburtle.net/bob/c/lookup3.c>, `hashlittle` with an initial value of 0.
pub(super) fn lookup3(bytes: &[u8]) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32);
    let mut s = [start; 3];
    let mut rest = bytes;
    let add = |s: &mut [u32; 3], part: &[u8]| {
        for (word, bytes) in s.iter_mut().zip(part.chunks(4)) {
            let mut four = [0; 4];
            four[..bytes.len()].copy_from_slice(bytes);
            *word = word.wrapping_add(u32::from_le_bytes(four));
        }
    };
    while rest.len() > 12 {
        add(&mut s, &rest[..12]);
        rest = &rest[12..];
        for (x, y, z, rotation) in
            [(0, 1, 2, 4), (1, 2, 0, 6), (2, 0, 1, 8), (0, 1, 2, 16), (1, 2, 0, 19), (2, 0, 1, 4)]
        {
            s[x] = s[x].wrapping_sub(s[z]) ^ s[z].rotate_left(rotation);
            s[z] = s[z].wrapping_add(s[y]);
        }
    }
    if rest.is_empty() {
        return s[2];
    }
    add(&mut s, rest);
    for (x, y, rotation) in [(2, 1, 14), (0, 2, 11), (1, 0, 25), (2, 1, 16), (0, 2, 4), (1, 0, 14), (2, 1, 24)] {
        s[x] = (s[x] ^ s[y]).wrapping_sub(s[y].rotate_left(rotation));
    }
    s[2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_jenkins() {
        // From lookup3.c's driver5.
        assert_eq!(lookup3(b""), 0xdead_beef);
        assert_eq!(lookup3(b"Four score and seven years ago"), 0x1777_0551);
    }
}
