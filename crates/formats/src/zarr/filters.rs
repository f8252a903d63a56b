//! Filters of numbers: numcodecs' delta, fixedscaleoffset, quantize, astype and packbits, and scale_offset and cast_value of
//! zarr-extensions. They are undone and not applied.
//!
//! Sources: <https://numcodecs.readthedocs.io/en/stable/filter/index.html>,
//! <https://github.com/zarr-developers/zarr-extensions/tree/main/codecs>.

use std::borrow::Cow;

use hyperslab_core::{ByteOrder, DType, Error, Result};
use serde_json::Value;

/// A filter of the elements of a chunk, in the order in which they are stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Filter {
    kind: Kind,
    /// What is stored.
    stored: Numbers,
    /// What it becomes.
    becomes: Numbers,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Each is the difference to the one before.
    Delta,
    /// `stored / scale + offset`.
    ScaleOffset { offset: f64, scale: f64 },
    /// The same of integers, which have to be multiples of the scale.
    Multiples { offset: i128, scale: i128 },
    /// Another dtype, as NumPy casts.
    Cast,
    /// Another dtype of the same values, and one value that stands for another.
    Value { beyond: Beyond, map: Option<(Number, Number)> },
    /// Eight bools in a byte, after a byte that says how many there are too many.
    PackBits,
}

/// What integers become that a dtype does not hold.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Beyond {
    Error,
    /// The nearest that it holds.
    Clamp,
    /// What their last bits are.
    Wrap,
}

/// Numbers as bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Numbers {
    dtype: DType,
    order: ByteOrder,
}

impl Filter {
    /// The filter of a name, if it is one of these and what it says is sensible. `dtype`: that of the array, where it does
    /// not say one.
    pub(super) fn new(name: &str, configuration: &Value, dtype: Option<DType>) -> Option<Self> {
        let default = || dtype.map(|dtype| Numbers { dtype, order: ByteOrder::Little });
        let numbers = |key: &str, default: &dyn Fn() -> Option<Numbers>| match &configuration[key] {
            Value::String(text) => Numbers::new(text),
            Value::Null => default(),
            _ => None,
        };
        let becomes = || numbers("dtype", &default);
        let stored = || numbers("astype", &becomes);
        let number = |key: &str| configuration[key].as_f64();
        let (kind, stored, becomes) = match name {
            "delta" => (Kind::Delta, stored()?, becomes()?),
            "fixedscaleoffset" => {
                let (offset, scale) = (number("offset")?, number("scale")?);
                (Kind::ScaleOffset { offset, scale }, stored()?, becomes()?)
            }
            "quantize" => (Kind::Cast, stored()?, becomes()?),
            "astype" => (Kind::Cast, numbers("encode_dtype", &|| None)?, numbers("decode_dtype", &default)?),
            "packbits" => {
                let byte = |dtype| Numbers { dtype, order: ByteOrder::Little };
                (Kind::PackBits, byte(DType::UInt8), byte(DType::Bool))
            }
            "scale_offset" => (scale_offset(configuration, dtype?)?, default()?, default()?),
            "cast_value" => {
                let stored = Numbers::new(configuration["data_type"].as_str()?)?;
                (cast_value(configuration, stored.dtype, dtype?)?, stored, default()?)
            }
            _ => return None,
        };
        // A sum of floats is none of integers.
        let sums = kind != Kind::Delta || is_float(becomes.dtype) || !is_float(stored.dtype);
        sums.then_some(Self { kind, stored, becomes })
    }

    /// The dtype of what is stored.
    pub(super) fn stored_dtype(&self) -> DType {
        self.stored.dtype
    }

    /// Says in which order the bytes of what is stored are, and of what it becomes.
    pub(super) fn set_order(&mut self, stored: ByteOrder, becomes: ByteOrder) {
        (self.stored.order, self.becomes.order) = (stored, becomes);
    }

    /// The most bytes that are stored for so many.
    pub(super) fn stored_bytes(&self, bytes: usize) -> usize {
        match self.kind {
            Kind::PackBits => bytes / 8 + 2,
            _ => (bytes / self.becomes.dtype.size()).saturating_mul(self.stored.dtype.size()),
        }
    }

    /// Elements as they were before the filter, at most `most` bytes.
    pub(super) fn undo<'a>(&self, bytes: Cow<'a, [u8]>, most: usize) -> Result<Cow<'a, [u8]>> {
        let size = self.stored.dtype.size();
        let beyond = || Error::corrupt("a chunk has values beyond those of its dtype, when its filter is undone");
        let cut = || Error::corrupt("a chunk's bytes are no whole elements of its filter");
        let count = match self.kind {
            Kind::PackBits => bytes.len().saturating_sub(1).saturating_mul(8),
            _ if !bytes.len().is_multiple_of(size) => return Err(cut()),
            _ => bytes.len() / size,
        };
        // A bool too many in the last byte is cut off below.
        let room = match self.kind {
            Kind::PackBits => most.saturating_add(7),
            _ => most,
        };
        if count.checked_mul(self.becomes.dtype.size()).is_none_or(|bytes| bytes > room) {
            return Err(Error::corrupt("a chunk's bytes are more elements of its filter than a chunk has"));
        }
        let numbers = || bytes.chunks_exact(size).map(|element| self.stored.get(element));
        let mut to = Vec::with_capacity(count * self.becomes.dtype.size());
        let becomes = self.becomes;
        match self.kind {
            Kind::Cast if self.stored == becomes => return Ok(bytes),
            Kind::Cast => numbers().for_each(|number| becomes.put(number, &mut to)),
            Kind::Delta if is_float(becomes.dtype) => {
                let mut sum = 0.0;
                for number in numbers() {
                    sum = round(becomes.dtype, sum + round(becomes.dtype, number.float()));
                    becomes.put(Number::Float(sum), &mut to);
                }
            }
            Kind::Delta => {
                let mut sum = 0_i128;
                for number in numbers() {
                    sum = sum.wrapping_add(number.integer());
                    becomes.put(Number::Integer(sum), &mut to);
                }
            }
            Kind::ScaleOffset { offset, scale } => {
                // As NumPy: floats stay what they are, and of integers it makes float64.
                let as_is = if is_float(self.stored.dtype) { self.stored.dtype } else { DType::Float64 };
                let (offset, scale) = (round(as_is, offset), round(as_is, scale));
                for number in numbers() {
                    let scaled = round(as_is, round(as_is, number.float() / scale) + offset);
                    becomes.put(Number::Float(scaled), &mut to);
                }
            }
            Kind::Multiples { offset, scale } => {
                for number in numbers() {
                    let whole = number.integer().checked_rem(scale) == Some(0);
                    let scaled = (number.integer().checked_div(scale)).and_then(|n| n.checked_add(offset));
                    let scaled = scaled.filter(|&n| whole && holds(becomes.dtype, n)).ok_or_else(beyond)?;
                    becomes.put(Number::Integer(scaled), &mut to);
                }
            }
            Kind::Value { beyond: what, map } => {
                for number in numbers() {
                    let number = match map {
                        Some((from, to)) if number.is_same(from) => to,
                        _ => number,
                    };
                    becomes.put(value(number, becomes.dtype, what).ok_or_else(beyond)?, &mut to);
                }
            }
            Kind::PackBits => {
                let (&excess, packed) = bytes.split_first().ok_or_else(cut)?;
                to.extend(packed.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)));
                to.truncate(to.len().checked_sub(usize::from(excess)).ok_or_else(cut)?);
            }
        }
        Ok(Cow::Owned(to))
    }
}

/// Of floats a missing offset is 0, and a missing scale 1.
fn scale_offset(configuration: &Value, dtype: DType) -> Option<Kind> {
    let (offset, scale) = (&configuration["offset"], &configuration["scale"]);
    if is_float(dtype) {
        let number = |value: &Value, missing| if value.is_null() { Some(missing) } else { value.as_f64() };
        return Some(Kind::ScaleOffset { offset: number(offset, 0.0)?, scale: number(scale, 1.0)? });
    }
    let number = |value: &Value, missing| match value.is_null() {
        true => Some(missing),
        false => value.as_i64().map(i128::from).or(value.as_u64().map(i128::from)),
    };
    let (offset, scale) = (number(offset, 0)?, number(scale, 1)?);
    (dtype.is_real() && scale != 0).then_some(Kind::Multiples { offset, scale })
}

/// A cast to `becomes`, which holds what is stored, or is of integers.
fn cast_value(configuration: &Value, stored: DType, becomes: DType) -> Option<Kind> {
    let map = match configuration["scalar_map"]["decode"].as_array().map(Vec::as_slice) {
        None | Some([]) => None,
        Some([pair]) => Some((scalar(&pair[0], stored)?, scalar(&pair[1], becomes)?)),
        Some(_) => return None,
    };
    let beyond = match configuration["out_of_range"].as_str() {
        None => Beyond::Error,
        Some("clamp") => Beyond::Clamp,
        Some("wrap") => Beyond::Wrap,
        Some(_) => return None,
    };
    let digits = |dtype: DType| match dtype {
        DType::Bfloat16 => 8,
        DType::Float16 => 11,
        DType::Float32 => 24,
        DType::Float64 => 53,
        dtype => dtype.size() * 8,
    };
    let nearest = matches!(configuration["rounding"].as_str(), None | Some("nearest-even"));
    let fits = match (is_float(stored), is_float(becomes)) {
        (true, true) => stored == becomes || (digits(stored) < digits(becomes) && becomes != DType::Float16),
        (false, true) => nearest || digits(stored) <= digits(becomes),
        (true, false) => nearest,
        (false, false) => true,
    };
    (fits && stored.is_real() && becomes.is_real()).then_some(Kind::Value { beyond, map })
}

/// A number of a `scalar_map`, which is one of this dtype: of an integer all digits count.
fn scalar(value: &Value, dtype: DType) -> Option<Number> {
    let float = match value.as_str() {
        Some("NaN") => f64::NAN,
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        _ => value.as_f64()?,
    };
    let integer = value.as_i64().map(i128::from).or(value.as_u64().map(i128::from));
    Some(match integer {
        Some(integer) if !is_float(dtype) => Number::Integer(integer),
        _ if !is_float(dtype) && float.fract() == 0.0 => Number::Integer(float as i128),
        _ => Number::Float(round(dtype, float)),
    })
}

/// Whether an integer dtype has a value.
fn holds(dtype: DType, number: i128) -> bool {
    let (least, most) = range(dtype);
    (least..=most).contains(&number)
}

/// The least and the largest value of an integer dtype.
fn range(dtype: DType) -> (i128, i128) {
    let bits = 8 * dtype.size() as u32;
    match dtype {
        DType::Int8 | DType::Int16 | DType::Int32 | DType::Int64 => {
            (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1)
        }
        _ => (0, (1_i128 << bits.min(126)) - 1),
    }
}

/// The value of a dtype that is the number.
fn value(number: Number, dtype: DType, beyond: Beyond) -> Option<Number> {
    if is_float(dtype) {
        return Some(number);
    }
    let whole = match number {
        Number::Integer(n) => n,
        Number::Float(n) if n.is_nan() => return None,
        Number::Float(n) if n.is_infinite() && beyond != Beyond::Clamp => return None,
        Number::Float(n) => n.round_ties_even() as i128,
    };
    let (least, most) = range(dtype);
    match beyond {
        Beyond::Wrap => Some(Number::Integer(whole)),
        Beyond::Clamp => Some(Number::Integer(whole.clamp(least, most))),
        Beyond::Error => holds(dtype, whole).then_some(Number::Integer(whole)),
    }
}

/// A number of any dtype.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Number {
    Integer(i128),
    Float(f64),
}

impl Number {
    fn float(self) -> f64 {
        match self {
            Self::Integer(n) => n as f64,
            Self::Float(n) => n,
        }
    }

    /// Whether both are the same number of one dtype. All NaN are.
    fn is_same(self, other: Self) -> bool {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a == b || (a.is_nan() && b.is_nan()),
            _ => false,
        }
    }

    /// As in NumPy, the part after the point is dropped.
    fn integer(self) -> i128 {
        match self {
            Self::Integer(n) => n,
            Self::Float(n) => n as i128,
        }
    }
}

impl Numbers {
    /// A dtype by NumPy's `descr` or name.
    fn new(text: &str) -> Option<Self> {
        let by_name = || text.parse().ok().map(|dtype| (dtype, ByteOrder::Little));
        let found = DType::from_npy_descr(text).ok().or_else(by_name);
        found.filter(|(dtype, _)| dtype.is_real() || *dtype == DType::Bool).map(|(dtype, order)| Self { dtype, order })
    }

    /// An element, of as many bytes as the dtype has.
    fn get(self, element: &[u8]) -> Number {
        let mut eight = [0; 8];
        for (i, &byte) in element.iter().take(8).enumerate() {
            let at = if self.order == ByteOrder::Big { element.len() - 1 - i } else { i };
            if let Some(slot) = eight.get_mut(at) {
                *slot = byte;
            }
        }
        let two = [eight[0], eight[1]];
        let four = [eight[0], eight[1], eight[2], eight[3]];
        match self.dtype {
            DType::Float16 => Number::Float(half::f16::from_le_bytes(two).to_f64()),
            DType::Bfloat16 => Number::Float(half::bf16::from_le_bytes(two).to_f64()),
            DType::Float32 => Number::Float(f32::from_le_bytes(four).into()),
            DType::Float64 => Number::Float(f64::from_le_bytes(eight)),
            DType::Int8 => Number::Integer(i8::from_le_bytes([eight[0]]).into()),
            DType::Int16 => Number::Integer(i16::from_le_bytes(two).into()),
            DType::Int32 => Number::Integer(i32::from_le_bytes(four).into()),
            DType::Int64 => Number::Integer(i64::from_le_bytes(eight).into()),
            _ => Number::Integer(u64::from_le_bytes(eight).into()),
        }
    }

    fn put(self, number: Number, to: &mut Vec<u8>) {
        let start = to.len();
        match self.dtype {
            DType::Float16 => to.extend(half::f16::from_f64(number.float()).to_le_bytes()),
            DType::Bfloat16 => to.extend(half::bf16::from_f64(number.float()).to_le_bytes()),
            // Not by way of a float64, which would round an integer twice.
            DType::Float32 => to.extend(match number {
                Number::Integer(n) => (n as f32).to_le_bytes(),
                Number::Float(n) => (n as f32).to_le_bytes(),
            }),
            DType::Float64 => to.extend(number.float().to_le_bytes()),
            DType::Bool => to.push(u8::from(match number {
                Number::Integer(n) => n != 0,
                Number::Float(n) => n != 0.0,
            })),
            dtype => to.extend(&number.integer().to_le_bytes()[..dtype.size()]),
        }
        if self.order == ByteOrder::Big {
            to[start..].reverse();
        }
    }
}

fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::Float16 | DType::Bfloat16 | DType::Float32 | DType::Float64)
}

/// The number of a dtype that is nearest. What adds or divides two of it as float64 and rounds then rounds as it would.
fn round(dtype: DType, number: f64) -> f64 {
    match dtype {
        DType::Float16 => half::f16::from_f64(number).to_f64(),
        DType::Bfloat16 => half::bf16::from_f64(number).to_f64(),
        DType::Float32 => f64::from(number as f32),
        _ => number,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn filters_are_undone() {
        let undo = |name: &str, configuration: Value, bytes: &[u8], most: usize| {
            Filter::new(name, &configuration, None).unwrap().undo(Cow::Borrowed(bytes), most).map(Cow::into_owned)
        };
        let delta = json!({"dtype": ">i2", "astype": "|i1"});
        assert_eq!(undo("delta", delta.clone(), &[100, 2, 0xff], 6).unwrap(), [0, 100, 0, 102, 0, 101]);
        assert!(undo("delta", delta, &[100, 2, 0xff], 4).is_err(), "more than a chunk has");
        assert!(undo("delta", json!({"dtype": "<i2"}), &[1, 2, 3], 90).is_err(), "no whole elements");
        let scaled = json!({"dtype": "<f4", "astype": "u1", "offset": 1000, "scale": 10});
        let want: Vec<u8> = [1000.0_f32, 1000.7].iter().flat_map(|n| n.to_le_bytes()).collect();
        assert_eq!(undo("fixedscaleoffset", scaled, &[0, 7], 8).unwrap(), want);
        let cast = json!({"encode_dtype": ">f4", "decode_dtype": "<i2"});
        assert_eq!(undo("astype", cast, &(-2.75_f32).to_be_bytes(), 2).unwrap(), (-2_i16).to_le_bytes());
        assert_eq!(undo("packbits", json!({}), &[4, 0x90], 4).unwrap(), [1, 0, 0, 1]);
        assert!(undo("packbits", json!({}), &[9, 0x90], 8).is_err());
        assert!(undo("packbits", json!({}), &[], 8).is_err());
        assert!(undo("packbits", json!({}), &[0; 9], 8).is_err());
        assert!(Filter::new("delta", &json!({"dtype": "<i4", "astype": "<f4"}), None).is_none());
        assert!(Filter::new("delta", &json!({"dtype": "<c8"}), None).is_none());
        assert!(Filter::new("categorize", &json!({"dtype": "<i4"}), None).is_none());
        let undo = |name: &str, configuration: Value, dtype, bytes: &[u8]| {
            Filter::new(name, &configuration, Some(dtype))?.undo(Cow::Borrowed(bytes), 100).map(Cow::into_owned).ok()
        };
        let multiples = json!({"offset": 100, "scale": 3});
        assert_eq!(undo("scale_offset", multiples.clone(), DType::UInt8, &[9, 253, 0]), None, "253 is no multiple");
        assert_eq!(undo("scale_offset", multiples.clone(), DType::UInt8, &[9, 0]), Some(vec![103, 100]));
        assert_eq!(undo("scale_offset", multiples, DType::Int8, &[9, 84]), None, "128 is no int8");
        assert_eq!(undo("scale_offset", json!({"scale": 0}), DType::Int8, &[9]), None);
        let cast = |extra: Value| {
            let mut all = json!({"data_type": "int16"});
            all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            undo("cast_value", all, DType::UInt8, &[0xff, 0xff, 7, 1])
        };
        assert_eq!(cast(json!({})), None);
        assert_eq!(cast(json!({"out_of_range": "clamp"})), Some(vec![0, 255]));
        assert_eq!(cast(json!({"out_of_range": "wrap"})), Some(vec![255, 7]));
        assert_eq!(cast(json!({"scalar_map": {"decode": [[-1, 9]]}, "out_of_range": "wrap"})), Some(vec![9, 7]));
        let float = |bytes: f32| undo("cast_value", json!({"data_type": "float32"}), DType::Int8, &bytes.to_le_bytes());
        assert_eq!(
            (float(2.5), float(-3.5), float(f32::NAN), float(1e9)),
            (Some(vec![2]), Some(vec![252]), None, None)
        );
        assert!(Filter::new("cast_value", &json!({"data_type": "float64"}), Some(DType::Float32)).is_none());
    }

    #[test]
    fn what_stands_for_another_value_is_compared_exactly() {
        let undo = |stored: &str, map: Value, dtype, bytes: &[u8]| {
            let cast = json!({"data_type": stored, "scalar_map": {"decode": [map]}});
            Filter::new("cast_value", &cast, Some(dtype)).unwrap().undo(Cow::Borrowed(bytes), 100).unwrap().into_owned()
        };
        let floats = |bytes: Vec<u8>| -> Vec<String> {
            bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b).to_string()).collect()
        };
        let ends = [i64::MIN, i64::MIN + 1, i64::MAX].map(i64::to_le_bytes).concat();
        let (low, high) = ("-9223372036854776000", "9223372036854776000");
        assert_eq!(floats(undo("int64", json!([i64::MIN, "NaN"]), DType::Float64, &ends)), ["NaN", low, high]);
        assert_eq!(floats(undo("int64", json!([-(2_f64.powi(63)), 0.5]), DType::Float64, &ends)), ["0.5", low, high]);
        let ends = [u64::MAX - 1, u64::MAX].map(u64::to_le_bytes).concat();
        assert_eq!(
            floats(undo("uint64", json!([u64::MAX, "Infinity"]), DType::Float64, &ends)),
            ["18446744073709552000", "inf"]
        );
        let stored = [f64::NAN, 3.0].map(f64::to_le_bytes).concat();
        let most = [i64::MAX, 3].map(i64::to_le_bytes).concat();
        assert_eq!(undo("float64", json!(["NaN", i64::MAX]), DType::Int64, &stored), most);
        assert_eq!(undo("float32", json!([0.1, 7]), DType::Int8, &0.1_f32.to_le_bytes()), [7]);
    }
}
