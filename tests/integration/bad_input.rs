//! Bad input: an error that names the thing, exit status 1, nothing on standard output, and nothing changed.

mod copy;
mod damage;
mod npy;
mod statements;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use arrow_array::ArrayRef;
use hyperslab::core::ArraySource;
use hyperslab::{OpenOptions, Store};
use hyperslab_tests::hyperslab_binary;

/// A folder with a store `s.slab` and files beside it.
struct Place {
    folder: tempfile::TempDir,
}

/// Everything that a store shows: its version, and every array's fields and values.
type Contents = (u64, BTreeMap<String, Vec<(String, ArrayRef)>>);

impl Place {
    /// With the arrays that the cases use: `v` (4 rows of float32[3]), `n` (int64), `m` (id int64, e float32[2]) and
    /// `image` (uint8[2, 2]).
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let setup = "
            CREATE TABLE v AS SELECT column1::FLOAT[3] AS value FROM (VALUES ([1,2,3]), ([4,5,6]), ([7,8,9]), ([0,0,1])) x;
            CREATE TABLE n AS SELECT column1::BIGINT AS value FROM (VALUES (10), (20), (30)) x;
            CREATE TABLE m (id BIGINT, e FLOAT[2]);
            INSERT INTO m VALUES (1, [1, 2]), (2, [3, 4]);
            CREATE TABLE image (value TENSOR(TINYINT UNSIGNED, 2, 2));
            INSERT INTO image SELECT [1, 2, 3, 4];
            INSERT INTO n SELECT 40;";
        place.ok(setup);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn store(&self) -> PathBuf {
        self.path("s.slab")
    }

    fn command(&self, sql: &str) -> Command {
        let mut command = Command::new(hyperslab_binary());
        command.current_dir(self.folder.path()).args(["s.slab", "--format", "csv", "-c", sql]);
        command.env("HOME", self.folder.path()).stdin(Stdio::null());
        command
    }

    fn ok(&self, sql: &str) -> String {
        let output = self.command(sql).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The statement fails as it should, with a message that holds every one of `named` (in any case).
    fn fails(&self, sql: &str, named: &[&str]) {
        let before = (contents(&self.store()), self.files());
        self.refused(self.command(sql), sql, named);
        assert!(before == (contents(&self.store()), self.files()), "{sql}: something changed");
    }

    fn refused(&self, mut command: Command, what: &str, named: &[&str]) {
        let output = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{what}: {:?} {out}{err}", output.status);
        assert!(out.is_empty(), "{what}: on standard output: {out}");
        for name in named {
            assert!(err.to_lowercase().contains(&name.to_lowercase()), "{what}: no {name:?} in: {err}");
        }
        for word in ["panicked", "RUST_BACKTRACE", "internal error", "bug in datafusion", "External error"] {
            assert!(!err.to_lowercase().contains(&word.to_lowercase()), "{what}: {err}");
        }
    }

    /// The files beside the store, with their lengths.
    fn files(&self) -> BTreeMap<PathBuf, u64> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap().map(|e| e.unwrap());
        let files = entries.filter(|e| e.file_type().unwrap().is_file());
        files.map(|e| (e.path(), e.metadata().unwrap().len())).filter(|f| !f.0.ends_with("history")).collect()
    }
}

fn contents(store: &Path) -> Contents {
    let store = Store::open_with(store, OpenOptions { read_only: true, ..OpenOptions::default() }).unwrap();
    let snapshot = store.snapshot().unwrap();
    let mut arrays = BTreeMap::new();
    for name in snapshot.arrays("public") {
        let array = snapshot.array(name.as_str()).unwrap();
        let fields = array.fields().to_vec();
        let values = fields
            .iter()
            .enumerate()
            .map(|(i, field)| (format!("{field}"), ArraySource::read(&array, i, 0..array.rows()).unwrap().array));
        arrays.insert(name, values.collect());
    }
    (snapshot.version(), arrays)
}
