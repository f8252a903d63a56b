#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Int64Type, UInt64Type};
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use hyperslab_store::OpenOptions;

use super::*;

async fn run(session: &Session, sql: &str) -> Result<Vec<RecordBatch>> {
    session.sql(sql).await?.collect().await
}

async fn fails(session: &Session, sql: &str) -> String {
    run(session, sql).await.expect_err(sql).to_string()
}

async fn number(context: &SessionContext, sql: &str) -> i64 {
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

async fn count(session: &Session, sql: &str) -> i64 {
    run(session, sql).await.unwrap()[0].column(0).as_primitive::<Int64Type>().value(0)
}

fn parallel(store: &Store) -> Session {
    Session::new(store.clone(), SessionOptions { target_partitions: Some(4), ..SessionOptions::default() })
}

/// A session with the array `many` of 200,000 rows: `n` is the row's number.
async fn many() -> Session {
    let session = parallel(&Store::memory());
    run(&session, "CREATE TABLE many AS SELECT value AS n FROM generate_series(0, 199999) g").await.unwrap();
    session
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_keep_their_order_through_four_partitions() {
    let session = many().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    assert_eq!(count(&session, "SELECT count(*) FROM many WHERE row <> n").await, 0);
    run(&session, &format!("COPY many TO '{}'", path("n.csv"))).await.unwrap();
    run(&session, &format!("COPY many TO '{}'", path("n.parquet"))).await.unwrap();
    run(&session, &format!("COPY many TO '{}'", path("n.json"))).await.unwrap();
    let csv = format!("SELECT n FROM '{}'", path("n.csv"));
    let json = format!("SELECT n FROM '{}'", path("n.json"));
    let parquet = format!("SELECT n FROM '{}'", path("n.parquet"));
    for (i, (source, expected)) in [
        ("SELECT n FROM many", "row"),
        ("SELECT n FROM many WHERE n % 2 = 1", "row * 2 + 1"),
        ("SELECT n FROM many ORDER BY n DESC", "199999 - row"),
        ("SELECT 2 * n AS n FROM many ORDER BY -n", "2 * (199999 - row)"),
        ("SELECT n FROM (SELECT n, -n AS key FROM many) ORDER BY key", "199999 - row"),
        ("SELECT n FROM many UNION ALL SELECT 200000 + n FROM many", "row"),
        ("SELECT a.n FROM many a JOIN many b ON a.row = b.row ORDER BY b.n", "row"),
        (csv.as_str(), "row"),
        (json.as_str(), "row"),
        (&format!("{json} WHERE n % 2 = 1"), "row * 2 + 1"),
        (&format!("{csv} UNION ALL {json}"), "row % 200000"),
        (parquet.as_str(), "row"),
        (&format!("{csv} WHERE n % 2 = 1"), "row * 2 + 1"),
        (&format!("{parquet} WHERE n % 2 = 1"), "row * 2 + 1"),
    ]
    .into_iter()
    .enumerate()
    {
        run(&session, &format!("CREATE TABLE t{i} AS {source}")).await.unwrap();
        assert_eq!(count(&session, &format!("SELECT count(*) FROM t{i} WHERE n <> {expected}")).await, 0, "{source}");
        assert!(count(&session, &format!("SELECT count(*) FROM t{i}")).await >= 100_000, "{source}");
        let file = path(&format!("t{i}.npy"));
        run(&session, &format!("COPY ({source}) TO '{file}'")).await.unwrap();
        let wrong = format!("SELECT count(*) FROM '{file}' f JOIN t{i} t ON f.row = t.row WHERE f.value <> t.n");
        assert_eq!(count(&session, &wrong).await, 0, "COPY {source}");
    }
}

#[tokio::test]
async fn text_is_parsed_by_several_threads_and_kept_in_order() {
    let session = many().await;
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("n.csv"), folder.path().join("n.npy"));
    run(&session, &format!("COPY many TO '{}'", from.display())).await.unwrap();
    let bytes = std::fs::metadata(&from).unwrap().len();
    let sql = format!("EXPLAIN COPY (SELECT n + 1 FROM '{}' WHERE n > 7) TO '{}'", from.display(), to.display());
    let plan = run(&session, &sql).await.unwrap();
    let plan = datafusion::arrow::util::pretty::pretty_format_batches(&plan).unwrap().to_string();
    let ranges = bytes.div_ceil(64 << 10);
    assert!(plan.contains(&format!("file_groups={{{ranges} groups")), "{plan}");
}

/// Rows that the scan of a plan has given so far.
fn scanned(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let below = plan.children().into_iter().map(scanned).sum::<usize>();
    match plan.children().is_empty() {
        true => plan.metrics().and_then(|m| m.output_rows()).unwrap_or(0),
        false => below,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_of_a_text_are_read_ahead_and_no_more_than_the_threads_need() {
    let session = many().await;
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("n.csv");
    run(&session, &format!("COPY many TO '{}'", from.display())).await.unwrap();
    let rows = format!("SELECT * FROM '{}'", from.display());
    // In ranges; and one stream above those that are read in ranges.
    for sql in [rows.clone(), format!("{rows} LIMIT 200000")] {
        let (state, plan) = session.sql(&sql).await.unwrap().into_parts();
        let plan = crate::write::in_order::InOrder::plan(plan).unwrap();
        let plan = state.create_physical_plan(&plan).await.unwrap();
        let mut batches = datafusion::physical_plan::execute_stream(Arc::clone(&plan), state.task_ctx()).unwrap();
        batches.next().await.unwrap().unwrap();
        // Time enough to read all of it.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let ahead = scanned(&plan);
        // Ranges of 64 KiB, of some 10,000 rows each: one for each of four partitions, and the one that is given out.
        assert!((40_000..100_000).contains(&ahead), "{sql}: {ahead} rows");
        while batches.next().await.transpose().unwrap().is_some() {}
        assert_eq!(scanned(&plan), 200_000, "{sql}");
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_parsed_has_its_line_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("n.csv"), folder.path().join("n.npy"));
    let line = |i: usize| if i == 90_000 { "?\n".to_owned() } else { format!("{i}\n") };
    std::fs::write(&from, format!("n\n{}", (0..100_000).map(line).collect::<String>())).unwrap();
    let session = parallel(&Store::memory());
    let message = fails(&session, &format!("COPY (SELECT * FROM '{}') TO '{}'", from.display(), to.display())).await;
    assert!(message.contains(&from.display().to_string()) && message.contains("line 90002"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_stream_leaves_nothing() {
    let session = many().await;
    let before = session.store().snapshot().unwrap().version();
    let frame = session.sql("CREATE TABLE half AS SELECT n, n + 1 AS m FROM many").await.unwrap();
    let mut stream = frame.execute_stream().await.unwrap();
    // Polled a few times, then forgotten.
    for _ in 0..3 {
        let _ = futures::poll!(stream.next());
    }
    drop(stream);
    assert_eq!(session.store().snapshot().unwrap().version(), before);
    assert!(fails(&session, "SELECT * FROM half").await.contains("not found"));
}

#[tokio::test]
async fn planning_changes_nothing() {
    let session = Session::memory();
    let frame = session.sql("CREATE TABLE t AS SELECT 1 AS x").await.unwrap();
    assert_eq!(session.store().snapshot().unwrap().version(), 0);
    // A statement reads the version of its planning.
    run(&session, "CREATE TABLE seen AS SELECT 1 AS x").await.unwrap();
    let counted = session.sql("SELECT count(*) FROM seen").await.unwrap();
    run(&session, "INSERT INTO seen VALUES (2)").await.unwrap();
    assert_eq!(counted.collect().await.unwrap()[0].column(0).as_primitive::<Int64Type>().value(0), 1);
    frame.collect().await.unwrap();
    assert_eq!(count(&session, "SELECT x FROM t").await, 1);
}

#[tokio::test]
async fn of_two_sessions_that_create_the_same_array_one_wins() {
    let store = Store::memory();
    let (a, b) = (parallel(&store), parallel(&store));
    let first = a.sql("CREATE TABLE t AS SELECT 1 AS x").await.unwrap();
    let second = b.sql("CREATE TABLE t AS SELECT 2 AS x").await.unwrap();
    first.collect().await.unwrap();
    let error = second.collect().await.unwrap_err().to_string();
    assert!(error.contains("array t exists already"), "{error}");
    assert_eq!(count(&b, "SELECT x FROM t").await, 1);
    // Sessions see each other's commits.
    run(&b, "INSERT INTO t VALUES (5)").await.unwrap();
    assert_eq!(count(&a, "SELECT count(*) FROM t").await, 2);
}

#[tokio::test]
async fn a_read_only_store_refuses_every_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.slab");
    run(&Session::open(&path).unwrap(), "CREATE TABLE t AS SELECT 1 AS x").await.unwrap();
    let options = OpenOptions { read_only: true, ..OpenOptions::default() };
    let session = Session::new(Store::open_with(&path, options).unwrap(), SessionOptions::default());
    for sql in [
        "CREATE TABLE u (x INT)",
        "CREATE TABLE u AS SELECT 1 AS x",
        "CREATE OR REPLACE TABLE t AS SELECT 1 AS x",
        "INSERT INTO t VALUES (2)",
        "SELECT * FROM append('t', (SELECT 2 AS x))",
        "DROP TABLE t",
        "ALTER TABLE t RENAME TO u",
        "CREATE SCHEMA s",
        "DROP SCHEMA public CASCADE",
    ] {
        let error = fails(&session, sql).await;
        assert!(error.contains("opened read-only"), "{sql}: {error}");
    }
    assert_eq!(count(&session, "SELECT x FROM t").await, 1);
    let file = folder.path().join("t.npy");
    run(&session, &format!("COPY t TO '{}'", file.display())).await.unwrap();
    assert!(file.exists());
}

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_copy_leaves_the_old_file_and_no_other() {
    let session = many().await;
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.npy", "a.parquet", "a.csv", "a.arrow", "a.json"] {
        let path = folder.path().join(name);
        std::fs::write(&path, "old").unwrap();
        let copy = |query: &str| format!("COPY ({query}) TO '{}' OPTIONS (overwrite true)", path.display());
        let sql = format!("COPY many TO '{}'", path.display());
        assert!(fails(&session, &sql).await.contains(&format!("{name} exists; add the option overwrite")), "{name}");
        let sql = copy("SELECT 1 / (150000 - n) AS n FROM many");
        assert!(fails(&session, &sql).await.contains("Divide by zero"), "{name}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old", "{name}");
        run(&session, &copy("SELECT n FROM many WHERE n < 10")).await.unwrap();
        assert_ne!(std::fs::read(&path).unwrap(), b"old", "{name}");
    }
    assert_eq!(files(folder.path()), ["a.arrow", "a.csv", "a.json", "a.npy", "a.parquet"]);
}

/// A context with a table of its own, and a store as catalog `lab` with the array `t`.
async fn context() -> (SessionContext, Session) {
    let store = Store::memory();
    let session = parallel(&store);
    run(&session, "CREATE TABLE t (id BIGINT, v FLOAT[2])").await.unwrap();
    run(&session, "INSERT INTO t VALUES (1, [1, 0]), (2, [0, 1])").await.unwrap();
    let context = SessionContext::new();
    context.sql("CREATE TABLE own AS SELECT 7 AS seven").await.unwrap().collect().await.unwrap();
    register(&context, &store, "lab").unwrap();
    (context, session)
}

#[tokio::test]
async fn a_context_keeps_what_it_has_and_gets_the_store() {
    let (context, session) = context().await;
    assert_eq!(number(&context, "SELECT seven FROM own").await, 7);
    assert_eq!(number(&context, "SELECT count(*) FROM lab.public.t").await, 2);
    assert_eq!(number(&context, "SELECT row FROM top_k('lab.public.t', [0, 1], 1)").await, 1);
    let digits = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data/digits.npy");
    assert_eq!(number(&context, &format!("SELECT count(*) FROM '{digits}'")).await, 1797);
    assert!(register(&context, session.store(), "lab").unwrap_err().to_string().contains("already"));
}

#[tokio::test]
async fn a_context_inserts_and_reads_the_newest_version() {
    let (context, _) = context().await;
    context.sql("CREATE VIEW v AS SELECT count(*) AS c FROM lab.public.t").await.unwrap();
    let insert = "INSERT INTO lab.public.t (v, id) SELECT v, id + 2 FROM lab.public.t ORDER BY id DESC";
    let inserted = context.sql(insert).await.unwrap().collect().await.unwrap();
    assert_eq!(inserted[0].column(0).as_primitive::<UInt64Type>().value(0), 2);
    assert_eq!(number(&context, "SELECT c FROM v").await, 4);
    assert_eq!(number(&context, "SELECT id FROM lab.public.t WHERE row = 2").await, 4);
    // The planner's own casts would make 1 of 1.5.
    let lossy = context.sql("INSERT INTO lab.public.t (id, v) VALUES (1.5, [1, 2])").await.unwrap().collect().await;
    assert!(lossy.unwrap_err().to_string().contains("the value 1.5 does not fit int64"));
    let short = context.sql("INSERT INTO lab.public.t (id, v) VALUES (1, [1, 2]), (1, [1])").await;
    assert!(match short {
        Ok(frame) => frame.collect().await.is_err(),
        Err(_) => true,
    });
    assert_eq!(number(&context, "SELECT count(*) FROM lab.public.t").await, 4);
}

#[tokio::test]
async fn a_context_fills_in_fields_that_are_left_out_and_deletes_all_rows() {
    let (context, session) = context().await;
    run(&session, "CREATE TABLE p (id BIGINT, n BIGINT NULL DEFAULT 5, kind TEXT DEFAULT 'none', x INT NULL)")
        .await
        .unwrap();
    let done = async |sql: &str| context.sql(sql).await?.collect().await;
    done("INSERT INTO lab.public.p (id) VALUES (1)").await.unwrap();
    done("INSERT INTO lab.public.p (n, id) SELECT NULL, 2").await.unwrap();
    let query = "SELECT count(*) FROM lab.public.p WHERE kind = 'none' AND x IS NULL";
    assert_eq!(number(&context, query).await, 2);
    assert_eq!(number(&context, "SELECT n FROM lab.public.p WHERE id = 1").await, 5);
    assert_eq!(number(&context, "SELECT count(*) FROM lab.public.p WHERE n IS NULL AND id = 2").await, 1);
    let error = done("INSERT INTO lab.public.p (kind) VALUES ('x')").await.unwrap_err().to_string();
    assert!(error.contains("field \"id\" needs a value"), "{error}");
    let deleted = done("DELETE FROM lab.public.p").await.unwrap();
    assert_eq!(deleted[0].column(0).as_primitive::<UInt64Type>().value(0), 2);
    assert_eq!(count(&session, "SELECT count(*) FROM p").await, 0);
}

#[tokio::test]
async fn a_context_refuses_what_is_not_supported_and_keeps_its_own_tables() {
    let (context, session) = context().await;
    for sql in [
        "DELETE FROM lab.public.t LIMIT 1",
        "UPDATE lab.public.t SET id = 3 FROM own",
        "INSERT OVERWRITE lab.public.t (id, v) SELECT id, v FROM lab.public.t",
    ] {
        let error = match context.sql(sql).await {
            Ok(frame) => frame.collect().await.expect_err(sql),
            Err(e) => e,
        };
        assert!(error.to_string().contains("not supported"), "{sql}: {error}");
    }
    assert_eq!(count(&session, "SELECT count(*) FROM t").await, 2);
    context.sql("DELETE FROM own").await.unwrap().collect().await.unwrap();
    assert_eq!(number(&context, "SELECT count(*) FROM own").await, 0);
}

/// A query planner of somebody else's: it must be asked for plans that are not ours.
#[derive(Debug, Default)]
struct Counting(std::sync::atomic::AtomicUsize);

#[async_trait::async_trait]
impl datafusion::execution::context::QueryPlanner for Counting {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn datafusion::catalog::Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        DefaultPhysicalPlanner::default().create_physical_plan(plan, session).await
    }
}

#[tokio::test]
async fn a_context_keeps_its_query_planner() {
    let planner = Arc::new(Counting::default());
    let state = SessionStateBuilder::new_with_default_features()
        .with_query_planner(Arc::clone(&planner) as Arc<dyn datafusion::execution::context::QueryPlanner + Send + Sync>)
        .build();
    let context = SessionContext::new_with_state(state);
    let store = Store::memory();
    run(&parallel(&store), "CREATE TABLE t AS SELECT [1.0, 2.0]::FLOAT[2] AS v").await.unwrap();
    register(&context, &store, "lab").unwrap();
    assert_eq!(number(&context, "SELECT count(*) FROM lab.public.t").await, 1);
    let asked = planner.0.load(std::sync::atomic::Ordering::Relaxed);
    assert!(asked > 0);
    assert_eq!(number(&context, "SELECT row FROM top_k('lab.public.t', [0, 1], 1)").await, 0);
}

#[tokio::test]
async fn a_long_vector_does_not_stand_in_the_name_of_a_column() {
    let session = Session::memory();
    let vector = |x: usize| format!("[{}]", (x..x + 20).map(|x| x.to_string()).collect::<Vec<_>>().join(","));
    let sql = format!(
        "SELECT l2_distance({0}, {1}), l2_distance({1}, {0}) - 1, l2_distance([1,2], [3,4])",
        vector(1),
        vector(2)
    );
    let frame = session.sql(&sql).await.unwrap();
    let names: Vec<_> = frame.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert!(names[0].starts_with("l2_distance([20 values, ") && names[0].len() < 80, "{names:?}");
    assert_ne!(names[0], names[1]);
    assert!(names[2].contains('3'), "{names:?}");
    let found = frame.collect().await.unwrap();
    assert_eq!(found[0].num_rows(), 1);
    // Those of two vectors differ, and it is the same column that is sorted by.
    let sql = format!(
        "SELECT l2_distance({0}, {1}), l2_distance({0}, {0}) ORDER BY l2_distance({0}, {1})",
        vector(1),
        vector(2)
    );
    assert_eq!(session.sql(&sql).await.unwrap().collect().await.unwrap()[0].num_columns(), 2);
}
