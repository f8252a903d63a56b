//! Writing `.npy` files.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use arrow_array::RecordBatch;
use hyperslab_core::{ArraySink, Error, FieldSpec, Result, SinkSummary};

use super::append_sink::AXIS;
use super::encode::Encoder;
use super::spool::Spool;
use super::text::{TEXT_WIDTH, text_width};
use crate::WriteOptions;
use crate::output::NewFile;

/// A `.npy` file being written: version 1.0, little-endian, C order, with room for the row count to grow in place.
/// Several fields make a structured dtype, and names beyond ASCII version 3.0. Text is NumPy's `U` of as many characters as
/// the longest has: its rows wait in a temporary file until that is known, unless the option `text_width` says it.
///
/// Rows go to a temporary file in the same folder, which takes the final name, in place of what stood there, when the
/// sink is finished, and vanishes when it is dropped instead.
#[derive(Debug)]
pub struct NpySink {
    encoder: Encoder,
    file: NewFile,
    /// The rows so far, where their texts decide what the file looks like.
    waiting: Option<Spool>,
    synced: bool,
}

impl NpySink {
    /// Starts a file of one field, whose name the format does not keep. NumPy has no bfloat16: it is written as float32.
    ///
    /// # Errors
    /// `Unsupported` for binary; `Invalid` when `path` is there and no regular file, or the field does not fit
    /// in a header; `Io`.
    pub fn create(path: impl AsRef<Path>, field: &FieldSpec) -> Result<Self> {
        Self::start(path.as_ref(), std::slice::from_ref(field), true, None)
    }

    /// As [`create`](Self::create), of the options only with `text_width`: a file of one field that waits until it becomes
    /// a part of another file, whose options these are.
    ///
    /// # Errors
    /// As [`create`](Self::create), and `Invalid` for another width than 1 to 2^29 - 1.
    pub fn create_part(path: impl AsRef<Path>, field: &FieldSpec, options: &WriteOptions) -> Result<Self> {
        let path = path.as_ref();
        let width = text_width(options).map_err(|e| e.with("file", path.display()))?;
        Self::start(path, std::slice::from_ref(field), true, width)
    }

    pub(crate) fn create_boxed(
        path: &Path,
        fields: &[FieldSpec],
        options: &WriteOptions,
    ) -> Result<Box<dyn ArraySink>> {
        let here = |e: Error| e.with("file", path.display());
        if options.get(AXIS).is_some() {
            return Err(here(Error::invalid(format!(
                "option {AXIS} is that of appending; add the option mode 'append', or leave it out"
            ))));
        }
        options.check("npy", &[TEXT_WIDTH]).map_err(here)?;
        let width = text_width(options).map_err(here)?;
        Ok(Box::new(Self::start(path, fields, options.replaces(), width)?))
    }

    fn start(path: &Path, fields: &[FieldSpec], overwrite: bool, text_width: Option<usize>) -> Result<Self> {
        let in_file = |e: Error| e.with("file", path.display());
        let encoder = Encoder::new(fields, text_width).map_err(in_file)?;
        let header = encoder.header().map_err(in_file)?;
        let mut file = NewFile::create(path, overwrite)?;
        let waiting = encoder.waits().then(|| Spool::create(file.path())).transpose()?;
        if waiting.is_none() {
            file.write(&header)?;
        }
        Ok(Self { encoder, file, waiting, synced: true })
    }

    /// Leaves out to wait for the disk when the file is finished: for one that is read back and removed.
    #[must_use]
    pub fn unsynced(mut self) -> Self {
        self.synced = false;
        self
    }

    #[cfg(test)]
    pub(super) fn make_writes_fail(&mut self) {
        self.file.make_writes_fail();
    }
}

impl ArraySink for NpySink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = self.encoder.check(batch).map_err(|e| e.with("file", self.file.path().display()))?;
        match &mut self.waiting {
            Some(waiting) => waiting.write(&mut self.encoder, &rows, self.file.path()),
            None => self.encoder.write(&rows, &mut |bytes| self.file.write(bytes)),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<SinkSummary> {
        let rows = self.encoder.rows();
        let header = self.encoder.header().map_err(|e| e.with("file", self.file.path().display()))?;
        let bytes = header.len() as u64 + rows * self.encoder.row_bytes() as u64;
        if let Some(waiting) = self.waiting.take() {
            self.file.write(&header)?;
            let path = self.file.path().to_owned();
            waiting.drain(&self.encoder, &path, &mut |bytes| self.file.write(bytes))?;
        }
        let file = self.file.file()?;
        let written = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&header));
        written.map_err(|e| self.file.failed(e))?;
        match self.synced {
            true => self.file.publish()?,
            false => self.file.publish_unsynced()?,
        }
        Ok(SinkSummary { rows, bytes })
    }
}
