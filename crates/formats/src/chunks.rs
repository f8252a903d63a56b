//! Reading the rows of a chunked array: chunks are decompressed in parallel, those at the edges of a window once.

pub(crate) mod grid;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow_buffer::{Buffer, MutableBuffer};
use hyperslab_core::Result;
use rayon::prelude::*;

use grid::Grid;

/// Rows of chunks up to this size are kept decompressed, so that windows smaller than a chunk decompress it once.
const MAX_BAND_BYTES: usize = 256 << 20;
/// What the decompressed rows of chunks of one dataset may take, unless two of them take more.
const CACHE_BYTES: usize = 64 << 20;
/// What the chunks that are decompressed at once may take, unless one of them takes more.
const GROUP_BYTES: usize = 256 << 20;
/// The end of a run is put at the end of a row of chunks beyond so many bytes.
const RUN_BYTES: usize = 4 << 20;

/// Where the chunks of an array come from.
pub(crate) trait ReadChunk: Send + Sync + Debug {
    /// The unpacked bytes of a chunk, elements in C order; `None` for one that is not stored. Chunk `across` of row of
    /// chunks `band`.
    ///
    /// # Errors
    /// `Corrupt` for what is damaged; `Io`.
    fn chunk(&self, band: usize, across: usize) -> Result<Option<Cow<'_, [u8]>>>;

    /// The element that stands for those of chunks that are not stored.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    fn fill(&self) -> Result<Vec<u8>>;

    /// Rows of chunks that are one chunk, stored as it is, as a view of a map.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    fn view(&self, band: usize) -> Result<Option<Buffer>> {
        let _ = band;
        Ok(None)
    }

    /// Whether unpacking a chunk takes so long that several are unpacked at once.
    fn is_compressed(&self) -> bool;
}

/// A chunked array.
#[derive(Debug)]
pub(crate) struct Chunks<R> {
    grid: Arc<Grid>,
    reader: R,
    rows: usize,
    row_bytes: usize,
    /// Whether each field is read on its own, so that what was decompressed for one is kept for the next.
    keep: bool,
    cache: Mutex<VecDeque<(usize, Slot)>>,
    fill: OnceLock<Vec<u8>>,
}

type Slot = Arc<Mutex<Option<Buffer>>>;

impl<R: ReadChunk> Chunks<R> {
    /// `several`: whether the array's fields are read one by one.
    pub(crate) fn new(grid: Arc<Grid>, reader: R, rows: usize, several: bool) -> Self {
        let row_bytes = grid.row_bytes();
        Self { grid, reader, rows, row_bytes, keep: several, cache: Mutex::default(), fill: OnceLock::new() }
    }

    /// Where a window that starts at `row` had best end, so that later ones start with a chunk.
    pub(crate) fn run_end(&self, row: usize) -> usize {
        let bands = (RUN_BYTES / self.band_bytes().max(1)).max(1);
        let step = self.grid.chunk_rows().saturating_mul(bands);
        (row / step + 1).saturating_mul(step).min(self.rows)
    }

    fn band_bytes(&self) -> usize {
        self.grid.chunk_rows().min(self.rows).saturating_mul(self.row_bytes)
    }

    /// Reads rows that exist and have bytes. Returns them and how many bytes were copied.
    pub(crate) fn read(&self, rows: Range<usize>) -> Result<(Buffer, u64)> {
        let first = rows.start / self.grid.chunk_rows();
        let bytes = rows.len() * self.row_bytes;
        if rows.end <= (first + 1).saturating_mul(self.grid.chunk_rows()) {
            let at = (rows.start - first * self.grid.chunk_rows()) * self.row_bytes;
            if let Some(view) = self.reader.view(first)? {
                return Ok((view.slice_with_length(at, bytes), 0));
            }
            if self.band_bytes() <= MAX_BAND_BYTES {
                let band = self.cached(first)?;
                return Ok((band.slice_with_length(at, bytes), bytes as u64));
            }
        }
        let mut to = MutableBuffer::from_len_zeroed(bytes);
        // Each part of the window that lies in one row of chunks, with its place in `to`.
        let mut parts = Vec::new();
        let mut rest = to.as_slice_mut();
        let mut row = rows.start;
        while row < rows.end {
            let band = row / self.grid.chunk_rows();
            let end = (band + 1).saturating_mul(self.grid.chunk_rows()).min(rows.end);
            let (part, others) = rest.split_at_mut((end - row) * self.row_bytes);
            parts.push((band, row..end, part));
            (rest, row) = (others, end);
        }
        match parts.len() == 1 || self.grid.chunk_bytes() > GROUP_BYTES {
            true => parts.into_iter().try_for_each(|(band, rows, to)| self.part(band, rows, to))?,
            false => parts.into_par_iter().try_for_each(|(band, rows, to)| self.part(band, rows, to))?,
        }
        Ok((to.into(), bytes as u64))
    }

    /// Copies single rows, sorted or not, to `to`.
    pub(crate) fn take(&self, rows: &[usize], to: &mut [u8]) -> Result<()> {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_unstable_by_key(|&i| rows[i]);
        for group in order.chunk_by(|&a, &b| rows[a] / self.grid.chunk_rows() == rows[b] / self.grid.chunk_rows()) {
            let (first, last) = (rows[group[0]], rows[group[group.len() - 1]]);
            // One read of the group's rows, whose bytes a chunk bounds.
            let (found, _) = self.read(first..last + 1)?;
            for &i in group {
                let row = &found[(rows[i] - first) * self.row_bytes..][..self.row_bytes];
                to[i * self.row_bytes..][..self.row_bytes].copy_from_slice(row);
            }
        }
        Ok(())
    }

    /// Rows of one row of chunks.
    fn part(&self, band: usize, rows: Range<usize>, to: &mut [u8]) -> Result<()> {
        let all = self.band_rows(band);
        let at = (rows.start - all.start) * self.row_bytes;
        if (rows == all && !self.keep) || self.band_bytes() > MAX_BAND_BYTES {
            return self.decode(band, rows.start - all.start..rows.end - all.start, to);
        }
        to.copy_from_slice(&self.cached(band)?[at..at + to.len()]);
        Ok(())
    }

    fn band_rows(&self, band: usize) -> Range<usize> {
        let start = band * self.grid.chunk_rows();
        start..start.saturating_add(self.grid.chunk_rows()).min(self.rows)
    }

    /// A row of chunks, decompressed now or before.
    fn cached(&self, band: usize) -> Result<Buffer> {
        let slot = self.slot(band);
        let mut found = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buffer) = found.as_ref() {
            return Ok(buffer.clone());
        }
        let rows = self.band_rows(band).len();
        let mut to = MutableBuffer::from_len_zeroed(rows * self.row_bytes);
        self.decode(band, 0..rows, to.as_slice_mut())?;
        Ok(found.insert(to.into()).clone())
    }

    fn slot(&self, band: usize) -> Slot {
        let most = (CACHE_BYTES / self.band_bytes().max(1)).clamp(2, 64);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = match cache.iter().position(|(b, _)| *b == band) {
            Some(at) => cache.remove(at).map(|(_, slot)| slot).unwrap_or_default(),
            None => Slot::default(),
        };
        cache.truncate(most - 1);
        cache.push_front((band, Arc::clone(&slot)));
        slot
    }

    /// How many chunks are decompressed at once, so that few are and not yet in their place.
    fn group(&self) -> usize {
        match self.reader.is_compressed() {
            true => (GROUP_BYTES / self.grid.chunk_bytes().max(1)).clamp(1, 2 * rayon::current_num_threads()),
            false => 1,
        }
    }

    /// Decompresses the chunks of some rows (counted in the row of chunks) to `to`, which is zeroed.
    fn decode(&self, band: usize, rows: Range<usize>, to: &mut [u8]) -> Result<()> {
        let across = self.grid.chunks_across();
        let step = self.group();
        for start in (0..across).step_by(step) {
            let group = start..(start + step).min(across);
            let chunks = match group.len() {
                1 => vec![self.reader.chunk(band, start)?],
                _ => group.clone().into_par_iter().map(|i| self.reader.chunk(band, i)).collect::<Result<Vec<_>>>()?,
            };
            for (i, chunk) in group.zip(chunks) {
                match chunk {
                    Some(chunk) => self.grid.place(i, rows.clone(), &chunk, to),
                    None => self.put_fill(i, rows.clone(), to)?,
                }
            }
        }
        Ok(())
    }

    /// The fill value where no chunk is stored.
    fn put_fill(&self, across: usize, rows: Range<usize>, to: &mut [u8]) -> Result<()> {
        let fill = match self.fill.get() {
            Some(fill) => fill,
            None => {
                let fill = self.reader.fill()?;
                self.fill.get_or_init(|| fill)
            }
        };
        if fill.iter().any(|&b| b != 0) {
            self.grid.fill(across, rows, fill, to);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Chunks of which the first rows are all that is looked at.
    #[derive(Debug)]
    struct Numbered;

    impl ReadChunk for Numbered {
        fn chunk(&self, _: usize, across: usize) -> Result<Option<Cow<'_, [u8]>>> {
            Ok((across != 5).then(|| Cow::Owned(vec![across as u8; 2])))
        }

        fn fill(&self) -> Result<Vec<u8>> {
            Ok(vec![99])
        }

        fn is_compressed(&self) -> bool {
            true
        }
    }

    #[test]
    fn large_chunks_are_decompressed_one_by_one() {
        let at_once = |chunk_rows: usize| {
            let grid = Grid::new(&[2, 9], &[chunk_rows as u64, 1], 1).unwrap();
            let chunks = Chunks::new(Arc::new(grid), Numbered, 2, false);
            let (read, _) = chunks.read(0..2).unwrap();
            assert_eq!(read.as_slice(), [0, 1, 2, 3, 4, 99, 6, 7, 8].repeat(2));
            chunks.group()
        };
        let usual = 2 * rayon::current_num_threads();
        assert_eq!(at_once(2), usual);
        assert_eq!(at_once(GROUP_BYTES / 2), usual.min(2));
        assert_eq!((at_once(GROUP_BYTES), at_once(GROUP_BYTES * 9)), (1, 1));
    }
}
