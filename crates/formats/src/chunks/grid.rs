//! The grid of chunks of a dataset: where they are, and how a chunk's elements are laid out among rows.

use std::ops::Range;

use hyperslab_core::{Error, Result};

/// A dataset cut into chunks of one shape, of which those at the end may reach beyond it.
#[derive(Debug)]
pub(crate) struct Grid {
    shape: Vec<usize>,
    chunk: Vec<usize>,
    /// How many chunks there are along each axis after the first.
    across: Vec<usize>,
    element: usize,
}

impl Grid {
    /// A grid over at least one axis; `element` is in bytes.
    pub(crate) fn new(shape: &[u64], chunk: &[u64], element: usize) -> Result<Self> {
        let too_large = || Error::unsupported("its shape or its chunks are too large for this machine");
        let sizes = |of: &[u64]| of.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<Vec<_>>>();
        let (shape, chunk) = sizes(shape).zip(sizes(chunk)).ok_or_else(too_large)?;
        if shape.len() != chunk.len() || shape.is_empty() || chunk.contains(&0) {
            return Err(Error::corrupt(format!("chunks of shape {chunk:?} do not divide an array of shape {shape:?}")));
        }
        let bytes = chunk.iter().try_fold(element, |b, &n| b.checked_mul(n));
        bytes.filter(|&b| isize::try_from(b).is_ok()).ok_or_else(too_large)?;
        let counts: Vec<usize> = shape.iter().zip(&chunk).map(|(&n, &c)| n.div_ceil(c)).collect();
        counts.iter().try_fold(1_u64, |all, &n| all.checked_mul(n as u64)).ok_or_else(too_large)?;
        Ok(Self { across: counts[1..].to_vec(), shape, chunk, element })
    }

    /// The number of the chunk whose first element is at `offset`, counted along the last axis first; `None` beyond the
    /// shape.
    pub(crate) fn number(&self, offset: &[u64]) -> Option<u64> {
        let inside = offset.len() == self.shape.len() && offset.iter().zip(&self.shape).all(|(&o, &n)| o < n as u64);
        let across = std::iter::once(&1).chain(&self.across);
        let places = offset.iter().zip(&self.chunk).zip(across);
        inside.then(|| places.fold(0, |all, ((&o, &c), &n)| all * n as u64 + o / c as u64))
    }

    /// Whether the chunk whose first element is at `offset` reaches beyond the shape.
    pub(crate) fn is_cut(&self, offset: &[u64]) -> bool {
        let axes = offset.iter().zip(&self.chunk).zip(&self.shape);
        axes.into_iter().any(|((&o, &c), &n)| o.saturating_add(c as u64) > n as u64)
    }

    /// Rows of a chunk.
    pub(crate) fn chunk_rows(&self) -> usize {
        self.chunk[0]
    }

    /// Bytes of a row of the dataset.
    pub(crate) fn row_bytes(&self) -> usize {
        self.shape[1..].iter().product::<usize>() * self.element
    }

    /// Bytes of an unfiltered chunk.
    pub(crate) fn chunk_bytes(&self) -> usize {
        self.chunk.iter().product::<usize>() * self.element
    }

    /// Chunks that lie next to each other in the same rows.
    pub(crate) fn chunks_across(&self) -> usize {
        self.across.iter().product()
    }

    /// Whether a chunk holds whole rows, so that its bytes are rows.
    pub(crate) fn has_whole_rows(&self) -> bool {
        self.shape[1..] == self.chunk[1..]
    }

    /// Where chunk `across` starts in a cell.
    pub(crate) fn origin(&self, across: usize) -> Vec<usize> {
        let mut rest = across;
        let mut origin: Vec<usize> = (0..self.across.len()).map(|_| 0).collect();
        for axis in (0..origin.len()).rev() {
            origin[axis] = rest % self.across[axis] * self.chunk[axis + 1];
            rest /= self.across[axis];
        }
        origin
    }

    /// Copies a chunk's rows `rows` (counted in the chunk) to the rows in `to`, which starts with the first of them.
    pub(crate) fn place(&self, across: usize, rows: Range<usize>, chunk: &[u8], to: &mut [u8]) {
        let pieces = self.pieces(across, rows);
        pieces.each(|from, at, bytes| to[at..at + bytes].copy_from_slice(&chunk[from..from + bytes]));
    }

    /// Copies from rows to a chunk's rows `rows`: the inverse of [`place`](Self::place).
    pub(crate) fn gather(&self, across: usize, rows: Range<usize>, from: &[u8], chunk: &mut [u8]) {
        let pieces = self.pieces(across, rows);
        pieces.each(|to, at, bytes| chunk[to..to + bytes].copy_from_slice(&from[at..at + bytes]));
    }

    /// Writes one element to all places of a chunk's rows.
    pub(crate) fn fill(&self, across: usize, rows: Range<usize>, element: &[u8], to: &mut [u8]) {
        let pieces = self.pieces(across, rows);
        pieces.each(|_, at, bytes| {
            to[at..at + bytes].chunks_exact_mut(element.len()).for_each(|t| t.copy_from_slice(element))
        });
    }

    fn pieces(&self, across: usize, rows: Range<usize>) -> Pieces {
        let origin = self.origin(across);
        // (length of the box, of the chunk, of the cell) by axis; trailing axes that are whole in all join into runs.
        let cell = &self.shape[1..];
        let clipped: Vec<usize> =
            origin.iter().zip(cell).zip(&self.chunk[1..]).map(|((&o, &n), &c)| c.min(n - o)).collect();
        let mut axes = vec![(rows.len(), self.chunk[0], rows.len())];
        axes.extend(clipped.iter().zip(&self.chunk[1..]).zip(cell).map(|((&b, &c), &n)| (b, c, n)));
        let chunk_row: usize = self.chunk[1..].iter().product();
        let start = origin.iter().zip(cell).fold(0, |all, (&o, &n)| all * n + o);
        let mut run = self.element;
        let (mut chunk_stride, mut cell_stride) = (self.element, self.element);
        let mut outer = Vec::new();
        let mut joined = true;
        for &(length, chunk, cell) in axes.iter().rev() {
            if joined {
                run *= length;
                joined = length == chunk && length == cell;
            } else {
                outer.push((length, chunk_stride, cell_stride));
            }
            chunk_stride *= chunk;
            cell_stride *= cell;
        }
        outer.reverse();
        Pieces { outer, run, chunk_start: rows.start * chunk_row * self.element, rows_start: start * self.element }
    }
}

/// A box of elements as runs of bytes that lie together on both sides.
struct Pieces {
    /// By axis: length, bytes to the next in the chunk, bytes to the next in the rows.
    outer: Vec<(usize, usize, usize)>,
    run: usize,
    chunk_start: usize,
    rows_start: usize,
}

impl Pieces {
    fn each(&self, mut copy: impl FnMut(usize, usize, usize)) {
        if self.run == 0 || self.outer.iter().any(|(n, ..)| *n == 0) {
            return;
        }
        let mut index = vec![0; self.outer.len()];
        let (mut from, mut at) = (self.chunk_start, self.rows_start);
        loop {
            copy(from, at, self.run);
            let mut axis = self.outer.len();
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                let (length, in_chunk, in_rows) = self.outer[axis];
                index[axis] += 1;
                from += in_chunk;
                at += in_rows;
                if index[axis] < length {
                    break;
                }
                from -= length * in_chunk;
                at -= length * in_rows;
                index[axis] = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn chunks_make_rows_and_rows_make_chunks() {
        for (shape, chunk) in [
            (vec![5, 4, 6], vec![2, 3, 4]),
            (vec![5, 4, 6], vec![2, 4, 6]),
            (vec![5, 4, 6], vec![3, 4, 5]),
            (vec![5, 4, 6], vec![2, 3, 6]),
            (vec![5, 4, 6], vec![9, 9, 9]),
            (vec![7], vec![3]),
            (vec![7, 1, 3], vec![3, 2, 1]),
        ] {
            let element = 2;
            let grid = Grid::new(&shape, &chunk, element).unwrap();
            let row = shape[1..].iter().product::<u64>() as usize * element;
            let all: Vec<u8> = (0..shape[0] as usize * row).map(|i| (i % 251) as u8 + 1).collect();
            let mut read = vec![0; all.len()];
            let bands = (shape[0] as usize).div_ceil(grid.chunk_rows());
            for band in 0..bands {
                let first = band * grid.chunk_rows();
                let rows = grid.chunk_rows().min(shape[0] as usize - first);
                for across in 0..grid.chunks_across() {
                    let mut bytes = vec![0; grid.chunk_bytes()];
                    grid.gather(across, 0..rows, &all[first * row..(first + rows) * row], &mut bytes);
                    // In two parts, as a window would.
                    for part in [0..rows / 2, rows / 2..rows] {
                        let to = &mut read[(first + part.start) * row..(first + part.end) * row];
                        grid.place(across, part, &bytes, to);
                    }
                }
            }
            assert_eq!(read, all, "{shape:?} {chunk:?}");
            let mut filled = vec![0; all.len()];
            for band in 0..bands {
                let first = band * grid.chunk_rows();
                let rows = grid.chunk_rows().min(shape[0] as usize - first);
                for across in 0..grid.chunks_across() {
                    grid.fill(across, 0..rows, &[7, 8], &mut filled[first * row..(first + rows) * row]);
                }
            }
            assert!(filled.chunks(2).all(|e| e == [7, 8]));
        }
    }

    #[test]
    fn impossible_grids_are_errors() {
        for (shape, chunk) in [(vec![5], vec![0]), (vec![5, 2], vec![5]), (vec![], vec![])] {
            assert!(Grid::new(&shape, &chunk, 4).is_err());
        }
        let huge = u64::MAX / 2;
        assert!(Grid::new(&[huge, huge], &[1, 1], 4).is_err());
        assert!(Grid::new(&[5, 5], &[huge, huge], 4).is_err());
        assert!(Grid::new(&[5], &[huge], 4).is_err());
    }
}
