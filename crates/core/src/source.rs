//! Where rows come from and go to: the traits in which formats, store and SQL meet.

use std::fmt::Debug;
use std::ops::Range;

use arrow_array::{ArrayRef, RecordBatch};

use crate::{FieldSpec, Result};

/// Consecutive (or taken) rows of one field as an Arrow array, whose type is [`crate::arrow::data_type`]'s.
#[derive(Debug, Clone)]
pub struct Block {
    /// The values; the buffers point into the source's map where `copied` is 0.
    pub array: ArrayRef,
    /// Bytes that were copied, converted or unpacked to make `array`: 0 for a view into a map.
    pub copied: u64,
}

/// Rows that can be read at any position: a store's array at one snapshot, a mapped file.
///
/// Reading is synchronous, because a local read is a page fault. Sources are immutable: the same rows always
/// read the same.
pub trait ArraySource: Send + Sync + Debug {
    /// The fields, in order. `row` is not among them.
    fn fields(&self) -> &[FieldSpec];

    /// The number of rows, the same for every field.
    fn rows(&self) -> u64;

    /// The end (exclusive) of the longest run of rows of `field` that starts at `row` and that one
    /// [`read`](Self::read) gives without joining pieces. Always greater than `row`, at most `rows()`.
    fn run_end(&self, field: usize, row: u64) -> u64 {
        let _ = (field, row);
        self.rows()
    }

    /// Reads the rows of one field. A range that crosses a run's end is joined, by copying.
    ///
    /// # Errors
    /// `Invalid` for a range beyond the rows, `Corrupt` or `Io` where the file is not what it was.
    fn read(&self, field: usize, rows: Range<u64>) -> Result<Block>;

    /// Reads single rows of one field, in the given order, repeated ones repeatedly.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn take(&self, field: usize, rows: &[u64]) -> Result<Block>;
}

/// What a finished sink wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SinkSummary {
    /// Rows written.
    pub rows: u64,
    /// Bytes written, headers included.
    pub bytes: u64,
}

/// Something that rows are written to, batch after batch, and that becomes visible as a whole or not at all.
pub trait ArraySink: Send + Debug {
    /// Appends rows. The batch's columns are the sink's fields, in order, of [`crate::arrow::data_type`]'s types.
    ///
    /// # Errors
    /// `Invalid` for a NULL or another type, naming field and row; `Io`.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;

    /// Makes everything that was written visible under the final name. Dropping a sink instead discards it.
    ///
    /// # Errors
    /// `Io`.
    fn finish(self: Box<Self>) -> Result<SinkSummary>;
}
