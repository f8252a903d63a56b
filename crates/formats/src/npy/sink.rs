//! Writing `.npy` files.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use hyperslab_core::npy::write_header;
use hyperslab_core::{ArraySink, DType, Error, FieldSpec, Result, SinkSummary, arrow};
use tempfile::NamedTempFile;

const ALIGN: usize = 64;
const BUFFER_BYTES: usize = 256 << 10;

/// A `.npy` file being written: version 1.0, little-endian, C order, with room for the row count to grow in place.
///
/// Rows go to a temporary file in the same folder, which takes the final name, in place of what stood there, when the
/// sink is finished, and vanishes when it is dropped instead.
#[derive(Debug)]
pub struct NpySink {
    field: FieldSpec,
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    rows: u64,
    header_bytes: usize,
    /// Whether a write failed, so that the file's length is not known.
    failed: bool,
}

impl NpySink {
    /// Starts a file of one field, whose name the format does not keep. NumPy has no bfloat16: it is written as float32.
    ///
    /// # Errors
    /// `Unsupported` for text and binary; `Invalid` when `path` is there and no regular file, or the field does not fit
    /// in a header; `Io`.
    pub fn create(path: impl AsRef<Path>, field: &FieldSpec) -> Result<Self> {
        let path = path.as_ref();
        if field.dtype().is_variable() {
            return Err(Error::unsupported(format!(
                "field {:?} holds {}, and a .npy file only elements of one size; write Parquet or CSV, or leave it out",
                field.name(),
                field.dtype()
            ))
            .with("file", path.display()));
        }
        let field = &match field.dtype() {
            DType::Bfloat16 => FieldSpec::new(field.name(), DType::Float32, field.cell().to_vec())?,
            _ => field.clone(),
        };
        // A link stays one, and its target is replaced.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let there = std::fs::metadata(&path);
        if path.file_name().is_none() || there.is_ok_and(|m| !m.is_file()) {
            return Err(Error::invalid(format!("{} is not a regular file and cannot be replaced", path.display())));
        }
        let header = write_header(field.dtype(), &field.shape(0), ALIGN).map_err(|e| e.with("file", path.display()))?;
        let file = temporary(folder(&path)).map_err(|e| Error::io("creating", path.display(), e))?;
        let mut sink = Self {
            field: field.clone(),
            path,
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            rows: 0,
            header_bytes: header.len(),
            failed: false,
        };
        sink.write_bytes(&header)?;
        Ok(sink)
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| {
            self.failed = true;
            Error::io("writing", self.path.display(), e)
        })
    }

    /// Swaps the descriptor for one that cannot be written, as a full disk cannot.
    #[cfg(test)]
    pub(super) fn make_writes_fail(&mut self) {
        let file = self.file.get_mut();
        *file.as_file_mut() = File::open(file.path()).unwrap();
    }

    /// Completes the temporary file and gives it the final name.
    fn publish(self) -> Result<()> {
        let failed = |e: io::Error| Error::io("writing", self.path.display(), e);
        let shape = self.field.shape(self.rows);
        let header =
            write_header(self.field.dtype(), &shape, ALIGN).map_err(|e| e.with("file", self.path.display()))?;
        let mut file = self.file.into_inner().map_err(|e| failed(e.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        file.write_all(&header).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&self.path).map_err(|e| Error::io("replacing", self.path.display(), e.error))?;
        // Only now does the name survive a power cut. Not every system can sync a folder.
        if cfg!(unix) {
            File::open(folder(&self.path)).and_then(|f| f.sync_all()).map_err(failed)?;
        }
        Ok(())
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".hyperslab-").suffix(".tmp");
    // As readable as any new file; the umask still applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

impl ArraySink for NpySink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let [column] = batch.columns() else {
            return Err(Error::invalid(format!(
                "a .npy file holds one field, and the rows have {}",
                batch.num_columns()
            ))
            .with("file", self.path.display()));
        };
        let bytes = arrow::raw_bytes(&self.field, column.as_ref(), self.rows);
        let bytes = bytes.map_err(|e| e.with("file", self.path.display()))?;
        self.write_bytes(&bytes)?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<SinkSummary> {
        if self.failed {
            return Err(Error::invalid(format!("{} is discarded, because writing to it failed", self.path.display())));
        }
        let bytes = self.header_bytes as u64 + self.rows * self.field.row_bytes() as u64;
        let summary = SinkSummary { rows: self.rows, bytes };
        self.publish()?;
        Ok(summary)
    }
}
