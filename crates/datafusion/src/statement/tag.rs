//! `CREATE [OR REPLACE] TAG [IF NOT EXISTS] t [AS OF VERSION 3 | AS OF TIMESTAMP …]` and `DROP TAG [IF EXISTS] t`.

use datafusion::common::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

use super::custom::{Custom, take_words};
use crate::session::Frame;
use crate::version::VersionRef;
use crate::write::IfExists;
use crate::write::change::{Change, StoreChange};

pub(super) fn parse_create(parser: &mut Parser<'_>) -> std::result::Result<Custom, ParserError> {
    parse(parser, false)
}

pub(super) fn parse_replace(parser: &mut Parser<'_>) -> std::result::Result<Custom, ParserError> {
    parse(parser, true)
}

fn parse(parser: &mut Parser<'_>, or_replace: bool) -> std::result::Result<Custom, ParserError> {
    let if_not_exists = !or_replace && take_words(parser, &["IF", "NOT", "EXISTS"]);
    let tag = parser.parse_identifier()?;
    let version = if take_words(parser, &["AS", "OF", "VERSION"]) || take_words(parser, &["VERSION", "AS", "OF"]) {
        Some(VersionRef::Version(parser.parse_literal_uint()?))
    } else if take_words(parser, &["AS", "OF", "TIMESTAMP"]) || take_words(parser, &["TIMESTAMP", "AS", "OF"]) {
        Some(VersionRef::Time(Box::new(parser.parse_expr()?)))
    } else {
        None
    };
    Ok(Custom::CreateTag { tag, version, or_replace, if_not_exists })
}

pub(super) fn parse_drop(parser: &mut Parser<'_>) -> std::result::Result<Custom, ParserError> {
    let if_exists = take_words(parser, &["IF", "EXISTS"]);
    Ok(Custom::DropTag { tag: parser.parse_identifier()?, if_exists })
}

pub(super) fn plan_create(
    frame: &Frame,
    tag: &Ident,
    version: Option<&VersionRef>,
    or_replace: bool,
    if_not_exists: bool,
) -> Result<LogicalPlan> {
    frame.check_writable("CREATE TAG")?;
    let version = match version {
        Some(version) => frame.version(version)?.version(),
        // The version that the statement sees, whatever is committed before it runs.
        None => frame.snapshot.version(),
    };
    let if_exists = match (or_replace, if_not_exists) {
        (true, _) => IfExists::Replace,
        (_, true) => IfExists::Skip,
        _ => IfExists::Fail,
    };
    let tag = frame.identifier(tag);
    Ok(StoreChange::plan(&frame.store, Change::SetTag { tag, version, if_exists }))
}

pub(super) fn plan_drop(frame: &Frame, tag: &Ident, if_exists: bool) -> Result<LogicalPlan> {
    frame.check_writable("DROP TAG")?;
    Ok(StoreChange::plan(&frame.store, Change::DropTag { tag: frame.identifier(tag), if_exists }))
}
