//! `l1_distance`.

use hyperslab_vector::Distance;

use super::distance::DistanceDoc;
use super::{FunctionDoc, FunctionKind};

pub(super) static FUNCTIONS: &[DistanceDoc] = &[DistanceDoc {
    doc: FunctionDoc {
        name: "l1_distance",
        aliases: &["manhattan_distance", "cityblock_distance", "taxicab_distance", "array_l1_distance"],
        kind: FunctionKind::Scalar,
        signature: "l1_distance(a, b)",
        summary: "The sum of the absolute differences Σ|aᵢ − bᵢ| of two vectors of the same length; the operator <+> is the \
                      same.",
        example: "SELECT row, l1_distance(value, (SELECT value FROM 'examples/data/packages.npy' WHERE row = 7)) \
                      AS distance FROM 'examples/data/packages.npy' ORDER BY distance LIMIT 5",
    },
    distance: Distance::L1,
}];
