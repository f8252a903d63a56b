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

/// What an array should hold, changed beside it.
#[derive(Clone)]
struct Model(Vec<[f32; 2]>);

impl Model {
    fn new(n: usize) -> Self {
        Self(rows(0, n).rows().into_iter().map(|row| [row[0], row[1]]).collect())
    }

    fn values(&self) -> Vec<f32> {
        self.0.iter().flatten().copied().collect()
    }

    /// Replaces rows by ones that say who they are.
    fn replace(&mut self, store: &Store, positions: &[i64], mark: f32) -> hyperslab_core::Result<()> {
        let new = ndarray::Array2::from_shape_fn((positions.len(), 2), |(i, j)| mark + (i * 2 + j) as f32 / 1024.0);
        let mut tx = store.begin()?;
        tx.replace_ndarray("a", "value", positions, &new)?;
        tx.commit()?;
        for (i, &position) in positions.iter().enumerate() {
            self.0[position as usize] = [new[[i, 0]], new[[i, 1]]];
        }
        Ok(())
    }

    fn delete(&mut self, store: &Store, positions: &[i64]) -> hyperslab_core::Result<()> {
        let mut tx = store.begin()?;
        tx.delete("a", positions)?;
        tx.commit()?;
        let mut gone = positions.to_vec();
        gone.sort_unstable();
        gone.dedup();
        for position in gone.into_iter().rev() {
            self.0.remove(position as usize);
        }
        Ok(())
    }
}

#[test]
fn patches_and_deleted_rows_go_into_the_shards() {
    for (in_place, codec) in [(false, Codec::None), (true, Codec::None), (true, Codec::Zstd(1))] {
        let storage = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::new())).unwrap().with_in_place(in_place));
        let store = on(&storage, Durability::Os);
        let mut tx = store.begin().unwrap();
        tx.create("a", fields(), ArrayOptions { shard_bytes: 1 << 17, codec, ..ArrayOptions::default() }).unwrap();
        tx.append_ndarray("a", &rows(0, 90_000)).unwrap();
        tx.commit().unwrap();
        let mut model = Model::new(90_000);
        model.replace(&store, &[5, 5, 70_000, 3], 0.5).unwrap();
        model.replace(&store, &[70_000, 89_999], 7.5).unwrap();
        model.delete(&store, &[0, 10, 20, 70_001, 89_999]).unwrap();
        let scattered: Vec<i64> = (0..80_000).step_by(37).collect();
        model.replace(&store, &scattered, 11.5).unwrap();
        model.delete(&store, &scattered[..1500]).unwrap();
        let before = store.snapshot().unwrap();
        let older = values(&before.array("a").unwrap());
        assert_eq!(older, model.values());

        let report = optimize(&store, "a");
        assert_eq!(report.rows_dropped, 1505);
        // Of the replaced rows: those that are left of the scattered ones, and the few before that are not among them.
        let first = [3 - 1, 5 - 1, 70_000 - 3].iter().filter(|row| **row % 37 != 0).count();
        assert_eq!(report.rows_folded, (scattered.len() - 1500 + first) as u64);
        assert_eq!(values(&array(&store, "a")), model.values());
        assert_eq!(array(&store, "a").rows() as usize, model.0.len());
        // History, and who had it open.
        assert_eq!(values(&before.array("a").unwrap()), older);
        assert_eq!(values(&store.at(before.version()).unwrap().array("a").unwrap()), older);
        assert_eq!(values(&store.at(1).unwrap().array("a").unwrap()), expected(90_000));
        // Nothing is left to fold, and what comes after is found.
        assert_eq!(optimize(&store, "a").segments_before, 0);
        model.replace(&store, &[0, 44_000], 3.5).unwrap();
        model.delete(&store, &[1]).unwrap();
        assert_eq!(values(&array(&store, "a")), model.values());
        let reopened = on(&storage, Durability::Os);
        assert_eq!(values(&array(&reopened, "a")), model.values());
        let report = reopened.optimize("a", &OptimizeOptions::default()).unwrap();
        assert_eq!((report.rows_dropped, report.rows_folded), (1, 2));
        assert_eq!(values(&array(&reopened, "a")), model.values());
    }
}

#[test]
fn an_edit_that_began_before_finds_its_rows_after() {
    let store = memory();
    create(&store, "a", 4096, 5000);
    let mut model = Model::new(5000);
    model.delete(&store, &(0..1000).step_by(3).collect::<Vec<_>>()).unwrap();
    let mut tx = store.begin().unwrap();
    let new = ndarray::array![[-1.0_f32, -2.0], [-3.0, -4.0]];
    tx.replace_ndarray("a", "value", &[17, 4000], &new).unwrap();
    tx.delete("a", &[18, 4001]).unwrap();
    let report = store.optimize("a", &OptimizeOptions { full: true }).unwrap();
    assert!(report.rows_dropped > 0);
    tx.commit().unwrap();
    model.0[17] = [-1.0, -2.0];
    model.0[4000] = [-3.0, -4.0];
    model.0.remove(4001);
    model.0.remove(18);
    assert_eq!(values(&array(&store, "a")), model.values());
}

#[test]
fn edits_meanwhile_are_never_lost() {
    let storage = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::new())).unwrap().with_in_place(true));
    let store = on(&storage, Durability::Os);
    create(&store, "a", 4096, 20_000);
    let done = std::sync::atomic::AtomicBool::new(false);
    let model = std::thread::scope(|scope| {
        let editor = scope.spawn(|| {
            let (other, mut model) = (on(&storage, Durability::Os), Model::new(20_000));
            for n in 0..150_usize {
                let rows = model.0.len();
                let positions: Vec<i64> = (0..1 + n % 5).map(|i| ((n * 7919 + i * 104_729) % rows) as i64).collect();
                let mut attempts = 0;
                loop {
                    let mut next = model.clone();
                    let edited = match n % 3 {
                        0 => next.delete(&other, &positions),
                        _ => next.replace(&other, &positions, n as f32),
                    };
                    match edited {
                        Ok(()) => {
                            model = next;
                            break;
                        }
                        Err(e) => assert!(e.kind() == ErrorKind::Conflict && attempts < 50, "{e}"),
                    }
                    attempts += 1;
                }
                assert_eq!(array(&other, "a").rows() as usize, model.0.len());
            }
            done.store(true, std::sync::atomic::Ordering::Release);
            model
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            if let Err(e) = store.optimize("a", &OptimizeOptions::default()) {
                assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
            }
        }
        editor.join().unwrap()
    });
    assert_eq!(values(&array(&store, "a")), model.values());
    optimize(&store, "a");
    assert_eq!(values(&array(&on(&storage, Durability::Os), "a")), model.values());
}

#[test]
fn worn_segments_are_rewritten_by_themselves() {
    let storage = Arc::new(MemoryStorage::new());
    let store = Store::on(storage, OpenOptions { auto_compact: true, ..options(Durability::Os) }).unwrap();
    create(&store, "a", 1 << 20, 300_000); // 2.4 MB
    let mut model = Model::new(300_000);
    let segments = array(&store, "a").info().unwrap().segments;
    // Below the thresholds nothing happens.
    model.delete(&store, &(0..30_000).collect::<Vec<_>>()).unwrap();
    store.wait_for_compaction();
    assert_eq!(store.snapshot().unwrap().version(), 2);
    model.delete(&store, &(0..60_000).collect::<Vec<_>>()).unwrap();
    store.wait_for_compaction();
    let version = store.snapshot().unwrap().version();
    assert!(version > 3, "{version}");
    assert_eq!(values(&array(&store, "a")), model.values());
    assert_eq!(optimize(&store, "a").rows_dropped, 0);
    model.replace(&store, &(0..40_000).collect::<Vec<_>>(), 9.5).unwrap();
    store.wait_for_compaction();
    assert_eq!(optimize(&store, "a").rows_folded, 0);
    assert_eq!(values(&array(&store, "a")), model.values());
    assert!(array(&store, "a").info().unwrap().segments <= segments);
}

#[test]
fn many_patches_of_a_small_array_are_folded_by_themselves() {
    let storage = Arc::new(MemoryStorage::new());
    let store = Store::on(storage, OpenOptions { auto_compact: true, ..options(Durability::Os) }).unwrap();
    create(&store, "a", 1 << 20, 1000);
    let mut model = Model::new(1000);
    // Every commit makes a patch segment, as files do not grow here.
    for n in 0..200 {
        model.replace(&store, &[n, 999 - n], n as f32).unwrap();
    }
    store.wait_for_compaction();
    assert!(array(&store, "a").info().unwrap().shards < 200);
    assert_eq!(values(&array(&store, "a")), model.values());
}

#[test]
fn what_is_deleted_altogether_and_what_was_only_resized() {
    let store = memory();
    create(&store, "a", 4096, 3000);
    let mut tx = store.begin().unwrap();
    tx.delete("a", &(0..3000).collect::<Vec<_>>()).unwrap();
    tx.commit().unwrap();
    let report = optimize(&store, "a");
    assert_eq!((report.segments_after, report.rows_dropped), (0, 3000));
    assert_eq!(array(&store, "a").rows(), 0);
    // A million rows that nobody wrote: an edit of one of them does not make files of the others.
    let mut tx = store.begin().unwrap();
    tx.resize("a", 1_000_000).unwrap();
    tx.replace_ndarray("a", "value", &[77], &ndarray::array![[1.0_f32, 2.0]]).unwrap();
    tx.commit().unwrap();
    let report = optimize(&store, "a");
    assert_eq!(report.segments_before, 0, "{report:?}");
    let taken = array(&store, "a").field("value").unwrap().rows::<f32>(76..79).unwrap().as_slice().to_vec();
    assert_eq!(taken, [0.0, 0.0, 1.0, 2.0, 0.0, 0.0]);
    append(&store, "a", 0, 10);
    assert_eq!(array(&store, "a").rows(), 1_000_010);
}
