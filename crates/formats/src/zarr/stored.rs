//! The chunks of one array: where they are, and what they hold.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use hyperslab_core::{Error, Result};

use super::chain::{Chain, Index, Places, most_stored};
use super::metadata::{Keys, Metadata};
use super::store::{Part, Store};
use crate::chunks::ReadChunk;
use crate::chunks::grid::Grid;
use crate::texts::Texts;

/// How many indexes of shards are kept.
const KEPT: usize = 64;
/// The most bytes of a chunk of text.
const MAX_TEXT: usize = 1 << 30;

/// The chunks of an array in their files.
#[derive(Debug)]
pub(super) struct ZarrChunks {
    store: Store,
    /// Where the array is in the store: `""`, or a path that ends with `/`.
    prefix: String,
    keys: Keys,
    /// Whether the array has no axes.
    single: bool,
    grid: Arc<Grid>,
    chunk: Vec<usize>,
    /// What a chunk is in, the outermost first.
    shards: Vec<Shard>,
    chain: Chain,
    fill: Vec<u8>,
    is_variable: bool,
    indexes: Mutex<VecDeque<(Place, Arc<Places>)>>,
}

/// Chunks of which one can be read without the others.
#[derive(Debug)]
struct Shard {
    /// How many there are along each axis.
    counts: Vec<u64>,
    index: Index,
}

/// A shard: the key of its file, where it starts in it, and how many shards it is in, of which the first starts there, too.
type Place = (String, u64, usize);

impl ZarrChunks {
    /// Of an array with at least one axis; `single` if it has in truth none.
    pub(super) fn new(store: &Store, prefix: &str, metadata: Metadata, single: bool) -> Result<Self> {
        let Metadata { shape, mut chunk, elements, fill, mut chain, keys, .. } = metadata;
        let mut shards = Vec::new();
        while chain.is_only_shards() {
            let Some(inner) = chain.shards.take() else { break };
            let counts = chunk.iter().zip(&inner.chunk).map(|(outer, inner)| outer / inner).collect();
            shards.push(Shard { counts, index: inner.index });
            (chunk, chain) = (inner.chunk, inner.chain);
        }
        let grid = Arc::new(Grid::new(&shape, &chunk, elements.bytes().max(1))?);
        Ok(Self {
            store: store.clone(),
            prefix: prefix.to_owned(),
            keys,
            single,
            grid,
            chunk: chunk.iter().map(|&n| n as usize).collect(),
            shards,
            chain,
            fill,
            is_variable: elements.bytes() == 0,
            indexes: Mutex::default(),
        })
    }

    pub(super) fn grid(&self) -> &Arc<Grid> {
        &self.grid
    }

    /// The fill value, of text its bytes.
    pub(super) fn fill_value(&self) -> &[u8] {
        &self.fill
    }

    /// The position of a chunk among chunks.
    fn position(&self, band: usize, across: usize) -> Vec<u64> {
        let origin = self.grid.origin(across).into_iter().zip(&self.chunk[1..]).map(|(o, &c)| (o / c) as u64);
        std::iter::once(band as u64).chain(origin).collect()
    }

    /// The key of the file at a position among files.
    fn key(&self, position: &[u64]) -> String {
        if self.single {
            return format!("{}{}", self.prefix, if self.keys.prefix { "c" } else { "0" });
        }
        format!("{}{}", self.prefix, self.keys.key(position))
    }

    /// The key of the file that a chunk is in.
    fn file_key(&self, position: &[u64]) -> String {
        let counts = |axis: usize| self.shards.iter().map(|shard| shard.counts[axis]).product::<u64>();
        let outer: Vec<u64> = position.iter().enumerate().map(|(axis, &at)| at / counts(axis)).collect();
        self.key(&outer)
    }

    /// A chunk as it is stored, which is more than `most` bytes in no case; `None` if it is not.
    fn stored(&self, position: &[u64], most: u64) -> Result<Option<Vec<u8>>> {
        let key = self.file_key(position);
        if self.shards.is_empty() {
            return self.store.read(&key, most);
        }
        let Some(mut file) = self.store.file(&key)? else { return Ok(None) };
        let in_shard = |e: Error| e.with("shard", &key);
        let (mut start, mut length) = (0, file.length());
        for (level, shard) in self.shards.iter().enumerate() {
            let places = self.places(&mut file, (key.clone(), start, level), length, shard).map_err(in_shard)?;
            let number = position.iter().enumerate().fold(0, |all, (axis, at)| {
                let within = self.shards[level + 1..].iter().map(|inner| inner.counts[axis]).product::<u64>();
                all * shard.counts[axis] + at / within % shard.counts[axis]
            });
            let place = usize::try_from(number).ok().and_then(|number| places.get(number));
            let place = place.ok_or_else(|| in_shard(Error::corrupt("its index is too short")))?;
            let &Some((at, bytes)) = place else { return Ok(None) };
            if at.checked_add(bytes).is_none_or(|end| end > length) {
                let why = format!("{bytes} bytes at {at} of a shard of {length} are no chunk; copy the store again");
                return Err(in_shard(Error::corrupt(why)));
            }
            (start, length) = (start + at, bytes);
        }
        if length > most {
            return Err(in_shard(Error::corrupt(format!(
                "a chunk of {length} bytes is longer than any; at most {most} are"
            ))));
        }
        file.read(start, length).map(Some)
    }

    /// The index of the shard at a place.
    fn places(&self, file: &mut Part, place: Place, length: u64, shard: &Shard) -> Result<Arc<Places>> {
        {
            let indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, places)) = indexes.iter().find(|(known, _)| *known == place) {
                return Ok(Arc::clone(places));
            }
        }
        let count = shard.counts.iter().try_fold(1_u64, |all, &n| all.checked_mul(n));
        let (at, bytes) = shard.index.place(count.unwrap_or(u64::MAX), length)?;
        let places = Arc::new(shard.index.places(&file.read(place.1 + at, bytes)?)?);
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        indexes.truncate(KEPT - 1);
        indexes.push_front((place, Arc::clone(&places)));
        Ok(places)
    }

    /// The elements of a chunk in C order, of text its bytes; `None` where none of them is stored.
    fn elements(&self, band: usize, across: usize) -> Result<Option<Vec<u8>>> {
        let position = self.position(band, across);
        let in_chunk = |e: Error| e.with("chunk", self.file_key(&position));
        let element = self.fill.len();
        let most = match self.is_variable {
            true => super::codecs::stored_bytes(&self.chain.codecs, MAX_TEXT),
            false => self.chain.stored_bytes(&self.chunk, element),
        };
        let Some(stored) = self.stored(&position, most_stored(most))? else { return Ok(None) };
        let found = match self.is_variable {
            true => super::codecs::undo(&self.chain.codecs, Cow::Owned(stored), MAX_TEXT).map(|b| Some(b.into_owned())),
            false => self.chain.decode(stored, &self.chunk, &self.fill),
        };
        found.map_err(in_chunk)
    }

    /// The texts of a chunk, which are stored as how many there are, then each with its length; `None` for one that is not
    /// stored, whose texts are all the fill value.
    pub(super) fn texts(&self, band: usize) -> Result<Option<Texts>> {
        let Some(bytes) = self.elements(band, 0)? else { return Ok(None) };
        let bad = || Error::corrupt("a chunk of texts is damaged");
        let (count, mut rest) = bytes.split_first_chunk::<4>().ok_or_else(bad)?;
        let count = u32::from_le_bytes(*count) as usize;
        if count > rest.len() / 4 {
            return Err(bad());
        }
        let mut texts = Texts::with_capacity(count);
        for _ in 0..count {
            let (length, after) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
            let (text, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(bad)?;
            texts.push(text)?;
            rest = after;
        }
        Ok(Some(texts))
    }
}

impl ReadChunk for ZarrChunks {
    fn chunk(&self, band: usize, across: usize) -> Result<Option<Cow<'_, [u8]>>> {
        Ok(self.elements(band, across)?.map(Cow::Owned))
    }

    fn fill(&self) -> Result<Vec<u8>> {
        Ok(self.fill.clone())
    }

    fn is_compressed(&self) -> bool {
        self.chain.is_compression()
    }
}
