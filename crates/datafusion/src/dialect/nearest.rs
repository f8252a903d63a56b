//! `JOIN docs n NEAREST 5 BY DISTANCE expr`, which sqlparser does not know. A pass over the tokens makes it
//! `JOIN docs n ON 5 <operator> expr`, with an operator that only this pass can write.

use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};

/// The operator of `NEAREST … BY DISTANCE`.
pub(crate) const BY_DISTANCE: &str = "NEAREST BY DISTANCE";
/// The operator of `NEAREST … BY SIMILARITY`.
pub(crate) const BY_SIMILARITY: &str = "NEAREST BY SIMILARITY";

/// Rewrites every `[EXACT | APPROX] NEAREST [k] BY …` of a join, the syntax of DuckDB and Databricks. The result is
/// exact whatever the word before it. Without a number it is the one nearest row.
///
/// # Errors
/// NEAREST with a number and without `BY DISTANCE` or `BY SIMILARITY`.
pub(super) fn rewrite(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    if !tokens.iter().any(|t| is_word(&t.token, "NEAREST")) {
        return Ok(tokens);
    }
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 4);
    let mut rest = tokens.as_slice();
    while let [first, after @ ..] = rest {
        rest = after;
        let clause = if is_word(&first.token, "NEAREST") { Clause::read(after)? } else { None };
        let Some(Clause { k, operator, rest: behind }) = clause else {
            out.push(first.clone());
            continue;
        };
        rest = behind;
        drop_exactness(&mut out);
        let at = |token| TokenWithSpan { token, span: first.span };
        out.push(at(Token::make_keyword("ON")));
        out.push(at(Token::Whitespace(Whitespace::Space)));
        match k.is_empty() {
            true => out.push(at(Token::Number("1".to_owned(), false))),
            false => out.extend(k),
        }
        out.push(at(Token::CustomBinaryOperator(operator.to_owned())));
    }
    Ok(out)
}

/// What follows the word.
struct Clause<'a> {
    /// The tokens of k, none if it is left out.
    k: Vec<TokenWithSpan>,
    operator: &'static str,
    rest: &'a [TokenWithSpan],
}

impl<'a> Clause<'a> {
    /// None where the word is a name.
    fn read(mut tokens: &'a [TokenWithSpan]) -> Result<Option<Self>> {
        let mut k: Vec<TokenWithSpan> = vec![];
        while let Some((token, rest)) = next(tokens) {
            match &token.token {
                Token::Number(..) | Token::Placeholder(_) | Token::Minus => k.push(token.clone()),
                _ => break,
            }
            tokens = rest;
        }
        let by = next(tokens).filter(|(t, _)| is_word(&t.token, "BY"));
        let operator = by.and_then(|(_, rest)| next(rest)).and_then(|(word, rest)| {
            let operators = [("DISTANCE", BY_DISTANCE), ("SIMILARITY", BY_SIMILARITY)];
            operators.into_iter().find(|(name, _)| is_word(&word.token, name)).map(|(_, operator)| (operator, rest))
        });
        match operator {
            Some((operator, rest)) => Ok(Some(Self { k, operator, rest })),
            // A number after a name is no SQL, so NEAREST is meant.
            None if by.is_some()
                || matches!(k.first().map(|t| &t.token), Some(Token::Number(..) | Token::Placeholder(_))) =>
            {
                without_by()
            }
            None => Ok(None),
        }
    }
}

/// The error of a NEAREST that lacks the rest of it.
pub(super) fn without_by<T>() -> Result<T> {
    plan_err!(
        "NEAREST needs what it goes by: JOIN docs n NEAREST 5 BY DISTANCE l2_distance(q.value, n.value), or \
         BY SIMILARITY inner_product(q.value, n.value)"
    )
}

/// A syntax error where NEAREST, or what was made of it, cannot stand, with the syntax.
pub(super) fn explained(error: DataFusionError, rewritten: bool) -> DataFusionError {
    let DataFusionError::SQL(inner, _) = error.find_root() else { return error };
    let ParserError::ParserError(text) = inner.as_ref() else { return error };
    let upper = text.to_ascii_uppercase();
    let is_ours = upper.contains("FOUND: NEAREST") || rewritten && upper.contains("FOUND: ON");
    if !is_ours {
        return error;
    }
    let text = format!(
        "{text}; the syntax is q [LEFT] JOIN docs n [EXACT | APPROX] NEAREST [k] BY DISTANCE | SIMILARITY expr, \
         without ON"
    );
    DataFusionError::SQL(Box::new(ParserError::ParserError(text)), None)
}

/// Whether the pass found any.
pub(super) fn is_rewritten(tokens: &[TokenWithSpan]) -> bool {
    tokens.iter().any(|t| matches!(&t.token, Token::CustomBinaryOperator(operator) if is_operator(operator)))
}

/// Whether an operator is one of those that only this pass writes.
pub(crate) fn is_operator(operator: &str) -> bool {
    operator == BY_DISTANCE || operator == BY_SIMILARITY
}

/// The next token that is no space, and what follows it.
fn next(tokens: &[TokenWithSpan]) -> Option<(&TokenWithSpan, &[TokenWithSpan])> {
    let start = tokens.iter().position(|t| !matches!(t.token, Token::Whitespace(_)))?;
    tokens.get(start..)?.split_first()
}

/// Takes back an EXACT or APPROX that stands before the word.
fn drop_exactness(out: &mut Vec<TokenWithSpan>) {
    let last = out.iter().rposition(|t| !matches!(t.token, Token::Whitespace(_)));
    if let Some(last) = last.filter(|&i| is_word(&out[i].token, "EXACT") || is_word(&out[i].token, "APPROX")) {
        out.truncate(last);
    }
}

fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}
