//! OPTIMIZE and compaction by itself: other files, the same rows.

use std::sync::Arc;

use hyperslab_core::ErrorKind;
use hyperslab_store::testing::FaultStorage;
use hyperslab_store::{ArrayOptions, Codec, Durability, MemoryStorage, OptimizeOptions, OptimizeReport, Store};

use crate::common::*;

fn optimize(store: &Store, name: &str) -> OptimizeReport {
    store.optimize(name, &OptimizeOptions::default()).unwrap()
}

/// A store in memory, in which every append makes a segment.
fn memory() -> Store {
    on(&Arc::new(MemoryStorage::new()), Durability::Os)
}

#[test]
fn small_segments_are_merged() {
    let store = memory();
    create(&store, "a", 1 << 20, 10);
    for n in 1..200 {
        append(&store, "a", n * 10, 10);
    }
    let before = array(&store, "a");
    let report = optimize(&store, "a");
    assert_eq!((report.segments_before, report.segments_after), (200, 1));
    assert_eq!((report.rows_dropped, report.rows_folded, report.version), (0, 0, 201));
    assert!(report.bytes_after < report.bytes_before / 20, "{report:?}");
    let after = array(&store, "a");
    assert_eq!((after.info().unwrap().segments, after.info().unwrap().shards), (1, 1));
    assert_eq!(values(&after), expected(2000));
    // What was opened before, and the last version, still read what they did.
    assert_eq!(values(&before), expected(2000));
    assert_eq!(after.info().unwrap().version, before.info().unwrap().version);
    // Nothing is left to do.
    let report = optimize(&store, "a");
    assert_eq!(report, OptimizeReport { version: 201, ..OptimizeReport::default() });
    let error = store.optimize("b", &OptimizeOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_large_array_is_done_in_several_commits() {
    let store = memory();
    // Segments of up to 2048 rows in shards of up to 512.
    create(&store, "a", 4096, 100);
    for n in 1..100 {
        append(&store, "a", n * 100, 100);
    }
    let report = optimize(&store, "a");
    assert_eq!(report.segments_before, 100);
    assert_eq!(report.segments_after, 5);
    assert_eq!(report.version, 100 + 5);
    assert_eq!(values(&array(&store, "a")), expected(10_000));
    // Full segments of it stay as they are; a full OPTIMIZE writes them once more.
    assert_eq!(optimize(&store, "a").segments_before, 0);
    let report = store.optimize("a", &OptimizeOptions { full: true }).unwrap();
    assert_eq!(report.segments_before, 5);
    assert_eq!(values(&array(&store, "a")), expected(10_000));
}

#[test]
fn the_last_segment_goes_on_growing() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    create(&store, "a", 1 << 20, 10);
    append(&store, "a", 10, 2_000_000); // files of its own
    append(&store, "a", 2_000_010, 10);
    store.optimize("a", &OptimizeOptions { full: true }).unwrap();
    let segments = array(&store, "a").info().unwrap().segments;
    append(&store, "a", 2_000_020, 10);
    assert_eq!(array(&store, "a").info().unwrap().segments, segments);
    drop(store);
    assert_eq!(values(&array(&in_folder(folder.path()), "a")), expected(2_000_030));
}

#[test]
fn shards_are_compressed_and_decompressed() {
    let store = memory();
    let mut tx = store.begin().unwrap();
    let options = ArrayOptions { shard_bytes: 1 << 20, codec: Codec::Zstd(3), ..ArrayOptions::default() };
    tx.create("a", fields(), options).unwrap();
    tx.commit().unwrap();
    for n in 0..100 {
        append(&store, "a", n * 1000, 1000); // 8 kB: not compressed
    }
    let report = optimize(&store, "a");
    assert_eq!((report.segments_before, report.segments_after), (100, 1));
    assert!(report.bytes_after < report.bytes_before / 2, "{report:?}");
    assert_eq!(values(&array(&store, "a")), expected(100_000));
    assert!(store.frames_decompressed() > 0);
    assert_eq!(optimize(&store, "a").segments_before, 0);
}

#[test]
fn a_missing_or_unwritable_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    create(&in_folder(folder.path()), "a", 4096, 3);
    let options = hyperslab_store::OpenOptions { read_only: true, ..Default::default() };
    let store = Store::open_with(folder.path(), options).unwrap();
    assert_eq!(store.optimize("a", &OptimizeOptions::default()).unwrap_err().kind(), ErrorKind::ReadOnly);
}

#[test]
fn it_survives_a_power_cut_that_follows_a_durable_commit() {
    let storage = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::new())).unwrap());
    let store = on(&storage, Durability::Os);
    create(&store, "a", 4096, 10);
    (1..20).for_each(|n| {
        append(&store, "a", n * 10, 10);
    });
    optimize(&store, "a");
    append(&on(&storage, Durability::Full), "a", 200, 10);
    let after = Arc::new(storage.crash().unwrap());
    assert_eq!(values(&array(&on(&after, Durability::Full), "a")), expected(210));
}
