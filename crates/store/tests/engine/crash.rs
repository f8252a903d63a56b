//! Every step of every kind of commit fails, is torn, is where the process dies or the power goes: the store is then
//! as it was before or after, never between.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyperslab_core::{ErrorKind, Result};
use hyperslab_store::testing::{Fault, FaultStorage};
use hyperslab_store::{ArrayOptions, Codec, Durability, MemoryStorage, OptimizeOptions, Storage, Store};
use ndarray::Array2;

use crate::common::*;

/// Everything that a store shows: its version and the bits of every value.
type Shown = (u64, BTreeMap<String, Vec<u32>>);

fn show(store: &Store) -> Result<Shown> {
    let snapshot = store.snapshot()?;
    let mut shown = BTreeMap::new();
    for schema in snapshot.schemas() {
        for name in snapshot.arrays(&schema) {
            let array = snapshot.array(hyperslab_store::ArrayName::new(schema.clone(), name))?;
            let view = array.field("value")?.view::<f32>()?;
            assert_eq!(view.shape(), [array.rows() as usize, 2]);
            shown.insert(array.name().to_string(), view.as_slice().iter().map(|v| v.to_bits()).collect());
        }
    }
    Ok((snapshot.version(), shown))
}

struct Case {
    name: &'static str,
    in_place: bool,
    setup: fn(&Store),
    step: fn(&Store) -> Result<()>,
}

fn try_append(store: &Store, name: &str, rows: &Array2<f32>) -> Result<()> {
    let mut tx = store.begin()?;
    tx.append_ndarray(name, rows)?;
    tx.commit().map(drop)
}

const CASES: &[Case] = &[
    Case {
        name: "create and append",
        in_place: true,
        setup: |_| {},
        step: |store| {
            let mut tx = store.begin()?;
            tx.create("a", fields(), ArrayOptions::default())?;
            tx.append_ndarray("a", &rows(0, 10))?;
            tx.commit().map(drop)
        },
    },
    Case {
        name: "append in place",
        in_place: true,
        setup: |store| {
            create(store, "a", 1 << 20, 10);
        },
        step: |store| try_append(store, "a", &rows(10, 10)),
    },
    Case {
        name: "append in place, over shards and segments",
        in_place: true,
        setup: |store| {
            create(store, "a", 4096, 500);
        },
        step: |store| try_append(store, "a", &rows(500, 3000)),
    },
    Case {
        name: "append a new segment",
        in_place: false,
        setup: |store| {
            create(store, "a", 1 << 20, 10);
        },
        step: |store| try_append(store, "a", &rows(10, 10)),
    },
    Case {
        name: "append more than waits in memory",
        in_place: true,
        setup: |store| {
            create(store, "a", 1 << 22, 10);
        },
        step: |store| try_append(store, "a", &rows(10, 1_200_000)),
    },
    Case {
        name: "append to compressed shards",
        in_place: true,
        setup: |store| {
            let mut tx = store.begin().unwrap();
            let options = ArrayOptions { shard_bytes: 1 << 17, codec: Codec::Zstd(1), ..ArrayOptions::default() };
            tx.create("a", fields(), options).unwrap();
            tx.append_ndarray("a", &rows(0, 10)).unwrap();
            tx.commit().unwrap();
        },
        step: |store| try_append(store, "a", &rows(10, 40_000)),
    },
    Case {
        name: "optimize: segments are merged, in several commits",
        in_place: false,
        setup: |store| {
            create(store, "a", 4096, 300);
            (1..20).for_each(|n| {
                append(store, "a", n * 300, 300);
            });
        },
        step: |store| store.optimize("a", &OptimizeOptions::default()).map(drop),
    },
    Case {
        name: "optimize: patches are folded, deleted rows dropped",
        in_place: true,
        setup: |store| {
            create(store, "a", 4096, 3000);
            for n in 0..3 {
                let mut tx = store.begin().unwrap();
                let positions: Vec<i64> = (n..2500).step_by(7).collect();
                let new = Array2::from_shape_fn((positions.len(), 2), |(i, j)| (i * 3 + j) as f32);
                tx.replace_ndarray("a", "value", &positions, &new).unwrap();
                tx.delete("a", &[n, 100 * n, 2000 + n]).unwrap();
                tx.commit().unwrap();
            }
        },
        step: |store| store.optimize("a", &OptimizeOptions::default()).map(drop),
    },
    Case {
        name: "optimize: everything is compressed, the growing segment included",
        in_place: true,
        setup: |store| {
            let mut tx = store.begin().unwrap();
            let options = ArrayOptions { shard_bytes: 1 << 18, codec: Codec::Zstd(1), ..ArrayOptions::default() };
            tx.create("a", fields(), options).unwrap();
            tx.append_ndarray("a", &rows(0, 10)).unwrap();
            tx.commit().unwrap();
            (0..12).for_each(|n| {
                append(store, "a", 10 + n * 8000, 8000);
            });
        },
        step: |store| store.optimize("a", &OptimizeOptions { full: true }).map(drop),
    },
    Case {
        name: "several arrays and schemas",
        in_place: true,
        setup: |store| {
            create(store, "a", 1 << 20, 10);
            create(store, "b", 1 << 20, 20);
            create(store, "c", 1 << 20, 30);
        },
        step: |store| {
            let mut tx = store.begin()?;
            tx.create_schema("s")?;
            tx.rename("a", hyperslab_store::ArrayName::new("s", "a"))?;
            tx.drop_array("b")?;
            tx.create("b", fields(), ArrayOptions::default())?;
            tx.append_ndarray("b", &rows(7, 7))?;
            tx.append_ndarray("c", &rows(30, 7))?;
            tx.commit().map(drop)
        },
    },
    Case {
        name: "a commit after which the log is packed",
        in_place: true,
        setup: |store| {
            create(store, "a", 1 << 20, 1);
            (1..199).for_each(|n| {
                append(store, "a", n, 1);
            });
        },
        step: |store| (199..204).try_for_each(|n| try_append(store, "a", &rows(n, 1))),
    },
];

impl Case {
    /// A storage after the setup, with its store.
    fn start(&self, durability: Durability) -> (Arc<FaultStorage>, Store) {
        let memory = Arc::new(MemoryStorage::new());
        let storage = Arc::new(FaultStorage::new(memory).unwrap().with_in_place(self.in_place));
        let store = on(&storage, durability);
        (self.setup)(&store);
        (storage, store)
    }

    /// The states before and after each commit of the step.
    fn states(&self) -> Vec<Shown> {
        let (storage, store) = self.start(Durability::Os);
        let before = show(&store).unwrap();
        (self.step)(&store).unwrap();
        let after = show(&store).unwrap();
        let mut states = vec![before.clone()];
        for version in before.0 + 1..after.0 {
            if before.1 == after.1 {
                states.push((version, before.1.clone()));
                continue;
            }
            // Only the array `a`, of one row per version.
            let values = expected(version as usize).iter().map(|v| v.to_bits()).collect();
            states.push((version, BTreeMap::from([("a".to_owned(), values)])));
        }
        states.push(after);
        drop(storage);
        states
    }
}

/// The store can be opened, shows one of the states, and takes another commit.
fn check(what: &str, storage: &Arc<FaultStorage>, states: &[Shown], durability: Durability) -> Shown {
    let store = Store::on(storage.clone(), options(durability)).unwrap_or_else(|e| panic!("{what}: {e}"));
    let shown = show(&store).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(states.contains(&shown), "{what}: version {} is none of the states", shown.0);
    if what.starts_with("optimize") {
        store.optimize("a", &OptimizeOptions { full: true }).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(show(&store).unwrap().1, shown.1, "{what}: run again");
    }
    create(&store, "another", 1 << 20, 3);
    if let Some(bits) = shown.1.get("a") {
        append(&store, "a", 77, 2);
        let grown = values(&array(&store, "a"));
        let old: Vec<f32> = bits.iter().map(|&b| f32::from_bits(b)).collect();
        assert_eq!(grown[..old.len()], old[..], "{what}");
        assert_eq!(grown[old.len()..], rows(77, 2).into_raw_vec_and_offset().0[..], "{what}");
    }
    let reopened = Store::on(storage.clone(), options(durability)).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(values(&array(&reopened, "another")), expected(3), "{what}");
    shown
}

#[test]
fn a_step_that_fails_or_kills_leaves_before_or_after() {
    for case in CASES {
        let states = case.states();
        for durability in [Durability::Os, Durability::Full] {
            let (storage, store) = case.start(durability);
            let before = storage.counts().mutations();
            (case.step)(&store).unwrap();
            let calls = storage.counts().mutations() - before;
            assert!(calls >= 1, "{}", case.name);
            for call in 0..calls {
                for fault in [Fault::Fail { call }, Fault::Kill { call }, Fault::Tear { write: call }] {
                    let what = format!("{} under {durability:?}, {fault:?} of {calls}", case.name);
                    let (storage, store) = case.start(durability);
                    storage.arm(fault);
                    let result = (case.step)(&store);
                    drop(store);
                    storage.disarm();
                    let shown = check(&what, &storage, &states, durability);
                    match result {
                        Ok(()) => assert_eq!(Some(&shown), states.last(), "{what}"),
                        Err(e) if e.kind() == ErrorKind::OutcomeUnknown => {}
                        Err(_) => assert_ne!(Some(&shown), states.last(), "{what}: an error, and committed"),
                    }
                }
            }
        }
    }
}

#[test]
fn a_power_cut_leaves_before_or_after() {
    for case in CASES {
        let states = case.states();
        let (storage, store) = case.start(Durability::Full);
        let first = storage.counts().mutations();
        (case.step)(&store).unwrap();
        let end = storage.counts().mutations();
        for call in first..=end {
            for keeping in 0..6u64 {
                let what =
                    format!("{}, power cut before call {} of {}, {keeping}", case.name, call - first, end - first);
                let keep = |step: usize| match keeping {
                    0 => false,
                    1 => true,
                    seed => (step as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 == 0,
                };
                let after = Arc::new(storage.crash_at(call, keep).unwrap());
                let shown = check(&what, &after, &states, Durability::Full);
                if call == end {
                    assert_eq!(Some(&shown), states.last(), "{what}: a durable commit is lost");
                }
            }
        }
    }
}

#[test]
fn a_disk_that_lies_leaves_before_or_after() {
    for case in CASES {
        let states = case.states();
        let (storage, store) = case.start(Durability::Full);
        let first = storage.counts().mutations();
        (case.step)(&store).unwrap();
        let calls = storage.counts().mutations() - first;
        for call in 0..calls {
            let (storage, store) = case.start(Durability::Full);
            storage.arm(Fault::Freeze { call });
            let _whatever = (case.step)(&store);
            drop(store);
            storage.disarm();
            check(&format!("{}, frozen at {call} of {calls}", case.name), &storage, &states, Durability::Full);
        }
    }
}

#[test]
fn a_failed_sync_ends_the_writing() {
    for in_place in [false, true] {
        let start = || {
            let memory = Arc::new(MemoryStorage::new());
            let storage = Arc::new(FaultStorage::new(memory).unwrap().with_in_place(in_place));
            let store = on(&storage, Durability::Full);
            create(&store, "a", 1 << 20, 10);
            (storage, store)
        };
        let (storage, store) = start();
        let before = storage.counts().syncs();
        append(&store, "a", 10, 10);
        let syncs = storage.counts().syncs() - before;
        assert!(syncs >= 3, "data, entry, folder: {syncs}");
        for sync in 0..syncs {
            let (storage, store) = start();
            storage.arm(Fault::FailSync { sync });
            let error = try_append(&store, "a", &rows(10, 10)).unwrap_err();
            let last = sync + 1 == syncs;
            assert_eq!(error.kind() == ErrorKind::OutcomeUnknown, last, "sync {sync} of {syncs}: {error}");
            // Nothing more is written through this handle; another one goes on from what is there.
            let refused = try_append(&store, "a", &rows(10, 10)).map_err(|e| e.kind());
            if sync + 2 != syncs {
                assert_eq!(refused, Err(ErrorKind::OutcomeUnknown), "sync {sync}");
            }
            storage.disarm();
            let store = on(&storage, Durability::Full);
            let rows = array(&store, "a").rows() as usize;
            append(&store, "a", rows, 5);
            assert_eq!(values(&array(&store, "a")), expected(rows + 5));
        }
    }
}

#[test]
fn a_full_disk_leaves_the_old_version_and_no_files() {
    for in_place in [false, true] {
        for (bytes, n) in [(0, 10), (100, 10), (4096, 10), (5000, 10), (1 << 20, 1_200_000), (12 << 20, 1_200_000)] {
            let memory = Arc::new(MemoryStorage::new());
            let storage = Arc::new(FaultStorage::new(memory).unwrap().with_in_place(in_place));
            let store = on(&storage, Durability::Full);
            create(&store, "a", 1 << 22, 10);
            let (before, files) = (show(&store).unwrap(), all_files(storage.as_ref()));
            storage.arm(Fault::DiskFull { bytes });
            match try_append(&store, "a", &rows(10, n)) {
                Ok(()) => assert!(bytes > n as u64 * 8, "{bytes} bytes were enough for {n} rows"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                    assert_eq!(all_files(storage.as_ref()), files, "{error}");
                    assert_eq!(show(&store).unwrap(), before);
                }
            }
            storage.disarm();
            let rows = array(&store, "a").rows() as usize;
            append(&store, "a", rows, 10);
            assert_eq!(values(&array(&store, "a")), expected(rows + 10));
        }
    }
}

/// The shards' paths.
fn all_files(storage: &dyn Storage) -> Vec<String> {
    let folders = storage.list("arrays").unwrap();
    folders.iter().flat_map(|f| storage.list(&format!("arrays/{f}")).unwrap()).collect()
}

#[test]
fn a_durable_commit_makes_what_came_before_durable() {
    for in_place in [false, true] {
        let memory = Arc::new(MemoryStorage::new());
        let storage = Arc::new(FaultStorage::new(memory).unwrap().with_in_place(in_place));
        let lazy = on(&storage, Durability::Os);
        create(&lazy, "a", 4096, 10);
        create(&lazy, "b", 4096, 10);
        (1..150).for_each(|n| {
            append(&lazy, "a", n * 10, 10);
        });
        // Another handle, which has to find out from the log.
        let store = on(&storage, Durability::Full);
        append(&store, "b", 10, 10);
        let after = Arc::new(storage.crash().unwrap());
        let store = on(&after, Durability::Full);
        assert_eq!(store.snapshot().unwrap().version(), 152);
        assert_eq!(values(&array(&store, "a")), expected(1500));
        assert_eq!(values(&array(&store, "b")), expected(20));
        // Once is enough: the next durable commit syncs its own only.
        let before = after.counts().syncs();
        append(&store, "b", 20, 10);
        assert!(after.counts().syncs() - before <= 5);
    }
}
