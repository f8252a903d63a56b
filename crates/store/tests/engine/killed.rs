//! Two processes with mixed edits, killed at random, again and again: what they were told is committed is there, what
//! they were not is there whole or not at all, and CHECK finds nothing.
//!
//! The workers are this test binary again, told by an environment variable. Every commit's message says what it does by
//! the ids of the rows, so that the history can be done again in a plain list.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use hyperslab_core::{DType, ErrorKind, FieldSpec, Result};
use hyperslab_store::{
    Array, ArrayOptions, CheckOptions, Durability, OpenOptions, OptimizeOptions, Severity, Store, Transaction,
    VacuumOptions, check,
};
use serde::{Deserialize, Serialize};

use crate::common::Random;

const WORKER: &str = "HYPERSLAB_TEST_WORKER";
const ARRAYS: [&str; 2] = ["a", "b"];

/// What one commit does to one array. Rows are (id, value).
#[derive(Debug, Default, Serialize, Deserialize)]
struct Edit {
    array: String,
    deleted: Vec<i64>,
    replaced: Vec<(i64, i64)>,
    /// The first id, how many; the value of each is its id.
    appended: (i64, i64),
}

type Rows = Vec<(i64, i64)>;

impl Edit {
    fn replay(&self, rows: &mut Rows) {
        let gone: std::collections::BTreeSet<i64> = self.deleted.iter().copied().collect();
        let new: BTreeMap<i64, i64> = self.replaced.iter().copied().collect();
        rows.iter_mut().for_each(|row| row.1 = new.get(&row.0).copied().unwrap_or(row.1));
        rows.retain(|row| !gone.contains(&row.0));
        rows.extend((0..self.appended.1).map(|n| (self.appended.0 + n, self.appended.0 + n)));
    }
}

fn open(path: &Path) -> Store {
    let options = OpenOptions { create: true, durability: Durability::Os, ..OpenOptions::default() };
    Store::open_with(path, options).unwrap()
}

fn create(path: &Path) {
    let store = open(path);
    let mut tx = store.begin().unwrap();
    for array in ARRAYS {
        let fields = [("id", vec![]), ("value", vec![])];
        let fields = fields.map(|(name, cell)| FieldSpec::new(name, DType::Int64, cell).unwrap());
        let options = ArrayOptions { shard_bytes: 8192, ..ArrayOptions::default() };
        tx.create(array, fields.to_vec(), options).unwrap();
    }
    tx.commit().unwrap();
}

fn column(array: &Array, field: &str) -> Vec<i64> {
    array.field(field).unwrap().view::<i64>().unwrap().as_slice().to_vec()
}

fn rows(array: &Array) -> Rows {
    column(array, "id").into_iter().zip(column(array, "value")).collect()
}

fn batch(columns: &[(&str, Vec<i64>)]) -> RecordBatch {
    let columns = columns.iter().map(|(name, c)| (*name, Arc::new(Int64Array::from(c.clone())) as ArrayRef));
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Edits an array at random; what that does.
fn edit(tx: &mut Transaction, random: &mut Random, array: &str, next: &mut i64) -> Result<Edit> {
    let ids = column(&tx.snapshot()?.array(array)?, "id");
    let mut edit = Edit { array: array.to_owned(), ..Edit::default() };
    let mut pick = |most: usize| -> Vec<usize> {
        let n = random.below(most.min(ids.len()) + 1);
        (0..n).map(|_| random.below(ids.len())).collect()
    };
    let positions: Vec<usize> = pick(20);
    let new: Vec<i64> = positions.iter().map(|_| *next + 500_000).collect();
    if !positions.is_empty() {
        let at: Vec<i64> = positions.iter().map(|&p| p as i64).collect();
        tx.replace(array, &at, &batch(&[("value", new.clone())]))?;
        edit.replaced = positions.iter().map(|&p| ids[p]).zip(new).collect();
    }
    let gone = if ids.len() > 1500 { (0..ids.len()).step_by(2).collect() } else { pick(12) };
    if !gone.is_empty() {
        let at: Vec<i64> = gone.iter().map(|&p| p as i64 - ids.len() as i64).collect();
        tx.delete(array, &at)?;
        edit.deleted = gone.iter().map(|&p| ids[p]).collect();
    }
    let most = [1, 30, 300][random.below(3)];
    let n = random.below(most) as i64;
    if n > 0 {
        let new: Vec<i64> = (*next..*next + n).collect();
        tx.append(array, &batch(&[("id", new.clone()), ("value", new)]))?;
        edit.appended = (*next, n);
    }
    *next += n + 1;
    Ok(edit)
}

/// What a worker does until it is killed: commits, each said on the standard output once it is done.
#[test]
fn worker_process() {
    let Ok(task) = std::env::var(WORKER) else { return };
    let parts: Vec<&str> = task.split('|').collect();
    let [path, worker, round] = parts[..] else { panic!("{task}") };
    let (worker, round): (i64, i64) = (worker.parse().unwrap(), round.parse().unwrap());
    let (store, mut random) = (open(Path::new(path)), Random((worker * 1_000_003 + round) as u64));
    let mut next = (round * 2 + worker + 1) * 1_000_000;
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").unwrap();
        out.flush().unwrap();
    };
    loop {
        if random.below(40) == 0 {
            let array = ARRAYS[random.below(2)];
            match store.optimize(array, &OptimizeOptions::default()) {
                Ok(report) => assert!(report.version > 0),
                Err(e) => assert_eq!(e.kind(), ErrorKind::Conflict, "{e}"),
            }
            continue;
        }
        let mut tx = store.begin().unwrap();
        let arrays = if random.below(3) == 0 { &ARRAYS[..] } else { &ARRAYS[random.below(2)..][..1] };
        let edits: Vec<Edit> = arrays.iter().map(|a| edit(&mut tx, &mut random, a, &mut next).unwrap()).collect();
        let before = tx.base().version();
        tx.set_message(serde_json::to_string(&edits).unwrap());
        match tx.commit() {
            Ok(version) if version > before => say(format!("committed {version} {}", edits[0].array)),
            Ok(_) => {}
            Err(e) => assert_eq!(e.kind(), ErrorKind::Conflict, "{e}"),
        }
    }
}

fn spawn(path: &Path, worker: i64, round: i64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["killed::worker_process", "--exact", "--nocapture"])
        .env(WORKER, format!("{}|{worker}|{round}", path.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The versions that the child said were committed, until it ends.
fn acknowledged(child: &mut Child) -> Vec<u64> {
    let lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
    let lines = lines.map(|line| String::from_utf8_lossy(&line.unwrap()).into_owned());
    let said = lines.filter_map(|l| l.rsplit_once("committed ")?.1.split_once(' ')?.0.parse().ok());
    said.collect()
}

/// What the store must be, version by version.
#[derive(Default)]
struct Replayed {
    version: u64,
    arrays: BTreeMap<String, Rows>,
}

impl Replayed {
    /// Does the versions since the last time again; those that hold edits.
    fn follow(&mut self, store: &Store, said: &[u64]) -> Vec<u64> {
        let mut edited = Vec::new();
        let versions = store.versions().unwrap();
        let newest = versions.last().unwrap().version;
        let new: Vec<_> = versions.into_iter().filter(|v| v.version > self.version).collect();
        assert!(new.iter().map(|v| v.version).eq(self.version + 1..=newest), "versions are missing");
        for version in new {
            let Some(message) = version.message else {
                let changes: Vec<&str> = version.changes.iter().map(|c| c.action).collect();
                assert!(!said.contains(&version.version), "version {}: {changes:?}", version.version);
                continue;
            };
            let edits: Vec<Edit> = serde_json::from_str(&message).unwrap();
            for edit in edits {
                edit.replay(self.arrays.entry(edit.array.clone()).or_default());
            }
            edited.push(version.version);
        }
        self.version = newest;
        edited
    }

    fn compare(&self, what: &str, store: &Store) {
        let snapshot = store.snapshot().unwrap();
        assert_eq!(snapshot.version(), self.version);
        for array in ARRAYS {
            let (found, want) = (rows(&snapshot.array(array).unwrap()), self.arrays.get(array));
            let same = found == *want.unwrap_or(&Vec::new());
            assert!(same, "{what}: {array} of version {} is not what its history says", self.version);
        }
    }
}

#[test]
fn two_processes_killed_two_hundred_times_lose_nothing() {
    let given = std::env::var("HYPERSLAB_RUNS").ok().and_then(|s| s.parse().ok());
    let rounds: i64 = given.unwrap_or(200);
    let folder = tempfile::tempdir().unwrap();
    let mut path = folder.path().to_owned();
    let (mut replayed, mut random) = (Replayed::default(), Random(1));
    let mut commits = 0;
    for round in 0..rounds {
        // All versions are read again each time, so that a log without end would take most of the time.
        if round % 40 == 0 {
            path = folder.path().join(format!("{round}.slab"));
            create(&path);
            replayed = Replayed { version: 1, ..Replayed::default() };
        }
        let mut children = [spawn(&path, 0, round), spawn(&path, 1, round)];
        for child in &mut children {
            std::thread::sleep(Duration::from_micros(10_000 + random.below(50_000) as u64));
            child.kill().unwrap();
        }
        let said: Vec<Vec<u64>> = children.iter_mut().map(acknowledged).collect();
        for child in &mut children {
            let status = child.wait().unwrap();
            assert!(status.code().is_none(), "round {round}: a worker gave up: {status}");
        }
        let mut said: Vec<u64> = said.concat();
        said.sort_unstable();
        let store = open(&path);
        let what = format!("round {round}");
        let edited = replayed.follow(&store, &said);
        commits += edited.len();
        // All that was acknowledged, and at most the one commit of each that had no time to say so.
        assert!(said.iter().all(|v| edited.contains(v)), "{what}: {said:?} were acknowledged, {edited:?} are there");
        assert!(edited.len() <= said.len() + 2, "{what}: {said:?} were acknowledged, {edited:?} are there");
        replayed.compare(&what, &store);
        let found = check(&path, &CheckOptions::default()).unwrap();
        let bad: Vec<_> = found.iter().filter(|f| f.severity > Severity::Note).collect();
        assert!(bad.is_empty(), "{what}: {bad:?}");
        if round % 10 == 9 {
            store.vacuum(&VacuumOptions { retain: Duration::ZERO, ..VacuumOptions::default() }).unwrap();
            replayed.version = store.snapshot().unwrap().version();
            replayed.compare(&what, &store);
        }
    }
    println!("{commits} commits in {rounds} rounds");
    assert!(commits as i64 > rounds, "the workers must have got somewhere: {commits}");
}
