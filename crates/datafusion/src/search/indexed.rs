//! Searches by a sketch index: the codes of all rows are scanned, and the full vectors of those that may be among the
//! k best are ranked. What comes out is what ranking all rows gives, bit for bit; where that is not certain, or the codes
//! cannot be read, all rows are ranked.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray};
use datafusion::arrow::buffer::ScalarBuffer;
use datafusion::arrow::datatypes::{ArrowPrimitiveType, Float32Type, UInt8Type};
use datafusion::common::runtime::JoinSet;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, Time};
use datafusion::physical_plan::projection::ProjectionExec;
use hyperslab_core::ArraySource;
use hyperslab_store::{Array, IndexInfo};
use hyperslab_vector::{
    Candidates, Distance, Metric, PreparedQuery, SketchCounts, SketchQuery, SketchSpec, SpecialRows, TopK, distances,
};

use super::exec::Parts;
use super::logical::{Order, Search};
use super::rank::{Best, Ranking};
use super::{lineage, stream};
use crate::error::to_datafusion;
use crate::index::{SKETCH, SketchIndex};
use crate::scan::ArrayScanExec;
use crate::table::Origin;
use crate::vectors::{Vectors, each_number_type};

/// Bytes of codes that are scanned at once.
const CHUNK_BYTES: usize = 2 << 20;

/// Runs of fewer rows are joined with those behind them.
const SHORT_ROWS: u64 = 1024;

/// Bytes of vectors that are ranked at once.
const TAKEN_BYTES: usize = 1 << 20;

/// All rows are ranked if an index leaves more than one in so many,
const FEW: u64 = 8;

/// and more than these.
const MANY: u64 = 4096;

/// An index that covers fewer than all but one in so many rows is not used.
const COVERED: u64 = 16;

/// An index that a search may use.
#[derive(Debug, Clone)]
pub(super) struct Sketched {
    pub(super) name: String,
    array: Array,
    /// The vectors.
    field: usize,
    codes: usize,
    params: usize,
    spec: SketchSpec,
    /// In whose order the rows are found.
    metric: Metric,
}

/// What searches by index count.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    pruned: Count,
    reranked: Count,
}

impl Counts {
    pub(super) fn new(metrics: &ExecutionPlanMetricsSet) -> Self {
        let counter = |name| MetricBuilder::new(metrics).counter(name, 0);
        Self { pruned: counter("rows_pruned"), reranked: counter("rows_reranked") }
    }

    fn add(&self, counts: SketchCounts) {
        let add = |to: &Count, n: u64| to.add(usize::try_from(n).unwrap_or(usize::MAX));
        add(&self.pruned, counts.pruned());
        add(&self.reranked, counts.reranked);
    }
}

impl Sketched {
    /// The index of the array that a search reads, if there is one by which its order can be found.
    pub(super) fn of(search: &Search) -> Option<Self> {
        let metric = metric(search.order).filter(|_| !search.output.is_batch())?;
        let origin = lineage::origin(&search.input, &search.value)?;
        let Origin::Store { array, .. } = origin.table()?.origin() else { return None };
        let field = origin.column.checked_sub(1)?;
        let field_spec = array.fields().get(field)?;
        let usable = |info: &IndexInfo| {
            info.kind == SKETCH
                && info.field == field_spec.name()
                && info.columns.len() == 2
                && info.rows >= array.rows() - array.rows() / COVERED
        };
        // An array whose indexes cannot be told is read without them; reading it says what is wrong.
        let info = array.indexes().ok()?.into_iter().find(usable)?;
        let spec = SketchIndex::spec(field_spec, &info.options).ok()?;
        let (codes, params) = (info.columns.start, info.columns.start + 1);
        Some(Self { name: info.name, array: array.clone(), field, codes, params, spec, metric })
    }

    /// The rows are told apart by their numbers alone, and are those of a scan.
    fn scan<'a>(&self, parts: &'a Parts) -> Option<&'a ArrayScanExec> {
        let source = parts.source.as_ref().filter(|_| stream::is_found_by_row(parts))?;
        scan_of(&parts.input).filter(|scan| Arc::ptr_eq(scan.source(), source))
    }

    fn warn(&self, error: &hyperslab_core::Error) {
        let (name, array) = (&self.name, self.array.name());
        log::warn!(
            "index {name} of {array} cannot be read, so that all rows are: {error}. CHECK says what is damaged; DROP \
             INDEX and CREATE INDEX make it anew"
        );
    }
}

/// The index that a search with such parts uses.
pub(super) fn used(parts: &Parts) -> Option<&Sketched> {
    parts.index.as_ref().filter(|index| index.scan(parts).is_some())
}

/// The metric by which rows that are numbers come in an order.
fn metric(order: Order) -> Option<Metric> {
    let metric = match order {
        Order::Metric(metric) => metric,
        Order::Sql { distance, descending, .. } => match (distance, descending) {
            (Distance::L2, false) => Metric::L2,
            (Distance::L2sq, false) => Metric::L2sq,
            (Distance::CosineDistance, false) => Metric::Cosine,
            (Distance::CosineSimilarity, true) => Metric::CosineSimilarity,
            (Distance::NegativeInnerProduct, false) | (Distance::InnerProduct, true) => Metric::Dot,
            _ => return None,
        },
    };
    SketchSpec::supports(metric.distance()).then_some(metric)
}

/// The scan whose rows, all of them, a plan hands on.
fn scan_of(plan: &Arc<dyn ExecutionPlan>) -> Option<&ArrayScanExec> {
    if let Some(scan) = plan.downcast_ref::<ArrayScanExec>() {
        return Some(scan);
    }
    let child = match plan.children().as_slice() {
        [child] => *child,
        _ => return None,
    };
    let hands_on = plan.downcast_ref::<ProjectionExec>().is_some() || plan.downcast_ref::<CooperativeExec>().is_some();
    if hands_on { scan_of(child) } else { None }
}

/// The best rows, if an index finds them.
pub(super) async fn search(
    parts: &Parts,
    ranking: &Ranking,
    context: &Arc<TaskContext>,
    counts: &Counts,
    time: &Time,
) -> Result<Option<Best>> {
    let (Some(index), [query]) = (&parts.index, ranking.queries.as_slice()) else { return Ok(None) };
    let Some(scan) = index.scan(parts) else { return Ok(None) };
    let query = PreparedQuery::for_distance(index.metric.distance(), query.values());
    // Of a query of another length the exact search says so.
    let Ok(sketch) = SketchQuery::new(&query, index.spec) else { return Ok(None) };
    let most = MANY.max(scan.rows().rows() / FEW);
    if !sketch.prunes() || ranking.k as u64 > most / 2 {
        return Ok(None);
    }
    let (sketch, index) = (Arc::new(sketch), Arc::new(index.clone()));
    let all = Candidates::new(&sketch, ranking.k);
    let abandoned = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for partition in 0..=scan.splits().len() {
        let name = format!("SketchSearch[{partition}]");
        let task = Task {
            index: Arc::clone(&index),
            query: Arc::clone(&sketch),
            share: (partition, scan.splits().len() + 1),
            ranges: scan.partition_rows(partition).ranges().to_vec(),
            candidates: all.fork(),
            most,
            abandoned: Arc::clone(&abandoned),
            time: time.clone(),
            reservation: MemoryConsumer::new(name).register(context.memory_pool()),
        };
        tasks.spawn(task.run());
    }
    let mut all = all;
    let mut reservations = vec![];
    while let Some(part) = tasks.join_next().await {
        let (part, reservation) = part.map_err(|e| DataFusionError::ExecutionJoin(Box::new(e)))??;
        all.merge(part);
        reservations.push(reservation);
    }
    if abandoned.load(Relaxed) {
        return Ok(None);
    }
    let _timer = time.timer();
    let Some((top, special)) = rerank(&index, &query, all, most, counts)? else { return Ok(None) };
    Ok(is_first(&top, special, ranking).then(|| Best::Metric(vec![top])))
}

/// Scans the codes of a partition.
struct Task {
    index: Arc<Sketched>,
    query: Arc<SketchQuery>,
    /// Which of how many shares of the files are compared with their checksums here, once.
    share: (usize, usize),
    ranges: Vec<Range<u64>>,
    candidates: Candidates,
    /// More candidates are not worth it.
    most: u64,
    /// Whether all rows are to be ranked instead.
    abandoned: Arc<AtomicBool>,
    time: Time,
    reservation: MemoryReservation,
}

impl Task {
    async fn run(mut self) -> Result<(Candidates, MemoryReservation)> {
        let (part, parts) = self.share;
        if let Err(error) = self.index.array.verify_index(&self.index.name, part, parts) {
            self.abandon(&error);
        }
        let chunk = (CHUNK_BYTES / self.index.spec.code_bytes()).max(1) as u64;
        for range in std::mem::take(&mut self.ranges) {
            let mut next = range.start;
            while next < range.end && !self.abandoned.load(Relaxed) {
                next = self.scan(next..range.end.min(next + chunk))?;
                // So that a search that is given up ends.
                tokio::task::yield_now().await;
            }
        }
        Ok((self.candidates, self.reservation))
    }

    /// Scans the first of some rows, and says where it ended.
    fn scan(&mut self, rows: Range<u64>) -> Result<u64> {
        let _timer = self.time.timer();
        let index = &self.index;
        let run = |column| index.array.run_end(column, rows.start);
        let end = rows.end.min(run(index.codes).min(run(index.params)).max(rows.start + SHORT_ROWS));
        let read = || -> hyperslab_core::Result<_> {
            let codes = numbers::<UInt8Type>(&index.array.read(index.codes, rows.start..end)?.array);
            let params = numbers::<Float32Type>(&index.array.read(index.params, rows.start..end)?.array);
            match params.len() as u64 == (end - rows.start) * index.spec.params() as u64 {
                true => Ok((codes, params)),
                false => Err(hyperslab_core::Error::corrupt("its columns are not those of a sketch")),
            }
        };
        let scanned =
            read().and_then(|(codes, params)| self.query.scan(&codes, &params, rows.start, &mut self.candidates));
        if let Err(error) = scanned {
            self.abandon(&error);
        } else if self.candidates.len() as u64 > 2 * self.most {
            self.abandoned.store(true, Relaxed);
        }
        self.reservation.try_resize(self.candidates.memory_size())?;
        Ok(end)
    }

    /// All rows are to be ranked instead, since the index cannot be read.
    fn abandon(&self, error: &hyperslab_core::Error) {
        if !self.abandoned.swap(true, Relaxed) {
            self.index.warn(error);
        }
    }
}

/// The elements of a column of lists, not copied; none if it is of another type.
fn numbers<T: ArrowPrimitiveType>(column: &ArrayRef) -> ScalarBuffer<T::Native> {
    let list = column.as_fixed_size_list_opt();
    let numbers = list.and_then(|list| {
        let (start, width) = (list.value_offset(0), list.value_length());
        let len = list.len() * usize::try_from(width).ok()?;
        Some(list.values().as_primitive_opt::<T>()?.values().slice(usize::try_from(start).ok()?, len))
    });
    numbers.unwrap_or_default()
}

/// Ranks the candidates by their full vectors, unless they are too many.
fn rerank(
    index: &Sketched,
    query: &PreparedQuery,
    mut candidates: Candidates,
    most: u64,
    counts: &Counts,
) -> Result<Option<(TopK, SpecialRows)>> {
    let mut top = TopK::new(candidates.k(), index.metric);
    let mut special = candidates.special();
    let row_bytes = index.array.fields().get(index.field).map_or(1, |field| field.row_bytes());
    let piece = (TAKEN_BYTES / row_bytes.max(1)).max(1);
    let mut scores = vec![];
    loop {
        let rows = candidates.next_rows(&top).map_err(to_datafusion)?;
        if rows.is_empty() {
            counts.add(candidates.counts());
            return Ok(Some((top, special)));
        }
        if candidates.counts().reranked > most {
            return Ok(None);
        }
        for rows in rows.chunks(piece) {
            let block = index.array.take(index.field, rows).map_err(to_datafusion)?;
            let vectors = Vectors::try_new(&block.array)?;
            let Some((dim, range)) = vectors.dense() else { return Ok(None) };
            scores.clear();
            scores.resize(rows.len(), 0.0);
            each_number_type!(vectors, values => {
                distances(&values[range], dim, query, &mut scores).map_err(to_datafusion)
            })?;
            for (&score, &row) in scores.iter().zip(rows) {
                special.nans |= score.is_nan();
                top.push(score, row);
            }
        }
    }
}

/// Whether the best rows by the metric come first in the order asked for, which may place NaN and NULL elsewhere.
fn is_first(top: &TopK, special: SpecialRows, ranking: &Ranking) -> bool {
    let Order::Sql { distance, descending, nulls_first } = ranking.order else { return true };
    if descending && special.nans {
        return false;
    }
    // Less than this is the cosine distance of no row of zeros, which is NULL here and 1 by the metric.
    let worst = top.threshold();
    let is_number = worst.is_some_and(|worst| !worst.is_nan());
    match distance {
        _ if !is_number && special.nans => false,
        Distance::CosineDistance if special.zeros => !nulls_first && worst.is_some_and(|worst| worst < 1.0),
        Distance::CosineSimilarity if special.zeros => !nulls_first && worst.is_some_and(|worst| worst > 0.0),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
