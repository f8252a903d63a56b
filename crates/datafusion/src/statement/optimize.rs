//! `OPTIMIZE [TABLE] docs [FULL]`.

use datafusion::common::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::ObjectName;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::custom::{Custom, take_words};
use crate::maintenance::{Job, Maintenance};
use crate::session::Frame;

pub(super) fn parse(parser: &mut Parser<'_>) -> std::result::Result<Custom, ParserError> {
    take_words(parser, &["TABLE"]);
    if matches!(parser.peek_token_ref().token, Token::EOF | Token::SemiColon) {
        return Err(ParserError::ParserError("OPTIMIZE needs the name of an array: OPTIMIZE docs [FULL]".to_owned()));
    }
    let table = parser.parse_object_name(false)?;
    Ok(Custom::Optimize { table, full: take_words(parser, &["FULL"]) })
}

pub(super) fn plan(frame: &Frame, table: &ObjectName, full: bool) -> Result<LogicalPlan> {
    frame.check_no_transaction("OPTIMIZE")?;
    frame.check_writable("OPTIMIZE")?;
    let array = frame.existing("OPTIMIZE", table)?;
    Maintenance::plan(&frame.store, Job::Optimize { array, full })
}
