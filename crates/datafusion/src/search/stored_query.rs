//! A query that is a row of an array.
//!
//! `(SELECT value FROM a WHERE row = 7)` needs no plan of its own: optimizing one takes as long as a search of a small
//! array.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;

use super::lineage::origin;
use crate::scan::RowFilter;
use crate::table::{ArrayTable, ROW};

/// The vectors of those rows of an array that a filter lets through, one of them if the search is to succeed.
#[derive(Debug, Clone)]
pub(super) struct StoredQuery {
    table: ArrayTable,
    /// Where the table has the vectors.
    column: usize,
    /// A condition on `row`.
    filter: Option<Expr>,
}

impl StoredQuery {
    /// What a column of a plan is read from, if it is one of an array and the plan only chooses rows by their number.
    pub(super) fn of(plan: &LogicalPlan, value: &Column) -> Option<Self> {
        let found = origin(plan, value)?;
        let table = found.table()?.clone();
        let filter = only_filter(plan, &table)?;
        Some(Self { table, column: found.column, filter })
    }

    pub(super) fn schema(&self) -> Result<Schema> {
        Ok(self.table.arrow_schema().project(&[self.column])?)
    }

    /// The same of another version of the table, if `fresh` has one.
    pub(super) fn of_table(
        &self,
        fresh: impl FnOnce(&ArrayTable) -> Result<Option<ArrayTable>>,
    ) -> Result<Option<Self>> {
        Ok(fresh(&self.table)?.map(|table| Self { table, ..self.clone() }))
    }

    pub(super) async fn physical(&self, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        self.table.scan(session, Some(&vec![self.column]), self.filter.as_slice(), None).await
    }
}

/// The condition on `row` that a plan puts to an array's rows, or none; `None` of all where it does anything else to them.
fn only_filter(plan: &LogicalPlan, table: &ArrayTable) -> Option<Option<Expr>> {
    match plan {
        LogicalPlan::TableScan(scan) => (scan.filters.is_empty() && scan.fetch.is_none()).then_some(None),
        LogicalPlan::SubqueryAlias(alias) => only_filter(&alias.input, table),
        LogicalPlan::Projection(projection) => only_filter(&projection.input, table),
        LogicalPlan::Filter(filter) => {
            if only_filter(&filter.input, table)?.is_some() {
                return None;
            }
            let is_row = |column| origin(&filter.input, column).is_some_and(|origin| origin.column == 0);
            let mut is_of_rows = true;
            let walked = filter.predicate.apply(|expr| {
                if let Expr::Column(column) = expr {
                    is_of_rows &= column.name == ROW && is_row(column);
                }
                Ok(TreeNodeRecursion::Continue)
            });
            let known = RowFilter::of_expr(&filter.predicate, table.arrow_schema(), 0)?;
            (walked.is_ok() && is_of_rows && known.exact).then(|| Some(filter.predicate.clone()))
        }
        _ => None,
    }
}

impl PartialEq for StoredQuery {
    fn eq(&self, other: &Self) -> bool {
        (self.table.scan_name(), self.column, &self.filter) == (other.table.scan_name(), other.column, &other.filter)
    }
}

impl Eq for StoredQuery {}

impl Hash for StoredQuery {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.table.scan_name(), self.column, &self.filter).hash(state);
    }
}

impl fmt::Display for StoredQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.table.arrow_schema().field(self.column).name().clone();
        write!(f, "{field} of {}", self.table.scan_name())?;
        match &self.filter {
            Some(filter) => write!(f, " where {filter}"),
            None => Ok(()),
        }
    }
}
