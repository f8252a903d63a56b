//! Fill values: the element that stands for those of chunks that are not stored.

use hyperslab_core::{ByteOrder, DType, Result};
use serde_json::Value;

use super::dtypes::{Elements, member, members};
use super::metadata::{bad, unsupported};
use crate::npy::convert::swap_bytes;
use crate::raw::{Encoding, RawField};

/// The bytes of an element as they are stored; of text and bytes of variable length those. `data_type`: as the metadata
/// has it.
pub(super) fn fill_value(value: &Value, elements: &Elements, data_type: &Value) -> Result<Vec<u8>> {
    match elements {
        Elements::Variable(field) => variable(value, field.dtype()),
        Elements::Fixed(..) if is_nothing(value) => Ok(vec![0; elements.bytes()]),
        // A record's bytes, in base64.
        Elements::Fixed(fields, bytes) if is_structured(data_type) => match value {
            Value::String(text) => base64(text).filter(|b| b.len() == *bytes).ok_or_else(|| bad("fill_value")),
            Value::Object(_) => members_fill(value, data_type, fields, *bytes),
            _ => Err(unsupported("fill_value", value)),
        },
        Elements::Fixed(fields, bytes) => match fields.as_slice() {
            [field] => element(value, field, *bytes),
            _ => Err(bad("fill_value")),
        },
    }
}

/// What stands for zeros, whatever the dtype is.
fn is_nothing(value: &Value) -> bool {
    value.is_null() || *value == 0
}

fn is_structured(data_type: &Value) -> bool {
    data_type.is_array() || members(data_type).is_some()
}

fn variable(value: &Value, dtype: DType) -> Result<Vec<u8>> {
    match value {
        _ if is_nothing(value) => Ok(Vec::new()),
        Value::String(text) if dtype == DType::Utf8 => Ok(text.as_bytes().to_vec()),
        Value::String(text) => base64(text).ok_or_else(|| bad("fill_value")),
        Value::Array(_) => bytes_of(value).ok_or_else(|| bad("fill_value")),
        _ => Err(unsupported("fill_value", value)),
    }
}

/// The fill value of a `struct`: an object of those of its fields.
fn members_fill(value: &Value, data_type: &Value, fields: &[RawField], bytes: usize) -> Result<Vec<u8>> {
    let mut to = vec![0; bytes];
    let mut rest = fields.iter();
    members_at(value, data_type, &mut rest, &mut to)?;
    Ok(to)
}

fn members_at(value: &Value, data_type: &Value, fields: &mut std::slice::Iter<RawField>, to: &mut [u8]) -> Result<()> {
    for inner in members(data_type).into_iter().flatten() {
        let (name, data_type) = member(inner).ok_or_else(|| bad("fill_value"))?;
        let value = value.get(name).unwrap_or(&Value::Null);
        if is_structured(data_type) {
            members_at(value, data_type, fields, to)?;
            continue;
        }
        let field = fields.next().ok_or_else(|| bad("fill_value"))?;
        if !is_nothing(value) {
            to[field.offset..field.offset + field.bytes].copy_from_slice(&element(value, field, field.bytes)?);
        }
    }
    Ok(())
}

/// One element of a field, in the order in which it is stored.
fn element(value: &Value, field: &RawField, bytes: usize) -> Result<Vec<u8>> {
    let wrong = || bad("fill_value");
    let padded = |mut text: Vec<u8>| {
        let fits = text.len() <= bytes;
        text.resize(bytes, 0);
        fits.then_some(text).ok_or_else(wrong)
    };
    let dtype = field.spec.dtype();
    let (mut found, order, component) = match field.encoding {
        Encoding::Bytes => return padded(value.as_str().and_then(base64).ok_or_else(wrong)?),
        Encoding::Unicode(order) => {
            let text = value.as_str().ok_or_else(wrong)?;
            (padded(text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect())?, order, 4)
        }
        Encoding::Time(order, _) => (number(value, dtype).ok_or_else(wrong)?, order, 8),
        Encoding::Plain(_) if matches!(dtype, DType::FixedBytes(_)) => {
            return padded(value.as_str().and_then(base64).or_else(|| bytes_of(value)).ok_or_else(wrong)?);
        }
        Encoding::Plain(order) => (number(value, dtype).ok_or_else(wrong)?, order, dtype.component_size()),
    };
    if found.len() != bytes {
        return Err(wrong());
    }
    if order == ByteOrder::Big {
        swap_bytes(&mut found, component);
    }
    Ok(found)
}

/// A number as a little-endian element.
fn number(value: &Value, dtype: DType) -> Option<Vec<u8>> {
    let integer =
        || value.as_i64().map(i128::from).or(value.as_u64().map(i128::from)).or_else(|| whole(value.as_f64()?));
    Some(match dtype {
        DType::Bool => vec![u8::from(value.as_bool().or(integer().map(|n| n != 0))?)],
        DType::Float16 | DType::Bfloat16 | DType::Float32 | DType::Float64 => float(value, dtype)?,
        DType::Complex64 | DType::Complex128 => {
            let part = if dtype == DType::Complex64 { DType::Float32 } else { DType::Float64 };
            match value.as_array().map(Vec::as_slice) {
                Some([re, im]) => [float(re, part)?, float(im, part)?].concat(),
                _ => [float(value, part)?, vec![0; part.size()]].concat(),
            }
        }
        DType::Datetime64(_) | DType::Timedelta64(_) if value == "NaT" => i64::MIN.to_le_bytes().to_vec(),
        _ => integer()?.to_le_bytes()[..dtype.size()].to_vec(),
    })
}

/// `7.0` for 7.
fn whole(number: f64) -> Option<i128> {
    (number.fract() == 0.0 && number.abs() < 1e18).then_some(number as i128)
}

/// A number, `"NaN"`, `"Infinity"`, `"-Infinity"`, or `"0x…"`, its bits.
fn float(value: &Value, dtype: DType) -> Option<Vec<u8>> {
    let size = dtype.size();
    if let Some(bits) = value.as_str().and_then(|t| t.strip_prefix("0x")) {
        return u64::from_str_radix(bits, 16).ok().map(|bits| bits.to_le_bytes()[..size].to_vec());
    }
    let number = match value.as_str() {
        Some("NaN") => f64::NAN,
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        Some(_) => return None,
        None => value.as_f64()?,
    };
    Some(match dtype {
        DType::Float16 => half::f16::from_f64(number).to_le_bytes().to_vec(),
        DType::Bfloat16 => half::bf16::from_f64(number).to_le_bytes().to_vec(),
        DType::Float32 => (number as f32).to_le_bytes().to_vec(),
        _ => number.to_le_bytes().to_vec(),
    })
}

/// A list of bytes.
fn bytes_of(value: &Value) -> Option<Vec<u8>> {
    value.as_array()?.iter().map(|n| n.as_u64().and_then(|n| u8::try_from(n).ok())).collect()
}

/// The bytes that base64 stands for.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let mut to = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in digits.bytes() {
        let six = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            to.push((bits >> count) as u8);
        }
    }
    Some(to)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn base64_is_that_of_python() {
        for (text, bytes) in
            [("", &b""[..]), ("YQ==", b"a"), ("YWI=", b"ab"), ("YWJj", b"abc"), ("+/8A", b"\xfb\xff\0")]
        {
            assert_eq!(base64(text).as_deref(), Some(bytes), "{text}");
        }
        assert_eq!(base64("a b"), None);
    }

    #[test]
    fn no_time_is_a_value_of_times_alone() {
        let fill = |value: Value, data_type: Value| {
            fill_value(&value, &Elements::v3(&data_type, &[]).unwrap(), &data_type).map_err(|e| e.to_string())
        };
        let record = |data_type: &Value| json!({"name": "struct", "configuration": {"fields": [{"name": "a", "data_type": data_type}]}});
        let milliseconds = json!({"name": "numpy.datetime64", "configuration": {"unit": "ms"}});
        let weeks = json!({"name": "numpy.timedelta64", "configuration": {"unit": "W", "scale_factor": 2}});
        for data_type in [milliseconds, weeks] {
            assert_eq!(fill(json!({"a": "NaT"}), record(&data_type)).unwrap(), i64::MIN.to_le_bytes());
            assert_eq!(fill(json!("NaT"), data_type).unwrap(), i64::MIN.to_le_bytes());
        }
        for number in ["bool", "int8", "uint32", "int64", "float32", "complex64"] {
            for (value, data_type) in [(json!("NaT"), json!(number)), (json!({"a": "NaT"}), record(&json!(number)))] {
                let error = fill(value, data_type).unwrap_err();
                assert!(error.contains("fill_value"), "{number}: {error}");
            }
        }
    }
}
