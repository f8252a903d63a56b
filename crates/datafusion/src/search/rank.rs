//! Choosing the k best of rows that come in batches.

use std::collections::BinaryHeap;

use datafusion::common::Result;
use datafusion::physical_plan::metrics::Count;
use hyperslab_vector::{
    Distance, Hit, Metric, PreparedQuery, Scalar, TopK, distances, search_blocks, search_blocks_indexed,
};

use super::logical::Order;
use crate::error::to_datafusion;
use crate::functions::{is_null_of_zero, is_zero};
use crate::vectors::{Vectors, each_number_type};

/// Rows whose distances are computed before they are ranked.
const BLOCK: usize = 64;

/// What rows are ranked by.
#[derive(Debug)]
pub(super) struct Ranking {
    pub(super) order: Order,
    pub(super) k: usize,
    pub(super) queries: Vec<PreparedQuery>,
    /// Gets how many distances were computed, and how many a bound made needless.
    pub(super) scored: Count,
    pub(super) passed_over: Count,
}

/// The numbers of the rows of a batch.
#[derive(Clone, Copy)]
pub(super) enum RowIds<'a> {
    /// Consecutive, from this one on.
    From(u64),
    Each(&'a [u64]),
}

impl RowIds<'_> {
    fn get(self, i: usize) -> u64 {
        match self {
            RowIds::From(first) => first + i as u64,
            RowIds::Each(ids) => ids.get(i).copied().unwrap_or_default(),
        }
    }
}

/// The best rows so far, of each query.
pub(super) enum Best {
    Metric(Vec<TopK>),
    /// Of one query.
    Sql(SqlTop),
}

impl Ranking {
    /// No rows yet.
    pub(super) fn best(&self) -> Best {
        match (self.order, self.metric()) {
            (Order::Sql { descending, nulls_first, .. }, None) => {
                Best::Sql(SqlTop::new(self.k, descending, nulls_first))
            }
            (Order::Sql { descending, nulls_first, .. }, Some(_)) if self.queries.is_empty() => {
                Best::Sql(SqlTop::new(self.k, descending, nulls_first))
            }
            (Order::Metric(metric), _) | (_, Some(metric)) => {
                Best::Metric(self.queries.iter().map(|_| TopK::new(self.k, metric)).collect())
            }
        }
    }

    /// What is computed to rank by an order.
    pub(super) fn distance(order: Order) -> Distance {
        match order {
            Order::Metric(metric) => metric.distance(),
            // The smallest negative product is the largest product.
            Order::Sql { distance: Distance::NegativeInnerProduct, descending: false, .. } => Distance::InnerProduct,
            Order::Sql { distance, .. } => distance,
        }
    }

    /// The metric whose order is the one asked for, NaN and NULL included.
    fn metric(&self) -> Option<Metric> {
        match self.order {
            Order::Metric(metric) => Some(metric),
            Order::Sql { distance: Distance::NegativeInnerProduct, descending: false, .. } => Some(Metric::Dot),
            // The cosine may be NULL; of the others NaN is last where smaller is better.
            Order::Sql { distance, descending: false, .. } if distance != Distance::CosineDistance => {
                Metric::ALL.into_iter().find(|m| m.distance() == distance && !m.larger_is_better())
            }
            Order::Sql { .. } => None,
        }
    }

    /// Offers the vectors of a batch. One that is NULL never wins. Without a query every distance is NULL.
    pub(super) fn offer(&self, vectors: &Vectors, ids: RowIds<'_>, best: &mut Best) -> Result<()> {
        if let (Best::Sql(top), []) = (&mut *best, self.queries.as_slice()) {
            (0..vectors.len()).for_each(|i| top.push(None, ids.get(i)));
            return Ok(());
        }
        for run in vectors.runs() {
            let ids = match ids {
                RowIds::From(first) => RowIds::From(first + run.start as u64),
                RowIds::Each(ids) => RowIds::Each(ids.get(run.clone()).unwrap_or_default()),
            };
            let dim = vectors.range(run.start).len();
            let elements = vectors.range(run.start).start..vectors.range(run.end - 1).end;
            each_number_type!(*vectors, values => self.offer_run(&values[elements], dim, ids, best))?;
        }
        Ok(())
    }

    /// Offers vectors of `dim` values that lie one after another.
    pub(super) fn offer_run<T: Scalar>(
        &self,
        values: &[T],
        dim: usize,
        ids: RowIds<'_>,
        best: &mut Best,
    ) -> Result<()> {
        let stats = match (best, ids) {
            (Best::Metric(tops), RowIds::From(first)) => search_blocks(&self.queries, values, dim, first, tops),
            (Best::Metric(tops), RowIds::Each(ids)) => search_blocks_indexed(&self.queries, values, dim, ids, tops),
            (Best::Sql(top), ids) => {
                self.scored.add(values.len() / dim.max(1) * self.queries.len());
                return self.queries.iter().try_for_each(|query| offer_scores(query, values, dim, ids, top));
            }
        };
        let stats = stats.map_err(to_datafusion)?;
        self.scored.add(usize::try_from(stats.scored).unwrap_or(usize::MAX));
        self.passed_over.add(usize::try_from(stats.passed_over).unwrap_or(usize::MAX));
        Ok(())
    }
}

/// Offers what the distance function returns, row by row.
fn offer_scores<T: Scalar>(
    query: &PreparedQuery,
    values: &[T],
    dim: usize,
    ids: RowIds<'_>,
    top: &mut SqlTop,
) -> Result<()> {
    let mut scores = [0.0; BLOCK];
    for (b, values) in values.chunks(BLOCK * dim.max(1)).enumerate() {
        let scores = &mut scores[..values.len() / dim.max(1)];
        distances(values, dim, query, scores).map_err(to_datafusion)?;
        if top.wants_none(scores) {
            continue;
        }
        for (r, (&score, vector)) in scores.iter().zip(values.chunks(dim.max(1))).enumerate() {
            let null = is_null_of_zero(query.distance(), score, || is_zero(vector) || is_zero(query.values()));
            top.push(if null { None } else { Some(score) }, ids.get(b * BLOCK + r));
        }
    }
    Ok(())
}

impl Best {
    /// Adds the rows that another partition found.
    pub(super) fn merge(&mut self, other: Best) {
        match (self, other) {
            (Best::Metric(tops), Best::Metric(others)) => {
                tops.iter_mut().zip(others).for_each(|(top, other)| top.merge(other));
            }
            (Best::Sql(top), Best::Sql(other)) => top.merge(other),
            // Of one ranking, both are of one kind.
            _ => {}
        }
    }

    pub(super) fn memory_size(&self) -> usize {
        match self {
            Best::Metric(tops) => tops.iter().map(TopK::memory_size).sum(),
            Best::Sql(top) => top.numbers.memory_size() + 8 * (top.nans.capacity() + top.nulls.capacity()),
        }
    }

    /// The rows of each query, best first.
    pub(super) fn into_hits(self, order: Order) -> Vec<Vec<Hit>> {
        match (self, order) {
            (Best::Metric(tops), _) => tops.into_iter().map(TopK::into_sorted).collect(),
            (Best::Sql(top), Order::Sql { descending, nulls_first, .. }) => {
                vec![top.into_sorted(descending, nulls_first)]
            }
            (Best::Sql(top), Order::Metric(_)) => vec![top.into_sorted(false, false)],
        }
    }
}

/// The k first rows as SQL orders: numbers, NaN and NULL are kept apart, since their order to each other differs from a
/// metric's.
pub(super) struct SqlTop {
    k: usize,
    descending: bool,
    nulls_first: bool,
    numbers: TopK,
    /// The smallest rows of the kind, the largest of them on top.
    nans: BinaryHeap<u64>,
    nulls: BinaryHeap<u64>,
}

impl SqlTop {
    fn new(k: usize, descending: bool, nulls_first: bool) -> Self {
        // Any metric of the direction: only its order is used.
        let numbers = TopK::new(k, if descending { Metric::Dot } else { Metric::L2sq });
        Self { k, descending, nulls_first, numbers, nans: BinaryHeap::new(), nulls: BinaryHeap::new() }
    }

    /// Whether none of the rows with these scores may be among the first, as is so of most in a long scan: all are worse
    /// than k others, and none is NaN, or 0 or 1, as those are that may turn out to be NULL, if that comes first.
    fn wants_none(&self, scores: &[f64]) -> bool {
        let Some(threshold) = self.numbers.threshold() else { return false };
        let sign = if self.descending { -1.0 } else { 1.0 };
        let may_be_null = |score: f64| self.nulls_first & ((score == 0.0) | (score == 1.0));
        let worse = |score: f64| (score * sign > threshold * sign) & !may_be_null(score);
        scores.iter().filter(|score| worse(**score)).count() == scores.len()
    }

    fn push(&mut self, score: Option<f64>, row: u64) {
        match score {
            Some(score) if !score.is_nan() => self.numbers.push(score, row),
            Some(_) => push_smallest(&mut self.nans, self.k, row),
            None => push_smallest(&mut self.nulls, self.k, row),
        }
    }

    fn merge(&mut self, other: Self) {
        self.numbers.merge(other.numbers);
        other.nans.into_iter().for_each(|row| push_smallest(&mut self.nans, self.k, row));
        other.nulls.into_iter().for_each(|row| push_smallest(&mut self.nulls, self.k, row));
    }

    fn into_sorted(self, descending: bool, nulls_first: bool) -> Vec<Hit> {
        let unordered = |rows: BinaryHeap<u64>| -> Vec<Hit> {
            rows.into_sorted_vec().into_iter().map(|row| Hit { row, score: f64::NAN }).collect()
        };
        let (numbers, nans, nulls) = (self.numbers.into_sorted(), unordered(self.nans), unordered(self.nulls));
        let values = if descending { [nans, numbers] } else { [numbers, nans] }.concat();
        let mut all = if nulls_first { [nulls, values] } else { [values, nulls] }.concat();
        all.truncate(self.k);
        all
    }
}

fn push_smallest(rows: &mut BinaryHeap<u64>, k: usize, row: u64) {
    if rows.len() < k {
        rows.push(row);
    } else if let Some(mut largest) = rows.peek_mut()
        && row < *largest
    {
        *largest = row;
    }
}
