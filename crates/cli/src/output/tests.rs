#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, DictionaryArray, DurationSecondArray, FixedSizeListArray, Float16Array,
    Float32Array, Float64Array, Int32Array, Int64Array, ListArray, StringArray, StructArray, TimestampMicrosecondArray,
    UInt8Array,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Float16Type, Float32Type, Int32Type, Schema};

use super::*;

fn list(values: ArrayRef, size: i32) -> ArrayRef {
    let item = Arc::new(Field::new("item", values.data_type().clone(), true));
    Arc::new(FixedSizeListArray::new(item, size, values, None))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap()
}

fn print_all(format: Format, batches: &[RecordBatch], terminal: Option<Terminal>) -> String {
    let mut out = Vec::new();
    let mut writer = writer(format, &batches[0].schema(), terminal);
    for batch in batches {
        writer.batch(batch, &mut out).unwrap();
    }
    writer.finish(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn print(format: Format, columns: Vec<(&str, ArrayRef)>) -> String {
    print_all(format, &[batch(columns)], None)
}

fn terminal(columns: Option<usize>, max_rows: Option<u64>) -> Option<Terminal> {
    Some(Terminal { columns, max_rows })
}

fn mixed() -> Vec<(&'static str, ArrayRef)> {
    let vectors = Float32Array::from(vec![0.1, 0.2, f32::NAN, -1.0]);
    vec![
        ("id", Arc::new(Int64Array::from(vec![Some(1), None]))),
        ("text", Arc::new(StringArray::from(vec!["a,\"b\"\nc|", ""]))),
        ("v", list(Arc::new(vectors), 2)),
        ("x", Arc::new(Float64Array::from(vec![f64::NAN, 0.5]))),
    ]
}

#[test]
fn csv_follows_rfc_4180() {
    let expected = "id,text,v,x\n1,\"a,\"\"b\"\"\nc|\",\"[0.1, 0.2]\",NaN\n,\"\",\"[NaN, -1.0]\",0.5\n";
    assert_eq!(print(Format::Csv, mixed()), expected);
}

#[test]
fn tsv_escapes_instead_of_quoting() {
    assert_eq!(print(Format::Tsv, mixed()), "id\ttext\tv\tx\n1\ta,\"b\"\\nc|\t[0.1, 0.2]\tNaN\n\t\t[NaN, -1.0]\t0.5\n");
}

#[test]
fn json_is_json() {
    let text = print(Format::Json, mixed());
    let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        parsed,
        serde_json::json!([
            {"id": 1, "text": "a,\"b\"\nc|", "v": [0.1, 0.2], "x": null},
            {"id": null, "text": "", "v": [null, -1.0], "x": 0.5},
        ])
    );
    let lines = print(Format::Ndjson, mixed());
    assert_eq!(lines.lines().count(), 2);
    assert!(lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}

#[test]
fn nothing_is_still_a_result() {
    let empty = || vec![("id", Arc::new(Int64Array::from(Vec::<i64>::new())) as ArrayRef)];
    assert_eq!(print(Format::Json, empty()), "[]\n");
    assert_eq!(print(Format::Ndjson, empty()), "");
    assert_eq!(print(Format::Csv, empty()), "id\n");
    assert_eq!(print(Format::Markdown, empty()), "| id |\n|----|\n");
    assert_eq!(print(Format::Table, empty()), "+----+\n| id |\n+----+\n+----+\n");
}

#[test]
fn tensors_keep_their_shape_and_complex_numbers_are_pairs() {
    let values: ArrayRef = Arc::new(UInt8Array::from_iter_values(0..12));
    let tensor = list(values, 6);
    let field = Field::new("t", tensor.data_type().clone(), false).with_metadata(HashMap::from([
        ("ARROW:extension:name".to_owned(), "arrow.fixed_shape_tensor".to_owned()),
        ("ARROW:extension:metadata".to_owned(), "{\"shape\":[2,3]}".to_owned()),
    ]));
    let item = Arc::new(Field::new("complex", DataType::Float32, false));
    let complex = FixedSizeListArray::new(item, 2, Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0, -4.0])), None);
    let schema = Schema::new(vec![field, Field::new("c", complex.data_type().clone(), false)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![tensor, Arc::new(complex)]).unwrap();
    // The second row shows that offsets count.
    let second = batch.slice(1, 1);
    assert_eq!(print_all(Format::Ndjson, &[second], None), "{\"t\": [[6, 7, 8], [9, 10, 11]], \"c\": [3.0, -4.0]}\n");
    assert_eq!(
        print_all(Format::Csv, std::slice::from_ref(&batch), None),
        "t,c\n\"[[0, 1, 2], [3, 4, 5]]\",\"[1.0, 2.0]\"\n\"[[6, 7, 8], [9, 10, 11]]\",\"[3.0, -4.0]\"\n"
    );
}

#[test]
fn other_types() {
    let halves = Float16Array::from_iter([0.5, f32::NAN].map(half));
    let times = TimestampMicrosecondArray::from(vec![1_500_000, i64::MIN]);
    let durations = DurationSecondArray::from(vec![90, i64::MIN]);
    let texts: DictionaryArray<Int32Type> = ["a", "b\""].into_iter().collect();
    let lists = ListArray::from_iter_primitive::<Float32Type, _, _>([Some(vec![Some(1.0), None]), Some(vec![])]);
    let structs = StructArray::from(vec![(
        Arc::new(Field::new("n", DataType::Int32, true)),
        Arc::new(Int32Array::from(vec![Some(7), None])) as ArrayRef,
    )]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("h", Arc::new(halves)),
        ("t", Arc::new(times)),
        ("d", Arc::new(durations)),
        ("s", Arc::new(texts)),
        ("l", Arc::new(lists)),
        ("o", Arc::new(structs)),
    ];
    assert_eq!(
        print(Format::Ndjson, columns.clone()),
        "{\"h\": 0.5, \"t\": \"1970-01-01T00:00:01.500\", \"d\": \"PT90S\", \"s\": \"a\", \"l\": [1.0, null], \
         \"o\": {\"n\": 7}}\n\
         {\"h\": null, \"t\": null, \"d\": null, \"s\": \"b\\\"\", \"l\": [], \"o\": {\"n\": null}}\n"
    );
    assert_eq!(print(Format::Csv, columns).lines().last(), Some("NaN,NaT,NaT,\"b\"\"\",[],\"{\"\"n\"\": null}\""));
}

/// A half float, without naming the crate that defines it.
fn half(x: f32) -> Option<<Float16Type as ArrowPrimitiveType>::Native> {
    let half = cast(&Float32Array::from(vec![x]), &DataType::Float16).unwrap();
    Some(half.as_any().downcast_ref::<Float16Array>().unwrap().value(0))
}

#[test]
fn a_name_that_comes_twice_stays_two_keys() {
    let one = || Arc::new(Int32Array::from(vec![1])) as ArrayRef;
    let fields = ["row", "row", "row_2"].map(|n| Field::new(n, DataType::Int32, false));
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), vec![one(), one(), one()]).unwrap();
    assert_eq!(print_all(Format::Ndjson, &[batch], None), "{\"row\": 1, \"row_2\": 1, \"row_2_2\": 1}\n");
}

#[test]
fn tables_align_numbers_right_and_escape_control_characters() {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from(vec![Some(5), None, Some(1234)]))),
        ("text", Arc::new(StringArray::from(vec!["a\nb", "日本", "\u{1b}[31m|"]))),
    ];
    assert_eq!(
        print(Format::Table, columns.clone()),
        [
            "+------+-------------+",
            "|    n | text        |",
            "+------+-------------+",
            "|    5 | a\\nb        |",
            "| NULL | 日本        |",
            "| 1234 | \\u{1b}[31m| |",
            "+------+-------------+",
            "",
        ]
        .join("\n")
    );
    let markdown = print(Format::Markdown, columns.clone());
    assert!(markdown.contains("[31m\\| |"), "{markdown}");
    assert!(markdown.lines().nth(1).unwrap().starts_with("|------|"), "{markdown}");
    assert!(print(Format::Box, columns.clone()).starts_with("┌──────┬──"));
    let lines = print(Format::Line, columns);
    assert!(lines.starts_with("   n = 5\ntext = a\\nb\n\n   n = NULL\n"), "{lines}");
}

#[test]
fn plans_are_printed_as_trees() {
    let text = |s: &str| Arc::new(StringArray::from(vec![s])) as ArrayRef;
    let plan = || vec![("plan_type", text("logical_plan")), ("plan", text("Sort\n  Scan"))];
    assert_eq!(print(Format::Table, plan()), "logical_plan:\nSort\n  Scan\n");
    assert_eq!(print(Format::Csv, plan()), "plan_type,plan\nlogical_plan,\"Sort\n  Scan\"\n");
}

#[test]
fn long_lists_are_cut_on_a_terminal_only() {
    let long = || -> Vec<(&str, ArrayRef)> {
        vec![("v", list(Arc::new(Float32Array::from_iter_values((0..384).map(|i| i as f32 * 0.123456))), 384))]
    };
    let short = print_all(Format::Table, &[batch(long())], terminal(None, None));
    assert!(short.contains("| [0.0, 0.1235, … 384] |"), "{short}");
    assert!(print_all(Format::Line, &[batch(long())], terminal(None, None)).contains("… 384]"));
    for format in [Format::Csv, Format::Json, Format::Ndjson, Format::Tsv] {
        assert!(!print_all(format, &[batch(long())], terminal(Some(80), Some(1))).contains('…'), "{format:?}");
    }
    for format in [Format::Table, Format::Box, Format::Markdown, Format::Line] {
        assert!(!print(format, long()).contains('…'), "{format:?}");
    }
}

#[test]
fn text_is_cut_to_the_terminal() {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("number", Arc::new(Int64Array::from(vec![123_456_789_012]))),
        ("text", Arc::new(StringArray::from(vec!["x".repeat(200)]))),
        ("short", Arc::new(StringArray::from(vec!["abc"]))),
    ];
    let text = print_all(Format::Table, &[batch(columns)], terminal(Some(60), None));
    assert!(text.lines().all(|line| line.chars().count() == 60), "{text}");
    assert!(text.contains("123456789012") && text.contains("abc") && text.contains("x…"), "{text}");
}

#[test]
fn rows_beyond_the_limit_are_counted_and_none_is_lost_elsewhere() {
    let numbers = |from: i64, to: i64| batch(vec![("n", Arc::new(Int64Array::from_iter_values(from..to)) as ArrayRef)]);
    let batches = [numbers(0, 1500), numbers(1500, 4000)];
    let limited = print_all(Format::Table, &batches, terminal(Some(80), Some(1200)));
    assert_eq!(limited.lines().count(), 1200 + 4 + 1);
    assert!(limited.ends_with("… 2800 more rows (.rows all or --max-rows all shows them)\n"));
    for terminal in [None, terminal(None, None)] {
        assert_eq!(print_all(Format::Table, &batches, terminal).lines().count(), 4000 + 4);
    }
    assert_eq!(print_all(Format::Csv, &batches, terminal(None, Some(10))).lines().count(), 4001);
}
