#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::testing::{context, explain, sorted, store};

/// Joins on row, and the operator that runs each.
const JOINS: &[(&str, &str)] = &[
    ("SELECT b.row, b.value[1], l.value FROM big b JOIN label l ON b.row = l.row", "RowZipExec"),
    (
        "SELECT b.value[2], l.value FROM big b JOIN label l ON l.row = b.row WHERE b.row BETWEEN 100 AND 9000",
        "RowZipExec",
    ),
    ("SELECT * FROM label l JOIN small s USING (row)", "RowZipExec"),
    ("SELECT * FROM small s LEFT JOIN label l ON s.row = l.row", "RowZipExec"),
    ("SELECT * FROM label l LEFT JOIN small s ON s.row = l.row", "SortMergeJoinExec"),
    ("SELECT * FROM small s RIGHT JOIN label l ON s.row = l.row", "SortMergeJoinExec"),
    ("SELECT * FROM label l FULL JOIN small s ON s.row = l.row", "SortMergeJoinExec"),
    ("SELECT * FROM label a FULL JOIN label b ON a.row = b.row", "RowZipExec"),
    (
        "SELECT * FROM label l WHERE EXISTS (SELECT 1 FROM small s WHERE s.row = l.row AND s.value > 100)",
        "SortMergeJoinExec",
    ),
    ("SELECT * FROM label l WHERE NOT EXISTS (SELECT 1 FROM small s WHERE s.row = l.row)", "SortMergeJoinExec"),
    ("SELECT * FROM label l JOIN small s ON s.row = l.row WHERE l.value = 3", "SortMergeJoinExec"),
    ("SELECT * FROM label l JOIN small s ON s.row = l.row AND s.value > l.value * 1000", "SortMergeJoinExec"),
    ("SELECT * FROM label l LEFT JOIN small s ON s.row = l.row AND s.value > l.value * 1000", "SortMergeJoinExec"),
    (
        "SELECT l.row, s.value, b.value[3] FROM label l JOIN small s ON s.row = l.row JOIN big b ON b.row = l.row",
        "RowZipExec",
    ),
    (
        "SELECT l.row, s.value, b.value[3] FROM big b JOIN label l ON b.row = l.row LEFT JOIN small s ON s.row = l.row",
        "SortMergeJoinExec",
    ),
    (
        "SELECT l.row, s.value, t.value FROM label l LEFT JOIN small s ON s.row = l.row LEFT JOIN small t ON t.row = l.row",
        "SortMergeJoinExec",
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
        "SELECT l.row, s.row FROM label l JOIN small s ON l.row = s.value",
        "SELECT l.row, s.value FROM (SELECT * FROM label LIMIT 50) l JOIN small s ON s.row = l.row",
        "SELECT l.row, s.row FROM label l JOIN small s ON l.row = s.row + 1",
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
