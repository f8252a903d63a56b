//! `shards`: the files of an array.

use std::sync::Arc;

use datafusion::arrow::array::BooleanArray;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::LogicalPlan;

use super::arrays::{numbers, table, text};
use super::{Call, Parameter, TableFunction};
use crate::functions::{FunctionDoc, FunctionKind};
use crate::table::Origin;

pub(super) static SHARDS: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "shards",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "shards(array)",
        summary: "The files of an array, one row each: segment, whether it holds replaced rows (patch), field, part, \
                  kind (raw, zstd), file, first row in the segment, rows, bytes, directory.",
        example: "CREATE TABLE digits AS SELECT value FROM 'examples/data/digits.npy'; \
                  SELECT field, part, kind, rows, bytes FROM shards('digits')",
    },
    parameters: &[Parameter::required("array")],
    plan,
};

fn plan(call: &mut Call<'_>) -> Result<LogicalPlan> {
    let (argument, found) = call.array_itself("array")?;
    let Origin::Store { array, .. } = found.origin() else {
        return plan_err!("shards: {} is a file, not an array of a store", argument.name);
    };
    let shards = array.shards();
    let columns = [
        ("segment", text(shards.iter().map(|s| format!("{:08x}", s.segment)))),
        ("patch", Arc::new(shards.iter().map(|s| Some(s.patch)).collect::<BooleanArray>()) as _),
        ("field", text(shards.iter().map(|s| s.field.clone()))),
        ("part", text(shards.iter().map(|s| s.part.to_owned()))),
        ("kind", text(shards.iter().map(|s| s.kind.to_owned()))),
        ("file", text(shards.iter().map(|s| s.file.clone()))),
        ("start", numbers(shards.iter().map(|s| Some(s.start)))),
        ("rows", numbers(shards.iter().map(|s| Some(s.rows)))),
        ("bytes", numbers(shards.iter().map(|s| Some(s.bytes)))),
        ("dir", numbers(shards.iter().map(|s| Some(u64::from(s.dir))))),
    ];
    table(&format!("shards({})", found.scan_name()), columns.into_iter())
}
