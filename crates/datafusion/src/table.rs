//! An array, or a mapped file, as a table: `row` (BIGINT) first, then the fields.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchemaRef, Statistics, not_impl_err};
use datafusion::error::Result;
use datafusion::logical_expr::dml::{InsertOp, MergeIntoClause};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use hyperslab_core::{ArraySource, arrow};
use hyperslab_store::{Array, Store};

use crate::files::FileNames;
use crate::scan::{ArrayScanExec, RowFilter, RowRanges, source_statistics};

/// The name of the generated column that holds the position of a row.
pub(crate) const ROW: &str = "row";

/// Where a table's rows come from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// An array of a store, at one version. `explicit` when the statement named that version itself.
    Store {
        /// The store.
        store: Store,
        /// The array at that version.
        array: Array,
        /// Whether the version was asked for, so that it is never re-pinned.
        explicit: bool,
    },
    /// A file or a glob.
    File(String),
}

/// A table over an [`ArraySource`]: a [`TableProvider`] of which a scan copies nothing.
#[derive(Debug, Clone)]
pub struct ArrayTable {
    name: String,
    source: Arc<dyn ArraySource>,
    origin: Origin,
    /// Whether a transaction's own changes are in it.
    staged: bool,
    /// Under which name it is attached, and its own name there.
    attached: Option<(String, String)>,
    /// How its files can be opened again.
    files: Option<FileNames>,
    opened: Instant,
    schema: SchemaRef,
}

impl ArrayTable {
    /// A table over an array of a store.
    pub fn from_array(store: Store, array: Array) -> Self {
        let name = format!("{}@v{}", array.name(), array.version());
        let source: Arc<dyn ArraySource> = Arc::new(array.clone());
        Self::new(name, source, Origin::Store { store, array, explicit: false })
    }

    /// A table over a file's source.
    pub fn from_file(path: &str, source: Arc<dyn ArraySource>) -> Self {
        Self::new(path.to_owned(), source, Origin::File(path.to_owned()))
    }

    fn new(name: String, source: Arc<dyn ArraySource>, origin: Origin) -> Self {
        let schema = schema_of(source.as_ref());
        Self { name, source, origin, staged: false, attached: None, files: None, opened: Instant::now(), schema }
    }

    /// The same table, marked as of a version that the statement asked for.
    #[must_use]
    pub fn explicit(mut self) -> Self {
        if let Origin::Store { explicit, .. } = &mut self.origin {
            *explicit = true;
        }
        self
    }

    /// The same table, marked as what a transaction sees with its own changes, which no version shows.
    #[must_use]
    pub(crate) fn staged(mut self) -> Self {
        if let Origin::Store { array, .. } = &self.origin {
            self.name = format!("{}@tx", array.name());
            self.staged = true;
        }
        self
    }

    /// The same table, as one of an attached place.
    #[must_use]
    pub(crate) fn attached(mut self, place: &str, name: &str) -> Self {
        self.name = format!("{place}:{}", self.name);
        self.attached = Some((place.to_owned(), name.to_owned()));
        self
    }

    /// The name of the attached place that it is of, and its name there.
    pub(crate) fn attachment(&self) -> Option<&(String, String)> {
        self.attached.as_ref()
    }

    /// The same table, which can be opened again.
    #[must_use]
    pub(crate) fn opened_by(mut self, files: FileNames) -> Self {
        self.files = Some(files);
        self
    }

    /// How its files are opened again, if they were opened before a moment.
    pub(crate) fn opened_before(&self, moment: Instant) -> Option<&FileNames> {
        self.files.as_ref().filter(|_| self.opened < moment)
    }

    pub(crate) fn is_staged(&self) -> bool {
        self.staged
    }

    /// The array's or file's name, with `@vN` (or `@tx` in a transaction) for an array: scans carry it, because plan equality ignores the source.
    pub fn scan_name(&self) -> &str {
        &self.name
    }

    /// The rows.
    pub fn source(&self) -> &Arc<dyn ArraySource> {
        &self.source
    }

    /// Where they come from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The schema: `row`, then the fields. (Also without [`TableProvider`] in scope.)
    pub fn arrow_schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn refuse<T>(&self, what: &str) -> Result<T> {
        match &self.origin {
            Origin::Store { array, .. } => not_impl_err!("{what} is not supported for arrays yet: {}", array.name()),
            Origin::File(path) => not_impl_err!("{what} is not supported for a file: {path}"),
        }
    }
}

/// The Arrow field of the generated column.
pub(crate) fn row_field() -> Field {
    Field::new(ROW, DataType::Int64, false)
}

fn schema_of(source: &dyn ArraySource) -> SchemaRef {
    let fields = source.fields().iter().map(arrow::to_field);
    Arc::new(Schema::new(std::iter::once(row_field()).chain(fields).collect::<Vec<_>>()))
}

#[async_trait]
impl TableProvider for ArrayTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        Some(source_statistics(self.source.as_ref(), &all, &RowRanges::all(self.source.rows())))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let rows = self.source.rows();
        Ok(filters
            .iter()
            .map(|filter| match RowFilter::of_expr(filter, &self.schema, rows) {
                Some(f) if f.exact => TableProviderFilterPushDown::Exact,
                Some(_) => TableProviderFilterPushDown::Inexact,
                None => TableProviderFilterPushDown::Unsupported,
            })
            .collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.source.rows();
        let mut ranges = RowRanges::all(rows);
        let mut exact = true;
        for filter in filters {
            match RowFilter::of_expr(filter, &self.schema, rows) {
                Some(f) => {
                    ranges = ranges.intersect(&f.ranges);
                    exact &= f.exact;
                }
                None => exact = false,
            }
        }
        let projection = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let partitions = state.config().target_partitions();
        let scan = ArrayScanExec::try_new(self.clone(), projection, ranges, partitions)?;
        // A limit counts rows after every filter.
        Ok(Arc::new(if exact { scan.limited(limit) } else { scan }))
    }

    async fn insert_into(
        &self,
        _state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        op: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (&self.origin, op) {
            (Origin::Store { store, array, explicit: false }, InsertOp::Append) => {
                crate::write::insert_exec(store, array, input)
            }
            (Origin::Store { .. }, InsertOp::Append) => self.refuse("INSERT into an older version"),
            (_, op) => self.refuse(&op.to_string()),
        }
    }

    async fn delete_from(&self, _state: &dyn Session, _filters: Vec<Expr>) -> Result<Arc<dyn ExecutionPlan>> {
        // Not even later: the filters that arrive here may be incomplete, and none means every row.
        self.refuse("DELETE")
    }

    async fn update(
        &self,
        _state: &dyn Session,
        _assignments: Vec<(String, Expr)>,
        _filters: Vec<Expr>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.refuse("UPDATE")
    }

    async fn truncate(&self, _state: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        self.refuse("TRUNCATE")
    }

    async fn merge_into(
        &self,
        _state: &dyn Session,
        _source: Arc<dyn ExecutionPlan>,
        _merge_schema: DFSchemaRef,
        _on: Expr,
        _clauses: Vec<MergeIntoClause>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.refuse("MERGE")
    }
}
