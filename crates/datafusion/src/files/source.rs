//! `FROM 'x.npy'`, `FROM 'dir/*.npy'` and `read_npy`: array files as tables, beside DataFusion's own file tables.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider, UrlTableFactory};
use datafusion::common::plan_err;
use datafusion::datasource::dynamic_file::DynamicListTableFactory;
use datafusion::error::Result;
use datafusion::logical_expr::TableType;
use datafusion::prelude::SessionContext;
use hyperslab_core::{ArraySource, Error};
use hyperslab_formats::{ConcatSource, EXTENSIONS};

use crate::catalog::StoreCatalog;
use crate::error::to_datafusion;
use crate::table::ArrayTable;

/// A file or a glob of an array format as a table. A path that exists is that file, whatever characters it has;
/// `file://` is understood, other schemes are not.
///
/// # Errors
/// When nothing is there, the format is unknown, or the files of a glob differ in their fields; the path is named.
pub(crate) fn open_table(path: &str) -> Result<ArrayTable> {
    let source = open_source(path).map_err(to_datafusion)?;
    Ok(ArrayTable::from_file(path, source))
}

fn open_source(text: &str) -> hyperslab_core::Result<Arc<dyn ArraySource>> {
    let path = local_path(text)?;
    if path.exists() || !is_glob(text) {
        return hyperslab_formats::open(&path);
    }
    let pattern = path.to_string_lossy();
    let bad = |e: glob::PatternError| Error::invalid(format!("{text:?} is no valid pattern")).because(e);
    let mut paths = Vec::new();
    for entry in glob::glob(&pattern).map_err(bad)? {
        let entry = entry.map_err(|e| {
            let path = e.path().to_owned();
            Error::io("reading", path.display(), e.into())
        })?;
        paths.push(entry);
    }
    match paths.as_slice() {
        [] => Err(Error::not_found(format!("no file matches {text:?}"))),
        [one] => hyperslab_formats::open(one),
        many => Ok(Arc::new(ConcatSource::open(many)?)),
    }
}

fn local_path(text: &str) -> hyperslab_core::Result<PathBuf> {
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
        if extension(name).is_some_and(|e| EXTENSIONS.contains(&e.as_str())) {
            return Ok(Some(Arc::new(open_table(name)?)));
        }
        let table = self.listing.try_new(name).await?;
        let is_file = extension(name).is_some_and(|e| LISTED.contains(&e.as_str())) && !name.contains("://");
        if table.is_none() && is_file && !is_glob(name) && !Path::new(name).exists() {
            return plan_err!("there is no file {name:?}");
        }
        Ok(table)
    }
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
