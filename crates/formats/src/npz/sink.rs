//! Writing `.npz` files.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use arrow_array::RecordBatch;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use hyperslab_core::{Error, FieldSpec, Result, SinkSummary};

use crate::WriteOptions;
use crate::container::ContainerSink;
use crate::npy::encode::Encoder;
use crate::npy::spool::Spool;
use crate::npy::text::{TEXT_WIDTH, text_width};
use crate::zip::{ZipEntry, ZipWriter, put16};

/// What is given to the compressor at a time.
const PACKED_BYTES: usize = 256 << 10;

/// A `.npz` file being written.
#[derive(Debug)]
pub struct NpzSink {
    archive: ZipWriter,
    /// `None` for entries that are stored.
    level: Option<Compression>,
    /// Characters of each text, where that is said.
    text_width: Option<usize>,
    open: Option<Open>,
    names: HashSet<String>,
    rows: u64,
}

/// The array that rows go to.
#[derive(Debug)]
struct Open {
    name: String,
    encoder: Encoder,
    rows: Rows,
}

/// Where its rows go.
#[derive(Debug)]
enum Rows {
    /// To the archive.
    Entry(Box<Packed>),
    /// To a temporary file, until it is known how long their texts are.
    Waiting(Spool),
}

/// An entry of the archive that is being written.
#[derive(Debug)]
struct Packed {
    entry: ZipEntry,
    /// Of the rows, without the header.
    crc: Crc,
    packer: Option<DeflateEncoder<Vec<u8>>>,
}

impl Packed {
    /// Starts an entry with a `.npy` header, which may become another of the same length.
    fn start(archive: &mut ZipWriter, name: &str, npy: &[u8], level: Option<Compression>) -> Result<Self> {
        let entry = archive.start(name.to_owned(), level.is_some())?;
        let packer = level.map(|level| DeflateEncoder::new(Vec::new(), level));
        match packer {
            Some(_) => archive.write(&stored_block(npy))?,
            None => archive.write(npy)?,
        }
        Ok(Self { entry, crc: Crc::new(), packer })
    }

    fn write(&mut self, archive: &mut ZipWriter, bytes: &[u8]) -> Result<()> {
        self.crc.update(bytes);
        let Some(packer) = &mut self.packer else { return archive.write(bytes) };
        for part in bytes.chunks(PACKED_BYTES) {
            packer.write_all(part).map_err(|e| packing(archive, e))?;
            let packed = packer.get_mut();
            archive.write(packed)?;
            packed.clear();
        }
        Ok(())
    }

    /// Completes it: the header with the number of rows, then sizes and checksum before it.
    fn finish(self, archive: &mut ZipWriter, npy: Vec<u8>, bytes: u64) -> Result<()> {
        let mut crc = Crc::new();
        crc.update(&npy);
        crc.combine(&self.crc);
        let mut head = npy;
        if let Some(packer) = self.packer {
            let rest = packer.finish().map_err(|e| packing(archive, e))?;
            archive.write(&rest)?;
            head = stored_block(&head);
        }
        archive.complete(self.entry, crc.sum(), bytes, &head)
    }
}

fn packing(archive: &ZipWriter, error: std::io::Error) -> Error {
    Error::io("packing for", archive.path().display().to_string(), error)
}

impl NpzSink {
    /// Starts a file. Options: `codec` (`none`, `deflate`), `level` (1 to 9) and `text_width`, the characters of each
    /// text; without it those of the longest.
    ///
    /// # Errors
    /// `AlreadyExists` for an existing file that may not be replaced; `Invalid` for an unknown option or value; `Io`.
    pub fn create(path: impl AsRef<Path>, options: &WriteOptions) -> Result<Self> {
        let path = path.as_ref();
        let here = |e: Error| e.with("file", path.display());
        let (level, text_width) = (level(options).map_err(here)?, text_width(options).map_err(here)?);
        let archive = ZipWriter::create(path, options.replaces())?;
        Ok(Self { archive, level, text_width, open: None, names: HashSet::new(), rows: 0 })
    }

    /// Completes the array that is open.
    fn close(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let npy = open.encoder.header().map_err(|e| e.with("array", &open.name))?;
        let bytes = npy.len() as u64 + open.encoder.rows() * open.encoder.row_bytes() as u64;
        let packed = match open.rows {
            Rows::Entry(packed) => *packed,
            Rows::Waiting(spool) => {
                let mut packed = Packed::start(&mut self.archive, &open.name, &npy, self.level)?;
                let path = self.archive.path().to_owned();
                spool.drain(&open.encoder, &path, &mut |bytes| packed.write(&mut self.archive, bytes))?;
                packed
            }
        };
        self.rows += open.encoder.rows();
        packed.finish(&mut self.archive, npy, bytes)
    }
}

fn level(options: &WriteOptions) -> Result<Option<Compression>> {
    options.check("npz", &["codec", "level", TEXT_WIDTH])?;
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

impl ContainerSink for NpzSink {
    fn begin(&mut self, name: &str, fields: &[FieldSpec]) -> Result<()> {
        self.close()?;
        let path = self.archive.path().display().to_string();
        let here = |e: Error| e.with("array", name).with("file", &path);
        if name.is_empty() || name.len() > 60_000 || name.starts_with('/') || name.split(['/', '\\']).any(|p| p == "..")
        {
            let why = "an array's name in a .npz is a path within it, without a first / and without ..; choose another";
            return Err(here(Error::invalid(why)));
        }
        let encoder = Encoder::new(fields, self.text_width).map_err(here)?;
        if !self.names.insert(name.to_owned()) {
            return Err(here(Error::already_exists(format!("there is an array {name:?} already"))));
        }
        let name = format!("{name}.npy");
        let npy = encoder.header().map_err(here)?;
        let rows = match encoder.waits() {
            true => Rows::Waiting(Spool::create(self.archive.path())?),
            false => Rows::Entry(Box::new(Packed::start(&mut self.archive, &name, &npy, self.level)?)),
        };
        self.open = Some(Open { name, encoder, rows });
        Ok(())
    }

    fn holds_text(&self) -> bool {
        true
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let path = self.archive.path().display().to_string();
        let Some(open) = &mut self.open else {
            return Err(Error::invalid("rows were given before an array was started").with("file", path));
        };
        let Open { name, encoder, rows } = open;
        let checked = encoder.check(batch).map_err(|e| e.with("array", name).with("file", &path))?;
        match rows {
            Rows::Entry(packed) => encoder.write(&checked, &mut |bytes| packed.write(&mut self.archive, bytes)),
            Rows::Waiting(spool) => spool.write(encoder, &checked, self.archive.path()),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<SinkSummary> {
        self.close()?;
        Ok(SinkSummary { rows: self.rows, bytes: self.archive.finish()? })
    }
}
