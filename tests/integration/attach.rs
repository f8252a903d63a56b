//! ATTACH of another store: its arrays, at their versions, beside the session's own.

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use hyperslab::{OpenOptions, Store};
use hyperslab_tests::Sql;

fn number(sql: &Sql, query: &str) -> i64 {
    let batch = sql.ok(query);
    assert_eq!(batch.num_rows(), 1, "{query}");
    batch.column(0).as_primitive::<Int64Type>().value(0)
}

/// A store in the folder with an array `docs` in two schemas, and a session over it.
fn other(folder: &std::path::Path) -> Sql {
    let options = OpenOptions { create: true, durability: hyperslab::Durability::Os, ..OpenOptions::default() };
    let sql = Sql::on(Store::open_with(folder.join("o.slab"), options).unwrap(), Some(2));
    sql.ok("CREATE TABLE docs (id BIGINT, v FLOAT[2])");
    sql.ok("INSERT INTO docs VALUES (1, [1, 2]), (2, [3, 4])");
    sql.ok("CREATE SCHEMA lab");
    sql.ok("CREATE TABLE lab.docs (id BIGINT)");
    sql.ok("INSERT INTO lab.docs VALUES (70)");
    sql
}

#[test]
fn arrays_of_another_store_are_tables_with_versions() {
    let folder = tempfile::tempdir().unwrap();
    let other = other(folder.path());
    let path = folder.path().join("o.slab").display().to_string();
    let sql = Sql::memory();
    sql.ok("CREATE TABLE docs (id BIGINT)");
    sql.ok("INSERT INTO docs VALUES (1), (5), (7)");
    sql.ok(&format!("ATTACH '{path}' AS x"));
    // The arrays of one name are told apart.
    let both = "SELECT (SELECT sum(id) FROM docs) * 100 + (SELECT sum(id) FROM x.docs) * 10 + (SELECT max(id) FROM x.\"lab.docs\")";
    assert_eq!(number(&sql, both), 1300 + 30 + 70);
    assert_eq!(number(&sql, "SELECT count(*) FROM docs d JOIN x.docs o ON d.id = o.id"), 1);
    assert_eq!(number(&sql, "SELECT row FROM top_k('x.docs', [3, 4], field => 'v', k => 1)"), 1);
    assert_eq!(number(&sql, "SELECT row FROM x.docs ORDER BY v <-> [3, 4] LIMIT 1"), 1);
    sql.ok("CREATE VIEW w AS SELECT count(*) AS n FROM x.docs");
    sql.ok("PREPARE p AS SELECT count(*) FROM x.docs");

    // Its newest version, in views and prepared statements too; older ones by their number.
    let before = other.store().snapshot().unwrap().version();
    other.ok("INSERT INTO docs VALUES (3, [5, 6])");
    for query in ["SELECT count(*) FROM x.docs", "SELECT n FROM w", "EXECUTE p"] {
        assert_eq!(number(&sql, query), 3, "{query}");
    }
    let old = format!("SELECT count(*) FROM x.docs VERSION AS OF {before}");
    assert_eq!(number(&sql, &old), 2);
    let both =
        format!("SELECT (SELECT count(*) FROM x.docs VERSION AS OF {before}) * 10 + (SELECT count(*) FROM x.docs)");
    assert_eq!(number(&sql, &both), 23);
    assert_eq!(number(&sql, &format!("SELECT count(*) FROM x.\"lab.docs\" VERSION AS OF {before}")), 1);
    assert!(number(&sql, "SELECT count(*) FROM history('x.docs')") >= 3);
    assert_eq!(number(&sql, &format!("SELECT count(*) FROM diff('x.docs', {before}, {})", before + 1)), 1);
    sql.ok("CREATE TABLE copied AS SELECT * FROM x.docs");
    assert_eq!(number(&sql, "SELECT count(*) FROM copied"), 3);

    // It is only read, in every way.
    for write in [
        "INSERT INTO x.docs VALUES (1, [1, 2])",
        "UPDATE x.docs SET id = 1",
        "DELETE FROM x.docs",
        "DELETE FROM x.docs WHERE id = 1",
        "TRUNCATE x.docs",
        "DROP TABLE x.docs",
        "ALTER TABLE x.docs ADD COLUMN c INT",
        "OPTIMIZE x.docs",
        "VACUUM x.docs",
        "CREATE INDEX i ON x.docs USING sketch (v)",
        "RESTORE TABLE x.docs TO VERSION AS OF 1",
    ] {
        let error = sql.error(write);
        assert!(error.contains("what is attached is only read"), "{write}: {error}");
    }
    let error = sql.error("SELECT * FROM append('x.docs', 'x.docs')");
    assert!(error.contains("read-only") || error.contains("only read"), "{error}");
    assert_eq!(number(&other, "SELECT count(*) FROM docs"), 3);

    // In a transaction, too.
    sql.ok("BEGIN");
    sql.ok("INSERT INTO docs SELECT id FROM x.docs");
    assert_eq!(number(&sql, "SELECT count(*) FROM docs"), 6);
    sql.ok("ROLLBACK");

    // A store that is gone is an error, and everything else works.
    std::fs::remove_dir_all(folder.path().join("o.slab")).unwrap();
    assert_eq!(number(&sql, "SELECT count(*) FROM docs"), 3);
    sql.ok("SELECT count(*) FROM information_schema.tables");
    sql.error("SELECT * FROM x.docs VERSION AS OF 1");
    sql.ok("DETACH x");
    assert!(sql.error("SELECT n FROM w").contains("not attached any more"));
}

#[test]
fn a_schema_of_the_store_goes_before_what_is_attached() {
    let folder = tempfile::tempdir().unwrap();
    let other = other(folder.path());
    let second = Sql::on(other.store().clone(), None);
    second.ok(&format!("ATTACH '{}' AS x", folder.path().join("o.slab").display()));
    assert_eq!(number(&second, "SELECT count(*) FROM x.docs"), 2);
    assert!(second.error("CREATE SCHEMA x").contains("only read"));
    other.ok("CREATE SCHEMA x");
    other.ok("CREATE TABLE x.mine (id BIGINT)");
    assert_eq!(number(&second, "SELECT count(*) FROM x.mine"), 0);
    assert!(second.error("SELECT * FROM x.docs").contains("not found"));
    second.ok("DETACH x");
    assert!(second.error(&format!("ATTACH '{}' AS x", folder.path().display())).contains("there is a schema"));
}

#[test]
fn a_damaged_file_in_an_attached_folder_is_named_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let sql = Sql::memory();
    let path = |name: &str| folder.path().join(name).display().to_string();
    sql.ok(&format!("COPY (SELECT 1 AS value) TO '{}'", path("good.npy")));
    std::fs::write(folder.path().join("bad.npy"), b"no array").unwrap();
    sql.ok(&format!("ATTACH '{}' AS x", folder.path().display()));
    let names = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'x' AND table_name = 'good'";
    assert_eq!(number(&sql, names), 2);
    assert_eq!(number(&sql, "SELECT value FROM x.good"), 1);
    assert!(sql.error("SELECT * FROM x.bad").contains("bad.npy"));
    std::fs::remove_file(folder.path().join("good.npy")).unwrap();
    assert!(sql.error("SELECT * FROM x.good").contains("there are"));
}
