#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Int64Type, UInt64Type};
use datafusion::common::Result;
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use hyperslab_core::ErrorKind;
use hyperslab_store::{OpenOptions, Store};

use crate::{Session, SessionOptions, from_datafusion, register};

async fn run(session: &Session, sql: &str) -> Result<Vec<RecordBatch>> {
    session.sql(sql).await?.collect().await
}

async fn ok(session: &Session, statements: &[&str]) {
    for sql in statements {
        run(session, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
}

async fn fails(session: &Session, sql: &str) -> String {
    run(session, sql).await.expect_err(sql).to_string()
}

async fn number(session: &Session, sql: &str) -> i64 {
    run(session, sql).await.unwrap()[0].column(0).as_primitive::<Int64Type>().value(0)
}

async fn numbers(session: &Session, sql: &str) -> Vec<i64> {
    let batches = run(session, sql).await.unwrap();
    batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

fn session(store: &Store) -> Session {
    Session::new(store.clone(), SessionOptions { target_partitions: Some(2), ..SessionOptions::default() })
}

/// Two sessions over a store with the array `t`: `n` is 0, 10, 20, 30.
async fn two() -> (Session, Session) {
    let store = Store::memory();
    let (a, b) = (session(&store), session(&store));
    ok(&a, &["CREATE TABLE t (n BIGINT)", "INSERT INTO t VALUES (0), (10), (20), (30)"]).await;
    (a, b)
}

#[tokio::test]
async fn of_two_that_change_a_row_the_first_to_commit_wins() {
    let (a, b) = two().await;
    for session in [&a, &b] {
        ok(session, &["BEGIN", "UPDATE t SET n = n + 1 WHERE row = 2"]).await;
    }
    ok(&b, &["UPDATE t SET n = 31 WHERE row = 3", "CREATE TABLE also AS SELECT 1 AS x"]).await;
    ok(&a, &["COMMIT"]).await;
    let error = run(&b, "COMMIT").await.unwrap_err();
    let root = from_datafusion(&error).unwrap();
    assert_eq!((root.kind(), root.is_retryable()), (ErrorKind::Conflict, true));
    let text = error.to_string();
    assert!(text.contains("\"t\"") && text.contains('2') && text.contains("run it again from BEGIN"), "{text}");
    // Nothing of it was kept, and the session goes on without a transaction.
    assert!(!b.in_transaction());
    assert_eq!(numbers(&b, "SELECT n FROM t").await, [0, 10, 21, 30]);
    assert!(fails(&b, "SELECT * FROM also").await.contains("not found"));
    ok(&b, &["BEGIN", "UPDATE t SET n = n + 1 WHERE row = 2", "COMMIT"]).await;
    assert_eq!(numbers(&a, "SELECT n FROM t").await, [0, 10, 22, 30]);
}

#[tokio::test]
async fn other_rows_and_appends_do_not_conflict() {
    let (a, b) = two().await;
    ok(&a, &["BEGIN", "UPDATE t SET n = -1 WHERE row = 0", "INSERT INTO t VALUES (40)"]).await;
    ok(&b, &["BEGIN", "UPDATE t SET n = -3 WHERE row = 3", "INSERT INTO t VALUES (50)", "COMMIT"]).await;
    ok(&a, &["COMMIT"]).await;
    assert_eq!(numbers(&b, "SELECT n FROM t").await, [-1, 10, 20, -3, 50, 40]);
}

#[tokio::test]
async fn a_snapshot_is_stable_and_own_changes_are_seen() {
    let (a, b) = two().await;
    ok(&a, &["BEGIN"]).await;
    ok(&b, &["UPDATE t SET n = 99 WHERE row = 1", "DELETE FROM t WHERE row = 0", "CREATE TABLE u AS SELECT 1 AS x"])
        .await;
    assert_eq!(numbers(&a, "SELECT n FROM t").await, [0, 10, 20, 30]);
    assert!(fails(&a, "SELECT * FROM u").await.contains("not found"));
    ok(&a, &["UPDATE t SET n = n * 2 WHERE row = 3", "INSERT INTO t VALUES (5)"]).await;
    assert_eq!(numbers(&a, "SELECT n FROM t").await, [0, 10, 20, 60, 5]);
    assert_eq!(numbers(&b, "SELECT n FROM t").await, [99, 20, 30]);
    // A frame goes on showing what it was planned over.
    let frame = a.sql("SELECT count(*) FROM t").await.unwrap();
    ok(&a, &["DELETE FROM t WHERE row < 2"]).await;
    let counted = frame.collect().await.unwrap();
    assert_eq!(counted[0].column(0).as_primitive::<Int64Type>().value(0), 5);
    assert_eq!(numbers(&a, "SELECT n FROM t").await, [20, 60, 5]);
    ok(&a, &["ROLLBACK"]).await;
    assert_eq!(numbers(&a, "SELECT n FROM t").await, [99, 20, 30]);
}

/// A statement outside of BEGIN is planned over one version and executed over another: no update is lost.
#[tokio::test]
async fn a_single_statement_loses_no_update_of_another() {
    let (a, b) = two().await;
    let add = "UPDATE t SET n = n + 1 WHERE row = 1";
    let planned = a.sql(add).await.unwrap();
    ok(&b, &[add]).await;
    let error = planned.collect().await.unwrap_err();
    assert!(from_datafusion(&error).is_some_and(hyperslab_core::Error::is_retryable), "{error}");
    ok(&a, &[add]).await;
    assert_eq!(numbers(&a, "SELECT n FROM t").await, [0, 12, 20, 30]);
    // The rows of a DELETE are those that it was planned over, wherever they are now.
    let planned = a.sql("DELETE FROM t WHERE n = 30").await.unwrap();
    ok(&b, &["DELETE FROM t WHERE row = 0"]).await;
    planned.collect().await.unwrap();
    assert_eq!(numbers(&a, "SELECT n FROM t").await, [12, 20]);
}

#[tokio::test]
async fn plans_stay_in_the_transaction_in_which_they_were_made() {
    let (a, _) = two().await;
    let insert = "INSERT INTO t VALUES (1)";
    let before = a.sql(insert).await.unwrap();
    ok(&a, &["BEGIN"]).await;
    let error = before.clone().collect().await.unwrap_err().to_string();
    assert!(error.contains("planned before BEGIN"), "{error}");
    let inside = a.sql(insert).await.unwrap();
    let update = a.sql("UPDATE t SET n = n + 1").await.unwrap();
    inside.clone().collect().await.unwrap();
    let error = update.collect().await.unwrap_err().to_string();
    assert!(error.contains("the transaction changed since this statement was planned"), "{error}");
    ok(&a, &["ROLLBACK"]).await;
    let error = inside.clone().collect().await.unwrap_err().to_string();
    assert!(error.contains("has ended; plan it again"), "{error}");
    ok(&a, &["BEGIN"]).await;
    let error = inside.collect().await.unwrap_err().to_string();
    assert!(error.contains("has ended; plan it again"), "{error}");
    ok(&a, &["ROLLBACK"]).await;
    // Outside it commits by itself, as it was planned to.
    before.collect().await.unwrap();
    assert_eq!(number(&a, "SELECT count(*) FROM t").await, 5);
}

#[tokio::test]
async fn clones_share_the_transaction_and_the_last_one_rolls_back() {
    let (a, b) = two().await;
    let clone = a.clone();
    ok(&clone, &["BEGIN", "INSERT INTO t VALUES (1)"]).await;
    assert!(a.in_transaction() && a.has_uncommitted_changes() && !b.in_transaction());
    drop(clone);
    assert_eq!(number(&a, "SELECT count(*) FROM t").await, 5);
    assert_eq!(a.snapshot().unwrap().array("t").unwrap().rows(), 5);
    drop(a);
    assert_eq!(number(&b, "SELECT count(*) FROM t").await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_statement_leaves_the_transaction_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("demo.slab")).unwrap();
    let a = session(&store);
    ok(&a, &["CREATE TABLE t AS SELECT value AS n FROM generate_series(0, 199999) g"]).await;
    ok(&a, &["BEGIN", "UPDATE t SET n = -n WHERE row < 10", "INSERT INTO t VALUES (-1)"]).await;
    let expected = number(&a, "SELECT sum(n) FROM t").await;
    for sql in ["UPDATE t SET n = n + 1", "DELETE FROM t WHERE n % 3 = 0", "INSERT INTO t SELECT n FROM t"] {
        let mut stream = a.sql(sql).await.unwrap().execute_stream().await.unwrap();
        for _ in 0..5 {
            assert!(futures::poll!(stream.next()).is_pending(), "{sql} was done too early to be cancelled");
        }
        // While it writes, others wait, and read what was there before it.
        assert!(fails(&a, "INSERT INTO t VALUES (1)").await.contains("another statement is writing"));
        assert!(fails(&a, "COMMIT").await.contains("another statement is writing"));
        assert_eq!(number(&a, "SELECT sum(n) FROM t").await, expected);
        drop(stream);
        assert_eq!(number(&a, "SELECT sum(n) FROM t").await, expected, "{sql}");
    }
    assert!(fails(&a, "UPDATE t SET n = 1 / (100000 - row)").await.contains("Divide by zero"));
    assert_eq!(number(&a, "SELECT sum(n) FROM t").await, expected);
    ok(&a, &["COMMIT"]).await;
    assert_eq!(number(&session(&store), "SELECT sum(n) FROM t").await, expected);
    assert_eq!(number(&session(&store), "SELECT count(*) FROM t").await, 200_001);
}

#[tokio::test]
async fn rollback_ends_a_transaction_under_a_statement_that_writes() {
    let (a, _) = two().await;
    ok(&a, &["INSERT INTO t SELECT value FROM generate_series(1, 100000) g", "BEGIN"]).await;
    let mut stream = a.sql("UPDATE t SET n = 0").await.unwrap().execute_stream().await.unwrap();
    let _ = futures::poll!(stream.next());
    ok(&a, &["ROLLBACK", "BEGIN", "INSERT INTO t VALUES (7)"]).await;
    // The old statement's transaction does not come back.
    let error = stream.next().await.unwrap().unwrap_err().to_string();
    assert!(error.contains("rolled back while this statement was writing"), "{error}");
    ok(&a, &["COMMIT"]).await;
    assert_eq!(number(&a, "SELECT count(*) FROM t WHERE n = 0").await, 1);
    assert_eq!(number(&a, "SELECT count(*) FROM t WHERE n = 7").await, 2);
}

#[tokio::test]
async fn a_read_only_store_has_transactions_that_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.slab");
    let writer = Session::open(&path).unwrap();
    ok(&writer, &["CREATE TABLE t AS SELECT 1 AS n"]).await;
    let options = OpenOptions { read_only: true, ..OpenOptions::default() };
    let reader = session(&Store::open_with(&path, options).unwrap());
    ok(&reader, &["BEGIN"]).await;
    ok(&writer, &["INSERT INTO t VALUES (2)"]).await;
    assert_eq!(number(&reader, "SELECT count(*) FROM t").await, 1);
    for sql in ["UPDATE t SET n = 2", "DELETE FROM t", "TRUNCATE t"] {
        assert!(fails(&reader, sql).await.contains("opened read-only"), "{sql}");
    }
    ok(&reader, &["COMMIT"]).await;
    assert_eq!(number(&reader, "SELECT count(*) FROM t").await, 2);
}

/// Runs a statement in a context that a store is registered on; gives its count.
async fn changed(context: &SessionContext, sql: &str) -> u64 {
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    batches[0].column(0).as_primitive::<UInt64Type>().value(0)
}

#[tokio::test]
async fn a_context_edits_by_the_plan_of_the_statement() {
    let (a, _) = two().await;
    ok(&a, &["CREATE TABLE v (f FLOAT[2], g TINYINT)", "INSERT INTO v VALUES ([1, 2], 3), ([4, 5], 6)"]).await;
    let context = SessionContext::new();
    context.sql("CREATE TABLE own AS SELECT 20 AS k UNION ALL SELECT 500").await.unwrap().collect().await.unwrap();
    register(&context, a.store(), "lab").unwrap();
    // DataFusion gives a table provider no filter at all for this one.
    assert_eq!(changed(&context, "DELETE FROM lab.public.t WHERE n IN (SELECT k FROM own)").await, 1);
    assert_eq!(numbers(&a, "SELECT n FROM t").await, [0, 10, 30]);
    assert_eq!(changed(&context, "UPDATE lab.public.t SET n = n + row WHERE n > 0").await, 2);
    assert_eq!(numbers(&a, "SELECT n FROM t").await, [0, 11, 32]);
    assert_eq!(changed(&context, "UPDATE lab.public.t SET n = n").await, 3);
    let merge = "MERGE INTO lab.public.t USING (SELECT k, k - 489 AS at FROM own) AS s ON t.n = s.at \
                 WHEN MATCHED THEN UPDATE SET n = s.k WHEN NOT MATCHED THEN INSERT (n) VALUES (-1)";
    assert_eq!(changed(&context, merge).await, 2);
    assert_eq!(numbers(&a, "SELECT n FROM t").await, [0, 500, 32, -1]);
    assert_eq!(changed(&context, "UPDATE lab.public.v SET f = [7, 8] WHERE row = 1").await, 1);
    assert_eq!(number(&a, "SELECT f[2]::BIGINT FROM v WHERE row = 1").await, 8);
    let error =
        context.sql("UPDATE lab.public.v SET g = 300 WHERE row = 1").await.unwrap().collect().await.unwrap_err();
    assert!(error.to_string().contains("field \"g\", row 1: the value 300 does not fit int8"), "{error}");
    for refused in ["UPDATE lab.public.t SET row = 1", "DELETE FROM lab.public.t LIMIT 1"] {
        let error = match context.sql(refused).await {
            Ok(frame) => frame.collect().await.expect_err(refused),
            Err(e) => e,
        };
        assert!(error.to_string().contains("cannot be set") || error.to_string().contains("LIMIT"), "{error}");
    }
    assert_eq!(changed(&context, "TRUNCATE TABLE lab.public.t").await, 4);
    assert_eq!(changed(&context, "DELETE FROM lab.public.v").await, 2);
    assert_eq!(number(&a, "SELECT count(*) FROM v").await, 0);
}
