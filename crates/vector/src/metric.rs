//! The metrics that rows are ranked by, one file per family with its definition.

use std::fmt;
use std::str::FromStr;

use hyperslab_core::Error;

use crate::Distance;

pub(crate) mod cosine;
pub(crate) mod dot;
pub(crate) mod l2;

/// What a search ranks rows by.
///
/// | metric | score of row `a` for query `b` | better |
/// |---|---|---|
/// | `cosine` | 1 − a·b / (‖a‖ ‖b‖), the cosine *distance*, 0 to 2 | smaller |
/// | `l2` | ‖a − b‖ | smaller |
/// | `l2sq` | ‖a − b‖² | smaller |
/// | `dot` | a·b | larger |
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
    /// Euclidean distance.
    L2,
    /// Squared Euclidean distance.
    L2sq,
    /// Inner product.
    Dot,
}

impl Metric {
    /// Every metric, in the order that messages list them.
    pub const ALL: [Metric; 4] = [Metric::Cosine, Metric::L2, Metric::L2sq, Metric::Dot];

    /// The name that `Display` prints and `FromStr` reads.
    pub const fn name(self) -> &'static str {
        match self {
            Metric::Cosine => "cosine",
            Metric::L2 => "l2",
            Metric::L2sq => "l2sq",
            Metric::Dot => "dot",
        }
    }

    /// Other names that `FromStr` reads.
    pub const fn aliases(self) -> &'static [&'static str] {
        match self {
            Metric::Cosine => &["cosine_distance"],
            Metric::L2 => &["euclidean"],
            Metric::L2sq => &["sqeuclidean"],
            Metric::Dot => &["inner", "inner_product", "dot_product"],
        }
    }

    /// Whether a larger score ranks first: for `dot` only.
    pub const fn larger_is_better(self) -> bool {
        matches!(self, Metric::Dot)
    }

    /// The quantity that is the score.
    pub const fn distance(self) -> Distance {
        match self {
            Metric::Cosine => Distance::CosineDistance,
            Metric::L2 => Distance::L2,
            Metric::L2sq => Distance::L2sq,
            Metric::Dot => Distance::InnerProduct,
        }
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
    fn from_str(name: &str) -> Result<Self, Error> {
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
        let error = "manhattan".parse::<Metric>().unwrap_err();
        assert_eq!(error.to_string(), "there is no metric 'manhattan': use one of cosine, l2, l2sq, dot");
    }
}
