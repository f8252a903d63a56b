//! `q JOIN docs n NEAREST 5 BY DISTANCE l2_distance(q.value, n.value)`: the dialect makes it a join on
//! `5 NEAREST BY DISTANCE l2_distance(…)`, an operator that stands for the search and is never computed.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, Result, internal_err, not_impl_err, plan_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, Join, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, cast,
};
use hyperslab_vector::{Distance, Metric};

use super::lateral::{beside, outer, type_of};
use crate::dialect::nearest::{BY_DISTANCE, BY_SIMILARITY, is_operator};
use crate::functions::DistanceFunction;
use crate::search::{Order, Output, Search};
use crate::vectors::{element_type, fixed_len};

/// The operator in a plan: k, and what is ranked by.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Nearest {
    similarity: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Nearest {
    fn name(&self) -> &str {
        if self.similarity { BY_SIMILARITY } else { BY_DISTANCE }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("NEAREST was not planned as a search")
    }
}

/// Plans the operator.
#[derive(Debug)]
pub(crate) struct NearestOperator;

impl ExprPlanner for NearestOperator {
    fn plan_binary_op(&self, expr: RawBinaryExpr, _schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let operator = expr.op.to_string();
        if !is_operator(&operator) {
            return Ok(PlannerResult::Original(expr));
        }
        let function =
            Nearest { similarity: operator == BY_SIMILARITY, signature: Signature::any(2, Volatility::Immutable) };
        Ok(PlannerResult::Planned(ScalarUDF::new_from_impl(function).call(vec![expr.left, expr.right])))
    }
}

fn nearest_of(expr: &Expr) -> Option<(&Nearest, &[Expr])> {
    match expr {
        Expr::ScalarFunction(call) => Some((call.func.inner().downcast_ref()?, call.args.as_slice())),
        _ => None,
    }
}

/// Whether there is a NEAREST in a condition.
pub(super) fn is_in(condition: &Expr) -> bool {
    use datafusion::common::tree_node::TreeNode;
    condition.exists(|e| Ok(nearest_of(e).is_some())).unwrap_or(false)
}

/// The search that a join by NEAREST is.
///
/// # Errors
/// When it is something else than a distance between a column of the right side and one of the left.
pub(super) fn joined(join: &Join) -> Result<Option<LogicalPlan>> {
    let Some(condition) = join.filter.as_ref().filter(|f| is_in(f)) else { return Ok(None) };
    let Some((nearest, [k, by])) = nearest_of(condition) else {
        return plan_err!(
            "what stands after NEAREST … BY must be a distance alone, as in JOIN docs n NEAREST 5 BY DISTANCE \
             l2_distance(q.value, n.value); put conditions into WHERE, or for those before the search into a subquery: \
             JOIN (SELECT … FROM docs WHERE …) n"
        );
    };
    let Some(outer) = outer(join) else {
        return not_impl_err!("{} JOIN … NEAREST is not supported: use JOIN or LEFT JOIN", join.join_type);
    };
    let Sides { distance, query, value } = sides(by, join)?;
    let metric = metric(distance, nearest.similarity)?;
    let vectors = type_of(join.right.schema(), &value)?;
    let queries = query.get_type(join.left.schema())?;
    if element_type(&queries).is_none() || element_type(vectors).is_none() {
        return plan_err!("NEAREST: {by} is not between vectors, but {queries} and {vectors}");
    }
    if let (Some(a), Some(b)) = (fixed_len(&queries), fixed_len(vectors))
        && a != b
    {
        return plan_err!("NEAREST: the query vectors have {a} values, and those of {value} have {b}");
    }
    let is_bool = |t: &DataType| element_type(t) == Some(&DataType::Boolean);
    if is_bool(&queries) && !is_bool(vectors) {
        return plan_err!(
            "NEAREST: the query vectors are booleans, and those of {value} are numbers; give numbers, 1 and 0"
        );
    }
    if is_bool(vectors) {
        metric.check_dtype(hyperslab_core::DType::Bool).map_err(crate::error::to_datafusion)?;
    }
    let doubles = DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)));
    let query = beside(&join.left, cast(query, doubles))?;
    let right = join.right.as_ref().clone();
    let search = Search::try_new(right, query.clone(), value, k.clone(), Order::Metric(metric), Output::Rows)?;
    search.joined(query, outer).map(|s| Some(s.into_plan()))
}

/// A distance between the sides of a join.
struct Sides {
    distance: Distance,
    /// An expression of the left side.
    query: Expr,
    /// A column of the right side.
    value: Column,
}

fn sides(by: &Expr, join: &Join) -> Result<Sides> {
    let (left, right) = (join.left.schema(), join.right.schema());
    let call = match by {
        Expr::ScalarFunction(call) => call.func.inner().downcast_ref::<DistanceFunction>().zip(Some(&call.args)),
        _ => None,
    };
    if let Some((function, args)) = call
        && let [a, b] = args.as_slice()
    {
        let is_of_left = |e: &Expr| {
            let columns = e.column_refs();
            !columns.is_empty() && columns.iter().all(|c| left.has_column(c)) && !e.is_volatile()
        };
        let pair = |query: &Expr, value: &Expr| match value {
            Expr::Column(c) if right.has_column(c) && is_of_left(query) => Some((query.clone(), c.clone())),
            _ => None,
        };
        let distance = function.distance();
        // The row is the first argument and the query the second, where that makes a difference.
        let found = pair(b, a).or_else(|| if distance.is_symmetric() { pair(a, b) } else { None });
        if let Some((query, value)) = found {
            return Ok(Sides { distance, query, value });
        }
        if !distance.is_symmetric() && pair(a, b).is_some() {
            return plan_err!(
                "NEAREST: {distance} is not symmetric: write {distance}(the right side's column, the query)"
            );
        }
    }
    plan_err!(
        "NEAREST … BY {by}: write a distance function or operator between a column of the right side and one of the \
         left, as in NEAREST 5 BY DISTANCE l2_distance(q.value, n.value)"
    )
}

/// What rows are ranked by.
fn metric(distance: Distance, similarity: bool) -> Result<Metric> {
    // The negative is the smaller, the larger the inner product is.
    if distance == Distance::NegativeInnerProduct && !similarity {
        return Ok(Metric::Dot);
    }
    match Metric::ALL.into_iter().find(|m| m.distance() == distance) {
        Some(metric) if metric.larger_is_better() == similarity => Ok(metric),
        Some(_) if !similarity => plan_err!("NEAREST: {distance} is a similarity: write BY SIMILARITY {distance}(…)"),
        _ => plan_err!("NEAREST: {distance} is a distance: write BY DISTANCE {distance}(…)"),
    }
}
