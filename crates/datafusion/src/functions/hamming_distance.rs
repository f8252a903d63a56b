//! `hamming_distance`.

use hyperslab_vector::Distance;

use super::distance::DistanceDoc;
use super::{FunctionDoc, FunctionKind};

pub(super) static FUNCTIONS: &[DistanceDoc] = &[DistanceDoc {
    doc: FunctionDoc {
        name: "hamming_distance",
        aliases: &["array_hamming_distance"],
        kind: FunctionKind::Scalar,
        signature: "hamming_distance(a, b)",
        summary: "How many positions of two vectors of the same length differ: bits where one is of TINYINT UNSIGNED (packed \
                      bits) or BOOLEAN, elements otherwise. The operator <~> is the same.",
        example: "SELECT hamming_distance([1, 2, 3], [1, 3, 2]) AS elements, hamming_distance([7, 0]::TINYINT UNSIGNED[2], [2, \
                      255]) AS bits",
    },
    distance: Distance::Hamming,
}];
