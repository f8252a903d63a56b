//! Which rows cannot be among the best, decided from an approximate product with a proved error bound.
//!
//! A row's score for a query is a function of a·q and of the two norms. A product in float32 is several times
//! as fast as the float64 one that defines the score, and is wrong by a bounded amount; so a row whose product
//! is worse than the k-th score so far by more than the bound is passed over, and all others are scored by
//! the definition. The result is the same to the bit.
//!
//! # The bound
//!
//! u = 2⁻²⁴ is the unit roundoff of float32 and γₙ = n u / (1 − n u). A sum of n products, added in any order,
//! with or without fused operations, satisfies |fl(a·b) − a·b| ≤ γₙ Σ|aᵢ bᵢ| ≤ γₙ ‖a‖ ‖b‖ (N. J. Higham,
//! *Accuracy and Stability of Numerical Algorithms*, 2nd ed., 2002, equation 3.5, and the inequality of Cauchy
//! and Schwarz), plus 2⁻¹⁴⁹ for each operation that underflows. To this comes, as multiples of u ‖a‖ ‖q‖:
//!
//! - the query is scaled by a power of two s to a largest element of 1 to 2, so that 1 ≤ ‖s q‖, and rounded:
//!   2 (elements that underflow are off by 2⁻¹⁵⁰, which is less than u ‖s q‖ / √dim);
//! - elements of a row that float32 does not hold are rounded: 2;
//! - the row's norm is a float32 sum by [`LANES`], dim / 16 + 5 roundings, and so is the bound on it: dim / 16 + 16;
//! - the float64 score has an error of its own, below 2⁻³⁶ for up to [`MAX_DIM`] dimensions: 1;
//! - the comparison is two fused or unfused operations on numbers no larger than 3 ‖a‖ ‖s q‖: 6.
//!
//! In all n = dim + dim / 16 + 32 roundings are allowed for, of which some are spare, and an absolute error of
//! (dim + 8) 2⁻¹⁴⁸. With ε = γₙ a row can only enter if
//!
//! | metric | condition, t being the score to beat or to equal |
//! |---|---|
//! | `dot` | s a·q + ε ‖a‖ ‖s q‖ ≥ s t |
//! | `cosine_similarity`, `cosine` (1 − t) | s a·q + ε ‖a‖ ‖s q‖ ≥ t ‖a‖ ‖s q‖ |
//! | `l2sq`, `l2` (t²) | s a·q + ε ‖a‖ ‖s q‖ ≥ s (‖a‖² + ‖q‖² − t) / 2 |
//!
//! all of which have the form of [`Test`], evaluated with constants that are rounded towards passing. The last
//! one loses digits by cancellation, as expanded squares do, which makes it pass more rows and no score wrong.
//!
//! Rows with NaN or infinities, of norms from 2⁶³ on and, for cosine, below 2⁻⁴⁵ (zero included) have no bound
//! and pass ([`RowBounds`]); so does every row for a query of zeros or beyond 2^±500 ([`QueryScreen::new`]).

use crate::kernel::{self, Isa, LANES, Pass};
use crate::{Distance, PreparedQuery};

/// The unit roundoff of float32.
const UNIT: f64 = 1.0 / (1_u64 << 24) as f64;

/// The longest rows that are screened; what bounds the float64 score's own error.
pub(crate) const MAX_DIM: usize = 1 << 16;

/// Allowed for float64 scores and norms, relatively.
const DOUBLE: f64 = 1.0 / (1_u64 << 30) as f64;

/// 2⁻¹⁴⁸, in float32 a subnormal.
const TINY: f32 = f32::from_bits(2);

/// Higham's γₙ in float32: the relative error of n roundings.
pub(crate) fn gamma(n: usize) -> f64 {
    let n = n as f64 * UNIT;
    n / (1.0 - n)
}

/// ε of the condition: of ‖a‖ ‖q‖, what an approximate product may be off by.
pub(crate) fn epsilon(dim: usize) -> f64 {
    gamma(dim + dim / LANES + 32)
}

/// What a product of a row and a scaled query is compared with: the row passes unless
/// product − norm · `slope` − half square · `scale` < `least`, for a row's [`RowBounds`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Test {
    pub(crate) slope: f32,
    pub(crate) scale: f32,
    pub(crate) least: f32,
}

impl Test {
    /// Every row passes.
    pub(crate) const PASS: Self = Self { slope: 0.0, scale: 0.0, least: f32::NEG_INFINITY };
}

/// Whether there is a condition for a distance.
pub(crate) fn has_bound(distance: Distance) -> bool {
    is_cosine(distance) || matches!(distance, Distance::InnerProduct | Distance::L2 | Distance::L2sq)
}

/// Whether its condition needs norms that are bounded from both sides.
pub(crate) fn is_cosine(distance: Distance) -> bool {
    matches!(distance, Distance::CosineDistance | Distance::CosineSimilarity)
}

/// A query whose products can be bounded.
#[derive(Debug, Clone)]
pub(crate) struct QueryScreen {
    distance: Distance,
    dim: usize,
    /// The power of two that the query is multiplied by.
    scale: f64,
    /// ‖query‖².
    squared_norm: f64,
    /// ‖scaled query‖, rounded up.
    scaled_norm: f64,
    /// The scaled query, rounded.
    values: Vec<f32>,
}

impl QueryScreen {
    /// None if the query has no bound: it is zero, huge, tiny or too long, or of another metric.
    pub(crate) fn new(query: &PreparedQuery) -> Option<Self> {
        let largest = query.values().iter().fold(0.0_f64, |max, v| max.max(v.abs()));
        let exponent = ((largest.to_bits() >> 52) & 0x7ff) as i32 - 1023;
        let finite = query.norm().is_finite() && query.values().iter().all(|v| v.is_finite());
        if !has_bound(query.distance()) || query.dim() > MAX_DIM || !(-500..=500).contains(&exponent) || !finite {
            return None;
        }
        let scale = power_of_two(-exponent);
        Some(Self {
            distance: query.distance(),
            dim: query.dim(),
            scale,
            squared_norm: query.norm(),
            scaled_norm: query.norm().sqrt() * scale * (1.0 + DOUBLE),
            values: query.values().iter().map(|v| (v * scale) as f32).collect(),
        })
    }

    /// The scaled and rounded query, by which rows are multiplied.
    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// The test of rows that are to score `threshold` or better.
    pub(crate) fn test(&self, threshold: f64) -> Test {
        let slack = epsilon(self.dim) * self.scaled_norm;
        let (slope, scale, least) = match self.distance {
            Distance::InnerProduct => (-slack, 0.0, threshold * self.scale),
            Distance::CosineDistance => ((1.0 - threshold - DOUBLE) * self.scaled_norm - slack, 0.0, 0.0),
            Distance::CosineSimilarity => ((threshold - DOUBLE) * self.scaled_norm - slack, 0.0, 0.0),
            Distance::L2 => self.within(threshold * threshold, slack),
            Distance::L2sq => self.within(threshold, slack),
            _ => return Test::PASS,
        };
        if threshold.is_nan() {
            return Test::PASS;
        }
        // One more step down covers the roundings of the float64 operations here.
        let least = down(least - (self.dim + 8) as f64 * f64::from(TINY)).next_down();
        Test { slope: down(slope).next_down(), scale: down(scale), least }
    }

    /// The test of rows within a squared distance.
    fn within(&self, squared: f64, slack: f64) -> (f64, f64, f64) {
        let squared = squared * (1.0 + DOUBLE) + 1e-300;
        (-slack, self.scale, (self.squared_norm * (1.0 - DOUBLE) - squared) * 0.5 * self.scale)
    }
}

fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// The largest float32 that is not larger; NaN of NaN.
fn down(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) > value { near.next_down() } else { near }
}

/// Turns squared norms of rows, as computed in float32, into bounds.
pub(crate) struct RowBounds<'a> {
    pub(crate) dim: usize,
    /// Whether a test is for cosine, which needs norms that are bounded from both sides.
    pub(crate) cosine: bool,
    /// Squared norms; gets norms, rounded up. NaN, with which a row passes every test, where there is no bound.
    pub(crate) norms: &'a mut [f32],
    /// Gets half the squared norms, rounded down.
    pub(crate) half_squares: &'a mut [f32],
}

impl Pass for RowBounds<'_> {
    #[inline(always)]
    fn run<I: Isa>(self) {
        const HUGE: f32 = f32::from_bits((127 + 126) << 23); // 2¹²⁶
        const SMALL: f32 = f32::from_bits((127 - 90) << 23); // 2⁻⁹⁰
        let least = if self.cosine { SMALL } else { 0.0 };
        let relative = gamma(self.dim / LANES + 16);
        let underflow = 2.0 * self.dim as f32 * TINY;
        let (up, below) = ((1.0 + relative) as f32, (0.5 * (1.0 - relative)) as f32);
        for (norm, half_square) in self.norms.iter_mut().zip(self.half_squares) {
            let square = *norm;
            let bounded = square < HUGE && square >= least;
            *norm = if bounded { (square * up + underflow).sqrt() * (1.0 + 2.0 * UNIT as f32) } else { f32::NAN };
            *half_square = if bounded { (square * below - underflow).max(0.0) } else { 0.0 };
        }
    }
}

/// Computes the bounds of rows, whose squared norms `norms` holds.
pub(crate) fn bound_rows(dim: usize, cosine: bool, norms: &mut [f32], half_squares: &mut [f32]) {
    kernel::run(RowBounds { dim, cosine, norms, half_squares });
}
