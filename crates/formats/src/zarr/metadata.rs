//! What `zarr.json` (version 3) and `.zarray` (version 2) say of an array.
//!
//! Sources: <https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html>,
//! <https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html>.

use hyperslab_core::{ByteOrder, DType, Error, Result};
use serde_json::Value;

use super::codecs::Codec;

/// The most axes.
const MAX_AXES: usize = 32;

/// An array's metadata.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Metadata {
    pub(super) shape: Vec<u64>,
    /// The shape of what is compressed as one.
    pub(super) chunk: Vec<u64>,
    pub(super) element: Element,
    /// The fill value as a little-endian element; of text its bytes.
    pub(super) fill: Vec<u8>,
    /// Of the stored chunk: the axis of the array that each of its axes is, if not the same.
    pub(super) order: Option<Vec<usize>>,
    pub(super) codecs: Vec<Codec>,
    pub(super) shard: Option<Shard>,
    pub(super) keys: Keys,
    pub(super) attributes: Vec<(String, String)>,
}

/// Chunks that are kept together in one file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shard {
    /// How many chunks there are in it along each axis.
    pub(super) chunks: Vec<u64>,
    /// Whether its index is at the start, not the end.
    pub(super) index_first: bool,
    /// Whether the index has a checksum.
    pub(super) index_sum: bool,
    /// The codecs of the shard as a whole.
    pub(super) codecs: Vec<Codec>,
}

/// How one element is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) dtype: DType,
    pub(super) kind: Kind,
    /// Bytes of an element, if they are always as many.
    pub(super) bytes: usize,
}

/// What has to be done to the bytes of elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing but a change of the byte order.
    Plain(ByteOrder),
    /// Text of a fixed number of bytes, NULs at its end.
    Bytes,
    /// Text of a fixed number of characters of 4 bytes.
    Utf32(ByteOrder),
    /// Texts with their lengths before them.
    Variable,
}

/// How chunks are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keys {
    /// What comes before the numbers: `c` and a separator.
    pub(super) prefix: bool,
    pub(super) separator: char,
}

impl Keys {
    /// The name of a chunk.
    pub(super) fn key(&self, position: &[u64]) -> String {
        let mut parts: Vec<String> = if self.prefix { vec!["c".to_owned()] } else { Vec::new() };
        parts.extend(position.iter().map(u64::to_string));
        if parts.is_empty() { "0".to_owned() } else { parts.join(&self.separator.to_string()) }
    }
}

fn bad(what: &str) -> Error {
    Error::corrupt(format!("its metadata has no sensible {what}"))
}

fn unsupported(what: &str, value: &Value) -> Error {
    Error::unsupported(format!("its {what} {value} is not read; rewrite it with another one"))
}

fn numbers(value: &Value, what: &str) -> Result<Vec<u64>> {
    let all = value.as_array().and_then(|all| all.iter().map(Value::as_u64).collect::<Option<Vec<_>>>());
    all.filter(|all| all.len() <= MAX_AXES).ok_or_else(|| bad(what))
}

pub(super) fn attributes(object: &Value) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    object.as_object().map(|o| o.iter().map(|(k, v)| (k.clone(), text(v))).collect()).unwrap_or_default()
}

/// The name and the configuration of an extension point: `"name"`, or an object of both.
fn named(value: &Value) -> (&str, &Value) {
    match value.as_str() {
        Some(name) => (name, &Value::Null),
        None => (value["name"].as_str().or(value["id"].as_str()).unwrap_or_default(), &value["configuration"]),
    }
}

impl Metadata {
    /// From a `zarr.json` that is an array's.
    pub(super) fn v3(json: &Value) -> Result<Self> {
        let shape = numbers(&json["shape"], "shape")?;
        let (grid, configuration) = named(&json["chunk_grid"]);
        if grid != "regular" {
            return Err(unsupported("chunk grid", &json["chunk_grid"]));
        }
        let outer = numbers(&configuration["chunk_shape"], "chunk_shape")?;
        if let Some(transformers) = json["storage_transformers"].as_array().filter(|t| !t.is_empty()) {
            return Err(unsupported("storage transformers", &Value::Array(transformers.clone())));
        }
        let (encoding, configuration) = named(&json["chunk_key_encoding"]);
        let separator = configuration["separator"].as_str();
        let keys = match (encoding, separator) {
            ("default", None | Some("/")) => Keys { prefix: true, separator: '/' },
            ("default", Some(".")) => Keys { prefix: true, separator: '.' },
            ("v2", None | Some(".")) => Keys { prefix: false, separator: '.' },
            ("v2", Some("/")) => Keys { prefix: false, separator: '/' },
            _ => return Err(unsupported("chunk key encoding", &json["chunk_key_encoding"])),
        };
        let mut element = v3_element(&json["data_type"])?;
        let chain = Chain::read(&json["codecs"], shape.len(), &mut element)?;
        let (chunk, shard, chain) = match chain.sharding {
            None => (outer, None, chain),
            Some(ref configuration) => {
                let inner = numbers(&configuration["chunk_shape"], "chunk_shape of shards")?;
                let divides = |(&o, &i): (&u64, &u64)| i > 0 && o % i == 0;
                if inner.len() != outer.len() || !outer.iter().zip(&inner).all(divides) || chain.order.is_some() {
                    return Err(bad("chunk_shape of shards"));
                }
                let inside = Chain::read(&configuration["codecs"], shape.len(), &mut element)?;
                if inside.sharding.is_some() {
                    return Err(unsupported("sharding within shards", &json["codecs"]));
                }
                let index: Vec<_> = configuration["index_codecs"].as_array().into_iter().flatten().map(named).collect();
                let (("bytes", order), index_sum) = (match index.as_slice() {
                    [first] => (*first, false),
                    [first, ("crc32c", _)] => (*first, true),
                    _ => return Err(unsupported("index_codecs", &configuration["index_codecs"])),
                }) else {
                    return Err(unsupported("index_codecs", &configuration["index_codecs"]));
                };
                if order["endian"].as_str().is_some_and(|e| e != "little") {
                    return Err(unsupported("index_codecs", &configuration["index_codecs"]));
                }
                let shard = Shard {
                    chunks: outer.iter().zip(&inner).map(|(o, i)| o / i).collect(),
                    index_first: configuration["index_location"] == "start",
                    index_sum,
                    codecs: chain.codecs,
                };
                (inner, Some(shard), inside)
            }
        };
        let fill = fill_value(&json["fill_value"], element)?;
        let attributes = attributes(&json["attributes"]);
        let this =
            Self { shape, chunk, element, fill, order: chain.order, codecs: chain.codecs, shard, keys, attributes };
        this.checked()
    }

    /// From a `.zarray`, and its `.zattrs`.
    pub(super) fn v2(json: &Value, attributes_of: &Value) -> Result<Self> {
        let shape = numbers(&json["shape"], "shape")?;
        let chunk = numbers(&json["chunks"], "chunks")?;
        let mut codecs = Vec::new();
        let mut element = None;
        for filter in json["filters"].as_array().into_iter().flatten() {
            match filter["id"].as_str().unwrap_or_default() {
                "vlen-utf8" if json["dtype"] == "|O" => {
                    element = Some(Element { dtype: DType::Utf8, kind: Kind::Variable, bytes: 0 });
                }
                "vlen-bytes" if json["dtype"] == "|O" => {
                    element = Some(Element { dtype: DType::Binary, kind: Kind::Variable, bytes: 0 });
                }
                "shuffle" => codecs.push(codec("shuffle", filter).ok_or_else(|| unsupported("filter", filter))?),
                "crc32c" => codecs.push(Codec::Crc32c),
                _ => return Err(unsupported("filter", filter)),
            }
        }
        let element = match element {
            Some(element) => element,
            None => v2_element(&json["dtype"])?,
        };
        if let compressor @ Value::Object(_) = &json["compressor"] {
            let found = codec(compressor["id"].as_str().unwrap_or_default(), compressor);
            codecs.push(found.ok_or_else(|| unsupported("compressor", compressor))?);
        }
        let order = match json["order"].as_str() {
            Some("C") => None,
            Some("F") => Some((0..shape.len()).rev().collect()),
            _ => return Err(bad("order")),
        };
        let separator = match json["dimension_separator"].as_str() {
            None | Some(".") => '.',
            Some("/") => '/',
            Some(_) => return Err(bad("dimension_separator")),
        };
        let fill = fill_value(&json["fill_value"], element)?;
        let keys = Keys { prefix: false, separator };
        let attributes = attributes(attributes_of);
        Self { shape, chunk, element, fill, order, codecs, shard: None, keys, attributes }.checked()
    }

    fn checked(mut self) -> Result<Self> {
        if self.chunk.len() != self.shape.len() || self.chunk.contains(&0) {
            return Err(bad("chunk shape"));
        }
        // An order that changes nothing.
        let same = |order: &Vec<usize>| order.iter().enumerate().all(|(i, &axis)| i == axis);
        self.order = self.order.filter(|order| !same(order));
        Ok(self)
    }
}

/// Codecs in their three stages.
struct Chain {
    order: Option<Vec<usize>>,
    sharding: Option<Value>,
    codecs: Vec<Codec>,
}

impl Chain {
    fn read(codecs: &Value, axes: usize, element: &mut Element) -> Result<Self> {
        let mut chain = Self { order: None, sharding: None, codecs: Vec::new() };
        for value in codecs.as_array().ok_or_else(|| bad("codecs"))? {
            let (name, configuration) = named(value);
            match name {
                "transpose" if chain.order.is_none() => {
                    let order = match configuration["order"].as_str() {
                        Some("F") => (0..axes as u64).rev().collect(),
                        Some("C") => (0..axes as u64).collect(),
                        _ => numbers(&configuration["order"], "order of axes")?,
                    };
                    let mut sorted = order.clone();
                    sorted.sort_unstable();
                    if sorted != (0..axes as u64).collect::<Vec<_>>() {
                        return Err(bad("order of axes"));
                    }
                    chain.order = Some(order.into_iter().map(|n| n as usize).collect());
                }
                "bytes" => {
                    let order = match configuration["endian"].as_str() {
                        None | Some("little") => ByteOrder::Little,
                        Some("big") => ByteOrder::Big,
                        Some(_) => return Err(unsupported("codec", value)),
                    };
                    element.kind = match element.kind {
                        Kind::Plain(_) => Kind::Plain(order),
                        Kind::Utf32(_) => Kind::Utf32(order),
                        other => other,
                    };
                }
                "vlen-utf8" | "vlen-bytes" if element.kind == Kind::Variable => {}
                "sharding_indexed" => chain.sharding = Some(configuration.clone()),
                _ => chain.codecs.push(codec(name, configuration).ok_or_else(|| unsupported("codec", value))?),
            }
        }
        Ok(chain)
    }
}

fn codec(name: &str, configuration: &Value) -> Option<Codec> {
    let level = configuration["level"].as_i64().unwrap_or(0);
    Some(match name.trim_start_matches("numcodecs.") {
        "gzip" => Codec::Gzip(level.clamp(0, 9) as u32),
        "zlib" => Codec::Zlib(level.clamp(0, 9) as u32),
        "zstd" => Codec::Zstd(level as i32),
        "blosc" => Codec::Blosc,
        "lz4" => Codec::Lz4,
        "crc32c" => Codec::Crc32c,
        "shuffle" => Codec::Shuffle(configuration["elementsize"].as_u64().filter(|&n| n <= 1024)? as usize),
        _ => return None,
    })
}

fn plain(dtype: DType, order: ByteOrder) -> Element {
    Element { dtype, kind: Kind::Plain(order), bytes: dtype.size() }
}

fn v3_element(value: &Value) -> Result<Element> {
    let (name, configuration) = named(value);
    let length = || configuration["length_bytes"].as_u64().and_then(|n| u32::try_from(n).ok()).filter(|&n| n > 0);
    let fixed = |kind, n: u32| Element { dtype: DType::Utf8, kind, bytes: n as usize };
    let found = match name {
        "string" => Some(Element { dtype: DType::Utf8, kind: Kind::Variable, bytes: 0 }),
        "bytes" | "variable_length_bytes" => Some(Element { dtype: DType::Binary, kind: Kind::Variable, bytes: 0 }),
        "null_terminated_bytes" => length().map(|n| fixed(Kind::Bytes, n)),
        "fixed_length_utf32" => length().map(|n| fixed(Kind::Utf32(ByteOrder::Little), n)),
        "raw_bytes" => length().map(|n| plain(DType::FixedBytes(n), ByteOrder::Little)),
        "numpy.datetime64" | "numpy.timedelta64" => {
            let unit = configuration["unit"].as_str().filter(|_| configuration["scale_factor"].as_u64() == Some(1));
            let name = format!("{}[{}]", name.trim_start_matches("numpy."), unit.unwrap_or_default());
            name.parse().ok().map(|dtype| plain(dtype, ByteOrder::Little))
        }
        name => match name.strip_prefix('r').and_then(|bits| bits.parse::<u32>().ok()) {
            Some(bits) if bits > 0 && bits % 8 == 0 => Some(plain(DType::FixedBytes(bits / 8), ByteOrder::Little)),
            _ => name.parse().ok().filter(is_number).map(|dtype| plain(dtype, ByteOrder::Little)),
        },
    };
    found.ok_or_else(|| unsupported("data type", value))
}

fn is_number(dtype: &DType) -> bool {
    dtype.is_real() || matches!(dtype, DType::Bool | DType::Complex64 | DType::Complex128)
}

fn v2_element(value: &Value) -> Result<Element> {
    let text = value.as_str().ok_or_else(|| unsupported("dtype", value))?;
    let order = if text.starts_with('>') { ByteOrder::Big } else { ByteOrder::Little };
    let rest = text.get(1..).unwrap_or_default();
    let number = |n: &str, each: u32| n.parse::<u32>().ok().and_then(|n| n.checked_mul(each)).filter(|&n| n > 0);
    if let Some(bytes) = rest.strip_prefix('S').and_then(|n| number(n, 1)) {
        return Ok(Element { dtype: DType::Utf8, kind: Kind::Bytes, bytes: bytes as usize });
    }
    if let Some(bytes) = rest.strip_prefix('U').and_then(|n| number(n, 4)) {
        return Ok(Element { dtype: DType::Utf8, kind: Kind::Utf32(order), bytes: bytes as usize });
    }
    let (dtype, order) = DType::from_npy_descr(text).map_err(|_| unsupported("dtype", value))?;
    Ok(plain(dtype, order))
}

/// A fill value as a little-endian element.
fn fill_value(value: &Value, element: Element) -> Result<Vec<u8>> {
    let wrong = || bad("fill_value");
    if element.kind != Kind::Plain(ByteOrder::Little) && element.kind != Kind::Plain(ByteOrder::Big) {
        return Ok(value.as_str().map(|text| text.as_bytes().to_vec()).unwrap_or_default());
    }
    let dtype = element.dtype;
    if value.is_null() {
        return Ok(vec![0; dtype.size()]);
    }
    let integer = || value.as_i64().map(i128::from).or(value.as_u64().map(i128::from));
    let small = |bytes: usize| integer().map(|n| n.to_le_bytes()[..bytes].to_vec()).ok_or_else(wrong);
    match dtype {
        DType::Bool => Ok(vec![u8::from(value.as_bool().or(integer().map(|n| n != 0)).ok_or_else(wrong)?)]),
        DType::Float16 | DType::Bfloat16 | DType::Float32 | DType::Float64 => float(value, dtype).ok_or_else(wrong),
        DType::Complex64 | DType::Complex128 => {
            let part = if dtype == DType::Complex64 { DType::Float32 } else { DType::Float64 };
            match value.as_array().map(Vec::as_slice) {
                Some([re, im]) => Ok([float(re, part).ok_or_else(wrong)?, float(im, part).ok_or_else(wrong)?].concat()),
                _ => {
                    Ok([float(value, part).ok_or_else(wrong)?, float(&Value::from(0), part).ok_or_else(wrong)?]
                        .concat())
                }
            }
        }
        DType::Datetime64(_) | DType::Timedelta64(_) if value == "NaT" => Ok(i64::MIN.to_le_bytes().to_vec()),
        DType::FixedBytes(n) => {
            // Base64, which nobody reads here: a fill of zeros is the only one that NumPy's dtypes have by default.
            let zeros = value.as_str().is_some_and(|t| t.chars().all(|c| matches!(c, 'A' | '=')))
                || value.as_array().is_some_and(|a| a.iter().all(|v| v == 0))
                || value == 0;
            if zeros { Ok(vec![0; n as usize]) } else { Err(unsupported("fill_value", value)) }
        }
        dtype => small(dtype.size()),
    }
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
