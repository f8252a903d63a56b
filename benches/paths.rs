//! The paths whose speed is promised, each beside its floor in the same run, and the ratios.
//!
//! `make bench` runs all; `cargo bench -p hyperslab-benches -p hyperslab-cli --bench paths append` one group. Absolute times
//! drift on shared machines: only the ratios in the table at the end count.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench, which prints its table")]

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use criterion::Criterion;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use hyperslab::{ArrayOptions, DType, Durability, FieldSpec, OpenOptions, Session, SessionOptions, Store};
use hyperslab_benches::{median, noise, sum};
use tokio::runtime::Runtime;

const ROWS: usize = 1_000_000;
const DIM: usize = 128;
const THREADS: usize = 2;

/// (what, against which floor, group, bench, floor's bench)
const RATIOS: &[(&str, &str, &str, &str, &str)] = &[
    ("view of the field, summed, 1 thread", "summing a mapped file", "scan", "view", "floor 1"),
    ("SELECT value, every batch summed", "summing a mapped file", "scan", "sql", "floor 2"),
    (
        "view after edits, summed by batches, 1 thread",
        "summing the clean batches",
        "edited",
        "batches",
        "clean batches",
    ),
    ("SELECT value after edits, summed", "the same before the edits", "edited", "sql", "clean sql"),
    ("append 100 rows, commit os", "pwrite of the same bytes", "append", "os", "floor"),
    ("append 100 rows, commit full", "pwrite + 4 fsync", "append", "full", "floor full"),
    ("open a store with 10,000 versions", "reading its checkpoint", "open", "open", "floor"),
];

fn main() {
    let start = SystemTime::now();
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
        .configure_from_args();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let vectors = vectors(&folder.path().join("vectors.slab"));
    scan(&mut criterion, &runtime, &vectors, folder.path());
    edited(&mut criterion, &runtime, &vectors);
    append(&mut criterion, folder.path());
    open(&mut criterion, folder.path());
    criterion.final_summary();
    print_ratios(start);
}

fn print_ratios(start: SystemTime) {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target"),
        std::path::PathBuf::from,
    );
    println!("\n| path | floor | ratio |\n|---|---|---|");
    for (what, against, group, bench, floor) in RATIOS {
        let folder = target.join("criterion");
        if let (Ok(ours), Ok(theirs)) = (median(&folder, group, bench, start), median(&folder, group, floor, start)) {
            println!("| {what} ({:.2} ms) | {against} ({:.2} ms) | {:.2} |", ours / 1e6, theirs / 1e6, ours / theirs);
        }
    }
}

/// 1M × 128 float32 in a store.
fn vectors(path: &Path) -> Store {
    let store = Store::open(path).unwrap();
    let mut tx = store.begin().unwrap();
    let field = FieldSpec::new("value", DType::Float32, vec![DIM]).unwrap();
    tx.create("vectors", vec![field], ArrayOptions::default()).unwrap();
    let values = ndarray::Array2::from_shape_vec((ROWS, DIM), noise(ROWS * DIM)).unwrap();
    tx.append_ndarray("vectors", &values).unwrap();
    tx.commit().unwrap();
    store
}

fn session(store: &Store) -> Session {
    Session::new(store.clone(), SessionOptions { target_partitions: Some(THREADS), ..SessionOptions::default() })
}

fn scan(criterion: &mut Criterion, runtime: &Runtime, store: &Store, folder: &Path) {
    let file = folder.join("floor.f32");
    let field = store.snapshot().unwrap().array("vectors").unwrap().field("value").unwrap();
    let view = field.view::<f32>().unwrap();
    assert!(view.is_view(), "the floor is a map, and so must ours be");
    let bytes: Vec<u8> = view.as_slice().iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(&file, bytes).unwrap();
    #[expect(unsafe_code, reason = "the floor maps its own file, which nobody changes")]
    // SAFETY: the file is ours and stays as it is while it is mapped.
    let map = unsafe { memmap2::Mmap::map(&File::open(&file).unwrap()).unwrap() };
    #[expect(unsafe_code, reason = "the map is aligned to a page and holds float32")]
    // SAFETY: every bit pattern is a float32, and the length is a multiple of 4.
    let floor = unsafe { std::slice::from_raw_parts(map.as_ptr().cast::<f32>(), map.len() / 4) };

    let session = session(store);
    let mut group = criterion.benchmark_group("scan");
    group.bench_function("floor 1", |b| b.iter(|| sum(black_box(floor), 1)));
    group.bench_function("view", |b| b.iter(|| sum(black_box(field.view::<f32>().unwrap().as_slice()), 1)));
    group.bench_function("floor 2", |b| b.iter(|| sum(black_box(floor), THREADS)));
    group.bench_function("sql", |b| b.iter(|| runtime.block_on(sum_by_sql(&session, "vectors"))));
    group.finish();
}

/// Every partition's batches are summed where they come out.
async fn sum_by_sql(session: &Session, array: &str) -> f32 {
    let frame = session.sql(&format!("SELECT value FROM {array}")).await.unwrap();
    let streams = frame.execute_stream_partitioned().await.unwrap();
    let tasks: Vec<_> = streams.into_iter().map(|stream| tokio::spawn(sum_stream(stream))).collect();
    let mut total = 0.0;
    for task in tasks {
        total += task.await.unwrap();
    }
    total
}

async fn sum_stream(mut stream: SendableRecordBatchStream) -> f32 {
    let mut total = 0.0;
    while let Some(batch) = stream.next().await {
        total += sum_batch(&batch.unwrap());
    }
    total
}

fn sum_batch(batch: &arrow_array::RecordBatch) -> f32 {
    use arrow_array::cast::AsArray;
    let values = batch.column(0).as_fixed_size_list().values();
    sum(values.as_primitive::<arrow_array::types::Float32Type>().values(), 1)
}

/// All values summed after 1 % of the rows were replaced and 1 % deleted, at random.
fn edited(criterion: &mut Criterion, runtime: &Runtime, store: &Store) {
    let sum_batches = |name: &str| -> f32 {
        let field = store.snapshot().unwrap().array(name).unwrap().field("value").unwrap();
        field.batches(2048).map(|batch| sum_batch(&batch.unwrap())).sum()
    };
    let session = session(store);
    let mut group = criterion.benchmark_group("edited");
    group.bench_function("clean batches", |b| b.iter(|| sum_batches("vectors")));
    group.bench_function("clean sql", |b| b.iter(|| runtime.block_on(sum_by_sql(&session, "vectors"))));
    let mut tx = store.begin().unwrap();
    tx.clone_array("vectors", "edited").unwrap();
    let random: Vec<i64> = noise(ROWS / 50).iter().map(|x| ((x + 1.0) / 2.0 * (ROWS - 1) as f32) as i64).collect();
    let (replaced, deleted) = random.split_at(ROWS / 100);
    let values = ndarray::Array2::from_shape_vec((ROWS / 100, DIM), noise(ROWS / 100 * DIM)).unwrap();
    tx.replace_ndarray("edited", "value", replaced, &values).unwrap();
    tx.delete("edited", deleted).unwrap();
    tx.commit().unwrap();
    group.bench_function("batches", |b| b.iter(|| sum_batches("edited")));
    group.bench_function("sql", |b| b.iter(|| runtime.block_on(sum_by_sql(&session, "edited"))));
    group.finish();
}

fn append(criterion: &mut Criterion, folder: &Path) {
    let rows = ndarray::Array2::from_shape_vec((100, 10), noise(1000)).unwrap();
    let bytes: Vec<u8> = rows.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut group = criterion.benchmark_group("append");
    let file = File::create(folder.join("floor.append")).unwrap();
    let mut at = 0;
    let mut write = |syncs: usize| {
        file.write_all_at(&bytes, at).unwrap();
        at += bytes.len() as u64;
        for _ in 0..syncs {
            file.sync_data().unwrap();
        }
    };
    group.bench_function("floor", |b| b.iter(|| write(0)));
    group.bench_function("floor full", |b| b.iter(|| write(4)));
    for (name, durability) in [("os", Durability::Os), ("full", Durability::Full)] {
        let options = OpenOptions { create: true, durability, ..OpenOptions::default() };
        let store = Store::open_with(folder.join(format!("append-{name}.slab")), options).unwrap();
        let mut tx = store.begin().unwrap();
        tx.create("a", vec![FieldSpec::new("value", DType::Float32, vec![10]).unwrap()], ArrayOptions::default())
            .unwrap();
        tx.commit().unwrap();
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut tx = store.begin().unwrap();
                tx.append_ndarray("a", &rows).unwrap();
                tx.commit().unwrap()
            });
        });
    }
    group.finish();
}

fn open(criterion: &mut Criterion, folder: &Path) {
    let path = folder.join("versions.slab");
    let options = OpenOptions { create: true, durability: Durability::Os, ..OpenOptions::default() };
    let store = Store::open_with(&path, options.clone()).unwrap();
    let mut tx = store.begin().unwrap();
    tx.create("a", vec![FieldSpec::new("value", DType::Float32, vec![]).unwrap()], ArrayOptions::default()).unwrap();
    tx.commit().unwrap();
    for _ in 1..10_000 {
        let mut tx = store.begin().unwrap();
        tx.append_ndarray("a", &ndarray::array![1.0_f32]).unwrap();
        tx.commit().unwrap();
    }
    let log = path.join("_log");
    let is_checkpoint = |f: &std::path::PathBuf| f.to_string_lossy().ends_with(".checkpoint.json");
    let files = std::fs::read_dir(&log).unwrap().map(|e| e.unwrap().path());
    let checkpoint = files.filter(is_checkpoint).max().unwrap();
    let mut group = criterion.benchmark_group("open");
    group.bench_function("floor", |b| b.iter(|| std::fs::read(&checkpoint).unwrap()));
    group.bench_function("open", |b| b.iter(|| Store::open_with(&path, options.clone()).unwrap().snapshot().unwrap()));
    group.finish();
}
