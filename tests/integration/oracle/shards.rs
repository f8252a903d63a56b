//! `numpy.load` opens every shard of a store after any commit, and the shards hold the committed rows, once each.

use hyperslab::{ArrayOptions, DType, Durability, FieldSpec, OpenOptions, Store};
use hyperslab_tests::{python, run_python};

#[test]
fn numpy_loads_every_shard_after_any_commit() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, rows: i64, cell: &str| -> usize {
        let script = include_str!("../../python/shards_check.py");
        let text = run_python(&python, folder.path(), script, &[name, &rows.to_string(), cell]);
        text.trim().parse().unwrap()
    };
    let options = OpenOptions { create: true, durability: Durability::Os, ..OpenOptions::default() };
    for (name, cell, shown) in [("flat.slab", vec![], "()"), ("cells.slab", vec![3, 2], "(3, 2)")] {
        let path = folder.path().join(name);
        let mut store = Store::open_with(&path, options.clone()).unwrap();
        let mut tx = store.begin().unwrap();
        let field = FieldSpec::new("value", DType::Int64, cell.clone()).unwrap();
        tx.create("a", vec![field], ArrayOptions { shard_bytes: 64 << 10, ..ArrayOptions::default() }).unwrap();
        tx.commit().unwrap();
        check(name, 0, shown);
        let mut rows = 0_i64;
        // Appends into the open segment, of one row and of several shards' worth; the store is reopened between some.
        for (i, count) in [1, 1, 10, 500, 3, 20_000, 7, 1, 40_000, 999].into_iter().enumerate() {
            let shape = [&[count as usize][..], &cell].concat();
            let values = ndarray::ArrayD::from_shape_fn(shape, |at| rows + at[0] as i64);
            let mut tx = store.begin().unwrap();
            tx.append_ndarray("a", &values).unwrap();
            if i == 4 {
                drop(tx);
                check(name, rows, shown);
                continue;
            }
            tx.commit().unwrap();
            rows += count;
            let files = check(name, rows, shown);
            assert!(i < 8 || files > 3, "{files} shards: the test is meant to have several");
            if i % 3 == 2 {
                store = Store::open_with(&path, options.clone()).unwrap();
            }
        }
        let array = store.snapshot().unwrap().array("a").unwrap();
        assert_eq!(array.rows(), rows as u64);
        let view = array.field("value").unwrap().view::<i64>().unwrap();
        let first = view.to_ndarray().unwrap();
        assert!(first.outer_iter().enumerate().all(|(i, row)| row.iter().all(|&v| v == i as i64)));
    }
}
