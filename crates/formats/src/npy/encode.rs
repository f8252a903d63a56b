//! Rows as the bytes of a `.npy`: one field as it is, several as a structured dtype.

use arrow_array::cast::AsArray;
use arrow_array::{Array, LargeStringArray, RecordBatch};
use arrow_buffer::Buffer;
use hyperslab_core::npy::write_header_of;
use hyperslab_core::{DType, Error, FieldSpec, Result, arrow};

use super::text::{MOST_CHARACTERS, check_text, put_text};
use crate::container::refuse_binary;

const ALIGN: usize = 64;
/// Bytes that are put together before they are handed on.
pub(super) const PIECE_BYTES: usize = 1 << 20;

/// The fields of a `.npy` that is being written, and how many rows it has.
#[derive(Debug)]
pub(crate) struct Encoder {
    columns: Vec<Column>,
    rows: u64,
}

/// A field as it is written.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) field: FieldSpec,
    /// The characters of each text.
    pub(super) width: usize,
    /// Whether that is still to be known: it is what the longest one has.
    pub(super) widens: bool,
}

/// The columns of a batch, checked.
#[derive(Debug)]
pub(crate) struct Checked {
    values: Vec<Values>,
    rows: usize,
}

#[derive(Debug)]
enum Values {
    /// As they are in the file, each of so many bytes.
    Plain(Buffer, usize),
    /// Texts, each of which has so many characters in the file.
    Text(LargeStringArray, usize),
}

impl Encoder {
    /// NumPy has no bfloat16: it becomes float32. Text becomes NumPy's `U` of `text_width` characters; without one, of as
    /// many as the longest has, which [`waits`](Self::waits).
    pub(crate) fn new(fields: &[FieldSpec], text_width: Option<usize>) -> Result<Self> {
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
            columns.push(Column { field: written, width, widens: text && text_width.is_none() });
        }
        let encoder = Self { columns, rows: 0 };
        encoder.header()?;
        Ok(encoder)
    }

    /// Whether rows are to wait in a [`Spool`](super::spool::Spool), because it is not known how long their texts are.
    pub(crate) fn waits(&self) -> bool {
        self.columns.iter().any(|c| c.widens)
    }

    /// The header of the rows so far: of the same length, however many they are, unless they wait.
    pub(crate) fn header(&self) -> Result<Vec<u8>> {
        let shape = match self.columns.as_slice() {
            [column] => column.field.shape(self.rows),
            _ => vec![self.rows],
        };
        let item = self.columns.iter().try_fold(0_usize, |sum, c| sum.checked_add(c.bytes()));
        if self.columns.len() > 1 && item.is_none_or(|n| i32::try_from(n).is_err()) {
            return Err(Error::invalid(format!(
                "a row of all fields is longer than the {} bytes that NumPy's dtypes have; write fewer fields, or HDF5, Zarr or Parquet",
                i32::MAX
            )));
        }
        write_header_of(&descr(&self.columns)?, &shape, ALIGN)
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn row_bytes(&self) -> usize {
        self.columns.iter().map(Column::bytes).sum()
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The columns of more rows, if all of them can be written.
    pub(crate) fn check(&self, batch: &RecordBatch) -> Result<Checked> {
        let (expected, found) = (self.columns.len(), batch.num_columns());
        if expected != found {
            return Err(Error::invalid(format!("the array has {expected} fields, and the rows have {found}")));
        }
        let columns = self.columns.iter().zip(batch.columns());
        let values = columns.map(|(column, values)| column.check(values.as_ref(), self.rows)).collect::<Result<_>>()?;
        Ok(Checked { values, rows: batch.num_rows() })
    }

    /// Hands on the bytes of more rows, in pieces.
    pub(crate) fn write(&mut self, more: &Checked, to: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if let [Values::Plain(bytes, _)] = more.values.as_slice() {
            to(bytes)?;
        } else {
            let piece = (PIECE_BYTES / self.row_bytes().max(1)).max(1);
            let mut bytes = Vec::new();
            for start in (0..more.rows).step_by(piece) {
                bytes.clear();
                for row in start..more.rows.min(start + piece) {
                    more.values.iter().for_each(|values| values.put(row, &mut bytes));
                }
                to(&bytes)?;
            }
        }
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
                    Values::Text(texts, _) => {
                        let text = texts.value(row);
                        // As long as four times the characters that were checked.
                        to.extend_from_slice(&(text.len() as u32).to_le_bytes());
                        to.extend_from_slice(text.as_bytes());
                    }
                }
            }
        }
        for (column, values) in self.columns.iter_mut().zip(&more.values) {
            if let Values::Text(texts, _) = values
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

    /// Bytes of a row.
    pub(super) fn bytes(&self) -> usize {
        match self.field.dtype() {
            DType::Utf8 => self.characters().saturating_mul(4),
            _ => self.field.row_bytes(),
        }
    }

    /// The values, if all of them can be written.
    fn check(&self, values: &dyn Array, first_row: u64) -> Result<Values> {
        if self.field.dtype() != DType::Utf8 {
            return Ok(Values::Plain(arrow::raw_bytes(&self.field, values, first_row)?, self.field.row_bytes()));
        }
        let mut parts = arrow::parts(&self.field, values, first_row)?;
        let start = parts.offsets.as_ref().and_then(|offsets| offsets.first().copied()).unwrap_or(0);
        parts.offsets = parts.offsets.map(|offsets| offsets.iter().map(|offset| offset - start).collect());
        let texts = arrow::array_from_parts(&self.field, parts, values.len())?.array;
        let texts = texts.as_string::<i64>().clone();
        let most = if self.widens { MOST_CHARACTERS } else { self.characters() };
        check_text(self.field.name(), &texts, first_row, most)?;
        Ok(Values::Text(texts, self.characters()))
    }
}

impl Values {
    fn put(&self, row: usize, to: &mut Vec<u8>) {
        match self {
            Self::Plain(bytes, size) => to.extend_from_slice(&bytes[row * size..][..*size]),
            Self::Text(texts, characters) => put_text(texts.value(row), *characters, to),
        }
    }
}

/// The dtype as Python has it.
fn descr(columns: &[Column]) -> Result<String> {
    let one = |column: &Column| match column.field.dtype() {
        DType::Utf8 => format!("'<U{}'", column.characters()),
        dtype => format!("'{}'", dtype.npy_descr()),
    };
    if let [column] = columns {
        return Ok(one(column));
    }
    let mut descr = String::from("[");
    for column in columns {
        let field = &column.field;
        let name = field.name();
        if name.contains(['\'', '\\']) {
            return Err(Error::invalid(format!("field {name:?}: a .npy holds no ' or \\ in a name; rename the field")));
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
