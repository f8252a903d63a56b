//! `take`: rows by position, in the order asked for.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast};

use super::call::{bare_scan, keep_order, only_column};
use super::positions::{PositionColumn, Positions, Rows};
use super::{Call, Parameter, TableFunction};
use crate::functions::{FunctionDoc, FunctionKind};
use crate::write::in_order::InOrder;

pub(super) static TAKE: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "take",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "take(array, [row, …])",
        summary: "Rows by position, negative ones from the end, in the given order, repeated ones repeatedly; a \
                  position out of range is an error. The rows may be a list, a parameter, or a subquery of one column \
                  (its ORDER BY counts).",
        example: "SELECT row, value FROM take('examples/data/digits_labels.npy', [5, -1, 5])",
    },
    parameters: &[Parameter::required("array"), Parameter::required("rows")],
    plan,
};

fn plan(call: &mut Call<'_>) -> Result<LogicalPlan> {
    let (_, table) = call.array_itself("array")?;
    let Some(rows) = call.argument("rows") else { return call.misused("the argument rows is missing") };
    let rows = match call.subquery_of(&rows)? {
        Some(plan) => match only_column(&plan) {
            Some(column) => {
                check(plan.schema().qualified_field_from_column(&column)?.1.data_type())?;
                plan
            }
            None => return call.misused("a subquery of rows gives one column"),
        },
        None => listed(call.constant(rows)?)?,
    };
    let fields = table.source().fields().iter().cloned().enumerate();
    let fields = fields.map(|(index, spec)| PositionColumn::Field { index, spec, cells: None });
    let columns = std::iter::once(PositionColumn::Row).chain(fields).collect();
    keep_order(Positions::plan(bare_scan(&table)?, Rows::Listed(Box::new(InOrder::plan(rows)?)), columns)?)
}

/// Rows that are written out, or a parameter.
fn listed(rows: Expr) -> Result<LogicalPlan> {
    let rows = match rows.clone().unalias() {
        Expr::Placeholder(_) => cast(rows, DataType::new_list(DataType::Int64, true)),
        _ => {
            check(&rows.get_type(&DFSchema::empty())?)?;
            rows
        }
    };
    LogicalPlanBuilder::empty(true).project(vec![rows.alias("rows")])?.build()
}

fn check(data_type: &DataType) -> Result<()> {
    let element = match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => item.data_type(),
        other => other,
    };
    if element.is_integer() || element.is_null() {
        return Ok(());
    }
    plan_err!("take: rows are whole numbers or lists of them, not {data_type}")
}
