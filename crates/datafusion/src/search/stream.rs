//! Running a search: queries in groups, partitions in tasks, winners in batches.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, UInt64Array, new_null_array,
};
use datafusion::arrow::buffer::ScalarBuffer;
use datafusion::arrow::compute::{concat_batches, take, take_record_batch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::common::runtime::JoinSet;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, Time};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream::{self, StreamExt};

use super::carried::Carried;
use super::exec::{ExecColumn, Parts, evaluate_k};
use super::indexed;
use super::late::TaskVectors;
use super::logical::{Outer, Output};
use super::queries::{Queries, QueryGroup};
use super::rank::{Best, Ranking, RowIds};
use crate::error::to_datafusion;
use crate::vectors::Vectors;

/// Rows of an output batch.
const OUTPUT_ROWS: usize = 8192;

/// What the queries that run at once, and the rows they keep, may take before the memory pool is asked for more.
const GROUP_BYTES: usize = 32 << 20;

/// Queries that run at once, at most.
const GROUP_QUERIES: usize = 1024;

/// Rows with carried columns that a partition keeps before it drops those that cannot win.
const CARRIED_ROWS: usize = 8192;

/// Starts a search.
pub(super) fn start(
    parts: Parts,
    metrics: &ExecutionPlanMetricsSet,
    context: Arc<TaskContext>,
) -> Result<SendableRecordBatchStream> {
    let schema = Arc::clone(&parts.schema);
    let counter = |name| MetricBuilder::new(metrics).counter(name, 0);
    let queries = execute_stream(Arc::clone(&parts.query), Arc::clone(&context))?;
    let run = Run {
        k: 0,
        queries: Queries::new(queries, parts.output),
        winners: None,
        groups: 0,
        searches: 0,
        index_counts: parts.index.is_some().then(|| indexed::Counts::new(metrics)),
        context,
        baseline: BaselineMetrics::new(metrics, 0),
        ranked: counter("rows_ranked"),
        scored: counter("distances_computed"),
        passed_over: counter("distances_ruled_out"),
        ranking_time: MetricBuilder::new(metrics).subset_time("ranking_time", 0),
        fetched: counter("rows_fetched"),
        bytes_fetched: counter("bytes_fetched"),
        mapped: counter("bytes_mapped"),
        copied: counter("bytes_copied"),
        parts,
    };
    let batches = stream::try_unfold(run, |mut run| async move {
        let batch = run.next().await?;
        Ok(batch.map(|batch| (batch, run)))
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
}

/// A search that runs.
struct Run {
    parts: Parts,
    k: usize,
    queries: Queries,
    /// What is found and not yet given out.
    winners: Option<Winners>,
    groups: usize,
    /// Groups for which the input was read.
    searches: usize,
    index_counts: Option<indexed::Counts>,
    context: Arc<TaskContext>,
    baseline: BaselineMetrics,
    ranked: Count,
    scored: Count,
    passed_over: Count,
    ranking_time: Time,
    fetched: Count,
    bytes_fetched: Count,
    mapped: Count,
    copied: Count,
}

/// The rows found for a group of queries: one entry per row.
#[derive(Default)]
struct Winners {
    query_rows: Vec<i64>,
    ranks: Vec<i64>,
    scores: Vec<f64>,
    /// Their numbers, where rows are known by them.
    rows: Vec<u64>,
    /// The input's columns, where they were carried along.
    carried: Option<RecordBatch>,
    /// The rows of the query plan, in which `query_rows` are positions, where they come out.
    outer: Option<RecordBatch>,
    /// Those for which nothing was found, where they come out too.
    unmatched: Vec<i64>,
    given: usize,
}

impl Winners {
    /// The same beside the rows of the query plan.
    fn of_outer_rows(mut self, group: QueryGroup, output: Output) -> Self {
        if output == Output::Joined(Outer::Kept) {
            let matched: HashSet<i64> = self.query_rows.iter().copied().collect();
            self.unmatched = (0..group.len).filter(|row| !matched.contains(row)).collect();
        }
        self.outer = group.outer;
        self
    }

    /// A column of the query plan, once for each of the positions.
    fn outer_column(&self, column: usize, positions: &[i64]) -> Result<ArrayRef> {
        let Some(outer) = &self.outer else { return internal_err!("the rows of the queries are lost") };
        Ok(take(outer.column(column), &Int64Array::from_iter_values(positions.iter().copied()), None)?)
    }
}

impl Run {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.give()? {
                self.baseline.record_output(batch.num_rows());
                return Ok(Some(batch));
            }
            if !self.search_group().await? {
                self.baseline.done();
                return Ok(None);
            }
        }
    }

    /// Searches for the next queries; false when there are none.
    async fn search_group(&mut self) -> Result<bool> {
        if self.groups == 0 {
            self.k = evaluate_k(&self.parts.k)?;
        }
        let partitions = self.parts.input.properties().output_partitioning().partition_count();
        let per_query = self.k.min(1 << 20).saturating_mul(16 * (partitions + 1));
        let room = |dim: usize| (GROUP_BYTES / (per_query + dim * 16)).clamp(1, GROUP_QUERIES);
        let group = match self.parts.output {
            output if output.is_batch() => self.queries.group(room).await?,
            _ if self.groups > 0 => return Ok(false),
            _ => self.queries.single().await?,
        };
        if group.is_empty() {
            return Ok(false);
        }
        if group.has_no_vectors() && self.parts.output.is_batch() {
            // Every vector is NULL.
            self.groups += 1;
            self.winners = Some(Winners::default().of_outer_rows(group, self.parts.output));
            return Ok(true);
        }
        let searched = self.parts.no_vectors()?;
        let queries = group.prepare(self.parts.order, self.parts.allow_nan, &Vectors::try_new(&searched)?)?;
        let (scored, passed_over) = (self.scored.clone(), self.passed_over.clone());
        let ranking = Arc::new(Ranking { order: self.parts.order, k: self.k, queries, scored, passed_over });
        if self.searches > 0 {
            // Some plans run once only.
            self.parts.input = reset_plan_states(Arc::clone(&self.parts.input))?;
        }
        self.groups += 1;
        self.searches += 1;
        let found = self.rank(&ranking).await?;
        let _timer = self.baseline.elapsed_compute().timer();
        let winners = winners(found, &self.parts, &ranking, &group.rows)?;
        self.winners = Some(winners.of_outer_rows(group, self.parts.output));
        Ok(true)
    }

    /// Ranks the input's partitions, each in its task where there are several. Dropping the future ends them.
    async fn rank(&mut self, ranking: &Arc<Ranking>) -> Result<Found> {
        if let Some(counts) = &self.index_counts
            && let Some(best) = indexed::search(&self.parts, ranking, &self.context, counts, &self.ranking_time).await?
        {
            return Ok(Found::ByRow(best));
        }
        let partitions = self.parts.input.properties().output_partitioning().partition_count();
        if partitions == 1 {
            // Another thread would have to wake up first.
            return self.task(0, ranking)?.run().await;
        }
        let mut tasks = JoinSet::new();
        for partition in 0..partitions {
            tasks.spawn(self.task(partition, ranking)?.run());
        }
        let mut all: Option<Found> = None;
        while let Some(found) = tasks.join_next().await {
            let found = found.map_err(|e| DataFusionError::ExecutionJoin(Box::new(e)))??;
            match &mut all {
                Some(all) => all.merge(found),
                None => all = Some(found),
            }
        }
        match all {
            Some(all) => Ok(all),
            None => Ok(Found::none(ranking, is_found_by_row(&self.parts))),
        }
    }

    /// One partition's part.
    fn task(&self, partition: usize, ranking: &Arc<Ranking>) -> Result<Task> {
        Ok(Task {
            input: self.parts.input.execute(partition, Arc::clone(&self.context))?,
            ranking: Arc::clone(ranking),
            vectors: TaskVectors::new(&self.parts, &self.mapped, &self.copied)?,
            row: self.parts.row,
            by_row: is_found_by_row(&self.parts),
            ranked: self.ranked.clone(),
            ranking_time: self.ranking_time.clone(),
            reservation: MemoryConsumer::new(format!("Search[{partition}]")).register(self.context.memory_pool()),
        })
    }

    /// The next batch of what was found.
    fn give(&mut self) -> Result<Option<RecordBatch>> {
        let Some(winners) = &mut self.winners else { return Ok(None) };
        let range = winners.given..winners.scores.len().min(winners.given + OUTPUT_ROWS);
        if range.is_empty() {
            let unmatched = winners.unmatched.split_off(winners.unmatched.len().saturating_sub(OUTPUT_ROWS));
            if !unmatched.is_empty() {
                return unmatched_rows(winners, &self.parts, &unmatched).map(Some);
            }
            self.winners = None;
            return Ok(None);
        }
        winners.given = range.end;
        let rows = winners.rows.get(range.clone()).unwrap_or_default();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.parts.columns.len());
        let integers = |all: &[i64]| Arc::new(Int64Array::from_iter_values(all[range.clone()].iter().copied()));
        let mut late = false;
        for column in &self.parts.columns {
            columns.push(match column {
                ExecColumn::QueryRow => integers(&winners.query_rows),
                ExecColumn::Query(i) => winners.outer_column(*i, &winners.query_rows[range.clone()])?,
                ExecColumn::Rank => integers(&winners.ranks),
                ExecColumn::Score => Arc::new(Float64Array::from(winners.scores[range.clone()].to_vec())),
                ExecColumn::Input(i) => match &winners.carried {
                    Some(carried) => carried.column(*i).slice(range.start, range.len()),
                    None => Arc::new(Int64Array::from_iter_values(rows.iter().map(|&r| r.cast_signed()))),
                },
                ExecColumn::Field(field) => {
                    let Some(source) = &self.parts.source else { return internal_err!("the searched array is lost") };
                    let carried_rows: Vec<u64>;
                    let rows = match (&winners.carried, self.parts.row) {
                        (Some(carried), Some(row)) => {
                            let numbers = carried.column(row).slice(range.start, range.len());
                            carried_rows = numbers
                                .as_primitive::<Int64Type>()
                                .values()
                                .iter()
                                .map(|r| r.cast_unsigned())
                                .collect();
                            &carried_rows
                        }
                        _ => rows,
                    };
                    late = true;
                    let block = source.take(*field, rows).map_err(to_datafusion)?;
                    self.bytes_fetched.add(usize::try_from(block.copied).unwrap_or(usize::MAX));
                    block.array
                }
            });
        }
        if late {
            self.fetched.add(range.len());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(range.len()));
        Ok(Some(RecordBatch::try_new_with_options(Arc::clone(&self.parts.schema), columns, &options)?))
    }
}

/// Rows of the query plan for which nothing was found.
fn unmatched_rows(winners: &Winners, parts: &Parts, positions: &[i64]) -> Result<RecordBatch> {
    let columns = parts.columns.iter().zip(parts.schema.fields()).map(|(column, field)| match column {
        ExecColumn::Query(i) => winners.outer_column(*i, positions),
        _ => Ok(new_null_array(field.data_type(), positions.len())),
    });
    let options = RecordBatchOptions::new().with_row_count(Some(positions.len()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(&parts.schema), columns.collect::<Result<_>>()?, &options)?)
}

/// Whether rows are known by their numbers alone, so that nothing else of them is kept.
pub(super) fn is_found_by_row(parts: &Parts) -> bool {
    let only_row = |c: &ExecColumn| match c {
        ExecColumn::Input(i) => Some(*i) == parts.row,
        _ => true,
    };
    parts.source.is_some() && parts.row.is_some() && parts.columns.iter().all(only_row)
}

/// The best rows of one or more partitions.
enum Found {
    ByRow(Best),
    /// For each query, rows with the columns of the input.
    Carried(Vec<Carried>),
}

impl Found {
    fn none(ranking: &Ranking, by_row: bool) -> Self {
        if by_row {
            return Found::ByRow(ranking.best());
        }
        Found::Carried(ranking.queries.iter().map(|_| Carried { keys: vec![], batches: vec![] }).collect())
    }

    fn merge(&mut self, other: Found) {
        match (self, other) {
            (Found::ByRow(best), Found::ByRow(other)) => best.merge(other),
            (Found::Carried(all), Found::Carried(others)) => all.iter_mut().zip(others).for_each(|(all, other)| {
                all.keys.extend(other.keys);
                all.batches.extend(other.batches);
            }),
            // Of one search, all are of one kind.
            _ => {}
        }
    }

    fn memory_size(&self) -> usize {
        match self {
            Found::ByRow(best) => best.memory_size(),
            Found::Carried(all) => all
                .iter()
                .map(|c| {
                    c.keys.capacity() * 16 + c.batches.iter().map(RecordBatch::get_array_memory_size).sum::<usize>()
                })
                .sum(),
        }
    }
}

/// One partition's part.
struct Task {
    input: SendableRecordBatchStream,
    ranking: Arc<Ranking>,
    vectors: TaskVectors,
    row: Option<usize>,
    by_row: bool,
    ranked: Count,
    ranking_time: Time,
    reservation: datafusion::execution::memory_pool::MemoryReservation,
}

impl Task {
    async fn run(mut self) -> Result<Found> {
        let mut found = Found::none(&self.ranking, self.by_row);
        let mut seen = 0;
        while let Some(batch) = self.input.next().await.transpose()? {
            if batch.num_rows() == 0 {
                continue;
            }
            let _timer = self.ranking_time.timer();
            self.rank(&batch, seen, &mut found)?;
            seen += batch.num_rows() as i64;
            self.ranked.add(batch.num_rows());
            self.reservation.try_resize(found.memory_size())?;
        }
        if let Found::Carried(all) = &mut found {
            all.iter_mut().try_for_each(|c| c.keep_best(&self.ranking))?;
        }
        Ok(found)
    }

    fn rank(&self, batch: &RecordBatch, seen: i64, found: &mut Found) -> Result<()> {
        match (&self.vectors, found) {
            (TaskVectors::Input(column), Found::ByRow(best)) => {
                let vectors = Vectors::try_new(batch.column(*column))?;
                let rows = self.rows(batch)?;
                let ids = if is_run(&rows) { RowIds::From(rows[0]) } else { RowIds::Each(&rows) };
                self.ranking.offer(&vectors, ids, best)
            }
            (TaskVectors::Late(late), Found::ByRow(best)) => late.rank(&self.rows(batch)?, &self.ranking, best),
            (TaskVectors::Input(column), Found::Carried(carried)) => {
                self.rank_carried(batch, &Vectors::try_new(batch.column(*column))?, seen, carried)
            }
            (TaskVectors::Late(late), Found::Carried(carried)) => {
                let taken = late.take(&self.rows(batch)?)?;
                self.rank_carried(batch, &Vectors::try_new(&taken)?, seen, carried)
            }
        }
    }

    /// The rows' numbers. They come from a scan, and are neither NULL nor negative.
    fn rows(&self, batch: &RecordBatch) -> Result<ScalarBuffer<u64>> {
        let Some(row) = self.row else { return internal_err!("rows without numbers are carried") };
        let numbers = batch.column(row).as_primitive::<Int64Type>().values();
        Ok(ScalarBuffer::new(numbers.inner().clone(), 0, numbers.len()))
    }

    fn rank_carried(&self, batch: &RecordBatch, vectors: &Vectors, seen: i64, all: &mut [Carried]) -> Result<()> {
        let mut best = self.ranking.best();
        self.ranking.offer(vectors, RowIds::From(0), &mut best)?;
        let rows = self.row.map(|row| batch.column(row).as_primitive::<Int64Type>());
        for (carried, hits) in all.iter_mut().zip(best.into_hits(self.ranking.order)) {
            let indices = UInt64Array::from_iter_values(hits.iter().map(|hit| hit.row));
            for hit in &hits {
                let i = usize::try_from(hit.row).unwrap_or(usize::MAX);
                let number = rows.filter(|rows| rows.is_valid(i)).map(|rows| rows.value(i));
                carried.keys.push((hit.score, number.unwrap_or(seen.saturating_add_unsigned(hit.row))));
            }
            carried.batches.push(take_record_batch(batch, &indices)?);
            if carried.keys.len() > CARRIED_ROWS.max(self.ranking.k.saturating_mul(2)) {
                carried.keep_best(&self.ranking)?;
            }
        }
        Ok(())
    }
}

/// Whether rows are one and the next and so on.
fn is_run(rows: &[u64]) -> bool {
    let ends = rows.first().zip(rows.last());
    ends.is_some_and(|(first, last)| last.wrapping_sub(*first) == rows.len() as u64 - 1)
        && rows.windows(2).fold(true, |run, w| run & (w[1] == w[0].wrapping_add(1)))
}

/// Puts what was found in the order of the queries and ranks.
fn winners(found: Found, parts: &Parts, ranking: &Ranking, query_rows: &[i64]) -> Result<Winners> {
    let mut winners = Winners::default();
    let mut add = |query_row: i64, scores: &mut dyn Iterator<Item = f64>| {
        let before = winners.scores.len();
        winners.scores.extend(scores);
        let count = winners.scores.len() - before;
        winners.query_rows.extend(std::iter::repeat_n(query_row, count));
        winners.ranks.extend(ranks(0..count));
    };
    match found {
        Found::ByRow(best) => {
            for (&query_row, mut hits) in query_rows.iter().zip(best.into_hits(ranking.order)) {
                if parts.output == Output::Rows {
                    hits.sort_by_key(|hit| hit.row);
                }
                add(query_row, &mut hits.iter().map(|hit| hit.score));
                winners.rows.extend(hits.iter().map(|hit| hit.row));
            }
        }
        Found::Carried(mut all) => {
            let mut batches = vec![];
            for (&query_row, carried) in query_rows.iter().zip(&mut all) {
                carried.keep_best(ranking)?;
                add(query_row, &mut carried.keys.iter().map(|(score, _)| *score));
                batches.append(&mut carried.batches);
            }
            winners.carried = Some(concat_batches(&parts.input.schema(), &batches)?);
        }
    }
    Ok(winners)
}

fn ranks(range: Range<usize>) -> impl Iterator<Item = i64> {
    range.map(|i| i as i64 + 1)
}
