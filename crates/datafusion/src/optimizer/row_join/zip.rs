//! Two inputs with the same rows in the same order, side by side.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{JoinSide, Statistics, exec_err, internal_err};
use datafusion::error::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use futures::{Stream, StreamExt};

/// An equality join on `row` of inputs that have the same rows, each once, in order: their columns side by side,
/// without a copy. The row numbers are compared all the same: a plan that was changed underneath gives an error, never
/// wrong pairs.
#[derive(Debug, Clone)]
pub(crate) struct RowZipExec {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    left_key: Column,
    right_key: Column,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl RowZipExec {
    /// Joins `left` and `right` on columns that hold the same row numbers in both; `schema` is the join's.
    pub(super) fn try_new(
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        left_key: &Column,
        right_key: &Column,
        schema: SchemaRef,
    ) -> Result<Self> {
        let partitions = left.output_partitioning().partition_count();
        if partitions != right.output_partitioning().partition_count() {
            return internal_err!("the sides of a join on row are cut into different partitions");
        }
        let orderings = left.output_ordering().map(|order| order.iter().cloned().collect::<Vec<_>>());
        let mut equivalence = EquivalenceProperties::new_with_orderings(Arc::clone(&schema), orderings);
        let width = left.schema().fields().len();
        let other = Column::new(right_key.name(), width + right_key.index());
        equivalence.add_equal_conditions(Arc::new(left_key.clone()), Arc::new(other))?;
        let properties = PlanProperties::new(
            equivalence,
            left.output_partitioning().clone(),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            left,
            right,
            left_key: left_key.clone(),
            right_key: right_key.clone(),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// The left input.
    pub(super) fn left(&self) -> &Arc<dyn ExecutionPlan> {
        &self.left
    }

    /// The right input.
    pub(super) fn right(&self) -> &Arc<dyn ExecutionPlan> {
        &self.right
    }

    /// The input that an output column comes from, and its place there.
    pub(super) fn origin(&self, column: usize) -> (JoinSide, usize) {
        let width = self.left.schema().fields().len();
        match column.checked_sub(width) {
            Some(right) => (JoinSide::Right, right),
            None => (JoinSide::Left, column),
        }
    }
}

impl DisplayAs for RowZipExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if format == DisplayFormatType::TreeRender {
            return write!(f, "on={} = {}", self.left_key, self.right_key);
        }
        write!(f, "RowZipExec: on={} = {}", self.left_key, self.right_key)
    }
}

impl ExecutionPlan for RowZipExec {
    fn name(&self) -> &str {
        "RowZipExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.left, &self.right]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for key in [&self.left_key, &self.right_key] {
            let key: Arc<dyn PhysicalExpr> = Arc::new(key.clone());
            if f(&key)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let [left, right] =
            <[_; 2]>::try_from(children).or_else(|c| internal_err!("a join on row has two inputs, not {}", c.len()))?;
        Ok(Arc::new(Self::try_new(left, right, &self.left_key, &self.right_key, self.schema())?))
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true, true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        // The inputs are cut at the same rows already; another partitioning would break the pairs up.
        vec![false, false]
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition), ChildStats::At(partition)]
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let [left, right] = inputs else { return Ok(Arc::new(Statistics::new_unknown(&self.schema()))) };
        let mut statistics = left.as_ref().clone();
        statistics.total_byte_size = left.total_byte_size.add(&right.total_byte_size);
        statistics.column_statistics.extend(right.column_statistics.iter().cloned());
        Ok(Arc::new(statistics))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        Ok(Box::pin(Zip {
            left: Side::new(self.left.execute(partition, Arc::clone(&context))?, &self.left_key),
            right: Side::new(self.right.execute(partition, context)?, &self.right_key),
            schema: self.schema(),
            metrics: BaselineMetrics::new(&self.metrics, partition),
        }))
    }
}

/// An input, and what of its last batch is not handed on yet.
struct Side {
    input: SendableRecordBatchStream,
    key: usize,
    rest: Option<RecordBatch>,
    ended: bool,
}

impl Side {
    fn new(input: SendableRecordBatchStream, key: &Column) -> Self {
        Self { input, key: key.index(), rest: None, ended: false }
    }

    /// Waits until there are rows or the input has ended.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.ended && self.rest.is_none() {
            match ready!(self.input.poll_next_unpin(cx)) {
                Some(batch) => self.rest = Some(batch?).filter(|b| b.num_rows() > 0),
                None => self.ended = true,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The next `count` rows, which must be there.
    fn take(&mut self, batch: RecordBatch, count: usize) -> RecordBatch {
        let more = batch.num_rows() - count;
        self.rest = (more > 0).then(|| batch.slice(count, more));
        batch.slice(0, count)
    }
}

struct Zip {
    left: Side,
    right: Side,
    schema: SchemaRef,
    metrics: BaselineMetrics,
}

impl Zip {
    fn poll_pair(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        ready!(self.left.fill(cx))?;
        ready!(self.right.fill(cx))?;
        let time = self.metrics.elapsed_compute().clone();
        let _timer = time.timer();
        let (left, right) = match (self.left.rest.take(), self.right.rest.take()) {
            (Some(left), Some(right)) => (left, right),
            (None, None) => return Poll::Ready(None),
            // Never a shorter result where sides that were proven equal are not.
            _ => return Poll::Ready(Some(exec_err!("the sides of a join on row have different numbers of rows"))),
        };
        let count = left.num_rows().min(right.num_rows());
        let (left, right) = (self.left.take(left, count), self.right.take(right, count));
        if left.columns().get(self.left.key) != right.columns().get(self.right.key) {
            return Poll::Ready(Some(internal_err!("the sides of a join on row do not have the same rows")));
        }
        let columns = left.columns().iter().chain(right.columns()).cloned().collect();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options);
        Poll::Ready(Some(batch.map_err(Into::into)))
    }
}

impl Stream for Zip {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let poll = self.poll_pair(cx);
        self.metrics.record_poll(poll)
    }
}

impl RecordBatchStream for Zip {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
