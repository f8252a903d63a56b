//! The codecs of a chunk in their stages: an order of axes, then chunks within it or bytes, then codecs of those.

use std::borrow::Cow;

use hyperslab_core::{ByteOrder, DType, Error, Result};
use serde_json::Value;

use super::codecs::{self, Codec, Sum};
use super::dtypes::Elements;
use super::filters::Filter;
use super::metadata::{bad, named, numbers, unsupported};
use crate::chunks::grid::Grid;

/// How deep shards are in shards.
const MAX_DEPTH: usize = 8;
/// The largest shard that is unpacked as a whole, which one is that is compressed or transposed as a whole.
const MAX_SHARD: usize = 1 << 30;

/// What was done to the elements of a chunk.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    /// Of what is stored: the axis of the chunk that each of its axes is, if not the same.
    order: Option<Vec<usize>>,
    pub(super) shards: Option<Box<Sharding>>,
    /// The codecs of bytes, filters of numbers first.
    pub(super) codecs: Vec<Codec>,
}

/// A chunk that consists of chunks.
#[derive(Debug, Clone)]
pub(super) struct Sharding {
    /// The shape of those, by which that of the chunk, in the order of its axes that is stored, can be divided.
    pub(super) chunk: Vec<u64>,
    pub(super) chain: Chain,
    pub(super) index: Index,
}

/// Where and how the index of a shard is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) order: ByteOrder,
    /// Whether it is at the start, not the end.
    pub(super) first: bool,
    /// How many checksums it has.
    pub(super) sums: usize,
}

/// How long a chunk may be that should be stored in at most so many bytes: longer, since compressors differ.
pub(super) fn most_stored(bytes: usize) -> u64 {
    (bytes as u64).saturating_mul(2).saturating_add(1 << 16)
}

/// Where the chunks of a shard are in it: offset and length, `None` for what is not stored.
pub(super) type Places = Vec<Option<(u64, u64)>>;

impl Index {
    fn read(configuration: &Value) -> Result<Self> {
        let refused = || unsupported("index_codecs", &configuration["index_codecs"]);
        let codecs = configuration["index_codecs"].as_array().ok_or_else(refused)?;
        let (first, sums) = codecs.split_first().ok_or_else(refused)?;
        let ("bytes", bytes) = named(first) else { return Err(refused()) };
        if sums.iter().any(|sum| named(sum).0 != "crc32c") {
            return Err(refused());
        }
        let first = match configuration["index_location"].as_str() {
            None | Some("end") => false,
            Some("start") => true,
            Some(_) => return Err(unsupported("index_location", &configuration["index_location"])),
        };
        Ok(Self { order: order_of(bytes).ok_or_else(refused)?, first, sums: sums.len() })
    }

    /// Its bytes in a shard of so many chunks.
    pub(super) fn bytes(&self, chunks: u64) -> Option<u64> {
        chunks.checked_mul(16)?.checked_add(4 * self.sums as u64)
    }

    /// Where it is in a shard of so many bytes.
    pub(super) fn place(&self, chunks: u64, shard: u64) -> Result<(u64, u64)> {
        let bytes = self.bytes(chunks).filter(|&bytes| bytes <= shard);
        let bytes = bytes.ok_or_else(|| Error::corrupt("a shard has no room for its index; copy the store again"))?;
        Ok((if self.first { 0 } else { shard - bytes }, bytes))
    }

    /// What its bytes say.
    pub(super) fn places(&self, mut bytes: &[u8]) -> Result<Places> {
        for _ in 0..self.sums {
            let (rest, sum) = bytes.split_last_chunk::<4>().ok_or_else(|| Error::corrupt("the index is too short"))?;
            if crc32c::crc32c(rest).to_le_bytes() != *sum {
                return Err(Error::corrupt("the checksum of a shard's index does not match: the file is damaged"));
            }
            bytes = rest;
        }
        let number = |bytes: &[u8; 8]| match self.order {
            ByteOrder::Little => u64::from_le_bytes(*bytes),
            ByteOrder::Big => u64::from_be_bytes(*bytes),
        };
        let numbers: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(number).collect();
        let place = |&[at, length]: &[u64; 2]| (at != u64::MAX || length != u64::MAX).then_some((at, length));
        Ok(numbers.as_chunks::<2>().0.iter().map(place).collect())
    }
}

impl Chain {
    pub(super) fn new(order: Option<Vec<usize>>, shards: Option<Box<Sharding>>, codecs: Vec<Codec>) -> Self {
        // An order that changes nothing.
        let order = order.filter(|order| order.iter().enumerate().any(|(i, &axis)| i != axis));
        Self { order, shards, codecs }
    }

    /// From the `codecs` of version 3, of a chunk of this shape. They say in which order the bytes of the elements are.
    pub(super) fn v3(codecs: &Value, chunk: &[u64], elements: &mut Elements) -> Result<Self> {
        Self::read(codecs, chunk, elements, 0)
    }

    fn read(values: &Value, chunk: &[u64], elements: &mut Elements, depth: usize) -> Result<Self> {
        let variable = matches!(elements, Elements::Variable(_));
        let mut dtype = elements.fields().first().map(|field| field.dtype());
        let (mut order, mut shards, mut codecs): (Option<Vec<usize>>, _, Vec<Codec>) = (None, None, Vec::new());
        // Whether the array has become bytes.
        let mut packed = false;
        for value in values.as_array().ok_or_else(|| bad("codecs"))? {
            let (name, configuration) = named(value);
            match name {
                "transpose" if !packed && codecs.is_empty() => {
                    let next = axes(configuration, chunk.len())?;
                    order = Some(match order {
                        Some(order) => next.iter().map(|&axis| order[axis]).collect(),
                        None => next,
                    });
                }
                "bytes" if !packed && !variable => {
                    let stored = order_of(configuration).ok_or_else(|| unsupported("codec", value))?;
                    elements.set_order(set_filters(&mut codecs, stored));
                    packed = true;
                }
                "vlen-utf8" | "vlen-bytes" if !packed && variable => packed = true,
                "sharding_indexed" if !packed && codecs.is_empty() => {
                    if depth == MAX_DEPTH {
                        return Err(Error::unsupported(format!("its shards are nested deeper than {MAX_DEPTH}")));
                    }
                    let stored: Vec<u64> = match &order {
                        Some(order) => order.iter().map(|&axis| chunk[axis]).collect(),
                        None => chunk.to_vec(),
                    };
                    shards = Some(Box::new(Sharding::read(configuration, &stored, elements, depth + 1)?));
                    packed = true;
                }
                // They round when they are applied, and that is all.
                "numcodecs.bitround" | "bitround" if !packed => {}
                _ => {
                    let found = codec(name, configuration, dtype).ok_or_else(|| unsupported("codec", value))?;
                    if found.is_some_and(|codec| matches!(codec, Codec::Filter(_)) == packed) {
                        return Err(unsupported("codec, which is out of place,", value));
                    }
                    if let Some(Codec::Filter(filter)) = found {
                        dtype = Some(filter.stored_dtype());
                    }
                    codecs.extend(found);
                }
            }
        }
        if !packed {
            return Err(bad("codecs: none makes bytes of its elements"));
        }
        let chain = Self::new(order, shards, codecs);
        if variable && (chain.order.is_some() || (chain.shards.is_some() && !chain.is_only_shards())) {
            return Err(unsupported("order of codecs for elements of variable length", values));
        }
        Ok(chain)
    }

    /// Whether it does nothing but to put chunks into one, so that one of those can be read on its own.
    pub(super) fn is_only_shards(&self) -> bool {
        self.shards.is_some() && self.order.is_none() && self.codecs.is_empty()
    }

    /// Whether it takes time.
    pub(super) fn is_compression(&self) -> bool {
        self.order.is_some() || self.shards.is_some() || self.codecs.iter().any(|codec| codec.is_compression())
    }

    /// The chain of a chunk without axes as that of one with one axis.
    pub(super) fn with_one_axis(&mut self) {
        self.order = None;
        if let Some(shards) = &mut self.shards {
            shards.chunk = vec![1];
            shards.chain.with_one_axis();
        }
    }

    /// The most bytes that a chunk of this shape is stored in.
    pub(super) fn stored_bytes(&self, chunk: &[usize], element: usize) -> usize {
        let bytes = chunk.iter().fold(element, |all, &n| all.saturating_mul(n));
        let plain = match &self.shards {
            None => bytes,
            Some(shards) => shards.stored_bytes(bytes, element),
        };
        codecs::stored_bytes(&self.codecs, plain)
    }

    /// The elements, in C order, of a chunk of this shape; `None` where none of them is stored. `fill` is the one that
    /// stands for those that are not.
    pub(super) fn decode(&self, stored: Vec<u8>, chunk: &[usize], fill: &[u8]) -> Result<Option<Vec<u8>>> {
        let bytes = chunk.iter().fold(fill.len(), |all, &n| all.saturating_mul(n));
        let found = match &self.shards {
            None => codecs::undo(&self.codecs, Cow::Owned(stored), bytes)?.into_owned(),
            Some(shards) => {
                let most = shards.stored_bytes(bytes, fill.len());
                let shard = codecs::undo(&self.codecs, Cow::Owned(stored), most)?;
                let shape: Vec<usize> = match &self.order {
                    Some(order) => order.iter().map(|&axis| chunk[axis]).collect(),
                    None => chunk.to_vec(),
                };
                let Some(found) = shards.decode(&shard, &shape, fill)? else { return Ok(None) };
                found
            }
        };
        if found.len() != bytes {
            let found = found.len();
            return Err(Error::corrupt(format!("a chunk has {found} bytes instead of {bytes}; copy the store again")));
        }
        Ok(Some(match &self.order {
            Some(order) => in_order(&found, order, chunk, fill.len()),
            None => found,
        }))
    }
}

impl Sharding {
    fn read(configuration: &Value, shard: &[u64], elements: &mut Elements, depth: usize) -> Result<Self> {
        let chunk = numbers(&configuration["chunk_shape"], "chunk_shape of shards")?;
        let divides = |(&outer, &inner): (&u64, &u64)| inner > 0 && outer % inner == 0;
        if chunk.len() != shard.len() || !shard.iter().zip(&chunk).all(divides) {
            return Err(bad("chunk_shape of shards"));
        }
        let chain = Chain::read(&configuration["codecs"], &chunk, elements, depth)?;
        Ok(Self { chunk, chain, index: Index::read(configuration)? })
    }

    /// The most bytes that a shard with so many bytes of elements is stored in.
    fn stored_bytes(&self, bytes: usize, element: usize) -> usize {
        let chunk: Vec<usize> = self.chunk.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect();
        let one = chunk.iter().fold(element, |all, &n| all.saturating_mul(n));
        let each = self.chain.stored_bytes(&chunk, element).saturating_add(16);
        (bytes / one.max(1)).saturating_mul(each).saturating_add(4 * self.index.sums)
    }

    /// The elements of a shard of this shape that was read as a whole; `None` where none of them is stored.
    fn decode(&self, shard: &[u8], shape: &[usize], fill: &[u8]) -> Result<Option<Vec<u8>>> {
        let sizes = |of: &[u64]| of.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<Vec<usize>>>();
        let chunk = sizes(&self.chunk).ok_or_else(|| bad("chunk_shape of shards"))?;
        let counts = || shape.iter().zip(&chunk).map(|(&outer, &inner)| (outer / inner) as u64);
        let count =
            counts().try_fold(1_u64, |all, n| all.checked_mul(n)).ok_or_else(|| bad("chunk_shape of shards"))?;
        let (at, length) = self.index.place(count, shard.len() as u64)?;
        let places = self.index.places(&shard[at as usize..(at + length) as usize])?;
        self.check_places(&places, &chunk, fill.len(), shard.len() as u64 - length)?;
        let bytes = shape.iter().try_fold(fill.len(), |all, &n| all.checked_mul(n));
        let bytes = bytes.filter(|&bytes| bytes <= MAX_SHARD).ok_or_else(|| {
            Error::unsupported(format!(
                "its shards are compressed or transposed as a whole and have more than {MAX_SHARD} bytes; rewrite it with \
                 smaller ones"
            ))
        })?;
        let widen = |of: &[usize]| of.iter().map(|&n| n as u64).collect::<Vec<_>>();
        let grid = Grid::new(&widen(shape), &self.chunk, fill.len())?;
        let (across, band) = (grid.chunks_across(), grid.chunk_rows().saturating_mul(grid.row_bytes()));
        // Made when there is a chunk that shows that the shape is no mere claim.
        let mut to = None;
        for (i, place) in places.into_iter().enumerate() {
            let Some((start, length)) = place else { continue };
            let stored =
                start.checked_add(length).and_then(|end| shard.get(start as usize..usize::try_from(end).ok()?));
            let stored = stored.ok_or_else(|| Error::corrupt("a chunk lies beyond its shard; copy the store again"))?;
            let Some(elements) = self.chain.decode(stored.to_vec(), &chunk, fill)? else { continue };
            let rows = &mut to.get_or_insert_with(|| filled(fill, bytes))[i / across * band..][..band];
            grid.place(i % across, 0..grid.chunk_rows(), &elements, rows);
        }
        Ok(to)
    }

    /// Refuses chunks that are longer than any, and chunks that overlap, of which a few bytes could make any number: the
    /// chunks have `room` bytes in all.
    fn check_places(&self, places: &Places, chunk: &[usize], element: usize, room: u64) -> Result<()> {
        let most = most_stored(self.chain.stored_bytes(chunk, element));
        let lengths = || places.iter().flatten().map(|&(_, length)| length);
        if let Some(length) = lengths().find(|&length| length > most) {
            return Err(Error::corrupt(format!("a chunk of {length} bytes is longer than any; at most {most} are")));
        }
        match lengths().try_fold(0, u64::checked_add).is_some_and(|all| all <= room) {
            true => Ok(()),
            false => Err(Error::corrupt("the chunks of a shard overlap; copy the store again")),
        }
    }
}

fn filled(fill: &[u8], bytes: usize) -> Vec<u8> {
    match fill.iter().all(|&byte| byte == 0) {
        true => vec![0; bytes],
        false => fill.iter().copied().cycle().take(bytes).collect(),
    }
}

/// Says in which order the bytes of what filters leave are; returns the order of those of the array.
fn set_filters(codecs: &mut [Codec], stored: ByteOrder) -> ByteOrder {
    let mut order = stored;
    for codec in codecs.iter_mut().rev() {
        if let Codec::Filter(filter) = codec {
            filter.set_order(order, ByteOrder::Little);
            order = ByteOrder::Little;
        }
    }
    order
}

/// The order of bytes of the codec `bytes`.
fn order_of(configuration: &Value) -> Option<ByteOrder> {
    match configuration["endian"].as_str() {
        None | Some("little") => Some(ByteOrder::Little),
        Some("big") => Some(ByteOrder::Big),
        Some(_) => None,
    }
}

/// The order of axes of a codec `transpose`.
fn axes(configuration: &Value, axes: usize) -> Result<Vec<usize>> {
    let order: Vec<u64> = match configuration["order"].as_str() {
        Some("F") => (0..axes as u64).rev().collect(),
        Some("C") => (0..axes as u64).collect(),
        _ => numbers(&configuration["order"], "order of axes")?,
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    match sorted == (0..axes as u64).collect::<Vec<_>>() {
        true => Ok(order.into_iter().map(|n| n as usize).collect()),
        false => Err(bad("order of axes")),
    }
}

/// A codec of bytes or a filter; `Some(None)` for one that has nothing to undo, and `None` for one that is not read.
pub(super) fn codec(name: &str, configuration: &Value, dtype: Option<DType>) -> Option<Option<Codec>> {
    let level = configuration["level"].as_i64().unwrap_or(0);
    let first = |usual: bool| configuration["location"].as_str().map_or(usual, |location| location == "start");
    let name = name.trim_start_matches("numcodecs.");
    Some(Some(match name {
        "gzip" => Codec::Gzip(level.clamp(0, 9) as u32),
        "zlib" => Codec::Zlib(level.clamp(0, 9) as u32),
        "zstd" => Codec::Zstd(level as i32),
        "blosc" => Codec::Blosc,
        "lz4" => Codec::Lz4,
        "crc32c" if first(false) => Codec::Sum(Sum::Crc32cFirst),
        "crc32c" => Codec::Crc32c,
        "crc32" => Codec::Sum(Sum::Crc32(first(true))),
        "adler32" => Codec::Sum(Sum::Adler32(first(true))),
        "fletcher32" => Codec::Sum(Sum::Fletcher32),
        "shuffle" => Codec::Shuffle(configuration["elementsize"].as_u64().filter(|&n| n <= 1024)? as usize),
        // It rounds when it is applied, and that is all.
        "bitround" => return Some(None),
        name => Codec::Filter(Filter::new(name, configuration, dtype)?),
    }))
}

/// The elements of a chunk of shape `chunk` in C order; `order` says which axis each axis of `stored` is.
fn in_order(stored: &[u8], order: &[usize], chunk: &[usize], element: usize) -> Vec<u8> {
    // How many bytes the next along an axis of the array is away in `stored`.
    let mut strides = vec![0; chunk.len()];
    let mut stride = element;
    for &axis in order.iter().rev() {
        strides[axis] = stride;
        stride *= chunk[axis];
    }
    let mut to = Vec::with_capacity(stored.len());
    let mut index = vec![0; chunk.len()];
    let mut at = 0;
    while to.len() < stored.len() {
        to.extend_from_slice(&stored[at..at + element]);
        for axis in (0..chunk.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < chunk[axis] {
                break;
            }
            at -= strides[axis] * chunk[axis];
            index[axis] = 0;
        }
    }
    to
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    const NONE: (u64, u64) = (u64::MAX, u64::MAX);

    fn sharding(chunk: [u64; 2], codecs: Value) -> Value {
        let configuration = json!({"chunk_shape": chunk, "codecs": codecs, "index_codecs": ["bytes"]});
        json!({"name": "sharding_indexed", "configuration": configuration})
    }

    fn shard(bytes: &[u8], places: &[(u64, u64)]) -> Vec<u8> {
        let index = places.iter().flat_map(|(at, length)| [at.to_le_bytes(), length.to_le_bytes()]);
        [bytes, &index.flatten().collect::<Vec<_>>()].concat()
    }

    #[test]
    fn shards_that_are_turned_as_a_whole() {
        let turned = json!({"name": "transpose", "configuration": {"order": [1, 0]}});
        let mut elements = Elements::v3(&json!("uint8"), &[4]).unwrap();
        let mut chain = |codecs: Value| {
            let codecs = json!([turned, sharding([2, 2], codecs)]);
            Chain::v3(&codecs, &[2, 4], &mut elements).unwrap()
        };
        let decode = |chain: &Chain, stored: Vec<u8>| chain.decode(stored, &[2, 4], &[9]).map_err(|e| e.to_string());
        let plain = chain(json!(["bytes"]));
        let half = shard(&[1, 2, 3, 4], &[(0, 4), NONE]);
        assert_eq!(decode(&plain, half).unwrap(), Some(vec![1, 3, 9, 9, 2, 4, 9, 9]));
        assert_eq!(decode(&plain, shard(&[], &[NONE, NONE])).unwrap(), None);
        // In the one chunk there is a shard, and nothing in it.
        let nested = chain(json!([sharding([1, 2], json!(["bytes"]))]));
        let nothing = shard(&[], &[NONE, NONE]);
        assert_eq!(decode(&nested, shard(&nothing, &[(0, 32), NONE])).unwrap(), None);
        let something = shard(&[5, 6], &[NONE, (0, 2)]);
        assert_eq!(
            decode(&nested, shard(&something, &[NONE, (0, 34)])).unwrap(),
            Some(vec![9, 9, 9, 5, 9, 9, 9, 6]),
            "the last row of the second half"
        );
        for (bytes, places, says) in [
            (4, [(0, 4), (0, 4)], "overlap"),
            (7, [(0, 4), (3, 4)], "overlap"),
            (4, [(0, 4), (u64::MAX - 9, 4)], "overlap"),
            (8, [(0, 4), (u64::MAX - 9, 4)], "beyond its shard"),
        ] {
            let error = decode(&plain, shard(&vec![0; bytes], &places)).unwrap_err();
            assert!(error.contains(says), "{places:?}: {error}");
        }
        let codecs = json!([turned, sharding([2, 2], json!(["bytes"]))]);
        let many = Chain::v3(&codecs, &[2, 10_000], &mut elements).unwrap();
        let long = shard(&[0; 20_000], &[vec![(0, 70_000)], vec![NONE; 4999]].concat());
        let error = many.decode(long, &[2, 10_000], &[9]).unwrap_err().to_string();
        assert!(error.contains("longer than any"), "{error}");
    }
}
