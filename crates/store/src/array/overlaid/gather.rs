//! Parts of arrays put together: the one copy that a dirty block costs.

use std::collections::BTreeMap;

use arrow_array::{Array, ArrayRef, FixedSizeListArray, make_array};
use arrow_buffer::{Buffer, MutableBuffer};
use arrow_data::ArrayData;
use arrow_data::transform::MutableArrayData;
use arrow_schema::DataType;
use hyperslab_core::{Error, Result};

use super::sweep::Part;
use crate::array::count;

/// The arrays that a copy is put together from, and what of each.
#[derive(Default)]
pub(super) struct Gather {
    arrays: Vec<ArrayRef>,
    /// By source and the array's first row in it: which array, and the row after its last.
    found: BTreeMap<(usize, u64), (usize, u64)>,
    /// The last two that were found: parts mostly come in turn from the rows and from their patches.
    recent: [Option<Held>; 2],
    /// (array, start, end), in the order of the result.
    parts: Vec<(usize, usize, usize)>,
    rows: usize,
}

/// Rows of a source that an array holds.
#[derive(Clone, Copy)]
struct Held {
    source: usize,
    start: u64,
    end: u64,
    array: usize,
}

impl Held {
    fn has(&self, source: usize, row: u64) -> bool {
        self.source == source && self.start <= row && row < self.end
    }
}

impl Gather {
    /// An array whose first row is row `start` of a source.
    pub(super) fn put(&mut self, source: usize, start: u64, array: ArrayRef) {
        self.found.insert((source, start), (self.arrays.len(), start + array.len() as u64));
        self.arrays.push(array);
    }

    /// Adds the first rows of a part, as far as one array holds them; gives how many these are.
    pub(super) fn add(&mut self, part: &Part) -> Result<u64> {
        let first = part.rows.start;
        let Some(Held { start, end, array, .. }) = self.find(part.source, first) else { return Ok(0) };
        let rows = end.min(part.rows.end) - first;
        let (from, to) = (count(first - start)?, count(first - start + rows)?);
        match self.parts.last_mut() {
            Some(last) if last.0 == array && last.2 == from => last.2 = to,
            _ => self.parts.push((array, from, to)),
        }
        self.rows += to - from;
        Ok(rows)
    }

    fn find(&mut self, source: usize, row: u64) -> Option<Held> {
        if let Some(recent) = self.recent.iter().flatten().find(|held| held.has(source, row)) {
            return Some(*recent);
        }
        let (&(source_found, start), &(array, end)) = self.found.range(..=(source, row)).next_back()?;
        let held = Held { source: source_found, start, end, array };
        if !held.has(source, row) {
            return None;
        }
        self.recent = [Some(held), self.recent[0]];
        Some(held)
    }

    /// All of it in one array of a type.
    pub(super) fn join(self, data_type: &DataType) -> Result<ArrayRef> {
        let failed = |e| Error::invalid("rows cannot be joined").because(e);
        let data: Vec<ArrayData> = self.arrays.iter().map(|array| array.to_data()).collect();
        let flat: Option<Vec<(Buffer, usize)>> = data.iter().map(flat).collect();
        if let Some(flat) = flat.filter(|flat| !flat.is_empty()) {
            let bytes = flat.first().map_or(0, |first| first.1).checked_mul(self.rows);
            let mut out = MutableBuffer::new(bytes.unwrap_or(0));
            for (array, start, end) in self.parts {
                let part = flat.get(array).and_then(|(buffer, row)| buffer.get(start * row..end * row));
                out.extend_from_slice(part.ok_or_else(|| Error::corrupt("rows are in none of the pieces"))?);
            }
            return shaped(data_type, out.into(), self.rows).map_err(failed);
        }
        let mut out = MutableArrayData::new(data.iter().collect(), false, self.rows);
        for (array, start, end) in self.parts {
            out.try_extend(array, start, end).map_err(failed)?;
        }
        Ok(make_array(out.freeze()))
    }
}

/// The bytes of rows that all have as many, one behind the other, and how many these are; `None` for any other array.
fn flat(data: &ArrayData) -> Option<(Buffer, usize)> {
    if data.null_count() > 0 {
        return None;
    }
    let (offset, len) = (data.offset(), data.len());
    let width = match data.data_type() {
        DataType::FixedSizeList(_, n) => {
            let n = usize::try_from(*n).ok()?;
            let child = data.child_data().first()?;
            let (buffer, width) = flat(&child.slice(offset * n, len * n))?;
            return Some((buffer, width * n));
        }
        DataType::FixedSizeBinary(n) => usize::try_from(*n).ok()?,
        other => other.primitive_width()?,
    };
    let buffer = data.buffers().first()?;
    Some((buffer.slice_with_length(offset * width, len * width), width))
}

/// The inverse of [`flat`].
fn shaped(data_type: &DataType, bytes: Buffer, rows: usize) -> Result<ArrayRef, arrow_schema::ArrowError> {
    match data_type {
        DataType::FixedSizeList(item, n) => {
            let values = shaped(item.data_type(), bytes, rows * usize::try_from(*n).unwrap_or(0))?;
            Ok(std::sync::Arc::new(FixedSizeListArray::try_new_with_length(item.clone(), *n, values, None, rows)?))
        }
        other => Ok(make_array(ArrayData::builder(other.clone()).len(rows).add_buffer(bytes).build()?)),
    }
}
