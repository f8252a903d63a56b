//! Long lists of numbers, `[0.1, -2, …]`, as one token: a thousand numbers are parsed as a thousand expressions otherwise,
//! each of which is planned, which takes longer than the search for the vector that they are.
//!
//! What stands between the brackets becomes one string that nobody writes, since it begins with U+0000. It is made a list
//! where array literals are planned.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Shorter lists stay what DataFusion makes of them, with the column names that people know.
pub(crate) const LONG: usize = 16;

const MARK: char = '\0';

/// A number as SQL reads it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    /// Without point and exponent.
    Integer(i64),
    /// With one of them.
    Float(f64),
}

/// Joins the numbers of long lists; not of a view, whose text is kept and shown as it was written.
pub(super) fn join(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if tokens.iter().any(|t| matches!(&t.token, Token::Word(w) if w.value.eq_ignore_ascii_case("view"))) {
        return tokens;
    }
    let opening = tokens.iter().enumerate().filter(|(_, t)| t.token == Token::LBracket).map(|(i, _)| i + 1);
    let lists: Vec<(usize, usize, String)> = opening.filter_map(|start| list(&tokens, start)).collect();
    if lists.is_empty() {
        return tokens;
    }
    let mut out = Vec::with_capacity(tokens.len());
    let (mut lists, mut end) = (lists.into_iter().peekable(), 0);
    for (i, token) in tokens.into_iter().enumerate() {
        if let Some((_, after, text)) = lists.next_if(|(start, ..)| *start == i) {
            out.push(TokenWithSpan::new(Token::SingleQuotedString(text), token.span));
            end = after;
        } else if i >= end {
            out.push(token);
        }
    }
    out
}

/// The list whose first number is token `start`: where it begins and ends, and its text.
fn list(tokens: &[TokenWithSpan], start: usize) -> Option<(usize, usize, String)> {
    let mut rest = tokens.iter().enumerate().skip(start).filter(|(_, t)| !matches!(t.token, Token::Whitespace(_)));
    let (mut text, mut count) = (String::from(MARK), 0);
    loop {
        let mut token = &rest.next()?.1.token;
        if *token == Token::Minus {
            text.push('-');
            token = &rest.next()?.1.token;
        }
        let Token::Number(digits, false) = token else { return None };
        number(digits)?;
        text.push_str(digits);
        count += 1;
        match rest.next()? {
            (_, t) if t.token == Token::Comma => text.push(','),
            (end, t) if t.token == Token::RBracket && count >= LONG => return Some((start, end, text)),
            _ => return None,
        }
    }
}

fn number(text: &str) -> Option<Number> {
    match text.parse() {
        Ok(integer) => Some(Number::Integer(integer)),
        Err(_) if text.contains(['.', 'e', 'E']) => text.parse().ok().map(Number::Float),
        Err(_) => None,
    }
}

/// The numbers of a list that was joined.
pub(crate) fn joined(text: &str) -> Option<Vec<Number>> {
    text.strip_prefix(MARK)?.split(',').map(number).collect()
}

/// A text in which lists that were joined stand as they were written.
pub(super) fn unjoin(text: &str) -> String {
    let mut parts = text.split("'\0");
    let mut out = parts.next().unwrap_or_default().to_owned();
    parts.for_each(|part| out.push_str(&part.replacen('\'', "", 1)));
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    fn strings(sql: &str) -> Vec<String> {
        let strings = super::super::tokens(sql).unwrap().into_iter().filter_map(|t| match t.token {
            Token::SingleQuotedString(text) => Some(text),
            _ => None,
        });
        strings.collect()
    }

    #[test]
    fn long_lists_of_numbers_are_one_token() {
        let numbers = "0.5, -2, 3e4, -.25, 5, 6, 7, 8, 9, 10, 11, /* twelve */ 12, 13, 14, 15, -9223372036854775807";
        let [text] = <[String; 1]>::try_from(strings(&format!("SELECT f([{numbers}], v[1]) FROM t"))).unwrap();
        let found = joined(&text).unwrap();
        assert_eq!(found.len(), 16);
        assert_eq!(found[..4], [Number::Float(0.5), Number::Integer(-2), Number::Float(3e4), Number::Float(-0.25)]);
        assert_eq!(found[15], Number::Integer(-9_223_372_036_854_775_807));
        assert_eq!(unjoin(&format!("f(['{text}'], 'x')")), format!("f([{}], 'x')", &text[1..]));
        assert_eq!(strings(&format!("SELECT [[{numbers}], [{numbers}]]")).len(), 2);
    }

    #[test]
    fn other_brackets_stay() {
        let fifteen = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15";
        for list in [
            fifteen.to_owned(),
            format!("{fifteen}, x"),
            format!("{fifteen}, 1 + 1"),
            format!("{fifteen}, NULL"),
            format!("{fifteen}, 18446744073709551615"),
            format!("{fifteen},"),
        ] {
            assert!(strings(&format!("SELECT [{list}]")).is_empty(), "{list}");
        }
        assert!(strings(&format!("CREATE VIEW v AS SELECT [{fifteen}, 16]")).is_empty());
        // A text stays as it is.
        assert_eq!(strings(&format!("SELECT '[{fifteen}, 16]'")), [format!("[{fifteen}, 16]")]);
        assert_eq!(joined("1,2"), None);
    }
}
