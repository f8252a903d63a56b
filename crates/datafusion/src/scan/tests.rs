#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use datafusion::catalog::MemTable;

use super::*;
use crate::testing::{context, error, explain, metric, rows, run, scans, sorted, store};

#[tokio::test]
async fn a_full_scan_copies_no_value() {
    let store = store();
    for partitions in [1, 2, 5] {
        let context = context(&store, partitions, true);
        let plan = run(&context, "SELECT * FROM big").await;
        let scans = scans(&plan);
        let [(scan, metrics)] = scans.as_slice() else { panic!("{scans:?}") };
        assert_eq!(scan.splits().len() + 1, partitions);
        assert_eq!(metric(metrics, "bytes_copied"), 0);
        assert_eq!(metric(metrics, "bytes_mapped"), 20_000 * 16 * 4);
        assert_eq!(metric(metrics, "output_rows"), 20_000);
    }
}

#[tokio::test]
async fn statistics_answer_counts_and_bounds_without_reading() {
    let context = context(&store(), 2, true);
    for sql in ["SELECT count(*) FROM big", "SELECT min(row), max(row), count(value) FROM big WHERE row < 500"] {
        let plan = explain(&context, sql).await;
        assert!(plan.contains("PlaceholderRowExec") && !plan.contains("ArrayScanExec"), "{plan}");
    }
    assert_eq!(rows(&context, "SELECT count(*) FROM big WHERE row >= 19990 OR row = 3").await, ["11"]);
    assert_eq!(rows(&context, "SELECT min(row), max(row), count(value) FROM big WHERE row < 500").await, ["0|499|500"]);
    assert_eq!(rows(&context, "SELECT min(row), max(row), count(*) FROM big WHERE row < 0").await, ["NULL|NULL|0"]);
}

/// Predicates on `row`, whether the scan takes them over wholly.
const PREDICATES: &[(&str, bool)] = &[
    ("row = 7", true),
    ("7 = row", true),
    ("row <> 7", true),
    ("row < 10", true),
    ("10 > row", true),
    ("row <= 10", true),
    ("row > 19990", true),
    ("19990 <= row", true),
    ("row >= 19990", true),
    ("row < -5", true),
    ("row > -5 AND row < 3", true),
    ("row = 9223372036854775807", true),
    ("row < 9223372036854775807 AND row > 19998", true),
    ("row < 18446744073709551615", true),
    ("row BETWEEN 10 AND 20", true),
    ("row BETWEEN 20 AND 10", true),
    ("row NOT BETWEEN 5 AND 19995", true),
    ("row IN (5, 1, 5, 19999, 20000, -1)", true),
    ("row NOT IN (5, 1)", true),
    ("row IN (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15, 17, 19)", true),
    ("NOT (row < 10 OR row > 20)", true),
    ("row < 5.5", true),
    ("row = 5.5", true),
    ("row > 19997.25", true),
    ("row = 5.0", true),
    ("row = CAST('-0.0' AS DOUBLE)", true),
    ("row <= CAST('-0.0' AS FLOAT)", true),
    ("row >= CAST('NaN' AS DOUBLE)", true),
    ("row < CAST('inf' AS DOUBLE) AND row > 19998", true),
    ("row = CAST('12' AS BIGINT)", true),
    ("CAST(row AS INT) = 12", true),
    ("CAST(row AS DOUBLE) <= 3.5", true),
    ("CAST(row AS DECIMAL(30, 2)) < 3.01", true),
    ("CAST(row AS TINYINT) = 3", true),
    ("row IN (3, 4) AND value[1] > 3.5", false),
    ("(row = 3 AND value[1] > 0) OR row = 9", false),
    ("(row = 3 AND value[1] > 5) OR row = 9", false),
    ("NOT (row = 3 AND value[1] > 0) AND row < 6", false),
    ("row = 3 OR value[1] = 9", false),
    ("row % 1000 = 1", false),
    ("row = NULL", true),
    ("row IS NOT NULL AND row < 2", true),
    ("row IS NULL", true),
    ("row < 3 AND row = row", true),
    ("row IN (SELECT row FROM small WHERE value < 50)", false),
    ("row NOT IN (SELECT row FROM small) AND row < 3003", false),
];

#[tokio::test]
async fn predicates_on_row_give_what_they_give_without_pushdown() {
    let store = store();
    let context = context(&store, 3, true);
    let batches = context.sql("SELECT * FROM big").await.unwrap().collect().await.unwrap();
    let copy = MemTable::try_new(batches[0].schema(), vec![batches]).unwrap();
    context.register_table("copy", Arc::new(copy)).unwrap();
    for (predicate, exact) in PREDICATES {
        let sql = |table| format!("SELECT * FROM {table} WHERE {predicate}");
        assert_eq!(sorted(&context, &sql("big")).await, sorted(&context, &sql("copy")).await, "{predicate}");
        let plan = explain(&context, &sql("big")).await;
        assert_eq!(!plan.contains("FilterExec") && !plan.contains("Join"), *exact, "{predicate}\n{plan}");
        let limited = format!("SELECT count(*) FROM ({} LIMIT 3)", sql("big"));
        let expected = sorted(&context, &sql("copy")).await.len().min(3).to_string();
        assert_eq!(rows(&context, &limited).await, [expected], "{predicate}");
    }
}

#[tokio::test]
async fn a_superset_of_rows_is_read_where_a_predicate_is_understood_in_part() {
    let context = context(&store(), 1, true);
    let plan = run(&context, "SELECT row FROM big WHERE (row = 3 AND value[1] > 5) OR row = 9").await;
    let (scan, metrics) = &scans(&plan)[0];
    assert_eq!(scan.rows().to_string(), "[3..4, 9..10]");
    assert_eq!(metric(metrics, "output_rows"), 2);
}

#[tokio::test]
async fn many_scattered_rows_come_in_few_batches() {
    let context = context(&store(), 2, true);
    let list: Vec<String> = (0..20_000).step_by(5).map(|r| r.to_string()).collect();
    let sql = format!("SELECT row, value[2] AS v FROM big WHERE row IN ({})", list.join(", "));
    let expected: Vec<String> = (0..20_000).step_by(5).map(|r| format!("{r}|{}.0", r + 1)).collect();
    assert_eq!(rows(&context, &format!("{sql} ORDER BY row")).await, expected);
    let plan = run(&context, &sql).await;
    let (_, metrics) = &scans(&plan)[0];
    assert!(metric(metrics, "output_batches") < 20, "{metrics}");
    // A few rows stay views.
    let plan = run(&context, "SELECT * FROM big WHERE row IN (1, 5, 9000)").await;
    assert_eq!(metric(&scans(&plan)[0].1, "bytes_copied"), 0);
}

#[tokio::test]
async fn limits_and_offsets_read_what_they_need() {
    let context = context(&store(), 4, true);
    let plan = run(&context, "SELECT * FROM big WHERE row >= 100 LIMIT 5").await;
    assert_eq!(scans(&plan)[0].0.rows().to_string(), "[100..105]");
    assert_eq!(metric(&scans(&plan)[0].1, "output_rows"), 5);
    assert_eq!(
        rows(&context, "SELECT row FROM big ORDER BY row LIMIT 3 OFFSET 18000").await,
        ["18000", "18001", "18002"]
    );
    assert_eq!(rows(&context, "SELECT row FROM big ORDER BY row DESC LIMIT 2").await, ["19999", "19998"]);
    assert_eq!(rows(&context, "SELECT count(*) FROM (SELECT * FROM big LIMIT 0)").await, ["0"]);
    assert_eq!(rows(&context, "SELECT row FROM big WHERE row % 2 = 1 ORDER BY row LIMIT 2").await, ["1", "3"]);
}

#[tokio::test]
async fn order_on_row_is_known() {
    let context = context(&store(), 4, true);
    let plan = explain(&context, "SELECT row, value FROM big ORDER BY row").await;
    assert!(!plan.contains("SortExec") && plan.contains("SortPreservingMergeExec"), "{plan}");
    let expected: Vec<String> = (0..20_000).map(|r| r.to_string()).collect();
    assert_eq!(rows(&context, "SELECT row FROM big ORDER BY row").await, expected);
    let plan = explain(&context, "SELECT row, count(*) FROM big GROUP BY row").await;
    assert!(!plan.contains("RepartitionExec"), "{plan}");
}

#[tokio::test]
async fn dynamic_filters_prune_while_scanning() {
    let context = context(&store(), 1, false);
    // A hash join fills its filter with the other side's keys.
    let sql = "SELECT b.row FROM big b JOIN (VALUES (5), (17000)) AS v(id) ON b.row = v.id ORDER BY b.row";
    assert_eq!(rows(&context, sql).await, ["5", "17000"]);
    let plan = run(&context, sql).await;
    let (scan, metrics) = &scans(&plan)[0];
    assert_eq!(scan.dynamic.len(), 1);
    assert_eq!((metric(metrics, "output_rows"), metric(metrics, "rows_pruned")), (2, 19_998));
    // A top-k operator tightens its filter with every batch.
    let sql = "SELECT row, value FROM big ORDER BY -row DESC LIMIT 3";
    assert_eq!(rows(&context, &format!("SELECT row FROM ({sql})")).await, ["0", "1", "2"]);
}

#[tokio::test]
async fn the_last_rows_are_read_first_for_a_top_k_that_wants_them() {
    for partitions in [1, 3] {
        let context = context(&store(), partitions, true);
        let sql = "SELECT row, value FROM big WHERE row < 19000 OR row = 19990 ORDER BY row DESC LIMIT 3";
        assert_eq!(rows(&context, &format!("SELECT row FROM ({sql})")).await, ["19990", "18999", "18998"]);
        let plan = run(&context, sql).await;
        let (scan, metrics) = &scans(&plan)[0];
        assert!(scan.backwards);
        if partitions == 1 {
            assert!(metric(metrics, "output_rows") < 20_000, "{metrics}");
        }
        let all: Vec<String> = (0..20_000).rev().map(|r| r.to_string()).collect();
        assert_eq!(rows(&context, "SELECT row FROM label ORDER BY row DESC").await, all);
        let window = "SELECT count(*) FROM (SELECT row, row_number() OVER (ORDER BY row DESC) AS n FROM big) WHERE n = 20000 - row";
        assert_eq!(rows(&context, window).await, ["20000"]);
    }
}

#[tokio::test]
async fn changes_are_refused() {
    let context = context(&store(), 1, true);
    for sql in ["DELETE FROM big", "DELETE FROM big WHERE row IN (SELECT row FROM small)", "UPDATE label SET value = 1"]
    {
        let error = error(&context, sql).await;
        assert!(error.contains("is not supported for arrays yet"), "{sql}: {error}");
    }
    assert_eq!(rows(&context, "SELECT count(*) FROM big").await, ["20000"]);
}

#[test]
fn partitions_share_the_work_on_a_grid() {
    let table = crate::table::ArrayTable::from_file("x", Arc::new(Rows(1_000_000)));
    let scan = |rows: RowRanges, partitions| ArrayScanExec::try_new(table.clone(), vec![0], rows, partitions).unwrap();
    let four = scan(RowRanges::all(1_000_000), 4);
    assert_eq!(four.splits().len(), 3);
    assert!(four.splits().iter().all(|s| s % 1024 == 0), "{:?}", four.splits());
    let each: Vec<u64> = (0..4).map(|p| four.partition_rows(p).rows()).collect();
    assert_eq!(each.iter().sum::<u64>(), 1_000_000);
    assert!(each.iter().all(|&n| (200_000..300_000).contains(&n)), "{each:?}");
    // Only the selected rows count.
    let tail = scan(RowRanges::from(900_000..1_000_000), 2);
    assert!((940_000..960_000).contains(&tail.splits()[0]), "{:?}", tail.splits());
    assert_eq!(scan(RowRanges::from(5..6), 4).splits(), [0_u64; 0]);
    assert_eq!(scan(RowRanges::empty(), 4).splits(), [0_u64; 0]);
}

/// Rows without fields.
#[derive(Debug)]
struct Rows(u64);

impl ArraySource for Rows {
    fn fields(&self) -> &[hyperslab_core::FieldSpec] {
        &[]
    }

    fn rows(&self) -> u64 {
        self.0
    }

    fn read(&self, field: usize, _rows: std::ops::Range<u64>) -> hyperslab_core::Result<hyperslab_core::Block> {
        Err(hyperslab_core::Error::invalid(format!("there is no field {field}")))
    }

    fn take(&self, field: usize, _rows: &[u64]) -> hyperslab_core::Result<hyperslab_core::Block> {
        Err(hyperslab_core::Error::invalid(format!("there is no field {field}")))
    }
}
