//! Changes that become one version, or nothing.

use std::sync::Arc;

use arrow_array::RecordBatch;
use hyperslab_core::{ArraySource, Element, FieldSpec, Result};

use crate::{ArrayName, ArrayOptions, Snapshot};

/// Changes to any number of arrays that become one version together. Dropping it discards them.
#[derive(Debug)]
pub struct Transaction {}

impl Transaction {
    /// The version this transaction reads.
    pub fn base(&self) -> &Arc<Snapshot> {
        todo!()
    }

    /// Creates an array.
    pub fn create(
        &mut self,
        _name: impl Into<ArrayName>,
        _fields: Vec<FieldSpec>,
        _options: ArrayOptions,
    ) -> Result<()> {
        todo!()
    }

    /// Appends rows. The batch's columns are the array's fields, in order, of the Arrow types of
    /// [`hyperslab_core::arrow::data_type`]. Large amounts go to disk at once; memory stays bounded.
    pub fn append(&mut self, _name: impl Into<ArrayName>, _rows: &RecordBatch) -> Result<()> {
        todo!()
    }

    /// Appends every row of a source with the same dtypes and cells, in bounded memory.
    pub fn append_source(&mut self, _name: impl Into<ArrayName>, _source: &dyn ArraySource) -> Result<()> {
        todo!()
    }

    /// Appends rows to an array of one field.
    pub fn append_ndarray<T: Element, S, D>(
        &mut self,
        _name: impl Into<ArrayName>,
        _rows: &ndarray::ArrayBase<S, D>,
    ) -> Result<()>
    where
        S: ndarray::Data<Elem = T>,
        D: ndarray::Dimension,
    {
        todo!()
    }

    /// Drops an array.
    pub fn drop_array(&mut self, _name: impl Into<ArrayName>) -> Result<()> {
        todo!()
    }

    /// Renames an array; it may move to another schema.
    pub fn rename(&mut self, _from: impl Into<ArrayName>, _to: impl Into<ArrayName>) -> Result<()> {
        todo!()
    }

    /// Creates a schema.
    pub fn create_schema(&mut self, _name: &str) -> Result<()> {
        todo!()
    }

    /// Drops an empty schema.
    pub fn drop_schema(&mut self, _name: &str) -> Result<()> {
        todo!()
    }

    /// A message for the history.
    pub fn set_message(&mut self, _message: impl Into<String>) {
        todo!()
    }

    /// Commits; returns the new version, or the base version when nothing was changed.
    ///
    /// # Errors
    /// `Conflict` (retryable) when another commit since the base changed what this one relies on;
    /// `OutcomeUnknown` after a failed sync.
    pub fn commit(self) -> Result<u64> {
        todo!()
    }
}
