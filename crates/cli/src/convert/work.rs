//! Doing it: each unit is written as a whole, and read back when that is asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::UInt64Type;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider};
use datafusion::common::TableReference;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::DataFrame;
use hyperslab::formats::{Format, WriteOptions};
use hyperslab::{ArraysFile, PlannedRows, RowsTable, Session, SessionOptions, Store, as_fields, compare};

use super::input::Query;
use super::kind::{Kind, bytes_on_disk, from, literal, quoted};
use super::output::{Item, Unit, in_store};
use super::progress::{Progress, bytes};
use super::{ConvertArgs, said};

/// The catalog, of a session, of the queries that are written.
const CATALOG: &str = "hyperslab_convert";
/// Its schema.
const SCHEMA: &str = "queries";

/// What the tasks share.
#[derive(Debug)]
pub(super) struct Work {
    args: ConvertArgs,
    session: Session,
    progress: Arc<Progress>,
    next: AtomicUsize,
}

/// What became of an array.
#[derive(Debug)]
struct Written {
    rows: u64,
    /// What it is called there: one name, or one for each field.
    names: Vec<String>,
}

/// The figures of the summary.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Totals {
    pub(super) arrays: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Work {
    pub(super) fn new(args: ConvertArgs, session: Session, progress: Arc<Progress>) -> Self {
        Self { args, session, progress, next: AtomicUsize::new(0) }
    }

    /// Writes one unit.
    pub(super) async fn run(&self, unit: &Unit) -> Result<Totals, String> {
        let before = bytes_on_disk(&unit.path);
        let written = match (unit.kind, unit.container()) {
            (Kind::Store, _) => self.to_store(unit).await?,
            (_, Some(format)) if !self.is_copied(unit).await? => self.to_container(unit, format).await?,
            _ => vec![self.copy(unit).await?],
        };
        if self.args.verify {
            self.verify(unit, &written).await?;
        }
        let after = bytes_on_disk(&unit.path);
        Ok(Totals {
            arrays: written.len() as u64,
            rows: written.iter().map(|w| w.rows).sum(),
            bytes: if matches!(unit.kind, Kind::Store) { after.saturating_sub(before) } else { after },
        })
    }

    /// A table on its own becomes an array for each of its columns, as COPY makes them.
    async fn is_copied(&self, unit: &Unit) -> Result<bool, String> {
        let [item] = unit.items.as_slice() else { return Ok(false) };
        Ok(item.query.table && self.rows(&item.query, unit.kind).await?.schema().fields().len() > 1)
    }

    /// The rows of a query as they are written.
    async fn rows(&self, query: &Query, to: Kind) -> Result<DataFrame, String> {
        let labelled = |e| format!("{}: {}", query.label, said(e));
        let frame = self.session.sql(&query.sql).await.map_err(labelled)?;
        as_fields(frame, &self.args.casts, !to.holds_lists()).await.map_err(labelled)
    }

    fn start(&self, item: &Item, plan: &Arc<dyn ExecutionPlan>) -> usize {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.progress.start(id, &item.name, plan, &item.query);
        id
    }

    fn finish(&self, id: usize, item: &Item, rows: u64, path: &Path) {
        let s = if rows == 1 { "" } else { "s" };
        self.progress.finish(id, &format!("{}: {rows} row{s} to {}", item.name, path.display()));
    }

    /// One file from one query, by COPY.
    async fn copy(&self, unit: &Unit) -> Result<Written, String> {
        let [item] = unit.items.as_slice() else { return Err(format!("{} holds one array", unit.path.display())) };
        let rows = self.rows(&item.query, unit.kind).await?;
        let names = rows.schema().fields().iter().map(|f| f.name().clone()).collect();
        if let Some(folder) = unit.path.parent().filter(|f| *f != Path::new("")) {
            std::fs::create_dir_all(folder).map_err(|e| format!("creating {} failed: {e}", folder.display()))?;
        }
        let name = match unit.kind {
            Kind::Arrays(format) => format.name(),
            kind => kind.extension(),
        };
        let options = self.args.options.iter().map(|(key, value)| format!("{} {}", literal(key), literal(value)));
        let overwrite = format!("overwrite {}", self.args.overwrite);
        let options: Vec<String> = options.chain(self.args.overwrite.then_some(overwrite)).collect();
        let options = if options.is_empty() { String::new() } else { format!(" OPTIONS ({})", options.join(", ")) };
        let target = literal(&unit.path.to_string_lossy());
        let view = view(&self.session, &rows, item)?;
        let sql = format!("COPY (SELECT * FROM {view}) TO {target} STORED AS {name}{options}");
        let (rows, id) = self.execute(&self.session, &sql, item).await?;
        self.finish(id, item, rows, &unit.path);
        Ok(Written { rows, names })
    }

    /// Runs a statement that says how many rows it wrote; and the number under which its progress goes.
    async fn execute(&self, session: &Session, sql: &str, item: &Item) -> Result<(u64, usize), String> {
        let labelled = |e| format!("{}: {}", item.query.label, said(e));
        let frame = session.sql(sql).await.map_err(labelled)?;
        let context = frame.task_ctx();
        let plan = frame.create_physical_plan().await.map_err(labelled)?;
        let id = self.start(item, &plan);
        let batches = collect(plan, Arc::new(context)).await.map_err(labelled)?;
        Ok((count(&batches), id))
    }

    /// Arrays one after another into one file.
    async fn to_container(&self, unit: &Unit, format: &Format) -> Result<Vec<Written>, String> {
        let set = |all: WriteOptions, (key, value): &(String, String)| all.set(key, value);
        let options = self.args.options.iter().fold(WriteOptions::new().overwrite(self.args.overwrite), set);
        let mut file = ArraysFile::create(&unit.path, format, &options).map_err(said)?;
        let mut written = Vec::new();
        for item in &unit.items {
            let labelled = |e| format!("{}: {}", item.query.label, said(e));
            let frame = self.rows(&item.query, unit.kind).await?;
            let planned = PlannedRows::new(frame).await.map_err(labelled)?;
            let id = self.start(item, planned.plan());
            let (rows, names) = file.add(&item.name, &planned).await.map_err(labelled)?;
            self.finish(id, item, rows, &unit.path);
            written.push(Written { rows, names });
        }
        file.finish().await.map_err(said)?;
        Ok(written)
    }

    /// Arrays into a store, in one transaction.
    async fn to_store(&self, unit: &Unit) -> Result<Vec<Written>, String> {
        let new = NewStore::of(&unit.path);
        let store = Store::open(&unit.path).map_err(|e| e.to_string())?;
        let session = Session::new(store, SessionOptions::default());
        let run = async |sql: &str| session.sql(sql).await.map_err(said)?.collect().await.map_err(said);
        let options = self.args.options.iter().map(|(key, value)| format!("{} = {}", quoted(key), literal(value)));
        let options: Vec<String> = options.collect();
        let options = if options.is_empty() { String::new() } else { format!(" WITH ({})", options.join(", ")) };
        run("BEGIN").await?;
        let mut written = Vec::new();
        for item in &unit.items {
            let (schema, name) = in_store(&item.name, item.query.schema.as_deref());
            if let Some(schema) = schema {
                run(&format!("CREATE SCHEMA IF NOT EXISTS {schema}")).await?;
            }
            if self.args.overwrite {
                run(&format!("DROP TABLE IF EXISTS {name}")).await?;
            }
            let rows = self.rows(&item.query, unit.kind).await?;
            let view = view(&session, &rows, item)?;
            let sql = format!("CREATE TABLE {name}{options} AS SELECT * FROM {view}");
            let (rows, id) = self.execute(&session, &sql, item).await?;
            self.finish(id, item, rows, &unit.path);
            written.push(Written { rows, names: vec![item.name.clone()] });
        }
        run("COMMIT").await?;
        new.keep();
        Ok(written)
    }

    /// Reads a unit back and compares it with what it was written from.
    async fn verify(&self, unit: &Unit, written: &[Written]) -> Result<(), String> {
        let path = unit.path.display();
        self.progress.compare(&path.to_string());
        let store = match unit.kind {
            Kind::Store => {
                let options = hyperslab::OpenOptions { read_only: true, create: false, ..Default::default() };
                Store::open_with(&unit.path, options).map_err(|e| e.to_string())?
            }
            _ => Store::memory(),
        };
        let session = Session::new(store, SessionOptions::default());
        for (item, written) in unit.items.iter().zip(written) {
            let differs = |e| format!("{path} was written, and is not what was read: {}: {}", item.name, said(e));
            let parts = match unit.container() {
                Some(format) if !is_one(format, &unit.path, written)? => written.names.len(),
                _ => 1,
            };
            for part in 0..parts {
                let mut expected = self.rows(&item.query, unit.kind).await?;
                if parts > 1 {
                    let column = expected.schema().qualified_field(part);
                    let column = datafusion::common::Column::from(column);
                    expected = expected.select([datafusion::logical_expr::Expr::Column(column)]).map_err(said)?;
                }
                let found = match unit.kind {
                    Kind::Store => in_store(&item.name, item.query.schema.as_deref()).1,
                    Kind::Arrays(format) if format.writes_arrays_by_name() => {
                        let entry = written_name(format, &unit.path, written.names.get(part))?;
                        from(&session, &unit.path, Some(&entry), unit.kind, true).await?
                    }
                    kind => from(&session, &unit.path, None, kind, true).await?,
                };
                let found = session.sql(&format!("SELECT * FROM {found}")).await.map_err(said)?;
                compare(expected, found).await.map_err(differs)?;
            }
        }
        let arrays = written.len();
        let s = if arrays == 1 { "" } else { "s" };
        let line = format!("{path}: {arrays} array{s} read back and compared: the same");
        self.progress.compared(&path.to_string(), &line);
        Ok(())
    }
}

/// Whether what was written is read as one array: fields that were written one by one may be a group.
fn is_one(format: &Format, path: &Path, written: &Written) -> Result<bool, String> {
    let container = format.open_container(path).map_err(|e| e.to_string())?;
    let is_all = matches!(container.entries(), [only] if only.fields.len() == written.names.len());
    Ok(written.names.len() == 1 || is_all)
}

/// The name under which an array is listed: one that is alone may go by the file's.
fn written_name(format: &Format, path: &Path, name: Option<&String>) -> Result<String, String> {
    let container = format.open_container(path).map_err(|e| e.to_string())?;
    let bare = |name: &str| name.trim_matches('/').to_owned();
    let wanted = name.map(|n| bare(n)).unwrap_or_default();
    match container.entries() {
        [only] => Ok(only.name.clone()),
        entries => Ok(entries.iter().find(|e| bare(&e.name) == wanted).map_or(wanted, |e| e.name.clone())),
    }
}

/// Gives rows a name that the SQL of a session knows.
fn view(session: &Session, rows: &DataFrame, item: &Item) -> Result<String, String> {
    let context = session.context();
    if context.catalog(CATALOG).is_none() {
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(SCHEMA, Arc::new(MemorySchemaProvider::new())).map_err(said)?;
        context.register_catalog(CATALOG, Arc::new(catalog));
    }
    let name = TableReference::full(CATALOG, SCHEMA, item.name.as_str());
    context.deregister_table(name.clone()).map_err(said)?;
    context.register_table(name, Arc::new(RowsTable::new(rows.clone()))).map_err(said)?;
    Ok(format!("{CATALOG}.{SCHEMA}.{}", quoted(&item.name)))
}

fn count(batches: &[RecordBatch]) -> u64 {
    let counts = batches.iter().filter_map(|b| b.columns().first()?.as_primitive_opt::<UInt64Type>());
    counts.flat_map(|c| c.values().iter()).sum()
}

/// Removes a store that this program made, unless it is kept.
#[derive(Debug)]
struct NewStore(Option<PathBuf>);

impl NewStore {
    fn of(path: &Path) -> Self {
        Self((!path.exists()).then(|| path.to_owned()))
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for NewStore {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

/// The figures in one line.
pub(super) fn summary(totals: Totals, skipped: usize, seconds: f64) -> String {
    let plural = |n: u64, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
    let skipped = if skipped > 0 { format!(", {skipped} there already") } else { String::new() };
    let Totals { arrays, rows, bytes: written } = totals;
    let (arrays, rows) = (plural(arrays, "array"), plural(rows, "row"));
    format!("{arrays}, {rows}, {} written in {seconds:.2} s{skipped}", bytes(written))
}
