//! Rows of an array by position: the plan node of `slice` and `take`.

mod cells;
mod exec;

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::Field;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DFSchemaRef, Result, TableReference, internal_err};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use hyperslab_core::{FieldSpec, Selection, arrow};

pub(super) use cells::Cells;
use exec::PositionsExec;

use crate::search::{origin, pushed_condition};
use crate::table::{ROW, row_field};

/// Which rows, in which order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Rows {
    /// Those of the first axis of a slice, as far as the array's plan has them.
    Slice(Selection),
    /// Those that a plan lists in its only column: integers or lists of them, negative ones from the end.
    Listed(Box<LogicalPlan>),
}

/// An output column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "there are few of them")]
pub(super) enum PositionColumn {
    /// The row's number in the array.
    Row,
    /// A field of the array, with the part of its cell that is wanted, if not all of it.
    Field { index: usize, spec: FieldSpec, cells: Option<Cells> },
}

impl PositionColumn {
    fn field(&self) -> Field {
        match self {
            PositionColumn::Row => row_field(),
            PositionColumn::Field { spec, .. } => arrow::to_field(spec),
        }
    }
}

/// Rows of an array by position. The first input is the array's scan: it tells which array at which version, and for a
/// slice the rows that a predicate on `row` leaves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Positions {
    array: LogicalPlan,
    rows: Rows,
    columns: Vec<PositionColumn>,
    /// What the output is filtered by.
    conditions: Vec<Expr>,
    schema: DFSchemaRef,
}

impl Positions {
    pub(super) fn plan(array: LogicalPlan, rows: Rows, columns: Vec<PositionColumn>) -> Result<LogicalPlan> {
        // Under the scan's own name, so that predicates can move below.
        let qualifier: Option<TableReference> = array.schema().qualified_field(0).0.cloned();
        let fields = columns.iter().map(|c| (qualifier.clone(), Arc::new(c.field()))).collect();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        let node = Self { array, rows, columns, conditions: vec![], schema };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }
}

impl PartialOrd for Positions {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for Positions {
    fn name(&self) -> &str {
        "Positions"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        match &self.rows {
            Rows::Slice(_) => vec![&self.array],
            Rows::Listed(rows) => vec![&self.array, rows],
        }
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.conditions.clone()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let all = self.schema.fields().iter().map(|f| f.name().clone());
        match &self.rows {
            // A row's number stays what it is in the array.
            Rows::Slice(_) => all.filter(|name| name != ROW).collect(),
            Rows::Listed(_) => all.collect(),
        }
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rows {
            Rows::Slice(selection) => write!(f, "Positions: slice '{selection}'"),
            Rows::Listed(_) => f.write_str("Positions: listed rows"),
        }
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut inputs = inputs.into_iter();
        let (Some(array), listed) = (inputs.next(), inputs.next()) else {
            return internal_err!("the positions' array is missing");
        };
        let node = Self { conditions: exprs, ..self.clone() };
        Ok(match (&self.rows, listed) {
            // Rows of an array may be filtered before or after they are sliced.
            (Rows::Slice(_), None) => Self { array, ..node },
            (Rows::Listed(before), Some(rows)) => {
                match (pushed_condition(&self.array, &array), pushed_condition(before, &rows)) {
                    (Some(a), Some(b)) if a == b => {
                        let conditions = node.conditions.iter().chain([a]).cloned().collect();
                        Self { conditions, ..node }
                    }
                    _ => Self { array, rows: Rows::Listed(Box::new(rows)), ..node },
                }
            }
            _ => return internal_err!("positions have other inputs"),
        })
    }

    fn necessary_children_exprs(&self, _output: &[usize]) -> Option<Vec<Vec<usize>>> {
        let row = self.array.schema().fields().iter().position(|f| f.name() == ROW)?;
        Some(match &self.rows {
            Rows::Slice(_) => vec![vec![row]],
            Rows::Listed(_) => vec![vec![row], vec![0]],
        })
    }
}

/// Plans [`Positions`] nodes.
#[derive(Debug, Default)]
pub(crate) struct PositionsPlanner;

#[async_trait]
impl ExtensionPlanner for PositionsPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(positions) = node.as_any().downcast_ref::<Positions>() else { return Ok(None) };
        let row = positions.array.schema().columns().into_iter().find(|c| c.name == ROW);
        let origin = row.and_then(|row| origin(&positions.array, &row));
        let source = origin.as_ref().and_then(|o| o.table()).map(|t| Arc::clone(t.source()));
        let columns = positions.columns.clone();
        let schema = Arc::clone(positions.schema.inner());
        let mut plan: Arc<dyn ExecutionPlan> = match (&positions.rows, inputs) {
            (Rows::Slice(selection), [array]) => {
                Arc::new(PositionsExec::slice(Arc::clone(array), selection.clone(), source, columns, schema))
            }
            (Rows::Listed(_), [_, rows]) => Arc::new(PositionsExec::listed(Arc::clone(rows), source, columns, schema)),
            _ => return internal_err!("positions have other inputs"),
        };
        for condition in &positions.conditions {
            let condition = planner.create_physical_expr(condition, node.schema(), session, context)?;
            plan = Arc::new(FilterExec::try_new(condition, plan)?);
        }
        Ok(Some(plan))
    }
}
