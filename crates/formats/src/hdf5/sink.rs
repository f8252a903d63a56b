//! Writing HDF5 files: arrays one after another, each as a dataset for each of its fields.

use std::collections::HashSet;
use std::path::Path;

use arrow_array::RecordBatch;
use hyperslab_core::{DType, Error, FieldSpec, Result, SinkSummary};

use super::encode;
use super::options::{Attribute, Hdf5Options};
use super::writer::{Column, Heap, Messages, Out};
use crate::container::ContainerSink;
use crate::options::WriteOptions;

/// Where data starts in a file: after the superblock, aligned.
const DATA_START: u64 = 64;
/// The attribute of a group that is an array of several fields.
pub(super) const ARRAY_ATTRIBUTE: &str = "hyperslab";

/// An HDF5 file being written. An array of one field becomes a dataset of its name, one of several fields a group with
/// a dataset for each field; a `/` in a name makes groups.
///
/// Numbers of a single field, without any option, are written in one piece, which can be read in place; everything else
/// goes to chunks, whose first axis h5py may grow later. Structures are those of HDF5 1.8. NULLs are an error, and
/// bfloat16, which nobody reads, is written as float32.
///
/// | option | |
/// |---|---|
/// | `dataset` | another name: of the dataset, or of the group of several fields |
/// | `chunks` | `'1000,384'`: rows first; axes left out are whole. By default up to 1 MiB of rows |
/// | `codec`, `level` | `'gzip'` (or `'none'`), 0 to 9, by default 4 |
/// | `shuffle`, `fletcher32` | `'true'`: the filters of those names |
/// | `attributes` | of the dataset or group, a JSON object of texts and numbers |
#[derive(Debug)]
pub struct Hdf5Sink {
    out: Out,
    options: Hdf5Options,
    current: Option<Array>,
    /// By path, without the first `/`: where the object header is.
    datasets: Vec<(String, u64)>,
    /// By group: attribute messages.
    attributes: Vec<(String, Messages)>,
    rows: u64,
}

/// The array that rows go to.
#[derive(Debug)]
struct Array {
    columns: Vec<Column>,
    /// The paths of the columns' datasets.
    paths: Vec<String>,
    /// The group of several fields.
    group: Option<String>,
    rows: u64,
}

impl Hdf5Sink {
    /// Starts a file.
    ///
    /// # Errors
    /// `AlreadyExists` for an existing file that may not be overwritten; `Invalid` for options that are not known or not
    /// possible, and when `path` is no regular file; `Io`.
    pub fn create(path: &Path, options: &WriteOptions) -> Result<Self> {
        let read = Hdf5Options::new(options).map_err(|e| e.with("file", path.display()))?;
        let mut out = Out::create(path, options.replaces())?;
        out.write(&[0; DATA_START as usize])?;
        Ok(Self { out, options: read, current: None, datasets: Vec::new(), attributes: Vec::new(), rows: 0 })
    }

    pub(crate) fn create_boxed(path: &Path, options: &WriteOptions) -> Result<Box<dyn ContainerSink>> {
        Ok(Box::new(Self::create(path, options)?))
    }

    fn start(&mut self, name: &str, fields: &[FieldSpec]) -> Result<()> {
        let path = self.options.dataset.as_deref().unwrap_or(name).trim_matches('/').to_owned();
        let (paths, group) = match fields {
            [] => return Err(Error::invalid("there is no field to write")),
            [_] => (vec![path], None),
            _ => {
                let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
                let inside = |field: &FieldSpec| match field.name().contains('/') {
                    true => Err(bad_name(field.name())),
                    false => Ok(format!("{prefix}{}", field.name())),
                };
                (fields.iter().map(inside).collect::<Result<_>>()?, Some(path))
            }
        };
        for (i, path) in paths.iter().enumerate() {
            if path.split('/').any(|part| part.is_empty() || part == "." || part == ".." || part.contains('\0')) {
                return Err(bad_name(path));
            }
            let mut others = self.datasets.iter().map(|(p, _)| p).chain(&paths[..i]);
            let within =
                |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            if let Some(other) = others.find(|other| within(path, other) || within(other, path)) {
                return Err(Error::already_exists(format!(
                    "the file has a dataset {other:?}, so that there can be none named {path:?}; choose another name"
                )));
            }
        }
        let alone = fields.len() == 1;
        let columns =
            fields.iter().map(|f| Column::new(f, &self.options, alone).map_err(|e| e.with("field", f.name())));
        self.current = Some(Array { columns: columns.collect::<Result<_>>()?, paths, group, rows: 0 });
        Ok(())
    }

    /// Completes the array that was started last.
    fn complete(&mut self) -> Result<()> {
        let Some(array) = self.current.take() else { return Ok(()) };
        self.rows += array.rows;
        let own = self.options.attributes.clone();
        for (column, path) in array.columns.into_iter().zip(array.paths) {
            let mut messages = column.finish(&mut self.out)?;
            if array.group.is_none() {
                messages.extend(self.messages(&own)?);
            }
            let address = self.out.object(&messages)?;
            self.datasets.push((path, address));
        }
        if let Some(group) = array.group {
            let mark = (ARRAY_ATTRIBUTE.to_owned(), Attribute::Text("array".to_owned()));
            let messages = self.messages(&[&own[..], &[mark]].concat())?;
            self.attributes.push((group, messages));
        }
        Ok(())
    }

    fn messages(&mut self, attributes: &[(String, Attribute)]) -> Result<Messages> {
        let mut messages = Vec::with_capacity(attributes.len());
        for (name, value) in attributes {
            if name.is_empty() || name.len() > 1024 || name.contains('\0') {
                return Err(Error::invalid(format!(
                    "{name:?} cannot be the name of an attribute; shorten or change it"
                )));
            }
            let (dtype, bytes) = match value {
                Attribute::Integer(n) => (DType::Int64, n.to_le_bytes().to_vec()),
                Attribute::Float(x) => (DType::Float64, x.to_le_bytes().to_vec()),
                Attribute::Text(text) => {
                    let (mut heap, mut reference) = (Heap::default(), Vec::new());
                    heap.add(&mut self.out, text.as_bytes(), &mut reference)?;
                    heap.flush(&mut self.out, &mut reference)?;
                    (DType::Utf8, reference)
                }
            };
            messages.push(encode::attribute(name, &encode::element(dtype), &bytes));
        }
        Ok(messages)
    }

    /// Writes a group, after those in it, and says where.
    fn group(&mut self, path: &str, datasets: &[(String, u64)]) -> Result<u64> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let mut members: Vec<(String, u64)> = Vec::new();
        // In the order in which they were written, which is that of an array's fields.
        let mut groups: Vec<&str> = Vec::new();
        let mut known = HashSet::new();
        let below = datasets.iter().filter_map(|(p, address)| Some((p.strip_prefix(&prefix)?, *address)));
        for (rest, address) in below {
            match rest.split_once('/') {
                None => members.push((rest.to_owned(), address)),
                Some((inner, _)) if known.insert(inner) => groups.push(inner),
                Some(_) => {}
            }
        }
        for inner in groups {
            members.push((inner.to_owned(), self.group(&format!("{prefix}{inner}"), datasets)?));
        }
        let mut messages = encode::group(&members);
        messages.extend(self.attributes.iter().filter(|(group, _)| group == path).flat_map(|(_, m)| m.iter().cloned()));
        self.out.object(&messages)
    }

    fn here(&self, error: Error) -> Error {
        error.with("file", self.out.path().display())
    }

    fn try_write(&mut self, batch: &RecordBatch) -> Result<()> {
        let array =
            self.current.as_mut().ok_or_else(|| Error::invalid("no array was started that rows could go to"))?;
        if batch.num_columns() != array.columns.len() {
            let (found, wanted) = (batch.num_columns(), array.columns.len());
            return Err(Error::invalid(format!("the rows have {found} fields instead of {wanted}")));
        }
        for (column, values) in array.columns.iter_mut().zip(batch.columns()) {
            column.write(&mut self.out, values.as_ref(), array.rows)?;
        }
        array.rows += batch.num_rows() as u64;
        Ok(())
    }
}

fn bad_name(name: &str) -> Error {
    Error::invalid(format!(
        "{name:?} cannot be the name of a dataset: parts between / may not be empty, . or .., and a field may have no /; \
         choose another name"
    ))
}

impl ContainerSink for Hdf5Sink {
    fn begin(&mut self, name: &str, fields: &[FieldSpec]) -> Result<()> {
        self.complete().and_then(|()| self.start(name, fields)).map_err(|e| self.here(e.with("array", name)))
    }

    fn takes_fields_together(&self) -> bool {
        true
    }

    fn holds_text(&self) -> bool {
        true
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.try_write(batch).map_err(|e| self.here(e))
    }

    fn set_metadata(&mut self, key: &str, value: &str) -> Result<()> {
        let messages = self.messages(&[(key.to_owned(), Attribute::Text(value.to_owned()))]);
        let messages = messages.map_err(|e| self.here(e))?;
        self.attributes.push((String::new(), messages));
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<SinkSummary> {
        let path = self.out.path().to_owned();
        let close = |sink: &mut Self| {
            sink.complete()?;
            let datasets = std::mem::take(&mut sink.datasets);
            sink.group("", &datasets)
        };
        let root = close(&mut self).map_err(|e| e.with("file", path.display()))?;
        let rows = self.rows;
        let bytes = self.out.publish(|end| encode::superblock(end, root))?;
        Ok(SinkSummary { rows, bytes })
    }
}
