//! The Rust types that an array's elements can be viewed as.

use half::{bf16, f16};
use num_complex::Complex;

use crate::DType;

/// A NumPy bool: one byte that is 0 or 1. (Rust's `bool` may not be read from a file unchecked.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Bool8(pub u8);

/// A `datetime64` of whatever unit the field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(transparent)]
pub struct Datetime64(pub i64);

/// A `timedelta64` of whatever unit the field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(transparent)]
pub struct Timedelta64(pub i64);

mod sealed {
    pub trait Sealed {}
}

/// A type that elements of some [`DType`] can be viewed as without reinterpretation.
///
/// Sealed: every implementor is plain data without padding of which every bit pattern is valid.
pub trait Element: sealed::Sealed + Copy + Send + Sync + 'static {
    /// Whether elements of `dtype` are of this type.
    fn is(dtype: DType) -> bool;

    /// The name to print when they are not.
    const NAME: &'static str;

    /// The element's bytes, little-endian.
    fn le_bytes(self) -> Vec<u8>;
}

macro_rules! elements {
    ($($ty:ty, $name:literal => $pattern:pat_param, |$value:ident| $bytes:expr);* $(;)?) => {$(
        impl sealed::Sealed for $ty {}
        impl Element for $ty {
            fn is(dtype: DType) -> bool {
                matches!(dtype, $pattern)
            }
            const NAME: &'static str = $name;

            fn le_bytes(self) -> Vec<u8> {
                let $value = self;
                $bytes.to_vec()
            }
        }
    )*};
}

elements! {
    Bool8, "bool" => DType::Bool, |x| [x.0];
    i8, "int8" => DType::Int8, |x| x.to_le_bytes();
    i16, "int16" => DType::Int16, |x| x.to_le_bytes();
    i32, "int32" => DType::Int32, |x| x.to_le_bytes();
    i64, "int64" => DType::Int64, |x| x.to_le_bytes();
    u8, "uint8" => DType::UInt8, |x| x.to_le_bytes();
    u16, "uint16" => DType::UInt16, |x| x.to_le_bytes();
    u32, "uint32" => DType::UInt32, |x| x.to_le_bytes();
    u64, "uint64" => DType::UInt64, |x| x.to_le_bytes();
    f16, "float16" => DType::Float16, |x| x.to_le_bytes();
    bf16, "bfloat16" => DType::Bfloat16, |x| x.to_le_bytes();
    f32, "float32" => DType::Float32, |x| x.to_le_bytes();
    f64, "float64" => DType::Float64, |x| x.to_le_bytes();
    Complex<f32>, "complex64" => DType::Complex64, |x| [x.re.to_le_bytes(), x.im.to_le_bytes()].concat();
    Complex<f64>, "complex128" => DType::Complex128, |x| [x.re.to_le_bytes(), x.im.to_le_bytes()].concat();
    Datetime64, "datetime64" => DType::Datetime64(_), |x| x.0.to_le_bytes();
    Timedelta64, "timedelta64" => DType::Timedelta64(_), |x| x.0.to_le_bytes();
}
