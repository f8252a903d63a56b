//! The JSON at the start of the file.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use hyperslab_core::{Error, Result};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The longest header that the format's own library reads.
pub(super) const MAX_BYTES: u64 = 100_000_000;
/// As many axes as a field has at most.
const MAX_AXES: usize = 32;
/// The key of the file's attributes.
pub(super) const METADATA: &str = "__metadata__";

#[derive(Debug)]
pub(super) struct Header {
    pub(super) tensors: Vec<Tensor>,
    pub(super) metadata: Vec<(String, String)>,
}

#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) dtype: String,
    pub(super) shape: Vec<u64>,
    /// Where the values are in the file.
    pub(super) range: Range<usize>,
}

impl Header {
    /// Parses the header of a whole file, and checks it against the file's length. Tensors come in the order of their
    /// values.
    pub(super) fn parse(file: &[u8]) -> Result<Self> {
        let Some((length, rest)) = file.split_first_chunk::<8>() else {
            return Err(Error::corrupt(format!(
                "this is no .safetensors file: it has {} bytes, fewer than the 8 that its header's length takes",
                file.len()
            )));
        };
        let length = u64::from_le_bytes(*length);
        if length > MAX_BYTES {
            return Err(Error::corrupt(format!(
                "this is no .safetensors file: the header claims to be {length} bytes long, and at most {MAX_BYTES} are read"
            )));
        }
        let json = usize::try_from(length).ok().and_then(|n| rest.get(..n)).ok_or_else(|| {
            let found = rest.len();
            Error::corrupt(format!(
                "the header claims to be {length} bytes long and {found} are there; the file is an incomplete copy"
            ))
        })?;
        if json.first() != Some(&b'{') {
            return Err(Error::corrupt("this is no .safetensors file: the header does not start with '{'"));
        }
        let bad = |e: serde_json::Error| Error::corrupt("the header is not understood").because(e);
        let parsed: Parsed = serde_json::from_slice(json).map_err(bad)?;
        let start = 8 + json.len();
        let mut tensors = Vec::with_capacity(parsed.tensors.len());
        for (name, info) in parsed.tensors {
            let range = check(&info, file.len() - start).map_err(|e| e.with("array", &name))?;
            tensors.push(Tensor {
                dtype: info.dtype,
                shape: info.shape.0,
                range: start + range.start..start + range.end,
                name,
            });
        }
        tensors.sort_by_key(|t| (t.range.start, t.range.end));
        let mut end = start;
        for tensor in &tensors {
            if tensor.range.start != end {
                let what = if tensor.range.start < end { "overlap those" } else { "leave a hole after those" };
                return Err(
                    Error::corrupt(format!("the values {what} of the tensor before")).with("array", &tensor.name)
                );
            }
            end = tensor.range.end;
        }
        if end != file.len() {
            let more = file.len() - end;
            return Err(Error::corrupt(format!(
                "{more} bytes follow the last tensor; the file was not written as one"
            )));
        }
        Ok(Self { tensors, metadata: parsed.metadata })
    }
}

/// The range of a tensor's values among all values.
fn check(info: &Info, available: usize) -> Result<Range<usize>> {
    let (start, end) = info.data_offsets;
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok()).filter(|(s, e)| s <= e);
    let Some((start, end)) = range else {
        return Err(Error::corrupt(format!("the values cannot be at offsets {start} to {end}")));
    };
    if end > available {
        return Err(Error::corrupt(format!(
            "the values are at offsets {start} to {end}, and the file has {available} bytes of values; it is an incomplete \
             copy"
        )));
    }
    let shape = &info.shape.0;
    let too_large = || Error::corrupt(format!("shape {shape:?} of {} is larger than any file", info.dtype));
    let elements = shape.iter().try_fold(1_u64, |n, &axis| n.checked_mul(axis)).ok_or_else(too_large)?;
    if let Some(bits) = bits(&info.dtype) {
        let expected = elements.checked_mul(bits).ok_or_else(too_large)?;
        if expected != (end - start) as u64 * 8 {
            return Err(Error::corrupt(format!(
                "shape {shape:?} of {} takes {} bytes, and offsets {start} to {end} are {}",
                info.dtype,
                expected.div_ceil(8),
                end - start
            )));
        }
    }
    Ok(start..end)
}

/// Bits per element of the format's dtypes; those that came later are not checked.
fn bits(dtype: &str) -> Option<u64> {
    Some(match super::dtype(dtype) {
        Some(known) => known.size() as u64 * 8,
        None => match dtype.split('_').next() {
            Some("F4") => 4,
            Some("F6") => 6,
            Some("F8") => 8,
            _ => return None,
        },
    })
}

struct Parsed {
    tensors: Vec<(String, Info)>,
    metadata: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Shape,
    data_offsets: (u64, u64),
}

struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Parsed;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
                let mut parsed = Parsed { tensors: Vec::new(), metadata: Vec::new() };
                let mut seen = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(serde::de::Error::custom(format!("{name:?} is there twice")));
                    }
                    if name == METADATA {
                        parsed.metadata = map.next_value::<Texts>()?.0;
                    } else {
                        let info = map.next_value::<Info>();
                        let info = info.map_err(|e| serde::de::Error::custom(format!("tensor {name:?}: {e}")))?;
                        parsed.tensors.push((name, info));
                    }
                }
                Ok(parsed)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// An object of texts, in order.
struct Texts(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Texts(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Axes;
        impl<'de> Visitor<'de> for Axes {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "at most {MAX_AXES} lengths")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
                let mut axes = Vec::new();
                while axes.len() < MAX_AXES {
                    let Some(axis) = seq.next_element()? else { return Ok(Shape(axes)) };
                    axes.push(axis);
                }
                match seq.next_element::<IgnoredAny>()? {
                    Some(_) => Err(serde::de::Error::custom(format!("a shape of more than {MAX_AXES} axes"))),
                    None => Ok(Shape(axes)),
                }
            }
        }
        deserializer.deserialize_seq(Axes)
    }
}
