//! Copies that bring other layouts to little-endian C order.

use std::ops::Range;

/// How many bytes of rows are transposed at a time, so that they stay in the processor's cache.
const TILE_BYTES: usize = 256 << 10;

/// Reverses the bytes of every component of `size` bytes.
pub(crate) fn swap_bytes(bytes: &mut [u8], size: usize) {
    match size {
        2 => bytes.as_chunks_mut::<2>().0.iter_mut().for_each(|c| c.reverse()),
        4 => bytes.as_chunks_mut::<4>().0.iter_mut().for_each(|c| c.reverse()),
        8 => bytes.as_chunks_mut::<8>().0.iter_mut().for_each(|c| c.reverse()),
        _ => {}
    }
}

/// An array of `rows` rows in Fortran order: all rows of one element of the cell lie together, and the elements of the
/// cell follow each other with the first axis fastest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fortran<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) rows: usize,
    pub(crate) cell: &'a [usize],
    /// Bytes per element.
    pub(crate) item: usize,
}

impl Fortran<'_> {
    /// Copies the rows of a range, in C order, to `to`, which has just room for them.
    pub(crate) fn read(&self, rows: Range<usize>, to: &mut [u8]) {
        match self.item {
            1 => self.read_items::<1>(rows, to),
            2 => self.read_items::<2>(rows, to),
            4 => self.read_items::<4>(rows, to),
            8 => self.read_items::<8>(rows, to),
            16 => self.read_items::<16>(rows, to),
            _ => self.take_any(rows, to),
        }
    }

    /// Copies single rows, in C order, to `to`, which has just room for them.
    pub(crate) fn take(&self, rows: &[usize], to: &mut [u8]) {
        match self.item {
            1 => self.take_items::<1>(rows, to),
            2 => self.take_items::<2>(rows, to),
            4 => self.take_items::<4>(rows, to),
            8 => self.take_items::<8>(rows, to),
            16 => self.take_items::<16>(rows, to),
            _ => self.take_any(rows.iter().copied(), to),
        }
    }

    fn take_any(&self, rows: impl Iterator<Item = usize> + Clone, to: &mut [u8]) {
        let (elements, item): (usize, _) = (self.cell.iter().product(), self.item);
        if elements == 0 || item == 0 {
            return;
        }
        for (column, at) in CellOrder::new(self.cell).enumerate() {
            let from = &self.data[column * self.rows * item..][..self.rows * item];
            for (row, target) in rows.clone().zip(to[at * item..].chunks_mut(elements * item)) {
                target[..item].copy_from_slice(&from[row * item..][..item]);
            }
        }
    }

    fn read_items<const N: usize>(&self, rows: Range<usize>, to: &mut [u8]) {
        let elements: usize = self.cell.iter().product();
        if elements == 0 || rows.is_empty() {
            return;
        }
        let (items, to) = (self.data.as_chunks::<N>().0, to.as_chunks_mut::<N>().0);
        let tile = (TILE_BYTES / (elements * N)).max(16);
        for (start, to) in rows.clone().step_by(tile).zip(to.chunks_mut(tile * elements)) {
            let end = rows.end.min(start + tile);
            for (column, at) in CellOrder::new(self.cell).enumerate() {
                let from = &items[column * self.rows..][start..end];
                for (value, target) in from.iter().zip(to[at..].iter_mut().step_by(elements)) {
                    *target = *value;
                }
            }
        }
    }

    fn take_items<const N: usize>(&self, rows: &[usize], to: &mut [u8]) {
        let elements: usize = self.cell.iter().product();
        if elements == 0 || rows.is_empty() {
            return;
        }
        let (items, to) = (self.data.as_chunks::<N>().0, to.as_chunks_mut::<N>().0);
        for (column, at) in CellOrder::new(self.cell).enumerate() {
            let from = &items[column * self.rows..][..self.rows];
            for (&row, target) in rows.iter().zip(to[at..].iter_mut().step_by(elements)) {
                *target = from[row];
            }
        }
    }
}

/// Brings cells of elements of `item` bytes, one after the other, each from C order to Fortran order.
pub(super) fn to_fortran(cell: &[usize], item: usize, bytes: &[u8]) -> Vec<u8> {
    let one = cell.iter().product::<usize>() * item;
    let mut out = Vec::with_capacity(bytes.len());
    for from in bytes.chunks_exact(one.max(1)) {
        CellOrder::new(cell).for_each(|at| out.extend_from_slice(&from[at * item..][..item]));
    }
    out
}

/// The elements of a cell in Fortran order, each as its position in C order.
struct CellOrder<'a> {
    cell: &'a [usize],
    index: Vec<usize>,
    next: Option<usize>,
}

impl<'a> CellOrder<'a> {
    fn new(cell: &'a [usize]) -> Self {
        Self { cell, index: vec![0; cell.len()], next: (!cell.contains(&0)).then_some(0) }
    }
}

impl Iterator for CellOrder<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let found = self.next?;
        let mut stride: usize = self.cell.iter().product();
        let mut position = found;
        self.next = None;
        for (index, &n) in self.index.iter_mut().zip(self.cell) {
            stride /= n;
            *index += 1;
            position += stride;
            if *index < n {
                self.next = Some(position);
                break;
            }
            *index = 0;
            position -= n * stride;
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_axis_is_fastest() {
        let order = |cell: &[usize]| CellOrder::new(cell).collect::<Vec<_>>();
        assert_eq!(order(&[]), [0]);
        assert_eq!(order(&[3]), [0, 1, 2]);
        assert_eq!(order(&[2, 3]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(order(&[2, 1, 2]), [0, 2, 1, 3]);
        assert_eq!(order(&[2, 0]), [0usize; 0]);
    }

    #[test]
    fn components_are_reversed() {
        for (size, expected) in [(1, *b"abcdefgh"), (2, *b"badcfehg"), (4, *b"dcbahgfe"), (8, *b"hgfedcba")] {
            let mut bytes = *b"abcdefgh";
            swap_bytes(&mut bytes, size);
            assert_eq!(bytes, expected);
        }
    }

    #[test]
    fn tiles_join_seamlessly() {
        // Rows of 64 KiB: tiles of 16 rows.
        let (rows, elements) = (50, 8192);
        let data: Vec<u8> = (0..rows * elements).flat_map(|i| (i as u64).to_le_bytes()).collect();
        let fortran = Fortran { data: &data, rows, cell: &[elements], item: 8 };
        let mut to = vec![0; 40 * elements * 8];
        fortran.read(5..45, &mut to);
        let mut values = to.as_chunks::<8>().0.iter().map(|c| u64::from_le_bytes(*c));
        assert!((5..45u64).all(|row| (0..elements as u64).all(|e| values.next() == Some(e * rows as u64 + row))));
    }
}
