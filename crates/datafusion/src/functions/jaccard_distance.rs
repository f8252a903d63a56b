//! `jaccard_distance` and `jaccard_similarity`.

use hyperslab_vector::Distance;

use super::distance::DistanceDoc;
use super::{FunctionDoc, FunctionKind};

pub(super) static FUNCTIONS: &[DistanceDoc] = &[
    DistanceDoc {
        doc: FunctionDoc {
            name: "jaccard_distance",
            aliases: &["array_jaccard_distance"],
            kind: FunctionKind::Scalar,
            signature: "jaccard_distance(a, b)",
            summary: "1 − jaccard_similarity, 0 to 1. The operator <%> is the same.",
            example: "SELECT jaccard_distance([true, true, false], [true, false, false]) AS distance",
        },
        distance: Distance::JaccardDistance,
    },
    DistanceDoc {
        doc: FunctionDoc {
            name: "jaccard_similarity",
            aliases: &["array_jaccard_similarity"],
            kind: FunctionKind::Scalar,
            signature: "jaccard_similarity(a, b)",
            summary: "Σ min(aᵢ, bᵢ) / Σ max(aᵢ, bᵢ) of two vectors of the same length, 0 to 1: of their bits where one is of \
                      TINYINT UNSIGNED (packed bits) or BOOLEAN, of weights otherwise, which may not be negative. Two \
                      vectors of zeros are alike.",
            example: "SELECT jaccard_similarity([1, 2, 0], [1, 1, 1]) AS similarity",
        },
        distance: Distance::JaccardSimilarity,
    },
];
