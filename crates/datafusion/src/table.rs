//! An array, or a mapped file, as a table: `row` (BIGINT) first, then the fields.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use hyperslab_core::ArraySource;
use hyperslab_store::{Array, Store};

/// The name of the generated column that holds the position of a row.
pub const ROW: &str = "row";

/// Where a table's rows come from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// An array of a store, at one version. `explicit` when the statement named that version itself.
    Store {
        /// The store.
        store: Store,
        /// The array at that version.
        array: Array,
        /// Whether the version was asked for, so that it is never re-pinned.
        explicit: bool,
    },
    /// A file or a glob.
    File(String),
}

/// A table over an [`ArraySource`].
#[derive(Debug, Clone)]
pub struct ArrayTable {
    name: String,
    source: Arc<dyn ArraySource>,
    origin: Origin,
    schema: SchemaRef,
}

impl ArrayTable {
    /// A table over an array of a store.
    pub fn from_array(_store: Store, _array: Array) -> Self {
        todo!()
    }

    /// A table over a file's source.
    pub fn from_file(_path: &str, _source: Arc<dyn ArraySource>) -> Self {
        todo!()
    }

    /// The array's or file's name, with `@vN` for an array: scans carry it, because plan equality ignores the source.
    pub fn scan_name(&self) -> &str {
        &self.name
    }

    /// The rows.
    pub fn source(&self) -> &Arc<dyn ArraySource> {
        &self.source
    }

    /// Where they come from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}
