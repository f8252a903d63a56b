//! Rows by number: what a join of something with an array's `row` reads.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt64Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::cast::as_int64_array;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Statistics, internal_err};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use futures::{StreamExt, stream};

use super::ArrayScanExec;
use super::stream::{Reader, batch_rows};
use crate::table::ROW;

/// A join on `row = key`: for every row of the input, the row of the array that its key names, read by position. There
/// is no hash table, the array is never read as a whole, and nothing is held but a batch.
///
/// The output is the input's columns, then the array's. Rows whose key names no row are left out, or kept with NULLs.
#[derive(Debug, Clone)]
pub(crate) struct RowLookupExec {
    input: Arc<dyn ExecutionPlan>,
    key: Arc<dyn PhysicalExpr>,
    /// The columns, and the rows that may be found.
    scan: ArrayScanExec,
    keep_unmatched: bool,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl RowLookupExec {
    /// Looks up `key`, an Int64 over `input`'s columns, among the rows of `scan`.
    pub(crate) fn try_new(
        input: Arc<dyn ExecutionPlan>,
        key: Arc<dyn PhysicalExpr>,
        scan: ArrayScanExec,
        keep_unmatched: bool,
    ) -> Result<Self> {
        let before = input.schema();
        let after = scan.schema();
        let found = after
            .fields()
            .iter()
            .map(|f| if keep_unmatched { Arc::new(f.as_ref().clone().with_nullable(true)) } else { Arc::clone(f) });
        let fields: Vec<_> = before.fields().iter().cloned().chain(found).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, before.metadata().clone()));
        // The input's columns stand where they stood, and rows keep their order.
        let order = input.output_ordering().map(|o| o.iter().cloned().collect::<Vec<_>>());
        let mut equivalence = EquivalenceProperties::new_with_orderings(schema, order);
        if !keep_unmatched && let Some(row) = row_column(&scan) {
            let row = Column::new(ROW, before.fields().len() + row);
            equivalence.add_equal_conditions(Arc::clone(&key), Arc::new(row))?;
        }
        let properties = PlanProperties::new(
            equivalence,
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Self { input, key, scan, keep_unmatched, properties: Arc::new(properties), metrics })
    }

    /// The input.
    pub(crate) fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// The input's column that has the values of an output column, also for the array's `row`, which is the key.
    pub(crate) fn origin(&self, column: usize) -> Option<usize> {
        let Some(of_array) = column.checked_sub(self.input.schema().fields().len()) else { return Some(column) };
        let is_key = !self.keep_unmatched && row_column(&self.scan) == Some(of_array);
        is_key.then(|| self.key.downcast_ref::<Column>().map(Column::index))?
    }
}

/// Where `row` is among a scan's columns.
fn row_column(scan: &ArrayScanExec) -> Option<usize> {
    scan.projection().iter().position(|&column| column == 0)
}

impl DisplayAs for RowLookupExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.scan.schema();
        let columns = schema.fields().iter().map(|c| c.name().as_str()).collect::<Vec<_>>().join(", ");
        let name = self.scan.table().scan_name();
        if format == DisplayFormatType::TreeRender {
            return write!(f, "array={name}\ncolumns={columns}\nrow={}", self.key);
        }
        let rows = self.scan.rows();
        write!(f, "RowLookupExec: {name}, columns=[{columns}], rows={rows}, on row={}", self.key)?;
        if self.keep_unmatched { write!(f, ", unmatched kept") } else { Ok(()) }
    }
}

impl ExecutionPlan for RowLookupExec {
    fn name(&self) -> &str {
        "RowLookupExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        f(&self.key)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = <[_; 1]>::try_from(children)
            .or_else(|c| internal_err!("a look-up of rows has one input, not {}", c.len()))?;
        Ok(Arc::new(Self::try_new(input, Arc::clone(&self.key), self.scan.clone(), self.keep_unmatched)?))
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema());
        if let [input] = inputs {
            // Every row of the input finds one row at most.
            statistics.num_rows = if self.keep_unmatched { input.num_rows } else { input.num_rows.to_inexact() };
        }
        Ok(Arc::new(statistics))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let lookup = Arc::new(Lookup {
            key: Arc::clone(&self.key),
            reader: Reader::new(&self.scan, &self.metrics, partition),
            scan: self.scan.clone(),
            keep_unmatched: self.keep_unmatched,
            schema: self.schema(),
            baseline: BaselineMetrics::new(&self.metrics, partition),
        });
        let batches = self.input.execute(partition, context)?.flat_map(move |batch| {
            let lookup = Arc::clone(&lookup);
            let pieces = match batch {
                Ok(batch) => lookup.pieces(&batch).into_iter().map(Ok).collect(),
                Err(e) => vec![Err(e)],
            };
            stream::iter(pieces.into_iter().map(move |piece| lookup.join(&piece?)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

struct Lookup {
    key: Arc<dyn PhysicalExpr>,
    reader: Reader,
    scan: ArrayScanExec,
    keep_unmatched: bool,
    schema: SchemaRef,
    baseline: BaselineMetrics,
}

impl Lookup {
    /// Cuts a batch so that the rows found for a piece are not too many bytes.
    fn pieces(&self, batch: &RecordBatch) -> Vec<RecordBatch> {
        let step = usize::try_from(batch_rows(self.reader.row_bytes())).unwrap_or(usize::MAX);
        let starts = (0..batch.num_rows()).step_by(step);
        starts.map(|start| batch.slice(start, step.min(batch.num_rows() - start))).collect()
    }

    fn join(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let time = self.baseline.elapsed_compute().clone();
        let _timer = time.timer();
        let keys = self.key.evaluate(batch)?.into_array(batch.num_rows())?;
        let (places, rows) = self.find(as_int64_array(&keys)?);
        let found = self.reader.rows(&rows)?;
        let all = rows.len() == batch.num_rows();
        let columns: Vec<ArrayRef> = if all {
            batch.columns().iter().cloned().chain(found).collect()
        } else if self.keep_unmatched {
            let mut spread: Vec<Option<u64>> = vec![None; batch.num_rows()];
            for (i, &place) in (0..).zip(&places) {
                if let Some(slot) = usize::try_from(place).ok().and_then(|p| spread.get_mut(p)) {
                    *slot = Some(i);
                }
            }
            let spread = UInt64Array::from(spread);
            let found = found.iter().map(|c| take(c.as_ref(), &spread, None));
            batch.columns().iter().cloned().map(Ok).chain(found).collect::<std::result::Result<_, _>>()?
        } else {
            let places = UInt64Array::from(places);
            let input = batch.columns().iter().map(|c| take(c.as_ref(), &places, None));
            input.chain(found.into_iter().map(Ok)).collect::<std::result::Result<_, _>>()?
        };
        let count = if self.keep_unmatched { batch.num_rows() } else { rows.len() };
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let joined = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        Ok(joined.record_output(&self.baseline))
    }

    /// The places of the keys that name a row, and these rows.
    fn find(&self, keys: &Int64Array) -> (Vec<u64>, Vec<u64>) {
        let mut places = Vec::with_capacity(keys.len());
        let mut rows = Vec::with_capacity(keys.len());
        for (place, key) in (0..).zip(keys) {
            let row = key.and_then(|k| u64::try_from(k).ok());
            if let Some(row) = row.filter(|&r| self.scan.rows().contains(r)) {
                places.push(place);
                rows.push(row);
            }
        }
        (places, rows)
    }
}
