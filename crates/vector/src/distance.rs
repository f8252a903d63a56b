//! Distances of rows to one vector, and of the rows of two columns.

use std::fmt;
use std::marker::PhantomData;

use hyperslab_core::{Error, Result};

use crate::kernel::{self, Lanes, Pairs, Product, ProductAndNorm, Rows, SquaredDifference, Term};
use crate::metric::{cosine, dot, l2};
use crate::scalar::Load;
use crate::{PreparedQuery, Scalar};

/// What can be computed from two vectors; the name is that of the SQL function.
///
/// All are computed and returned in float64. A result that is not a number is always the same NaN, and
/// −0 is returned as 0. See the [crate's documentation](crate) for the definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Distance {
    /// 1 − cosine similarity, 0 to 2.
    CosineDistance,
    /// a·b / (‖a‖ ‖b‖), −1 to 1.
    CosineSimilarity,
    /// ‖a − b‖.
    L2,
    /// ‖a − b‖².
    L2sq,
    /// a·b.
    InnerProduct,
    /// −a·b.
    NegativeInnerProduct,
}

impl Distance {
    /// All of them.
    pub const ALL: [Distance; 6] = [
        Distance::CosineDistance,
        Distance::CosineSimilarity,
        Distance::L2,
        Distance::L2sq,
        Distance::InnerProduct,
        Distance::NegativeInnerProduct,
    ];

    /// The SQL function's name.
    pub const fn name(self) -> &'static str {
        match self {
            Distance::CosineDistance => "cosine_distance",
            Distance::CosineSimilarity => "cosine_similarity",
            Distance::L2 => "l2_distance",
            Distance::L2sq => "l2sq_distance",
            Distance::InnerProduct => "inner_product",
            Distance::NegativeInnerProduct => "negative_inner_product",
        }
    }

    /// The terms that it is a function of.
    fn form(self) -> Form {
        match self {
            Distance::CosineDistance | Distance::CosineSimilarity => Form::ProductAndNorm,
            Distance::L2 | Distance::L2sq => Form::SquaredDifference,
            Distance::InnerProduct | Distance::NegativeInnerProduct => Form::Product,
        }
    }

    /// The value from a sum of terms; `norms` gives both squared norms, `scaled` the similarity of two
    /// vectors whose norms are out of range.
    #[inline(always)]
    fn finish(self, sum: f64, norms: (f64, f64), scaled: impl FnOnce() -> f64) -> f64 {
        let similarity = || match cosine::is_safe(norms.0) && cosine::is_safe(norms.1) {
            true => cosine::similarity(sum, norms.0, norms.1),
            false => scaled(),
        };
        let value = match self {
            Distance::CosineDistance => 1.0 - similarity(),
            Distance::CosineSimilarity => similarity(),
            Distance::L2 => l2::l2(sum),
            Distance::L2sq | Distance::InnerProduct => sum,
            Distance::NegativeInnerProduct => dot::negative(sum),
        };
        // NaN's sign and payload depend on the processor; adding 0 turns −0 into 0.
        if value.is_nan() { f64::NAN } else { value + 0.0 }
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

enum Form {
    Product,
    ProductAndNorm,
    SquaredDifference,
}

/// How many rows are computed at once: their scores and norms stay in the first-level cache.
pub(crate) const BATCH: usize = 128;

/// The scores of at most [`BATCH`] rows for `Q` queries of one distance, whose groups come interleaved.
pub(crate) fn scores<T: Load, const Q: usize>(
    rows: &[T],
    queries: [&PreparedQuery; Q],
    groups: &[[Lanes; Q]],
    scores: &mut [[f64; Q]],
) {
    let Some(distance) = queries.first().map(|q| q.distance()) else { return };
    let dim = queries[0].dim();
    let mut norms = [0.0; BATCH];
    let norms = &mut norms[..scores.len()];
    match distance.form() {
        Form::Product => sums::<T, Product, Q>(rows, dim, groups, scores, norms),
        Form::ProductAndNorm => sums::<T, ProductAndNorm, Q>(rows, dim, groups, scores, norms),
        Form::SquaredDifference => sums::<T, SquaredDifference, Q>(rows, dim, groups, scores, norms),
    }
    for (r, scores) in scores.iter_mut().enumerate() {
        for (score, query) in scores.iter_mut().zip(queries) {
            let scaled = || cosine::scaled_similarity(&widen(&rows[r * dim..][..dim]), query.values());
            *score = distance.finish(*score, (norms[r], query.norm()), scaled);
        }
    }
}

fn sums<T: Load, F: Term, const Q: usize>(
    rows: &[T],
    dim: usize,
    queries: &[[Lanes; Q]],
    sums: &mut [[f64; Q]],
    norms: &mut [f64],
) {
    kernel::run(Rows::<T, F, Q> { rows, dim, queries, sums, norms, term: PhantomData });
}

/// Computes the distance of each row to a vector.
///
/// - `rows`: rows × `dim` elements, row after row;
/// - `query`: the vector and what to compute, from [`PreparedQuery::for_distance`];
/// - `out`: gets one value per row.
///
/// ```
/// use hyperslab_vector::{Distance, PreparedQuery, distances};
/// let query = PreparedQuery::for_distance(Distance::L2, &[0.0, 0.0]);
/// let mut out = [0.0; 2];
/// distances(&[3_i16, 4, 0, 1], 2, &query, &mut out)?;
/// assert_eq!(out, [5.0, 1.0]);
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
///
/// # Errors
/// [`Invalid`](hyperslab_core::ErrorKind::Invalid) if `dim` is not the query's length, or `rows` does not
/// hold `dim` elements for each value of `out`.
pub fn distances<T: Scalar>(rows: &[T], dim: usize, query: &PreparedQuery, out: &mut [f64]) -> Result<()> {
    check_dim(query, dim)?;
    check_len(rows.len(), dim, out.len())?;
    T::distances(rows, query, out);
    Ok(())
}

pub(crate) fn distances_loop<T: Load>(rows: &[T], query: &PreparedQuery, out: &mut [f64]) {
    let groups = query.groups().as_chunks().0;
    for (b, out) in out.chunks_mut(BATCH).enumerate() {
        scores(&rows[b * BATCH * query.dim()..], [query], groups, out.as_chunks_mut().0);
    }
}

/// Computes the distance of each row of `a` to the same row of `b`.
///
/// - `a`, `b`: rows × `dim` elements, row after row; convert by [`to_f64`](crate::to_f64) where the types differ;
/// - `out`: gets one value per row.
///
/// ```
/// use hyperslab_vector::{Distance, pairwise_distances};
/// let mut out = [0.0; 2];
/// pairwise_distances(Distance::InnerProduct, &[1.0, 2.0, 3.0, 4.0], &[1.0, 1.0, 0.0, 2.0], 2, &mut out)?;
/// assert_eq!(out, [3.0, 8.0]);
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
///
/// # Errors
/// [`Invalid`](hyperslab_core::ErrorKind::Invalid) if `a` or `b` does not hold `dim` elements for each
/// value of `out`.
pub fn pairwise_distances<T: Scalar>(distance: Distance, a: &[T], b: &[T], dim: usize, out: &mut [f64]) -> Result<()> {
    check_len(a.len(), dim, out.len())?;
    check_len(b.len(), dim, out.len())?;
    T::pair_distances(distance, a, b, dim, out);
    Ok(())
}

pub(crate) fn pairwise_loop<T: Load>(distance: Distance, a: &[T], b: &[T], dim: usize, out: &mut [f64]) {
    for (batch, out) in out.chunks_mut(BATCH).enumerate() {
        let start = batch * BATCH * dim;
        pair_scores(distance, &a[start..], &b[start..], dim, out);
    }
}

/// Computes the distance of two vectors.
///
/// ```
/// use hyperslab_vector::{Distance, pair_distance};
/// assert_eq!(pair_distance(Distance::CosineSimilarity, &[1_u8, 2], &[1, 2])?, 1.0);
/// assert!(pair_distance(Distance::L2, &[1.0], &[1.0, 2.0]).is_err());
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
///
/// # Errors
/// [`Invalid`](hyperslab_core::ErrorKind::Invalid) if the lengths differ.
pub fn pair_distance<T: Scalar>(distance: Distance, a: &[T], b: &[T]) -> Result<f64> {
    if a.len() != b.len() {
        let message = format!("{distance} needs vectors of the same length, not {} and {} values", a.len(), b.len());
        return Err(Error::invalid(message));
    }
    let mut out = [0.0];
    T::pair_distances(distance, a, b, a.len(), &mut out);
    Ok(out[0])
}

fn pair_scores<T: Load>(distance: Distance, a: &[T], b: &[T], dim: usize, out: &mut [f64]) {
    let mut norms = [(0.0, 0.0); BATCH];
    let norms = &mut norms[..out.len()];
    match distance.form() {
        Form::Product => pair_sums::<T, Product>(a, b, dim, out, norms),
        Form::ProductAndNorm => pair_sums::<T, ProductAndNorm>(a, b, dim, out, norms),
        Form::SquaredDifference => pair_sums::<T, SquaredDifference>(a, b, dim, out, norms),
    }
    for (r, out) in out.iter_mut().enumerate() {
        let row = |values: &[T]| widen(&values[r * dim..][..dim]);
        *out = distance.finish(*out, norms[r], || cosine::scaled_similarity(&row(a), &row(b)));
    }
}

fn pair_sums<T: Load, F: Term>(a: &[T], b: &[T], dim: usize, sums: &mut [f64], norms: &mut [(f64, f64)]) {
    kernel::run(Pairs::<T, F> { a, b, dim, sums, norms, term: PhantomData });
}

fn widen<T: Load>(values: &[T]) -> Vec<f64> {
    values.iter().map(|v| v.to_f64()).collect()
}

/// Checks that the query has a row's length.
pub(crate) fn check_dim(query: &PreparedQuery, dim: usize) -> Result<()> {
    if query.dim() == dim {
        return Ok(());
    }
    let message = format!("the query vector has {} values, but a row has {dim}", query.dim());
    Err(Error::invalid(message))
}

/// Checks that a slice holds so many rows.
pub(crate) fn check_len(len: usize, dim: usize, rows: usize) -> Result<()> {
    if rows.checked_mul(dim) == Some(len) {
        return Ok(());
    }
    Err(Error::invalid(format!("{rows} rows of {dim} values were expected, but there are {len} values")))
}
