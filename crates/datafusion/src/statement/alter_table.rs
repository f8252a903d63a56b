//! ALTER TABLE: the array gets another name, or other fields.

use datafusion::common::{Result, not_impl_err, plan_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{
    AlterTable, AlterTableOperation, DropBehavior, Ident, ObjectName, RenameTableNameKind, SqlOption,
};
use hyperslab_store::ArrayName;

use super::create_table::{byte_size, codec as codec_of, column};
use super::refuse_clauses;
use crate::session::Frame;
use crate::table::ROW;
use crate::write::change::{Change, FieldChange, StoreChange};

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
    let Some(array) = frame.store_name(&name)? else {
        return not_impl_err!("ALTER TABLE {name}: only arrays of the store can be altered");
    };
    frame.check_writable("ALTER TABLE")?;
    if !if_exists && !frame.snapshot.contains(&array) {
        return plan_err!("ALTER TABLE: there is no array {array}");
    }
    let change = match operations.as_slice() {
        [
            AlterTableOperation::RenameTable { table_name: RenameTableNameKind::To(to) | RenameTableNameKind::As(to) },
        ] => {
            let to = new_name(frame, &array, to)?;
            if frame.catalog.store_schema(&to.schema).session_table(&to.name).is_some() {
                return plan_err!(
                    "there is a view or external table {to} in this session; drop it or choose another name"
                );
            }
            Change::Rename { from: array, to, if_exists }
        }
        [AlterTableOperation::SetOptionsParens { options }] => {
            let mut set =
                Change::SetOptions { name: array.clone(), shard_bytes: None, codec: None, codecs: vec![], if_exists };
            for option in options {
                set_option(&array, option, &mut set)?;
            }
            set
        }
        operations => {
            let mut steps = Vec::new();
            for operation in operations {
                steps.extend(fields(frame, &array, operation)?);
            }
            Change::Alter { name: array, steps, if_exists }
        }
    };
    Ok(StoreChange::plan(&frame.store, change))
}

/// One of `SET (codec = 'zstd', 'field.codec' = 'none', shard_bytes = '64MiB')`.
fn set_option(array: &ArrayName, option: &SqlOption, set: &mut Change) -> Result<()> {
    let Change::SetOptions { shard_bytes, codec, codecs, .. } = set else { return Ok(()) };
    let SqlOption::KeyValue { key, value } = option else { return unknown_option(array, option) };
    match (key.value.rsplit_once('.'), key.value.to_lowercase().as_str()) {
        (None, "shard_bytes") => *shard_bytes = Some(byte_size(value)?),
        (None, "codec") => *codec = Some(codec_of(&key.value, value)?),
        (Some((field, name)), _) if name.eq_ignore_ascii_case("codec") => {
            codecs.push((field.to_owned(), codec_of(&key.value, value)?));
        }
        _ => return unknown_option(array, option),
    }
    Ok(())
}

fn unknown_option(array: &ArrayName, option: &SqlOption) -> Result<()> {
    not_impl_err!(
        "ALTER TABLE {array} SET: {option} is not supported; the options are: shard_bytes, codec, and '<field>.codec' for one field"
    )
}

/// What an operation does to the fields.
fn fields(frame: &Frame, array: &ArrayName, operation: &AlterTableOperation) -> Result<Vec<FieldChange>> {
    let named = |ident: &Ident| match frame.identifier(ident) {
        name if name == ROW => plan_err!("ALTER TABLE {array}: row is the position of a row, and no field"),
        name => Ok(name),
    };
    match operation {
        AlterTableOperation::AddColumn { column_keyword: _, if_not_exists, column_def, column_position } => {
            refuse_clauses("ALTER TABLE … ADD COLUMN", &[("FIRST or AFTER", column_position.is_some())])?;
            let field = column(frame, "ALTER TABLE … ADD COLUMN", column_def)?;
            Ok(vec![FieldChange::Add { field, if_not_exists: *if_not_exists }])
        }
        AlterTableOperation::DropColumn { has_column_keyword: _, column_names, if_exists, drop_behavior } => {
            refuse_clauses("ALTER TABLE … DROP COLUMN", &[("CASCADE", *drop_behavior == Some(DropBehavior::Cascade))])?;
            let drop = |name| Ok(FieldChange::Drop { name: named(name)?, if_exists: *if_exists });
            column_names.iter().map(drop).collect()
        }
        AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
            Ok(vec![FieldChange::Rename { from: named(old_column_name)?, to: named(new_column_name)? }])
        }
        AlterTableOperation::RenameTable { .. } => {
            plan_err!("ALTER TABLE {array}: RENAME TO stands alone; use two statements in a transaction")
        }
        other => not_impl_err!(
            "ALTER TABLE {array} {other} is not supported; RENAME TO, ADD COLUMN, DROP COLUMN, RENAME COLUMN and, alone, SET (…) are"
        ),
    }
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
