//! `DROP INDEX [IF EXISTS] s [ON docs]`.

use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::Statement as Sql;
use hyperslab_store::ArrayName;

use super::refuse_clauses;
use crate::session::Frame;
use crate::to_datafusion;
use crate::write::change::{Change, StoreChange};

const DROP: &str = "DROP INDEX";

pub(super) fn plan(frame: &Frame, sql: Sql) -> Result<LogicalPlan> {
    let Sql::Drop { object_type: _, if_exists, names, cascade, restrict: _, purge, temporary, table } = sql else {
        return internal_err!("{DROP} is expected");
    };
    refuse_clauses(DROP, &[("CASCADE", cascade), ("PURGE", purge), ("TEMPORARY", temporary)])?;
    frame.check_writable(DROP)?;
    let [name] = names.as_slice() else { return plan_err!("{DROP} takes one index at a time") };
    // An index stands beside its array, in the array's schema.
    let Some(ArrayName { schema, name: index }) = frame.store_name(name)? else {
        return plan_err!("{DROP}: {name} is of no array of the store");
    };
    let array = match (table, if_exists) {
        (Some(table), true) if frame.array_named(&table)?.is_none() => return Ok(nothing(frame)),
        (Some(table), _) => frame.existing(DROP, &table)?,
        (None, _) => match (array_of(frame, &schema, &index)?.as_slice(), if_exists) {
            ([array], _) => array.clone(),
            ([], true) => return Ok(nothing(frame)),
            ([], false) => return plan_err!("{DROP}: no array of schema {schema} has an index {index}"),
            (several, _) => {
                let several: Vec<String> = several.iter().map(ToString::to_string).collect();
                return plan_err!(
                    "{DROP}: {} have an index {index}; say which: {DROP} {index} ON …",
                    several.join(", ")
                );
            }
        },
    };
    Ok(StoreChange::plan(&frame.store, Change::DropIndex { array, index, if_exists }))
}

/// What IF EXISTS makes of a name that means nothing.
fn nothing(frame: &Frame) -> LogicalPlan {
    StoreChange::plan(&frame.store, Change::Drop { names: vec![], if_exists: true })
}

/// The arrays that have an index of that name.
fn array_of(frame: &Frame, schema: &str, index: &str) -> Result<Vec<ArrayName>> {
    let mut found = vec![];
    for name in frame.snapshot.arrays(schema) {
        let name = ArrayName::new(schema, name);
        let array = frame.snapshot.array(&name).map_err(to_datafusion)?;
        if array.indexes().map_err(to_datafusion)?.iter().any(|info| info.name == index) {
            found.push(name);
        }
    }
    Ok(found)
}
