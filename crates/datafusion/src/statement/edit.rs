//! What DELETE and UPDATE have in common: the rows concerned are those of `SELECT row, … FROM array WHERE …`, which is
//! planned like any query, so that every shape of WHERE works.

use std::sync::Arc;

use datafusion::arrow::datatypes::Field;
use datafusion::common::{Result, not_impl_err, plan_err};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Ident, SelectItem, SetExpr, Statement as Sql, TableFactor, TableWithJoins,
};
use hyperslab_core::{FieldSpec, arrow};
use hyperslab_store::Array;

use crate::session::Frame;
use crate::table::ROW;
use crate::to_datafusion;

/// An array that a statement changes, as the statement names it.
pub(super) struct Target {
    pub(super) array: Array,
    factor: TableFactor,
}

impl Target {
    /// The array that a statement names; `None` when it is a table that is not ours.
    ///
    /// # Errors
    /// A version, which cannot be changed; a join.
    pub(super) fn find(frame: &Frame, what: &str, table: &TableWithJoins) -> Result<Option<Self>> {
        let TableFactor::Table { name, version, .. } = &table.relation else { return Ok(None) };
        let Some(array) = frame.array_named(name)? else { return Ok(None) };
        if version.is_some() {
            return plan_err!("{what}: a version of {array} that is past cannot be changed; leave the version out");
        }
        if !table.joins.is_empty() {
            return not_impl_err!("{what}: a join is not supported; use a subquery in WHERE");
        }
        frame.check_writable(what)?;
        let array = frame.snapshot.array(&array).map_err(to_datafusion)?;
        Ok(Some(Self { array, factor: table.relation.clone() }))
    }

    /// Whether the parts before a field's name mean this array.
    pub(super) fn is_named(&self, frame: &Frame, qualifier: &[Ident]) -> bool {
        let TableFactor::Table { name, alias, .. } = &self.factor else { return false };
        let qualifier: Vec<String> = qualifier.iter().map(|i| frame.identifier(i)).collect();
        match alias {
            Some(alias) => qualifier == [frame.identifier(&alias.name)],
            None => {
                let parts = name.0.iter().filter_map(|p| p.as_ident()).map(|i| frame.identifier(i));
                parts.collect::<Vec<_>>().ends_with(&qualifier)
            }
        }
    }

    /// `SELECT row, values… FROM the array WHERE …`.
    pub(super) async fn rows(
        &self,
        frame: &Frame,
        selection: Option<SqlExpr>,
        values: Vec<(&FieldSpec, SqlExpr)>,
    ) -> Result<LogicalPlan> {
        let Sql::Query(mut query) = super::placeholder()? else { return plan_err!("a SELECT is a query") };
        let SetExpr::Select(select) = query.body.as_mut() else { return plan_err!("a SELECT is a query") };
        let quoted = |name: &str| Ident::with_quote('"', name);
        select.projection = vec![SelectItem::UnnamedExpr(SqlExpr::Identifier(quoted(ROW)))];
        let fields: Vec<&FieldSpec> = values.iter().map(|(field, _)| *field).collect();
        for (field, expr) in values {
            select.projection.push(SelectItem::ExprWithAlias { expr, alias: quoted(field.name()) });
        }
        select.from = vec![TableWithJoins { relation: self.factor.clone(), joins: vec![] }];
        select.selection = selection;
        let plan = frame.state.statement_to_plan(Parsed::Statement(Box::new(Sql::Query(query)))).await?;
        type_parameters(plan, &fields)
    }
}

/// `SET field = $1`: a parameter alone in its place has the type of its field.
fn type_parameters(plan: LogicalPlan, fields: &[&FieldSpec]) -> Result<LogicalPlan> {
    let LogicalPlan::Projection(Projection { mut expr, input, .. }) = plan else { return Ok(plan) };
    for (value, field) in expr.iter_mut().skip(1).zip(fields) {
        if let Expr::Alias(alias) = value {
            typed(&mut alias.expr, field);
        }
    }
    Ok(LogicalPlan::Projection(Projection::try_new(expr, input)?))
}

/// Gives a parameter without a type the one of its field.
pub(crate) fn typed(value: &mut Expr, field: &FieldSpec) {
    if let Expr::Placeholder(p) = value
        && p.field.is_none()
    {
        let field: Field = arrow::to_field(field).with_nullable(true);
        *value = Expr::Placeholder(Placeholder::new_with_field(p.id.clone(), Some(Arc::new(field))));
    }
}
