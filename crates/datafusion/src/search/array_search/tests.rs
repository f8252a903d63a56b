#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use hyperslab_store::Store;

use super::*;
use crate::Session;

/// 6,000 rows with many ties, some replaced, some deleted, in two segments, one of them compressed.
const SETUP: &str = "
    CREATE TABLE t (id BIGINT, v FLOAT[3], w SMALLINT[3]);
    INSERT INTO t SELECT value, [value * 7919 % 101, value * 104729 % 17, value % 3],
        [value % 11, value % 13, value % 5] FROM generate_series(0, 4999);
    ALTER TABLE t SET (codec = 'zstd');
    INSERT INTO t SELECT value, [value * 7919 % 101, value * 104729 % 17, value % 3],
        [value % 11, value % 13, value % 5] FROM generate_series(5000, 5999);
    UPDATE t SET v = [50, 8.5, 1] WHERE id % 97 = 5;
    DELETE FROM t WHERE id % 89 = 3";

async fn session() -> Session {
    let session = Session::new(Store::memory(), crate::SessionOptions::default());
    for sql in session.split(SETUP).unwrap() {
        session.sql(&sql).await.unwrap().collect().await.unwrap();
    }
    session
}

async fn by_sql(session: &Session, query: &str, more: &str) -> Vec<(u64, u64)> {
    let sql = format!("SELECT row, score FROM top_k('t', {query}, {more}) ORDER BY rank");
    let batches = session.sql(&sql).await.unwrap().collect().await.unwrap();
    let hits = batches.iter().flat_map(|b| {
        let rows = b.column(0).as_primitive::<Int64Type>().values();
        let scores = b.column(1).as_primitive::<Float64Type>().values();
        rows.iter().zip(scores).map(|(row, score)| (row.cast_unsigned(), score.to_bits())).collect::<Vec<_>>()
    });
    hits.collect()
}

fn bits(hits: &[Hit]) -> Vec<(u64, u64)> {
    hits.iter().map(|hit| (hit.row, hit.score.to_bits())).collect()
}

#[tokio::test]
async fn results_are_those_of_sql() {
    let session = session().await;
    let array = session.snapshot().unwrap().array("t").unwrap();
    let each: Vec<u64> = (0..array.rows()).rev().filter(|row| row % 7 == 3 || row % 1000 < 40).collect();
    let shapes = [
        (SearchRows::All, ""),
        (SearchRows::Range(100..4321), ", filter => row >= 100 AND row < 4321"),
        (SearchRows::Each(each), ", filter => row % 7 = 3 OR row % 1000 < 40"),
    ];
    for (field, metric) in Metric::ALL.into_iter().flat_map(|m| [("v", m), ("w", m)]) {
        for (rows, filter) in &shapes {
            for threads in [1, 3] {
                let options = SearchOptions {
                    k: 40,
                    metric,
                    field: Some(field.to_owned()),
                    rows: rows.clone(),
                    threads,
                    allow_nan: false,
                };
                let queries = [[50.0, 8.0, 1.0], [3.0, 2.0, 2.0], [7.0, 1.0, 0.0]];
                let found = array.top_k_batch(&queries, &options).unwrap();
                assert_eq!(found.len(), 3);
                for (query, hits) in queries.iter().zip(&found) {
                    let more = format!("k => 40, metric => '{metric}', field => '{field}'{filter}");
                    let expected = by_sql(&session, &format!("{query:?}"), &more).await;
                    assert_eq!(bits(hits), expected, "{metric} of {field}{filter}, {threads} threads");
                }
                assert_eq!(array.top_k(&queries[1], &options).unwrap(), found[1]);
            }
        }
    }
}

#[tokio::test]
async fn bad_input_is_named() {
    let session = session().await;
    let array = session.snapshot().unwrap().array("t").unwrap();
    let options = SearchOptions { field: Some("v".to_owned()), ..SearchOptions::default() };
    let error = |query: &[f64], options: SearchOptions| array.top_k(query, &options).unwrap_err().to_string();
    let query = [1.0, 2.0, 3.0];
    for (message, expected) in [
        (error(&query, SearchOptions { k: 0, ..options.clone() }), "k must be at least 1"),
        (error(&query, SearchOptions { field: None, ..options.clone() }), "several fields hold vectors"),
        (error(&query, SearchOptions { field: Some("id".into()), ..options.clone() }), "holds no vectors"),
        (error(&query, SearchOptions { field: Some("x".into()), ..options.clone() }), "there is no field \"x\""),
        (error(&query, SearchOptions { rows: SearchRows::Range(0..9999), ..options.clone() }), "there is no row 9998"),
        (
            error(&query, SearchOptions { rows: SearchRows::Each(vec![9000]), ..options.clone() }),
            "there is no row 9000",
        ),
        (error(&query[..2], options.clone()), "the query vector has 2 values, and those of v have 3"),
        (error(&[1.0, f64::NAN, 0.0], options.clone()), "NaN at position 1"),
    ] {
        assert!(message.contains(expected) && message.contains('t'), "{message}");
    }
    assert!(array.top_k_batch(&[] as &[[f64; 3]], &options).unwrap().is_empty());
    let none = SearchOptions { rows: SearchRows::Each(vec![]), ..options.clone() };
    assert!(array.top_k(&query, &none).unwrap().is_empty());
    let all = array.top_k(&query, &SearchOptions { k: usize::MAX, ..options }).unwrap();
    assert_eq!(all.len() as u64, array.rows());
}
