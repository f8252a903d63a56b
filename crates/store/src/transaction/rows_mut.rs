//! A private copy of rows, to be changed in place.

use std::ops::{Deref, DerefMut, Range};

use arrow_buffer::{Buffer, MutableBuffer};
use hyperslab_core::{ArraySource, Element, Error, Result, arrow};
use ndarray::ArrayD;

use super::Transaction;
use super::append::ndarray_bytes;
use super::edit::field_of;
use super::stage::addresses;
use crate::action::Id;
use crate::{ArrayName, View, packed};

/// A private copy of rows of one field, as an ndarray that can be written to. Dropping it, or [`write`](Self::write),
/// makes the rows that were changed part of the transaction.
#[derive(Debug)]
pub struct RowsMut<'a, T: Element> {
    transaction: &'a mut Transaction,
    array: Id,
    field: usize,
    rows: Vec<u64>,
    before: Buffer,
    values: ArrayD<T>,
    written: bool,
}

impl<T: Element> Deref for RowsMut<'_, T> {
    type Target = ArrayD<T>;

    fn deref(&self) -> &ArrayD<T> {
        &self.values
    }
}

impl<T: Element> DerefMut for RowsMut<'_, T> {
    fn deref_mut(&mut self) -> &mut ArrayD<T> {
        &mut self.values
    }
}

impl<T: Element> RowsMut<'_, T> {
    /// Makes the rows that were changed part of the transaction. (Dropping does so too, and cannot say what went wrong:
    /// the transaction then refuses to commit.)
    ///
    /// # Errors
    /// `Invalid` when another shape was put in its place; `Io`, after which the transaction cannot be committed.
    pub fn write(mut self) -> Result<()> {
        self.stage()
    }

    fn stage(&mut self) -> Result<()> {
        self.written = true;
        let array = self.transaction.work.state.array(self.array).ok_or_else(super::savepoint::gone)?.clone();
        let (_, spec) = array.field_at(self.field)?;
        let whole =
            self.values.shape().first() == Some(&self.rows.len()) && self.values.shape().get(1..) == Some(spec.cell());
        if !whole {
            self.transaction.failed = true;
            let why =
                format!("{} rows of {:?} were put back as {:?}", self.rows.len(), spec.cell(), self.values.shape());
            return Err(Error::invalid(why));
        }
        let ordered = self.values.as_standard_layout();
        let now = ndarray_bytes(spec, ordered.as_slice().unwrap_or_default());
        let row_bytes = spec.row_bytes();
        if row_bytes == 0 {
            return Ok(());
        }
        let pairs = now.chunks_exact(row_bytes).zip(self.before.chunks_exact(row_bytes));
        let changed: Vec<usize> =
            pairs.enumerate().filter(|(_, (now, before))| now != before).map(|(n, _)| n).collect();
        if changed.is_empty() {
            return Ok(());
        }
        self.transaction.touch(self.array);
        if changed.len() == self.rows.len() {
            let now = packed::of_raw(spec, now);
            return self.transaction.push_patches(self.array, &self.rows, &[(self.field, &now)]);
        }
        let rows: Vec<u64> = changed.iter().filter_map(|&n| self.rows.get(n).copied()).collect();
        let values = changed.iter().filter_map(|n| now.get(n * row_bytes..(n + 1) * row_bytes));
        let values = packed::of_raw(spec, values.collect::<Vec<_>>().concat().into());
        self.transaction.push_patches(self.array, &rows, &[(self.field, &values)])
    }
}

impl<T: Element> Drop for RowsMut<'_, T> {
    fn drop(&mut self) {
        if !self.written && self.stage().is_err() {
            self.transaction.failed = true;
        }
    }
}

impl Transaction {
    /// A private copy of rows of one field, to be changed as an ndarray. The rows that were changed become part of the
    /// transaction when it is dropped, and are gone if the transaction does not commit.
    ///
    /// ```
    /// # use hyperslab_core::{DType, FieldSpec};
    /// # use hyperslab_store::{ArrayOptions, Store};
    /// # let store = Store::memory();
    /// # let mut tx = store.begin()?;
    /// # tx.create("a", vec![FieldSpec::new("value", DType::Float64, vec![2])?], ArrayOptions::default())?;
    /// # tx.append_ndarray("a", &ndarray::Array2::<f64>::ones((3, 2)))?;
    /// let mut rows = tx.rows_mut::<f64>("a", "value", 1..3)?;
    /// rows[[0, 1]] = 5.0;
    /// rows.index_axis_mut(ndarray::Axis(0), 1).fill(7.0);
    /// # Ok::<(), hyperslab_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for rows that are not there or another element type.
    pub fn rows_mut<T: Element>(
        &mut self,
        name: impl Into<ArrayName>,
        field: &str,
        rows: Range<u64>,
    ) -> Result<RowsMut<'_, T>> {
        let name = name.into();
        self.check_writable()?;
        let array = self.resolve(&name)?;
        let (id, count, (index, spec)) = (array.id, self.rows_of(array), field_of(array, field)?);
        if !T::is(spec.dtype()) {
            let (name, dtype) = (name.to_string(), spec.dtype());
            return Err(Error::invalid(format!("field {field:?} of array {name:?} holds {dtype}, not {}", T::NAME)));
        }
        if rows.start > rows.end || rows.end > count {
            let (start, end, name) = (rows.start, rows.end, name.to_string());
            return Err(Error::invalid(format!("rows {start}..{end} of array {name:?}, which has {count}")));
        }
        if rows.end > array.rows() {
            self.freeze(id)?;
        }
        let positions: Vec<u64> = rows.clone().collect();
        let places = self.resolve(&name)?.addresses(self.store.storage.as_ref(), &positions)?;
        let before = self.current(id, index, &rows, &places)?;
        let mut shape = vec![places.len()];
        shape.extend_from_slice(self.resolve(&name)?.field_at(index)?.1.cell());
        let values = View::<T>::new(before.clone(), shape, false)?.to_ndarray()?.to_owned();
        Ok(RowsMut { transaction: self, array: id, field: index, rows: places, before, values, written: false })
    }

    /// The raw bytes of rows as they are now, those that wait among them.
    fn current(&mut self, id: Id, field: usize, rows: &Range<u64>, places: &[u64]) -> Result<Buffer> {
        let array = self.work.state.array(id).ok_or_else(super::savepoint::gone)?.clone();
        let (field_id, spec) = array.field_at(field)?;
        let row_bytes = spec.row_bytes();
        let waits = self.waiting.get(&id).and_then(|w| w.patches.get(&field_id));
        let (first, last) = (places.first().copied().unwrap_or(0), places.last().copied().unwrap_or(0));
        let side_by_side = last.checked_sub(first).is_some_and(|n| n + 1 == places.len() as u64);
        match waits {
            Some(patches) if side_by_side && !patches.has_writer() && !packed::is_packed(spec) => {
                let block = self.working_array(array.clone()).read(field, rows.clone())?;
                let bytes = arrow::raw_bytes(spec, block.array.as_ref(), rows.start)?;
                let mut own: Option<MutableBuffer> = None;
                for (n, row) in addresses(&patches.addresses).iter().enumerate() {
                    let Some(at) = row.checked_sub(first).filter(|&at| at < places.len() as u64) else { continue };
                    let own = own.get_or_insert_with(|| {
                        let mut own = MutableBuffer::with_capacity(bytes.len());
                        own.extend_from_slice(&bytes);
                        own
                    });
                    let at = at as usize * row_bytes;
                    let new = patches.values.get(n * row_bytes..(n + 1) * row_bytes);
                    if let (Some(to), Some(new)) = (own.as_slice_mut().get_mut(at..at + row_bytes), new) {
                        to.copy_from_slice(new);
                    }
                }
                Ok(own.map_or(bytes, Buffer::from))
            }
            _ => {
                if waits.is_some() {
                    self.freeze(id)?;
                }
                let array = self.work.state.array(id).ok_or_else(super::savepoint::gone)?.clone();
                let (_, spec) = array.field_at(field)?;
                let block = self.working_array(array.clone()).read(field, rows.clone())?;
                arrow::raw_bytes(spec, block.array.as_ref(), rows.start)
            }
        }
    }
}
