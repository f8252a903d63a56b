//! Files as tables, and tables as files.

mod arrays_file;
mod as_fields;
mod compare;
pub(crate) mod copy_options;
mod external;
mod fields;
mod numbered;
mod output;
mod rows_table;
mod series;
mod sink;
mod source;
mod text_place;

use std::path::Path;

pub use arrays_file::{ArraysFile, PlannedRows};
pub use as_fields::{FieldCast, as_fields};
pub use compare::compare;
pub use rows_table::RowsTable;

pub(crate) use external::table_factories;
pub(crate) use series::Series;
pub(crate) use sink::{array_sinks, is_array_sink};
pub(crate) use source::{
    FileNames, FileTableFactory, file_catalog, is_array_file, local_files, local_path, open_table, store_catalog,
};
pub(crate) use text_place::{TextPlaces, explained_by_name};

/// Makes the folder that a file is to be in.
fn make_folder_of(path: &Path) -> hyperslab_core::Result<()> {
    let Some(folder) = path.parent().filter(|f| *f != Path::new("")) else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|e| hyperslab_core::Error::io("creating", folder.display(), e))
}
