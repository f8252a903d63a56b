//! Exact search: scores and their k best in one pass over the rows.

use hyperslab_core::{Error, Result};

use crate::distance::{BATCH, check_query, scores, tile_scores};
use crate::kernel::{GROUP, LANES, Lanes};
use crate::scalar::Load;
use crate::{Hit, Metric, PreparedQuery, Scalar, TopK};

/// The bytes of a tile of converted rows, against which all queries are run: two thirds of a first-level
/// cache of 48 KiB.
const TILE_BYTES: usize = 32 << 10;

/// The fewest rows of a tile, whatever their length: a query is read once per tile.
const TILE_ROWS: usize = 8;

/// More threads than this are not started, whatever is asked for.
const MAX_THREADS: usize = 256;

/// Offers every row of a block to `top`, with its score for `query`.
///
/// - `rows`: rows × `dim` elements, row after row;
/// - `first_row`: the number of the first row;
/// - `top`: of the query's metric.
///
/// ```
/// use hyperslab_vector::{Metric, PreparedQuery, TopK, search_block};
/// let query = PreparedQuery::new(Metric::Dot, &[1.0, 1.0])?;
/// let mut top = TopK::new(1, Metric::Dot);
/// search_block(&query, &[1_f32, 2.0, 3.0, 4.0], 2, 100, &mut top)?;
/// search_block(&query, &[0_f32, 1.0], 2, 102, &mut top)?;
/// let hits = top.into_sorted();
/// assert_eq!((hits[0].row, hits[0].score), (101, 7.0));
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
///
/// # Errors
/// [`Invalid`](hyperslab_core::ErrorKind::Invalid) if `dim` is 0 or not the query's length, `rows` is not a
/// multiple of it, `top` is of another metric, or the rows' dtype does not have the metric.
pub fn search_block<T: Scalar>(
    query: &PreparedQuery,
    rows: &[T],
    dim: usize,
    first_row: u64,
    top: &mut TopK,
) -> Result<()> {
    check(query, rows, dim, top)?;
    T::search(query, rows, first_row, top);
    Ok(())
}

/// Offers rows whose numbers are given: `row_ids[i]` is the number of the i-th row of `rows`. Otherwise as
/// [`search_block`].
///
/// # Errors
/// As [`search_block`], and if there are not as many numbers as rows.
pub fn search_indexed<T: Scalar>(
    query: &PreparedQuery,
    rows: &[T],
    dim: usize,
    row_ids: &[u64],
    top: &mut TopK,
) -> Result<()> {
    check(query, rows, dim, top)?;
    if rows.len() / dim != row_ids.len() {
        let message = format!("there are {} rows, but {} row numbers", rows.len() / dim, row_ids.len());
        return Err(Error::invalid(message));
    }
    T::search_indexed(query, rows, row_ids, top);
    Ok(())
}

/// Offers every row of a block to the `TopK` of each of several queries.
///
/// The scores are those of [`search_block`], bit for bit. The rows are taken in tiles that stay in cache
/// while all queries are run against them, and each row is converted for several queries at once; so many
/// queries cost less than as many searches.
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
/// As [`search_block`], and if there are not as many `tops` as queries.
pub fn search_blocks<T: Scalar>(
    queries: &[PreparedQuery],
    rows: &[T],
    dim: usize,
    first_row: u64,
    tops: &mut [TopK],
) -> Result<()> {
    if queries.len() != tops.len() {
        let message = format!("there are {} queries, but {} results to fill", queries.len(), tops.len());
        return Err(Error::invalid(message));
    }
    for (query, top) in queries.iter().zip(tops.iter()) {
        check(query, rows, dim, top)?;
    }
    let (grouped, alone) = queries.as_chunks();
    let (grouped_tops, alone_tops) = tops.as_chunks_mut();
    let groups: Vec<_> = grouped.iter().map(interleave).collect();
    let mut tile = Vec::new();
    let tile_rows = (TILE_BYTES / size_of::<Lanes>() / dim.div_ceil(LANES)).clamp(TILE_ROWS, BATCH);
    for (t, rows) in rows.chunks(tile_rows * dim).enumerate() {
        let first_row = first_row + (t * tile_rows) as u64;
        if groups.iter().any(Option::is_some) {
            T::widen(rows, dim, &mut tile);
        }
        for ((queries, groups), tops) in grouped.iter().zip(&groups).zip(grouped_tops.iter_mut()) {
            match groups {
                Some(groups) => search_tile(queries, groups, &tile, first_row, tops),
                None => search_each(queries, rows, first_row, tops),
            }
        }
        search_each(alone, rows, first_row, alone_tops);
    }
    Ok(())
}

/// The k best rows of a slice, computed by `threads` threads (0: as many as there are processors).
///
/// - `rows`: rows × `dim` elements, row after row, numbered from 0;
/// - `k`: more than there are rows gives all of them.
///
/// The order is that of [`TopK`]; it does not depend on the number of threads.
///
/// ```
/// use hyperslab_vector::{Metric, top_k};
/// let rows = [1.0_f32, 0.0, 0.0, 1.0, 1.0, 1.0];
/// let hits = top_k(&rows, 2, &[0.0, 2.0], 2, Metric::Cosine, 1)?;
/// assert_eq!((hits[0].row, hits[0].score), (1, 0.0));
/// assert_eq!(hits[1].row, 2);
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
///
/// # Errors
/// [`Invalid`](hyperslab_core::ErrorKind::Invalid) if `k` or `dim` is 0, the query is not `dim` values long
/// or holds a NaN or an infinity, or `rows` is not a multiple of `dim`.
pub fn top_k<T: Scalar>(
    rows: &[T],
    dim: usize,
    query: &[f64],
    k: usize,
    metric: Metric,
    threads: usize,
) -> Result<Vec<Hit>> {
    if k == 0 {
        return Err(Error::invalid("k must be at least 1, not 0"));
    }
    let query = PreparedQuery::new(metric, query)?;
    let mut top = TopK::new(k, metric);
    check(&query, rows, dim, &top)?;
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n.min(MAX_THREADS),
    };
    let part = (rows.len() / dim).div_ceil(threads).max(BATCH);
    let search_part = |(p, rows): (usize, &[T])| {
        let mut top = TopK::new(k, metric);
        T::search(&query, rows, (p * part) as u64, &mut top);
        top
    };
    let search_part = &search_part;
    let mut parts = rows.chunks(part * dim).enumerate();
    let first = parts.next();
    std::thread::scope(|scope| {
        let others: Vec<_> = parts.map(|p| scope.spawn(move || search_part(p))).collect();
        first.into_iter().for_each(|p| top.merge(search_part(p)));
        for other in others {
            match other.join() {
                Ok(part) => top.merge(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    Ok(top.into_sorted())
}

/// The one loop: scores of a batch, then the heap.
#[inline(always)]
pub(crate) fn search_loop<T: Load>(query: &PreparedQuery, rows: &[T], top: &mut TopK, row_id: impl Fn(usize) -> u64) {
    let mut batch = [0.0; BATCH];
    for (b, rows) in rows.chunks(BATCH * query.dim()).enumerate() {
        let batch = &mut batch[..rows.len() / query.dim()];
        scores(rows, query, batch);
        top.push_batch(batch, |r| row_id(b * BATCH + r));
    }
}

fn search_each<T: Scalar>(queries: &[PreparedQuery], rows: &[T], first_row: u64, tops: &mut [TopK]) {
    for (query, top) in queries.iter().zip(tops) {
        T::search(query, rows, first_row, top);
    }
}

/// At most [`BATCH`] padded rows against queries whose groups are interleaved.
fn search_tile(
    queries: &[PreparedQuery; GROUP],
    groups: &[[Lanes; GROUP]],
    rows: &[Lanes],
    first_row: u64,
    tops: &mut [TopK; GROUP],
) {
    let count = rows.len() / groups.len();
    let mut batch = [[0.0; BATCH]; GROUP];
    tile_scores(rows, queries, groups, batch.each_mut().map(|batch| &mut batch[..count]));
    for (top, batch) in tops.iter_mut().zip(&batch) {
        top.push_batch(&batch[..count], |r| first_row + r as u64);
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

fn check<T: Scalar>(query: &PreparedQuery, rows: &[T], dim: usize, top: &TopK) -> Result<()> {
    if dim == 0 {
        return Err(Error::invalid("rows of no values cannot be ranked: dim is 0"));
    }
    check_query::<T>(query, dim)?;
    let len = rows.len();
    if !len.is_multiple_of(dim) {
        return Err(Error::invalid(format!("{len} values are no whole number of rows of {dim}")));
    }
    if query.distance() != top.metric().distance() {
        let message =
            format!("the query is prepared for {}, but the rows are ranked by {}", query.distance(), top.metric());
        return Err(Error::invalid(message));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
