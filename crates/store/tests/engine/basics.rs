//! Create, append, read, reopen.

use hyperslab_core::{ArraySource, ErrorKind};
use hyperslab_store::{ArrayOptions, Store};
use ndarray::array;

use crate::common::*;

#[test]
fn create_append_reopen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.slab");
    let store = in_folder(&path);
    assert_eq!(store.snapshot().unwrap().version(), 0);
    let mut tx = store.begin().unwrap();
    tx.create("points", fields(), ArrayOptions::default()).unwrap();
    tx.append_ndarray("points", &rows(0, 3)).unwrap();
    assert_eq!(tx.commit().unwrap(), 1);
    let old = store.snapshot().unwrap();
    for n in 1..300 {
        let mut tx = store.begin().unwrap();
        tx.append_ndarray("points", &rows(n * 3, 3)).unwrap();
        assert_eq!(tx.commit().unwrap(), n as u64 + 1);
    }
    for store in [store, in_folder(&path)] {
        let points = store.snapshot().unwrap().array("points").unwrap();
        assert_eq!(points.rows(), 900);
        let view = points.field("value").unwrap().view::<f32>().unwrap();
        assert!(view.is_view());
        assert_eq!(view.to_ndarray().unwrap(), rows(0, 900).into_dyn());
        assert_eq!(view.to_owned_ndarray().unwrap(), rows(0, 900).into_dyn());
        assert_eq!(points.take(0, &[5, 1]).unwrap().array.len(), 2);
        assert_eq!(points.info().unwrap().shards, 1);
    }
    assert_eq!(
        old.array("points").unwrap().field("value").unwrap().view::<f32>().unwrap().as_slice(),
        rows(0, 3).as_slice().unwrap()
    );
}

#[test]
fn memory_is_a_store_too() {
    let store = Store::memory();
    let mut tx = store.begin().unwrap();
    tx.create("a", fields(), ArrayOptions::default()).unwrap();
    assert_eq!(tx.create("a", fields(), ArrayOptions::default()).unwrap_err().kind(), ErrorKind::AlreadyExists);
    tx.append_ndarray("a", &array![[1.0_f32, 2.0]]).unwrap();
    tx.commit().unwrap();
    let mut tx = store.begin().unwrap();
    tx.append_ndarray("a", &array![[3.0_f32, 4.0]]).unwrap();
    tx.rename("a", "b").unwrap();
    assert!(tx.contains("b") && !tx.contains("a"));
    tx.commit().unwrap();
    let view = store.snapshot().unwrap().array("b").unwrap().field("value").unwrap().view::<f32>().unwrap();
    assert_eq!(view.as_slice(), [1.0, 2.0, 3.0, 4.0]);
}
