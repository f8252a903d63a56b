//! The cases in which NumPack (0.5 to 0.7), npy-append-array (0.9) and wendelin.core (2) lose or spoil data, each named
//! after what they do there, done with this store.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int16Array, RecordBatch};
use hyperslab_core::{ArraySource, DType, ErrorKind, FieldSpec, npy::NpyHeader};
use hyperslab_store::testing::{Fault, FaultStorage};
use hyperslab_store::{Array, ArrayOptions, Durability, LocalStorage, MemoryStorage, Storage, Store, Transaction};
use ndarray::{Array2, ShapeBuilder, arr1, arr2};

use crate::common::*;

/// One int64 per row: `0..n`.
fn numbers(store: &Store, n: i64) {
    let mut tx = store.begin().unwrap();
    tx.create("a", vec![FieldSpec::new("value", DType::Int64, vec![]).unwrap()], ArrayOptions::default()).unwrap();
    tx.append_ndarray("a", &ndarray::Array1::from_iter(0..n)).unwrap();
    tx.commit().unwrap();
}

fn commit(store: &Store, change: impl FnOnce(&mut Transaction)) -> u64 {
    let mut tx = store.begin().unwrap();
    change(&mut tx);
    tx.commit().unwrap()
}

fn ints(store: &Store) -> Vec<i64> {
    array(store, "a").field("value").unwrap().view::<i64>().unwrap().as_slice().to_vec()
}

fn fault_storage(in_place: bool) -> Arc<FaultStorage> {
    Arc::new(FaultStorage::new(Arc::new(MemoryStorage::new())).unwrap().with_in_place(in_place))
}

/// NumPack: the values of `replace` at scattered rows land in other rows.
#[test]
fn numpack_replace_scattered_rows_writes_wrong_bytes() {
    let store = Store::memory();
    create(&store, "a", 4096, 2000);
    let at = [1999, 3, -1999, 700, 3, 0, -1];
    let new = Array2::from_shape_fn((at.len(), 2), |(i, j)| -((i * 2 + j + 1) as f32));
    commit(&store, |tx| tx.replace_ndarray("a", "value", &at, &new).unwrap());
    let mut want = rows(0, 2000);
    for (i, at) in at.iter().enumerate() {
        // The last of a repeated position wins: NumPy's `want[at] = new`.
        want.row_mut(at.rem_euclid(2000) as usize).assign(&new.row(i));
    }
    assert_eq!(values(&array(&store, "a")), want.into_raw_vec_and_offset().0);
}

/// NumPack: rows that were dropped are there again once rows are appended.
#[test]
fn numpack_append_after_a_drop_brings_deleted_rows_back() {
    let store = Store::memory();
    numbers(&store, 10);
    assert_eq!(commit(&store, |tx| assert_eq!(tx.delete("a", &[0, 3, -1, 3]).unwrap(), 3)), 2);
    commit(&store, |tx| tx.append_ndarray("a", &arr1(&[100_i64, 101])).unwrap());
    assert_eq!(ints(&store), [1, 2, 4, 5, 6, 7, 8, 100, 101]);
    // Also in one transaction, and of rows of the same transaction.
    let mut tx = store.begin().unwrap();
    tx.delete("a", &[-1]).unwrap();
    tx.append_ndarray("a", &arr1(&[102_i64, 103])).unwrap();
    tx.delete("a", &[-2, 0]).unwrap();
    tx.append_ndarray("a", &arr1(&[104_i64])).unwrap();
    tx.commit().unwrap();
    assert_eq!(ints(&store), [2, 4, 5, 6, 7, 8, 100, 103, 104]);
}

/// NumPack: the rows appended after a crash lie behind the bytes that the crash left, and are read from before them.
#[test]
fn numpack_append_after_a_crash_lands_after_orphan_bytes() {
    for call in 0..12 {
        let storage = fault_storage(true);
        let store = on(&storage, Durability::Full);
        numbers(&store, 10);
        storage.arm(Fault::Kill { call });
        let mut tx = store.begin().unwrap();
        tx.append_ndarray("a", &arr1(&[-1_i64, -2, -3])).unwrap();
        let killed = tx.commit();
        drop(store);
        storage.disarm();
        let store = on(&storage, Durability::Full);
        let mut want = ints(&store);
        assert!(want == (0..10).collect::<Vec<_>>() || want[10..] == [-1, -2, -3], "{killed:?}: {want:?}");
        commit(&store, |tx| tx.append_ndarray("a", &arr1(&[10_i64, 11])).unwrap());
        want.extend([10, 11]);
        assert_eq!(ints(&store), want, "call {call}");
        assert_eq!(ints(&on(&storage, Durability::Full)), want, "call {call}");
    }
}

/// NumPack: of two open instances, the one that writes last takes the other's arrays away.
#[test]
fn numpack_two_instances_overwrite_each_other_s_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (in_folder(folder.path()), in_folder(folder.path()));
    create(&first, "a", 1 << 20, 10);
    create(&second, "b", 1 << 20, 20);
    append(&first, "b", 20, 5);
    append(&second, "a", 10, 5);
    drop(first);
    drop(second);
    let store = in_folder(folder.path());
    assert_eq!(store.snapshot().unwrap().arrays("public"), ["a", "b"]);
    assert_eq!(values(&array(&store, "a")), expected(15));
    assert_eq!(values(&array(&store, "b")), expected(25));
}

/// NumPack: where the metadata's magic is damaged, the store opens empty, and is overwritten when it is closed.
#[test]
fn numpack_a_corrupt_magic_opens_an_empty_store() {
    let folder = tempfile::tempdir().unwrap();
    create(&in_folder(folder.path()), "a", 1 << 20, 10);
    let log = std::fs::read_dir(folder.path().join("_log")).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = log.filter(|p| p.to_string_lossy().ends_with(".json")).collect();
    files.push(folder.path().join("hyperslab.json"));
    for file in files {
        let whole = std::fs::read(&file).unwrap();
        for damaged in [Vec::new(), [b"XXXX", &whole[4..]].concat()] {
            std::fs::write(&file, damaged).unwrap();
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            match Store::open(folder.path()) {
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    assert!(error.to_string().contains(&name), "{error} does not name {name}");
                }
                // A checkpoint can be done without.
                Ok(store) => {
                    assert!(name.ends_with(".checkpoint.json"), "{name}");
                    assert_eq!(values(&array(&store, "a")), expected(10));
                }
            }
        }
        std::fs::write(&file, whole).unwrap();
        assert_eq!(values(&array(&Store::open(folder.path()).unwrap(), "a")), expected(10));
    }
}

/// NumPack: an array in Fortran order is written in the order of memory.
#[test]
fn numpack_fortran_order_is_stored_wrong() {
    let store = Store::memory();
    create(&store, "a", 1 << 20, 0);
    let mut fortran = Array2::<f32>::zeros((5, 2).f());
    fortran.assign(&rows(0, 5));
    assert!(!fortran.is_standard_layout());
    commit(&store, |tx| tx.append_ndarray("a", &fortran).unwrap());
    // Neither do views with steps, turned round or transposed.
    let wide = rows(5, 10);
    commit(&store, |tx| tx.append_ndarray("a", &wide.slice(ndarray::s![..;2, ..])).unwrap());
    commit(&store, |tx| tx.append_ndarray("a", &wide.slice(ndarray::s![..;-1, ..])).unwrap());
    let two = arr2(&[[-1.0_f32, -2.0], [-3.0, -4.0]]);
    commit(&store, |tx| tx.append_ndarray("a", &two.t()).unwrap());
    commit(&store, |tx| tx.replace_ndarray("a", "value", &[0, -1], &fortran.slice(ndarray::s![3..;-1, ..])).unwrap());
    let mut want = rows(0, 5);
    for more in [wide.slice(ndarray::s![..;2, ..]), wide.slice(ndarray::s![..;-1, ..]), two.t()] {
        want.append(ndarray::Axis(0), more).unwrap();
    }
    let last = want.nrows() - 1;
    want.row_mut(0).assign(&rows(4, 1).row(0));
    want.row_mut(last).assign(&rows(3, 1).row(0));
    assert_eq!(values(&array(&store, "a")), want.as_standard_layout().as_slice().unwrap());
}

/// NumPack: its streaming search goes over the stored rows, those that were deleted among them.
#[test]
fn numpack_streaming_ignores_deletions() {
    let store = Store::memory();
    numbers(&store, 5000);
    let gone: Vec<i64> = (0..5000).filter(|n| n % 7 == 0).collect();
    commit(&store, |tx| assert_eq!(tx.delete("a", &gone).unwrap(), 715));
    let want: Vec<i64> = (0..5000).filter(|n| n % 7 != 0).collect();
    let a = array(&store, "a");
    assert_eq!(a.rows(), want.len() as u64);
    let field = a.field("value").unwrap();
    for rows in [1, 7, 100, 10_000] {
        let mut streamed = Vec::new();
        for batch in field.batches(rows) {
            let column = batch.unwrap().column(0).to_data();
            streamed.extend_from_slice(&column.buffers()[0].typed_data::<i64>()[column.offset()..][..column.len()]);
        }
        assert_eq!(streamed, want, "batches of {rows}");
    }
    let taken = a.take(0, &[0, 1, 4284, 5]).unwrap().array.to_data();
    assert_eq!(taken.buffers()[0].typed_data::<i64>(), [1, 2, 4999, 6]);
}

/// NumPack: `batch_mode` writes what was done before an exception.
#[test]
fn numpack_batch_mode_flushes_after_an_exception() {
    let store = Store::memory();
    numbers(&store, 10);
    let batch = || -> hyperslab_core::Result<u64> {
        let mut tx = store.begin()?;
        tx.append_ndarray("a", &arr1(&[10_i64]))?;
        tx.replace_ndarray("a", "value", &[0], &arr1(&[-1_i64]))?;
        tx.delete("a", &[5])?;
        tx.replace_ndarray("a", "value", &[10], &arr1(&[-1_i64]))?; // there are ten rows now
        tx.commit()
    };
    let error = batch().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert_eq!(ints(&store), (0..10).collect::<Vec<_>>());
    assert_eq!(store.snapshot().unwrap().version(), 1);
}

/// NumPack: what `writable_batch_mode` changed cannot be taken back.
#[test]
fn numpack_writable_batch_mode_has_no_rollback() {
    let store = Store::memory();
    numbers(&store, 10);
    let mut tx = store.begin().unwrap();
    let mut view = tx.rows_mut::<i64>("a", "value", 2..6).unwrap();
    view.iter_mut().for_each(|v| *v *= -1);
    drop(view);
    let own = tx.snapshot().unwrap().array("a").unwrap();
    assert_eq!(own.field("value").unwrap().view::<i64>().unwrap().as_slice(), [0, 1, -2, -3, -4, -5, 6, 7, 8, 9]);
    assert_eq!(ints(&store), (0..10).collect::<Vec<_>>(), "nobody else sees it");
    drop(tx);
    assert_eq!(ints(&store), (0..10).collect::<Vec<_>>());
    // To a point in the middle, too.
    let mut tx = store.begin().unwrap();
    tx.replace_ndarray("a", "value", &[0], &arr1(&[100_i64])).unwrap();
    let point = tx.savepoint().unwrap();
    tx.replace_ndarray("a", "value", &[0, 1], &arr1(&[200_i64, 201])).unwrap();
    tx.delete("a", &[2]).unwrap();
    tx.rollback_to(&point).unwrap();
    tx.commit().unwrap();
    assert_eq!(ints(&store), [100, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

/// npy-append-array: 3.7 becomes 3, and 300 as int8 44, without a word.
#[test]
fn npy_append_array_casts_silently() {
    let store = Store::memory();
    let mut tx = store.begin().unwrap();
    let fields = vec![FieldSpec::new("value", DType::Int8, vec![]).unwrap()];
    tx.create("a", fields, ArrayOptions::default()).unwrap();
    tx.append_ndarray("a", &arr1(&[1_i8, 2])).unwrap();
    tx.commit().unwrap();
    let columns: [ArrayRef; 2] = [Arc::new(Float64Array::from(vec![3.7])), Arc::new(Int16Array::from(vec![300]))];
    for column in columns {
        let batch = RecordBatch::try_from_iter([("value", column)]).unwrap();
        let mut tx = store.begin().unwrap();
        assert_eq!(tx.append("a", &batch).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(tx.replace("a", &[0], &batch).unwrap_err().kind(), ErrorKind::Invalid);
        tx.commit().unwrap();
    }
    let mut tx = store.begin().unwrap();
    assert_eq!(tx.append_ndarray("a", &arr1(&[3.7_f64])).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(tx.replace_ndarray("a", "value", &[0], &arr1(&[300_i16])).unwrap_err().kind(), ErrorKind::Invalid);
    let a: Array = array(&store, "a");
    assert_eq!(a.field("value").unwrap().view::<i8>().unwrap().as_slice(), [1, 2]);
}

/// npy-append-array: after a crash the header says fewer rows than there are, and nothing says which is right.
#[test]
fn npy_append_array_leaves_a_stale_header_after_a_crash() {
    for call in 0..12 {
        let storage = fault_storage(true);
        let store = on(&storage, Durability::Os);
        create(&store, "a", 1 << 20, 10);
        storage.arm(Fault::Kill { call });
        let mut tx = store.begin().unwrap();
        tx.append_ndarray("a", &rows(10, 5)).unwrap();
        let done = tx.commit().is_ok();
        drop(store);
        storage.disarm();
        // The log says which rows there are: all that were acknowledged.
        let store = on(&storage, Durability::Os);
        let n = array(&store, "a").rows() as usize;
        assert!(n == 15 || (n == 10 && !done), "call {call}: {n} rows");
        assert_eq!(values(&array(&store, "a")), expected(n));
        assert!(claimed(storage.as_ref()) <= n as u64, "a header never claims what is not committed");
        // The next append puts the header right.
        append(&store, "a", n, 1);
        assert_eq!(claimed(storage.as_ref()), n as u64 + 1);
    }
}

/// The rows that the headers of all shards claim.
fn claimed(storage: &dyn Storage) -> u64 {
    let shards = storage.list("arrays").unwrap().into_iter().flat_map(|folder| {
        let files = storage.list(&format!("arrays/{folder}")).unwrap();
        files.into_iter().map(move |file| format!("arrays/{folder}/{file}"))
    });
    shards.map(|shard| NpyHeader::parse(&storage.read(&shard).unwrap().unwrap()).map_or(0, |h| h.rows())).sum()
}

/// npy-append-array: appending to a file that was closed cuts it off.
#[test]
fn npy_append_array_truncates_when_appending_after_close() {
    let folder = tempfile::tempdir().unwrap();
    let local = || Arc::new(LocalStorage::open(folder.path(), false, Some(true)).unwrap());
    create(&on(&local(), Durability::Os), "a", 1 << 20, 10);
    for n in 1..6 {
        // Each handle is closed before the next one appends.
        append(&on(&local(), Durability::Os), "a", n * 10, 10);
    }
    // A transaction begun before others closed theirs appends behind them.
    let store = on(&local(), Durability::Os);
    let mut tx = store.begin().unwrap();
    tx.append_ndarray("a", &rows(70, 10)).unwrap();
    append(&on(&local(), Durability::Os), "a", 60, 10);
    tx.commit().unwrap();
    assert_eq!(values(&array(&on(&local(), Durability::Os), "a")), expected(80));
}

/// wendelin.core: an array that is made shorter and longer again shows its old values.
#[test]
fn wendelin_old_data_reappears_when_an_array_grows_again() {
    for in_place in [false, true] {
        let storage = fault_storage(in_place);
        let store = on(&storage, Durability::Os);
        create(&store, "a", 1 << 20, 10);
        commit(&store, |tx| tx.resize("a", 4).unwrap());
        commit(&store, |tx| tx.resize("a", 8).unwrap());
        let mut want = expected(4);
        want.extend([0.0; 8]);
        assert_eq!(values(&array(&store, "a")), want);
        // Along the other axis, and in one transaction.
        commit(&store, |tx| {
            tx.resize_cell("a", "value", &[1]).unwrap();
            tx.resize_cell("a", "value", &[2]).unwrap();
        });
        want.chunks_mut(2).for_each(|row| row[1] = 0.0);
        assert_eq!(values(&array(&store, "a")), want);
        append(&store, "a", 8, 1);
        want.extend([16.0, 17.0]);
        assert_eq!(values(&array(&on(&storage, Durability::Os), "a")), want);
    }
}

/// wendelin.core: appending nothing fails, and of two that append at once one must do it again.
#[test]
fn wendelin_zero_length_and_concurrent_appends_fail() {
    let store = Store::memory();
    create(&store, "a", 1 << 20, 1);
    let version = append(&store, "a", 1, 0);
    assert_eq!(values(&array(&store, "a")), expected(1));
    let (mut first, mut second) = (store.begin().unwrap(), store.begin().unwrap());
    second.append_ndarray("a", &rows(2, 1)).unwrap();
    first.append_ndarray("a", &rows(1, 1)).unwrap();
    assert_eq!(first.commit().unwrap(), version + 1);
    assert_eq!(second.commit().unwrap(), version + 2);
    assert_eq!(values(&array(&store, "a")), expected(3));
}
