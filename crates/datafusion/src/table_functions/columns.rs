//! `columns` and `matrix`: a field of cells as a column per element, and columns as one field of vectors.

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, Result, plan_err};
use datafusion::logical_expr::type_coercion::binary::type_union_resolution;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast};
use hyperslab_core::{FieldSpec, VALUE, arrow};

use super::call::ArrayArgument;
use super::{Call, Parameter, TableFunction};
use crate::error::to_datafusion;
use crate::functions::{FunctionDoc, FunctionKind, cells_of, element_of};
use crate::table::ROW;
use crate::write::flatten::suffixes;

/// More columns than this make plans that nothing can work with.
const MOST_COLUMNS: usize = 10_000;

pub(super) static COLUMNS: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "columns",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "columns(array, field => 'value')",
        summary: "The wide form of a field of vectors: `row` and a column per element, c0, c1, … (c0_0, c0_1, … of \
                  tensors, c0_re and c0_im of complex numbers). The field must be named if several have cells. \
                  `matrix` goes the other way.",
        example: "SELECT row, c0_0, c7_7 FROM columns('examples/data/digits.npy') ORDER BY row LIMIT 3",
    },
    parameters: &[Parameter::required("array"), Parameter::optional("field")],
    plan: columns,
};

pub(super) static MATRIX: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "matrix",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "matrix(table, 'first:last', name => 'value')",
        summary: "The columns of a table from the first to the last one named, both included, as one column of \
                  vectors; the others stay. 'c0:' goes up to the last column of all, ':' takes every column but \
                  `row`. Numbers of different types become the one that holds them all.",
        example: "CREATE TABLE wide (id INT, x FLOAT, y FLOAT); INSERT INTO wide VALUES (7, 1, 2); \
                  SELECT id, value FROM matrix('wide', 'x:y')",
    },
    parameters: &[Parameter::required("table"), Parameter::required("columns"), Parameter::optional("name")],
    plan: matrix,
};

fn columns(call: &mut Call<'_>) -> Result<LogicalPlan> {
    let argument = call.array("array")?;
    let wanted = call.text("field")?;
    let schema = argument.plan.schema();
    let has_cells = |f: &&Field| matches!(f.data_type(), DataType::FixedSizeList(..));
    let fields: Vec<(usize, &Field)> = schema.fields().iter().map(AsRef::as_ref).enumerate().collect();
    let of_cells: Vec<_> = fields.iter().filter(|(_, f)| has_cells(f)).copied().collect();
    let names = |of: &[(usize, &Field)]| of.iter().map(|(_, f)| f.name().as_str()).collect::<Vec<_>>().join(", ");
    let (index, field) = match (wanted, of_cells.as_slice()) {
        (Some(wanted), _) => match fields.iter().find(|(_, f)| *f.name() == wanted) {
            Some((i, f)) if has_cells(f) => (*i, *f),
            Some((_, f)) => {
                return plan_err!(
                    "columns: {wanted} of {} is {}, no list of a fixed length",
                    argument.name,
                    f.data_type()
                );
            }
            None => {
                return plan_err!(
                    "columns: {} has no field {wanted:?}; its fields are {}",
                    argument.name,
                    names(&fields)
                );
            }
        },
        (None, [one]) => *one,
        (None, []) => {
            return plan_err!(
                "columns: no field of {} holds vectors or tensors; it has {}",
                argument.name,
                names(&fields)
            );
        }
        (None, several) => {
            return plan_err!(
                "columns: {} has several fields of cells: {}; say which with field => '…'",
                argument.name,
                names(several)
            );
        }
    };
    let spec = arrow::from_field(&field.clone().with_name("cell")).map_err(to_datafusion)?;
    let expressions = elements(&spec, &argument.name, Expr::Column(Column::from(schema.qualified_field(index))))?;
    let row = schema.iter().find(|(_, f)| f.name() == ROW).map(|found| Expr::Column(Column::from(found)));
    LogicalPlanBuilder::from(argument.plan.clone()).project(row.into_iter().chain(expressions))?.build()
}

fn elements(spec: &FieldSpec, array: &str, cells: Expr) -> Result<Vec<Expr>> {
    let count = spec.cell().iter().try_fold(1_usize, |n, axis| n.checked_mul(*axis)).unwrap_or(usize::MAX);
    if count > MOST_COLUMNS {
        return plan_err!("columns: a cell of {array} has {count} elements, and at most {MOST_COLUMNS} become columns");
    }
    let names = suffixes(spec).into_iter().enumerate();
    Ok(names
        .map(|(i, suffix)| element_of(cells.clone(), i).alias(format!("c{}", suffix.trim_start_matches('_'))))
        .collect())
}

fn matrix(call: &mut Call<'_>) -> Result<LogicalPlan> {
    let argument = call.array("table")?;
    let Some(range) = call.text("columns")? else { return call.misused("the argument columns is missing") };
    let name = call.text("name")?.unwrap_or_else(|| VALUE.to_owned());
    as_vectors(call, &argument, &range, &name)
}

/// A table whose columns of a range `first:last` are one column of vectors, of the given name.
pub(super) fn as_vectors(call: &Call<'_>, argument: &ArrayArgument, range: &str, name: &str) -> Result<LogicalPlan> {
    let function = call.name();
    let schema = argument.plan.schema();
    let fields: Vec<_> = schema.iter().collect();
    let (first, last) =
        ends(call, range, &argument.name, &fields.iter().map(|(_, f)| f.name().as_str()).collect::<Vec<_>>())?;
    let chosen =
        |i: usize| (first..=last).contains(&i) && fields.get(i).is_some_and(|(_, f)| f.name() != ROW || range != ":");
    let (inside, others): (Vec<_>, Vec<_>) = fields.iter().enumerate().partition(|(i, _)| chosen(*i));
    let types: Vec<DataType> = inside.iter().map(|(_, (_, f))| f.data_type().clone()).collect();
    if let Some((_, (_, f))) =
        inside.iter().find(|(_, (_, f))| !f.data_type().is_numeric() && *f.data_type() != DataType::Boolean)
    {
        return plan_err!(
            "{function}: the column {:?} of {} holds {}, no numbers; choose other columns or cast it",
            f.name(),
            argument.name,
            f.data_type()
        );
    }
    if inside.len() > MOST_COLUMNS {
        return plan_err!(
            "{function}: {range} of {} are {} columns, and at most {MOST_COLUMNS} become a vector",
            argument.name,
            inside.len()
        );
    }
    let Some(element) = type_union_resolution(&types) else {
        return plan_err!(
            "{function}: the columns {range} of {} have no type in common: {types:?}; cast them",
            argument.name
        );
    };
    if let Some((_, (_, f))) = others.iter().find(|(_, (_, f))| f.name() == name) {
        return plan_err!(
            "{function}: {} has a column {:?} beside {range}; choose another name => '…'",
            argument.name,
            f.name()
        );
    }
    let column = |(_, found): &(usize, &(_, _))| Expr::Column(Column::from(**found));
    let values = inside.iter().map(|c| {
        if column(c).get_type(schema).is_ok_and(|t| t == element) {
            column(c)
        } else {
            cast(column(c), element.clone())
        }
    });
    let cells = cells_of(values.collect()).alias(name);
    let place = others.iter().filter(|(i, _)| *i < first).count();
    let mut expressions: Vec<Expr> = others.iter().map(column).collect();
    expressions.insert(place, cells);
    LogicalPlanBuilder::from(argument.plan.clone()).project(expressions)?.build()
}

/// The first and the last column of `first:last`.
fn ends(call: &Call<'_>, range: &str, table: &str, names: &[&str]) -> Result<(usize, usize)> {
    let Some((first, last)) = range.split_once(':') else {
        return call.misused(&format!("the columns are 'first:last', not '{range}'"));
    };
    let find = |name: &str, open: usize| match name.trim() {
        "" => Ok(open),
        name => match names.iter().position(|n| *n == name) {
            Some(i) => Ok(i),
            None => plan_err!("{}: {table} has no column {name:?}; it has {}", call.name(), names.join(", ")),
        },
    };
    let (first_index, last_index) = (find(first, 0)?, find(last, names.len().saturating_sub(1))?);
    if first_index > last_index {
        return plan_err!("{}: in {table} the column {first} comes after {last}; write '{last}:{first}'", call.name());
    }
    Ok((first_index, last_index))
}
