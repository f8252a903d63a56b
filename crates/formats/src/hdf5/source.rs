//! Reading one dataset.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow_buffer::{Buffer, MutableBuffer, ScalarBuffer};
use bytes::Bytes;
use hdf5_pure::{ChunkIndex, Dataset, Layout};
use hyperslab_core::arrow::Parts;
use hyperslab_core::{ArraySource, Block, ByteOrder, Error, FieldSpec, Result, arrow};

use super::filters::Filter;
use super::heap::Heaps;
use super::stored::StoredChunks;
use super::types::{Kind, Member, members};
use super::{guarded, known_filter};
use crate::chunks::Chunks;
use crate::chunks::grid::Grid;
use crate::map::MappedFile;
use crate::npy::convert::swap_bytes;
use crate::texts::Texts;

/// The most bytes that one read may have.
const MAX_READ: usize = i32::MAX as usize;

/// A dataset of a mapped HDF5 file. Rows are its first axis; a dataset without axes has one row.
///
/// Contiguous datasets and chunks without filters that hold whole rows are views of the map, if they are little-endian
/// and aligned. Compressed chunks are decompressed in parallel; those that a window needs a part of are kept for the
/// next one.
///
/// Nobody may change the file in place while it is open. That it shrank is noticed, and an error.
#[derive(Debug)]
pub struct Hdf5Source {
    name: String,
    fields: Vec<FieldSpec>,
    members: Vec<Member>,
    rows: usize,
    /// Elements in a row, and bytes of an element.
    row_elements: usize,
    element: usize,
    storage: Storage,
    dataset: Dataset,
    file: Arc<MappedFile>,
    /// Where addresses count from, and the widths of addresses and lengths in bytes.
    base: u64,
    widths: (usize, usize),
}

#[derive(Debug)]
enum Storage {
    /// In one piece in the map.
    Contiguous(Bytes),
    /// In the header.
    Compact(Buffer),
    Chunked(Box<Chunks<StoredChunks>>),
    /// What only the library can read, window by window: other filters, and what nobody wrote.
    Library,
}

impl Hdf5Source {
    pub(super) fn open(
        file: &Arc<MappedFile>,
        library: &hdf5_pure::File,
        name: &str,
        dataset: Dataset,
    ) -> Result<Self> {
        let superblock = library.superblock();
        let (shape, datatype) = guarded(|| Ok((dataset.shape()?, dataset.datatype()?)))?;
        let cell = shape.get(1..).unwrap_or_default();
        let too_large = || Error::unsupported(format!("its shape {shape:?} is too large"));
        let cell = cell.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<Vec<_>>>().ok_or_else(too_large)?;
        let rows = match shape.first() {
            Some(&rows) => usize::try_from(rows).map_err(|_| too_large())?,
            // One value, or none at all (h5py's `Empty`), which the shape does not tell.
            None => usize::from(!guarded(|| dataset.read_raw_rows(0, 1))?.is_empty()),
        };
        let members = members(&datatype, &cell)?;
        let element = datatype.type_size() as usize;
        let row_elements: usize = cell.iter().product();
        let row_bytes = row_elements.checked_mul(element).ok_or_else(too_large)?;
        if members.iter().any(|m| m.offset.checked_add(m.bytes).is_none_or(|end| end > element)) {
            return Err(Error::corrupt("a member of its compound type lies beyond it"));
        }
        let mut source = Self {
            name: name.to_owned(),
            fields: members.iter().map(|m| m.field.clone()).collect(),
            members,
            rows,
            row_elements,
            element,
            storage: Storage::Library,
            dataset,
            file: Arc::clone(file),
            base: superblock.base_address.get(),
            widths: (usize::from(superblock.offset_size), usize::from(superblock.length_size)),
        };
        source.storage = source.storage(&shape, row_bytes)?;
        Ok(source)
    }

    fn storage(&self, shape: &[u64], row_bytes: usize) -> Result<Storage> {
        let dataset = &self.dataset;
        let bytes = self.rows.checked_mul(row_bytes);
        Ok(match guarded(|| dataset.layout())? {
            Layout::Compact { .. } => {
                let bytes = guarded(|| dataset.read_raw())?;
                if bytes.len() != self.rows.saturating_mul(row_bytes) {
                    return Err(Error::corrupt("it holds fewer bytes than its shape asks for"));
                }
                // Aligned, which a vector of bytes need not be.
                let mut aligned = MutableBuffer::with_capacity(bytes.len());
                aligned.extend_from_slice(&bytes);
                Storage::Compact(aligned.into())
            }
            Layout::Contiguous { address: Some(address), size } => {
                let all = self.file.bytes();
                let bytes = bytes.filter(|&b| b as u64 <= size);
                let range = usize::try_from(address).ok().zip(bytes).and_then(|(at, b)| Some(at..at.checked_add(b)?));
                let range = range.filter(|r| r.end <= all.len()).ok_or_else(|| {
                    Error::corrupt(format!(
                        "the file is incomplete: its {size} bytes of data start at byte {address} of {}, and shape \
                         {shape:?} needs {bytes:?}; copy or download the file again",
                        all.len()
                    ))
                })?;
                Storage::Contiguous(all.slice(range))
            }
            Layout::Chunked { chunk_shape, index } => {
                let pipeline = guarded(|| Ok(dataset.filter_pipeline()))?;
                let filters: Option<Vec<_>> = pipeline.iter().map(|f| Filter::new(f.id, &f.client_data)).collect();
                let Some(filters) = filters else {
                    pipeline.iter().try_for_each(|f| known_filter(f.id))?;
                    // hdf5-pure gives some of those chunks in the other byte order.
                    if self.members.iter().any(|m| m.kind == Kind::Plain(ByteOrder::Big)) {
                        let why = "its chunks use scale-offset on big-endian values, which is not read";
                        return Err(Error::unsupported(format!("{why}; rewrite it with h5repack -f GZIP=4")));
                    }
                    return Ok(Storage::Library);
                };
                let stored = guarded(|| dataset.chunks()).map_err(|e| match index {
                    ChunkIndex::BTreeV2 => Error::unsupported(
                        "several of its axes grow without limit, in a format that is not read; rewrite it with h5repack \
                         --high=1, or with one None in maxshape",
                    )
                    .because(e),
                    _ => e,
                })?;
                let grid = Arc::new(Grid::new(shape, &chunk_shape, self.element)?);
                let (file, dataset) = (Arc::clone(&self.file), dataset.clone());
                let chunks = StoredChunks::new(Arc::clone(&grid), filters, self.element, stored, file, dataset);
                Storage::Chunked(Box::new(Chunks::new(grid, chunks, self.rows, self.members.len() > 1)))
            }
            Layout::Virtual => {
                return Err(Error::unsupported(
                    "it is virtual: its rows are in other files; read those, or copy it with h5repack",
                ));
            }
            _ => {
                // Nothing was written, or the rows are in other files, which the library refuses.
                if self.rows.saturating_mul(row_bytes) > 0 {
                    guarded(|| dataset.read_raw_rows(0, 1))?;
                }
                Storage::Library
            }
        })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The dataset's name in the file: `/group/dataset`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The dataset's attributes, by name: numbers and text as they would be written in JSON.
    ///
    /// # Errors
    /// `Corrupt` for what is damaged.
    pub fn attributes(&self) -> Result<Vec<(String, String)>> {
        super::attributes(|| self.dataset.attrs()).map_err(|e| self.here(e))
    }

    fn here(&self, error: Error) -> Error {
        error.with("dataset", &self.name).with("file", self.path().display())
    }

    fn member(&self, field: usize) -> Result<&Member> {
        self.members.get(field).ok_or_else(|| {
            Error::invalid(format!("there is no field number {field}; there are {}", self.members.len()))
        })
    }

    fn beyond(&self, row: u64) -> Error {
        Error::invalid(format!("there is no row {row}; the dataset has {} rows, counted from 0", self.rows))
    }

    /// What every read checks first: the bytes of so many rows.
    fn check(&self, rows: usize) -> Result<usize> {
        self.file.check(self.file.bytes().len() as u64)?;
        let bytes = rows.checked_mul(self.row_elements * self.element).filter(|&b| b <= MAX_READ);
        bytes.ok_or_else(|| Error::invalid(format!("{rows} rows are too many to be read at once; read fewer")))
    }

    fn try_read(&self, field: usize, rows: Range<u64>) -> Result<Block> {
        let member = self.member(field)?;
        if rows.start > rows.end || rows.end > self.rows as u64 {
            return Err(self.beyond(rows.start.max(rows.end.saturating_sub(1))));
        }
        // Within `self.rows`, a usize.
        let rows = rows.start as usize..rows.end as usize;
        let count = rows.len();
        let bytes = self.check(count)?;
        if bytes == 0 {
            return self.block(member, MutableBuffer::new(0).into(), count, 0);
        }
        let at = rows.start * (bytes / count);
        let (records, copied) = match &self.storage {
            Storage::Contiguous(all) => (Buffer::from(all.slice(at..at + bytes)), 0),
            Storage::Compact(all) => (all.slice_with_length(at, bytes), 0),
            Storage::Chunked(chunks) => chunks.read(rows)?,
            Storage::Library => {
                let found = guarded(|| self.dataset.read_raw_rows(rows.start as u64, count as u64))?;
                if found.len() != bytes {
                    return Err(Error::corrupt(format!("{count} rows have {} bytes instead of {bytes}", found.len())));
                }
                (found.into(), bytes as u64)
            }
        };
        self.block(member, records, count, copied)
    }

    fn try_take(&self, field: usize, rows: &[u64]) -> Result<Block> {
        let member = self.member(field)?;
        if let Some(&row) = rows.iter().find(|&&r| r >= self.rows as u64) {
            return Err(self.beyond(row));
        }
        let bytes = self.check(rows.len())?;
        let mut to = MutableBuffer::from_len_zeroed(bytes);
        if bytes > 0 {
            let row_bytes = bytes / rows.len();
            let rows: Vec<usize> = rows.iter().map(|&r| r as usize).collect();
            let copy = |all: &[u8], to: &mut [u8]| {
                for (&row, to) in rows.iter().zip(to.chunks_exact_mut(row_bytes)) {
                    to.copy_from_slice(&all[row * row_bytes..][..row_bytes]);
                }
            };
            match &self.storage {
                Storage::Contiguous(all) => copy(all, to.as_slice_mut()),
                Storage::Compact(all) => copy(all, to.as_slice_mut()),
                Storage::Chunked(chunks) => chunks.take(&rows, to.as_slice_mut())?,
                Storage::Library => {
                    for (&row, to) in rows.iter().zip(to.as_slice_mut().chunks_exact_mut(row_bytes)) {
                        let found = guarded(|| self.dataset.read_raw_rows(row as u64, 1))?;
                        let found = found.get(..row_bytes).ok_or_else(|| Error::corrupt("a row is too short"))?;
                        to.copy_from_slice(found);
                    }
                }
            }
        }
        self.block(member, to.into(), rows.len(), bytes as u64)
    }

    /// The array of one member of `rows` rows of elements.
    fn block(&self, member: &Member, records: Buffer, rows: usize, copied: u64) -> Result<Block> {
        let elements = records.as_slice().chunks_exact(self.element);
        let part = |element: &'_ [u8]| member.offset..(member.offset + member.bytes).min(element.len());
        let texts = |find: &mut dyn FnMut(&[u8], &mut Texts) -> Result<()>| -> Result<Block> {
            let mut texts = Texts::with_capacity(rows);
            for element in records.as_slice().chunks_exact(self.element) {
                find(&element[part(element)], &mut texts)?;
            }
            let copied = (texts.bytes.len() + texts.ends.len() * 8) as u64;
            let offsets = Some(ScalarBuffer::from(texts.ends));
            let parts = Parts { values: texts.bytes.into(), offsets, nulls: None };
            let block = arrow::array_from_parts(&member.field, parts, rows)?;
            Ok(Block { copied, ..block })
        };
        let order = match &member.kind {
            Kind::FixedText(padding) => return texts(&mut |bytes, texts| texts.push(padding.trim(bytes))),
            Kind::Variable => {
                let mut heaps = Heaps::new(self.file.bytes(), self.base, self.widths);
                if heaps.reference_bytes() != member.bytes {
                    return Err(Error::corrupt("its references to text have an impossible size"));
                }
                return texts(&mut |bytes, texts| texts.push(heaps.get(bytes)?));
            }
            Kind::Plain(order) => *order,
        };
        let component = member.field.dtype().component_size();
        let whole = member.bytes == self.element;
        let aligned = records.as_ptr().align_offset(component.min(align_of::<u64>())) == 0;
        let (values, copied) = if whole && aligned && (order == ByteOrder::Little || component == 1) {
            (records, copied)
        } else {
            let mut values = MutableBuffer::with_capacity(elements.len() * member.bytes);
            match whole {
                true => values.extend_from_slice(&records),
                false => elements.for_each(|e| values.extend_from_slice(&e[part(e)])),
            }
            if order == ByteOrder::Big {
                swap_bytes(values.as_slice_mut(), component);
            }
            let copied = values.len() as u64;
            (values.into(), copied)
        };
        let mut block = arrow::array_from_buffer(&member.field, values, rows)?;
        block.copied += copied;
        Ok(block)
    }
}

impl ArraySource for Hdf5Source {
    fn fields(&self) -> &[FieldSpec] {
        &self.fields
    }

    fn rows(&self) -> u64 {
        self.rows as u64
    }

    fn run_end(&self, _field: usize, row: u64) -> u64 {
        match &self.storage {
            Storage::Chunked(chunks) if row < self.rows() => chunks.run_end(row as usize) as u64,
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
