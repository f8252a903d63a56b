//! Threads and processes read while others write, compact and vacuum: every snapshot shows one version, whole, for as
//! long as it is held.

use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyperslab_core::{ArraySource, DType, ErrorKind, FieldSpec, Result};
use hyperslab_store::{
    ArrayOptions, CheckOptions, Durability, OpenOptions, OptimizeOptions, Severity, Snapshot, Store, VacuumOptions,
    check,
};
use ndarray::{Array1, arr1};

use crate::common::Random;

const TASK: &str = "HYPERSLAB_TEST_TASK";
const COMMITS: usize = 60;

fn open(path: &Path, read_only: bool) -> Store {
    let durability = Durability::Os;
    Store::open_with(path, OpenOptions { create: !read_only, read_only, durability, ..OpenOptions::default() }).unwrap()
}

/// All values, as a scan reads them.
fn scanned(snapshot: &Snapshot, array: &str) -> Vec<i64> {
    let array = snapshot.array(array).unwrap();
    let (mut values, mut row) = (Vec::new(), 0);
    while row < array.rows() {
        let end = array.run_end(0, row);
        let data = array.read(0, row..end).unwrap().array.to_data();
        values.extend_from_slice(&data.buffers()[0].typed_data::<i64>()[data.offset()..][..data.len()]);
        row = end;
    }
    assert_eq!(array.field("value").unwrap().view::<i64>().unwrap().as_slice(), values);
    values
}

/// What every version keeps: what one array loses, the other gains.
fn total(snapshot: &Snapshot) -> i64 {
    ["x", "y"].iter().flat_map(|array| scanned(snapshot, array)).sum()
}

/// Moves an amount from a row of `x` to one of `y`; now and then rows come and go.
fn transfer(store: &Store, random: &mut Random) -> Result<u64> {
    let mut tx = store.begin()?;
    let base = tx.snapshot()?;
    let (x, y) = (scanned(&base, "x"), scanned(&base, "y"));
    let amount = random.below(1000) as i64;
    match random.below(4) {
        0 => {
            tx.append_ndarray("x", &Array1::from_elem(20, -amount))?;
            tx.append_ndarray("y", &Array1::from_elem(20, amount))?;
        }
        1 if x.len() > 10 => {
            let gone = 1 + random.below(x.len() - 1);
            tx.replace_ndarray("x", "value", &[0], &arr1(&[x[0] + x[gone]]))?;
            tx.delete("x", &[gone as i64])?;
        }
        _ => {
            let (i, j) = (random.below(x.len()), random.below(y.len()));
            tx.replace_ndarray("x", "value", &[i as i64], &arr1(&[x[i] - amount]))?;
            tx.replace_ndarray("y", "value", &[j as i64 - y.len() as i64], &arr1(&[y[j] + amount]))?;
        }
    }
    tx.commit()
}

fn write(store: &Store, seed: u64) {
    let mut random = Random(seed);
    let mut done = 0;
    while done < COMMITS {
        match transfer(store, &mut random) {
            Ok(_) => done += 1,
            Err(e) => assert!(e.kind() == ErrorKind::Conflict && e.is_retryable(), "{e}"),
        }
    }
}

fn read(store: &Store, mut goes_on: impl FnMut() -> bool) {
    let mut held: Vec<(Arc<Snapshot>, Vec<i64>)> = Vec::new();
    while goes_on() {
        let snapshot = store.snapshot().unwrap();
        assert_eq!(total(&snapshot), 0, "version {}", snapshot.version());
        let shown = scanned(&snapshot, "x");
        held.push((snapshot, shown));
        if held.len() > 20 {
            for (snapshot, shown) in held.drain(..) {
                assert_eq!(scanned(&snapshot, "x"), shown, "version {}", snapshot.version());
            }
        }
    }
}

/// What a process does that reads or writes beside this one.
#[test]
fn another_process() {
    let Ok(task) = std::env::var(TASK) else { return };
    match task.split_once('|').unwrap() {
        ("write", path) => write(&open(Path::new(path), false), 77),
        ("read", path) => {
            let (store, end) = (open(Path::new(path), true), Path::new(path).with_extension("end"));
            read(&store, || !end.exists());
        }
        other => panic!("{other:?}"),
    }
}

fn spawn(task: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["readers::another_process", "--exact", "--nocapture"])
        .env(TASK, format!("{task}|{}", path.display()))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

/// The end of the writing, for threads and processes; also when something fails.
struct Stop(std::path::PathBuf, AtomicBool);

impl Stop {
    fn now(&self) {
        std::fs::write(&self.0, "").unwrap();
        self.1.store(false, Ordering::Relaxed);
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.now();
    }
}

struct Stopped<'a>(&'a Stop);

#[test]
fn readers_see_whole_versions_while_others_write_compact_and_vacuum() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.slab");
    let store = open(&path, false);
    let mut tx = store.begin().unwrap();
    for array in ["x", "y"] {
        let field = FieldSpec::new("value", DType::Int64, vec![]).unwrap();
        tx.create(array, vec![field], ArrayOptions { shard_bytes: 4096, ..ArrayOptions::default() }).unwrap();
        tx.append_ndarray(array, &Array1::<i64>::zeros(700)).unwrap();
    }
    tx.commit().unwrap();
    let end = Stop(path.with_extension("end"), AtomicBool::new(true));
    let writing = &end.1;
    std::thread::scope(|scope| {
        let stopped = Stopped(&end);
        for _ in 0..2 {
            scope.spawn(|| read(&store, || writing.load(Ordering::Relaxed)));
        }
        scope.spawn(|| {
            // Another handle of the same process compacts and vacuums.
            let store = open(&path, false);
            let now = VacuumOptions { retain: Duration::ZERO, ..VacuumOptions::default() };
            while writing.load(Ordering::Relaxed) {
                for array in ["x", "y"] {
                    match store.optimize(array, &OptimizeOptions::default()) {
                        Ok(_) => {}
                        Err(e) => assert_eq!(e.kind(), ErrorKind::Conflict, "{e}"),
                    }
                }
                store.vacuum(&now).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let (mut reader, mut writer) = (spawn("read", &path), spawn("write", &path));
        std::thread::scope(|writers| {
            for seed in 0..2 {
                let store = &store;
                writers.spawn(move || write(store, seed));
            }
        });
        let written = writer.wait().unwrap();
        drop(stopped);
        let read = reader.wait().unwrap();
        assert!(written.success() && read.success(), "{written}, {read}");
    });
    assert_eq!(total(&store.snapshot().unwrap()), 0);
    drop(store);
    let found = check(&path, &CheckOptions::default()).unwrap();
    assert!(found.iter().all(|f| f.severity == Severity::Note), "{found:?}");
}
