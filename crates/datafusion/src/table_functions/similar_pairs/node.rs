//! The plan node.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DFSchemaRef, Result, internal_err, plan_err};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::Measure;
use super::exec::{PairSide, SimilarPairsExec};
use crate::search::{origin, pushed_condition};

/// One of the arrays whose rows are paired.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Side {
    /// A plan of one column, the numbers of the rows.
    pub(super) rows: LogicalPlan,
    /// The vectors' field.
    pub(super) field: usize,
    /// The values of a vector.
    pub(super) len: usize,
}

/// Pairs of rows of one array or of two.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SimilarPairs {
    sides: Vec<Side>,
    threshold: Expr,
    measure: Measure,
    /// What the output is filtered by.
    conditions: Vec<Expr>,
    schema: DFSchemaRef,
}

impl SimilarPairs {
    pub(super) fn plan(sides: Vec<Side>, threshold: Expr, measure: Measure) -> Result<LogicalPlan> {
        let schema = Schema::new(vec![
            Field::new("row_a", DataType::Int64, false),
            Field::new("row_b", DataType::Int64, false),
            Field::new("score", DataType::Float64, false),
        ]);
        let schema = Arc::new(DFSchema::try_from(schema)?);
        let node = Self { sides, threshold, measure, conditions: vec![], schema };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }
}

impl PartialOrd for SimilarPairs {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for SimilarPairs {
    fn name(&self) -> &str {
        "SimilarPairs"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        self.sides.iter().map(|side| &side.rows).collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        std::iter::once(self.threshold.clone()).chain(self.conditions.iter().cloned()).collect()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.schema.fields().iter().map(|f| f.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.measure.at_least { ">=" } else { "<=" };
        write!(f, "SimilarPairs: {} {sign} {}", self.measure.distance, self.threshold)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Some((threshold, conditions)), true) = (exprs.split_first(), inputs.len() == self.sides.len()) else {
            return internal_err!("similar pairs have other inputs");
        };
        let mut node = Self { threshold: threshold.clone(), conditions: conditions.to_vec(), ..self.clone() };
        // A condition without columns is pushed below every node, where it would choose rows instead of pairs.
        let pushed: Option<Vec<Expr>> =
            self.sides.iter().zip(&inputs).map(|(side, input)| pushed_condition(&side.rows, input).cloned()).collect();
        match pushed.as_deref() {
            Some([condition, ..]) => node.conditions.push(condition.clone()),
            _ => node.sides.iter_mut().zip(inputs).for_each(|(side, rows)| side.rows = rows),
        }
        Ok(node)
    }

    fn necessary_children_exprs(&self, _output: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(self.sides.iter().map(|_| vec![0]).collect())
    }
}

/// Plans [`SimilarPairs`] nodes.
#[derive(Debug, Default)]
pub(crate) struct SimilarPairsPlanner;

#[async_trait]
impl ExtensionPlanner for SimilarPairsPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(pairs) = node.as_any().downcast_ref::<SimilarPairs>() else { return Ok(None) };
        let threshold = pairs.threshold.clone().unalias();
        if let Expr::Cast(cast) = &threshold
            && let Expr::Placeholder(parameter) = cast.expr.as_ref()
        {
            return plan_err!("parameter {} (threshold) has no value", parameter.id);
        }
        let threshold = planner.create_physical_expr(&threshold, &DFSchema::empty(), session, context)?;
        let mut sides = vec![];
        for (side, rows) in pairs.sides.iter().zip(inputs) {
            let row = side.rows.schema().columns().into_iter().next();
            let origin = row.and_then(|row| origin(&side.rows, &row));
            let source = origin.as_ref().and_then(|o| o.table()).map(|t| Arc::clone(t.source()));
            sides.push(PairSide { rows: Arc::clone(rows), source, field: side.field });
        }
        let schema = Arc::clone(pairs.schema.inner());
        let partitions = session.config().target_partitions();
        let mut plan: Arc<dyn ExecutionPlan> =
            Arc::new(SimilarPairsExec::new(sides, threshold, pairs.measure, schema, partitions));
        for condition in &pairs.conditions {
            let condition = planner.create_physical_expr(condition, node.schema(), session, context)?;
            plan = Arc::new(FilterExec::try_new(condition, plan)?);
        }
        Ok(Some(plan))
    }
}
