//! Vectors that are read by `row`, of the rows that a filter kept: the others are never touched.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::common::{Result, internal_err};
use datafusion::physical_plan::metrics::Count;
use hyperslab_core::{ArraySource, Block};
use hyperslab_vector::Scalar;

use super::exec::{Parts, VectorsFrom};
use super::rank::{Best, Ranking, RowIds};
use crate::error::to_datafusion;
use crate::vectors::{Vectors, each_number_type};

/// Kept rows that lie side by side are ranked where they are from this many on; fewer are brought together first.
const SIDE_BY_SIDE: usize = 16;

/// Bytes of vectors that are brought together for one query: they stay in the second-level cache …
const TILE_BYTES: usize = 64 << 10;

/// … and for several, which are prepared anew for each tile.
const BATCH_TILE_BYTES: usize = 1 << 20;

/// Bytes of vectors that are copied or unpacked at once, where they cannot be read in place.
const TAKEN_BYTES: usize = 1 << 20;

/// Where the vectors of a partition's rows come from.
pub(super) enum TaskVectors {
    /// A column of the input.
    Input(usize),
    /// The array, by `row`.
    Late(LateVectors),
}

impl TaskVectors {
    pub(super) fn new(parts: &Parts, mapped: &Count, copied: &Count) -> Result<Self> {
        match (&parts.value, &parts.source) {
            (VectorsFrom::Field(field, _), Some(source)) => Ok(Self::Late(LateVectors {
                source: Arc::clone(source),
                field: *field,
                mapped: mapped.clone(),
                copied: copied.clone(),
            })),
            (VectorsFrom::Field(..), None) => internal_err!("the searched array is lost"),
            (VectorsFrom::Input(column), _) => Ok(Self::Input(*column)),
        }
    }
}

/// Reads the vectors of one field.
pub(super) struct LateVectors {
    pub(super) source: Arc<dyn ArraySource>,
    pub(super) field: usize,
    /// Bytes of vectors that were read in place.
    pub(super) mapped: Count,
    /// Bytes of vectors that were copied or unpacked.
    pub(super) copied: Count,
}

impl LateVectors {
    /// The vectors of some rows, in the given order, copied.
    pub(super) fn take(&self, rows: &[u64]) -> Result<ArrayRef> {
        let block = self.source.take(self.field, rows).map_err(to_datafusion)?;
        self.copied.add(usize::try_from(block.copied).unwrap_or(usize::MAX));
        Ok(block.array)
    }

    /// Ranks rows by their numbers, which are in any order. What is mapped is ranked in place, or in tiles of rows
    /// that lie apart; the rest is taken piece by piece.
    pub(super) fn rank(&self, rows: &[u64], ranking: &Ranking, best: &mut Best) -> Result<()> {
        let sorted;
        let mut rows = match rows.is_sorted() {
            true => rows,
            false => {
                let mut copy = rows.to_vec();
                copy.sort_unstable();
                sorted = copy;
                &sorted
            }
        };
        let piece = (TAKEN_BYTES / self.row_bytes().max(1)).max(1);
        let mut apart: Vec<u64> = vec![];
        while let [first, ..] = *rows {
            let end = self.source.run_end(self.field, first);
            let (run, rest) = rows.split_at(rows.partition_point(|&row| row < end));
            rows = rest;
            match self.view(run)? {
                Some((start, view)) => self.rank_view(&view, start, run, ranking, best)?,
                None => apart.extend_from_slice(run),
            }
            // Only whole pieces, so that rows of many short runs are taken together.
            let whole = if rows.is_empty() { apart.len() } else { apart.len() / piece * piece };
            for rows in apart[..whole].chunks(piece) {
                let taken = self.take(rows)?;
                ranking.offer(&Vectors::try_new(&taken)?, RowIds::Each(rows), best)?;
            }
            apart.drain(..whole);
        }
        Ok(())
    }

    fn row_bytes(&self) -> usize {
        self.source.fields().get(self.field).map_or(0, |f| f.row_bytes())
    }

    /// The part of a run from its first row of `rows` to its last, if that is a view: then nothing is read yet.
    fn view(&self, rows: &[u64]) -> Result<Option<(u64, ArrayRef)>> {
        let &[first, .., last] = rows else { return Ok(None) };
        let read = |rows: Range<u64>| -> Result<Option<Block>> {
            let block = self.source.read(self.field, rows).map_err(to_datafusion)?;
            Ok(Some(block).filter(|b| b.copied == 0))
        };
        // One row tells whether the run is a view, at little cost if it is not.
        if read(first..first + 1)?.is_none() {
            return Ok(None);
        }
        Ok(read(first..last + 1)?.map(|block| (first, block.array)))
    }

    /// Ranks rows of a view that begins at row `start`.
    fn rank_view(&self, view: &ArrayRef, start: u64, rows: &[u64], ranking: &Ranking, best: &mut Best) -> Result<()> {
        let vectors = Vectors::try_new(view)?;
        let Some((dim, elements)) = vectors.dense().filter(|_| vectors.has_no_nulls()) else {
            let taken = self.take(rows)?;
            return ranking.offer(&Vectors::try_new(&taken)?, RowIds::Each(rows), best);
        };
        self.mapped.add(rows.len() * self.row_bytes());
        each_number_type!(vectors, values => {
            offer_rows(&values[elements], dim, start, rows, ranking, best)
        })
    }
}

/// Offers ascending `rows` of vectors that begin at row `start`.
fn offer_rows<T: Scalar>(
    values: &[T],
    dim: usize,
    start: u64,
    mut rows: &[u64],
    ranking: &Ranking,
    best: &mut Best,
) -> Result<()> {
    let tile_bytes = if ranking.queries.len() > 1 { BATCH_TILE_BYTES } else { TILE_BYTES };
    let tile_rows = (tile_bytes / (dim * size_of::<T>()).max(1)).max(SIDE_BY_SIDE);
    let mut tile: Vec<T> = Vec::with_capacity(tile_rows * dim);
    let mut ids: Vec<u64> = Vec::with_capacity(tile_rows);
    while let [first, ..] = *rows {
        let side_by_side = rows.windows(2).take_while(|w| w[1] == w[0] + 1).count() + 1;
        let (run, rest) = rows.split_at(side_by_side);
        rows = rest;
        let place = usize::try_from(first - start).unwrap_or(usize::MAX).saturating_mul(dim);
        let vectors = values.get(place..place.saturating_add(run.len() * dim)).unwrap_or_default();
        if run.len() >= SIDE_BY_SIDE {
            ranking.offer_run(vectors, dim, RowIds::From(first), best)?;
        } else {
            tile.extend_from_slice(vectors);
            ids.extend_from_slice(run);
        }
        if ids.len() + SIDE_BY_SIDE > tile_rows || rows.is_empty() && !ids.is_empty() {
            ranking.offer_run(&tile, dim, RowIds::Each(&ids), best)?;
            tile.clear();
            ids.clear();
        }
    }
    Ok(())
}
