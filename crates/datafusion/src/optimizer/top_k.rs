//! `ORDER BY distance LIMIT k` as a search.
//!
//! Below a sort that keeps k rows by their distance to a vector, a [`Search`] chooses the k rows, and fetches what
//! ranking does not need for them alone. The sort and everything above it stay, so that names, types, order and ties
//! are what they were. Where that could change what a query means, the plan stays as it is: for another kind of table,
//! a key beside `row`, a vector that may be NULL, a query that two readings may see differently, or anything between
//! sort and scan that is no filter, semi-join or choice of columns.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{
    Expr, ExprSchemable, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Projection, Sort, SortExpr,
    SubqueryAlias, TableScan, TableScanBuilder, cast, lit,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use crate::functions::DistanceFunction;
use crate::search::{Order, Output, QueryVector, Search, origin};
use crate::table::{ArrayTable, ROW};
use crate::vectors::element_type;

/// The rule. It must run after those that simplify expressions and push filters down, that is, last.
#[derive(Debug, Default)]
pub(crate) struct OrderByDistance;

impl OptimizerRule for OrderByDistance {
    fn name(&self) -> &str {
        "order_by_distance"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Sort(sort) = plan else { return Ok(Transformed::no(plan)) };
        let found = match (sort.fetch, sort.expr.as_slice()) {
            (Some(k), [key, ties @ ..]) if k > 0 => match Keys::new(key, ties) {
                Some(keys) => place(&sort.input, keys, k)?,
                None => None,
            },
            _ => None,
        };
        Ok(match found {
            Some(input) => Transformed::yes(LogicalPlan::Sort(Sort { input: Arc::new(input), ..sort })),
            None => Transformed::no(LogicalPlan::Sort(sort)),
        })
    }
}

/// What is sorted by, in terms of the plan that is looked at.
struct Keys {
    distance: Expr,
    descending: bool,
    nulls_first: bool,
    /// What breaks ties, if anything does.
    tie: Option<Expr>,
}

impl Keys {
    fn new(key: &SortExpr, ties: &[SortExpr]) -> Option<Self> {
        let tie = match ties {
            [] => None,
            [tie] if tie.asc => Some(tie.expr.clone().unalias_nested().data),
            _ => return None,
        };
        // After simplification the key is an alias of the distance, deep inside.
        let distance = key.expr.clone().unalias_nested().data;
        Some(Self { distance, descending: !key.asc, nulls_first: key.nulls_first, tie })
    }

    /// The same in terms of the plan below.
    fn below(self, columns: &HashMap<Column, Expr>) -> Result<Self> {
        let replace = |expr: Expr| {
            let replaced = expr.transform_up(|e| {
                Ok(match &e {
                    Expr::Column(c) => match columns.get(c) {
                        Some(below) => Transformed::yes(below.clone()),
                        None => Transformed::no(e),
                    },
                    _ => Transformed::no(e),
                })
            });
            replaced.map(|t| t.data.unalias_nested().data)
        };
        Ok(Self { distance: replace(self.distance)?, tie: self.tie.map(replace).transpose()?, ..self })
    }
}

/// `plan` with a search in it, if one can choose its first k rows.
fn place(plan: &LogicalPlan, keys: Keys, k: usize) -> Result<Option<LogicalPlan>> {
    if is_rows_of_array(plan) {
        return search(plan, keys, k);
    }
    Ok(match plan {
        LogicalPlan::Projection(p) if !p.expr.iter().any(Expr::is_volatile) => {
            let outputs = p.schema.columns().into_iter().zip(p.expr.iter().map(|e| e.clone().unalias()));
            let below = place(&p.input, keys.below(&outputs.collect())?, k)?;
            let project = |input| Projection::try_new_with_schema(p.expr.clone(), Arc::new(input), p.schema.clone());
            below.map(project).transpose()?.map(LogicalPlan::Projection)
        }
        LogicalPlan::SubqueryAlias(a) => {
            let outputs = a.schema.columns().into_iter().zip(a.input.schema().columns().into_iter().map(Expr::Column));
            let below = place(&a.input, keys.below(&outputs.collect())?, k)?;
            let alias = |input| SubqueryAlias::try_new(Arc::new(input), a.alias.clone());
            below.map(alias).transpose()?.map(LogicalPlan::SubqueryAlias)
        }
        _ => None,
    })
}

/// Whether every row of the plan is a row of one array, with some of its columns as they are.
fn is_rows_of_array(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => scan.fetch.is_none() && is_array(scan),
        LogicalPlan::Filter(f) => is_rows_of_array(&f.input),
        LogicalPlan::SubqueryAlias(a) => is_rows_of_array(&a.input),
        LogicalPlan::Projection(p) => p.expr.iter().all(|e| matches!(e, Expr::Column(_))) && is_rows_of_array(&p.input),
        LogicalPlan::Join(j) => {
            matches!(j.join_type, JoinType::LeftSemi | JoinType::LeftAnti) && is_rows_of_array(&j.left)
        }
        _ => false,
    }
}

fn is_array(scan: &TableScan) -> bool {
    source_as_provider(&scan.source).is_ok_and(|p| p.downcast_ref::<ArrayTable>().is_some())
}

/// Puts the search over rows of an array, if the key is a distance of theirs.
fn search(plan: &LogicalPlan, keys: Keys, k: usize) -> Result<Option<LogicalPlan>> {
    let Expr::ScalarFunction(call) = &keys.distance else { return Ok(None) };
    let Some(function) = call.func.inner().downcast_ref::<DistanceFunction>() else { return Ok(None) };
    let (value, query) = match call.args.as_slice() {
        [Expr::Column(value), query] => (value.clone(), query),
        [query, Expr::Column(value)] if function.distance().is_symmetric() => (value.clone(), query),
        _ => return Ok(None),
    };
    let Ok(index) = plan.schema().index_of_column(&value) else { return Ok(None) };
    let field = plan.schema().field(index);
    if field.is_nullable() || element_type(field.data_type()).is_none() {
        return Ok(None);
    }
    if let Some(tie) = &keys.tie
        && !is_row_of(plan, tie, &value)
    {
        return Ok(None);
    }
    let Some(query) = query_plan(query)? else { return Ok(None) };
    let Some(input) = with_row(plan)? else { return Ok(None) };
    let order =
        Order::Sql { distance: function.distance(), descending: keys.descending, nulls_first: keys.nulls_first };
    let k = lit(i64::try_from(k).unwrap_or(i64::MAX));
    let found = Search::try_new(input, query, value, k, order, Output::Rows)?;
    if !found.is_fetched_by_row() {
        return Ok(None);
    }
    let columns = plan.schema().columns().into_iter().map(Expr::Column);
    LogicalPlanBuilder::from(found.into_plan()).project(columns)?.build().map(Some)
}

/// Whether a tie is broken by the rows' own number.
fn is_row_of(plan: &LogicalPlan, tie: &Expr, value: &Column) -> bool {
    let Expr::Column(tie) = tie else { return false };
    match (origin(plan, tie), origin(plan, value)) {
        (Some(tie), Some(value)) => tie.column == 0 && tie.same_scan(&value),
        _ => false,
    }
}

/// The query vector as a plan, if it is the same whenever it is asked for: the sort asks again.
fn query_plan(query: &Expr) -> Result<Option<LogicalPlan>> {
    let doubles = QueryVector::data_type();
    let (plan, value) = match query {
        Expr::ScalarSubquery(s) if s.outer_ref_columns.is_empty() && is_repeatable(&s.subquery)? => {
            let Some(column) = s.subquery.schema().columns().into_iter().next() else { return Ok(None) };
            (LogicalPlanBuilder::from(s.subquery.as_ref().clone()), Expr::Column(column))
        }
        Expr::ScalarSubquery(_) => return Ok(None),
        e if e.column_refs().is_empty() && !e.is_volatile() && !has_subquery(e)? => {
            (LogicalPlanBuilder::empty(true), e.clone())
        }
        _ => return Ok(None),
    };
    if element_type(&value.get_type(plan.schema())?).is_none() {
        return Ok(None);
    }
    if matches!(value, Expr::Literal(..)) {
        return QueryVector::plan(value).map(Some);
    }
    plan.project(vec![cast(value, doubles).alias("query")])?.build().map(Some)
}

fn has_subquery(expr: &Expr) -> Result<bool> {
    expr.exists(|e| Ok(matches!(e, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_))))
}

/// Whether a plan gives the same rows each time: nothing volatile, and nothing that chooses among equals or depends on
/// the order in which rows arrive.
fn is_repeatable(plan: &LogicalPlan) -> Result<bool> {
    let mut repeatable = true;
    plan.apply_with_subqueries(|node| {
        repeatable &= match node {
            LogicalPlan::TableScan(scan) => scan.fetch.is_none(),
            LogicalPlan::Sort(sort) => sort.fetch.is_none(),
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Join(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::EmptyRelation(_)
            | LogicalPlan::Values(_) => true,
            _ => false,
        };
        node.apply_expressions(|e| {
            repeatable &= !e.is_volatile();
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(if repeatable { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(repeatable)
}

/// Rows of an array, with `row` among the columns.
fn with_row(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    Ok(match plan {
        LogicalPlan::TableScan(scan) => Some(scan_with_row(scan)?),
        LogicalPlan::Filter(f) => {
            with_row(&f.input)?.map(|input| LogicalPlan::Filter(Filter::new(f.predicate.clone(), Arc::new(input))))
        }
        LogicalPlan::SubqueryAlias(a) => match with_row(&a.input)? {
            Some(input) => Some(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(input), a.alias.clone())?)),
            None => None,
        },
        LogicalPlan::Projection(p) => {
            let Some(input) = with_row(&p.input)? else { return Ok(None) };
            let rows = |c: &Column| c.name == ROW && origin(&input, c).is_some_and(|o| o.column == 0);
            let Some(row) = input.schema().columns().into_iter().find(rows).map(Expr::Column) else {
                return Ok(None);
            };
            let mut columns = p.expr.clone();
            if !columns.contains(&row) {
                columns.push(row);
            }
            Some(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(input))?))
        }
        LogicalPlan::Join(j) => match with_row(&j.left)? {
            Some(left) => Some(LogicalPlan::Join(Join::try_new(
                Arc::new(left),
                Arc::clone(&j.right),
                j.on.clone(),
                j.filter.clone(),
                j.join_type,
                j.join_constraint,
                j.null_equality,
                j.null_aware,
            )?)),
            None => None,
        },
        _ => None,
    })
}

fn scan_with_row(scan: &TableScan) -> Result<LogicalPlan> {
    let projection = match &scan.projection {
        Some(columns) if !columns.contains(&0) => std::iter::once(0).chain(columns.iter().copied()).collect(),
        _ => return Ok(LogicalPlan::TableScan(scan.clone())),
    };
    let scan = TableScanBuilder::new(scan.table_name.clone(), Arc::clone(&scan.source))
        .with_projection(Some(projection))
        .with_filters(scan.filters.clone())
        .build()?;
    Ok(LogicalPlan::TableScan(scan))
}

#[cfg(test)]
mod tests;
