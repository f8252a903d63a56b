//! Sketches: a small code per row with a true bound on its error, so that a search reads the codes of all
//! rows but the full vectors of only a few, and still returns what [`top_k`](crate::top_k) returns, bit for bit.
//!
//! ```
//! use hyperslab_vector::{Metric, Sketch, SketchSpec, top_k};
//! let rows: Vec<f32> = (0..4000).map(|i| (i as f32 * 0.7).sin()).collect();
//! let query = [0.5, -0.25, 0.125, 1.0];
//! let sketch = Sketch::encode(SketchSpec::new(8, 4)?, &rows)?;
//! let (hits, counts) = sketch.top_k(&rows, &query, 3, Metric::Cosine, 1)?;
//! assert_eq!(hits, top_k(&rows, 4, &query, 3, Metric::Cosine, 1)?);
//! assert!(counts.reranked < counts.scanned / 4);
//! # Ok::<(), hyperslab_core::Error>(())
//! ```
//!
//! Rows that come block by block, from a store, are searched in four steps: [`SketchQuery::new`],
//! [`SketchQuery::scan`] of each block of codes into [`Candidates`] (one per thread, from
//! [`Candidates::fork`]), [`Candidates::merge`], and [`Candidates::rerank`], which asks for the exact scores of
//! the rows that are left.
//!
//! # Definition
//!
//! Let *a* be a row in float64. Its code is *c*, integers of −*m* to *m* (*m* is 127 with 8 bits and 7 with 4):
//! *a* · *m* / max |aᵢ|, each rounded to the nearest integer, ties to even. Its scale is the float32 *s* nearest
//! to *a*·*c* / *c*·*c*, which makes *â* = *s c* the best approximation of *a* along *c* and what is left out,
//! *e* = *a* − *â*, orthogonal to it.
//!
//! # Layout
//!
//! Two plain matrices, row by row, which can be stored as `.npy` files:
//!
//! - *codes*, uint8, rows × [`SketchSpec::code_bytes`]. With 8 bits byte *i* is cᵢ + 128. With 4 bits a row has
//!   *w* = ⌈dim / 2⌉ bytes, and byte *i* is (cᵢ + 8) + 16 (cⱼ + 8) where *j* = *i* + *w*; the last high half is 8
//!   if dim is odd.
//! - *parameters*, float32, rows × 3: the scale *s*; the norm *N*, ‖*a*‖ rounded up; the residual *R*, ‖*e*‖
//!   rounded up.
//!
//! | rows | codes (as *c*) | parameters |
//! |---|---|---|
//! | of zeros | 0 | 0, 0, 0 |
//! | with a NaN, whose score is NaN by every metric | 0 | 0, +∞, 0 |
//! | with an infinity, or ‖*a*‖ outside 1e-30 to 1e30: always re-ranked | 0 | 0, 0, +∞ |
//!
//! The codes and parameters of a row depend on nothing but the row, and are the same on every machine.
//!
//! # Bound
//!
//! The query *q* = *t u* + *f* has 16-bit integers *u* = 256 *h* + *l* with *h* and *l* of 8 bits, so that *c*·*u*
//! is two sums of products of bytes, exact in integers. With *p* = *s t* (*c*·*u*) = *â*·*q* − *â*·*f*,
//!
//! *a*·*q* = *p* + *â*·*f* + *e*·*q*.
//!
//! By the Cauchy–Schwarz inequality |*â*·*f*| ≤ ‖*â*‖ ‖*f*‖, which is small. Since *e* is orthogonal to *â*, *e*·*q*
//! is *e*·*q*⊥, where *q*⊥ is the part of *q* orthogonal to *â*, and
//!
//! |*e*·*q*| ≤ ‖*e*‖ ‖*q*⊥‖ = ‖*e*‖ √(‖*q*‖² − (*â*·*q*)² / ‖*â*‖²),
//!
//! which vanishes as the row nears the query. That an estimate from codes has an error of which only the part
//! orthogonal to the code counts is from J. Gao and C. Long, "RaBitQ: Quantizing High-Dimensional Vectors with a
//! Theoretical Error Bound for Approximate Nearest Neighbor Search", SIGMOD 2024, section 3.2; there the bound holds
//! with high probability, here Cauchy–Schwarz makes it hold always. Scanning approximations and visiting only the
//! vectors whose bound can still win is the VA-file: R. Weber, H.-J. Schek and S. Blott, "A Quantitative Analysis
//! and Performance Study for Similarity-Search Methods in High-Dimensional Spaces", VLDB 1998, section 5.
//!
//! What is computed from that, in float64, with σ = 2⁻²⁰, *Q* = ‖*q*‖ and *F* ≥ ‖*f*‖:
//!
//! - *V* = *N*² (1 + σ) − *R*² (1 − σ) ≥ ‖*â*‖²;
//! - *W* = (*Q*² + 2 *F* (*Q* + *F*)) (1 + 2⁻⁴⁰); *W* − *p*²/*V* ≥ ‖*q*⊥‖², for
//!   (|*p*| − ‖*â*‖ *F*)² ≥ *p*² − 2 *F* |*p*| ‖*â*‖ and |*p*| / ‖*â*‖ = ‖*t u*‖ |cos| ≤ *Q* + *F*;
//! - *E* = *R* √max(0, *W* − *p*²/*V*) + *N* (*F* (1 + σ) + σ *Q*), and *p* − *E* ≤ *a*·*q* ≤ *p* + *E*;
//! - `dot` lies within *p* ± *E*; `cosine` within 1 − (*p* ∓ *E*) / (*N Q*) ± σ, and its similarity is ranked as 1
//!   minus it; `l2sq` within
//!   *N*² + *Q*² − 2 (*p* ∓ *E*) ± σ (*N*² + *Q*²); `l2` is ranked as `l2sq`.
//!
//! σ is worth more than all roundings together, relative to *N Q* (and to *N*² + *Q*² for `l2sq`):
//!
//! - *N* ≤ ‖*a*‖ (1 + 2⁻²²), and the same of *R* (or it is below 1e-37, nothing beside *N* ≥ 1e-30): rounding up
//!   to float32 adds at most 2⁻²³ to a sum of at most 65536 squares in float64, whose relative error is below
//!   65544 · 2⁻⁵³ < 2⁻³⁶ (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., section 3.1);
//! - *s* is the quotient within 2⁻²⁴ + 2⁻³², so |*e*·*â*| ≤ 2⁻²² ‖*â*‖² rather than 0, which adds at most
//!   2⁻²² ‖*â*‖ *Q* to |*e*·*q*| and at most 2⁻²¹ ‖*â*‖² to ‖*â*‖² = ‖*a*‖² − ‖*e*‖² − 2 *e*·*â*;
//! - the bounds are a score's as it is *computed* by the exact search: its inner product is within
//!   2⁻³⁶ ‖*a*‖ *Q* of the true one, its sum of squares within 2⁻³⁶ of itself, nothing under- or overflows for such
//!   norms in a way that matters, and the last roundings are of 2⁻⁵³;
//! - the float64 operations above, of 2⁻⁵³ each, and two different squares with one root, which lie within 2⁻⁵⁰.
//!
//! A search keeps the *k* smallest upper bounds; a row whose lower bound is above the largest of them is worse than
//! *k* other rows, strictly, so that ties need no care. Queries of zeros, or with a norm outside 1e-60 to 1e60, have
//! no bounds: all rows are re-ranked.

mod bounds;
mod candidates;
mod dots;
mod encode;
mod index;
mod query;
mod scan;

use hyperslab_core::{Error, Result};

pub use candidates::{Candidates, SketchCounts, SpecialRows};
pub use index::Sketch;
pub use query::SketchQuery;

use crate::Distance;

/// Rows longer than this have no sketch: the sums of products of bytes would leave 32 bits.
const MAX_DIM: usize = 1 << 16;

/// The parameters of a row: scale, norm, residual.
pub(crate) const PARAMS: usize = 3;

/// What a sketch's codes look like: bits per value and values per row.
///
/// ```
/// use hyperslab_vector::SketchSpec;
/// let spec = SketchSpec::new(4, 7)?;
/// assert_eq!((spec.code_bytes(), spec.params()), (4, 3));
/// assert_eq!(SketchSpec::new(5, 7).unwrap_err().to_string(), "a sketch has 8 or 4 bits per value, not 5");
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SketchSpec {
    bits: u32,
    dim: usize,
}

impl SketchSpec {
    /// Codes of `bits` bits (8 or 4) for each of `dim` values.
    ///
    /// # Errors
    /// [`Invalid`](hyperslab_core::ErrorKind::Invalid) for another number of bits, and if `dim` is 0 or more than
    /// 65536.
    pub fn new(bits: u32, dim: usize) -> Result<Self> {
        if !matches!(bits, 4 | 8) {
            return Err(Error::invalid(format!("a sketch has 8 or 4 bits per value, not {bits}")));
        }
        if dim == 0 || dim > MAX_DIM {
            let message = format!("a sketch is of rows of 1 to {MAX_DIM} values, not of {dim}");
            return Err(Error::invalid(message));
        }
        Ok(Self { bits, dim })
    }

    /// Bits per value.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// Values per row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Bytes of a row's codes.
    pub fn code_bytes(&self) -> usize {
        (self.dim * self.bits as usize).div_ceil(8)
    }

    /// Float32 parameters per row.
    pub fn params(&self) -> usize {
        PARAMS
    }

    /// Whether rows ranked by a distance can be found by a sketch: cosine distance and similarity, l2, l2sq and
    /// inner product.
    ///
    /// ```
    /// use hyperslab_vector::{Metric, SketchSpec};
    /// assert!(SketchSpec::supports(Metric::Cosine.distance()));
    /// ```
    pub fn supports(distance: Distance) -> bool {
        bounds::Ranking::of(distance).is_some()
    }

    /// The largest magnitude of a code.
    fn levels(&self) -> i32 {
        (1 << (self.bits - 1)) - 1
    }

    /// What is added to a code to store it.
    fn offset(&self) -> i32 {
        1 << (self.bits - 1)
    }

    /// Whether the codes and parameters are of one number of rows, which is returned.
    fn check(&self, codes: &[u8], params: &[f32]) -> Result<usize> {
        let (rows, width) = (codes.len() / self.code_bytes(), self.code_bytes());
        if codes.len().is_multiple_of(width) && Some(params.len()) == rows.checked_mul(PARAMS) {
            return Ok(rows);
        }
        let message = format!(
            "{} bytes of codes and {} parameters are no sketch of rows of {} values: that has {width} bytes and \
             {PARAMS} parameters per row",
            codes.len(),
            params.len(),
            self.dim
        );
        Err(Error::invalid(message))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
