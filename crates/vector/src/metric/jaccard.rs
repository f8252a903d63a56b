//! Jaccard similarity, the size of the intersection over that of the union, and Jaccard distance, 1 − similarity.
//!
//! For sets: P. Jaccard, "The distribution of the flora in the alpine zone", New Phytologist 11(2), 1912. The rows are
//! sets of *bits* where they are of uint8, which is how binary vectors are packed, or bool. For vectors of weights the
//! generalization is Σ min(aᵢ, bᵢ) / Σ max(aᵢ, bᵢ), also called Ruzicka similarity: F. Chierichetti, R. Kumar, S. Pandey
//! and S. Vassilvitskii, "Finding the Jaccard median", SODA 2010. Of vectors of 0 and 1 it is that of the sets.
//!
//! What the formula leaves open:
//! - two empty sets, or two vectors of zeros: similarity 1, so that equal vectors are at distance 0;
//! - weights are not negative: a negative element in either vector gives NaN, as a NaN does;
//! - an infinity in one vector gives similarity 0, one in both NaN.

/// The similarity from the sizes of the intersection and the union.
#[inline]
pub(crate) fn similarity(intersection: f64, union: f64) -> f64 {
    // Either may be NaN, and so is then the quotient.
    if intersection == 0.0 && union == 0.0 { 1.0 } else { intersection / union }
}
