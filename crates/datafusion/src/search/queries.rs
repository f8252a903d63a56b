//! The query vectors, in groups that are searched for at once.

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::Int64Type;
use datafusion::common::{Result, exec_err};
use datafusion::execution::SendableRecordBatchStream;
use futures::stream::StreamExt;

use super::logical::Output;
use crate::vectors::Vectors;

/// Rows of the query plan in a group, at most, those without a vector included.
const GROUP_ROWS: i64 = 8192;

/// Queries that are searched for at once.
#[derive(Default)]
pub(super) struct QueryGroup {
    /// For each vector the `row` of its query, or its position in `outer`.
    pub(super) rows: Vec<i64>,
    pub(super) vectors: Vec<Vec<f64>>,
    /// How many rows of the query plan were read.
    pub(super) len: i64,
    /// These rows, where they come out.
    pub(super) outer: Option<RecordBatch>,
}

impl QueryGroup {
    /// The only query, perhaps without a vector.
    fn single(vector: Option<Vec<f64>>) -> Self {
        Self { rows: vec![0], vectors: Vec::from_iter(vector), len: 1, outer: None }
    }

    /// Whether there are no more queries.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The query vectors, as the query plan gives them.
pub(super) struct Queries {
    stream: SendableRecordBatchStream,
    output: Output,
    batch: Option<RecordBatch>,
    next: usize,
}

impl Queries {
    pub(super) fn new(stream: SendableRecordBatchStream, output: Output) -> Self {
        Self { stream, output, batch: None, next: 0 }
    }

    /// The one query. In [`Output::Rows`] it may be NULL or missing, which is a query without a vector.
    pub(super) async fn single(&mut self) -> Result<QueryGroup> {
        let Some((_, vector)) = self.next().await? else {
            if self.output == Output::Rows {
                return Ok(QueryGroup::single(None));
            }
            return exec_err!("the query returned no row, and one vector is needed");
        };
        if self.next().await?.is_some() {
            return exec_err!(
                "the query returned more than one row, and one vector is needed; queries => (…) asks many at once"
            );
        }
        match vector {
            None if self.output != Output::Rows => exec_err!("the query vector is NULL or has an element that is"),
            vector => Ok(QueryGroup::single(vector)),
        }
    }

    /// The next queries, as many as there is room for.
    pub(super) async fn group(&mut self, room: impl Fn(usize) -> usize) -> Result<QueryGroup> {
        let joined = matches!(self.output, Output::Joined(_));
        let mut group = QueryGroup::default();
        let mut outer: Vec<RecordBatch> = vec![];
        while group.len < GROUP_ROWS && group.vectors.first().is_none_or(|v| group.vectors.len() < room(v.len())) {
            let Some((row, vector)) = self.next().await? else { break };
            if let (true, Some(batch)) = (joined, &self.batch) {
                outer.push(batch.slice(self.next - 1, 1));
            }
            let row = if joined { group.len } else { row };
            group.len += 1;
            match vector {
                Some(vector) => {
                    group.rows.push(row);
                    group.vectors.push(vector);
                }
                None if joined => {}
                None => return exec_err!("the query vector of row {row} is NULL or has an element that is"),
            }
        }
        if let Some(first) = outer.first() {
            group.outer = Some(concat_batches(&first.schema(), &outer)?);
        }
        Ok(group)
    }

    async fn next(&mut self) -> Result<Option<(i64, Option<Vec<f64>>)>> {
        loop {
            if let Some(batch) = self.batch.as_ref().filter(|b| self.next < b.num_rows()) {
                let i = self.next;
                self.next += 1;
                let row = match self.output {
                    Output::PerQuery if batch.column(0).is_null(i) => return exec_err!("the row of a query is NULL"),
                    Output::PerQuery => batch.column(0).as_primitive::<Int64Type>().value(i),
                    _ => 0,
                };
                let vectors = Vectors::try_new(batch.column(batch.num_columns() - 1))?;
                let vector = if vectors.is_null(i) { None } else { Some(vectors.to_f64(i)?) };
                return Ok(Some((row, vector)));
            }
            match self.stream.next().await.transpose()? {
                Some(batch) => (self.batch, self.next) = (Some(batch), 0),
                None => return Ok(None),
            }
        }
    }
}
