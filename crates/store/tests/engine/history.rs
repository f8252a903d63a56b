//! Older versions, what each did, tags, times, waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use hyperslab_core::{ArraySource, DType, ErrorKind, FieldSpec};
use hyperslab_store::{
    ArrayOptions, Diff, Durability, LocalStorage, MemoryStorage, OpenOptions, OptimizeOptions, Storage, Store,
};

use crate::common::{Random, append, array, create, expected, in_folder, on, options, seeds, values};

fn rows_at(store: &Store, version: u64) -> usize {
    values(&store.at(version).unwrap().array("a").unwrap()).len() / 2
}

/// More versions than one pack and one checkpoint, so that entries come from loose files and packs, and states from
/// checkpoints and from the beginning.
#[test]
fn every_version_is_read_again() {
    let storage = Arc::new(MemoryStorage::new());
    let store = on(&storage, Durability::Os);
    create(&store, "a", 1 << 16, 1);
    for n in 1..450 {
        assert_eq!(append(&store, "a", n, 1), n as u64 + 1);
    }
    let log = storage.list("_log").unwrap();
    assert!(log.iter().any(|f| f.ends_with(".jsonl")) && log.iter().any(|f| f.contains("checkpoint")), "{log:?}");
    // Both the handle that wrote them and one that never saw them, in no order.
    for store in [&store, &on(&storage, Durability::Os)] {
        for version in [450, 1, 449, 2, 250, 100, 99, 101, 3, 1, 251, 400, 399] {
            let snapshot = store.at(version).unwrap();
            assert_eq!(snapshot.version(), version);
            assert_eq!(values(&snapshot.array("a").unwrap()), expected(version as usize));
        }
        assert!(!store.at(0).unwrap().contains("a"));
    }
    let error = store.at(451).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("the newest is 450"), "{error}");
}

#[test]
fn times_name_versions() {
    let store = Store::memory();
    create(&store, "a", 1 << 16, 1);
    for n in 1..250 {
        append(&store, "a", n, 1);
    }
    for version in [0, 1, 7, 99, 100, 249, 250] {
        let time = store.at(version).unwrap().time();
        assert_eq!(store.at_time(time).unwrap().version(), version);
        let before = store.at_time(time - Duration::from_micros(1));
        match version {
            0 => assert_eq!(before.unwrap_err().kind(), ErrorKind::NotFound),
            _ => assert_eq!(before.unwrap().version(), version - 1),
        }
    }
    assert_eq!(store.at_time(SystemTime::now() + Duration::from_secs(3600)).unwrap().version(), 250);
    assert_eq!(store.at_time(UNIX_EPOCH).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn what_versions_did_is_told() {
    let store = Store::memory();
    create(&store, "a", 1 << 16, 3);
    append(&store, "a", 3, 2);
    let mut tx = store.begin().unwrap();
    tx.rename("a", "b").unwrap();
    tx.set_message("a better name");
    tx.commit().unwrap();
    create(&store, "a", 1 << 16, 1);
    let mut tx = store.begin().unwrap();
    tx.drop_array("b").unwrap();
    tx.commit().unwrap();

    let told = |versions: Vec<hyperslab_store::VersionInfo>| -> Vec<String> {
        let one = |v: &hyperslab_store::VersionInfo| {
            let changes = v.changes.iter().map(|c| {
                let (name, rows) = (c.array.as_ref().map(ToString::to_string), c.rows.map(|r| r.to_string()));
                format!("{} {} {}", c.action, name.unwrap_or_default(), rows.unwrap_or_default())
            });
            format!("{}: {}", v.version, changes.map(|c| c.trim().to_owned()).collect::<Vec<_>>().join(", "))
        };
        versions.iter().map(one).collect()
    };
    let versions = store.versions().unwrap();
    assert_eq!(versions[3].message.as_deref(), Some("a better name"));
    assert_eq!(versions[3].changes[0].detail, "from a");
    assert!(versions.windows(2).all(|w| w[0].time < w[1].time));
    let all = [
        "0: protocol",
        "1: create a, append a 3",
        "2: append a 2",
        "3: rename b",
        "4: create a, append a 1",
        "5: drop b",
    ];
    assert_eq!(told(versions), all);
    // The name means the array that has it now; the other is found by the name that it had last.
    assert_eq!(told(store.history("a").unwrap()), ["4: create a, append a 1"]);
    assert_eq!(
        told(store.history("b").unwrap()),
        ["1: create a, append a 3", "2: append a 2", "3: rename b", "5: drop b"]
    );
    assert_eq!(store.history("c").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn versions_are_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = in_folder(dir.path());
    create(&store, "a", 1 << 16, 1);
    assert!(store.wait_for_version(1, Duration::ZERO).unwrap());
    assert!(!store.wait_for_version(2, Duration::from_millis(5)).unwrap());
    // By this handle, and by another one of the folder, as another process would have it.
    for (writer, version) in [(store.clone(), 2), (in_folder(dir.path()), 3)] {
        let waiting = store.clone();
        let waiter = std::thread::spawn(move || waiting.wait_for_version(version, Duration::from_secs(60)).unwrap());
        assert_eq!(append(&writer, "a", version as usize - 1, 1), version);
        assert!(waiter.join().unwrap());
        assert_eq!(array(&store, "a").rows(), version);
    }
}

/// A later entry is damaged: the store does not open, but as what it was before it does, for reading.
#[test]
fn a_store_opens_as_it_was_before_the_damage() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = in_folder(dir.path());
        create(&store, "a", 1 << 16, 1);
        for n in 1..6 {
            append(&store, "a", n, 1);
        }
    }
    let entry = dir.path().join("_log/00000000000000000004.json");
    let text = std::fs::read_to_string(&entry).unwrap();
    std::fs::write(&entry, text.replace("\"rows\":4", "\"rows\":5")).unwrap();
    let open = |at| {
        let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(dir.path(), true, Some(true)).unwrap());
        Store::on(storage, OpenOptions { at, ..OpenOptions::default() })
    };
    let error = open(None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("00000000000000000004.json"), "{error}");
    assert_eq!(open(Some(5)).unwrap_err().kind(), ErrorKind::Corrupt);
    let error = open(Some(7)).unwrap_err();
    assert!(error.to_string().contains("the newest is 6"), "{error}");

    let store = open(Some(3)).unwrap();
    assert_eq!((store.snapshot().unwrap().version(), rows_at(&store, 3), rows_at(&store, 2)), (3, 3, 2));
    assert_eq!(store.versions().unwrap().len(), 4);
    assert!(store.read_only());
    assert_eq!(store.at(4).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!store.wait_for_version(4, Duration::from_secs(60)).unwrap());
    assert_eq!(
        store.begin().unwrap().create("b", crate::common::fields(), Default::default()).unwrap_err().kind(),
        ErrorKind::ReadOnly
    );
    // Also where a later entry is gone altogether, which makes a gap.
    std::fs::remove_file(&entry).unwrap();
    assert_eq!(rows_at(&open(Some(3)).unwrap(), 3), 3);
}

/// One field of an id that is never used twice, one of a value.
fn keyed() -> Vec<FieldSpec> {
    let field = |name| FieldSpec::new(name, DType::Int64, vec![]).unwrap();
    vec![field("id"), field("value")]
}

fn column(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Int64Array>())
}

fn numbers(array: &hyperslab_store::Array, field: usize) -> Vec<i64> {
    let block = array.read(field, 0..array.rows()).unwrap();
    block.array.as_primitive::<Int64Type>().values().to_vec()
}

/// What a diff says, sorted: (id, value before, value after), and the positions where it says so.
fn told(diff: &mut Diff) -> Vec<(i64, Option<i64>, Option<i64>)> {
    let ids = |a: Option<&hyperslab_store::Array>| a.map(|a| (numbers(a, 0), numbers(a, 1)));
    let (old, new) = (ids(diff.old()), ids(diff.new_array()));
    let mut rows = Vec::new();
    loop {
        let changes = diff.next_changes(3).unwrap();
        if changes.is_empty() {
            break;
        }
        for change in changes {
            let of = |side: &Option<(Vec<i64>, Vec<i64>)>, row: Option<u64>| {
                row.map(|row| (side.as_ref().unwrap().0[row as usize], side.as_ref().unwrap().1[row as usize]))
            };
            let (before, after) = (of(&old, change.old), of(&new, change.new));
            if let (Some(before), Some(after)) = (before, after) {
                assert_eq!(before.0, after.0, "{change:?}");
            }
            let id = before.or(after).unwrap().0;
            rows.push((id, before.map(|b| b.1), after.map(|a| a.1)));
        }
    }
    rows.sort_unstable();
    rows
}

fn wanted(old: &BTreeMap<i64, i64>, new: &BTreeMap<i64, i64>) -> Vec<(i64, Option<i64>, Option<i64>)> {
    let ids: BTreeSet<i64> = old.keys().chain(new.keys()).copied().collect();
    let rows = ids.into_iter().map(|id| (id, old.get(&id).copied(), new.get(&id).copied()));
    rows.filter(|(_, old, new)| old != new).collect()
}

/// Random edits, compactions, restores and renames: between any two versions a diff says exactly what changed, forwards
/// and backwards.
#[test]
fn diffs_are_what_changed() {
    for seed in seeds("diffs_are_what_changed", 12) {
        let mut random = Random(seed);
        let storage = Arc::new(MemoryStorage::new());
        let store = Store::on(storage, OpenOptions { auto_compact: false, ..options(Durability::Os) }).unwrap();
        let mut tx = store.begin().unwrap();
        tx.create("a", keyed(), ArrayOptions { shard_bytes: 1 << 12, ..ArrayOptions::default() }).unwrap();
        tx.commit().unwrap();
        // What every version holds, by id.
        let mut versions: Vec<BTreeMap<i64, i64>> = vec![BTreeMap::new(), BTreeMap::new()];
        let mut next = 0_i64;
        for _ in 0..30 {
            let mut now = versions.last().unwrap().clone();
            let array = store.snapshot().unwrap().array("a").unwrap();
            let (ids, rows) = (numbers(&array, 0), array.rows() as usize);
            let some: Vec<i64> =
                (0..random.below(40)).map(|_| random.below(rows) as i64).filter(|_| rows > 0).collect();
            let mut tx = store.begin().unwrap();
            match random.below(9) {
                0..=2 => {
                    let n = random.below(300) as i64 + 1;
                    let batch = RecordBatch::try_from_iter([
                        ("id", column(next..next + n)),
                        ("value", column((0..n).map(|v| v % 7))),
                    ]);
                    tx.append("a", &batch.unwrap()).unwrap();
                    now.extend((0..n).map(|v| (next + v, v % 7)));
                    next += n;
                }
                3 | 4 => {
                    // Half of them get the value that they have.
                    let value = |row: &i64| now[&ids[*row as usize]];
                    let values: Vec<i64> = some.iter().map(|row| value(row) + random.below(2) as i64).collect();
                    let batch = RecordBatch::try_from_iter([("value", column(values.iter().copied()))]).unwrap();
                    tx.replace("a", &some, &batch).unwrap();
                    now.extend(some.iter().zip(values).map(|(row, value)| (ids[*row as usize], value)));
                }
                5 | 6 => {
                    tx.delete("a", &some).unwrap();
                    now.retain(|id, _| !some.iter().any(|row| ids[*row as usize] == *id));
                }
                7 => {
                    drop(tx);
                    store.optimize("a", &OptimizeOptions { full: random.below(2) == 0 }).unwrap();
                    while versions.len() as u64 <= store.snapshot().unwrap().version() {
                        versions.push(now.clone());
                    }
                    continue;
                }
                _ => {
                    let version = 1 + random.below(versions.len() - 1);
                    tx.restore("a", version as u64).unwrap();
                    now = versions[version].clone();
                }
            }
            tx.commit().unwrap();
            while versions.len() as u64 <= store.snapshot().unwrap().version() {
                versions.push(now.clone());
            }
        }
        for _ in 0..60 {
            let (from, to) = (1 + random.below(versions.len() - 1), 1 + random.below(versions.len() - 1));
            let mut diff = store.diff("a", from as u64, to as u64).unwrap();
            let wanted = wanted(&versions[from], &versions[to]);
            assert_eq!(told(&mut diff), wanted, "seed {seed}, version {from} to {to} of {:?}", store.history("a"));
        }
    }
}

#[test]
fn an_array_whose_name_was_taken_comes_back_with_its_past() {
    let store = on(&Arc::new(MemoryStorage::new()), Durability::Os);
    let first = create(&store, "a", 1 << 20, 3);
    let mut tx = store.begin().unwrap();
    tx.drop_array("a").unwrap();
    tx.create("a", keyed(), ArrayOptions::default()).unwrap();
    tx.commit().unwrap();
    let mut tx = store.begin().unwrap();
    tx.restore("a", first).unwrap();
    let last = tx.commit().unwrap();
    assert_eq!(values(&array(&store, "a")), expected(3));
    // Its rows are those of then, and its history begins there.
    assert!(store.diff("a", first, last).unwrap().next_changes(9).unwrap().is_empty());
    let history: Vec<u64> = store.history("a").unwrap().iter().map(|v| v.version).collect();
    assert_eq!((history.first(), history.last()), (Some(&first), Some(&last)));
    assert_eq!(append(&store, "a", 3, 2), last + 1);
}

/// A restored version and new patches have as many as the version before, after the same first ones.
#[test]
fn diffs_tell_patches_of_a_restored_version_apart() {
    let store = on(&Arc::new(MemoryStorage::new()), Durability::Os);
    create(&store, "a", 1 << 20, 10);
    let replace = |row: i64, value: usize| {
        let mut tx = store.begin().unwrap();
        tx.replace_ndarray("a", "value", &[row], &crate::common::rows(value, 1)).unwrap();
        tx.commit().unwrap()
    };
    let first = replace(0, 50);
    let second = replace(1, 51);
    let mut tx = store.begin().unwrap();
    tx.restore("a", first).unwrap();
    tx.commit().unwrap();
    let third = replace(2, 52);
    let rows: Vec<_> = store.diff("a", second, third).unwrap().next_changes(9).unwrap().iter().map(|c| c.new).collect();
    assert_eq!(rows, [Some(1), Some(2)]);
}
