//! Writing `.npz` files: a zip archive, entry by entry, whose sizes are filled in when they are known.
//!
//! Source of the format: <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>.

use std::collections::HashSet;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use arrow_array::RecordBatch;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use hyperslab_core::{Error, FieldSpec, Result, SinkSummary};

use crate::WriteOptions;
use crate::container::ContainerSink;
use crate::npy::encode::Encoder;
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
/// What is given to the compressor at a time.
const PACKED_BYTES: usize = 256 << 10;

/// A `.npz` file being written.
#[derive(Debug)]
pub struct NpzSink {
    file: NewFile,
    /// `None` for entries that are stored.
    level: Option<Compression>,
    open: Option<Open>,
    done: Vec<Done>,
    names: HashSet<String>,
    /// Bytes written so far.
    end: u64,
    rows: u64,
}

/// The entry that rows go to.
#[derive(Debug)]
struct Open {
    name: String,
    start: u64,
    /// Where its `.npy` starts, packed or not.
    data: u64,
    encoder: Encoder,
    /// Of the rows, without the header.
    crc: Crc,
    packer: Option<DeflateEncoder<Vec<u8>>>,
}

#[derive(Debug)]
struct Done {
    name: String,
    start: u64,
    crc: u32,
    bytes: u64,
    packed: u64,
}

impl NpzSink {
    /// Starts a file. Options: `codec` (`none`, `deflate`) and `level` (1 to 9).
    ///
    /// # Errors
    /// `AlreadyExists` for an existing file that may not be replaced; `Invalid` for an unknown option or value; `Io`.
    pub fn create(path: impl AsRef<Path>, options: &WriteOptions) -> Result<Self> {
        let path = path.as_ref();
        let level = level(options).map_err(|e| e.with("file", path.display()))?;
        let file = NewFile::create(path, options.replaces())?;
        Ok(Self { file, level, open: None, done: Vec::new(), names: HashSet::new(), end: 0, rows: 0 })
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.end += bytes.len() as u64;
        self.file.write(bytes)
    }

    fn method(&self) -> u16 {
        if self.level.is_some() { DEFLATED } else { STORED }
    }

    /// The header before an entry, always with room for sizes of 64 bits.
    fn local(&self, name: &str, start: u64, crc: u32, bytes: u64, packed: u64) -> Vec<u8> {
        let mut header = Vec::new();
        let padding =
            (start + 30 + name.len() as u64 + 24).next_multiple_of(ALIGN) - (start + 30 + name.len() as u64 + 24);
        header.extend_from_slice(b"PK\x03\x04");
        put16(&mut header, &[VERSION, FLAGS, self.method()]);
        put32(&mut header, &[DATE, crc, u32::MAX, u32::MAX]);
        put16(&mut header, &[name.len() as u16, 24 + padding as u16]);
        header.extend_from_slice(name.as_bytes());
        put16(&mut header, &[ZIP64, 16]);
        put64(&mut header, &[bytes, packed]);
        put16(&mut header, &[PADDING, padding as u16]);
        header.resize(header.len() + padding as usize, 0);
        header
    }

    /// Completes the entry that is open: the row count in its `.npy` header, then sizes and checksum before it.
    fn close(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let here = |e: Error| e.with("array", &open.name);
        let npy = open.encoder.header().map_err(here)?;
        let bytes = npy.len() as u64 + open.encoder.rows() * open.encoder.row_bytes() as u64;
        let mut crc = Crc::new();
        crc.update(&npy);
        crc.combine(&open.crc);
        let mut head = npy;
        if let Some(packer) = open.packer {
            let rest = packer.finish().map_err(|e| self.file.failed(e))?;
            self.write_bytes(&rest)?;
            head = stored_block(&head);
        }
        let packed = self.end - open.data;
        let mut local = self.local(&open.name, open.start, crc.sum(), bytes, packed);
        local.extend_from_slice(&head);
        let (start, end) = (open.start, self.end);
        let file = self.file.file()?;
        let written = file
            .seek(SeekFrom::Start(start))
            .and_then(|_| file.write_all(&local))
            .and_then(|()| file.seek(SeekFrom::Start(end)));
        written.map_err(|e| self.file.failed(e))?;
        self.rows += open.encoder.rows();
        self.done.push(Done { name: open.name, start, crc: crc.sum(), bytes, packed });
        Ok(())
    }

    /// The directory at the archive's end.
    fn directory(&self) -> Vec<u8> {
        let mut to = Vec::new();
        for entry in &self.done {
            let large: Vec<u64> =
                [entry.bytes, entry.packed, entry.start].into_iter().filter(|&n| n >= MAX_32).collect();
            to.extend_from_slice(b"PK\x01\x02");
            put16(&mut to, &[3 << 8 | VERSION, VERSION, FLAGS, self.method()]);
            put32(&mut to, &[DATE, entry.crc, low(entry.packed), low(entry.bytes)]);
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

fn level(options: &WriteOptions) -> Result<Option<Compression>> {
    options.check("npz", &["codec", "level"])?;
    let deflate = options.one_of("codec", &[("none", false), ("deflate", true)])?.unwrap_or(false);
    match options.number("level", 1..=9)? {
        Some(_) if !deflate => {
            Err(Error::invalid("option level is for codec deflate; set codec to deflate, or leave level out"))
        }
        level => Ok(deflate.then(|| level.map_or_else(Compression::default, Compression::new))),
    }
}

/// Bytes as a block of deflate that is not packed and not the last: it can be written over by others of that length.
fn stored_block(bytes: &[u8]) -> Vec<u8> {
    // A `.npy` header is never longer than 65,535 bytes.
    let length = bytes.len() as u16;
    let mut block = vec![0];
    put16(&mut block, &[length, !length]);
    block.extend_from_slice(bytes);
    block
}

fn low(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn put16(to: &mut Vec<u8>, numbers: &[u16]) {
    numbers.iter().for_each(|n| to.extend_from_slice(&n.to_le_bytes()));
}

fn put32(to: &mut Vec<u8>, numbers: &[u32]) {
    numbers.iter().for_each(|n| to.extend_from_slice(&n.to_le_bytes()));
}

fn put64(to: &mut Vec<u8>, numbers: &[u64]) {
    numbers.iter().for_each(|n| to.extend_from_slice(&n.to_le_bytes()));
}

impl ContainerSink for NpzSink {
    fn begin(&mut self, name: &str, fields: &[FieldSpec]) -> Result<()> {
        self.close()?;
        let path = self.file.path().display().to_string();
        let here = |e: Error| e.with("array", name).with("file", &path);
        if name.is_empty() || name.len() > 60_000 || name.starts_with('/') || name.split(['/', '\\']).any(|p| p == "..")
        {
            let why = "an array's name in a .npz is a path within it, without a first / and without ..; choose another";
            return Err(here(Error::invalid(why)));
        }
        let encoder = Encoder::new(fields).map_err(here)?;
        if !self.names.insert(name.to_owned()) {
            return Err(here(Error::already_exists(format!("there is an array {name:?} already"))));
        }
        let name = format!("{name}.npy");
        let (start, npy) = (self.end, encoder.header().map_err(here)?);
        let local = self.local(&name, start, 0, 0, 0);
        self.write_bytes(&local)?;
        let data = self.end;
        let packer = self.level.map(|level| DeflateEncoder::new(Vec::new(), level));
        self.write_bytes(&if packer.is_some() { stored_block(&npy) } else { npy })?;
        self.open = Some(Open { name, start, data, encoder, crc: Crc::new(), packer });
        Ok(())
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let path = self.file.path().display().to_string();
        let Some(open) = &mut self.open else {
            return Err(Error::invalid("rows were given before an array was started").with("file", path));
        };
        let bytes = open.encoder.encode(batch).map_err(|e| e.with("array", &open.name).with("file", &path))?;
        open.crc.update(&bytes);
        let Some(packer) = &mut open.packer else { return self.write_bytes(&bytes) };
        for part in bytes.chunks(PACKED_BYTES) {
            packer.write_all(part).map_err(|e| Error::io("packing for", &path, e))?;
            let packed = packer.get_mut();
            self.end += packed.len() as u64;
            self.file.write(packed)?;
            packed.clear();
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<SinkSummary> {
        self.close()?;
        let directory = self.directory();
        self.write_bytes(&directory)?;
        self.file.publish()?;
        Ok(SinkSummary { rows: self.rows, bytes: self.end })
    }
}
