//! What goes in comes out: every dtype bit for bit, and tables in every file format, rows in order.

use std::path::Path;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use hyperslab::{OpenOptions, Store};
use hyperslab_tests::{Sql, python, run_python};

use super::{quoted, seed};

#[test]
fn every_dtype_goes_round_bit_for_bit() {
    let Some(python) = python() else { return };
    let seed = seed();
    let folder = tempfile::tempdir().unwrap();
    run_python(&python, folder.path(), include_str!("../../python/dtypes_make.py"), &[&seed.to_string()]);
    let sql = Sql::memory();
    for i in 0..22 * 16 {
        let file = quoted(&folder.path().join(format!("in{i}.npy")));
        sql.ok(&format!("CREATE TABLE a{i} AS SELECT * FROM {file}"));
        // Once through the Arrow plan, once from file to store.
        if i % 2 == 0 {
            sql.ok(&format!("INSERT INTO a{i} SELECT * FROM {file}"));
        } else {
            sql.ok(&format!("SELECT * FROM append('a{i}', {file})"));
        }
        let out = quoted(&folder.path().join(format!("out{i}.npy")));
        sql.ok(&format!("COPY a{i} TO {out}"));
    }
    println!("{}", run_python(&python, folder.path(), include_str!("../../python/dtypes_check.py"), &[]));
}

const ROWS: usize = 200_000;
const PARTITIONS: usize = 4;

/// A table `t` with fields id, vector and image of `ROWS` rows, in a store in the folder.
fn table(python: &Path, folder: &Path) -> Sql {
    run_python(python, folder, include_str!("../../python/tables_make.py"), &[&ROWS.to_string()]);
    let options = OpenOptions { create: true, durability: hyperslab::Durability::Os, ..OpenOptions::default() };
    let sql = Sql::on(Store::open_with(folder.join("s.slab"), options).unwrap(), Some(PARTITIONS));
    let file = |name: &str| quoted(&folder.join(name));
    sql.ok(&format!(
        "CREATE TABLE t AS SELECT i.value AS id, v.value AS vector, m.value AS image
         FROM {} i JOIN {} v ON v.row = i.row JOIN {} m ON m.row = i.row ORDER BY i.row",
        file("id.npy"),
        file("vector.npy"),
        file("image.npy")
    ));
    sql
}

#[test]
fn copied_files_hold_every_value_in_the_order_of_the_rows() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let sql = table(&python, folder.path());
    let file = |name: &str| quoted(&folder.path().join(name));
    for format in ["parquet", "arrow", "csv"] {
        sql.ok(&format!("COPY t TO {}", file(&format!("all.{format}"))));
    }
    for format in ["parquet", "arrow"] {
        sql.ok(&format!(
            "COPY (SELECT id, vector, image FROM t WHERE id % 3 = 1) TO {}",
            file(&format!("some.{format}"))
        ));
    }
    sql.ok(&format!("COPY (SELECT vector FROM t) TO {}", file("vector_out.npy")));
    sql.ok(&format!("COPY (SELECT image FROM t) TO {}", file("image_out.npy")));
    sql.ok(&format!("COPY (SELECT id FROM t ORDER BY id DESC) TO {}", file("backwards.npy")));
    // The sort's key is not among the columns.
    sql.ok(&format!("COPY (SELECT vector FROM t ORDER BY id * 48271 % 200003) TO {}", file("hidden.npy")));
    // Shapes come back from every format that carries them.
    for format in ["parquet", "arrow"] {
        sql.ok(&format!("CREATE TABLE {format} AS SELECT * FROM {}", file(&format!("all.{format}"))));
        let array = |name: &str| sql.store().snapshot().unwrap().array(name).unwrap();
        assert_eq!(array(format).fields(), array("t").fields());
        assert_eq!(array(format).rows(), ROWS as u64);
    }
    let check = include_str!("../../python/tables_check.py");
    println!("{}", run_python(&python, folder.path(), check, &[&ROWS.to_string()]));
}

fn ids(batch: &RecordBatch) -> Vec<i64> {
    batch.column(0).as_primitive::<Int64Type>().values().to_vec()
}

/// The ids of a table in the order of its rows.
fn stored(sql: &Sql, table: &str) -> Vec<i64> {
    ids(&sql.ok(&format!("SELECT id FROM {table} ORDER BY row")))
}

#[test]
fn created_and_inserted_rows_keep_their_order() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let sql = table(&python, folder.path());
    let all: Vec<i64> = (0..ROWS as i64).collect();
    assert_eq!(stored(&sql, "t"), all);

    let key = |i: &i64| i * 48271 % 200_003;
    let mut shuffled = all.clone();
    shuffled.sort_by_key(key);
    let odd: Vec<i64> = all.iter().copied().filter(|i| i % 2 == 1).collect();
    let twice = [all.clone(), all.clone()].concat();
    let backwards: Vec<i64> = all.iter().rev().copied().collect();
    let queries = [
        ("SELECT id FROM t", &all),
        ("SELECT * FROM t", &all),
        ("SELECT vector, id FROM t", &all),
        ("SELECT id, row AS r FROM t", &all),
        ("SELECT abs(id) AS id FROM t", &all),
        ("SELECT id FROM t WHERE id % 2 = 1", &odd),
        ("SELECT vector, id FROM t WHERE id % 2 = 1", &odd),
        ("SELECT id FROM t ORDER BY row DESC", &backwards),
        ("SELECT id FROM t ORDER BY id * 48271 % 200003", &shuffled),
        ("SELECT id FROM (SELECT * FROM t) s ORDER BY id * 48271 % 200003", &shuffled),
        ("SELECT id FROM t UNION ALL SELECT id FROM t", &twice),
        ("SELECT a.id FROM t a JOIN t b ON a.row = b.row", &all),
        ("WITH w AS (SELECT id FROM t) SELECT id FROM w", &all),
    ];
    for (i, (query, want)) in queries.iter().enumerate() {
        sql.ok(&format!("CREATE TABLE c{i} AS {query}"));
        assert!(&stored(&sql, &format!("c{i}")) == *want, "CREATE TABLE AS {query}: the order of the rows is lost");
        // INSERT by name, so that the queries' columns may stand in any order.
        sql.ok(&format!("CREATE TABLE i{i} (id BIGINT)"));
        sql.ok(&format!("INSERT INTO i{i} SELECT id FROM ({query}) q"));
        let got = stored(&sql, &format!("i{i}"));
        // A subquery's ORDER BY promises nothing, so only those without one are held to an order.
        if !query.contains("ORDER BY") {
            assert!(&got == *want, "INSERT … {query}: the order of the rows is lost");
        }
        sql.ok(&format!("CREATE TABLE j{i} AS SELECT 0::BIGINT AS id"));
        if !query.contains("vector") && !query.contains('*') && !query.contains("AS r") {
            sql.ok(&format!("INSERT INTO j{i} {query}"));
            assert!(stored(&sql, &format!("j{i}"))[1..] == **want, "INSERT … {query}: the order of the rows is lost");
        }
    }
}
