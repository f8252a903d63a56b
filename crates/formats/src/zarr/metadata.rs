//! What `zarr.json` (version 3) and `.zarray` (version 2) say of an array.
//!
//! Sources: <https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html>,
//! <https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html>.

use hyperslab_core::{Error, Result};
use serde_json::Value;

use super::chain::{Chain, codec};
use super::dtypes::Elements;
use super::fill::fill_value;

/// The most axes.
const MAX_AXES: usize = 32;

/// An array's metadata.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    pub(super) shape: Vec<u64>,
    /// The shape of what is in one file.
    pub(super) chunk: Vec<u64>,
    pub(super) elements: Elements,
    /// The element that stands for those that are not stored, as it would be stored; of text its bytes.
    pub(super) fill: Vec<u8>,
    pub(super) chain: Chain,
    pub(super) keys: Keys,
    pub(super) attributes: Vec<(String, String)>,
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

pub(super) fn bad(what: &str) -> Error {
    Error::corrupt(format!("its metadata has no sensible {what}"))
}

pub(super) fn unsupported(what: &str, value: &Value) -> Error {
    Error::unsupported(format!("its {what} {value} is not read; rewrite it with another one"))
}

pub(super) fn numbers(value: &Value, what: &str) -> Result<Vec<u64>> {
    let all = value.as_array().and_then(|all| all.iter().map(Value::as_u64).collect::<Option<Vec<_>>>());
    all.filter(|all| all.len() <= MAX_AXES).ok_or_else(|| bad(what))
}

pub(super) fn attributes(object: &Value) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    object.as_object().map(|o| o.iter().map(|(k, v)| (k.clone(), text(v))).collect()).unwrap_or_default()
}

/// The name and the configuration of an extension point: `"name"`, or an object of both.
pub(super) fn named(value: &Value) -> (&str, &Value) {
    match value.as_str() {
        Some(name) => (name, &Value::Null),
        None => (value["name"].as_str().or(value["id"].as_str()).unwrap_or_default(), &value["configuration"]),
    }
}

/// The dtype and the shape of an array that cannot be read, as far as its metadata says them.
pub(super) fn described(json: &Value) -> (String, Vec<u64>) {
    let dtype = if json["data_type"].is_null() { &json["dtype"] } else { &json["data_type"] };
    let name = match (dtype.as_str(), named(dtype).0) {
        (Some(name), _) => name.to_owned(),
        (None, "") if dtype.is_array() => crate::container::STRUCT.to_owned(),
        (None, "") => "unknown".to_owned(),
        (None, name) => name.to_owned(),
    };
    (name, numbers(&json["shape"], "shape").unwrap_or_default())
}

/// The axes of a row.
fn cell(shape: &[u64]) -> Result<Vec<usize>> {
    let cell: Option<Vec<usize>> = shape.iter().skip(1).map(|&n| usize::try_from(n).ok()).collect();
    cell.ok_or_else(|| Error::unsupported(format!("its shape {shape:?} is too large")))
}

impl Metadata {
    /// From a `zarr.json` that is an array's.
    pub(super) fn v3(json: &Value) -> Result<Self> {
        let shape = numbers(&json["shape"], "shape")?;
        let (grid, configuration) = named(&json["chunk_grid"]);
        if grid != "regular" {
            return Err(unsupported("chunk grid", &json["chunk_grid"]));
        }
        let chunk = numbers(&configuration["chunk_shape"], "chunk_shape")?;
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
        let mut elements = Elements::v3(&json["data_type"], &cell(&shape)?)?;
        check_chunk(&shape, &chunk)?;
        let chain = Chain::v3(&json["codecs"], &chunk, &mut elements)?;
        let fill = fill_value(&json["fill_value"], &elements, &json["data_type"])?;
        let attributes = attributes(&json["attributes"]);
        Ok(Self { shape, chunk, elements, fill, chain, keys, attributes })
    }

    /// From a `.zarray`, and its `.zattrs`.
    pub(super) fn v2(json: &Value, attributes_of: &Value) -> Result<Self> {
        let shape = numbers(&json["shape"], "shape")?;
        let chunk = numbers(&json["chunks"], "chunks")?;
        check_chunk(&shape, &chunk)?;
        let filters = || json["filters"].as_array().into_iter().flatten();
        let name = |filter: &'_ Value| filter["id"].as_str().unwrap_or_default().to_owned();
        let objects = filters().map(name).find(|name| name.starts_with("vlen-"));
        if json["dtype"] == "|O" && objects.is_none() {
            return Err(Error::unsupported(format!(
                "its dtype \"|O\" (Python objects) with the filters {} is not read; save text as str, which is stored by vlen-utf8",
                json["filters"]
            )));
        }
        let elements = Elements::v2(&json["dtype"], objects.as_deref(), &cell(&shape)?)?;
        let dtype = elements.fields().first().map(|field| field.dtype());
        let mut codecs = Vec::new();
        for filter in filters().filter(|filter| Some(name(filter)) != objects) {
            codecs.extend(codec(&name(filter), filter, dtype).ok_or_else(|| unsupported("filter", filter))?);
        }
        if let compressor @ Value::Object(_) = &json["compressor"] {
            let found = codec(&name(compressor), compressor, dtype);
            codecs.extend(found.ok_or_else(|| unsupported("compressor", compressor))?);
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
        let fill = fill_value(&json["fill_value"], &elements, &json["dtype"])?;
        let keys = Keys { prefix: false, separator };
        let chain = Chain::new(order, None, codecs);
        Ok(Self { shape, chunk, elements, fill, chain, keys, attributes: attributes(attributes_of) })
    }
}

fn check_chunk(shape: &[u64], chunk: &[u64]) -> Result<()> {
    match chunk.len() == shape.len() && !chunk.contains(&0) {
        true => Ok(()),
        false => Err(bad("chunk shape")),
    }
}
