//! The slice language: NumPy's basic indexing, `'10:20, :, ::-2, ..., 3'`.

use crate::Result;

/// A parsed slice string, not yet held against a shape.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selection {}

/// One axis of a [`NormalizedSelection`]: positions `start, start + step, …`, `len` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AxisSelection {
    /// The first position, counted from 0; meaningless when `len` is 0.
    pub start: usize,
    /// The distance to the next position; never 0.
    pub step: isize,
    /// How many positions.
    pub len: usize,
    /// Whether an integer selected the position, so that the axis is dropped from the result.
    pub dropped: bool,
}

/// A selection held against a shape: one [`AxisSelection`] per axis.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NormalizedSelection {
    /// One entry per axis of the shape.
    pub axes: Vec<AxisSelection>,
}

impl Selection {
    /// Parses a slice string.
    ///
    /// # Errors
    /// `Invalid`, naming the text and the position.
    pub fn parse(_text: &str) -> Result<Self> {
        todo!()
    }

    /// Holds the selection against a shape, by NumPy's rules.
    ///
    /// # Errors
    /// `Invalid` for more axes than the shape has, or an integer out of range.
    pub fn normalize(&self, _shape: &[usize]) -> Result<NormalizedSelection> {
        todo!()
    }
}

impl NormalizedSelection {
    /// The shape of the result: the lengths of the axes that are not dropped.
    pub fn shape(&self) -> Vec<usize> {
        self.axes.iter().filter(|a| !a.dropped).map(|a| a.len).collect()
    }

    /// Copies the selected elements of one C-order cell of `shape` (the axes of this selection) and
    /// `item` bytes per element from `from` to the end of `to`.
    pub fn copy_cell(&self, _shape: &[usize], _item: usize, _from: &[u8], _to: &mut Vec<u8>) {
        todo!()
    }
}
