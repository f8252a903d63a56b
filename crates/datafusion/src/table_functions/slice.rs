//! `slice`: NumPy's basic indexing over rows and cells.

use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::LogicalPlan;
use hyperslab_core::{FieldSpec, Selection};

use super::positions::{Cells, PositionColumn, Positions, Rows};
use super::{Call, Parameter, TableFunction};
use crate::error::to_datafusion;
use crate::functions::{FunctionDoc, FunctionKind};
use crate::table::ArrayTable;

pub(super) static SLICE: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "slice",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "slice(array, 'start:stop:step, …', field => 'value')",
        summary: "NumPy's basic indexing on (row, axes…): 0-based, half-open, negative from the end, integers drop \
                  their axis (an integer row gives one row). `row` is the row's number in the array, and rows come in \
                  the slice's order. A slice of rows gives every field; one of more axes gives one field, which must \
                  be named if there are several.",
        example: "SELECT row, value FROM slice('examples/data/digits.npy', '10:20:5, 2:4, ::-1')",
    },
    parameters: &[Parameter::required("array"), Parameter::required("slice"), Parameter::optional("field")],
    plan,
};

fn plan(call: &mut Call<'_>) -> Result<LogicalPlan> {
    let (array, table) = call.array_itself("array")?;
    let Some(text) = call.text("slice")? else { return call.misused("the argument slice is missing") };
    let selection = Selection::parse(&text).map_err(to_datafusion)?;
    let field = call.text("field")?;
    let (columns, axes) = columns(&table, &array.name, &selection, field.as_deref())?;
    Positions::plan(super::call::bare_scan(&table)?, Rows::Slice(selection.first_axis(axes)), columns)
}

/// The output's columns, and the number of axes that the slice is held against.
fn columns(
    table: &ArrayTable,
    name: &str,
    selection: &Selection,
    field: Option<&str>,
) -> Result<(Vec<PositionColumn>, usize)> {
    let fields = table.source().fields();
    let rows = usize::try_from(table.source().rows()).unwrap_or(usize::MAX);
    // Whether it fits one axis of any length, and leaves a second one whole: `..., 3` is not about rows.
    let any = isize::MAX as usize;
    let only_rows = selection.normalize(&[any]).is_ok()
        && selection.normalize(&[any, any]).is_ok_and(|s| {
            s.axes.get(1).is_some_and(|axis| (axis.start, axis.step, axis.len, axis.dropped) == (0, 1, any, false))
        });
    let mut columns = vec![PositionColumn::Row];
    let chosen = match (field, fields) {
        (Some(wanted), _) => Some(index_of(fields, wanted, name)?),
        (None, _) if only_rows => None,
        (None, [_]) => Some(0),
        (None, _) => {
            return plan_err!(
                "slice '{selection}' has more axes than rows, and {name} has several fields: {}; say which with \
                 field => '…'",
                names(fields)
            );
        }
    };
    let Some(chosen) = chosen else {
        selection.normalize(&[rows]).map_err(to_datafusion)?;
        let whole = fields.iter().cloned().enumerate();
        columns.extend(whole.map(|(index, spec)| PositionColumn::Field { index, spec, cells: None }));
        return Ok((columns, 1));
    };
    let Some(stored) = fields.get(chosen) else { return plan_err!("{name} has no fields") };
    let shape: Vec<usize> = std::iter::once(rows).chain(stored.cell().iter().copied()).collect();
    let normal = selection.normalize(&shape).map_err(to_datafusion)?;
    let (spec, cells) = Cells::of(stored, normal.axes.get(1..).unwrap_or_default()).map_err(to_datafusion)?;
    columns.push(PositionColumn::Field { index: chosen, spec, cells });
    Ok((columns, shape.len()))
}

fn index_of(fields: &[FieldSpec], wanted: &str, array: &str) -> Result<usize> {
    match fields.iter().position(|f| f.name() == wanted) {
        Some(index) => Ok(index),
        None => plan_err!("{array} has no field {wanted:?}; its fields are {}", names(fields)),
    }
}

fn names(fields: &[FieldSpec]) -> String {
    fields.iter().map(FieldSpec::name).collect::<Vec<_>>().join(", ")
}
