//! `inner_product`, which is also `dot_product`, and its negative, by which smaller is nearer.

use hyperslab_vector::Distance;

use super::distance::DistanceDoc;
use super::{FunctionDoc, FunctionKind};

pub(super) static FUNCTIONS: &[DistanceDoc] = &[
    DistanceDoc {
        doc: FunctionDoc {
            name: "inner_product",
            aliases: &[
                "dot_product",
                "array_inner_product",
                "array_dot_product",
                "list_inner_product",
                "list_dot_product",
            ],
            kind: FunctionKind::Scalar,
            signature: "inner_product(a, b)",
            summary: "The inner product Σ aᵢbᵢ of two vectors of the same length.",
            example: "SELECT inner_product([1, 2, 3], [4, 5, 6]) AS product",
        },
        distance: Distance::InnerProduct,
    },
    DistanceDoc {
        doc: FunctionDoc {
            name: "negative_inner_product",
            aliases: &[
                "array_negative_inner_product",
                "array_negative_dot_product",
                "list_negative_inner_product",
                "list_negative_dot_product",
            ],
            kind: FunctionKind::Scalar,
            signature: "negative_inner_product(a, b)",
            summary: "−Σ aᵢbᵢ, by which ORDER BY … LIMIT finds the largest products; the operator <#> is the same.",
            example: "SELECT row, negative_inner_product(value, (SELECT value FROM 'examples/data/packages.npy' WHERE \
                      row = 7)) AS distance FROM 'examples/data/packages.npy' ORDER BY distance LIMIT 5",
        },
        distance: Distance::NegativeInnerProduct,
    },
];
