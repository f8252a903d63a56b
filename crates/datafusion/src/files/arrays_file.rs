//! A file of several arrays, each the rows of a query.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::{DataFusionError, Result};
use datafusion::dataframe::DataFrame;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use hyperslab_core::{FieldSpec, SinkSummary, VALUE, arrow};
use hyperslab_formats::{ContainerSink, Format, WriteOptions};

use crate::table::ROW;
use crate::to_datafusion;
use crate::write::convert::{Rows, convert, fields_schema};
use crate::write::in_order::InOrder;
use crate::write::without_row;

/// The rows of a query in their order, planned: what becomes an array. The plan's metrics tell how far it is.
#[derive(Debug)]
pub struct PlannedRows {
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    fields: Vec<FieldSpec>,
}

impl PlannedRows {
    /// Plans a query; the generated `row` is left out.
    ///
    /// # Errors
    /// The plan's, and a column that no array holds.
    pub async fn new(frame: DataFrame) -> Result<Self> {
        let (state, plan) = frame.into_parts();
        let plan = InOrder::plan(without_row(plan)?)?;
        let fields = plan.schema().fields().iter().map(|column| {
            let column = column.as_ref().clone();
            let column = if column.name() == ROW { column.with_name(VALUE) } else { column };
            arrow::from_field(&column).map_err(to_datafusion)
        });
        let fields = fields.collect::<Result<_>>()?;
        Ok(Self { plan: state.create_physical_plan(&plan).await?, context: state.task_ctx(), fields })
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<dyn ExecutionPlan> {
        &self.plan
    }

    /// The fields of the array.
    pub fn fields(&self) -> &[FieldSpec] {
        &self.fields
    }
}

/// A file of several arrays being written from queries, one after another; memory is that of a batch. It appears when it
/// is finished, or not at all when it is dropped.
#[derive(Debug)]
pub struct ArraysFile {
    path: PathBuf,
    sink: Box<dyn ContainerSink>,
}

impl ArraysFile {
    /// Starts a file, in a folder that is made if there is none.
    ///
    /// # Errors
    /// As [`Format::create_container`].
    pub fn create(path: &Path, format: &Format, options: &WriteOptions) -> Result<Self> {
        super::make_folder_of(path).map_err(to_datafusion)?;
        let sink = format.create_container(path, options).map_err(to_datafusion)?;
        Ok(Self { path: path.to_owned(), sink })
    }

    /// Appends the rows of a query as an array of this name: how many there were, and what the array is called. Where the
    /// format has no arrays of several fields, each becomes one of its own, `name.field`, for which the query runs again.
    ///
    /// # Errors
    /// A name or fields that the format does not take; a value that does not fit, with its row; the query's.
    pub async fn add(&mut self, name: &str, rows: &PlannedRows) -> Result<(u64, Vec<String>)> {
        match self.sink.begin(name, &rows.fields) {
            Ok(()) => Ok((self.write(rows, None).await?, vec![name.to_owned()])),
            Err(e) if rows.fields.len() < 2 => Err(to_datafusion(e)),
            Err(_) => {
                let (mut written, mut names) = (0, Vec::new());
                for (i, field) in rows.fields.iter().enumerate() {
                    let name = format!("{name}.{}", field.name());
                    self.sink.begin(&name, std::slice::from_ref(field)).map_err(to_datafusion)?;
                    written = self.write(rows, Some(i)).await?;
                    names.push(name);
                }
                Ok((written, names))
            }
        }
    }

    /// Writes all fields, or one of them.
    async fn write(&mut self, rows: &PlannedRows, only: Option<usize>) -> Result<u64> {
        let chosen = |i: usize| only.is_none_or(|only| only == i);
        let fields: Vec<(usize, &FieldSpec)> = rows.fields.iter().enumerate().filter(|(i, _)| chosen(*i)).collect();
        let schema = fields_schema(&fields.iter().map(|(_, f)| (*f).clone()).collect::<Vec<_>>());
        // A plan runs once: its scans hand out their work as it is asked for.
        let plan = match only {
            Some(i) if i > 0 => datafusion::physical_plan::execution_plan::reset_plan_states(Arc::clone(&rows.plan))?,
            _ => Arc::clone(&rows.plan),
        };
        let mut batches = execute_stream(plan, Arc::clone(&rows.context))?;
        let mut written = 0;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            let columns = fields.iter().map(|(i, field)| convert(field, batch.column(*i), Rows::Input(written)));
            let columns = RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Result<_>>()?)?;
            self.sink.write(&columns).map_err(to_datafusion)?;
            written += batch.num_rows() as u64;
            tokio::task::yield_now().await;
        }
        Ok(written)
    }

    /// Completes the file.
    ///
    /// # Errors
    /// As [`ContainerSink::finish`]; a full disk, for example. Nothing is left then.
    pub async fn finish(self) -> Result<SinkSummary> {
        let done = tokio::task::spawn_blocking(move || self.sink.finish()).await;
        done.map_err(|e| DataFusionError::External(Box::new(e)))?.map_err(to_datafusion)
    }

    /// Where it will be.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
