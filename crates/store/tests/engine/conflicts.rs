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
