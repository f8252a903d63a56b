//! OPTIMIZE and compaction by itself: other files, the same rows.

use std::sync::Arc;

use hyperslab_core::ErrorKind;
use hyperslab_store::testing::{Fault, FaultStorage};
use hyperslab_store::{
    ArrayOptions, Codec, Durability, MemoryStorage, OpenOptions, OptimizeOptions, OptimizeReport, Store,
};

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

#[test]
fn rows_that_are_appended_meanwhile_stay() {
    for (in_place, codec) in [(false, Codec::None), (true, Codec::None), (true, Codec::Zstd(1))] {
        let storage = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::new())).unwrap().with_in_place(in_place));
        let store = on(&storage, Durability::Os);
        let mut tx = store.begin().unwrap();
        tx.create("a", fields(), ArrayOptions { shard_bytes: 1 << 16, codec, ..ArrayOptions::default() }).unwrap();
        tx.commit().unwrap();
        (0..50).for_each(|n| {
            append(&store, "a", n * 400, 400);
        });
        let done = std::sync::atomic::AtomicBool::new(false);
        let rounds = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let other = on(&storage, Durability::Os);
                (50..150).for_each(|n| {
                    append(&other, "a", n * 400, 400);
                });
                done.store(true, std::sync::atomic::Ordering::Release);
            });
            let mut rounds = 0;
            while !done.load(std::sync::atomic::Ordering::Acquire) || rounds == 0 {
                match store.optimize("a", &OptimizeOptions { full: true }) {
                    Ok(_) => rounds += 1,
                    // The writer was faster ten times in a row.
                    Err(e) => assert_eq!(e.kind(), ErrorKind::Conflict, "{e}"),
                }
                let seen = values(&array(&store, "a"));
                assert_eq!(seen, expected(seen.len() / 2));
            }
            writer.join().unwrap();
            rounds
        });
        assert!(rounds > 0);
        assert_eq!(values(&array(&store, "a")), expected(60_000));
        optimize(&store, "a");
        assert_eq!(values(&array(&on(&storage, Durability::Os), "a")), expected(60_000));
    }
}

#[test]
fn two_at_once_do_not_get_in_each_others_way() {
    let storage = Arc::new(MemoryStorage::new());
    let store = on(&storage, Durability::Os);
    create(&store, "a", 4096, 100);
    (1..100).for_each(|n| {
        append(&store, "a", n * 100, 100);
    });
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let store = on(&storage, Durability::Os);
                match store.optimize("a", &OptimizeOptions { full: true }) {
                    Ok(_) => {}
                    Err(e) => assert_eq!(e.kind(), ErrorKind::Conflict, "{e}"),
                }
            });
        }
    });
    assert_eq!(values(&array(&store, "a")), expected(10_000));
    assert_eq!(optimize(&store, "a").segments_before, 0);
}

#[test]
fn memory_and_temporary_files_are_bounded_by_a_group() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    create(&store, "a", 1 << 16, 100_000); // 800 kB, in four segments of up to 256 KiB
    // Each group is committed before the next one is begun: a disk that is full loses the last only.
    let files = || {
        let array = std::fs::read_dir(folder.path().join("arrays")).unwrap().next().unwrap().unwrap();
        std::fs::read_dir(array.path()).unwrap().count()
    };
    let before = files();
    let version = store.snapshot().unwrap().version();
    let report = store.optimize("a", &OptimizeOptions { full: true }).unwrap();
    assert_eq!((report.segments_before, report.segments_after), (4, 4));
    assert_eq!(report.version, version + 4);
    assert_eq!(files(), 2 * before);
    assert_eq!(values(&array(&store, "a")), expected(100_000));
}

#[test]
fn many_small_segments_are_merged_by_themselves() {
    let storage = Arc::new(MemoryStorage::new());
    let store = Store::on(storage.clone(), OpenOptions { auto_compact: true, ..options(Durability::Os) }).unwrap();
    create(&store, "a", 1 << 20, 10);
    let mut most = 0;
    for n in 1..1000 {
        append(&store, "a", n * 10, 10);
        if n % 50 == 0 {
            store.wait_for_compaction();
            most = most.max(array(&store, "a").info().unwrap().segments);
        }
    }
    assert!(most <= 63 + 50 + 10, "{most} segments");
    store.wait_for_compaction();
    let a = array(&store, "a");
    assert!(a.info().unwrap().segments < 100);
    assert_eq!(values(&a), expected(10_000));
    // As every row is rewritten only when its array has doubled, little was written.
    let version = store.snapshot().unwrap().version();
    assert!((1003..1100).contains(&version), "{version}");
    // It ends with the last handle, and does not keep the store open.
    drop(a);
    drop(store);
    assert_eq!(Arc::strong_count(&storage), 1);
    assert_eq!(values(&array(&on(&storage, Durability::Os), "a")), expected(10_000));
}

#[test]
fn compaction_can_be_switched_off() {
    let store = memory();
    create(&store, "a", 1 << 20, 10);
    for n in 1..200 {
        append(&store, "a", n * 10, 10);
    }
    store.wait_for_compaction();
    assert_eq!(array(&store, "a").info().unwrap().segments, 200);
    assert_eq!(store.snapshot().unwrap().version(), 200);
}

#[test]
fn compaction_that_fails_is_tried_again_and_disturbs_nobody() {
    let storage = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::new())).unwrap());
    let store = Store::on(storage.clone(), OpenOptions { auto_compact: true, ..options(Durability::Os) }).unwrap();
    create(&store, "a", 1 << 20, 10);
    for n in 1..63 {
        append(&store, "a", n * 10, 10);
    }
    // The compaction that the next append starts finds no room, and is the first that looks for some.
    let mut tx = store.begin().unwrap();
    tx.append_ndarray("a", &rows(630, 10)).unwrap();
    tx.commit().unwrap();
    storage.arm(Fault::DiskFull { bytes: 0 });
    store.wait_for_compaction();
    storage.disarm();
    let segments = array(&store, "a").info().unwrap().segments;
    append(&store, "a", 640, 10);
    assert_eq!(values(&array(&store, "a")), expected(650));
    assert!(segments == 64 || segments == 1, "{segments}");
    optimize(&store, "a");
    assert_eq!(values(&array(&store, "a")), expected(650));
}
