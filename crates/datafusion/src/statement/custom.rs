//! Statements that DataFusion's parser does not know. They are recognised by their first words, before it is asked.
//!
//! A further statement is a line in [`STATEMENTS`], a variant of [`Custom`], and a module with its parser and planner.

use std::time::Duration;

use datafusion::common::format::ExplainStatementOptions;
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParserBuilder, ExplainStatement, Statement};
use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{attach, check, optimize, restore, show_indexes, tag, vacuum};
use crate::dialect::{self, DIALECT};
use crate::session::Frame;
use crate::version::VersionRef;

/// A statement of our own syntax.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Custom {
    /// CREATE TAG.
    CreateTag { tag: Ident, version: Option<VersionRef>, or_replace: bool, if_not_exists: bool },
    /// DROP TAG.
    DropTag { tag: Ident, if_exists: bool },
    /// RESTORE TABLE … TO.
    Restore { table: ObjectName, version: VersionRef },
    /// OPTIMIZE.
    Optimize { table: ObjectName, full: bool },
    /// VACUUM.
    Vacuum { table: Option<ObjectName>, retain: Option<Duration>, dry_run: bool },
    /// CHECK.
    Check { table: Option<ObjectName>, quick: bool },
    /// SHOW INDEXES.
    ShowIndexes { table: Option<ObjectName> },
    /// ATTACH.
    Attach { path: String, name: Ident, if_not_exists: bool, options: Vec<String> },
    /// DETACH.
    Detach { name: Ident, if_exists: bool },
}

type Parse = fn(&mut Parser<'_>) -> std::result::Result<Custom, ParserError>;

/// The first words of our statements, and what parses what follows them.
const STATEMENTS: &[(&[&str], Parse)] = &[
    (&["CREATE", "TAG"], tag::parse_create),
    (&["CREATE", "OR", "REPLACE", "TAG"], tag::parse_replace),
    (&["DROP", "TAG"], tag::parse_drop),
    (&["RESTORE", "TABLE"], restore::parse),
    (&["OPTIMIZE"], optimize::parse),
    (&["VACUUM"], vacuum::parse),
    (&["CHECK"], check::parse),
    (&["SHOW", "INDEXES"], show_indexes::parse),
    (&["ATTACH"], attach::parse_attach),
    (&["DETACH"], attach::parse_detach),
];

/// A parsed statement.
#[derive(Debug)]
pub(crate) enum AnyStatement {
    /// One of DataFusion's parser.
    Parsed(Box<Statement>),
    /// One of ours.
    Custom(Custom),
    /// EXPLAIN of one of ours.
    Explain(ExplainStatementOptions, Custom),
}

/// Parses one statement.
///
/// # Errors
/// Syntax, with the place; none, or more than one.
pub(crate) fn parse(sql: &str, recursion_limit: usize) -> Result<AnyStatement> {
    let tokens = dialect::tokens(sql)?;
    let words: Vec<(usize, &Token)> = tokens
        .iter()
        .enumerate()
        .filter_map(|(i, t)| (!matches!(t.token, Token::Whitespace(_))).then_some((i, &t.token)))
        .collect();
    let explain = words.first().is_some_and(|(_, t)| is_word(t, "EXPLAIN"));
    // An EXPLAIN's options come before its statement, which begins at the first of our words.
    let starts = if explain { words.len() } else { 1 };
    let found = (0..starts).find_map(|at| {
        let rest = words.get(at..)?;
        let (first, parse) = STATEMENTS.iter().find(|(first, _)| {
            rest.len() >= first.len() && first.iter().zip(rest).all(|(word, (_, token))| is_word(token, word))
        })?;
        Some((rest.first()?.0, rest.get(first.len()).map_or(tokens.len(), |(i, _)| *i), *parse))
    });
    let Some((start, end, parse)) = found.filter(|(start, ..)| !explain || is_explain(&tokens, *start)) else {
        return dialect::one(sql, tokens, recursion_limit).map(|s| AnyStatement::Parsed(Box::new(s)));
    };
    let mut parser = Parser::new(&DIALECT)
        .with_recursion_limit(recursion_limit)
        .with_tokens_with_locations(tokens.get(end..).unwrap_or_default().to_vec());
    let statement = parse(&mut parser).map_err(syntax)?;
    while parser.consume_token(&Token::SemiColon) {}
    parser.expect_token(&Token::EOF).map_err(syntax)?;
    match explain {
        true => Ok(AnyStatement::Explain(explain_options(&tokens, start)?, statement)),
        false => Ok(AnyStatement::Custom(statement)),
    }
}

/// Whether what stands before `start` is EXPLAIN and its options, not the beginning of another statement.
fn is_explain(tokens: &[TokenWithSpan], start: usize) -> bool {
    explain_options(tokens, start).is_ok()
}

/// The options of the EXPLAIN that ends before `start`.
fn explain_options(tokens: &[TokenWithSpan], start: usize) -> Result<ExplainStatementOptions> {
    let mut shell = tokens.get(..start).unwrap_or_default().to_vec();
    shell.extend(dialect::tokens("SELECT 1")?);
    let mut parser = DFParserBuilder::new(shell).with_dialect(&DIALECT).build()?;
    match parser.parse_statement()? {
        Statement::Explain(ExplainStatement { options, .. }) => Ok(options),
        other => plan_err!("EXPLAIN is expected, not {other}"),
    }
}

fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// Takes the words if they come next.
pub(crate) fn take_words(parser: &mut Parser<'_>, words: &[&str]) -> bool {
    let there = words.iter().enumerate().all(|(i, word)| is_word(&parser.peek_nth_token_ref(i).token, word));
    if there {
        words.iter().for_each(|_| parser.advance_token());
    }
    there
}

fn syntax(error: ParserError) -> DataFusionError {
    DataFusionError::SQL(Box::new(error), None)
}

/// Plans a statement of ours; nothing is changed before the plan is executed.
pub(crate) fn plan(frame: &Frame, statement: Custom) -> Result<LogicalPlan> {
    match statement {
        Custom::CreateTag { tag, version, or_replace, if_not_exists } => {
            tag::plan_create(frame, &tag, version.as_ref(), or_replace, if_not_exists)
        }
        Custom::DropTag { tag, if_exists } => tag::plan_drop(frame, &tag, if_exists),
        Custom::Restore { table, version } => restore::plan(frame, &table, &version),
        Custom::Optimize { table, full } => optimize::plan(frame, &table, full),
        Custom::Vacuum { table, retain, dry_run } => vacuum::plan(frame, table.as_ref(), retain, dry_run),
        Custom::Check { table, quick } => check::plan(frame, table.as_ref(), quick),
        Custom::ShowIndexes { table } => show_indexes::plan(frame, table.as_ref()),
        Custom::Attach { .. } | Custom::Detach { .. } => {
            plan_err!("ATTACH and DETACH take effect at once; they cannot be explained")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn our_statements_are_taken_aside() {
        let custom = |sql: &str| match parse(sql, 50).unwrap() {
            AnyStatement::Custom(c) => c,
            other => panic!("{sql}: {other:?}"),
        };
        assert!(matches!(custom("create /* a */ tag v1"), Custom::CreateTag { version: None, .. }));
        assert!(matches!(
            custom("CREATE TAG \"a b\" AS OF VERSION 3;"),
            Custom::CreateTag { version: Some(VersionRef::Version(3)), .. }
        ));
        assert!(matches!(custom("DROP TAG IF EXISTS v1"), Custom::DropTag { if_exists: true, .. }));
        assert!(matches!(custom("RESTORE TABLE a.b TO VERSION AS OF 3"), Custom::Restore { .. }));
        assert!(matches!(custom("OPTIMIZE TABLE docs FULL"), Custom::Optimize { full: true, .. }));
        assert!(matches!(custom("vacuum"), Custom::Vacuum { table: None, retain: None, dry_run: false }));
        let days = Some(Duration::from_secs(2 * 86_400));
        assert!(
            matches!(custom("VACUUM RETAIN 2 DAYS DRY RUN;"), Custom::Vacuum { table: None, retain, dry_run: true } if retain == days)
        );
        assert!(
            matches!(custom("VACUUM docs RETAIN 48 HOURS"), Custom::Vacuum { table: Some(_), retain, dry_run: false } if retain == days)
        );
        assert!(matches!(custom("VACUUM \"retain\""), Custom::Vacuum { table: Some(_), .. }));
        assert!(matches!(custom("CHECK"), Custom::Check { table: None, quick: false }));
        assert!(matches!(custom("CHECK TABLE a.b QUICK"), Custom::Check { table: Some(_), quick: true }));
        assert!(matches!(
            custom("ATTACH DATABASE IF NOT EXISTS 'a b.h5' AS x (READ_ONLY);"),
            Custom::Attach { if_not_exists: true, path, options, .. } if path == "a b.h5" && options == ["READ_ONLY"]
        ));
        assert!(matches!(custom("detach if exists x"), Custom::Detach { if_exists: true, .. }));
        for sql in ["EXPLAIN DROP TAG v1", "EXPLAIN ANALYZE VERBOSE DROP TAG v1", "explain format tree drop tag v1"] {
            assert!(matches!(parse(sql, 50).unwrap(), AnyStatement::Explain(..)), "{sql}");
        }
        for sql in
            ["SELECT 1", "EXPLAIN SELECT * FROM restore", "EXPLAIN SELECT drop, tag FROM t", "CREATE TABLE tag (a INT)"]
        {
            assert!(matches!(parse(sql, 50).unwrap(), AnyStatement::Parsed(_)), "{sql}");
        }
        for sql in [
            "CREATE TAG",
            "DROP TAG v1 v2",
            "DROP TAG v1; SELECT 1",
            "RESTORE TABLE t",
            "CREATE TAG v1 AS OF 3",
            "VACUUM RETAIN 3",
            "VACUUM RETAIN -1 DAYS",
            "OPTIMIZE",
            "CHECK a b",
            "ATTACH 'a.h5'",
            "ATTACH 1 AS b",
            "DETACH",
        ] {
            assert!(parse(sql, 50).is_err(), "{sql}");
        }
    }
}
