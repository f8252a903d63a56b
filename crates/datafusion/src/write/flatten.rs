//! Cells as columns, for CSV: a field of cells of shape (d) becomes the columns `name_0` … `name_{d-1}`, one of shape
//! (a, b) the columns `name_0_0` … `name_{a-1}_{b-1}`. Complex numbers become `name_re` and `name_im`.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, DFSchemaRef, Result, internal_err, plan_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use futures::StreamExt;
use hyperslab_core::{DType, FieldSpec, arrow};

use crate::functions::{element, leaf_type};

/// More columns than this are no CSV that anything reads.
const MOST_COLUMNS: usize = 65_536;

/// The logical node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FlattenCells {
    input: LogicalPlan,
    schema: DFSchemaRef,
}

impl PartialOrd for FlattenCells {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.input.partial_cmp(&other.input)
    }
}

impl FlattenCells {
    /// Puts the node above a plan that has cells; any other plan stays.
    ///
    /// # Errors
    /// Lists of no fixed length, too many columns.
    pub(crate) fn plan(input: LogicalPlan) -> Result<LogicalPlan> {
        let is_list =
            |t: &DataType| matches!(t, DataType::FixedSizeList(..) | DataType::List(_) | DataType::LargeList(_));
        if !input.schema().fields().iter().any(|f| is_list(f.data_type())) {
            return Ok(input);
        }
        let node = Self::try_new(input)?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    fn try_new(input: LogicalPlan) -> Result<Self> {
        let schema = Arc::new(DFSchema::try_from(flat_schema(input.schema().inner())?)?);
        Ok(Self { input, schema })
    }
}

impl UserDefinedLogicalNodeCore for FlattenCells {
    fn name(&self) -> &str {
        "FlattenCells"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlattenCells")
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match <[LogicalPlan; 1]>::try_from(inputs) {
            Ok([input]) => Self::try_new(input),
            Err(_) => internal_err!("FlattenCells has one input"),
        }
    }
}

fn flat_schema(schema: &SchemaRef) -> Result<Schema> {
    let mut columns = Vec::new();
    for field in schema.fields() {
        match field.data_type() {
            DataType::FixedSizeList(..) => {
                let spec = spec(field)?;
                let leaf = leaf_type(field.data_type());
                columns.extend(
                    suffixes(&spec).into_iter().map(|s| Field::new(format!("{}{s}", field.name()), leaf.clone(), true)),
                );
            }
            DataType::List(_) | DataType::LargeList(_) => {
                return plan_err!(
                    "column {:?} holds lists of no fixed length, which CSV has no columns for; cast it, for example with ::FLOAT[384]",
                    field.name()
                );
            }
            _ => columns.push(field.as_ref().clone()),
        }
        if columns.len() > MOST_COLUMNS {
            return plan_err!(
                "column {:?} would make more than {MOST_COLUMNS} columns of CSV; choose another format",
                field.name()
            );
        }
    }
    Ok(Schema::new(columns))
}

fn spec(field: &Field) -> Result<FieldSpec> {
    arrow::from_field(&field.clone().with_name("cell")).map_err(crate::to_datafusion)
}

/// How many elements a cell has.
fn elements_of(data_type: &DataType) -> u64 {
    match data_type {
        DataType::FixedSizeList(item, n) => u64::try_from(*n).unwrap_or(0) * elements_of(item.data_type()),
        _ => 1,
    }
}

/// `_0_0`, `_0_1` … in C order.
pub(crate) fn suffixes(spec: &FieldSpec) -> Vec<String> {
    let mut names = vec![String::new()];
    for &n in spec.cell() {
        names = names.iter().flat_map(|name| (0..n).map(move |i| format!("{name}_{i}"))).collect();
    }
    if matches!(spec.dtype(), DType::Complex64 | DType::Complex128) {
        names = names.iter().flat_map(|name| ["re", "im"].map(|part| format!("{name}_{part}"))).collect();
    }
    names
}

/// The physical node.
#[derive(Debug)]
pub(crate) struct FlattenCellsExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl FlattenCellsExec {
    pub(crate) fn try_new(_node: &FlattenCells, input: Arc<dyn ExecutionPlan>) -> Result<Self> {
        Self::over(input)
    }

    fn over(input: Arc<dyn ExecutionPlan>) -> Result<Self> {
        let schema = Arc::new(flat_schema(&input.schema())?);
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            input.output_partitioning().clone(),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Ok(Self { input, properties })
    }
}

impl DisplayAs for FlattenCellsExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlattenCellsExec")
    }
}

impl ExecutionPlan for FlattenCellsExec {
    fn name(&self) -> &str {
        "FlattenCellsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
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
            Ok([input]) => Ok(Arc::new(Self::over(input)?)),
            Err(_) => internal_err!("FlattenCellsExec has one input"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let out = Arc::clone(&schema);
        let batches = self.input.execute(partition, context)?.map(move |batch| flatten(&batch?, &out));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

fn flatten(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for column in batch.columns() {
        if !matches!(column.data_type(), DataType::FixedSizeList(..)) {
            columns.push(Arc::clone(column));
            continue;
        }
        let elements = elements_of(column.data_type());
        for i in 0..elements {
            columns.push(element(column, i)?);
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}
