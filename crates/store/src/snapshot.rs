//! One version of a store.

use hyperslab_core::Result;

use crate::{Array, ArrayName};

/// One committed version of a store: what it shows never changes.
#[derive(Debug)]
pub struct Snapshot {}

impl Snapshot {
    /// The version: 0 for a new store, one more for every commit.
    pub fn version(&self) -> u64 {
        todo!()
    }

    /// The schemas' names, sorted; `public` is always among them.
    pub fn schemas(&self) -> Vec<String> {
        todo!()
    }

    /// The arrays of a schema, sorted.
    pub fn arrays(&self, _schema: &str) -> Vec<String> {
        todo!()
    }

    /// Whether the array exists (cheap).
    pub fn contains(&self, _name: impl Into<ArrayName>) -> bool {
        todo!()
    }

    /// An array at this version.
    ///
    /// # Errors
    /// `NotFound`, naming the array and the nearest names.
    pub fn array(&self, _name: impl Into<ArrayName>) -> Result<Array> {
        todo!()
    }
}
