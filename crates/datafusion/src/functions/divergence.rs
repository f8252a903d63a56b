//! `kl_divergence` and `js_distance`.

use hyperslab_vector::Distance;

use super::distance::DistanceDoc;
use super::{FunctionDoc, FunctionKind};

pub(super) static FUNCTIONS: &[DistanceDoc] = &[
    DistanceDoc {
        doc: FunctionDoc {
            name: "kl_divergence",
            aliases: &["array_kl_divergence"],
            kind: FunctionKind::Scalar,
            signature: "kl_divergence(a, b)",
            summary: "The Kullback-Leibler divergence Σ pᵢ ln(pᵢ / qᵢ) of a from b, each divided by its sum first. Infinite where \
                      b lacks what a has; not symmetric.",
            example: "SELECT kl_divergence([1, 3], [1, 1]) AS divergence",
        },
        distance: Distance::KlDivergence,
    },
    DistanceDoc {
        doc: FunctionDoc {
            name: "js_distance",
            aliases: &["array_js_distance", "jensenshannon_distance"],
            kind: FunctionKind::Scalar,
            signature: "js_distance(a, b)",
            summary: "The Jensen-Shannon distance of two vectors, each divided by its sum first: the root of half the sum of \
                      their divergences from their mean, 0 to √(ln 2).",
            example: "SELECT js_distance([1, 3], [1, 1]) AS distance",
        },
        distance: Distance::JsDistance,
    },
];
