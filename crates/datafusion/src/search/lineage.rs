//! Where a column of a plan comes from, when it is an array's own column handed through unchanged.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, TableScan};

use crate::table::ArrayTable;

/// A column of one scan of an array.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// Tells the scans of one plan apart.
    scan: *const TableScan,
    provider: Arc<dyn TableProvider>,
    /// The column's index in the table: 0 is `row`, `i` is field `i - 1`.
    pub(crate) column: usize,
}

impl Origin {
    /// Whether both come from the same scan, so that the `row` of one finds the field of the other.
    pub(crate) fn same_scan(&self, other: &Self) -> bool {
        std::ptr::eq(self.scan, other.scan)
    }

    /// The table scanned.
    pub(crate) fn table(&self) -> Option<&ArrayTable> {
        self.provider.downcast_ref()
    }
}

/// Follows a column of `plan` down to an array's scan, through everything that hands rows on unchanged. `None` when the
/// column is computed, may be NULL-extended by an outer join, or comes from something that is no array.
pub(crate) fn origin(plan: &LogicalPlan, column: &Column) -> Option<Origin> {
    let index = plan.schema().index_of_column(column).ok()?;
    origin_at(plan, index)
}

fn origin_at(plan: &LogicalPlan, index: usize) -> Option<Origin> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let provider = source_as_provider(&scan.source).ok()?;
            let table = provider.downcast_ref::<ArrayTable>()?;
            let name = scan.projected_schema.field(index).name();
            let column = table.arrow_schema().index_of(name).ok()?;
            Some(Origin { scan, provider, column })
        }
        LogicalPlan::Projection(p) => match p.expr.get(index)?.clone().unalias() {
            Expr::Column(c) => origin(&p.input, &c),
            _ => None,
        },
        LogicalPlan::SubqueryAlias(a) => origin_at(&a.input, index),
        LogicalPlan::Filter(f) => origin_at(&f.input, index),
        LogicalPlan::Sort(s) => origin_at(&s.input, index),
        LogicalPlan::Limit(l) => origin_at(&l.input, index),
        LogicalPlan::Repartition(r) => origin_at(&r.input, index),
        LogicalPlan::Join(j) => {
            let left = j.left.schema().fields().len();
            match j.join_type {
                JoinType::LeftSemi | JoinType::LeftAnti => origin_at(&j.left, index),
                JoinType::RightSemi | JoinType::RightAnti => origin_at(&j.right, index),
                JoinType::Inner | JoinType::Left | JoinType::LeftMark if index < left => origin_at(&j.left, index),
                JoinType::Inner | JoinType::Right if index >= left => origin_at(&j.right, index - left),
                _ => None,
            }
        }
        _ => None,
    }
}
