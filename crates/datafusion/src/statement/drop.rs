//! DROP TABLE and DROP SCHEMA.

use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{ObjectName, ObjectType, Statement as Sql};
use hyperslab_store::ArrayName;

use super::refuse_clauses;
use crate::session::Frame;
use crate::write::change::{Change, StoreChange};

pub(super) async fn plan(frame: &Frame, sql: Sql) -> Result<LogicalPlan> {
    let Sql::Drop { object_type, if_exists, names, cascade, restrict: _, purge, temporary, table } = &sql else {
        return super::to_datafusion_plan(frame, sql).await;
    };
    let what = if *object_type == ObjectType::Schema { "DROP SCHEMA" } else { "DROP TABLE" };
    refuse_clauses(what, &[("PURGE", *purge), ("TEMPORARY", *temporary), ("ON a table", table.is_some())])?;
    let change = match object_type {
        ObjectType::Schema => drop_schema(frame, names, *if_exists, *cascade)?,
        _ => drop_table(frame, names, *if_exists)?,
    };
    match change {
        Some(change) => {
            frame.check_writable(what)?;
            Ok(StoreChange::plan(&frame.store, change))
        }
        None => super::to_datafusion_plan(frame, sql).await,
    }
}

fn drop_schema(frame: &Frame, names: &[ObjectName], if_exists: bool, cascade: bool) -> Result<Option<Change>> {
    let [name] = names else { return plan_err!("DROP SCHEMA takes one schema at a time") };
    Ok(frame.schema_named(name)?.map(|name| Change::DropSchema { name, if_exists, cascade }))
}

/// Arrays are dropped together, in one commit; a view or external table of the session is DataFusion's to drop.
fn drop_table(frame: &Frame, names: &[ObjectName], if_exists: bool) -> Result<Option<Change>> {
    let mut arrays: Vec<ArrayName> = Vec::new();
    for name in names {
        match frame.store_name(name)? {
            Some(array) if frame.snapshot.contains(&array) => arrays.push(array),
            Some(array) if frame.catalog.store_schema(&array.schema).session_table(&array.name).is_none() => {
                if !if_exists {
                    return plan_err!("DROP TABLE: there is no table {array}");
                }
                arrays.push(array);
            }
            _ if names.len() == 1 => return Ok(None),
            _ => return plan_err!("DROP TABLE: {name} is not an array; drop it in a statement of its own"),
        }
    }
    Ok(Some(Change::Drop { names: arrays, if_exists }))
}
