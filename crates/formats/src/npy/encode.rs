//! Rows as the bytes of a `.npy`: one field as it is, several as a structured dtype.

use arrow_array::cast::AsArray;
use arrow_array::{Array, LargeStringArray, RecordBatch};
use arrow_buffer::Buffer;
use hyperslab_core::npy::write_header_of;
use hyperslab_core::{ByteOrder, DType, Error, FieldSpec, Result, arrow};

use super::convert::{swap_bytes, to_fortran};
use super::text::{MOST_CHARACTERS, check_text, put_text};
use crate::container::refuse_binary;

const ALIGN: usize = 64;
/// Bytes that are put together before they are handed on.
pub(super) const PIECE_BYTES: usize = 1 << 20;

/// The fields of a `.npy` that is being written, and how many rows it has.
#[derive(Debug)]
pub(crate) struct Encoder {
    record: Record,
    rows: u64,
}

/// How a row lies in a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(super) columns: Vec<Column>,
    /// Bytes after the last field.
    pub(super) tail: usize,
}

/// A field in a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) field: FieldSpec,
    /// Of text, how many characters each has.
    pub(super) width: usize,
    /// Whether that is still to be known: it is what the longest one has.
    pub(super) widens: bool,
    pub(super) order: ByteOrder,
    /// Bytes before it that hold nothing.
    pub(super) gap: usize,
    /// The axes that lie in Fortran order in each row; none where there are no two of them.
    pub(super) fortran: Vec<usize>,
}

/// The columns of a batch, checked, as they are in the file.
#[derive(Debug)]
pub(crate) struct Checked {
    values: Vec<Values>,
    rows: usize,
}

#[derive(Debug)]
enum Values {
    /// Of so many bytes each.
    Plain(Buffer, usize),
    /// Of so many characters each.
    Text(LargeStringArray, usize, ByteOrder),
}

impl Record {
    /// NumPy has no bfloat16: it becomes float32. Text becomes NumPy's `U` of `text_width` characters; without one, of as
    /// many as the longest has.
    pub(super) fn new(fields: &[FieldSpec], text_width: Option<usize>) -> Result<Self> {
        if fields.is_empty() {
            return Err(Error::invalid("there is no field to write; select at least one"));
        }
        let mut columns = Vec::with_capacity(fields.len());
        for field in fields {
            refuse_binary(field, "a .npy file")?;
            let written = match field.dtype() {
                DType::Bfloat16 => FieldSpec::new(field.name(), DType::Float32, field.cell().to_vec())?,
                _ => field.clone().with_nullable(false),
            };
            let text = written.dtype() == DType::Utf8;
            let width = text_width.filter(|_| text).unwrap_or(0);
            let widens = text && text_width.is_none();
            let (order, gap, fortran) = (ByteOrder::Little, 0, Vec::new());
            columns.push(Column { field: written, width, widens, order, gap, fortran });
        }
        Ok(Self { columns, tail: 0 })
    }

    /// Whether it is still to be known how long its texts are.
    pub(super) fn widens(&self) -> bool {
        self.columns.iter().any(|c| c.widens)
    }

    pub(super) fn fields(&self) -> impl ExactSizeIterator<Item = &FieldSpec> {
        self.columns.iter().map(|c| &c.field)
    }

    /// Bytes of a row.
    pub(super) fn bytes(&self) -> usize {
        self.columns.iter().map(|c| c.gap + c.bytes()).sum::<usize>() + self.tail
    }

    /// The header of so many rows: of the same length, however many they are.
    pub(super) fn header(&self, rows: u64) -> Result<Vec<u8>> {
        let shape = match self.columns.as_slice() {
            [column] => column.field.shape(rows),
            _ => vec![rows],
        };
        let bytes = self.columns.iter().try_fold(0_usize, |sum, c| sum.checked_add(c.bytes()));
        if self.columns.len() > 1 && bytes.is_none_or(|n| i32::try_from(n).is_err()) {
            return Err(Error::invalid(format!(
                "a row of all fields is longer than the {} bytes that NumPy's dtypes have; write fewer fields, or HDF5, Zarr or Parquet",
                i32::MAX
            )));
        }
        write_header_of(&self.descr()?, &shape, ALIGN)
    }

    /// The dtype as Python has it.
    pub(super) fn descr(&self) -> Result<String> {
        let one = |column: &Column| match column.field.dtype() {
            DType::Utf8 => format!("'<U{}'", column.characters()),
            dtype => format!("'{}'", dtype.npy_descr()),
        };
        if let [column] = self.columns.as_slice() {
            return Ok(one(column));
        }
        let mut descr = String::from("[");
        for column in &self.columns {
            let field = &column.field;
            let name = field.name();
            if name.contains(['\'', '\\']) {
                return Err(Error::invalid(format!(
                    "field {name:?}: a .npy holds no ' or \\ in a name; rename the field"
                )));
            }
            descr.push_str(&format!("('{name}', {}", one(column)));
            if !field.cell().is_empty() {
                let axes: String = field.cell().iter().map(|n| format!("{n},")).collect();
                descr.push_str(&format!(", ({axes})"));
            }
            descr.push_str("), ");
        }
        descr.truncate(descr.len() - 2);
        descr.push(']');
        Ok(descr)
    }

    /// The columns of rows, if all of them can be written. `first_row` numbers them in messages.
    pub(super) fn check(&self, batch: &RecordBatch, first_row: u64) -> Result<Checked> {
        let (expected, found) = (self.columns.len(), batch.num_columns());
        if expected != found {
            return Err(Error::invalid(format!("the array has {expected} fields, and the rows have {found}")));
        }
        let columns = self.columns.iter().zip(batch.columns());
        let values = columns.map(|(column, values)| column.check(values.as_ref(), first_row)).collect::<Result<_>>()?;
        Ok(Checked { values, rows: batch.num_rows() })
    }

    /// Hands on the bytes of rows, in pieces.
    pub(super) fn write<E>(
        &self,
        rows: &Checked,
        to: &mut dyn FnMut(&[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        if let ([Values::Plain(bytes, _)], [Column { gap: 0, .. }], 0) =
            (rows.values.as_slice(), self.columns.as_slice(), self.tail)
        {
            return to(bytes);
        }
        let piece = (PIECE_BYTES / self.bytes().max(1)).max(1);
        let mut bytes = Vec::new();
        for start in (0..rows.rows).step_by(piece) {
            bytes.clear();
            for row in start..rows.rows.min(start + piece) {
                for (column, values) in self.columns.iter().zip(&rows.values) {
                    bytes.resize(bytes.len() + column.gap, 0);
                    values.put(row, &mut bytes);
                }
                bytes.resize(bytes.len() + self.tail, 0);
            }
            to(&bytes)?;
        }
        Ok(())
    }
}

impl Encoder {
    /// As [`Record::new`].
    pub(crate) fn new(fields: &[FieldSpec], text_width: Option<usize>) -> Result<Self> {
        let encoder = Self { record: Record::new(fields, text_width)?, rows: 0 };
        encoder.header()?;
        Ok(encoder)
    }

    /// Whether rows are to wait in a [`Spool`](super::spool::Spool), because it is not known how long their texts are.
    pub(crate) fn waits(&self) -> bool {
        self.record.widens()
    }

    /// The header of the rows so far: of the same length, however many they are, unless they wait.
    pub(crate) fn header(&self) -> Result<Vec<u8>> {
        self.record.header(self.rows)
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn row_bytes(&self) -> usize {
        self.record.bytes()
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.record.columns
    }

    /// The columns of more rows, if all of them can be written.
    pub(crate) fn check(&self, batch: &RecordBatch) -> Result<Checked> {
        self.record.check(batch, self.rows)
    }

    /// Hands on the bytes of more rows, in pieces.
    pub(crate) fn write(&mut self, more: &Checked, to: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.record.write(more, to)?;
        self.rows += more.rows as u64;
        Ok(())
    }

    /// The bytes with which more rows wait: values as they are, and of each text its length in UTF-8 and that.
    pub(super) fn compact(&mut self, more: &Checked) -> Vec<u8> {
        let mut to = Vec::new();
        for row in 0..more.rows {
            for values in &more.values {
                match values {
                    Values::Plain(bytes, size) => to.extend_from_slice(&bytes[row * size..][..*size]),
                    Values::Text(texts, ..) => {
                        let text = texts.value(row);
                        // As long as four times the characters that were checked.
                        to.extend_from_slice(&(text.len() as u32).to_le_bytes());
                        to.extend_from_slice(text.as_bytes());
                    }
                }
            }
        }
        for (column, values) in self.record.columns.iter_mut().zip(&more.values) {
            if let Values::Text(texts, ..) = values
                && column.widens
            {
                let longest = texts.iter().flatten().map(|text| text.chars().count()).max();
                column.width = column.width.max(longest.unwrap_or(0));
            }
        }
        self.rows += more.rows as u64;
        to
    }
}

impl Column {
    /// Characters of each text in the file: NumPy writes none without any.
    pub(super) fn characters(&self) -> usize {
        self.width.max(1)
    }

    /// Bytes in a row.
    pub(super) fn bytes(&self) -> usize {
        match self.field.dtype() {
            DType::Utf8 => self.characters().saturating_mul(4),
            _ => self.field.row_bytes(),
        }
    }

    /// The values, if all of them can be written.
    fn check(&self, values: &dyn Array, first_row: u64) -> Result<Values> {
        if self.field.dtype() == DType::Utf8 {
            return self.check_texts(values, first_row);
        }
        let (mut bytes, size) = (arrow::raw_bytes(&self.field, values, first_row)?, self.field.row_bytes());
        let axes: usize = self.fortran.iter().product();
        if axes > 1 {
            bytes = to_fortran(&self.fortran, size / axes, &bytes).into();
        }
        if self.order == ByteOrder::Big && self.field.dtype().component_size() > 1 {
            let mut swapped = bytes.to_vec();
            swap_bytes(&mut swapped, self.field.dtype().component_size());
            bytes = swapped.into();
        }
        Ok(Values::Plain(bytes, size))
    }

    fn check_texts(&self, values: &dyn Array, first_row: u64) -> Result<Values> {
        let mut parts = arrow::parts(&self.field, values, first_row)?;
        let start = parts.offsets.as_ref().and_then(|offsets| offsets.first().copied()).unwrap_or(0);
        parts.offsets = parts.offsets.map(|offsets| offsets.iter().map(|offset| offset - start).collect());
        let texts = arrow::array_from_parts(&self.field, parts, values.len())?.array;
        let texts = texts.as_string::<i64>().clone();
        let most = if self.widens { MOST_CHARACTERS } else { self.characters() };
        check_text(self.field.name(), &texts, first_row, most)?;
        Ok(Values::Text(texts, self.characters(), self.order))
    }
}

impl Values {
    fn put(&self, row: usize, to: &mut Vec<u8>) {
        match self {
            Self::Plain(bytes, size) => to.extend_from_slice(&bytes[row * size..][..*size]),
            Self::Text(texts, characters, order) => put_text(texts.value(row), *characters, *order, to),
        }
    }
}
