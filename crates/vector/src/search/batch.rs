//! Many queries against the same rows: a matrix product that tells which rows matter, and exact scores of those.

use hyperslab_core::{Error, Result};

use super::{check, check_numbers};
use crate::distance::{BATCH, tile_scores};
use crate::gemm::{MIN_ROWS, Panels, Screening, SquaredNorms};
use crate::kernel::{self, GROUP, LANES, Lanes};
use crate::scalar::Numbers;
use crate::screen::{self, QueryScreen, Test, bound_rows, is_cosine};
use crate::{PreparedQuery, Scalar, TopK};

/// The bytes of a tile of converted rows, against which all queries are run: two thirds of a first-level
/// cache of 48 KiB.
const TILE_BYTES: usize = 32 << 10;

/// The fewest rows of a tile, whatever their length: a query is read once per tile.
const TILE_ROWS: usize = 8;

/// The bytes of a chunk of float32 rows, which stays in a second-level cache while all queries are run against
/// it.
const CHUNK_BYTES: usize = 192 << 10;

/// The most rows of a chunk.
const CHUNK_ROWS: usize = 96;

/// A chunk, or a query's part in it, of whose products more than one in so many may matter is scored as a whole.
const FEW: usize = 4;

/// Offers every row of a block to the `TopK` of each of several queries.
///
/// The scores are those of [`search_block`](super::search_block), bit for bit. The rows are taken in chunks that
/// stay in cache while all queries are run against them, as a matrix product in float32 with a proved error
/// bound; only the rows that the bound does not rule out are scored in float64. So many queries cost much less
/// than as many searches.
///
/// ```
/// use hyperslab_vector::{Metric, PreparedQuery, TopK, search_blocks};
/// let queries = [[0.0], [10.0]].map(|q| PreparedQuery::new(Metric::L2, &q).unwrap());
/// let mut tops = vec![TopK::new(1, Metric::L2); 2];
/// search_blocks(&queries, &[1_u8, 5, 9], 1, 0, &mut tops)?;
/// let best: Vec<u64> = tops.into_iter().map(|top| top.into_sorted()[0].row).collect();
/// assert_eq!(best, [0, 2]);
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
///
/// # Errors
/// As [`search_block`](super::search_block), and if there are not as many `tops` as queries.
pub fn search_blocks<T: Scalar>(
    queries: &[PreparedQuery],
    rows: &[T],
    dim: usize,
    first_row: u64,
    tops: &mut [TopK],
) -> Result<SearchStats> {
    check_all(queries, rows, dim, tops)?;
    Ok(search(queries, rows, dim, Numbers::From(first_row), tops))
}

/// Offers rows whose numbers are given: `row_ids[i]` is the number of the i-th row of `rows`. Otherwise as
/// [`search_blocks`].
///
/// ```
/// use hyperslab_vector::{Metric, PreparedQuery, TopK, search_blocks_indexed};
/// let queries = [[0.0], [10.0]].map(|q| PreparedQuery::new(Metric::L2, &q).unwrap());
/// let mut tops = vec![TopK::new(1, Metric::L2); 2];
/// search_blocks_indexed(&queries, &[1_u8, 5, 9], 1, &[30, 10, 70], &mut tops)?;
/// let best: Vec<u64> = tops.into_iter().map(|top| top.into_sorted()[0].row).collect();
/// assert_eq!(best, [30, 70]);
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
///
/// # Errors
/// As [`search_blocks`], and if there are not as many numbers as rows.
pub fn search_blocks_indexed<T: Scalar>(
    queries: &[PreparedQuery],
    rows: &[T],
    dim: usize,
    row_ids: &[u64],
    tops: &mut [TopK],
) -> Result<SearchStats> {
    check_all(queries, rows, dim, tops)?;
    check_numbers(rows.len().checked_div(dim).unwrap_or_default(), row_ids)?;
    Ok(search(queries, rows, dim, Numbers::Each(row_ids), tops))
}

fn check_all<T: Scalar>(queries: &[PreparedQuery], rows: &[T], dim: usize, tops: &[TopK]) -> Result<()> {
    if queries.len() != tops.len() {
        let message = format!("there are {} queries, but {} results to fill", queries.len(), tops.len());
        return Err(Error::invalid(message));
    }
    queries.iter().zip(tops).try_for_each(|(query, top)| check(query, rows, dim, top))
}

fn search<T: Scalar>(
    queries: &[PreparedQuery],
    rows: &[T],
    dim: usize,
    numbers: Numbers<'_>,
    tops: &mut [TopK],
) -> SearchStats {
    if let ([query], [top]) = (queries, &mut *tops) {
        let scored = T::search(query, rows, numbers, top);
        return SearchStats::new(scored, rows.len() / dim);
    }
    let mut plain = Plain { queries, dim, groups: None, tile: vec![] };
    let mut screen: Option<BatchScreen> = None;
    let mut stats = SearchStats::default();
    let chunk_rows = (CHUNK_BYTES / size_of::<f32>() / dim / MIN_ROWS * MIN_ROWS).clamp(MIN_ROWS, CHUNK_ROWS);
    let (mut rest, mut numbers) = (rows, numbers);
    while !rest.is_empty() && !queries.is_empty() {
        // No chunk is shorter than a block.
        let count = if rest.len() < (chunk_rows + MIN_ROWS) * dim { rest.len() / dim } else { chunk_rows };
        let (chunk, after) = rest.split_at(count * dim);
        let next = &after[..after.len().min(count * dim)];
        let waiting =
            |query: &PreparedQuery, top: &TopK| top.threshold().is_none() || !screen::has_bound(query.distance());
        let waiting = queries.iter().zip(tops.iter()).filter(|(query, top)| waiting(query, top)).count();
        let scored = if count < MIN_ROWS || waiting * 2 > queries.len() {
            plain.search(chunk, numbers, tops)
        } else {
            let screen = screen.get_or_insert_with(|| BatchScreen::new(queries, dim));
            screen.search(chunk, next, numbers, tops, &mut plain)
        };
        stats += SearchStats::new(scored, count * queries.len());
        (rest, numbers) = (after, numbers.skip(count));
    }
    stats
}

/// What a search has done: pairs of a row and a query.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SearchStats {
    /// Pairs whose score was computed.
    pub scored: u64,
    /// Pairs that a bound ruled out.
    pub passed_over: u64,
}

impl SearchStats {
    fn new(scored: usize, of: usize) -> Self {
        Self { scored: scored as u64, passed_over: of.saturating_sub(scored) as u64 }
    }
}

impl std::ops::AddAssign for SearchStats {
    fn add_assign(&mut self, other: Self) {
        self.scored += other.scored;
        self.passed_over += other.passed_over;
    }
}

/// The queries as a matrix, and which rows they still ask for.
struct BatchScreen<'a> {
    queries: &'a [PreparedQuery],
    dim: usize,
    screens: Vec<Option<QueryScreen>>,
    panels: Panels,
    /// The thresholds, as bits, that the tests of `panels` are for.
    thresholds: Vec<Option<u64>>,
    cosine: bool,
    narrow: Vec<f32>,
    norms: Vec<f32>,
    half_squares: Vec<f32>,
    masks: Vec<u16>,
    /// How many rows of a chunk pass, for each query.
    passed: Vec<usize>,
}

impl<'a> BatchScreen<'a> {
    fn new(queries: &'a [PreparedQuery], dim: usize) -> Self {
        let screens: Vec<_> = queries.iter().map(QueryScreen::new).collect();
        let mut panels = Panels::pack(dim, screens.iter().map(|s| s.as_ref().map(QueryScreen::values)));
        (0..queries.len()).for_each(|q| panels.set_test(q, Test::PASS));
        Self {
            queries,
            dim,
            screens,
            panels,
            thresholds: vec![None; queries.len()],
            cosine: queries.iter().any(|q| is_cosine(q.distance())),
            narrow: vec![],
            norms: vec![],
            half_squares: vec![],
            masks: vec![],
            passed: vec![0; queries.len()],
        }
    }

    /// Offers the rows of a chunk, and returns how many scores that took.
    fn search<T: Scalar>(
        &mut self,
        chunk: &[T],
        next: &[T],
        numbers: Numbers<'_>,
        tops: &mut [TopK],
        plain: &mut Plain<'_>,
    ) -> usize {
        let count = chunk.len() / self.dim;
        self.set_tests(tops);
        self.screen(chunk, next, count);
        if self.count_passed(count) * FEW > count * self.queries.len() {
            return plain.search(chunk, numbers, tops);
        }
        let mut scored = 0;
        for ((query, top), passed) in self.queries.iter().zip(tops.iter_mut()).zip(&mut self.passed) {
            if *passed * FEW > count {
                scored += T::search(query, chunk, numbers, top);
                *passed = 0;
            }
        }
        for (v, masks) in self.masks.chunks(count).enumerate() {
            for (r, mask) in masks.iter().enumerate() {
                for q in bits(*mask).map(|lane| v * LANES + lane).filter(|&q| self.passed[q] > 0) {
                    let score = T::score(&self.queries[q], &chunk[r * self.dim..][..self.dim]);
                    tops[q].push(score, numbers.get(r));
                    scored += 1;
                }
            }
        }
        scored
    }

    /// Brings the tests to what the tops ask for.
    fn set_tests(&mut self, tops: &[TopK]) {
        for (q, (top, set)) in tops.iter().zip(&mut self.thresholds).enumerate() {
            let threshold = top.threshold().map(f64::to_bits);
            if *set != threshold {
                *set = threshold;
                let test = self.screens[q].as_ref().zip(top.threshold()).map(|(screen, t)| screen.test(t));
                self.panels.set_test(q, test.unwrap_or(Test::PASS));
            }
        }
    }

    /// Fills the masks.
    fn screen<T: Scalar>(&mut self, chunk: &[T], next: &[T], count: usize) {
        self.norms.resize(count, 0.0);
        self.half_squares.resize(count, 0.0);
        self.masks.resize(count * self.panels.vectors(), 0);
        let rows = T::singles(chunk, &mut self.narrow);
        kernel::run(SquaredNorms { rows, dim: self.dim, out: &mut self.norms });
        bound_rows(self.dim, self.cosine, &mut self.norms, &mut self.half_squares);
        kernel::run(Screening {
            rows,
            panels: &self.panels,
            norms: &self.norms,
            half_squares: &self.half_squares,
            masks: &mut self.masks,
            next: next.as_ptr_range().start.cast()..next.as_ptr_range().end.cast(),
        });
    }

    /// Counts the rows that pass, of each query and in all.
    fn count_passed(&mut self, count: usize) -> usize {
        let padding = self.queries.len().next_multiple_of(LANES) - self.queries.len();
        if let Some(last) = self.masks.chunks_mut(count).next_back() {
            last.iter_mut().for_each(|mask| *mask &= u16::MAX >> padding);
        }
        self.passed.fill(0);
        let mut all = 0;
        for (v, masks) in self.masks.chunks(count).enumerate() {
            for mask in masks.iter().filter(|mask| **mask != 0) {
                bits(*mask).for_each(|lane| self.passed[v * LANES + lane] += 1);
                all += mask.count_ones() as usize;
            }
        }
        all
    }
}

/// The bits that are set.
fn bits(mask: u16) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(mask), |mask| Some(mask & mask.wrapping_sub(1)))
        .take_while(|mask| *mask != 0)
        .map(|mask| mask.trailing_zeros() as usize)
}

/// The queries, to be scored exactly against every row.
struct Plain<'a> {
    queries: &'a [PreparedQuery],
    dim: usize,
    /// Of each [`GROUP`] queries, the groups of lanes, if they are of one metric.
    groups: Option<Vec<Option<Vec<[Lanes; GROUP]>>>>,
    tile: Vec<Lanes>,
}

impl Plain<'_> {
    /// Offers every row, and returns how many scores that took. The rows are taken in tiles that stay in cache
    /// while all queries are run against them, and each row is converted for several queries at once.
    fn search<T: Scalar>(&mut self, rows: &[T], numbers: Numbers<'_>, tops: &mut [TopK]) -> usize {
        let (grouped, alone) = self.queries.as_chunks();
        let (grouped_tops, alone_tops) = tops.as_chunks_mut();
        let groups = self.groups.get_or_insert_with(|| grouped.iter().map(interleave).collect());
        let tile_rows = (TILE_BYTES / size_of::<Lanes>() / self.dim.div_ceil(LANES)).clamp(TILE_ROWS, BATCH);
        for (t, rows) in rows.chunks(tile_rows * self.dim).enumerate() {
            let numbers = numbers.skip(t * tile_rows);
            if groups.iter().any(Option::is_some) {
                T::widen(rows, self.dim, &mut self.tile);
            }
            for ((queries, groups), tops) in grouped.iter().zip(groups.iter()).zip(grouped_tops.iter_mut()) {
                match groups {
                    Some(groups) => search_tile(queries, groups, &self.tile, numbers, tops),
                    None => search_each(queries, rows, numbers, tops),
                }
            }
            search_each(alone, rows, numbers, alone_tops);
        }
        rows.len() / self.dim * self.queries.len()
    }
}

fn search_each<T: Scalar>(queries: &[PreparedQuery], rows: &[T], numbers: Numbers<'_>, tops: &mut [TopK]) {
    for (query, top) in queries.iter().zip(tops) {
        T::search(query, rows, numbers, top);
    }
}

/// At most [`BATCH`] padded rows against queries whose groups are interleaved.
fn search_tile(
    queries: &[PreparedQuery; GROUP],
    groups: &[[Lanes; GROUP]],
    rows: &[Lanes],
    numbers: Numbers<'_>,
    tops: &mut [TopK; GROUP],
) {
    let count = rows.len() / groups.len();
    let mut batch = [[0.0; BATCH]; GROUP];
    tile_scores(rows, queries, groups, batch.each_mut().map(|batch| &mut batch[..count]));
    for (top, batch) in tops.iter_mut().zip(&batch) {
        top.push_batch(&batch[..count], |r| numbers.get(r));
    }
}

/// The groups of lanes of several queries, group by group, if they are of one metric, and
/// of one that is computed by [`tile_scores`].
fn interleave(queries: &[PreparedQuery; GROUP]) -> Option<Vec<[Lanes; GROUP]>> {
    let [first, others @ ..] = queries;
    if !first.distance().is_tiled() || others.iter().any(|q| q.distance() != first.distance()) {
        return None;
    }
    Some((0..first.groups().len()).map(|g| queries.each_ref().map(|q| q.groups()[g])).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
