#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, Float64Array, RecordBatch};
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::SessionContext;
use hyperslab_store::Store;

use crate::{Session, SessionOptions, register};

/// 20,000 rows with many ties, in three segments.
const SETUP: &str = "
    CREATE TABLE t AS SELECT CAST(value % 3 AS INT) AS label, CAST(value AS BIGINT) AS id,
        [CAST(value * 7919 % 101 AS REAL), CAST(value * 104729 % 17 AS REAL)]::FLOAT[2] AS v
        FROM generate_series(0, 19997);
    INSERT INTO t VALUES (0, 19998, [50, 8]);
    INSERT INTO t VALUES (1, 19999, [50, 8])";

async fn session(options: SessionOptions) -> Session {
    let session = Session::new(Store::memory(), options);
    for sql in session.split(SETUP).unwrap() {
        rows(&session, &sql).await;
    }
    session
}

fn partitions(n: usize) -> SessionOptions {
    SessionOptions { target_partitions: Some(n), ..SessionOptions::default() }
}

async fn rows(session: &Session, sql: &str) -> Vec<RecordBatch> {
    session.sql(sql).await.unwrap().collect().await.unwrap()
}

fn integers(batches: &[RecordBatch], column: usize) -> Vec<i64> {
    batches.iter().flat_map(|b| b.column(column).as_primitive::<Int64Type>().values().to_vec()).collect()
}

fn floats(batches: &[RecordBatch], column: usize) -> Vec<f64> {
    batches.iter().flat_map(|b| b.column(column).as_primitive::<Float64Type>().values().to_vec()).collect()
}

#[tokio::test]
async fn results_are_those_of_a_full_sort_whatever_the_partitions() {
    let shapes = [
        ("'t'", "t", ""),
        ("'t'", "t WHERE label = 1", ", filter => 'label = 1'"),
        ("(SELECT row, id, v FROM t WHERE label <> 1)", "t WHERE label <> 1", ""),
        // Columns that are computed are carried along.
        ("(SELECT row, id + 0 AS id, v FROM t WHERE label <> 1)", "t WHERE label <> 1", ""),
    ];
    let metrics =
        [("l2", "l2_distance", "ASC"), ("cosine", "cosine_distance", "ASC"), ("dot", "inner_product", "DESC")];
    for n in [1, 2, 7] {
        let session = session(partitions(n)).await;
        for (array, table, filter) in shapes {
            for (metric, function, direction) in metrics {
                let search = format!(
                    "SELECT row, id, score FROM top_k({array}, [50.5, 8.25], 500, '{metric}'{filter}) ORDER BY rank"
                );
                let sort = format!(
                    "SELECT row, id, {function}(v, [50.5, 8.25]) AS score FROM {table} \
                     ORDER BY coalesce(score, 1) {direction}, row LIMIT 500"
                );
                let (found, expected) = (rows(&session, &search).await, rows(&session, &sort).await);
                assert_eq!(integers(&found, 0), integers(&expected, 0), "{n} partitions: {search}");
                assert_eq!(integers(&found, 1), integers(&expected, 1), "{n} partitions: {search}");
                assert_eq!(floats(&found, 2), floats(&expected, 2), "{n} partitions: {search}");
            }
        }
    }
}

#[tokio::test]
async fn more_queries_than_run_at_once() {
    let session = session(partitions(3)).await;
    // The input holds a join, which cannot run twice without being reset.
    let sql = "SELECT query_row, rank, row FROM top_k((SELECT a.row, a.v FROM t a JOIN t b ON a.id = b.id \
               WHERE a.row % 20 = 0), queries => (SELECT row, v FROM t WHERE row < 2500), k => 2, metric => 'l2') \
               ORDER BY query_row, rank";
    let found = rows(&session, sql).await;
    let expected: Vec<i64> = (0..2500).flat_map(|q| [q, q]).collect();
    assert_eq!(integers(&found, 0), expected);
    let single = rows(
        &session,
        "SELECT row FROM top_k('t', (SELECT v FROM t WHERE row = 2411), 2, 'l2', filter => row % 20 = 0) ORDER BY rank",
    )
    .await;
    assert_eq!(integers(&found, 2)[4822..4824], integers(&single, 0));
}

#[tokio::test]
async fn parameters_are_bound_after_planning() {
    let session = session(partitions(2)).await;
    let frame = session.sql("SELECT row FROM top_k('t', $1, $2, 'l2') ORDER BY rank").await.unwrap();
    let vector = Arc::new(Float64Array::from(vec![50.0, 8.0]));
    let vector = ScalarValue::List(Arc::new(SingleRowListArrayBuilder::new(vector).build_list_array()));
    let bind = |k: i64| ParamValues::from(vec![vector.clone(), ScalarValue::from(k)]);
    let found = frame.clone().with_param_values(bind(2)).unwrap().collect().await.unwrap();
    let expected = rows(&session, "SELECT row FROM top_k('t', [50, 8], 2, 'l2') ORDER BY rank").await;
    assert_eq!(integers(&found, 0), integers(&expected, 0));
    let error = frame.clone().with_param_values(bind(0)).unwrap_err();
    assert!(error.to_string().contains("k must be at least 1, not 0"), "{error}");
    let error = frame.collect().await.unwrap_err();
    assert!(error.to_string().contains("$1") || error.to_string().contains("$2"), "{error}");
}

#[tokio::test]
async fn what_is_kept_is_asked_of_the_memory_pool() {
    let options = SessionOptions { memory_limit: Some(64 << 10), ..partitions(2) };
    let session = session(SessionOptions { memory_limit: None, ..options.clone() }).await;
    let limited = Session::new(session.store().clone(), options);
    let frame = limited.sql("SELECT row FROM top_k('t', [1, 2], 20000, 'l2')").await.unwrap();
    let error = frame.collect().await.unwrap_err().to_string();
    assert!(error.contains("Search"), "{error}");
    assert_eq!(rows(&limited, "SELECT row FROM top_k('t', [1, 2], 3, 'l2')").await[0].num_rows(), 3);
}

#[tokio::test]
async fn a_context_with_a_registered_store_searches() {
    let session = session(partitions(2)).await;
    let context = SessionContext::new();
    register(&context, session.store(), "arrays").unwrap();
    for sql in [
        "SELECT row FROM top_k('arrays.public.t', [50, 8], k => 3, metric => 'l2') ORDER BY rank",
        "SELECT row FROM arrays.public.t ORDER BY l2_distance(v, [50, 8]), row LIMIT 3",
        "SELECT n.row FROM (SELECT [50.0, 8.0] AS vec) q CROSS JOIN LATERAL \
         vector_search('arrays.public.t', q.vec, 3, 'l2') n ORDER BY n.rank",
    ] {
        let frame = context.sql(sql).await.unwrap();
        let explained = format!("{}", frame.clone().into_optimized_plan().unwrap().display_indent());
        assert!(explained.contains("Search: "), "{explained}");
        let expected = rows(&session, "SELECT row FROM top_k('t', [50, 8], 3, 'l2') ORDER BY rank").await;
        assert_eq!(integers(&frame.collect().await.unwrap(), 0), integers(&expected, 0), "{sql}");
    }
    // Here the parser is not ours, and the word is needed.
    let sql = "SELECT n.row FROM (SELECT [50.0, 8.0] AS vec) q, top_k('arrays.public.t', q.vec, 3, 'l2') n";
    let error = context.sql(sql).await.unwrap_err().to_string();
    assert!(error.contains("only the query of LATERAL top_k(…)"), "{error}");
}

/// A plan that ran, and its nodes of a name.
async fn ran(session: &Session, sql: &str, name: &str) -> (String, Vec<Arc<dyn ExecutionPlan>>) {
    let frame = session.sql(sql).await.unwrap();
    let context = frame.task_ctx();
    let plan = frame.create_physical_plan().await.unwrap();
    collect(Arc::clone(&plan), Arc::new(context)).await.unwrap();
    let mut found = vec![];
    plan.apply(|node| {
        found.extend((node.name() == name).then(|| Arc::clone(node)));
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    (DisplayableExecutionPlan::with_metrics(plan.as_ref()).indent(true).to_string(), found)
}

fn figure(node: &Arc<dyn ExecutionPlan>, name: &str) -> usize {
    node.metrics().unwrap().sum_by_name(name).unwrap().as_usize()
}

#[tokio::test]
async fn vectors_of_rows_that_a_filter_drops_are_not_read() {
    let session = session(partitions(1)).await;
    rows(&session, "CREATE TABLE few (id BIGINT)").await;
    rows(&session, "INSERT INTO few VALUES (3), (70), (7000)").await;
    // A row of v has 8 bytes; how many rows each filter keeps.
    let filters = [
        ("id % 100 = 7", 200),
        ("id % 2 = 0", 10_000),
        ("id BETWEEN 5000 AND 5999", 1000),
        ("id IN (SELECT id FROM few)", 3),
        ("EXISTS (SELECT 1 FROM few WHERE few.id = t.id)", 3),
        ("row < 4000 AND id % 4 = 1", 1000),
        ("id < 0", 0),
    ];
    for (filter, kept) in filters {
        for sql in [
            format!("SELECT row FROM t WHERE {filter} ORDER BY l2_distance(v, [50, 8]), row LIMIT 5"),
            format!("SELECT row FROM top_k('t', [50, 8], 5, 'l2', filter => {filter}) ORDER BY rank"),
        ] {
            let (plan, searches) = ran(&session, &sql, "SearchExec").await;
            let [search] = searches.as_slice() else { panic!("{sql}\n{plan}") };
            assert_eq!(figure(search, "rows_ranked"), kept, "{sql}\n{plan}");
            let read = figure(search, "bytes_mapped") + figure(search, "bytes_copied");
            assert_eq!(read, kept * 8, "{sql}\n{plan}");
            assert!(!plan.lines().any(|l| l.contains("ArrayScanExec: t@") && l.contains("v],")), "{sql}\n{plan}");
        }
    }
    // What is filtered by the vectors themselves reads them, of course, and ranks those that it keeps.
    let sql = "SELECT row FROM t WHERE l2_distance(v, [50, 8]) < 5 ORDER BY l2_distance(v, [50, 8]), row LIMIT 5";
    let (plan, _) = ran(&session, sql, "SearchExec").await;
    assert!(plan.contains("read by row"), "{plan}");
}

#[tokio::test]
async fn queries_of_a_join_are_searched_for_at_once() {
    let session = session(partitions(2)).await;
    rows(&session, "CREATE TABLE q AS SELECT CAST(value AS BIGINT) AS id, [CAST(value AS REAL), 8]::FLOAT[2] AS vec FROM generate_series(0, 63)").await;
    let list: Vec<String> = (0..64).map(|i| format!("[{i}, 8]")).collect();
    let spellings = [
        "FROM q CROSS JOIN LATERAL top_k('t', q.vec, 5, 'l2') n".to_owned(),
        "FROM q, vector_search('t', q.vec, 5, 'l2') n".to_owned(),
        "FROM q LEFT JOIN top_k('t', q.vec, 5, 'l2') n ON true".to_owned(),
        "FROM q JOIN t n NEAREST 5 BY DISTANCE q.vec <-> n.v".to_owned(),
        "FROM q LEFT JOIN t n NEAREST 5 BY DISTANCE l2_distance(n.v, q.vec)".to_owned(),
        "FROM top_k('t', queries => q, k => 5, metric => 'l2') n".to_owned(),
        format!("FROM top_k('t', [{}], 5, 'l2') n", list.join(", ")),
    ];
    for from in spellings {
        let sql = format!("SELECT n.row {from}");
        let (plan, searches) = ran(&session, &sql, "SearchExec").await;
        let [search] = searches.as_slice() else { panic!("{sql}\n{plan}") };
        assert_eq!(search.metrics().unwrap().output_rows().unwrap(), 64 * 5, "{sql}\n{plan}");
        // Each row of the array is read once, not once for each query.
        assert_eq!(figure(search, "rows_ranked"), 20_000, "{sql}\n{plan}");
    }
    // Conditions on the queries come before the search: without queries nothing is read.
    for (condition, ranked, found) in
        [("id = 7", 20_000, 5), ("id < 0", 0, 0), ("id IN (SELECT label FROM t)", 20_000, 15)]
    {
        for join in ["CROSS JOIN LATERAL top_k('t', q.vec, 5, 'l2') n", "JOIN t n NEAREST 5 BY DISTANCE q.vec <-> n.v"]
        {
            let sql = format!("SELECT n.row FROM q {join} WHERE q.{condition}");
            let (plan, searches) = ran(&session, &sql, "SearchExec").await;
            let [search] = searches.as_slice() else { panic!("{sql}\n{plan}") };
            assert_eq!(figure(search, "rows_ranked"), ranked, "{sql}\n{plan}");
            assert_eq!(search.metrics().unwrap().output_rows().unwrap(), found, "{sql}\n{plan}");
        }
    }
}

#[tokio::test]
async fn more_rows_of_a_join_than_are_searched_for_at_once() {
    let session = session(partitions(3)).await;
    // Every third query is NULL, and found nothing for.
    let queries = "(SELECT row, CASE WHEN row % 3 > 0 THEN v END AS v FROM t WHERE row < 20000)";
    let sql = format!(
        "SELECT q.row, n.rank, n.row FROM {queries} q LEFT JOIN top_k('t', q.v, 1, 'l2', filter => row < 2000) n ON true \
         ORDER BY q.row"
    );
    let batches = rows(&session, &sql).await;
    assert_eq!(integers(&batches, 0), (0..20_000).collect::<Vec<i64>>());
    let nulls: usize = batches.iter().map(|b| b.column(2).null_count()).sum();
    assert_eq!(nulls, 20_000_usize.div_ceil(3));
    // The vectors repeat every 1717 rows, so that each is found, at the first row that has it.
    let expected: Vec<i64> =
        (0..20_000).map(|row| if row == 19_998 || row == 19_999 { -1 } else { row % 1717 }).collect();
    let found = batches.iter().flat_map(|b| b.column(2).as_primitive::<Int64Type>().iter().collect::<Vec<_>>());
    for (row, (found, expected)) in found.zip(expected).enumerate() {
        assert!(found.is_none_or(|found| found == expected || expected == -1), "{row}: {found:?}");
        assert_eq!(found.is_none(), row % 3 == 0);
    }
}

#[tokio::test]
async fn rows_kept_by_a_filter_rank_as_in_a_full_sort() {
    let session = session(partitions(3)).await;
    rows(&session, "CREATE TABLE packed (id BIGINT, v FLOAT[2]) WITH (codec = 'zstd')").await;
    rows(&session, "INSERT INTO packed SELECT id, v FROM t").await;
    for table in ["t", "packed"] {
        // Some rows are changed, some gone, so that runs are short.
        rows(&session, &format!("UPDATE {table} SET v = [50, 8.5] WHERE id % 97 = 5")).await;
        rows(&session, &format!("DELETE FROM {table} WHERE id % 89 = 3")).await;
        for filter in
            ["id % 50 = 5", "id % 3 <> 1", "id % 1000 < 900", "id IN (SELECT value * 7 FROM generate_series(0, 900))"]
        {
            let search = format!(
                "SELECT row, id, score FROM top_k('{table}', [50.5, 8.25], 300, 'l2', filter => '{filter}') ORDER BY rank"
            );
            let sort = format!(
                "SELECT row, id, l2_distance(v, [50.5, 8.25]) + 0 AS score FROM {table} WHERE {filter} ORDER BY score, row LIMIT 300"
            );
            let (found, expected) = (rows(&session, &search).await, rows(&session, &sort).await);
            assert_eq!(integers(&found, 0), integers(&expected, 0), "{search}");
            assert_eq!(integers(&found, 1), integers(&expected, 1), "{search}");
            assert_eq!(floats(&found, 2), floats(&expected, 2), "{search}");
            // Several queries at once give what each gives alone.
            let many = format!(
                "SELECT query_row, row FROM top_k('{table}', queries => (SELECT row, v FROM t WHERE row IN (5, 9, 11)), k => 40, metric => 'l2', filter => '{filter}') ORDER BY query_row, rank"
            );
            let many = rows(&session, &many).await;
            for query in [5, 9, 11] {
                let one = format!(
                    "SELECT row FROM top_k('{table}', (SELECT v FROM t WHERE row = {query}), 40, 'l2', filter => '{filter}') ORDER BY rank"
                );
                let one = integers(&rows(&session, &one).await, 0);
                let of_query: Vec<i64> = integers(&many, 0)
                    .into_iter()
                    .zip(integers(&many, 1))
                    .filter(|(q, _)| *q == query)
                    .map(|(_, r)| r)
                    .collect();
                assert_eq!(of_query, one, "{table} {filter} {query}");
            }
        }
    }
}

#[tokio::test]
async fn zeros_and_nan_rank_in_long_searches_as_in_a_full_sort() {
    let session = session(partitions(2)).await;
    rows(&session, "CREATE TABLE odd (v DOUBLE[2])").await;
    let odd = "SELECT CASE id % 499 WHEN 7 THEN [0.0, 0.0] WHEN 9 THEN ['NaN'::DOUBLE, 1] WHEN 11 THEN [v[2], -v[1]] \
               ELSE [v[1], v[2]] END FROM t";
    rows(&session, &format!("INSERT INTO odd {odd}")).await;
    let functions = [
        "cosine_distance",
        "cosine_similarity",
        "l2_distance",
        "inner_product",
        "negative_inner_product",
        "l1_distance",
    ];
    for function in functions {
        for direction in ["ASC", "DESC", "ASC NULLS FIRST", "DESC NULLS LAST"] {
            for k in [10, 60, 200] {
                let search = format!("SELECT row FROM odd ORDER BY {function}(v, [3, 8]) {direction}, row LIMIT {k}");
                let sort = format!("SELECT row FROM odd ORDER BY {function}(v, [3, 8]) + 0 {direction}, row LIMIT {k}");
                let (plan, searches) = ran(&session, &search, "SearchExec").await;
                assert_eq!(searches.len(), 1, "{plan}");
                let (found, expected) = (rows(&session, &search).await, rows(&session, &sort).await);
                assert_eq!(integers(&found, 0), integers(&expected, 0), "{search}");
            }
        }
    }
}

#[tokio::test]
async fn metrics_tell_how_many_distances_a_bound_made_needless() {
    let session = session(partitions(2)).await;
    let queries = "queries => (SELECT row, v FROM t WHERE row < 6)";
    for (query, filter, pairs) in [
        ("[50, 8]", "", 20_000),
        ("[50, 8]", ", filter => row % 2 = 0", 10_000),
        (queries, "", 6 * 20_000),
        (queries, ", filter => row % 2 = 0", 6 * 10_000),
    ] {
        let sql = format!("SELECT * FROM top_k('t', {query}, k => 3, metric => 'l2'{filter})");
        let (plan, searches) = ran(&session, &sql, "SearchExec").await;
        let [search] = searches.as_slice() else { panic!("{sql}\n{plan}") };
        let (computed, ruled_out) = (figure(search, "distances_computed"), figure(search, "distances_ruled_out"));
        assert_eq!(computed + ruled_out, pairs, "{sql}\n{plan}");
        assert!(ruled_out > pairs / 2, "{sql}\n{plan}");
    }
}
