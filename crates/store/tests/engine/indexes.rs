//! Indexes: their columns are true of every row, or say that nothing is known of it, whatever is done to the rows.

use std::sync::Arc;

use hyperslab_core::{ArraySource, DType, Error, ErrorKind, FieldSpec, Fill, Result};
use hyperslab_store::{
    Array, ArrayOptions, Durability, IndexKind, IndexOptions, LocalStorage, MemoryStorage, OptimizeOptions, Store,
    VacuumOptions,
};

use crate::common::{Random, array, fields, in_folder, on, rows};

/// What the columns hold of a row that nobody computed them of.
const UNKNOWN: i64 = -1;

/// A test's kind: a checksum of each row, never negative; -1 says that nothing is known.
#[derive(Debug)]
pub(crate) struct Checksums;

impl IndexKind for Checksums {
    fn name(&self) -> &str {
        "checksums"
    }

    fn columns(&self, field: &FieldSpec, options: &IndexOptions) -> Result<Vec<FieldSpec>> {
        if field.nullable() || field.dtype().is_variable() || field.row_bytes() == 0 {
            return Err(Error::invalid(format!("no checksums of field {:?}", field.name())));
        }
        if let Some(option) = options.keys().next() {
            return Err(Error::invalid(format!("the option {option:?} is not known")));
        }
        let fill = Fill::from_json(DType::Int64, &UNKNOWN.into())?;
        Ok(vec![FieldSpec::new("sum", DType::Int64, vec![])?.with_fill(fill)?])
    }

    fn compute(&self, field: &FieldSpec, _: &IndexOptions, rows: usize, values: &[u8]) -> Result<Vec<Vec<u8>>> {
        let row_bytes = field.row_bytes();
        let sum = |row: usize| checksum(&values[row * row_bytes..(row + 1) * row_bytes]).to_le_bytes();
        Ok(vec![(0..rows).flat_map(sum).collect()])
    }
}

fn checksum(row: &[u8]) -> i64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
    (row.iter().fold(0xcbf2_9ce4_8422_2325, mix) >> 1) as i64
}

/// How many rows the indexes of an array know, each of which is held against its values.
pub(crate) fn known(array: &Array) -> Result<u64> {
    let mut known = 0;
    for index in array.indexes()? {
        assert_eq!(index.columns.len(), 1);
        let field = array.fields().iter().position(|f| f.name() == index.field).unwrap();
        let mut row = 0;
        while row < array.rows() {
            let end = array.run_end(index.columns.start, row).min(array.run_end(field, row)).min(array.rows());
            let sums = array.read(index.columns.start, row..end)?.array.to_data();
            let values = array.read(field, row..end)?;
            let values = hyperslab_core::arrow::raw_bytes(&array.fields()[field], values.array.as_ref(), 0)?;
            let sums = &sums.buffers()[0].typed_data::<i64>()[sums.offset()..sums.offset() + sums.len()];
            let row_bytes = array.fields()[field].row_bytes();
            for (n, (&sum, value)) in sums.iter().zip(values.chunks(row_bytes)).enumerate() {
                let at = row + n as u64;
                assert!(sum == UNKNOWN || sum == checksum(value), "{}: the index lies of row {at}", array.name());
                known += u64::from(sum != UNKNOWN);
            }
            row = end;
        }
    }
    Ok(known)
}

fn indexed(store: &Store, n: usize) {
    store.add_index_kind(Arc::new(Checksums));
    let mut tx = store.begin().unwrap();
    tx.create("a", fields(), ArrayOptions { shard_bytes: 8192, ..ArrayOptions::default() }).unwrap();
    tx.append_ndarray("a", &rows(0, n)).unwrap();
    tx.commit().unwrap();
    let mut tx = store.begin().unwrap();
    tx.create_index("a", "s", "value", "checksums", &IndexOptions::new()).unwrap();
    tx.commit().unwrap();
}

fn edit(store: &Store, edit: impl FnOnce(&mut hyperslab_store::Transaction)) {
    let mut tx = store.begin().unwrap();
    edit(&mut tx);
    tx.commit().unwrap();
}

#[test]
fn rows_are_known_once_it_is_built_and_new_ones_at_once() {
    let store = on(&Arc::new(MemoryStorage::new()), Durability::Os);
    indexed(&store, 10_000);
    assert_eq!(known(&array(&store, "a")).unwrap(), 0);
    edit(&store, |tx| tx.append_ndarray("a", &rows(10_000, 100)).unwrap());
    edit(&store, |tx| tx.replace_ndarray("a", "value", &[3, -1], &rows(77, 2)).unwrap());
    edit(&store, |tx| assert_eq!(tx.delete("a", &[0, 500, 501]).unwrap(), 3));
    // The new rows, one of them replaced, and one of the old ones.
    assert_eq!(known(&array(&store, "a")).unwrap(), 101);

    let mut told = Vec::new();
    let progress = store.build_index("a", "s", &mut |p| {
        told.push(p.done);
        true
    });
    assert_eq!(progress.unwrap().done, 10_097);
    assert!(told.is_sorted() && told.len() >= 3, "{told:?}");
    assert_eq!(known(&array(&store, "a")).unwrap(), 10_097);
    let info = array(&store, "a").indexes().unwrap().remove(0);
    assert_eq!((info.field.as_str(), info.rows, info.columns.clone()), ("value", 10_097, 1..2));
    assert!(info.disk_bytes >= 8 * 10_000);
    // The array itself has one field, as before.
    assert_eq!(array(&store, "a").fields().len(), 1);

    let mut tx = store.begin().unwrap();
    let error = tx.resize_cell("a", "value", &[5]).unwrap_err();
    assert!(error.to_string().contains("has the index \"s\"; drop that"), "{error}");
    let error = tx.create_index("a", "s", "value", "checksums", &IndexOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let error = tx.create_index("a", "t", "value", "trees", &IndexOptions::new()).unwrap_err();
    assert!(error.to_string().contains("\"trees\""), "{error}");
    let options = [("bits".to_owned(), 8.into())].into_iter().collect();
    assert!(tx.create_index("a", "t", "value", "checksums", &options).is_err());
    let error = tx.drop_index("a", "t").unwrap_err();
    assert!(error.to_string().contains("it has s"), "{error}");
    tx.drop_index("a", "s").unwrap();
    tx.commit().unwrap();
    assert!(array(&store, "a").indexes().unwrap().is_empty());
    assert_eq!(known(&array(&store, "a")).unwrap(), 0);
}

#[test]
fn building_can_be_stopped_goes_on_and_survives() {
    let folder = tempfile::tempdir().unwrap();
    {
        let store = in_folder(folder.path());
        indexed(&store, 30_000);
        // Segments of 4 shards of 8 KiB: many; it is told to stop in the third.
        let mut calls = 0;
        let stopped = store.build_index("a", "s", &mut |_| {
            calls += 1;
            calls < 3
        });
        assert!(stopped.unwrap().done < 30_000);
        let known = known(&array(&store, "a")).unwrap();
        assert!(known > 0 && known < 30_000, "{known}");
    }
    let store = in_folder(folder.path());
    store.add_index_kind(Arc::new(Checksums));
    assert_eq!(store.build_index("a", "s", &mut |_| true).unwrap().done, 30_000);
    assert_eq!(known(&array(&store, "a")).unwrap(), 30_000);
    // Nothing is left to do.
    let version = store.snapshot().unwrap().version();
    store.build_index("a", "s", &mut |_| true).unwrap();
    assert_eq!(store.snapshot().unwrap().version(), version);
    drop(store);
    let findings = hyperslab_store::check(folder.path(), &Default::default()).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn a_program_that_does_not_know_the_kind_leaves_no_lie() {
    let folder = tempfile::tempdir().unwrap();
    {
        let store = in_folder(folder.path());
        indexed(&store, 1000);
        store.build_index("a", "s", &mut |_| true).unwrap();
    }
    let store = in_folder(folder.path());
    edit(&store, |tx| tx.replace_ndarray("a", "value", &[1, 2, 3], &rows(9, 3)).unwrap());
    edit(&store, |tx| tx.append_ndarray("a", &rows(0, 10)).unwrap());
    assert_eq!(known(&array(&store, "a")).unwrap(), 997);
    store.optimize("a", &OptimizeOptions { full: true }).unwrap();
    known(&array(&store, "a")).unwrap();
    assert!(store.build_index("a", "s", &mut |_| true).is_err());
    // One that knows it computes what is missing when it rewrites.
    store.add_index_kind(Arc::new(Checksums));
    store.optimize("a", &OptimizeOptions { full: true }).unwrap();
    assert_eq!(known(&array(&store, "a")).unwrap(), 1010);
}

#[test]
fn versions_clones_and_restored_arrays_have_their_own() {
    let store = on(&Arc::new(MemoryStorage::new()), Durability::Os);
    indexed(&store, 500);
    store.build_index("a", "s", &mut |_| true).unwrap();
    let built = store.snapshot().unwrap().version();
    edit(&store, |tx| tx.clone_array("a", "b").unwrap());
    edit(&store, |tx| tx.replace_ndarray("b", "value", &[0], &rows(4, 1)).unwrap());
    assert_eq!(known(&array(&store, "b")).unwrap(), 500);
    edit(&store, |tx| tx.drop_index("a", "s").unwrap());
    edit(&store, |tx| tx.append_ndarray("a", &rows(0, 10)).unwrap());
    assert_eq!(known(&store.at(built).unwrap().array("a").unwrap()).unwrap(), 500);
    edit(&store, |tx| tx.restore("a", built).unwrap());
    edit(&store, |tx| tx.append_ndarray("a", &rows(0, 10)).unwrap());
    assert_eq!(known(&array(&store, "a")).unwrap(), 510);
    // Fields come before the columns of the index; with a field its index goes.
    edit(&store, |tx| tx.add_field("a", FieldSpec::new("id", DType::Int32, vec![]).unwrap()).unwrap());
    assert_eq!(known(&array(&store, "a")).unwrap(), 510);
    assert_eq!(array(&store, "a").indexes().unwrap()[0].columns, 2..3);
    edit(&store, |tx| tx.drop_field("a", "value").unwrap());
    assert!(array(&store, "a").indexes().unwrap().is_empty());
}

#[test]
fn writers_and_compaction_go_on_while_it_is_built() {
    let storage = Arc::new(LocalStorage::open(tempfile::tempdir().unwrap().path(), false, Some(true)).unwrap());
    let store = on(&storage, Durability::Os);
    indexed(&store, 20_000);
    let mut random = Random(7);
    let mut steps = 0;
    let built = store.build_index("a", "s", &mut |_| {
        // Between the batches of a segment.
        steps += 1;
        match steps % 4 {
            0 => edit(&store, |tx| {
                let at: Vec<i64> = (0..5).map(|_| random.below(15_000) as i64).collect();
                tx.replace_ndarray("a", "value", &at, &rows(random.below(1000), 5)).unwrap();
            }),
            1 => edit(&store, |tx| assert_eq!(tx.delete("a", &[random.below(10_000) as i64]).unwrap(), 1)),
            2 => edit(&store, |tx| tx.append_ndarray("a", &rows(0, 3)).unwrap()),
            _ if steps < 40 => drop(store.optimize("a", &OptimizeOptions::default()).unwrap()),
            _ => {}
        }
        true
    });
    built.unwrap();
    let a = array(&store, "a");
    assert_eq!(known(&a).unwrap(), a.rows());
    store.vacuum(&VacuumOptions { retain: std::time::Duration::ZERO, ..VacuumOptions::default() }).unwrap();
    assert_eq!(known(&array(&store, "a")).unwrap(), a.rows());
}
