//! The shell's own commands, which start with a dot.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use hyperslab::core::TimeUnit;
use hyperslab::{ArrayName, DType, FieldSpec, FunctionKind, Snapshot, function_docs};

use crate::args::parse_rows;
use crate::complete::{other_tables, qualified};
use crate::output::Format;
use crate::run::{App, Failure, Target, open_session};

/// A dot-command, as `.help` shows it.
pub(crate) struct DotCommand {
    pub(crate) name: &'static str,
    arguments: &'static str,
    help: &'static str,
    run: fn(&mut App, &[String]) -> Result<(), Failure>,
}

/// All of them: the one table behind running, help and completion.
pub(crate) const COMMANDS: &[DotCommand] = &[
    DotCommand { name: ".exit", arguments: "", help: "leave the shell", run: |_, _| Err(Failure::Quit) },
    DotCommand {
        name: ".functions",
        arguments: "[NAME]",
        help: "functions that Hyperslab adds, or one of them",
        run: functions,
    },
    DotCommand { name: ".help", arguments: "", help: "this list", run: help },
    DotCommand { name: ".mode", arguments: "[FORMAT]", help: "how results are printed, as --format", run: mode },
    DotCommand {
        name: ".open",
        arguments: "[FOLDER]",
        help: "open another store; without a folder, one in memory",
        run: open,
    },
    DotCommand {
        name: ".output",
        arguments: "[FILE]",
        help: "write results to a file; `stdout` or nothing ends that",
        run: output,
    },
    DotCommand {
        name: ".quit",
        arguments: "",
        help: "leave the shell; Ctrl-D does, too",
        run: |_, _| Err(Failure::Quit),
    },
    DotCommand { name: ".read", arguments: "FILE", help: "run the statements in a file", run: read },
    DotCommand { name: ".rows", arguments: "[N|all]", help: "rows that a table shows on a terminal", run: rows },
    DotCommand { name: ".schema", arguments: "[ARRAY]", help: "the CREATE TABLE of an array, or of all", run: schema },
    DotCommand {
        name: ".tables",
        arguments: "",
        help: "arrays with their rows and fields; views and external tables",
        run: tables,
    },
    DotCommand { name: ".timer", arguments: "[on|off]", help: "show how long statements take", run: timer },
];

type Done = Result<(), Failure>;

fn error<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Error(text.into()))
}

/// Runs a line that starts with a dot.
pub(crate) fn run(app: &mut App, line: &str) -> Done {
    let words = words(line)?;
    let Some((name, arguments)) = words.split_first() else { return Ok(()) };
    let Some(command) = COMMANDS.iter().find(|c| c.name == name) else {
        let near = COMMANDS.iter().find(|c| name.len() > 1 && c.name.starts_with(name.as_str()));
        let hint = near.map(|c| format!("did you mean {}? ", c.name)).unwrap_or_default();
        return error(format!("there is no command {name}; {hint}.help lists them"));
    };
    let most = usize::from(!command.arguments.is_empty());
    let least = usize::from(most == 1 && !command.arguments.starts_with('['));
    if !(least..=most).contains(&arguments.len()) {
        return error(format!("usage: {} {}", command.name, command.arguments).trim_end());
    }
    (command.run)(app, arguments)
}

/// Words between spaces; quotes hold one together. A `;` at the end, a habit from SQL, is left out.
fn words(line: &str) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    let mut rest = line.trim().trim_end_matches(';').trim_end();
    while let Some(first) = rest.chars().next() {
        let (word, after) = if matches!(first, '\'' | '"') {
            let Some((word, after)) = rest[1..].split_once(first) else {
                return error(format!("the quote {first} is not closed"));
            };
            (word, after)
        } else {
            rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()))
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}

fn say(app: &mut App, text: &str) -> Done {
    app.write(|out| writeln!(out, "{text}"))
}

fn help(app: &mut App, _: &[String]) -> Done {
    let usage = |c: &DotCommand| format!("{} {}", c.name, c.arguments);
    let lines: Vec<String> = COMMANDS.iter().map(|c| format!("{:<20} {}", usage(c), c.help)).collect();
    say(app, &lines.join("\n"))
}

fn mode(app: &mut App, arguments: &[String]) -> Done {
    let Some(name) = arguments.first() else {
        let name = app.settings.format.name();
        return say(app, &name);
    };
    match Format::from_str(name, false) {
        Ok(format) => app.settings.format = format,
        Err(_) => {
            let all: Vec<String> = Format::value_variants().iter().map(|f| f.name()).collect();
            return error(format!("there is no format {name:?}; there are {}", all.join(", ")));
        }
    }
    Ok(())
}

fn rows(app: &mut App, arguments: &[String]) -> Done {
    match arguments.first() {
        Some(text) => app.settings.max_rows = parse_rows(text).map_err(Failure::Error)?,
        None => {
            let limit = app.settings.max_rows.0.map_or("all".to_owned(), |n| n.to_string());
            say(app, &limit)?;
        }
    }
    Ok(())
}

fn timer(app: &mut App, arguments: &[String]) -> Done {
    match arguments.first().map(String::as_str) {
        Some("on") => app.settings.timer = Some(true),
        Some("off") => app.settings.timer = Some(false),
        Some(other) => return error(format!(".timer takes on or off, not {other:?}")),
        None => {
            let on = app.settings.timer.unwrap_or_else(|| app.on_terminal());
            say(app, if on { "on" } else { "off" })?;
        }
    }
    Ok(())
}

fn open(app: &mut App, arguments: &[String]) -> Done {
    let store = arguments.first().filter(|name| *name != ":memory:").map(PathBuf::from);
    if store.is_none() && app.open.read_only {
        return error("--read-only needs a folder: a store in memory starts empty");
    }
    let open = crate::args::OpenArgs { store, dirs: Vec::new(), ..app.open.clone() };
    let session = open_session(&open).map_err(Failure::Error)?;
    app.warn_of_transaction();
    app.session = session;
    app.open = open;
    Ok(())
}

fn output(app: &mut App, arguments: &[String]) -> Done {
    app.target = match arguments.first() {
        Some(name) if name != "stdout" => {
            let file = File::create(name).or_else(|e| error(format!("creating {name} failed: {e}")))?;
            Target::File { path: PathBuf::from(name), file: BufWriter::new(file) }
        }
        _ => Target::Stdout,
    };
    Ok(())
}

fn read(app: &mut App, arguments: &[String]) -> Done {
    arguments.first().map_or(Ok(()), |name| app.run_file(Path::new(name)))
}

fn snapshot(app: &App) -> Result<Arc<Snapshot>, Failure> {
    app.session.snapshot().map_err(|e| Failure::Error(e.to_string()))
}

/// Every array's name, schema by schema.
fn array_names(snapshot: &Snapshot) -> Vec<ArrayName> {
    let of_schema = |schema: &String| {
        let arrays = snapshot.arrays(schema);
        arrays.into_iter().map(|array| ArrayName::new(schema, array)).collect::<Vec<_>>()
    };
    snapshot.schemas().iter().flat_map(of_schema).collect()
}

fn tables(app: &mut App, _: &[String]) -> Done {
    let snapshot = snapshot(app)?;
    let arrays = array_names(&snapshot);
    let (mut names, mut counts, mut contents) = (Vec::new(), Vec::new(), Vec::new());
    for name in &arrays {
        let array = snapshot.array(name).map_err(|e| Failure::Error(e.to_string()))?;
        let fields: Vec<String> = array.fields().iter().map(ToString::to_string).collect();
        names.push(name.to_string());
        counts.push(Some(array.rows()));
        contents.push(Some(fields.join(", ")));
    }
    for name in other_tables(&app.session) {
        if !arrays.iter().any(|array| qualified(&array.schema, &array.name) == name) {
            names.push(name);
            counts.push(None);
            contents.push(None);
        }
    }
    let columns: [(&str, ArrayRef, bool); 3] = [
        ("name", Arc::new(StringArray::from(names)), false),
        ("rows", Arc::new(UInt64Array::from(counts)), true),
        ("fields", Arc::new(StringArray::from(contents)), true),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).or_else(|e| error(e.to_string()))?;
    app.print_batch(&batch)
}

fn schema(app: &mut App, arguments: &[String]) -> Done {
    let snapshot = snapshot(app)?;
    let names: Vec<ArrayName> = match arguments.first() {
        None => array_names(&snapshot),
        Some(text) => {
            let all = array_names(&snapshot);
            let found = all.into_iter().find(|name| name.to_string() == *text);
            vec![found.unwrap_or_else(|| ArrayName::from(text.as_str()))]
        }
    };
    let mut lines = Vec::new();
    for name in &names {
        let array = snapshot.array(name).map_err(|e| Failure::Error(e.to_string()))?;
        lines.push(create_table(name, array.fields()));
    }
    if lines.is_empty() { Ok(()) } else { say(app, &lines.join("\n")) }
}

/// The statement that makes an array of these fields.
fn create_table(name: &ArrayName, fields: &[FieldSpec]) -> String {
    let columns: Vec<String> = fields.iter().map(|f| format!("{} {}", identifier(f.name()), sql_type(f))).collect();
    let schema = if name.schema == "public" { String::new() } else { identifier(&name.schema) + "." };
    format!("CREATE TABLE {schema}{} ({});", identifier(&name.name), columns.join(", "))
}

/// Quoted where SQL would read it as something else.
fn identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn sql_type(field: &FieldSpec) -> String {
    let element = match field.dtype() {
        DType::Bool => "BOOLEAN",
        DType::Int8 => "TINYINT",
        DType::Int16 => "SMALLINT",
        DType::Int32 => "INT",
        DType::Int64 => "BIGINT",
        DType::UInt8 => "UTINYINT",
        DType::UInt16 => "USMALLINT",
        DType::UInt32 => "INT UNSIGNED",
        DType::UInt64 => "UBIGINT",
        DType::Float16 => "HALF",
        DType::Bfloat16 => "BFLOAT16",
        DType::FixedBytes(n) => &format!("BINARY({n})"),
        DType::Utf8 => "VARCHAR",
        DType::Binary => "BYTEA",
        DType::Float32 => "FLOAT",
        DType::Float64 => "DOUBLE",
        DType::Complex64 => "COMPLEX64",
        DType::Complex128 => "COMPLEX128",
        DType::Datetime64(TimeUnit::Second) => "TIMESTAMP(0)",
        DType::Datetime64(TimeUnit::Millisecond) => "TIMESTAMP(3)",
        DType::Datetime64(TimeUnit::Microsecond) => "TIMESTAMP(6)",
        DType::Datetime64(TimeUnit::Nanosecond) => "TIMESTAMP(9)",
        // SQL has no word for it: such an array is made by CREATE TABLE AS.
        DType::Timedelta64(_) => return field.to_string(),
    };
    let axes: Vec<String> = field.cell().iter().map(usize::to_string).collect();
    let sql_type = match axes.as_slice() {
        [] => element.to_owned(),
        [n] => format!("{element}[{n}]"),
        // A type inside TENSOR takes no argument of its own; FLOAT[b][a] is TENSOR(FLOAT, a, b).
        _ if element.ends_with(')') => axes.iter().rev().fold(element.to_owned(), |t, n| format!("{t}[{n}]")),
        _ => format!("TENSOR({element}, {})", axes.join(", ")),
    };
    if field.nullable() { format!("{sql_type} NULL") } else { sql_type }
}

fn functions(app: &mut App, arguments: &[String]) -> Done {
    let docs = function_docs();
    let Some(name) = arguments.first() else {
        let kind = |kind| match kind {
            FunctionKind::Scalar => "scalar",
            FunctionKind::Aggregate => "aggregate",
            FunctionKind::Table => "table",
        };
        let column = |f: fn(&hyperslab::FunctionDoc) -> &str| -> ArrayRef {
            Arc::new(docs.iter().map(|doc| Some(f(doc))).collect::<StringArray>())
        };
        let kinds: StringArray = docs.iter().map(|doc| Some(kind(doc.kind))).collect();
        let columns = [
            ("signature", column(|doc| doc.signature)),
            ("kind", Arc::new(kinds)),
            ("summary", column(|doc| doc.summary)),
        ];
        let batch = RecordBatch::try_from_iter(columns).or_else(|e| error(e.to_string()))?;
        return app.print_batch(&batch);
    };
    match docs.iter().find(|doc| doc.name == name || doc.aliases.contains(&name.as_str())) {
        None => error(format!(
            "{name} is no function of Hyperslab; .functions lists those, SHOW FUNCTIONS the ones of DataFusion"
        )),
        Some(doc) => {
            let aliases =
                if doc.aliases.is_empty() { String::new() } else { format!("\nalso: {}", doc.aliases.join(", ")) };
            say(app, &format!("{}\n{}{aliases}\nexample: {}", doc.signature, doc.summary, doc.example))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_and_quotes() {
        let text = |line| words(line).ok();
        assert_eq!(text(".mode  csv ;"), Some(vec![".mode".into(), "csv".into()]));
        assert_eq!(text(".read 'my file.sql'"), Some(vec![".read".into(), "my file.sql".into()]));
        assert_eq!(text(".read 'my"), None);
    }

    #[test]
    fn create_table_of_any_field() {
        let field = |name, dtype, cell: &[usize]| FieldSpec::new(name, dtype, cell.to_vec()).unwrap();
        let fields = [
            field("id", DType::Int64, &[]),
            field("Embedding", DType::Float32, &[384]),
            field("image", DType::UInt8, &[28, 28]),
            field("at", DType::Datetime64(TimeUnit::Millisecond), &[2, 3]),
        ];
        assert_eq!(
            create_table(&"docs".into(), &fields),
            "CREATE TABLE docs (id BIGINT, \"Embedding\" FLOAT[384], image TENSOR(UTINYINT, 28, 28), \
             at TIMESTAMP(3)[3][2]);"
        );
        assert_eq!(create_table(&ArrayName::new("s", "a b"), &[]), "CREATE TABLE s.\"a b\" ();");
    }

    #[test]
    fn commands_are_sorted_and_unique() {
        assert!(COMMANDS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
