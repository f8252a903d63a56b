//! Reading one array.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_buffer::{Buffer, MutableBuffer, ScalarBuffer};
use hyperslab_core::arrow::Parts;
use hyperslab_core::{ArraySource, Block, ByteOrder, Error, FieldSpec, Result, arrow};

use super::dtypes::Elements;
use super::metadata::Metadata;
use super::store::Store;
use super::stored::ZarrChunks;
use crate::chunks::Chunks;
use crate::raw::{Encoding, RawField, decode};
use crate::texts::Texts;

/// The most bytes that one read may have.
const MAX_READ: usize = i32::MAX as usize;
/// How many chunks of text are kept.
const KEPT: usize = 16;

/// An array of a Zarr folder or archive, version 2 or 3. Rows are its first axis; an array without axes has one row.
///
/// Chunks are read and decompressed in parallel; those that a window needs a part of are kept for the next one.
#[derive(Debug)]
pub struct ZarrSource {
    path: PathBuf,
    name: String,
    fields: Vec<FieldSpec>,
    rows: usize,
    storage: Storage,
    attributes: Vec<(String, String)>,
}

#[derive(Debug)]
enum Storage {
    /// Rows of so many bytes, that are records of these fields.
    Fixed {
        chunks: Box<Chunks<ZarrChunks>>,
        fields: Vec<RawField>,
        record: usize,
        row: usize,
    },
    Text {
        chunks: Box<ZarrChunks>,
        kept: Mutex<VecDeque<Kept>>,
    },
}

/// A chunk of text, `None` if it is not stored.
type Kept = (usize, Option<Arc<Texts>>);

impl ZarrSource {
    /// `prefix` is where the array is in the store: `""`, or a path that ends with `/`.
    pub(super) fn new(store: &Store, path: &Path, name: &str, prefix: &str, mut metadata: Metadata) -> Result<Self> {
        let single = metadata.shape.is_empty();
        if single {
            // One row, in a chunk that is named as one without axes.
            (metadata.shape, metadata.chunk) = (vec![1], vec![1]);
            metadata.chain.with_one_axis();
        }
        let rows = metadata.shape.first().and_then(|&n| usize::try_from(n).ok());
        let rows = rows.ok_or_else(|| Error::unsupported(format!("its shape {:?} is too large", metadata.shape)))?;
        let (elements, attributes) = (metadata.elements.clone(), metadata.attributes.clone());
        let fields = elements.fields();
        let chunks = ZarrChunks::new(store, prefix, metadata, single)?;
        let storage = match elements {
            Elements::Variable(_) => Storage::Text { chunks: Box::new(chunks), kept: Mutex::default() },
            Elements::Fixed(fields, record) => {
                let (grid, several) = (Arc::clone(chunks.grid()), fields.len() > 1);
                let row = grid.row_bytes();
                Storage::Fixed { chunks: Box::new(Chunks::new(grid, chunks, rows, several)), fields, record, row }
            }
        };
        Ok(Self { path: path.to_owned(), name: name.to_owned(), fields, rows, storage, attributes })
    }

    /// The array's attributes, by name; what is no text is JSON.
    pub fn attributes(&self) -> &[(String, String)] {
        &self.attributes
    }

    fn here(&self, error: Error) -> Error {
        error.with("array", &self.name).with("file", self.path.display())
    }

    fn row_bytes(&self) -> usize {
        match &self.storage {
            Storage::Fixed { row, .. } => *row,
            Storage::Text { .. } => 1,
        }
    }

    /// What every read checks first: the bytes of so many rows.
    fn check(&self, field: usize, rows: usize, last: Option<u64>) -> Result<usize> {
        if field >= self.fields.len() {
            let known = self.fields.len();
            return Err(Error::invalid(format!("there is no field number {field}; there are {known}")));
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
            Storage::Text { chunks, kept } => self.texts(chunks, kept, rows),
            Storage::Fixed { chunks, fields, record, .. } => {
                let (records, copied) = match bytes {
                    0 => (MutableBuffer::new(0).into(), 0),
                    _ => chunks.read(rows.clone())?,
                };
                block(&fields[field], *record, records, count, copied, |i| (rows.start + i) as u64)
            }
        }
    }

    fn try_take(&self, field: usize, rows: &[u64]) -> Result<Block> {
        let bytes = self.check(field, rows.len(), rows.iter().max().copied())?;
        let positions: Vec<usize> = rows.iter().map(|&r| r as usize).collect();
        match &self.storage {
            Storage::Text { chunks, kept } => self.texts(chunks, kept, positions.into_iter()),
            Storage::Fixed { chunks, fields, record, .. } => {
                let mut to = MutableBuffer::from_len_zeroed(bytes);
                if bytes > 0 {
                    chunks.take(&positions, to.as_slice_mut())?;
                }
                let row = |i: usize| rows.get(i).copied().unwrap_or(0);
                block(&fields[field], *record, to.into(), rows.len(), bytes as u64, row)
            }
        }
    }

    /// The texts of some rows.
    fn texts(
        &self,
        chunks: &ZarrChunks,
        kept: &Mutex<VecDeque<Kept>>,
        rows: impl ExactSizeIterator<Item = usize>,
    ) -> Result<Block> {
        let (count, chunk_rows) = (rows.len(), chunks.grid().chunk_rows());
        let mut texts = Texts::with_capacity(count);
        let mut current: Option<Kept> = None;
        for row in rows {
            let band = row / chunk_rows;
            let found = match current.take() {
                Some(found) if found.0 == band => found,
                _ => kept_texts(chunks, kept, band)?,
            };
            let (_, chunk) = current.insert(found);
            let missing = || Error::corrupt("a chunk has fewer texts than rows");
            match chunk {
                Some(chunk) => texts.push(chunk.get(row % chunk_rows).ok_or_else(missing)?)?,
                None => texts.push(chunks.fill_value())?,
            }
        }
        let copied = (texts.bytes.len() + texts.ends.len() * 8) as u64;
        let parts = Parts { values: texts.bytes.into(), offsets: Some(ScalarBuffer::from(texts.ends)), nulls: None };
        Ok(Block { copied, ..arrow::array_from_parts(&self.fields[0], parts, count)? })
    }
}

/// A chunk of text, read now or before.
fn kept_texts(chunks: &ZarrChunks, kept: &Mutex<VecDeque<Kept>>, band: usize) -> Result<Kept> {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = kept.iter().find(|(at, _)| *at == band) {
        return Ok(found.clone());
    }
    let chunk = (band, chunks.texts(band)?.map(Arc::new));
    kept.truncate(KEPT - 1);
    kept.push_front(chunk.clone());
    Ok(chunk)
}

/// The array of one field of `rows` rows of records of so many bytes. `number` is that of each row, for errors.
fn block(
    field: &RawField,
    record: usize,
    records: Buffer,
    rows: usize,
    copied: u64,
    number: impl Fn(usize) -> u64,
) -> Result<Block> {
    let is_whole = field.bytes == record;
    let is_plain = field.encoding == Encoding::Plain(ByteOrder::Little) || field.spec.dtype().component_size() == 1;
    if is_whole && is_plain && matches!(field.encoding, Encoding::Plain(_)) {
        let mut block = arrow::array_from_buffer(&field.spec, records, rows)?;
        block.copied += copied;
        return Ok(block);
    }
    let mut bytes = MutableBuffer::with_capacity(records.len() / record * field.bytes);
    match is_whole {
        true => bytes.extend_from_slice(&records),
        false => {
            let parts = records.chunks_exact(record).map(|r| &r[field.offset..field.offset + field.bytes]);
            parts.for_each(|part| bytes.extend_from_slice(part));
        }
    }
    decode(field, bytes, rows, number)
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
            Storage::Fixed { chunks, row: bytes, .. } if row < self.rows() && *bytes > 0 => {
                chunks.run_end(row as usize) as u64
            }
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
