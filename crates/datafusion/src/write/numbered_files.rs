//! A numbered series of files of DataFusion's formats: its sink writes one file after the other under one temporary name,
//! each from as many rows as one is to have.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, UInt64Array};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::datasource::file_format::parquet::ParquetSink;
use datafusion::datasource::physical_plan::FileSink;
use datafusion::datasource::sink::{DataSink, DataSinkExec};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;
use futures::lock::Mutex;
use futures::stream::Fuse;
use hyperslab_core::Error;

use super::whole_file::{Guard, Place};
use crate::files::Series;
use crate::to_datafusion;

/// Runs the sink that it is over once for each file.
#[derive(Debug)]
pub(crate) struct NumberedFilesExec {
    place: Place,
    rows_per_file: u64,
    input: Arc<dyn ExecutionPlan>,
}

impl NumberedFilesExec {
    /// Over a [`DataSinkExec`] that writes to the place's temporary name.
    pub(crate) fn new(place: Place, rows_per_file: u64, input: Arc<dyn ExecutionPlan>) -> Self {
        Self { place, rows_per_file, input }
    }
}

impl DisplayAs for NumberedFilesExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NumberedFilesExec: {}, rows_per_file={}", self.place.target.display(), self.rows_per_file)
    }
}

impl ExecutionPlan for NumberedFilesExec {
    fn name(&self) -> &str {
        "NumberedFilesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
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
        match <[Arc<dyn ExecutionPlan>; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self::new(self.place.clone(), self.rows_per_file, input))),
            Err(_) => internal_err!("NumberedFilesExec has one input"),
        }
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(sink) = self.input.downcast_ref::<DataSinkExec>() else {
            return internal_err!("NumberedFilesExec is over a sink, not over {}", self.input.name());
        };
        let rows = Rows::new(sink.input().execute(0, Arc::clone(&context))?);
        let work = write(self.place.clone(), self.rows_per_file, sink.clone(), rows, context);
        let schema = self.schema();
        let counted = Arc::clone(&schema);
        let work =
            async move { Ok(RecordBatch::try_new(counted, vec![Arc::new(UInt64Array::from(vec![work.await?]))])?) };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::once(work))))
    }
}

/// Writes all files, and says how many rows they have.
async fn write(
    place: Place,
    rows_per_file: u64,
    sink: DataSinkExec,
    rows: Rows,
    context: Arc<TaskContext>,
) -> Result<u64> {
    let mut series = Series::start(&place.target, place.overwrite).map_err(to_datafusion)?;
    // Dropped before the series: its folder is to be empty then.
    let guard = Guard(place.temporary.clone());
    let rows = Arc::new(Mutex::new(rows));
    let schema = sink.input().schema();
    loop {
        let part = Rows::part(Arc::clone(&rows), rows_per_file);
        let part: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), part));
        // A sink of Parquet writes to a name only once.
        let written = match sink.sink().downcast_ref::<ParquetSink>() {
            Some(parquet) => {
                let again = ParquetSink::new(parquet.config().clone(), parquet.parquet_options().clone());
                DataSink::write_all(&again, part, &context).await
            }
            None => sink.sink().write_all(part, &context).await,
        };
        written.map_err(|e| place.failed(e))?;
        let (from, to, target) = (place.temporary.clone(), series.add(), place.target.clone());
        blocking(move || put(&from, &to, &target)).await?;
        if !rows.lock().await.has_more().await? {
            break;
        }
    }
    drop(guard);
    blocking(move || series.publish()).await?;
    let count = rows.lock().await.count;
    Ok(count)
}

async fn blocking(work: impl FnOnce() -> hyperslab_core::Result<()> + Send + 'static) -> Result<()> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| DataFusionError::External(Box::new(e)))?.map_err(to_datafusion)
}

/// A file under the name it waits with, once it is safe on the disk.
fn put(from: &Path, to: &Path, target: &Path) -> hyperslab_core::Result<()> {
    let put = std::fs::File::open(from).and_then(|file| file.sync_all()).and_then(|()| std::fs::rename(from, to));
    put.map_err(|e| Error::io("writing", target.display(), e))
}

/// The rows of the query, of which each file takes some.
struct Rows {
    input: Fuse<SendableRecordBatchStream>,
    /// What a file has left of a batch.
    left: Option<RecordBatch>,
    /// Rows taken.
    count: u64,
}

impl Rows {
    fn new(input: SendableRecordBatchStream) -> Self {
        Self { input: input.fuse(), left: None, count: 0 }
    }

    async fn has_more(&mut self) -> Result<bool> {
        while self.left.is_none() {
            match self.input.next().await.transpose()? {
                None => return Ok(false),
                batch => self.left = batch.filter(|b| b.num_rows() > 0),
            }
        }
        Ok(true)
    }

    async fn take(&mut self, most: u64) -> Result<Option<RecordBatch>> {
        if most == 0 || !self.has_more().await? {
            return Ok(None);
        }
        let Some(batch) = self.left.take() else { return Ok(None) };
        let count = usize::try_from(most).unwrap_or(usize::MAX).min(batch.num_rows());
        self.count += count as u64;
        if count < batch.num_rows() {
            self.left = Some(batch.slice(count, batch.num_rows() - count));
        }
        Ok(Some(batch.slice(0, count)))
    }

    /// The next rows, as many as asked for if there are so many.
    fn part(rows: Arc<Mutex<Self>>, most: u64) -> impl futures::Stream<Item = Result<RecordBatch>> + Send {
        futures::stream::try_unfold((rows, most), |(rows, most)| async move {
            let batch = rows.lock().await.take(most).await?;
            Ok(batch.map(|batch| {
                let left = most - batch.num_rows() as u64;
                (batch, (rows, left))
            }))
        })
    }
}
