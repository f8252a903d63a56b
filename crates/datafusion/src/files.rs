//! Files as tables, and tables as files.

mod sink;
mod source;

pub(crate) use sink::{ArrayFormatFactory, SINKS};
pub(crate) use source::{FileTableFactory, file_catalog, open_table, store_catalog};
