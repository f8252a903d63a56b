//! Rows of a tensor whose elements do not follow each other: a slice of columns, a permutation of axes, a repetition.

use std::ops::Range;
use std::sync::Arc;

use arrow_buffer::MutableBuffer;
use bytes::Bytes;
use hyperslab_core::{ArraySource, Block, ByteOrder, Error, FieldSpec, Result, arrow};

use crate::map::MappedFile;
use crate::npy::convert::swap_bytes;

/// A tensor whose rows are gathered when they are read.
#[derive(Debug)]
pub(super) struct StridedSource {
    pub(super) field: FieldSpec,
    pub(super) file: Arc<MappedFile>,
    /// From the tensor's first element to its last.
    pub(super) data: Bytes,
    /// The length that the file must keep.
    pub(super) end: u64,
    pub(super) name: String,
    pub(super) rows: u64,
    pub(super) order: ByteOrder,
    /// Bytes from row to row.
    pub(super) row_stride: usize,
    /// The axes of a row that are stepped over: length and bytes.
    axes: Vec<(usize, usize)>,
    /// Bytes that follow each other at each place.
    run: usize,
}

impl StridedSource {
    /// `axes` are those of a row, with their strides in bytes. Every element lies within `data`.
    pub(super) fn new(
        field: FieldSpec,
        file: Arc<MappedFile>,
        range: Range<usize>,
        name: String,
        order: ByteOrder,
        (rows, row_stride): (u64, usize),
        mut axes: Vec<(usize, usize)>,
    ) -> Self {
        let mut run = field.dtype().size();
        while let Some(&(length, stride)) = axes.last() {
            if length != 1 && stride != run {
                break;
            }
            run *= length;
            axes.pop();
        }
        let (data, end) = (file.bytes().slice(range.clone()), range.end as u64);
        Self { field, file, data, end, name, rows, order, row_stride, axes, run }
    }

    fn here(&self, error: Error) -> Error {
        error.with("array", &self.name).with("file", self.file.path().display())
    }

    fn beyond(&self, row: u64) -> Error {
        self.here(Error::invalid(format!("there is no row {row}; there are {} rows, counted from 0", self.rows)))
    }

    fn gather(&self, field: usize, count: usize, rows: impl Iterator<Item = u64>) -> Result<Block> {
        if field != 0 {
            return Err(self.here(Error::invalid(format!("there is no field number {field} of 1"))));
        }
        self.file.check(self.end)?;
        let row_bytes = self.field.row_bytes();
        let bytes = count.checked_mul(row_bytes).filter(|&b| isize::try_from(b).is_ok());
        let bytes = bytes.ok_or_else(|| {
            self.here(Error::invalid(format!("{count} rows are too many to be read at once; read fewer")))
        })?;
        let mut to = MutableBuffer::from_len_zeroed(bytes);
        for (row, to) in rows.zip(to.as_slice_mut().chunks_exact_mut(row_bytes.max(1))) {
            let at = row as usize * self.row_stride;
            match self.run {
                1 => copy::<1>(&self.data, at, &self.axes, to),
                2 => copy::<2>(&self.data, at, &self.axes, to),
                4 => copy::<4>(&self.data, at, &self.axes, to),
                8 => copy::<8>(&self.data, at, &self.axes, to),
                16 => copy::<16>(&self.data, at, &self.axes, to),
                run => copy_runs(&self.data, at, &self.axes, run, to),
            }
        }
        if self.order == ByteOrder::Big {
            swap_bytes(to.as_slice_mut(), self.field.dtype().component_size());
        }
        let mut block = arrow::array_from_buffer(&self.field, to.into(), count).map_err(|e| self.here(e))?;
        block.copied += bytes as u64;
        Ok(block)
    }
}

/// Copies elements of `N` bytes.
fn copy<const N: usize>(data: &[u8], at: usize, axes: &[(usize, usize)], to: &mut [u8]) {
    match axes {
        [] => to.copy_from_slice(&data[at..at + N]),
        [(_, stride)] => {
            for (i, to) in to.as_chunks_mut::<N>().0.iter_mut().enumerate() {
                to.copy_from_slice(&data[at + i * stride..][..N]);
            }
        }
        [(length, stride), inner @ ..] => {
            let part = to.len() / length.max(&1);
            for (i, to) in to.chunks_exact_mut(part.max(1)).enumerate() {
                copy::<N>(data, at + i * stride, inner, to);
            }
        }
    }
}

fn copy_runs(data: &[u8], at: usize, axes: &[(usize, usize)], run: usize, to: &mut [u8]) {
    match axes {
        [] => to.copy_from_slice(&data[at..at + run]),
        [(length, stride), inner @ ..] => {
            let part = to.len() / length.max(&1);
            for (i, to) in to.chunks_exact_mut(part.max(1)).enumerate() {
                copy_runs(data, at + i * stride, inner, run, to);
            }
        }
    }
}

impl ArraySource for StridedSource {
    fn fields(&self) -> &[FieldSpec] {
        std::slice::from_ref(&self.field)
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn read(&self, field: usize, rows: Range<u64>) -> Result<Block> {
        if rows.start > rows.end || rows.end > self.rows {
            return Err(self.beyond(rows.start.max(rows.end.saturating_sub(1))));
        }
        self.gather(field, usize::try_from(rows.end - rows.start).unwrap_or(usize::MAX), rows)
    }

    fn take(&self, field: usize, rows: &[u64]) -> Result<Block> {
        if let Some(&row) = rows.iter().find(|&&r| r >= self.rows) {
            return Err(self.beyond(row));
        }
        self.gather(field, rows.len(), rows.iter().copied())
    }
}
