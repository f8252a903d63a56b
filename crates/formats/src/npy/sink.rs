//! Writing `.npy` files.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use arrow_array::RecordBatch;
use hyperslab_core::npy::write_header;
use hyperslab_core::{ArraySink, DType, Error, FieldSpec, Result, SinkSummary, arrow};

use crate::WriteOptions;
use crate::container::refuse_variable;
use crate::output::NewFile;

const ALIGN: usize = 64;

/// A `.npy` file being written: version 1.0, little-endian, C order, with room for the row count to grow in place.
///
/// Rows go to a temporary file in the same folder, which takes the final name, in place of what stood there, when the
/// sink is finished, and vanishes when it is dropped instead.
#[derive(Debug)]
pub struct NpySink {
    field: FieldSpec,
    file: NewFile,
    rows: u64,
    header_bytes: usize,
}

impl NpySink {
    /// Starts a file of one field, whose name the format does not keep. NumPy has no bfloat16: it is written as float32.
    ///
    /// # Errors
    /// `Unsupported` for text and binary; `Invalid` when `path` is there and no regular file, or the field does not fit
    /// in a header; `Io`.
    pub fn create(path: impl AsRef<Path>, field: &FieldSpec) -> Result<Self> {
        Self::start(path.as_ref(), field, true)
    }

    pub(crate) fn create_boxed(
        path: &Path,
        fields: &[FieldSpec],
        options: &WriteOptions,
    ) -> Result<Box<dyn ArraySink>> {
        options.check("npy", &[]).map_err(|e| e.with("file", path.display()))?;
        let [field] = fields else {
            let names: Vec<_> = fields.iter().map(FieldSpec::name).collect();
            return Err(Error::invalid(format!(
                "a .npy file holds one field, and there are {}: {names:?}; select one of them",
                fields.len()
            ))
            .with("file", path.display()));
        };
        Ok(Box::new(Self::start(path, field, options.replaces())?))
    }

    fn start(path: &Path, field: &FieldSpec, overwrite: bool) -> Result<Self> {
        let in_file = |e: Error| e.with("file", path.display());
        refuse_variable(field, "a .npy file").map_err(in_file)?;
        let field = match field.dtype() {
            DType::Bfloat16 => FieldSpec::new(field.name(), DType::Float32, field.cell().to_vec())?,
            _ => field.clone(),
        };
        let header = write_header(field.dtype(), &field.shape(0), ALIGN).map_err(in_file)?;
        let mut file = NewFile::create(path, overwrite)?;
        file.write(&header)?;
        Ok(Self { field, file, rows: 0, header_bytes: header.len() })
    }

    #[cfg(test)]
    pub(super) fn make_writes_fail(&mut self) {
        self.file.make_writes_fail();
    }
}

impl ArraySink for NpySink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let [column] = batch.columns() else {
            let found = batch.num_columns();
            return Err(Error::invalid(format!("a .npy file holds one field, and the rows have {found}"))
                .with("file", self.file.path().display()));
        };
        let bytes = arrow::raw_bytes(&self.field, column.as_ref(), self.rows);
        let bytes = bytes.map_err(|e| e.with("file", self.file.path().display()))?;
        self.file.write(&bytes)?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<SinkSummary> {
        let bytes = self.header_bytes as u64 + self.rows * self.field.row_bytes() as u64;
        let header = write_header(self.field.dtype(), &self.field.shape(self.rows), ALIGN)
            .map_err(|e| e.with("file", self.file.path().display()))?;
        let file = self.file.file()?;
        let written = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&header));
        written.map_err(|e| self.file.failed(e))?;
        let rows = self.rows;
        self.file.publish()?;
        Ok(SinkSummary { rows, bytes })
    }
}
