//! Clauses of `COPY … TO '…'` that are short for its options: `OVERWRITE`, `APPEND`, `PER_FILE n ROWS`, and the list of
//! options without the word OPTIONS, `(FORMAT parquet, OVERWRITE)`, as in DuckDB and PostgreSQL.
//!
//! They are moved into the OPTIONS by a pass over the tokens, since the statement's parser takes no others.

use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

/// Rewrites every COPY of a script.
pub(super) fn rewrite(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !tokens.iter().any(|t| is_word(&t.token, "COPY")) {
        return tokens;
    }
    tokens.split_inclusive(|t| t.token == Token::SemiColon).flat_map(statement).collect()
}

fn statement(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let solid: Vec<TokenWithSpan> =
        tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).cloned().collect();
    let Some(target) = target(&solid) else { return tokens.to_vec() };
    let (head, tail) = solid.split_at(target + 1);
    [head, &clauses(tail)].concat()
}

/// Where the file's name is in `COPY … TO 'name'`, or in an EXPLAIN of it.
fn target(tokens: &[TokenWithSpan]) -> Option<usize> {
    let copy = tokens.iter().position(|t| is_word(&t.token, "COPY"))?;
    if copy > 0 && !is_word(&tokens.first()?.token, "EXPLAIN") {
        return None;
    }
    let mut depth = 0;
    for (i, pair) in tokens.windows(2).enumerate().skip(copy + 1) {
        depth += nesting(&pair[0].token);
        if depth == 0 && is_word(&pair[0].token, "TO") && matches!(pair[1].token, Token::SingleQuotedString(_)) {
            return Some(i + 1);
        }
    }
    None
}

/// What follows the name, with our clauses among the options.
fn clauses(tail: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let span = tail.first().map_or_else(Span::empty, |t| t.span);
    let word = |text: &str| TokenWithSpan::new(Token::make_word(text, None), span);
    let sign = |token: Token| TokenWithSpan::new(token, span);
    let mut options: Vec<TokenWithSpan> = Vec::new();
    let mut out: Vec<TokenWithSpan> = Vec::new();
    // Where options can be put in.
    let mut list = None;
    let (mut i, mut depth) = (0, 0);
    while let Some(token) = tail.get(i) {
        let is = |ahead: usize, text: &str| tail.get(i + ahead).is_some_and(|t| is_word(&t.token, text));
        let opens = |ahead: usize| tail.get(i + ahead).is_some_and(|t| t.token == Token::LParen);
        if depth == 0 && is(0, "PER_FILE") && is(2, "ROWS") {
            options.extend([word("rows_per_file")].into_iter().chain(tail.get(i + 1).cloned()));
            options.push(sign(Token::Comma));
            i += 3;
        } else if depth == 0 && (is(0, "OVERWRITE") || is(0, "APPEND")) {
            let mode = if is(0, "APPEND") { "append" } else { "overwrite" };
            options.extend([word("mode"), word(mode), sign(Token::Comma)]);
            i += 1;
        } else if depth == 0 && (is(0, "OPTIONS") && opens(1) || is(0, "WITH") && opens(1) || i == 0 && opens(0)) {
            out.extend([word("OPTIONS"), sign(Token::LParen)]);
            list = Some(out.len());
            i += 1 + usize::from(!opens(0));
            depth = 1;
        } else {
            depth += nesting(&token.token);
            // `(OVERWRITE, …)`: an option that is just named is true.
            let before = out.last().map(|t| &t.token);
            let starts = list.is_some() && depth == 1 && matches!(before, Some(Token::LParen | Token::Comma));
            let alone = tail.get(i + 1).is_some_and(|t| matches!(t.token, Token::Comma | Token::RParen));
            out.push(token.clone());
            if starts && alone && matches!(token.token, Token::Word(_)) {
                out.push(word("true"));
            }
            i += 1;
        }
    }
    if options.is_empty() {
        return out;
    }
    match list {
        Some(at) => drop(out.splice(at..at, options)),
        None => {
            let end = out.len() - usize::from(out.last().is_some_and(|t| t.token == Token::SemiColon));
            options.splice(0..0, [word("OPTIONS"), sign(Token::LParen)]);
            options.push(sign(Token::RParen));
            out.splice(end..end, options);
        }
    }
    out
}

fn nesting(token: &Token) -> i32 {
    match token {
        Token::LParen => 1,
        Token::RParen => -1,
        _ => 0,
    }
}

fn is_word(token: &Token, text: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use datafusion::sql::parser::Statement;

    use crate::dialect::{parse_one, split};

    fn options(sql: &str) -> Vec<String> {
        let statement = parse_one(sql, 50).unwrap_or_else(|e| panic!("{sql}: {e}"));
        let copy = match statement {
            Statement::CopyTo(copy) => copy,
            Statement::Explain(explain) => match *explain.statement {
                Statement::CopyTo(copy) => copy,
                other => panic!("{other}"),
            },
            other => panic!("{other}"),
        };
        copy.options.iter().map(|(k, v)| format!("{k}={}", v.to_string().trim_matches('\''))).collect()
    }

    #[test]
    fn clauses_become_options() {
        assert_eq!(options("COPY t TO 'a-{}.npy' PER_FILE 1000 ROWS"), ["rows_per_file=1000"]);
        assert_eq!(options("copy (SELECT 1) to 'a.npy' overwrite;"), ["mode=overwrite"]);
        assert_eq!(options("COPY t TO 'a.npy' STORED AS NPY APPEND OPTIONS (axis 0)"), ["mode=append", "axis=0"]);
        assert_eq!(
            options("COPY t TO 'a.h5' OPTIONS (level 3) PER_FILE 5 ROWS OVERWRITE"),
            ["rows_per_file=5", "mode=overwrite", "level=3"]
        );
        assert_eq!(
            options("COPY t TO 'a.parquet' (FORMAT parquet, OVERWRITE, compression 'zstd(3)', x)"),
            ["FORMAT=parquet", "OVERWRITE=true", "compression=zstd(3)", "x=true"]
        );
        assert_eq!(options("COPY t TO 'a.csv' WITH (overwrite)"), ["overwrite=true"]);
        assert_eq!(options("EXPLAIN ANALYZE COPY t TO 'a.npy' /* x */ OVERWRITE"), ["mode=overwrite"]);
        assert!(options("COPY (SELECT overwrite FROM t) TO 'a.parquet' PARTITIONED BY (append)").is_empty());
    }

    #[test]
    fn nothing_else_is_touched() {
        for sql in ["SELECT copy, overwrite FROM t", "EXPLAIN SELECT copy FROM t", "SELECT 1 AS append"] {
            assert!(parse_one(sql, 50).unwrap().to_string().ends_with(sql.trim_start_matches("EXPLAIN ")), "{sql}");
        }
        assert_eq!(split("COPY t TO 'a' OVERWRITE; SELECT 1").unwrap(), ["COPY t TO 'a' OVERWRITE", "SELECT 1"]);
        for sql in ["COPY t TO 'a.npy' PER_FILE ROWS", "COPY t TO 'a.npy' PER_FILE 5", "COPY t TO 'a.npy' NONSENSE"] {
            assert!(parse_one(sql, 50).is_err(), "{sql}");
        }
    }
}
