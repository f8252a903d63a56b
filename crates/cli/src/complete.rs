//! Completion: keywords, tables, columns, functions, files inside quotes, dot-commands.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use clap::ValueEnum;
use datafusion::catalog::CatalogProvider;
use hyperslab::store::DEFAULT_SCHEMA;
use hyperslab::{FunctionKind, Session, function_docs};
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use crate::dot;
use crate::output::Format;
use crate::script::open_quote;

const KEYWORDS: &str = "ALL ALTER ANALYZE AND AS ASC ATTACH BEGIN BETWEEN BIGINT BOOLEAN BY CASE CAST COLUMN COMMIT COPY COUNT \
    CREATE CROSS DATABASE DELETE DESC DESCRIBE DETACH DISTINCT DOUBLE DROP ELSE END EXCEPT EXISTS EXPLAIN EXTERNAL FALSE FLOAT \
    FROM FULL GROUP HALF HAVING IF IN INNER INSERT INT INTERSECT INTERVAL INTO IS JOIN LATERAL LEFT LIKE LIMIT LOCATION \
    NOT NULL NULLS OFFSET ON OPTIONS OR ORDER OUTER OVER PARTITION QUALIFY RENAME REPLACE RIGHT ROLLBACK SCHEMA SELECT \
    SET SHOW SMALLINT STORED TABLE TABLES TENSOR THEN TIMESTAMP TINYINT TO TRUE TRUNCATE UNION UNSIGNED UPDATE USING \
    VALUES VECTOR VIEW WHEN WHERE WINDOW WITH";

/// Words after which a table, or a table function, comes.
const BEFORE_TABLE: [&str; 6] = ["FROM", "JOIN", "INTO", "TABLE", "DESCRIBE", "UPDATE"];

/// Arrays whose fields are offered: more names than these help nobody.
const MAX_ARRAYS: usize = 1000;

/// What can be named in a session.
#[derive(Debug, Default, Clone)]
pub(crate) struct Names {
    pub(crate) tables: BTreeSet<String>,
    pub(crate) columns: BTreeSet<String>,
    pub(crate) functions: BTreeSet<String>,
}

impl Names {
    /// The names at this moment; what cannot be read is not offered.
    pub(crate) fn of(session: &Session) -> Self {
        let mut names = Self::default();
        if let Ok(snapshot) = session.snapshot() {
            for schema in snapshot.schemas() {
                for array in snapshot.arrays(&schema) {
                    let name = hyperslab::ArrayName::new(&schema, &array);
                    if names.tables.len() < MAX_ARRAYS {
                        let fields = snapshot.array(&name).map(|a| a.fields().to_vec()).unwrap_or_default();
                        names.columns.extend(fields.iter().map(|f| f.name().to_owned()));
                    }
                    names.tables.insert(qualified(&schema, &array));
                }
            }
        }
        names.tables.extend(other_tables(session));
        names.columns.extend(["row", "rank", "score", "query_row"].map(str::to_owned));
        let state = session.context().state();
        names.functions.extend(state.scalar_functions().keys().cloned());
        names.functions.extend(state.aggregate_functions().keys().cloned());
        names.functions.extend(state.window_functions().keys().cloned());
        for doc in function_docs() {
            names.functions.insert(doc.name.to_owned());
            names.functions.extend(doc.aliases.iter().map(|&a| a.to_owned()));
        }
        names
    }
}

/// Every table of the session's catalogs as FROM names it: views, external tables and what is attached beside the arrays.
pub(crate) fn other_tables(session: &Session) -> Vec<String> {
    let context = session.context();
    let catalogs = context.catalog_names().into_iter().filter_map(|name| context.catalog(&name));
    let tables = |catalog: Arc<dyn CatalogProvider>| {
        let names = catalog.schema_names().into_iter().filter(|name| name != "information_schema");
        let of = |schema: String| {
            let tables = catalog.schema(&schema).map(|s| s.table_names()).unwrap_or_default();
            tables.into_iter().map(move |table| qualified(&schema, &table))
        };
        names.flat_map(of).collect::<Vec<_>>()
    };
    catalogs.flat_map(tables).collect()
}

/// A table's name, with its schema unless it is the default one.
pub(crate) fn qualified(schema: &str, table: &str) -> String {
    match schema == DEFAULT_SCHEMA {
        true => table.to_owned(),
        false => format!("{}.{}", quoted(schema), quoted(table)),
    }
}

/// A name as SQL takes it: in quotes where it needs them.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    match name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// The line editor's helper.
#[derive(Debug, Default)]
pub(crate) struct ShellHelper {
    names: Names,
    /// The lines of the statement above the one being edited.
    before: String,
}

impl ShellHelper {
    /// Takes what is known now, and the lines before the next one.
    pub(crate) fn update(&mut self, names: Names, before: &str) {
        self.names = names;
        before.clone_into(&mut self.before);
    }
}

impl Completer for ShellHelper {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let line = line.get(..pos).unwrap_or(line);
        Ok(complete(&self.names, &self.before, line))
    }
}

impl Hinter for ShellHelper {
    type Hint = String;
}
impl Highlighter for ShellHelper {}
impl Validator for ShellHelper {}
impl Helper for ShellHelper {}

/// Where the word to complete starts in `line`, and what it can become.
pub(crate) fn complete(names: &Names, before: &str, line: &str) -> (usize, Vec<String>) {
    if before.is_empty() && line.starts_with('.') {
        return complete_dot(names, line);
    }
    let whole = format!("{before}{line}");
    if let Some((quote, start)) = open_quote(&whole) {
        let Some(start) = start.checked_sub(before.len()) else { return (line.len(), vec![]) };
        let prefix = line.get(start..).unwrap_or_default();
        let mut found = starting_with(&names.tables, prefix);
        if quote == '\'' {
            found.extend(files(prefix));
        } else {
            found.extend(starting_with(&names.columns, prefix));
        }
        return (start, found);
    }
    let start = line
        .rfind(|c: char| !(c.is_alphanumeric() || c == '_'))
        .map_or(0, |at| at + line.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8));
    let prefix = line.get(start..).unwrap_or_default();
    let ahead = line.get(..start).unwrap_or_default();
    if let Some(qualifier) = ahead.strip_suffix('.') {
        let word = qualifier.rfind(|c: char| !(c.is_alphanumeric() || c == '_')).map_or(0, |at| at + 1);
        let schema = format!("{}.", qualifier.get(word..).unwrap_or_default());
        let mut found = starting_with(&names.columns, prefix);
        let tables = starting_with(&names.tables, &format!("{schema}{prefix}"));
        found.extend(tables.iter().filter_map(|table| table.strip_prefix(&schema)).map(str::to_owned));
        return (start, found);
    }
    let previous = ahead.split_whitespace().next_back().unwrap_or_default().to_ascii_uppercase();
    if BEFORE_TABLE.contains(&previous.as_str()) {
        let mut found = starting_with(&names.tables, prefix);
        let prefix = prefix.to_lowercase();
        found.extend(TABLE_FUNCTIONS.iter().filter(|f| f.starts_with(&prefix)).map(|f| format!("{f}(")));
        return (start, found);
    }
    if prefix.is_empty() {
        return (start, vec![]);
    }
    let mut found = starting_with(&names.columns, prefix);
    found.extend(starting_with(&names.tables, prefix));
    found.extend(starting_with(&names.functions, &prefix.to_lowercase()).into_iter().map(|f| f + "("));
    let upper = prefix.to_ascii_uppercase();
    let small = prefix.starts_with(|c: char| c.is_lowercase());
    let keywords = KEYWORDS.split_whitespace().filter(|k| k.starts_with(&upper));
    found.extend(keywords.map(|k| if small { k.to_lowercase() } else { k.to_owned() }));
    (start, found)
}

static TABLE_FUNCTIONS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let docs = function_docs();
    docs.iter().filter(|doc| doc.kind == FunctionKind::Table).map(|doc| doc.name).collect()
});

fn complete_dot(names: &Names, line: &str) -> (usize, Vec<String>) {
    let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let prefix = line.get(start..).unwrap_or_default();
    if start == 0 {
        let commands = dot::COMMANDS.iter().map(|c| c.name.to_owned());
        return (0, commands.filter(|c| c.starts_with(prefix)).collect());
    }
    let words: Vec<String> = match line.split_whitespace().next().unwrap_or_default() {
        ".mode" => Format::value_variants().iter().map(|f| f.name()).collect(),
        ".timer" => vec!["on".to_owned(), "off".to_owned()],
        ".rows" => vec!["all".to_owned()],
        ".schema" => names.tables.iter().cloned().collect(),
        ".functions" => function_docs().iter().map(|doc| doc.name.to_owned()).collect(),
        ".open" | ".read" | ".output" => return (start, files(prefix)),
        _ => vec![],
    };
    (start, words.into_iter().filter(|w| w.starts_with(prefix)).collect())
}

fn starting_with(names: &BTreeSet<String>, prefix: &str) -> Vec<String> {
    names.iter().filter(|name| name.starts_with(prefix)).cloned().collect()
}

/// The files and folders that a path can become.
fn files(prefix: &str) -> Vec<String> {
    let (folder, name) = prefix.rfind('/').map_or(("", prefix), |at| prefix.split_at(at + 1));
    let path = if folder.is_empty() { Path::new(".") } else { Path::new(folder) };
    let Ok(entries) = std::fs::read_dir(path) else { return vec![] };
    let mut found: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let file = entry.file_name().into_string().ok()?;
            let hidden = file.starts_with('.') && !name.starts_with('.');
            let slash = if entry.path().is_dir() { "/" } else { "" };
            (file.starts_with(name) && !hidden).then(|| format!("{folder}{file}{slash}"))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let set = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect();
        Names {
            tables: set(&["embeddings", "digits", "x.labels", "x.\"group/value\""]),
            columns: set(&["row", "value", "embedding"]),
            functions: set(&["l2_distance", "top_k"]),
        }
    }

    fn after(line: &str) -> Vec<String> {
        complete(&names(), "", line).1
    }

    #[test]
    fn words_by_their_place() {
        assert_eq!(after("sel"), ["select"]);
        assert_eq!(after("SELECT va"), ["value", "values"]);
        assert_eq!(after("SELECT l2"), ["l2_distance("]);
        assert_eq!(after("SELECT * FROM emb"), ["embeddings"]);
        assert_eq!(after("SELECT e.emb"), ["embedding"]);
        assert_eq!(after("SELECT * FROM x.la"), ["labels"]);
        assert!(after("SELECT * FROM x.").contains(&"\"group/value\"".to_owned()));
        assert_eq!((quoted("a_1"), quoted("1"), quoted("a/\"B")), ("a_1".into(), "\"1\"".into(), "\"a/\"\"B\"".into()));
        assert_eq!(after("SELECT emb"), ["embedding", "embeddings"]);
        assert!(after("SELECT * FROM ").contains(&"digits".to_owned()));
        assert!(after("SELECT ").is_empty());
        assert_eq!(after("é"), Vec::<String>::new());
    }

    #[test]
    fn quotes_hold_files_and_arrays() {
        assert_eq!(after("SELECT * FROM 'src/mai"), ["src/main.rs"]);
        assert_eq!(complete(&names(), "SELECT *\n", "FROM 'Cargo.to"), (6, vec!["Cargo.toml".to_owned()]));
        assert_eq!(after("SELECT * FROM top_k('emb"), ["embeddings"]);
        assert_eq!(after("SELECT \"va"), ["value"]);
        assert_eq!(complete(&names(), "SELECT 'x\n", "sr"), (2, vec![]), "a quote opened on a line above");
    }

    #[test]
    fn dot_commands_and_their_arguments() {
        assert_eq!(after(".mo"), [".mode"]);
        assert_eq!(after(".mode c"), ["csv"]);
        assert_eq!(after(".timer o"), ["on", "off"]);
        assert_eq!(after(".schema d"), ["digits"]);
        assert_eq!(after(".read src/dot"), ["src/dot.rs"]);
    }
}
