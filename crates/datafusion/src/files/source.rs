//! `FROM 'x.npy'`, `FROM 'dir/*.npy'`, `FROM 'model.safetensors::name'` and the `read_…` functions: array files as tables,
//! beside DataFusion's own file tables.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray};
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider, UrlTableFactory};
use datafusion::common::{plan_datafusion_err, plan_err};
use datafusion::datasource::MemTable;
use datafusion::datasource::dynamic_file::DynamicListTableFactory;
use datafusion::error::Result;
use datafusion::logical_expr::TableType;
use datafusion::prelude::SessionContext;
use hyperslab_core::{ArraySource, Error};
use hyperslab_formats::{ConcatSource, Container, Format, split_entry};

use super::explained_by_name;
use crate::catalog::StoreCatalog;
use crate::error::to_datafusion;
use crate::table::ArrayTable;

/// A file, or those of a glob or a folder, as a table: an array file's rows; of a file of several arrays the named one
/// (`file::name`), or without a name the list of them. A path that exists is that file, whatever characters it has;
/// `file://` is understood, other schemes are not. The format is that of the extension, unless one is given.
///
/// # Errors
/// When nothing is there, the format is unknown, or the files of a glob differ in their fields; the path is named.
pub(crate) fn open_table(text: &str, format: Option<&'static Format>) -> Result<Arc<dyn TableProvider>> {
    FileNames { texts: vec![text.to_owned()], entry: None, format }.open()
}

/// The names that a table of files is opened by: again when a statement comes that finds it older than itself.
#[derive(Debug, Clone)]
pub(crate) struct FileNames {
    pub(crate) texts: Vec<String>,
    /// The array, where the texts do not name one.
    pub(crate) entry: Option<String>,
    pub(crate) format: Option<&'static Format>,
}

impl FileNames {
    /// Opens the table, as [`open_table`] does; of several names the files in their order.
    pub(crate) fn open(&self) -> Result<Arc<dyn TableProvider>> {
        let place = FilePlace::of(self).map_err(to_datafusion)?;
        match place.is_list() {
            true => place.list(),
            false => {
                let source = place.array().map_err(to_datafusion)?;
                Ok(Arc::new(ArrayTable::from_file(&place.text, source).opened_by(self.clone())))
            }
        }
    }

    /// The same as an array's table.
    ///
    /// # Errors
    /// As [`open_table`]; what is a list of arrays.
    pub(crate) fn reopen(&self) -> Result<ArrayTable> {
        let table = self.open()?;
        let table = table.downcast_ref::<ArrayTable>().cloned();
        table
            .ok_or_else(|| plan_datafusion_err!("{} holds several arrays now; name one of them", self.texts.join(", ")))
    }
}

/// Whether a name has the extension of an array format, with the name of an array behind it or without.
pub(crate) fn is_array_file(text: &str) -> bool {
    Format::of_path(&split_entry(text).0).is_ok()
}

/// What a name in FROM stands for.
struct FilePlace {
    text: String,
    paths: Vec<PathBuf>,
    entry: Option<String>,
    format: &'static Format,
}

impl FilePlace {
    fn of(names: &FileNames) -> hyperslab_core::Result<Self> {
        let mut places = names.texts.iter().map(|text| Self::new(text, names.format));
        let Some(mut place) = places.next().transpose()? else {
            return Err(Error::invalid("there is no file to read"));
        };
        for more in places {
            let more = more?;
            if more.entry != place.entry || more.format.name() != place.format.name() {
                return Err(Error::invalid(format!(
                    "{} and {} cannot be read as one array: they name arrays or formats that differ",
                    place.text, more.text
                )));
            }
            place.paths.extend(more.paths);
            place.text = format!("{}, {}", place.text, more.text);
        }
        if let Some(entry) = &names.entry {
            if let Some(other) = place.entry.as_ref().filter(|other| *other != entry) {
                return Err(Error::invalid(format!("{} names the array {other:?}, the option {entry:?}", place.text)));
            }
            place.text = format!("{}::{entry}", place.text);
            place.entry = Some(entry.clone());
        }
        Ok(place)
    }

    fn new(text: &str, format: Option<&'static Format>) -> hyperslab_core::Result<Self> {
        let (path, entry) = split_entry(text);
        let path = local_path(&path.to_string_lossy())?;
        let format = format.map_or_else(|| Format::of_path(&path), Ok)?;
        let paths = match path.exists() || !is_glob(&path.to_string_lossy()) {
            true if path.is_dir() && !is_folder_of(&path, format) => in_folder(&path, format)?,
            true => vec![path],
            false => matches(&path, text)?,
        };
        Ok(Self { text: text.to_owned(), paths, entry, format })
    }

    fn is_list(&self) -> bool {
        self.format.is_container() && self.entry.is_none()
    }

    fn array(&self) -> hyperslab_core::Result<Arc<dyn ArraySource>> {
        let open = |path: &PathBuf| self.format.open(path, self.entry.as_deref());
        match self.paths.as_slice() {
            [one] => open(one),
            many => {
                let sources = many.iter().map(|path| Ok((path.clone(), open(path)?)));
                Ok(Arc::new(ConcatSource::new(sources.collect::<hyperslab_core::Result<_>>()?)?))
            }
        }
    }

    /// name, dtype, shape and bytes of each array; and of which file where there are several.
    fn list(&self) -> Result<Arc<dyn TableProvider>> {
        let files = self.paths.iter().map(|path| self.format.open_container(path));
        let files = files.collect::<hyperslab_core::Result<Vec<_>>>().map_err(to_datafusion)?;
        let entries = || files.iter().flat_map(|f| f.entries());
        let shape = |shape: &[u64]| {
            let axes: Vec<_> = shape.iter().map(ToString::to_string).collect();
            format!("({})", axes.join(", "))
        };
        let bytes = Int64Array::from_iter_values(entries().map(|e| i64::try_from(e.bytes).unwrap_or(i64::MAX)));
        let text = |of: Vec<String>| Arc::new(StringArray::from_iter_values(of)) as _;
        let file = |f: &Arc<dyn Container>| vec![f.path().display().to_string(); f.entries().len()];
        let mut columns = vec![
            ("name", text(entries().map(|e| e.name.clone()).collect())),
            ("dtype", text(entries().map(|e| e.dtype.clone()).collect())),
            ("shape", text(entries().map(|e| shape(&e.shape)).collect())),
            ("bytes", Arc::new(bytes) as _),
        ];
        if self.paths.len() > 1 || (is_glob(&self.text) && !Path::new(&self.text).exists()) {
            columns.insert(0, ("file", text(files.iter().flat_map(file).collect())));
        }
        let batch = RecordBatch::try_from_iter(columns)?;
        Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
    }
}

/// Whether a folder is itself what the format calls a file.
fn is_folder_of(folder: &Path, format: &Format) -> bool {
    let is_it = |f: &Format| f.name() == format.name();
    Format::of_path(folder).is_ok_and(is_it) || Format::of_folder(folder).is_some_and(is_it)
}

/// The files of a format in a folder, in order.
fn in_folder(folder: &Path, format: &Format) -> hyperslab_core::Result<Vec<PathBuf>> {
    let failed = |e| Error::io("reading", folder.display(), e);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && Format::of_path(&path).is_ok_and(|f| f.name() == format.name()) {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    if paths.is_empty() {
        return Err(Error::not_found(format!("there is no {} file in the folder {}", format.name(), folder.display())));
    }
    Ok(paths)
}

/// The files that a glob matches, in order.
fn matches(path: &Path, text: &str) -> hyperslab_core::Result<Vec<PathBuf>> {
    let bad = |e: glob::PatternError| Error::invalid(format!("{text:?} is no valid pattern")).because(e);
    let mut paths = Vec::new();
    for entry in glob::glob(&path.to_string_lossy()).map_err(bad)? {
        let entry = entry.map_err(|e| {
            let path = e.path().to_owned();
            Error::io("reading", path.display(), e.into())
        })?;
        paths.push(entry);
    }
    paths.sort_unstable();
    if paths.is_empty() {
        return Err(Error::not_found(format!("no file matches {text:?}")));
    }
    Ok(paths)
}

/// The path that a text names: `file://` is understood, other schemes are not.
pub(crate) fn local_path(text: &str) -> hyperslab_core::Result<PathBuf> {
    match text.split_once("://") {
        Some(("file", _)) => {
            let path = url::Url::parse(text).ok().and_then(|u| u.to_file_path().ok());
            path.ok_or_else(|| Error::invalid(format!("{text:?} names no local file; write file:///path")))
        }
        Some((scheme, _)) => Err(Error::unsupported(format!(
            "{text:?}: array files are read from this machine only, not by {scheme}://; copy the file first"
        ))),
        None => Ok(PathBuf::from(text)),
    }
}

/// The files of this machine that a name or a glob means, as far as there are any.
pub(crate) fn local_files(text: &str) -> Vec<PathBuf> {
    let Ok(path) = local_path(text) else { return vec![] };
    if is_glob(text) && !path.exists() {
        return matches(&path, text).unwrap_or_default();
    }
    match std::fs::read_dir(&path) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect(),
        Err(_) => vec![path],
    }
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The extension of a name in FROM, in lower case.
fn extension(name: &str) -> Option<String> {
    Some(Path::new(name).extension()?.to_str()?.to_lowercase())
}

/// Makes tables of file names: of array formats ours, of the others DataFusion's.
#[derive(Debug, Default)]
pub(crate) struct FileTableFactory {
    listing: DynamicListTableFactory,
}

impl FileTableFactory {
    /// A factory that uses the options and object stores of `context` for DataFusion's file tables. The context is not
    /// kept alive by it.
    pub(crate) fn new(context: &SessionContext) -> Self {
        let files = Self::default();
        files.listing.session_store().with_state(context.state_weak_ref());
        files
    }
}

#[async_trait]
impl UrlTableFactory for FileTableFactory {
    async fn try_new(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        // Asked for every name that no schema knows, so that most are none of a file.
        if extension(name).is_none() && !name.contains('/') {
            return Ok(None);
        }
        if is_array_file(name) {
            return Ok(Some(open_table(name, None)?));
        }
        if let Some(inner) = compressed(name)
            && !TEXTS.contains(&inner.as_str())
            && Path::new(name).exists()
        {
            return plan_err!("{name}: of compressed files those of CSV and JSON are read; decompress it first");
        }
        let table = self.listing.try_new(name).await.map_err(|e| explained_by_name(e, &local_files(name)))?;
        let path = split_entry(name).0;
        if table.is_none() && path.is_file() {
            Format::of_path(&path).map_err(to_datafusion)?;
        }
        let is_file = extension(name).is_some_and(|e| LISTED.contains(&e.as_str())) && !name.contains("://");
        if table.is_none() && is_file && !is_glob(name) && !Path::new(name).exists() {
            return plan_err!("there is no file {name:?}");
        }
        Ok(table)
    }
}

/// Extensions of files that may be compressed as a whole.
const TEXTS: [&str; 4] = ["csv", "json", "ndjson", "jsonl"];

/// The extension below that of a compressed file: `npy` of `x.npy.gz`.
fn compressed(name: &str) -> Option<String> {
    let outer = extension(name)?;
    let stem = Path::new(name).file_stem()?.to_str()?;
    ["gz", "zst", "bz2", "xz"].contains(&outer.as_str()).then(|| extension(stem).unwrap_or_default())
}

/// Extensions of DataFusion's own file tables, for a better message when the file is missing.
const LISTED: &[&str] = &["csv", "parquet", "json", "ndjson", "jsonl", "arrow", "feather", "gz", "zst", "bz2", "xz"];

/// Wraps catalogs so that names in FROM that no schema knows are tried as files. Everything else is handed on.
pub(crate) fn file_catalog(
    inner: Arc<dyn CatalogProviderList>,
    files: Arc<dyn UrlTableFactory>,
) -> Arc<dyn CatalogProviderList> {
    Arc::new(FileCatalogs { inner, files })
}

/// The catalog of a store, behind the wrappers.
pub(crate) fn store_catalog(catalog: &dyn CatalogProvider) -> Option<&StoreCatalog> {
    match catalog.downcast_ref::<FileCatalog>() {
        Some(wrapper) => store_catalog(wrapper.inner.as_ref()),
        None => catalog.downcast_ref::<StoreCatalog>(),
    }
}

// DataFusion's DynamicFileCatalog does the same, but does not hand on deregister_schema and table_type.
#[derive(Debug)]
struct FileCatalogs {
    inner: Arc<dyn CatalogProviderList>,
    files: Arc<dyn UrlTableFactory>,
}

impl CatalogProviderList for FileCatalogs {
    fn register_catalog(&self, name: String, catalog: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        self.inner.register_catalog(name, catalog)
    }

    fn catalog_names(&self) -> Vec<String> {
        self.inner.catalog_names()
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        let inner = self.inner.catalog(name)?;
        Some(Arc::new(FileCatalog { inner, files: Arc::clone(&self.files) }))
    }
}

#[derive(Debug)]
struct FileCatalog {
    inner: Arc<dyn CatalogProvider>,
    files: Arc<dyn UrlTableFactory>,
}

impl CatalogProvider for FileCatalog {
    fn schema_names(&self) -> Vec<String> {
        self.inner.schema_names()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let inner = self.inner.schema(name)?;
        Some(Arc::new(FileSchema { inner, files: Arc::clone(&self.files) }))
    }

    fn register_schema(&self, name: &str, schema: Arc<dyn SchemaProvider>) -> Result<Option<Arc<dyn SchemaProvider>>> {
        self.inner.register_schema(name, schema)
    }

    fn deregister_schema(&self, name: &str, cascade: bool) -> Result<Option<Arc<dyn SchemaProvider>>> {
        self.inner.deregister_schema(name, cascade)
    }
}

#[derive(Debug)]
struct FileSchema {
    inner: Arc<dyn SchemaProvider>,
    files: Arc<dyn UrlTableFactory>,
}

#[async_trait]
impl SchemaProvider for FileSchema {
    fn owner_name(&self) -> Option<&str> {
        self.inner.owner_name()
    }

    fn table_names(&self) -> Vec<String> {
        self.inner.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match self.inner.table(name).await? {
            Some(table) => Ok(Some(table)),
            None => self.files.try_new(name).await,
        }
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        self.inner.table_type(name).await
    }

    fn register_table(&self, name: String, table: Arc<dyn TableProvider>) -> Result<Option<Arc<dyn TableProvider>>> {
        self.inner.register_table(name, table)
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        self.inner.deregister_table(name)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.inner.table_exist(name)
    }
}
