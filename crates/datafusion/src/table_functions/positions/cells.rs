//! A part of every cell of a field.

use datafusion::arrow::array::Array;
use datafusion::arrow::buffer::MutableBuffer;
use hyperslab_core::{AxisSelection, Block, FieldSpec, Result, arrow};

/// Which elements of a cell are wanted: runs of consecutive ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Cells {
    /// The field as it is stored.
    stored: FieldSpec,
    /// The selection of the axes of a cell.
    axes: Vec<AxisSelection>,
}

impl Cells {
    /// A selection of a stored field's cells, and the field that comes out. `None` when cells are taken whole.
    ///
    /// # Errors
    /// Never for a selection that was held against the cell's shape.
    pub(crate) fn of(stored: &FieldSpec, axes: &[AxisSelection]) -> Result<(FieldSpec, Option<Self>)> {
        let whole = |(axis, &n): (&AxisSelection, &usize)| axis.is_whole(n) && !axis.dropped;
        if axes.iter().zip(stored.cell()).all(whole) {
            return Ok((stored.clone(), None));
        }
        let cell = axes.iter().filter(|a| !a.dropped).map(|a| a.len).collect();
        let spec = FieldSpec::new(stored.name(), stored.dtype(), cell)?;
        Ok((spec, Some(Self { stored: stored.clone(), axes: axes.to_vec() })))
    }

    /// The runs of elements of one cell, in the order of the result: first element and count.
    fn runs(&self) -> Vec<(usize, usize)> {
        let mut runs: Vec<(usize, usize)> = vec![];
        let mut offsets = vec![0];
        let mut stride = self.stored.elements();
        for (axis, &length) in self.axes.iter().zip(self.stored.cell()) {
            stride = stride.checked_div(length).unwrap_or(0);
            offsets = offsets.iter().flat_map(|&o| axis.positions().map(move |p| o + p * stride)).collect();
        }
        for offset in offsets {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == offset => *count += 1,
                _ => runs.push((offset, 1)),
            }
        }
        runs
    }

    /// The wanted part of each row of a block, as a block of the field `spec`.
    ///
    /// # Errors
    /// For a block that is not of the stored field.
    pub(crate) fn cut(&self, block: &Block, spec: &FieldSpec, first_row: u64) -> Result<Block> {
        let bytes = arrow::raw_bytes(&self.stored, block.array.as_ref(), first_row)?;
        let (size, row_bytes) = (self.stored.dtype().size(), self.stored.row_bytes());
        let runs = self.runs();
        let rows = block.array.len();
        let mut out = MutableBuffer::with_capacity(rows * spec.row_bytes());
        for row in 0..rows {
            for &(first, count) in &runs {
                let start = row * row_bytes + first * size;
                out.extend_from_slice(bytes.get(start..start + count * size).unwrap_or_default());
            }
        }
        let copied = block.copied + out.len() as u64;
        let cut = arrow::array_from_buffer(spec, out.into(), rows)?;
        Ok(Block { copied: copied + cut.copied, ..cut })
    }
}
