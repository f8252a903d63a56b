//! `SHOW INDEXES [FROM docs]`.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::common::{Result, TableReference};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::ObjectName;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use hyperslab_store::{ArrayName, IndexInfo};

use super::custom::{Custom, take_words};
use crate::session::Frame;
use crate::to_datafusion;

pub(super) fn parse(parser: &mut Parser<'_>) -> std::result::Result<Custom, ParserError> {
    let of_one = ["FROM", "ON", "IN"].iter().any(|word| take_words(parser, &[word]));
    let table = if of_one { Some(parser.parse_object_name(false)?) } else { None };
    Ok(Custom::ShowIndexes { table })
}

pub(super) fn plan(frame: &Frame, table: Option<&ObjectName>) -> Result<LogicalPlan> {
    let snapshot = &frame.snapshot;
    let arrays = match table {
        Some(table) => vec![frame.existing("SHOW INDEXES", table)?],
        None => {
            let of = |schema: String| {
                let names = snapshot.arrays(&schema);
                names.into_iter().map(move |name| ArrayName::new(&schema, name))
            };
            snapshot.schemas().into_iter().flat_map(of).collect()
        }
    };
    let mut found: Vec<(String, u64, IndexInfo)> = vec![];
    for name in arrays {
        let array = snapshot.array(&name).map_err(to_datafusion)?;
        let indexes = array.indexes().map_err(to_datafusion)?;
        found.extend(indexes.into_iter().map(|info| (name.to_string(), array.rows(), info)));
    }
    let text = |of: fn(&(String, u64, IndexInfo)) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(found.iter().map(of)))
    };
    let number = |of: fn(&(String, u64, IndexInfo)) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(found.iter().map(|row| i64::try_from(of(row)).unwrap_or(i64::MAX))))
    };
    let batch = RecordBatch::try_from_iter([
        ("name", text(|(.., info)| info.name.clone())),
        ("array", text(|(array, ..)| array.clone())),
        ("field", text(|(.., info)| info.field.clone())),
        ("kind", text(|(.., info)| info.kind.clone())),
        ("options", text(|(.., info)| options(info))),
        ("rows", number(|(_, rows, _)| *rows)),
        ("rows_covered", number(|(.., info)| info.rows)),
        ("bytes", number(|(.., info)| info.disk_bytes)),
    ])?;
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
    let name = TableReference::bare("indexes");
    LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(table)), None)?.build()
}

fn options(info: &IndexInfo) -> String {
    info.options.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ")
}
