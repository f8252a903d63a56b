//! Costs that must not grow, counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_buffer::Buffer;
use hyperslab_core::Result;
use hyperslab_store::testing::{Counts, FaultStorage};
use hyperslab_store::{Durability, FileInfo, FileRange, LocalStorage, LockGuard, MemoryStorage, Storage, Store};

use crate::common::*;

/// Notes the names and sizes of what is read.
#[derive(Debug)]
struct Reads {
    inner: Arc<dyn Storage>,
    read: Mutex<BTreeMap<String, u64>>,
}

impl Storage for Reads {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn in_place(&self) -> bool {
        self.inner.in_place()
    }
    fn read_only(&self) -> bool {
        self.inner.read_only()
    }
    fn map(&self, ranges: &[FileRange]) -> Result<Option<Buffer>> {
        self.inner.map(ranges)
    }
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let bytes = self.inner.read(path)?;
        if let Some(bytes) = &bytes {
            *self.read.lock().unwrap().entry(path.to_owned()).or_default() += bytes.len() as u64;
        }
        Ok(bytes)
    }
    fn len(&self, path: &str) -> Result<Option<u64>> {
        self.inner.len(path)
    }
    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.inner.list(folder)
    }
    fn create_new(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.inner.create_new(path, bytes)
    }
    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.inner.replace(path, bytes)
    }
    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        self.inner.write_at(path, offset, bytes)
    }
    fn remove(&self, path: &str) -> Result<()> {
        self.inner.remove(path)
    }
    fn files(&self, folder: &str) -> Result<Vec<FileInfo>> {
        self.inner.files(folder)
    }
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.inner.rename(from, to)
    }
    fn remove_folder(&self, folder: &str) -> Result<()> {
        self.inner.remove_folder(folder)
    }
    fn sync_file(&self, path: &str) -> Result<()> {
        self.inner.sync_file(path)
    }
    fn sync_folder(&self, folder: &str) -> Result<()> {
        self.inner.sync_folder(folder)
    }
    fn lock(&self, timeout: Duration) -> Result<Box<dyn LockGuard>> {
        self.inner.lock(timeout)
    }
}

/// Opens a store of `versions` versions and holds what is read against the checkpoint's size.
fn opening_reads_little(in_place: bool, versions: u64) {
    let storage = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::new())).unwrap().with_in_place(in_place));
    let store = on(&storage, Durability::Os);
    create(&store, "a", 1 << 20, 1);
    for n in 1..versions as usize {
        assert_eq!(append(&store, "a", n, 1), n as u64 + 1);
    }
    drop(store);
    let reads = Arc::new(Reads { inner: storage.inner(), read: Mutex::default() });
    let before = storage.counts();
    let store = on(&reads, Durability::Os);
    let snapshot = store.snapshot().unwrap();
    assert_eq!((snapshot.version(), snapshot.array("a").unwrap().rows()), (versions, versions));
    assert_eq!(storage.counts(), before, "only reads the inner storage");
    let read = reads.read.lock().unwrap().clone();
    let weigh = |suffix: &str, not: &str| -> Vec<u64> {
        read.iter().filter(|(p, _)| p.ends_with(suffix) && !p.ends_with(not)).map(|(_, bytes)| *bytes).collect()
    };
    let checkpoints = weigh(".checkpoint.json", "-");
    assert_eq!(checkpoints.len(), 1, "{read:?}");
    let entries: u64 = weigh(".json", ".checkpoint.json").iter().filter(|_| true).sum();
    let store_file = read.get("hyperslab.json").copied().unwrap_or(0);
    assert!(entries - store_file <= checkpoints[0].max(4 << 10), "{read:?}");
    assert!(weigh(".jsonl", "-").is_empty(), "{read:?}");
    // A look for something newer costs no listing and reads nothing.
    let before = storage.counts();
    let looked = reads.read.lock().unwrap().len();
    store.snapshot().unwrap();
    assert_eq!((storage.counts(), reads.read.lock().unwrap().len()), (before, looked));
    // The newest hundred entries are files of their own, the others are packed, two checkpoints are kept.
    let names = storage.list("_log").unwrap();
    let count = |suffix: &str| names.iter().filter(|n| n.ends_with(suffix)).count() as u64;
    assert!(count(".checkpoint.json") <= 2, "{names:?}");
    let loose = count(".json") - count(".checkpoint.json");
    assert_eq!(count(".jsonl") * 100 + loose, versions + 1);
    assert!(loose >= 100, "{loose}");
}

#[test]
fn opening_ten_thousand_versions_reads_one_checkpoint_and_little_more() {
    opening_reads_little(true, 10_000);
}

#[test]
fn opening_many_segments_reads_one_checkpoint_and_little_more() {
    opening_reads_little(false, 1_000);
}

#[test]
fn the_snapshot_of_an_unchanged_store_is_two_looks() {
    let storage = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::new())).unwrap());
    let store = on(&storage, Durability::Full);
    create(&store, "a", 1 << 20, 1);
    // The first of a version writes the pin, and looks once more.
    store.snapshot().unwrap();
    let before = storage.counts();
    store.snapshot().unwrap();
    assert_eq!(storage.counts() - before, Counts { lens: 2, ..Counts::default() });
}

/// A store in a folder whose array has `rows` rows, most of them in holes of sparse files.
fn sparse(folder: &std::path::Path, rows: u64) -> (Arc<FaultStorage>, Store) {
    let local = Arc::new(LocalStorage::open(folder, false, Some(true)).unwrap());
    let store = Store::on(local.clone(), options(Durability::Os)).unwrap();
    create(&store, "a", 256 << 20, 100);
    drop(store);
    grow(local.as_ref(), rows);
    let storage = Arc::new(FaultStorage::new(local).unwrap());
    let store = on(&storage, Durability::Os);
    assert_eq!(array(&store, "a").rows(), rows);
    (storage, store)
}

/// Rewrites the log by hand, so that the array has `rows` rows in shards and segments of the usual sizes.
fn grow(storage: &dyn Storage, rows: u64) {
    const SHARD: u64 = 33_554_432;
    const SEGMENT: u64 = 1 << 24;
    let entry = String::from_utf8(storage.read("_log/00000000000000000001.json").unwrap().unwrap()).unwrap();
    let mut entry: serde_json::Value = serde_json::from_str(&entry).unwrap();
    let actions = entry["actions"].as_array_mut().unwrap();
    let add = actions.pop().unwrap();
    let array = add["segment.add"]["array"].as_str().unwrap().to_owned();
    assert_eq!(SHARD * 8, 256 << 20);
    let mut left = rows;
    let mut n = 0;
    while left > 0 {
        let here = left.min(SEGMENT);
        left -= here;
        let mut add = add.clone();
        let file = format!("sparse-{n}.npy");
        let segment = &mut add["segment.add"];
        segment["segment"] = n.into();
        segment["rows"] = here.into();
        let shard = &mut segment["shards"][0];
        shard["file"] = file.clone().into();
        shard["rows"] = here.into();
        shard["bytes"] = (here * 8).into();
        storage.write_at(&format!("arrays/{array}/{file}"), 4096 + here * 8 - 1, &[0]).unwrap();
        actions.push(add);
        n += 1;
    }
    entry.as_object_mut().unwrap().remove("crc32c");
    // The keys keep their order: `prev` must match, and nothing else depends on it.
    let mut bytes = serde_json::to_vec(&entry).unwrap();
    bytes.pop();
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(format!(",\"crc32c\":\"{crc:08x}\"}}\n").as_bytes());
    for name in storage.list("_log").unwrap() {
        if name.contains("checkpoint") {
            storage.remove(&format!("_log/{name}")).unwrap();
        }
    }
    storage.replace("_log/00000000000000000001.json", &bytes).unwrap();
}

#[test]
fn appending_costs_the_same_whatever_the_array_holds() {
    let cost = |rows_before: u64| {
        let folder = tempfile::tempdir().unwrap();
        let (storage, store) = sparse(folder.path(), rows_before);
        let mut costs = Vec::new();
        for n in 0..3 {
            let before = storage.counts();
            append(&store, "a", n * 100, 100);
            costs.push(storage.counts() - before);
        }
        let view = array(&store, "a").field("value").unwrap().rows::<f32>(rows_before..rows_before + 300).unwrap();
        assert_eq!(view.as_slice(), [expected(100), rows(100, 200).into_raw_vec_and_offset().0].concat());
        assert!(view.is_view());
        costs
    };
    // The second of three: the first writes the checkpoint that is missing, the third may write another one.
    let (small, large) = (cost(1_000)[1], cost(100_000_000)[1]);
    assert!(small.bytes_written > 4096 + 800, "header, rows, entry");
    // The same calls, and the same bytes but for the digits of larger numbers in the log entry.
    assert_eq!(Counts { bytes_written: 0, ..small }, Counts { bytes_written: 0, ..large });
    assert!(large.bytes_written - small.bytes_written < 32, "{small:?} {large:?}");
}

#[test]
fn edits_cost_the_same_whatever_the_array_holds() {
    let cost = |rows_before: u64| {
        let folder = tempfile::tempdir().unwrap();
        let (storage, store) = sparse(folder.path(), rows_before);
        let last = rows_before as i64 - 1;
        let mut costs = Vec::new();
        for n in 0..6_i64 {
            let mut tx = store.begin().unwrap();
            let before = storage.counts();
            tx.replace_ndarray("a", "value", &[n, last - n], &rows(0, 2)).unwrap();
            tx.delete("a", &[50 + n]).unwrap();
            assert_eq!(storage.counts() - before, Counts::default(), "nothing is read or written before the commit");
            tx.commit().unwrap();
            costs.push(storage.counts() - before);
        }
        // Of six: the first makes the patch files, some write a checkpoint.
        costs.into_iter().skip(1).min_by_key(|c| c.mutations()).unwrap()
    };
    let (small, large) = (cost(1_000), cost(100_000_000));
    assert_eq!(Counts { bytes_written: 0, ..small }, Counts { bytes_written: 0, ..large });
    assert!(large.bytes_written.abs_diff(small.bytes_written) < 64, "{small:?} {large:?}");
}

#[test]
fn edits_cost_the_same_whatever_was_committed_before() {
    let storage = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::new())).unwrap().with_in_place(true));
    let store = on(&storage, Durability::Full);
    create(&store, "a", 1 << 20, 1000);
    let mut cheapest = Vec::new();
    for _ in 0..2 {
        let mut costs = Vec::new();
        for n in 0..150_i64 {
            let mut tx = store.begin().unwrap();
            tx.replace_ndarray("a", "value", &[n * 3, n * 5], &rows(0, 2)).unwrap();
            let before = storage.counts();
            tx.commit().unwrap();
            costs.push(storage.counts() - before);
        }
        cheapest.push(costs.into_iter().skip(1).min_by_key(|c| c.mutations()).unwrap());
    }
    let [early, late] = cheapest.try_into().unwrap();
    assert_eq!(Counts { bytes_written: 0, ..early }, Counts { bytes_written: 0, ..late });
    // Addresses, values and entry, and the log's folder.
    assert_eq!(late.sync_calls + late.creates, 4, "{late:?}");
}
