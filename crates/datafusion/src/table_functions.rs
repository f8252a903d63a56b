//! Table functions: one file each. [`TABLE_FUNCTIONS`] is the list that the relation planner looks names up in.

mod append;
mod arrays;
mod call;
mod columns;
mod diff;
mod history;
mod npy_file;
mod positions;
mod read_file;
mod shards;
mod similar_pairs;
mod slice;
mod take;
mod top_k;

use datafusion::common::Result;
use datafusion::logical_expr::LogicalPlan;

pub(crate) use call::{Call, literal};
pub(crate) use positions::PositionsPlanner;
pub(crate) use similar_pairs::SimilarPairsPlanner;

use crate::functions::FunctionDoc;

/// A parameter of a table function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    /// Whether it must be given.
    pub(crate) required: bool,
    /// Whether it may be given by its place.
    pub(crate) positional: bool,
}

impl Parameter {
    const fn required(name: &'static str) -> Self {
        Self { name, required: true, positional: true }
    }

    const fn optional(name: &'static str) -> Self {
        Self { name, required: false, positional: true }
    }

    const fn named(name: &'static str) -> Self {
        Self { name, required: false, positional: false }
    }
}

/// A function of FROM.
#[derive(Debug)]
pub(crate) struct TableFunction {
    pub(crate) doc: FunctionDoc,
    pub(crate) parameters: &'static [Parameter],
    /// Plans a call whose arguments are sorted into the parameters.
    pub(crate) plan: fn(&mut Call<'_>) -> Result<LogicalPlan>,
}

/// Every table function, in order of name.
pub(crate) static TABLE_FUNCTIONS: &[&TableFunction] = &[
    &append::APPEND,
    &arrays::ARRAY_INFO,
    &arrays::ARRAYS,
    &columns::COLUMNS,
    &diff::DIFF,
    &history::HISTORY,
    &columns::MATRIX,
    &npy_file::NPY_ENSURE_APPENDABLE,
    &npy_file::NPY_INFO,
    &npy_file::NPY_RECOVER,
    &read_file::READ_HDF5,
    &read_file::READ_NPY,
    &read_file::READ_NPZ,
    &read_file::READ_NUMPACK,
    &read_file::READ_SAFETENSORS,
    &read_file::READ_TORCH,
    &read_file::READ_ZARR,
    &shards::SHARDS,
    &similar_pairs::SIMILAR_PAIRS,
    &slice::SLICE,
    &history::TAGS,
    &take::TAKE,
    &top_k::TOP_K,
    &history::VERSIONS,
];

/// The function of a name or an alias, in any case.
pub(crate) fn find(name: &str) -> Option<&'static TableFunction> {
    let is = |n: &str| n.eq_ignore_ascii_case(name);
    TABLE_FUNCTIONS.iter().copied().find(|f| is(f.doc.name) || f.doc.aliases.iter().any(|a| is(a)))
}
