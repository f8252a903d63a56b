//! The physical edit node: positions become addresses, and rows are staged as edits.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array as _, AsArray, Int64Array, RecordBatch, RecordBatchOptions, UInt64Array};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::compute::kernels::cmp::eq;
use datafusion::arrow::datatypes::Int64Type;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, exec_datafusion_err, exec_err, internal_datafusion_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements, Partitioning,
    PlanProperties,
};
use futures::StreamExt;
use hyperslab_core::FieldSpec;
use hyperslab_store::{Array, Transaction};
use roaring::RoaringTreemap;

use super::{Action, Edit, EditTarget};
use crate::to_datafusion;
use crate::transaction::Writer;
use crate::write::Report;
use crate::write::convert::{Rows, convert, fields_schema};

/// Stages the edits that its input's rows say.
#[derive(Debug, Clone)]
pub(crate) struct ArrayEditExec {
    target: Arc<EditTarget>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl ArrayEditExec {
    pub(crate) fn new(target: Arc<EditTarget>, input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Report::Count.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        ));
        Self { target, input, properties }
    }
}

impl DisplayAs for ArrayEditExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArrayEditExec: {}", self.target)
    }
}

impl ExecutionPlan for ArrayEditExec {
    fn name(&self) -> &str {
        "ArrayEditExec"
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

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match <[Arc<dyn ExecutionPlan>; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self { input, ..self.as_ref().clone() })),
            Err(_) => internal_err!("ArrayEditExec has one input"),
        }
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(0, Arc::clone(&context))?;
        let work = edit(Arc::clone(&self.target), input, context);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), futures::stream::once(work))))
    }
}

async fn edit(
    target: Arc<EditTarget>,
    mut input: SendableRecordBatchStream,
    context: Arc<TaskContext>,
) -> Result<RecordBatch> {
    let Some(base) = &target.base else {
        return internal_err!("the edit of {} has no snapshot", target.name);
    };
    let array = base.array(&target.name).map_err(to_datafusion)?;
    let mut writer = Writer::begin_at(&context, &target.store, base)?;
    let mut done = Edited { target: &target, array, matched: RoaringTreemap::new(), inserted: 0, count: 0 };
    if target.edit == Edit::Truncate {
        done.count = writer.tx()?.truncate(&target.name).map_err(to_datafusion)?;
    }
    while let Some(batch) = input.next().await {
        done.batch(writer.tx()?, &batch?)?;
        // Sources that only fault pages in never wait: let the runtime cancel.
        tokio::task::yield_now().await;
    }
    let count = done.count;
    drop(input);
    writer.finish().await?;
    Ok(RecordBatch::try_new(Report::Count.schema(), vec![Arc::new(UInt64Array::from(vec![count]))])?)
}

/// The rows that a statement has edited so far.
struct Edited<'a> {
    target: &'a EditTarget,
    /// As the statement sees it.
    array: Array,
    /// The rows that got new values or were merged: none may be matched again.
    matched: RoaringTreemap,
    inserted: u64,
    count: u64,
}

impl Edited<'_> {
    fn batch(&mut self, tx: &mut Transaction, batch: &RecordBatch) -> Result<()> {
        let mut column = self.target.edit.leading();
        let actions = self.target.edit.actions();
        if let Edit::Each(action) = &self.target.edit {
            return self.apply(tx, action, batch, column);
        }
        for (number, action) in (0_i64..).zip(actions) {
            let chosen = batch.columns().get(1).ok_or_else(|| internal_datafusion_err!("no column of actions"))?;
            let rows = filter_record_batch(batch, &eq(chosen, &Int64Array::new_scalar(number))?)?;
            self.apply(tx, action, &rows, column)?;
            column += action.fields().len();
        }
        Ok(())
    }

    /// One action for every row of the batch, whose values begin at a column.
    fn apply(&mut self, tx: &mut Transaction, action: &Action, batch: &RecordBatch, column: usize) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let name = &self.target.name;
        match action {
            Action::Insert(fields) => {
                let values = converted(fields, batch, column, Rows::Input(self.inserted))?;
                tx.append(name, &values).map_err(to_datafusion)?;
                self.inserted += batch.num_rows() as u64;
                self.count += batch.num_rows() as u64;
            }
            Action::Delete => {
                let rows = self.positions(batch)?;
                if matches!(self.target.edit, Edit::Merge(_)) {
                    self.match_once(&rows)?;
                }
                let addresses = self.array.addresses(&rows).map_err(to_datafusion)?;
                self.count += tx.delete_at(name, &addresses).map_err(to_datafusion)?;
            }
            Action::Update(fields) => {
                let rows = self.positions(batch)?;
                self.match_once(&rows)?;
                if !fields.is_empty() {
                    let values = converted(fields, batch, column, Rows::Array(&rows))?;
                    let addresses = self.array.addresses(&rows).map_err(to_datafusion)?;
                    tx.replace_at(name, &addresses, &values).map_err(to_datafusion)?;
                }
                self.count += rows.len() as u64;
            }
        }
        Ok(())
    }

    fn positions(&self, batch: &RecordBatch) -> Result<Vec<u64>> {
        let column = batch.columns().first().and_then(|c| c.as_primitive_opt::<Int64Type>());
        let Some(column) = column.filter(|c| c.null_count() == 0) else {
            return internal_err!("an edit of {} without a position", self.target.name);
        };
        let position = |&row: &i64| u64::try_from(row).map_err(|_| exec_datafusion_err!("there is no row {row}"));
        column.values().iter().map(position).collect()
    }

    fn match_once(&mut self, rows: &[u64]) -> Result<()> {
        match rows.iter().find(|&&row| !self.matched.insert(row)) {
            None => Ok(()),
            Some(row) => exec_err!(
                "row {row} of {} is matched more than once, and has one new value at most; make the source unique",
                self.target.name
            ),
        }
    }
}

fn converted(fields: &[FieldSpec], batch: &RecordBatch, first: usize, rows: Rows<'_>) -> Result<RecordBatch> {
    let columns = fields.iter().zip(batch.columns().iter().skip(first)).map(|(f, c)| convert(f, c, rows));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(fields_schema(fields), columns, &options)?)
}
