//! The DataFusion extension: arrays as tables, search as a plan node, and the SQL front end.
//!
//! Two ways in: [`Session`], which owns dialect, statements and snapshots; and [`register`], which adds a store to
//! somebody's own `SessionContext`. [`ArraySearch`] searches an array without SQL.

mod catalog;
mod dialect;
mod error;
mod files;
mod functions;
mod index;
mod maintenance;
mod optimizer;
mod relation;
mod scan;
mod search;
mod session;
mod statement;
mod table;
mod table_functions;
#[cfg(test)]
mod testing;
mod transaction;
mod types;
mod vectors;
mod version;
mod write;

pub use catalog::{StoreCatalog, StoreSchema};
pub use error::{from_datafusion, to_datafusion};
pub use files::{ArraysFile, FieldCast, PlannedRows, RowsTable, as_fields, compare};
pub use functions::{FunctionDoc, FunctionKind, function_docs};
pub use hyperslab_formats::shrunk_files;
pub use hyperslab_vector::{Hit, Metric};
pub use index::SketchIndex;
pub use scan::{ArrayScanExec, RowRanges};
pub use search::{ArraySearch, SearchOptions, SearchRows};
pub use session::{Session, SessionOptions, register};
pub use table::ArrayTable;
