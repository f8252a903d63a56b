//! Distances of rows to one vector, and of the rows of two columns.

use std::fmt;
use std::marker::PhantomData;

use hyperslab_core::{DType, Error, Result};

use crate::kernel::{
    self, AbsoluteDifference, BitCounts, Divergences, GROUP, Isa, LANES, Lanes, Overlap, Pairs, Pass, Product,
    ProductAndNorm, Rows, SquaredDifference, Term, Tile, Unequal,
};
use crate::metric::{cosine, divergence, dot, jaccard, l2};
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
    /// Σ|aᵢ − bᵢ|.
    L1,
    /// How many bits (uint8, bool) or elements (other dtypes) differ.
    Hamming,
    /// 1 − Jaccard similarity, 0 to 1.
    JaccardDistance,
    /// Σ min(aᵢ, bᵢ) / Σ max(aᵢ, bᵢ), of bits for uint8 and bool, 0 to 1.
    JaccardSimilarity,
    /// The Kullback–Leibler divergence of a from b, as distributions. The only one that is not symmetric.
    KlDivergence,
    /// The Jensen–Shannon distance, as distributions.
    JsDistance,
}

impl Distance {
    /// All of them.
    pub const ALL: [Distance; 12] = [
        Distance::CosineDistance,
        Distance::CosineSimilarity,
        Distance::L2,
        Distance::L2sq,
        Distance::InnerProduct,
        Distance::NegativeInnerProduct,
        Distance::L1,
        Distance::Hamming,
        Distance::JaccardDistance,
        Distance::JaccardSimilarity,
        Distance::KlDivergence,
        Distance::JsDistance,
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
            Distance::L1 => "l1_distance",
            Distance::Hamming => "hamming_distance",
            Distance::JaccardDistance => "jaccard_distance",
            Distance::JaccardSimilarity => "jaccard_similarity",
            Distance::KlDivergence => "kl_divergence",
            Distance::JsDistance => "js_distance",
        }
    }

    /// Whether it is the same with both vectors exchanged.
    pub const fn is_symmetric(self) -> bool {
        !matches!(self, Distance::KlDivergence)
    }

    /// Whether it compares the bits of uint8 and bool, rather than their values.
    pub const fn compares_bits(self) -> bool {
        matches!(self, Distance::Hamming | Distance::JaccardDistance | Distance::JaccardSimilarity)
    }

    /// Whether it is computed between distributions.
    pub(crate) const fn is_divergence(self) -> bool {
        matches!(self, Distance::KlDivergence | Distance::JsDistance)
    }

    /// Checks that it can be computed from vectors of a dtype; see the table in the [crate's documentation](crate).
    ///
    /// ```
    /// use hyperslab_core::DType;
    /// use hyperslab_vector::Distance;
    /// assert!(Distance::L2.check_dtype(DType::Bfloat16).is_ok());
    /// assert!(Distance::JsDistance.check_dtype(DType::Bool).is_err());
    /// ```
    ///
    /// # Errors
    /// [`Invalid`](hyperslab_core::ErrorKind::Invalid) if not, with what would do.
    pub fn check_dtype(self, dtype: DType) -> Result<()> {
        use DType::*;
        match dtype {
            Bool if self.is_divergence() => Err(Error::invalid(format!(
                "{self} is not defined for bool, whose vectors are no distributions: use hamming or jaccard, or another \
                 dtype"
            ))),
            Bool | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Float16 | Bfloat16 | Float32
            | Float64 => Ok(()),
            other => Err(Error::invalid(format!(
                "{self} is not defined for {other}: vectors are of bool, integers or real floating-point numbers"
            ))),
        }
    }

    /// Whether it is computed for several queries at once.
    pub(crate) fn is_tiled(self) -> bool {
        use Form::*;
        matches!(self.form(), Product | ProductAndNorm | SquaredDifference | AbsoluteDifference)
    }

    /// The terms that it is a function of.
    fn form(self) -> Form {
        match self {
            Distance::CosineDistance | Distance::CosineSimilarity => Form::ProductAndNorm,
            Distance::L2 | Distance::L2sq => Form::SquaredDifference,
            Distance::InnerProduct | Distance::NegativeInnerProduct => Form::Product,
            Distance::L1 => Form::AbsoluteDifference,
            Distance::Hamming => Form::Unequal,
            Distance::JaccardDistance | Distance::JaccardSimilarity => Form::Overlap,
            Distance::KlDivergence => Form::Divergence,
            Distance::JsDistance => Form::DivergenceFromMean,
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
    AbsoluteDifference,
    Unequal,
    Overlap,
    Divergence,
    DivergenceFromMean,
}

/// How many rows are computed at once at most: their scores and norms stay in the first-level cache.
pub(crate) const BATCH: usize = 128;

/// The bytes of rows that are computed at once, if they are at least [`FEWEST`]: while scores are made of their sums,
/// no memory is read, so that these breaks must be short.
const BATCH_BYTES: usize = 16 << 10;

/// The fewest rows that are computed at once, for a batch costs something by itself.
const FEWEST: usize = 16;

/// How many rows of a length are best computed at once.
pub(crate) fn batch_rows<T>(dim: usize) -> usize {
    (BATCH_BYTES / (dim * size_of::<T>()).max(1)).clamp(FEWEST, BATCH)
}

/// Room for what belongs to the scores of a batch, to be used again.
pub(crate) struct Room {
    seconds: [f64; BATCH],
    query_norms: [f64; BATCH],
}

impl Room {
    pub(crate) fn new(query: &PreparedQuery) -> Self {
        Self { seconds: [0.0; BATCH], query_norms: [query.norm(); BATCH] }
    }
}

/// The scores of at most [`BATCH`] rows, in room of the query's.
pub(crate) fn scores<T: Load>(rows: &[T], query: &PreparedQuery, room: &mut Room, scores: &mut [f64]) {
    let count = scores.len();
    scores_in(rows, query, &mut room.seconds[..count], &room.query_norms[..count], scores);
}

/// The score of one row.
pub(crate) fn score<T: Load>(row: &[T], query: &PreparedQuery) -> f64 {
    let mut score = [0.0];
    scores_in(row, query, &mut [0.0], &[query.norm()], &mut score);
    score[0]
}

fn scores_in<T: Load>(rows: &[T], query: &PreparedQuery, seconds: &mut [f64], query_norms: &[f64], scores: &mut [f64]) {
    let dim = query.dim();
    match query.distance().form() {
        Form::Unequal | Form::Overlap if T::BITS => bit_sums(rows, query, scores, seconds),
        Form::Product => row_sums::<T, Product>(rows, query, scores, seconds),
        Form::ProductAndNorm => row_sums::<T, ProductAndNorm>(rows, query, scores, seconds),
        Form::SquaredDifference => row_sums::<T, SquaredDifference>(rows, query, scores, seconds),
        Form::AbsoluteDifference => row_sums::<T, AbsoluteDifference>(rows, query, scores, seconds),
        Form::Unequal => row_sums::<T, Unequal>(rows, query, scores, seconds),
        Form::Overlap => row_sums::<T, Overlap>(rows, query, scores, seconds),
        Form::Divergence => divergences(rows, query, false, scores),
        Form::DivergenceFromMean => divergences(rows, query, true, scores),
    }
    let scaled = |r: usize| {
        let row: Vec<f64> = rows[r * dim..][..dim].iter().map(|v| v.to_f64()).collect();
        cosine::scaled_similarity(&row, query.values())
    };
    finish(query.distance(), scores, [seconds, query_norms], &scaled);
}

fn row_sums<T: Load, F: Term>(rows: &[T], query: &PreparedQuery, sums: &mut [f64], seconds: &mut [f64]) {
    let (dim, groups) = (query.dim(), query.groups());
    kernel::run(Rows::<T, F> { rows, dim, query: groups, sums, seconds, exact: query.is_narrow(), term: PhantomData });
}

/// As the sums of [`Unequal`] and [`Overlap`], of bits.
fn bit_sums<T: Load>(rows: &[T], query: &PreparedQuery, sums: &mut [f64], seconds: &mut [f64]) {
    let (query, of) = (query.bytes(), query.distance());
    if of == Distance::Hamming {
        return kernel::run(BitCounts::<T, false> { rows, query, unequal: sums, both: seconds });
    }
    kernel::run(BitCounts::<T, true> { rows, query, unequal: sums, both: seconds });
    for (sum, second) in sums.iter_mut().zip(seconds) {
        (*sum, *second) = (*second, *sum + *second);
    }
}

fn divergences<T: Load>(rows: &[T], query: &PreparedQuery, from_mean: bool, sums: &mut [f64]) {
    let (dim, query) = (query.dim(), query.groups());
    kernel::run(Divergences { rows, dim, query, from_mean, sums, element: PhantomData });
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
    let (mut seconds, mut query_norms) = ([0.0; BATCH], [0.0; BATCH]);
    let (seconds, query_norms) = (&mut seconds[..count], &mut query_norms[..count]);
    let sums = scores.each_mut().map(|scores| &mut **scores);
    match distance.form() {
        Form::Product => tile_sums::<Product>(rows, groups, sums, seconds),
        Form::ProductAndNorm => tile_sums::<ProductAndNorm>(rows, groups, sums, seconds),
        Form::SquaredDifference => tile_sums::<SquaredDifference>(rows, groups, sums, seconds),
        Form::AbsoluteDifference => tile_sums::<AbsoluteDifference>(rows, groups, sums, seconds),
        Form::Unequal | Form::Overlap | Form::Divergence | Form::DivergenceFromMean => {
            debug_assert!(distance.is_tiled(), "{distance}");
        }
    }
    for (scores, query) in scores.into_iter().zip(queries) {
        query_norms.fill(query.norm());
        let row = |r: usize| rows[r * groups.len()..][..groups.len()].as_flattened();
        let scaled = |r: usize| cosine::scaled_similarity(row(r), query.groups().as_flattened());
        finish(distance, scores, [seconds, query_norms], &scaled);
    }
}

fn tile_sums<F: Term>(rows: &[Lanes], queries: &[[Lanes; GROUP]], sums: [&mut [f64]; GROUP], seconds: &mut [f64]) {
    kernel::run(Tile::<F> { rows, queries, sums, seconds, term: PhantomData });
}

/// Turns sums of terms into values; `seconds` holds the second sums of each pair, which for the cosine are the squared
/// norms of both vectors, and `scaled` gives the similarity of a pair whose norms are out of range.
fn finish(distance: Distance, values: &mut [f64], seconds: [&[f64]; 2], scaled: &dyn Fn(usize) -> f64) {
    kernel::run(Finish { distance, values, seconds, scaled });
}

struct Finish<'a> {
    distance: Distance,
    values: &'a mut [f64],
    seconds: [&'a [f64]; 2],
    scaled: &'a dyn Fn(usize) -> f64,
}

impl Pass for Finish<'_> {
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { distance, values, seconds, scaled } = self;
        let unions = || seconds[0].iter().copied();
        match distance {
            Distance::CosineDistance => {
                similarities(values, seconds, scaled);
                values.iter_mut().for_each(|v| *v = 1.0 - *v);
            }
            Distance::CosineSimilarity => similarities(values, seconds, scaled),
            Distance::L2 => values.iter_mut().for_each(|v| *v = l2::l2(*v)),
            Distance::L2sq | Distance::InnerProduct | Distance::L1 | Distance::Hamming => {}
            Distance::JaccardDistance => {
                values.iter_mut().zip(unions()).for_each(|(v, union)| *v = 1.0 - jaccard::similarity(*v, union));
            }
            Distance::JaccardSimilarity => {
                values.iter_mut().zip(unions()).for_each(|(v, union)| *v = jaccard::similarity(*v, union));
            }
            Distance::KlDivergence => values.iter_mut().for_each(|v| *v = divergence::kullback_leibler(*v)),
            Distance::JsDistance => values.iter_mut().for_each(|v| *v = divergence::jensen_shannon(*v)),
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
/// [`Invalid`](hyperslab_core::ErrorKind::Invalid) if `dim` is not the query's length, `rows` does not hold `dim`
/// elements for each value of `out`, or the dtype does not have the distance.
pub fn distances<T: Scalar>(rows: &[T], dim: usize, query: &PreparedQuery, out: &mut [f64]) -> Result<()> {
    check_query::<T>(query, dim)?;
    check_len(rows.len(), dim, out.len())?;
    T::distances(rows, query, out);
    Ok(())
}

pub(crate) fn distances_loop<T: Load>(rows: &[T], query: &PreparedQuery, out: &mut [f64]) {
    let mut room = Room::new(query);
    let count = batch_rows::<T>(query.dim());
    for (b, out) in out.chunks_mut(count).enumerate() {
        scores(&rows[b * count * query.dim()..], query, &mut room, out);
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
    distance.check_dtype(T::DTYPE)?;
    check_len(a.len(), dim, out.len())?;
    check_len(b.len(), dim, out.len())?;
    T::pairwise(distance, a, b, dim, out);
    Ok(())
}

pub(crate) fn pairwise_loop<T: Scalar + Load>(distance: Distance, a: &[T], b: &[T], dim: usize, out: &mut [f64]) {
    let by_query = distance.is_divergence() || (T::BITS && distance.compares_bits());
    if by_query {
        // What is computed of the second vector, once for all rows of a search, is the larger part of the work.
        for (r, out) in out.iter_mut().enumerate() {
            let row = r * dim..(r + 1) * dim;
            let query = PreparedQuery::for_distance(distance, &crate::to_f64(&b[row.clone()]));
            scores(&a[row], &query, &mut Room::new(&query), std::slice::from_mut(out));
        }
        return;
    }
    let groups = dim.div_ceil(LANES);
    let (mut wide_a, mut wide_b) = (Vec::new(), Vec::new());
    for (batch, out) in out.chunks_mut(BATCH).enumerate() {
        let at = batch * BATCH * dim..(batch * BATCH + out.len()) * dim;
        T::widen(&a[at.clone()], dim, &mut wide_a);
        T::widen(&b[at], dim, &mut wide_b);
        pair_scores(distance, [&wide_a, &wide_b], groups, out);
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
    pairwise_distances(distance, a, b, a.len(), &mut out)?;
    Ok(out[0])
}

/// The distances of at most [`BATCH`] pairs of padded rows.
fn pair_scores(distance: Distance, rows: [&[Lanes]; 2], groups: usize, out: &mut [f64]) {
    let (mut seconds_a, mut seconds_b) = ([0.0; BATCH], [0.0; BATCH]);
    let (seconds_a, seconds_b) = (&mut seconds_a[..out.len()], &mut seconds_b[..out.len()]);
    let seconds: [&mut [f64]; 2] = [seconds_a, seconds_b];
    match distance.form() {
        Form::Product => pair_sums::<Product>(rows, groups, out, seconds),
        Form::ProductAndNorm => pair_sums::<ProductAndNorm>(rows, groups, out, seconds),
        Form::SquaredDifference => pair_sums::<SquaredDifference>(rows, groups, out, seconds),
        Form::AbsoluteDifference => pair_sums::<AbsoluteDifference>(rows, groups, out, seconds),
        Form::Unequal => pair_sums::<Unequal>(rows, groups, out, seconds),
        Form::Overlap => pair_sums::<Overlap>(rows, groups, out, seconds),
        Form::Divergence | Form::DivergenceFromMean => debug_assert!(false, "{distance} is computed by query"),
    }
    let row = |rows: &'_ [Lanes], r: usize| rows[r * groups..][..groups].as_flattened().to_vec();
    let scaled = |r: usize| cosine::scaled_similarity(&row(rows[0], r), &row(rows[1], r));
    finish(distance, out, [seconds_a, seconds_b], &scaled);
}

fn pair_sums<F: Term>([a, b]: [&[Lanes]; 2], groups: usize, sums: &mut [f64], seconds: [&mut [f64]; 2]) {
    kernel::run(Pairs::<F> { a, b, groups, sums, seconds, term: PhantomData });
}

/// Checks that the query has a row's length.
pub(crate) fn check_dim(query: &PreparedQuery, dim: usize) -> Result<()> {
    if query.dim() == dim {
        return Ok(());
    }
    let message = format!("the query vector has {} values, but a row has {dim}", query.dim());
    Err(Error::invalid(message))
}

/// Checks that the query has a row's length, and that the rows' dtype has the distance.
pub(crate) fn check_query<T: Scalar>(query: &PreparedQuery, dim: usize) -> Result<()> {
    let distance = query.distance();
    distance.check_dtype(T::DTYPE)?;
    check_dim(query, dim)?;
    let Some(largest) = T::LARGEST_BITS.filter(|_| distance.compares_bits()) else { return Ok(()) };
    let fits = |v: f64| v >= 0.0 && v <= f64::from(largest) && v.fract() == 0.0;
    match query.values().iter().position(|v| !fits(*v)) {
        None => Ok(()),
        Some(at) => Err(Error::invalid(format!(
            "{distance} compares the bits of {}: the query vector must hold integers from 0 to {largest}, not {} at \
             position {at}",
            T::DTYPE,
            query.values()[at],
        ))),
    }
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
