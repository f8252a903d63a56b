//! An array at one version, its fields, and reading them.

use std::ops::Range;
use std::time::SystemTime;

use arrow_array::RecordBatch;
use hyperslab_core::{ArraySource, Block, Element, FieldSpec, Result, Selection};

use crate::{ArrayName, View};

/// An array at one version. Cheap to clone. It is an [`ArraySource`].
#[derive(Debug, Clone)]
pub struct Array {}

/// What `array_info` shows of an array.
#[derive(Debug, Clone)]
pub struct ArrayInfo {
    /// Its name.
    pub name: ArrayName,
    /// Its fields.
    pub fields: Vec<FieldSpec>,
    /// Live rows.
    pub rows: u64,
    /// Bytes of values, uncompressed.
    pub logical_bytes: u64,
    /// Bytes of its shard files.
    pub disk_bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Shard files.
    pub shards: u64,
    /// The version that last changed it.
    pub version: u64,
    /// The time of that version.
    pub modified: SystemTime,
}

impl Array {
    /// The name it has in this version.
    pub fn name(&self) -> &ArrayName {
        todo!()
    }

    /// The version of the store it was taken from.
    pub fn version(&self) -> u64 {
        todo!()
    }

    /// The fields.
    pub fn fields(&self) -> &[FieldSpec] {
        todo!()
    }

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        todo!()
    }

    /// A field by name.
    ///
    /// # Errors
    /// `NotFound`, naming the array and its fields.
    pub fn field(&self, _name: &str) -> Result<Field> {
        todo!()
    }

    /// Sizes, counts and times.
    pub fn info(&self) -> Result<ArrayInfo> {
        todo!()
    }
}

impl ArraySource for Array {
    fn fields(&self) -> &[FieldSpec] {
        todo!()
    }

    fn rows(&self) -> u64 {
        todo!()
    }

    fn run_end(&self, _field: usize, _row: u64) -> u64 {
        todo!()
    }

    fn read(&self, _field: usize, _rows: Range<u64>) -> Result<Block> {
        todo!()
    }

    fn take(&self, _field: usize, _rows: &[u64]) -> Result<Block> {
        todo!()
    }
}

/// One field of an array at one version.
#[derive(Debug, Clone)]
pub struct Field {}

impl Field {
    /// Name, dtype and cell shape.
    pub fn spec(&self) -> &FieldSpec {
        todo!()
    }

    /// All rows as a typed view: contiguous without a copy over any number of full shards where the system can.
    ///
    /// # Errors
    /// `Invalid` when the elements are not `T`.
    pub fn view<T: Element>(&self) -> Result<View<T>> {
        todo!()
    }

    /// Some rows as a typed view.
    pub fn rows<T: Element>(&self, _rows: Range<u64>) -> Result<View<T>> {
        todo!()
    }

    /// NumPy's basic indexing over (row, axes…), as an owned ndarray of the result's shape.
    pub fn slice<T: Element>(&self, _selection: &Selection) -> Result<ndarray::ArrayD<T>> {
        todo!()
    }

    /// Record batches of this field, of about `rows` rows each.
    pub fn batches(&self, _rows: usize) -> Batches {
        todo!()
    }
}

/// The batches of a field.
#[derive(Debug)]
pub struct Batches {}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
