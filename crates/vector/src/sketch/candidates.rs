//! The rows that may be among the k best, and their exact re-ranking.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hyperslab_core::{Error, Result};

use super::bounds::{Bounds, Ranking};
use crate::{SketchQuery, TopK};

/// The fewest rows that are re-ranked at once, if there are as many.
const RERANKED: usize = 64;

/// Fewer candidates than these are not looked through for those that a better k-th has excluded since.
const COMPACTED: usize = 4096;

/// Rows whose bound can still beat the k-th.
///
/// Threads that scan parts of the rows each have their own, from [`fork`](Self::fork); what one has learned about
/// the k-th excludes rows of the others too.
///
/// Row numbers are only handed back: ties are broken by the numbers under which rows are offered to a [`TopK`].
#[derive(Debug)]
pub struct Candidates {
    ranking: Ranking,
    k: usize,
    /// The k smallest upper bounds, the largest on top.
    uppers: BinaryHeap<Cost>,
    rows: Vec<Candidate>,
    /// How many rows there may be before they are looked through.
    room: usize,
    /// A row whose cost is above it is not among the k best.
    limit: f64,
    shared: Arc<SharedLimit>,
    counts: SketchCounts,
    special: SpecialRows,
}

/// Rows that an order other than the metric's may place elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpecialRows {
    /// Whether some row is all zeros; known of a search by cosine.
    pub zeros: bool,
    /// Whether some row holds a NaN; known of a search by cosine or inner product. Of rows that hold an infinity the
    /// exact score tells.
    pub nans: bool,
}

/// What a search by sketch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SketchCounts {
    /// Rows whose codes were read.
    pub scanned: u64,
    /// Rows whose full vectors were asked for.
    pub reranked: u64,
}

impl SketchCounts {
    /// Rows that their bounds excluded.
    pub fn pruned(&self) -> u64 {
        self.scanned.saturating_sub(self.reranked)
    }
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    lower: f64,
    row: u64,
}

impl Candidate {
    /// NaN, of a damaged sketch, says that nothing is known.
    fn may_be_within(&self, limit: f64) -> bool {
        self.lower <= limit || self.lower.is_nan()
    }
}

/// A cost in the total order of float64.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cost(f64);

impl Eq for Cost {}

impl PartialOrd for Cost {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Cost {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// The least of several threads' limits.
#[derive(Debug)]
struct SharedLimit(AtomicU64);

impl SharedLimit {
    fn new(limit: f64) -> Self {
        Self(AtomicU64::new(limit.to_bits()))
    }

    #[inline]
    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }

    fn lower(&self, limit: f64) {
        // An error says that it is as low already.
        let lower = |bits| (limit < f64::from_bits(bits)).then_some(limit.to_bits());
        let _ = self.0.fetch_update(Relaxed, Relaxed, lower);
    }
}

impl Candidates {
    /// None yet, for the `k` best rows; `k` may be any number.
    pub fn new(query: &SketchQuery, k: usize) -> Self {
        Self::with_limit(query, k, f64::INFINITY)
    }

    /// For a range search: all rows whose score is `score` or better. Ends with [`into_rows`](Self::into_rows).
    ///
    /// ```
    /// use hyperslab_vector::{Candidates, Metric, PreparedQuery, SketchQuery, SketchSpec};
    /// let spec = SketchSpec::new(8, 1)?;
    /// let (mut codes, mut params) = ([0; 4], [0.0; 12]);
    /// spec.encode(&[1_u8, 5, 6, 200], &mut codes, &mut params)?;
    /// let query = SketchQuery::new(&PreparedQuery::new(Metric::L2, &[5.0])?, spec)?;
    /// let mut candidates = Candidates::within(&query, 2.0);
    /// query.scan(&codes, &params, 0, &mut candidates)?;
    /// assert_eq!(candidates.into_rows(), [1, 2]);
    /// # Ok::<(), hyperslab_core::Error>(())
    /// ```
    pub fn within(query: &SketchQuery, score: f64) -> Self {
        Self::with_limit(query, usize::MAX, query.bounder.ranking.cost(score))
    }

    fn with_limit(query: &SketchQuery, k: usize, limit: f64) -> Self {
        let shared = Arc::new(SharedLimit::new(limit));
        Self::sharing(query.bounder.ranking, k, shared)
    }

    fn sharing(ranking: Ranking, k: usize, shared: Arc<SharedLimit>) -> Self {
        let (limit, counts, special) = (shared.get(), SketchCounts::default(), SpecialRows::default());
        Self {
            ranking,
            k,
            uppers: BinaryHeap::new(),
            rows: Vec::new(),
            room: COMPACTED,
            limit,
            shared,
            counts,
            special,
        }
    }

    /// None yet, of the same search: for another thread, to be [merged](Self::merge).
    pub fn fork(&self) -> Self {
        Self::sharing(self.ranking, self.k, self.shared.clone())
    }

    /// Takes over the candidates of a [fork](Self::fork).
    pub fn merge(&mut self, fork: Candidates) {
        self.counts.scanned += fork.counts.scanned;
        self.counts.reranked += fork.counts.reranked;
        self.special.zeros |= fork.special.zeros;
        self.special.nans |= fork.special.nans;
        self.rows.extend(fork.rows);
        if self.k < usize::MAX {
            fork.uppers.into_iter().for_each(|upper| self.learn(upper.0));
        }
        self.compact();
    }

    /// How many rows are looked for.
    pub fn k(&self) -> usize {
        self.k
    }

    /// How many candidates there are now, some of which later ones may have excluded.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The bytes that are allocated. They are bounded by [re-ranking](Self::rerank) from time to time.
    pub fn memory_size(&self) -> usize {
        self.rows.capacity() * size_of::<Candidate>() + self.uppers.capacity() * size_of::<Cost>()
    }

    /// Has the candidates' exact scores computed, the most promising ones first, until no other can be among the
    /// k best; none are left then. More rows may be scanned afterwards, into the same `top`.
    ///
    /// - `top`: of the same k and metric; what it holds already excludes candidates;
    /// - `exact`: gets row numbers in ascending order and offers each with its exact score to `top`.
    ///
    /// # Errors
    /// As [`next_rows`](Self::next_rows), and the errors of `exact`.
    pub fn rerank(
        &mut self,
        top: &mut TopK,
        mut exact: impl FnMut(&[u64], &mut TopK) -> Result<()>,
    ) -> Result<SketchCounts> {
        loop {
            let rows = self.next_rows(top)?;
            if rows.is_empty() {
                return Ok(self.counts);
            }
            exact(&rows, top)?;
        }
    }

    /// Takes out the most promising candidates, in ascending order, which are to be offered to `top` before the
    /// next are taken: [`rerank`](Self::rerank) step by step. When there are no more, `top` holds the k best.
    ///
    /// Each time there are about as many rows as in all times before, at least 64 and 2 k.
    ///
    /// # Errors
    /// [`Invalid`](hyperslab_core::ErrorKind::Invalid) if `top` is of another metric or k.
    pub fn next_rows(&mut self, top: &TopK) -> Result<Vec<u64>> {
        if Some(self.ranking) != Ranking::of(top.metric().distance()) || self.k != top.k() {
            let message = format!("the candidates are not those of the {} best by {}", top.k(), top.metric());
            return Err(Error::invalid(message));
        }
        if let Some(worst) = top.threshold() {
            self.lower_limit(self.ranking.cost(worst));
        }
        self.compact();
        let before = usize::try_from(self.counts.reranked).unwrap_or(usize::MAX);
        let rest = self.rows.len().saturating_sub(before.max(self.k.saturating_mul(2)).max(RERANKED));
        if rest > 0 {
            // The best at the end, from which they are taken.
            self.rows.select_nth_unstable_by(rest, |a, b| b.lower.total_cmp(&a.lower));
        }
        let mut rows: Vec<u64> = self.rows.drain(rest..).map(|candidate| candidate.row).collect();
        rows.sort_unstable();
        self.counts.reranked += rows.len() as u64;
        Ok(rows)
    }

    /// What has been done so far.
    pub fn counts(&self) -> SketchCounts {
        self.counts
    }

    /// Whether rows came by that have no place among the numbers: a search whose order is not the metric's asks.
    ///
    /// ```
    /// use hyperslab_vector::{Candidates, Metric, PreparedQuery, SketchQuery, SketchSpec};
    /// let spec = SketchSpec::new(8, 1)?;
    /// let (mut codes, mut params) = ([0; 2], [0.0; 6]);
    /// spec.encode(&[1.0_f32, 0.0], &mut codes, &mut params)?;
    /// let query = SketchQuery::new(&PreparedQuery::new(Metric::Cosine, &[5.0])?, spec)?;
    /// let mut candidates = Candidates::new(&query, 1);
    /// query.scan(&codes, &params, 0, &mut candidates)?;
    /// assert!(candidates.special().zeros && !candidates.special().nans);
    /// # Ok::<(), hyperslab_core::Error>(())
    /// ```
    pub fn special(&self) -> SpecialRows {
        self.special
    }

    /// The candidates' numbers in ascending order.
    pub fn into_rows(mut self) -> Vec<u64> {
        self.compact();
        let mut rows: Vec<u64> = self.rows.iter().map(|candidate| candidate.row).collect();
        rows.sort_unstable();
        rows
    }

    pub(super) fn ranking(&self) -> Ranking {
        self.ranking
    }

    pub(super) fn count(&mut self, rows: usize) {
        self.counts.scanned += rows as u64;
    }

    /// A row whose cost is above it is not among the k best.
    #[inline]
    pub(super) fn limit(&self) -> f64 {
        f64::min(self.limit, self.shared.get())
    }

    /// Takes note of a row with this upper bound on its norm that the screen let through. It lets through every row of
    /// zeros by cosine, and every row with a NaN by cosine and inner product: there it computes 0 and NaN.
    #[inline(always)]
    pub(super) fn note(&mut self, norm: f32) {
        self.special.zeros |= norm == 0.0;
        self.special.nans |= norm == f32::INFINITY;
    }

    /// Offers a row of which nothing is known.
    pub(super) fn offer_unknown(&mut self, row: u64) {
        self.offer(row, Bounds { lower: f64::NEG_INFINITY, upper: f64::INFINITY });
    }

    /// Offers a row.
    pub(super) fn offer(&mut self, row: u64, bounds: Bounds) {
        let candidate = Candidate { lower: bounds.lower, row };
        if self.k == 0 || !candidate.may_be_within(self.limit()) {
            return;
        }
        if self.rows.len() >= self.room {
            self.compact();
            self.room = (2 * self.rows.len()).max(COMPACTED);
        }
        self.rows.push(candidate);
        if self.k < usize::MAX && bounds.upper < f64::INFINITY {
            self.learn(bounds.upper);
        }
    }

    /// One more row's cost is at most this.
    fn learn(&mut self, upper: f64) {
        if self.uppers.len() < self.k {
            self.uppers.push(Cost(upper));
        } else if let Some(mut worst) = self.uppers.peek_mut()
            && upper < worst.0
        {
            *worst = Cost(upper);
        }
        if self.uppers.len() >= self.k
            && let Some(worst) = self.uppers.peek()
        {
            self.lower_limit(worst.0);
        }
    }

    fn lower_limit(&mut self, limit: f64) {
        if limit < self.limit {
            self.limit = limit;
            self.shared.lower(limit);
        }
    }

    /// Removes the candidates that the limit excludes by now.
    fn compact(&mut self) {
        let limit = self.limit();
        self.rows.retain(|candidate| candidate.may_be_within(limit));
    }
}
