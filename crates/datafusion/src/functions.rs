//! The one list of functions: registration, the docs page, completion and the tests read it.

mod array_literal;
mod cells;
mod cosine_distance;
mod distance;
mod divergence;
mod hamming_distance;
mod inner_product;
mod jaccard_distance;
mod l1_distance;
mod l2_distance;
mod operators;
mod top_k_agg;

use std::sync::Arc;

use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

pub(crate) use array_literal::list_literal;
pub(crate) use cells::{cells_of, element, element_of, leaf_type};
pub(crate) use distance::{DistanceFunction, is_null_of_zero, is_zero};

use crate::optimizer::nearest::NearestOperator;
use crate::table_functions::TABLE_FUNCTIONS;

/// Where a function may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionKind {
    /// In an expression.
    Scalar,
    /// In an expression, over the rows of a group.
    Aggregate,
    /// In FROM.
    Table,
}

/// What users are told of a function.
#[derive(Debug, Clone, Copy)]
pub struct FunctionDoc {
    /// Its name.
    pub name: &'static str,
    /// Its other names.
    pub aliases: &'static [&'static str],
    /// Scalar, aggregate or table function.
    pub kind: FunctionKind,
    /// Its arguments, as error messages print them.
    pub signature: &'static str,
    /// What it gives, in a line.
    pub summary: &'static str,
    /// Statements, divided by `;`, that run in a session over an empty store, in the repository's root.
    pub example: &'static str,
}

/// Every function that Hyperslab adds, in order of name.
///
/// ```
/// let docs = hyperslab_datafusion::function_docs();
/// assert!(docs.iter().any(|f| f.name == "top_k"));
/// assert!(docs.is_sorted_by_key(|f| f.name));
/// ```
pub fn function_docs() -> Vec<FunctionDoc> {
    let scalar = distance_functions().map(|f| f.doc);
    let mut docs: Vec<_> = TABLE_FUNCTIONS.iter().map(|f| f.doc).chain(scalar).chain([top_k_agg::TOP_K_AGG]).collect();
    docs.sort_unstable_by_key(|f| f.name);
    docs
}

fn distance_functions() -> impl Iterator<Item = &'static distance::DistanceDoc> {
    [
        l2_distance::FUNCTIONS,
        cosine_distance::FUNCTIONS,
        inner_product::FUNCTIONS,
        l1_distance::FUNCTIONS,
        hamming_distance::FUNCTIONS,
        jaccard_distance::FUNCTIONS,
        divergence::FUNCTIONS,
    ]
    .into_iter()
    .flatten()
}

/// Adds the aggregates and the scalar functions, of which those whose names DataFusion has replace its own, and the expression planners,
/// which must stand before DataFusion's: the first that plans an expression wins.
pub(crate) fn register_on(builder: &mut SessionStateBuilder) {
    let functions = distance_functions().map(|f| Arc::new(ScalarUDF::new_from_impl(DistanceFunction::new(f))));
    builder.scalar_functions().get_or_insert_default().extend(functions);
    let aggregate = Arc::new(AggregateUDF::new_from_impl(top_k_agg::TopKAgg::new()));
    builder.aggregate_functions().get_or_insert_default().push(aggregate);
    let planners: [Arc<dyn ExprPlanner>; 3] =
        [Arc::new(array_literal::ArrayLiterals), Arc::new(operators::DistanceOperators), Arc::new(NearestOperator)];
    builder.expr_planners().get_or_insert_default().splice(0..0, planners);
}
