//! A store as a DataFusion catalog: its schemas, its arrays.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::TableType;
use hyperslab_store::{ArrayName, Snapshot, Store};

use crate::error::to_datafusion;
use crate::table::ArrayTable;
use crate::transaction::Seen;

mod attached;

pub(crate) use attached::name_in;
use attached::{Attached, Attachments};

/// Views, external tables and other tables that live as long as the session: by schema, then name.
type SessionTables = Arc<RwLock<BTreeMap<String, BTreeMap<String, Arc<dyn TableProvider>>>>>;

/// The schema in which DataFusion shows what there is.
const INFORMATION_SCHEMA: &str = "information_schema";

/// Why a statement that writes to an attached path is refused.
pub(crate) fn only_read(path: &str) -> String {
    format!(
        "{path} is attached, and what is attached is only read; write to a file with COPY, to a store by opening it"
    )
}

/// A store's schemas. Live, every look-up sees the newest version; pinned, all see one. Beside the arrays it holds the
/// views and external tables of a session, and as schemas what it attached; these are not stored. Clones and pinned
/// copies share them.
#[derive(Debug, Clone)]
pub struct StoreCatalog {
    store: Store,
    pin: Option<Arc<Snapshot>>,
    /// Whether a transaction's own changes are in the pinned snapshot.
    staged: bool,
    others: SessionTables,
    attachments: Attachments,
}

impl StoreCatalog {
    /// The newest version of a store, whichever that is at each look-up.
    pub fn new(store: Store) -> Self {
        Self { store, pin: None, staged: false, others: SessionTables::default(), attachments: Attachments::default() }
    }

    /// One version of a store, without tables of a session; see also [`pin`](Self::pin).
    pub fn pinned(store: Store, snapshot: Arc<Snapshot>) -> Self {
        Self { pin: Some(snapshot), ..Self::new(store) }
    }

    /// The same catalog at one version; it shares the session's views and external tables.
    #[must_use]
    pub fn pin(&self, snapshot: Arc<Snapshot>) -> Self {
        Self { pin: Some(snapshot), attachments: self.attachments.for_statement(), ..self.clone() }
    }

    /// The same catalog as a statement sees it.
    pub(crate) fn see(&self, seen: &Seen) -> Self {
        Self { staged: seen.staged, ..self.pin(Arc::clone(&seen.snapshot)) }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The version that look-ups see: the pinned one, or the newest.
    ///
    /// # Errors
    /// What `Store::snapshot` gives.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>> {
        match &self.pin {
            Some(snapshot) => Ok(Arc::clone(snapshot)),
            None => self.store.snapshot().map_err(to_datafusion),
        }
    }

    /// A schema of the store, without asking whether it exists: its look-ups say so.
    pub fn store_schema(&self, name: &str) -> StoreSchema {
        let catalog = match self.pin {
            Some(_) => self.clone(),
            None => Self { attachments: self.attachments.for_statement(), ..self.clone() },
        };
        StoreSchema { name: name.to_owned(), catalog }
    }

    /// An array by schema and name, for planners that cannot wait; `None` when there is none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn array_table(&self, schema: &str, name: &str) -> Result<Option<ArrayTable>> {
        self.store_schema(schema).array_table(name)
    }

    /// Makes the arrays at a path tables of a schema of that name, for as long as the session lives.
    ///
    /// # Errors
    /// A name in use; a path where nothing is, or nothing that is known.
    pub(crate) fn attach(&self, name: &str, path: &str, if_not_exists: bool) -> Result<()> {
        if if_not_exists && self.attachments.names().iter().any(|n| n == name) {
            return Ok(());
        }
        if self.has_schema(name)? || name == INFORMATION_SCHEMA {
            return plan_err!("ATTACH: there is a schema {name:?}; choose another name");
        }
        self.attachments.attach(name, path)
    }

    /// Forgets what was attached; false if there was nothing of that name.
    pub(crate) fn detach(&self, name: &str) -> bool {
        self.attachments.detach(name)
    }

    /// Where what is attached as this schema is: the path. A schema of the store goes before it.
    pub(crate) fn attached_path(&self, schema: &str) -> Result<Option<String>> {
        Ok(if self.has_schema(schema)? { None } else { self.attachments.path(schema) })
    }

    /// The attached store that is this schema, at the version that the statement sees.
    ///
    /// # Errors
    /// When it cannot be read any more.
    pub(crate) fn attached_store(&self, schema: &str) -> Result<Option<Self>> {
        Ok(self.attached(schema)?.and_then(|attached| attached.store()))
    }

    fn attached(&self, schema: &str) -> Result<Option<Arc<Attached>>> {
        if self.has_schema(schema)? { Ok(None) } else { self.attachments.get(schema) }
    }

    fn has_schema(&self, name: &str) -> Result<bool> {
        Ok(self.snapshot()?.schemas().iter().any(|n| n == name))
    }
}

impl CatalogProvider for StoreCatalog {
    fn schema_names(&self) -> Vec<String> {
        let mut names = self.snapshot().map(|s| s.schemas()).unwrap_or_default();
        names.extend(self.attachments.names());
        names.sort_unstable();
        names.dedup();
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        // Where the store cannot be read, the schema's look-ups give the error, which this one cannot.
        let missing = self.has_schema(name).is_ok_and(|there| !there) && self.attachments.path(name).is_none();
        (!missing).then(|| Arc::new(self.store_schema(name)) as _)
    }

    fn register_schema(&self, name: &str, schema: Arc<dyn SchemaProvider>) -> Result<Option<Arc<dyn SchemaProvider>>> {
        if !schema.table_names().is_empty() {
            return plan_err!("schema {name:?} cannot be added to a store with tables in it; create it empty");
        }
        let mut transaction = self.store.begin().map_err(to_datafusion)?;
        transaction.create_schema(name).map_err(to_datafusion)?;
        transaction.commit().map_err(to_datafusion)?;
        Ok(None)
    }

    fn deregister_schema(&self, name: &str, cascade: bool) -> Result<Option<Arc<dyn SchemaProvider>>> {
        let mut transaction = self.store.begin().map_err(to_datafusion)?;
        let snapshot = Arc::clone(transaction.base());
        if !snapshot.schemas().iter().any(|n| n == name) {
            return Ok(None);
        }
        let schema = self.store_schema(name);
        let tables = schema.table_names();
        if !cascade && !tables.is_empty() {
            let tables = tables.join(", ");
            return exec_err!("schema {name:?} is not empty: {tables}; drop these first, or use CASCADE");
        }
        for array in snapshot.arrays(name) {
            transaction.drop_array(ArrayName::new(name, array)).map_err(to_datafusion)?;
        }
        transaction.drop_schema(name).map_err(to_datafusion)?;
        transaction.commit().map_err(to_datafusion)?;
        self.others.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(Some(Arc::new(schema)))
    }
}

/// A schema's arrays, and the session's views and external tables in it.
#[derive(Debug, Clone)]
pub struct StoreSchema {
    name: String,
    catalog: StoreCatalog,
}

impl StoreSchema {
    /// An array as a table; `None` when there is none of that name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn array_table(&self, name: &str) -> Result<Option<ArrayTable>> {
        if let Some(attached) = self.catalog.attached(&self.name)? {
            return attached.table(name).map(Some);
        }
        let snapshot = self.catalog.snapshot()?;
        let name = ArrayName::new(&self.name, name);
        if !snapshot.contains(&name) {
            return Ok(None);
        }
        let array = snapshot.array(&name).map_err(to_datafusion)?;
        let table = ArrayTable::from_array(self.catalog.store.clone(), array);
        Ok(Some(if self.catalog.staged { table.staged() } else { table }))
    }

    /// A view or external table of the session.
    pub fn session_table(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        let others = self.catalog.others.read().unwrap_or_else(PoisonError::into_inner);
        others.get(&self.name)?.get(name).cloned()
    }

    /// Refuses to change what is attached.
    fn refuse_attached(&self) -> Result<()> {
        match self.catalog.attached_path(&self.name)? {
            Some(path) => plan_err!("{}: {}", self.name, only_read(&path)),
            None => Ok(()),
        }
    }

    fn is_array(&self, name: &str) -> Result<bool> {
        Ok(self.catalog.snapshot()?.contains(ArrayName::new(&self.name, name)))
    }
}

#[async_trait]
impl SchemaProvider for StoreSchema {
    fn table_names(&self) -> Vec<String> {
        if let Ok(Some(attached)) = self.catalog.attached(&self.name) {
            return attached.names();
        }
        let mut names = self.catalog.snapshot().map(|s| s.arrays(&self.name)).unwrap_or_default();
        let others = self.catalog.others.read().unwrap_or_else(PoisonError::into_inner);
        names.extend(others.get(&self.name).into_iter().flat_map(BTreeMap::keys).cloned());
        names.sort_unstable();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match self.array_table(name)? {
            Some(table) => Ok(Some(Arc::new(table))),
            None => Ok(self.session_table(name)),
        }
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        if self.is_array(name)? || self.catalog.attached_path(&self.name)?.is_some() {
            return Ok(Some(TableType::Base));
        }
        Ok(self.session_table(name).map(|t| t.table_type()))
    }

    fn register_table(&self, name: String, table: Arc<dyn TableProvider>) -> Result<Option<Arc<dyn TableProvider>>> {
        self.refuse_attached()?;
        if self.is_array(&name)? {
            return plan_err!("there is already an array {name:?}; drop it first or choose another name");
        }
        let mut others = self.catalog.others.write().unwrap_or_else(PoisonError::into_inner);
        Ok(others.entry(self.name.clone()).or_default().insert(name, table))
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        self.refuse_attached()?;
        // An array is dropped by a statement, which says so; never by forgetting a registration.
        if self.is_array(name)? {
            return exec_err!("array {name:?} cannot be deregistered; drop it with DROP TABLE in a Hyperslab session");
        }
        let mut others = self.catalog.others.write().unwrap_or_else(PoisonError::into_inner);
        Ok(others.get_mut(&self.name).and_then(|tables| tables.remove(name)))
    }

    fn table_exist(&self, name: &str) -> bool {
        match self.catalog.attached(&self.name) {
            Ok(Some(attached)) => attached.table(name).is_ok(),
            _ => self.is_array(name).unwrap_or(false) || self.session_table(name).is_some(),
        }
    }
}

#[cfg(test)]
mod tests;
