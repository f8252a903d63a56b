//! Cosine similarity, a·b / √(‖a‖² ‖b‖²), and cosine distance, 1 − similarity.
//!
//! The cosine of the angle between two vectors, as a measure of likeness: G. Salton, A. Wong and
//! C. S. Yang, "A vector space model for automatic indexing", CACM 18(11), 1975.
//!
//! One square root of the product, rather than a product of two roots, makes the similarity of a vector
//! with itself exactly 1. What the formula leaves open:
//! - one vector of zeros: similarity 0; two: similarity 1, so that equal vectors are at distance 0;
//! - rounding never leaves the range: the similarity is clamped to −1..=1;
//! - a NaN or an infinity in either vector: NaN;
//! - squares that leave float64's range (possible with float64 elements only): both vectors are scaled by
//!   a power of two first, so that neither huge nor tiny vectors are taken for infinite ones or for zeros.

use crate::kernel;

/// Squared norms in this range have a product, and terms that matter to them, within float64's range.
/// Finite nonzero float32 vectors lie between 1e-90 and 1e77 × dim.
const SAFE: std::ops::RangeInclusive<f64> = 1e-140..=1e140;

/// Whether [`similarity`] may be used for a squared norm; otherwise it takes [`scaled_similarity`].
#[inline]
pub(crate) fn is_safe(norm: f64) -> bool {
    (norm >= *SAFE.start()) & (norm <= *SAFE.end())
}

/// The similarity from the inner product and the two squared norms, both [safe](is_safe).
#[inline]
pub(crate) fn similarity(dot: f64, norm_a: f64, norm_b: f64) -> f64 {
    (dot / (norm_a * norm_b).sqrt()).clamp(-1.0, 1.0)
}

/// The similarity of any two vectors of the same length.
#[cold]
pub(crate) fn scaled_similarity(a: &[f64], b: &[f64]) -> f64 {
    let (largest_a, largest_b) = (largest(a), largest(b));
    if !(largest_a.is_finite() && largest_b.is_finite()) {
        return f64::NAN;
    }
    match (largest_a == 0.0, largest_b == 0.0) {
        (true, true) => return 1.0,
        (true, false) | (false, true) => return 0.0,
        (false, false) => {}
    }
    let (a, b) = (kernel::pad(&scale(a, largest_a)), kernel::pad(&scale(b, largest_b)));
    similarity(kernel::dot(&a, &b), kernel::dot(&a, &a), kernel::dot(&b, &b))
}

/// The largest magnitude; NaN if there is one.
fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |max, v| if v.is_nan() || v.abs() > max { v.abs() } else { max })
}

/// The vector divided by the power of two of its largest element, which then lies in 1..2.
fn scale(values: &[f64], largest: f64) -> Vec<f64> {
    // A subnormal is brought into the normal range first, where the exponent can be read from the bits.
    const LIFT: f64 = (1_u64 << 60) as f64;
    let lift = if largest < f64::MIN_POSITIVE { LIFT } else { 1.0 };
    let exponent_only = f64::from_bits((largest * lift).to_bits() & 0x7ff0_0000_0000_0000);
    values.iter().map(|v| v * lift / exponent_only).collect()
}
