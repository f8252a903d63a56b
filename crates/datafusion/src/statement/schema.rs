//! CREATE SCHEMA.

use datafusion::common::{Result, not_impl_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{SchemaName, Statement as Sql};

use super::refuse_clauses;
use crate::session::Frame;
use crate::write::change::{Change, StoreChange};

pub(super) async fn plan(frame: &Frame, sql: Sql) -> Result<LogicalPlan> {
    let Sql::CreateSchema { schema_name, if_not_exists, with, options, default_collate_spec, clone } = &sql else {
        return super::to_datafusion_plan(frame, sql).await;
    };
    refuse_clauses(
        "CREATE SCHEMA",
        &[
            ("WITH", with.is_some()),
            ("OPTIONS", options.is_some()),
            ("COLLATE", default_collate_spec.is_some()),
            ("CLONE", clone.is_some()),
        ],
    )?;
    let SchemaName::Simple(name) = schema_name else {
        return not_impl_err!("CREATE SCHEMA: AUTHORIZATION is not supported; leave it out");
    };
    match frame.schema_named(name)? {
        Some(name) => {
            frame.check_writable("CREATE SCHEMA")?;
            Ok(StoreChange::plan(&frame.store, Change::CreateSchema { name, if_not_exists: *if_not_exists }))
        }
        None => super::to_datafusion_plan(frame, sql).await,
    }
}
