//! Text, bytes, bfloat16, NULL and fill values: what is written is read, in whatever parts it is kept.

use std::sync::Arc;

use arrow_array::{
    Array as _, ArrayRef, FixedSizeBinaryArray, FixedSizeListArray, Float32Array, Int32Array, LargeBinaryArray,
    LargeStringArray, RecordBatch,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Schema};
use hyperslab_core::{ArraySource, DType, Element, ErrorKind, FieldSpec, Fill, arrow, npy::NpyHeader};
use hyperslab_store::{ArrayOptions, CheckOptions, Codec, OptimizeOptions, Store};

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
    // `try_from_iter` cannot tell the width of no rows.
    let schema = schema();
    let columns = columns.into_iter().zip(schema.fields()).map(|(c, f)| match n {
        0 => arrow_array::new_empty_array(f.data_type()),
        _ => c,
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
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
    let array = array(store, "a");
    assert_eq!(array.rows(), n as u64);
    let expected = batch(0, n);
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
