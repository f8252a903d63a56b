#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use datafusion::arrow::array::{Array, AsArray, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::Field;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, cast, col, lit};
use datafusion::prelude::SessionContext;
use proptest::prelude::*;

use super::*;

const ROWS: u64 = 30;

static CONTEXT: std::sync::LazyLock<SessionContext> = std::sync::LazyLock::new(SessionContext::new);

/// A predicate over `row` and another column `x`.
fn predicate() -> impl Strategy<Value = Expr> {
    let row = prop_oneof![
        4 => Just(col("row")),
        1 => Just(cast(col("row"), DataType::Float64)),
    ];
    let ops = prop_oneof![
        Just(Operator::Eq),
        Just(Operator::NotEq),
        Just(Operator::Lt),
        Just(Operator::LtEq),
        Just(Operator::Gt),
        Just(Operator::GtEq),
    ];
    let compare = (row, ops, -3..33_i64, any::<bool>(), any::<bool>()).prop_map(|(row, op, v, half, swap)| {
        let value = if matches!(row, Expr::Cast(_)) { lit(v as f64 + if half { 0.5 } else { 0.0 }) } else { lit(v) };
        let (left, right) = if swap { (value, row) } else { (row, value) };
        Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op, right: Box::new(right) })
    });
    let leaf = prop_oneof![
        6 => compare,
        2 => (-3..33_i64, -3..33_i64, any::<bool>()).prop_map(|(low, high, not)| {
            let between = col("row").between(lit(low), lit(high));
            if not { Expr::Not(Box::new(between)) } else { between }
        }),
        2 => (prop::collection::vec(-3..33_i64, 0..6), any::<bool>())
            .prop_map(|(list, not)| col("row").in_list(list.into_iter().map(lit).collect(), not)),
        2 => (0..4_i64).prop_map(|v| col("x").eq(lit(v))),
        1 => any::<bool>().prop_map(lit),
        1 => Just(col("row").is_null()),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| a.and(b)),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| a.or(b)),
            inner.prop_map(|a| Expr::Not(Box::new(a))),
        ]
    })
}

proptest! {
    #[test]
    fn a_filter_loses_no_row_and_adds_none_when_exact(predicate in predicate()) {
        let schema = Arc::new(Schema::new(vec![
            Field::new("row", DataType::Int64, false),
            Field::new("x", DataType::Int64, false),
        ]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![
            Arc::new(Int64Array::from_iter_values(0..ROWS as i64)),
            Arc::new(Int64Array::from_iter_values((0..ROWS as i64).map(|r| (r * 7) % 4))),
        ]).unwrap();
        let df_schema = DFSchema::try_from(schema.as_ref().clone()).unwrap();
        let physical = CONTEXT.create_physical_expr(predicate.clone(), &df_schema).unwrap();
        let result = physical.evaluate(&batch).unwrap().into_array(ROWS as usize).unwrap();
        let result = result.as_boolean();
        let expected: RowRanges = (0..ROWS).filter(|&r| {
            let r = r as usize;
            result.is_valid(r) && result.value(r)
        }).collect();
        for filter in [RowFilter::of_expr(&predicate, &schema, ROWS), RowFilter::of_physical(&physical, &schema, ROWS)] {
            let Some(filter) = filter else { continue };
            prop_assert_eq!(&filter.ranges.intersect(&expected), &expected, "{}", predicate);
            if filter.exact {
                prop_assert_eq!(&filter.ranges, &expected, "{}", predicate);
            }
        }
        if !predicate.column_refs().iter().any(|c| c.name == "x") {
            prop_assert!(RowFilter::of_expr(&predicate, &schema, ROWS).is_some_and(|f| f.exact), "{}", predicate);
        }
    }
}

#[test]
fn whether_a_filter_is_exact_does_not_depend_on_the_number_of_rows() {
    let schema = Schema::new(vec![datafusion::arrow::datatypes::Field::new("row", DataType::Int64, false)]);
    let small = cast(col("row"), DataType::Int8).eq(lit(3_i8));
    assert_eq!(RowFilter::of_expr(&small, &schema, 10), None);
    let wide = cast(col("row"), DataType::Decimal128(20, 0)).lt(lit(ScalarValue::Decimal128(Some(3), 20, 0)));
    assert_eq!(RowFilter::of_expr(&wide, &schema, 10).unwrap().ranges, RowRanges::from(0..3));
    assert_eq!(RowFilter::of_expr(&wide, &schema, u64::MAX >> 1).unwrap().ranges, RowRanges::from(0..3));
    let narrow = cast(col("row"), DataType::Decimal128(18, 0)).lt(lit(ScalarValue::Decimal128(Some(3), 18, 0)));
    assert_eq!(RowFilter::of_expr(&narrow, &schema, 10), None);
}
