//! Element types and their spellings: ours, `.npy`'s `descr`, and the log's.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// The unit of a `datetime64` or `timedelta64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimeUnit {
    /// Seconds.
    Second,
    /// Milliseconds.
    Millisecond,
    /// Microseconds.
    Microsecond,
    /// Nanoseconds.
    Nanosecond,
}

impl TimeUnit {
    /// NumPy's abbreviation: `s`, `ms`, `us`, `ns`.
    pub fn abbreviation(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Millisecond => "ms",
            Self::Microsecond => "us",
            Self::Nanosecond => "ns",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "s" => Self::Second,
            "ms" => Self::Millisecond,
            "us" => Self::Microsecond,
            "ns" => Self::Nanosecond,
            _ => return None,
        })
    }
}

/// The order of the bytes of one element in a file. In memory and in a store it is little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first (`<`), or an element of one byte (`|`).
    Little,
    /// Most significant byte first (`>`).
    Big,
}

/// The type of one element, with NumPy's names and NumPy's widths.
///
/// ```
/// use hyperslab_core::{ByteOrder, DType, TimeUnit};
/// assert_eq!("float32".parse::<DType>().unwrap(), DType::Float32);
/// assert_eq!(DType::Datetime64(TimeUnit::Microsecond).to_string(), "datetime64[us]");
/// assert_eq!(DType::from_npy_descr(">i2").unwrap(), (DType::Int16, ByteOrder::Big));
/// assert_eq!(DType::Complex64.size(), 8);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// One byte, 0 or 1.
    Bool,
    /// Signed, 8 bits.
    Int8,
    /// Signed, 16 bits.
    Int16,
    /// Signed, 32 bits.
    Int32,
    /// Signed, 64 bits.
    Int64,
    /// Unsigned, 8 bits.
    UInt8,
    /// Unsigned, 16 bits.
    UInt16,
    /// Unsigned, 32 bits.
    UInt32,
    /// Unsigned, 64 bits.
    UInt64,
    /// IEEE 754 binary16.
    Float16,
    /// IEEE 754 binary32.
    Float32,
    /// IEEE 754 binary64.
    Float64,
    /// Two `Float32`: real, imaginary.
    Complex64,
    /// Two `Float64`: real, imaginary.
    Complex128,
    /// Signed 64-bit count of units since 1970-01-01T00:00:00; the smallest value is NaT.
    Datetime64(TimeUnit),
    /// Signed 64-bit count of units; the smallest value is NaT.
    Timedelta64(TimeUnit),
    /// The upper half of a `Float32`. NumPy has no such dtype: the bits are stored as `<u2`.
    Bfloat16,
    /// So many bytes: NumPy's `|V n`.
    FixedBytes(u32),
    /// Text of any length.
    Utf8,
    /// Bytes of any length.
    Binary,
}

impl DType {
    /// Every dtype that NumPy has for one bool, number or time, each time unit included.
    pub const ALL: [Self; 22] = {
        use TimeUnit::{Microsecond as Us, Millisecond as Ms, Nanosecond as Ns, Second as S};
        [
            Self::Bool,
            Self::Int8,
            Self::Int16,
            Self::Int32,
            Self::Int64,
            Self::UInt8,
            Self::UInt16,
            Self::UInt32,
            Self::UInt64,
            Self::Float16,
            Self::Float32,
            Self::Float64,
            Self::Complex64,
            Self::Complex128,
            Self::Datetime64(S),
            Self::Datetime64(Ms),
            Self::Datetime64(Us),
            Self::Datetime64(Ns),
            Self::Timedelta64(S),
            Self::Timedelta64(Ms),
            Self::Timedelta64(Us),
            Self::Timedelta64(Ns),
        ]
    };

    /// Bytes per element, in memory and on disk. An element of variable length counts with its offset, 8 bytes; its
    /// own bytes come on top.
    pub fn size(self) -> usize {
        match self {
            Self::Bfloat16 => 2,
            Self::FixedBytes(n) => n as usize,
            Self::Utf8 | Self::Binary => 8,
            Self::Bool | Self::Int8 | Self::UInt8 => 1,
            Self::Int16 | Self::UInt16 | Self::Float16 => 2,
            Self::Int32 | Self::UInt32 | Self::Float32 => 4,
            Self::Int64 | Self::UInt64 | Self::Float64 | Self::Complex64 => 8,
            Self::Datetime64(_) | Self::Timedelta64(_) => 8,
            Self::Complex128 => 16,
        }
    }

    /// Refuses what no array can hold.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::FixedBytes(n) if n == 0 || i32::try_from(n).is_err() => {
                Err(Error::invalid(format!("{n} bytes per element; 1 to {} are possible", i32::MAX)))
            }
            _ => Ok(()),
        }
    }

    /// Bytes of the unit whose bytes are swapped between byte orders: a component of a complex number.
    pub fn component_size(self) -> usize {
        match self {
            Self::Complex64 | Self::Complex128 => self.size() / 2,
            Self::FixedBytes(_) => 1,
            _ => self.size(),
        }
    }

    /// Whether the dtype is a real number: an integer or a float (no bool, complex, time, text or bytes).
    pub fn is_real(self) -> bool {
        !matches!(
            self,
            Self::Bool
                | Self::Complex64
                | Self::Complex128
                | Self::Datetime64(_)
                | Self::Timedelta64(_)
                | Self::FixedBytes(_)
                | Self::Utf8
                | Self::Binary
        )
    }

    /// Whether elements have lengths of their own.
    pub fn is_variable(self) -> bool {
        matches!(self, Self::Utf8 | Self::Binary)
    }

    /// The `descr` of a little-endian `.npy` of this dtype: `<f4`, `|u1`, `<M8[us]`; of text and binary that of the
    /// offsets, which are a part of their own.
    ///
    /// Source: <https://numpy.org/doc/stable/reference/arrays.interface.html#arrays-interface>.
    pub fn npy_descr(self) -> String {
        let (kind, unit) = match self {
            Self::Bool => ('b', None),
            Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64 => ('i', None),
            Self::UInt8 | Self::UInt16 | Self::UInt32 | Self::UInt64 => ('u', None),
            Self::Float16 | Self::Float32 | Self::Float64 => ('f', None),
            Self::Bfloat16 => ('u', None),
            Self::FixedBytes(n) => return format!("|V{n}"),
            Self::Utf8 | Self::Binary => ('i', None),
            Self::Complex64 | Self::Complex128 => ('c', None),
            Self::Datetime64(unit) => ('M', Some(unit)),
            Self::Timedelta64(unit) => ('m', Some(unit)),
        };
        let order = if self.size() == 1 { '|' } else { '<' };
        let unit = unit.map(|u| format!("[{}]", u.abbreviation())).unwrap_or_default();
        format!("{order}{kind}{}{unit}", self.size())
    }

    /// Reads a `.npy` `descr` of a simple dtype, in either byte order.
    ///
    /// # Errors
    /// `Unsupported`, naming the descr and the dtypes that can be read.
    pub fn from_npy_descr(descr: &str) -> Result<(Self, ByteOrder)> {
        let unknown = || {
            Error::unsupported(format!(
                "dtype {descr:?} cannot be stored; one of bool, int8..int64, uint8..uint64, float16..float64, \
                 complex64, complex128, datetime64 and timedelta64 in s, ms, us or ns, and bytes (S, V) is needed"
            ))
        };
        if !descr.is_ascii() {
            return Err(unknown());
        }
        let (order, rest) = match descr.as_bytes().first() {
            Some(b'>') => (ByteOrder::Big, &descr[1..]),
            Some(b'<' | b'|') => (ByteOrder::Little, &descr[1..]),
            Some(b'=') => (native(), &descr[1..]),
            _ => (native(), descr),
        };
        if let Some(n) = rest.strip_prefix(['V', 'S']) {
            let digits = n.bytes().all(|b| b.is_ascii_digit());
            let n = n.parse().ok().filter(|&n| digits && Self::FixedBytes(n).check().is_ok());
            return n.map(|n| (Self::FixedBytes(n), ByteOrder::Little)).ok_or_else(unknown);
        }
        let found = Self::ALL.into_iter().find(|d| d.npy_descr()[1..] == *rest);
        let dtype = found.ok_or_else(unknown)?;
        Ok((dtype, if dtype.size() == 1 { ByteOrder::Little } else { order }))
    }
}

fn native() -> ByteOrder {
    if cfg!(target_endian = "big") { ByteOrder::Big } else { ByteOrder::Little }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "bool",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::UInt8 => "uint8",
            Self::UInt16 => "uint16",
            Self::UInt32 => "uint32",
            Self::UInt64 => "uint64",
            Self::Float16 => "float16",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Complex64 => "complex64",
            Self::Complex128 => "complex128",
            Self::Datetime64(unit) => return write!(f, "datetime64[{}]", unit.abbreviation()),
            Self::Timedelta64(unit) => return write!(f, "timedelta64[{}]", unit.abbreviation()),
            Self::Bfloat16 => "bfloat16",
            Self::FixedBytes(n) => return write!(f, "bytes[{n}]"),
            Self::Utf8 => "utf8",
            Self::Binary => "binary",
        })
    }
}

impl FromStr for DType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let with_unit = |prefix: &str| text.strip_prefix(prefix)?.strip_suffix(']').and_then(TimeUnit::parse);
        if let Some(unit) = with_unit("datetime64[") {
            return Ok(Self::Datetime64(unit));
        }
        if let Some(unit) = with_unit("timedelta64[") {
            return Ok(Self::Timedelta64(unit));
        }
        if let Some(n) = text.strip_prefix("bytes[").and_then(|n| n.strip_suffix(']')?.parse().ok()) {
            return Self::FixedBytes(n).check().map(|()| Self::FixedBytes(n));
        }
        Self::ALL
            .into_iter()
            .chain([Self::Bfloat16, Self::Utf8, Self::Binary])
            .find(|d| d.to_string() == text)
            .ok_or_else(|| Error::unsupported(format!("unknown dtype {text:?}")))
    }
}

impl serde::Serialize for DType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for DType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
