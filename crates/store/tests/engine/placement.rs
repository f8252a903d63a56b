//! Shards over several directories: they are used in turn, found again, and checked when the store is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyperslab_core::{Error, ErrorKind};
use hyperslab_store::testing::{Fault, FaultStorage};
use hyperslab_store::{ArrayOptions, Durability, MemoryStorage, OpenOptions, Store};

use crate::common::*;

fn with_dirs(dirs: &[PathBuf]) -> OpenOptions {
    OpenOptions { dirs: dirs.to_vec(), ..options(Durability::Full) }
}

/// A store `demo.slab` beside its directories `one` and `two`, with `n` rows in shards of 512.
fn store(folder: &Path, n: usize) -> (Store, Vec<PathBuf>) {
    let dirs = vec![folder.join("one"), folder.join("two")];
    let store = Store::open_with(folder.join("demo.slab"), with_dirs(&dirs)).unwrap();
    create(&store, "a", 4096, n);
    (store, dirs)
}

fn files(folder: &Path) -> usize {
    let Ok(arrays) = std::fs::read_dir(folder.join("arrays")) else { return 0 };
    arrays.map(|array| std::fs::read_dir(array.unwrap().path()).unwrap().count()).sum()
}

fn refused(folder: &Path, options: OpenOptions) -> Error {
    let error = Store::open_with(folder.join("demo.slab"), options.clone()).unwrap_err();
    let read_only = OpenOptions { read_only: true, ..options };
    assert_eq!(Store::open_with(folder.join("demo.slab"), read_only).unwrap_err().kind(), error.kind());
    error
}

#[test]
fn shards_are_spread_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let (store, dirs) = store(folder.path(), 9000);
    // 18 shards: 6 in each.
    let counts: Vec<usize> = [&folder.path().join("demo.slab"), &dirs[0], &dirs[1]].map(|d| files(d)).to_vec();
    assert_eq!(counts, [6, 6, 6]);
    assert_eq!(values(&array(&store, "a")), expected(9000));
    // The maps of shards in different directories join too.
    if cfg!(target_os = "linux") {
        assert!(array(&store, "a").field("value").unwrap().view::<f32>().unwrap().is_view());
    }
    drop(store);
    for options in [OpenOptions::default(), OpenOptions { read_only: true, ..OpenOptions::default() }] {
        let store = Store::open_with(folder.path().join("demo.slab"), options).unwrap();
        assert_eq!(values(&array(&store, "a")), expected(9000));
    }
    let store = Store::open(folder.path().join("demo.slab")).unwrap();
    append(&store, "a", 9000, 2000);
    assert_eq!(values(&array(&store, "a")), expected(11_000));
    assert!(files(&dirs[1]) > 6);
}

#[test]
fn small_transactions_use_all_directories_too() {
    let folder = tempfile::tempdir().unwrap();
    let (store, dirs) = store(folder.path(), 1);
    for n in 0..60 {
        create(&store, &format!("b{n}"), 4096, 5);
    }
    for dir in [&dirs[0], &dirs[1], &folder.path().join("demo.slab")] {
        assert!((5..50).contains(&files(dir)), "{}: {}", dir.display(), files(dir));
    }
}

#[test]
fn an_aborted_transaction_leaves_no_file_in_any() {
    let folder = tempfile::tempdir().unwrap();
    let (store, dirs) = store(folder.path(), 600);
    let before = [files(&dirs[0]), files(&dirs[1])];
    let mut tx = store.begin().unwrap();
    tx.create("big", fields(), ArrayOptions { shard_bytes: 1 << 20, ..ArrayOptions::default() }).unwrap();
    tx.append_ndarray("big", &rows(0, 2_000_000)).unwrap();
    assert!(files(&dirs[0]) > before[0] && files(&dirs[1]) > before[1]);
    drop(tx);
    assert_eq!([files(&dirs[0]), files(&dirs[1])], before);
}

#[test]
fn a_missing_directory_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (_, dirs) = store(folder.path(), 10);
    std::fs::rename(&dirs[1], folder.path().join("elsewhere")).unwrap();
    let error = refused(folder.path(), OpenOptions::default());
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let text = error.to_string();
    assert!(text.contains("directory 2") && text.contains("two") && text.contains("mount"), "{text}");
    // It may be said where they are now.
    let moved = [dirs[0].clone(), folder.path().join("elsewhere")];
    let store = Store::open_with(folder.path().join("demo.slab"), with_dirs(&moved)).unwrap();
    assert_eq!(values(&array(&store, "a")), expected(10));
}

#[test]
fn wrong_directories_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_, dirs) = store(folder.path(), 10);
    let other = tempfile::tempdir().unwrap();
    let (_, others) = store(other.path(), 10);
    let cases = [
        (vec![dirs[0].clone(), others[1].clone()], "another store"),
        (vec![dirs[0].clone(), dirs[0].clone()], "twice"),
        (vec![dirs[1].clone(), dirs[0].clone()], "another order"),
        (vec![dirs[0].clone()], "1 further directories"),
    ];
    for (dirs, names) in cases {
        let error = refused(folder.path(), with_dirs(&dirs));
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(names), "{error}");
    }
    std::fs::write(dirs[0].join("hyperslab-dir.json"), "{}").unwrap();
    assert_eq!(refused(folder.path(), OpenOptions::default()).kind(), ErrorKind::Corrupt);
}

#[test]
fn a_new_store_wants_empty_directories() {
    let folder = tempfile::tempdir().unwrap();
    let (full, empty) = (folder.path().join("full"), folder.path().join("empty"));
    std::fs::create_dir(&full).unwrap();
    std::fs::create_dir_all(empty.join("lost+found")).unwrap();
    std::fs::write(full.join("letter.txt"), "dear").unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let open = |dirs: &[PathBuf]| Store::open_with(folder.path().join("demo.slab"), with_dirs(dirs));
    for (dirs, names) in [
        (vec![full.clone()], "letter.txt"),
        (vec![empty.clone(), empty.clone()], "twice"),
        (vec![folder.path().join("demo.slab/inside")], "in the store itself"),
        (vec![folder.path().join("demo.slab")], "in the store itself"),
        (vec![folder.path().join("file")], "is a file"),
    ] {
        let error = open(&dirs).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(names), "{error}");
    }
    // What the attempts left does not stand in the way.
    let store = open(std::slice::from_ref(&empty)).unwrap();
    create(&store, "a", 4096, 2000);
    assert!(files(&empty) > 0);
    assert_eq!(values(&array(&store, "a")), expected(2000));
}

#[test]
fn a_creation_that_fails_or_is_killed_is_finished_by_the_next() {
    let dirs: Vec<PathBuf> = ["/one", "/two"].map(PathBuf::from).to_vec();
    let start = || Arc::new(FaultStorage::new(Arc::new(MemoryStorage::new())).unwrap());
    let storage = start();
    Store::on(storage.clone(), with_dirs(&dirs)).unwrap();
    let calls = storage.counts().mutations();
    assert!(calls >= 5, "{calls}");
    for call in 0..calls {
        for fault in [Fault::Fail { call }, Fault::Kill { call }, Fault::Tear { write: call }] {
            let storage = start();
            storage.arm(fault);
            let _whatever = Store::on(storage.clone(), with_dirs(&dirs));
            storage.disarm();
            let store = Store::on(storage.clone(), with_dirs(&dirs)).unwrap_or_else(|e| panic!("{fault:?}: {e}"));
            create(&store, "a", 4096, 2000);
            let store = Store::on(storage.clone(), OpenOptions::default()).unwrap();
            assert_eq!(values(&array(&store, "a")), expected(2000));
        }
    }
    // A power cut at any time after it has no effect.
    let after = Arc::new(storage.crash().unwrap());
    Store::on(after, OpenOptions::default()).unwrap();
}

#[test]
fn a_durable_commit_survives_a_power_cut_in_every_directory() {
    let dirs: Vec<PathBuf> = ["/one", "/two"].map(PathBuf::from).to_vec();
    for in_place in [false, true] {
        let memory = Arc::new(MemoryStorage::new());
        let storage = Arc::new(FaultStorage::new(memory).unwrap().with_in_place(in_place));
        let store = Store::on(storage.clone(), with_dirs(&dirs)).unwrap();
        create(&store, "a", 4096, 3000);
        let lazy = on(&storage, Durability::Os);
        append(&lazy, "a", 3000, 2000);
        append(&store, "a", 5000, 10);
        let after = Arc::new(storage.crash().unwrap());
        let store = on(&after, Durability::Full);
        assert_eq!(values(&array(&store, "a")), expected(5010));
    }
}
