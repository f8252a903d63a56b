//! One dataset being written: its rows become chunks or one piece, texts go to heaps.

use arrow_array::Array;
use hyperslab_core::{DType, Error, FieldSpec, Fill, Result, arrow};
use rayon::prelude::*;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use super::encode::{self, REFERENCE_BYTES, UNDEFINED, Written};
use super::filters::{self, Filter};
use super::options::Hdf5Options;
use crate::chunks::grid::Grid;
use crate::output::NewFile;

/// What chunks hold unless they are told otherwise: what h5py's cache of chunks holds.
const CHUNK_BYTES: usize = 1 << 20;
/// A collection of texts is written when it has so many bytes, or objects.
const HEAP_BYTES: usize = 64 << 10;
const HEAP_OBJECTS: usize = 60_000;
/// HDF5's least size of a collection.
const MIN_HEAP: usize = 4096;

/// An object header's messages, each with its type.
pub(super) type Messages = Vec<(u8, Vec<u8>)>;

/// The file, and where the next bytes go.
#[derive(Debug)]
pub(super) struct Out {
    file: NewFile,
    position: u64,
}

impl Out {
    pub(super) fn create(path: &Path, overwrite: bool) -> Result<Self> {
        Ok(Self { file: NewFile::create(path, overwrite)?, position: 0 })
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Writes zeros up to a multiple of `to`, and says where that is.
    pub(super) fn align(&mut self, to: u64) -> Result<u64> {
        let missing = self.position.next_multiple_of(to) - self.position;
        self.write(&vec![0; missing as usize])?;
        Ok(self.position)
    }

    /// Writes an object header and says where.
    pub(super) fn object(&mut self, messages: &Messages) -> Result<u64> {
        let address = self.align(8)?;
        self.write(&encode::object_header(messages)?)?;
        Ok(address)
    }

    /// Replaces the first bytes, and gives the file its name. Returns how many bytes it has.
    pub(super) fn publish(mut self, superblock: impl FnOnce(u64) -> Vec<u8>) -> Result<u64> {
        let end = self.align(8)?;
        let file = self.file.file()?;
        let written = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&superblock(end)));
        written.map_err(|e| self.file.failed(e))?;
        self.file.publish()?;
        Ok(end)
    }
}

/// Texts that are not written yet, and the references to them.
#[derive(Debug, Default)]
pub(super) struct Heap {
    objects: Vec<u8>,
    count: usize,
    /// Where the references lie, that the collection's address is missing in.
    pending: Vec<usize>,
}

impl Heap {
    /// Appends a reference to `text` to `references`; [`flush`](Self::flush) completes it.
    pub(super) fn add(&mut self, out: &mut Out, text: &[u8], references: &mut Vec<u8>) -> Result<()> {
        if self.objects.len() >= HEAP_BYTES || self.count >= HEAP_OBJECTS {
            self.flush(out, references)?;
        }
        let length = u32::try_from(text.len()).map_err(|_| Error::invalid("a text has more than 4 GiB"))?;
        references.extend_from_slice(&length.to_le_bytes());
        if text.is_empty() {
            references.extend_from_slice(&[0; REFERENCE_BYTES - 4]);
            return Ok(());
        }
        self.count += 1;
        self.pending.push(references.len());
        references.extend_from_slice(&[0; 8]);
        references.extend_from_slice(&(self.count as u32).to_le_bytes());
        self.objects.extend_from_slice(&(self.count as u16).to_le_bytes());
        self.objects.extend_from_slice(&[1, 0, 0, 0, 0, 0]);
        self.objects.extend_from_slice(&(text.len() as u64).to_le_bytes());
        self.objects.extend_from_slice(text);
        self.objects.resize(self.objects.len().next_multiple_of(8), 0);
        Ok(())
    }

    /// Writes the collection and completes the references to it.
    pub(super) fn flush(&mut self, out: &mut Out, references: &mut [u8]) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let address = out.align(8)?;
        let size = (16 + self.objects.len()).max(MIN_HEAP);
        let mut collection = b"GCOL\x01\0\0\0".to_vec();
        collection.extend_from_slice(&(size as u64).to_le_bytes());
        collection.append(&mut self.objects);
        let free = size - collection.len();
        if free >= 16 {
            // Object 0 is the free space, its header included.
            collection.extend_from_slice(&[0; 8]);
            collection.extend_from_slice(&(free as u64).to_le_bytes());
        }
        collection.resize(size, 0);
        out.write(&collection)?;
        for at in self.pending.drain(..) {
            references[at..at + 8].copy_from_slice(&address.to_le_bytes());
        }
        self.count = 0;
        Ok(())
    }
}

/// A field being written as a dataset.
#[derive(Debug)]
pub(super) struct Column {
    field: FieldSpec,
    layout: Layout,
    /// Rows that do not fill a chunk yet.
    pending: Vec<u8>,
    heap: Heap,
    rows: u64,
    row_bytes: usize,
}

#[derive(Debug)]
enum Layout {
    /// In one piece, at the address where the first row went.
    Contiguous(Option<u64>),
    Chunked(Chunked),
}

#[derive(Debug)]
struct Chunked {
    shape: Vec<usize>,
    /// Whether the number of rows of a chunk was asked for.
    given: bool,
    grid: Grid,
    filters: Vec<Filter>,
    written: Vec<Written>,
}

impl Column {
    /// `alone`: whether no other dataset is written at the same time.
    pub(super) fn new(field: &FieldSpec, options: &Hdf5Options, alone: bool) -> Result<Self> {
        // No reader knows HDF5's bfloat16. A NULL is an error when it comes.
        let dtype = if field.dtype() == DType::Bfloat16 { DType::Float32 } else { field.dtype() };
        let fill = field.fill().filter(|_| dtype == field.dtype()).cloned();
        let mut field = FieldSpec::new(field.name(), dtype, field.cell().to_vec())?;
        if let Some(fill) = fill {
            field = field.with_fill(fill)?;
        }
        let element = element_bytes(dtype);
        let row_bytes = field.elements() * element;
        let layout = match (alone && options.is_plain() && !dtype.is_variable()) || row_bytes == 0 {
            true => Layout::Contiguous(None),
            false => Layout::Chunked(Chunked::new(&field, row_bytes, element, options)?),
        };
        Ok(Self { field, layout, pending: Vec::new(), heap: Heap::default(), rows: 0, row_bytes })
    }

    /// Appends rows, of which `first` is the first one's number.
    pub(super) fn write(&mut self, out: &mut Out, column: &dyn Array, first: u64) -> Result<()> {
        if self.field.dtype().is_variable() {
            self.write_texts(out, column, first)?;
        } else {
            let bytes = arrow::raw_bytes(&self.field, column, first)?;
            self.write_bytes(out, &bytes)?;
        }
        self.rows += column.len() as u64;
        Ok(())
    }

    fn write_texts(&mut self, out: &mut Out, column: &dyn Array, first: u64) -> Result<()> {
        let parts = arrow::parts(&self.field, column, first)?;
        let offsets = parts.offsets.unwrap_or_else(|| vec![0_i64].into());
        let base = offsets.first().copied().unwrap_or(0);
        let group = match &self.layout {
            Layout::Chunked(chunked) => chunked.group_bytes(self.row_bytes),
            Layout::Contiguous(_) => usize::MAX,
        };
        for (&start, &end) in offsets.iter().zip(offsets.iter().skip(1)) {
            let text = &parts.values[(start - base) as usize..(end - base) as usize];
            self.heap.add(out, text, &mut self.pending)?;
            if self.pending.len() >= group {
                self.heap.flush(out, &mut self.pending)?;
                let rows = std::mem::take(&mut self.pending);
                self.write_bytes(out, &rows)?;
            }
        }
        Ok(())
    }

    fn write_bytes(&mut self, out: &mut Out, bytes: &[u8]) -> Result<()> {
        match &mut self.layout {
            Layout::Contiguous(start) => {
                if !bytes.is_empty() && start.is_none() {
                    *start = Some(out.align(64)?);
                }
                out.write(bytes)
            }
            Layout::Chunked(chunked) => {
                let (band, group) = (chunked.band_bytes(self.row_bytes), chunked.group_bytes(self.row_bytes));
                let mut rest = bytes;
                while !rest.is_empty() {
                    if self.pending.is_empty() && rest.len() >= band {
                        let whole = (rest.len() / band * band).min(group);
                        chunked.write(out, &rest[..whole])?;
                        rest = &rest[whole..];
                        continue;
                    }
                    let taken = rest.len().min(group - self.pending.len());
                    self.pending.extend_from_slice(&rest[..taken]);
                    rest = &rest[taken..];
                    if self.pending.len() == group {
                        chunked.write(out, &self.pending)?;
                        self.pending.clear();
                    }
                }
                Ok(())
            }
        }
    }

    /// Writes what is left and gives the messages of the dataset's header.
    pub(super) fn finish(mut self, out: &mut Out) -> Result<Messages> {
        self.heap.flush(out, &mut self.pending)?;
        let shape = self.field.shape(self.rows);
        let chunked = matches!(self.layout, Layout::Chunked(_));
        let fill = self.field.fill().filter(|_| !self.field.dtype().is_variable());
        let mut messages = vec![
            encode::dataspace(&shape, chunked),
            (0x03, encode::element(self.field.dtype())),
            encode::fill(fill.map(Fill::as_bytes), chunked),
        ];
        match self.layout {
            Layout::Contiguous(address) => {
                messages.push(encode::contiguous(address.unwrap_or(UNDEFINED), self.rows * self.row_bytes as u64));
            }
            Layout::Chunked(chunks) => {
                let element = element_bytes(self.field.dtype());
                let fill = fill.map_or_else(|| vec![0; element], |f| f.as_bytes().to_vec());
                messages.extend(chunks.finish(out, &self.pending, self.row_bytes, &self.field, &fill)?);
            }
        }
        Ok(messages)
    }
}

/// Bytes of an element in the file.
fn element_bytes(dtype: DType) -> usize {
    if dtype.is_variable() { REFERENCE_BYTES } else { dtype.size() }
}

impl Chunked {
    fn new(field: &FieldSpec, row_bytes: usize, element: usize, options: &Hdf5Options) -> Result<Self> {
        let given = options.chunks.as_deref().unwrap_or_default();
        let rows = given.first().copied().unwrap_or((CHUNK_BYTES / row_bytes).max(1));
        let cell = field.cell();
        if given.len() > cell.len() + 1 || given.contains(&0) {
            return Err(Error::invalid(format!(
                "chunks {given:?} do not fit: an array of {} axes takes up to as many lengths, each at least 1",
                cell.len() + 1
            )));
        }
        let mut shape = vec![rows];
        for (axis, &n) in cell.iter().enumerate() {
            let chunk = given.get(axis + 1).copied().unwrap_or(n);
            if chunk > n {
                return Err(Error::invalid(format!("a chunk of {chunk} is longer than its axis of {n}; shorten it")));
            }
            shape.push(chunk);
        }
        let bytes = shape.iter().try_fold(element, |b, &n| b.checked_mul(n)).filter(|&b| u32::try_from(b).is_ok());
        if bytes.is_none() {
            return Err(Error::invalid(format!("chunks of shape {shape:?} have 4 GiB or more; make them smaller")));
        }
        let mut filters = Vec::new();
        if options.shuffle {
            filters.push(Filter::Shuffle(element));
        }
        filters.extend(options.gzip.map(Filter::Deflate));
        if options.fletcher32 {
            filters.push(Filter::Fletcher32);
        }
        let grid = Self::grid(&shape, field, element)?;
        Ok(Self { shape, given: !given.is_empty(), grid, filters, written: Vec::new() })
    }

    /// The grid of one row of chunks.
    fn grid(chunk: &[usize], field: &FieldSpec, element: usize) -> Result<Grid> {
        let chunk: Vec<u64> = chunk.iter().map(|&n| n as u64).collect();
        Grid::new(&field.shape(chunk.first().copied().unwrap_or(1)), &chunk, element)
    }

    fn band_bytes(&self, row_bytes: usize) -> usize {
        self.grid.chunk_rows() * row_bytes
    }

    /// Bytes of the rows of chunks that are compressed at a time.
    fn group_bytes(&self, row_bytes: usize) -> usize {
        let wanted = if self.filters.is_empty() { 1 } else { 2 * rayon::current_num_threads() };
        self.band_bytes(row_bytes) * wanted.div_ceil(self.grid.chunks_across().max(1))
    }

    /// Writes rows that fill rows of chunks.
    fn write(&mut self, out: &mut Out, rows: &[u8]) -> Result<()> {
        let across = self.grid.chunks_across();
        let bands: Vec<&[u8]> = rows.chunks(self.grid.row_bytes() * self.grid.chunk_rows()).collect();
        if self.filters.is_empty() && self.grid.has_whole_rows() {
            return bands.into_iter().try_for_each(|chunk| self.put(out, chunk));
        }
        let chunks: Vec<(usize, &[u8])> = bands.iter().flat_map(|b| (0..across).map(move |i| (i, *b))).collect();
        for group in chunks.chunks(2 * rayon::current_num_threads()) {
            let made = group.par_iter().map(|&(i, band)| self.make(i, band)).collect::<Result<Vec<_>>>()?;
            made.iter().try_for_each(|chunk| self.put(out, chunk))?;
        }
        Ok(())
    }

    /// A chunk as it is stored.
    fn make(&self, across: usize, band: &[u8]) -> Result<Vec<u8>> {
        if self.grid.has_whole_rows() {
            return filters::apply(&self.filters, band);
        }
        let mut chunk = vec![0; self.grid.chunk_bytes()];
        self.grid.gather(across, 0..self.grid.chunk_rows(), band, &mut chunk);
        filters::apply(&self.filters, &chunk)
    }

    fn put(&mut self, out: &mut Out, chunk: &[u8]) -> Result<()> {
        let bytes = u32::try_from(chunk.len()).map_err(|_| Error::invalid("a chunk has 4 GiB or more"))?;
        // So that chunks without filters can be read in place.
        let address = if self.filters.is_empty() { out.align(8)? } else { out.position };
        out.write(chunk)?;
        self.written.push(Written { address, bytes });
        Ok(())
    }

    fn finish(
        mut self,
        out: &mut Out,
        rest: &[u8],
        row_bytes: usize,
        field: &FieldSpec,
        fill: &[u8],
    ) -> Result<Messages> {
        let element = fill.len();
        let rows = rest.len() / row_bytes;
        if self.written.is_empty() && !self.given && rows < self.shape[0] {
            // No chunk is larger than the array.
            self.shape[0] = rows.max(1);
            self.grid = Self::grid(&self.shape, field, element)?;
        }
        if !rest.is_empty() {
            let mut all = rest.to_vec();
            let whole = rest.len().next_multiple_of(self.band_bytes(row_bytes));
            while all.len() < whole {
                all.extend_from_slice(fill);
            }
            self.write(out, &all)?;
        }
        let chunk: Vec<u32> = self.shape.iter().map(|&n| n as u32).collect();
        let tree = match self.written.is_empty() {
            true => UNDEFINED,
            false => {
                let address = out.align(8)?;
                let across = self.grid.chunks_across();
                let offset = |i: usize| {
                    let row = (i / across * self.grid.chunk_rows()) as u64;
                    std::iter::once(row).chain(self.grid.origin(i % across).into_iter().map(|n| n as u64)).collect()
                };
                let (nodes, root) = encode::chunk_tree(&self.written, &chunk, element as u32, offset, address);
                out.write(&nodes)?;
                root
            }
        };
        let mut messages = vec![encode::chunked(tree, &chunk, element as u32)];
        if !self.filters.is_empty() {
            messages.push(encode::pipeline(&self.filters));
        }
        Ok(messages)
    }
}
