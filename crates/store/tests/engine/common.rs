//! What the tests share.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyperslab_core::{DType, FieldSpec};
use hyperslab_store::{Array, ArrayOptions, Durability, LocalStorage, OpenOptions, Storage, Store};
use ndarray::Array2;

pub(crate) fn options(durability: Durability) -> OpenOptions {
    OpenOptions {
        create: true,
        durability,
        lock_timeout: Duration::from_secs(10),
        // What the tests count and fail is theirs alone.
        auto_compact: false,
        ..OpenOptions::default()
    }
}

pub(crate) fn on(storage: &Arc<impl Storage + 'static>, durability: Durability) -> Store {
    Store::on(storage.clone(), options(durability)).unwrap()
}

/// A store in a folder in which files grow in place, whatever file system the test runs on.
pub(crate) fn in_folder(path: impl AsRef<Path>) -> Store {
    on(&Arc::new(LocalStorage::open(path, false, Some(true)).unwrap()), Durability::Os)
}

/// One field of two floats a row.
pub(crate) fn fields() -> Vec<FieldSpec> {
    vec![FieldSpec::new("value", DType::Float32, vec![2]).unwrap()]
}

/// Rows `start..start + n` of an endless array of two columns: 0, 1; 2, 3; …
pub(crate) fn rows(start: usize, n: usize) -> Array2<f32> {
    Array2::from_shape_fn((n, 2), |(i, j)| ((start + i) * 2 + j) as f32)
}

pub(crate) fn create(store: &Store, name: &str, shard_bytes: u64, n: usize) -> u64 {
    let mut tx = store.begin().unwrap();
    tx.create(name, fields(), ArrayOptions { shard_bytes, ..ArrayOptions::default() }).unwrap();
    tx.append_ndarray(name, &rows(0, n)).unwrap();
    tx.commit().unwrap()
}

pub(crate) fn append(store: &Store, name: &str, start: usize, n: usize) -> u64 {
    let mut tx = store.begin().unwrap();
    tx.append_ndarray(name, &rows(start, n)).unwrap();
    tx.commit().unwrap()
}

pub(crate) fn array(store: &Store, name: &str) -> Array {
    store.snapshot().unwrap().array(name).unwrap()
}

/// All values of an array of one float field.
pub(crate) fn values(array: &Array) -> Vec<f32> {
    array.field("value").unwrap().view::<f32>().unwrap().as_slice().to_vec()
}

pub(crate) fn expected(n: usize) -> Vec<f32> {
    (0..n * 2).map(|v| v as f32).collect()
}

/// A small generator of numbers (SplitMix64), so that a seed gives the same run everywhere.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// The seeds of a test, printed: new ones in every run, `HYPERSLAB_SEED` repeats one; as many as `runs`, or
/// `HYPERSLAB_RUNS`.
pub(crate) fn seeds(test: &str, runs: u64) -> impl Iterator<Item = u64> {
    let given = |name| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    let seed = given("HYPERSLAB_SEED");
    let runs = given("HYPERSLAB_RUNS").unwrap_or(if seed.is_some() { 1 } else { runs });
    let nanos = std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos() as u64);
    let first = seed.unwrap_or_else(|| Random(nanos ^ u64::from(std::process::id()) << 40).next() >> 16);
    let test = test.to_owned();
    (first..first + runs).inspect(move |seed| eprintln!("{test}: HYPERSLAB_SEED={seed}"))
}
