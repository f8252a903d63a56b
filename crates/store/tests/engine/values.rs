//! Text, bytes, bfloat16, NULL and fill values: what is written is read, in whatever parts it is kept.

use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{
    Array as _, ArrayRef, FixedSizeBinaryArray, FixedSizeListArray, Float32Array, Int32Array, LargeBinaryArray,
    LargeStringArray, RecordBatch, UInt32Array,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Schema};
use hyperslab_core::{ArraySource, DType, Element, ErrorKind, FieldSpec, Fill, arrow, npy::NpyHeader};
use hyperslab_store::{Array, ArrayOptions, CheckOptions, Codec, OptimizeOptions, Store};

use crate::common::*;

fn spec(name: &str, dtype: DType) -> FieldSpec {
    FieldSpec::new(name, dtype, vec![]).unwrap()
}

fn fields() -> Vec<FieldSpec> {
    vec![
        spec("id", DType::Int32),
        spec("text", DType::Utf8),
        spec("maybe", DType::Utf8).with_nullable(true),
        spec("bytes", DType::Binary).with_nullable(true),
        spec("key", DType::FixedBytes(3)),
        spec("score", DType::Int32).with_nullable(true).with_fill(Fill::of(-1_i32)).unwrap(),
        FieldSpec::new("half", DType::Bfloat16, vec![2]).unwrap(),
        FieldSpec::new("cell", DType::Float32, vec![2]).unwrap().with_nullable(true),
    ]
}

fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(fields().iter().map(arrow::to_field).collect::<Vec<_>>()))
}

/// Rows `start..start + n`; the first 40 hold no NULL.
fn batch(start: usize, n: usize) -> RecordBatch {
    if n == 0 {
        return batch(start, 1).slice(0, 0);
    }
    let rows = start..start + n;
    let text = |i: usize| "é☃x".repeat(i % 5);
    let some = |i: usize| i < 40 || !i.is_multiple_of(3);
    let item = |t| Arc::new(Field::new("item", t, false));
    let pairs: Vec<f32> = rows.clone().flat_map(|i| [i as f32 % 256.0, -2.0]).collect();
    let pairs: ArrayRef = Arc::new(Float32Array::from(pairs));
    let nulls: NullBuffer = rows.clone().map(|i| some(i + 1)).collect::<Vec<_>>().into();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.clone().map(|i| i as i32).collect::<Int32Array>()),
        Arc::new(rows.clone().map(|i| Some(text(i))).collect::<LargeStringArray>()),
        Arc::new(rows.clone().map(|i| some(i).then(|| text(i + 1))).collect::<LargeStringArray>()),
        Arc::new(rows.clone().map(|i| some(i + 2).then(|| vec![i as u8; i % 4])).collect::<LargeBinaryArray>()),
        Arc::new(
            FixedSizeBinaryArray::try_from_iter(rows.clone().chain((n == 0).then_some(0)).map(|i| [i as u8, 0, 255]))
                .unwrap(),
        ),
        Arc::new(rows.clone().map(|i| some(i).then_some(i as i32 * 2)).collect::<Int32Array>()),
        Arc::new(FixedSizeListArray::new(item(DataType::Float32), 2, pairs.clone(), None)),
        Arc::new(FixedSizeListArray::new(item(DataType::Float32), 2, pairs, Some(nulls))),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn create(store: &Store, options: ArrayOptions) {
    let mut tx = store.begin().unwrap();
    tx.create("a", fields(), options).unwrap();
    tx.commit().unwrap();
}

fn append(store: &Store, start: usize, n: usize) {
    let mut tx = store.begin().unwrap();
    tx.append("a", &batch(start, n)).unwrap();
    tx.commit().unwrap();
}

/// Reads everything, in several ways, and holds it against the rows `0..n`.
fn check(store: &Store, n: usize) {
    check_rows(&array(store, "a"), &batch(0, n));
}

fn check_rows(array: &Array, expected: &RecordBatch) {
    let n = expected.num_rows();
    assert_eq!(array.rows(), n as u64);
    for (index, field) in array.fields().to_vec().iter().enumerate() {
        let column = expected.column(index);
        let all = array.read(index, 0..n as u64).unwrap().array;
        assert_eq!(all.as_ref(), column.as_ref(), "{field}");
        let mut row = 0;
        while row < n as u64 {
            let end = array.run_end(index, row).min(row + 7);
            let block = array.read(index, row..end).unwrap().array;
            let (row_, len) = (row as usize, (end - row) as usize);
            assert_eq!(block.as_ref(), column.slice(row_, len).as_ref(), "{field} {row}..{end}");
            row = end;
        }
        if n > 4 {
            let rows = [n as u64 - 1, 0, 3, 3];
            let taken = array.take(index, &rows).unwrap().array;
            for (i, &row) in rows.iter().enumerate() {
                assert_eq!(taken.slice(i, 1).as_ref(), column.slice(row as usize, 1).as_ref(), "{field} {row}");
            }
        }
    }
}

#[test]
fn every_part_grows_in_place_and_over_many_shards() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    create(&store, ArrayOptions { shard_bytes: 4096, ..ArrayOptions::default() });
    check(&store, 0);
    let mut n = 0;
    for more in [0, 1, 6, 30, 3, 1, 1, 100, 900, 5000, 2, 77] {
        append(&store, n, more);
        n += more;
        check(&store, n);
    }
    let info = array(&store, "a").info().unwrap();
    assert!(info.segments > 1 && info.shards > 20, "{info:?}");
    let findings = hyperslab_store::check(folder.path(), &CheckOptions::default()).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    check(&Store::open(folder.path()).unwrap(), n);
}

#[test]
fn small_appends_stay_in_one_segment_and_every_file_is_a_npy() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    create(&store, ArrayOptions::default());
    for start in (0..60).step_by(10) {
        append(&store, start, 10);
    }
    check(&store, 60);
    assert_eq!(array(&store, "a").info().unwrap().segments, 1);
    let mut files = 0;
    for folder in std::fs::read_dir(folder.path().join("arrays")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            let header = NpyHeader::parse(&bytes[..4096]).unwrap();
            assert_eq!(header.data_offset, 4096);
            assert!(header.data_bytes().unwrap() <= bytes.len() as u64 - 4096);
            files += 1;
        }
    }
    // 8 fields, twice offsets with bytes more, once more of binary, and 4 of which rows are NULL.
    assert_eq!(files, 8 + 3 + 4);
}

#[test]
fn compressed_parts_are_read_and_optimized() {
    let store = Store::memory();
    create(&store, ArrayOptions { shard_bytes: 1 << 16, codec: Codec::Zstd(1), ..ArrayOptions::default() });
    append(&store, 0, 30_000);
    check(&store, 30_000);
    append(&store, 30_000, 10);
    check(&store, 30_010);
    store.optimize("a", &OptimizeOptions { full: true }).unwrap();
    check(&store, 30_010);
}

#[test]
fn a_null_is_refused_where_the_field_holds_none() {
    let store = Store::memory();
    create(&store, ArrayOptions::default());
    let good = batch(0, 50);
    let mut columns = good.columns().to_vec();
    columns[1] = good.column(2).clone();
    let nullable: Vec<Field> = schema().fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    let bad = RecordBatch::try_new(Arc::new(Schema::new(nullable)), columns).unwrap();
    let mut tx = store.begin().unwrap();
    let error = tx.append("a", &bad).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("field \"text\": row 42 is NULL"), "{error}");
}

#[test]
fn views_are_of_values_only() {
    let store = Store::memory();
    create(&store, ArrayOptions::default());
    append(&store, 0, 40);
    let array = array(&store, "a");
    let field = |name: &str| array.field(name).unwrap();
    // No row is NULL yet.
    assert_eq!(field("score").view::<i32>().unwrap().as_slice()[39], 78);
    let halves = field("half").view::<half::bf16>().unwrap();
    assert_eq!((halves.shape(), halves.as_slice()[78].to_f32()), (&[40, 2][..], 39.0));
    assert!(field("text").view::<u8>().unwrap_err().to_string().contains("holds utf8"));
    assert!(field("key").view::<u8>().is_err());
    append(&store, 40, 5);
    let array = crate::common::array(&store, "a");
    let error = array.field("score").unwrap().view::<i32>().unwrap_err().to_string();
    assert!(error.contains("row 42 is NULL"), "{error}");
    assert!(half::bf16::is(DType::Bfloat16));
}

#[test]
fn an_ndarray_is_appended_to_a_nullable_field() {
    let store = Store::memory();
    let mut tx = store.begin().unwrap();
    tx.create("n", vec![spec("value", DType::Int32).with_nullable(true)], ArrayOptions::default()).unwrap();
    tx.append_ndarray("n", &ndarray::arr1(&[1, 2, 3])).unwrap();
    tx.commit().unwrap();
    assert_eq!(array(&store, "n").field("value").unwrap().view::<i32>().unwrap().as_slice(), [1, 2, 3]);
}

/// The rows of a batch in another order, some of them repeatedly.
fn picked(batch: &RecordBatch, rows: &[usize]) -> RecordBatch {
    let rows: UInt32Array = rows.iter().map(|&row| row as u32).collect();
    arrow_select::take::take_record_batch(batch, &rows).unwrap()
}

#[test]
fn rows_of_all_kinds_are_replaced_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    create(&store, ArrayOptions { shard_bytes: 1 << 14, ..ArrayOptions::default() });
    append(&store, 0, 1000);
    let mut expected: Vec<usize> = (0..1000).collect();
    let source = batch(0, 2000);
    for round in 0..6 {
        let mut tx = store.begin().unwrap();
        // Repeated, unordered, and of rows that this transaction appends itself.
        tx.append("a", &picked(&source, &[1500 + round, 7])).unwrap();
        expected.extend([1500 + round, 7]);
        let last = expected.len() - 1;
        let rows = [last, 40 + round * 31, 3, 900, 3, last - 1, 500];
        let values = [1001, 1002, 1003, 1004, 1005 + round, 1006, 1007];
        let positions: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        tx.replace("a", &positions, &picked(&source, &values)).unwrap();
        rows.iter().zip(values).for_each(|(&row, value)| expected[row] = value);
        check_rows(&tx.snapshot().unwrap().array("a").unwrap(), &picked(&source, &expected));
        assert_eq!(tx.delete("a", &[round as i64 * 5, -2]).unwrap(), 2);
        expected.remove(expected.len() - 2);
        expected.remove(round * 5);
        check_rows(&tx.snapshot().unwrap().array("a").unwrap(), &picked(&source, &expected));
        tx.commit().unwrap();
        check_rows(&array(&store, "a"), &picked(&source, &expected));
    }
    check_rows(&array(&Store::open(folder.path()).unwrap(), "a"), &picked(&source, &expected));
    store.optimize("a", &OptimizeOptions { full: true }).unwrap();
    check_rows(&array(&store, "a"), &picked(&source, &expected));
    let findings = hyperslab_store::check(folder.path(), &CheckOptions::default()).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn what_nobody_wrote_holds_the_fill_value() {
    let store = Store::memory();
    create(&store, ArrayOptions::default());
    append(&store, 0, 5);
    let mut tx = store.begin().unwrap();
    tx.resize("a", 8).unwrap();
    tx.add_field("a", spec("late", DType::Utf8).with_fill(Fill::text("none")).unwrap()).unwrap();
    tx.add_field("a", spec("later", DType::Float32).with_nullable(true)).unwrap();
    let filled = FieldSpec::new("filled", DType::Int32, vec![2]).unwrap().with_fill(Fill::of(7_i32)).unwrap();
    tx.add_field("a", filled).unwrap();
    let staged = tx.snapshot().unwrap().array("a").unwrap();
    tx.commit().unwrap();
    for array in [staged, array(&store, "a")] {
        let read = |name: &str| {
            let index = array.fields().iter().position(|f| f.name() == name).unwrap();
            array.read(index, 0..8).unwrap().array
        };
        let text = read("text");
        assert_eq!((text.null_count(), text.as_string::<i64>().value(7)), (0, ""));
        assert_eq!(read("maybe").slice(5, 3).null_count(), 3);
        assert_eq!(read("score").slice(5, 3).as_ref(), &Int32Array::from(vec![-1, -1, -1]));
        assert_eq!(read("late").as_ref(), &LargeStringArray::from(vec!["none"; 8]));
        assert_eq!(read("later").null_count(), 8);
        assert_eq!(array.field("filled").unwrap().view::<i32>().unwrap().as_slice(), [7; 16]);
    }
    // Cells that grow show the fill value, too.
    let mut tx = store.begin().unwrap();
    tx.replace_ndarray("a", "filled", &[1], &ndarray::arr2(&[[1, 2]])).unwrap();
    tx.commit().unwrap();
    let mut tx = store.begin().unwrap();
    tx.resize_cell("a", "filled", &[3]).unwrap();
    tx.resize_cell("a", "half", &[1]).unwrap();
    tx.commit().unwrap();
    let array = array(&store, "a");
    let view = array.field("filled").unwrap().view::<i32>().unwrap();
    assert_eq!(&view.as_slice()[..9], [7, 7, 7, 1, 2, 7, 7, 7, 7]);
}

#[test]
fn much_text_goes_to_files_before_the_commit() {
    let store = Store::memory();
    let mut tx = store.begin().unwrap();
    tx.create("a", vec![spec("text", DType::Utf8)], ArrayOptions { shard_bytes: 1 << 20, ..ArrayOptions::default() })
        .unwrap();
    let texts: Vec<String> = (0..400).map(|i| "0123456789abcdef".repeat(i * 16)).collect();
    let column: ArrayRef = Arc::new(LargeStringArray::from(texts.clone()));
    let rows = RecordBatch::try_from_iter([("text", column.clone())]).unwrap();
    for n in 1..=3 {
        tx.append("a", &rows).unwrap();
        assert_eq!(tx.snapshot().unwrap().array("a").unwrap().rows(), n * 400);
    }
    tx.commit().unwrap();
    let array = array(&store, "a");
    // A segment is closed at four shards of text.
    assert!(array.info().unwrap().segments >= 10, "{:?}", array.info().unwrap());
    assert!(array.info().unwrap().logical_bytes > 3 * 20_000_000);
    for start in [0, 400, 800] {
        assert_eq!(array.read(0, start..start + 400).unwrap().array.as_ref(), column.as_ref());
    }
    let mut tx = store.begin().unwrap();
    tx.replace("a", &(0..400).rev().collect::<Vec<i64>>(), &rows).unwrap();
    tx.commit().unwrap();
    let array = crate::common::array(&store, "a");
    assert_eq!(array.take(0, &[399, 0]).unwrap().array.as_string::<i64>().value(1), texts[399]);
}
