//! The natural logarithm, with the same bits on every processor, which the standard library does not promise.
//!
//! The algorithm of FreeBSD's `e_log.c` (Sun Microsystems, 1993), of which the error is below one unit in the last
//! place: x = 2ᵏ (1 + f) with √½ < 1 + f < √2; then ln(1 + f) = f − f²/2 + s (f²/2 + R) with s = f / (2 + f), where R is
//! a polynomial in s². Only operations that IEEE 754 rounds correctly are used, without branches, so that the
//! compiler makes vectors of it.

use super::{LANES, Lanes};

const LN2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
const LN2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);
const R: [f64; 7] = [
    f64::from_bits(0x3fe5_5555_5555_5593),
    f64::from_bits(0x3fd9_9999_9997_fa04),
    f64::from_bits(0x3fd2_4924_9422_9359),
    f64::from_bits(0x3fcc_71c5_1d8e_78af),
    f64::from_bits(0x3fc7_4664_96cb_03de),
    f64::from_bits(0x3fc3_9a09_d078_c69f),
    f64::from_bits(0x3fc2_f112_df3e_5244),
];

/// The upper half of √½, from which up a significand is taken as it is.
const ROOT: u64 = 0x3fe6_a09e << 32;
const ONE: u64 = 0x3ff0_0000 << 32;
const SIGNIFICAND: u64 = (1 << 52) - 1;

/// ln of a positive normal number.
#[inline(always)]
fn ln_normal(x: f64) -> f64 {
    // 2⁵² + 2⁵¹, under which a small integer is converted by its bits.
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    let shifted = x.to_bits() + (ONE - ROOT);
    let exponent = (shifted >> 52).wrapping_sub(1023);
    let k = f64::from_bits(MAGIC.to_bits().wrapping_add(exponent)) - MAGIC;
    let f = f64::from_bits((shifted & SIGNIFICAND) + ROOT) - 1.0;
    let half_square = 0.5 * f * f;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let even = w * (R[1] + w * (R[3] + w * R[5]));
    let odd = z * (R[0] + w * (R[2] + w * (R[4] + w * R[6])));
    s * (half_square + (odd + even)) + k * LN2_LOW - half_square + f + k * LN2_HIGH
}

/// ln of positive normal numbers.
#[inline(always)]
pub(super) fn ln_lanes(x: &Lanes) -> Lanes {
    let mut out = [0.0; LANES];
    out.iter_mut().zip(x).for_each(|(out, x)| *out = ln_normal(*x));
    out
}

/// ln of any positive number.
pub(super) fn ln(x: f64) -> f64 {
    const LIFT: f64 = (1_u64 << 54) as f64;
    match x {
        f64::INFINITY => x,
        x if x < f64::MIN_POSITIVE => ln_normal(x * LIFT) - 54.0 * std::f64::consts::LN_2,
        x => ln_normal(x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distance in units of the last place.
    fn ulps(a: f64, b: f64) -> u64 {
        a.to_bits().abs_diff(b.to_bits())
    }

    #[test]
    fn logarithms_are_near_the_platforms() {
        let mut x = 0x9e37_79b9_7f4a_7c15_u64;
        for i in 0..200_000_u64 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(i | 1);
            let any = f64::from_bits(x & (u64::MAX >> 1));
            let near = 1.0 + (x >> 12) as f64 / (1_u64 << 54) as f64;
            for v in [any, near, 1.0 / near] {
                if v.is_finite() && v > 0.0 {
                    assert!(ulps(ln(v), v.ln()) <= 1, "ln {v:e}: {} {}", ln(v), v.ln());
                }
            }
        }
        assert_eq!([ln(1.0), ln(f64::INFINITY)], [0.0, f64::INFINITY]);
        assert!(ulps(ln(f64::from_bits(1)), f64::from_bits(1).ln()) <= 1);
        assert_eq!(ln_lanes(&[2.0; LANES]), [std::f64::consts::LN_2; LANES]);
    }
}
