//! Columns as given fields, checked row by row: a list of another length, or a value that does not fit, is an error that
//! names its row.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, ListArray, RecordBatch};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, DFSchemaRef, Result, exec_datafusion_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements, Partitioning,
    PlanProperties,
};
use futures::StreamExt;
use hyperslab_core::{FieldSpec, arrow};

use super::convert::{Rows, check_type, convert};
use super::in_order::InOrder;

/// The logical node. A column without a field stays as it is.
#[derive(Debug, Clone)]
pub(crate) struct ToFields {
    input: LogicalPlan,
    fields: Arc<[Option<FieldSpec>]>,
    schema: DFSchemaRef,
}

impl PartialEq for ToFields {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields && self.input == other.input
    }
}

impl Eq for ToFields {}

impl Hash for ToFields {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.schema.hash(state);
        self.input.hash(state);
    }
}

impl PartialOrd for ToFields {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.input.partial_cmp(&other.input)
    }
}

impl ToFields {
    /// The rows of `input` in their order, so that an error can name one; its columns as `fields`, one for each.
    pub(crate) fn plan(input: LogicalPlan, fields: Vec<Option<FieldSpec>>) -> Result<LogicalPlan> {
        let node = Self::try_new(InOrder::plan(input)?, fields.into())?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    fn try_new(input: LogicalPlan, fields: Arc<[Option<FieldSpec>]>) -> Result<Self> {
        let schema = Arc::new(DFSchema::try_from(schema_of(input.schema().inner(), &fields))?);
        Ok(Self { input, fields, schema })
    }
}

fn schema_of(input: &SchemaRef, fields: &[Option<FieldSpec>]) -> Schema {
    let columns = input.fields().iter().zip(fields).map(|(column, field)| match field {
        Some(field) => arrow::to_field(field).with_name(column.name()),
        None => column.as_ref().clone(),
    });
    Schema::new(columns.collect::<Vec<Field>>())
}

impl UserDefinedLogicalNodeCore for ToFields {
    fn name(&self) -> &str {
        "ToFields"
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
        f.write_str("ToFields")
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match <[LogicalPlan; 1]>::try_from(inputs) {
            Ok([input]) => Self::try_new(input, Arc::clone(&self.fields)),
            Err(_) => internal_err!("ToFields has one input"),
        }
    }
}

/// The physical node.
#[derive(Debug)]
pub(crate) struct ToFieldsExec {
    input: Arc<dyn ExecutionPlan>,
    fields: Arc<[Option<FieldSpec>]>,
    properties: Arc<PlanProperties>,
}

impl ToFieldsExec {
    pub(crate) fn new(node: &ToFields, input: Arc<dyn ExecutionPlan>) -> Self {
        Self::over(input, Arc::clone(&node.fields))
    }

    fn over(input: Arc<dyn ExecutionPlan>, fields: Arc<[Option<FieldSpec>]>) -> Self {
        let schema = Arc::new(schema_of(&input.schema(), &fields));
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self { input, fields, properties }
    }
}

impl DisplayAs for ToFieldsExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<_> = self.fields.iter().flatten().map(ToString::to_string).collect();
        write!(f, "ToFieldsExec: {}", fields.join(", "))
    }
}

impl ExecutionPlan for ToFieldsExec {
    fn name(&self) -> &str {
        "ToFieldsExec"
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
            Ok([input]) => Ok(Arc::new(Self::over(input, Arc::clone(&self.fields)))),
            Err(_) => internal_err!("ToFieldsExec has one input"),
        }
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let (fields, out) = (Arc::clone(&self.fields), Arc::clone(&schema));
        let mut rows = 0;
        let batches = self.input.execute(0, context)?.map(move |batch| {
            let batch = batch?;
            let columns = batch.columns().iter().zip(fields.iter()).map(|(column, field)| match field {
                Some(field) => convert(field, &castable(field, column)?, Rows::Input(rows)),
                None => Ok(Arc::clone(column)),
            });
            let columns = columns.collect::<Result<Vec<_>>>()?;
            rows += batch.num_rows() as u64;
            Ok(RecordBatch::try_new(Arc::clone(&out), columns)?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

/// The column, its elements cast as SQL casts them where a field would not take their type: text as numbers, times as
/// integers.
fn castable(field: &FieldSpec, column: &ArrayRef) -> Result<ArrayRef> {
    if check_type(field, column.data_type()).is_ok() {
        return Ok(Arc::clone(column));
    }
    let element = FieldSpec::new("element", field.dtype(), vec![]).map_err(crate::to_datafusion)?;
    cast_leaves(column, &arrow::data_type(&element))
        .map_err(|e| exec_datafusion_err!("field {:?} cannot become {}: {e}", field.name(), field.dtype()))
}

fn cast_leaves(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        // A complex number is two of its components.
        DataType::FixedSizeList(_, _) if array.data_type() == to => Arc::clone(array),
        DataType::FixedSizeList(item, n) => {
            let list = array.as_fixed_size_list();
            let values = cast_leaves(list.values(), to)?;
            let item = Arc::new(Field::new(item.name(), values.data_type().clone(), true));
            let (nulls, len) = (list.nulls().cloned(), list.len());
            Arc::new(FixedSizeListArray::try_new_with_length(item, *n, values, nulls, len)?)
        }
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let values = cast_leaves(list.values(), to)?;
            let item = Arc::new(Field::new(item.name(), values.data_type().clone(), true));
            Arc::new(ListArray::try_new(item, list.offsets().clone(), values, list.nulls().cloned())?)
        }
        DataType::LargeList(item) => cast_leaves(&cast(array, &DataType::List(Arc::clone(item)))?, to)?,
        _ => cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() })?,
    })
}
