//! A Parquet file read page by page: DataFusion's reader holds a whole row group, which is as large as whoever wrote the
//! file liked, and batches of as many rows whatever their width.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::PartitionStream;

/// Bytes of a batch, about.
const BATCH_BYTES: i64 = 4 << 20;
/// The most rows of a batch.
const BATCH_ROWS: i64 = 8192;
/// Batches that wait for being written.
const WAITING: usize = 2;

/// The rows of a file.
#[derive(Debug)]
struct Pages {
    path: PathBuf,
    schema: SchemaRef,
    read: Arc<AtomicU64>,
}

/// A table of a file's rows, how many there are, and the number of those that were read since the last scan began.
pub(super) fn table(path: &Path) -> Result<(StreamingTable, u64, Arc<AtomicU64>)> {
    let builder = open(path)?;
    let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
    let (schema, read) = (Arc::clone(builder.schema()), Arc::new(AtomicU64::new(0)));
    let pages = Pages { path: path.to_owned(), schema: Arc::clone(&schema), read: Arc::clone(&read) };
    Ok((StreamingTable::try_new(schema, vec![Arc::new(pages)])?, rows, read))
}

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let failed = |e: std::io::Error| DataFusionError::Execution(format!("opening {} failed: {e}", path.display()));
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).map_err(failed)?)?;
    let groups = builder.metadata().row_groups();
    let bytes: i64 = groups.iter().map(|group| group.total_byte_size()).sum();
    let rows = builder.metadata().file_metadata().num_rows();
    let rows = BATCH_BYTES.saturating_mul(rows.max(1)) / bytes.max(1);
    Ok(builder.with_batch_size(usize::try_from(rows.clamp(1, BATCH_ROWS)).unwrap_or(1)))
}

impl PartitionStream for Pages {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), WAITING);
        let sender = stream.tx();
        let (path, read) = (self.path.clone(), Arc::clone(&self.read));
        read.store(0, Ordering::Relaxed);
        stream.spawn_blocking(move || {
            for batch in open(&path)?.build()? {
                let batch = batch?;
                read.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                // Nobody wants the rest.
                if sender.blocking_send(Ok(batch)).is_err() {
                    break;
                }
            }
            Ok(())
        });
        stream.build()
    }
}
