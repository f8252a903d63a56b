//! `VACUUM [TABLE] [docs] [RETAIN 24 HOURS | RETAIN 7 DAYS] [DRY RUN]`.

use std::time::Duration;

use datafusion::common::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::ObjectName;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::custom::{Custom, take_words};
use crate::maintenance::{Job, Maintenance};
use crate::session::Frame;

/// Seconds of the units.
const UNITS: [(&str, u64); 4] = [("HOUR", 3600), ("HOURS", 3600), ("DAY", 86_400), ("DAYS", 86_400)];

pub(super) fn parse(parser: &mut Parser<'_>) -> std::result::Result<Custom, ParserError> {
    let mut table = None;
    let mut retain = parse_retain(parser)?;
    let mut dry_run = take_words(parser, &["DRY", "RUN"]);
    let ends = matches!(parser.peek_token_ref().token, Token::EOF | Token::SemiColon);
    if retain.is_none() && !dry_run && !ends {
        take_words(parser, &["TABLE"]);
        table = Some(parser.parse_object_name(false)?);
        retain = parse_retain(parser)?;
        dry_run = take_words(parser, &["DRY", "RUN"]);
    }
    Ok(Custom::Vacuum { table, retain, dry_run })
}

fn parse_retain(parser: &mut Parser<'_>) -> std::result::Result<Option<Duration>, ParserError> {
    if !take_words(parser, &["RETAIN"]) {
        return Ok(None);
    }
    let count = parser.parse_literal_uint()?;
    let Some((_, seconds)) = UNITS.iter().find(|(unit, _)| take_words(parser, &[unit])) else {
        return parser.expected_ref("HOURS or DAYS", parser.peek_token_ref());
    };
    let seconds =
        count.checked_mul(*seconds).ok_or_else(|| ParserError::ParserError(format!("RETAIN {count}: too long")))?;
    Ok(Some(Duration::from_secs(seconds)))
}

pub(super) fn plan(
    frame: &Frame,
    table: Option<&ObjectName>,
    retain: Option<Duration>,
    dry_run: bool,
) -> Result<LogicalPlan> {
    frame.check_no_transaction("VACUUM")?;
    if !dry_run {
        frame.check_writable("VACUUM")?;
    }
    let array = table.map(|table| frame.existing("VACUUM", table)).transpose()?;
    Maintenance::plan(&frame.store, Job::Vacuum { array, retain, dry_run })
}
