//! Files as tables, and tables as files.

mod source;

pub(crate) use source::{FileTableFactory, file_catalog, open_table};
