//! Hyperslab: an array store that you query with SQL.

pub use hyperslab_core as core;
pub use hyperslab_core::{DType, Error, ErrorKind, FieldSpec, Result, Selection};
pub use hyperslab_datafusion::{
    ArraySearch, ArraysFile, FieldCast, FunctionDoc, FunctionKind, Hit, Metric, PlannedRows, RowsTable, SearchOptions,
    SearchRows, Session, SessionOptions, SketchIndex, as_fields, compare, function_docs, register, shrunk_files,
};
pub use hyperslab_formats as formats;
pub use hyperslab_store as store;
pub use hyperslab_store::{
    Array, ArrayName, ArrayOptions, CheckOptions, Durability, Field, Finding, OpenOptions, Severity, Snapshot, Store,
    Transaction, VacuumOptions, VacuumReport, View, check,
};
