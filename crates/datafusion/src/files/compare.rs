//! What was written, beside what it was written from.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::{Result, exec_err};
use datafusion::dataframe::DataFrame;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use futures::StreamExt;
use hyperslab_core::arrow;

use crate::write::convert::{Rows, convert};
use crate::write::flatten::FlattenCells;
use crate::write::in_order::InOrder;
use crate::write::without_row;

/// Characters of a value in a message.
const SHOWN: usize = 80;

/// Compares two queries row by row, in their order and without the generated `row`; columns by position, the second one's
/// as the first one's types. Where there are more of them, the cells of the first are taken apart as in CSV. NaNs are
/// equal, whatever their bits. How many rows there were.
///
/// # Errors
/// The first difference, with its row and field; another number of rows or columns; the queries'.
pub async fn compare(expected: DataFrame, found: DataFrame) -> Result<u64> {
    let columns = |frame: &DataFrame| without_row(frame.logical_plan().clone()).map(|p| p.schema().fields().len());
    let flat = columns(&expected)? != columns(&found)?;
    let mut expected = Side::start(expected, flat).await?;
    let mut found = Side::start(found, false).await?;
    let mut row = 0;
    loop {
        let (a, b) = (expected.fill().await?, found.fill().await?);
        let n = a.min(b);
        if n == 0 {
            let more =
                |what: &str| exec_err!("{what} rows were read back than the {} that were written", row + a as u64);
            return match (a, b) {
                (0, 0) => Ok(row),
                (0, _) => more("more"),
                _ => exec_err!("only {row} rows were read back, and there are more"),
            };
        }
        same(&expected.take(n), &found.take(n), row)?;
        row += n as u64;
        tokio::task::yield_now().await;
    }
}

struct Side {
    batches: SendableRecordBatchStream,
    batch: Option<RecordBatch>,
}

impl Side {
    async fn start(frame: DataFrame, flat: bool) -> Result<Self> {
        let (state, plan) = frame.into_parts();
        let mut plan: LogicalPlan = InOrder::plan(without_row(plan)?)?;
        if flat {
            plan = FlattenCells::plan(plan)?;
        }
        Ok(Self { batches: DataFrame::new(state, plan).execute_stream().await?, batch: None })
    }

    /// The rows at hand; 0 at the end.
    async fn fill(&mut self) -> Result<usize> {
        loop {
            if let Some(batch) = self.batch.as_ref().filter(|b| b.num_rows() > 0) {
                return Ok(batch.num_rows());
            }
            match self.batches.next().await {
                Some(batch) => self.batch = Some(batch?),
                None => return Ok(0),
            }
        }
    }

    fn take(&mut self, n: usize) -> RecordBatch {
        let Some(batch) = self.batch.take() else { return RecordBatch::new_empty(self.batches.schema()) };
        self.batch = Some(batch.slice(n, batch.num_rows() - n));
        batch.slice(0, n)
    }
}

fn same(expected: &RecordBatch, found: &RecordBatch, first: u64) -> Result<()> {
    let (a, b) = (expected.num_columns(), found.num_columns());
    if a != b {
        return exec_err!("{b} columns were read back, and {a} were written");
    }
    let schema = expected.schema();
    for ((field, a), b) in schema.fields().iter().zip(expected.columns()).zip(found.columns()) {
        let name = field.name();
        let b = match arrow::from_field(&field.as_ref().clone().with_name("value")) {
            _ if a.data_type() == b.data_type() => Arc::clone(b),
            Ok(spec) => convert(&spec.with_nullable(true), b, Rows::Input(first))
                .map_err(|e| e.context(format!("comparing the field {name:?}")))?,
            Err(_) => cast(b, a.data_type())?,
        };
        // Most often all is the same, which is one comparison of memory.
        if a.to_data() == b.to_data() {
            continue;
        }
        if let Some(row) = (0..a.len()).find(|&row| differ(a, &b, row)) {
            let (a, b) = (shown(a, row), shown(&b, row));
            return exec_err!("row {}, field {name:?}: {a} was written, and {b} is read back", first + row as u64);
        }
    }
    Ok(())
}

/// Texts of floats are the shortest that give them back, so that equal ones are of equal values; of NaNs there is one.
fn differ(a: &ArrayRef, b: &ArrayRef, row: usize) -> bool {
    a.slice(row, 1).to_data() != b.slice(row, 1).to_data() && text(a, row) != text(b, row)
}

fn text(array: &ArrayRef, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    array_value_to_string(array, row).ok()
}

fn shown(array: &ArrayRef, row: usize) -> String {
    let text = text(array, row).unwrap_or_else(|| "NULL".to_owned());
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
