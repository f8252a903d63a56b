//! Rows of fixed size in a mapped file: the values of a `.npy`, of an entry of a `.npz`, of a safetensors tensor.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::LargeStringBuilder;
use arrow_buffer::{Buffer, MutableBuffer};
use bytes::Bytes;
use hyperslab_core::{ArraySource, Block, ByteOrder, Error, FieldSpec, Result, arrow};

use crate::map::MappedFile;
use crate::npy::convert::{Fortran, swap_bytes};
use crate::npy::datetime::{self, Scale};

/// How the values of a field lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As in memory, but for the byte order.
    Plain(ByteOrder),
    /// Text of one size, filled up with NUL: NumPy's `S`.
    Bytes,
    /// Text of UCS-4 code units, filled up with 0: NumPy's `U`.
    Unicode(ByteOrder),
    /// Counts of a unit of time that is not ours.
    Time(ByteOrder, Scale),
}

/// A field, and where its part of a record is.
#[derive(Debug, Clone)]
pub(crate) struct RawField {
    pub(crate) spec: FieldSpec,
    pub(crate) encoding: Encoding,
    /// The first byte in the record.
    pub(crate) offset: usize,
    /// Bytes in the record.
    pub(crate) bytes: usize,
}

/// What a file's header says of an array: rows, whose cells are records, each of all fields.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) fields: Vec<RawField>,
    /// Bytes of a record.
    pub(crate) record: usize,
    /// The axes of records after the rows.
    pub(crate) cell: Vec<usize>,
    pub(crate) rows: u64,
    /// Whether records lie in Fortran order.
    pub(crate) fortran: bool,
}

impl Layout {
    /// Little-endian rows of one field in C order.
    pub(crate) fn plain(field: FieldSpec, rows: u64) -> Self {
        let (record, cell) = (field.dtype().size(), field.cell().to_vec());
        let field = RawField { spec: field, encoding: Encoding::Plain(ByteOrder::Little), offset: 0, bytes: record };
        Self { fields: vec![field], record, cell, rows, fortran: false }
    }

    fn records(&self) -> usize {
        self.cell.iter().product()
    }
}

/// An array in a mapped file.
///
/// Little-endian C-order values are views of the map. Others are copied, for the rows concerned only.
#[derive(Debug)]
pub(crate) struct RawSource {
    specs: Vec<FieldSpec>,
    layout: Layout,
    file: Arc<MappedFile>,
    /// The values: what the shape asks for, no more.
    data: Bytes,
    /// The length that the file must keep.
    end: u64,
    /// The array's name in its file, for errors.
    name: Option<String>,
}

/// The rows that are read.
#[derive(Clone, Copy)]
enum Rows<'a> {
    From(usize, usize),
    Each(&'a [u64]),
}

impl Rows<'_> {
    fn count(self) -> usize {
        match self {
            Self::From(_, count) => count,
            Self::Each(rows) => rows.len(),
        }
    }
}

impl RawSource {
    /// `range` is where the values are in the file: all that the layout asks for.
    pub(crate) fn new(
        file: Arc<MappedFile>,
        range: Range<usize>,
        layout: Layout,
        name: Option<String>,
    ) -> Result<Self> {
        let data = file.bytes().get(range.clone()).map(|_| file.bytes().slice(range.clone()));
        let row = layout.records().checked_mul(layout.record).map(|b| b as u64);
        let needed = row.and_then(|r| r.checked_mul(layout.rows)).filter(|&n| n == range.len() as u64);
        let (Some(data), Some(_)) = (data, needed) else {
            return Err(Error::corrupt("the values are not within the file").with("file", file.path().display()));
        };
        let specs = layout.fields.iter().map(|f| f.spec.clone()).collect();
        Ok(Self { specs, layout, file, data, end: range.end as u64, name })
    }

    pub(crate) fn file(&self) -> &MappedFile {
        &self.file
    }

    fn here(&self, error: Error) -> Error {
        let error = match &self.name {
            Some(name) => error.with("array", name),
            None => error,
        };
        error.with("file", self.file.path().display())
    }

    /// What every read checks first.
    fn check(&self, field: usize, rows: usize) -> Result<&RawField> {
        let known = self.specs.len();
        let found = self.layout.fields.get(field);
        let found =
            found.ok_or_else(|| self.here(Error::invalid(format!("there is no field number {field} of {known}"))))?;
        self.file.check(self.end)?;
        let bytes = rows.checked_mul(self.layout.records()).and_then(|n| n.checked_mul(self.layout.record.max(8)));
        bytes.filter(|&b| isize::try_from(b).is_ok()).ok_or_else(|| self.too_many(rows as u64))?;
        Ok(found)
    }

    fn too_many(&self, rows: u64) -> Error {
        self.here(Error::invalid(format!("{rows} rows are too many to be read at once; read fewer")))
    }

    fn beyond(&self, row: u64) -> Error {
        let rows = self.layout.rows;
        self.here(Error::invalid(format!("there is no row {row}; there are {rows} rows, counted from 0")))
    }

    /// Whether a field is all there is of a record, so that its rows follow each other.
    fn is_whole(&self, field: &RawField) -> bool {
        field.bytes == self.layout.record
    }

    /// Copies rows of whole records, in C order. The rows are within the data.
    fn records(&self, rows: Rows) -> MutableBuffer {
        let row_bytes = self.layout.records() * self.layout.record;
        let total = rows.count() * row_bytes;
        if self.layout.fortran && !self.layout.cell.is_empty() && total > 0 {
            let mut to = MutableBuffer::from_len_zeroed(total);
            let all = self.data.len() / row_bytes;
            let fortran = Fortran { data: &self.data, rows: all, cell: &self.layout.cell, item: self.layout.record };
            match rows {
                Rows::From(start, count) => fortran.read(start..start + count, to.as_slice_mut()),
                Rows::Each(rows) => {
                    let rows: Vec<usize> = rows.iter().map(|&r| r as usize).collect();
                    fortran.take(&rows, to.as_slice_mut());
                }
            }
            return to;
        }
        let mut to = MutableBuffer::with_capacity(total);
        match rows {
            _ if total == 0 => {}
            Rows::From(start, _) => to.extend_from_slice(&self.data[start * row_bytes..][..total]),
            Rows::Each(rows) => {
                rows.iter().for_each(|&r| to.extend_from_slice(&self.data[r as usize * row_bytes..][..row_bytes]));
            }
        }
        to
    }

    /// Copies one field's part of the records of rows, in C order.
    fn gathered(&self, field: &RawField, rows: Rows) -> MutableBuffer {
        if self.is_whole(field) {
            return self.records(rows);
        }
        let row_bytes = self.layout.records() * self.layout.record;
        let mut to = MutableBuffer::with_capacity(rows.count() * self.layout.records() * field.bytes);
        let mut pick = |records: &[u8]| {
            let records = records.chunks_exact(self.layout.record.max(1));
            records.for_each(|r| to.extend_from_slice(&r[field.offset..field.offset + field.bytes]));
        };
        match rows {
            _ if field.bytes == 0 || row_bytes == 0 => {}
            _ if self.layout.fortran => pick(&self.records(rows)),
            Rows::From(start, count) => pick(&self.data[start * row_bytes..][..count * row_bytes]),
            Rows::Each(rows) => rows.iter().for_each(|&r| pick(&self.data[r as usize * row_bytes..][..row_bytes])),
        }
        to
    }

    fn copy(&self, field: &RawField, rows: Rows) -> Result<Block> {
        let number = |i: usize| match rows {
            Rows::From(start, _) => (start + i) as u64,
            Rows::Each(rows) => rows.get(i).copied().unwrap_or(0),
        };
        decode(field, self.gathered(field, rows), rows.count(), number).map_err(|e| self.here(e))
    }
}

/// The array of a field's parts of the records of `rows` rows, which are brought from the file's encoding to ours. `number`
/// is that of each of the rows, for errors.
pub(crate) fn decode(
    field: &RawField,
    mut bytes: MutableBuffer,
    rows: usize,
    number: impl Fn(usize) -> u64,
) -> Result<Block> {
    let (dtype, per_row) = (field.spec.dtype(), field.spec.elements().max(1));
    let at_row = |(element, what): Bad| {
        Error::invalid(format!("field {:?}, row {}: {what}", field.spec.name(), number(element / per_row)))
    };
    let text = match field.encoding {
        Encoding::Plain(order) => {
            if order == ByteOrder::Big {
                swap_bytes(bytes.as_slice_mut(), dtype.component_size());
            }
            None
        }
        Encoding::Time(order, scale) => {
            if order == ByteOrder::Big {
                swap_bytes(bytes.as_slice_mut(), 8);
            }
            datetime::scale(bytes.as_slice_mut(), scale).map_err(at_row)?;
            None
        }
        Encoding::Bytes if dtype.is_variable() => Some(text(field, &bytes, rows, ascii)),
        Encoding::Bytes => None,
        Encoding::Unicode(order) => {
            if order == ByteOrder::Big {
                swap_bytes(bytes.as_slice_mut(), 4);
            }
            if dtype.is_variable() {
                Some(text(field, &bytes, rows, ucs4))
            } else {
                padded(bytes.as_slice_mut(), dtype.size()).map_err(at_row)?;
                None
            }
        }
    };
    if let Some(array) = text {
        let array = array.map_err(at_row)?;
        let copied = array.values().len() as u64 + (rows as u64 + 1) * 8;
        return Ok(Block { array: Arc::new(array), copied });
    }
    let copied = bytes.len() as u64;
    let mut block = arrow::array_from_buffer(&field.spec, bytes.into(), rows)?;
    block.copied += copied;
    Ok(block)
}

type Bad = (usize, String);

fn text(
    field: &RawField,
    bytes: &[u8],
    rows: usize,
    decode: fn(&[u8]) -> Option<std::borrow::Cow<'_, str>>,
) -> std::result::Result<arrow_array::LargeStringArray, Bad> {
    let mut to = LargeStringBuilder::with_capacity(rows, bytes.len() / 2);
    for i in 0..rows {
        let text = decode(&bytes[i * field.bytes..][..field.bytes]);
        let bad = || {
            let how = if field.encoding == Encoding::Bytes { "UTF-8" } else { "Unicode" };
            (i, format!("the text is not {how}; save it as bytes, as by .view('V{}')", field.bytes))
        };
        to.append_value(text.ok_or_else(bad)?);
    }
    Ok(to.finish())
}

/// NumPy drops the NULs at the end.
fn ascii(bytes: &[u8]) -> Option<std::borrow::Cow<'_, str>> {
    let length = bytes.iter().rposition(|&b| b != 0).map_or(0, |i| i + 1);
    std::str::from_utf8(&bytes[..length]).ok().map(Into::into)
}

fn ucs4(bytes: &[u8]) -> Option<std::borrow::Cow<'_, str>> {
    let units = bytes.as_chunks::<4>().0;
    let length = units.iter().rposition(|u| *u != [0; 4]).map_or(0, |i| i + 1);
    let chars = units[..length].iter().map(|u| char::from_u32(u32::from_le_bytes(*u)));
    chars.collect::<Option<String>>().map(Into::into)
}

/// Brings each element of UCS-4 to UTF-8, which is never longer, in place.
fn padded(bytes: &mut [u8], size: usize) -> std::result::Result<(), Bad> {
    for (i, element) in bytes.chunks_exact_mut(size.max(1)).enumerate() {
        let text = ucs4(element).ok_or_else(|| (i, "the text is not Unicode".to_owned()))?.into_owned();
        element.fill(0);
        element[..text.len()].copy_from_slice(text.as_bytes());
    }
    Ok(())
}

impl ArraySource for RawSource {
    fn fields(&self) -> &[FieldSpec] {
        &self.specs
    }

    fn rows(&self) -> u64 {
        self.layout.rows
    }

    fn read(&self, field: usize, rows: Range<u64>) -> Result<Block> {
        if rows.start > rows.end || rows.end > self.rows() {
            return Err(self.beyond(rows.start.max(rows.end.saturating_sub(1))));
        }
        let count = usize::try_from(rows.end - rows.start).map_err(|_| self.too_many(rows.end - rows.start))?;
        let field = self.check(field, count)?;
        // A row without bytes may have a number beyond usize, and nothing is read at it.
        let start = usize::try_from(rows.start).unwrap_or(usize::MAX);
        let row_bytes = self.layout.records() * self.layout.record;
        let contiguous = self.is_whole(field) && (!self.layout.fortran || self.layout.cell.is_empty());
        if count > 0 && row_bytes > 0 && contiguous && field.encoding == Encoding::Plain(ByteOrder::Little) {
            let view = self.data.slice(start * row_bytes..(start + count) * row_bytes);
            if view.as_ptr().align_offset(field.spec.dtype().component_size()) == 0 {
                // A buffer of its own per read, so that Arrow counts its bytes and not the whole map's.
                let block = arrow::array_from_buffer(&field.spec, Buffer::from(view), count);
                return block.map_err(|e| self.here(e));
            }
        }
        self.copy(field, Rows::From(start, count))
    }

    fn take(&self, field: usize, rows: &[u64]) -> Result<Block> {
        let field = self.check(field, rows.len())?;
        if let Some(&row) = rows.iter().find(|&&r| r >= self.rows()) {
            return Err(self.beyond(row));
        }
        self.copy(field, Rows::Each(rows))
    }
}
