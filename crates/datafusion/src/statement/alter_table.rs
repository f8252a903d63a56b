//! ALTER TABLE … RENAME TO.

use datafusion::common::{Result, not_impl_err, plan_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{AlterTable, AlterTableOperation, ObjectName, RenameTableNameKind};
use hyperslab_store::ArrayName;

use super::refuse_clauses;
use crate::session::Frame;
use crate::write::change::{Change, StoreChange};

pub(super) fn plan(frame: &Frame, alter: AlterTable) -> Result<LogicalPlan> {
    let AlterTable { name, if_exists, only, operations, location, on_cluster, table_type, end_token: _ } = alter;
    refuse_clauses(
        "ALTER TABLE",
        &[
            ("ONLY", only),
            ("LOCATION", location.is_some()),
            ("ON CLUSTER", on_cluster.is_some()),
            ("a kind of table", table_type.is_some()),
        ],
    )?;
    let [AlterTableOperation::RenameTable { table_name: RenameTableNameKind::To(to) | RenameTableNameKind::As(to) }] =
        operations.as_slice()
    else {
        let what = operations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return not_impl_err!("ALTER TABLE {name} {what} is not supported yet; ALTER TABLE {name} RENAME TO … is");
    };
    let Some(from) = frame.store_name(&name)? else {
        return not_impl_err!("ALTER TABLE {name}: only arrays of the store can be renamed");
    };
    frame.check_writable("ALTER TABLE")?;
    if !if_exists && !frame.snapshot.contains(&from) {
        return plan_err!("ALTER TABLE: there is no array {from}");
    }
    let to = new_name(frame, &from, to)?;
    if frame.catalog.store_schema(&to.schema).session_table(&to.name).is_some() {
        return plan_err!("there is a view or external table {to} in this session; drop it or choose another name");
    }
    Ok(StoreChange::plan(&frame.store, Change::Rename { from, to, if_exists }))
}

/// A name without a schema stays in the array's schema.
fn new_name(frame: &Frame, from: &ArrayName, to: &ObjectName) -> Result<ArrayName> {
    if let [part] = to.0.as_slice()
        && let Some(ident) = part.as_ident()
    {
        return Ok(ArrayName::new(&from.schema, frame.identifier(ident)));
    }
    match frame.store_name(to)? {
        Some(to) => Ok(to),
        None => plan_err!("ALTER TABLE {from} RENAME TO {to}: an array cannot leave its store"),
    }
}
