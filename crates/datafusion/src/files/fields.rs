//! Fields as the arrays of a file: a file of several arrays takes them one after another, while rows come with all of
//! their fields at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use hyperslab_core::{ArraySink, ArraySource, DType, Error, FieldSpec, Result};
use hyperslab_formats::{ContainerSink, Format, NpySink, NpySource, WriteOptions};

use crate::write::convert::fields_schema;

/// Bytes of a batch that is read back.
const BATCH_BYTES: usize = 1 << 20;
/// Rows of a batch of texts, whose lengths are not known.
const TEXT_ROWS: u64 = 1024;

/// What COPY writes rows to.
#[derive(Debug)]
pub(super) enum FieldsSink {
    /// A format that takes the fields together.
    Rows(Box<dyn ArraySink>),
    /// A file of several arrays, each of them a field, that takes them together.
    Together(Box<dyn ContainerSink>),
    /// One that takes them one after another.
    Arrays(Arrays),
}

/// The first field goes straight to the file; each other one waits in a `.npy` beside it until its turn comes.
#[derive(Debug)]
pub(super) struct Arrays {
    path: PathBuf,
    container: Box<dyn ContainerSink>,
    fields: Vec<FieldSpec>,
    /// Holds the files of the waiting fields, and removes them in the end.
    folder: Option<tempfile::TempDir>,
    waiting: Vec<Box<dyn ArraySink>>,
}

impl FieldsSink {
    pub(super) fn start(path: &Path, format: &Format, fields: &[FieldSpec], options: &WriteOptions) -> Result<Self> {
        if !format.writes_arrays_by_name() {
            return Ok(Self::Rows(format.create(path, fields, options)?));
        }
        let mut container = format.create_container(path, options)?;
        let Some((first, others)) = fields.split_first() else {
            return Err(Error::invalid("there is no column to write").with("file", path.display()));
        };
        if !others.is_empty() && container.takes_fields_together() {
            container.begin("", fields)?;
            return Ok(Self::Together(container));
        }
        container.begin(first.name(), std::slice::from_ref(first))?;
        let is_held = |f: &FieldSpec| !f.dtype().is_variable() || f.dtype() == DType::Utf8 && container.holds_text();
        if let Some(text) = others.iter().find(|f| !is_held(f)) {
            let (field, dtype, name) = (text.name(), text.dtype(), format.name());
            return Err(Error::unsupported(format!(
                "field {field:?}: {name} has no {dtype}; cast it to numbers, leave it out, or write HDF5, Zarr or Parquet"
            ))
            .with("file", path.display()));
        }
        let mut arrays =
            Arrays { path: path.to_owned(), container, fields: fields.to_vec(), folder: None, waiting: vec![] };
        if !others.is_empty() {
            let beside = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let folder = tempfile::Builder::new().prefix(".hyperslab-").suffix(".tmp").tempdir_in(beside);
            let folder = folder.map_err(|e| Error::io("creating a folder in", beside.display(), e))?;
            for (i, field) in others.iter().enumerate() {
                let sink = NpySink::create_part(waiting_path(folder.path(), i), field, options);
                let sink = sink.map_err(|e| in_file(&e, &arrays.path))?;
                arrays.waiting.push(Box::new(sink.unsynced()));
            }
            arrays.folder = Some(folder);
        }
        Ok(Self::Arrays(arrays))
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Rows(sink) => sink.write(batch),
            Self::Together(container) => container.write(batch),
            Self::Arrays(arrays) => arrays.write(batch),
        }
    }

    pub(super) fn finish(self) -> Result<()> {
        match self {
            Self::Rows(sink) => sink.finish().map(|_| ()),
            Self::Together(container) => container.finish().map(|_| ()),
            Self::Arrays(arrays) => arrays.finish(),
        }
    }
}

/// An error of a temporary file, as one of the file that it is for.
pub(super) fn in_file(error: &Error, path: &Path) -> Error {
    let mut renamed = Error::new(error.kind(), error.message());
    for (key, value) in error.context().iter().filter(|(key, _)| *key != "file") {
        renamed = renamed.with(key, value);
    }
    if let Some(source) = std::error::Error::source(error) {
        renamed = renamed.because(source.to_string());
    }
    renamed.with("file", path.display())
}

fn waiting_path(folder: &Path, i: usize) -> PathBuf {
    folder.join(format!("{i}.npy"))
}

impl Arrays {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let column = |i: usize| batch.project(&[i]).map_err(|e| Error::invalid("the rows lack a column").because(e));
        self.container.write(&column(0)?)?;
        for (i, sink) in self.waiting.iter_mut().enumerate() {
            sink.write(&column(i + 1)?).map_err(|e| in_file(&e, &self.path))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        for (i, sink) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            sink.finish()?;
            if let (Some(folder), Some(field)) = (&self.folder, self.fields.get(i + 1)) {
                let path = waiting_path(folder.path(), i);
                append(self.container.as_mut(), field, &NpySource::open(&path)?)?;
                std::fs::remove_file(&path).map_err(|e| Error::io("removing", path.display(), e))?;
            }
        }
        self.container.finish().map(|_| ())
    }
}

/// Appends the rows of a field to a container, as its next array.
fn append(container: &mut dyn ContainerSink, field: &FieldSpec, source: &dyn ArraySource) -> Result<()> {
    container.begin(field.name(), std::slice::from_ref(field))?;
    let schema = fields_schema(std::slice::from_ref(field));
    let rows = match field.dtype().is_variable() {
        true => TEXT_ROWS,
        false => (BATCH_BYTES / field.row_bytes().max(1)).max(1) as u64,
    };
    let mut first = 0;
    while first < source.rows() {
        let end = source.run_end(0, first).min(first.saturating_add(rows));
        let values = source.read(0, first..end)?.array;
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![values]);
        container.write(&batch.map_err(|e| Error::invalid("a field was not read back as it was").because(e))?)?;
        first = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use datafusion::arrow::array::{ArrayRef, LargeStringArray};

    use super::*;

    #[test]
    fn a_width_of_texts_is_that_of_all_columns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let fields = ["a", "b", "c"].map(|name| FieldSpec::new(name, DType::Utf8, vec![]).unwrap());
        let rows = |long: &str| {
            let column = |texts| Arc::new(LargeStringArray::from_iter_values(texts)) as ArrayRef;
            let columns = [("a", column(["x", "yz"])), ("b", column(["", long])), ("c", column(["ß", "ab"]))];
            RecordBatch::try_from_iter(columns).unwrap()
        };
        let options = WriteOptions::new().set("text_width", "2").set("codec", "deflate");
        let mut sink = FieldsSink::start(&path, Format::named("npz").unwrap(), &fields, &options).unwrap();
        sink.write(&rows("cd")).unwrap();
        // Where the rows come, not when the file is finished.
        let error = sink.write(&rows("cde")).unwrap_err().to_string();
        for part in ["\"b\"", "row 3 has 3 characters", "room for 2", "a.npz"] {
            assert!(error.contains(part), "{error}");
        }
        drop(sink);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
