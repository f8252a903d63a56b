//! The physical write node: rows into the statement's transaction.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray, UInt64Array};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements, Partitioning,
    PlanProperties,
};
use futures::StreamExt;
use hyperslab_core::{Error, FieldSpec};
use hyperslab_store::{Array, Store, Transaction};

use super::convert::{Rows, convert, fields_schema};
use super::in_order::InOrderExec;
use super::{IfExists, Mode, Report, WriteTarget};
use crate::to_datafusion;
use crate::transaction::Writer;

/// Streams its input into the statement's transaction.
#[derive(Debug, Clone)]
pub(crate) struct ArrayWriteExec {
    target: Arc<WriteTarget>,
    input: Arc<dyn ExecutionPlan>,
    /// The input's column of each field.
    columns: Vec<usize>,
    properties: Arc<PlanProperties>,
}

/// INSERT through a table provider: `input` has the table's columns, `row` among them, which is ignored.
///
/// # Errors
/// A column that is missing.
pub(crate) fn insert_exec(
    store: &Store,
    array: &Array,
    input: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let target = WriteTarget::append(store, array, Report::Count);
    let schema = input.schema();
    let columns = target.fields.iter().map(|f| Ok(schema.index_of(f.name())?)).collect::<Result<Vec<_>>>()?;
    let input = Arc::new(InOrderExec::try_new(Arc::clone(&input), schema.fields().len())?);
    Ok(Arc::new(ArrayWriteExec { columns, ..ArrayWriteExec::new(Arc::new(target), input) }))
}

impl ArrayWriteExec {
    /// Writes the columns of `input`, which are the target's fields in order.
    pub(crate) fn new(target: Arc<WriteTarget>, input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(target.report.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        ));
        Self { columns: (0..target.fields.len()).collect(), target, input, properties }
    }
}

impl DisplayAs for ArrayWriteExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArrayWriteExec: {}", self.target)
    }
}

impl ExecutionPlan for ArrayWriteExec {
    fn name(&self) -> &str {
        "ArrayWriteExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition])
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match <[Arc<dyn ExecutionPlan>; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self { input, ..self.as_ref().clone() })),
            Err(_) => internal_err!("ArrayWriteExec has one input"),
        }
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(0, Arc::clone(&context))?;
        let work = write(Arc::clone(&self.target), self.columns.clone(), input, context);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), futures::stream::once(work))))
    }
}

async fn write(
    target: Arc<WriteTarget>,
    columns: Vec<usize>,
    mut input: SendableRecordBatchStream,
    context: Arc<TaskContext>,
) -> Result<RecordBatch> {
    let mut writer = Writer::begin(&context, &target.store)?;
    if !prepare(writer.tx()?, &target)? {
        return finish(&target, 0, writer).await;
    }
    let schema = fields_schema(&target.fields);
    let mut rows = 0;
    while let Some(batch) = input.next().await {
        let batch = convert_batch(&target.fields, &columns, &schema, &batch?, rows)?;
        writer.tx()?.append(&target.name, &batch).map_err(to_datafusion)?;
        rows += batch.num_rows() as u64;
        // Sources that only fault pages in never wait: let the runtime cancel.
        tokio::task::yield_now().await;
    }
    drop(input);
    finish(&target, rows, writer).await
}

/// Creates what is to be created; false when there is nothing to do.
fn prepare(tx: &mut Transaction, target: &WriteTarget) -> Result<bool> {
    match &target.mode {
        Mode::Append => {
            if tx.fields(&target.name).map_err(to_datafusion)? != target.fields {
                return exec_err!(
                    "the fields of {} changed since the statement was planned; run it again",
                    target.name
                );
            }
        }
        Mode::Create { options, if_exists } => {
            if tx.contains(&target.name) {
                match if_exists {
                    IfExists::Fail => return Err(to_datafusion(already_exists(target))),
                    IfExists::Skip => return Ok(false),
                    IfExists::Replace => tx.drop_array(&target.name).map_err(to_datafusion)?,
                }
            }
            tx.create(&target.name, target.fields.clone(), options.clone()).map_err(to_datafusion)?;
        }
    }
    Ok(true)
}

fn already_exists(target: &WriteTarget) -> Error {
    Error::new(
        hyperslab_core::ErrorKind::AlreadyExists,
        format!(
            "array {} exists already; use CREATE OR REPLACE TABLE, CREATE TABLE IF NOT EXISTS or another name",
            target.name
        ),
    )
}

fn convert_batch(
    fields: &[FieldSpec],
    columns: &[usize],
    schema: &SchemaRef,
    batch: &RecordBatch,
    first_row: u64,
) -> Result<RecordBatch> {
    let converted = fields.iter().zip(columns).map(|(field, &i)| match batch.columns().get(i) {
        Some(column) => convert(field, column, Rows::Input(first_row)),
        None => internal_err!("a column of {} is missing", field.name()),
    });
    let converted = converted.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), converted, &options)?)
}

/// Keeps what was written, and says what it was.
async fn finish(target: &WriteTarget, rows: u64, mut writer: Writer) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = match target.report {
        Report::Count => {
            writer.finish().await?;
            vec![Arc::new(UInt64Array::from(vec![rows]))]
        }
        Report::Append => {
            let staged = match writer.commits() {
                true => None,
                false => Some(writer.tx()?.snapshot().map_err(to_datafusion)?),
            };
            let version = writer.finish().await?;
            // Others may have appended before the commit.
            let snapshot = staged.map_or_else(|| target.store.snapshot(), Ok).map_err(to_datafusion)?;
            let array = snapshot.array(&target.name).map_err(to_datafusion)?;
            let total = array.rows();
            let shape = match array.fields() {
                [field] => field.shape(total),
                _ => vec![total],
            };
            vec![
                Arc::new(Int64Array::from(vec![i64::try_from(rows).unwrap_or(i64::MAX)])),
                Arc::new(StringArray::from(vec![format!("{shape:?}")])),
                Arc::new(Int64Array::from(vec![version.and_then(|v| i64::try_from(v).ok())])),
            ]
        }
    };
    Ok(RecordBatch::try_new(target.report.schema(), columns)?)
}
