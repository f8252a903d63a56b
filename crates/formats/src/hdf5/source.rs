//! Reading one dataset.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow_buffer::{Buffer, MutableBuffer, ScalarBuffer};
use bytes::Bytes;
use hdf5_pure::{Dataset, Datatype, MaxExtent};
use hyperslab_core::arrow::Parts;
use hyperslab_core::{ArraySource, Block, ByteOrder, Error, FieldSpec, Result, arrow};

use super::chunk_index::stored_chunks;
use super::filters::Filter;
use super::header::{Header, kind};
use super::heap::Heaps;
use super::layout::{ChunkedLayout, Layout, fill_value, is_null};
use super::library::{attributes, guarded};
use super::stored::StoredChunks;
use super::structure::{Addressing, Structure};
use super::types::{Kind, Member, members};
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
    addressing: Addressing,
}

#[derive(Debug)]
enum Storage {
    /// In one piece in the map.
    Contiguous(Bytes),
    /// In the header.
    Compact(Buffer),
    Chunked(Box<Chunks<StoredChunks>>),
    /// Nobody wrote it: every element is this one.
    Unwritten(Vec<u8>),
}

impl Hdf5Source {
    /// Opens the dataset whose header is at an address; `dataset`: what the library knows of it.
    pub(super) fn open(
        file: &Arc<MappedFile>,
        addressing: Addressing,
        name: &str,
        dataset: Dataset,
        address: u64,
    ) -> Result<Self> {
        file.check(file.bytes().len() as u64)?;
        let structure = Structure::new(file.bytes(), addressing);
        let header = Header::read(&mut structure.walk(), address)?;
        let (shape, datatype) = guarded(|| Ok((dataset.shape()?, dataset.datatype()?)))?;
        let cell = shape.get(1..).unwrap_or_default();
        let too_large = || Error::unsupported(format!("its shape {shape:?} is too large"));
        let cell = cell.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<Vec<_>>>().ok_or_else(too_large)?;
        let rows = match shape.first() {
            Some(&rows) => usize::try_from(rows).map_err(|_| too_large())?,
            None => usize::from(!is_null(&header)),
        };
        let mut members = members(&datatype, &cell)?;
        // A reference to text is as wide as an address is in this file; the library says always that it has 16 bytes.
        let reference = structure.reference_bytes();
        members.iter_mut().filter(|m| m.kind == Kind::Variable).for_each(|m| m.bytes = reference);
        let element = match datatype {
            Datatype::VariableLength { .. } => reference,
            _ => datatype.type_size() as usize,
        };
        let row_elements = cell.iter().try_fold(1_usize, |all, &n| all.checked_mul(n));
        let row_elements = row_elements.filter(|n| n.checked_mul(element).is_some()).ok_or_else(too_large)?;
        if element == 0 {
            return Err(Error::unsupported("its elements have no bytes"));
        }
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
            storage: Storage::Unwritten(Vec::new()),
            dataset,
            file: Arc::clone(file),
            addressing,
        };
        source.storage = source.storage(&shape, &header)?;
        Ok(source)
    }

    fn storage(&self, shape: &[u64], header: &Header<'_>) -> Result<Storage> {
        let bytes = self.rows.checked_mul(self.row_elements * self.element);
        Ok(match Layout::read(header)? {
            Layout::Compact(stored) => {
                let stored = bytes.and_then(|bytes| stored.get(..bytes));
                let stored = stored.ok_or_else(|| Error::corrupt("it holds fewer bytes than its shape asks for"))?;
                // Aligned, which those of the header need not be.
                let mut aligned = MutableBuffer::with_capacity(stored.len());
                aligned.extend_from_slice(stored);
                Storage::Compact(aligned.into())
            }
            Layout::Contiguous { address: Some(address), bytes: size } => {
                let all = self.file.bytes();
                let start = self.structure().absolute(address)?;
                let bytes = bytes.filter(|&b| b as u64 <= size);
                let range = usize::try_from(start).ok().zip(bytes).and_then(|(at, b)| Some(at..at.checked_add(b)?));
                let range = range.filter(|r| r.end <= all.len()).ok_or_else(|| {
                    Error::corrupt(format!(
                        "the file is incomplete: its {size} bytes of data start at byte {start} of {}, and shape \
                         {shape:?} needs {bytes:?}; copy or download the file again",
                        all.len()
                    ))
                })?;
                Storage::Contiguous(all.slice(range))
            }
            Layout::Contiguous { address: None, .. } => Storage::Unwritten(self.fill(header)?),
            Layout::Chunked(layout) => Storage::Chunked(Box::new(self.chunks(shape, &layout, header)?)),
            Layout::Virtual => {
                return Err(Error::unsupported(
                    "it is virtual: its rows are in other datasets; read those, or copy it: file['new'] = \
                     file['old'][:] in h5py",
                ));
            }
        })
    }

    fn chunks(&self, shape: &[u64], layout: &ChunkedLayout, header: &Header<'_>) -> Result<Chunks<StoredChunks>> {
        let pipeline = guarded(|| Ok(self.dataset.filter_pipeline()))?;
        if pipeline.is_empty() && header.find(kind::FILTERS).is_some() {
            return Err(Error::corrupt("its filters cannot be read: the file is damaged"));
        }
        let filters = pipeline.iter().map(|f| Filter::new(f.id, &f.client_data)).collect::<Result<_>>()?;
        let grid = Arc::new(Grid::new(shape, &layout.chunk, self.element)?);
        let most = match guarded(|| self.dataset.maxshape())? {
            Some(most) => most.iter().map(|&n| if let MaxExtent::Fixed(n) = n { Some(n) } else { None }).collect(),
            None => shape.iter().copied().map(Some).collect::<Vec<_>>(),
        };
        let stored = stored_chunks(&self.structure(), layout, &grid, &most)?;
        let (fill, file) = (self.fill(header), Arc::clone(&self.file));
        let chunks = StoredChunks { grid: Arc::clone(&grid), filters, stored, fill, file };
        Ok(Chunks::new(grid, chunks, self.rows, self.members.len() > 1))
    }

    /// The element that stands for those that nobody wrote.
    fn fill(&self, header: &Header<'_>) -> Result<Vec<u8>> {
        match fill_value(header)? {
            [] => Ok(vec![0; self.element]),
            fill if fill.len() == self.element => Ok(fill.to_vec()),
            fill => {
                let (found, wanted) = (fill.len(), self.element);
                Err(Error::corrupt(format!("its fill value has {found} bytes, and its elements have {wanted}")))
            }
        }
    }

    fn structure(&self) -> Structure<'_> {
        Structure::new(self.file.bytes(), self.addressing)
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
        attributes(|| self.dataset.attrs()).map_err(|e| self.here(e))
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
        let at = || rows.start * (bytes / count);
        let (records, copied) = match &self.storage {
            Storage::Contiguous(all) => (Buffer::from(all.slice(at()..at() + bytes)), 0),
            Storage::Compact(all) => (all.slice_with_length(at(), bytes), 0),
            Storage::Chunked(chunks) => chunks.read(rows)?,
            Storage::Unwritten(fill) => {
                let mut to = MutableBuffer::from_len_zeroed(bytes);
                repeat(fill, to.as_slice_mut());
                (to.into(), bytes as u64)
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
                Storage::Unwritten(fill) => repeat(fill, to.as_slice_mut()),
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
                let mut heaps = Heaps::new(self.structure());
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

/// Fills `to`, which is zeroed, with copies of an element.
fn repeat(element: &[u8], to: &mut [u8]) {
    if element.iter().any(|&b| b != 0) {
        to.chunks_exact_mut(element.len()).for_each(|to| to.copy_from_slice(element));
    }
}
