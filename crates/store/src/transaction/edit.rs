//! Edits: rows replaced and deleted, axes resized, fields added, dropped and renamed.

use std::ops::Range;

use arrow_array::RecordBatch;
use hyperslab_core::{Element, Error, FieldSpec, Result};

use super::Transaction;
use crate::{Addresses, ArrayName};

fn later<T>() -> Result<T> {
    Err(Error::unsupported("not built yet"))
}

impl Transaction {
    /// Replaces the values of some fields in some rows. The columns of `values` are named after fields, of the types of
    /// [`hyperslab_core::arrow::data_type`], and have one row per position. Positions count the rows as this transaction
    /// sees them now, negative ones from the end; they may be scattered and repeated: the last of a repeated one wins.
    ///
    /// # Errors
    /// `NotFound` for array or field; `Invalid` for a position that is not there, another number of rows or type.
    pub fn replace(&mut self, name: impl Into<ArrayName>, rows: &[i64], values: &RecordBatch) -> Result<()> {
        let _ = (name.into(), rows, values);
        later()
    }

    /// [`replace`](Self::replace) by rows of a snapshot of this transaction, whatever changed since.
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    pub fn replace_at(&mut self, name: impl Into<ArrayName>, rows: &Addresses, values: &RecordBatch) -> Result<()> {
        let _ = (name.into(), rows, values);
        later()
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
        let _ = (name.into(), field, rows, values.shape());
        later()
    }

    /// Deletes rows, by position as in [`replace`](Self::replace); later rows move up, as with `numpy.delete`. Gives
    /// how many were deleted: a repeated position counts once.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a position that is not there.
    pub fn delete(&mut self, name: impl Into<ArrayName>, rows: &[i64]) -> Result<u64> {
        let _ = (name.into(), rows);
        later()
    }

    /// [`delete`](Self::delete) by rows of a snapshot of this transaction, whatever changed since.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub fn delete_at(&mut self, name: impl Into<ArrayName>, rows: &Addresses) -> Result<u64> {
        let _ = (name.into(), rows);
        later()
    }

    /// Deletes all rows; gives how many there were.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn truncate(&mut self, name: impl Into<ArrayName>) -> Result<u64> {
        let _ = name.into();
        later()
    }

    /// Gives the array another number of rows: the last ones go, or new ones come, which hold the fill values. O(1).
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for more rows than can be counted.
    pub fn resize(&mut self, name: impl Into<ArrayName>, rows: u64) -> Result<()> {
        let _ = (name.into(), rows);
        later()
    }

    /// Gives a field's cells another shape of as many axes: what an axis loses is gone, what it gains holds the fill
    /// value. O(1).
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for another number of axes or a shape that is too large.
    pub fn resize_cell(&mut self, name: impl Into<ArrayName>, field: &str, cell: &[usize]) -> Result<()> {
        let _ = (name.into(), field, cell);
        later()
    }

    /// A private copy of rows of one field, to be changed as an ndarray. What was changed becomes part of the
    /// transaction when it is dropped, and is gone if the transaction does not commit.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for rows that are not there or another element type.
    pub fn rows_mut<T: Element>(
        &mut self,
        name: impl Into<ArrayName>,
        field: &str,
        rows: Range<u64>,
    ) -> Result<ndarray::ArrayD<T>> {
        let _ = (name.into(), field, rows);
        later()
    }

    /// Adds a field, whose rows hold its fill value. O(1).
    ///
    /// # Errors
    /// `NotFound`; `AlreadyExists`.
    pub fn add_field(&mut self, name: impl Into<ArrayName>, field: FieldSpec) -> Result<()> {
        let _ = (name.into(), field);
        later()
    }

    /// Drops a field.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for the last field.
    pub fn drop_field(&mut self, name: impl Into<ArrayName>, field: &str) -> Result<()> {
        let _ = (name.into(), field);
        later()
    }

    /// Renames a field.
    ///
    /// # Errors
    /// `NotFound`; `AlreadyExists`; `Invalid`.
    pub fn rename_field(&mut self, name: impl Into<ArrayName>, from: &str, to: &str) -> Result<()> {
        let _ = (name.into(), from, to);
        later()
    }

    /// Makes `to` an array of the same rows as `from`, as this transaction sees them. O(1): the shards are shared.
    ///
    /// # Errors
    /// As [`create`](Self::create) and [`rename`](Self::rename).
    pub fn clone_array(&mut self, from: impl Into<ArrayName>, to: impl Into<ArrayName>) -> Result<()> {
        let _ = (from.into(), to.into());
        later()
    }

    /// Makes the array again what it was in an earlier version: fields, rows, options. It may have been dropped since.
    ///
    /// # Errors
    /// `NotFound` when the version has no such array; what [`Store::at`](crate::Store::at) refuses.
    pub fn restore(&mut self, name: impl Into<ArrayName>, version: u64) -> Result<()> {
        let _ = (name.into(), version);
        later()
    }

    /// Gives a version a name, which keeps it from being vacuumed. A tag that is there moves.
    ///
    /// # Errors
    /// `NotFound` for a version that is not there; `Invalid` for the name.
    pub fn set_tag(&mut self, tag: &str, version: u64) -> Result<()> {
        let _ = (tag, version);
        later()
    }

    /// Drops a tag.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn drop_tag(&mut self, tag: &str) -> Result<()> {
        let _ = tag;
        later()
    }
}
