//! INSERT INTO an array: the source is planned alone, so that the generated `row` can be left out.

use std::sync::Arc;

use datafusion::arrow::datatypes::Field;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result, plan_err};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Values};
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{Insert, ObjectName, Statement as Sql, TableObject};
use hyperslab_core::{FieldSpec, arrow};

use super::refuse_clauses;
use crate::session::Frame;
use crate::table::ROW;
use crate::to_datafusion;
use crate::write::{ArrayWrite, Report, WriteTarget, left_out, project, without_row};

pub(super) async fn plan(frame: &Frame, insert: Insert) -> Result<LogicalPlan> {
    let target = match &insert.table {
        TableObject::TableName(name) => frame.array_named(name)?,
        _ => None,
    };
    let Some(name) = target else {
        return super::to_datafusion_plan(frame, Sql::Insert(insert)).await;
    };
    let (columns, source) = parts(insert)?;
    frame.check_writable("INSERT")?;
    let array = frame.snapshot.array(&name).map_err(to_datafusion)?;
    let given = given_fields(frame, &name.to_string(), array.fields(), &columns)?;
    let source = frame.state.statement_to_plan(Parsed::Statement(Box::new(Sql::Query(source)))).await?;
    let source = without_row(type_parameters(source, &given)?)?;
    let input = in_field_order(&name.to_string(), array.fields(), &given, source)?;
    ArrayWrite::plan(WriteTarget::append(&frame.store, &array, Report::Count), input)
}

/// Takes the statement apart. Every field is named, so that a clause that a newer parser learns does not go unseen.
fn parts(insert: Insert) -> Result<(Vec<ObjectName>, Box<datafusion::sql::sqlparser::ast::Query>)> {
    let Insert {
        insert_token: _,
        optimizer_hints,
        or,
        ignore,
        into: _,
        table: _,
        table_alias,
        columns,
        overwrite,
        source,
        assignments,
        partitioned,
        after_columns,
        has_table_keyword: _,
        on,
        returning,
        output,
        replace_into,
        priority,
        insert_alias,
        settings,
        format_clause,
        multi_table_insert_type,
        multi_table_into_clauses,
        multi_table_when_clauses,
        multi_table_else_clause,
    } = insert;
    refuse_clauses(
        "INSERT",
        &[
            ("an optimizer hint", !optimizer_hints.is_empty()),
            ("OR REPLACE, OR IGNORE, OR ABORT …", or.is_some()),
            ("IGNORE", ignore),
            ("an alias of the table", table_alias.is_some() || insert_alias.is_some()),
            ("OVERWRITE", overwrite),
            ("SET", !assignments.is_empty()),
            ("PARTITION", partitioned.is_some() || !after_columns.is_empty()),
            ("ON CONFLICT or ON DUPLICATE KEY", on.is_some()),
            ("RETURNING", returning.is_some() || output.is_some()),
            ("REPLACE INTO", replace_into),
            ("LOW_PRIORITY, DELAYED or HIGH_PRIORITY", priority.is_some()),
            ("SETTINGS", settings.is_some()),
            ("FORMAT", format_clause.is_some()),
            (
                "several tables",
                multi_table_insert_type.is_some()
                    || !multi_table_into_clauses.is_empty()
                    || !multi_table_when_clauses.is_empty()
                    || multi_table_else_clause.is_some(),
            ),
        ],
    )?;
    match source {
        Some(source) => Ok((columns, source)),
        None => plan_err!("INSERT: VALUES or a query is missing"),
    }
}

/// The fields that the statement gives, in its order.
fn given_fields<'a>(
    frame: &Frame,
    array: &str,
    fields: &'a [FieldSpec],
    columns: &[ObjectName],
) -> Result<Vec<&'a FieldSpec>> {
    if columns.is_empty() {
        return Ok(fields.iter().collect());
    }
    let names = || fields.iter().map(FieldSpec::name).collect::<Vec<_>>().join(", ");
    let mut given: Vec<&FieldSpec> = Vec::new();
    for column in columns {
        let Some(ident) = column.0.last().and_then(|p| p.as_ident()).filter(|_| column.0.len() == 1) else {
            return plan_err!("INSERT INTO {array}: {column} is no name of a field; the fields are: {}", names());
        };
        let name = frame.identifier(ident);
        if name == ROW {
            return plan_err!("INSERT INTO {array}: row is the position of a row and cannot be given");
        }
        let Some(field) = fields.iter().find(|f| f.name() == name) else {
            return plan_err!("INSERT INTO {array}: there is no field {name:?}; the fields are: {}", names());
        };
        if given.iter().any(|g| g.name() == name) {
            return plan_err!("INSERT INTO {array}: field {name:?} is named twice");
        }
        given.push(field);
    }
    Ok(given)
}

/// The source's columns in the order of the array's fields.
fn in_field_order(array: &str, fields: &[FieldSpec], given: &[&FieldSpec], source: LogicalPlan) -> Result<LogicalPlan> {
    let columns = source.schema().columns();
    if columns.len() != given.len() {
        let names = given.iter().map(|f| f.name()).collect::<Vec<_>>().join(", ");
        return plan_err!(
            "INSERT INTO {array}: {} values per row were given, {} are needed: {names}",
            columns.len(),
            given.len()
        );
    }
    if fields.len() == given.len() && fields.iter().zip(given).all(|(f, g)| f.name() == g.name()) {
        return Ok(source);
    }
    let column_of = |field: &FieldSpec| -> Option<Column> {
        columns.get(given.iter().position(|g| g.name() == field.name())?).cloned()
    };
    let value_of = |field: &FieldSpec| match column_of(field) {
        Some(column) => Ok(Expr::Column(column)),
        None => match left_out(field)? {
            Some(value) => Ok(value.alias(field.name())),
            None => plan_err!(
                "INSERT INTO {array}: field {:?} needs a value: it holds no NULL and has no default",
                field.name()
            ),
        },
    };
    project(source, fields.iter().map(value_of).collect::<Result<_>>()?)
}

/// `VALUES ($1, …)`: a parameter alone in its place has the type of its field.
fn type_parameters(source: LogicalPlan, given: &[&FieldSpec]) -> Result<LogicalPlan> {
    let typed = source.transform_down(|node| {
        let LogicalPlan::Values(Values { schema, values }) = &node else { return Ok(Transformed::no(node)) };
        let is_bare = |e: &Expr| matches!(e, Expr::Placeholder(p) if p.field.is_none());
        if schema.fields().len() != given.len() || !values.iter().flatten().any(is_bare) {
            return Ok(Transformed::no(node));
        }
        let rows = values.iter().map(|row| {
            let typed = row.iter().zip(given).map(|(expr, field)| match expr {
                Expr::Placeholder(p) if p.field.is_none() => {
                    let field: Field = arrow::to_field(field).with_nullable(true);
                    Expr::Placeholder(Placeholder::new_with_field(p.id.clone(), Some(Arc::new(field))))
                }
                other => other.clone(),
            });
            typed.collect::<Vec<_>>()
        });
        Ok(Transformed::yes(LogicalPlanBuilder::values(rows.collect())?.build()?))
    })?;
    if typed.transformed { typed.data.recompute_schema() } else { Ok(typed.data) }
}
