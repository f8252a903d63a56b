//! Exact search through SQL beside what it cannot be faster than, in one run: `cargo bench -p hyperslab-benches
//! -p hyperslab-cli --bench search [filter]` runs the groups whose name contains the filter, or the cases of `group case`.
//!
//! Every round runs all cases of a group one after the other, its floor too, so that a neighbour on the machine slows all
//! of them. Printed are the medians over the rounds, and of each round's ratio.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench, which prints its table")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, Int32Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use hyperslab::{ArrayOptions, DType, FieldSpec, Session, SessionOptions, Store, View};
use hyperslab_benches::{multiply_add, noise, sum};
use tokio::runtime::Runtime;

const THREADS: usize = 2;
const BATCH: usize = 64;

/// What a group spends on its rounds, at least.
const GROUP_TIME: Duration = Duration::from_secs(4);

/// The group of what a search costs whatever it searches.
const FIXED: &str = "fixed cost, 100 x 768";

/// A name, and what is timed.
type Case<'a> = (String, Box<dyn Fn() + 'a>);

fn main() {
    // Cargo adds --bench.
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    println!("| group | case | ms | against | ratio |\n|---|---|---|---|---|");
    for (rows, dim) in [(1_000_000, 128), (200_000, 768)] {
        let group = format!("{rows} x {dim}");
        let parts = ["single", "filter", "batch", "sketch"];
        if parts.iter().any(|part| is_wanted(&format!("{group} {part}"), &filter)) {
            let store = vectors(&folder.path().join(format!("{dim}.slab")), rows, dim);
            Searches { group, runtime: &runtime, session: session(&store), view: view(&store), rows, dim }.run(&filter);
        }
    }
    if is_wanted(FIXED, &filter) {
        fixed_cost(&runtime, &filter);
    }
}

/// Whether the filter names the group, a part of its name, or one of its cases.
fn is_wanted(group: &str, filter: &str) -> bool {
    group.contains(filter) || filter.starts_with(group)
}

/// Random float32 vectors in a store, with labels below 100.
fn vectors(path: &Path, rows: usize, dim: usize) -> Store {
    let store = Store::open(path).unwrap();
    let mut tx = store.begin().unwrap();
    let value = FieldSpec::new("value", DType::Float32, vec![dim]).unwrap();
    let label = FieldSpec::new("label", DType::Int32, vec![]).unwrap();
    tx.create("vectors", vec![value.clone(), label], ArrayOptions::default()).unwrap();
    let element = Arc::new(Field::new("item", DataType::Float32, false));
    let values = Arc::new(Float32Array::from(noise(rows * dim)));
    let values = FixedSizeListArray::new(element, dim.try_into().unwrap(), values, None);
    let labels = Int32Array::from_iter_values((0..rows).map(|row| (row * 7919 % 100_003 % 100).try_into().unwrap()));
    let columns: [(&str, ArrayRef); 2] = [("value", Arc::new(values)), ("label", Arc::new(labels))];
    tx.append("vectors", &RecordBatch::try_from_iter(columns).unwrap()).unwrap();
    tx.create("queries", vec![value], ArrayOptions::default()).unwrap();
    let queries: Vec<f32> = noise(rows * dim + BATCH * dim).split_off(rows * dim);
    tx.append_ndarray("queries", &ndarray::Array2::from_shape_vec((BATCH, dim), queries).unwrap()).unwrap();
    tx.commit().unwrap();
    store
}

fn session(store: &Store) -> Session {
    Session::new(store.clone(), SessionOptions { target_partitions: Some(THREADS), ..SessionOptions::default() })
}

fn view(store: &Store) -> View<f32> {
    let view = store.snapshot().unwrap().array("vectors").unwrap().field("value").unwrap().view::<f32>().unwrap();
    assert!(view.is_view(), "the floor is summed where it is mapped");
    view
}

/// Runs a statement to its end.
fn run(runtime: &Runtime, session: &Session, sql: &str, parameters: &[ScalarValue], rows: usize) {
    runtime.block_on(async {
        let frame = session.sql(sql).await.unwrap();
        let frame = match parameters {
            [] => frame,
            bound => frame.with_param_values(bound.to_vec()).unwrap(),
        };
        let found: usize = frame.collect().await.unwrap().iter().map(|b| b.num_rows()).sum();
        assert_eq!(found, rows, "{sql}");
    });
}

fn parameter(vector: &[f32]) -> ScalarValue {
    let values: Vec<_> = vector.iter().map(|x| ScalarValue::from(*x)).collect();
    ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Float32))
}

/// Searches of one array.
struct Searches<'a> {
    group: String,
    runtime: &'a Runtime,
    session: Session,
    view: View<f32>,
    rows: usize,
    dim: usize,
}

impl Searches<'_> {
    fn run(&self, filter: &str) {
        self.single(filter);
        self.filtered(filter);
        self.batch(filter);
        self.sketched(filter);
    }

    fn sql(&self, name: &str, sql: &str, parameters: Vec<ScalarValue>, rows: usize) -> Case<'_> {
        let sql = sql.to_owned();
        (name.to_owned(), Box::new(move || run(self.runtime, &self.session, &sql, &parameters, rows)))
    }

    fn single(&self, filter: &str) {
        self.singles(&format!("{} single", self.group), filter);
    }

    fn singles(&self, group: &str, filter: &str) {
        let query = || vec![parameter(&noise(self.dim))];
        let mut cases: Vec<Case<'_>> = vec![(
            "summing the map, 2 threads".into(),
            Box::new(|| {
                black_box(sum(black_box(self.view.as_slice()), THREADS));
            }),
        )];
        for metric in ["l2", "cosine", "dot"] {
            let sql = format!("SELECT row, score FROM top_k('vectors', $1, 10, metric => '{metric}')");
            cases.push(self.sql(&format!("top_k {metric}, $1"), &sql, query(), 10));
        }
        cases.push(self.sql("top_k l2, subquery", &format!("{TOP_K})"), vec![], 10));
        for distance in ["l2_distance", "cosine_distance", "inner_product"] {
            let direction = if distance == "inner_product" { "DESC" } else { "ASC" };
            let sql = format!("SELECT row FROM vectors ORDER BY {distance}(value, $1) {direction} LIMIT 10");
            cases.push(self.sql(&format!("ORDER BY {distance}"), &sql, query(), 10));
        }
        compare(group, filter, cases);
    }

    /// The same with an index of 8 bits, which is made here and stays.
    fn sketched(&self, filter: &str) {
        let group = format!("{} sketch", self.group);
        if !is_wanted(&group, filter) {
            return;
        }
        run(self.runtime, &self.session, "CREATE INDEX s ON vectors USING sketch (value)", &[], 1);
        self.singles(&group, filter);
    }

    fn filtered(&self, filter: &str) {
        let cases = [
            ("no filter", ""),
            ("label = 3, keeps 1 %", ", filter => label = 3"),
            ("row % 100 = 3, keeps 1 %", ", filter => row % 100 = 3"),
            ("label < 50, keeps 50 %", ", filter => label < 50"),
            ("(row * 7919) % 1009 < 505, keeps 50 %", ", filter => (row * 7919) % 1009 < 505"),
            ("keeps the first half", ", filter => row < 500000"),
        ];
        let cases = cases.map(|(name, filter)| self.sql(name, &format!("{TOP_K}{filter})"), vec![], 10));
        compare(&format!("{} filter", self.group), filter, cases.into());
    }

    /// The batches, and the rates of their products beside that of the processor.
    fn batch(&self, filter: &str) {
        let queries = "queries => (SELECT row, value FROM queries)";
        let batch = |name: &str, metric: &str, k: usize, more: &str| {
            let sql = format!("SELECT * FROM top_k('vectors', {queries}, k => {k}, metric => '{metric}'{more})");
            self.sql(name, &sql, vec![], BATCH * k)
        };
        let cases = vec![
            self.sql("one query", &format!("{TOP_K})"), vec![], 10),
            batch("64 queries, l2", "l2", 10, ""),
            batch("64 queries, cosine", "cosine", 10, ""),
            batch("64 queries, dot", "dot", 10, ""),
            batch("64 queries, k = 1000", "l2", 1000, ""),
            batch("64 queries, filter keeps 50 %", "l2", 10, ", filter => (row * 7919) % 1009 < 505"),
            batch("64 queries, filter keeps 1 %", "l2", 10, ", filter => row % 100 = 3"),
        ];
        let medians = compare(&format!("{} batch", self.group), filter, cases);
        let peak = multiply_add(THREADS);
        let operations = 2.0 * (self.rows * self.dim * BATCH) as f64;
        for (name, seconds) in medians.iter().filter(|(name, _)| name.starts_with("64 queries, l2")) {
            let rate = operations / seconds / 1e9;
            println!(
                "| {} batch | {name} | {rate:.0} GFLOP/s | the processor, {THREADS} threads: {peak:.0} | {:.2} |",
                self.group,
                rate / peak
            );
        }
    }
}

/// But for what closes it.
const TOP_K: &str =
    "SELECT row, score FROM top_k('vectors', (SELECT value FROM queries WHERE row = 7), 10, metric => 'l2'";

/// What a search costs whatever it searches: 100 rows, one session, beside a statement that does nothing.
fn fixed_cost(runtime: &Runtime, filter: &str) {
    const DIM: usize = 768;
    let store = Store::memory();
    let mut tx = store.begin().unwrap();
    let field = FieldSpec::new("value", DType::Float32, vec![DIM]).unwrap();
    tx.create("tiny", vec![field], ArrayOptions::default()).unwrap();
    tx.append_ndarray("tiny", &ndarray::Array2::from_shape_vec((100, DIM), noise(100 * DIM)).unwrap()).unwrap();
    tx.commit().unwrap();
    let session = session(&store);
    let literal = noise(DIM).iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let search = |query: &str| format!("SELECT row, score FROM top_k('tiny', {query}, 10, metric => 'l2')");
    let order = |query: &str| format!("SELECT row FROM tiny ORDER BY l2_distance(value, {query}) LIMIT 10");
    let bound = || vec![parameter(&noise(DIM))];
    let cases = [
        ("SELECT 1", "SELECT 1".to_owned(), vec![], 1),
        ("top_k, $1", search("$1"), bound(), 10),
        ("top_k, subquery", search("(SELECT value FROM tiny WHERE row = 7)"), vec![], 10),
        ("top_k, 768 numbers", search(&format!("[{literal}]")), vec![], 10),
        ("top_k, text of 768 numbers", search(&format!("'[{literal}]'")), vec![], 10),
        ("ORDER BY, $1", order("$1"), bound(), 10),
        ("ORDER BY, 768 numbers", order(&format!("[{literal}]")), vec![], 10),
    ];
    let session = &session;
    let case = |(name, sql, parameters, rows): (&str, String, Vec<ScalarValue>, usize)| -> Case<'_> {
        (name.to_owned(), Box::new(move || run(runtime, session, &sql, &parameters, rows)))
    };
    compare(FIXED, filter, cases.into_iter().map(case).collect());
}

/// Times the cases in rounds, prints them beside the first, and returns the medians in seconds.
fn compare(group: &str, filter: &str, mut cases: Vec<Case<'_>>) -> Vec<(String, f64)> {
    if !group.contains(filter) {
        cases.retain(|(name, _)| format!("{group} {name}").contains(filter));
    }
    if cases.is_empty() {
        return vec![];
    }
    cases.iter().for_each(|(_, case)| case());
    let mut times: Vec<Vec<f64>> = vec![vec![]; cases.len()];
    let start = Instant::now();
    while start.elapsed() < GROUP_TIME || times[0].len() < 10 {
        for ((_, case), times) in cases.iter().zip(&mut times) {
            let start = Instant::now();
            case();
            times.push(start.elapsed().as_secs_f64());
        }
    }
    let against = cases[0].0.clone();
    let mut medians = vec![];
    for ((name, _), times_of_case) in cases.into_iter().zip(&times) {
        let ratio = median(times_of_case.iter().zip(&times[0]).map(|(ours, floor)| ours / floor).collect());
        let seconds = median(times_of_case.clone());
        println!("| {group} | {name} | {:.3} | {against} | {ratio:.3} |", seconds * 1e3);
        medians.push((name, seconds));
    }
    medians
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
