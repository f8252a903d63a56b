//! One field of an array: typed views, slices, batches.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_schema::{Schema, SchemaRef};
use hyperslab_core::{ArraySource, Element, Error, FieldSpec, NormalizedSelection, Result, Selection, arrow};

use super::{Array, count};
use crate::{View, elements};

/// One field of an array at one version.
#[derive(Debug, Clone)]
pub struct Field {
    array: Array,
    index: usize,
    spec: FieldSpec,
}

impl Field {
    pub(crate) fn new(array: Array, index: usize) -> Result<Self> {
        let spec = array.spec(index)?.clone();
        Ok(Self { array, index, spec })
    }

    /// Name, dtype and cell shape.
    pub fn spec(&self) -> &FieldSpec {
        &self.spec
    }

    /// All rows as a typed view: contiguous without a copy over any number of full shards where the system can.
    ///
    /// # Errors
    /// `Invalid` when the elements are not `T`.
    pub fn view<T: Element>(&self) -> Result<View<T>> {
        self.rows(0..self.array.rows())
    }

    /// Some rows as a typed view.
    ///
    /// # Errors
    /// As [`view`](Self::view); `Invalid` for rows that are not there.
    pub fn rows<T: Element>(&self, rows: Range<u64>) -> Result<View<T>> {
        self.check_type::<T>()?;
        self.array.check_rows(&rows)?;
        let mut shape = vec![count(rows.end - rows.start)?];
        shape.extend_from_slice(self.spec.cell());
        if !rows.is_empty()
            && self.spec.row_bytes() > 0
            && let Some(buffer) = self.array.contiguous(self.index, &rows)?
        {
            return View::new(buffer, shape, true);
        }
        let (buffer, copied): (Buffer, u64) = self.array.bytes(self.index, &rows)?;
        View::new(buffer, shape, copied == 0)
    }

    /// NumPy's basic indexing over (row, axes…), as an owned ndarray of the result's shape.
    ///
    /// # Errors
    /// As [`view`](Self::view); what [`Selection::normalize`] refuses.
    pub fn slice<T: Element>(&self, selection: &Selection) -> Result<ndarray::ArrayD<T>> {
        self.check_type::<T>()?;
        let mut shape = vec![count(self.array.rows())?];
        shape.extend_from_slice(self.spec.cell());
        let selected = selection.normalize(&shape)?;
        let result = selected.shape();
        let mut axes = selected.axes;
        let too_many = || Error::invalid("the selection has no axis for the rows");
        if axes.is_empty() {
            return Err(too_many());
        }
        let rows = axes.remove(0);
        let cells = NormalizedSelection { axes };
        let mut bytes = Vec::new();
        let row = |n: usize| (rows.start as i128 + rows.step as i128 * n as i128) as u64;
        if self.spec.row_bytes() > 0 && self.array.is_plain(self.index) {
            self.copy_plain((0..rows.len).map(row), &cells, &mut bytes)?;
        } else if self.spec.row_bytes() > 0 {
            self.copy_overlaid((0..rows.len).map(row), &cells, &mut bytes)?;
        }
        let values: Vec<T> = match elements::from_bytes(&bytes) {
            Some(values) => values.to_vec(),
            None => elements::from_bytes(&Buffer::from_slice_ref(&bytes)).unwrap_or_default().to_vec(),
        };
        ndarray::ArrayD::from_shape_vec(result, values).map_err(|e| Error::invalid("slicing").because(e))
    }

    /// Adds the selected elements of rows that lie in shards as they are.
    fn copy_plain(
        &self,
        rows: impl Iterator<Item = u64>,
        cells: &NormalizedSelection,
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        let runs = self.array.state.runs_of(self.index);
        let (item, row_bytes) = (self.spec.dtype().size(), self.spec.row_bytes());
        let mut piece: Option<super::Piece> = None;
        for row in rows {
            let held = match piece.take() {
                Some(held) if held.rows.contains(&row) => held,
                _ => self.array.piece(&runs, row)?,
            };
            cells.copy_cell(self.spec.cell(), item, &held.slice(&(row..row + 1), row_bytes)?, bytes);
            piece = Some(held);
        }
        Ok(())
    }

    /// Adds the selected elements of any rows, some of which are gathered at a time.
    fn copy_overlaid(
        &self,
        mut rows: impl Iterator<Item = u64>,
        cells: &NormalizedSelection,
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        let (item, at_once) = (self.spec.dtype().size(), super::overlaid::dirty_rows(&self.spec)?);
        loop {
            let some: Vec<u64> = rows.by_ref().take(at_once).collect();
            let Some(&first) = some.first() else { return Ok(()) };
            let block = self.array.overlaid_take(self.index, &some)?;
            let raw = arrow::raw_bytes(&self.spec, block.array.as_ref(), first)?;
            for cell in raw.chunks_exact(self.spec.row_bytes()) {
                cells.copy_cell(self.spec.cell(), item, cell, bytes);
            }
        }
    }

    /// Record batches of this field, of about `rows` rows each.
    pub fn batches(&self, rows: usize) -> Batches {
        let schema = Arc::new(Schema::new(vec![arrow::to_field(&self.spec)]));
        Batches { field: self.clone(), schema, next: 0, rows: rows.max(1) as u64 }
    }

    fn check_type<T: Element>(&self) -> Result<()> {
        if T::is(self.spec.dtype()) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "field {:?} of array {:?} holds {}, not {}; elements are never reinterpreted",
            self.spec.name(),
            self.array.name().to_string(),
            self.spec.dtype(),
            T::NAME
        )))
    }
}

/// The batches of a field. A batch ends early where the rows after it lie elsewhere, so that none is copied.
#[derive(Debug)]
pub struct Batches {
    field: Field,
    schema: SchemaRef,
    next: u64,
    rows: u64,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let array = &self.field.array;
        if self.next >= array.rows() {
            return None;
        }
        let end = self.next.saturating_add(self.rows).min(array.run_end(self.field.index, self.next));
        let block = array.read(self.field.index, self.next..end);
        // After an error there is no next batch.
        self.next = if block.is_ok() { end } else { array.rows() };
        Some(block.and_then(|block| {
            RecordBatch::try_new(self.schema.clone(), vec![block.array])
                .map_err(|e| Error::corrupt(format!("field {:?}", self.field.spec.name())).because(e))
        }))
    }
}
