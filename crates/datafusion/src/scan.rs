//! Reading an [`ArraySource`](hyperslab_core::ArraySource) as record batches.

mod lookup;
mod row_filter;
mod row_ranges;
mod split;
mod stream;

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr, RangePartitioning, SplitPoint,
};
use datafusion::physical_plan::execution_plan::{Boundedness, CardinalityEffect, EmissionType, SchedulingType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sort_pushdown::SortOrderPushdownResult;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use hyperslab_core::{ArraySource, FieldSpec};

pub(crate) use lookup::RowLookupExec;
pub(crate) use row_filter::RowFilter;
pub use row_ranges::RowRanges;
pub(crate) use split::points as split_points;

use crate::table::ArrayTable;

/// The scan of an [`ArrayTable`]: some of its columns, over some of its rows, in the order of the rows.
///
/// Rows are cut into partitions at [split points](Self::splits), which are declared as range partitioning on `row`
/// where `row` is among the columns, together with the order. The values of a batch are views into the source's maps
/// wherever the source can give them so; `row` is counted up, which is no copy of values. The metrics say what was
/// done: `bytes_mapped`, `bytes_copied`, and `rows_pruned` by filters that arrived while scanning.
#[derive(Debug, Clone)]
pub struct ArrayScanExec {
    table: Arc<ArrayTable>,
    projection: Vec<usize>,
    /// Before `fetch`.
    ranges: RowRanges,
    /// `ranges` cut to the first `fetch` rows.
    selected: RowRanges,
    splits: Vec<u64>,
    fetch: Option<usize>,
    /// The last rows first, batch by batch, for a top-k operator above.
    backwards: bool,
    /// Filters that others still fill; whoever pushed them down filters again.
    dynamic: Vec<Arc<dyn PhysicalExpr>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ArrayScanExec {
    /// A scan of the columns at `projection` (0 is `row`) over the rows of `ranges`, in at most `partitions`
    /// partitions.
    ///
    /// # Errors
    /// For a column that the table does not have.
    pub fn try_new(table: ArrayTable, projection: Vec<usize>, ranges: RowRanges, partitions: usize) -> Result<Self> {
        let splits = split::points(table.source().as_ref(), &ranges, partitions);
        Self::build(Arc::new(table), projection, ranges, splits, None)
    }

    fn build(
        table: Arc<ArrayTable>,
        projection: Vec<usize>,
        ranges: RowRanges,
        splits: Vec<u64>,
        fetch: Option<usize>,
    ) -> Result<Self> {
        let schema = Arc::new(table.arrow_schema().project(&projection)?);
        let selected = fetch.map_or_else(|| ranges.clone(), |n| ranges.first(n as u64));
        // Partitions beyond the last selected row would have nothing to do.
        let end = selected.bounds().map_or(0, |b| b.end);
        let splits: Vec<u64> = splits.into_iter().filter(|&s| s < end).collect();
        let properties = Arc::new(properties(&schema, &splits));
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Self {
            table,
            projection,
            ranges,
            selected,
            splits,
            fetch,
            backwards: false,
            dynamic: vec![],
            properties,
            metrics,
        })
    }

    /// The table.
    pub fn table(&self) -> &ArrayTable {
        &self.table
    }

    /// The rows' source.
    pub fn source(&self) -> &Arc<dyn ArraySource> {
        self.table.source()
    }

    /// The columns, as indices into the table's schema: 0 is `row`, `i` is field `i - 1`.
    pub fn projection(&self) -> &[usize] {
        &self.projection
    }

    /// The rows that are read, by all partitions together.
    pub fn rows(&self) -> &RowRanges {
        &self.selected
    }

    /// The rows at which a new partition begins, ascending; one less than there are partitions.
    pub fn splits(&self) -> &[u64] {
        &self.splits
    }

    /// The rows that a partition reads.
    pub fn partition_rows(&self, partition: usize) -> RowRanges {
        let start = partition.checked_sub(1).and_then(|p| self.splits.get(p)).copied().unwrap_or(0);
        let end = self.splits.get(partition).copied().unwrap_or(u64::MAX);
        self.selected.clip(start..end)
    }

    /// The same rows with other columns.
    ///
    /// # Errors
    /// For a column that the table does not have, or when filters of the old columns are attached.
    pub fn with_projection(&self, projection: Vec<usize>) -> Result<Self> {
        if !self.dynamic.is_empty() {
            return internal_err!("the columns of a scan with dynamic filters cannot change");
        }
        Self::build(Arc::clone(&self.table), projection, self.ranges.clone(), self.splits.clone(), self.fetch)
    }

    /// The same scan, cut into partitions at other rows. Partitions without rows are kept, so that the number of
    /// partitions is `splits.len() + 1`.
    #[must_use]
    pub fn with_splits(&self, splits: Vec<u64>) -> Self {
        let properties = Arc::new(properties(self.properties.eq_properties.schema(), &splits));
        Self { splits, properties, metrics: ExecutionPlanMetricsSet::new(), ..self.clone() }
    }

    /// The same scan, ending after `fetch` rows.
    #[must_use]
    pub fn limited(self, fetch: Option<usize>) -> Self {
        let selected = fetch.map_or_else(|| self.ranges.clone(), |n| self.ranges.first(n as u64));
        let end = selected.bounds().map_or(0, |b| b.end);
        let splits: Vec<u64> = self.splits.iter().copied().filter(|&s| s < end).collect();
        let properties = Arc::new(properties(self.properties.eq_properties.schema(), &splits));
        Self { selected, fetch, splits, properties, metrics: ExecutionPlanMetricsSet::new(), ..self }
    }

    /// The same scan, reading only those of its rows that are among `rows`.
    #[must_use]
    pub fn narrowed(&self, rows: &RowRanges) -> Self {
        let ranges = self.selected.intersect(rows);
        Self { selected: ranges.clone(), ranges, fetch: None, metrics: ExecutionPlanMetricsSet::new(), ..self.clone() }
    }

    fn statistics_of(&self, rows: &RowRanges) -> Statistics {
        let statistics = source_statistics(self.source().as_ref(), &self.projection, rows);
        if self.dynamic.is_empty() { statistics } else { statistics.to_inexact() }
    }
}

/// What a text is thought to be long, in bytes.
const TEXT_BYTES: usize = 64;

/// Order and partitioning, by `row` where it is among the columns.
fn properties(schema: &Arc<Schema>, splits: &[u64]) -> PlanProperties {
    let row = schema.fields().iter().position(|f| f.name() == crate::table::ROW);
    let order = row
        .and_then(|i| LexOrdering::new([PhysicalSortExpr::new_default(Arc::new(Column::new(crate::table::ROW, i)))]));
    let equivalence = EquivalenceProperties::new_with_orderings(Arc::clone(schema), order.clone());
    let partitioning = match order {
        Some(order) if !splits.is_empty() => {
            let point = |&s: &u64| SplitPoint::new(vec![ScalarValue::Int64(i64::try_from(s).ok())]);
            Partitioning::Range(RangePartitioning::new(order, splits.iter().map(point).collect()))
        }
        _ => Partitioning::UnknownPartitioning(splits.len() + 1),
    };
    PlanProperties::new(equivalence, partitioning, EmissionType::Incremental, Boundedness::Bounded)
        .with_scheduling_type(SchedulingType::Cooperative)
}

/// What is known of some rows and columns without reading them: all of it exactly, but how many rows are NULL where a
/// field may hold some, and how long texts are.
pub(crate) fn source_statistics(source: &dyn ArraySource, projection: &[usize], rows: &RowRanges) -> Statistics {
    let count = usize::try_from(rows.rows()).unwrap_or(usize::MAX);
    let integer = |row: u64| ScalarValue::Int64(i64::try_from(row).ok());
    let mut bytes: usize = 0;
    let columns = projection.iter().map(|&column| {
        let field = column.checked_sub(1).and_then(|i| source.fields().get(i));
        let width = field.map_or(size_of::<i64>(), batch_width);
        let size = count.saturating_mul(width);
        bytes = bytes.saturating_add(size);
        let known = ColumnStatistics {
            null_count: if field.is_some_and(|f| f.nullable()) { Precision::Absent } else { Precision::Exact(0) },
            byte_size: if variable(field) { Precision::Inexact(size) } else { Precision::Exact(size) },
            ..ColumnStatistics::new_unknown()
        };
        match (column, rows.bounds()) {
            (0, Some(bounds)) => ColumnStatistics {
                min_value: Precision::Exact(integer(bounds.start)),
                max_value: Precision::Exact(integer(bounds.end - 1)),
                distinct_count: Precision::Exact(count),
                ..known
            },
            _ => known,
        }
    });
    let column_statistics = columns.collect();
    let texts = projection.iter().any(|&column| variable(column.checked_sub(1).and_then(|i| source.fields().get(i))));
    let total_byte_size = if texts { Precision::Inexact(bytes) } else { Precision::Exact(bytes) };
    Statistics { num_rows: Precision::Exact(count), total_byte_size, column_statistics }
}

fn variable(field: Option<&FieldSpec>) -> bool {
    field.is_some_and(|f| f.dtype().is_variable())
}

/// About how many bytes a row of a field has.
pub(crate) fn batch_width(field: &FieldSpec) -> usize {
    field.row_bytes() + if field.dtype().is_variable() { TEXT_BYTES } else { 0 }
}

impl DisplayAs for ArrayScanExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.schema();
        let columns: Vec<&str> = schema.fields().iter().map(|c| c.name().as_str()).collect();
        let columns = columns.join(", ");
        if format == DisplayFormatType::TreeRender {
            return write!(f, "array={}\ncolumns={columns}\nrows={}", self.table.scan_name(), self.selected.rows());
        }
        write!(f, "ArrayScanExec: {}, columns=[{columns}], rows={}", self.table.scan_name(), self.selected)?;
        if !self.splits.is_empty() {
            write!(f, ", split at {:?}", self.splits)?;
        }
        if let Some(fetch) = self.fetch {
            write!(f, ", fetch={fetch}")?;
        }
        if self.backwards {
            write!(f, ", backwards")?;
        }
        for filter in &self.dynamic {
            write!(f, ", dynamic filter={filter}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for ArrayScanExec {
    fn name(&self) -> &str {
        "ArrayScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        // A join fills its dynamic filter only where somebody shows that it is read.
        for filter in &self.dynamic {
            if f(filter)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("a scan has no inputs") }
    }

    fn supports_limit_pushdown(&self) -> bool {
        false
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(self.clone().limited(limit)))
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        Ok(Arc::new(match partition {
            Some(p) => self.statistics_of(&self.partition_rows(p)),
            None => self.statistics_of(&self.selected),
        }))
    }

    fn try_swapping_with_projection(&self, projection: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if !self.dynamic.is_empty() {
            return Ok(None);
        }
        let mut columns = Vec::with_capacity(projection.expr().len());
        for output in projection.expr() {
            // Only a column under its own name, once.
            let column = output.expr.downcast_ref::<Column>().filter(|c| c.name() == output.alias);
            match column.and_then(|c| self.projection.get(c.index())) {
                Some(index) if !columns.contains(index) => columns.push(*index),
                _ => return Ok(None),
            }
        }
        Ok(Some(Arc::new(self.with_projection(columns)?)))
    }

    /// `ORDER BY row DESC`: the last batches come first, so that a top-k operator need not see the others.
    fn try_pushdown_sort(&self, order: &[PhysicalSortExpr]) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        let schema = self.schema();
        let by_row = order.first().filter(|first| {
            let column = first.expr.downcast_ref::<Column>();
            column.and_then(|c| schema.fields().get(c.index())).is_some_and(|f| f.name() == crate::table::ROW)
        });
        if self.backwards || !by_row.is_some_and(|first| first.options.descending) {
            return Ok(SortOrderPushdownResult::Unsupported);
        }
        let partitioning = self.properties.partitioning.clone();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            partitioning,
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let properties = Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative));
        Ok(SortOrderPushdownResult::Inexact { inner: Arc::new(Self { backwards: true, properties, ..self.clone() }) })
    }

    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        // Whoever pushes a filter down goes on filtering: here it only saves reading.
        let answers = vec![PushedDown::No; result.parent_filters.len()];
        let answer = FilterPushdownPropagation::with_parent_pushdown_result(answers);
        if phase != FilterPushdownPhase::Post {
            return Ok(answer);
        }
        let schema = self.schema();
        let on_row = |e: &Arc<dyn PhysicalExpr>| row_filter::mentions_row(e, &schema);
        let filters: Vec<_> = result.parent_filters.into_iter().map(|f| f.filter).filter(on_row).collect();
        if filters.is_empty() {
            return Ok(answer);
        }
        let mut updated = self.clone();
        updated.dynamic.extend(filters);
        Ok(answer.with_updated_node(Arc::new(updated)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition > self.splits.len() {
            return internal_err!("there is no partition {partition} of {}", self.splits.len() + 1);
        }
        Ok(stream::start(self, partition))
    }
}

#[cfg(test)]
mod tests;
