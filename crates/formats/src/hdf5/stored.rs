//! The stored chunks of a dataset.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use arrow_buffer::Buffer;
use hyperslab_core::{Error, Result};

use super::chunk_index::StoredChunk;
use super::filters::{self, Filter};
use crate::chunks::ReadChunk;
use crate::chunks::grid::Grid;
use crate::map::MappedFile;

/// The chunks of a dataset in the map.
#[derive(Debug)]
pub(super) struct StoredChunks {
    pub(super) grid: Arc<Grid>,
    pub(super) filters: Vec<Filter>,
    /// Sorted by their number.
    pub(super) stored: Vec<(u64, StoredChunk)>,
    /// The element that stands for those of chunks that are not stored.
    pub(super) fill: Result<Vec<u8>>,
    pub(super) file: Arc<MappedFile>,
}

impl StoredChunks {
    fn find(&self, band: usize, across: usize) -> Option<StoredChunk> {
        let number = band as u64 * self.grid.chunks_across() as u64 + across as u64;
        let at = self.stored.binary_search_by_key(&number, |(n, _)| *n).ok()?;
        self.stored.get(at).map(|(_, stored)| *stored)
    }

    fn range(&self, stored: StoredChunk) -> Result<Range<usize>> {
        let all = self.file.bytes();
        let range = usize::try_from(stored.at).ok().zip(usize::try_from(stored.bytes).ok());
        let range = range.and_then(|(at, len)| Some(at..at.checked_add(len)?)).filter(|r| r.end <= all.len());
        range.ok_or_else(|| {
            Error::corrupt(format!(
                "the file is incomplete: a chunk of {} bytes starts at byte {} of {}; copy or download it again",
                stored.bytes,
                stored.at,
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

    fn fill(&self) -> Result<Vec<u8>> {
        self.fill.as_ref().cloned().map_err(|e| Error::new(e.kind(), e.message()))
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
