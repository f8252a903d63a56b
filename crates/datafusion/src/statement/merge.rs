//! MERGE INTO an array: DataFusion's planner resolves it, and [`crate::optimizer::dml`] makes the edit node of it.

use datafusion::common::{Result, not_impl_err};
use datafusion::logical_expr::{LogicalPlan, WriteOp};
use datafusion::sql::sqlparser::ast::{
    Ident, Merge, MergeAction, MergeInsertKind, ObjectName, Statement as Sql, TableWithJoins,
};

use super::edit::Target;
use crate::optimizer::dml;
use crate::session::Frame;

pub(super) async fn plan(frame: &Frame, mut merge: Merge) -> Result<LogicalPlan> {
    let table = TableWithJoins { relation: merge.table.clone(), joins: vec![] };
    let Some(target) = Target::find(frame, "MERGE", &table)? else {
        return super::to_datafusion_plan(frame, Sql::Merge(merge)).await;
    };
    for clause in &mut merge.clauses {
        if let MergeAction::Insert(insert) = &mut clause.action
            && insert.columns.is_empty()
            && matches!(insert.kind, MergeInsertKind::Values(_))
        {
            // Without a list, the fields: the planner would want `row`, too.
            let name = |field: &hyperslab_core::FieldSpec| Ident::with_quote('"', field.name());
            insert.columns = target.array.fields().iter().map(|f| ObjectName::from(vec![name(f)])).collect();
        }
    }
    match super::to_datafusion_plan(frame, Sql::Merge(merge)).await? {
        LogicalPlan::Dml(statement) => match &statement.op {
            WriteOp::MergeInto(op) => dml::merge(&frame.store, &target.array, &statement, op),
            other => not_impl_err!("MERGE was planned as {other}"),
        },
        other => Ok(other),
    }
}
