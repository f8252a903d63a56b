//! What a COPY to an array format writes its rows to: a new file, one that grows, or a numbered series of files.

use std::path::PathBuf;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use hyperslab_core::{Error, ErrorKind, FieldSpec, Result};
use hyperslab_formats::{Format, WriteOptions};

use super::copy_options::{CopyOptions, Mode};
use super::fields::FieldsSink;
use super::numbered::Numbered;

/// How often a file is tried that another one appends to.
const RETRY: Duration = Duration::from_millis(10);

/// The file to be made, or the files.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) path: PathBuf,
    pub(super) format: &'static Format,
    pub(super) copy: CopyOptions,
    /// The format's own options.
    pub(super) options: WriteOptions,
    pub(super) fields: Vec<FieldSpec>,
    /// Which columns of the input the fields are.
    pub(super) columns: Vec<usize>,
}

/// Where rows go. Dropped, it leaves everything as it was.
#[derive(Debug)]
pub(super) enum Output {
    /// One file.
    File(FieldsSink),
    /// Several.
    Numbered(Box<Numbered>),
}

impl Output {
    /// Starts it. Where another one appends to the file, waits until that is done.
    pub(super) async fn start(target: &Target) -> Result<Self> {
        super::make_folder_of(&target.path)?;
        let Target { path, format, options, fields, .. } = target;
        match (target.copy.mode, target.copy.rows_per_file) {
            (Mode::Append, _) => Ok(Self::File(FieldsSink::Rows(append(target).await?))),
            (mode, Some(rows)) => Ok(Self::Numbered(Box::new(Numbered::start(target, rows, mode == Mode::Overwrite)?))),
            (mode, None) => {
                let options = options.clone().overwrite(mode == Mode::Overwrite);
                FieldsSink::start(path, format, fields, &options).map(Self::File)
            }
        }
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::File(file) => file.write(batch),
            Self::Numbered(files) => files.write(batch),
        }
    }

    pub(super) fn finish(self) -> Result<()> {
        match self {
            Self::File(file) => file.finish(),
            Self::Numbered(files) => files.finish(),
        }
    }
}

async fn append(target: &Target) -> Result<Box<dyn hyperslab_core::ArraySink>> {
    loop {
        match target.format.append(&target.path, &target.fields, &target.options) {
            Err(e) if e.kind() == ErrorKind::Conflict && e.is_retryable() => {
                // Not in this thread, which other queries need; and a query that is given up stops waiting.
                let waited = tokio::task::spawn_blocking(|| std::thread::sleep(RETRY)).await;
                waited.map_err(|e| Error::invalid("waiting for the file ended early").because(e))?;
            }
            opened => return opened,
        }
    }
}
