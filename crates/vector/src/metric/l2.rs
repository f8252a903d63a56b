//! Euclidean distance, √Σ(aᵢ − bᵢ)², and its square.
//!
//! The differences are squared and summed as they stand. The expansion ‖a‖² − 2 a·b + ‖b‖², which turns
//! a batch into a matrix product, loses all digits for near neighbours by cancellation (N. J. Higham,
//! *Accuracy and Stability of Numerical Algorithms*, 2nd ed., section 1.7); it serves to rule rows out, with a
//! bound on what it loses ([`screen`](crate::screen)), and never gives a score.
//!
//! A distance whose square exceeds float64's range is infinite. An infinity in a row gives infinity, and
//! NaN where both vectors hold one.

/// ‖a − b‖ from Σ(aᵢ − bᵢ)².
#[inline]
pub(crate) fn l2(sum_of_squares: f64) -> f64 {
    sum_of_squares.sqrt()
}
