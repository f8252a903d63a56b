//! Hugging Face's `.safetensors`: tensors by name, read in place, and the file's metadata.
//!
//! | in the file | here |
//! |---|---|
//! | `BOOL`, `U8` … `U64`, `I8` … `I64`, `F16`, `BF16`, `F32`, `F64`, `C64` | the dtype of that name |
//! | `F8_E4M3`, `F8_E5M2`, `F4` and what else has no dtype here | listed, and refused by name when opened |
//! | a shape of no axes | one row with a scalar; written again it has the shape `[1]` |
//! | a shape with an axis of length 0 | as many rows as the first axis says, of empty cells |
//! | `__metadata__` | [`Container::metadata`]; written in the order of the keys |
//!
//! The first axis is the rows and the others are the cell of the one field, `value`. A header of at most 100 MB is read,
//! as by the format's own library, and every rule of that library is checked: offsets within the file, no overlap, no
//! hole, nothing after the last tensor, no name twice. Reading a header takes some ten times its size of memory.
//!
//! A file is written tensor by tensor; when tensors of unlike dtypes would lie misaligned, or the names need more room
//! than was left for them, the values are copied once more at the end, the widest first.
//!
//! Source of the format: <https://github.com/huggingface/safetensors#format>.

mod header;
mod sink;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use hyperslab_core::{ArraySource, DType, Error, FieldSpec, Result, VALUE};

use crate::container::{Container, Entry, missing_entry};
use crate::map::MappedFile;
use crate::raw::{Layout, RawSource};

use header::{Header, Tensor};

pub use sink::SafetensorsSink;

/// A `.safetensors` file, mapped.
#[derive(Debug)]
pub struct SafetensorsFile {
    file: Arc<MappedFile>,
    entries: Vec<Entry>,
    /// Where the values of each entry are in the file.
    ranges: Vec<Range<usize>>,
    by_name: HashMap<String, usize>,
    metadata: Vec<(String, String)>,
}

impl SafetensorsFile {
    /// Maps a file and checks its header.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` for a header that is not understood, or offsets that do not fit the shapes, each other or
    /// the file; `Invalid` for what is no regular file; `Io`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let file = Arc::new(MappedFile::open(path.as_ref())?);
        let header = Header::parse(file.bytes()).map_err(|e| e.with("file", path.as_ref().display()))?;
        let mut found = Self {
            entries: Vec::with_capacity(header.tensors.len()),
            ranges: Vec::with_capacity(header.tensors.len()),
            by_name: HashMap::with_capacity(header.tensors.len()),
            metadata: header.metadata,
            file,
        };
        for (i, tensor) in header.tensors.into_iter().enumerate() {
            found.by_name.insert(tensor.name.clone(), i);
            found.ranges.push(tensor.range.clone());
            found.entries.push(entry(tensor));
        }
        Ok(found)
    }
}

fn entry(tensor: Tensor) -> Entry {
    let field = dtype(&tensor.dtype).and_then(|d| field(d, &tensor.shape).ok());
    let dtype = dtype(&tensor.dtype).map_or(tensor.dtype, |d| d.to_string());
    let bytes = tensor.range.len() as u64;
    Entry { name: tensor.name, dtype, shape: tensor.shape, bytes, fields: field.into_iter().collect() }
}

fn field(dtype: DType, shape: &[u64]) -> Result<FieldSpec> {
    let cell = shape.get(1..).unwrap_or_default();
    FieldSpec::new(VALUE, dtype, cell.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect())
}

/// The format's names of our dtypes.
const DTYPES: [(&str, DType); 14] = [
    ("BOOL", DType::Bool),
    ("U8", DType::UInt8),
    ("U16", DType::UInt16),
    ("U32", DType::UInt32),
    ("U64", DType::UInt64),
    ("I8", DType::Int8),
    ("I16", DType::Int16),
    ("I32", DType::Int32),
    ("I64", DType::Int64),
    ("F16", DType::Float16),
    ("BF16", DType::Bfloat16),
    ("F32", DType::Float32),
    ("F64", DType::Float64),
    ("C64", DType::Complex64),
];

fn dtype(name: &str) -> Option<DType> {
    DTYPES.iter().find(|(n, _)| *n == name).map(|(_, d)| *d)
}

impl Container for SafetensorsFile {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }

    fn open(&self, name: &str) -> Result<Arc<dyn ArraySource>> {
        let i = *self.by_name.get(name).ok_or_else(|| missing_entry(self, name))?;
        let (entry, range) = (&self.entries[i], &self.ranges[i]);
        let here = |e: Error| e.with("array", name).with("file", self.path().display());
        let Some(spec) = entry.fields.first() else {
            // Either there is no such dtype here, or the cell is too large.
            let dtype = entry.dtype.parse().map_err(|_| {
                here(Error::unsupported(format!(
                    "dtype {} is not read; convert the tensor to BF16 or F32 where it was made",
                    entry.dtype
                )))
            })?;
            return Err(field(dtype, &entry.shape).map_or_else(here, |_| missing_entry(self, name)));
        };
        let rows = entry.shape.first().copied().unwrap_or(1);
        let layout = Layout::plain(spec.clone(), rows);
        Ok(Arc::new(RawSource::new(Arc::clone(&self.file), range.clone(), layout, Some(name.to_owned()))?))
    }
}
