//! A query, prepared for scans of codes.

use hyperslab_core::{Error, Result};

use super::SketchSpec;
use super::bounds::{Bounder, Ranking};
use super::dots::{CHUNK, Level, Levels};
use crate::PreparedQuery;
use crate::distance::check_dim;

/// The largest magnitude of a 16-bit integer of the query: 256 · 127 + 127.
const LARGEST: f64 = 32639.0;

/// Norms of queries that have bounds.
const NORMS: std::ops::RangeInclusive<f64> = 1e-60..=1e60;

/// A query in the form in which codes are compared with it: 16-bit integers in two levels of bytes, and what the
/// bounds need of it.
///
/// ```
/// use hyperslab_vector::{Candidates, Metric, PreparedQuery, SketchQuery, SketchSpec, TopK, search_indexed};
/// let rows: Vec<f32> = (0..500).map(|i| i as f32).collect();
/// let spec = SketchSpec::new(8, 1)?;
/// let (mut codes, mut params) = (vec![0; 500], vec![0.0; 1500]);
/// spec.encode(&rows, &mut codes, &mut params)?;
///
/// let prepared = PreparedQuery::new(Metric::L2, &[41.7])?;
/// let query = SketchQuery::new(&prepared, spec)?;
/// let mut candidates = Candidates::new(&query, 2);
/// query.scan(&codes, &params, 0, &mut candidates)?;
/// let mut top = TopK::new(2, Metric::L2);
/// let counts = candidates.rerank(&mut top, |ids, top| {
///     let exact: Vec<f32> = ids.iter().map(|id| rows[*id as usize]).collect();
///     search_indexed(&prepared, &exact, 1, ids, top)
/// })?;
/// assert_eq!(top.into_sorted().iter().map(|hit| hit.row).collect::<Vec<_>>(), [42, 41]);
/// assert_eq!((counts.scanned, counts.reranked), (500, 2));
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SketchQuery {
    pub(super) spec: SketchSpec,
    pub(super) bounder: Bounder,
    /// For each chunk of a row's bytes; with 4 bits two, for the low and the high halves.
    pub(super) levels: Vec<Levels>,
    /// What the offset of the stored codes adds to Σ code · *u*.
    pub(super) correction: f64,
    pub(super) prunes: bool,
}

impl SketchQuery {
    /// Prepares a query for codes of a kind.
    ///
    /// # Errors
    /// [`Invalid`](hyperslab_core::ErrorKind::Invalid) if the query's length is not the codes', or its distance is
    /// not one that a sketch [supports](SketchSpec::supports).
    pub fn new(query: &PreparedQuery, spec: SketchSpec) -> Result<Self> {
        check_dim(query, spec.dim)?;
        let Some(ranking) = Ranking::of(query.distance()) else {
            let message = format!(
                "a sketch finds rows by cosine_distance, cosine_similarity, l2_distance, l2sq_distance or \
                 inner_product, not by {}",
                query.distance()
            );
            return Err(Error::invalid(message));
        };
        let values = query.values();
        let largest = values.iter().fold(0.0, |max, v| f64::max(max, v.abs()));
        let norm = length(values.iter().copied());
        let prunes = NORMS.contains(&norm);
        // Fewer bits, so that a product with an integer is exact.
        let step = if prunes { f64::from_bits((largest / LARGEST).to_bits() & (!0 << 24)) } else { 1.0 };
        let integer = |v: &f64| (v / step).round_ties_even().clamp(-LARGEST, LARGEST);
        let integers: Vec<i32> = values.iter().map(|v| if prunes { integer(v) as i32 } else { 0 }).collect();
        let rest = length(values.iter().zip(&integers).map(|(v, u)| v - step * f64::from(*u)));
        let correction = f64::from(spec.offset()) * integers.iter().map(|u| f64::from(*u)).sum::<f64>();
        let bounder = Bounder::new(ranking, step, norm, rest);
        Ok(Self { spec, bounder, levels: levels(spec, &integers), correction, prunes })
    }

    /// The kind of codes that it is for.
    pub fn spec(&self) -> SketchSpec {
        self.spec
    }

    /// Whether codes can exclude rows. They cannot for a query of zeros or with a norm outside 1e-60 to 1e60, for
    /// which a scan of the full vectors is the better choice; a scan of codes makes all rows candidates.
    pub fn prunes(&self) -> bool {
        self.prunes
    }
}

/// √Σ v².
fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// The integers' levels in the order in which a row's bytes hold its codes.
fn levels(spec: SketchSpec, integers: &[i32]) -> Vec<Levels> {
    let (low, high) = integers.split_at(spec.code_bytes());
    let chunk = |part: &[i32], chunk: usize| {
        let mut levels = [Level([0; CHUNK]); 2];
        for (i, value) in part.iter().skip(chunk * CHUNK).take(CHUNK).enumerate() {
            let upper = (value + 128).div_euclid(256);
            levels[0].0[i] = upper as i8;
            levels[1].0[i] = (value - 256 * upper) as i8;
        }
        levels
    };
    let parts: &[&[i32]] = if spec.bits == 8 { &[low] } else { &[low, high] };
    let chunks = 0..spec.code_bytes().div_ceil(CHUNK);
    chunks.flat_map(|c| parts.iter().map(move |part| chunk(part, c))).collect()
}
