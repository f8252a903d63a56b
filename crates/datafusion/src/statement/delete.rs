//! DELETE FROM an array.

use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{Delete, FromTable, Statement as Sql};

use super::edit::Target;
use super::refuse_clauses;
use crate::session::Frame;
use crate::write::edit::{Action, ArrayEdit, Edit};

pub(super) async fn plan(frame: &Frame, delete: Delete) -> Result<LogicalPlan> {
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
    let mut found = None;
    for table in from {
        found = found.or(Target::find(frame, "DELETE", table)?);
    }
    let Some(target) = found else {
        return super::to_datafusion_plan(frame, Sql::Delete(delete)).await;
    };
    if from.len() != 1 {
        return plan_err!("DELETE takes one array at a time");
    }
    let Delete {
        delete_token: _,
        optimizer_hints,
        tables,
        from: _,
        using,
        selection,
        returning,
        output,
        order_by,
        limit,
    } = delete;
    refuse_clauses(
        "DELETE",
        &[
            ("an optimizer hint", !optimizer_hints.is_empty()),
            ("a list of tables", !tables.is_empty()),
            ("USING (a subquery in WHERE does the same)", using.is_some()),
            ("RETURNING", returning.is_some() || output.is_some()),
            ("ORDER BY", !order_by.is_empty()),
            ("LIMIT", limit.is_some()),
        ],
    )?;
    if selection.is_none() {
        return ArrayEdit::truncate(&frame.store, &target.array);
    }
    let rows = target.rows(frame, selection, vec![]).await?;
    ArrayEdit::plan(&frame.store, &target.array, Edit::Each(Action::Delete), rows)
}
