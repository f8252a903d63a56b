//! Reading the rows of a chunked dataset: chunks are decompressed in parallel, those at the edges of a window once.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow_buffer::{Buffer, MutableBuffer};
use hdf5_pure::Dataset;
use hyperslab_core::{Error, Result};
use rayon::prelude::*;

use super::filters::{self, Filter};
use super::grid::{Grid, Stored};
use super::guarded;
use crate::map::MappedFile;

/// Rows of chunks up to this size are kept decompressed, so that windows smaller than a chunk decompress it once.
const MAX_BAND_BYTES: usize = 256 << 20;
/// What the decompressed rows of chunks of one dataset may take, unless two of them take more.
const CACHE_BYTES: usize = 64 << 20;
/// The end of a run is put at the end of a row of chunks beyond so many bytes.
const RUN_BYTES: usize = 4 << 20;

/// A chunked dataset.
#[derive(Debug)]
pub(super) struct Chunks {
    grid: Grid,
    filters: Vec<Filter>,
    rows: usize,
    row_bytes: usize,
    element: usize,
    /// Whether each field is read on its own, so that what was decompressed for one is kept for the next.
    keep: bool,
    cache: Mutex<VecDeque<(usize, Slot)>>,
    fill: OnceLock<Vec<u8>>,
}

type Slot = Arc<Mutex<Option<Buffer>>>;

/// Where a chunked dataset lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) file: &'a MappedFile,
    pub(super) dataset: &'a Dataset,
}

impl Chunks {
    pub(super) fn new(grid: Grid, filters: Vec<Filter>, rows: usize, row_bytes: usize, element: usize) -> Self {
        Self { grid, filters, rows, row_bytes, element, keep: false, cache: Mutex::default(), fill: OnceLock::new() }
    }

    /// The same, read field by field.
    pub(super) fn for_several_fields(self, several: bool) -> Self {
        Self { keep: several, ..self }
    }

    /// Where a window that starts at `row` had best end, so that later ones start with a chunk.
    pub(super) fn run_end(&self, row: usize) -> usize {
        let bands = (RUN_BYTES / self.band_bytes().max(1)).max(1);
        let step = self.grid.chunk_rows().saturating_mul(bands);
        (row / step + 1).saturating_mul(step).min(self.rows)
    }

    fn band_bytes(&self) -> usize {
        self.grid.chunk_rows().min(self.rows).saturating_mul(self.row_bytes)
    }

    /// Reads rows that exist and have bytes. Returns them and how many bytes were copied.
    pub(super) fn read(&self, place: Place<'_>, rows: Range<usize>) -> Result<(Buffer, u64)> {
        let first = rows.start / self.grid.chunk_rows();
        let bytes = rows.len() * self.row_bytes;
        if rows.end <= (first + 1) * self.grid.chunk_rows() {
            let at = (rows.start - first * self.grid.chunk_rows()) * self.row_bytes;
            if let Some(view) = self.view(place, first)? {
                return Ok((view.slice_with_length(at, bytes), 0));
            }
            if self.band_bytes() <= MAX_BAND_BYTES {
                let band = self.cached(place, first)?;
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
            let end = ((band + 1) * self.grid.chunk_rows()).min(rows.end);
            let (part, others) = rest.split_at_mut((end - row) * self.row_bytes);
            parts.push((band, row..end, part));
            (rest, row) = (others, end);
        }
        match parts.len() {
            1 => parts.into_iter().try_for_each(|(band, rows, to)| self.part(place, band, rows, to))?,
            _ => parts.into_par_iter().try_for_each(|(band, rows, to)| self.part(place, band, rows, to))?,
        }
        Ok((to.into(), bytes as u64))
    }

    /// Copies single rows, sorted or not, to `to`.
    pub(super) fn take(&self, place: Place<'_>, rows: &[usize], to: &mut [u8]) -> Result<()> {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_unstable_by_key(|&i| rows[i]);
        for group in order.chunk_by(|&a, &b| rows[a] / self.grid.chunk_rows() == rows[b] / self.grid.chunk_rows()) {
            let (first, last) = (rows[group[0]], rows[group[group.len() - 1]]);
            // One read of the group's rows, whose bytes a chunk bounds.
            let (found, _) = self.read(place, first..last + 1)?;
            for &i in group {
                let row = &found[(rows[i] - first) * self.row_bytes..][..self.row_bytes];
                to[i * self.row_bytes..][..self.row_bytes].copy_from_slice(row);
            }
        }
        Ok(())
    }

    /// Rows of one row of chunks.
    fn part(&self, place: Place<'_>, band: usize, rows: Range<usize>, to: &mut [u8]) -> Result<()> {
        let all = self.band_rows(band);
        let at = (rows.start - all.start) * self.row_bytes;
        if (rows == all && !self.keep) || self.band_bytes() > MAX_BAND_BYTES {
            return self.decode(place, band, rows.start - all.start..rows.end - all.start, to);
        }
        to.copy_from_slice(&self.cached(place, band)?[at..at + to.len()]);
        Ok(())
    }

    fn band_rows(&self, band: usize) -> Range<usize> {
        let start = band * self.grid.chunk_rows();
        start..start.saturating_add(self.grid.chunk_rows()).min(self.rows)
    }

    /// A row of chunks in the map: one chunk that is stored as its rows are.
    fn view(&self, place: Place<'_>, band: usize) -> Result<Option<Buffer>> {
        if !self.filters.is_empty() || !self.grid.has_whole_rows() {
            return Ok(None);
        }
        let Some((_, Some(stored))) = self.grid.band(band).next() else { return Ok(None) };
        let len = self.grid.chunk_bytes();
        let bytes = self.stored(place, stored)?;
        if bytes.len() < len {
            return Err(Error::corrupt(format!("a chunk has {} bytes instead of {len}", bytes.len())));
        }
        // Fields of other alignments are copied by who reads them.
        Ok(Some(Buffer::from(bytes)))
    }

    fn stored(&self, place: Place<'_>, stored: Stored) -> Result<bytes::Bytes> {
        let all = place.file.bytes();
        let range = usize::try_from(stored.address).ok().zip(usize::try_from(stored.bytes).ok());
        let range = range.and_then(|(at, len)| Some(at..at.checked_add(len)?)).filter(|r| r.end <= all.len());
        let range = range.ok_or_else(|| {
            Error::corrupt(format!(
                "the file is incomplete: a chunk of {} bytes starts at byte {} of {}; copy or download it again",
                stored.bytes,
                stored.address,
                all.len()
            ))
        })?;
        Ok(all.slice(range))
    }

    /// A row of chunks, decompressed now or before.
    fn cached(&self, place: Place<'_>, band: usize) -> Result<Buffer> {
        let slot = self.slot(band);
        let mut found = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buffer) = found.as_ref() {
            return Ok(buffer.clone());
        }
        let rows = self.band_rows(band).len();
        let mut to = MutableBuffer::from_len_zeroed(rows * self.row_bytes);
        self.decode(place, band, 0..rows, to.as_slice_mut())?;
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

    /// Decompresses the chunks of some rows (counted in the row of chunks) to `to`, which is zeroed.
    fn decode(&self, place: Place<'_>, band: usize, rows: Range<usize>, to: &mut [u8]) -> Result<()> {
        let several = self.grid.chunks_across() > 1 && self.filters.iter().any(|f| f.is_compression());
        let mut chunks = self.grid.band(band);
        loop {
            // So many at a time, so that few are decompressed and not yet in their place.
            let group: Vec<_> =
                chunks.by_ref().take(if several { 2 * rayon::current_num_threads() } else { 1 }).collect();
            if group.is_empty() {
                return Ok(());
            }
            let decoded = |&(across, stored): &(usize, Option<Stored>)| -> Result<(usize, Option<Vec<u8>>)> {
                let Some(stored) = stored else { return Ok((across, None)) };
                let bytes = self.stored(place, stored)?;
                let chunk = filters::undo(&self.filters, stored.mask, &bytes, self.grid.chunk_bytes())?;
                Ok((across, Some(chunk.into_owned())))
            };
            if let [(across, Some(stored))] = group[..] {
                let bytes = self.stored(place, stored)?;
                let chunk = filters::undo(&self.filters, stored.mask, &bytes, self.grid.chunk_bytes())?;
                self.grid.place(across, rows.clone(), &chunk, to);
                continue;
            }
            for (across, chunk) in group.par_iter().map(decoded).collect::<Result<Vec<_>>>()? {
                match chunk {
                    Some(chunk) => self.grid.place(across, rows.clone(), &chunk, to),
                    None => self.put_fill(place, band, across, rows.clone(), to)?,
                }
            }
        }
    }

    /// The fill value where no chunk is stored.
    fn put_fill(&self, place: Place<'_>, band: usize, across: usize, rows: Range<usize>, to: &mut [u8]) -> Result<()> {
        let fill = match self.fill.get() {
            Some(fill) => fill,
            None => {
                // The library knows it and does not say it: what it reads there.
                let (row, element) = self.grid.first_element(band, across);
                let row = guarded(|| place.dataset.read_raw_rows(row as u64, 1))?;
                let fill = row.get(element * self.element..).and_then(|r| r.get(..self.element));
                let fill = fill.ok_or_else(|| Error::corrupt("a row is shorter than its shape"))?;
                self.fill.get_or_init(|| fill.to_vec())
            }
        };
        if fill.iter().any(|&b| b != 0) {
            self.grid.fill(across, rows, fill, to);
        }
        Ok(())
    }
}
