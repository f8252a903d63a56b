//! The paths whose speed is promised, each beside its floor in the same run, and the ratios.
//!
//! `make bench` runs all; `cargo bench -p hyperslab-benches -- top_k` one group. Absolute times drift on shared
//! machines: only the ratios in the table at the end count.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench, which prints its table")]

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use criterion::Criterion;
use datafusion::common::ScalarValue;
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
    ("top_k, $1 bound", "summing the map", "top_k", "top_k parameter", "floor 2"),
    ("top_k, scalar subquery", "summing the map", "top_k", "top_k subquery", "floor 2"),
    ("ORDER BY l2_distance LIMIT 10, $1 bound", "summing the map", "top_k", "order by", "floor 2"),
    ("ORDER BY cosine_distance LIMIT 10, $1 bound", "summing the map", "top_k", "order by cosine", "floor 2"),
    ("top_k, a filter that keeps 1 %", "top_k without it", "top_k", "filter 1 %", "top_k subquery"),
    ("top_k, a filter that keeps 50 %", "top_k without it", "top_k", "filter 50 %", "top_k subquery"),
    ("top_k of 100 rows × 768, $1 bound", "SELECT 1", "top_k", "fixed parameter", "fixed floor"),
    ("top_k of 100 rows × 768, scalar subquery", "SELECT 1", "top_k", "fixed subquery", "fixed floor"),
    ("top_k of 100 rows × 768, literal of 768 numbers", "SELECT 1", "top_k", "fixed literal", "fixed floor"),
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
    top_k(&mut criterion, &runtime, &vectors);
    fixed_cost(&mut criterion, &runtime);
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

fn top_k(criterion: &mut Criterion, runtime: &Runtime, store: &Store) {
    let session = session(store);
    let field = store.snapshot().unwrap().array("vectors").unwrap().field("value").unwrap();
    let view = field.view::<f32>().unwrap();
    let query = ScalarValue::List(ScalarValue::new_list_nullable(
        &noise(DIM).into_iter().map(ScalarValue::from).collect::<Vec<_>>(),
        &datafusion::arrow::datatypes::DataType::Float32,
    ));
    let run = |sql: &str, parameters: Vec<ScalarValue>| {
        runtime.block_on(async {
            let frame = session.sql(sql).await.unwrap();
            let frame = if parameters.is_empty() { frame } else { frame.with_param_values(parameters).unwrap() };
            let rows: usize = frame.collect().await.unwrap().iter().map(|b| b.num_rows()).sum();
            assert_eq!(rows, 10);
        });
    };
    let cases = [
        ("top_k parameter", "SELECT row, score FROM top_k('vectors', $1, 10, metric => 'l2')", vec![query.clone()]),
        (
            "top_k subquery",
            "SELECT row, score FROM top_k('vectors', (SELECT value FROM vectors WHERE row = 7), 10, metric => 'l2')",
            vec![],
        ),
        ("order by", "SELECT row FROM vectors ORDER BY l2_distance(value, $1) LIMIT 10", vec![query.clone()]),
        ("order by cosine", "SELECT row FROM vectors ORDER BY cosine_distance(value, $1) LIMIT 10", vec![query]),
    ];
    let mut group = criterion.benchmark_group("top_k");
    group.bench_function("floor 2", |b| b.iter(|| sum(black_box(view.as_slice()), THREADS)));
    for (name, sql, parameters) in cases {
        group.bench_function(name, |b| b.iter(|| run(sql, parameters.clone())));
    }
    group.bench_function("filter 1 %", |b| b.iter(|| run(FILTERED_1, vec![])));
    group.bench_function("filter 50 %", |b| b.iter(|| run(FILTERED_50, vec![])));
    group.finish();
}

/// 10,000 and 500,000 of the rows, spread over all of them.
const FILTERED_1: &str = "SELECT row, score FROM top_k('vectors', (SELECT value FROM vectors WHERE row = 7), 10, \
                          metric => 'l2', filter => row % 100 = 3)";
const FILTERED_50: &str = "SELECT row, score FROM top_k('vectors', (SELECT value FROM vectors WHERE row = 7), 10, \
                           metric => 'l2', filter => (row * 7919) % 1009 < 505)";

/// What a search costs whatever it searches: 100 rows, one session, beside a statement that does nothing.
fn fixed_cost(criterion: &mut Criterion, runtime: &Runtime) {
    const DIM: usize = 768;
    let store = Store::memory();
    let mut tx = store.begin().unwrap();
    let field = FieldSpec::new("value", DType::Float32, vec![DIM]).unwrap();
    tx.create("tiny", vec![field], ArrayOptions::default()).unwrap();
    tx.append_ndarray("tiny", &ndarray::Array2::from_shape_vec((100, DIM), noise(100 * DIM)).unwrap()).unwrap();
    tx.commit().unwrap();
    let session = session(&store);
    let query = ScalarValue::List(ScalarValue::new_list_nullable(
        &noise(DIM).into_iter().map(ScalarValue::from).collect::<Vec<_>>(),
        &datafusion::arrow::datatypes::DataType::Float32,
    ));
    let literal = noise(DIM).iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let search = |query: &str| format!("SELECT row, score FROM top_k('tiny', {query}, 10, metric => 'l2')");
    let cases = [
        ("fixed floor", "SELECT 1".to_owned(), vec![]),
        ("fixed parameter", search("$1"), vec![query]),
        ("fixed subquery", search("(SELECT value FROM tiny WHERE row = 7)"), vec![]),
        ("fixed literal", search(&format!("[{literal}]")), vec![]),
    ];
    let mut group = criterion.benchmark_group("top_k");
    for (name, sql, parameters) in cases {
        let run = async || {
            let frame = session.sql(&sql).await.unwrap();
            let bound = parameters.clone();
            let frame = if bound.is_empty() { frame } else { frame.with_param_values(bound).unwrap() };
            assert!(!frame.collect().await.unwrap().is_empty());
        };
        group.bench_function(name, |b| b.iter(|| runtime.block_on(run())));
    }
    group.finish();
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
