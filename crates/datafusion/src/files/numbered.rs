//! A numbered series of files of an array format.

use datafusion::arrow::array::RecordBatch;
use hyperslab_core::Result;

use super::fields::{FieldsSink, in_file};
use super::output::Target;
use super::series::Series;

/// Files that are written one after another.
#[derive(Debug)]
pub(super) struct Numbered {
    target: Target,
    rows_per_file: u64,
    series: Series,
    current: Option<FieldsSink>,
    /// Rows of the current file.
    rows: u64,
}

impl Numbered {
    /// # Errors
    /// As [`Series::start`].
    pub(super) fn start(target: &Target, rows_per_file: u64, overwrite: bool) -> Result<Self> {
        let series = Series::start(&target.path, overwrite)?;
        Ok(Self { target: target.clone(), rows_per_file, series, current: None, rows: 0 })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let path = self.target.path.clone();
        self.write_rows(batch).map_err(|e| in_file(&e, &path))
    }

    fn write_rows(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut from = 0;
        while from < batch.num_rows() {
            if self.rows == self.rows_per_file {
                self.complete()?;
            }
            let room = usize::try_from(self.rows_per_file - self.rows).unwrap_or(usize::MAX);
            let count = room.min(batch.num_rows() - from);
            self.current()?.write(&batch.slice(from, count))?;
            from += count;
            self.rows += count as u64;
        }
        Ok(())
    }

    /// Completes the last file and gives all of them their names. No rows make one file without rows.
    pub(super) fn finish(mut self) -> Result<()> {
        let path = self.target.path.clone();
        self.current().map(drop).and_then(|()| self.complete()).map_err(|e| in_file(&e, &path))?;
        self.series.publish()
    }

    fn current(&mut self) -> Result<&mut FieldsSink> {
        let sink = match self.current.take() {
            Some(sink) => sink,
            None => {
                let Target { format, fields, options, .. } = &self.target;
                FieldsSink::start(&self.series.add(), format, fields, options)?
            }
        };
        Ok(self.current.insert(sink))
    }

    fn complete(&mut self) -> Result<()> {
        self.rows = 0;
        self.current.take().map_or(Ok(()), FieldsSink::finish)
    }
}
