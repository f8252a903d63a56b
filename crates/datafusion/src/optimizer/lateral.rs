//! A join with a search for each of its left rows, as one search.
//!
//! `q CROSS JOIN LATERAL top_k('docs', q.value, 5)` is planned as a join with a subquery, and
//! `q JOIN docs NEAREST 5 BY DISTANCE …` as a join on a condition that only marks it. Either becomes one
//! [`Search`] whose query plan is the left side. This must happen before DataFusion's optimizer, which knows neither.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, Result, ScalarValue, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Projection};
use datafusion::optimizer::AnalyzerRule;
use std::sync::Arc;

use super::nearest;
use crate::functions::DistanceFunction;
use crate::search::{Outer, Search, search_of};

/// The rule, for contexts that a store is registered on. [`Session`](crate::Session) calls [`join_searches`] itself,
/// since it prepares statements without analysis.
#[derive(Debug, Default)]
pub(crate) struct JoinSearches;

impl AnalyzerRule for JoinSearches {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        join_searches(plan)
    }

    fn name(&self) -> &str {
        "join_searches"
    }
}

/// Rewrites every such join, in subqueries too.
///
/// # Errors
/// A search that refers to another table in any other way, and NEAREST where it cannot be.
pub(crate) fn join_searches(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !has_correlated_search(&plan)? {
        return Ok(plan);
    }
    let plan = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Join(join) = &node else { return Ok(Transformed::no(node)) };
        let joined = match nearest::joined(join)? {
            Some(joined) => Some(joined),
            None => lateral(join)?,
        };
        Ok(joined.map_or_else(|| Transformed::no(node), Transformed::yes))
    })?;
    match has_correlated_search(&plan.data)? {
        true => plan_err!(
            "a search can take its query from another table of FROM only as q CROSS JOIN LATERAL top_k(…), \
             q JOIN LATERAL top_k(…) ON true, or q LEFT JOIN LATERAL top_k(…) ON true with no more than a choice of \
             columns around top_k; put other conditions into WHERE"
        ),
        false => Ok(plan.data),
    }
}

/// Whether there is a search whose query is another table's column, or a NEAREST.
///
/// # Errors
/// An order by the distance to another table's column, which no join can be made of.
fn has_correlated_search(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= match node {
            LogicalPlan::Sort(sort) => {
                if let Some(key) = sort.expr.iter().find(|key| is_correlated_distance(&key.expr)) {
                    return plan_err!(
                        "ORDER BY {} in a subquery refers to another table: write FROM q, LATERAL top_k('docs', \
                         q.value, k) n, or FROM q JOIN docs n NEAREST k BY DISTANCE …",
                        key.expr
                    );
                }
                false
            }
            LogicalPlan::Join(join) => join.filter.as_ref().is_some_and(nearest::is_in),
            node => search_of(node).is_some_and(|s| !s.query.all_out_ref_exprs().is_empty()),
        };
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn is_correlated_distance(key: &Expr) -> bool {
    let is_distance = |e: &Expr| match e {
        Expr::ScalarFunction(call) => call.func.inner().downcast_ref::<DistanceFunction>().is_some(),
        _ => false,
    };
    key.contains_outer() && key.exists(|e| Ok(is_distance(e))).unwrap_or(false)
}

/// A join with a lateral search.
fn lateral(join: &Join) -> Result<Option<LogicalPlan>> {
    let Some(outer) = outer(join) else { return Ok(None) };
    let conditions: Vec<Expr> = join
        .on
        .iter()
        .map(|(left, right)| left.clone().eq(right.clone()))
        .chain(join.filter.clone())
        .filter(|e| !matches!(e, Expr::Literal(ScalarValue::Boolean(Some(true)), _)))
        .collect();
    if outer == Outer::Kept && !conditions.is_empty() {
        return Ok(None);
    }
    let Some(Pulled { plan, outputs }) = pull(&join.right, &join.left, outer)? else { return Ok(None) };
    let named = outputs.into_iter().zip(join.right.schema().iter()).map(|(expr, (qualifier, field))| match &expr {
        Expr::Column(c) if c.relation.as_ref() == qualifier && c.name == *field.name() => expr,
        _ => expr.alias_qualified(qualifier.cloned(), field.name()),
    });
    let columns = join.left.schema().columns().into_iter().map(Expr::Column).chain(named).collect();
    let plan = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?);
    Ok(Some(match conjunction(conditions) {
        Some(condition) => LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan))?),
        None => plan,
    }))
}

/// What a join does with left rows that find nothing, if it is a join that a search can be.
pub(super) fn outer(join: &Join) -> Option<Outer> {
    match join.join_type {
        JoinType::Inner => Some(Outer::Dropped),
        JoinType::Left => Some(Outer::Kept),
        _ => None,
    }
}

/// The right side of a join, put over the left one.
struct Pulled {
    plan: LogicalPlan,
    /// What the columns of the right side are in it.
    outputs: Vec<Expr>,
}

/// Puts the search that the right side is made of over the left side, and what is around the search over that.
fn pull(right: &LogicalPlan, left: &Arc<LogicalPlan>, outer: Outer) -> Result<Option<Pulled>> {
    Ok(match right {
        LogicalPlan::SubqueryAlias(alias) => pull(&alias.input, left, outer)?,
        LogicalPlan::Subquery(subquery) => pull(&subquery.subquery, left, outer)?,
        LogicalPlan::Projection(p) => {
            let columns_only = p.expr.iter().all(|e| matches!(e.clone().unalias_nested().data, Expr::Column(_)));
            // Of a row that finds nothing an expression may be something else than NULL.
            if outer == Outer::Kept && !columns_only {
                return Ok(None);
            }
            let Some(Pulled { plan, outputs }) = pull(&p.input, left, outer)? else { return Ok(None) };
            let above = |e: &Expr| put_above(e.clone().unalias(), &p.input, &outputs, left);
            Some(Pulled { outputs: p.expr.iter().map(above).collect::<Result<_>>()?, plan })
        }
        LogicalPlan::Filter(f) if outer == Outer::Dropped => {
            let Some(Pulled { plan, outputs }) = pull(&f.input, left, outer)? else { return Ok(None) };
            let condition = put_above(f.predicate.clone(), &f.input, &outputs, left)?;
            Some(Pulled { plan: LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan))?), outputs })
        }
        node => match search_of(node) {
            Some(search) => search_for_each(search, left, outer)?,
            None => None,
        },
    })
}

fn search_for_each(search: &Search, left: &Arc<LogicalPlan>, outer: Outer) -> Result<Option<Pulled>> {
    let LogicalPlan::Projection(query) = &search.query else { return Ok(None) };
    let [vector] = query.expr.as_slice() else { return Ok(None) };
    let vector = of_left(vector.clone().unalias(), left.schema())?;
    if vector.contains_outer() {
        return Ok(None);
    }
    let found = search.columns.len();
    let joined = search.clone().joined(beside(left, vector)?, outer)?.into_plan();
    let columns = joined.schema().columns();
    let outputs = columns.into_iter().skip(left.schema().fields().len()).map(Expr::Column).collect::<Vec<_>>();
    debug_assert_eq!(outputs.len(), found);
    Ok(Some(Pulled { plan: joined, outputs }))
}

/// The left side with the vectors to search for as its last column.
pub(super) fn beside(left: &Arc<LogicalPlan>, vector: Expr) -> Result<LogicalPlan> {
    let columns = left.schema().columns().into_iter().map(Expr::Column);
    LogicalPlanBuilder::from(Arc::clone(left)).project(columns.chain([vector.alias("__query")]))?.build()
}

/// An expression over the right side's `input` as one over what was pulled.
fn put_above(expr: Expr, input: &LogicalPlan, outputs: &[Expr], left: &LogicalPlan) -> Result<Expr> {
    let expr = expr.transform_up(|e| {
        let output = match &e {
            Expr::Column(c) => input.schema().maybe_index_of_column(c).and_then(|i| outputs.get(i)),
            _ => None,
        };
        Ok(output.cloned().map_or_else(|| Transformed::no(e), Transformed::yes))
    })?;
    of_left(expr.data, left.schema())
}

/// References to the outer table as references to the left side, whose columns they are.
fn of_left(expr: Expr, left: &DFSchema) -> Result<Expr> {
    let expr = expr.transform_up(|e| {
        Ok(match e {
            Expr::OuterReferenceColumn(_, c) if left.has_column(&c) => Transformed::yes(Expr::Column(c)),
            e => Transformed::no(e),
        })
    })?;
    Ok(expr.data)
}

/// The type of a column.
pub(super) fn type_of<'a>(schema: &'a DFSchema, column: &Column) -> Result<&'a DataType> {
    Ok(schema.field_from_column(column)?.data_type())
}
