//! Batches of rows at the end of a `.npy` file.

use std::path::Path;

use arrow_array::RecordBatch;
use hyperslab_core::{ArraySink, Error, FieldSpec, Result, SinkSummary};

use super::append::{HeaderMode, NpyAppender};
use super::text::{TEXT_WIDTH, text_width};
use crate::WriteOptions;

/// The option that says along which axis a file grows.
pub(super) const AXIS: &str = "axis";

/// Appends the rows of batches to a `.npy` file, each an item of it. They become visible when the sink is finished, and
/// not at all when it is dropped.
#[derive(Debug)]
pub struct NpyAppendSink(NpyAppender);

impl NpyAppendSink {
    /// Opens a file, or makes one in C order, for rows of a field, whose name does not matter.
    ///
    /// # Errors
    /// As [`NpyAppender::create`] in deferred mode; `Invalid` when the file's items are others than the field's cells.
    pub fn open(path: impl AsRef<Path>, field: &FieldSpec) -> Result<Self> {
        let path = path.as_ref();
        let appender = match path.exists() {
            true => NpyAppender::open(path, HeaderMode::Deferred)?,
            false => NpyAppender::create(path, field, false, HeaderMode::Deferred)?,
        };
        appender.check_fields(std::slice::from_ref(field))?;
        Ok(Self(appender))
    }

    /// As [`open`](Self::open), with the option `axis`: 0 (which holds where it is not given) for a file in C order; -1,
    /// or the number of the last axis, for one in Fortran order, where each row becomes `array[..., i]`.
    pub(crate) fn open_boxed(path: &Path, fields: &[FieldSpec], options: &WriteOptions) -> Result<Box<dyn ArraySink>> {
        let here = |e: Error| e.with("file", path.display());
        options.check("npy, where it is appended to", &[AXIS, TEXT_WIDTH]).map_err(here)?;
        // Records grow along their only axis.
        let axes = match fields {
            [field] => i64::try_from(field.cell().len()).unwrap_or(i64::MAX),
            _ => 0,
        };
        let fortran = match options.number(AXIS, -1..=axes).map_err(here)? {
            None | Some(0) => false,
            Some(axis) if axis == -1 || axis == axes => true,
            Some(axis) => {
                return Err(here(Error::invalid(format!(
                    "option {AXIS}: rows of {} axes are appended along axis 0 of a file in C order, or along axis {axes} (also -1) \
                     of one in Fortran order, not along {axis}",
                    axes
                ))));
            }
        };
        let width = text_width(options).map_err(here)?;
        Ok(Box::new(Self(NpyAppender::make(path, fields, width, fortran, HeaderMode::Deferred)?)))
    }
}

impl ArraySink for NpyAppendSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.0.append_rows(batch).map(drop)
    }

    fn finish(self: Box<Self>) -> Result<SinkSummary> {
        self.0.finish()
    }
}
