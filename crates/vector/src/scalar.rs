//! The element types that metrics are computed over.

use half::{bf16, f16};
use hyperslab_core::{Bool8, DType, Element};

use crate::kernel::{self, Isa, LANES, Lanes, Narrow, Widen};
use crate::{Distance, PreparedQuery, TopK, distance, search};

/// What the kernels need of an element type.
pub(crate) trait Load: Element {
    /// What a row is padded with.
    const ZERO: Self;

    /// The dtype that it is the element of.
    const DTYPE: DType;

    /// Whether every value is an integer of at most 24 bits times a power of two between 2⁻¹⁴⁹ and 2¹⁰⁴, or infinite, or
    /// NaN. The product with another such value, or with one of at most 29 bits that is [narrow](is_narrow), then has
    /// at most 53 bits and an exponent in float64's range: it is exact.
    const NARROW: bool = matches!(
        Self::DTYPE,
        DType::Bool
            | DType::Int8
            | DType::Int16
            | DType::UInt8
            | DType::UInt16
            | DType::Float16
            | DType::Bfloat16
            | DType::Float32
    );

    /// Whether it is float32, so that [`singles`](Self::singles) costs nothing.
    const SINGLE: bool = matches!(Self::DTYPE, DType::Float32);

    /// Whether hamming and jaccard compare bits.
    const BITS: bool = false;

    /// The value as float64.
    fn to_f64(self) -> f64;

    /// The bits to compare, of a type with [`BITS`](Self::BITS).
    #[inline(always)]
    fn byte(self) -> u8 {
        0
    }

    /// Converts one group of lanes.
    fn load<I: Isa>(group: &[Self; LANES]) -> I::Vector;

    /// The values as float32, rounded to nearest; `scratch` holds them where they must be converted.
    fn singles<'a>(values: &'a [Self], scratch: &'a mut Vec<f32>) -> &'a [f32] {
        scratch.resize(values.len(), 0.0);
        kernel::run(Narrow { values, out: scratch });
        scratch
    }
}

/// Whether a value has at most 29 significant bits and a magnitude of 2⁻⁵⁰⁰ to 2⁵⁰⁰, or is 0, infinite or NaN: the product
/// with a value of a [narrow type](Load::NARROW) is exact.
pub(crate) fn is_narrow(value: f64) -> bool {
    const DROPPED: u64 = (1 << (53 - 29)) - 1;
    const EXPONENTS: std::ops::RangeInclusive<u64> = 1023 - 500..=1023 + 499;
    let exponent = (value.to_bits() >> 52) & 0x7ff;
    value == 0.0 || !value.is_finite() || (EXPONENTS.contains(&exponent) && value.to_bits() & DROPPED == 0)
}

mod sealed {
    use super::{DType, Distance, Lanes, PreparedQuery, TopK};

    /// The numbers of the rows of a block.
    #[derive(Debug, Clone, Copy)]
    pub enum Numbers<'a> {
        /// Consecutive, from this one on.
        From(u64),
        /// One for each row.
        Each(&'a [u64]),
    }

    impl Numbers<'_> {
        /// The number of the block's row `r`.
        #[inline]
        pub(crate) fn get(self, r: usize) -> u64 {
            match self {
                Numbers::From(first) => first + r as u64,
                Numbers::Each(numbers) => numbers[r],
            }
        }

        /// The numbers from the block's row `r` on.
        #[inline]
        pub(crate) fn skip(self, r: usize) -> Self {
            match self {
                Numbers::From(first) => Numbers::From(first + r as u64),
                Numbers::Each(numbers) => Numbers::Each(&numbers[r..]),
            }
        }
    }

    /// The loops over rows, as methods of concrete types so that they are compiled in this crate: a generic
    /// function is compiled in the crate that calls it, with that crate's level of optimization.
    pub trait Loops: Sized {
        const DTYPE: DType;
        /// The most that a query's value may be where it is compared bit by bit.
        const LARGEST_BITS: Option<u8>;
        fn to_f64(values: &[Self]) -> Vec<f64>;
        fn widen(rows: &[Self], dim: usize, out: &mut Vec<Lanes>);
        fn singles<'a>(values: &'a [Self], scratch: &'a mut Vec<f32>) -> &'a [f32];
        fn distances(rows: &[Self], query: &PreparedQuery, out: &mut [f64]);
        fn pairwise(distance: Distance, a: &[Self], b: &[Self], dim: usize, out: &mut [f64]);
        /// Offers rows, and returns how many scores that took.
        fn search(query: &PreparedQuery, rows: &[Self], numbers: Numbers<'_>, top: &mut TopK) -> usize;
        /// The score of one row.
        fn score(query: &PreparedQuery, row: &[Self]) -> f64;
    }
}

pub(crate) use sealed::Numbers;

/// An element type of rows: every real dtype and bool, whose elements count as 0 and 1.
///
/// Sealed. Elements are converted to float64 and computed in float64. That is exact for all types but
/// `i64` and `u64`, whose values beyond ±2⁵³ are rounded to the nearest float64, ties to even.
pub trait Scalar: Element + sealed::Loops {}

macro_rules! scalars {
    ($($ty:ty),*) => {$(
        impl Scalar for $ty {}

        impl sealed::Loops for $ty {
            const DTYPE: DType = <$ty as Load>::DTYPE;
            const LARGEST_BITS: Option<u8> = match (<$ty as Load>::BITS, <$ty as Load>::DTYPE) {
                (false, _) => None,
                (true, DType::Bool) => Some(1),
                (true, _) => Some(u8::MAX),
            };

            fn to_f64(values: &[Self]) -> Vec<f64> {
                values.iter().map(|v| Load::to_f64(*v)).collect()
            }

            fn widen(rows: &[Self], dim: usize, out: &mut Vec<Lanes>) {
                let rows_len = rows.len().checked_div(dim).unwrap_or(0);
                out.resize(rows_len * dim.div_ceil(LANES), [0.0; LANES]);
                kernel::run(Widen { rows, dim, out });
            }

            fn singles<'a>(values: &'a [Self], scratch: &'a mut Vec<f32>) -> &'a [f32] {
                Load::singles(values, scratch)
            }

            fn distances(rows: &[Self], query: &PreparedQuery, out: &mut [f64]) {
                distance::distances_loop(rows, query, out);
            }

            fn pairwise(distance: Distance, a: &[Self], b: &[Self], dim: usize, out: &mut [f64]) {
                distance::pairwise_loop(distance, a, b, dim, out);
            }

            fn search(query: &PreparedQuery, rows: &[Self], numbers: Numbers<'_>, top: &mut TopK) -> usize {
                search::search_loop(query, rows, numbers, top)
            }

            fn score(query: &PreparedQuery, row: &[Self]) -> f64 {
                distance::score(row, query)
            }
        }
    )*};
}

scalars!(i8, i16, i32, i64, u8, u16, u32, u64, f16, bf16, f32, f64, Bool8);

macro_rules! loads {
    ($($ty:ty, $from:ident, $dtype:ident $(, $singles:item)?;)*) => {$(
        impl Load for $ty {
            const ZERO: Self = 0 as $ty;
            const DTYPE: DType = DType::$dtype;

            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }

            #[inline(always)]
            fn load<I: Isa>(group: &[Self; LANES]) -> I::Vector {
                I::$from(group)
            }

            $($singles)?
        }
    )*};
}

loads! {
    i8, from_i8, Int8; i16, from_i16, Int16; i32, from_i32, Int32; i64, from_i64, Int64;
    u16, from_u16, UInt16; u32, from_u32, UInt32; u64, from_u64, UInt64;
    f64, from_f64, Float64;
    f32, from_f32, Float32, #[inline] fn singles<'a>(values: &'a [f32], _scratch: &'a mut Vec<f32>) -> &'a [f32] { values };
}

macro_rules! other_loads {
    ($($ty:ty, $dtype:ident, $from:ident, $zero:expr, |$value:ident| $to_f64:expr $(, $byte:expr)?;)*) => {$(
        impl Load for $ty {
            const ZERO: Self = $zero;
            const DTYPE: DType = DType::$dtype;

            #[inline]
            fn to_f64(self) -> f64 {
                let $value = self;
                $to_f64
            }

            #[inline(always)]
            fn load<I: Isa>(group: &[Self; LANES]) -> I::Vector {
                I::$from(group)
            }

            $(
                const BITS: bool = true;

                #[inline(always)]
                fn byte(self) -> u8 {
                    let $value = self;
                    $byte
                }
            )?
        }
    )*};
}

other_loads! {
    f16, Float16, from_f16, f16::ZERO, |v| f16::to_f64(v);
    bf16, Bfloat16, from_bf16, bf16::ZERO, |v| bf16::to_f64(v);
    u8, UInt8, from_u8, 0, |v| f64::from(v), v;
    Bool8, Bool, from_bool, Bool8(0), |v| f64::from(u8::from(v.0 != 0)), u8::from(v.0 != 0);
}

/// The values as float64, for a query vector or for vectors whose types differ.
///
/// Since every computation converts to float64 first, converting beforehand changes no result.
///
/// ```
/// assert_eq!(hyperslab_vector::to_f64(&[1_u8, 255]), [1.0, 255.0]);
/// ```
pub fn to_f64<T: Scalar>(values: &[T]) -> Vec<f64> {
    T::to_f64(values)
}
