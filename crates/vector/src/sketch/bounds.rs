//! From a row's code, parameters and sum of products with the query to bounds on its score: the formulas of
//! [`sketch`](super), in its letters.

use super::PARAMS;
use crate::Distance;

/// σ: more than all roundings, relative to the products of norms that they are roundings of.
const SLACK: f64 = 1.0 / (1 << 20) as f64;

/// More than the roundings of a few float64 operations, of sums of up to 65536 terms among them.
pub(super) const ROUNDING: f64 = 1.0 / (1_u64 << 36) as f64;

/// What rows are ranked by; the cost, of which less is better, is −a·q, the cosine distance, or the squared
/// distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ranking {
    Dot,
    /// By the distance or the similarity.
    Cosine {
        similarity: bool,
    },
    /// By the square or its root.
    L2 {
        root: bool,
    },
}

impl Ranking {
    pub(crate) fn of(distance: Distance) -> Option<Self> {
        match distance {
            Distance::InnerProduct => Some(Ranking::Dot),
            Distance::CosineDistance => Some(Ranking::Cosine { similarity: false }),
            Distance::CosineSimilarity => Some(Ranking::Cosine { similarity: true }),
            Distance::L2 => Some(Ranking::L2 { root: true }),
            Distance::L2sq => Some(Ranking::L2 { root: false }),
            _ => None,
        }
    }

    /// The largest cost that a row of this score, or of one that is as good, can have; +∞ for NaN, after which
    /// nothing comes.
    pub(crate) fn cost(self, score: f64) -> f64 {
        match self {
            _ if score.is_nan() => f64::INFINITY,
            Ranking::Dot => -score,
            // Nothing is below a distance of 0, and its square would be above it.
            Ranking::L2 { .. } if score < 0.0 => f64::NEG_INFINITY,
            // Squares that round to one root are within 2⁻⁵⁰ of each other.
            Ranking::L2 { root: true } => score * score * (1.0 + ROUNDING) + f64::MIN_POSITIVE,
            // The slack of the bounds is far above the rounding of the difference.
            Ranking::Cosine { similarity: true } => 1.0 - score,
            Ranking::Cosine { similarity: false } | Ranking::L2 { root: false } => score,
        }
    }
}

/// What is known of a row's cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) lower: f64,
    pub(crate) upper: f64,
}

/// What the bounds need of the query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounder {
    pub(super) ranking: Ranking,
    /// *t*.
    pub(super) step: f64,
    /// *Q* = ‖*q*‖.
    pub(super) norm: f64,
    /// *W*, at least ‖*q*‖².
    orthogonal: f64,
    /// √*W*, rounded up.
    root: f64,
    /// What *E* has per *N*.
    per_norm: f64,
}

impl Bounder {
    /// - `norm`: ‖*q*‖ within [`ROUNDING`];
    /// - `rest`: ‖*f*‖ within it.
    pub(super) fn new(ranking: Ranking, step: f64, norm: f64, rest: f64) -> Self {
        let rest = rest * (1.0 + ROUNDING);
        let orthogonal = (norm * norm + 2.0 * rest * (norm + rest)) * (1.0 + 4.0 * ROUNDING);
        let root = orthogonal.sqrt() * (1.0 + ROUNDING);
        let per_norm = rest * (1.0 + SLACK) + SLACK * norm;
        Self { ranking, step, norm, orthogonal, root, per_norm }
    }

    /// Bounds on the costs of rows, of which `sums` are *c*·*u*.
    #[inline(always)]
    pub(super) fn bounds(&self, sums: &[f64], params: &[[f32; PARAMS]], bounds: &mut [Bounds]) {
        match self.ranking {
            Ranking::Dot => self.bounds_by(|_| [0.0, 1.0], sums, params, bounds),
            // The norm of a row that is not of zeros is at least 1e-30.
            Ranking::Cosine { .. } => {
                self.bounds_by(|norm| [1.0, 1.0 / (norm.max(1e-30) * self.norm)], sums, params, bounds)
            }
            Ranking::L2 { .. } => {
                self.bounds_by(|norm| [norm * norm + self.norm * self.norm, 2.0], sums, params, bounds);
            }
        }
    }

    /// Without branches, so that the compiler can vectorize it.
    ///
    /// - `terms`: of a norm, the cost of a row with *a*·*q* = 0 and the factor of *a*·*q*.
    #[inline(always)]
    fn bounds_by(
        &self,
        terms: impl Fn(f64) -> [f64; 2],
        sums: &[f64],
        params: &[[f32; PARAMS]],
        bounds: &mut [Bounds],
    ) {
        for ((sum, params), bounds) in sums.iter().zip(params).zip(bounds) {
            let [scale, norm, residual] = params.map(f64::from);
            let product = scale * self.step * sum;
            let along = norm * norm * (1.0 + SLACK) - residual * residual * (1.0 - SLACK);
            let taken = if along > 0.0 { product * product / along } else { 0.0 };
            let rest = self.orthogonal - taken;
            let orthogonal = if rest > 0.0 { rest } else { 0.0 }.sqrt();
            let error = residual * orthogonal + norm * self.per_norm;
            let [constant, factor] = terms(norm);
            let (middle, error) = (constant - factor * product, factor * error + SLACK * constant);
            // An infinite norm says that the score is NaN, which comes last. An infinite residual makes infinite
            // bounds by itself.
            let last = norm == f64::INFINITY;
            bounds.lower = if last { f64::INFINITY } else { middle - error };
            bounds.upper = if last { f64::INFINITY } else { middle + error };
        }
    }

    /// A cheaper test for most rows, against a largest cost.
    pub(super) fn screen(&self, limit: f64) -> Screen {
        let (square, linear, above) = match self.ranking {
            Ranking::Dot => (0.0, 0.0, limit),
            Ranking::Cosine { .. } => (0.0, (1.0 - limit - 2.0 * SLACK) * self.norm, 0.0),
            Ranking::L2 { .. } => {
                (0.5 * (1.0 - 2.0 * SLACK), 0.0, 0.5 * (limit - self.norm * self.norm * (1.0 - 2.0 * SLACK)))
            }
        };
        let linear = linear - self.per_norm - SLACK * self.norm;
        Screen { step: self.step, square, linear, residual: self.root, above }
    }
}

/// The lower bound with ‖*q*‖ for ‖*q*⊥‖, rearranged so that a row takes a few multiplications: its cost is
/// greater than the limit if *N* (square · *N* + linear) − residual · *R* − *p* is greater than `above`. What is
/// added to the slack covers the roundings of the rearrangement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    step: f64,
    square: f64,
    linear: f64,
    residual: f64,
    above: f64,
}

impl Screen {
    /// Whether the row's cost is above the limit; never said on NaN.
    #[inline(always)]
    pub(super) fn excludes(&self, sum: f64, params: [f32; PARAMS]) -> bool {
        let [scale, norm, residual] = params.map(f64::from);
        let value = norm * (self.square * norm + self.linear) - residual * self.residual - scale * self.step * sum;
        value > self.above
    }
}
