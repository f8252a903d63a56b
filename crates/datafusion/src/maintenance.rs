//! OPTIMIZE, VACUUM, CHECK and CREATE INDEX, and what looks after `.npy` files: jobs that run when the statement's frame is
//! collected, and whose figures come back as rows.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, DFSchemaRef, DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use hyperslab_core::{Error, Result as StoreResult};
use hyperslab_store::{ArrayName, CheckOptions, OptimizeOptions, Store, VacuumOptions};

use crate::to_datafusion;

mod create_index;
mod npy_file;

pub(crate) use create_index::{NewIndex, OptionValue};
pub(crate) use npy_file::{NpyJob, NpyTask, shown};

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub(crate) enum Job {
    /// OPTIMIZE.
    Optimize { array: ArrayName, full: bool },
    /// VACUUM; of the store's default where `retain` is absent.
    Vacuum { array: Option<ArrayName>, retain: Option<Duration>, dry_run: bool },
    /// CHECK.
    Check { array: Option<ArrayName>, quick: bool },
    /// CREATE INDEX.
    CreateIndex(NewIndex),
    /// Of a `.npy` file, and no store.
    Npy(NpyJob),
}

impl Job {
    fn schema(&self) -> SchemaRef {
        let (number, text) = (DataType::Int64, DataType::Utf8);
        let columns = |columns: &[(&str, &DataType, bool)]| {
            let fields = columns.iter().map(|(name, data_type, null)| Field::new(*name, (*data_type).clone(), *null));
            Arc::new(Schema::new(fields.collect::<Vec<_>>()))
        };
        match self {
            Self::Optimize { .. } => columns(&[
                ("array", &text, false),
                ("segments_before", &number, false),
                ("segments_after", &number, false),
                ("rows_dropped", &number, false),
                ("rows_folded", &number, false),
                ("bytes_before", &number, false),
                ("bytes_after", &number, false),
                ("version", &number, false),
            ]),
            Self::Vacuum { .. } => columns(&[
                ("oldest_version", &number, false),
                ("versions_expired", &number, false),
                ("files", &number, false),
                ("bytes", &number, false),
                ("files_kept", &number, false),
                ("kept_because", &text, true),
            ]),
            Self::CreateIndex(_) => columns(&[
                ("name", &text, false),
                ("array", &text, false),
                ("rows_covered", &number, false),
                ("bytes", &number, false),
            ]),
            Self::Npy(job) => columns(&job.task.columns()),
            Self::Check { .. } => columns(&[
                ("severity", &text, false),
                ("file", &text, false),
                ("array", &text, true),
                ("problem", &text, false),
                ("advice", &text, false),
            ]),
        }
    }

    /// Does it; the rows are the columns of [`schema`](Self::schema).
    fn run(&self, store: Option<&Store>, cancelled: &AtomicBool) -> StoreResult<Vec<ArrayRef>> {
        match (self, store) {
            (Self::Npy(job), _) => job.run(),
            (_, Some(store)) => self.run_on(store, cancelled),
            (_, None) => Err(Error::invalid(format!("{self} needs a store"))),
        }
    }

    fn run_on(&self, store: &Store, cancelled: &AtomicBool) -> StoreResult<Vec<ArrayRef>> {
        let numbers = |values: &[u64]| -> Vec<ArrayRef> {
            let column = |&value: &u64| Arc::new(Int64Array::from(vec![i64::try_from(value).unwrap_or(i64::MAX)])) as _;
            values.iter().map(column).collect()
        };
        match self {
            Self::Optimize { array, full } => {
                let report = store.optimize(array, &OptimizeOptions { full: *full })?;
                let mut columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec![array.to_string()]))];
                columns.extend(numbers(&[
                    report.segments_before,
                    report.segments_after,
                    report.rows_dropped,
                    report.rows_folded,
                    report.bytes_before,
                    report.bytes_after,
                    report.version,
                ]));
                Ok(columns)
            }
            Self::Vacuum { array, retain, dry_run } => {
                let default = VacuumOptions::default();
                let retain = retain.unwrap_or(default.retain);
                let options = VacuumOptions { retain, array: array.clone(), dry_run: *dry_run, ..default };
                let report = store.vacuum(&options)?;
                let (files, kept) = (report.files.len() as u64, report.kept.len() as u64);
                let mut columns = numbers(&[report.oldest, report.versions, files, report.bytes(), kept]);
                let why = report.kept.first().map(|(file, why)| format!("{file}: {why}"));
                columns.push(Arc::new(StringArray::from(vec![why])));
                Ok(columns)
            }
            Self::Npy(job) => job.run(),
            Self::CreateIndex(index) => {
                let info = index.create(store, cancelled)?;
                let text = |value: String| Arc::new(StringArray::from(vec![value])) as ArrayRef;
                let mut columns = vec![text(index.name.clone()), text(index.array.to_string())];
                columns.extend(numbers(&[info.rows, info.disk_bytes]));
                Ok(columns)
            }
            Self::Check { array, quick } => {
                let options = CheckOptions { array: array.clone(), quick: *quick, ..CheckOptions::default() };
                let findings = store.check(&options)?;
                let texts = |text: fn(&hyperslab_store::Finding) -> &str| -> ArrayRef {
                    Arc::new(StringArray::from_iter_values(findings.iter().map(text)))
                };
                let arrays = findings.iter().map(|f| f.array.as_ref().map(ToString::to_string));
                Ok(vec![
                    texts(|f| f.severity.as_str()),
                    texts(|f| &f.file),
                    Arc::new(arrays.collect::<StringArray>()),
                    texts(|f| &f.problem),
                    texts(|f| &f.advice),
                ])
            }
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, array, more) = match self {
            Self::Optimize { array, full } => ("optimize", Some(array), if *full { " full" } else { "" }),
            Self::Vacuum { array, dry_run, .. } => ("vacuum", array.as_ref(), if *dry_run { " dry run" } else { "" }),
            Self::Check { array, quick } => ("check", array.as_ref(), if *quick { " quick" } else { "" }),
            Self::CreateIndex(index) => return index.fmt(f),
            Self::Npy(job) => return job.fmt(f),
        };
        match array {
            Some(array) => write!(f, "{verb} {array}{more}"),
            None => write!(f, "{verb}{more}"),
        }
    }
}

/// The logical node of a [`Job`]: no input; its figures are its rows.
#[derive(Debug, Clone)]
pub(crate) struct Maintenance {
    store: Option<Store>,
    job: Job,
    schema: DFSchemaRef,
}

impl Maintenance {
    /// A plan that does the job when it is executed.
    pub(crate) fn plan(store: &Store, job: Job) -> Result<LogicalPlan> {
        Self::node(Some(store.clone()), job)
    }

    /// The same of a job on a file.
    pub(crate) fn plan_npy(job: NpyJob) -> Result<LogicalPlan> {
        Self::node(None, Job::Npy(job))
    }

    fn node(store: Option<Store>, job: Job) -> Result<LogicalPlan> {
        let schema = Arc::new(DFSchema::try_from(job.schema())?);
        let node = Self { store, job, schema };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }
}

impl PartialEq for Maintenance {
    fn eq(&self, other: &Self) -> bool {
        self.job == other.job
    }
}

impl Eq for Maintenance {}

impl std::hash::Hash for Maintenance {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.job.hash(state);
    }
}

impl PartialOrd for Maintenance {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.job.partial_cmp(&other.job)
    }
}

impl UserDefinedLogicalNodeCore for Maintenance {
    fn name(&self) -> &str {
        "Maintenance"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Maintenance: {}", self.job)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, _inputs: Vec<LogicalPlan>) -> Result<Self> {
        Ok(self.clone())
    }
}

/// Says to a job that its stream was dropped.
#[derive(Debug, Default)]
struct Cancelled(Arc<AtomicBool>);

impl Drop for Cancelled {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Executes a [`Maintenance`].
#[derive(Debug)]
pub(crate) struct MaintenanceExec {
    store: Option<Store>,
    job: Job,
    properties: Arc<PlanProperties>,
}

impl MaintenanceExec {
    pub(crate) fn new(node: &Maintenance) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(node.job.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        ));
        Self { store: node.store.clone(), job: node.job.clone(), properties }
    }
}

impl DisplayAs for MaintenanceExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MaintenanceExec: {}", self.job)
    }
}

impl ExecutionPlan for MaintenanceExec {
    fn name(&self) -> &str {
        "MaintenanceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (store, job, schema) = (self.store.clone(), self.job.clone(), self.schema());
        let work = async move {
            // A job that can stop does when nobody waits for it any more.
            let cancelled = Cancelled::default();
            let seen = Arc::clone(&cancelled.0);
            let done = tokio::task::spawn_blocking(move || job.run(store.as_ref(), &seen)).await;
            let columns = done.map_err(|e| DataFusionError::External(Box::new(e)))?.map_err(to_datafusion)?;
            Ok(RecordBatch::try_new(schema, columns)?)
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), futures::stream::once(work))))
    }
}
