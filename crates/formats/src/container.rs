//! Files of several arrays: what is in them, and how they are written.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use hyperslab_core::{ArraySource, DType, Error, FieldSpec, Result, SinkSummary};

/// How many names an error lists.
const MAX_NAMES: usize = 20;

/// One array of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, unique in the file, as [`Container::open`] takes it.
    pub name: String,
    /// The element type in our words (`float32`, `bfloat16`), in the format's own where we have none (`F8_E4M3`), and
    /// `struct` for several fields.
    pub dtype: String,
    /// The shape in the file, every axis included; empty for a 0-d array.
    pub shape: Vec<u64>,
    /// Bytes of the values, unpacked.
    pub bytes: u64,
    /// The fields that [`Container::open`] gives; empty for an array that this crate cannot read, and opening says why.
    pub fields: Vec<FieldSpec>,
}

impl Entry {
    /// An entry with one field.
    pub fn new(name: impl Into<String>, field: FieldSpec, shape: Vec<u64>) -> Self {
        // A shape that was checked has its bytes within 63 bits.
        let elements = shape.iter().fold(1, |n: u64, &axis| n.saturating_mul(axis));
        let bytes = elements.saturating_mul(field.dtype().size() as u64);
        Self { name: name.into(), dtype: field.dtype().to_string(), shape, bytes, fields: vec![field] }
    }
}

/// A file, or a folder, of arrays by name.
pub trait Container: Send + Sync + Debug {
    /// The path that was opened.
    fn path(&self) -> &Path;

    /// What is there, in the file's order. Names are unique.
    fn entries(&self) -> &[Entry];

    /// The file's own attributes, as text; none in most formats.
    fn metadata(&self) -> &[(String, String)] {
        &[]
    }

    /// Opens one array.
    ///
    /// # Errors
    /// `NotFound`, listing the names that are there; `Unsupported` for an element type that cannot be read; `Corrupt`
    /// for a damaged file; `Io`.
    fn open(&self, name: &str) -> Result<Arc<dyn ArraySource>>;
}

/// A container being written: its arrays one after another, each row by row. It becomes visible as a whole, or not at
/// all when it is dropped.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("a.safetensors");
/// use std::sync::Arc;
/// use arrow_array::{Int16Array, RecordBatch};
/// use hyperslab_core::{DType, FieldSpec};
/// use hyperslab_formats::WriteOptions;
///
/// let mut sink = hyperslab_formats::create_container(&path, &WriteOptions::default())?;
/// for name in ["a", "b"] {
///     sink.begin(name, &[FieldSpec::new("value", DType::Int16, vec![])?])?;
///     sink.write(&RecordBatch::try_from_iter([("value", Arc::new(Int16Array::from(vec![5, 6, 7])) as _)])?)?;
/// }
/// sink.finish()?;
///
/// let container = hyperslab_formats::open_container(&path)?;
/// assert_eq!(container.entries()[1].shape, [3]);
/// assert_eq!(container.open("b")?.rows(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ContainerSink: Send + Debug {
    /// Starts the next array, which completes the one before. An array without a row has a shape that starts with 0.
    ///
    /// # Errors
    /// `AlreadyExists` for a name that the file has; `Invalid` for a name or fields that the format cannot hold;
    /// `Unsupported` for an element type that it cannot hold, naming it; `Io`.
    fn begin(&mut self, name: &str, fields: &[FieldSpec]) -> Result<()>;

    /// Whether [`begin`](Self::begin) with several fields and an empty name writes an array for each, named as the
    /// field, so that rows can come with all of their fields at once.
    fn takes_fields_together(&self) -> bool {
        false
    }

    /// Whether [`begin`](Self::begin) takes text.
    fn holds_text(&self) -> bool {
        false
    }

    /// Appends rows to the array that was started last. The columns are its fields, in order, of
    /// [`hyperslab_core::arrow::data_type`]'s types.
    ///
    /// # Errors
    /// `Invalid` when no array was started, for a NULL and for another type, naming field and row; `Io`.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;

    /// Sets an attribute of the whole file.
    ///
    /// # Errors
    /// `Unsupported` in a format that holds none.
    fn set_metadata(&mut self, key: &str, value: &str) -> Result<()> {
        let _ = value;
        Err(Error::unsupported(format!("this format holds no attributes, and {key:?} was given; leave it out")))
    }

    /// Completes the last array and makes the file visible under its name.
    ///
    /// # Errors
    /// `AlreadyExists` when a file took the name meanwhile and may not be replaced; `Io`.
    fn finish(self: Box<Self>) -> Result<SinkSummary>;
}

/// The error for a name that no entry has: it lists those there.
pub(crate) fn missing_entry(container: &dyn Container, name: &str) -> Error {
    let there = names(container.entries());
    Error::not_found(format!("there is no array {name:?}; there are: {there}")).with("file", container.path().display())
}

/// The first names, for a message.
pub(crate) fn names(entries: &[Entry]) -> String {
    let mut names: Vec<_> = entries.iter().take(MAX_NAMES).map(|e| e.name.as_str()).collect();
    let more = format!("… ({} in all)", entries.len());
    if entries.len() > MAX_NAMES {
        names.push(&more);
    }
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// A file of one array as a container of one entry, named as the file is.
#[derive(Debug)]
pub(crate) struct OneArray {
    path: PathBuf,
    entry: [Entry; 1],
    source: Arc<dyn ArraySource>,
}

impl OneArray {
    pub(crate) fn new(path: &Path, source: Arc<dyn ArraySource>) -> Self {
        let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let fields = source.fields().to_vec();
        let entry = match fields.as_slice() {
            [field] => Entry::new(name, field.clone(), field.shape(source.rows())),
            _ => {
                let row: u64 = fields.iter().map(|f| f.row_bytes() as u64).sum();
                let bytes = source.rows().saturating_mul(row);
                Entry { name, dtype: STRUCT.to_owned(), shape: vec![source.rows()], bytes, fields }
            }
        };
        Self { path: path.to_owned(), entry: [entry], source }
    }
}

/// The dtype of an entry of several fields.
pub(crate) const STRUCT: &str = "struct";

impl Container for OneArray {
    fn path(&self) -> &Path {
        &self.path
    }

    fn entries(&self) -> &[Entry] {
        &self.entry
    }

    fn open(&self, name: &str) -> Result<Arc<dyn ArraySource>> {
        let [entry] = &self.entry;
        if name == entry.name { Ok(Arc::clone(&self.source)) } else { Err(missing_entry(self, name)) }
    }
}

/// Refuses bytes of any number, for formats that hold none.
pub(crate) fn refuse_binary(field: &FieldSpec, format: &str) -> Result<()> {
    match field.dtype() {
        DType::Binary => Err(Error::unsupported(format!(
            "field {:?} holds {}, and {format} only elements of one size; leave it out, or write HDF5, Zarr, Parquet or CSV",
            field.name(),
            field.dtype()
        ))),
        _ => Ok(()),
    }
}
