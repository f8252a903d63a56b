//! What the dialect accepts beyond DataFusion.
//!
//! It is DataFusion's generic dialect with
//! - table versions (`t VERSION AS OF 3`, `t AT (VERSION => 3)`), which the relation planner resolves or refuses;
//! - lambdas (`array_transform(v, x -> x + 1)`): `->` always makes a lambda, since nothing here plans JSON's `->`;
//! - pgvector's operators `<->`, `<#>`, `<+>`, `<~>`, `<%>` (`<=>` is sqlparser's own). They arrive in the syntax
//!   tree as `BinaryOperator::Custom`, made by a pass over the tokens that joins tokens written without a space
//!   between them, so that `a<5`, `a<-5`, `a <> b` and `x -> x + 1` stay what they are;
//! - `JOIN … NEAREST k BY DISTANCE expr`, see [`nearest`];
//! - clauses of COPY that are short for options, see [`copy_clauses`];
//! - table functions that see the tables to their left without LATERAL, see [`from_clause`].

mod copy_clauses;
mod from_clause;
pub(crate) mod nearest;
pub(crate) mod numbers;

use std::any::TypeId;
use std::collections::VecDeque;

use datafusion::common::{DataFusionError, Result};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, Precedence};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

/// The dialect of [`Session::sql`](crate::Session::sql).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HyperslabDialect(GenericDialect);

/// The dialect is a constant.
pub(crate) static DIALECT: HyperslabDialect = HyperslabDialect(GenericDialect);

macro_rules! forward {
    ($($name:ident)*) => {
        $(fn $name(&self) -> bool {
            self.0.$name()
        })*
    };
}

impl Dialect for HyperslabDialect {
    // Makes every `dialect_of!(self is GenericDialect)` in the parser true.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        self.0.is_delimited_identifier_start(ch)
    }

    // `#` starts an operator here, so that `a<#>b` can be one.
    fn is_identifier_start(&self, ch: char) -> bool {
        self.0.is_identifier_start(ch) && ch != '#'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        self.0.is_identifier_part(ch)
    }

    // Distance operators bind like every operator of PostgreSQL's that is no comparison: tighter than comparisons.
    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<std::result::Result<u8, ParserError>> {
        match &parser.peek_token_ref().token {
            // Above it are only AND and OR, so that all of the distance is below it.
            Token::CustomBinaryOperator(op) if nearest::is_operator(op) => Some(Ok(self.prec_value(Precedence::Eq))),
            Token::Spaceship | Token::CustomBinaryOperator(_) => Some(Ok(self.prec_value(Precedence::Pipe))),
            _ => None,
        }
    }

    fn supports_table_versioning(&self) -> bool {
        true
    }

    fn supports_lambda_functions(&self) -> bool {
        true
    }

    // Every boolean that the generic dialect of sqlparser 0.62 overrides; one that is missing here silently loses syntax.
    forward! {
        supports_unicode_string_literal
        supports_partition_by_after_order_by
        supports_array_join_syntax
        supports_group_by_expr
        supports_group_by_with_modifier
        supports_left_associative_joins_without_parens
        supports_connect_by
        supports_match_recognize
        supports_pipe_operator
        supports_start_transaction_modifier
        supports_window_function_null_treatment_arg
        supports_dictionary_syntax
        supports_window_clause_named_window_reference
        supports_parenthesized_set_variables
        supports_select_wildcard_except
        support_map_literal_syntax
        allow_extract_custom
        allow_extract_single_quotes
        supports_extract_comma_syntax
        supports_create_view_comment_syntax
        supports_parens_around_table_factor
        supports_values_as_table_factor
        supports_create_index_with_clause
        supports_explain_with_utility_options
        supports_limit_comma
        supports_update_order_by
        supports_from_first_select
        supports_projection_trailing_commas
        supports_asc_desc_in_column_definition
        supports_try_convert
        supports_bitwise_shift_operators
        supports_comment_on
        supports_load_extension
        supports_named_fn_args_with_assignment_operator
        supports_struct_literal
        supports_empty_projections
        supports_nested_comments
        supports_multiline_comment_hints
        supports_user_host_grantee
        supports_string_escape_constant
        supports_array_typedef_with_brackets
        supports_match_against
        supports_set_names
        supports_comma_separated_set_assignments
        supports_filter_during_aggregation
        supports_select_wildcard_exclude
        supports_data_type_signed_suffix
        supports_interval_options
        supports_quote_delimited_string
        supports_select_wildcard_replace
        supports_select_wildcard_ilike
        supports_select_wildcard_rename
        supports_optimize_table
        supports_install
        supports_detach
        supports_prewhere
        supports_with_fill
        supports_limit_by
        supports_interpolate
        supports_settings
        supports_select_format
        supports_comment_optimizer_hint
        supports_constraint_keyword_without_name
        supports_key_column_option
        supports_comma_separated_trim
        supports_cte_without_as
        supports_select_item_multi_column_alias
        supports_xml_expressions
    }
}

/// Tokens without the space between them are one operator.
const JOINED: [(&[Token], &str); 5] = [
    (&[Token::Lt, Token::Arrow], "<->"),
    (&[Token::Lt, Token::HashArrow], "<#>"),
    (&[Token::Lt, Token::Plus, Token::Gt], "<+>"),
    (&[Token::Lt, Token::Tilde, Token::Gt], "<~>"),
    (&[Token::Lt, Token::Mod, Token::Gt], "<%>"),
];

/// The tokens of a script, with our operators joined.
pub(crate) fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>> {
    let tokens = Tokenizer::new(&DIALECT, sql).tokenize_with_location().map_err(|e| syntax(ParserError::from(e)))?;
    let mut tokens = VecDeque::from(tokens);
    let mut out = Vec::with_capacity(tokens.len());
    while let Some(mut first) = tokens.pop_front() {
        if first.token == Token::Lt
            && let Some((parts, operator)) = JOINED.iter().find(|(parts, _)| {
                // Whitespace is a token of its own: neighbours in the list are neighbours in the text.
                parts.iter().skip(1).zip(&tokens).filter(|(part, t)| **part == t.token).count() == parts.len() - 1
            })
        {
            first.token = Token::CustomBinaryOperator((*operator).to_owned());
            for last in tokens.drain(..parts.len() - 1) {
                first.span.end = last.span.end;
            }
        }
        out.push(first);
    }
    nearest::rewrite(numbers::join(copy_clauses::rewrite(out)))
}

/// The error, with long lists in its text as they were written.
pub(crate) fn as_written(error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::Plan(text) => DataFusionError::Plan(numbers::unjoin(&text)),
        DataFusionError::NotImplemented(text) => DataFusionError::NotImplemented(numbers::unjoin(&text)),
        DataFusionError::SQL(inner, trace) => match *inner {
            ParserError::ParserError(text) => {
                DataFusionError::SQL(Box::new(ParserError::ParserError(numbers::unjoin(&text))), trace)
            }
            other => DataFusionError::SQL(Box::new(other), trace),
        },
        DataFusionError::Context(text, inner) => DataFusionError::Context(text, Box::new(as_written(*inner))),
        DataFusionError::Diagnostic(diagnostic, inner) => {
            DataFusionError::Diagnostic(diagnostic, Box::new(as_written(*inner)))
        }
        other => other,
    }
}

fn parse_tokens(tokens: Vec<TokenWithSpan>, recursion_limit: usize) -> Result<VecDeque<Statement>> {
    let has_nearest = nearest::is_rewritten(&tokens);
    let mut parser =
        DFParserBuilder::new(tokens).with_dialect(&DIALECT).with_recursion_limit(recursion_limit).build()?;
    let mut statements = parser.parse_statements().map_err(|e| nearest::explained(e, has_nearest))?;
    statements.iter_mut().try_for_each(from_clause::look_at)?;
    Ok(statements)
}

/// Parses one statement.
///
/// # Errors
/// Syntax; none, or more than one.
pub(crate) fn parse_one(sql: &str, recursion_limit: usize) -> Result<Statement> {
    one(sql, tokens(sql)?, recursion_limit)
}

/// Parses the tokens of one statement, `sql`.
///
/// # Errors
/// Syntax; none, or more than one.
pub(crate) fn one(sql: &str, tokens: Vec<TokenWithSpan>, recursion_limit: usize) -> Result<Statement> {
    let mut statements = parse_tokens(tokens, recursion_limit)?;
    match (statements.pop_front(), statements.len()) {
        (Some(statement), 0) => Ok(statement),
        (None, _) => datafusion::common::plan_err!("there is no statement in {sql:?}"),
        (Some(_), more) => datafusion::common::plan_err!(
            "{} statements were given where one is expected; Session::split takes a script apart",
            more + 1
        ),
    }
}

/// Parses an expression, and nothing behind it.
///
/// # Errors
/// Syntax, with the place.
pub(crate) fn parse_expr(sql: &str) -> Result<Expr> {
    let mut parser = Parser::new(&DIALECT).with_tokens_with_locations(tokens(sql)?);
    let expr = parser.parse_expr().map_err(syntax)?;
    parser.expect_token(&Token::EOF).map_err(syntax)?;
    Ok(expr)
}

/// Splits a script at its semicolons, outside of strings, names and comments. Statements of nothing but comments are
/// left out; the others keep their text as it was written, without the semicolon.
///
/// # Errors
/// Text that is no SQL at all: an unterminated string or comment.
pub(crate) fn split(script: &str) -> Result<Vec<String>> {
    let tokens = Tokenizer::new(&DIALECT, script).tokenize_with_location().map_err(|e| syntax(ParserError::from(e)))?;
    let offsets = line_starts(script);
    let mut statements = Vec::new();
    let (mut start, mut empty) = (0, true);
    for t in &tokens {
        match &t.token {
            Token::SemiColon => {
                let end = offset(script, &offsets, t.span.start.line, t.span.start.column);
                if !empty {
                    statements.push(script.get(start..end).unwrap_or_default().trim().to_owned());
                }
                (start, empty) = (end + 1, true);
            }
            Token::Whitespace(_) | Token::EOF => {}
            _ => empty = false,
        }
    }
    if !empty {
        statements.push(script.get(start..).unwrap_or_default().trim().to_owned());
    }
    Ok(statements)
}

fn syntax(error: ParserError) -> DataFusionError {
    DataFusionError::SQL(Box::new(error), None)
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect()
}

/// The byte offset of a 1-based line and a 1-based column in characters.
fn offset(text: &str, lines: &[usize], line: u64, column: u64) -> usize {
    let index = |n: u64| usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(&start) = lines.get(index(line)) else { return text.len() };
    let rest = text.get(start..).unwrap_or_default();
    start + rest.char_indices().nth(index(column)).map_or(rest.len(), |(i, _)| i)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn shown(sql: &str) -> String {
        parse_one(sql, 50).unwrap().to_string()
    }

    #[test]
    fn operators_without_harm_to_comparisons_and_lambdas() {
        for sql in [
            "SELECT a <-> b, a <#> b, a <=> b, a <+> b FROM t",
            "SELECT a < 5, a < -5, a <> b, a <= -1, a << 2 FROM t",
            "SELECT array_transform(v, x -> x + 1) FROM t",
            "SELECT * EXCLUDE (a) FROM t",
            "SELECT * FROM t VERSION AS OF 3",
        ] {
            assert_eq!(shown(sql), sql);
        }
        assert_eq!(shown("SELECT a<->b, a<#>b, a<-5, a<5"), "SELECT a <-> b, a <#> b, a < -5, a < 5");
        assert!(shown("SELECT * FROM t AT (VERSION => 3)").contains("AT"));
        assert_eq!(shown("FROM t |> SELECT a"), "FROM t |> SELECT a");
    }

    #[test]
    fn one_statement_and_scripts() {
        assert!(parse_one("SELECT 1; SELECT 2", 50).unwrap_err().to_string().contains("2 statements"));
        assert!(parse_one("-- nothing", 50).unwrap_err().to_string().contains("no statement"));
        let script = "SELECT ';é', 1; -- a;\n\n  SELECT \"a;b\" FROM t /* ; */;\n;SELECT 3\n";
        assert_eq!(split(script).unwrap(), ["SELECT ';é', 1", "-- a;\n\n  SELECT \"a;b\" FROM t /* ; */", "SELECT 3"]);
        assert!(split("SELECT 'open").is_err());
    }
}
