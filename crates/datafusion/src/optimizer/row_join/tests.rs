#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::testing::{context, explain, sorted, store};

/// Joins on row, and the operator that runs each.
const JOINS: &[(&str, &str)] = &[
    ("SELECT * FROM label l JOIN small s ON s.row = l.row WHERE l.value = 3 AND s.value > 100", "SortMergeJoinExec"),
    (
        "SELECT * FROM label l JOIN (SELECT * FROM small WHERE value > 50) s ON s.row = l.row JOIN (SELECT * FROM big WHERE value[1] > 3) b ON b.row = s.row",
        "RowLookupExec",
    ),
    (
        "SELECT * FROM (SELECT * FROM label WHERE value > 2) l JOIN (SELECT * FROM small WHERE value > 50) s ON s.row = l.row",
        "SortMergeJoinExec",
    ),
    ("SELECT b.row, b.value[1], l.value FROM big b JOIN label l ON b.row = l.row", "RowZipExec"),
    (
        "SELECT b.value[2], l.value FROM big b JOIN label l ON l.row = b.row WHERE b.row BETWEEN 100 AND 9000",
        "RowZipExec",
    ),
    ("SELECT * FROM label l JOIN small s USING (row)", "RowZipExec"),
    ("SELECT * FROM small s LEFT JOIN label l ON s.row = l.row", "RowZipExec"),
    ("SELECT * FROM label l LEFT JOIN small s ON s.row = l.row", "RowLookupExec"),
    ("SELECT * FROM small s RIGHT JOIN label l ON s.row = l.row", "RowLookupExec"),
    ("SELECT * FROM label l FULL JOIN small s ON s.row = l.row", "SortMergeJoinExec"),
    ("SELECT * FROM label a FULL JOIN label b ON a.row = b.row", "RowZipExec"),
    (
        "SELECT * FROM label l WHERE EXISTS (SELECT 1 FROM small s WHERE s.row = l.row AND s.value > 100)",
        "SortMergeJoinExec",
    ),
    ("SELECT * FROM label l WHERE NOT EXISTS (SELECT 1 FROM small s WHERE s.row = l.row)", "SortMergeJoinExec"),
    ("SELECT * FROM label l JOIN small s ON s.row = l.row WHERE l.value = 3", "RowLookupExec"),
    ("SELECT * FROM label l JOIN small s ON s.row = l.row AND s.value > l.value * 1000", "RowZipExec"),
    ("SELECT * FROM label l LEFT JOIN small s ON s.row = l.row AND s.value > l.value * 1000", "SortMergeJoinExec"),
    (
        "SELECT l.row, s.value, b.value[3] FROM label l JOIN small s ON s.row = l.row JOIN big b ON b.row = l.row",
        "RowZipExec",
    ),
    (
        "SELECT l.row, s.value, b.value[3] FROM big b JOIN label l ON b.row = l.row LEFT JOIN small s ON s.row = l.row",
        "RowLookupExec",
    ),
    (
        "SELECT l.row, s.value, t.value FROM label l LEFT JOIN small s ON s.row = l.row LEFT JOIN small t ON t.row = l.row",
        "RowLookupExec",
    ),
    ("SELECT l.row, s.value FROM label l JOIN small s ON s.row = l.row WHERE l.row IN (5, 2999, 3000)", "RowZipExec"),
    ("SELECT count(*) FROM label l JOIN small s ON s.row = l.row WHERE l.row > 5000", "RowZipExec"),
];

#[tokio::test]
async fn joins_on_row_need_neither_sort_nor_hash() {
    let store = store();
    for partitions in [1, 2, 4] {
        let (with, without) = (context(&store, partitions, true), context(&store, partitions, false));
        for (sql, operator) in JOINS {
            let plan = explain(&with, sql).await;
            assert!(plan.contains(operator), "{sql}\n{plan}");
            assert!(!plan.contains("SortExec") && !plan.contains("HashJoinExec"), "{sql}\n{plan}");
            assert!(!plan.contains("Hash(["), "{sql}\n{plan}");
            assert!(!explain(&without, sql).await.contains(operator), "{sql}");
            let expected = sorted(&without, sql).await;
            assert!(!expected.is_empty());
            assert_eq!(sorted(&with, sql).await, expected, "{partitions} partitions: {sql}\n{plan}");
        }
    }
}

#[tokio::test]
async fn other_joins_stay_as_they_are() {
    let store = store();
    let (with, without) = (context(&store, 2, true), context(&store, 2, false));
    for sql in [
        "SELECT l.row FROM label l JOIN small s ON l.row = s.row AND l.value = s.value",
        "SELECT l.row FROM label l WHERE l.row NOT IN (SELECT CASE WHEN row > 4 THEN row END FROM small)",
        "SELECT a.row, c.row FROM (SELECT s.row FROM label l LEFT JOIN small s ON s.row = l.row) a FULL JOIN small c ON c.row = a.row",
    ] {
        assert!(explain(&with, sql).await.contains("HashJoinExec"), "{sql}");
        assert_eq!(sorted(&with, sql).await, sorted(&without, sql).await, "{sql}");
    }
}

#[tokio::test]
async fn order_on_row_survives_the_join() {
    let store = store();
    let context = context(&store, 3, true);
    let sql = "SELECT l.row, s.value FROM label l JOIN small s ON s.row = l.row ORDER BY s.row";
    let plan = explain(&context, sql).await;
    assert!(!plan.contains("SortExec"), "{plan}");
    let expected: Vec<String> = (0..3000).map(|r| format!("{r}|{}", r * 10)).collect();
    assert_eq!(crate::testing::rows(&context, sql).await, expected);
}

/// Joins of `row` with other keys.
const LOOKUPS: &[&str] = &[
    "SELECT l.row, s.row FROM label l JOIN small s ON l.row = s.row + 1",
    "SELECT l.row, s.value FROM (SELECT * FROM label LIMIT 50) l JOIN small s ON s.row = l.row",
    "SELECT l.row, s.row FROM label l JOIN small s ON l.row = s.value",
    "SELECT s.row, b.value[3] FROM small s JOIN big b ON b.row = s.value AND b.value[1] > s.row + 8000",
    "SELECT s.row, l.value FROM small s LEFT JOIN label l ON l.row = s.value",
    "SELECT s.row, l.row, l.value FROM label l RIGHT JOIN small s ON l.row = s.value - 5",
    "SELECT l.row, k.id, b.value[2] FROM big b JOIN (VALUES (3), (3), (-1), (NULL), (20000), (19999)) AS k(id) ON k.id = b.row JOIN label l ON l.row = k.id",
    "SELECT k.id, b.value[2] FROM (VALUES (3), (3), (-1), (NULL), (20000), (19999)) AS k(id) LEFT JOIN big b ON k.id = b.row",
    "SELECT k.id, l.value FROM (VALUES (3), (30), (70)) AS k(id) JOIN label l ON k.id = l.row WHERE l.row BETWEEN 20 AND 50",
    "SELECT k.id, l.row FROM (VALUES (1::INT), (5::INT)) AS k(id) JOIN label l ON k.id + 1 = l.row",
    "SELECT count(*) FROM small s JOIN label l ON l.row = s.value % 100",
];

#[tokio::test]
async fn rows_that_keys_name_are_read_by_position() {
    let store = store();
    for partitions in [1, 3] {
        let (with, without) = (context(&store, partitions, true), context(&store, partitions, false));
        for sql in LOOKUPS {
            let plan = explain(&with, sql).await;
            assert!(plan.contains("RowLookupExec") && !plan.contains("HashJoinExec"), "{sql}\n{plan}");
            let expected = sorted(&without, sql).await;
            assert!(!expected.is_empty());
            assert_eq!(sorted(&with, sql).await, expected, "{sql}\n{plan}");
        }
    }
}

#[tokio::test]
async fn a_lookup_reads_the_rows_that_it_finds_and_no_others() {
    let context = context(&store(), 2, true);
    let sql = "SELECT b.value FROM (VALUES (3), (17), (30000)) AS k(id) JOIN big b ON b.row = k.id";
    let plan = crate::testing::run(&context, sql).await;
    let lookup = crate::testing::find(&plan, "RowLookupExec").expect("a look-up");
    let metrics = lookup.metrics().expect("metrics");
    assert_eq!(crate::testing::metric(&metrics, "output_rows"), 2);
    assert_eq!(
        crate::testing::metric(&metrics, "bytes_copied") + crate::testing::metric(&metrics, "bytes_mapped"),
        2 * 64
    );
}

#[tokio::test]
async fn keys_of_a_subquery_are_collected_and_the_array_is_streamed() {
    let store = store();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.csv");
    std::fs::write(&path, "id\n5\n7\n7\n\n19999\n30000\n").unwrap();
    let (with, without) = (context(&store, 2, true), context(&store, 2, false));
    for context in [&with, &without] {
        context.register_csv("keys", path.to_str().unwrap(), Default::default()).await.unwrap();
    }
    for (sql, join) in [
        ("SELECT row FROM big WHERE row IN (SELECT id FROM keys WHERE id > 5)", "RightSemi"),
        ("SELECT row FROM big b WHERE NOT EXISTS (SELECT 1 FROM keys WHERE id = b.row)", "RightAnti"),
    ] {
        let plan = explain(&with, sql).await;
        assert!(plan.contains(&format!("mode=CollectLeft, join_type={join}")), "{plan}");
        assert_eq!(sorted(&with, sql).await, sorted(&without, sql).await, "{sql}");
    }
    let plan = crate::testing::run(&with, "SELECT row FROM big WHERE row IN (SELECT id FROM keys WHERE id > 5)").await;
    assert!(crate::testing::metric(&crate::testing::scans(&plan)[0].1, "output_rows") < 20_000);
}
