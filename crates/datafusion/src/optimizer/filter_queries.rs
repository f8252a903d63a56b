//! Conditions on the left rows of a joined search, before it: `FROM q, LATERAL top_k('docs', q.value, 5) n WHERE q.id = 7`
//! searches for one row of `q`.
//!
//! A search is made of rows that the condition would drop anyway, whether the join keeps rows that find nothing or not.
//! DataFusion pushes a condition into all inputs of a node or into none, so that it needs a rule of ours.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Projection};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use crate::search::{Search, search_of};

/// The rule. It must run before subqueries become joins, of which it knows nothing, and before filters are pushed down,
/// which brings them from the search to the scan.
#[derive(Debug, Default)]
pub(crate) struct FilterQueries;

impl OptimizerRule for FilterQueries {
    fn name(&self) -> &str {
        "filter_queries"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = plan else { return Ok(Transformed::no(plan)) };
        let mut input = Arc::unwrap_or_clone(filter.input);
        let (mut kept, mut moved) = (vec![], false);
        for condition in split_conjunction_owned(filter.predicate) {
            let placed = match columns(&condition)? {
                Some(columns) => place(&input, &condition, &columns)?,
                None => None,
            };
            match placed {
                Some(placed) => (input, moved) = (placed, true),
                None => kept.push(condition),
            }
        }
        let plan = match conjunction(kept) {
            Some(kept) => LogicalPlan::Filter(Filter::new(kept, Arc::new(input))),
            None => input,
        };
        Ok(if moved { Transformed::yes(plan) } else { Transformed::no(plan) })
    }
}

/// The columns that a condition needs, those of its subqueries included, if it may be asked elsewhere at all.
fn columns(condition: &Expr) -> Result<Option<HashSet<Column>>> {
    if condition.is_volatile() || condition.contains_outer() {
        return Ok(None);
    }
    let mut columns: HashSet<Column> = condition.column_refs().into_iter().cloned().collect();
    condition.apply(|e| {
        let subquery = match e {
            Expr::ScalarSubquery(subquery) => subquery,
            Expr::InSubquery(e) => &e.subquery,
            Expr::Exists(e) => &e.subquery,
            Expr::SetComparison(e) => &e.subquery,
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        columns.extend(subquery.outer_ref_columns.iter().filter_map(|e| match e {
            Expr::OuterReferenceColumn(_, column) => Some(column.clone()),
            _ => None,
        }));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(Some(columns).filter(|columns| !columns.is_empty()))
}

/// `plan` with the condition on the queries of the search that it is, if all columns are theirs.
fn place(plan: &LogicalPlan, condition: &Expr, columns: &HashSet<Column>) -> Result<Option<LogicalPlan>> {
    Ok(match plan {
        LogicalPlan::Projection(p) if columns.iter().all(|c| p.expr.contains(&Expr::Column(c.clone()))) => {
            let below = place(&p.input, condition, columns)?;
            let project = |input| Projection::try_new_with_schema(p.expr.clone(), Arc::new(input), p.schema.clone());
            below.map(project).transpose()?.map(LogicalPlan::Projection)
        }
        LogicalPlan::Filter(f) => {
            let below = place(&f.input, condition, columns)?;
            below.map(|input| LogicalPlan::Filter(Filter::new(f.predicate.clone(), Arc::new(input))))
        }
        plan => match search_of(plan) {
            Some(search) if columns.iter().all(|c| search.is_of_query(c)) => {
                let query = Filter::new(condition.clone(), Arc::new(search.query.clone()));
                Some(Search::with_query(search.clone(), LogicalPlan::Filter(query)).into_plan())
            }
            _ => None,
        },
    })
}
