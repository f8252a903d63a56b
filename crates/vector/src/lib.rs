//! Distance metrics over rows of memory, and exact top-k search: usable on plain slices, without a store.
//!
//! ```
//! use hyperslab_vector::{Metric, top_k};
//!
//! // Three rows of two float32 values; the two nearest to (1, 1), on one thread.
//! let rows = [0.0_f32, 0.0, 1.0, 2.0, 5.0, 5.0];
//! let hits = top_k(&rows, 2, &[1.0, 1.0], 2, Metric::L2, 1)?;
//! assert_eq!((hits[0].row, hits[0].score), (1, 1.0));
//! assert_eq!((hits[1].row, hits[1].score), (0, 2.0_f64.sqrt()));
//! # Ok::<(), hyperslab_core::Error>(())
//! ```
//!
//! - [`top_k`] searches a slice, on several threads.
//! - [`search_block`] and [`search_indexed`] (given row numbers) feed a [`TopK`] with rows that come block by block,
//!   [`search_blocks`] and [`search_blocks_indexed`] those of several queries.
//! - [`distances`], [`pairwise_distances`] and [`pair_distance`] compute without ranking.
//!
//! # Definitions
//!
//! | [`Distance`] | formula | [`Metric`] whose score it is |
//! |---|---|---|
//! | `cosine_similarity` | a·b / √(‖a‖² ‖b‖²), clamped to −1..=1 | `cosine_similarity`, larger is better |
//! | `cosine_distance` | 1 − `cosine_similarity` | `cosine`, smaller is better |
//! | `l2_distance` | √Σ(aᵢ − bᵢ)² | `l2`, smaller is better |
//! | `l2sq_distance` | Σ(aᵢ − bᵢ)² | `l2sq`, smaller is better |
//! | `inner_product` | Σ aᵢ bᵢ | `dot`, larger is better |
//! | `negative_inner_product` | −Σ aᵢ bᵢ | |
//! | `l1_distance` | Σ abs(aᵢ − bᵢ) | `l1`, smaller is better |
//! | `hamming_distance` | how many bits or elements differ | `hamming`, smaller is better |
//! | `jaccard_similarity` | Σ min(aᵢ, bᵢ) / Σ max(aᵢ, bᵢ) | `jaccard_similarity`, larger is better |
//! | `jaccard_distance` | 1 − `jaccard_similarity` | `jaccard`, smaller is better |
//! | `kl_divergence` | Σ pᵢ ln(pᵢ / qᵢ), p = a / Σa, q = b / Σb | `kl`, smaller is better |
//! | `js_distance` | √((Σ pᵢ ln(pᵢ / mᵢ) + Σ qᵢ ln(qᵢ / mᵢ)) / 2), m = (p + q) / 2 | `js`, smaller is better |
//!
//! a is the row and b the query, which matters to `kl_divergence` alone. What the formulas leave open:
//! - A NaN in either vector gives NaN, but for `hamming`, where it differs from everything. Infinities follow IEEE 754,
//!   but for the cosine, which is NaN.
//! - The cosine similarity of a vector of zeros is 0 with any other vector and 1 with another one of zeros; so is the
//!   Jaccard similarity. `kl` and `js` of it are NaN, for it is no distribution.
//! - A negative element gives NaN for `jaccard`, infinity for `kl` and `js`. `kl` is infinite where a row is positive
//!   and the query 0.
//!
//! # Metrics and dtypes
//!
//! | | float16, bfloat16, float32, float64 | int8 … int64, uint16 … uint64 | uint8 | bool |
//! |---|---|---|---|---|
//! | `cosine`, `cosine_similarity`, `l2`, `l2sq`, `l1`, `dot` | values | values | values | 0 and 1 |
//! | `hamming` | elements | elements | bits | bits |
//! | `jaccard`, `jaccard_similarity` | weights | weights | bits | bits |
//! | `kl`, `js` | weights | weights | weights | error |
//!
//! Where bits are compared, the query's values must be integers of the dtype's range. Other dtypes have no metric
//! ([`Distance::check_dtype`]).
//!
//! # Exactness
//!
//! Elements of every real dtype ([`Scalar`]) are converted to float64, and everything is computed in
//! float64 in a fixed order of additions, logarithms included: the same input gives the same bits on every processor, alone or
//! in a batch, on any number of threads. The order of the results is total too (see [`TopK`]): the better
//! score first, NaN last, ties by the smaller row.

mod capabilities;
mod distance;
mod gemm;
mod kernel;
mod metric;
mod query;
mod scalar;
mod screen;
mod search;
mod sketch;
#[cfg(test)]
mod testing;
mod topk;

pub use capabilities::{Capability, compute_capabilities};
pub use distance::{Distance, distances, pair_distance, pairwise_distances};
pub use metric::Metric;
pub use query::PreparedQuery;
pub use scalar::{Scalar, to_f64};
pub use search::{SearchStats, search_block, search_blocks, search_blocks_indexed, search_indexed, top_k};
pub use sketch::{Candidates, Sketch, SketchCounts, SketchQuery, SketchSpec, SpecialRows};
pub use topk::{Hit, TopK};
