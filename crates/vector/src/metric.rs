//! The metrics that rows are ranked by, one file per family with its definition.

use std::fmt;
use std::str::FromStr;

use hyperslab_core::{DType, Error, Result};

use crate::Distance;

pub(crate) mod cosine;
pub(crate) mod divergence;
pub(crate) mod dot;
mod hamming;
pub(crate) mod jaccard;
mod l1;
pub(crate) mod l2;

/// What a search ranks rows by.
///
/// | metric | score of row `a` for query `b` | better |
/// |---|---|---|
/// | `cosine` | 1 − a·b / (‖a‖ ‖b‖), the cosine *distance*, 0 to 2 | smaller |
/// | `cosine_similarity` | a·b / (‖a‖ ‖b‖), −1 to 1 | larger |
/// | `l2` | ‖a − b‖ | smaller |
/// | `l2sq` | ‖a − b‖² | smaller |
/// | `l1` | Σ abs(aᵢ − bᵢ) | smaller |
/// | `dot` | a·b | larger |
/// | `hamming` | how many bits (uint8, bool) or elements differ | smaller |
/// | `jaccard` | 1 − Σ min(aᵢ, bᵢ) / Σ max(aᵢ, bᵢ), of bits for uint8 and bool, 0 to 1 | smaller |
/// | `jaccard_similarity` | Σ min(aᵢ, bᵢ) / Σ max(aᵢ, bᵢ), likewise | larger |
/// | `kl` | the Kullback–Leibler divergence Σ aᵢ ln(aᵢ / bᵢ) after division by the sums | smaller |
/// | `js` | the Jensen–Shannon distance, likewise, 0 to √(ln 2) | smaller |
///
/// ```
/// use hyperslab_vector::Metric;
/// assert_eq!("euclidean".parse::<Metric>()?, Metric::L2);
/// assert_eq!(Metric::Dot.to_string(), "dot");
/// assert!(Metric::Dot.larger_is_better() && !Metric::Cosine.larger_is_better());
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// Cosine distance.
    Cosine,
    /// Cosine similarity.
    CosineSimilarity,
    /// Euclidean distance.
    L2,
    /// Squared Euclidean distance.
    L2sq,
    /// Manhattan distance.
    L1,
    /// Inner product.
    Dot,
    /// Hamming distance.
    Hamming,
    /// Jaccard distance.
    Jaccard,
    /// Jaccard similarity.
    JaccardSimilarity,
    /// Kullback–Leibler divergence.
    Kl,
    /// Jensen–Shannon distance.
    Js,
}

impl Metric {
    /// Every metric, in the order that messages list them.
    pub const ALL: [Metric; 11] = [
        Metric::Cosine,
        Metric::CosineSimilarity,
        Metric::L2,
        Metric::L2sq,
        Metric::L1,
        Metric::Dot,
        Metric::Hamming,
        Metric::Jaccard,
        Metric::JaccardSimilarity,
        Metric::Kl,
        Metric::Js,
    ];

    /// The name that `Display` prints and `FromStr` reads.
    pub const fn name(self) -> &'static str {
        match self {
            Metric::Cosine => "cosine",
            Metric::CosineSimilarity => "cosine_similarity",
            Metric::L2 => "l2",
            Metric::L2sq => "l2sq",
            Metric::L1 => "l1",
            Metric::Dot => "dot",
            Metric::Hamming => "hamming",
            Metric::Jaccard => "jaccard",
            Metric::JaccardSimilarity => "jaccard_similarity",
            Metric::Kl => "kl",
            Metric::Js => "js",
        }
    }

    /// Other names that `FromStr` reads.
    pub const fn aliases(self) -> &'static [&'static str] {
        match self {
            Metric::Cosine => &["cosine_distance", "cos"],
            Metric::CosineSimilarity => &["cos_sim"],
            Metric::L2 => &["euclidean", "l2_distance"],
            Metric::L2sq => &["sqeuclidean", "squared_euclidean", "l2_squared", "l2sq_distance"],
            Metric::L1 => &["manhattan", "cityblock", "taxicab", "l1_distance"],
            Metric::Dot => &["inner", "inner_product", "dot_product", "ip"],
            Metric::Hamming => &["hamming_distance"],
            Metric::Jaccard => &["jaccard_distance"],
            Metric::JaccardSimilarity => &["ruzicka"],
            Metric::Kl => &["kl_divergence", "kullback_leibler", "relative_entropy"],
            Metric::Js => &["js_distance", "jensenshannon", "jensen_shannon"],
        }
    }

    /// Whether a larger score ranks first: for `dot` and the similarities.
    pub const fn larger_is_better(self) -> bool {
        matches!(self, Metric::Dot | Metric::CosineSimilarity | Metric::JaccardSimilarity)
    }

    /// The quantity that is the score.
    pub const fn distance(self) -> Distance {
        match self {
            Metric::Cosine => Distance::CosineDistance,
            Metric::CosineSimilarity => Distance::CosineSimilarity,
            Metric::L2 => Distance::L2,
            Metric::L2sq => Distance::L2sq,
            Metric::L1 => Distance::L1,
            Metric::Dot => Distance::InnerProduct,
            Metric::Hamming => Distance::Hamming,
            Metric::Jaccard => Distance::JaccardDistance,
            Metric::JaccardSimilarity => Distance::JaccardSimilarity,
            Metric::Kl => Distance::KlDivergence,
            Metric::Js => Distance::JsDistance,
        }
    }

    /// Checks that rows of a dtype can be ranked by it.
    ///
    /// # Errors
    /// As [`Distance::check_dtype`].
    pub fn check_dtype(self, dtype: DType) -> Result<()> {
        self.distance().check_dtype(dtype)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Metric {
    type Err = Error;

    /// Reads a name or an alias, in any case.
    fn from_str(name: &str) -> Result<Self> {
        let is = |known: &str| known.eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(|m| is(m.name()) || m.aliases().iter().any(|a| is(a))).ok_or_else(|| {
            let known = Self::ALL.map(Metric::name).join(", ");
            Error::invalid(format!("there is no metric '{name}': use one of {known}"))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_name_and_alias_is_read() {
        for metric in Metric::ALL {
            assert_eq!(metric.to_string().parse::<Metric>().unwrap(), metric);
            for alias in metric.aliases() {
                assert_eq!(alias.to_uppercase().parse::<Metric>().unwrap(), metric);
            }
        }
    }

    #[test]
    fn unknown_names_list_the_metrics() {
        let error = "minkowski".parse::<Metric>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no metric 'minkowski': use one of cosine, cosine_similarity, l2, l2sq, l1, dot, hamming, jaccard, \
             jaccard_similarity, kl, js"
        );
    }

    #[test]
    fn no_two_metrics_share_a_name() {
        let names = Metric::ALL.into_iter().flat_map(|m| std::iter::once(m.name()).chain(m.aliases().iter().copied()));
        let mut names: Vec<_> = names.collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
