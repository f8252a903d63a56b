//! Reading `.npy` files in place.

use std::ops::Range;
use std::path::Path;

use arrow_buffer::{Buffer, MutableBuffer};
use bytes::Bytes;
use hyperslab_core::npy::{MAX_HEADER_BYTES, NpyHeader};
use hyperslab_core::{ArraySource, Block, ByteOrder, DType, Error, FieldSpec, Result, VALUE, arrow};

use super::convert::{Fortran, swap_bytes};
use crate::map::MappedFile;

/// A mapped `.npy` file.
///
/// Little-endian C-order values are views of the map; bools are packed, and big-endian, Fortran-order and misaligned
/// values (an old writer's header) are copied, for the rows concerned only.
///
/// Nobody may change the file in place while it is open. That it shrank is noticed, and an error.
#[derive(Debug)]
pub struct NpySource {
    fields: [FieldSpec; 1],
    header: NpyHeader,
    file: MappedFile,
    /// The values: what the shape asks for, no more.
    data: Bytes,
}

impl NpySource {
    /// Maps a file and checks its header and its length.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` for a header that is not understood or a file shorter than its shape asks for;
    /// `Unsupported` for object, text and structured dtypes; `Invalid` for what is no regular file or a cell too
    /// large for Arrow; `Io`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = MappedFile::open(path)?;
        let all = file.bytes();
        let in_file = |e: Error| e.with("file", path.display());
        let header = NpyHeader::parse(all.get(..MAX_HEADER_BYTES).unwrap_or(all)).map_err(in_file)?;
        let field = header.field(VALUE).map_err(in_file)?;
        if header.fortran_order && header.shape.len() > 1 && matches!(header.dtype, DType::FixedBytes(_)) {
            let why = "bytes in Fortran order are not read; save numpy.ascontiguousarray of them";
            return Err(in_file(Error::unsupported(why)));
        }
        let (expected, found) = (header.data_bytes().map_err(in_file)?, all.len() as u64 - header.data_offset);
        if found < expected {
            return Err(in_file(Error::corrupt(format!(
                "the file is incomplete: shape {:?} of {} needs {expected} bytes of data, and {found} are there; copy or \
                 download it again",
                header.shape, header.dtype
            ))));
        }
        // Both are within the map, and so within usize.
        let start = header.data_offset as usize;
        let data = all.slice(start..start + expected as usize);
        Ok(Self { fields: [field], header, file, data })
    }

    /// What the file's header says.
    pub fn header(&self) -> &NpyHeader {
        &self.header
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    fn field(&self) -> &FieldSpec {
        let [field] = &self.fields;
        field
    }

    fn in_file(&self, error: Error) -> Error {
        error.with("file", self.path().display())
    }

    /// Whether rows lie apart in the file.
    fn is_strided(&self) -> bool {
        self.header.fortran_order && self.header.shape.len() > 1
    }

    fn fortran(&self) -> Fortran<'_> {
        let field = self.field();
        // Unless cells are empty, there are no more rows than bytes in the map.
        let rows = self.data.len().checked_div(field.row_bytes()).unwrap_or(0);
        Fortran { data: &self.data, rows, cell: field.cell(), item: field.dtype().size() }
    }

    /// What every read checks first. Returns the bytes of `rows` rows.
    fn check(&self, field: usize, rows: usize) -> Result<usize> {
        if field != 0 {
            return Err(self.in_file(Error::invalid(format!("there is no field number {field}; a .npy has one"))));
        }
        self.file.check_length(self.header.data_offset + self.data.len() as u64)?;
        let bytes = rows.checked_mul(self.field().row_bytes());
        bytes.ok_or_else(|| self.in_file(Error::invalid(format!("{rows} rows are too many to be read at once"))))
    }

    /// An array of copied rows, which are still in the file's byte order.
    fn copied(&self, mut bytes: MutableBuffer, rows: usize) -> Result<Block> {
        if self.header.byte_order == ByteOrder::Big {
            swap_bytes(bytes.as_slice_mut(), self.header.dtype.component_size());
        }
        let copied = bytes.len() as u64;
        let mut block = arrow::array_from_buffer(self.field(), bytes.into(), rows).map_err(|e| self.in_file(e))?;
        block.copied += copied;
        Ok(block)
    }

    fn beyond(&self, row: u64) -> Error {
        let rows = self.header.rows();
        self.in_file(Error::invalid(format!("there is no row {row}; the file has {rows} rows, counted from 0")))
    }
}

impl ArraySource for NpySource {
    fn fields(&self) -> &[FieldSpec] {
        &self.fields
    }

    fn rows(&self) -> u64 {
        self.header.rows()
    }

    fn read(&self, field: usize, rows: Range<u64>) -> Result<Block> {
        if rows.start > rows.end || rows.end > self.rows() {
            return Err(self.beyond(rows.start.max(rows.end.saturating_sub(1))));
        }
        let too_many = |_| self.in_file(Error::invalid(format!("rows {rows:?} are too many to be read at once")));
        let count = usize::try_from(rows.end - rows.start).map_err(too_many)?;
        let bytes = self.check(field, count)?;
        if bytes == 0 {
            let block = arrow::array_from_buffer(self.field(), MutableBuffer::new(0).into(), count);
            return block.map_err(|e| self.in_file(e));
        }
        // A row has bytes, so that positions of rows and of bytes are within the map.
        let start = rows.start as usize;
        if self.is_strided() {
            let mut to = MutableBuffer::from_len_zeroed(bytes);
            self.fortran().read(start..start + count, to.as_slice_mut());
            return self.copied(to, count);
        }
        let from = start * self.field().row_bytes();
        let view = self.data.slice(from..from + bytes);
        let aligned = view.as_ptr().align_offset(self.header.dtype.component_size()) == 0;
        if self.header.byte_order == ByteOrder::Little && aligned {
            // A buffer of its own per read, so that Arrow counts its bytes and not the whole map's.
            let block = arrow::array_from_buffer(self.field(), Buffer::from(view), count);
            return block.map_err(|e| self.in_file(e));
        }
        let mut to = MutableBuffer::with_capacity(bytes);
        to.extend_from_slice(&view);
        self.copied(to, count)
    }

    fn take(&self, field: usize, rows: &[u64]) -> Result<Block> {
        let count = rows.len();
        let bytes = self.check(field, count)?;
        if let Some(&row) = rows.iter().find(|&&r| r >= self.rows()) {
            return Err(self.beyond(row));
        }
        let row_bytes = self.field().row_bytes();
        if self.is_strided() && bytes > 0 {
            let rows: Vec<usize> = rows.iter().map(|&r| r as usize).collect();
            let mut to = MutableBuffer::from_len_zeroed(bytes);
            self.fortran().take(&rows, to.as_slice_mut());
            return self.copied(to, count);
        }
        let mut to = MutableBuffer::with_capacity(bytes);
        if row_bytes > 0 {
            rows.iter().for_each(|&r| to.extend_from_slice(&self.data[r as usize * row_bytes..][..row_bytes]));
        }
        self.copied(to, count)
    }
}
