//! Writing an archive entry by entry, whose sizes are filled in when they are known.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use hyperslab_core::Result;

use crate::output::NewFile;

const ALIGN: u64 = 64;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// Version 4.5 of the format: zip64.
const VERSION: u16 = 45;
/// Names are UTF-8.
const FLAGS: u16 = 0x0800;
/// 1980-01-01, the first day: files of the same rows are the same.
const DATE: u32 = 0x0021_0000;
const ZIP64: u16 = 1;
/// An extra field that only takes room, as Android's zipalign has it.
const PADDING: u16 = 0xd935;
const MAX_32: u64 = u32::MAX as u64;

/// An archive being written. It appears under its name when it is finished.
#[derive(Debug)]
pub(crate) struct ZipWriter {
    file: NewFile,
    done: Vec<Done>,
    /// Bytes written so far.
    end: u64,
}

/// The entry that bytes go to, which start at a multiple of 64.
#[derive(Debug)]
pub(crate) struct ZipEntry {
    name: String,
    deflated: bool,
    start: u64,
    /// Where its bytes start, packed or not.
    data: u64,
}

#[derive(Debug)]
struct Done {
    entry: ZipEntry,
    crc: u32,
    bytes: u64,
    packed: u64,
}

impl ZipWriter {
    /// Starts an archive; as [`NewFile::create`].
    pub(crate) fn create(path: &Path, overwrite: bool) -> Result<Self> {
        Ok(Self { file: NewFile::create(path, overwrite)?, done: Vec::new(), end: 0 })
    }

    /// The final path.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Starts an entry. The one before was completed.
    pub(crate) fn start(&mut self, name: String, deflated: bool) -> Result<ZipEntry> {
        let mut entry = ZipEntry { name, deflated, start: self.end, data: 0 };
        self.write(&entry.local(0, 0, 0))?;
        entry.data = self.end;
        Ok(entry)
    }

    /// Appends bytes, as they are in the archive, to the entry that was started last.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.end += bytes.len() as u64;
        self.file.write(bytes)
    }

    /// Completes an entry of `bytes` bytes (unpacked) of that checksum. `head` takes the place of as many bytes at its
    /// start, which could not be known before.
    pub(crate) fn complete(&mut self, entry: ZipEntry, crc: u32, bytes: u64, head: &[u8]) -> Result<()> {
        let packed = self.end - entry.data;
        let mut local = entry.local(crc, bytes, packed);
        local.extend_from_slice(head);
        let end = self.end;
        let file = self.file.file()?;
        let written = file
            .seek(SeekFrom::Start(entry.start))
            .and_then(|_| file.write_all(&local))
            .and_then(|()| file.seek(SeekFrom::Start(end)));
        written.map_err(|e| self.file.failed(e))?;
        self.done.push(Done { entry, crc, bytes, packed });
        Ok(())
    }

    /// Adds an entry as it is.
    pub(crate) fn add(&mut self, name: &str, content: &[u8]) -> Result<()> {
        let entry = self.start(name.to_owned(), false)?;
        self.write(content)?;
        let mut crc = flate2::Crc::new();
        crc.update(content);
        self.complete(entry, crc.sum(), content.len() as u64, &[])
    }

    /// Writes the directory and makes the archive visible under its name. Returns its bytes.
    pub(crate) fn finish(mut self) -> Result<u64> {
        let directory = self.directory();
        self.write(&directory)?;
        self.file.publish()?;
        Ok(self.end)
    }

    /// The directory at the archive's end.
    fn directory(&self) -> Vec<u8> {
        let mut to = Vec::new();
        for Done { entry, crc, bytes, packed } in &self.done {
            let large: Vec<u64> = [*bytes, *packed, entry.start].into_iter().filter(|&n| n >= MAX_32).collect();
            to.extend_from_slice(b"PK\x01\x02");
            put16(&mut to, &[3 << 8 | VERSION, VERSION, FLAGS, entry.method()]);
            put32(&mut to, &[DATE, *crc, low(*packed), low(*bytes)]);
            let extra = if large.is_empty() { 0 } else { 4 + 8 * large.len() as u16 };
            put16(&mut to, &[entry.name.len() as u16, extra, 0, 0, 0]);
            put32(&mut to, &[0o100_644 << 16, low(entry.start)]);
            to.extend_from_slice(entry.name.as_bytes());
            if !large.is_empty() {
                put16(&mut to, &[ZIP64, 8 * large.len() as u16]);
                put64(&mut to, &large);
            }
        }
        let (count, size) = (self.done.len() as u64, to.len() as u64);
        if count >= u64::from(u16::MAX) || size >= MAX_32 || self.end >= MAX_32 {
            let at = self.end + size;
            to.extend_from_slice(b"PK\x06\x06");
            put64(&mut to, &[44]);
            put16(&mut to, &[3 << 8 | VERSION, VERSION]);
            put32(&mut to, &[0, 0]);
            put64(&mut to, &[count, count, size, self.end]);
            to.extend_from_slice(b"PK\x06\x07");
            put32(&mut to, &[0]);
            put64(&mut to, &[at]);
            put32(&mut to, &[1]);
        }
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        to.extend_from_slice(b"PK\x05\x06");
        put16(&mut to, &[0, 0, count, count]);
        put32(&mut to, &[low(size), low(self.end)]);
        put16(&mut to, &[0]);
        to
    }
}

impl ZipEntry {
    fn method(&self) -> u16 {
        if self.deflated { DEFLATED } else { STORED }
    }

    /// The header before an entry, always with room for sizes of 64 bits.
    fn local(&self, crc: u32, bytes: u64, packed: u64) -> Vec<u8> {
        let mut header = Vec::new();
        let before = self.start + 30 + self.name.len() as u64 + 24;
        let padding = before.next_multiple_of(ALIGN) - before;
        header.extend_from_slice(b"PK\x03\x04");
        put16(&mut header, &[VERSION, FLAGS, self.method()]);
        put32(&mut header, &[DATE, crc, u32::MAX, u32::MAX]);
        put16(&mut header, &[self.name.len() as u16, 24 + padding as u16]);
        header.extend_from_slice(self.name.as_bytes());
        put16(&mut header, &[ZIP64, 16]);
        put64(&mut header, &[bytes, packed]);
        put16(&mut header, &[PADDING, padding as u16]);
        header.resize(header.len() + padding as usize, 0);
        header
    }
}

fn low(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

pub(crate) fn put16(to: &mut Vec<u8>, numbers: &[u16]) {
    numbers.iter().for_each(|n| to.extend_from_slice(&n.to_le_bytes()));
}

fn put32(to: &mut Vec<u8>, numbers: &[u32]) {
    numbers.iter().for_each(|n| to.extend_from_slice(&n.to_le_bytes()));
}

fn put64(to: &mut Vec<u8>, numbers: &[u64]) {
    numbers.iter().for_each(|n| to.extend_from_slice(&n.to_le_bytes()));
}
