//! How datasets are written, as `OPTIONS (…)` says it.

use hyperslab_core::{Error, Result};

use crate::WriteOptions;

/// The options of the format.
const KNOWN: &[&str] = &["dataset", "chunks", "codec", "level", "shuffle", "fletcher32", "attributes"];

/// How a dataset is stored.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Hdf5Options {
    /// The dataset's name, or the group of several fields.
    pub(super) dataset: Option<String>,
    /// The shape of a chunk: rows, then the axes of a cell, of which missing ones are whole.
    pub(super) chunks: Option<Vec<usize>>,
    /// The level of deflate.
    pub(super) gzip: Option<u32>,
    pub(super) shuffle: bool,
    pub(super) fletcher32: bool,
    /// Attributes of each dataset, or of the group of several fields.
    pub(super) attributes: Vec<(String, Attribute)>,
}

/// An attribute's value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Attribute {
    Text(String),
    Integer(i64),
    Float(f64),
}

impl Hdf5Options {
    pub(super) fn new(options: &WriteOptions) -> Result<Self> {
        options.check("hdf5", KNOWN)?;
        let truth = [("true", true), ("false", false), ("on", true), ("off", false), ("1", true), ("0", false)];
        let level = options.number("level", 0..=9)?;
        let codec = options.one_of("codec", &[("none", false), ("gzip", true), ("deflate", true)])?;
        if codec != Some(true) && level.is_some() {
            return Err(Error::invalid("option level is that of codec 'gzip'; add it, or leave the level out"));
        }
        Ok(Self {
            dataset: options.get("dataset").map(str::to_owned),
            chunks: options.get("chunks").map(chunks).transpose()?,
            gzip: codec.filter(|&gzip| gzip).map(|_| level.unwrap_or(4)),
            shuffle: options.one_of("shuffle", &truth)?.unwrap_or(false),
            fletcher32: options.one_of("fletcher32", &truth)?.unwrap_or(false),
            attributes: options.get("attributes").map(attributes).transpose()?.unwrap_or_default(),
        })
    }

    /// Whether nothing asks for chunks.
    pub(super) fn is_plain(&self) -> bool {
        self.chunks.is_none() && self.gzip.is_none() && !self.shuffle && !self.fletcher32
    }
}

/// `1000,384`, with or without brackets.
pub(crate) fn chunks(text: &str) -> Result<Vec<usize>> {
    let inner = text.trim().trim_start_matches(['(', '[']).trim_end_matches([')', ']', ',']);
    let numbers = inner.split([',', 'x']).map(|n| n.trim().parse().ok().filter(|&n: &usize| n > 0));
    numbers.collect::<Option<Vec<_>>>().ok_or_else(|| {
        Error::invalid(format!("option chunks: {text:?} is no list of lengths, as in '1000,384': rows first"))
    })
}

/// A JSON object of text and numbers.
fn attributes(text: &str) -> Result<Vec<(String, Attribute)>> {
    let bad = || {
        Error::invalid(format!(
            "option attributes: {text:?} is no JSON object of texts and numbers, as in '{{\"unit\": \"m\", \"scale\": 2}}'"
        ))
    };
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|e| bad().because(e))?;
    let value = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => Some(Attribute::Text(text)),
        serde_json::Value::Number(n) => n.as_i64().map(Attribute::Integer).or(n.as_f64().map(Attribute::Float)),
        _ => None,
    };
    object.into_iter().map(|(name, v)| Ok((name, value(v).ok_or_else(bad)?))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn options_are_understood_or_refused() {
        let set = |key: &str, value: &str| Hdf5Options::new(&WriteOptions::new().set(key, value));
        assert_eq!(set("chunks", "(100, 3)").unwrap().chunks, Some(vec![100, 3]));
        assert_eq!(set("chunks", "100x3").unwrap().chunks, Some(vec![100, 3]));
        assert_eq!(set("codec", "GZIP").unwrap().gzip, Some(4));
        assert!(set("shuffle", "true").unwrap().shuffle);
        let found = set("attributes", r#"{"a": "b", "n": 3, "x": 1.5}"#).unwrap().attributes;
        assert_eq!(found[1], ("n".to_owned(), Attribute::Integer(3)));
        for (key, value) in [
            ("chunks", "a"),
            ("chunks", "0"),
            ("codec", "zstd"),
            ("level", "3"),
            ("shuffle", "maybe"),
            ("attributes", "[1]"),
            ("attributes", r#"{"a": [1]}"#),
            ("other", "1"),
        ] {
            let error = set(key, value).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
