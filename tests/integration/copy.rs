//! COPY of several processes to one file, and on a disk that is full.

use std::path::Path;
use std::process::{Command, Stdio};

use hyperslab_tests::hyperslab_binary;

fn command(folder: &Path, sql: &str) -> Command {
    let mut command = Command::new(hyperslab_binary());
    command.current_dir(folder).args([":memory:", "--format", "csv", "-c", sql]);
    command.env("HOME", folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Standard output, of a statement that succeeds.
fn ok(folder: &Path, sql: &str) -> String {
    let output = command(folder, sql).output().unwrap();
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The message of a statement that fails.
fn fails(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn processes_append_to_one_file_batch_by_batch() {
    const WRITERS: usize = 4;
    const BATCHES: usize = 6;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    // A row is (writer and batch, position in the batch); each batch comes in several pieces, from two partitions.
    let rows = |batch: usize| 9000 + batch * 1000;
    let start = |writer: usize| {
        let one = |batch: usize| {
            format!(
                "COPY (SELECT [{writer} * 100 + {batch}, value]::BIGINT[2] AS v FROM generate_series(0, {} - 1)) \
                 TO 'grow.npy' OPTIONS (mode 'append')",
                rows(batch)
            )
        };
        command(at, &(0..BATCHES).map(one).collect::<Vec<_>>().join(";")).spawn().unwrap()
    };
    let children: Vec<_> = (0..WRITERS).map(start).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let found = ok(
        at,
        "SELECT value[1] AS batch, count(*) AS rows, max(row) - min(row) + 1 AS span, \
                        count(*) FILTER (WHERE value[2] = row - f) AS in_order \
                        FROM (SELECT *, min(row) OVER (PARTITION BY value[1]) AS f FROM 'grow.npy') t GROUP BY 1 ORDER BY 1",
    );
    let mut expected = String::from("batch,rows,span,in_order\n");
    for writer in 0..WRITERS {
        for batch in 0..BATCHES {
            let n = rows(batch);
            expected.push_str(&format!("{},{n},{n},{n}\n", writer * 100 + batch));
        }
    }
    assert_eq!(found, expected);
    assert_eq!(names(at), ["grow.npy"]);
}

#[test]
fn an_append_that_a_crash_broke_off_is_recovered_in_sql() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    ok(at, "COPY (SELECT [value, value]::INT[2] AS v FROM generate_series(0, 9)) TO 'a.npy'");
    let append = "COPY (SELECT [7, 8]::INT[2] AS v) TO 'a.npy' APPEND";
    // What a process leaves that is killed during an append: rows that the header does not count, the last one torn.
    let mut bytes = std::fs::read(at.join("a.npy")).unwrap();
    bytes.extend([1; 19]);
    std::fs::write(at.join("a.npy"), &bytes).unwrap();
    let error = fails(command(at, append));
    assert!(error.contains("a.npy") && error.contains("npy_recover"), "{error}");
    assert_eq!(
        ok(at, "SELECT shape, needs_recovery FROM npy_info('a.npy')"),
        "shape,needs_recovery\n\"(10, 2)\",true\n"
    );
    ok(at, "EXPLAIN SELECT * FROM npy_recover('a.npy', incomplete => 'zero')");
    assert_eq!(std::fs::read(at.join("a.npy")).unwrap(), bytes);
    std::fs::copy(at.join("a.npy"), at.join("b.npy")).unwrap();
    let recovered = ok(at, "SELECT shape_before, shape, dropped_bytes, added_bytes FROM npy_recover('a.npy', 'drop')");
    assert_eq!(recovered.lines().nth(1).unwrap(), "\"(10, 2)\",\"(12, 2)\",3,0");
    let zero = ok(at, "SELECT shape, dropped_bytes, added_bytes FROM npy_recover('b.npy', incomplete => 'zero')");
    assert_eq!(zero.lines().nth(1).unwrap(), "\"(13, 2)\",0,5");
    ok(at, append);
    assert_eq!(ok(at, "SELECT value[1] AS v FROM 'a.npy' WHERE row = 12"), "v\n7\n");

    // An old file without room in its header.
    let dict = "{'descr': '<i8', 'fortran_order': False, 'shape': (9,), }         \n";
    let old = [b"\x93NUMPY\x01\x00", &(dict.len() as u16).to_le_bytes()[..], dict.as_bytes(), &[0; 72]].concat();
    std::fs::write(at.join("old.npy"), &old).unwrap();
    assert_eq!(ok(at, "SELECT appendable FROM npy_info('old.npy')"), "appendable\nfalse\n");
    let changed = "SELECT changed FROM npy_ensure_appendable('old.npy', in_place => true)";
    assert_eq!(ok(at, changed), "changed\ntrue\n");
    assert_eq!(ok(at, changed), "changed\nfalse\n");
    ok(at, "COPY (SELECT 5::BIGINT AS v) TO 'old.npy' APPEND");
    assert_eq!(ok(at, "SELECT value FROM 'old.npy' WHERE row = 9"), "value\n5\n");
    for (sql, says) in [
        ("SELECT * FROM npy_recover('a.npy', 'keep')", "incomplete is 'drop' or 'zero'"),
        ("SELECT * FROM npy_info('none.npy')", "there is no file none.npy"),
        ("SELECT * FROM npy_ensure_appendable('a.npy', in_place => 5)", "in_place is true or false"),
    ] {
        let error = fails(command(at, sql));
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_series_that_fails_in_the_middle_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    ok(at, "COPY (SELECT 1::BIGINT AS v) TO 'old-{}.parquet' PER_FILE 5 ROWS");
    for format in ["parquet", "csv", "json", "arrow", "npy", "npz"] {
        for target in [format!("'new-{{}}.{format}'"), "'old-{}.parquet' OVERWRITE".to_owned()] {
            let rows = "SELECT 1 / (15000 - value) AS v FROM generate_series(0, 20000)";
            let error = fails(command(at, &format!("COPY ({rows}) TO {target} PER_FILE 1000 ROWS")));
            assert!(error.contains("Divide by zero"), "{target}: {error}");
            assert_eq!(names(at), ["old-00000.parquet"], "{target}");
        }
    }
    assert_eq!(ok(at, "SELECT * FROM 'old-*.parquet'"), "v\n1\n");
}

/// A limit on the size of files fails as a full disk does: in the middle of a write.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_nothing_and_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let full = |sql: &str| {
        let mut limited = Command::new("sh");
        limited.current_dir(at).args(["-c", "ulimit -f 100; exec \"$@\"", "sh"]).arg(hyperslab_binary());
        limited.args([":memory:", "-c", sql]).env("HOME", at).stdin(Stdio::null());
        limited
    };
    ok(at, "COPY (SELECT 1::BIGINT AS v) TO 'old.npy'; COPY (SELECT 1::BIGINT AS v) TO 'old.parquet'");
    let old = |name: &str| std::fs::read(at.join(name)).unwrap();
    let before = (old("old.npy"), old("old.parquet"));
    let rows = "SELECT random() AS v FROM generate_series(1, 200000)";
    for target in [
        "'new.npy'",
        "'new.npz'",
        "'new.safetensors'",
        "'new.h5'",
        "'new.zarr' OPTIONS (chunks '100000', codec 'none')",
        "'new.parquet'",
        "'new.csv'",
        "'new.arrow'",
        "'new-{}.npy' PER_FILE 150000 ROWS",
        "'new-{}.parquet' PER_FILE 150000 ROWS",
        "'new-{}.csv' PER_FILE 150000 ROWS",
        "'new-{}.arrow' PER_FILE 150000 ROWS",
        "'old.npy' OVERWRITE",
        "'old.parquet' (OVERWRITE)",
        "'grow.npy' APPEND",
    ] {
        let error = fails(full(&format!("COPY ({rows}) TO {target}")));
        // DataFusion's writer of CSV does not say what the system said.
        let says = if target.contains("csv") { "csv: the system could not write to it" } else { "File too large" };
        assert!(error.contains(says), "{target}: {error}");
        assert_eq!(names(at), ["old.npy", "old.parquet"], "{target}");
    }
    let error = fails(full("COPY (SELECT value AS v FROM generate_series(1, 200000)) TO 'old.npy' APPEND"));
    assert!(error.contains("File too large") && error.contains("old.npy"), "{error}");
    assert_eq!((old("old.npy"), old("old.parquet")), before);
}
