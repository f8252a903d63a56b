//! Distances of rows to one vector, and of the rows of two columns.

use std::fmt;
use std::marker::PhantomData;

use hyperslab_core::{Error, Result};

use crate::kernel::{
    self, GROUP, Isa, LANES, Lanes, Pairs, Pass, Product, ProductAndNorm, Rows, SquaredDifference, Term, Tile,
};
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

/// The scores of at most [`BATCH`] rows.
pub(crate) fn scores<T: Load>(rows: &[T], query: &PreparedQuery, scores: &mut [f64]) {
    let (dim, count) = (query.dim(), scores.len());
    let (mut norms, mut query_norms) = ([0.0; BATCH], [0.0; BATCH]);
    let (norms, query_norms) = (&mut norms[..count], &mut query_norms[..count]);
    match query.distance().form() {
        Form::Product => row_sums::<T, Product>(rows, query, scores, norms),
        Form::ProductAndNorm => row_sums::<T, ProductAndNorm>(rows, query, scores, norms),
        Form::SquaredDifference => row_sums::<T, SquaredDifference>(rows, query, scores, norms),
    }
    query_norms.fill(query.norm());
    let scaled = |r: usize| {
        let row: Vec<f64> = rows[r * dim..][..dim].iter().map(|v| v.to_f64()).collect();
        cosine::scaled_similarity(&row, query.values())
    };
    finish(query.distance(), scores, [norms, query_norms], &scaled);
}

fn row_sums<T: Load, F: Term>(rows: &[T], query: &PreparedQuery, sums: &mut [f64], norms: &mut [f64]) {
    let (dim, query) = (query.dim(), query.groups());
    kernel::run(Rows::<T, F> { rows, dim, query, sums, norms, term: PhantomData });
}

/// The scores of at most [`BATCH`] padded rows for several queries of one distance and length, whose groups
/// come interleaved.
pub(crate) fn tile_scores(
    rows: &[Lanes],
    queries: &[PreparedQuery; GROUP],
    groups: &[[Lanes; GROUP]],
    mut scores: [&mut [f64]; GROUP],
) {
    let (distance, count) = (queries[0].distance(), scores[0].len());
    let (mut norms, mut query_norms) = ([0.0; BATCH], [0.0; BATCH]);
    let (norms, query_norms) = (&mut norms[..count], &mut query_norms[..count]);
    let sums = scores.each_mut().map(|scores| &mut **scores);
    match distance.form() {
        Form::Product => tile_sums::<Product>(rows, groups, sums, norms),
        Form::ProductAndNorm => tile_sums::<ProductAndNorm>(rows, groups, sums, norms),
        Form::SquaredDifference => tile_sums::<SquaredDifference>(rows, groups, sums, norms),
    }
    for (scores, query) in scores.into_iter().zip(queries) {
        query_norms.fill(query.norm());
        let row = |r: usize| rows[r * groups.len()..][..groups.len()].as_flattened();
        let scaled = |r: usize| cosine::scaled_similarity(row(r), query.groups().as_flattened());
        finish(distance, scores, [norms, query_norms], &scaled);
    }
}

fn tile_sums<F: Term>(rows: &[Lanes], queries: &[[Lanes; GROUP]], sums: [&mut [f64]; GROUP], norms: &mut [f64]) {
    kernel::run(Tile::<F> { rows, queries, sums, norms, term: PhantomData });
}

/// Turns sums of terms into values; `norms` holds the squared norms of both vectors of each pair, and
/// `scaled` gives the similarity of a pair whose norms are out of range.
fn finish(distance: Distance, values: &mut [f64], norms: [&[f64]; 2], scaled: &dyn Fn(usize) -> f64) {
    kernel::run(Finish { distance, values, norms, scaled });
}

struct Finish<'a> {
    distance: Distance,
    values: &'a mut [f64],
    norms: [&'a [f64]; 2],
    scaled: &'a dyn Fn(usize) -> f64,
}

impl Pass for Finish<'_> {
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { distance, values, norms, scaled } = self;
        match distance {
            Distance::CosineDistance => {
                similarities(values, norms, scaled);
                values.iter_mut().for_each(|v| *v = 1.0 - *v);
            }
            Distance::CosineSimilarity => similarities(values, norms, scaled),
            Distance::L2 => values.iter_mut().for_each(|v| *v = l2::l2(*v)),
            Distance::L2sq | Distance::InnerProduct => {}
            Distance::NegativeInnerProduct => values.iter_mut().for_each(|v| *v = dot::negative(*v)),
        }
        // NaN's sign and payload depend on the processor; adding 0 turns −0 into 0.
        values.iter_mut().for_each(|v| *v = if v.is_nan() { f64::NAN } else { *v + 0.0 });
    }
}

#[inline(always)]
fn similarities(values: &mut [f64], norms: [&[f64]; 2], scaled: &dyn Fn(usize) -> f64) {
    let mut all_safe = true;
    for ((value, a), b) in values.iter_mut().zip(norms[0]).zip(norms[1]) {
        *value = cosine::similarity(*value, *a, *b);
        all_safe &= cosine::is_safe(*a) & cosine::is_safe(*b);
    }
    if all_safe {
        return;
    }
    for (r, ((value, a), b)) in values.iter_mut().zip(norms[0]).zip(norms[1]).enumerate() {
        if !(cosine::is_safe(*a) && cosine::is_safe(*b)) {
            *value = scaled(r);
        }
    }
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
    for (b, out) in out.chunks_mut(BATCH).enumerate() {
        scores(&rows[b * BATCH * query.dim()..], query, out);
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
    let groups = dim.div_ceil(LANES);
    let (mut wide_a, mut wide_b) = (Vec::new(), Vec::new());
    for (batch, out) in out.chunks_mut(BATCH).enumerate() {
        let at = batch * BATCH * dim..(batch * BATCH + out.len()) * dim;
        T::widen(&a[at.clone()], dim, &mut wide_a);
        T::widen(&b[at], dim, &mut wide_b);
        pair_scores(distance, [&wide_a, &wide_b], groups, out);
    }
    Ok(())
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
    let (mut wide_a, mut wide_b, mut out) = (Vec::new(), Vec::new(), [0.0]);
    T::widen(a, a.len(), &mut wide_a);
    T::widen(b, b.len(), &mut wide_b);
    pair_scores(distance, [&wide_a, &wide_b], wide_a.len(), &mut out);
    Ok(out[0])
}

/// The distances of at most [`BATCH`] pairs of padded rows.
fn pair_scores(distance: Distance, rows: [&[Lanes]; 2], groups: usize, out: &mut [f64]) {
    let (mut norms_a, mut norms_b) = ([0.0; BATCH], [0.0; BATCH]);
    let (norms_a, norms_b) = (&mut norms_a[..out.len()], &mut norms_b[..out.len()]);
    let norms: [&mut [f64]; 2] = [norms_a, norms_b];
    match distance.form() {
        Form::Product => pair_sums::<Product>(rows, groups, out, norms),
        Form::ProductAndNorm => pair_sums::<ProductAndNorm>(rows, groups, out, norms),
        Form::SquaredDifference => pair_sums::<SquaredDifference>(rows, groups, out, norms),
    }
    let row = |rows: &'_ [Lanes], r: usize| rows[r * groups..][..groups].as_flattened().to_vec();
    let scaled = |r: usize| cosine::scaled_similarity(&row(rows[0], r), &row(rows[1], r));
    finish(distance, out, [norms_a, norms_b], &scaled);
}

fn pair_sums<F: Term>([a, b]: [&[Lanes]; 2], groups: usize, sums: &mut [f64], norms: [&mut [f64]; 2]) {
    kernel::run(Pairs::<F> { a, b, groups, sums, norms, term: PhantomData });
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
