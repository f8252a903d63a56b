//! The query vectors, in groups that are searched for at once.

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::interleave_record_batch;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::execution::SendableRecordBatchStream;
use futures::stream::StreamExt;
use hyperslab_vector::{PreparedQuery, TopK, search_block};

use super::logical::{Order, Output};
use super::rank::Ranking;
use crate::error::to_datafusion;
use crate::table::ROW;
use crate::vectors::{Vectors, each_number_type};

/// Rows of the query plan in a group, at most, those without a vector included.
const GROUP_ROWS: i64 = 8192;

/// Queries that are searched for at once.
#[derive(Default)]
pub(super) struct QueryGroup {
    /// For each vector the `row` of its query, or its position in `outer`.
    pub(super) rows: Vec<i64>,
    vectors: Vec<Vec<f64>>,
    /// How many rows of the query plan were read.
    pub(super) len: i64,
    /// These rows, where they come out.
    pub(super) outer: Option<RecordBatch>,
    /// How many rows of the query plan came before.
    before: i64,
    /// Whether it is the only query there can be.
    single: bool,
}

impl QueryGroup {
    /// The only query, perhaps without a vector.
    fn single(vector: Option<Vec<f64>>) -> Self {
        Self { rows: vec![0], vectors: Vec::from_iter(vector), len: 1, single: true, ..Self::default() }
    }

    /// Whether there are no more queries.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether no query has a vector.
    pub(super) fn has_no_vectors(&self) -> bool {
        self.vectors.is_empty()
    }

    /// The queries, once they are known to fit vectors of the kind of `searched`.
    ///
    /// # Errors
    /// A query with values that nothing can be ranked by, of another length than the vectors, or of a metric that these
    /// do not have. Of several queries the message names the one.
    pub(super) fn prepare(&self, order: Order, allow_nan: bool, searched: &Vectors) -> Result<Vec<PreparedQuery>> {
        let metric = match order {
            Order::Metric(metric) => metric,
            Order::Sql { .. } => {
                let distance = Ranking::distance(order);
                return Ok(self.vectors.iter().map(|v| PreparedQuery::for_distance(distance, v)).collect());
            }
        };
        let queries = self.vectors.iter().enumerate().map(|(i, vector)| {
            let query = match allow_nan {
                true => PreparedQuery::allowing_nan(metric, vector),
                false => PreparedQuery::new(metric, vector).map_err(|e| {
                    if is_finite(vector) { e } else { e.with("allowed by", "top_k(…, allow_nan => true)") }
                }),
            };
            let checked = match (query, searched.fixed_len()) {
                (Ok(query), Some(dim)) => {
                    let none = &mut TopK::new(1, metric);
                    let fits = each_number_type!(*searched, all => Ok(search_block(&query, &all[..0], dim, 0, none)))?;
                    fits.map(|()| query)
                }
                (query, _) => query,
            };
            checked.map_err(|e| to_datafusion(if self.single { e } else { e.with("query", self.name(i)) }))
        });
        queries.collect()
    }

    /// What a message calls a query: the `row` that it has, or else which one it is.
    fn name(&self, query: usize) -> String {
        let row = self.rows.get(query).copied().unwrap_or_default();
        let Some(outer) = &self.outer else { return format!("row {row}") };
        let schema = outer.schema();
        let is_row = |i: &usize| schema.field(*i).name() == ROW && schema.field(*i).data_type() == &DataType::Int64;
        let rows: Vec<usize> = (0..outer.num_columns()).filter(is_row).collect();
        let position = usize::try_from(row).unwrap_or_default();
        match rows.as_slice() {
            [i] if outer.column(*i).is_valid(position) => {
                format!("row {}", outer.column(*i).as_primitive::<Int64Type>().value(position))
            }
            _ => format!("number {}", self.before + row + 1),
        }
    }
}

fn is_finite(vector: &[f64]) -> bool {
    vector.iter().all(|v| v.is_finite())
}

/// The query vectors, as the query plan gives them.
pub(super) struct Queries {
    stream: SendableRecordBatchStream,
    output: Output,
    batch: Option<(RecordBatch, Vectors)>,
    next: usize,
    /// How many were given.
    given: i64,
}

impl Queries {
    pub(super) fn new(stream: SendableRecordBatchStream, output: Output) -> Self {
        Self { stream, output, batch: None, next: 0, given: 0 }
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
        let mut group = QueryGroup { before: self.given, ..QueryGroup::default() };
        // The rows of the group: the batches that they are in, and of each which batch and which row of it.
        let (mut batches, mut places) = (vec![], vec![]);
        while group.len < GROUP_ROWS && group.vectors.first().is_none_or(|v| group.vectors.len() < room(v.len())) {
            let Some((row, vector)) = self.next().await? else { break };
            if let (true, Some((batch, _))) = (joined, &self.batch) {
                if batches.is_empty() || self.next == 1 {
                    batches.push(batch.clone());
                }
                places.push((batches.len() - 1, self.next - 1));
            }
            let row = if joined { group.len } else { row };
            group.len += 1;
            self.given += 1;
            match vector {
                Some(vector) => {
                    group.rows.push(row);
                    group.vectors.push(vector);
                }
                None if joined => {}
                None => return exec_err!("the query vector of row {row} is NULL or has an element that is"),
            }
        }
        if !places.is_empty() {
            group.outer = Some(interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &places)?);
        }
        Ok(group)
    }

    async fn next(&mut self) -> Result<Option<(i64, Option<Vec<f64>>)>> {
        loop {
            if let Some((batch, vectors)) = self.batch.as_ref().filter(|(b, _)| self.next < b.num_rows()) {
                let i = self.next;
                self.next += 1;
                let row = match self.output {
                    Output::PerQuery if batch.column(0).is_null(i) => return exec_err!("the row of a query is NULL"),
                    Output::PerQuery => batch.column(0).as_primitive::<Int64Type>().value(i),
                    _ => 0,
                };
                let vector = if vectors.is_null(i) { None } else { Some(vectors.to_f64(i)?) };
                return Ok(Some((row, vector)));
            }
            let Some(batch) = self.stream.next().await.transpose()? else { return Ok(None) };
            let vectors = Vectors::try_new(batch.column(batch.num_columns() - 1))?;
            (self.batch, self.next) = (Some((batch, vectors)), 0);
        }
    }
}
