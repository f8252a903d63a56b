//! `l2_distance`, its square, and `array_distance`, DataFusion's name for it.

use hyperslab_vector::Distance;

use super::distance::DistanceDoc;
use super::{FunctionDoc, FunctionKind};

pub(super) static FUNCTIONS: &[DistanceDoc] = &[
    DistanceDoc {
        doc: FunctionDoc {
            name: "l2_distance",
            aliases: &["euclidean_distance"],
            kind: FunctionKind::Scalar,
            signature: "l2_distance(a, b)",
            summary: "The Euclidean distance √Σ(aᵢ − bᵢ)² of two vectors of the same length; the operator <-> is the \
                      same.",
            example: "SELECT row, l2_distance(value, (SELECT value FROM 'examples/data/packages.npy' WHERE row = 7)) \
                      AS distance FROM 'examples/data/packages.npy' ORDER BY distance LIMIT 5",
        },
        distance: Distance::L2,
    },
    DistanceDoc {
        doc: FunctionDoc {
            name: "array_distance",
            aliases: &["list_distance"],
            kind: FunctionKind::Scalar,
            signature: "array_distance(a, b)",
            summary: "The Euclidean distance: DataFusion's and DuckDB's name for l2_distance.",
            example: "SELECT array_distance([1, 2], [4, 6]) AS distance",
        },
        distance: Distance::L2,
    },
    DistanceDoc {
        doc: FunctionDoc {
            name: "l2sq_distance",
            aliases: &[],
            kind: FunctionKind::Scalar,
            signature: "l2sq_distance(a, b)",
            summary: "The squared Euclidean distance Σ(aᵢ − bᵢ)² of two vectors of the same length.",
            example: "SELECT l2sq_distance([1.0, 2.0], [4.0, 6.0]) AS distance",
        },
        distance: Distance::L2sq,
    },
];
