//! UPDATE of an array.

use datafusion::common::{Result, not_impl_err, plan_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Expr as SqlExpr, Ident, ObjectName, Statement as Sql, Update,
};
use hyperslab_core::FieldSpec;

use super::edit::Target;
use super::refuse_clauses;
use crate::session::Frame;
use crate::table::ROW;
use crate::write::edit::{Action, ArrayEdit, Edit};

pub(super) async fn plan(frame: &Frame, update: Update) -> Result<LogicalPlan> {
    let Some(target) = Target::find(frame, "UPDATE", &update.table)? else {
        return super::to_datafusion_plan(frame, Sql::Update(update)).await;
    };
    let Update {
        update_token: _,
        optimizer_hints,
        table: _,
        assignments,
        from,
        selection,
        returning,
        output,
        or,
        order_by,
        limit,
    } = update;
    refuse_clauses(
        "UPDATE",
        &[
            ("an optimizer hint", !optimizer_hints.is_empty()),
            ("FROM (a subquery in SET or WHERE, or MERGE, does the same)", from.is_some()),
            ("RETURNING", returning.is_some() || output.is_some()),
            ("OR REPLACE, OR IGNORE, OR ABORT …", or.is_some()),
            ("ORDER BY", !order_by.is_empty()),
            ("LIMIT", limit.is_some()),
        ],
    )?;
    let values = values(frame, &target, assignments)?;
    let fields = values.iter().map(|(field, _)| (*field).clone()).collect();
    let rows = target.rows(frame, selection, values).await?;
    ArrayEdit::plan(&frame.store, &target.array, Edit::Each(Action::Update(fields)), rows)
}

/// The fields that get new values, and what these are.
fn values<'a>(
    frame: &Frame,
    target: &'a Target,
    assignments: Vec<Assignment>,
) -> Result<Vec<(&'a FieldSpec, SqlExpr)>> {
    let mut values: Vec<(&FieldSpec, SqlExpr)> = Vec::new();
    for Assignment { target: place, value } in assignments {
        let AssignmentTarget::ColumnName(name) = place else {
            return not_impl_err!("UPDATE: SET of a tuple is not supported; set each field by itself");
        };
        let field = assigned(frame, target, &name)?;
        if values.iter().any(|(f, _)| f.name() == field.name()) {
            return plan_err!("UPDATE {}: field {:?} is set twice", target.array.name(), field.name());
        }
        values.push((field, value));
    }
    Ok(values)
}

fn assigned<'a>(frame: &Frame, target: &'a Target, name: &ObjectName) -> Result<&'a FieldSpec> {
    let array = target.array.name();
    let parts: Vec<Ident> = name.0.iter().filter_map(|p| p.as_ident().cloned()).collect();
    let Some((field, qualifier)) = parts.split_last().filter(|_| parts.len() == name.0.len()) else {
        return plan_err!("UPDATE {array}: {name} is no name of a field");
    };
    if !qualifier.is_empty() && !target.is_named(frame, qualifier) {
        return plan_err!("UPDATE {array}: {name} is no field of {array}");
    }
    let field = frame.identifier(field);
    if field == ROW {
        return plan_err!("UPDATE {array}: row is the position of a row and cannot be set");
    }
    match target.array.fields().iter().find(|f| f.name() == field) {
        Some(field) => Ok(field),
        None => {
            let names: Vec<_> = target.array.fields().iter().map(FieldSpec::name).collect();
            plan_err!("UPDATE {array}: there is no field {field:?}; the fields are: {}", names.join(", "))
        }
    }
}
