//! The element types that metrics are computed over.

use half::f16;
use hyperslab_core::Element;

use crate::kernel::{self, Isa, LANES, Lanes, Widen};
use crate::{PreparedQuery, TopK, distance, search};

/// What the kernels need of an element type.
pub(crate) trait Load: Element {
    /// What a row is padded with.
    const ZERO: Self;

    /// The value as float64.
    fn to_f64(self) -> f64;

    /// Converts one group of lanes.
    fn load<I: Isa>(group: &[Self; LANES]) -> I::Vector;
}

mod sealed {
    use super::{Lanes, PreparedQuery, TopK};

    /// The loops over rows, as methods of concrete types so that they are compiled in this crate: a generic
    /// function is compiled in the crate that calls it, with that crate's level of optimization.
    pub trait Loops: Sized {
        fn to_f64(values: &[Self]) -> Vec<f64>;
        fn widen(rows: &[Self], dim: usize, out: &mut Vec<Lanes>);
        fn distances(rows: &[Self], query: &PreparedQuery, out: &mut [f64]);
        fn search(query: &PreparedQuery, rows: &[Self], first_row: u64, top: &mut TopK);
        fn search_indexed(query: &PreparedQuery, rows: &[Self], row_ids: &[u64], top: &mut TopK);
    }
}

/// An element type of rows: every real dtype.
///
/// Sealed. Elements are converted to float64 and computed in float64. That is exact for all types but
/// `i64` and `u64`, whose values beyond ±2⁵³ are rounded to the nearest float64, ties to even.
pub trait Scalar: Element + sealed::Loops {}

macro_rules! scalars {
    ($($ty:ty),*) => {$(
        impl Scalar for $ty {}

        impl sealed::Loops for $ty {
            fn to_f64(values: &[Self]) -> Vec<f64> {
                values.iter().map(|v| Load::to_f64(*v)).collect()
            }

            fn widen(rows: &[Self], dim: usize, out: &mut Vec<Lanes>) {
                let rows_len = rows.len().checked_div(dim).unwrap_or(0);
                out.resize(rows_len * dim.div_ceil(LANES), [0.0; LANES]);
                kernel::run(Widen { rows, dim, out });
            }

            fn distances(rows: &[Self], query: &PreparedQuery, out: &mut [f64]) {
                distance::distances_loop(rows, query, out);
            }

            fn search(query: &PreparedQuery, rows: &[Self], first_row: u64, top: &mut TopK) {
                search::search_loop(query, rows, top, |r| first_row + r as u64);
            }

            fn search_indexed(query: &PreparedQuery, rows: &[Self], row_ids: &[u64], top: &mut TopK) {
                search::search_loop(query, rows, top, |r| row_ids[r]);
            }
        }
    )*};
}

scalars!(i8, i16, i32, i64, u8, u16, u32, u64, f16, f32, f64);

macro_rules! loads {
    ($($ty:ty, $from:ident;)*) => {$(
        impl Load for $ty {
            const ZERO: Self = 0 as $ty;

            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }

            #[inline(always)]
            fn load<I: Isa>(group: &[Self; LANES]) -> I::Vector {
                I::$from(group)
            }
        }
    )*};
}

loads! {
    i8, from_i8; i16, from_i16; i32, from_i32; i64, from_i64;
    u8, from_u8; u16, from_u16; u32, from_u32; u64, from_u64;
    f32, from_f32; f64, from_f64;
}

impl Load for f16 {
    const ZERO: Self = f16::ZERO;

    #[inline]
    fn to_f64(self) -> f64 {
        f16::to_f64(self)
    }

    #[inline(always)]
    fn load<I: Isa>(group: &[Self; LANES]) -> I::Vector {
        I::from_f16(group)
    }
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
