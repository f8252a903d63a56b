//! `RESTORE TABLE docs TO VERSION AS OF 3`, `… TO TIMESTAMP AS OF '…'`, `… TO TAG v1`, `… TO AT (TAG => 'v1')`.

use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::ObjectName;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

use super::custom::{Custom, take_words};
use crate::session::Frame;
use crate::version::VersionRef;
use crate::write::change::{Change, StoreChange};

pub(super) fn parse(parser: &mut Parser<'_>) -> std::result::Result<Custom, ParserError> {
    let table = parser.parse_object_name(false)?;
    if !take_words(parser, &["TO"]) {
        return parser.expected_ref("TO", parser.peek_token_ref());
    }
    let version = if take_words(parser, &["TAG"]) {
        let tag = parser.parse_identifier()?;
        VersionRef::Tag(if tag.quote_style.is_none() { tag.value.to_lowercase() } else { tag.value })
    } else {
        match parser.maybe_parse_table_version()? {
            Some(clause) => VersionRef::parse(&clause).map_err(|e| ParserError::ParserError(e.message().into()))?,
            None => {
                return parser.expected_ref("VERSION AS OF …, TIMESTAMP AS OF … or TAG …", parser.peek_token_ref());
            }
        }
    };
    Ok(Custom::Restore { table, version })
}

pub(super) fn plan(frame: &Frame, table: &ObjectName, version: &VersionRef) -> Result<LogicalPlan> {
    frame.check_writable("RESTORE")?;
    let Some(name) = frame.store_name(table)? else {
        return plan_err!("RESTORE: {table} is no array of the store");
    };
    let snapshot = frame.version(version)?;
    if !snapshot.contains(&name) {
        return plan_err!("RESTORE: there is no array {name} in version {}", snapshot.version());
    }
    Ok(StoreChange::plan(&frame.store, Change::Restore { name, version: snapshot.version() }))
}
