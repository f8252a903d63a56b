//! Joins that read an array's rows by position.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{JoinSide, JoinType};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

use super::{Join, Rows, over_columns};
use crate::scan::{ArrayScanExec, RowLookupExec};
use crate::table::ROW;

/// Replaces a join of which one side is an array's scan, by its `row`, with a look-up of rows where every row of the
/// other side meets one of the array at most and no unmatched row of the array counts.
pub(super) fn replace(join: &Join<'_>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let sides = [
        (JoinSide::Left, join.left, join.left_key, join.right, join.right_key),
        (JoinSide::Right, join.right, join.right_key, join.left, join.left_key),
    ];
    for (side, array, row, input, key) in sides {
        let keep_unmatched = match (join.join_type, side) {
            (JoinType::Inner, _) => false,
            (JoinType::Right, JoinSide::Left) | (JoinType::Left, JoinSide::Right) if join.filter.is_none() => true,
            _ => continue,
        };
        let Some(scan) = scan_by_row(array, row) else { continue };
        if key.data_type(&input.schema())? != DataType::Int64 {
            continue;
        }
        let lookup = RowLookupExec::try_new(Arc::clone(input), Arc::clone(key), scan.clone(), keep_unmatched)?;
        let (left, right) = (join.left.schema().fields().len(), join.right.schema().fields().len());
        // The look-up gives the input's columns first.
        let place = |column: usize| match (side, column.checked_sub(left)) {
            (JoinSide::Left, None) => right + column,
            (JoinSide::Left, Some(of_right)) => of_right,
            _ => column,
        };
        let mut joined: Arc<dyn ExecutionPlan> = Arc::new(lookup);
        if let Some(filter) = join.filter {
            joined = Arc::new(FilterExec::try_new(over_columns(filter, left, place)?, joined)?);
        }
        return join.project(joined, place).map(Some);
    }
    Ok(None)
}

/// The scan, if a side is one and `key` is its `row`.
fn scan_by_row<'a>(side: &'a Arc<dyn ExecutionPlan>, key: &Arc<dyn PhysicalExpr>) -> Option<&'a ArrayScanExec> {
    let scan = side.downcast_ref::<ArrayScanExec>()?;
    let column = key.downcast_ref::<Column>()?;
    let is_row = scan.schema().fields().get(column.index())?.name() == ROW;
    is_row.then_some(scan)
}

/// `row IN (SELECT …)` and its kin, where the size of the subquery is not known: the subquery's keys are collected and
/// the array is streamed past them, not the other way round.
pub(super) fn probe_with_array(
    join: &Join<'_>,
    plan: &Arc<dyn ExecutionPlan>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(hash) = plan.downcast_ref::<HashJoinExec>() else { return Ok(None) };
    if !matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark) {
        return Ok(None);
    }
    let column = join.left_key.downcast_ref::<Column>();
    if column.and_then(|c| Rows::of(join.left, c.index())).is_none() {
        return Ok(None);
    }
    let statistics = StatisticsContext::new().compute(join.right.as_ref(), &StatisticsArgs::new())?;
    if statistics.num_rows.get_value().is_some() {
        return Ok(None);
    }
    hash.swap_inputs(PartitionMode::CollectLeft).map(Some)
}
