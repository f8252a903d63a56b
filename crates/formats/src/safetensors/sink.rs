//! Writing `.safetensors` files.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use arrow_array::RecordBatch;
use hyperslab_core::{DType, Error, FieldSpec, Result, SinkSummary, arrow};
use serde_json::json;

use super::DTYPES;
use super::header::METADATA;
use crate::WriteOptions;
use crate::container::ContainerSink;
use crate::output::NewFile;

/// Room that is left for the header, whose size depends on all that follows.
const ROOM: u64 = 64 << 10;
/// A file of fewer bytes is copied once more, so as not to be mostly room.
const SMALL: u64 = 1 << 20;
/// The option with the file's own attributes.
const METADATA_OPTION: &str = "metadata";
/// Where values start, a multiple.
const ALIGN: usize = 64;

/// A `.safetensors` file being written.
#[derive(Debug)]
pub struct SafetensorsSink {
    file: NewFile,
    tensors: Vec<Written>,
    names: HashSet<String>,
    metadata: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Written {
    name: String,
    dtype: &'static str,
    field: FieldSpec,
    rows: u64,
    /// Where its values start, from that of the first.
    start: u64,
}

impl Written {
    fn bytes(&self) -> u64 {
        self.rows * self.field.row_bytes() as u64
    }
}

impl SafetensorsSink {
    /// Starts a file. The option `metadata` is a JSON object of texts.
    ///
    /// # Errors
    /// `AlreadyExists` for an existing file that may not be replaced; `Invalid` for an option; `Io`.
    pub fn create(path: impl AsRef<Path>, options: &WriteOptions) -> Result<Self> {
        let path = path.as_ref();
        let here = |e: Error| e.with("file", path.display());
        options.check("safetensors", &[METADATA_OPTION]).map_err(here)?;
        let metadata = match options.get(METADATA_OPTION).map(serde_json::from_str) {
            None => BTreeMap::new(),
            Some(Ok(metadata)) => metadata,
            Some(Err(e)) => {
                let why = "option metadata is no JSON object of texts, as in '{\"license\": \"mit\"}'";
                return Err(here(Error::invalid(why).because(e)));
            }
        };
        let mut file = NewFile::create(path, options.replaces())?;
        let placed = file.file()?.seek(SeekFrom::Start(ROOM));
        placed.map_err(|e| file.failed(e))?;
        Ok(Self { file, tensors: Vec::new(), names: HashSet::new(), metadata })
    }

    fn here(&self, error: Error) -> Error {
        error.with("file", self.file.path().display())
    }

    fn end(&self) -> u64 {
        self.tensors.last().map_or(0, |t| t.start + t.bytes())
    }

    /// The header of tensors at the given offsets, its length included.
    fn header(&self, starts: &[u64]) -> Result<Vec<u8>> {
        let mut json = serde_json::Map::new();
        if !self.metadata.is_empty() {
            json.insert(METADATA.to_owned(), json!(self.metadata));
        }
        for (tensor, start) in self.tensors.iter().zip(starts) {
            let info = json!({
                "dtype": tensor.dtype,
                "shape": tensor.field.shape(tensor.rows),
                "data_offsets": [start, start + tensor.bytes()],
            });
            json.insert(tensor.name.clone(), info);
        }
        let json = serde_json::to_vec(&json).map_err(|e| self.here(Error::invalid("the header").because(e)))?;
        if json.len() > super::header::MAX_BYTES as usize - ALIGN {
            let why = format!("the names of {} tensors take more than 100 MB; write several files", self.tensors.len());
            return Err(self.here(Error::invalid(why)));
        }
        let mut header = vec![0; 8];
        header.extend_from_slice(&json);
        header.resize(header.len().next_multiple_of(ALIGN), b' ');
        Ok(header)
    }

    /// Fills up the header and writes its length.
    fn write_header(file: &mut NewFile, mut header: Vec<u8>, size: usize) -> Result<()> {
        header.resize(size, b' ');
        let length = (size as u64 - 8).to_le_bytes();
        header[..8].copy_from_slice(&length);
        let target = file.file()?;
        let written = target.seek(SeekFrom::Start(0)).and_then(|_| target.write_all(&header));
        written.map_err(|e| file.failed(e))
    }

    /// Copies all to another file, the widest elements first, so that each is aligned.
    fn rearranged(&mut self) -> Result<NewFile> {
        let mut order: Vec<usize> = (0..self.tensors.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(self.tensors[i].field.dtype().component_size()));
        let mut starts = vec![0; order.len()];
        let mut end = 0;
        for &i in &order {
            starts[i] = end;
            end += self.tensors[i].bytes();
        }
        let header = self.header(&starts)?;
        let size = header.len();
        let mut file = self.file.again()?;
        Self::write_header(&mut file, header, size)?;
        for &i in &order {
            let (from, to) = (self.file.file()?, file.file()?);
            copy(from, ROOM + self.tensors[i].start, self.tensors[i].bytes(), to).map_err(|e| self.file.failed(e))?;
        }
        Ok(file)
    }
}

fn copy(from: &mut std::fs::File, start: u64, bytes: u64, to: &mut std::fs::File) -> io::Result<()> {
    from.seek(SeekFrom::Start(start))?;
    match io::copy(&mut from.take(bytes), to)? {
        copied if copied == bytes => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl ContainerSink for SafetensorsSink {
    fn begin(&mut self, name: &str, fields: &[FieldSpec]) -> Result<()> {
        let here = |e: Error| e.with("array", name).with("file", self.file.path().display());
        let [field] = fields else {
            let names: Vec<_> = fields.iter().map(FieldSpec::name).collect();
            let why = format!("a tensor holds one field, and there are {}: {names:?}; select one of them", names.len());
            return Err(here(Error::invalid(why)));
        };
        if name == METADATA {
            return Err(here(Error::invalid(format!("{METADATA:?} cannot be a tensor's name; choose another one"))));
        }
        let dtype = DTYPES.iter().find(|(_, d)| *d == field.dtype()).map(|(n, _)| *n).ok_or_else(|| {
            let cast = match field.dtype() {
                DType::Complex128 => "complex64",
                DType::Datetime64(_) | DType::Timedelta64(_) => "int64",
                _ => "numbers",
            };
            here(Error::unsupported(format!(
                "field {:?}: the format has no {}; cast it to {cast}, or leave it out",
                field.name(),
                field.dtype()
            )))
        })?;
        if !self.names.insert(name.to_owned()) {
            return Err(here(Error::already_exists(format!("there is a tensor {name:?} already"))));
        }
        let start = self.end();
        self.tensors.push(Written { name: name.to_owned(), dtype, field: field.clone(), rows: 0, start });
        Ok(())
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let path = self.file.path().display().to_string();
        let Some(tensor) = self.tensors.last_mut() else {
            return Err(Error::invalid("rows were given before an array was started").with("file", path));
        };
        let here = |e: Error| e.with("array", &tensor.name).with("file", &path);
        let [column] = batch.columns() else {
            let found = batch.num_columns();
            return Err(here(Error::invalid(format!("a tensor holds one field, and the rows have {found}"))));
        };
        let bytes = arrow::raw_bytes(&tensor.field, column.as_ref(), tensor.rows).map_err(here)?;
        self.file.write(&bytes)?;
        tensor.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn set_metadata(&mut self, key: &str, value: &str) -> Result<()> {
        self.metadata.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<SinkSummary> {
        let starts: Vec<u64> = self.tensors.iter().map(|t| t.start).collect();
        let header = self.header(&starts)?;
        let aligned = self.tensors.iter().all(|t| t.start % t.field.dtype().component_size() as u64 == 0);
        let mut file = if aligned && self.end() >= SMALL && header.len() as u64 <= ROOM {
            Self::write_header(&mut self.file, header, ROOM as usize)?;
            self.file
        } else {
            self.rearranged()?
        };
        let bytes = file.file()?.metadata().map_err(|e| file.failed(e))?.len();
        file.publish()?;
        Ok(SinkSummary { rows: self.tensors.iter().map(|t| t.rows).sum(), bytes })
    }
}
