#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use datafusion::physical_plan::collect;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use hyperslab_core::{DType, FieldSpec};
use hyperslab_store::{ArrayOptions, Store};
use ndarray::Array2;

use crate::testing::{find, metric};
use crate::{Session, SessionOptions};

/// Numbers that are random enough.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        self.0 >> 33
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A number between −1 and 1.
    fn unit(&mut self) -> f64 {
        self.next() as f64 / f64::from(1_u32 << 30) - 1.0
    }
}

/// What kinds of rows there are.
#[derive(Clone, Copy, PartialEq)]
enum Rows {
    /// Small integers, with many duplicates and ties.
    Integers,
    /// Around a few centers, with duplicates and zeros.
    Clusters,
    /// The same with huge and tiny rows, and with infinities and NaN.
    Wild,
}

impl Rows {
    fn row(self, random: &mut Random, dim: usize) -> Vec<f64> {
        if self == Rows::Integers {
            return (0..dim).map(|_| random.below(7) as f64 - 3.0).collect();
        }
        let kind = random.below(40);
        let center = random.below(5);
        let scale = match (self, kind) {
            (_, 0) => return vec![0.0; dim],
            (_, 1) => return (0..dim).map(|i| ((center as usize + i) % 3) as f64).collect(),
            (Rows::Wild, 2) => 1e37,
            (Rows::Wild, 3) => 1e-37,
            _ => 1.0,
        };
        let mut center = Random(center);
        let mut row: Vec<f64> = (0..dim).map(|_| (center.unit() * 3.0 + random.unit()) * scale).collect();
        if self == Rows::Wild && random.below(60) == 0 {
            row[0] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][random.below(3) as usize];
        }
        row
    }
}

fn literal(row: &[f64]) -> String {
    let value = |v: &f64| match v {
        v if v.is_nan() => "'NaN'::DOUBLE".to_owned(),
        v if v.is_infinite() => format!("'{}Infinity'::DOUBLE", if *v < 0.0 { "-" } else { "" }),
        v => format!("{v:e}"),
    };
    format!("[{}]", row.iter().map(value).collect::<Vec<_>>().join(", "))
}

async fn run(session: &Session, sql: &str) -> Vec<RecordBatch> {
    let frame = session.sql(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    frame.collect().await.unwrap_or_else(|e| panic!("{sql}: {e}"))
}

/// Rows and scores, to the bit, and how many rows an index excluded: none where it is not used.
async fn found(session: &Session, sql: &str) -> (Vec<(i64, Option<u64>)>, usize) {
    let frame = session.sql(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    let context = frame.task_ctx().into();
    let plan = frame.create_physical_plan().await.unwrap();
    let mut found = vec![];
    for batch in collect(plan.clone(), context).await.unwrap_or_else(|e| panic!("{sql}: {e}")) {
        let (rows, scores) =
            (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_primitive::<Float64Type>());
        found.extend(rows.iter().zip(scores).map(|(row, score)| (row.unwrap(), score.map(f64::to_bits))));
    }
    let Some(search) = find(&plan, "SearchExec") else { return (found, 0) };
    let shown = DisplayableExecutionPlan::new(search.as_ref()).one_line().to_string();
    let pruned = if shown.contains("index=s") { metric(&search.metrics().unwrap(), "rows_pruned") } else { 0 };
    (found, pruned)
}

/// An indexed array `a`, and `b`, which is the same without an index.
struct Twins {
    session: Session,
    dim: usize,
    random: Random,
    rows: Rows,
    /// Rows that bounds excluded so far.
    pruned: usize,
}

/// Orders of which an index knows the first rows.
const ORDERS: [&str; 10] = [
    "l2_distance(v, {q}) ASC",
    "l2sq_distance(v, {q}) ASC",
    "cosine_distance(v, {q}) ASC",
    "cosine_distance(v, {q}) ASC NULLS FIRST",
    "cosine_similarity(v, {q}) DESC",
    "cosine_similarity(v, {q}) DESC NULLS LAST",
    "inner_product(v, {q}) DESC",
    "inner_product(v, {q}) DESC NULLS LAST",
    "negative_inner_product(v, {q}) ASC",
    "l2_distance({q}, v) ASC",
];

/// How often both are asked at each point of a story, unless HYPERSLAB_ASKED says more; HYPERSLAB_SEED adds to the seeds.
const ASKED: usize = 12;

fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok()?.parse().ok()
}

const METRICS: [&str; 5] = ["l2", "l2sq", "cosine", "cosine_similarity", "dot"];

impl Twins {
    async fn new(seed: u64, rows: Rows, field: &str, dim: usize, bits: u32, threads: usize) -> Self {
        let options = SessionOptions { target_partitions: Some(threads), ..SessionOptions::default() };
        let session = Session::new(Store::memory(), options);
        let random = Random(seed + number("HYPERSLAB_SEED").unwrap_or(0) as u64 * 1000);
        let mut twins = Self { session, dim, random, rows, pruned: 0 };
        twins.both(&format!("CREATE TABLE $t (v {field}) WITH (shard_bytes = '16KiB')")).await;
        twins.insert(2500).await;
        run(&twins.session, &format!("CREATE INDEX s ON a USING sketch (v) WITH (bits = {bits})")).await;
        twins
    }

    async fn both(&self, sql: &str) {
        for table in ["a", "b"] {
            run(&self.session, &sql.replace("$t", table)).await;
        }
    }

    fn row(&mut self) -> Vec<f64> {
        self.rows.row(&mut self.random, self.dim)
    }

    /// An array `new` with some rows.
    fn make_new(&mut self, count: usize) {
        let mut rows: Vec<Vec<f64>> = vec![];
        while rows.len() < count {
            let row = match rows.len() {
                n if n > 0 && self.random.below(20) == 0 => rows[self.random.below(n as u64) as usize].clone(),
                _ => self.row(),
            };
            rows.push(row);
        }
        let mut tx = self.session.store().begin().unwrap();
        if tx.snapshot().unwrap().contains("new") {
            tx.drop_array("new").unwrap();
        }
        let fields = vec![FieldSpec::new("v", DType::Float64, vec![self.dim]).unwrap()];
        tx.create("new", fields, ArrayOptions::default()).unwrap();
        tx.append_ndarray("new", &Array2::from_shape_vec((count, self.dim), rows.concat()).unwrap()).unwrap();
        tx.commit().unwrap();
    }

    async fn insert(&mut self, count: usize) {
        self.make_new(count);
        self.both("INSERT INTO $t (v) SELECT v FROM new").await;
    }

    /// Asks both, in every order, for the first rows of `$t` in a form that may choose among them.
    async fn agree(&mut self, version: Option<u64>) {
        let version = version.map(|version| format!(" VERSION AS OF {version}")).unwrap_or_default();
        for n in 0..number("HYPERSLAB_ASKED").unwrap_or(ASKED) {
            let query = self.query();
            let q = literal(&query);
            let k = [1, 10, 100, 1000][self.random.below(4) as usize];
            let filters = ["", "", "WHERE row >= 700", "WHERE row % 3 <> 1", "WHERE row < 40"];
            let filter = filters[self.random.below(5) as usize];
            if n % 3 == 2 {
                let metric = METRICS[self.random.below(5) as usize];
                let array = format!("(SELECT row, v FROM $t{version} {filter})");
                let sql = format!("SELECT row, score FROM top_k({array}, {q}, {k}, '{metric}') ORDER BY rank");
                self.agree_on(&sql).await;
                continue;
            }
            let key = ORDERS[self.random.below(10) as usize].replace("{q}", &q);
            let score = key.split(") ").next().unwrap().to_owned() + ")";
            let offset = if n == 0 { " OFFSET 3" } else { "" };
            let sql = format!("SELECT row, {score} FROM $t{version} {filter} ORDER BY {key}, row LIMIT {k}{offset}");
            self.agree_on(&sql).await;
        }
    }

    /// A row as a query, now and then one of zeros; never one that is not finite.
    fn query(&mut self) -> Vec<f64> {
        if self.random.below(8) == 0 {
            return vec![0.0; self.dim];
        }
        loop {
            let query = self.row();
            if query.iter().all(|v| v.is_finite()) {
                return query;
            }
        }
    }

    async fn agree_on(&mut self, sql: &str) {
        let (with, pruned) = found(&self.session, &sql.replace("$t", "a")).await;
        let (without, none) = found(&self.session, &sql.replace("$t", "b")).await;
        assert!(with == without, "{sql}\n{with:?}\n{without:?}");
        assert_eq!(none, 0);
        self.pruned += pruned;
    }
}

/// Everything that may happen to an array, with the answers compared in between.
async fn story(seed: u64, rows: Rows, field: &str, dim: usize, bits: u32, threads: usize) {
    let mut t = Twins::new(seed, rows, field, dim, bits, threads).await;
    t.agree(None).await;
    assert!(t.pruned > 0, "the index excluded no row");
    t.insert(1500).await;
    t.agree(None).await;
    let early = t.session.store().snapshot().unwrap().version();
    t.both("DELETE FROM $t WHERE row % 7 = 3 OR row BETWEEN 900 AND 1200").await;
    t.agree(None).await;
    let value = literal(&t.row());
    t.both(&format!("UPDATE $t SET v = {value} WHERE row % 50 = 1 OR row BETWEEN 2000 AND 2050")).await;
    t.agree(None).await;
    t.agree(Some(early)).await;
    t.make_new(200);
    run(&t.session, "BEGIN").await;
    t.both("INSERT INTO $t (v) SELECT v FROM new").await;
    t.both("DELETE FROM $t WHERE row BETWEEN 10 AND 300").await;
    t.agree(None).await;
    run(&t.session, "ROLLBACK").await;
    let before = t.pruned;
    for table in ["a", "b"] {
        run(&t.session, &format!("OPTIMIZE {table} FULL")).await;
    }
    t.agree(None).await;
    assert!(t.pruned > before, "the index excluded no row after OPTIMIZE");
    run(&t.session, "DROP INDEX s").await;
    let before = t.pruned;
    t.agree(None).await;
    assert_eq!(t.pruned, before);
    t.agree(Some(early)).await;
}

/// Deep futures take more stack than a test's thread has.
fn block_on(future: impl Future<Output = ()> + Send + 'static) {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(move || runtime().block_on(future));
    if let Err(panic) = thread.unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn an_index_changes_no_answer_of_ties_and_duplicates() {
    block_on(story(1, Rows::Integers, "FLOAT[6]", 6, 8, 1));
}

#[test]
fn an_index_changes_no_answer_of_clusters() {
    block_on(story(2, Rows::Clusters, "FLOAT[24]", 24, 4, 3));
}

#[test]
fn an_index_changes_no_answer_of_huge_numbers_and_nan() {
    block_on(async {
        story(4, Rows::Wild, "FLOAT[9]", 9, 8, 7).await;
        story(5, Rows::Wild, "DOUBLE[5]", 5, 8, 2).await;
    });
}

#[test]
fn an_index_changes_no_answer_of_other_types() {
    block_on(async {
        story(6, Rows::Integers, "TINYINT[16]", 16, 4, 2).await;
        story(8, Rows::Clusters, "HALFVEC(12)", 12, 8, 2).await;
        story(9, Rows::Clusters, "BFLOAT16[12]", 12, 8, 1).await;
    });
}
