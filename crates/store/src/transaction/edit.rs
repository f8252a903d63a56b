//! Edits of rows: replaced, deleted, by position or by address.

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use hyperslab_core::{Element, Error, FieldSpec, Result};

use super::Transaction;
use super::append::{check_ndarray, ndarray_bytes};
use crate::action::Id;
use crate::state::ArrayState;
use crate::{Addresses, ArrayName, packed};

impl Transaction {
    /// Replaces the values of some fields in some rows. The columns of `values` are named after fields, of the types of
    /// [`hyperslab_core::arrow::data_type`], and have one row per position. Positions count the rows as this transaction
    /// sees them now, negative ones from the end; they may be scattered and repeated: the last of a repeated one wins.
    ///
    /// # Errors
    /// `NotFound` for array or field; `Invalid` for a position that is not there, another number of rows or type: nothing
    /// is then replaced. After `Io` (a full disk) the transaction cannot be committed.
    pub fn replace(&mut self, name: impl Into<ArrayName>, rows: &[i64], values: &RecordBatch) -> Result<()> {
        let name = name.into();
        let columns = self.columns(&name, rows.len(), values)?;
        let (id, rows) = self.positions(&name, rows)?;
        self.push_columns(id, &rows, &columns).map_err(|e| e.with("array", name))
    }

    /// [`replace`](Self::replace) by rows of a snapshot of this transaction, whatever changed since.
    ///
    /// # Errors
    /// As [`replace`](Self::replace); `Invalid` for a row that was deleted since.
    pub fn replace_at(&mut self, name: impl Into<ArrayName>, rows: &Addresses, values: &RecordBatch) -> Result<()> {
        let name = name.into();
        let columns = self.columns(&name, rows.len(), values)?;
        let array = self.resolve(&name)?;
        let id = array.id;
        array.check_addresses(self.store.storage.as_ref(), &rows.0)?;
        self.push_columns(id, &rows.0, &columns).map_err(|e| e.with("array", name))
    }

    /// Replaces rows of one field: one row of `values` per position.
    ///
    /// # Errors
    /// As [`replace`](Self::replace); `Invalid` when elements or shape are not the field's.
    pub fn replace_ndarray<T: Element, S, D>(
        &mut self,
        name: impl Into<ArrayName>,
        field: &str,
        rows: &[i64],
        values: &ndarray::ArrayBase<S, D>,
    ) -> Result<()>
    where
        S: ndarray::Data<Elem = T>,
        D: ndarray::Dimension,
    {
        let name = name.into();
        self.check_writable()?;
        let (index, spec) = field_of(self.resolve(&name)?, field)?;
        check_ndarray::<T>(&name, spec, values.shape())?;
        check_count(&name, rows.len(), values.shape().first().copied().unwrap_or(0))?;
        let ordered = values.as_standard_layout();
        let bytes = packed::of_raw(spec, ndarray_bytes(spec, ordered.as_slice().unwrap_or_default()));
        let (id, rows) = self.positions(&name, rows)?;
        if rows.is_empty() {
            return Ok(());
        }
        self.touch(id);
        self.push_patches(id, &rows, &[(index, &bytes)]).map_err(|e| e.with("array", name))
    }

    /// Deletes rows, by position as in [`replace`](Self::replace); later rows move up, as with `numpy.delete`. Gives
    /// how many were deleted: a repeated position counts once.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a position that is not there: nothing is then deleted.
    pub fn delete(&mut self, name: impl Into<ArrayName>, rows: &[i64]) -> Result<u64> {
        let name = name.into();
        self.check_writable()?;
        let (id, rows) = self.positions(&name, rows)?;
        self.delete_rows(id, &rows).map_err(|e| e.with("array", name))
    }

    /// [`delete`](Self::delete) by rows of a snapshot of this transaction, whatever changed since; those that were
    /// deleted since do not count.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub fn delete_at(&mut self, name: impl Into<ArrayName>, rows: &Addresses) -> Result<u64> {
        let name = name.into();
        self.check_writable()?;
        let id = self.resolve(&name)?.id;
        self.delete_rows(id, &rows.0).map_err(|e| e.with("array", name))
    }

    /// Deletes all rows; gives how many there were.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` where it cannot be read which rows are deleted already.
    pub fn truncate(&mut self, name: impl Into<ArrayName>) -> Result<u64> {
        let name = name.into();
        self.check_writable()?;
        let array = self.resolve(&name)?;
        let (id, rows) = (array.id, self.rows_of(array));
        self.truncate_to(id, 0, rows).map_err(|e| e.with("array", name))
    }

    /// Deletes the rows from `keep` to `rows`, the number that there are.
    pub(super) fn truncate_to(&mut self, id: Id, keep: u64, rows: u64) -> Result<u64> {
        if keep >= rows {
            return Ok(0);
        }
        self.touch(id);
        self.freeze(id)?;
        let storage = self.store.storage.clone();
        self.array_mut(id)?.delete_rows(storage.as_ref(), keep..rows)
    }

    fn delete_rows(&mut self, id: Id, rows: &[u64]) -> Result<u64> {
        if rows.is_empty() {
            return Ok(0);
        }
        self.touch(id);
        let storage = self.store.storage.clone();
        self.array_mut(id)?.delete_addresses(storage.as_ref(), rows)
    }

    /// The addresses of rows by position, for which they become part of the working state.
    pub(super) fn positions(&mut self, name: &ArrayName, rows: &[i64]) -> Result<(Id, Vec<u64>)> {
        let array = self.resolve(name)?;
        let (id, frozen, count) = (array.id, array.rows(), self.rows_of(array));
        let mut positions = Vec::with_capacity(rows.len());
        let mut last = None;
        for &row in rows {
            let position = if row < 0 { count.checked_sub(row.unsigned_abs()) } else { Some(row.unsigned_abs()) };
            let position = position.filter(|&position| position < count).ok_or_else(|| {
                Error::invalid(format!("there is no row {row} in array {:?}, which has {count}", name.to_string()))
            })?;
            last = last.max(Some(position));
            positions.push(position);
        }
        if last >= Some(frozen) {
            self.freeze(id)?;
        }
        let array = self.resolve(name)?;
        Ok((id, array.addresses(self.store.storage.as_ref(), &positions)?))
    }

    /// The columns of new values: the indexes of their fields, and their raw bytes.
    fn columns(&self, name: &ArrayName, rows: usize, values: &RecordBatch) -> Result<Vec<(usize, Buffer)>> {
        self.check_writable()?;
        let array = self.resolve(name)?;
        check_count(name, rows, values.num_rows())?;
        let mut columns: Vec<(usize, Buffer)> = Vec::with_capacity(values.num_columns());
        for (column, field) in values.columns().iter().zip(values.schema_ref().fields()) {
            let (index, spec) = field_of(array, field.name())?;
            if columns.iter().any(|(other, _)| *other == index) {
                return Err(Error::invalid(format!("two columns of new values are named {:?}", field.name())));
            }
            columns.push((index, packed::of_array(spec, column.as_ref(), 0).map_err(|e| e.with("array", name))?));
        }
        Ok(columns)
    }

    fn push_columns(&mut self, id: Id, rows: &[u64], columns: &[(usize, Buffer)]) -> Result<()> {
        if rows.is_empty() || columns.is_empty() {
            return Ok(());
        }
        self.touch(id);
        let columns: Vec<(usize, &[u8])> = columns.iter().map(|(index, bytes)| (*index, bytes.as_slice())).collect();
        self.push_patches(id, rows, &columns)
    }
}

/// A field by name.
pub(super) fn field_of<'a>(array: &'a ArrayState, field: &str) -> Result<(usize, &'a FieldSpec)> {
    let found = array.own_fields().iter().enumerate().find(|(_, spec)| spec.name() == field);
    found.ok_or_else(|| {
        let names: Vec<&str> = array.own_fields().iter().map(FieldSpec::name).collect();
        let name = array.name.to_string();
        Error::not_found(format!("array {name:?} has no field {field:?}; it has {}", names.join(", ")))
    })
}

fn check_count(name: &ArrayName, rows: usize, values: usize) -> Result<()> {
    if rows == values {
        return Ok(());
    }
    let name = name.to_string();
    Err(Error::invalid(format!(
        "{rows} rows of array {name:?} were to be replaced, by {values}; there must be as many"
    )))
}
