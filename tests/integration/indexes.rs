//! Indexes whose files are gone or damaged: answers stay, with a warning that names the file, and CHECK finds it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hyperslab_tests::hyperslab_binary;

/// What a run printed, on standard output and standard error.
fn run(folder: &Path, sql: &str) -> (String, String) {
    let mut command = Command::new(hyperslab_binary());
    command.current_dir(folder).args(["s.slab", "--format", "csv", "-c", sql]);
    let output = command.env("HOME", folder).stdin(Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() || sql.contains("CHECK"), "{sql}: {out}{err}");
    (out, err)
}

const SEARCHES: &str = "
    SELECT row, score FROM top_k('docs', [0.1, 0.2, 0.3, 0.4], 20, metric => 'l2') ORDER BY rank;
    SELECT row FROM docs ORDER BY v <=> [0.1, 0.2, 0.3, 0.4], row LIMIT 20;";

/// A store with an index, the file of one of its columns, and what searches find.
fn indexed(folder: &Path, column: &str) -> (PathBuf, String) {
    let rows = "SELECT [sin(value), cos(value * 2), sin(value * 3), cos(value * 5)]::FLOAT[4] AS v FROM";
    run(folder, &format!("CREATE TABLE docs AS {rows} generate_series(0, 9999)"));
    let (exact, err) = run(folder, SEARCHES);
    assert_eq!(err, "");
    run(folder, "CREATE INDEX s ON docs USING sketch (v)");
    let (found, err) = run(folder, SEARCHES);
    assert_eq!((found.as_str(), err.as_str()), (exact.as_str(), ""));
    let (plan, _) = run(folder, "EXPLAIN ANALYZE SELECT row FROM docs ORDER BY v <=> [0.1, 0.2, 0.3, 0.4] LIMIT 20");
    assert!(plan.contains("index=s") && plan.contains("rows_reranked="), "{plan}");
    assert!(!plan.contains("rows_pruned=0,"), "{plan}");
    let (file, _) = run(folder, &format!("SELECT file FROM shards('docs') WHERE field = 's.{column}'"));
    (folder.join("s.slab").join(file.lines().nth(1).unwrap()), exact)
}

fn falls_back(folder: &Path, file: &Path, exact: &str) {
    let name = file.file_name().unwrap().to_str().unwrap();
    let (found, err) = run(folder, SEARCHES);
    assert_eq!(found, exact);
    assert!(err.contains("warning") && err.contains(name), "{name}: {err}");
    let (findings, err) = run(folder, "CHECK");
    assert!(findings.contains(name) || err.contains(name), "{name}: {findings}{err}");
    run(folder, "DROP INDEX s; CREATE INDEX s ON docs USING sketch (v)");
    let (found, err) = run(folder, SEARCHES);
    assert_eq!((found.as_str(), err.as_str()), (exact, ""));
}

#[test]
fn a_missing_file_costs_no_answer() {
    for column in ["codes", "params"] {
        let folder = tempfile::tempdir().unwrap();
        let (file, exact) = indexed(folder.path(), column);
        std::fs::remove_file(&file).unwrap();
        falls_back(folder.path(), &file, &exact);
    }
}

#[test]
fn nor_does_one_that_was_cut() {
    for column in ["codes", "params"] {
        let folder = tempfile::tempdir().unwrap();
        let (file, exact) = indexed(folder.path(), column);
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        falls_back(folder.path(), &file, &exact);
    }
}

#[test]
fn nor_does_one_of_which_a_byte_changed() {
    for (column, at) in [("codes", 7000), ("params", 9000)] {
        let folder = tempfile::tempdir().unwrap();
        let (file, exact) = indexed(folder.path(), column);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[at] ^= 0x40;
        std::fs::write(&file, &bytes).unwrap();
        falls_back(folder.path(), &file, &exact);
    }
}
