//! Edits in a transaction: which rows positions name, what is refused, what the transaction itself sees.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float32Array, Int64Array, RecordBatch};
use hyperslab_core::{DType, ErrorKind, FieldSpec};
use hyperslab_store::testing::{Fault, FaultStorage};
use hyperslab_store::{ArrayOptions, Codec, Durability, MemoryStorage, Store, Transaction};
use ndarray::{Array1, Array2, arr1, arr2};

use crate::common::*;

fn spec(name: &str, dtype: DType, cell: &[usize]) -> FieldSpec {
    FieldSpec::new(name, dtype, cell.to_vec()).unwrap()
}

/// `a`: one int64 a row, 0 to n - 1, committed in two segments where files do not grow.
fn ints(store: &Store, n: i64) {
    let mut tx = store.begin().unwrap();
    tx.create("a", vec![spec("value", DType::Int64, &[])], ArrayOptions::default()).unwrap();
    tx.append_ndarray("a", &Array1::from_iter(0..n / 2)).unwrap();
    tx.commit().unwrap();
    let mut tx = store.begin().unwrap();
    tx.append_ndarray("a", &Array1::from_iter(n / 2..n)).unwrap();
    tx.commit().unwrap();
}

fn of(array: &hyperslab_store::Array) -> Vec<i64> {
    array.field("value").unwrap().view::<i64>().unwrap().as_slice().to_vec()
}

fn seen(tx: &mut Transaction) -> Vec<i64> {
    of(&tx.snapshot().unwrap().array("a").unwrap())
}

fn stored(store: &Store) -> Vec<i64> {
    of(&array(store, "a"))
}

fn batch(name: &str, column: impl arrow_array::Array + 'static) -> RecordBatch {
    RecordBatch::try_from_iter([(name, Arc::new(column) as ArrayRef)]).unwrap()
}

/// Does `change` to `a` of ten rows, in stores whose files grow and do not, and gives what is committed.
fn edited(change: impl Fn(&mut Transaction)) -> Vec<i64> {
    let mut results = Vec::new();
    for in_place in [true, false] {
        let memory = Arc::new(MemoryStorage::new());
        let storage = Arc::new(FaultStorage::new(memory).unwrap().with_in_place(in_place));
        let store = on(&storage, Durability::Full);
        ints(&store, 10);
        let mut tx = store.begin().unwrap();
        change(&mut tx);
        let own = seen(&mut tx);
        tx.commit().unwrap();
        assert_eq!(stored(&store), own, "what the transaction saw is what it committed");
        assert_eq!(stored(&on(&storage, Durability::Full)), own, "reopened");
        results.push(own);
    }
    assert_eq!(results[0], results[1]);
    results.remove(0)
}

#[test]
fn positions_are_scattered_repeated_and_counted_from_the_end() {
    let replace =
        |rows: &[i64], values: &[i64]| edited(|tx| tx.replace_ndarray("a", "value", rows, &arr1(values)).unwrap());
    assert_eq!(replace(&[], &[]), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(replace(&[7, 2, -1, -10], &[70, 20, 90, 100]), [100, 1, 20, 3, 4, 5, 6, 70, 8, 90]);
    assert_eq!(replace(&[3, 3, -7, 3], &[1, 2, 3, 4])[3], 4, "the last of a repeated position wins");
    let twice = edited(|tx| {
        tx.replace_ndarray("a", "value", &[4, 5], &arr1(&[1_i64, 1])).unwrap();
        tx.replace("a", &[5, 6], &batch("value", Int64Array::from(vec![2, 2]))).unwrap();
    });
    assert_eq!(twice[4..7], [1, 2, 2], "and the later of two edits");
}

#[test]
fn deleting_renumbers_as_numpy_does() {
    let delete = |rows: &'static [i64], gone: u64| edited(|tx| assert_eq!(tx.delete("a", rows).unwrap(), gone));
    assert_eq!(delete(&[], 0).len(), 10);
    assert_eq!(delete(&[0, -1, 5, 5, 0], 3), [1, 2, 3, 4, 6, 7, 8]);
    assert_eq!(delete(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 10), [0_i64; 0]);
    let then = edited(|tx| {
        tx.delete("a", &[0, 1]).unwrap();
        tx.replace_ndarray("a", "value", &[0, -1], &arr1(&[20_i64, 90])).unwrap();
        tx.delete("a", &[1]).unwrap();
        tx.append_ndarray("a", &arr1(&[11_i64, 12])).unwrap();
        tx.delete("a", &[-2]).unwrap();
    });
    assert_eq!(then, [20, 4, 5, 6, 7, 8, 90, 12]);
    assert_eq!(edited(|tx| assert_eq!(tx.truncate("a").unwrap(), 10)), [0_i64; 0]);
    let again = edited(|tx| {
        tx.truncate("a").unwrap();
        tx.append_ndarray("a", &arr1(&[5_i64])).unwrap();
    });
    assert_eq!(again, [5]);
}

#[test]
fn rows_of_the_transaction_itself_are_edited_too() {
    let own = edited(|tx| {
        tx.append_ndarray("a", &arr1(&[10_i64, 11, 12, 13])).unwrap();
        tx.replace_ndarray("a", "value", &[-1, 0, 11], &arr1(&[130_i64, 100, 110])).unwrap();
        tx.append_ndarray("a", &arr1(&[14_i64])).unwrap();
        tx.delete("a", &[10, 1]).unwrap();
        tx.replace_ndarray("a", "value", &[-1], &arr1(&[140_i64])).unwrap();
    });
    assert_eq!(own, [100, 2, 3, 4, 5, 6, 7, 8, 9, 110, 12, 130, 140]);
    let store = Store::memory();
    let mut tx = store.begin().unwrap();
    tx.create("a", vec![spec("value", DType::Int64, &[])], ArrayOptions::default()).unwrap();
    tx.append_ndarray("a", &arr1(&[1_i64, 2, 3])).unwrap();
    tx.delete("a", &[1]).unwrap();
    tx.replace_ndarray("a", "value", &[1], &arr1(&[30_i64])).unwrap();
    assert_eq!(seen(&mut tx), [1, 30]);
    tx.commit().unwrap();
    assert_eq!(stored(&store), [1, 30]);
    assert_eq!(array(&store, "a").info().unwrap().shards, 1, "new rows are written with their new values");
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let store = Store::memory();
    ints(&store, 10);
    let mut tx = store.begin().unwrap();
    let one = arr1(&[1_i64]);
    let refused = |result: hyperslab_core::Result<()>, kind, said: &str| {
        let error = result.unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(said), "{error}, not {said}");
    };
    refused(
        tx.replace_ndarray("a", "value", &[10], &one),
        ErrorKind::Invalid,
        "no row 10 in array \"a\", which has 10",
    );
    refused(tx.replace_ndarray("a", "value", &[-11], &one), ErrorKind::Invalid, "no row -11");
    refused(tx.replace_ndarray("a", "value", &[0, i64::MIN], &arr1(&[1_i64, 2])), ErrorKind::Invalid, "no row -92");
    refused(tx.replace_ndarray("a", "value", &[0, 1], &one), ErrorKind::Invalid, "2 rows");
    refused(tx.replace_ndarray("a", "value", &[0], &arr1(&[1.0_f64])), ErrorKind::Invalid, "float64");
    refused(tx.replace_ndarray("a", "value", &[0], &arr2(&[[1_i64, 2]])), ErrorKind::Invalid, "shape [1, 2]");
    refused(tx.replace_ndarray("a", "valeu", &[0], &one), ErrorKind::NotFound, "it has value");
    refused(tx.replace_ndarray("b", "value", &[0], &one), ErrorKind::NotFound, "\"b\"");
    refused(tx.replace("a", &[0], &batch("value", Float32Array::from(vec![1.0]))), ErrorKind::Invalid, "value");
    refused(tx.replace("a", &[0], &batch("value", Int64Array::from(vec![None]))), ErrorKind::Invalid, "NULL");
    refused(tx.replace("a", &[0, 1], &batch("value", Int64Array::from(vec![1]))), ErrorKind::Invalid, "2 rows");
    refused(tx.replace("a", &[0], &batch("other", Int64Array::from(vec![1]))), ErrorKind::NotFound, "other");
    refused(tx.delete("a", &[3, 10]).map(drop), ErrorKind::Invalid, "no row 10");
    refused(tx.rows_mut::<i64>("a", "value", 5..11).map(drop), ErrorKind::Invalid, "5..11");
    refused(tx.rows_mut::<f64>("a", "value", 0..1).map(drop), ErrorKind::Invalid, "int64");
    refused(tx.resize("a", u64::MAX), ErrorKind::Invalid, "rows");
    refused(tx.resize_cell("a", "value", &[1]), ErrorKind::Invalid, "axes");
    refused(tx.drop_field("a", "value"), ErrorKind::Invalid, "only field");
    refused(tx.add_field("a", spec("value", DType::Int8, &[])), ErrorKind::AlreadyExists, "value");
    refused(tx.rename_field("a", "value", "value"), ErrorKind::AlreadyExists, "value");
    refused(tx.clone_array("a", "a"), ErrorKind::AlreadyExists, "\"a\"");
    refused(tx.restore("b", 1), ErrorKind::NotFound, "version 1");
    refused(tx.restore("a", 99), ErrorKind::NotFound, "99");
    refused(tx.set_tag("t", 99), ErrorKind::NotFound, "99");
    refused(tx.drop_tag("t"), ErrorKind::NotFound, "\"t\"");
    assert_eq!(seen(&mut tx), Vec::from_iter(0..10));
    assert_eq!(tx.commit().unwrap(), 2, "nothing was changed: no version");
}

#[test]
fn rows_mut_writes_back_what_was_changed() {
    let store = Store::memory();
    ints(&store, 10);
    let mut tx = store.begin().unwrap();
    let mut rows = tx.rows_mut::<i64>("a", "value", 2..6).unwrap();
    assert_eq!(rows.as_slice().unwrap(), [2, 3, 4, 5]);
    rows[[1]] = 30;
    rows.write().unwrap();
    tx.rows_mut::<i64>("a", "value", 3..5).unwrap()[[1]] = 40;
    let rows = tx.rows_mut::<i64>("a", "value", 0..10).unwrap();
    assert_eq!(rows.as_slice().unwrap(), [0, 1, 2, 30, 40, 5, 6, 7, 8, 9], "it sees what waits");
    drop(rows);
    tx.append_ndarray("a", &arr1(&[10_i64])).unwrap();
    tx.delete("a", &[0]).unwrap();
    *tx.rows_mut::<i64>("a", "value", 0..10).unwrap() *= 2;
    let last = [2, 4, 60, 80, 10, 12, 14, 16, 18, 20];
    assert_eq!(seen(&mut tx), last);

    // A row that was only looked at is none that was changed.
    let mut other = store.begin().unwrap();
    other.replace_ndarray("a", "value", &[0], &arr1(&[100_i64])).unwrap();
    drop(tx);
    let mut tx = store.begin().unwrap();
    tx.rows_mut::<i64>("a", "value", 0..3).unwrap()[[2]] = 200;
    other.commit().unwrap();
    tx.commit().unwrap();
    assert_eq!(stored(&store)[..4], [100, 1, 200, 3]);

    // What cannot be put back fails the transaction, also when nobody asks.
    let mut tx = store.begin().unwrap();
    *tx.rows_mut::<i64>("a", "value", 0..3).unwrap() = arr1(&[1_i64]).into_dyn();
    assert_eq!(tx.commit().unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn savepoints() {
    let store = Store::memory();
    ints(&store, 10);
    let mut tx = store.begin().unwrap();
    tx.replace_ndarray("a", "value", &[0], &arr1(&[100_i64])).unwrap();
    tx.append_ndarray("a", &arr1(&[10_i64])).unwrap();
    let first = tx.savepoint().unwrap();
    tx.replace_ndarray("a", "value", &[0, 1, -1], &arr1(&[-1_i64, -1, -1])).unwrap();
    tx.delete("a", &[5]).unwrap();
    tx.append_ndarray("a", &arr1(&[11_i64])).unwrap();
    let second = tx.savepoint().unwrap();
    tx.rename("a", "b").unwrap();
    tx.add_field("b", spec("more", DType::Int8, &[])).unwrap();
    tx.create("a", vec![spec("value", DType::Int64, &[])], ArrayOptions::default()).unwrap();
    tx.rollback_to(&second).unwrap();
    assert_eq!(seen(&mut tx), [-1, -1, 2, 3, 4, 6, 7, 8, 9, -1, 11]);
    assert!(!tx.contains("b") && tx.fields("a").unwrap().len() == 1);
    tx.drop_array("a").unwrap();
    tx.rollback_to(&first).unwrap();
    assert_eq!(seen(&mut tx), [100, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(tx.rollback_to(&second).unwrap_err().kind(), ErrorKind::Invalid, "it was forgotten");
    tx.append_ndarray("a", &arr1(&[11_i64])).unwrap();
    tx.rollback_to(&first).unwrap();
    let mut other = store.begin().unwrap();
    assert_eq!(other.rollback_to(&first).unwrap_err().kind(), ErrorKind::Invalid);
    tx.commit().unwrap();
    assert_eq!(stored(&store), [100, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn a_snapshot_of_a_transaction_stays_what_it_was() {
    let store = Store::memory();
    ints(&store, 10);
    let mut tx = store.begin().unwrap();
    let mut snapshots = vec![tx.snapshot().unwrap()];
    for n in 0..50_i64 {
        tx.replace_ndarray("a", "value", &[n % 7], &arr1(&[1000 + n])).unwrap();
        tx.append_ndarray("a", &arr1(&[n])).unwrap();
        tx.delete("a", &[7]).unwrap();
        snapshots.push(tx.snapshot().unwrap());
    }
    let mut model: Vec<i64> = (0..10).collect();
    assert_eq!(of(&snapshots[0].array("a").unwrap()), model);
    for n in 0..50_i64 {
        model[n as usize % 7] = 1000 + n;
        model.push(n);
        model.remove(7);
        assert_eq!(of(&snapshots[n as usize + 1].array("a").unwrap()), model);
    }
    tx.commit().unwrap();
    assert_eq!(stored(&store), model);
}

#[test]
fn addresses_stay_true_while_rows_before_them_go() {
    let store = Store::memory();
    ints(&store, 10);
    let mut tx = store.begin().unwrap();
    tx.append_ndarray("a", &arr1(&[10_i64, 11])).unwrap();
    let rows = tx.snapshot().unwrap().array("a").unwrap().addresses(&[4, 8, 11]).unwrap();
    tx.delete("a", &[0, 1, 2]).unwrap();
    tx.append_ndarray("a", &arr1(&[12_i64])).unwrap();
    tx.replace_at("a", &rows, &batch("value", Int64Array::from(vec![40, 80, 110]))).unwrap();
    assert_eq!(seen(&mut tx), [3, 40, 5, 6, 7, 80, 9, 10, 110, 12]);
    assert_eq!(tx.delete_at("a", &rows).unwrap(), 3);
    assert_eq!(tx.delete_at("a", &rows).unwrap(), 0, "they are gone already");
    let again = tx.replace_at("a", &rows, &batch("value", Int64Array::from(vec![1, 2, 3])));
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Invalid);
    tx.commit().unwrap();
    assert_eq!(stored(&store), [3, 5, 6, 7, 9, 10, 12]);
}

#[test]
fn axes_and_fields() {
    let store = Store::memory();
    create(&store, "a", 1 << 20, 3);
    let mut tx = store.begin().unwrap();
    tx.append_ndarray("a", &rows(3, 1)).unwrap();
    tx.replace_ndarray("a", "value", &[1], &arr2(&[[20.0_f32, 21.0]])).unwrap();
    tx.resize_cell("a", "value", &[1]).unwrap();
    tx.resize_cell("a", "value", &[3]).unwrap();
    tx.resize("a", 6).unwrap();
    tx.add_field("a", spec("id", DType::Int64, &[])).unwrap();
    tx.replace("a", &[0, 5], &batch("id", Int64Array::from(vec![7, 8]))).unwrap();
    tx.rename_field("a", "value", "x").unwrap();
    let check = |array: hyperslab_store::Array| {
        let x = array.field("x").unwrap().view::<f32>().unwrap();
        let firsts = [0.0, 20.0, 4.0, 6.0, 0.0, 0.0];
        let expected: Vec<f32> = firsts.iter().flat_map(|&v| [v, 0.0, 0.0]).collect();
        assert_eq!(x.as_slice(), expected, "what an axis lost is gone");
        assert_eq!(array.field("id").unwrap().view::<i64>().unwrap().as_slice(), [7, 0, 0, 0, 0, 8]);
    };
    check(tx.snapshot().unwrap().array("a").unwrap());
    tx.commit().unwrap();
    check(array(&store, "a"));
    let mut tx = store.begin().unwrap();
    tx.drop_field("a", "x").unwrap();
    tx.resize("a", 2).unwrap();
    assert_eq!(tx.rows("a").unwrap(), 2);
    tx.resize("a", 3_000_000_000).unwrap();
    tx.commit().unwrap();
    let array = array(&store, "a");
    assert_eq!((array.rows(), array.fields().len()), (3_000_000_000, 1));
    assert_eq!(array.field("id").unwrap().rows::<i64>(0..3).unwrap().as_slice(), [7, 0, 0]);
}

#[test]
fn clones_share_and_do_not_follow() {
    let store = Store::memory();
    ints(&store, 10);
    let mut tx = store.begin().unwrap();
    tx.replace_ndarray("a", "value", &[0], &arr1(&[100_i64])).unwrap();
    tx.append_ndarray("a", &arr1(&[10_i64])).unwrap();
    tx.delete("a", &[1]).unwrap();
    tx.clone_array("a", "b").unwrap();
    tx.append_ndarray("b", &arr1(&[99_i64])).unwrap();
    tx.replace_ndarray("a", "value", &[-1], &arr1(&[77_i64])).unwrap();
    tx.commit().unwrap();
    assert_eq!(stored(&store), [100, 2, 3, 4, 5, 6, 7, 8, 9, 77]);
    assert_eq!(of(&array(&store, "b")), [100, 2, 3, 4, 5, 6, 7, 8, 9, 10, 99]);
    // The original goes; the clone keeps what it shares. It may be made and the original dropped at once.
    let mut tx = store.begin().unwrap();
    tx.append_ndarray("a", &arr1(&[78_i64])).unwrap();
    tx.clone_array("a", "c").unwrap();
    tx.drop_array("a").unwrap();
    tx.rename("c", "a").unwrap();
    tx.commit().unwrap();
    assert_eq!(stored(&store), [100, 2, 3, 4, 5, 6, 7, 8, 9, 77, 78]);
}

#[test]
fn restoring_and_tags() {
    let store = Store::memory();
    ints(&store, 10);
    let mut tx = store.begin().unwrap();
    tx.delete("a", &[0, 1, 2]).unwrap();
    tx.add_field("a", spec("more", DType::Int8, &[])).unwrap();
    tx.set_tag("full", 2).unwrap();
    tx.commit().unwrap();
    let mut tx = store.begin().unwrap();
    tx.restore("a", 2).unwrap();
    tx.replace_ndarray("a", "value", &[0], &arr1(&[100_i64])).unwrap();
    tx.append_ndarray("a", &arr1(&[10_i64])).unwrap();
    let expected = [100, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
    assert_eq!(seen(&mut tx), expected);
    tx.commit().unwrap();
    assert_eq!(stored(&store), expected);
    let mut tx = store.begin().unwrap();
    tx.drop_array("a").unwrap();
    tx.commit().unwrap();
    let mut tx = store.begin().unwrap();
    tx.restore("a", 4).unwrap();
    tx.set_options("a", Some(8192), &BTreeMap::from([("value".to_owned(), Codec::Zstd(3))])).unwrap();
    tx.drop_tag("full").unwrap();
    tx.commit().unwrap();
    assert_eq!(stored(&store), expected);
    assert_eq!(of(&store.at(2).unwrap().array("a").unwrap()), Vec::from_iter(0..10), "history does not change");
}

/// More than memory is given for goes to files meanwhile; the transaction stays editable.
#[test]
fn large_edits_go_to_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    const N: usize = 60_000;
    let value = |row: usize| Array2::from_shape_fn((1, 32), |(_, j)| (row * 32 + j) as f64);
    let mut tx = store.begin().unwrap();
    let field = FieldSpec::new("value", DType::Float64, vec![32]).unwrap();
    tx.create("a", vec![field], ArrayOptions { shard_bytes: 1 << 20, ..ArrayOptions::default() }).unwrap();
    let all = Array2::from_shape_fn((N, 32), |(i, j)| (i * 32 + j) as f64);
    tx.append_ndarray("a", &all).unwrap();
    tx.commit().unwrap();

    let mut tx = store.begin().unwrap();
    let mut model: Vec<f64> = (0..N).map(|row| (row * 32) as f64).collect();
    let files = || {
        std::fs::read_dir(std::fs::read_dir(folder.path().join("arrays")).unwrap().next().unwrap().unwrap().path())
            .unwrap()
            .count()
    };
    let before = files();
    // 15 MB at once, then 20 MB in parts, with appended rows in between.
    let positions: Vec<i64> = (0..N as i64).collect();
    tx.replace_ndarray("a", "value", &positions, &(&all + 1.0)).unwrap();
    model.iter_mut().for_each(|v| *v += 1.0);
    for part in 0..20_i64 {
        let rows: Vec<i64> = (0..4000).map(|n| (n * 13 + part * 7) % N as i64).collect();
        let values = Array2::from_shape_fn((4000, 32), |(i, _)| (part * 10_000 + i as i64) as f64);
        tx.replace_ndarray("a", "value", &rows, &values).unwrap();
        for (i, &row) in rows.iter().enumerate() {
            model[row as usize] = (part * 10_000 + i as i64) as f64;
        }
        for n in 0..300 {
            tx.append_ndarray("a", &value(n)).unwrap();
            model.push((n * 32) as f64);
        }
        tx.replace_ndarray("a", "value", &[-1], &Array2::from_elem((1, 32), -1.0)).unwrap();
        *model.last_mut().unwrap() = -1.0;
    }
    assert!(files() > before, "so much goes to files at once");
    tx.delete("a", &[5, -5]).unwrap();
    model.remove(model.len() - 5);
    model.remove(5);
    let firsts = |array: &hyperslab_store::Array| {
        let view = array.field("value").unwrap().view::<f64>().unwrap();
        view.as_slice().chunks(32).map(|row| row[0]).collect::<Vec<f64>>()
    };
    assert!(firsts(&tx.snapshot().unwrap().array("a").unwrap()) == model);
    tx.commit().unwrap();
    assert!(firsts(&array(&store, "a")) == model);
    let reopened = in_folder(folder.path());
    assert!(firsts(&array(&reopened, "a")) == model);
}

/// A statement that fails because the disk is full is undone, and the transaction goes on.
#[test]
fn a_failed_change_can_be_rolled_back() {
    let storage = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::new())).unwrap());
    let store = on(&storage, Durability::Os);
    create(&store, "a", 1 << 20, 10);
    let mut tx = store.begin().unwrap();
    tx.replace_ndarray("a", "value", &[0], &arr2(&[[5.0_f32, 6.0]])).unwrap();
    let savepoint = tx.savepoint().unwrap();
    storage.arm(Fault::Fail { call: 1 });
    let failed = tx.append_ndarray("a", &rows(0, 2_000_000));
    storage.disarm();
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Io);
    tx.rollback_to(&savepoint).unwrap();
    tx.append_ndarray("a", &rows(10, 1)).unwrap();
    tx.commit().unwrap();
    let array = array(&store, "a");
    let mut all = expected(11);
    (all[0], all[1]) = (5.0, 6.0);
    assert_eq!((array.rows(), values(&array)), (11, all));
}

/// More ranges than the log should hold go to a file of deleted rows.
#[test]
fn many_scattered_deletes() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    ints(&store, 10_000);
    let mut model: Vec<i64> = (0..10_000).collect();
    for step in [2, 3, 50] {
        let mut tx = store.begin().unwrap();
        let rows: Vec<i64> = (0..model.len() as i64).filter(|row| row % step == 1).collect();
        assert_eq!(tx.delete("a", &rows).unwrap(), rows.len() as u64);
        for row in rows.iter().rev() {
            model.remove(*row as usize);
        }
        tx.commit().unwrap();
        assert_eq!(stored(&store), model);
        assert_eq!(stored(&in_folder(folder.path())), model, "reopened");
    }
    assert_eq!(of(&store.at(2).unwrap().array("a").unwrap()).len(), 10_000);
}

#[test]
fn cells_without_elements_are_rows_too() {
    let store = Store::memory();
    create(&store, "a", 1 << 20, 3);
    let mut tx = store.begin().unwrap();
    tx.resize_cell("a", "value", &[0]).unwrap();
    tx.append_ndarray("a", &Array2::<f32>::zeros((2, 0))).unwrap();
    tx.replace_ndarray("a", "value", &[-1, 0], &Array2::<f32>::zeros((2, 0))).unwrap();
    tx.delete("a", &[1, -2]).unwrap();
    tx.commit().unwrap();
    let mut tx = store.begin().unwrap();
    tx.append_ndarray("a", &Array2::<f32>::zeros((4, 0))).unwrap();
    tx.commit().unwrap();
    let mut tx = store.begin().unwrap();
    tx.resize_cell("a", "value", &[1]).unwrap();
    tx.append_ndarray("a", &arr2(&[[5.0_f32]])).unwrap();
    tx.commit().unwrap();
    assert_eq!(values(&array(&store, "a")), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0]);
}
