//! `CHECK [[TABLE] docs] [QUICK]`.

use datafusion::common::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::ObjectName;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::custom::{Custom, take_words};
use crate::maintenance::{Job, Maintenance};
use crate::session::Frame;

pub(super) fn parse(parser: &mut Parser<'_>) -> std::result::Result<Custom, ParserError> {
    let mut quick = take_words(parser, &["QUICK"]);
    let ends = matches!(parser.peek_token_ref().token, Token::EOF | Token::SemiColon);
    let mut table = None;
    if !quick && !ends {
        take_words(parser, &["TABLE"]);
        table = Some(parser.parse_object_name(false)?);
        quick = take_words(parser, &["QUICK"]);
    }
    Ok(Custom::Check { table, quick })
}

pub(super) fn plan(frame: &Frame, table: Option<&ObjectName>, quick: bool) -> Result<LogicalPlan> {
    frame.check_no_transaction("CHECK")?;
    let array = table.map(|table| frame.existing("CHECK", table)).transpose()?;
    Maintenance::plan(&frame.store, Job::Check { array, quick })
}
