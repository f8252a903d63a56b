//! Splitting text into statements and dot-commands, without parsing them: quotes and comments are enough.
//!
//! The shell needs this while a statement is still being typed, and a script runs statement by statement, so that what
//! stands before a syntax error has run. What a statement means is the session's business.

/// A piece of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// The statement without its `;`, or the dot-command.
    pub(crate) text: String,
    /// The line it starts in, from 1.
    pub(crate) line: usize,
    pub(crate) kind: CommandKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandKind {
    Sql,
    /// A line that starts with a dot where a statement could start.
    Dot,
}

/// The complete commands of a text, and where the rest, which has no `;` yet, starts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) commands: Vec<Command>,
    pub(crate) rest: usize,
    pub(crate) rest_line: usize,
}

/// Splits at `;` outside quotes and comments. Empty statements and those of comments only are dropped.
pub(crate) fn split(text: &str) -> Split {
    let mut lexer = Lexer { text, at: 0 };
    let mut out = Split { commands: Vec::new(), rest: 0, rest_line: 1 };
    while let Some(start) = lexer.statement_start() {
        let line = 1 + newlines(&text[..start]);
        if text[start..].starts_with('.') {
            let end = text[start..].find('\n').map_or(text.len(), |n| start + n);
            lexer.at = end;
            let text = text[start..end].trim_end().to_owned();
            out.commands.push(Command { text, line, kind: CommandKind::Dot });
        } else {
            let Some(end) = lexer.statement_end() else {
                return Split { rest: start, rest_line: line, ..out };
            };
            let text = text[start..end].trim_end().to_owned();
            out.commands.push(Command { text, line, kind: CommandKind::Sql });
        }
    }
    Split { rest: text.len(), rest_line: 1 + newlines(text), ..out }
}

/// All commands of a finished text: the last statement needs no `;`.
pub(crate) fn commands(text: &str) -> Vec<Command> {
    let split = split(text);
    let mut commands = split.commands;
    let rest = text[split.rest..].trim_end();
    if !rest.is_empty() {
        commands.push(Command { text: rest.to_owned(), line: split.rest_line, kind: CommandKind::Sql });
    }
    commands
}

/// Takes text line by line and gives commands as they become complete.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    text: String,
    /// Lines before `text`.
    lines: usize,
}

impl Feed {
    /// Adds a line, with its line end.
    pub(crate) fn push(&mut self, line: &str) -> Vec<Command> {
        let inside = self.pending();
        self.text.push_str(line);
        if inside && !line.contains(';') {
            return Vec::new();
        }
        let mut split = split(&self.text);
        for command in &mut split.commands {
            command.line += self.lines;
        }
        self.lines += split.rest_line - 1;
        self.text.drain(..split.rest);
        split.commands
    }

    /// What is left at the end of the text: a statement without `;`.
    pub(crate) fn finish(&mut self) -> Option<Command> {
        let line = self.lines + 1;
        let mut left = commands(&std::mem::take(&mut self.text));
        left.pop().map(|command| Command { line, ..command })
    }

    /// Whether a statement has begun.
    pub(crate) fn pending(&self) -> bool {
        !self.text.is_empty()
    }

    /// The begun statement.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Forgets the begun statement.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
    }
}

/// The quote that is open at the end of a text, with the position after it: for completing file names.
pub(crate) fn open_quote(text: &str) -> Option<(char, usize)> {
    let mut lexer = Lexer { text, at: 0 };
    while lexer.at < text.len() {
        let start = lexer.at;
        let quote = text[start..].chars().next().filter(|c| matches!(c, '\'' | '"'));
        if !lexer.skip_token() {
            return quote.map(|q| (q, start + 1));
        }
    }
    None
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|&b| b == b'\n').count()
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Skips space, comments and lone semicolons.
    fn statement_start(&mut self) -> Option<usize> {
        loop {
            let c = self.rest().chars().next()?;
            if c.is_whitespace() || c == ';' {
                self.at += c.len_utf8();
            } else if self.rest().starts_with("--") || self.rest().starts_with("/*") {
                let start = self.at;
                if !self.skip_token() {
                    // An open block comment is a statement to come.
                    return Some(start);
                }
            } else {
                return Some(self.at);
            }
        }
    }

    /// Moves behind the next `;` and gives its position.
    fn statement_end(&mut self) -> Option<usize> {
        while self.at < self.text.len() {
            if self.rest().starts_with(';') {
                self.at += 1;
                return Some(self.at - 1);
            }
            if !self.skip_token() {
                return None;
            }
        }
        None
    }

    /// Skips a quoted string, a comment, a word or a character; false (and at the end) if it is not closed.
    fn skip_token(&mut self) -> bool {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return false };
        let length = match first {
            '\'' => quoted(rest, '\'', self.after_escape_prefix()),
            '"' | '`' => quoted(rest, first, false),
            '-' if rest.starts_with("--") => Some(rest.find('\n').map_or(rest.len(), |n| n + 1)),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '$' => dollar_quoted(rest),
            c if c.is_alphanumeric() || c == '_' => {
                // A `$` inside a word starts no quote.
                Some(rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len()))
            }
            c => Some(c.len_utf8()),
        };
        self.at = length.map_or(self.text.len(), |n| self.at + n);
        length.is_some()
    }

    /// Whether the quote here belongs to `E'...'`, where a backslash escapes.
    fn after_escape_prefix(&self) -> bool {
        let mut before = self.text[..self.at].chars().rev();
        matches!(before.next(), Some('e' | 'E')) && !before.next().is_some_and(|c| c.is_alphanumeric() || c == '_')
    }
}

/// The length of a quoted string; a doubled quote stands for itself.
fn quoted(text: &str, quote: char, backslash: bool) -> Option<usize> {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && backslash {
            chars.next();
        } else if c == quote && chars.next_if(|&(_, next)| next == quote).is_none() {
            return Some(at + quote.len_utf8());
        }
    }
    None
}

/// The length of a block comment; they nest.
fn block_comment(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += 1;
        }
    }
    None
}

/// The length of `$tag$ ... $tag$`; of the `$` alone where no such quote starts (`$1`).
fn dollar_quoted(text: &str) -> Option<usize> {
    let after = &text[1..];
    let tag = after.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(after.len());
    if !after[tag..].starts_with('$') || after.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(1);
    }
    let delimiter = &text[..tag + 2];
    text[delimiter.len()..].find(delimiter).map(|n| n + 2 * delimiter.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        commands(text).into_iter().map(|c| c.text).collect()
    }

    #[test]
    fn splits_at_semicolons_outside_quotes_and_comments() {
        assert_eq!(texts("a; b ;c"), ["a", "b", "c"]);
        assert_eq!(texts("SELECT ';'; SELECT 'it''s;';"), ["SELECT ';'", "SELECT 'it''s;'"]);
        assert_eq!(texts("SELECT \"a;b\", `c;d`; x"), ["SELECT \"a;b\", `c;d`", "x"]);
        assert_eq!(texts("a -- x; y\n; b /* ; /* ; */ ; */ c; d"), ["a -- x; y", "b /* ; /* ; */ ; */ c", "d"]);
        assert_eq!(
            texts("SELECT E'\\';'; SELECT $$;$$, $x$;$$;$x$; y"),
            ["SELECT E'\\';'", "SELECT $$;$$, $x$;$$;$x$", "y"]
        );
        assert_eq!(texts("SELECT '\\'; b"), ["SELECT '\\'", "b"]);
        assert_eq!(texts("SELECT $1; SELECT $2"), ["SELECT $1", "SELECT $2"]);
        assert_eq!(texts("é; ü"), ["é", "ü"]);
    }

    #[test]
    fn empty_statements_and_comments_are_nothing() {
        assert!(texts("").is_empty());
        assert!(texts(" ;; \n; -- only this\n /* and this */ ;").is_empty());
    }

    #[test]
    fn dot_commands_are_lines_where_a_statement_could_start() {
        let found = commands(".mode csv\nSELECT 1;\n.tables\nSELECT\n.5;");
        let kinds: Vec<_> = found.iter().map(|c| (c.text.as_str(), c.line, c.kind)).collect();
        assert_eq!(
            kinds,
            [
                (".mode csv", 1, CommandKind::Dot),
                ("SELECT 1", 2, CommandKind::Sql),
                (".tables", 3, CommandKind::Dot),
                ("SELECT\n.5", 4, CommandKind::Sql),
            ]
        );
    }

    #[test]
    fn what_has_no_semicolon_yet_is_the_rest() {
        let rest = |text: &str| text[split(text).rest..].to_owned();
        assert_eq!(rest("a; b\n"), "b\n");
        assert_eq!(rest("a;\n"), "");
        assert_eq!(rest("a; 'x;"), "'x;");
        assert_eq!(rest("/* ;"), "/* ;");
        assert_eq!(rest("-- ;"), "");
        assert_eq!(texts("SELECT 'open; x"), ["SELECT 'open; x"]);
    }

    #[test]
    fn a_feed_gives_commands_when_they_are_complete() {
        let mut feed = Feed::default();
        assert!(feed.push("SELECT 1,\n").is_empty());
        assert!(feed.pending());
        assert!(feed.push(" ';\n").is_empty());
        let got = feed.push("'; SELECT 2; SELECT\n");
        let got: Vec<_> = got.iter().map(|c| (c.text.as_str(), c.line)).collect();
        assert_eq!(got, [("SELECT 1,\n ';\n'", 1), ("SELECT 2", 3)]);
        assert_eq!(feed.text(), "SELECT\n");
        assert!(feed.push("3\n").is_empty());
        let last = feed.finish();
        assert_eq!(last.map(|c| (c.text, c.line)), Some(("SELECT\n3".to_owned(), 3)));
        assert!(feed.push("-- a comment\n").is_empty());
        assert!(!feed.pending());
        assert_eq!(feed.push(".tables\n").len(), 1);
        assert_eq!(feed.finish(), None);
    }

    #[test]
    fn open_quotes() {
        assert_eq!(open_quote("SELECT * FROM 'a/b"), Some(('\'', 15)));
        assert_eq!(open_quote("SELECT 'a' FROM \"t"), Some(('"', 17)));
        assert_eq!(open_quote("SELECT 'a' FROM t"), None);
        assert_eq!(open_quote("-- 'a"), None);
    }
}
