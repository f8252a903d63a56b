//! Rows that are known by no number: they are kept with the columns of the input.

use datafusion::arrow::array::{RecordBatch, UInt64Array};
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use datafusion::common::Result;

use super::logical::Order;
use super::rank::Ranking;

/// Rows that may win, with the columns of the input.
pub(super) struct Carried {
    /// Score, and what breaks ties.
    pub(super) keys: Vec<(f64, i64)>,
    pub(super) batches: Vec<RecordBatch>,
}

impl Carried {
    /// Drops the rows that are not among the k best, and orders the others.
    pub(super) fn keep_best(&mut self, ranking: &Ranking) -> Result<()> {
        let Some(first) = self.batches.first() else { return Ok(()) };
        let all = concat_batches(&first.schema(), &self.batches)?;
        let larger_is_better = matches!(ranking.order, Order::Metric(m) if m.larger_is_better());
        let mut order: Vec<usize> = (0..self.keys.len()).collect();
        let key = |&i: &usize| {
            let (score, tie) = self.keys[i];
            let cost = if larger_is_better { -score } else { score };
            (score.is_nan(), if score.is_nan() { 0.0 } else { cost + 0.0 }, tie)
        };
        order.sort_by(|a, b| {
            let (a, b) = (key(a), key(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
        });
        order.truncate(ranking.k);
        let indices = UInt64Array::from_iter_values(order.iter().map(|&i| i as u64));
        self.batches = vec![take_record_batch(&all, &indices)?];
        self.keys = order.into_iter().map(|i| self.keys[i]).collect();
        Ok(())
    }
}
