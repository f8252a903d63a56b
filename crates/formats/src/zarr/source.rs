//! Reading one array.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_buffer::{Buffer, MutableBuffer, ScalarBuffer};
use hyperslab_core::arrow::Parts;
use hyperslab_core::{ArraySource, Block, ByteOrder, DType, Error, FieldSpec, Result, VALUE, arrow};

use super::codecs;
use super::metadata::{Element, Kind, Metadata, Shard};
use crate::chunks::grid::Grid;
use crate::chunks::{Chunks, ReadChunk};
use crate::folder::Folder;
use crate::npy::convert::swap_bytes;
use crate::texts::Texts;

/// The most bytes that one read may have.
const MAX_READ: usize = i32::MAX as usize;
/// How many indexes of shards, and chunks of text, are kept.
const KEPT: usize = 16;

/// An array of a Zarr folder, version 2 or 3. Rows are its first axis; an array without axes has one row.
///
/// Chunks are read and decompressed in parallel; those that a window needs a part of are kept for the next one.
#[derive(Debug)]
pub struct ZarrSource {
    path: PathBuf,
    name: String,
    fields: [FieldSpec; 1],
    rows: usize,
    element: Element,
    storage: Storage,
    attributes: Vec<(String, String)>,
}

#[derive(Debug)]
enum Storage {
    Fixed(Box<Chunks<ZarrChunks>>),
    Text { chunks: Box<ZarrChunks>, kept: Mutex<VecDeque<(usize, Arc<Texts>)>> },
}

/// The field of an array: text where a row has one of it, its bytes where it has several.
pub(super) fn field(metadata: &Metadata) -> Result<FieldSpec> {
    let too_large = || Error::unsupported(format!("its shape {:?} is too large", metadata.shape));
    let cell: Option<Vec<usize>> = metadata.shape.iter().skip(1).map(|&n| usize::try_from(n).ok()).collect();
    let cell = cell.ok_or_else(too_large)?;
    let dtype = match metadata.element.kind {
        Kind::Bytes if !cell.is_empty() => DType::FixedBytes(metadata.element.bytes as u32),
        _ => metadata.element.dtype,
    };
    if dtype.is_variable() && !cell.is_empty() {
        return Err(Error::unsupported("it is text of more than one axis, which is not read"));
    }
    FieldSpec::new(VALUE, dtype, cell)
}

impl ZarrSource {
    /// `prefix` is where the array is in the folder: `""`, or a path that ends with `/`.
    pub(super) fn new(folder: &Folder, path: &Path, name: &str, prefix: &str, mut metadata: Metadata) -> Result<Self> {
        let field = field(&metadata)?;
        let single = metadata.shape.is_empty();
        if single {
            // One row, in a chunk that is named as one without axes.
            (metadata.shape, metadata.chunk) = (vec![1], vec![1]);
            metadata.order = None;
            if metadata.shard.take().is_some() {
                return Err(Error::unsupported("it is one value in a shard, which is not read"));
            }
        }
        let rows = metadata.shape.first().and_then(|&n| usize::try_from(n).ok());
        let rows = rows.ok_or_else(|| Error::unsupported(format!("its shape {:?} is too large", metadata.shape)))?;
        let (element, attributes) = (metadata.element, metadata.attributes.clone());
        let size = element.bytes.max(1);
        let grid = Arc::new(Grid::new(&metadata.shape, &metadata.chunk, size)?);
        let chunks = ZarrChunks {
            folder: folder.clone(),
            prefix: prefix.to_owned(),
            grid: Arc::clone(&grid),
            chunk: metadata.chunk.iter().map(|&n| n as usize).collect(),
            metadata,
            single,
            indexes: Mutex::default(),
        };
        let storage = match element.kind {
            Kind::Variable => Storage::Text { chunks: Box::new(chunks), kept: Mutex::default() },
            _ => Storage::Fixed(Box::new(Chunks::new(grid, chunks, rows, false))),
        };
        Ok(Self { path: path.to_owned(), name: name.to_owned(), fields: [field], rows, element, storage, attributes })
    }

    /// The array's attributes, by name; what is no text is JSON.
    pub fn attributes(&self) -> &[(String, String)] {
        &self.attributes
    }

    fn here(&self, error: Error) -> Error {
        error.with("array", &self.name).with("file", self.path.display())
    }

    fn row_bytes(&self) -> usize {
        let [field] = &self.fields;
        field.elements() * self.element.bytes.max(1)
    }

    fn check(&self, field: usize, rows: usize, last: Option<u64>) -> Result<usize> {
        if field != 0 {
            return Err(Error::invalid(format!("there is no field number {field}; there is one")));
        }
        if let Some(row) = last.filter(|&row| row >= self.rows as u64) {
            let why = format!("there is no row {row}; the array has {} rows, counted from 0", self.rows);
            return Err(Error::invalid(why));
        }
        let bytes = rows.checked_mul(self.row_bytes()).filter(|&b| b <= MAX_READ);
        bytes.ok_or_else(|| Error::invalid(format!("{rows} rows are too many to be read at once; read fewer")))
    }

    fn try_read(&self, field: usize, rows: Range<u64>) -> Result<Block> {
        if rows.start > rows.end {
            return Err(Error::invalid(format!("rows {rows:?} run backwards")));
        }
        let count = usize::try_from(rows.end - rows.start).unwrap_or(usize::MAX);
        let bytes = self.check(field, count, rows.end.checked_sub(1))?;
        let rows = rows.start as usize..rows.end as usize;
        match &self.storage {
            Storage::Fixed(_) if bytes == 0 => self.block(MutableBuffer::new(0).into(), count, 0),
            Storage::Fixed(chunks) => {
                let (values, copied) = chunks.read(rows)?;
                self.block(values, count, copied)
            }
            Storage::Text { chunks, kept } => self.texts(chunks, kept, rows),
        }
    }

    fn try_take(&self, field: usize, rows: &[u64]) -> Result<Block> {
        let bytes = self.check(field, rows.len(), rows.iter().max().copied())?;
        let positions: Vec<usize> = rows.iter().map(|&r| r as usize).collect();
        match &self.storage {
            Storage::Fixed(chunks) => {
                let mut to = MutableBuffer::from_len_zeroed(bytes);
                if bytes > 0 {
                    chunks.take(&positions, to.as_slice_mut())?;
                }
                self.block(to.into(), rows.len(), bytes as u64)
            }
            Storage::Text { chunks, kept } => self.texts(chunks, kept, positions.into_iter()),
        }
    }

    /// The texts of some rows.
    fn texts(
        &self,
        chunks: &ZarrChunks,
        kept: &Mutex<VecDeque<(usize, Arc<Texts>)>>,
        rows: impl ExactSizeIterator<Item = usize>,
    ) -> Result<Block> {
        let count = rows.len();
        let mut texts = Texts::with_capacity(count);
        let mut current: Option<(usize, Arc<Texts>)> = None;
        for row in rows {
            let band = row / chunks.grid.chunk_rows();
            let chunk = match current {
                Some((at, chunk)) if at == band => chunk,
                _ => {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    match kept.iter().find(|(at, _)| *at == band) {
                        Some((_, chunk)) => Arc::clone(chunk),
                        None => {
                            let chunk = Arc::new(chunks.texts(band)?);
                            kept.truncate(KEPT - 1);
                            kept.push_front((band, Arc::clone(&chunk)));
                            chunk
                        }
                    }
                }
            };
            let missing = || Error::corrupt("a chunk has fewer texts than rows");
            texts.push(chunk.get(row % chunks.grid.chunk_rows()).ok_or_else(missing)?)?;
            current = Some((band, chunk));
        }
        self.text_block(texts, count)
    }

    fn text_block(&self, texts: Texts, rows: usize) -> Result<Block> {
        let [field] = &self.fields;
        let copied = (texts.bytes.len() + texts.ends.len() * 8) as u64;
        let parts = Parts { values: texts.bytes.into(), offsets: Some(ScalarBuffer::from(texts.ends)), nulls: None };
        Ok(Block { copied, ..arrow::array_from_parts(field, parts, rows)? })
    }

    /// The array of elements in C order, little-endian.
    fn block(&self, values: Buffer, rows: usize, copied: u64) -> Result<Block> {
        let [field] = &self.fields;
        let order = match self.element.kind {
            Kind::Plain(_) => None,
            Kind::Utf32(order) => Some(order),
            _ if !field.dtype().is_variable() => None,
            _ => Some(ByteOrder::Little),
        };
        let Some(order) = order else {
            let mut block = arrow::array_from_buffer(field, values, rows)?;
            block.copied += copied;
            return Ok(block);
        };
        let mut texts = Texts::with_capacity(rows);
        for element in values.as_slice().chunks_exact(self.element.bytes) {
            if self.element.kind == Kind::Bytes {
                let end = element.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
                texts.push(&element[..end])?;
                continue;
            }
            let number = |four: &[u8; 4]| match order {
                ByteOrder::Little => u32::from_le_bytes(*four),
                ByteOrder::Big => u32::from_be_bytes(*four),
            };
            let numbers: Vec<u32> = element.as_chunks::<4>().0.iter().map(number).collect();
            let end = numbers.iter().rposition(|&n| n != 0).map_or(0, |last| last + 1);
            let text: Option<String> = numbers[..end].iter().map(|&n| char::from_u32(n)).collect();
            texts.push(text.ok_or_else(|| Error::corrupt("it holds what is no text"))?.as_bytes())?;
        }
        self.text_block(texts, rows)
    }
}

impl ArraySource for ZarrSource {
    fn fields(&self) -> &[FieldSpec] {
        &self.fields
    }

    fn rows(&self) -> u64 {
        self.rows as u64
    }

    fn run_end(&self, _field: usize, row: u64) -> u64 {
        match &self.storage {
            Storage::Fixed(chunks) if row < self.rows() && self.row_bytes() > 0 => chunks.run_end(row as usize) as u64,
            _ => self.rows(),
        }
    }

    fn read(&self, field: usize, rows: Range<u64>) -> Result<Block> {
        self.try_read(field, rows).map_err(|e| self.here(e))
    }

    fn take(&self, field: usize, rows: &[u64]) -> Result<Block> {
        self.try_take(field, rows).map_err(|e| self.here(e))
    }
}

/// The index of a shard: offset and length of each chunk.
type Index = Arc<Option<Vec<(u64, u64)>>>;

/// The chunks of an array in their files.
#[derive(Debug)]
struct ZarrChunks {
    folder: Folder,
    prefix: String,
    grid: Arc<Grid>,
    chunk: Vec<usize>,
    metadata: Metadata,
    /// Whether the array has no axes.
    single: bool,
    indexes: Mutex<VecDeque<(String, Index)>>,
}

impl ZarrChunks {
    /// The position of a chunk among chunks.
    fn position(&self, band: usize, across: usize) -> Vec<u64> {
        let origin = self.grid.origin(across).into_iter().zip(&self.chunk[1..]).map(|(o, &c)| (o / c) as u64);
        std::iter::once(band as u64).chain(origin).collect()
    }

    fn key(&self, position: &[u64]) -> String {
        if self.single {
            return format!("{}{}", self.prefix, if self.metadata.keys.prefix { "c" } else { "0" });
        }
        format!("{}{}", self.prefix, self.metadata.keys.key(position))
    }

    /// A chunk before its elements are put in order; `None` if it is not stored.
    fn bytes(&self, band: usize, across: usize) -> Result<Option<Vec<u8>>> {
        let most = match self.metadata.element.kind {
            Kind::Variable => 1 << 30,
            _ => self.grid.chunk_bytes(),
        };
        let position = self.position(band, across);
        let stored = match &self.metadata.shard {
            // What does not compress gets a little longer.
            None => self.folder.read(&self.key(&position), (most as u64).saturating_mul(2).saturating_add(1 << 16))?,
            Some(shard) => self.in_shard(shard, &position, most)?,
        };
        let Some(stored) = stored else { return Ok(None) };
        let bytes = codecs::undo(&self.metadata.codecs, Cow::Owned(stored), most)
            .map_err(|e| e.with("chunk", self.key(&position)))?;
        Ok(Some(bytes.into_owned()))
    }

    fn in_shard(&self, shard: &Shard, position: &[u64], most: usize) -> Result<Option<Vec<u8>>> {
        if !shard.codecs.is_empty() {
            return Err(Error::unsupported("its shards are compressed as a whole, which is not read"));
        }
        let outer: Vec<u64> = position.iter().zip(&shard.chunks).map(|(p, n)| p / n).collect();
        let key = self.key(&outer);
        let number = position.iter().zip(&shard.chunks).fold(0, |all, (p, n)| all * n + p % n);
        let Some(mut file) = self.folder.file(&key)? else { return Ok(None) };
        let known = {
            let indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
            indexes.iter().find(|(k, _)| *k == key).map(|(_, index)| Arc::clone(index))
        };
        let index = match known {
            Some(index) => index,
            None => {
                let found = read_index(&mut file, shard).map_err(|e| e.with("shard", &key))?;
                let index: Index = Arc::new(Some(found));
                let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
                indexes.truncate(KEPT - 1);
                indexes.push_front((key.clone(), Arc::clone(&index)));
                index
            }
        };
        let place = index.as_ref().as_ref().and_then(|all| all.get(usize::try_from(number).ok()?));
        let &(at, length) = place.ok_or_else(|| Error::corrupt("the index of a shard is too short"))?;
        if at == u64::MAX && length == u64::MAX {
            return Ok(None);
        }
        if length > (most as u64).saturating_mul(2).saturating_add(1 << 16) {
            return Err(Error::corrupt(format!("a chunk of {length} bytes is no chunk of {most}")).with("shard", key));
        }
        file.read(at, length).map(Some)
    }

    /// The texts of a chunk: how many, then each with its length.
    fn texts(&self, band: usize) -> Result<Texts> {
        let rows = self.grid.chunk_rows();
        let Some(bytes) = self.bytes(band, 0)? else {
            let mut texts = Texts::with_capacity(0);
            (0..rows.min(self.metadata.shape[0] as usize)).try_for_each(|_| texts.push(&self.metadata.fill))?;
            return Ok(texts);
        };
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
        Ok(texts)
    }
}

fn read_index(file: &mut crate::folder::PartFile, shard: &Shard) -> Result<Vec<(u64, u64)>> {
    let chunks = shard.chunks.iter().try_fold(1_u64, |all, &n| all.checked_mul(n));
    let sum = if shard.index_sum { 4 } else { 0 };
    let bytes = chunks.and_then(|n| n.checked_mul(16)?.checked_add(sum)).filter(|&b| b <= file.length());
    let bytes = bytes.ok_or_else(|| Error::corrupt("a shard has no room for its index; copy the folder again"))?;
    let at = if shard.index_first { 0 } else { file.length() - bytes };
    let mut index = file.read(at, bytes)?;
    if shard.index_sum {
        let end = index.len() - 4;
        if index[end..] != crc32c::crc32c(&index[..end]).to_le_bytes() {
            return Err(Error::corrupt("the checksum of a shard's index does not match: the file is damaged"));
        }
        index.truncate(end);
    }
    let numbers: Vec<u64> = index.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
    Ok(numbers.as_chunks::<2>().0.iter().map(|&[at, length]| (at, length)).collect())
}

impl ReadChunk for ZarrChunks {
    fn chunk(&self, band: usize, across: usize) -> Result<Option<Cow<'_, [u8]>>> {
        let Some(mut bytes) = self.bytes(band, across)? else { return Ok(None) };
        if bytes.len() != self.grid.chunk_bytes() {
            let (found, wanted) = (bytes.len(), self.grid.chunk_bytes());
            let error = Error::corrupt(format!("a chunk has {found} bytes instead of {wanted}; copy the folder again"));
            return Err(error.with("chunk", self.key(&self.position(band, across))));
        }
        if let Some(order) = &self.metadata.order {
            bytes = in_order(&bytes, order, &self.chunk, self.metadata.element.bytes);
        }
        if self.metadata.element.kind == Kind::Plain(ByteOrder::Big) {
            swap_bytes(&mut bytes, self.metadata.element.dtype.component_size());
        }
        Ok(Some(Cow::Owned(bytes)))
    }

    fn fill(&self, _band: usize, _across: usize) -> Result<Vec<u8>> {
        match self.metadata.element.kind {
            Kind::Plain(_) => Ok(self.metadata.fill.clone()),
            _ => Ok(vec![0; self.metadata.element.bytes]),
        }
    }

    fn is_compressed(&self) -> bool {
        self.metadata.codecs.iter().any(|c| c.is_compression())
    }
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
