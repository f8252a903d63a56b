//! The one way in for SQL, and the registration of everything, in order.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use datafusion::catalog::{CatalogProvider, CatalogProviderList, MemoryCatalogProviderList, UrlTableFactory};
use datafusion::common::{Result, plan_err};
use datafusion::config::OptimizerOptions;
use datafusion::dataframe::DataFrame;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{DdlStatement, LogicalPlan, LogicalPlanBuilder, Statement as PlanStatement};
use datafusion::prelude::{SessionConfig, SessionContext};
use hyperslab_store::{DEFAULT_SCHEMA, Snapshot, Store};

use crate::catalog::StoreCatalog;
use crate::files::{FileTableFactory, explained_by_name, file_catalog, local_files};
use crate::index::SketchIndex;
use crate::optimizer::idle::{one_pass_will_do, skip_idle};
use crate::optimizer::lateral::join_searches;
use crate::optimizer::pin::{Sight, StatementIsPinned, pin};
use crate::statement::custom::AnyStatement;
use crate::statement::transaction::Control;
use crate::transaction::{OpenTransaction, Seen};
use crate::{dialect, statement};

mod registration;

pub use registration::register;

/// The name of the store's catalog in a [`Session`].
pub(crate) const CATALOG: &str = "hyperslab";

/// How a session behaves.
#[derive(Debug, Clone, Default)]
pub struct SessionOptions {
    /// Partitions of a plan; the machine's cores when not given.
    pub target_partitions: Option<usize>,
    /// Bytes that sorts, joins and aggregations may hold before they spill to disk or fail; unlimited when not given.
    /// Mapped files do not count.
    pub memory_limit: Option<usize>,
}

/// A SQL session over one store.
///
/// Its dialect is DataFusion's with more statements, types and operators; arrays are tables of the catalog
/// `hyperslab`, whose default schema is `public`. Each statement reads one version of the store, whole, and is a
/// transaction of its own unless `BEGIN` opened one. Views, external tables, settings, prepared statements and the open
/// transaction last as long as the session and are shared by its clones; when the last of them is dropped, an open
/// transaction is rolled back.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> datafusion::error::Result<()> {
/// use hyperslab_datafusion::Session;
///
/// let session = Session::memory();
/// session.sql("CREATE TABLE points (value FLOAT[2])").await?.collect().await?;
/// session.sql("INSERT INTO points VALUES ([1, 2]), ([3, 4])").await?.collect().await?;
/// let batches = session.sql("SELECT row, value FROM points").await?.collect().await?;
/// assert_eq!(batches.iter().map(|b| b.num_rows()).sum::<usize>(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Session {
    store: Store,
    context: SessionContext,
    catalog: StoreCatalog,
    catalogs: Arc<dyn CatalogProviderList>,
    files: Arc<dyn UrlTableFactory>,
    transaction: Arc<OpenTransaction>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("store", &self.store.describe()).finish_non_exhaustive()
    }
}

impl Session {
    /// Opens the store at `path`, creating it if there is none.
    ///
    /// # Errors
    /// What `Store::open` gives.
    pub fn open(path: impl AsRef<Path>) -> hyperslab_core::Result<Self> {
        Ok(Self::new(Store::open(path)?, SessionOptions::default()))
    }

    /// A session over an empty store in memory.
    pub fn memory() -> Self {
        Self::new(Store::memory(), SessionOptions::default())
    }

    /// A session over a store. On a store that was opened read-only, every statement that writes is an error.
    pub fn new(store: Store, options: SessionOptions) -> Self {
        let SessionOptions { target_partitions, memory_limit } = options;
        let mut config = SessionConfig::new()
            .with_information_schema(true)
            .with_default_catalog_and_schema(CATALOG, DEFAULT_SCHEMA)
            .with_create_default_catalog_and_schema(false);
        if let Some(n) = target_partitions {
            config = config.with_target_partitions(n.max(1));
        }
        // A tensor's shape stands in the metadata of its field.
        config.options_mut().execution.parquet.skip_metadata = false;
        // Each statement looks anew at what files there are.
        let mut runtime = RuntimeEnvBuilder::new().with_object_list_cache_limit(0);
        if let Some(bytes) = memory_limit {
            runtime = runtime.with_memory_pool(Arc::new(FairSpillPool::new(bytes)));
        }
        store.add_index_kind(Arc::new(SketchIndex));
        let catalog = StoreCatalog::new(store.clone());
        let catalogs: Arc<dyn CatalogProviderList> = Arc::new(MemoryCatalogProviderList::new());
        catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog.clone()));
        let mut builder = SessionStateBuilder::new()
            .with_config(config)
            .with_default_features()
            .with_catalog_list(Arc::clone(&catalogs));
        skip_idle(&mut builder);
        // Only a disk manager that is configured can fail to start; the default creates folders when it spills.
        if let Ok(runtime) = runtime.build_arc() {
            builder = builder.with_runtime_env(runtime);
        }
        let context = SessionContext::new_with_state(registration::extend(builder, &catalog).build());
        let files: Arc<dyn UrlTableFactory> = Arc::new(FileTableFactory::new(&context));
        context.register_catalog_list(file_catalog(Arc::clone(&catalogs), Arc::clone(&files)));
        let transaction = OpenTransaction::none(&store);
        Self { store, context, catalog, catalogs, files, transaction }
    }

    /// Plans one statement. Queries run when the frame is collected or streamed; everything that changes the store or
    /// writes a file (CREATE TABLE, INSERT, DROP TABLE, COPY …) runs when its frame is collected too, so that EXPLAIN
    /// changes nothing. What concerns the session alone (CREATE VIEW, CREATE EXTERNAL TABLE, ATTACH, SET, PREPARE) takes
    /// effect at once, which is DataFusion's habit; so do BEGIN, COMMIT and ROLLBACK.
    ///
    /// The statement sees the store, or the open transaction, as it is now, whatever is changed before the frame is
    /// collected. A frame that writes must be collected in the transaction in which it was planned.
    ///
    /// # Errors
    /// Syntax, more than one statement, names, types, and clauses that nothing acts on. COMMIT: a conflict (see
    /// `Error::is_retryable` of [`from_datafusion`](crate::from_datafusion)), after which no transaction is open.
    pub async fn sql(&self, sql: &str) -> Result<DataFrame> {
        self.plan(sql).await.map_err(dialect::as_written)
    }

    async fn plan(&self, sql: &str) -> Result<DataFrame> {
        let statement = statement::custom::parse(sql, self.recursion_limit())?;
        if let Some(control) = Control::of(&statement)? {
            control.run(&self.transaction).await?;
            return Ok(DataFrame::new(self.context.state(), LogicalPlanBuilder::empty(false).build()?));
        }
        let mut frame = Frame::new(self)?;
        if statement::attach::run(&frame, &statement)? {
            return Ok(DataFrame::new(frame.state, LogicalPlanBuilder::empty(false).build()?));
        }
        let plan = frame.plan(statement).await?;
        let plan = frame.pin(plan)?;
        match plan {
            LogicalPlan::Statement(PlanStatement::Execute(_)) => {
                let (_, plan) = self.context.execute_logical_plan(plan).await?.into_parts();
                let plan = frame.pin(plan)?;
                Ok(DataFrame::new(frame.state, plan))
            }
            LogicalPlan::Ddl(DdlStatement::CreateExternalTable(create)) => {
                let files: Vec<_> = create.locations.iter().flat_map(|text| local_files(text)).collect();
                let done =
                    self.context.execute_logical_plan(LogicalPlan::Ddl(DdlStatement::CreateExternalTable(create)));
                done.await.map_err(|e| explained_by_name(e, &files))
            }
            LogicalPlan::Ddl(_) | LogicalPlan::Statement(_) => self.context.execute_logical_plan(plan).await,
            plan => {
                frame.limit_passes(&plan)?;
                Ok(DataFrame::new(frame.state, plan))
            }
        }
    }

    /// Splits a script into statements, as [`sql`](Self::sql) takes them: at the semicolons outside of strings, names
    /// and comments.
    ///
    /// # Errors
    /// A string, name or comment that does not end.
    pub fn split(&self, script: &str) -> Result<Vec<String>> {
        dialect::split(script)
    }

    /// Whether BEGIN opened a transaction that has not ended.
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_open()
    }

    /// Whether that transaction has changes, which would be lost if the session ended.
    pub fn has_uncommitted_changes(&self) -> bool {
        self.transaction.has_changes()
    }

    /// What a statement would see now: the open transaction's view of the store, or the newest version.
    ///
    /// # Errors
    /// What `Store::snapshot` gives.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>> {
        self.transaction.see().map(|seen| seen.snapshot)
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The DataFusion context, for registering more tables and functions, which `sql` then sees. Its own `sql` method
    /// knows fewer statements; see [`register`].
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    fn recursion_limit(&self) -> usize {
        self.context.state_ref().read().config_options().sql_parser.recursion_limit.into()
    }
}

/// One statement: the state it is planned with, and the version of the store that it sees.
pub(crate) struct Frame {
    pub(crate) store: Store,
    pub(crate) snapshot: Arc<Snapshot>,
    /// Whether the open transaction's own changes are in the snapshot.
    staged: bool,
    pub(crate) catalog: StoreCatalog,
    pub(crate) state: SessionState,
    began: Instant,
}

impl Frame {
    fn new(session: &Session) -> Result<Self> {
        let began = Instant::now();
        let seen = session.transaction.see()?;
        let catalog = session.catalog.see(&seen);
        let pinned = PinnedCatalogs { inner: Arc::clone(&session.catalogs), catalog: catalog.clone() };
        let mut state = session.context.state();
        state.register_catalog_list(file_catalog(Arc::new(pinned), Arc::clone(&session.files)));
        registration::pin_relations(&mut state)?;
        state.config_mut().options_mut().extensions.insert(StatementIsPinned);
        let Seen { snapshot, staged, scope } = seen;
        state.config_mut().set_extension(Arc::new(scope));
        state.mark_start_execution();
        Ok(Self { store: session.store.clone(), snapshot, staged, catalog, state, began })
    }

    /// Binds a plan to what the statement sees.
    pub(crate) fn pin(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let session = Some((&self.catalog, self.began));
        let sight = Sight { store: &self.store, snapshot: &self.snapshot, staged: self.staged, session };
        pin(join_searches(plan)?, sight)
    }

    /// Spares a plan the passes of the optimizer that would find nothing, but for a number of them that was set. What is
    /// built upon the frame has as many: its results are the same, its plan may be a slower one.
    fn limit_passes(&mut self, plan: &LogicalPlan) -> Result<()> {
        let passes = &mut self.state.config_mut().options_mut().optimizer.max_passes;
        if *passes == OptimizerOptions::default().max_passes && one_pass_will_do(plan)? {
            *passes = 1;
        }
        Ok(())
    }

    /// Plans one statement; ours are taken aside.
    pub(crate) async fn plan(&self, statement: AnyStatement) -> Result<LogicalPlan> {
        statement::plan_any(self, statement).await
    }

    /// Refuses what is no part of a transaction.
    pub(crate) fn check_no_transaction(&self, what: &str) -> Result<()> {
        if self.staged {
            return plan_err!("{what} cannot run inside a transaction; COMMIT or ROLLBACK first");
        }
        Ok(())
    }

    /// Refuses a write before anything is planned.
    pub(crate) fn check_writable(&self, what: &str) -> Result<()> {
        if self.store.read_only() {
            return plan_err!("{what}: the store {} was opened read-only", self.store.describe());
        }
        Ok(())
    }
}

/// The session's catalogs, with the store's at one version.
#[derive(Debug)]
struct PinnedCatalogs {
    inner: Arc<dyn CatalogProviderList>,
    catalog: StoreCatalog,
}

impl CatalogProviderList for PinnedCatalogs {
    fn register_catalog(&self, name: String, catalog: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        self.inner.register_catalog(name, catalog)
    }

    fn catalog_names(&self) -> Vec<String> {
        self.inner.catalog_names()
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        if name == CATALOG { Some(Arc::new(self.catalog.clone())) } else { self.inner.catalog(name) }
    }
}

#[cfg(test)]
mod tests;
