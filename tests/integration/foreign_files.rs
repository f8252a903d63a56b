//! Files of others that change while they are read: an error, never a crash and never other rows.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hyperslab_tests::{Sql, hyperslab_binary};

/// Rows of 64 numbers: more than what a pipe holds, by far.
const ROWS: usize = 40_000;
/// The mapped formats, and the array in a file of them.
const MAPPED: [(&str, &str); 5] =
    [("npy", ""), ("npz", "::value"), ("safetensors", "::value"), ("h5", "::value"), ("pt", "::value")];

fn file(folder: &Path, extension: &str) -> PathBuf {
    let path = folder.join(format!("x.{extension}"));
    let sql = Sql::memory();
    let list = "make_array(".to_owned() + &vec!["(v % 1000)::INT"; 64].join(", ") + ")::INT[64]";
    let source = format!("SELECT {list} AS value FROM generate_series(1, {ROWS}) t(v) ORDER BY v");
    sql.ok(&format!("COPY ({source}) TO '{}' OPTIONS (overwrite true)", path.display()));
    path
}

/// A child that shows the file's rows. It waits while nobody takes them.
fn reader(path: &Path, entry: &str) -> Child {
    let query = format!("SELECT value FROM '{}{entry}'", path.display());
    let mut command = Command::new(hyperslab_binary());
    command.current_dir(path.parent().unwrap()).args(["--format", "csv", "--threads", "1", "-c", &query]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// How many rows the child showed, how it ended and what it said, when `change` happens after the first rows.
fn read_while(path: &Path, entry: &str, change: impl FnOnce()) -> (usize, Option<i32>, String) {
    let mut child = reader(path, entry);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        lines.next().unwrap().unwrap();
    }
    change();
    let shown = 2 + lines.map_while(Result::ok).filter(|line| !line.is_empty()).count();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (shown, child.wait().unwrap().code(), said)
}

fn truncate(path: &Path, length: u64) {
    std::fs::File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for (extension, entry) in MAPPED {
        // All of it is gone, what was read and is still to be shown included; or only a part that nobody has seen yet.
        for keep in [0, ROWS as u64 * 64 * 4 / 2] {
            let path = file(folder.path(), extension);
            let (shown, code, said) = read_while(&path, entry, || truncate(&path, keep));
            assert_eq!(code, Some(1), "{extension}, {keep} bytes left, {shown} rows: {said}");
            assert!(said.contains(&format!("x.{extension}")) && said.contains("shrank while it was open"), "{said}");
            assert!(shown < ROWS, "{extension}: {shown}");
        }
    }
}

#[test]
fn a_file_that_is_written_to_while_it_is_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for (extension, entry) in MAPPED {
        let path = file(folder.path(), extension);
        let length = path.metadata().unwrap().len();
        let (shown, code, said) = read_while(&path, entry, || {
            truncate(&path, length); // a write like any other
            let now = std::time::SystemTime::now();
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(now).unwrap();
        });
        assert_eq!(code, Some(1), "{extension}, {shown} rows: {said}");
        assert!(said.contains("was written to while it was open"), "{said}");
        assert!(shown < ROWS, "{extension}: {shown}");
    }
}

#[test]
fn a_file_that_is_replaced_is_read_to_its_end_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    for (extension, entry) in MAPPED {
        let path = file(folder.path(), extension);
        let other = folder.path().join("other");
        std::fs::write(&other, b"").unwrap();
        let (shown, code, said) = read_while(&path, entry, || std::fs::rename(&other, &path).unwrap());
        assert_eq!((shown, code), (ROWS, Some(0)), "{extension}: {said}");
    }
}

#[test]
fn files_that_are_not_mapped_are_an_error_too() {
    let folder = tempfile::tempdir().unwrap();
    let parquet = file(folder.path(), "parquet");
    let (shown, code, said) = read_while(&parquet, "", || truncate(&parquet, 1000));
    assert!(code == Some(1) || (code == Some(0) && shown == ROWS), "{shown} rows, {code:?}: {said}");
    let zarr = file(folder.path(), "zarr");
    let (shown, code, said) = read_while(&zarr, "::value", || {
        let mut folders = vec![zarr.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false if path.extension().is_none_or(|e| e != "json") => truncate(&path, 10),
                    false => {}
                }
            }
        }
    });
    assert!(code == Some(1) || (code == Some(0) && shown == ROWS), "{shown} rows, {code:?}: {said}");
}
