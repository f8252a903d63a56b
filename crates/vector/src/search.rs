//! Exact search: scores and their k best in one pass over the rows.

use hyperslab_core::{Error, Result};

use crate::distance::{BATCH, Room, batch_rows, check_query, scores};
use crate::scalar::{Load, Numbers};
use crate::{Hit, Metric, PreparedQuery, Scalar, TopK};

mod batch;
mod screened;

pub use batch::{SearchStats, search_blocks, search_blocks_indexed};
use screened::Screened;

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
    T::search(query, rows, Numbers::From(first_row), top);
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
    check_numbers(rows.len() / dim, row_ids)?;
    T::search(query, rows, Numbers::Each(row_ids), top);
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
        T::search(&query, rows, Numbers::From((p * part) as u64), &mut top);
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

/// The one loop: scores of a batch, or of those of its rows that may matter, then the heap. Returns how many scores that
/// took.
#[inline(always)]
pub(crate) fn search_loop<T: Load>(query: &PreparedQuery, rows: &[T], numbers: Numbers<'_>, top: &mut TopK) -> usize {
    let (mut batch, mut room) = ([0.0; BATCH], Room::new(query));
    let mut screened = Screened::new::<T>(query, rows.len() / query.dim());
    let (count, mut scored) = (batch_rows::<T>(query.dim()), 0);
    for (b, rows) in rows.chunks(count * query.dim()).enumerate() {
        let numbers = numbers.skip(b * count);
        if let Some(few) = screened.as_mut().and_then(|s| s.search(query, rows, numbers, top)) {
            scored += few;
            continue;
        }
        let batch = &mut batch[..rows.len() / query.dim()];
        scores(rows, query, &mut room, batch);
        top.push_batch(batch, |r| numbers.get(r));
        scored += batch.len();
    }
    scored
}

fn check_numbers(rows: usize, row_ids: &[u64]) -> Result<()> {
    if rows == row_ids.len() {
        return Ok(());
    }
    Err(Error::invalid(format!("there are {rows} rows, but {} row numbers", row_ids.len())))
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
