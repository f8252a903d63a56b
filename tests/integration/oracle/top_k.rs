//! `top_k` and `ORDER BY … LIMIT` find the rows and the scores that NumPy finds in float64, for every real dtype.

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use hyperslab_tests::{Sql, python, run_python};
use serde_json::{Value, json};

use super::{quoted, seed};

const METRICS: [&str; 4] = ["cosine", "l2", "l2sq", "dot"];

/// Rows of (query_row, rank, row, score) as JSON; NaN and infinities become null and ±1e999.
fn hits(batch: &RecordBatch, query: Option<i64>) -> Vec<Value> {
    let column = |name: &str| {
        let column = batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}: {:?}", batch.schema()));
        cast(column, &DataType::Int64).unwrap().as_primitive::<Int64Type>().values().to_vec()
    };
    let queries = query.map_or_else(|| column("query_row"), |q| vec![q; batch.num_rows()]);
    let (ranks, rows) = (column("rank"), column("row"));
    let scores = cast(batch.column_by_name("score").unwrap(), &DataType::Float64).unwrap();
    let scores = scores.as_primitive::<Float64Type>();
    let number = |s: f64| match s {
        s if s.is_infinite() => json!(if s > 0.0 { "inf" } else { "-inf" }),
        s => json!(s),
    };
    (0..batch.num_rows()).map(|i| json!([queries[i], ranks[i], rows[i], number(scores.value(i))])).collect()
}

#[test]
fn top_k_is_numpys() {
    let Some(python) = python() else { return };
    let seed = seed();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: String| folder.path().join(name);
    run_python(&python, folder.path(), include_str!("../../python/top_k_make.py"), &[&seed.to_string()]);
    let cases: Value = serde_json::from_slice(&std::fs::read(file("cases.json".into())).unwrap()).unwrap();
    let sql = Sql::memory();
    let mut all = Vec::new();
    for (i, case) in cases.as_array().unwrap().iter().enumerate() {
        for name in ["x", "q"] {
            let from = quoted(&file(format!("{name}{i}.npy")));
            sql.ok(&format!("CREATE TABLE {name}{i} WITH (shard_bytes = '4096') AS SELECT * FROM {from}"));
        }
        for metric in METRICS {
            let k = &case["k"];
            // Many queries at once.
            let batch = sql.ok(&format!("SELECT * FROM top_k('x{i}', 'q{i}', k => {k}, metric => '{metric}')"));
            let ranks = hits(&batch, None);
            let first = ranks.iter().map(|h| h[1].as_i64().unwrap()).min().unwrap();
            all.push(json!({"case": i, "metric": metric, "first": first, "hits": ranks}));
            // The file itself, one query.
            let batch = sql.ok(&format!(
                "SELECT * FROM top_k({}, (SELECT value FROM q{i} WHERE row = 2), {k}, metric => '{metric}')",
                quoted(&file(format!("x{i}.npy")))
            ));
            let one = hits(&batch, Some(2));
            let same: Vec<_> = ranks.iter().filter(|h| h[0] == 2).cloned().collect();
            let sorted = |mut hits: Vec<Value>| {
                hits.sort_by_key(|h| h[1].as_i64());
                hits
            };
            assert_eq!(sorted(one), sorted(same), "case {i}, {metric}: one query of a file, and the batch of an array");
            // In SQL's order a NaN is the largest number, so DESC puts it first; top_k never does.
            if metric != "dot" || !case["dtype"].as_str().unwrap().starts_with('f') {
                by_order(&sql, i, metric, k, &ranks);
            }
        }
    }
    let text = serde_json::to_string(&all).unwrap().replace("\"inf\"", "Infinity").replace("\"-inf\"", "-Infinity");
    std::fs::write(file("hits.json".into()), text).unwrap();
    println!("{}", run_python(&python, folder.path(), include_str!("../../python/top_k_check.py"), &[]));
}

/// `ORDER BY distance LIMIT k` finds the same rows in the same order.
fn by_order(sql: &Sql, i: usize, metric: &str, k: &Value, hits: &[Value]) {
    let (function, direction) = match metric {
        "cosine" => ("cosine_distance", "ASC"),
        "l2" => ("l2_distance", "ASC"),
        "l2sq" => ("l2sq_distance", "ASC"),
        _ => ("inner_product", "DESC"),
    };
    let distance = format!("{function}(value, (SELECT value FROM q{i} WHERE row = 1))");
    let batch = sql.ok(&format!("SELECT row FROM x{i} ORDER BY {distance} {direction}, row LIMIT {k}"));
    let rows = batch.column(0).as_primitive::<Int64Type>().values().to_vec();
    let mut want: Vec<_> = hits.iter().filter(|h| h[0] == 1).collect();
    want.sort_by_key(|h| h[1].as_i64());
    // DataFusion's cosine_distance is NULL for a vector of zeros, and NULLs come last.
    let nulls = sql.ok(&format!("SELECT row FROM x{i} WHERE {distance} IS NULL"));
    let nulls = nulls.column(0).as_primitive::<Int64Type>().values().to_vec();
    assert!(metric == "cosine" || nulls.is_empty());
    let want: Vec<i64> = want.iter().map(|h| h[2].as_i64().unwrap()).filter(|row| !nulls.contains(row)).collect();
    assert_eq!(rows[..want.len()], want, "case {i}, {metric}: {distance}");
}
