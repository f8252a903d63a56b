//! Clauses of a query that the parser reads and DataFusion's planner passes over without a word.

use std::ops::ControlFlow;

use datafusion::common::{Result, not_impl_err};
use datafusion::sql::sqlparser::ast::{
    GroupByExpr, OrderByKind, Query, Select, SelectModifiers, Statement as Sql, Visit, Visitor,
};

/// Refuses such clauses anywhere in a statement.
pub(super) fn refuse(sql: &Sql) -> Result<()> {
    match Visit::visit(sql, &mut Unplanned) {
        ControlFlow::Break(clause) => not_impl_err!("SELECT: {clause} is not supported; leave it out"),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Unplanned;

impl Visitor for Unplanned {
    type Break = &'static str;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        let order = query.order_by.as_ref();
        let with_fill = order.is_some_and(|o| match &o.kind {
            OrderByKind::Expressions(keys) => keys.iter().any(|k| k.with_fill.is_some()),
            OrderByKind::All(_) => false,
        });
        first(&[
            ("FOR UPDATE or FOR SHARE", !query.locks.is_empty()),
            ("FOR XML, JSON or BROWSE", query.for_clause.is_some()),
            ("SETTINGS", query.settings.is_some()),
            ("FORMAT", query.format_clause.is_some()),
            ("ORDER BY … WITH FILL", with_fill),
        ])
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        let (GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers)) = &select.group_by;
        first(&[
            ("PREWHERE", select.prewhere.is_some()),
            ("CONNECT BY", !select.connect_by.is_empty()),
            ("DISTRIBUTE BY", !select.distribute_by.is_empty()),
            ("AS VALUE or AS STRUCT", select.value_table_mode.is_some()),
            ("a modifier of MySQL", select.select_modifiers.as_ref().is_some_and(SelectModifiers::is_any_set)),
            ("EXCLUDE outside of *", select.exclude.is_some()),
            ("GROUP BY … WITH", !modifiers.is_empty()),
            ("INTO TEMPORARY or UNLOGGED", select.into.as_ref().is_some_and(|i| i.temporary || i.unlogged)),
        ])
    }
}

fn first(clauses: &[(&'static str, bool)]) -> ControlFlow<&'static str> {
    match clauses.iter().find(|(_, given)| *given) {
        Some((clause, _)) => ControlFlow::Break(clause),
        None => ControlFlow::Continue(()),
    }
}
