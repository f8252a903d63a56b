//! Several writers at once: first committer wins.

use std::sync::Arc;

use hyperslab_core::{DType, ErrorKind, FieldSpec};
use hyperslab_store::{ArrayName, ArrayOptions, Durability, LocalStorage, MemoryStorage, Store, Transaction};

use crate::common::*;

fn two(store: &Store) -> (Transaction, Transaction) {
    (store.begin().unwrap(), store.begin().unwrap())
}

#[test]
fn appends_never_conflict() {
    let store = Store::memory();
    create(&store, "a", 1 << 20, 1);
    let (mut first, mut second) = two(&store);
    second.append_ndarray("a", &rows(3, 1)).unwrap();
    first.append_ndarray("a", &rows(1, 2)).unwrap();
    assert_eq!((first.commit().unwrap(), second.commit().unwrap()), (2, 3));
    assert_eq!(values(&array(&store, "a")), expected(4));
}

#[test]
fn the_second_of_two_that_take_a_name_is_told_which() {
    let store = Store::memory();
    let (mut first, mut second) = two(&store);
    first.create("a", fields(), ArrayOptions::default()).unwrap();
    second.create("a", fields(), ArrayOptions::default()).unwrap();
    second.append_ndarray("a", &rows(0, 1)).unwrap();
    first.commit().unwrap();
    let error = second.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.to_string().contains("\"a\""), "{error}");
    create(&store, "b", 1 << 20, 1);
    let (mut first, mut second) = two(&store);
    first.rename("a", "c").unwrap();
    second.rename("b", "c").unwrap();
    first.commit().unwrap();
    assert_eq!(second.commit().unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(store.snapshot().unwrap().arrays("public"), ["b", "c"]);
}

/// What the first commits and the second then tries, and what becomes of it.
#[test]
fn what_changes_more_than_rows_conflicts_with_everything_on_the_array() {
    type Change = fn(&mut Transaction);
    let append: Change = |tx| tx.append_ndarray("a", &rows(1, 1)).unwrap();
    let drop_a: Change = |tx| tx.drop_array("a").unwrap();
    let rename: Change = |tx| tx.rename("a", "z").unwrap();
    let other: Change = |tx| tx.append_ndarray("b", &rows(1, 1)).unwrap();
    let cases: &[(Change, Change, Option<ErrorKind>)] = &[
        (append, drop_a, Some(ErrorKind::Conflict)),
        (append, rename, Some(ErrorKind::Conflict)),
        (drop_a, append, Some(ErrorKind::Conflict)),
        (drop_a, rename, Some(ErrorKind::Conflict)),
        (drop_a, drop_a, Some(ErrorKind::Conflict)),
        (rename, append, Some(ErrorKind::Conflict)),
        (rename, drop_a, Some(ErrorKind::Conflict)),
        (other, append, None),
        (other, drop_a, None),
        (rename, other, None),
    ];
    for (n, (earlier, later, expected)) in cases.iter().enumerate() {
        let store = Store::memory();
        create(&store, "a", 1 << 20, 1);
        create(&store, "b", 1 << 20, 1);
        let (mut first, mut second) = two(&store);
        earlier(&mut first);
        later(&mut second);
        first.commit().unwrap();
        match (second.commit(), expected) {
            (Ok(version), None) => assert_eq!(version, 4, "case {n}"),
            (Err(e), Some(kind)) => assert!(e.kind() == *kind && e.is_retryable(), "case {n}: {e}"),
            (other, _) => panic!("case {n}: {other:?}"),
        }
    }
}

#[test]
fn schemas_conflict_too() {
    let store = Store::memory();
    let mut tx = store.begin().unwrap();
    tx.create_schema("s").unwrap();
    assert_eq!(tx.create_schema("s").unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(tx.create_schema("public").unwrap_err().kind(), ErrorKind::AlreadyExists);
    tx.commit().unwrap();
    let (mut first, mut second) = two(&store);
    first.create(ArrayName::new("s", "a"), fields(), ArrayOptions::default()).unwrap();
    second.drop_schema("s").unwrap();
    first.commit().unwrap();
    assert_eq!(second.commit().unwrap_err().kind(), ErrorKind::Conflict);

    let mut tx = store.begin().unwrap();
    assert_eq!(tx.drop_schema("s").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(tx.drop_schema("public").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(tx.drop_schema("t").unwrap_err().kind(), ErrorKind::NotFound);
    tx.drop_array(ArrayName::new("s", "a")).unwrap();
    tx.drop_schema("s").unwrap();
    let mut other = store.begin().unwrap();
    other.create(ArrayName::new("s", "b"), fields(), ArrayOptions::default()).unwrap();
    tx.commit().unwrap();
    assert_eq!(other.commit().unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(store.snapshot().unwrap().schemas(), ["public"]);
}

#[test]
fn a_transaction_sees_its_own_names() {
    let store = Store::memory();
    create(&store, "a", 1 << 20, 2);
    let mut tx = store.begin().unwrap();
    tx.rename("a", "b").unwrap();
    tx.create("a", fields(), ArrayOptions::default()).unwrap();
    tx.append_ndarray("a", &rows(0, 1)).unwrap();
    tx.append_ndarray("b", &rows(2, 1)).unwrap();
    tx.rename("a", "c").unwrap();
    assert_eq!(tx.append_ndarray("a", &rows(0, 1)).unwrap_err().kind(), ErrorKind::NotFound);
    tx.create("gone", fields(), ArrayOptions::default()).unwrap();
    tx.append_ndarray("gone", &rows(0, 1)).unwrap();
    tx.drop_array("gone").unwrap();
    assert!(!tx.contains("gone") && tx.contains("c"));
    tx.commit().unwrap();
    assert_eq!(store.snapshot().unwrap().arrays("public"), ["b", "c"]);
    assert_eq!(values(&array(&store, "b")), expected(3));
    assert_eq!(values(&array(&store, "c")), expected(1));
    // Nothing changed: no version.
    assert_eq!(store.begin().unwrap().commit().unwrap(), 2);
}

#[test]
fn a_dropped_transaction_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    create(&store, "a", 1 << 22, 1);
    let files = || {
        std::fs::read_dir(folder.path().join("arrays"))
            .unwrap()
            .flat_map(|d| std::fs::read_dir(d.unwrap().path()).unwrap())
            .count()
    };
    let before = files();
    let mut tx = store.begin().unwrap();
    tx.append_ndarray("a", &rows(1, 1_200_000)).unwrap();
    assert!(files() > before, "so much goes to files at once");
    drop(tx);
    assert_eq!(files(), before);
    assert_eq!(store.snapshot().unwrap().version(), 1);
}

#[test]
fn threads_and_handles_append_at_once() {
    const EACH: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let local = |in_place| Arc::new(LocalStorage::open(folder.path(), false, in_place).unwrap());
    let memory = Arc::new(MemoryStorage::new());
    let pairs = [
        (
            Store::on(memory.clone(), options(Durability::Os)).unwrap(),
            Store::on(memory, options(Durability::Os)).unwrap(),
        ),
        (
            Store::on(local(Some(true)), options(Durability::Os)).unwrap(),
            Store::on(local(Some(true)), options(Durability::Os)).unwrap(),
        ),
    ];
    for (first, second) in pairs {
        let field = FieldSpec::new("value", DType::Int64, vec![]).unwrap();
        let mut tx = first.begin().unwrap();
        tx.create("a", vec![field], ArrayOptions { shard_bytes: 4096, ..ArrayOptions::default() }).unwrap();
        tx.commit().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4_i64 {
                let store = if writer % 2 == 0 { first.clone() } else { second.clone() };
                scope.spawn(move || {
                    for n in 0..EACH as i64 {
                        let mut tx = store.begin().unwrap();
                        tx.append_ndarray("a", &ndarray::arr1(&[writer, n, writer * 1000 + n])).unwrap();
                        tx.commit().unwrap();
                        // A reader sees whole commits only.
                        let view = array(&store, "a").field("value").unwrap().view::<i64>().unwrap();
                        let whole = view.as_slice().chunks(3).all(|c| c.len() == 3 && c[2] == c[0] * 1000 + c[1]);
                        assert!(whole);
                    }
                });
            }
        });
        let view = array(&first, "a").field("value").unwrap().view::<i64>().unwrap();
        let mut seen: Vec<i64> = view.as_slice().chunks(3).map(|c| c[2]).collect();
        seen.sort_unstable();
        let mut all: Vec<i64> = (0..4).flat_map(|w| (0..EACH as i64).map(move |n| w * 1000 + n)).collect();
        all.sort_unstable();
        assert_eq!(seen, all, "nothing is lost, nothing is there twice");
    }
}

/// Twenty rows, and what the second of two transactions comes to whose edits the first one's may touch.
fn edits(
    first: impl Fn(&mut Transaction),
    second: impl Fn(&mut Transaction),
) -> Result<Vec<f32>, hyperslab_core::Error> {
    let store = Store::memory();
    create(&store, "a", 1 << 20, 20);
    let (mut one, mut two) = two(&store);
    first(&mut one);
    second(&mut two);
    one.commit().unwrap();
    two.commit().map(|_| values(&array(&store, "a")).chunks(2).map(|row| row[0]).collect())
}

fn set(tx: &mut Transaction, rows: &[i64], to: f32) {
    tx.replace_ndarray("a", "value", rows, &ndarray::Array2::from_elem((rows.len(), 2), to)).unwrap();
}

#[test]
fn edits_of_the_same_rows_conflict_and_those_of_others_do_not() {
    let rows_hit = |error: hyperslab_core::Error, rows: &str| {
        assert!(error.kind() == ErrorKind::Conflict && error.is_retryable(), "{error}");
        assert!(error.to_string().contains(rows) && error.to_string().contains("\"a\""), "{error}");
    };
    rows_hit(edits(|tx| set(tx, &[3, 4], 1.0), |tx| set(tx, &[4, 5], 2.0)).unwrap_err(), "row 4 of");
    rows_hit(edits(|tx| drop(tx.delete("a", &[3, 4])), |tx| set(tx, &[4, 5], 2.0)).unwrap_err(), "row 4 of");
    rows_hit(edits(|tx| set(tx, &[3, 4], 1.0), |tx| drop(tx.delete("a", &[4, 3]))).unwrap_err(), "rows 3, 4 of");
    rows_hit(edits(|tx| drop(tx.delete("a", &[7])), |tx| drop(tx.delete("a", &[7]))).unwrap_err(), "row 7 of");
    rows_hit(
        edits(|tx| set(tx, &[0], 1.0), |tx| drop(tx.truncate("a"))).unwrap_err(),
        "row 0 of the array \"a\" was changed too, in version 2",
    );
    rows_hit(edits(|tx| drop(tx.truncate("a")), |tx| set(tx, &[19], 1.0)).unwrap_err(), "row 19");
    rows_hit(
        edits(|tx| drop(tx.truncate("a")), |tx| drop(tx.truncate("a"))).unwrap_err(),
        "rows 0, 1, 2, 3, 4 and 15 more of",
    );

    let done = edits(|tx| set(tx, &[3], 1.0), |tx| set(tx, &[4], -1.0)).unwrap();
    assert_eq!(done[2..6], [4.0, 1.0, -1.0, 10.0]);
    // The first deletes rows before those of the second, which stay the same rows.
    let done = edits(|tx| drop(tx.delete("a", &[0, 1])), |tx| set(tx, &[4], -1.0)).unwrap();
    assert_eq!((done.len(), &done[..4]), (18, &[4.0, 6.0, -1.0, 10.0][..]));
    let done = edits(|tx| drop(tx.delete("a", &[0])), |tx| drop(tx.delete("a", &[2]))).unwrap();
    assert_eq!((done.len(), &done[..3]), (18, &[2.0, 6.0, 8.0][..]));
    // Appended rows are nobody's edits, whichever came first.
    let append = |tx: &mut Transaction| tx.append_ndarray("a", &rows(20, 2)).unwrap();
    let done = edits(append, |tx| drop(tx.truncate("a"))).unwrap();
    assert_eq!(done, [40.0, 42.0]);
    let done = edits(|tx| drop(tx.delete("a", &[0, 5])), append).unwrap();
    assert_eq!((done.len(), done[17..].to_vec()), (20, vec![38.0, 40.0, 42.0]));
    let done = edits(append, |tx| {
        tx.append_ndarray("a", &rows(30, 1)).unwrap();
        set(tx, &[-1, 0], -1.0);
    });
    assert_eq!(done.unwrap()[18..], [36.0, 38.0, 40.0, 42.0, -1.0]);
}

#[test]
fn what_changes_more_than_rows_conflicts_with_edits() {
    type Change = fn(&mut Transaction);
    let replace: Change = |tx| set(tx, &[0], 1.0);
    let delete: Change = |tx| assert_eq!(tx.delete("a", &[1]).unwrap(), 1);
    let field: Change = |tx| {
        tx.add_field("a", FieldSpec::new("more", DType::Int8, vec![]).unwrap()).unwrap();
    };
    let cell: Change = |tx| tx.resize_cell("a", "value", &[3]).unwrap();
    let name: Change = |tx| tx.rename_field("a", "value", "x").unwrap();
    let restore: Change = |tx| tx.restore("a", 1).unwrap();
    for (n, shape) in [field, cell, name, restore].into_iter().enumerate() {
        for edit in [replace, delete] {
            for (first, second) in [(shape, edit), (edit, shape)] {
                let error = edits(first, second).unwrap_err();
                assert!(error.kind() == ErrorKind::Conflict && error.is_retryable(), "{n}: {error}");
            }
        }
    }
    // A clone is of what its transaction saw.
    let store = Store::memory();
    create(&store, "a", 1 << 20, 2);
    let (mut first, mut second) = two(&store);
    set(&mut first, &[0], 9.0);
    second.clone_array("a", "b").unwrap();
    first.commit().unwrap();
    second.commit().unwrap();
    assert_eq!(values(&array(&store, "b")), expected(2));
}

#[test]
fn edits_follow_rows_that_were_compacted_meanwhile() {
    let store = Store::memory();
    create(&store, "a", 1 << 20, 20);
    let mut tx = store.begin().unwrap();
    tx.delete("a", &[0, 1, 10]).unwrap();
    set(&mut tx, &[5], 50.0);
    tx.commit().unwrap();
    let (mut edit, mut late) = two(&store);
    set(&mut edit, &[0, 8], -1.0);
    assert_eq!(edit.delete("a", &[9, 16]).unwrap(), 2);
    edit.append_ndarray("a", &rows(20, 1)).unwrap();
    set(&mut late, &[8], -2.0);
    // Another one edits, then all is compacted, twice.
    let mut other = store.begin().unwrap();
    set(&mut other, &[1], 11.0);
    other.commit().unwrap();
    for _ in 0..2 {
        let report = store.optimize("a", &hyperslab_store::OptimizeOptions { full: true }).unwrap();
        assert!(report.segments_before > 0, "{report:?}");
        append(&store, "a", 30, 1);
    }
    edit.commit().unwrap();
    let firsts: Vec<f32> = values(&array(&store, "a")).chunks(2).map(|row| row[0]).collect();
    let mut model: Vec<f32> = (0..20).filter(|r| ![0, 1, 10].contains(r)).map(|r| (r * 2) as f32).collect();
    (model[5], model[1], model[0], model[8]) = (50.0, 11.0, -1.0, -1.0);
    model.remove(16);
    model.remove(9);
    model.extend([60.0, 60.0, 40.0]);
    assert_eq!(firsts, model);
    let error = late.commit().unwrap_err();
    assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains("row 8 of"), "{error}");
}

#[test]
fn writers_that_retry_lose_no_update() {
    let folder = tempfile::tempdir().unwrap();
    let stores = [in_folder(folder.path()), in_folder(folder.path())];
    let mut tx = stores[0].begin().unwrap();
    tx.create("a", vec![FieldSpec::new("n", DType::Int64, vec![]).unwrap()], ArrayOptions::default()).unwrap();
    tx.append_ndarray("a", &ndarray::Array1::<i64>::zeros(5)).unwrap();
    tx.commit().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4_usize {
            let store = stores[writer % 2].clone();
            scope.spawn(move || {
                for n in 0..30_u64 {
                    let row = (n * 7 + writer as u64) % 5;
                    loop {
                        let mut tx = store.begin().unwrap();
                        *tx.rows_mut::<i64>("a", "n", row..row + 1).unwrap() += 1;
                        match tx.commit() {
                            Ok(_) => break,
                            Err(e) => assert!(e.is_retryable(), "{e}"),
                        }
                    }
                }
            });
        }
    });
    let sum: i64 = array(&stores[0], "a").field("n").unwrap().view::<i64>().unwrap().as_slice().iter().sum();
    assert_eq!(sum, 120);
}
