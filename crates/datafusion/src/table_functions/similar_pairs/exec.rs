//! Comparing rows block by block.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{Float64Type, Int64Type, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements, Partitioning,
    PlanProperties, execute_stream,
};
use futures::stream::{self, StreamExt};
use hyperslab_core::ArraySource;
use hyperslab_vector::{PreparedQuery, distances};
use tokio::sync::OnceCell;

use super::Measure;
use crate::error::to_datafusion;
use crate::vectors::{Vectors, each_number_type};

/// Rows that are prepared and compared with every block of rows after them.
const QUERIES: usize = 64;

/// Bytes of vectors of a block, and its rows at most: it stays in the second-level cache.
const BLOCK_BYTES: usize = 512 << 10;
const BLOCK_ROWS: usize = 8192;

/// One of the arrays.
#[derive(Debug, Clone)]
pub(super) struct PairSide {
    /// The numbers of its rows.
    pub(super) rows: Arc<dyn ExecutionPlan>,
    /// `None` when the plan was found to be empty.
    pub(super) source: Option<Arc<dyn ArraySource>>,
    pub(super) field: usize,
}

/// Compares every row with every later one, or with every row of another array. Partition `p` of `n` takes the blocks
/// `p`, `p + n`, … of rows, so that all have about the same to do. Besides the numbers of the rows, a partition holds
/// two blocks. The metrics tell `pairs_compared` and `bytes_copied`, of vectors that could not be read in place.
#[derive(Debug, Clone)]
pub(super) struct SimilarPairsExec {
    sides: Vec<PairSide>,
    threshold: Arc<dyn PhysicalExpr>,
    measure: Measure,
    /// The numbers of the rows, collected by the partition that comes first.
    numbers: Arc<OnceCell<Arc<Numbers>>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// The rows of each side, ascending.
#[derive(Debug)]
struct Numbers {
    rows: Vec<Vec<u64>>,
    _reservation: MemoryReservation,
}

impl SimilarPairsExec {
    pub(super) fn new(
        sides: Vec<PairSide>,
        threshold: Arc<dyn PhysicalExpr>,
        measure: Measure,
        schema: SchemaRef,
        partitions: usize,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions.max(1)),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Self { sides, threshold, measure, numbers: Arc::default(), properties: Arc::new(properties), metrics }
    }

    fn partitions(&self) -> usize {
        self.properties.output_partitioning().partition_count()
    }
}

impl DisplayAs for SimilarPairsExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.measure.at_least { ">=" } else { "<=" };
        write!(f, "SimilarPairsExec: {} {sign} {}", self.measure.distance, self.threshold)
    }
}

impl ExecutionPlan for SimilarPairsExec {
    fn name(&self) -> &str {
        "SimilarPairsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.sides.iter().map(|side| &side.rows).collect()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(self.sides.iter().map(|_| Distribution::SinglePartition).collect())
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        self.sides.iter().map(|_| false).collect()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        f(&self.threshold)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if children.len() != self.sides.len() {
            return internal_err!("similar pairs have other inputs");
        }
        let sides = self.sides.iter().zip(children).map(|(side, rows)| PairSide { rows, ..side.clone() }).collect();
        let threshold = Arc::clone(&self.threshold);
        Ok(Arc::new(Self::new(sides, threshold, self.measure, self.schema(), self.partitions())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let counter = |name| MetricBuilder::new(&self.metrics).counter(name, partition);
        let run = Run {
            threshold: evaluate(&self.threshold)?,
            numbers: None,
            block: partition,
            next: 0,
            queries: vec![],
            compared: counter("pairs_compared"),
            copied: counter("bytes_copied"),
            baseline: BaselineMetrics::new(&self.metrics, partition),
            exec: self.clone(),
            context,
        };
        let batches = stream::try_unfold(run, |mut run| async move {
            let batch = run.next().await?;
            Ok(batch.map(|batch| (batch, run)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

/// The threshold, once it can be computed.
fn evaluate(threshold: &Arc<dyn PhysicalExpr>) -> Result<f64> {
    use datafusion::arrow::array::RecordBatchOptions;
    use datafusion::arrow::datatypes::Schema;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let one_row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
    let value = threshold.evaluate(&one_row)?.into_array(1)?;
    let value = value.as_primitive::<Float64Type>();
    match value.iter().next().flatten() {
        Some(threshold) if !threshold.is_nan() => Ok(threshold),
        Some(_) => exec_err!("similar_pairs: the threshold is NaN"),
        None => exec_err!("similar_pairs: the threshold is NULL"),
    }
}

/// One partition that runs.
struct Run {
    exec: SimilarPairsExec,
    context: Arc<TaskContext>,
    threshold: f64,
    numbers: Option<Arc<Numbers>>,
    /// The block of rows that are compared with others.
    block: usize,
    /// Where among the others the next block of theirs begins.
    next: usize,
    /// The prepared rows of the block; `None` for one that is NULL.
    queries: Vec<Option<PreparedQuery>>,
    compared: Count,
    copied: Count,
    baseline: BaselineMetrics,
}

/// Pairs that were found.
#[derive(Default)]
struct Pairs {
    a: Vec<i64>,
    b: Vec<i64>,
    scores: Vec<f64>,
}

impl Run {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let numbers = match &self.numbers {
            Some(numbers) => Arc::clone(numbers),
            None => {
                let collected = self.exec.numbers.get_or_try_init(|| collect(&self.exec.sides, &self.context)).await?;
                Arc::clone(self.numbers.insert(Arc::clone(collected)))
            }
        };
        loop {
            let time = self.baseline.elapsed_compute().clone();
            let timer = time.timer();
            let Some(pairs) = self.compare_blocks(&numbers)? else {
                self.baseline.done();
                return Ok(None);
            };
            timer.done();
            if !pairs.scores.is_empty() {
                self.baseline.record_output(pairs.scores.len());
                let columns: Vec<ArrayRef> = vec![
                    Arc::new(Int64Array::from(pairs.a)),
                    Arc::new(Int64Array::from(pairs.b)),
                    Arc::new(Float64Array::from(pairs.scores)),
                ];
                return Ok(Some(RecordBatch::try_new(self.exec.schema(), columns)?));
            }
            // A statement that is cancelled ends here.
            tokio::task::yield_now().await;
        }
    }

    /// Compares a block with the next block of the others; `None` when all are done.
    fn compare_blocks(&mut self, numbers: &Numbers) -> Result<Option<Pairs>> {
        let (Some(first), Some(last)) = (numbers.rows.first(), numbers.rows.last()) else { return Ok(None) };
        let (Some(side), Some(other)) = (self.exec.sides.first(), self.exec.sides.last()) else { return Ok(None) };
        let of_itself = numbers.rows.len() == 1;
        let block = self.block * QUERIES..first.len().min((self.block + 1) * QUERIES);
        if block.is_empty() {
            return Ok(None);
        }
        if self.queries.is_empty() {
            self.queries = prepare(&self.read(side, &first[block.clone()])?, self.exec.measure)?;
            self.next = if of_itself { block.start + 1 } else { 0 };
        }
        let width = other.source.as_ref().and_then(|s| s.fields().get(other.field)).map_or(1, |f| f.row_bytes().max(1));
        let size = (BLOCK_BYTES / width).clamp(1, BLOCK_ROWS);
        let others = self.next..last.len().min(self.next + size);
        let mut pairs = Pairs::default();
        if !others.is_empty() {
            let vectors = self.read(other, &last[others.clone()])?;
            let vectors = Vectors::try_new(&vectors)?;
            for (i, query) in block.clone().zip(&self.queries) {
                let Some(query) = query else { continue };
                let later = if of_itself { others.start.max(i + 1) } else { others.start };
                let from = later.min(others.end) - others.start;
                self.compare(query, first[i], &vectors, from, &last[others.clone()], &mut pairs)?;
            }
        }
        self.next = others.end;
        if self.next >= last.len() {
            self.block += self.exec.partitions();
            self.queries.clear();
        }
        Ok(Some(pairs))
    }

    /// Compares one row with the vectors from `from` on, whose rows are `numbers`.
    fn compare(
        &self,
        query: &PreparedQuery,
        row: u64,
        vectors: &Vectors,
        from: usize,
        numbers: &[u64],
        pairs: &mut Pairs,
    ) -> Result<()> {
        let mut scores = vec![];
        for run in vectors.runs() {
            let run = run.start.max(from)..run.end;
            if run.is_empty() {
                continue;
            }
            let dim = vectors.range(run.start).len();
            let elements = vectors.range(run.start).start..vectors.range(run.end - 1).end;
            scores.resize(run.len(), 0.0);
            each_number_type!(*vectors, values => {
                distances(&values[elements], dim, query, &mut scores).map_err(to_datafusion)
            })?;
            self.compared.add(run.len());
            for (&number, &score) in numbers[run].iter().zip(&scores) {
                let chosen = if self.exec.measure.at_least { score >= self.threshold } else { score <= self.threshold };
                if chosen {
                    pairs.a.push(row.cast_signed());
                    pairs.b.push(number.cast_signed());
                    pairs.scores.push(score);
                }
            }
        }
        Ok(())
    }

    /// The vectors of ascending rows: a view where they lie side by side.
    fn read(&self, side: &PairSide, rows: &[u64]) -> Result<ArrayRef> {
        let (Some(source), &[first, ..]) = (&side.source, rows) else {
            return internal_err!("the rows of an array that is not known");
        };
        let run: Range<u64> = first..first + rows.len() as u64;
        let whole = rows.last() == Some(&(run.end - 1)) && source.run_end(side.field, first) >= run.end;
        let block = if whole { source.read(side.field, run) } else { source.take(side.field, rows) };
        let block = block.map_err(to_datafusion)?;
        self.copied.add(usize::try_from(block.copied).unwrap_or(usize::MAX));
        Ok(block.array)
    }
}

fn prepare(vectors: &ArrayRef, measure: Measure) -> Result<Vec<Option<PreparedQuery>>> {
    let vectors = Vectors::try_new(vectors)?;
    let one = |i| match vectors.is_null(i) {
        true => Ok(None),
        false => Ok(Some(PreparedQuery::for_distance(measure.distance, &vectors.to_f64(i)?))),
    };
    (0..vectors.len()).map(one).collect()
}

/// The numbers of the rows, each once.
async fn collect(sides: &[PairSide], context: &Arc<TaskContext>) -> Result<Arc<Numbers>> {
    let reservation = MemoryConsumer::new("SimilarPairs").register(context.memory_pool());
    let mut all = vec![];
    for side in sides {
        let mut rows: Vec<u64> = vec![];
        let mut batches = execute_stream(Arc::clone(&side.rows), Arc::clone(context))?;
        while let Some(batch) = batches.next().await.transpose()? {
            reservation.try_grow(batch.num_rows() * size_of::<u64>())?;
            rows.extend(batch.column(0).as_primitive::<Int64Type>().values().iter().map(|row| row.cast_unsigned()));
        }
        rows.sort_unstable();
        rows.dedup();
        all.push(rows);
    }
    Ok(Arc::new(Numbers { rows: all, _reservation: reservation }))
}
