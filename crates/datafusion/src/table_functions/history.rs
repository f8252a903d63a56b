//! `history`, `versions` and `tags`: what happened to a store.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use datafusion::arrow::array::{ArrayRef, BooleanArray, StringArray, TimestampMicrosecondArray};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::LogicalPlan;
use hyperslab_core::ErrorKind;
use hyperslab_store::{ChangeInfo, Durability, VersionInfo};

use super::arrays::{numbers, table, text};
use super::{Call, Parameter, TableFunction};
use crate::error::to_datafusion;
use crate::functions::{FunctionDoc, FunctionKind};

pub(super) static HISTORY: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "history",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "history(array)",
        summary: "What each version did to an array, followed through its names, dropped ones included: version, time, \
                  action (create, append, replace, delete, rename, restore …), the name then, rows, detail, message.",
        example: "CREATE TABLE t (x INT); INSERT INTO t VALUES (1), (2); \
                  SELECT version, action, rows FROM history('t')",
    },
    parameters: &[Parameter::required("array")],
    plan: history,
};

pub(super) static VERSIONS: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "versions",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "versions()",
        summary: "The store's versions: version, time, tags, what they did, durability, message, transaction, writer, \
                  and whether they can still be read.",
        example: "CREATE TABLE t (x INT); SELECT version, changes FROM versions()",
    },
    parameters: &[],
    plan: versions,
};

pub(super) static TAGS: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "tags",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "tags()",
        summary: "Versions that have names: tag, version. VACUUM keeps them.",
        example: "CREATE TABLE t (x INT); CREATE TAG v1; SELECT tag, version FROM tags()",
    },
    parameters: &[],
    plan: tags,
};

fn history(call: &mut Call<'_>) -> Result<LogicalPlan> {
    let (catalog, name) = call.array_name("array")?;
    let store = catalog.store();
    let newest = store.snapshot().map_err(to_datafusion)?.version();
    let versions = match store.history(&name) {
        Err(e) if e.kind() == ErrorKind::NotFound && catalog.snapshot()?.contains(&name) => {
            return plan_err!(
                "history: {name} is not committed yet: this transaction made it, or gave it that name; COMMIT first"
            );
        }
        versions => versions.map_err(to_datafusion)?,
    };
    let rows: Vec<(&VersionInfo, &ChangeInfo)> =
        versions.iter().flat_map(|v| v.changes.iter().map(move |c| (v, c))).collect();
    let columns: [(&str, ArrayRef); 7] = [
        ("version", numbers(rows.iter().map(|(v, _)| Some(v.version)))),
        ("time", times(rows.iter().map(|(v, _)| *v))),
        ("action", text(rows.iter().map(|(_, c)| c.action.to_owned()))),
        ("name", maybe(rows.iter().map(|(_, c)| c.array.as_ref().map(ToString::to_string)))),
        ("rows", numbers(rows.iter().map(|(_, c)| c.rows))),
        ("detail", maybe(rows.iter().map(|(_, c)| Some(c.detail.clone()).filter(|d| !d.is_empty())))),
        ("message", maybe(rows.iter().map(|(v, _)| v.message.clone()))),
    ];
    table(&format!("history({name})@v{newest}"), columns.into_iter())
}

fn versions(call: &mut Call<'_>) -> Result<LogicalPlan> {
    let catalog = call.store()?;
    let store = catalog.store();
    let versions = store.versions().map_err(to_datafusion)?;
    let newest = versions.last().map_or(0, |v| v.version);
    let changes = |v: &VersionInfo| {
        let change = |c: &ChangeInfo| {
            let name = c.array.as_ref().map(|n| format!(" {n}")).unwrap_or_default();
            let rows = c.rows.map(|rows| format!(" ({rows} rows)")).unwrap_or_default();
            let detail = if c.array.is_none() { format!(" {}", c.detail) } else { String::new() };
            format!("{}{name}{rows}{}", c.action, detail.trim_end())
        };
        v.changes.iter().map(change).collect::<Vec<_>>().join(", ")
    };
    let durability = |v: &VersionInfo| match v.durability {
        Durability::Full => "full".to_owned(),
        Durability::Os => "os".to_owned(),
    };
    let columns: [(&str, ArrayRef); 9] = [
        ("version", numbers(versions.iter().map(|v| Some(v.version)))),
        ("time", times(versions.iter())),
        ("tags", maybe(versions.iter().map(|v| Some(v.tags.join(", ")).filter(|t| !t.is_empty())))),
        ("changes", text(versions.iter().map(changes))),
        ("durability", text(versions.iter().map(durability))),
        ("message", maybe(versions.iter().map(|v| v.message.clone()))),
        ("transaction", text(versions.iter().map(|v| v.transaction.clone()))),
        ("writer", text(versions.iter().map(|v| v.writer.clone()))),
        ("readable", Arc::new(versions.iter().map(|v| Some(v.readable)).collect::<BooleanArray>())),
    ];
    table(&format!("versions()@v{newest}"), columns.into_iter())
}

fn tags(call: &mut Call<'_>) -> Result<LogicalPlan> {
    let snapshot = call.store()?.snapshot()?;
    let columns = [
        ("tag", text(snapshot.tags().keys().cloned())),
        ("version", numbers(snapshot.tags().values().map(|v| Some(*v)))),
    ];
    table(&format!("tags()@v{}", snapshot.version()), columns.into_iter())
}

fn times<'a>(versions: impl Iterator<Item = &'a VersionInfo>) -> ArrayRef {
    let micros = |v: &VersionInfo| i64::try_from(v.time.duration_since(UNIX_EPOCH).ok()?.as_micros()).ok();
    Arc::new(versions.map(micros).collect::<TimestampMicrosecondArray>())
}

fn maybe(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}
