//! The stored chunks of a dataset.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use arrow_buffer::Buffer;
use hdf5_pure::{Chunk, Dataset};
use hyperslab_core::{Error, Result};

use super::filters::{self, Filter};
use super::guarded;
use crate::chunks::ReadChunk;
use crate::chunks::grid::Grid;
use crate::map::MappedFile;

/// The chunks of a dataset in the map.
#[derive(Debug)]
pub(super) struct StoredChunks {
    grid: Arc<Grid>,
    filters: Vec<Filter>,
    element: usize,
    /// Sorted by their number.
    stored: Vec<(u64, Stored)>,
    file: Arc<MappedFile>,
    dataset: Dataset,
}

#[derive(Debug, Clone, Copy)]
struct Stored {
    address: u64,
    bytes: u64,
    /// The filters that were left out, a bit each.
    mask: u32,
}

impl StoredChunks {
    pub(super) fn new(
        grid: Arc<Grid>,
        filters: Vec<Filter>,
        element: usize,
        chunks: Vec<Chunk>,
        file: Arc<MappedFile>,
        dataset: Dataset,
    ) -> Self {
        let place = |c: Chunk| {
            let stored = Stored { address: c.address, bytes: c.storage_size, mask: c.filter_mask };
            Some((grid.number(&c.offset)?, stored))
        };
        let mut stored: Vec<_> = chunks.into_iter().filter_map(place).collect();
        stored.sort_unstable_by_key(|(number, _)| *number);
        Self { grid, filters, element, stored, file, dataset }
    }

    fn find(&self, band: usize, across: usize) -> Option<Stored> {
        let number = band as u64 * self.grid.chunks_across() as u64 + across as u64;
        let at = self.stored.binary_search_by_key(&number, |(n, _)| *n).ok()?;
        self.stored.get(at).map(|(_, stored)| *stored)
    }

    fn range(&self, stored: Stored) -> Result<Range<usize>> {
        let all = self.file.bytes();
        let range = usize::try_from(stored.address).ok().zip(usize::try_from(stored.bytes).ok());
        let range = range.and_then(|(at, len)| Some(at..at.checked_add(len)?)).filter(|r| r.end <= all.len());
        range.ok_or_else(|| {
            Error::corrupt(format!(
                "the file is incomplete: a chunk of {} bytes starts at byte {} of {}; copy or download it again",
                stored.bytes,
                stored.address,
                all.len()
            ))
        })
    }
}

impl ReadChunk for StoredChunks {
    fn chunk(&self, band: usize, across: usize) -> Result<Option<Cow<'_, [u8]>>> {
        let Some(stored) = self.find(band, across) else { return Ok(None) };
        let bytes = &self.file.bytes()[self.range(stored)?];
        Ok(Some(filters::undo(&self.filters, stored.mask, bytes, self.grid.chunk_bytes())?))
    }

    fn fill(&self, band: usize, across: usize) -> Result<Vec<u8>> {
        // The library knows it and does not say it: what it reads there.
        let (row, element) = self.grid.first_element(band, across);
        let row = guarded(|| self.dataset.read_raw_rows(row as u64, 1))?;
        let fill = row.get(element * self.element..).and_then(|r| r.get(..self.element));
        fill.map(<[u8]>::to_vec).ok_or_else(|| Error::corrupt("a row is shorter than its shape"))
    }

    fn view(&self, band: usize) -> Result<Option<Buffer>> {
        if !self.filters.is_empty() || !self.grid.has_whole_rows() {
            return Ok(None);
        }
        let Some(stored) = self.find(band, 0) else { return Ok(None) };
        let len = self.grid.chunk_bytes();
        let bytes = self.file.bytes().slice(self.range(stored)?);
        if bytes.len() < len {
            return Err(Error::corrupt(format!("a chunk has {} bytes instead of {len}", bytes.len())));
        }
        // Fields of other alignments are copied by who reads them.
        Ok(Some(Buffer::from(bytes)))
    }

    fn is_compressed(&self) -> bool {
        self.filters.iter().any(|f| f.is_compression())
    }
}
