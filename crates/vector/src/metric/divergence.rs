//! Divergences between distributions: Kullback–Leibler divergence and Jensen–Shannon distance.
//!
//! Both vectors are divided by the sum of their elements first, so that counts and weights will do: p = a / Σa and
//! q = b / Σb. Logarithms are natural.
//! - Kullback–Leibler: Σ pᵢ ln(pᵢ / qᵢ). It is not symmetric: a is the row, which is measured against the query b.
//!   S. Kullback and R. A. Leibler, "On information and sufficiency", Annals of Mathematical Statistics 22(1), 1951;
//!   SciPy's `scipy.stats.entropy(a, b)`.
//! - Jensen–Shannon: √((KL(p ‖ m) + KL(q ‖ m)) / 2) with m = (p + q) / 2, which is a metric, 0 to √(ln 2). J. Lin,
//!   "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory 37(1), 1991; D. Endres
//!   and J. Schindelin, "A new metric for probability distributions", ibid. 49(7), 2003. SciPy's `jensenshannon` is this
//!   distance too, not its square.
//!
//! What the formulas leave open, as SciPy's `rel_entr` settles it:
//! - pᵢ = 0 adds 0; pᵢ > 0 where qᵢ = 0 makes Kullback–Leibler infinite (Jensen–Shannon never);
//! - a negative element in either vector: infinity;
//! - a vector whose sum is 0 or infinite is no distribution: NaN, whatever its elements, as with a NaN;
//! - rounding never leaves the range: a sum below 0 is taken for 0.

/// A sum of divergences, which is not negative but for rounding.
#[inline]
pub(crate) fn kullback_leibler(sum: f64) -> f64 {
    if sum < 0.0 { 0.0 } else { sum }
}

/// The distance from the sum of the divergences of both distributions from their mean.
#[inline]
pub(crate) fn jensen_shannon(sum: f64) -> f64 {
    (kullback_leibler(sum) / 2.0).sqrt()
}
