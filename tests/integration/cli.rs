//! The `hyperslab` binary as users run it: the README's session, scripts, formats, exit codes, streams.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use hyperslab_tests::{hyperslab_binary, root};

/// What a run gave.
#[derive(Debug)]
struct Run {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap_or_else(|| panic!("killed: {:?}", output.status));
        Self { code, out: text(output.stdout), err: text(output.stderr) }
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(hyperslab_binary());
    command.current_dir(folder).args(arguments).env("HOME", folder).env_remove("XDG_STATE_HOME");
    command.env_remove("XDG_DATA_HOME").stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Run {
    command(folder, arguments).stdin(Stdio::null()).output().unwrap().into()
}

fn run_stdin(folder: &Path, arguments: &[&str], input: &str) -> Run {
    let mut child = command(folder, arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A child that stops at a failed statement closes its end.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap().into()
}

fn ok(folder: &Path, arguments: &[&str]) -> String {
    let run = run(folder, arguments);
    assert_eq!(run.code, 0, "{arguments:?}: {run:?}");
    run.out
}

/// A folder with the examples' data in `examples/data`, to run in.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("examples/data");
    std::fs::create_dir_all(&data).unwrap();
    for entry in std::fs::read_dir(root().join("examples/data")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), data.join(entry.file_name())).unwrap();
        }
    }
    folder
}

const SEARCH: &str = "SELECT p.name, t.score, p.description
    FROM top_k('embeddings', (SELECT value FROM embeddings e JOIN 'examples/data/packages.csv' q ON q.id = e.row
                              WHERE q.name = 'postgresql'), 5) t
    JOIN 'examples/data/packages.csv' p ON p.id = t.row ORDER BY t.rank;";

#[test]
fn the_readmes_session_works() {
    let folder = workplace();
    let at = folder.path();
    let quiet = ["demo.slab", "--format", "csv", "-c"];
    let csv = |sql: &str| ok(at, &[&quiet[..], &[sql]].concat());
    csv("CREATE TABLE embeddings AS SELECT * FROM 'examples/data/packages.npy';");
    let found = csv(SEARCH);
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines[0], "name,score,description");
    assert_eq!(lines.len(), 6, "{found}");
    assert!(lines[1].starts_with("postgresql,"), "{found}");
    let near = lines[1..].iter().filter(|l| l.contains("postgresql") || l.contains("SQL")).count();
    assert!(near >= 3, "{found}");

    let slice = csv("SELECT * FROM slice('embeddings', '10:20, ::64');");
    assert_eq!(slice.lines().count(), 11, "{slice}");
    // The ten rows again, appended as a file.
    csv("COPY (SELECT value FROM embeddings WHERE row BETWEEN 10 AND 19) TO 'more.npy'");
    let appended = csv("SELECT * FROM append('embeddings', 'more.npy');");
    assert!(appended.lines().nth(1).is_some_and(|l| l.contains("10") && l.contains("6010")), "{appended}");
    assert_eq!(csv("SELECT count(*) AS n FROM embeddings"), "n\n6010\n");
    let same =
        "SELECT count(*) AS n FROM embeddings a JOIN embeddings b ON b.row = a.row + 5990 WHERE a.value = b.value";
    assert_eq!(csv(same), "n\n10\n");
    csv("COPY embeddings TO 'embeddings.parquet';");
    assert_eq!(csv("SELECT count(*) AS n FROM 'embeddings.parquet'"), "n\n6010\n");

    // All of it as one script, into another store.
    let script = format!(
        "CREATE TABLE embeddings AS SELECT * FROM 'examples/data/packages.npy';\n{SEARCH}\n\
         SELECT * FROM slice('embeddings', '10:20, ::64');\nSELECT * FROM append('embeddings', 'more.npy');\n\
         COPY embeddings TO 'again.parquet' OPTIONS (overwrite true);\n"
    );
    std::fs::write(at.join("demo.sql"), &script).unwrap();
    let by_file = ok(at, &["demo2.slab", "-f", "demo.sql"]);
    let by_stdin = run_stdin(at, &["demo3.slab"], &script);
    assert_eq!(by_stdin.code, 0, "{by_stdin:?}");
    assert!(by_file.contains("postgresql") && by_stdin.out.contains("postgresql"));
    assert!(at.join("again.parquet").exists());
}

#[test]
fn statements_come_from_arguments_files_and_standard_input() {
    let folder = workplace();
    let at = folder.path();
    let csv = ["--format", "csv"];
    assert_eq!(ok(at, &[&csv[..], &["-c", "SELECT 1 AS a"]].concat()), "a\n1\n");
    assert_eq!(ok(at, &[&csv[..], &["-c", "SELECT 1 AS a; SELECT 2 AS b;"]].concat()), "a\n1\nb\n2\n");
    std::fs::write(at.join("x.sql"), "-- a comment; with a semicolon\nSELECT 'x;y' AS f;\n\nSELECT 3\n AS g").unwrap();
    let both = ok(at, &[&csv[..], &["-c", "SELECT 1 AS a", "-f", "x.sql", "-c", "SELECT 4 AS z"]].concat());
    assert_eq!(both, "a\n1\nf\nx;y\ng\n3\nz\n4\n");
    assert_eq!(run_stdin(at, &csv, "SELECT 5 AS s;\nSELECT\n6 AS t;").out, "s\n5\nt\n6\n");
    // One session for all of them.
    let shared = ok(at, &[&csv[..], &["-c", "CREATE TABLE t AS SELECT 7 AS x", "-c", "SELECT x FROM t"]].concat());
    assert!(shared.ends_with("x\n7\n"), "{shared}");
    // No store is left behind by one in memory.
    let left: Vec<_> = std::fs::read_dir(at).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|n| n == "examples" || n == "x.sql" || n.to_string_lossy().starts_with('.')), "{left:?}");
    let missing = run(at, &["-f", "none.sql"]);
    assert!(missing.code != 0 && missing.err.contains("none.sql") && missing.out.is_empty(), "{missing:?}");
}

const VALUES: &str = "SELECT 1 AS i, 0.1::DOUBLE AS d, 'a\"b,c' AS s, NULL AS n, [1.5, -2]::FLOAT[2] AS v, true AS b";

#[test]
fn csv_and_json_are_exact() {
    let folder = workplace();
    let format = |format: &str, sql: &str| ok(folder.path(), &["--format", format, "-c", sql]);
    assert_eq!(format("csv", VALUES), "i,d,s,n,v,b\n1,0.1,\"a\"\"b,c\",,\"[1.5, -2.0]\",true\n");
    let json: serde_json::Value = serde_json::from_str(&format("json", VALUES)).unwrap();
    assert_eq!(json, serde_json::json!([{"i": 1, "d": 0.1, "s": "a\"b,c", "n": null, "v": [1.5, -2.0], "b": true}]));
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&format("json", "SELECT 1 AS x WHERE false")).unwrap(),
        serde_json::json!([])
    );
    let lines = format("ndjson", "SELECT 1 AS x UNION ALL SELECT 1");
    let lines: Vec<serde_json::Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines, [serde_json::json!({"x": 1}), serde_json::json!({"x": 1})]);
    let tsv = format("tsv", "SELECT 1 AS x, 'a b' AS y");
    assert_eq!(tsv, "x\ty\n1\ta b\n");
    assert_eq!(format("csv", "SELECT 1 AS x WHERE false"), "x\n");
    for other in ["table", "markdown", "box", "line"] {
        let text = format(other, VALUES);
        assert!(text.contains("0.1") && text.contains("a\"b,c"), "{other}: {text}");
    }
}

#[test]
fn wide_values_are_never_abbreviated_in_csv_and_json() {
    let folder = workplace();
    let query = "SELECT value FROM 'examples/data/packages.npy' WHERE row = 3";
    let csv = ok(folder.path(), &["--format", "csv", "-c", query]);
    assert_eq!(csv.lines().nth(1).unwrap().split(',').count(), 384, "{csv}");
    assert!(!csv.contains('…') && !csv.contains("..."));
    let json: serde_json::Value = serde_json::from_str(&ok(folder.path(), &["--format", "json", "-c", query])).unwrap();
    let values: Vec<f64> = json[0]["value"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert_eq!(values.len(), 384);
    // Every float32 comes back as it was.
    let npy = std::fs::read(root().join("examples/data/packages.npy")).unwrap();
    let header = hyperslab::core::npy::NpyHeader::parse(&npy).unwrap();
    let start = header.data_offset as usize + 3 * 384 * 4;
    let stored = npy[start..start + 384 * 4].chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    assert!(stored.eq(values.iter().map(|&v| v as f32)), "values changed on their way through JSON");
    let numbers = csv.lines().nth(1).unwrap().trim_matches(['"', '[', ']']).split(", ");
    assert!(numbers.map(|n| n.parse::<f32>().unwrap()).eq(values.iter().map(|&v| v as f32)), "through CSV");
}

#[test]
fn exit_codes_and_streams() {
    let folder = workplace();
    let at = folder.path();
    let failed = run(at, &["--format", "csv", "-c", "SELECT 1 AS a; SELECT * FROM nowhere; SELECT 2 AS b"]);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert_eq!(failed.out, "a\n1\n", "what stands behind the failed statement is not run");
    assert!(failed.err.contains("nowhere"), "{failed:?}");
    let going = run(at, &["--format", "csv", "--keep-going", "-c", "SELECT * FROM nowhere; SELECT 2 AS b"]);
    assert_eq!((going.code, going.out.as_str()), (1, "b\n2\n"), "{going:?}");
    for usage in [&["--no-such-flag"][..], &["--format", "xml"], &["a.slab", "b.slab"], &["-c"]] {
        let run = run(at, usage);
        assert_eq!(run.code, 2, "{usage:?}: {run:?}");
        assert!(run.out.is_empty() && !run.err.is_empty(), "{usage:?}: {run:?}");
    }
    let syntax = run(at, &["-c", "SELEC 1"]);
    assert_eq!((syntax.code, syntax.out.as_str()), (1, ""), "{syntax:?}");
    let stdin = run_stdin(at, &[], "SELECT * FROM nowhere;\nSELECT 2;");
    assert_eq!(stdin.code, 1, "{stdin:?}");
    assert!(!stdin.out.contains('2'), "{stdin:?}");
    // A file that is no store.
    std::fs::create_dir(at.join("other")).unwrap();
    std::fs::write(at.join("other/file"), "x").unwrap();
    let other = run(at, &["other", "-c", "SELECT 1"]);
    assert!(other.code == 1 && other.err.contains("other") && other.out.is_empty(), "{other:?}");
    assert_eq!(run(at, &["--help"]).code, 0);
    assert!(run(at, &["--version"]).out.contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_transaction_goes_through_a_script_and_is_rolled_back_at_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("begin.sql"), "BEGIN;\nINSERT INTO t VALUES (2);\n").unwrap();
    std::fs::write(at.join("commit.sql"), "INSERT INTO t VALUES (3);\nCOMMIT;\n").unwrap();
    ok(at, &["a.slab", "-c", "CREATE TABLE t AS SELECT 1 AS n"]);
    // Without COMMIT, nothing stays, and standard error says so.
    let left = run(at, &["a.slab", "--format", "csv", "-f", "begin.sql", "-c", "SELECT sum(n) AS s FROM t"]);
    assert_eq!(left.code, 0, "{left:?}");
    assert!(left.out.ends_with("s\n3\n"), "{left:?}");
    assert!(left.err.contains("warning: the open transaction was rolled back without COMMIT"), "{left:?}");
    assert_eq!(ok(at, &["a.slab", "--format", "csv", "-c", "SELECT sum(n) AS s FROM t"]), "s\n1\n");
    // It spans -f and -c, and a statement that fails in between leaves it as it was.
    let failing = "INSERT INTO t SELECT 1 / (n - 1) FROM t";
    let arguments = ["a.slab", "--keep-going", "-f", "begin.sql", "-c", failing, "-f", "commit.sql"];
    let kept = run(at, &arguments);
    assert!(kept.code == 1 && kept.err.contains("Divide by zero") && !kept.err.contains("warning"), "{kept:?}");
    assert_eq!(ok(at, &["a.slab", "--format", "csv", "-c", "SELECT sum(n) AS s FROM t"]), "s\n6\n");
    let none = run(at, &["a.slab", "-c", "COMMIT"]);
    assert!(none.code == 1 && none.err.contains("no transaction is open"), "{none:?}");
}

#[test]
fn read_only_refuses_every_change() {
    let folder = workplace();
    let at = folder.path();
    ok(at, &["s.slab", "-c", "CREATE TABLE t AS SELECT 1 AS x"]);
    for sql in [
        "CREATE TABLE u AS SELECT 1 AS x",
        "CREATE TABLE u (x INT)",
        "INSERT INTO t SELECT 2 AS x",
        "SELECT * FROM append('t', (SELECT 2 AS x))",
        "DROP TABLE t",
        "ALTER TABLE t RENAME TO u",
        "CREATE SCHEMA z",
    ] {
        let run = run(at, &["s.slab", "--read-only", "-c", sql]);
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{sql}: {run:?}");
        assert!(run.err.contains("read-only") || run.err.contains("read only"), "{sql}: {run:?}");
    }
    assert_eq!(ok(at, &["s.slab", "--read-only", "--format", "csv", "-c", "SELECT x FROM t"]), "x\n1\n");
    let missing = run(at, &["none.slab", "--read-only", "-c", "SELECT 1"]);
    assert_eq!(missing.code, 1, "{missing:?}");
    assert!(!at.join("none.slab").exists(), "a read-only session makes no store");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let folder = workplace();
    let query = "SELECT row, value FROM 'examples/data/packages.npy'";
    let mut child = command(folder.path(), &["--format", "csv", "-c", query]).stdin(Stdio::null()).spawn().unwrap();
    let mut first = [0; 64];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert!(first.starts_with(b"row,value\n"));
    // The pipe is closed now, with megabytes to come.
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(!err.contains("panic") && !err.contains("rror"), "{err}");
    let code = output.status.code();
    assert!(code.is_none() || code == Some(0), "{:?}", output.status);
}

#[cfg(unix)]
#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_harms_nothing() {
    let folder = workplace();
    let at = folder.path();
    ok(at, &["s.slab", "-c", "CREATE TABLE t AS SELECT 1 AS x"]);
    // In units of 512 or 1024 bytes.
    let limited = ["-c", "ulimit -f 100; exec \"$@\"", "sh", hyperslab_binary().to_str().unwrap(), "s.slab", "-c"]
        .map(str::to_owned);
    for sql in
        ["INSERT INTO t SELECT * FROM generate_series(1, 100000)", "COPY 'examples/data/packages.npy' TO 'x.npy'"]
    {
        let run: Run = Command::new("sh").current_dir(at).args(&limited).arg(sql).output().unwrap().into();
        assert_eq!(run.code, 1, "{sql}: {run:?}");
        assert!(run.err.contains("File too large"), "{sql}: {run:?}");
    }
    assert_eq!(ok(at, &["s.slab", "--format", "csv", "-c", "SELECT x FROM t"]), "x\n1\n");
    let checked = ok(at, &["check", "s.slab"]);
    assert!(checked.contains("0 errors, 0 warnings"), "{checked}");
    assert!(!at.join("x.npy").exists());
}

#[test]
fn check_finds_directories_that_moved() {
    let folder = workplace();
    let at = folder.path();
    let fill = "CREATE TABLE t (x INT); INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); INSERT INTO t VALUES (3)";
    ok(at, &["s.slab", "--dir", "far", "-c", fill]);
    std::fs::rename(at.join("far"), at.join("away")).unwrap();
    let lost = run(at, &["check", "s.slab"]);
    assert_eq!(lost.code, 1, "{lost:?}");
    assert!(lost.out.contains("--dir"), "{lost:?}");
    let found = ok(at, &["check", "--dir", "away", "s.slab"]);
    assert!(found.contains("0 errors, 0 warnings, 0 notes"), "{found}");
    ok(at, &["s.slab", "--dir", "away", "--format", "csv", "-c", "CHECK"]);
}
