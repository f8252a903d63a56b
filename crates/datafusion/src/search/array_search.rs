//! Searches of an array without SQL, by the same code and with the same results.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use datafusion::physical_plan::metrics::Count;
use hyperslab_core::{ArraySource, Error, Result, arrow};
use hyperslab_store::Array;
use hyperslab_vector::{Hit, Metric, PreparedQuery};

use super::late::LateVectors;
use super::logical::Order;
use super::rank::{Best, Ranking, RowIds};
use crate::from_datafusion;
use crate::vectors::{Vectors, element_type, fixed_len};

/// More threads than this are not started, whatever is asked for.
const MAX_THREADS: usize = 256;

/// Bytes of vectors that are read at once …
const BLOCK_BYTES: u64 = 1 << 20;
/// … unless these are fewer rows.
const BLOCK_ROWS: u64 = 1024;

/// Each thread takes about so many pieces, so that one that is held up does not hold up all.
const PIECES: u64 = 16;

/// How an array is searched: what `top_k` of SQL takes as named arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchOptions {
    /// How many rows are found for each query; all if there are fewer.
    pub k: usize,
    /// What rows are ranked by.
    pub metric: Metric,
    /// The field of vectors; the only one when not given.
    pub field: Option<String>,
    /// The rows that may be found.
    pub rows: SearchRows,
    /// On how many threads; 0 for as many as there are processors.
    pub threads: usize,
    /// Whether queries may hold NaN and infinities.
    pub allow_nan: bool,
}

impl Default for SearchOptions {
    /// The ten nearest of all rows by cosine, on all processors.
    fn default() -> Self {
        Self { k: 10, metric: Metric::Cosine, field: None, rows: SearchRows::All, threads: 0, allow_nan: false }
    }
}

/// Which rows of an array may be found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SearchRows {
    /// All of them.
    #[default]
    All,
    /// Consecutive ones.
    Range(Range<u64>),
    /// These, in any order.
    Each(Vec<u64>),
}

/// Exact search of an array in Rust: what `top_k` does in SQL, with the same results to the bit.
///
/// ```
/// use hyperslab_core::{DType, FieldSpec};
/// use hyperslab_datafusion::{ArraySearch, Metric, SearchOptions, SearchRows};
/// use hyperslab_store::{ArrayOptions, Store};
///
/// let store = Store::memory();
/// let mut tx = store.begin()?;
/// tx.create("points", vec![FieldSpec::new("value", DType::Float32, vec![2])?], ArrayOptions::default())?;
/// tx.append_ndarray("points", &ndarray::arr2(&[[0.0_f32, 0.0], [1.0, 2.0], [5.0, 5.0]]))?;
/// tx.commit()?;
/// let points = store.snapshot()?.array("points")?;
///
/// let options = SearchOptions { k: 2, metric: Metric::L2, ..SearchOptions::default() };
/// let hits = points.top_k(&[1.0, 1.0], &options)?;
/// assert_eq!((hits[0].row, hits[0].score), (1, 1.0));
///
/// // Several queries at once read each row once; here only some rows may be found.
/// let options = SearchOptions { k: 1, rows: SearchRows::Each(vec![2, 0]), ..options };
/// let found = points.top_k_batch(&[[1.0, 1.0], [4.0, 4.0]], &options)?;
/// assert_eq!([found[0][0].row, found[1][0].row], [0, 2]);
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
pub trait ArraySearch {
    /// The rows nearest to a query, best first; among equal ones the smaller row. A row whose vector is NULL is not found.
    ///
    /// # Errors
    /// `Invalid` if `k` is 0, there is no such field of vectors, the query has another length or holds a NaN or an
    /// infinity, the field's dtype does not have the metric, or a row is beyond the array's; `Io` or `Corrupt` where the
    /// array cannot be read.
    fn top_k(&self, query: &[f64], options: &SearchOptions) -> Result<Vec<Hit>> {
        Ok(self.top_k_batch(&[query], options)?.pop().unwrap_or_default())
    }

    /// The same of several queries: the rows of each, in the order of the queries. Each row is read once for all of them.
    ///
    /// # Errors
    /// As [`top_k`](Self::top_k).
    fn top_k_batch<Q: AsRef<[f64]>>(&self, queries: &[Q], options: &SearchOptions) -> Result<Vec<Vec<Hit>>>;
}

impl ArraySearch for Array {
    fn top_k_batch<Q: AsRef<[f64]>>(&self, queries: &[Q], options: &SearchOptions) -> Result<Vec<Vec<Hit>>> {
        let search = Direct::new(Arc::new(self.clone()), queries, options).map_err(|e| e.with("array", self.name()))?;
        search.run(options).map_err(|e| e.with("array", self.name()))
    }
}

struct Direct {
    vectors: LateVectors,
    ranking: Ranking,
    row_bytes: u64,
    rows: u64,
}

impl Direct {
    fn new<Q: AsRef<[f64]>>(source: Arc<dyn ArraySource>, queries: &[Q], options: &SearchOptions) -> Result<Self> {
        if options.k == 0 {
            return Err(Error::invalid("k must be at least 1, not 0"));
        }
        let field = vector_field(source.as_ref(), options.field.as_deref())?;
        let spec = &source.fields()[field];
        options.metric.check_dtype(spec.dtype())?;
        let (dim, row_bytes) = (fixed_len(&arrow::data_type(spec)), spec.row_bytes() as u64);
        let prepare = |query: &Q| {
            let query = query.as_ref();
            if let Some(dim) = dim.filter(|dim| *dim != query.len()) {
                let (len, name) = (query.len(), spec.name());
                return Err(Error::invalid(format!(
                    "the query vector has {len} values, and those of {name} have {dim}"
                )));
            }
            if options.allow_nan {
                return PreparedQuery::allowing_nan(options.metric, query);
            }
            PreparedQuery::new(options.metric, query)
        };
        let queries = queries.iter().map(prepare).collect::<Result<Vec<_>>>()?;
        let order = Order::Metric(options.metric);
        let (scored, passed_over, rows) = (Count::new(), Count::new(), source.rows());
        Ok(Self {
            ranking: Ranking { order, k: options.k, queries, scored, passed_over },
            vectors: LateVectors { source, field, mapped: Count::new(), copied: Count::new() },
            row_bytes: row_bytes.max(1),
            rows,
        })
    }

    fn run(&self, options: &SearchOptions) -> Result<Vec<Vec<Hit>>> {
        let beyond = |row: u64| Error::invalid(format!("there is no row {row}: the array has {} rows", self.rows));
        let each;
        let (count, first, each) = match &options.rows {
            SearchRows::All => (self.rows, 0, None),
            SearchRows::Range(range) if range.end > self.rows => return Err(beyond(range.end - 1)),
            SearchRows::Range(range) => (range.end.saturating_sub(range.start), range.start, None),
            SearchRows::Each(rows) => {
                let mut sorted = rows.clone();
                sorted.sort_unstable();
                sorted.dedup();
                if let Some(last) = sorted.last().filter(|last| **last >= self.rows) {
                    return Err(beyond(*last));
                }
                each = sorted;
                (each.len() as u64, 0, Some(each.as_slice()))
            }
        };
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n.min(MAX_THREADS),
        };
        let piece = (count / (threads as u64 * PIECES)).max((BLOCK_BYTES / self.row_bytes).max(BLOCK_ROWS));
        let pieces = usize::try_from(count.div_ceil(piece)).unwrap_or(usize::MAX);
        let next = AtomicUsize::new(0);
        let work = || -> Result<Best> {
            let mut best = self.ranking.best();
            loop {
                let start = next.fetch_add(1, Relaxed) as u64 * piece;
                if start >= count {
                    return Ok(best);
                }
                let part = start..count.min(start + piece);
                match each {
                    Some(each) => self.rank_each(&each[part.start as usize..part.end as usize], &mut best)?,
                    None => self.rank_range(first + part.start..first + part.end, &mut best)?,
                }
            }
        };
        let work = &work;
        let best = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads.min(pieces)).map(|_| scope.spawn(work)).collect();
            let mut best = work();
            for other in others {
                let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                match (&mut best, other) {
                    (Ok(best), Ok(other)) => best.merge(other),
                    (Ok(_), Err(e)) => best = Err(e),
                    (Err(_), _) => {}
                }
            }
            best
        })?;
        Ok(best.into_hits(self.ranking.order))
    }

    fn rank_each(&self, rows: &[u64], best: &mut Best) -> Result<()> {
        self.vectors.rank(rows, &self.ranking, best).map_err(engine_error)
    }

    /// Ranks consecutive rows, run by run: views where the array has them.
    fn rank_range(&self, rows: Range<u64>, best: &mut Best) -> Result<()> {
        let LateVectors { source, field, .. } = &self.vectors;
        let most = (BLOCK_BYTES / self.row_bytes).max(BLOCK_ROWS);
        let mut row = rows.start;
        while row < rows.end {
            let run_end = source.run_end(*field, row);
            // Runs of edited rows may be short: then as many rows are read as are copied anyway.
            let end = if run_end - row < BLOCK_ROWS / 16 { row + BLOCK_ROWS } else { run_end };
            let end = end.min(row + most).min(rows.end);
            let block = source.read(*field, row..end)?;
            let vectors = Vectors::try_new(&block.array).map_err(engine_error)?;
            self.ranking.offer(&vectors, RowIds::From(row), best).map_err(engine_error)?;
            row = end;
        }
        Ok(())
    }
}

/// The field of that name, or the only one of vectors.
fn vector_field(source: &dyn ArraySource, name: Option<&str>) -> Result<usize> {
    let fields = source.fields();
    let is_vector = |i: &usize| element_type(&arrow::data_type(&fields[*i])).is_some();
    let names = || fields.iter().map(|f| f.name()).collect::<Vec<_>>().join(", ");
    match name {
        Some(name) => match fields.iter().position(|f| f.name() == name) {
            Some(i) if is_vector(&i) => Ok(i),
            Some(_) => Err(Error::invalid(format!("field {name:?} holds no vectors of numbers"))),
            None => Err(Error::not_found(format!("there is no field {name:?}; there are {}", names()))),
        },
        None => match (0..fields.len()).filter(is_vector).collect::<Vec<_>>().as_slice() {
            [field] => Ok(*field),
            [] => Err(Error::invalid(format!("no field holds vectors of numbers; the fields are {}", names()))),
            _ => Err(Error::invalid(format!("several fields hold vectors: say which of {} in `field`", names()))),
        },
    }
}

/// The engine's error inside of DataFusion's.
fn engine_error(error: datafusion::error::DataFusionError) -> Error {
    match from_datafusion(&error) {
        Some(inner) => Error::new(inner.kind(), inner.to_string()),
        None => Error::invalid(error.strip_backtrace()),
    }
}

#[cfg(test)]
mod tests;
