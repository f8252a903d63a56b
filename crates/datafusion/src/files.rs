//! Files as tables, and tables as files.

mod fields;
mod sink;
mod source;

pub(crate) use sink::{array_sinks, is_array_sink};
pub(crate) use source::{FileTableFactory, file_catalog, is_array_file, open_table, store_catalog};
