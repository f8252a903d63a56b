//! A disk that is full and a mount that is read-only: real ones, made by `unshare` where the system lets us.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hyperslab_core::{ErrorKind, Result};
use hyperslab_store::{
    ArrayOptions, CheckOptions, Durability, LocalStorage, OpenOptions, OptimizeOptions, Severity, Store, VacuumOptions,
    check,
};

use crate::common::*;

const TASK: &str = "HYPERSLAB_TEST_MOUNT";

/// Runs a test of this binary where `mount` (a shell command, `$0` is the folder) was done first.
fn inside(mount: &str, test: &str, folder: &Path) {
    let allowed = Command::new("unshare").args(["-rm", "sh", "-c", "mount -t tmpfs none /mnt"]).output();
    if !allowed.is_ok_and(|o| o.status.success()) {
        eprintln!("SKIPPED: mounts are not allowed here");
        return;
    }
    let run = format!("{mount} && exec \"$1\" mounts::{test} --exact --nocapture");
    let exe = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", &run])
        .args([folder, &exe])
        .env(TASK, folder)
        .env("TMPDIR", folder)
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
}

fn task() -> Option<std::path::PathBuf> {
    std::env::var_os(TASK).map(Into::into)
}

fn all_values(store: &Store) -> Vec<Vec<f32>> {
    let snapshot = store.snapshot().unwrap();
    snapshot.arrays("public").iter().map(|name| values(&snapshot.array(name.as_str()).unwrap())).collect()
}

type Operation = (&'static str, fn(&Store) -> Result<()>);

const OPERATIONS: &[Operation] = &[
    ("create", |store| {
        let mut tx = store.begin()?;
        tx.create("b", fields(), ArrayOptions::default())?;
        tx.append_ndarray("b", &rows(0, 3000))?;
        tx.commit().map(drop)
    }),
    ("append", |store| {
        let mut tx = store.begin()?;
        tx.append_ndarray("a", &rows(5000, 3000))?;
        tx.commit().map(drop)
    }),
    ("replace", |store| {
        let mut tx = store.begin()?;
        let at: Vec<i64> = (0..1700).map(|n| n * 2).collect();
        tx.replace_ndarray("a", "value", &at, &rows(9000, 1700))?;
        tx.commit().map(drop)
    }),
    ("delete", |store| {
        let mut tx = store.begin()?;
        let at: Vec<i64> = (0..1500).map(|n| n * 2).collect();
        tx.delete("a", &at)?;
        tx.commit().map(drop)
    }),
    ("optimize", |store| store.optimize("a", &OptimizeOptions { full: true }).map(drop)),
    ("vacuum", |store| store.vacuum(&VacuumOptions { retain: Duration::ZERO, ..VacuumOptions::default() }).map(drop)),
];

/// A disk that is full at any point of any operation, and then no longer.
#[test]
fn on_a_small_disk() {
    let Some(disk) = task() else { return };
    for (n, (name, operation)) in OPERATIONS.iter().enumerate() {
        for free in [0, 4, 8, 12, 20, 28, 40, 60] {
            let what = format!("{name} with {free} KiB free");
            let path = disk.join(format!("s{n}.slab"));
            let local = Arc::new(LocalStorage::open(&path, false, Some(true)).unwrap());
            let store = Store::on(local, options(Durability::Full)).unwrap();
            create(&store, "a", 1 << 20, 5000);
            for (_, edit) in &OPERATIONS[2..4] {
                edit(&store).unwrap();
            }
            let before = all_values(&store);
            let filler = disk.join("filler");
            fill(&filler, free);
            let done = operation(&store);
            let shown = all_values(&store);
            if let Err(e) = &done {
                assert_eq!(e.kind(), ErrorKind::Io, "{what}: {e}");
                assert!(shown == before, "{what}: {e}: it shows something else");
            }
            std::fs::remove_file(&filler).unwrap();
            if done.is_err() {
                operation(&store).unwrap_or_else(|e| panic!("{what}, then room: {e}"));
            }
            drop(store);
            let store = in_folder(&path);
            append(&store, "a", 0, 10);
            let found = check(&path, &CheckOptions::default()).unwrap();
            let bad: Vec<_> = found.iter().filter(|f| f.severity > Severity::Note).collect();
            assert!(bad.is_empty(), "{what}: {bad:?}");
            drop(store);
            std::fs::remove_dir_all(&path).unwrap();
        }
    }
}

/// Leaves so many KiB of the disk.
fn fill(filler: &Path, free: u64) {
    use std::io::Write;
    let mut file = std::fs::File::create(filler).unwrap();
    let page = [1; 4096];
    while file.write_all(&page).is_ok() {}
    let len = file.metadata().unwrap().len();
    file.set_len(len - (free << 10).min(len)).unwrap();
}

#[test]
fn a_real_disk_that_fills_in_the_middle_of_each_operation() {
    let folder = tempfile::tempdir().unwrap();
    inside("mount -t tmpfs -o size=1m none \"$0\"", "on_a_small_disk", folder.path());
}

#[test]
fn on_a_read_only_mount() {
    let Some(folder) = task() else { return };
    let path = folder.join("s.slab");
    std::fs::write(folder.join("x"), "").unwrap_err();
    let read_only = Store::open_with(&path, OpenOptions { read_only: true, ..OpenOptions::default() }).unwrap();
    assert_eq!(all_values(&read_only), [expected(10)]);
    assert_eq!(
        read_only.begin().unwrap().create("b", fields(), ArrayOptions::default()).unwrap_err().kind(),
        ErrorKind::ReadOnly
    );
    assert!(check(&path, &CheckOptions::default()).unwrap().iter().all(|f| f.severity == Severity::Note));
    // Who does not say so is told, at the latest by the first change, and reads until then.
    match Store::open(&path) {
        Err(e) => assert_eq!(e.kind(), ErrorKind::ReadOnly, "{e}"),
        Ok(store) => {
            assert_eq!(all_values(&store), [expected(10)]);
            let mut tx = store.begin().unwrap();
            let done = tx.append_ndarray("a", &rows(10, 1)).and_then(|()| tx.commit());
            assert_eq!(done.unwrap_err().kind(), ErrorKind::ReadOnly);
            assert_eq!(all_values(&store), [expected(10)]);
        }
    }
    let nothing = Store::open(folder.join("none.slab")).unwrap_err();
    assert!(matches!(nothing.kind(), ErrorKind::ReadOnly | ErrorKind::Io | ErrorKind::NotFound), "{nothing}");
}

#[test]
fn a_store_on_a_read_only_mount_is_read() {
    let folder = tempfile::tempdir().unwrap();
    create(&in_folder(folder.path().join("s.slab")), "a", 1 << 20, 10);
    inside("mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"", "on_a_read_only_mount", folder.path());
}

/// Without any permission to write, counted: reading asks for no change at all.
#[test]
fn a_read_only_store_changes_nothing() {
    let memory = Arc::new(hyperslab_store::MemoryStorage::new());
    let storage = Arc::new(hyperslab_store::testing::FaultStorage::new(memory).unwrap());
    create(&on(&storage, Durability::Full), "a", 1 << 20, 10);
    let before = storage.counts();
    let store = Store::on(storage.clone(), OpenOptions { read_only: true, ..OpenOptions::default() }).unwrap();
    assert_eq!(all_values(&store), [expected(10)]);
    assert_eq!(store.vacuum(&VacuumOptions::default()).unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(store.optimize("a", &OptimizeOptions::default()).unwrap_err().kind(), ErrorKind::ReadOnly);
    drop(store);
    let counts = storage.counts() - before;
    assert_eq!((counts.mutations(), counts.locks), (0, 0));
}
