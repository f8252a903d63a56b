//! A query vector as a leaf of the plan.
//!
//! In a projection a vector would be an expression, whose name is its text: rules and schemas print it again and again,
//! which for a thousand numbers costs more than the rest of planning.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::Session;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, ScalarValue, internal_err};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_planner::PhysicalPlanner;

use super::stored_query::StoredQuery;
use crate::table::ArrayTable;

/// Longer vectors are not printed whole.
const SHORT: usize = 16;

/// The column's name.
const NAME: &str = "query";

/// One row with a vector; or, where it is looked up, the rows that there are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct QueryVector {
    value: Value,
    schema: DFSchemaRef,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Known(ScalarValue),
    /// A parameter that is not bound yet.
    Asked(Expr),
    Stored(Box<StoredQuery>),
}

impl QueryVector {
    /// The type in which a query is computed: a list of float64.
    pub(crate) fn data_type() -> DataType {
        DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)))
    }

    /// The vector as a plan of one row. `expr` is a value or a parameter, perhaps cast to [`Self::data_type`].
    ///
    /// # Errors
    /// When the value is no list of numbers.
    pub(crate) fn plan(expr: Expr) -> Result<LogicalPlan> {
        let schema = Schema::new(vec![Field::new(NAME, Self::data_type(), true)]);
        let node = Self { value: Value::of(expr)?, schema: Arc::new(DFSchema::try_from(schema)?) };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    /// A column of vectors as a plan of that column alone, if the plan that it is in only looks up rows of an array.
    pub(crate) fn stored(plan: &LogicalPlan, value: &Column) -> Option<LogicalPlan> {
        let query = StoredQuery::of(plan, value)?;
        let schema = query.schema().and_then(DFSchema::try_from).ok()?;
        let node = Self { value: Value::Stored(Box::new(query)), schema: Arc::new(schema) };
        Some(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    /// The same vector of another version of the array that it is in, if it is in one and `fresh` has another.
    ///
    /// # Errors
    /// What `fresh` gives.
    pub(crate) fn of_table(
        &self,
        fresh: impl FnOnce(&ArrayTable) -> Result<Option<ArrayTable>>,
    ) -> Result<Option<LogicalPlan>> {
        let Value::Stored(query) = &self.value else { return Ok(None) };
        let query = query.of_table(fresh)?.map(|query| Value::Stored(Box::new(query)));
        let node = query.map(|value| Arc::new(Self { value, schema: Arc::clone(&self.schema) }));
        Ok(node.map(|node| LogicalPlan::Extension(Extension { node })))
    }

    /// The physical plan of one row.
    pub(super) async fn physical(
        &self,
        planner: &dyn PhysicalPlanner,
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match &self.value {
            Value::Known(value) => {
                let schema = Arc::clone(self.schema.inner());
                let batch = RecordBatch::try_new(Arc::clone(&schema), vec![value.to_array()?])?;
                Ok(MemorySourceConfig::try_new_exec(&[vec![batch]], schema, None)?)
            }
            Value::Asked(expr) => {
                let expr = planner.create_physical_expr(expr, &DFSchema::empty(), session, context)?;
                let row = Arc::new(PlaceholderRowExec::new(Arc::new(Schema::empty())));
                Ok(Arc::new(ProjectionExec::try_new([(expr, NAME.to_owned())], row)?))
            }
            Value::Stored(query) => query.physical(session).await,
        }
    }
}

impl Hash for Value {
    /// Plans are hashed again and again: a vector is not read for that.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Value::Known(ScalarValue::List(list)) => list.value_offsets().hash(state),
            Value::Known(value) => value.hash(state),
            Value::Asked(expr) => expr.hash(state),
            Value::Stored(query) => query.hash(state),
        }
    }
}

impl Value {
    fn of(expr: Expr) -> Result<Self> {
        let plain = expr.clone().unalias_nested().data;
        let inner = match &plain {
            Expr::Cast(cast) => cast.expr.as_ref(),
            other => other,
        };
        match inner {
            Expr::Literal(value, _) => Ok(Value::Known(value.cast_to(&QueryVector::data_type())?)),
            _ => Ok(Value::Asked(expr)),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Known(ScalarValue::List(list)) if list.is_valid(0) && list.value(0).len() > SHORT => {
                write!(f, "{} values", list.value(0).len())
            }
            Value::Known(value) => value.fmt(f),
            Value::Asked(expr) => expr.fmt(f),
            Value::Stored(query) => query.fmt(f),
        }
    }
}

impl PartialOrd for QueryVector {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for QueryVector {
    fn name(&self) -> &str {
        "QueryVector"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        match &self.value {
            // Nothing is left to do for it.
            Value::Known(_) | Value::Stored(_) => vec![],
            // Under a name that stays: a vector that takes the place of `$1` would be printed to compare their names.
            Value::Asked(expr) => vec![expr.clone().alias(NAME)],
        }
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueryVector: {}", self.value)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        if !inputs.is_empty() {
            return internal_err!("a query vector has no inputs");
        }
        match exprs.into_iter().next() {
            Some(expr) => Ok(Self { value: Value::of(expr)?, schema: Arc::clone(&self.schema) }),
            None => Ok(self.clone()),
        }
    }
}
