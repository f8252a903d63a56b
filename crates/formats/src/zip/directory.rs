//! The directory at the end of a zip archive, zip64 included.
//!
//! Source of the format: <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>.

use std::ops::Range;

use hyperslab_core::{Error, Result};

const END_BYTES: usize = 22;
const LOCATOR_BYTES: usize = 20;
const ENTRY_BYTES: usize = 46;
const MAX_COMMENT: usize = u16::MAX as usize;
const MAX_32: u64 = u32::MAX as u64;

/// Where an entry lies in the archive, and how.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pub(crate) range: Range<usize>,
    pub(crate) method: Method,
    /// Bytes when it is unpacked.
    pub(crate) bytes: u64,
    pub(crate) crc: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Method {
    Stored,
    Deflated,
    Refused(String),
}

/// The files of an archive, in order. Each lies within the archive, and none in another.
pub(crate) fn read(all: &[u8]) -> Result<Vec<(String, Packed)>> {
    let Directory { range, base, count } = find(all)?;
    let mut entries = Vec::new();
    let mut at = range.start;
    for _ in 0..count {
        let head = part(all, at, ENTRY_BYTES).filter(|h| at < range.end && h.starts_with(b"PK\x01\x02"));
        let head = head.ok_or_else(|| bad("its directory is damaged"))?;
        let (flags, method) = (u16_at(head, 8), u16_at(head, 10));
        let lengths = [28, 30, 32].map(|i| usize::from(u16_at(head, i)));
        let texts = part(all, at + ENTRY_BYTES, lengths.iter().sum()).ok_or_else(|| bad("its directory is damaged"))?;
        let name = String::from_utf8_lossy(&texts[..lengths[0]]).into_owned();
        let extra = &texts[lengths[0]..lengths[0] + lengths[1]];
        let mut sizes = [24, 20, 42].map(|i| u64::from(u32_at(head, i)));
        zip64(extra, &mut sizes).ok_or_else(|| bad("its directory is damaged").with("array", &name))?;
        let [bytes, packed, start] = sizes;
        let range = place(all, base, start, packed, range.start)
            .ok_or_else(|| bad("an entry is not where the directory says that it is").with("array", &name))?;
        let method = match method {
            _ if flags & 1 != 0 => Method::Refused("encrypted".to_owned()),
            0 => Method::Stored,
            8 => Method::Deflated,
            other => Method::Refused(format!("packed with method {other} of zip")),
        };
        if method == Method::Stored && bytes != packed {
            return Err(bad("a stored entry has two sizes").with("array", &name));
        }
        entries.push((name, Packed { range, method, bytes, crc: u32_at(head, 16) }));
        at += ENTRY_BYTES + texts.len();
    }
    let mut ranges: Vec<_> = entries.iter().map(|(_, p)| &p.range).collect();
    ranges.sort_by_key(|r| (r.start, r.end));
    if ranges.windows(2).any(|pair| pair[0].end > pair[1].start) {
        return Err(bad("entries lie in each other"));
    }
    Ok(entries)
}

struct Directory {
    range: Range<usize>,
    /// What offsets are counted from: 0 unless something was put before the archive.
    base: usize,
    count: u64,
}

fn find(all: &[u8]) -> Result<Directory> {
    let first = all.len().saturating_sub(END_BYTES + MAX_COMMENT);
    let end = (first..=all.len().saturating_sub(END_BYTES)).rev().find(|&at| {
        let end = part(all, at, END_BYTES).filter(|e| e.starts_with(b"PK\x05\x06"));
        end.is_some_and(|e| at + END_BYTES + usize::from(u16_at(e, 20)) == all.len())
    });
    let at = end.ok_or_else(|| bad("its end is missing"))?;
    let end = &all[at..at + END_BYTES];
    let (mut count, mut size, mut offset) =
        (u64::from(u16_at(end, 10)), u64::from(u32_at(end, 12)), u64::from(u32_at(end, 16)));
    let mut directory_end = at;
    if count == u64::from(u16::MAX) || size == MAX_32 || offset == MAX_32 {
        let locator = at.checked_sub(LOCATOR_BYTES).and_then(|l| part(all, l, LOCATOR_BYTES));
        if let Some(locator) = locator.filter(|l| l.starts_with(b"PK\x06\x07")) {
            let large = usize::try_from(u64_at(locator, 8)).ok().and_then(|l| Some((l, part(all, l, 56)?)));
            let large = large.filter(|(l, bytes)| *l < at && bytes.starts_with(b"PK\x06\x06"));
            let (large, bytes) = large.ok_or_else(|| bad("its zip64 directory is missing"))?;
            (count, size, offset) = (u64_at(bytes, 32), u64_at(bytes, 40), u64_at(bytes, 48));
            directory_end = large;
        }
    }
    let range = usize::try_from(size).ok().and_then(|s| Some(directory_end.checked_sub(s)?..directory_end));
    let base = range.as_ref().and_then(|r| r.start.checked_sub(usize::try_from(offset).ok()?));
    match range.zip(base).filter(|(r, _)| count <= (r.len() / ENTRY_BYTES) as u64) {
        Some((range, base)) => Ok(Directory { range, base, count }),
        None => Err(bad("its directory is damaged")),
    }
}

/// Puts the sizes of 64 bits in place of those that are said to be elsewhere.
fn zip64(mut extra: &[u8], sizes: &mut [u64; 3]) -> Option<()> {
    let mut wanted: Vec<&mut u64> = sizes.iter_mut().filter(|s| **s == MAX_32).collect();
    if wanted.is_empty() {
        return Some(());
    }
    while extra.len() >= 4 {
        let (id, length) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let field = part(extra, 4, length)?;
        if id == 1 {
            for (i, size) in wanted.iter_mut().enumerate() {
                **size = u64::from_le_bytes(part(field, i * 8, 8)?.try_into().ok()?);
            }
            return Some(());
        }
        extra = &extra[4 + length..];
    }
    None
}

/// Where the bytes of the entry are whose own header is at `start`. They end before the directory.
fn place(all: &[u8], base: usize, start: u64, packed: u64, directory: usize) -> Option<Range<usize>> {
    let start = base.checked_add(usize::try_from(start).ok()?)?;
    let head = part(all, start, 30).filter(|h| h.starts_with(b"PK\x03\x04"))?;
    let from = start + 30 + usize::from(u16_at(head, 26)) + usize::from(u16_at(head, 28));
    let to = from.checked_add(usize::try_from(packed).ok()?)?;
    (to <= directory).then_some(from..to)
}

fn bad(what: &str) -> Error {
    Error::corrupt(format!("this is no whole zip archive: {what}; copy or download it again"))
}

fn part(bytes: &[u8], start: usize, length: usize) -> Option<&[u8]> {
    bytes.get(start..start.checked_add(length)?)
}

// The callers look at parts that are long enough.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
