//! Files as tables, and tables as files.

pub(crate) mod copy_options;
mod csv_place;
mod external;
mod fields;
mod numbered;
mod output;
mod sink;
mod source;

pub(crate) use csv_place::{CsvPlaces, explained_by_name};
pub(crate) use external::table_factories;
pub(crate) use sink::{array_sinks, is_array_sink};
pub(crate) use source::{
    FileNames, FileTableFactory, file_catalog, is_array_file, is_zarr, local_files, local_path, open_table,
    store_catalog,
};
