//! Random operations, with reopening, crashes and readers that stay: the store equals a plain map at every version
//! that is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyperslab_core::{ArraySource, ErrorKind};
use hyperslab_store::testing::{Fault, FaultStorage};
use hyperslab_store::{ArrayOptions, Durability, LocalStorage, MemoryStorage, Snapshot, Storage, Store};
use ndarray::{Array2, Axis, concatenate};

use crate::common::{fields, options};

type Model = BTreeMap<String, Array2<f32>>;

/// A small generator of numbers (SplitMix64), so that a seed gives the same run everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn rows(&mut self) -> Array2<f32> {
        let n = match self.below(10) {
            0 => 0,
            1..6 => self.below(20),
            6..9 => self.below(3000),
            _ => self.below(30_000),
        };
        let first = self.below(1 << 20);
        Array2::from_shape_fn((n, 2), |(i, j)| (first + 2 * i + j) as f32)
    }
}

fn check(seed: u64, step: usize, snapshot: &Snapshot, model: &Model, random: &mut Random) {
    let what = format!("seed {seed}, step {step}, version {}", snapshot.version());
    assert_eq!(snapshot.arrays("public"), model.keys().cloned().collect::<Vec<_>>(), "{what}");
    for (name, rows) in model {
        let array = snapshot.array(name.as_str()).unwrap();
        assert_eq!(array.rows(), rows.nrows() as u64, "{what}, {name}");
        let view = array.field("value").unwrap().view::<f32>().unwrap();
        assert!(view.as_slice() == rows.as_slice().unwrap(), "{what}, {name}: values");
        if rows.nrows() > 0 {
            let row = random.below(rows.nrows());
            let part = array.field("value").unwrap().rows::<f32>(row as u64..array.run_end(0, row as u64)).unwrap();
            assert!(part.as_slice() == &rows.as_slice().unwrap()[row * 2..][..part.as_slice().len()], "{what}, {name}");
        }
    }
}

/// Changes a transaction and the model alike.
fn change(random: &mut Random, tx: &mut hyperslab_store::Transaction, model: &mut Model) {
    let names: Vec<String> = model.keys().cloned().collect();
    let any = |random: &mut Random| names.get(random.below(names.len().max(1))).cloned();
    match (random.below(12), any(random)) {
        (0 | 1, _) | (_, None) => {
            let name = format!("array {}", random.below(12));
            let shard_bytes = [4096, 8192, 1 << 20][random.below(3)];
            let created = tx.create(name.as_str(), fields(), ArrayOptions { shard_bytes, ..ArrayOptions::default() });
            match model.contains_key(&name) {
                true => assert_eq!(created.unwrap_err().kind(), ErrorKind::AlreadyExists),
                false => {
                    created.unwrap();
                    model.insert(name, Array2::zeros((0, 2)));
                }
            }
        }
        (2, Some(name)) => {
            tx.drop_array(name.as_str()).unwrap();
            model.remove(&name);
        }
        (3, Some(name)) => {
            let to = format!("array {}", random.below(12));
            let renamed = tx.rename(name.as_str(), to.as_str());
            match model.contains_key(&to) {
                true => assert_eq!(renamed.unwrap_err().kind(), ErrorKind::AlreadyExists),
                false => {
                    renamed.unwrap();
                    let rows = model.remove(&name).unwrap();
                    model.insert(to, rows);
                }
            }
        }
        (_, Some(name)) => {
            let rows = random.rows();
            tx.append_ndarray(name.as_str(), &rows).unwrap();
            let old = model.remove(&name).unwrap();
            model.insert(name, concatenate![Axis(0), old, rows]);
        }
    }
}

struct Run {
    seed: u64,
    random: Random,
    storage: Arc<FaultStorage>,
    store: Store,
    model: Model,
    kept: Vec<(Arc<Snapshot>, Model)>,
}

impl Run {
    fn reopen(&mut self) {
        let durability = if self.random.below(2) == 0 { Durability::Os } else { Durability::Full };
        self.store = Store::on(self.storage.clone(), options(durability)).unwrap();
    }

    fn step(&mut self, step: usize) {
        let mut tx = self.store.begin().unwrap();
        let mut after = self.model.clone();
        for _ in 0..=self.random.below(4) {
            change(&mut self.random, &mut tx, &mut after);
        }
        match self.random.below(10) {
            0 => drop(tx),
            1 | 2 => {
                // Something fails, or the process dies.
                let call = self.random.below(12) as u64;
                let fault = if self.random.below(2) == 0 { Fault::Fail { call } } else { Fault::Kill { call } };
                self.storage.arm(fault);
                let result = tx.commit();
                self.storage.disarm();
                self.reopen();
                let version = self.store.snapshot().unwrap().version();
                let before = self.kept.last().map_or(0, |(s, _)| s.version());
                let committed = match result {
                    Ok(_) => true,
                    Err(e) if e.kind() == ErrorKind::OutcomeUnknown => version > before,
                    Err(_) => false,
                };
                assert!(committed || version == before, "seed {}, step {step}: an error, and committed", self.seed);
                if committed {
                    self.model = after;
                }
            }
            _ => {
                tx.commit().unwrap();
                self.model = after;
            }
        }
        if self.random.below(8) == 0 {
            self.reopen();
        }
        let snapshot = self.store.snapshot().unwrap();
        check(self.seed, step, &snapshot, &self.model, &mut self.random);
        self.kept.push((snapshot, self.model.clone()));
    }
}

fn run(seed: u64, storage: Arc<dyn Storage>, in_place: bool, steps: usize) {
    let storage = Arc::new(FaultStorage::new(storage).unwrap().with_in_place(in_place));
    let store = Store::on(storage.clone(), options(Durability::Os)).unwrap();
    let mut run = Run { seed, random: Random(seed), storage, store, model: Model::new(), kept: Vec::new() };
    for step in 0..steps {
        run.step(step);
        if run.kept.len() > 20 {
            let n = run.random.below(20);
            run.kept.remove(n);
        }
    }
    // What old snapshots show has not changed.
    for (snapshot, model) in std::mem::take(&mut run.kept) {
        check(seed, steps, &snapshot, &model, &mut run.random);
    }
}

#[test]
fn the_store_equals_the_model() {
    // HYPERSLAB_SEED=<n> repeats one run.
    let given = std::env::var("HYPERSLAB_SEED").ok().and_then(|s| s.parse().ok());
    let first: u64 = given.unwrap_or_else(|| u64::from(std::process::id()) << 8);
    for seed in first..first + if given.is_some() { 1 } else { 3 } {
        println!("HYPERSLAB_SEED={seed}");
        let folder = tempfile::tempdir().unwrap();
        run(seed, Arc::new(MemoryStorage::new()), seed % 2 == 0, 150);
        let local = LocalStorage::open(folder.path(), false, Some(true)).unwrap();
        run(seed, Arc::new(local), true, 100);
    }
}
