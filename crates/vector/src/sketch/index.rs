//! A sketch of rows in memory.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hyperslab_core::{Error, Result};

use super::{PARAMS, SketchSpec};
use crate::{Candidates, Hit, Metric, PreparedQuery, Scalar, SketchCounts, SketchQuery, TopK, search_indexed, top_k};

/// How many rows a thread takes at once.
const TAKEN: usize = 4096;

/// All rows are read if it would be more than one in so many,
const FEW: u64 = 8;

/// and more than these.
const MANY: u64 = 1024;

/// More threads than this are not started, whatever is asked for.
const MAX_THREADS: usize = 256;

/// The codes and parameters of the rows of a slice.
///
/// ```
/// use hyperslab_vector::{Metric, Sketch, SketchSpec};
/// let rows = [1.0_f32, 0.0, 0.0, 1.0, 1.0, 1.0];
/// let sketch = Sketch::encode(SketchSpec::new(8, 2)?, &rows)?;
/// let (hits, counts) = sketch.top_k(&rows, &[0.0, 2.0], 1, Metric::Cosine, 1)?;
/// assert_eq!((hits[0].row, hits[0].score), (1, 0.0));
/// assert_eq!((counts.scanned, counts.reranked, counts.pruned()), (3, 1, 2));
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Sketch {
    spec: SketchSpec,
    pub(super) codes: Vec<u8>,
    pub(super) params: Vec<f32>,
}

impl Sketch {
    /// Encodes rows.
    ///
    /// # Errors
    /// [`Invalid`](hyperslab_core::ErrorKind::Invalid) if `rows` is not a multiple of the spec's `dim`.
    pub fn encode<T: Scalar>(spec: SketchSpec, rows: &[T]) -> Result<Self> {
        let count = rows.len() / spec.dim();
        let mut sketch = Self { spec, codes: vec![0; count * spec.code_bytes()], params: vec![0.0; count * PARAMS] };
        spec.encode(rows, &mut sketch.codes, &mut sketch.params)?;
        Ok(sketch)
    }

    /// The kind of codes.
    pub fn spec(&self) -> SketchSpec {
        self.spec
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.params.len() / PARAMS
    }

    /// The codes, rows × [`SketchSpec::code_bytes`].
    pub fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// The parameters, rows × [`SketchSpec::params`].
    pub fn params(&self) -> &[f32] {
        &self.params
    }

    /// The k best rows, exactly as [`top_k`](crate::top_k) finds them, and what it took.
    ///
    /// - `rows`: those that were encoded.
    ///
    /// # Errors
    /// As [`top_k`](crate::top_k), and if there are not as many rows as were encoded or the metric is not one that
    /// a sketch supports.
    pub fn top_k<T: Scalar>(
        &self,
        rows: &[T],
        query: &[f64],
        k: usize,
        metric: Metric,
        threads: usize,
    ) -> Result<(Vec<Hit>, SketchCounts)> {
        if k == 0 {
            return Err(Error::invalid("k must be at least 1, not 0"));
        }
        let dim = self.spec.dim();
        if self.rows().checked_mul(dim) != Some(rows.len()) {
            let message = format!("{} values are not the {} rows of {dim} of the sketch", rows.len(), self.rows());
            return Err(Error::invalid(message));
        }
        let prepared = PreparedQuery::new(metric, query)?;
        let query = SketchQuery::new(&prepared, self.spec)?;
        let mut candidates = self.scan(&query, k, threads)?;
        let (mut top, mut taken) = (TopK::new(k, metric), Vec::new());
        loop {
            let ids = candidates.next_rows(&top)?;
            let counts = candidates.counts();
            if ids.is_empty() {
                return Ok((top.into_sorted(), counts));
            }
            if counts.reranked > MANY.max(counts.scanned / FEW).max((k as u64).saturating_mul(2)) {
                // Reading all rows in order costs less than picking so many.
                let counts = SketchCounts { reranked: counts.scanned, ..counts };
                return Ok((top_k(rows, dim, prepared.values(), k, metric, threads)?, counts));
            }
            taken.clear();
            ids.iter().for_each(|id| taken.extend_from_slice(&rows[*id as usize * dim..][..dim]));
            search_indexed(&prepared, &taken, dim, &ids, &mut top)?;
        }
    }

    fn scan(&self, query: &SketchQuery, k: usize, threads: usize) -> Result<Candidates> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n.min(MAX_THREADS),
        };
        let threads = threads.min(self.rows().div_ceil(TAKEN)).max(1);
        let (next, width) = (AtomicUsize::new(0), self.spec.code_bytes());
        let scan = |mut candidates: Candidates| -> Result<Candidates> {
            loop {
                let start = next.fetch_add(1, Relaxed).saturating_mul(TAKEN);
                if start >= self.rows() {
                    return Ok(candidates);
                }
                let end = self.rows().min(start + TAKEN);
                let (codes, params) =
                    (&self.codes[start * width..end * width], &self.params[start * PARAMS..end * PARAMS]);
                query.scan(codes, params, start as u64, &mut candidates)?;
            }
        };
        let all = Candidates::new(query, k);
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| all.fork()).map(|fork| scope.spawn(|| scan(fork))).collect();
            let mut all = scan(all)?;
            for other in others {
                match other.join() {
                    Ok(part) => all.merge(part?),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(all)
        })
    }
}
