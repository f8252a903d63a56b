//! `cosine_distance` and `cosine_similarity`.

use hyperslab_vector::Distance;

use super::distance::DistanceDoc;
use super::{FunctionDoc, FunctionKind};

pub(super) static FUNCTIONS: &[DistanceDoc] = &[
    DistanceDoc {
        doc: FunctionDoc {
            name: "cosine_distance",
            aliases: &["array_cosine_distance", "list_cosine_distance"],
            kind: FunctionKind::Scalar,
            signature: "cosine_distance(a, b)",
            summary: "1 − cosine_similarity, 0 to 2; NULL if a vector is all zeros. The operator <=> is the same.",
            example: "SELECT row, cosine_distance(value, (SELECT value FROM 'examples/data/packages.npy' WHERE row = \
                      7)) AS distance FROM 'examples/data/packages.npy' ORDER BY distance LIMIT 5",
        },
        distance: Distance::CosineDistance,
    },
    DistanceDoc {
        doc: FunctionDoc {
            name: "cosine_similarity",
            aliases: &["array_cosine_similarity", "list_cosine_similarity"],
            kind: FunctionKind::Scalar,
            signature: "cosine_similarity(a, b)",
            summary: "Σ aᵢbᵢ / (‖a‖ ‖b‖) of two vectors of the same length, −1 to 1; NULL if one is all zeros.",
            example: "SELECT cosine_similarity([1, 0], [1, 1]) AS similarity",
        },
        distance: Distance::CosineSimilarity,
    },
];
