//! The k best rows of any number of pushed ones.

use std::collections::BinaryHeap;

use crate::Metric;

/// A row and its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The row's number.
    pub row: u64,
    /// What [`Metric::distance`] computes.
    pub score: f64,
}

/// A row by its rank: best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ranked {
    key: u64,
    row: u64,
}

/// The k best rows, in a bounded heap.
///
/// The order is total: the better score first, NaN after every number, and among equal scores (0 and −0
/// are) the smaller row first. Therefore the result depends neither on the order in which rows are pushed
/// nor on how they are divided over several `TopK`s that are [merged](TopK::merge). A row that is pushed
/// twice counts twice.
///
/// ```
/// use hyperslab_vector::{Metric, TopK};
/// let mut top = TopK::new(2, Metric::L2);
/// for (row, score) in [(0, 3.0), (1, 1.0), (2, f64::NAN), (3, 1.0)] {
///     top.push(score, row);
/// }
/// assert_eq!(top.threshold(), Some(1.0));
/// let rows: Vec<u64> = top.into_sorted().iter().map(|hit| hit.row).collect();
/// assert_eq!(rows, [1, 3]);
/// ```
#[derive(Debug, Clone)]
pub struct TopK {
    k: usize,
    metric: Metric,
    /// The worst of the kept rows on top.
    heap: BinaryHeap<Ranked>,
}

impl TopK {
    /// An empty one, which grows as rows are pushed: `k` may be any number. Of `k` = 0 it stays empty.
    pub fn new(k: usize, metric: Metric) -> Self {
        Self { k, metric, heap: BinaryHeap::new() }
    }

    /// How many rows are kept at most.
    pub fn k(&self) -> usize {
        self.k
    }

    /// What the scores are.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// How many rows are kept now.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// The bytes that are allocated.
    pub fn memory_size(&self) -> usize {
        self.heap.capacity() * size_of::<Ranked>()
    }

    /// Offers a row.
    #[inline]
    pub fn push(&mut self, score: f64, row: u64) {
        let ranked = Ranked { key: self.key(score), row };
        match self.heap.peek() {
            Some(worst) if self.heap.len() >= self.k && ranked >= *worst => {}
            _ => self.keep(ranked),
        }
    }

    /// Offers several rows. Most batches of a long scan hold no row that is kept, which is seen from one
    /// pass of comparisons.
    pub(crate) fn push_batch(&mut self, scores: &[f64], row: impl Fn(usize) -> u64) {
        // Is NaN, and no score worse, until there are k rows and unless the worst of them is a NaN.
        let threshold = self.threshold().unwrap_or(f64::NAN);
        let sign = if self.metric.larger_is_better() { -1.0 } else { 1.0 };
        let worse = scores.iter().filter(|score| *score * sign > threshold * sign).count();
        if worse == scores.len() {
            return;
        }
        for (i, score) in scores.iter().enumerate() {
            self.push(*score, row(i));
        }
    }

    #[cold]
    fn keep(&mut self, ranked: Ranked) {
        if self.heap.len() < self.k {
            self.heap.push(ranked);
        } else if let Some(mut worst) = self.heap.peek_mut() {
            *worst = ranked;
        }
    }

    /// The score of the worst row kept, once there are k: a row of a worse score will not be kept.
    pub fn threshold(&self) -> Option<f64> {
        self.heap.peek().filter(|_| self.heap.len() >= self.k).map(|worst| self.score(worst.key))
    }

    /// Offers all rows of another one of the same metric.
    pub fn merge(&mut self, other: TopK) {
        for Hit { row, score } in other.hits() {
            self.push(score, row);
        }
    }

    /// The rows, best first.
    pub fn into_sorted(self) -> Vec<Hit> {
        let Self { metric, heap, .. } = self;
        let hit = |ranked: Ranked| Hit { row: ranked.row, score: score(metric, ranked.key) };
        heap.into_sorted_vec().into_iter().map(hit).collect()
    }

    /// The rows in no order.
    fn hits(&self) -> impl Iterator<Item = Hit> {
        self.heap.iter().map(|ranked| Hit { row: ranked.row, score: self.score(ranked.key) })
    }

    #[inline]
    fn key(&self, score: f64) -> u64 {
        key(self.metric, score)
    }

    fn score(&self, key: u64) -> f64 {
        score(self.metric, key)
    }
}

const SIGN: u64 = 1 << 63;

/// An integer that orders scores from best to worst.
#[inline]
fn key(metric: Metric, score: f64) -> u64 {
    if score.is_nan() {
        return u64::MAX;
    }
    let cost = if metric.larger_is_better() { -score } else { score };
    let bits = (cost + 0.0).to_bits(); // adding 0 turns −0 into 0
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The score of a key: NaN and −0 come back as the one NaN and 0.
fn score(metric: Metric, key: u64) -> f64 {
    if key == u64::MAX {
        return f64::NAN;
    }
    let score = f64::from_bits(if key & SIGN == 0 { !key } else { key & !SIGN });
    if metric.larger_is_better() { -score + 0.0 } else { score }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
