//! The batches of one partition.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{DynamicFilterTracker, DynamicFilterTracking};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, RecordOutput,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use hyperslab_core::ArraySource;

use super::{ArrayScanExec, RowFilter, RowRanges};
use crate::error::to_datafusion;

/// A batch has about this many bytes of values …
const BATCH_BYTES: u64 = 1 << 20;
/// … but at most this many rows,
const MAX_ROWS: u64 = 65_536;
/// and at least this many, while that is below
const MIN_ROWS: u64 = 1024;
/// this many bytes.
const MAX_BATCH_BYTES: u64 = 32 << 20;

/// Pieces with fewer rows and bytes than these are short: many of them in a row are joined by copying, since a batch
/// of its own for each would cost more than the copy.
const SHORT_ROWS: u64 = 1024;
const SHORT_BYTES: u64 = 64 << 10;
/// How many short pieces in a row are many.
const MANY_PIECES: usize = 8;

/// Starts reading a partition.
pub(super) fn start(scan: &ArrayScanExec, partition: usize) -> SendableRecordBatchStream {
    let schema = scan.schema();
    let batches = Batches::new(scan, partition);
    let stream = futures::stream::iter(batches);
    make_cooperative(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
}

/// What one batch is made of.
enum Piece {
    /// Consecutive rows, which the source gives as views.
    Run(Range<u64>),
    /// Scattered rows.
    Rows(Vec<u64>),
}

struct Batches {
    reader: Reader,
    schema: SchemaRef,
    batch_rows: u64,
    backwards: bool,
    left: VecDeque<Range<u64>>,
    filters: Vec<LiveFilter>,
    baseline: BaselineMetrics,
    pruned: Count,
    failed: bool,
}

/// Reads columns of a source, and counts what that copies.
pub(super) struct Reader {
    source: Arc<dyn ArraySource>,
    /// The fields to read, and `None` for `row`.
    columns: Vec<Option<usize>>,
    row_bytes: u64,
    mapped: Count,
    copied: Count,
}

/// A filter that others fill while the scan runs.
struct LiveFilter {
    expr: Arc<dyn PhysicalExpr>,
    tracking: DynamicFilterTracking,
    fresh: bool,
}

impl Batches {
    fn new(scan: &ArrayScanExec, partition: usize) -> Self {
        let reader = Reader::new(scan, &scan.metrics, partition);
        let live = |expr: &Arc<dyn PhysicalExpr>| LiveFilter {
            expr: Arc::clone(expr),
            tracking: DynamicFilterTracking::classify(expr),
            fresh: true,
        };
        Self {
            schema: scan.schema(),
            batch_rows: batch_rows(reader.row_bytes),
            backwards: scan.backwards,
            left: scan.partition_rows(partition).ranges().iter().cloned().collect(),
            filters: scan.dynamic.iter().map(live).collect(),
            baseline: BaselineMetrics::new(&scan.metrics, partition),
            pruned: MetricBuilder::new(&scan.metrics).counter("rows_pruned", partition),
            reader,
            failed: false,
        }
    }

    /// Leaves out the rows that the filters, as they stand now, exclude.
    fn prune(&mut self) {
        let mut ranges: Option<RowRanges> = None;
        for filter in &mut self.filters {
            if !filter.changed() {
                continue;
            }
            if let Some(found) = RowFilter::of_physical(&filter.expr, &self.schema, self.reader.source.rows()) {
                ranges = Some(ranges.map_or_else(|| found.ranges.clone(), |r| r.intersect(&found.ranges)));
            }
        }
        let Some(allowed) = ranges else { return };
        let left = RowRanges::from_ranges(self.left.iter().cloned().collect());
        let kept = left.intersect(&allowed);
        self.pruned.add(usize::try_from(left.rows() - kept.rows()).unwrap_or(usize::MAX));
        self.left = kept.ranges().iter().cloned().collect();
    }

    /// The longest piece at `rows.start` that every field gives without joining.
    fn run(&self, rows: &Range<u64>) -> Range<u64> {
        let end = rows.end.min(rows.start + self.batch_rows);
        rows.start..self.reader.run_end(rows.start).min(end).max(rows.start + 1)
    }

    fn is_short(&self, rows: &Range<u64>) -> bool {
        let count = rows.end - rows.start;
        count < SHORT_ROWS && count * self.reader.row_bytes < SHORT_BYTES
    }

    /// The last run of the rows that are left.
    fn last_piece(&mut self) -> Option<Piece> {
        let range = self.left.back()?.clone();
        let mut run = self.run(&(range.start.max(range.end.saturating_sub(self.batch_rows))..range.end));
        while run.end < range.end {
            run = self.run(&(run.end..range.end));
        }
        self.left.pop_back();
        if range.start < run.start {
            self.left.push_back(range.start..run.start);
        }
        Some(Piece::Run(run))
    }

    fn next_piece(&mut self) -> Option<Piece> {
        if self.backwards {
            return self.last_piece();
        }
        let first = self.run(self.left.front()?);
        let mut short = Vec::new();
        let mut rows = 0;
        let mut ranges = self.left.iter();
        let mut range = ranges.next().cloned();
        while let Some(rest) = range {
            let piece = self.run(&rest);
            rows += piece.end - piece.start;
            if !self.is_short(&piece) || rows > self.batch_rows {
                break;
            }
            range = if piece.end < rest.end { Some(piece.end..rest.end) } else { ranges.next().cloned() };
            short.push(piece);
        }
        let piece = if short.len() < MANY_PIECES {
            self.advance(first.end);
            Piece::Run(first)
        } else {
            self.advance(short.last()?.end);
            Piece::Rows(short.into_iter().flatten().collect())
        };
        Some(piece)
    }

    /// Forgets the rows before `row`.
    fn advance(&mut self, row: u64) {
        while self.left.front().is_some_and(|r| r.end <= row) {
            self.left.pop_front();
        }
        if let Some(front) = self.left.front_mut() {
            front.start = front.start.max(row);
        }
    }

    fn read(&self, piece: &Piece) -> Result<RecordBatch> {
        let columns = self.reader.columns(piece)?;
        let options = RecordBatchOptions::new().with_row_count(Some(piece.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

impl Reader {
    /// Reads the columns of a scan; the metrics go to `metrics`.
    pub(super) fn new(scan: &ArrayScanExec, metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let source = Arc::clone(scan.source());
        let columns: Vec<_> = scan.projection().iter().map(|c| c.checked_sub(1)).collect();
        let fields = columns.iter().flatten().filter_map(|&i| source.fields().get(i));
        let row_bytes = fields.map(|f| super::batch_width(f) as u64).sum::<u64>();
        let counter = |name| MetricBuilder::new(metrics).counter(name, partition);
        Self { columns, row_bytes, mapped: counter("bytes_mapped"), copied: counter("bytes_copied"), source }
    }

    /// Bytes of values per row.
    pub(super) fn row_bytes(&self) -> u64 {
        self.row_bytes
    }

    /// The columns of some rows, in the given order: views where the rows are consecutive.
    pub(super) fn rows(&self, rows: &[u64]) -> Result<Vec<ArrayRef>> {
        let run = rows.first().map_or(0..0, |&first| first..first.saturating_add(rows.len() as u64));
        let whole = rows.iter().copied().eq(run.clone()) && self.run_end(run.start) >= run.end;
        if whole && !rows.is_empty() {
            self.columns(&Piece::Run(run))
        } else {
            self.columns(&Piece::Rows(rows.to_vec()))
        }
    }

    /// The end of the longest run that every field gives without joining.
    fn run_end(&self, row: u64) -> u64 {
        let ends = self.columns.iter().flatten().map(|&field| self.source.run_end(field, row));
        ends.fold(u64::MAX, u64::min)
    }

    fn columns(&self, piece: &Piece) -> Result<Vec<ArrayRef>> {
        let columns = self.columns.iter().map(|&column| match column {
            None => Ok(row_column(piece)),
            Some(field) => self.field(field, piece),
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        if columns.iter().any(|c| c.len() != piece.len()) {
            return internal_err!("a source gave another number of rows than the {} asked for", piece.len());
        }
        Ok(columns)
    }

    fn field(&self, field: usize, piece: &Piece) -> Result<ArrayRef> {
        let block = match piece {
            Piece::Run(run) => self.source.read(field, run.clone()),
            Piece::Rows(rows) => self.source.take(field, rows),
        };
        let block = block.map_err(to_datafusion)?;
        if block.copied == 0 {
            let width = self.source.fields().get(field).map_or(0, |f| f.row_bytes());
            self.mapped.add(block.array.len() * width);
        } else {
            self.copied.add(usize::try_from(block.copied).unwrap_or(usize::MAX));
        }
        Ok(block.array)
    }
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Run(run) => usize::try_from(run.end - run.start).unwrap_or(usize::MAX),
            Self::Rows(rows) => rows.len(),
        }
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let time = self.baseline.elapsed_compute().clone();
        let _timer = time.timer();
        self.prune();
        let Some(piece) = self.next_piece() else {
            self.baseline.done();
            return None;
        };
        let batch = self.read(&piece);
        self.failed = batch.is_err();
        Some(batch.record_output(&self.baseline))
    }
}

impl LiveFilter {
    /// Whether the filter may say something else than at the last call; true the first time.
    fn changed(&mut self) -> bool {
        let updated = self.tracking.watcher().is_some_and(DynamicFilterTracker::changed);
        std::mem::take(&mut self.fresh) || updated
    }
}

/// The rows of a batch whose rows have so many bytes.
pub(super) fn batch_rows(row_bytes: u64) -> u64 {
    let row_bytes = row_bytes.max(1);
    (BATCH_BYTES / row_bytes).max(MIN_ROWS.min(MAX_BATCH_BYTES / row_bytes)).clamp(1, MAX_ROWS)
}

fn row_column(piece: &Piece) -> ArrayRef {
    // Row numbers fit i64: a source has at most that many rows.
    Arc::new(match piece {
        Piece::Run(run) => Int64Array::from_iter_values(run.start as i64..run.end as i64),
        Piece::Rows(rows) => rows.iter().map(|&r| r as i64).collect::<Vec<_>>().into(),
    })
}
