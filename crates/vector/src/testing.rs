//! What the tests share: elements from seeds, and the definitions of the metrics written naively.

use half::{bf16, f16};
use hyperslab_core::{Bool8, DType};
use proptest::prelude::*;

use crate::{Distance, Scalar};

/// Elements from any 64 bits.
pub(crate) trait FromSeed: Scalar {
    /// Any value; for floats NaN and infinities only if `special`.
    fn from_seed(seed: u64, special: bool) -> Self;
}

macro_rules! integers {
    ($($ty:ty),*) => {$(
        impl FromSeed for $ty {
            fn from_seed(seed: u64, _special: bool) -> Self {
                if seed % 5 == 0 { 0 } else { (seed >> 3) as $ty }
            }
        }
    )*};
}

integers!(i8, i16, i32, i64, u8, u16, u32, u64);

impl FromSeed for f64 {
    fn from_seed(seed: u64, special: bool) -> Self {
        match seed % 64 {
            0 if special => f64::NAN,
            1 if special => f64::INFINITY,
            2 if special => f64::NEG_INFINITY,
            3..10 => 0.0,
            10 => -0.0,
            11 => 5e-8,
            _ => (seed >> 6) as f64 / (1_u64 << 57) as f64 - 1.0,
        }
    }
}

impl FromSeed for f32 {
    fn from_seed(seed: u64, special: bool) -> Self {
        f64::from_seed(seed, special) as f32
    }
}

impl FromSeed for f16 {
    fn from_seed(seed: u64, special: bool) -> Self {
        f16::from_f64(f64::from_seed(seed, special))
    }
}

impl FromSeed for bf16 {
    fn from_seed(seed: u64, special: bool) -> Self {
        bf16::from_f64(f64::from_seed(seed, special))
    }
}

impl FromSeed for Bool8 {
    fn from_seed(seed: u64, _special: bool) -> Self {
        // Every bit pattern is valid.
        Bool8(if seed % 5 < 3 { 0 } else { (seed >> 3) as u8 })
    }
}

/// Calls a generic test for every element type.
macro_rules! for_every_type {
    ($test:ident($($argument:expr),* $(,)?)) => {
        for_every_type!($test, ($($argument),*), i8 i16 i32 i64 u8 u16 u32 u64 half::f16 half::bf16 f32 f64
            hyperslab_core::Bool8)
    };
    ($test:ident, $arguments:tt, $($ty:ty)*) => {$(for_every_type!(@call $test, $ty, $arguments);)*};
    (@call $test:ident, $ty:ty, ($($argument:expr),*)) => { $test::<$ty>($($argument),*)? };
}
pub(crate) use for_every_type;

/// Two tables of rows of one length, as seeds, and whether they hold NaN and infinities.
#[derive(Debug, Clone)]
pub(crate) struct Seeds {
    pub(crate) dim: usize,
    pub(crate) a: Vec<u64>,
    pub(crate) b: Vec<u64>,
    pub(crate) special: bool,
}

impl Seeds {
    /// Rows of 0..70 elements (or more than none), some of them zeros throughout.
    pub(crate) fn any(dims: std::ops::Range<usize>, rows: std::ops::Range<usize>) -> impl Strategy<Value = Self> {
        (dims, rows, any::<bool>()).prop_flat_map(|(dim, rows, special)| {
            let row = move || prop_oneof![1 => Just(vec![0; dim]), 5 => prop::collection::vec(any::<u64>(), dim)];
            let table = move || prop::collection::vec(row(), rows).prop_map(|rows| rows.concat());
            (table(), table()).prop_map(move |(a, b)| Seeds { dim, a, b, special })
        })
    }

    pub(crate) fn a<T: FromSeed>(&self) -> Vec<T> {
        self.a.iter().map(|seed| zero_or::<T>(*seed, self.special)).collect()
    }

    pub(crate) fn b<T: FromSeed>(&self) -> Vec<T> {
        self.b.iter().map(|seed| zero_or::<T>(*seed, self.special)).collect()
    }
}

fn zero_or<T: FromSeed>(seed: u64, special: bool) -> T {
    // Seed 3 is a zero of every type but the integers, whose zero is any multiple of 5.
    T::from_seed(if seed == 0 { 65 * 3 } else { seed }, special)
}

/// The sum of the terms in the documented order of additions.
pub(crate) fn lane_sum(terms: impl Iterator<Item = f64>) -> f64 {
    let mut lanes = [0.0; 16];
    let mut used = 0;
    for (i, term) in terms.enumerate() {
        lanes[i % 16] += term;
        used = i + 1;
    }
    // The padding, which turns −0 into 0.
    lanes[used % 16..].iter_mut().for_each(|lane| *lane += 0.0);
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

/// The value by definition, its sums in the documented order.
pub(crate) fn naive<T: Scalar>(distance: Distance, a: &[f64], b: &[f64]) -> f64 {
    by_sums(distance, T::DTYPE, a, b, |terms| lane_sum(terms))
}

/// The value by definition, its sums from left to right.
pub(crate) fn sequential<T: Scalar>(distance: Distance, a: &[f64], b: &[f64]) -> f64 {
    by_sums(distance, T::DTYPE, a, b, |terms| terms.sum())
}

/// Whether a value is the one by definition: the same bits, but for logarithms, which are not the platform's.
pub(crate) fn is_as_defined(distance: Distance, value: f64, expected: f64) -> bool {
    if !distance.is_divergence() || expected.is_nan() || expected.is_infinite() {
        return value.to_bits() == expected.to_bits();
    }
    let (value, expected) = match distance {
        Distance::JsDistance => (value * value, expected * expected),
        _ => (value, expected),
    };
    (value - expected).abs() <= 1e-12 * (1.0 + expected)
}

fn by_sums(
    distance: Distance,
    dtype: DType,
    a: &[f64],
    b: &[f64],
    sum: impl Fn(&mut dyn Iterator<Item = f64>) -> f64,
) -> f64 {
    if dtype == DType::UInt8 && distance.compares_bits() {
        let bits = |v: &[f64]| -> Vec<f64> {
            v.iter().flat_map(|v| (0..8).map(|bit| f64::from(*v as u8 >> bit & 1))).collect()
        };
        return by_sums(distance, DType::Bool, &bits(a), &bits(b), sum);
    }
    let product = |a: &[f64], b: &[f64]| sum(&mut a.iter().zip(b).map(|(a, b)| a * b));
    let similarity = || match (a.iter().all(|v| *v == 0.0), b.iter().all(|v| *v == 0.0)) {
        _ if a.iter().chain(b).any(|v| !v.is_finite()) => f64::NAN,
        (true, true) => 1.0,
        (true, false) | (false, true) => 0.0,
        _ => (product(a, b) / (product(a, a) * product(b, b)).sqrt()).clamp(-1.0, 1.0),
    };
    let squares = || sum(&mut a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)));
    let jaccard = || {
        if a.iter().chain(b).any(|v| v.is_nan() || *v < 0.0) {
            return f64::NAN;
        }
        let intersection = sum(&mut a.iter().zip(b).map(|(a, b)| a.min(*b)));
        let union = sum(&mut a.iter().zip(b).map(|(a, b)| a.max(*b)));
        if union == 0.0 { 1.0 } else { intersection / union }
    };
    let shares = |v: &[f64]| -> Vec<f64> {
        let total = sum(&mut v.iter().copied());
        v.iter().map(|v| if total == 0.0 || total.is_infinite() { f64::NAN } else { v / total.abs() }).collect()
    };
    let rel_entr = |p: f64, q: f64| match () {
        () if p.is_nan() || q.is_nan() => f64::NAN,
        () if p > 0.0 && q > 0.0 => p * (p / q).ln(),
        () if p == 0.0 && q >= 0.0 => 0.0,
        () => f64::INFINITY,
    };
    let kl = |p: &[f64], q: &[f64]| sum(&mut p.iter().zip(q).map(|(p, q)| rel_entr(*p, *q)));
    let positive = |v: f64| if v < 0.0 { 0.0 } else { v };
    let value = match distance {
        Distance::CosineDistance => 1.0 - similarity(),
        Distance::CosineSimilarity => similarity(),
        Distance::L2 => squares().sqrt(),
        Distance::L2sq => squares(),
        Distance::InnerProduct => product(a, b),
        Distance::NegativeInnerProduct => -product(a, b),
        Distance::L1 => sum(&mut a.iter().zip(b).map(|(a, b)| (a - b).abs())),
        Distance::Hamming => a.iter().zip(b).filter(|(a, b)| a != b).count() as f64,
        Distance::JaccardDistance => 1.0 - jaccard(),
        Distance::JaccardSimilarity => jaccard(),
        Distance::KlDivergence => positive(kl(&shares(a), &shares(b))),
        Distance::JsDistance => {
            let (p, q) = (shares(a), shares(b));
            let mean: Vec<f64> = p.iter().zip(&q).map(|(p, q)| (p + q) / 2.0).collect();
            (positive(kl(&p, &mean) + kl(&q, &mean)) / 2.0).sqrt()
        }
    };
    if value.is_nan() { f64::NAN } else { value + 0.0 }
}
