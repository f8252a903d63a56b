//! Scans of codes.

use hyperslab_core::{Error, Result};

use super::bounds::{Bounds, Screen};
use super::dots::{self, Dots, InstructionSet, Pass};
use super::{Candidates, PARAMS, SketchQuery};

/// How many rows are computed at once: their sums stay in the first-level cache.
const BATCH: usize = 256;

/// If as many rows of a batch pass the screen, the bounds of all are computed, several at once.
const MANY: usize = 24;

/// The bytes of a tile of codes, against which all queries are run: a part of the second-level cache.
const TILE_BYTES: usize = 256 << 10;

impl SketchQuery {
    /// Makes candidates of the rows of a block whose bound can still beat the k-th.
    ///
    /// - `codes`, `params`: of the block's rows, as [`encode`](crate::SketchSpec::encode) makes them;
    /// - `first_row`: the number of the first row.
    ///
    /// # Errors
    /// [`Invalid`](hyperslab_core::ErrorKind::Invalid) if codes and parameters are not of one number of rows, or
    /// the candidates are of another ranking.
    pub fn scan(&self, codes: &[u8], params: &[f32], first_row: u64, candidates: &mut Candidates) -> Result<()> {
        let count = self.check(codes, params, candidates)?;
        self.run(InstructionSet::current(), codes, params, 0..count, first_row, candidates);
        Ok(())
    }

    /// As [`scan`](Self::scan), of some rows only: those that a filter keeps.
    ///
    /// - `positions`: of the rows in the block, whose first is 0; row `first_row + position` each.
    ///
    /// # Errors
    /// As [`scan`](Self::scan), and if a position is beyond the block.
    pub fn scan_selected(
        &self,
        codes: &[u8],
        params: &[f32],
        positions: &[u32],
        first_row: u64,
        candidates: &mut Candidates,
    ) -> Result<()> {
        let count = self.check(codes, params, candidates)?;
        if let Some(position) = positions.iter().find(|p| **p as usize >= count) {
            return Err(Error::invalid(format!("there is no row {position} in a block of {count} rows")));
        }
        self.run(InstructionSet::current(), codes, params, positions, first_row, candidates);
        Ok(())
    }

    /// As [`scan`](Self::scan), for several queries: each block of codes is read from memory once.
    ///
    /// # Errors
    /// As [`scan`](Self::scan), and if there are not as many `candidates` as queries or the queries are for
    /// different kinds of codes.
    pub fn scan_all(
        queries: &[SketchQuery],
        codes: &[u8],
        params: &[f32],
        first_row: u64,
        candidates: &mut [Candidates],
    ) -> Result<()> {
        if queries.len() != candidates.len() {
            let message = format!("there are {} queries, but candidates of {}", queries.len(), candidates.len());
            return Err(Error::invalid(message));
        }
        let Some(first) = queries.first() else { return Ok(()) };
        for (query, candidates) in queries.iter().zip(candidates.iter()) {
            query.check(codes, params, candidates)?;
            if query.spec != first.spec {
                return Err(Error::invalid("the queries are for sketches of different kinds"));
            }
        }
        let width = first.spec.code_bytes();
        let tile = (TILE_BYTES / width).max(BATCH);
        let tiles = codes.chunks(tile * width).zip(params.chunks(tile * PARAMS));
        for (t, (codes, params)) in tiles.enumerate() {
            for (query, candidates) in queries.iter().zip(candidates.iter_mut()) {
                query.scan(codes, params, first_row + (t * tile) as u64, candidates)?;
            }
        }
        Ok(())
    }

    fn check(&self, codes: &[u8], params: &[f32], candidates: &Candidates) -> Result<usize> {
        if candidates.ranking() != self.bounder.ranking {
            return Err(Error::invalid("the candidates are of a query with another metric"));
        }
        self.spec.check(codes, params)
    }

    pub(super) fn run(
        &self,
        set: InstructionSet,
        codes: &[u8],
        params: &[f32],
        rows: impl Rows,
        first_row: u64,
        candidates: &mut Candidates,
    ) {
        candidates.count(rows.len());
        if !self.prunes {
            (0..rows.len()).for_each(|i| candidates.offer_unknown(first_row + rows.at(i) as u64));
            return;
        }
        let params = params.as_chunks().0;
        match self.spec.bits {
            8 => dots::run_with(set, Scan::<_, false> { query: self, codes, params, rows, first_row, candidates }),
            _ => dots::run_with(set, Scan::<_, true> { query: self, codes, params, rows, first_row, candidates }),
        }
    }
}

/// Which rows of a block are scanned, as positions.
pub(super) trait Rows {
    fn len(&self) -> usize;
    fn at(&self, i: usize) -> usize;
    /// The parameters of `count` of them, from the `start`-th, either as they lie there or copied to `room`.
    fn params<'a>(
        &self,
        start: usize,
        count: usize,
        all: &'a [[f32; PARAMS]],
        room: &'a mut [[f32; PARAMS]; BATCH],
    ) -> &'a [[f32; PARAMS]];
}

impl Rows for std::ops::Range<usize> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn at(&self, i: usize) -> usize {
        self.start + i
    }

    #[inline(always)]
    fn params<'a>(
        &self,
        start: usize,
        count: usize,
        all: &'a [[f32; PARAMS]],
        room: &'a mut [[f32; PARAMS]; BATCH],
    ) -> &'a [[f32; PARAMS]] {
        let _ = room;
        &all[self.start + start..][..count]
    }
}

impl Rows for &[u32] {
    #[inline(always)]
    fn len(&self) -> usize {
        <[u32]>::len(self)
    }

    #[inline(always)]
    fn at(&self, i: usize) -> usize {
        self[i] as usize
    }

    #[inline(always)]
    fn params<'a>(
        &self,
        start: usize,
        count: usize,
        all: &'a [[f32; PARAMS]],
        room: &'a mut [[f32; PARAMS]; BATCH],
    ) -> &'a [[f32; PARAMS]] {
        let rows = &self[start..][..count];
        room.iter_mut().zip(rows).for_each(|(room, row)| *room = all[*row as usize]);
        &room[..count]
    }
}

struct Scan<'a, R, const HALVES: bool> {
    query: &'a SketchQuery,
    codes: &'a [u8],
    params: &'a [[f32; PARAMS]],
    rows: R,
    first_row: u64,
    candidates: &'a mut Candidates,
}

impl<R: Rows, const HALVES: bool> Pass for Scan<'_, R, HALVES> {
    #[inline(always)]
    fn run<D: Dots>(self) {
        let Self { query, codes, params, rows, first_row, candidates } = self;
        let (mut sums, mut excluded, mut room) = ([0.0; BATCH], [false; BATCH], [[0.0; PARAMS]; BATCH]);
        let mut bounds = [Bounds { lower: 0.0, upper: 0.0 }; BATCH];
        for start in (0..rows.len()).step_by(BATCH) {
            let count = BATCH.min(rows.len() - start);
            let (sums, excluded, bounds) = (&mut sums[..count], &mut excluded[..count], &mut bounds[..count]);
            products::<D, HALVES>(query, codes, |i| rows.at(start + i), sums);
            let params = rows.params(start, count, params, &mut room);
            let passing = count - screen(&query.bounder.screen(candidates.limit()), sums, params, excluded);
            if passing == 0 {
                continue;
            }
            if passing >= MANY {
                query.bounder.bounds(sums, params, bounds);
            }
            for i in (0..count).filter(|i| !excluded[*i]) {
                if passing < MANY {
                    query.bounder.bounds(&sums[i..=i], &params[i..=i], &mut bounds[i..=i]);
                }
                candidates.note(params[i][1]);
                candidates.offer(first_row + rows.at(start + i) as u64, bounds[i]);
            }
        }
    }
}

/// *c*·*u* of each row.
#[inline(always)]
fn products<D: Dots, const HALVES: bool>(
    query: &SketchQuery,
    codes: &[u8],
    row: impl Fn(usize) -> usize,
    sums: &mut [f64],
) {
    let (width, count) = (query.spec.code_bytes(), sums.len());
    let (mut high, mut low) = ([0; BATCH], [0; BATCH]);
    for i in (0..count).step_by(4) {
        let at = [0, 1, 2, 3].map(|r| row((i + r).min(count - 1)) * width);
        let four = D::dots::<HALVES>(codes, at, width, &query.levels);
        for r in 0..4 {
            [high[i + r], low[i + r]] = four[r];
        }
    }
    for ((sum, high), low) in sums.iter_mut().zip(&high).zip(&low) {
        *sum = 256.0 * f64::from(*high) + f64::from(*low) - query.correction;
    }
}

/// Which rows the screen excludes, and how many.
#[inline(always)]
fn screen(screen: &Screen, sums: &[f64], params: &[[f32; PARAMS]], excluded: &mut [bool]) -> usize {
    let mut count = 0_u64; // as wide as the numbers compared
    for ((sum, params), excluded) in sums.iter().zip(params).zip(excluded) {
        *excluded = screen.excludes(*sum, *params);
        count += u64::from(*excluded);
    }
    count as usize
}
