//! The physical write node: rows into one transaction, then the commit.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray, UInt64Array};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, exec_err, internal_err};
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

use super::convert::{convert, fields_schema};
use super::in_order::InOrderExec;
use super::{IfExists, Mode, Report, WriteTarget};
use crate::to_datafusion;

/// Streams its input into one transaction and commits it.
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
        let input = self.input.execute(0, context)?;
        let work = write(Arc::clone(&self.target), self.columns.clone(), input);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), futures::stream::once(work))))
    }
}

async fn write(
    target: Arc<WriteTarget>,
    columns: Vec<usize>,
    mut input: SendableRecordBatchStream,
) -> Result<RecordBatch> {
    let mut tx = target.store.begin().map_err(to_datafusion)?;
    if !prepare(&mut tx, &target)? {
        return report(&target, 0, tx.base().version());
    }
    let schema = fields_schema(&target.fields);
    let mut rows = 0;
    while let Some(batch) = input.next().await {
        let batch = convert_batch(&target.fields, &columns, &schema, &batch?, rows)?;
        tx.append(&target.name, &batch).map_err(to_datafusion)?;
        rows += batch.num_rows() as u64;
        // Sources that only fault pages in never wait: let the runtime cancel.
        tokio::task::yield_now().await;
    }
    let version = commit(tx).await?;
    report(&target, rows, version)
}

/// Creates what is to be created; false when there is nothing to do.
fn prepare(tx: &mut Transaction, target: &WriteTarget) -> Result<bool> {
    match &target.mode {
        Mode::Append => {
            let array = tx.base().array(&target.name).map_err(to_datafusion)?;
            if array.fields() != target.fields {
                return exec_err!(
                    "the fields of {} changed since the statement was planned; run it again",
                    target.name
                );
            }
        }
        Mode::Create { options, if_exists } => {
            if tx.base().contains(&target.name) {
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
        Some(column) => convert(field, column, first_row),
        None => internal_err!("a column of {} is missing", field.name()),
    });
    let converted = converted.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), converted, &options)?)
}

/// Commits away from the runtime's threads: it syncs files and may wait for another writer.
pub(super) async fn commit(tx: Transaction) -> Result<u64> {
    let done = tokio::task::spawn_blocking(move || tx.commit()).await;
    done.map_err(|e| DataFusionError::External(Box::new(e)))?.map_err(to_datafusion)
}

fn report(target: &WriteTarget, rows: u64, version: u64) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = match target.report {
        Report::Count => vec![Arc::new(UInt64Array::from(vec![rows]))],
        Report::Append => {
            let array = target.store.snapshot().and_then(|s| s.array(&target.name)).map_err(to_datafusion)?;
            let total = array.rows();
            let shape = match array.fields() {
                [field] => field.shape(total),
                _ => vec![total],
            };
            vec![
                Arc::new(Int64Array::from(vec![i64::try_from(rows).unwrap_or(i64::MAX)])),
                Arc::new(StringArray::from(vec![format!("{shape:?}")])),
                Arc::new(Int64Array::from(vec![i64::try_from(version).unwrap_or(i64::MAX)])),
            ]
        }
    };
    Ok(RecordBatch::try_new(target.report.schema(), columns)?)
}
