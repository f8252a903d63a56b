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
use crate::zip::{ZipEntry, ZipWriter, put16};

/// What is given to the compressor at a time.
const PACKED_BYTES: usize = 256 << 10;

/// A `.npz` file being written.
#[derive(Debug)]
pub struct NpzSink {
    archive: ZipWriter,
    /// `None` for entries that are stored.
    level: Option<Compression>,
    open: Option<Open>,
    names: HashSet<String>,
    rows: u64,
}

/// The array that rows go to.
#[derive(Debug)]
struct Open {
    name: String,
    entry: ZipEntry,
    encoder: Encoder,
    /// Of the rows, without the header.
    crc: Crc,
    packer: Option<DeflateEncoder<Vec<u8>>>,
}

impl NpzSink {
    /// Starts a file. Options: `codec` (`none`, `deflate`) and `level` (1 to 9).
    ///
    /// # Errors
    /// `AlreadyExists` for an existing file that may not be replaced; `Invalid` for an unknown option or value; `Io`.
    pub fn create(path: impl AsRef<Path>, options: &WriteOptions) -> Result<Self> {
        let path = path.as_ref();
        let level = level(options).map_err(|e| e.with("file", path.display()))?;
        let archive = ZipWriter::create(path, options.replaces())?;
        Ok(Self { archive, level, open: None, names: HashSet::new(), rows: 0 })
    }

    /// Completes the array that is open: the row count in its `.npy` header, then sizes and checksum before it.
    fn close(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let npy = open.encoder.header().map_err(|e| e.with("array", &open.name))?;
        let bytes = npy.len() as u64 + open.encoder.rows() * open.encoder.row_bytes() as u64;
        let mut crc = Crc::new();
        crc.update(&npy);
        crc.combine(&open.crc);
        let mut head = npy;
        if let Some(packer) = open.packer {
            let rest =
                packer.finish().map_err(|e| Error::io("packing for", self.archive.path().display().to_string(), e))?;
            self.archive.write(&rest)?;
            head = stored_block(&head);
        }
        self.rows += open.encoder.rows();
        self.archive.complete(open.entry, crc.sum(), bytes, &head)
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
        let encoder = Encoder::new(fields).map_err(here)?;
        if !self.names.insert(name.to_owned()) {
            return Err(here(Error::already_exists(format!("there is an array {name:?} already"))));
        }
        let name = format!("{name}.npy");
        let npy = encoder.header().map_err(here)?;
        let entry = self.archive.start(name.clone(), self.level.is_some())?;
        let packer = self.level.map(|level| DeflateEncoder::new(Vec::new(), level));
        self.archive.write(&if packer.is_some() { stored_block(&npy) } else { npy })?;
        self.open = Some(Open { name, entry, encoder, crc: Crc::new(), packer });
        Ok(())
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let path = self.archive.path().display().to_string();
        let Some(open) = &mut self.open else {
            return Err(Error::invalid("rows were given before an array was started").with("file", path));
        };
        let bytes = open.encoder.encode(batch).map_err(|e| e.with("array", &open.name).with("file", &path))?;
        open.crc.update(&bytes);
        let Some(packer) = &mut open.packer else { return self.archive.write(&bytes) };
        for part in bytes.chunks(PACKED_BYTES) {
            packer.write_all(part).map_err(|e| Error::io("packing for", &path, e))?;
            let packed = packer.get_mut();
            self.archive.write(packed)?;
            packed.clear();
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<SinkSummary> {
        self.close()?;
        Ok(SinkSummary { rows: self.rows, bytes: self.archive.finish()? })
    }
}
