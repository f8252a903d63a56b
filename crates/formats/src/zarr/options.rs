//! How arrays are written, as `OPTIONS (…)` says it.

use hyperslab_core::{Error, Result};
use serde_json::{Map, Value};

use super::codecs::Codec;
use crate::WriteOptions;
use crate::hdf5::options::chunks;

/// The options of the format.
const KNOWN: &[&str] = &["array", "version", "chunks", "shards", "codec", "level", "attributes"];

/// How an array is stored.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ZarrOptions {
    /// The array's name, or the group of several fields.
    pub(super) array: Option<String>,
    /// 2 or 3.
    pub(super) version: u8,
    pub(super) chunks: Option<Vec<usize>>,
    pub(super) shards: Option<Vec<usize>>,
    pub(super) codec: Option<Codec>,
    pub(super) attributes: Map<String, Value>,
}

impl ZarrOptions {
    pub(super) fn new(options: &WriteOptions) -> Result<Self> {
        options.check("zarr", KNOWN)?;
        let version = options.one_of("version", &[("2", 2), ("3", 3)])?.unwrap_or(3);
        let names = [("none", 0), ("gzip", 1), ("zlib", 2), ("zstd", 3)];
        let codec = match options.one_of("codec", &names)? {
            Some(0) => None,
            Some(1) => Some(Codec::Gzip(options.number("level", 0..=9)?.unwrap_or(5))),
            Some(2) if version == 3 => {
                return Err(Error::invalid(
                    "option codec: 'zlib' is of version 2; choose 'gzip', 'zstd' or version '2'",
                ));
            }
            Some(2) => Some(Codec::Zlib(options.number("level", 0..=9)?.unwrap_or(1))),
            _ => Some(Codec::Zstd(options.number("level", -7..=22)?.unwrap_or(0))),
        };
        if codec.is_none() && options.get("level").is_some() {
            return Err(Error::invalid("option level is that of a codec, and codec 'none' has none; leave it out"));
        }
        let list = |key: &str| options.get(key).map(chunks).transpose();
        let shards = list("shards")?;
        if shards.is_some() && version == 2 {
            return Err(Error::invalid("option shards is of version 3; leave it or the version out"));
        }
        let attributes = match options.get("attributes").map(serde_json::from_str::<Map<String, Value>>) {
            None => Map::new(),
            Some(Ok(object)) => object,
            Some(Err(e)) => {
                let why = "option attributes is no JSON object, as in '{\"unit\": \"m\"}'";
                return Err(Error::invalid(why).because(e));
            }
        };
        let array = options.get("array").map(str::to_owned);
        Ok(Self { array, version, chunks: list("chunks")?, shards, codec, attributes })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn options_are_understood_or_refused() {
        let set = |pairs: &[(&str, &str)]| {
            ZarrOptions::new(&pairs.iter().fold(WriteOptions::new(), |o, (key, value)| o.set(key, *value)))
        };
        let found = set(&[]).unwrap();
        assert_eq!((found.version, found.codec), (3, Some(Codec::Zstd(0))));
        assert_eq!(set(&[("codec", "gzip"), ("level", "9")]).unwrap().codec, Some(Codec::Gzip(9)));
        assert_eq!(set(&[("codec", "none")]).unwrap().codec, None);
        assert_eq!(set(&[("shards", "100,4")]).unwrap().shards, Some(vec![100, 4]));
        for pairs in [
            &[("version", "4")][..],
            &[("codec", "zlib")],
            &[("codec", "blosc")],
            &[("shards", "4"), ("version", "2")],
            &[("codec", "none"), ("level", "3")],
            &[("level", "99")],
            &[("attributes", "[1]")],
            &[("chunks", "x")],
            &[("dataset", "a")],
        ] {
            let error = set(pairs).unwrap_err().to_string();
            assert!(error.contains(pairs[0].0), "{error}");
        }
    }
}
