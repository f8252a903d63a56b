//! Joins on `row`: both sides come in the order of their rows already, so that neither sort nor hash table is needed.
//!
//! `a.row = b.row` between subtrees that hand the row numbers of array scans on unchanged (filters, projections, and
//! joins that this rule has replaced already) becomes
//! - a [`RowZipExec`], which copies nothing, where both sides have the same rows, all of them,
//! - a [`RowLookupExec`], which reads the rows that are named by position, where one side is a scan whose unmatched rows
//!   do not count,
//! - a sort-merge join otherwise, of any join type and with any further condition.
//!
//! `array.row = key`, where the key is anything else, becomes a look-up, too.
//!
//! The scans below are cut at the same rows, and a side of which only matching rows count is restricted to the rows
//! that the other may have. The rule runs before DataFusion decides on sorts and repartitioning, and finds that none
//! is needed.

mod lookup;
mod zip;

use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinSide, JoinType, NullEquality};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, JoinOnRef, SortMergeJoinExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use zip::RowZipExec;

use crate::scan::{ArrayScanExec, RowLookupExec, RowRanges, split_points};
use crate::table::ROW;

/// Replaces joins on `row`; see the module.
#[derive(Debug, Default)]
pub(crate) struct RowJoin;

impl RowJoin {
    /// Puts the rule where it belongs: before sorts and exchanges are decided on. A list of rules that does not decide
    /// on them stays as it is.
    pub(crate) fn insert_into(rules: &mut Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>) {
        if let Some(at) = rules.iter().position(|r| r.name() == "EnsureRequirements") {
            rules.insert(at, Arc::new(Self));
        }
    }
}

impl PhysicalOptimizerRule for RowJoin {
    fn name(&self) -> &str {
        "hyperslab_row_join"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions = config.execution.target_partitions;
        let done = plan.transform_up(|plan| {
            let Some(join) = Join::of(&plan) else { return Ok(Transformed::no(plan)) };
            let new = match join.of_rows(partitions)? {
                Some(new) => Some(new),
                None => match lookup::replace(&join)? {
                    Some(new) => Some(new),
                    None => lookup::probe_with_array(&join, &plan)?,
                },
            };
            Ok(new.map_or_else(|| Transformed::no(Arc::clone(&plan)), Transformed::yes))
        })?;
        Ok(done.data)
    }
}

/// A join on one pair of expressions.
struct Join<'a> {
    left: &'a Arc<dyn ExecutionPlan>,
    right: &'a Arc<dyn ExecutionPlan>,
    left_key: &'a Arc<dyn PhysicalExpr>,
    right_key: &'a Arc<dyn PhysicalExpr>,
    on: JoinOnRef<'a>,
    filter: Option<&'a JoinFilter>,
    join_type: JoinType,
    null_equality: NullEquality,
    schema: SchemaRef,
    /// The columns of the join's output that are handed on.
    projection: Option<&'a [usize]>,
}

impl<'a> Join<'a> {
    fn of(plan: &'a Arc<dyn ExecutionPlan>) -> Option<Self> {
        let join = if let Some(hash) = plan.downcast_ref::<HashJoinExec>() {
            // NOT IN: a NULL on one side empties the other.
            if hash.null_aware {
                return None;
            }
            let [(left_key, right_key)] = hash.on() else { return None };
            Self {
                left: hash.left(),
                right: hash.right(),
                left_key,
                right_key,
                on: hash.on(),
                filter: hash.filter(),
                join_type: *hash.join_type(),
                null_equality: hash.null_equality(),
                schema: Arc::clone(hash.join_schema()),
                projection: hash.projection.as_deref(),
            }
        } else {
            let merge = plan.downcast_ref::<SortMergeJoinExec>()?;
            let [(left_key, right_key)] = merge.on() else { return None };
            Self {
                left: merge.left(),
                right: merge.right(),
                left_key,
                right_key,
                on: merge.on(),
                filter: merge.filter().as_ref(),
                join_type: merge.join_type(),
                null_equality: merge.null_equality(),
                schema: merge.schema(),
                projection: None,
            }
        };
        Some(join)
    }

    /// The join of two sides' row numbers.
    fn of_rows(&self, partitions: usize) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some((left_key, right_key)) = keys(self.on) else { return Ok(None) };
        let left = Rows::of(self.left, left_key.index());
        let right = Rows::of(self.right, right_key.index());
        let (Some(mut left), Some(mut right)) = (left, right) else { return Ok(None) };
        let (left_only, right_only) = unmatched_kept(self.join_type);
        let both = left.ranges.intersect(&right.ranges);
        let all = left.ranges.union(&right.ranges);
        if !left_only {
            left.ranges = both.clone();
        }
        if !right_only {
            right.ranges = both;
        }
        let largest = if left.source_rows() >= right.source_rows() { &left } else { &right };
        let needed = if left_only && right_only { all } else { left.ranges.union(&right.ranges) };
        let splits = fill_up(split_points(largest.scan.source().as_ref(), &needed, partitions), &needed, partitions);
        let left_plan = narrow(self.left, &left.ranges, &splits)?;
        let right_plan = narrow(self.right, &right.ranges, &splits)?;
        if !(in_order(&left_plan, left_key) && in_order(&right_plan, right_key)) {
            return Ok(None);
        }
        let paired = matches!(self.join_type, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full);
        let simple = self.filter.is_none() || self.join_type == JoinType::Inner;
        let zip = paired && simple && left.complete && right.complete && left.ranges == right.ranges;
        if zip {
            return self.zip(left_plan, right_plan, left_key, right_key).map(Some);
        }
        let narrowed = Join { left: &left_plan, right: &right_plan, schema: Arc::clone(&self.schema), ..*self };
        match lookup::replace(&narrowed)? {
            Some(lookup) => Ok(Some(lookup)),
            None => narrowed.merge().map(Some),
        }
    }

    fn zip(
        &self,
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        left_key: &Column,
        right_key: &Column,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let width = left.schema().fields().len();
        let zip = Arc::new(RowZipExec::try_new(left, right, left_key, right_key, Arc::clone(&self.schema))?);
        match self.filter {
            Some(filter) => {
                let filtered = FilterExec::try_new(over_columns(filter, width, |column| column)?, zip)?;
                self.project(Arc::new(filtered), |column| column)
            }
            None => self.project(zip, |column| column),
        }
    }

    fn merge(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let merge = SortMergeJoinExec::try_new(
            Arc::clone(self.left),
            Arc::clone(self.right),
            self.on.to_vec(),
            self.filter.map(left_first).transpose()?,
            self.join_type,
            vec![SortOptions::new(false, false)],
            self.null_equality,
        )?;
        self.project(Arc::new(merge), |column| column)
    }

    /// The columns that the join hands on, found where `place` says that they are in `joined`.
    fn project(
        &self,
        joined: Arc<dyn ExecutionPlan>,
        place: impl Fn(usize) -> usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let wanted = self.projection.unwrap_or(&all);
        if self.projection.is_none() && all.iter().all(|&i| place(i) == i) {
            return Ok(joined);
        }
        let columns = wanted.iter().map(|&i| {
            let name = self.schema.field(i).name();
            (Arc::new(Column::new(name, place(i))) as Arc<dyn PhysicalExpr>, name.clone())
        });
        Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), joined)?))
    }
}

/// A join's condition over the join's output instead of its two inputs, at the places that the columns have.
fn over_columns(filter: &JoinFilter, left: usize, place: impl Fn(usize) -> usize) -> Result<Arc<dyn PhysicalExpr>> {
    let expression = Arc::clone(filter.expression()).transform_up(|expr| {
        let Some(column) = expr.downcast_ref::<Column>() else { return Ok(Transformed::no(expr)) };
        let Some(of) = filter.column_indices().get(column.index()) else { return Ok(Transformed::no(expr)) };
        let index = if of.side == JoinSide::Left { of.index } else { left + of.index };
        Ok(Transformed::yes(Arc::new(Column::new(column.name(), place(index))) as _))
    })?;
    Ok(expression.data)
}

/// The same condition with its columns of the left side first: the merge join takes them to be in that order, which
/// they are no more once the sides were swapped.
fn left_first(filter: &JoinFilter) -> Result<JoinFilter> {
    let mut order: Vec<usize> = (0..filter.column_indices().len()).collect();
    order.sort_by_key(|&i| filter.column_indices().get(i).is_some_and(|c| c.side != JoinSide::Left));
    let expression = Arc::clone(filter.expression()).transform_up(|expr| {
        let Some(column) = expr.downcast_ref::<Column>() else { return Ok(Transformed::no(expr)) };
        let place = order.iter().position(|&i| i == column.index()).unwrap_or(column.index());
        Ok(Transformed::yes(Arc::new(Column::new(column.name(), place)) as _))
    })?;
    let columns = order.iter().filter_map(|&i| filter.column_indices().get(i).cloned()).collect();
    let schema = Arc::new(filter.schema().project(&order)?);
    Ok(JoinFilter::new(expression.data, columns, schema))
}

fn keys(on: JoinOnRef<'_>) -> Option<(&Column, &Column)> {
    let [(left, right)] = on else { return None };
    Some((left.downcast_ref::<Column>()?, right.downcast_ref::<Column>()?))
}

/// Whether rows of the left and of the right side count without a match.
fn unmatched_kept(join_type: JoinType) -> (bool, bool) {
    match join_type {
        JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => (false, false),
        JoinType::Left | JoinType::LeftAnti | JoinType::LeftMark => (true, false),
        JoinType::Right | JoinType::RightAnti | JoinType::RightMark => (false, true),
        JoinType::Full => (true, true),
    }
}

/// What is known of a column that holds row numbers.
struct Rows<'a> {
    /// The rows that may be there.
    ranges: RowRanges,
    /// Whether all of them are there, once each, in order.
    complete: bool,
    /// A scan that they come from.
    scan: &'a ArrayScanExec,
}

impl<'a> Rows<'a> {
    /// Follows an output column down to scans' `row`; `None` where something in between may change or reorder it.
    fn of(plan: &'a Arc<dyn ExecutionPlan>, column: usize) -> Option<Self> {
        if let Some(scan) = plan.downcast_ref::<ArrayScanExec>() {
            let is_row = scan.schema().fields().get(column)?.name() == ROW;
            is_row.then(|| Self { ranges: scan.rows().clone(), complete: true, scan })
        } else if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            let input = projection.expr().get(column)?.expr.downcast_ref::<Column>()?;
            Self::of(projection.input(), input.index())
        } else if let Some(filter) = plan.downcast_ref::<FilterExec>() {
            // A limit in the filter counts rows, so that fewer rows below would be other rows above.
            if filter.fetch().is_some() {
                return None;
            }
            let column = filter.projection().as_ref().map_or(Some(column), |p| p.get(column).copied())?;
            Some(Self { complete: false, ..Self::of(filter.input(), column)? })
        } else if let Some(lookup) = plan.downcast_ref::<RowLookupExec>() {
            let column = lookup.origin(column)?;
            Some(Self { complete: false, ..Self::of(lookup.input(), column)? })
        } else if let Some(zip) = plan.downcast_ref::<RowZipExec>() {
            let (side, column) = zip.origin(column);
            Self::of(if side == JoinSide::Left { zip.left() } else { zip.right() }, column)
        } else {
            Self::of_merge(plan.downcast_ref::<SortMergeJoinExec>()?, column)
        }
    }

    fn of_merge(join: &'a SortMergeJoinExec, column: usize) -> Option<Self> {
        let (left_key, right_key) = keys(join.on())?;
        // Only joins on row, all scans of which can be cut at the same rows.
        let left = Self::of(join.left(), left_key.index())?;
        let right = Self::of(join.right(), right_key.index())?;
        let width = join.left().schema().fields().len();
        let (left_only, right_only) = unmatched_kept(join.join_type());
        let ranges = match (left_only, right_only) {
            (false, false) => left.ranges.intersect(&right.ranges),
            (true, false) => left.ranges.clone(),
            (false, true) => right.ranges.clone(),
            (true, true) => return None,
        };
        // The key of the side that may be filled up with NULLs is no row number.
        let is_key = match join.join_type() {
            JoinType::Inner => column == left_key.index() || column == width + right_key.index(),
            JoinType::Right => column == width + right_key.index(),
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => column == right_key.index(),
            _ => column == left_key.index(),
        };
        let scan = if right_only { right.scan } else { left.scan };
        is_key.then_some(Self { ranges, complete: false, scan })
    }

    fn source_rows(&self) -> u64 {
        self.scan.source().rows()
    }
}

/// As many split points as the session has partitions less one, the further ones beyond the last row: with fewer
/// partitions than that, exchanges would be put in between, which break the order up.
fn fill_up(mut splits: Vec<u64>, rows: &RowRanges, partitions: usize) -> Vec<u64> {
    let end = rows.bounds().map_or(0, |b| b.end);
    while splits.len() + 1 < partitions {
        let last = splits.last().map_or(end, |&s| s.max(end));
        splits.push(last + 1);
    }
    splits
}

/// Restricts every scan of a side to some rows and cuts it at the given ones.
fn narrow(plan: &Arc<dyn ExecutionPlan>, rows: &RowRanges, splits: &[u64]) -> Result<Arc<dyn ExecutionPlan>> {
    let narrowed = Arc::clone(plan).transform_up(|node| {
        Ok(match node.downcast_ref::<ArrayScanExec>() {
            Some(scan) => Transformed::yes(Arc::new(scan.narrowed(rows).with_splits(splits.to_vec())) as _),
            None => Transformed::no(node),
        })
    })?;
    Ok(narrowed.data)
}

fn in_order(plan: &Arc<dyn ExecutionPlan>, key: &Column) -> bool {
    let order = PhysicalSortExpr::new(Arc::new(key.clone()), SortOptions::new(false, false));
    plan.equivalence_properties().ordering_satisfy([order]).unwrap_or(false)
}

#[cfg(test)]
mod tests;
