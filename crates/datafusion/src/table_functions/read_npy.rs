//! `read_npy`: a `.npy` file, or several, as a table.

use datafusion::common::Result;
use datafusion::logical_expr::LogicalPlan;

use super::{Call, Parameter, TableFunction};
use crate::functions::{FunctionDoc, FunctionKind};

pub(super) static READ_NPY: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "read_npy",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "read_npy(path)",
        summary: "A .npy file, or those that a glob matches, as a table of row and value, read in place. FROM \
                  'file.npy' is the same.",
        example: "SELECT count(*) FROM read_npy('examples/data/digits.npy')",
    },
    parameters: &[Parameter::required("path")],
    plan,
};

fn plan(call: &mut Call<'_>) -> Result<LogicalPlan> {
    let Some(path) = call.text("path")? else { return call.misused("the argument path is missing") };
    Ok(super::call::file(&path)?.plan)
}
