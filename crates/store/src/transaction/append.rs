//! Appends: rows wait in memory while they are few, and go to shard files of their own when they are many.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use hyperslab_core::{ArraySource, DType, Element, Error, FieldSpec, Result};

use super::Transaction;
use crate::state::ArrayState;
use crate::{ArrayName, elements, packed};

/// What is read of a source at once.
const CHUNK: usize = 4 << 20;
/// What a text is thought to be long.
const TEXT: usize = 1 << 10;

impl Transaction {
    /// Appends rows. The batch's columns are the array's fields, in order, of the Arrow types of
    /// [`hyperslab_core::arrow::data_type`]. Large amounts go to disk at once; memory stays bounded.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for another number of columns, another type or a NULL, naming field and row: none of
    /// the rows is then appended. After `Io` (a full disk) the transaction cannot be committed.
    pub fn append(&mut self, name: impl Into<ArrayName>, rows: &RecordBatch) -> Result<()> {
        let (name, array) = self.array_for_append(name)?;
        if rows.num_columns() != array.own_fields().len() {
            return Err(Error::invalid(format!(
                "array {:?} has {} fields, and {} columns were given",
                name.to_string(),
                array.own_fields().len(),
                rows.num_columns()
            )));
        }
        // Rows are numbered from the first that this transaction appends.
        let first =
            self.rows_of(&array).saturating_sub(self.base.state().array(array.id).map_or(0, |base| base.rows()));
        let columns = array.own_fields().iter().zip(rows.columns());
        let columns: Vec<Buffer> = columns
            .map(|(field, column)| packed::of_array(field, column.as_ref(), first))
            .collect::<Result<_>>()
            .map_err(|e| e.with("array", &name))?;
        self.push(&name, &array, &slices(&columns), rows.num_rows() as u64)
    }

    /// Appends every row of a source with the same dtypes and cells, in bounded memory.
    ///
    /// # Errors
    /// As [`append`](Self::append), and what the source says.
    pub fn append_source(&mut self, name: impl Into<ArrayName>, source: &dyn ArraySource) -> Result<()> {
        let (name, array) = self.array_for_append(name)?;
        let fields = array.own_fields();
        check_same(&name, fields, source.fields())?;
        let row_bytes: usize = fields.iter().map(row_bytes).sum();
        let chunk = (CHUNK / row_bytes.max(1)).max(1) as u64;
        let mut row = 0;
        while row < source.rows() {
            let wanted = source.rows().min(row + chunk);
            // A chunk ends where joining pieces would need a copy, unless the pieces are tiny.
            let runs = (0..fields.len()).map(|f| source.run_end(f, row)).min().unwrap_or(wanted).min(wanted);
            let end = if runs.saturating_sub(row) * 16 < wanted - row { wanted } else { runs };
            let mut columns = Vec::with_capacity(fields.len());
            for (index, field) in fields.iter().enumerate() {
                let block = source.read(index, row..end)?;
                let bytes = packed::of_array(field, block.array.as_ref(), row).map_err(|e| e.with("array", &name))?;
                columns.push(bytes);
            }
            self.push(&name, &array, &slices(&columns), end - row)?;
            row = end;
        }
        Ok(())
    }

    /// Appends rows to an array of one field.
    ///
    /// # Errors
    /// As [`append`](Self::append); `Invalid` when elements or shape are not the field's.
    pub fn append_ndarray<T: Element, S, D>(
        &mut self,
        name: impl Into<ArrayName>,
        rows: &ndarray::ArrayBase<S, D>,
    ) -> Result<()>
    where
        S: ndarray::Data<Elem = T>,
        D: ndarray::Dimension,
    {
        let (name, array) = self.array_for_append(name)?;
        let [field] = array.own_fields() else {
            let count = array.own_fields().len();
            let why = format!("array {:?} has {count} fields; append record batches to it", name.to_string());
            return Err(Error::invalid(why));
        };
        check_ndarray::<T>(&name, field, rows.shape())?;
        let count = rows.shape().first().copied().unwrap_or(0) as u64;
        let ordered = rows.as_standard_layout();
        let bytes = ndarray_bytes(field, ordered.as_slice().unwrap_or_default());
        self.push(&name, &array, &[&packed::of_raw(field, bytes)], count)
    }

    fn array_for_append(&mut self, name: impl Into<ArrayName>) -> Result<(ArrayName, Arc<ArrayState>)> {
        let name = name.into();
        self.check_writable()?;
        let array = self.resolve(&name)?.clone();
        self.touch(array.id);
        Ok((name, array))
    }

    fn push(&mut self, name: &ArrayName, array: &ArrayState, columns: &[&[u8]], rows: u64) -> Result<()> {
        self.push_rows(array.id, columns, rows).map_err(|e| e.with("array", name))
    }
}

/// Refuses an ndarray whose elements or shape are not the field's.
pub(super) fn check_ndarray<T: Element>(name: &ArrayName, field: &FieldSpec, shape: &[usize]) -> Result<()> {
    if T::is(field.dtype()) && shape.get(1..) == Some(field.cell()) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "field {:?} of array {:?} has rows of {}{:?}, and an ndarray of {} and shape {shape:?} was given",
        field.name(),
        name.to_string(),
        field.dtype(),
        field.cell(),
        T::NAME,
    )))
}

/// About how many bytes a row has.
pub(super) fn row_bytes(field: &FieldSpec) -> usize {
    field.row_bytes() + if field.dtype().is_variable() { TEXT } else { 0 }
}

/// The raw bytes of a field's elements.
pub(super) fn ndarray_bytes<'a, T: Element>(field: &FieldSpec, elements: &'a [T]) -> Cow<'a, [u8]> {
    let bytes = elements::as_bytes(elements);
    match field.dtype() {
        DType::Bool => bytes.iter().map(|b| u8::from(*b != 0)).collect(),
        _ => bytes.into(),
    }
}

fn slices(columns: &[Buffer]) -> Vec<&[u8]> {
    columns.iter().map(Buffer::as_slice).collect()
}

/// Refuses a source whose fields are not, in order, of the array's dtypes and cells.
fn check_same(name: &ArrayName, fields: &[FieldSpec], given: &[FieldSpec]) -> Result<()> {
    if fields.len() != given.len() {
        let (has, gives) = (fields.len(), given.len());
        return Err(Error::invalid(format!("array {:?} has {has} fields, and {gives} were given", name.to_string())));
    }
    for (field, given) in fields.iter().zip(given) {
        if field.dtype() != given.dtype() || field.cell() != given.cell() {
            return Err(Error::invalid(format!(
                "field {:?} of array {:?} has rows of {}{:?}, and {given} was given",
                field.name(),
                name.to_string(),
                field.dtype(),
                field.cell()
            )));
        }
    }
    Ok(())
}
