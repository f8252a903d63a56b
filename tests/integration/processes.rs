//! Real processes: killed at any moment, and writing at the same time.
//!
//! The writers are this test binary again, told by an environment variable to append.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hyperslab::core::Element;
use hyperslab::{ArrayOptions, DType, Durability, FieldSpec, OpenOptions, Store};

const WRITER: &str = "HYPERSLAB_TEST_WRITER";
/// Rows are of 6 elements so that shards end in the middle of pages of the file.
const CELL: usize = 6;

fn open(path: &Path) -> Store {
    let options = OpenOptions { create: true, durability: Durability::Os, ..OpenOptions::default() };
    Store::open_with(path, options).unwrap()
}

fn create(path: &Path) {
    let store = open(path);
    let mut tx = store.begin().unwrap();
    let field = FieldSpec::new("value", DType::Int64, vec![CELL]).unwrap();
    tx.create("a", vec![field], ArrayOptions { shard_bytes: 1 << 16, ..ArrayOptions::default() }).unwrap();
    tx.commit().unwrap();
}

/// Rows of writer `writer`'s commit number `commit`: every element says both, and the position in the commit.
fn rows(writer: i64, commit: i64) -> ndarray::Array2<i64> {
    let count = usize::try_from(1 + (commit * 7) % 40).unwrap();
    ndarray::Array2::from_shape_fn((count, CELL), |(i, _)| writer * 1_000_000_000 + commit * 1000 + i as i64)
}

fn values<T: Element>(store: &Store) -> Vec<T> {
    store.snapshot().unwrap().array("a").unwrap().field("value").unwrap().view::<T>().unwrap().as_slice().to_vec()
}

/// What the child does: append commit after commit, and say each one's number once it is committed.
#[test]
fn writer_process() {
    let Ok(task) = std::env::var(WRITER) else { return };
    let parts: Vec<&str> = task.split('|').collect();
    let [path, writer, first, count] = parts[..] else { panic!("{task}") };
    let (writer, first, count): (i64, i64, i64) =
        (writer.parse().unwrap(), first.parse().unwrap(), count.parse().unwrap());
    let store = open(Path::new(path));
    for commit in first..first + count {
        let mut tx = store.begin().unwrap();
        tx.append_ndarray("a", &rows(writer, commit)).unwrap();
        tx.commit().unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "committed {commit}").unwrap();
        out.flush().unwrap();
    }
}

fn spawn(path: &Path, writer: i64, first: i64, count: i64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["processes::writer_process", "--exact", "--nocapture"])
        .env(WRITER, format!("{}|{writer}|{first}|{count}", path.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The commits that the child said were done, until it ends.
fn acknowledged(child: &mut Child) -> Vec<i64> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The first line may stand behind the harness's "test … ".
    lines.filter_map(|l| l.ok()?.rsplit_once("committed ")?.1.trim().parse().ok()).collect()
}

/// The commits found in the rows, each checked to be whole and in one piece.
fn commits(values: &[i64]) -> Vec<(i64, i64)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < values.len() {
        let (writer, commit) = (values[at] / 1_000_000_000, values[at] % 1_000_000_000 / 1000);
        let want = rows(writer, commit);
        let want = want.as_slice().unwrap();
        assert_eq!(values.get(at..at + want.len()), Some(want), "commit {commit} of writer {writer} is not whole");
        found.push((writer, commit));
        at += want.len();
    }
    found
}

#[test]
fn a_killed_process_leaves_the_last_committed_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.slab");
    create(&path);
    let mut next = 0;
    for round in 0..40_u64 {
        let mut child = spawn(&path, 1, next, 1_000_000);
        std::thread::sleep(Duration::from_millis(5 + round * 37 % 60));
        child.kill().unwrap();
        let said = acknowledged(&mut child);
        child.wait().unwrap();
        let found = commits(&values(&open(&path)));
        assert!(found.iter().map(|f| f.1).eq(0..found.len() as i64), "round {round}: commits lost, doubled or moved");
        let last = said.last().map_or(next, |s| s + 1);
        assert!(found.len() as i64 >= last, "round {round}: {last} commits were acknowledged, {} found", found.len());
        next = found.len() as i64;
    }
    assert!(next > 40, "the writers must have got somewhere: {next}");
}

#[test]
fn two_processes_append_at_once_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.slab");
    create(&path);
    let mut children = [spawn(&path, 1, 0, 150), spawn(&path, 2, 0, 150)];
    for child in &mut children {
        assert_eq!(acknowledged(child).len(), 150);
        assert!(child.wait().unwrap().success());
    }
    let found = commits(&values(&open(&path)));
    for writer in [1, 2] {
        let own: Vec<i64> = found.iter().filter(|f| f.0 == writer).map(|f| f.1).collect();
        assert!(own.iter().copied().eq(0..150), "writer {writer}: {own:?}");
    }
}
