//! What is looked at in each FROM before it is planned.
//!
//! A call of one of our table functions sees the tables to its left without the word LATERAL, as in PostgreSQL and
//! DuckDB: `FROM q, top_k('docs', q.value, 5) n`.

use std::ops::ControlFlow;

use datafusion::common::Result;
use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{
    Join, JoinConstraint, JoinOperator, ObjectName, Select, TableFactor, TableFunctionArgs, TableWithJoins, VisitMut,
    VisitorMut,
};

use super::nearest;
use crate::table_functions;

/// Goes through every FROM of a statement.
///
/// # Errors
/// `JOIN docs NEAREST` without what it goes by, in which NEAREST would be a name.
pub(super) fn look_at(statement: &mut Statement) -> Result<()> {
    let found = match statement {
        Statement::Statement(statement) => VisitMut::visit(statement, &mut FromClauses),
        Statement::CopyTo(copy) => match &mut copy.source {
            CopyToSource::Query(query) => VisitMut::visit(query, &mut FromClauses),
            CopyToSource::Relation(_) => ControlFlow::Continue(()),
        },
        Statement::Explain(explain) => return look_at(&mut explain.statement),
        Statement::CreateExternalTable(_) | Statement::Reset(_) => ControlFlow::Continue(()),
    };
    match found {
        ControlFlow::Break(()) => nearest::without_by(),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct FromClauses;

impl VisitorMut for FromClauses {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for (i, table) in select.from.iter_mut().enumerate() {
            if i > 0 {
                make_lateral(&mut table.relation);
            }
            joins(&mut table.joins)?;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        match table {
            TableFactor::NestedJoin { table_with_joins, .. } => {
                let TableWithJoins { joins: all, .. } = table_with_joins.as_mut();
                joins(all)
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn joins(joins: &mut [Join]) -> ControlFlow<()> {
    for join in joins {
        match &join.join_operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint) => {
                if matches!(constraint, JoinConstraint::None) && is_called_nearest(&join.relation) {
                    return ControlFlow::Break(());
                }
                make_lateral(&mut join.relation);
            }
            JoinOperator::CrossJoin(_) => make_lateral(&mut join.relation),
            // No row of these joins' left side is one of the tables to the left.
            _ => {}
        }
    }
    ControlFlow::Continue(())
}

/// A table whose name in the statement is the word NEAREST.
fn is_called_nearest(table: &TableFactor) -> bool {
    match table {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            alias.name.quote_style.is_none() && alias.name.value.eq_ignore_ascii_case("nearest")
        }
        _ => false,
    }
}

/// Puts LATERAL before a call of a table function of ours.
fn make_lateral(table: &mut TableFactor) {
    let TableFactor::Table {
        name,
        alias,
        args: Some(TableFunctionArgs { args, settings: None }),
        with_hints,
        version: None,
        with_ordinality,
        partitions,
        json_path: None,
        sample: None,
        index_hints,
    } = table
    else {
        return;
    };
    let is_plain = with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty();
    if !is_plain || !is_ours(name) {
        return;
    }
    *table = TableFactor::Function {
        lateral: true,
        name: name.clone(),
        args: std::mem::take(args),
        with_ordinality: *with_ordinality,
        alias: alias.take(),
    };
}

fn is_ours(name: &ObjectName) -> bool {
    match name.0.as_slice() {
        [part] => part.as_ident().is_some_and(|ident| table_functions::find(&ident.value).is_some()),
        _ => false,
    }
}
