//! Reading rows by position.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::{SortOptions, cast};
use datafusion::arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements, Partitioning,
    PlanProperties, execute_stream,
};
use futures::stream::{self, StreamExt};
use hyperslab_core::{ArraySource, AxisSelection, Selection};

use super::PositionColumn;
use crate::error::to_datafusion;
use crate::scan::{ArrayScanExec, RowRanges};
use crate::table::ROW;

/// A batch has about this many bytes of stored values, and at most this many rows.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_ROWS: usize = 8192;

#[derive(Debug, Clone)]
enum Rows {
    Slice(Selection),
    Listed,
}

/// Reads rows by position, in the order asked for. The metric `bytes_copied` tells what could not be given as a view.
#[derive(Debug, Clone)]
pub(super) struct PositionsExec {
    /// The rows that a slice may have, or those listed.
    input: Arc<dyn ExecutionPlan>,
    rows: Rows,
    /// `None` when the plan was found to be empty.
    source: Option<Arc<dyn ArraySource>>,
    columns: Vec<PositionColumn>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl PositionsExec {
    pub(super) fn slice(
        input: Arc<dyn ExecutionPlan>,
        selection: Selection,
        source: Option<Arc<dyn ArraySource>>,
        columns: Vec<PositionColumn>,
        schema: SchemaRef,
    ) -> Self {
        Self::new(input, Rows::Slice(selection), source, columns, schema)
    }

    pub(super) fn listed(
        input: Arc<dyn ExecutionPlan>,
        source: Option<Arc<dyn ArraySource>>,
        columns: Vec<PositionColumn>,
        schema: SchemaRef,
    ) -> Self {
        Self::new(input, Rows::Listed, source, columns, schema)
    }

    fn new(
        input: Arc<dyn ExecutionPlan>,
        rows: Rows,
        source: Option<Arc<dyn ArraySource>>,
        columns: Vec<PositionColumn>,
        schema: SchemaRef,
    ) -> Self {
        // A slice's rows ascend or descend.
        let descending = match (&rows, &source) {
            (Rows::Slice(selection), Some(source)) => row_axis(selection, source.as_ref()).ok().map(|a| a.step < 0),
            _ => None,
        };
        let row = columns.iter().position(|c| *c == PositionColumn::Row);
        let order = descending.zip(row).map(|(descending, i)| {
            let options = SortOptions { descending, nulls_first: false };
            vec![PhysicalSortExpr::new(Arc::new(Column::new(ROW, i)), options)]
        });
        let equivalence = EquivalenceProperties::new_with_orderings(Arc::clone(&schema), order);
        let properties = PlanProperties::new(
            equivalence,
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Self { input, rows, source, columns, schema, properties: Arc::new(properties), metrics }
    }
}

/// The rows of a slice of the first axis.
fn row_axis(selection: &Selection, source: &dyn ArraySource) -> Result<AxisSelection> {
    let rows = usize::try_from(source.rows()).unwrap_or(usize::MAX);
    match selection.normalize(&[rows]).map_err(to_datafusion)?.axes.first() {
        Some(axis) => Ok(*axis),
        None => internal_err!("a slice has no axis"),
    }
}

impl DisplayAs for PositionsExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<&str> = self.schema.fields().iter().map(|c| c.name().as_str()).collect();
        let columns = columns.join(", ");
        if format == DisplayFormatType::TreeRender {
            return match &self.rows {
                Rows::Slice(selection) => write!(f, "slice={selection}\ncolumns={columns}"),
                Rows::Listed => write!(f, "columns={columns}"),
            };
        }
        match &self.rows {
            Rows::Slice(selection) => write!(f, "PositionsExec: slice '{selection}', columns=[{columns}]"),
            Rows::Listed => write!(f, "PositionsExec: listed rows, columns=[{columns}]"),
        }
    }
}

impl ExecutionPlan for PositionsExec {
    fn name(&self) -> &str {
        "PositionsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![match self.rows {
            Rows::Slice(_) => Distribution::UnspecifiedDistribution,
            Rows::Listed => Distribution::SinglePartition,
        }])
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([input]) = <[_; 1]>::try_from(children) else { return internal_err!("positions have one input") };
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Arc::new(Self { input, metrics, ..self.as_ref().clone() }))
    }

    fn try_swapping_with_projection(&self, projection: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let mut fields = vec![];
        let mut columns = vec![];
        for output in projection.expr() {
            let column = output.expr.downcast_ref::<Column>().filter(|c| c.name() == output.alias);
            let Some(i) = column.map(Column::index) else { return Ok(None) };
            let (Some(field), Some(from)) = (self.schema.fields().get(i), self.columns.get(i)) else {
                return Ok(None);
            };
            fields.push(Arc::clone(field));
            columns.push(from.clone());
        }
        if columns.len() == self.columns.len() {
            return Ok(None);
        }
        let schema = Arc::new(Schema::new_with_metadata(fields, self.schema.metadata().clone()));
        let (input, source) = (Arc::clone(&self.input), self.source.clone());
        Ok(Some(Arc::new(Self::new(input, self.rows.clone(), source, columns, schema))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("positions have one partition, not {partition}");
        }
        let reader = Reader {
            source: self.source.clone(),
            columns: self.columns.clone(),
            schema: Arc::clone(&self.schema),
            baseline: BaselineMetrics::new(&self.metrics, 0),
            copied: MetricBuilder::new(&self.metrics).counter("bytes_copied", 0),
        };
        let batches = match &self.rows {
            Rows::Slice(selection) => {
                let (input, selection) = (Arc::clone(&self.input), selection.clone());
                let pieces = async move { reader.slice(input, &selection, context).await };
                stream::once(pieces)
                    .map(|found| match found {
                        Ok((reader, pieces)) => stream::iter(pieces).map(move |p| reader.read(&p)).left_stream(),
                        Err(e) => stream::iter([Err(e)]).right_stream(),
                    })
                    .flatten()
                    .boxed()
            }
            Rows::Listed => {
                let listed = execute_stream(Arc::clone(&self.input), context)?;
                let reader = Arc::new(reader);
                listed
                    .map(move |batch| {
                        let reader = Arc::clone(&reader);
                        let pieces = batch.and_then(|batch| reader.listed(&batch));
                        match pieces {
                            Ok(pieces) => stream::iter(pieces).map(move |p| reader.read(&p)).left_stream(),
                            Err(e) => stream::iter([Err(e)]).right_stream(),
                        }
                    })
                    .flatten()
                    .boxed()
            }
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)))
    }
}

/// What one batch is made of.
enum Piece {
    /// Consecutive rows.
    Run(Range<u64>),
    Rows(Vec<u64>),
}

type Pieces = Box<dyn Iterator<Item = Piece> + Send>;

struct Reader {
    source: Option<Arc<dyn ArraySource>>,
    columns: Vec<PositionColumn>,
    schema: SchemaRef,
    baseline: BaselineMetrics,
    copied: Count,
}

impl Reader {
    /// How many rows a batch has.
    fn batch_rows(&self) -> usize {
        let fields = self.source.iter().flat_map(|s| s.fields());
        let row_bytes = fields
            .enumerate()
            .filter(|(i, _)| {
                self.columns.iter().any(|c| matches!(c, PositionColumn::Field { index, .. } if index == i))
            })
            .map(|(_, f)| f.row_bytes())
            .sum::<usize>();
        BATCH_BYTES.checked_div(row_bytes).unwrap_or(BATCH_ROWS).clamp(1, BATCH_ROWS)
    }

    /// The pieces of a slice, in its order.
    async fn slice(
        self,
        input: Arc<dyn ExecutionPlan>,
        selection: &Selection,
        context: Arc<TaskContext>,
    ) -> Result<(Self, Pieces)> {
        let allowed = rows_of(&input, context).await?;
        let Some(source) = &self.source else { return Ok((self, Box::new(std::iter::empty()))) };
        let axis = row_axis(selection, source.as_ref())?;
        let batch_rows = self.batch_rows();
        if axis.step == 1 {
            let pieces = self.runs(source.as_ref(), &axis, &allowed, batch_rows);
            return Ok((self, Box::new(pieces.into_iter())));
        }
        // Only positions within the allowed ranges are visited.
        let mut ranges = allowed.ranges().to_vec();
        if axis.step < 0 {
            ranges.reverse();
        }
        let mut rows = ranges.into_iter().flat_map(move |range| positions_within(&axis, &range));
        let pieces = std::iter::from_fn(move || {
            let rows: Vec<u64> = rows.by_ref().take(batch_rows).collect();
            (!rows.is_empty()).then_some(Piece::Rows(rows))
        });
        Ok((self, Box::new(pieces)))
    }

    /// Consecutive rows, cut so that the source gives views.
    fn runs(
        &self,
        source: &dyn ArraySource,
        axis: &AxisSelection,
        allowed: &RowRanges,
        batch_rows: usize,
    ) -> Vec<Piece> {
        let mut pieces = vec![];
        let (start, len) = (axis.start as u64, axis.len as u64);
        for range in allowed.clip(start..start + len).ranges() {
            let mut from = range.start;
            while from < range.end {
                let ends = self.columns.iter().filter_map(|c| match c {
                    PositionColumn::Field { index, .. } => Some(source.run_end(*index, from)),
                    PositionColumn::Row => None,
                });
                let end = ends.fold(range.end.min(from + batch_rows as u64), u64::min).max(from + 1);
                pieces.push(Piece::Run(from..end));
                from = end;
            }
        }
        pieces
    }

    /// The pieces of listed rows.
    fn listed(&self, batch: &RecordBatch) -> Result<Vec<Piece>> {
        let column = batch.column(0);
        let numbers: ArrayRef = match column.data_type() {
            DataType::List(_) | DataType::FixedSizeList(..) | DataType::LargeList(_) => {
                let lists = cast(column, &DataType::new_list(DataType::Int64, true))?;
                if lists.null_count() > 0 {
                    return exec_err!("take: the list of rows is NULL");
                }
                Arc::clone(lists.as_list::<i32>().values())
            }
            _ => cast(column, &DataType::Int64)?,
        };
        let Some(source) = &self.source else { return internal_err!("the array of listed rows is lost") };
        let count = source.rows();
        let absolute = |row: Option<i64>| match row {
            None => exec_err!("take: a row is NULL"),
            Some(row) => {
                let found = if row < 0 { count.checked_add_signed(row) } else { Some(row.cast_unsigned()) };
                match found.filter(|&r| r < count) {
                    Some(row) => Ok(row),
                    None => exec_err!("take: row {row} is out of range: the array has {count} rows"),
                }
            }
        };
        let rows = numbers.as_primitive::<Int64Type>().iter().map(absolute).collect::<Result<Vec<u64>>>()?;
        Ok(rows.chunks(self.batch_rows()).map(|rows| Piece::Rows(rows.to_vec())).collect())
    }

    fn read(&self, piece: &Piece) -> Result<RecordBatch> {
        let _timer = self.baseline.elapsed_compute().timer();
        let (count, first) = match piece {
            Piece::Run(run) => (usize::try_from(run.end - run.start).unwrap_or(usize::MAX), run.start),
            Piece::Rows(rows) => (rows.len(), rows.first().copied().unwrap_or(0)),
        };
        let Some(source) = &self.source else { return internal_err!("the array is lost") };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            columns.push(match column {
                PositionColumn::Row => Arc::new(match piece {
                    Piece::Run(run) => run.clone().map(u64::cast_signed).collect::<Int64Array>(),
                    Piece::Rows(rows) => rows.iter().map(|r| r.cast_signed()).collect(),
                }),
                PositionColumn::Field { index, spec, cells } => {
                    let block = match piece {
                        Piece::Run(run) => source.read(*index, run.clone()),
                        Piece::Rows(rows) => source.take(*index, rows),
                    };
                    let block = match cells {
                        Some(cells) => block.and_then(|b| cells.cut(&b, spec, first)),
                        None => block,
                    };
                    let block = block.map_err(to_datafusion)?;
                    self.copied.add(usize::try_from(block.copied).unwrap_or(usize::MAX));
                    block.array
                }
            });
        }
        self.baseline.record_output(count);
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

/// The positions of an axis that lie within a range, in the axis' order.
fn positions_within(axis: &AxisSelection, range: &Range<u64>) -> impl Iterator<Item = u64> + use<> {
    let (start, step) = (axis.start as i128, axis.step as i128);
    // The first and the one after the last i with range.start <= start + i * step < range.end.
    let (near, far) = match step > 0 {
        true => (i128::from(range.start) - start, i128::from(range.end) - start),
        false => (start - i128::from(range.end) + 1, start - i128::from(range.start) + 1),
    };
    let pace = step.abs().max(1);
    let ceil = |n: i128| (n + pace - 1).div_euclid(pace).clamp(0, axis.len as i128);
    (ceil(near)..ceil(far)).filter_map(move |i| u64::try_from(start + i * step).ok())
}

/// The rows that a plan over an array's scan leaves.
async fn rows_of(input: &Arc<dyn ExecutionPlan>, context: Arc<TaskContext>) -> Result<RowRanges> {
    if let Some(scan) = input.downcast_ref::<ArrayScanExec>() {
        return Ok(scan.rows().clone());
    }
    let Ok(row) = input.schema().index_of(ROW) else { return internal_err!("the array's row is lost") };
    let mut batches = execute_stream(Arc::clone(input), context)?;
    let mut ranges: Vec<Range<u64>> = vec![];
    while let Some(batch) = batches.next().await.transpose()? {
        for row in batch.column(row).as_primitive::<Int64Type>().values().iter().map(|r| r.cast_unsigned()) {
            match ranges.last_mut() {
                Some(last) if last.end == row => last.end += 1,
                _ => ranges.push(row..row + 1),
            }
        }
    }
    Ok(RowRanges::from_ranges(ranges))
}
