//! TRUNCATE of an array.

use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{Statement as Sql, Truncate};

use super::refuse_clauses;
use crate::session::Frame;
use crate::to_datafusion;
use crate::write::edit::ArrayEdit;

pub(super) async fn plan(frame: &Frame, truncate: Truncate) -> Result<LogicalPlan> {
    let mut array = None;
    for target in &truncate.table_names {
        array = array.or(frame.array_named(&target.name)?);
    }
    let Some(array) = array else {
        return super::to_datafusion_plan(frame, Sql::Truncate(truncate)).await;
    };
    let Truncate { table_names, partitions, table: _, if_exists: _, identity, cascade, on_cluster } = &truncate;
    refuse_clauses(
        "TRUNCATE",
        &[
            ("ONLY", table_names.iter().any(|t| t.only || t.has_asterisk)),
            ("PARTITION", partitions.is_some()),
            ("RESTART or CONTINUE IDENTITY", identity.is_some()),
            ("CASCADE or RESTRICT", cascade.is_some()),
            ("ON CLUSTER", on_cluster.is_some()),
        ],
    )?;
    if table_names.len() != 1 {
        return plan_err!("TRUNCATE takes one array at a time");
    }
    frame.check_writable("TRUNCATE")?;
    ArrayEdit::truncate(&frame.store, &frame.snapshot.array(&array).map_err(to_datafusion)?)
}
