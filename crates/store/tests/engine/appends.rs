//! Appends: what they refuse, and what they leave on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float32Array, Int32Array, Int64Array, RecordBatch};
use hyperslab_core::{ArraySource, DType, ErrorKind, FieldSpec, npy::NpyHeader};
use hyperslab_store::{ArrayOptions, Durability, LocalStorage, Store};

use crate::common::*;

fn shards(path: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(path.join("arrays")).unwrap().map(|e| e.unwrap().path());
    folders.flat_map(|f| std::fs::read_dir(f).unwrap().map(|e| e.unwrap().path())).collect()
}

/// What the headers of all shards claim, together; every one is what `numpy.load` needs.
fn rows_in_headers(path: &Path) -> u64 {
    let claimed = shards(path).into_iter().map(|shard| {
        let bytes = std::fs::read(&shard).unwrap();
        let header = NpyHeader::parse(&bytes).unwrap_or_else(|e| panic!("{}: {e}", shard.display()));
        assert_eq!((header.data_offset, header.dtype, header.cell()), (4096, DType::Float32, &[2][..]));
        assert!(bytes.len() as u64 >= 4096 + header.data_bytes().unwrap(), "{}", shard.display());
        header.rows()
    });
    claimed.sum()
}

#[test]
fn numpy_can_load_every_shard_after_any_commit() {
    for in_place in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let local = Arc::new(LocalStorage::open(folder.path(), false, Some(in_place)).unwrap());
        let store = Store::on(local, options(Durability::Os)).unwrap();
        let mut total = 0;
        create(&store, "a", 8192, 0);
        for n in [1, 10, 2000, 24, 1, 5000, 1_200_000, 3, 100] {
            append(&store, "a", total, n);
            total += n;
            assert_eq!(rows_in_headers(folder.path()), total as u64);
            assert_eq!(array(&store, "a").rows(), total as u64);
        }
        assert_eq!(values(&array(&store, "a")), expected(total));
    }
}

#[test]
fn every_version_s_checksums_are_those_of_its_bytes() {
    for in_place in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let local = Arc::new(LocalStorage::open(folder.path(), false, Some(in_place)).unwrap());
        let store = Store::on(local, options(Durability::Os)).unwrap();
        create(&store, "a", 8192, 10);
        let mut total = 10;
        for n in [1, 10, 2000, 24, 1_200_000, 5] {
            append(&store, "a", total, n);
            total += n;
        }
        let mut checked = 0;
        for version in 1..=7 {
            let entry = std::fs::read(folder.path().join(format!("_log/{version:020}.json"))).unwrap();
            let entry: serde_json::Value = serde_json::from_slice(&entry).unwrap();
            for (_, action) in entry["actions"].as_array().unwrap().iter().flat_map(|a| a.as_object().unwrap()) {
                for shard in action["shards"].as_array().into_iter().flatten() {
                    let name =
                        format!("arrays/{}/{}", action["array"].as_str().unwrap(), shard["file"].as_str().unwrap());
                    let bytes = std::fs::read(folder.path().join(name)).unwrap();
                    let committed = &bytes[4096..][..shard["bytes"].as_u64().unwrap() as usize];
                    assert_eq!(shard["crc32c"], format!("{:08x}", crc32c::crc32c(committed)), "{shard}");
                    checked += 1;
                }
            }
        }
        assert!(checked > 100, "{checked}");
    }
}

#[test]
fn small_appends_fill_the_open_shard_also_after_a_large_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    create(&store, "a", 256 << 20, 1_200_000);
    for n in 0..20 {
        append(&store, "a", 1_200_000 + n * 100, 100);
    }
    let a = array(&store, "a");
    assert_eq!((a.info().unwrap().segments, shards(folder.path()).len()), (1, 1));
    assert!(a.field("value").unwrap().view::<f32>().unwrap().is_view());
    assert_eq!(values(&a), expected(1_202_000));
}

#[test]
fn where_files_cannot_grow_every_append_is_a_segment() {
    let folder = tempfile::tempdir().unwrap();
    let local = Arc::new(LocalStorage::open(folder.path(), false, Some(false)).unwrap());
    drop(Store::on(local, options(Durability::Os)).unwrap());
    // What the store was made with stays, however it is opened.
    let store = in_folder(folder.path());
    create(&store, "a", 1 << 20, 5);
    append(&store, "a", 5, 5);
    append(&store, "a", 10, 5);
    assert_eq!(array(&store, "a").info().unwrap().segments, 3);
    assert_eq!(values(&array(&store, "a")), expected(15));
}

/// `id` int64 and `v` float32.
fn pairs() -> Vec<FieldSpec> {
    vec![FieldSpec::new("id", DType::Int64, vec![]).unwrap(), FieldSpec::new("v", DType::Float32, vec![]).unwrap()]
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn several_fields_stay_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    let mut tx = store.begin().unwrap();
    tx.create("t", pairs(), ArrayOptions { shard_bytes: 16384, ..ArrayOptions::default() }).unwrap();
    tx.commit().unwrap();
    let mut next = 0;
    for n in [1_i64, 700, 5000, 3, 20_000] {
        let ids: Vec<i64> = (next..next + n).collect();
        let values: Vec<f32> = ids.iter().map(|&i| i as f32 / 2.0).collect();
        let rows = batch(vec![("x", Arc::new(Int64Array::from(ids))), ("y", Arc::new(Float32Array::from(values)))]);
        let mut tx = store.begin().unwrap();
        tx.append("t", &rows).unwrap();
        tx.commit().unwrap();
        next += n;
    }
    let t = array(&store, "t");
    let ids = t.field("id").unwrap().view::<i64>().unwrap();
    let values = t.field("v").unwrap().view::<f32>().unwrap();
    assert!(ids.is_view() && values.is_view());
    assert!(ids.as_slice().iter().copied().eq(0..next));
    assert!(values.as_slice().iter().copied().eq((0..next).map(|i| i as f32 / 2.0)));
}

#[test]
fn what_does_not_fit_is_refused_by_field_and_row_and_nothing_is_appended() {
    let store = Store::memory();
    let mut tx = store.begin().unwrap();
    tx.create("t", pairs(), ArrayOptions::default()).unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let good: ArrayRef = Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0]));
    tx.append("t", &batch(vec![("id", ids.clone()), ("v", good.clone())])).unwrap();
    let null: ArrayRef = Arc::new(Float32Array::from(vec![Some(1.0), None, Some(3.0)]));
    let error = tx.append("t", &batch(vec![("id", ids.clone()), ("v", null)])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("\"v\": row 4 is NULL"), "{error}");
    let other: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
    let error = tx.append("t", &batch(vec![("id", other), ("v", good.clone())])).unwrap_err();
    assert!(error.to_string().contains("\"id\" takes Int64, not Int32"), "{error}");
    let bools: ArrayRef = Arc::new(BooleanArray::from(vec![true; 3]));
    assert!(tx.append("t", &batch(vec![("id", ids.clone()), ("v", bools)])).is_err());
    let error = tx.append("t", &batch(vec![("id", ids)])).unwrap_err();
    assert!(error.to_string().contains("2 fields, and 1"), "{error}");
    let error = tx.append_ndarray("t", &ndarray::arr1(&[1_i64])).unwrap_err();
    assert!(error.to_string().contains("2 fields"), "{error}");
    tx.create("a", fields(), ArrayOptions::default()).unwrap();
    let error = tx.append_ndarray("a", &ndarray::Array2::<f32>::zeros((2, 3))).unwrap_err();
    assert!(error.to_string().contains("float32[2]") && error.to_string().contains("[2, 3]"), "{error}");
    assert!(tx.append_ndarray("a", &ndarray::Array2::<f64>::zeros((2, 2))).is_err());
    tx.commit().unwrap();
    assert_eq!((array(&store, "t").rows(), array(&store, "a").rows()), (3, 0));
}

#[test]
fn arrays_that_cannot_be_are_not_created() {
    let store = Store::memory();
    let mut tx = store.begin().unwrap();
    let twice = [pairs(), pairs()].concat();
    let error = tx.create("t", twice, ArrayOptions::default()).unwrap_err();
    assert!(error.to_string().contains("two fields are named \"id\""), "{error}");
    assert!(tx.create("t", vec![], ArrayOptions::default()).is_err());
    assert!(tx.create("", pairs(), ArrayOptions::default()).is_err());
    assert!(tx.create("t", pairs(), ArrayOptions { shard_bytes: 0, ..ArrayOptions::default() }).is_err());
    let elsewhere = hyperslab_store::ArrayName::new("nowhere", "t");
    assert_eq!(tx.create(elsewhere, pairs(), ArrayOptions::default()).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(tx.commit().unwrap(), 0);
}

#[test]
fn a_source_is_copied_whole_also_onto_itself() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    create(&store, "a", 1 << 20, 2_000_000);
    let source = array(&store, "a");
    let mut tx = store.begin().unwrap();
    tx.create("b", source.fields().to_vec(), ArrayOptions::default()).unwrap();
    tx.append_source("b", &source).unwrap();
    tx.append_source("a", &source).unwrap();
    tx.commit().unwrap();
    let (a, b) = (array(&store, "a"), array(&store, "b"));
    assert_eq!(b.info().unwrap().segments, 1, "one segment of 16 MB");
    assert!(values(&b) == expected(2_000_000));
    assert!(values(&a) == [expected(2_000_000), expected(2_000_000)].concat());
    let mut tx = store.begin().unwrap();
    tx.create("t", pairs(), ArrayOptions::default()).unwrap();
    assert_eq!(tx.append_source("t", &source).unwrap_err().kind(), ErrorKind::Invalid);
}

/// Rows that are made up as they are asked for, with the most bytes that were alive at once.
#[derive(Debug)]
struct Endless(Vec<FieldSpec>, u64);

impl ArraySource for Endless {
    fn fields(&self) -> &[FieldSpec] {
        &self.0
    }
    fn rows(&self) -> u64 {
        self.1
    }
    fn read(&self, field: usize, rows: std::ops::Range<u64>) -> hyperslab_core::Result<hyperslab_core::Block> {
        let bytes = (rows.end - rows.start) as usize * self.0[field].row_bytes();
        assert!(bytes <= 4 << 20, "{bytes} bytes are asked for at once");
        let zeros = arrow_buffer::MutableBuffer::from_len_zeroed(bytes).into();
        hyperslab_core::arrow::array_from_buffer(&self.0[field], zeros, (rows.end - rows.start) as usize)
    }
    fn take(&self, _: usize, _: &[u64]) -> hyperslab_core::Result<hyperslab_core::Block> {
        Err(hyperslab_core::Error::unsupported("not needed here"))
    }
}

#[test]
fn a_large_source_is_read_in_small_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    let fields = vec![FieldSpec::new("value", DType::UInt8, vec![100]).unwrap()];
    let source = Endless(fields.clone(), 1_000_000);
    let mut tx = store.begin().unwrap();
    tx.create("a", fields, ArrayOptions { shard_bytes: 16 << 20, ..ArrayOptions::default() }).unwrap();
    tx.append_source("a", &source).unwrap();
    tx.commit().unwrap();
    let info = array(&store, "a").info().unwrap();
    assert_eq!((info.rows, info.logical_bytes), (1_000_000, 100_000_000));
    assert!(array(&store, "a").field("value").unwrap().view::<u8>().unwrap().is_view());
}

#[test]
fn rows_in_fortran_order_and_bools_are_converted() {
    let store = Store::memory();
    let mut tx = store.begin().unwrap();
    tx.create("a", fields(), ArrayOptions::default()).unwrap();
    let transposed = rows(0, 2).reversed_axes();
    tx.append_ndarray("a", &transposed).unwrap();
    tx.create("b", vec![FieldSpec::new("value", DType::Bool, vec![]).unwrap()], ArrayOptions::default()).unwrap();
    tx.append_ndarray("b", &ndarray::arr1(&[hyperslab_core::Bool8(7), hyperslab_core::Bool8(0)])).unwrap();
    tx.commit().unwrap();
    assert_eq!(values(&array(&store, "a")), [0.0, 2.0, 1.0, 3.0]);
    let bools = array(&store, "b").field("value").unwrap().view::<hyperslab_core::Bool8>().unwrap();
    assert_eq!(bools.as_slice(), [hyperslab_core::Bool8(1), hyperslab_core::Bool8(0)]);
}
