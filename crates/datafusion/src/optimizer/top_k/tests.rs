#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::SessionContext;
use hyperslab_store::Store;

use crate::{Session, SessionOptions};

const SETUP: &str = "
    CREATE TABLE t AS SELECT CAST(row % 3 AS INT) AS label, CAST(row % 5 AS INT) AS other,
        [CAST(sin(row * 1.7) * 10 AS REAL), CAST(cos(row * 0.3) * 10 AS REAL)]::FLOAT[2] AS v
        FROM (SELECT value AS row FROM generate_series(0, 499));
    CREATE TABLE ties AS SELECT [CAST(value % 4 AS REAL), 0]::FLOAT[2] AS v FROM generate_series(0, 99);
    CREATE TABLE odd (v DOUBLE[2]);
    INSERT INTO odd VALUES ([1, 1]), (['NaN'::DOUBLE, 0]), ([0, 0]), ([-1, 2]), (['NaN'::DOUBLE, 3]), ([0, 0]), ([3, 3]);
    CREATE TABLE bytes AS SELECT [value % 7, value % 11]::TINYINT UNSIGNED[2] AS v FROM generate_series(0, 99);
    CREATE TABLE bools AS SELECT [value % 2 = 0, value % 3 = 0, value % 5 = 0]::BOOLEAN[3] AS v
        FROM generate_series(0, 29)";

/// Shapes that become a search.
const SEARCHED: [&str; 37] = [
    "WITH c AS (SELECT * FROM t ORDER BY l2_distance(v, [0, 0]), row LIMIT 5 OFFSET 2) SELECT row FROM c ORDER BY row",
    "SELECT row FROM t WHERE EXISTS (SELECT 1 FROM ties WHERE ties.row = t.label) ORDER BY l2_distance(v, [1, 2]) LIMIT 5",
    "SELECT row FROM t WHERE v <-> [1, 2] < 9.5 AND other IN (1, 2) ORDER BY v <-> [1, 2], row LIMIT 400 OFFSET 1",
    "SELECT row FROM t ORDER BY l2_distance(v, [1, 2]), row LIMIT 5",
    "SELECT row, label, v FROM t ORDER BY l2_distance(v, [1, 2]) LIMIT 5",
    "SELECT * FROM t ORDER BY v <-> '[1, 2]' LIMIT 5",
    "SELECT * FROM t ORDER BY l2_distance([1.5, 2], v) LIMIT 5 OFFSET 3",
    "SELECT label FROM t ORDER BY l2sq_distance(v, [1, 2]) LIMIT 5",
    "SELECT row, cosine_distance(v, [1, 2]) AS d FROM t ORDER BY d LIMIT 5",
    "SELECT row, d FROM (SELECT row, v <=> [1, 2] AS d FROM t) ORDER BY d LIMIT 5",
    "SELECT row FROM t ORDER BY inner_product(v, [1, 2]) DESC LIMIT 5",
    "SELECT row FROM t ORDER BY dot_product(v, [1, 2]) DESC NULLS LAST LIMIT 5",
    "SELECT row FROM t ORDER BY v <#> [1, 2] LIMIT 5",
    "SELECT row FROM t ORDER BY cosine_similarity(v, [1, 2]) DESC LIMIT 5",
    "SELECT row FROM t ORDER BY l2_distance(v, [1, 2]) DESC LIMIT 5",
    "SELECT row FROM t WHERE label = 1 ORDER BY l2_distance(v, [1, 2]) LIMIT 5",
    "SELECT row FROM t WHERE row BETWEEN 100 AND 200 AND other <> 2 ORDER BY l2_distance(v, [1, 2]) LIMIT 5",
    "SELECT row FROM t WHERE label IN (SELECT other FROM t WHERE row < 2) ORDER BY l2_distance(v, [1, 2]) LIMIT 5",
    "SELECT row FROM t WHERE label NOT IN (SELECT other FROM t WHERE row < 2) ORDER BY l2_distance(v, [1, 2]) LIMIT 5",
    "SELECT a.row, a.label FROM t AS a ORDER BY l2_distance(a.v, (SELECT v FROM t WHERE row = 7)) LIMIT 5",
    "WITH c AS (SELECT * FROM t WHERE other = 1) SELECT row FROM c ORDER BY l2_distance(v, [0, 0]) LIMIT 5",
    "SELECT count(*) FROM (SELECT * FROM t ORDER BY l2_distance(v, [0, 0]) LIMIT 5)",
    "SELECT a.row FROM (SELECT * FROM t ORDER BY l2_distance(v, [0, 0]) LIMIT 5) a JOIN t b ON a.row = b.row + 1 \
     ORDER BY a.row",
    "SELECT row FROM ties ORDER BY l2_distance(v, [1, 0]), row LIMIT 30",
    "SELECT row, v FROM odd ORDER BY inner_product(v, [1, 1]) DESC, row LIMIT 3",
    "SELECT row, v FROM odd ORDER BY cosine_distance(v, [1, 1]), row LIMIT 6",
    "SELECT row FROM bytes ORDER BY l2_distance(v, [0.5, 9.25]), row LIMIT 6",
    "SELECT row FROM t ORDER BY v <+> [1, 2] LIMIT 5",
    "SELECT row FROM odd ORDER BY l1_distance([1, 1], v) DESC, row LIMIT 4",
    "SELECT row, v <~> [3, 5] AS d FROM bytes ORDER BY d, row LIMIT 12",
    "SELECT row FROM ties ORDER BY hamming_distance(v, [1, 0]) DESC, row LIMIT 80",
    "SELECT row FROM bytes ORDER BY v <%> [3, 5], row LIMIT 12",
    "SELECT row FROM bytes ORDER BY jaccard_similarity(v, [3, 5]) DESC, row LIMIT 12",
    "SELECT row FROM odd ORDER BY jaccard_distance(v, [1, 1]), row LIMIT 6",
    "SELECT row FROM odd ORDER BY kl_divergence(v, [1, 3]), row LIMIT 7",
    "SELECT row FROM bytes ORDER BY js_distance([1, 3], v), row LIMIT 7",
    "SELECT row FROM bools WHERE row > 3 ORDER BY v <~> [true, false, true], row LIMIT 7",
];

/// Shapes that must stay as they are.
const PLAIN: [&str; 14] = [
    // The only distance that is not symmetric.
    "SELECT row FROM bytes ORDER BY kl_divergence([1, 3], v), row LIMIT 7",
    "SELECT row FROM t ORDER BY l2_distance(v, [1, 2])",
    "SELECT row FROM t ORDER BY l2_distance(v, [1, 2]), label, row LIMIT 5",
    "SELECT row FROM t ORDER BY l2_distance(v, [1, 2]), row DESC LIMIT 5",
    "SELECT row FROM t ORDER BY label, l2_distance(v, [1, 2]), row LIMIT 5",
    "SELECT row FROM t ORDER BY -l2_distance(v, [1, 2]) LIMIT 5",
    "SELECT a.row FROM t a JOIN t b ON a.row = b.other ORDER BY l2_distance(a.v, [1, 2]), a.row, b.row LIMIT 5",
    "SELECT a.row FROM t a JOIN t b ON a.row = b.row ORDER BY l2_distance(a.v, b.v), a.row LIMIT 5",
    "SELECT row FROM t ORDER BY l2_distance(v, v), row LIMIT 5",
    "SELECT label FROM t GROUP BY label, v ORDER BY l2_distance(v, [1, 2]), label LIMIT 5",
    "SELECT row FROM (SELECT row, v FROM t UNION ALL SELECT row, v FROM t) ORDER BY l2_distance(v, [1, 2]), row LIMIT 5",
    "SELECT row FROM (SELECT * FROM t LIMIT 400) ORDER BY l2_distance(v, [1, 2]), row LIMIT 5",
    "SELECT row FROM t ORDER BY l2_distance(v, (SELECT v FROM t LIMIT 1)), row LIMIT 5",
    "SELECT row FROM (SELECT row, CASE WHEN label = 0 THEN v END AS v FROM t) ORDER BY l2_distance(v, [1, 2]), row \
     LIMIT 5",
];

async fn session(partitions: usize) -> Session {
    let options = SessionOptions { target_partitions: Some(partitions), ..SessionOptions::default() };
    let session = Session::new(Store::memory(), options);
    for sql in session.split(SETUP).unwrap() {
        session.sql(&sql).await.unwrap().collect().await.unwrap();
    }
    session
}

/// A context of the same tables without the rule.
fn without_rule(session: &Session) -> SessionContext {
    let state = session.context().state();
    let rules = state.optimizers().iter().filter(|r| r.name() != "order_by_distance").map(Arc::clone).collect();
    SessionContext::new_with_state(SessionStateBuilder::new_from_existing(state).with_optimizer_rules(rules).build())
}

async fn both(session: &Session, sql: &str) -> (String, String, String) {
    let frame = session.sql(sql).await.unwrap();
    let (_, plan) = frame.clone().into_parts();
    let explained = session.sql(&format!("EXPLAIN {sql}")).await.unwrap().collect().await.unwrap();
    let explained = pretty_format_batches(&explained).unwrap().to_string();
    let rule = pretty_format_batches(&frame.collect().await.unwrap()).unwrap().to_string();
    let plain = without_rule(session).execute_logical_plan(plan).await.unwrap().collect().await.unwrap();
    (explained, rule, pretty_format_batches(&plain).unwrap().to_string())
}

#[tokio::test]
async fn the_rule_changes_plans_and_no_results() {
    for partitions in [1, 3] {
        let session = session(partitions).await;
        for sql in SEARCHED {
            let (explained, rule, plain) = both(&session, sql).await;
            assert!(explained.contains("SearchExec"), "{sql}\n{explained}");
            assert_eq!(rule, plain, "{sql}");
        }
        for sql in PLAIN {
            let (explained, rule, plain) = both(&session, sql).await;
            assert!(!explained.contains("SearchExec"), "{sql}\n{explained}");
            assert_eq!(rule, plain, "{sql}");
        }
    }
}

#[tokio::test]
async fn ranking_reads_only_what_it_needs() {
    let session = session(2).await;
    let sql = "EXPLAIN SELECT label, other FROM t ORDER BY l2_distance(v, [1, 2]) LIMIT 5";
    let explained = session.sql(sql).await.unwrap().collect().await.unwrap();
    let explained = pretty_format_batches(&explained).unwrap().to_string();
    assert!(explained.contains("columns=[row, v]"), "{explained}");
    assert!(explained.contains("fetched by row=[label, other, v]"), "{explained}");
}

#[tokio::test]
async fn a_query_that_is_null_keeps_k_rows() {
    let session = session(2).await;
    let sql = "SELECT row FROM t ORDER BY l2_distance(v, (SELECT v FROM t WHERE row = -1)), row LIMIT 3";
    let (explained, rule, plain) = both(&session, sql).await;
    assert!(explained.contains("SearchExec"), "{explained}");
    assert_eq!(rule, plain);
}
