//! Rows as the bytes of a `.npy`: one field as it is, several as a structured dtype.

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use hyperslab_core::npy::write_header_of;
use hyperslab_core::{DType, Error, FieldSpec, Result, arrow};

use crate::container::refuse_variable;

const ALIGN: usize = 64;

/// The fields of a `.npy` that is being written, and how many rows it has.
#[derive(Debug)]
pub(crate) struct Encoder {
    fields: Vec<FieldSpec>,
    descr: String,
    rows: u64,
}

impl Encoder {
    /// NumPy has no bfloat16: it becomes float32.
    pub(crate) fn new(fields: &[FieldSpec]) -> Result<Self> {
        if fields.is_empty() {
            return Err(Error::invalid("there is no field to write; select at least one"));
        }
        let mut written = Vec::with_capacity(fields.len());
        for field in fields {
            refuse_variable(field, "a .npy file")?;
            written.push(match field.dtype() {
                DType::Bfloat16 => FieldSpec::new(field.name(), DType::Float32, field.cell().to_vec())?,
                _ => field.clone(),
            });
        }
        let encoder = Self { descr: descr(&written)?, fields: written, rows: 0 };
        encoder.header()?;
        Ok(encoder)
    }

    /// The header of the rows so far: of the same length, however many they are.
    pub(crate) fn header(&self) -> Result<Vec<u8>> {
        let shape = match self.fields.as_slice() {
            [field] => field.shape(self.rows),
            _ => vec![self.rows],
        };
        write_header_of(&self.descr, &shape, ALIGN)
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn row_bytes(&self) -> usize {
        self.fields.iter().map(FieldSpec::row_bytes).sum()
    }

    /// The bytes of more rows.
    pub(crate) fn encode(&mut self, batch: &RecordBatch) -> Result<Buffer> {
        let (expected, found) = (self.fields.len(), batch.num_columns());
        if expected != found {
            return Err(Error::invalid(format!("the array has {expected} fields, and the rows have {found}")));
        }
        let columns = self.fields.iter().zip(batch.columns());
        let columns = columns.map(|(f, c)| Ok((arrow::raw_bytes(f, c.as_ref(), self.rows)?, f.row_bytes())));
        let mut columns: Vec<(Buffer, usize)> = columns.collect::<Result<_>>()?;
        self.rows += batch.num_rows() as u64;
        if columns.len() == 1 {
            return Ok(columns.remove(0).0);
        }
        let mut to = Vec::with_capacity(batch.num_rows() * self.row_bytes());
        for row in 0..batch.num_rows() {
            columns.iter().for_each(|(bytes, size)| to.extend_from_slice(&bytes[row * size..][..*size]));
        }
        Ok(to.into())
    }
}

/// The dtype as Python has it.
fn descr(fields: &[FieldSpec]) -> Result<String> {
    if let [field] = fields {
        return Ok(format!("'{}'", field.dtype().npy_descr()));
    }
    let mut descr = String::from("[");
    for field in fields {
        let name = field.name();
        if name.contains(['\'', '\\']) {
            return Err(Error::invalid(format!("field {name:?}: a .npy holds no ' or \\ in a name; rename the field")));
        }
        descr.push_str(&format!("('{name}', '{}'", field.dtype().npy_descr()));
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
