//! ATTACH and DETACH, which take effect at once: they concern the session.

use datafusion::common::{Result, not_impl_err, plan_err};
use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::custom::{AnyStatement, Custom, take_words};
use crate::session::Frame;

/// `ATTACH [DATABASE] [IF NOT EXISTS] 'path' AS name [(READ_ONLY)]`.
pub(super) fn parse_attach(parser: &mut Parser<'_>) -> std::result::Result<Custom, ParserError> {
    take_words(parser, &["DATABASE"]);
    let if_not_exists = take_words(parser, &["IF", "NOT", "EXISTS"]);
    let path = parser.parse_literal_string()?;
    if !take_words(parser, &["AS"]) {
        return parser.expected_ref("AS and a name, as in ATTACH 'path' AS x", parser.peek_token_ref());
    }
    let name = parser.parse_identifier()?;
    let mut options = vec![];
    if parser.consume_token(&Token::LParen) {
        options = parser.parse_comma_separated(option)?;
        parser.expect_token(&Token::RParen)?;
    }
    Ok(Custom::Attach { path, name, if_not_exists, options })
}

/// A name, and perhaps a value.
fn option(parser: &mut Parser<'_>) -> std::result::Result<String, ParserError> {
    let name = parser.parse_identifier()?.value;
    match matches!(parser.peek_token_ref().token, Token::Comma | Token::RParen) {
        true => Ok(name),
        false => Ok(format!("{name} {}", parser.parse_expr()?)),
    }
}

/// `DETACH [DATABASE] [IF EXISTS] name`.
pub(super) fn parse_detach(parser: &mut Parser<'_>) -> std::result::Result<Custom, ParserError> {
    take_words(parser, &["DATABASE"]);
    let if_exists = take_words(parser, &["IF", "EXISTS"]);
    Ok(Custom::Detach { name: parser.parse_identifier()?, if_exists })
}

/// Runs the statement if it is one of them.
///
/// # Errors
/// An option other than READ_ONLY; a name in use; a path where nothing is, or nothing that is known.
pub(crate) fn run(frame: &Frame, statement: &AnyStatement) -> Result<bool> {
    match statement {
        AnyStatement::Custom(Custom::Attach { path, name, if_not_exists, options }) => {
            attach(frame, path, name, *if_not_exists, options)?;
        }
        AnyStatement::Custom(Custom::Detach { name, if_exists }) => {
            let name = frame.identifier(name);
            if !frame.catalog.detach(&name) && !if_exists {
                return plan_err!("DETACH: nothing is attached as {name:?}");
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn attach(frame: &Frame, path: &str, name: &Ident, if_not_exists: bool, options: &[String]) -> Result<()> {
    match options.iter().find(|option| !option.eq_ignore_ascii_case("READ_ONLY")) {
        Some(other) => {
            not_impl_err!("ATTACH: option {other} is not supported; the only one is READ_ONLY, which holds in any case")
        }
        None => frame.catalog.attach(&frame.identifier(name), path, if_not_exists),
    }
}
