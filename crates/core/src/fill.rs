//! Fill values: what rows and cells hold that nobody wrote.

use serde_json::{Value, json};

use crate::{DType, Element, Error, Result};

/// One element, to be read where nobody wrote anything.
///
/// In JSON it is a bool, a number or a text where these hold it exactly, and `{"hex": "…"}`, its little-endian bytes,
/// where they do not (NaN, infinity, complex numbers, bytes).
///
/// ```
/// use hyperslab_core::{DType, Fill};
/// assert_eq!(Fill::of(-1_i64).to_json(DType::Int64).to_string(), "-1");
/// assert_eq!(Fill::of(f32::NAN).to_json(DType::Float32).to_string(), r#"{"hex":"0000c07f"}"#);
/// assert_eq!(Fill::text("none").to_json(DType::Utf8).to_string(), "\"none\"");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fill {
    /// Little-endian, as in a shard.
    element: Vec<u8>,
}

impl Fill {
    /// A number, bool or time.
    pub fn of<T: Element>(value: T) -> Self {
        Self { element: value.le_bytes() }
    }

    /// A text.
    pub fn text(value: impl Into<String>) -> Self {
        Self { element: value.into().into_bytes() }
    }

    /// The little-endian bytes of an element of any dtype.
    pub fn from_bytes(element: impl Into<Vec<u8>>) -> Self {
        Self { element: element.into() }
    }

    /// The little-endian bytes of the element.
    pub fn as_bytes(&self) -> &[u8] {
        &self.element
    }

    /// Whether it is what stands where nothing was written anyway: bytes of 0, or none.
    pub fn is_zero(&self) -> bool {
        self.element.iter().all(|&b| b == 0)
    }

    /// Holds it against a dtype.
    pub(crate) fn check(&self, dtype: DType) -> Result<()> {
        let bad = |why: String| Err(Error::invalid(format!("a fill value of {dtype}: {why}")));
        match dtype {
            DType::Utf8 if std::str::from_utf8(&self.element).is_err() => bad("it is not UTF-8".into()),
            DType::Utf8 | DType::Binary => Ok(()),
            DType::Bool if !matches!(self.element.as_slice(), [0 | 1]) => bad("it is neither 0 nor 1".into()),
            _ if self.element.len() != dtype.size() => bad(format!("it has {} bytes", self.element.len())),
            _ => Ok(()),
        }
    }

    /// As JSON, for a field of the dtype.
    pub fn to_json(&self, dtype: DType) -> Value {
        let bytes = self.element.as_slice();
        let signed = || {
            let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
            let mut wide = [if negative { 0xff } else { 0 }; 8];
            wide.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            i64::from_le_bytes(wide)
        };
        let float = match (dtype, bytes) {
            (DType::Float32, &[a, b, c, d]) => Some(f64::from(f32::from_le_bytes([a, b, c, d]))),
            (DType::Float64, _) => bytes.try_into().ok().map(f64::from_le_bytes),
            (DType::Float16, &[a, b]) => Some(half::f16::from_le_bytes([a, b]).to_f64()),
            (DType::Bfloat16, &[a, b]) => Some(half::bf16::from_le_bytes([a, b]).to_f64()),
            _ => None,
        };
        let value = match dtype {
            DType::Bool => json!(bytes.first().is_some_and(|&b| b != 0)),
            DType::UInt8 | DType::UInt16 | DType::UInt32 | DType::UInt64 => {
                let mut wide = [0; 8];
                wide.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                json!(u64::from_le_bytes(wide))
            }
            DType::Int8 | DType::Int16 | DType::Int32 | DType::Int64 => json!(signed()),
            DType::Datetime64(_) | DType::Timedelta64(_) => json!(signed()),
            DType::Utf8 => json!(String::from_utf8_lossy(bytes)),
            _ => float.filter(|x| x.is_finite()).map_or(Value::Null, |x| json!(x)),
        };
        // A number that comes back as another one is written as its bytes.
        let back = serde_json::from_str(&value.to_string()).ok().and_then(|v| Self::from_json(dtype, &v).ok());
        if back.as_ref() == Some(self) { value } else { json!({ "hex": hex(bytes) }) }
    }

    /// From JSON, for a field of the dtype.
    ///
    /// # Errors
    /// `Invalid` for what is no element of the dtype.
    pub fn from_json(dtype: DType, value: &Value) -> Result<Self> {
        let bad = || Error::invalid(format!("{value} is no fill value of {dtype}"));
        let cut = |wide: [u8; 8]| wide.get(..dtype.size()).map(<[u8]>::to_vec);
        let element = match (dtype, value) {
            (_, Value::Object(map)) if map.len() == 1 => {
                map.get("hex").and_then(Value::as_str).and_then(from_hex).ok_or_else(bad)?
            }
            (DType::Bool, Value::Bool(b)) => vec![u8::from(*b)],
            (DType::Utf8, Value::String(text)) => text.clone().into_bytes(),
            (DType::Float32, Value::Number(_)) => {
                // From 64 bits, as it was written.
                let x = value.as_f64().ok_or_else(bad)?;
                (x as f32).to_le_bytes().to_vec()
            }
            (DType::Float64, Value::Number(_)) => value.as_f64().ok_or_else(bad)?.to_le_bytes().to_vec(),
            (DType::Float16, Value::Number(_)) => {
                half::f16::from_f64(value.as_f64().ok_or_else(bad)?).to_le_bytes().to_vec()
            }
            (DType::Bfloat16, Value::Number(_)) => {
                half::bf16::from_f64(value.as_f64().ok_or_else(bad)?).to_le_bytes().to_vec()
            }
            (DType::UInt8 | DType::UInt16 | DType::UInt32 | DType::UInt64, Value::Number(_)) => {
                let n = value.as_u64().filter(|n| n.checked_shr(dtype.size() as u32 * 8).unwrap_or(0) == 0);
                cut(n.ok_or_else(bad)?.to_le_bytes()).ok_or_else(bad)?
            }
            (_, Value::Number(_)) if dtype.is_real() || is_time(dtype) => {
                let n = value.as_i64().ok_or_else(bad)?;
                let rest = n >> (dtype.size() as u32 * 8 - 1).min(63);
                if rest != 0 && rest != -1 {
                    return Err(bad());
                }
                cut(n.to_le_bytes()).ok_or_else(bad)?
            }
            _ => return Err(bad()),
        };
        let fill = Self { element };
        fill.check(dtype)?;
        Ok(fill)
    }
}

fn is_time(dtype: DType) -> bool {
    matches!(dtype, DType::Datetime64(_) | DType::Timedelta64(_))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.is_ascii() && text.len().is_multiple_of(2);
    let byte = |i: usize| u8::from_str_radix(text.get(i..i + 2)?, 16).ok();
    digits.then(|| (0..text.len()).step_by(2).map(byte).collect()).flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::TimeUnit;

    #[test]
    fn every_element_survives_json() {
        let fills = [
            (DType::Bool, Fill::of(crate::Bool8(1))),
            (DType::Int8, Fill::of(-128_i8)),
            (DType::Int64, Fill::of(i64::MIN)),
            (DType::UInt8, Fill::of(255_u8)),
            (DType::UInt64, Fill::of(u64::MAX)),
            (DType::Float16, Fill::of(half::f16::from_f32(0.1))),
            (DType::Bfloat16, Fill::of(half::bf16::from_f32(-3.5))),
            (DType::Float32, Fill::of(0.1_f32)),
            (DType::Float32, Fill::of(-0.0_f32)),
            (DType::Float64, Fill::of(f64::NEG_INFINITY)),
            (DType::Float64, Fill::of(f64::MIN_POSITIVE / 3.0)),
            (DType::Float64, Fill::from_bytes(0x7ff8_0000_0000_1234_u64.to_le_bytes())),
            (DType::Complex64, Fill::of(num_complex::Complex::new(1_f32, -2.0))),
            (DType::Datetime64(TimeUnit::Second), Fill::of(crate::Datetime64(i64::MIN))),
            (DType::FixedBytes(3), Fill::from_bytes([0, 255, 7])),
            (DType::Utf8, Fill::text("a \"quoted\" ☃")),
            (DType::Binary, Fill::from_bytes([])),
        ];
        for (dtype, fill) in fills {
            let text = fill.to_json(dtype).to_string();
            let back = Fill::from_json(dtype, &serde_json::from_str(&text).unwrap()).unwrap();
            assert_eq!(back, fill, "{dtype} {text}");
        }
    }

    #[test]
    fn other_values_are_refused() {
        for (dtype, text) in [
            (DType::Int8, "128"),
            (DType::Int8, "-129"),
            (DType::UInt8, "256"),
            (DType::UInt16, "-1"),
            (DType::Bool, "1"),
            (DType::Float32, "\"x\""),
            (DType::Float32, r#"{"hex":"00"}"#),
            (DType::Binary, r#"{"hex":"0"}"#),
            (DType::Binary, r#"{"hex":"é"}"#),
            (DType::Utf8, r#"{"hex":"ff"}"#),
            (DType::Complex64, "1"),
            (DType::FixedBytes(8), "1"),
        ] {
            let value = serde_json::from_str(text).unwrap();
            assert!(Fill::from_json(dtype, &value).is_err(), "{dtype} {text}");
        }
    }
}
