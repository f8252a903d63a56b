//! Writing torch files: a dict of tensors that `torch.load` opens, with `weights_only=True` too.

use std::collections::HashSet;
use std::path::Path;

use arrow_array::RecordBatch;
use flate2::Crc;
use hyperslab_core::{Error, FieldSpec, Result, SinkSummary, arrow};

use super::{MAX_PICKLE, globals};
use crate::WriteOptions;
use crate::container::ContainerSink;
use crate::zip::{ZipEntry, ZipWriter};

/// The folder in the archive.
const FOLDER: &str = "archive";
/// Bytes of the pickle for a tensor, at most, without its name and axes.
const TENSOR_BYTES: u64 = 300;

/// A torch file being written.
#[derive(Debug)]
pub struct TorchSink {
    archive: ZipWriter,
    open: Option<Open>,
    names: HashSet<String>,
    /// The items of the dict.
    items: Vec<u8>,
    tensors: u64,
    rows: u64,
}

/// The tensor that rows go to.
#[derive(Debug)]
struct Open {
    name: String,
    field: FieldSpec,
    /// torch's names of the dtype: of its storage, or empty, and its own.
    names: (&'static str, &'static str),
    entry: ZipEntry,
    crc: Crc,
    rows: u64,
}

impl TorchSink {
    /// Starts a file. The format has no options.
    ///
    /// # Errors
    /// `AlreadyExists` for an existing file that may not be replaced; `Invalid` for an option; `Io`.
    pub fn create(path: impl AsRef<Path>, options: &WriteOptions) -> Result<Self> {
        let path = path.as_ref();
        options.check("torch", &[]).map_err(|e| e.with("file", path.display()))?;
        let archive = ZipWriter::create(path, options.replaces())?;
        Ok(Self { archive, open: None, names: HashSet::new(), items: Vec::new(), tensors: 0, rows: 0 })
    }

    /// Completes the tensor that is open: its storage's entry and its item of the dict.
    fn close(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let bytes = open.rows * open.field.row_bytes() as u64;
        put_tensor(&mut self.items, &open, self.tensors);
        self.archive.complete(open.entry, open.crc.sum(), bytes, &[])?;
        self.tensors += 1;
        self.rows += open.rows;
        Ok(())
    }
}

/// The name and the call that makes the tensor.
fn put_tensor(to: &mut Vec<u8>, open: &Open, key: u64) {
    let shape = open.field.shape(open.rows);
    let elements = shape.iter().product::<u64>();
    let (storage, dtype) = open.names;
    put_text(to, &open.name);
    let (call, storage, size) = match storage {
        // Dtypes that came late have no storage of their own, and are said after the rest.
        "" => ("_rebuild_tensor_v3", "torch.storage\nUntypedStorage", elements * open.field.dtype().size() as u64),
        storage => ("_rebuild_tensor_v2", &*format!("torch\n{storage}"), elements),
    };
    to.extend_from_slice(format!("ctorch._utils\n{call}\n((").as_bytes());
    put_text(to, "storage");
    to.extend_from_slice(format!("c{storage}\n").as_bytes());
    put_text(to, &key.to_string());
    put_text(to, "cpu");
    put_int(to, size);
    to.extend_from_slice(b"tQ");
    put_int(to, 0);
    put_tuple(to, &shape);
    let mut strides = vec![1_u64; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i].saturating_mul(shape[i].max(1));
    }
    put_tuple(to, &strides);
    // No gradient, no hooks.
    to.extend_from_slice(b"\x89ccollections\nOrderedDict\n)R");
    if call == "_rebuild_tensor_v3" {
        to.extend_from_slice(format!("ctorch\n{dtype}\n").as_bytes());
    }
    to.extend_from_slice(b"tR");
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    to.push(b'X');
    to.extend_from_slice(&(text.len() as u32).to_le_bytes());
    to.extend_from_slice(text.as_bytes());
}

fn put_int(to: &mut Vec<u8>, n: u64) {
    match i32::try_from(n) {
        Ok(n) => {
            to.push(b'J');
            to.extend_from_slice(&n.to_le_bytes());
        }
        // Sizes have at most 63 bits.
        Err(_) => {
            to.extend_from_slice(b"\x8a\x08");
            to.extend_from_slice(&n.to_le_bytes());
        }
    }
}

fn put_tuple(to: &mut Vec<u8>, numbers: &[u64]) {
    to.push(b'(');
    numbers.iter().for_each(|&n| put_int(to, n));
    to.push(b't');
}

impl ContainerSink for TorchSink {
    fn begin(&mut self, name: &str, fields: &[FieldSpec]) -> Result<()> {
        self.close()?;
        let path = self.archive.path().display().to_string();
        let here = |e: Error| e.with("array", name).with("file", &path);
        let [field] = fields else {
            let names: Vec<_> = fields.iter().map(FieldSpec::name).collect();
            let why = format!("a tensor holds one field, and there are {}: {names:?}; select one of them", names.len());
            return Err(here(Error::invalid(why)));
        };
        let names = globals::names(field.dtype()).ok_or_else(|| {
            let (field, dtype) = (field.name(), field.dtype());
            here(Error::unsupported(format!("field {field:?}: torch has no {dtype}; cast it, or leave it out")))
        })?;
        let room = self.items.len() as u64 + name.len() as u64 + field.cell().len() as u64 * 20 + TENSOR_BYTES;
        if room > MAX_PICKLE {
            let why = format!("the names of {} tensors take more than 100 MB; write several files", self.tensors);
            return Err(here(Error::invalid(why)));
        }
        if !self.names.insert(name.to_owned()) {
            return Err(here(Error::already_exists(format!("there is a tensor {name:?} already"))));
        }
        let entry = self.archive.start(format!("{FOLDER}/data/{}", self.tensors), false)?;
        self.open = Some(Open { name: name.to_owned(), field: field.clone(), names, entry, crc: Crc::new(), rows: 0 });
        Ok(())
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let path = self.archive.path().display().to_string();
        let Some(open) = &mut self.open else {
            return Err(Error::invalid("rows were given before an array was started").with("file", path));
        };
        let here = |e: Error| e.with("array", &open.name).with("file", &path);
        let [column] = batch.columns() else {
            let found = batch.num_columns();
            return Err(here(Error::invalid(format!("a tensor holds one field, and the rows have {found}"))));
        };
        let bytes = arrow::raw_bytes(&open.field, column.as_ref(), open.rows).map_err(here)?;
        open.crc.update(&bytes);
        open.rows += batch.num_rows() as u64;
        self.archive.write(&bytes)
    }

    fn finish(mut self: Box<Self>) -> Result<SinkSummary> {
        self.close()?;
        let mut pickle = b"\x80\x02}(".to_vec();
        pickle.append(&mut self.items);
        pickle.extend_from_slice(b"u.");
        self.archive.add(&format!("{FOLDER}/data.pkl"), &pickle)?;
        self.archive.add(&format!("{FOLDER}/byteorder"), b"little")?;
        self.archive.add(&format!("{FOLDER}/version"), b"3\n")?;
        Ok(SinkSummary { rows: self.rows, bytes: self.archive.finish()? })
    }
}
