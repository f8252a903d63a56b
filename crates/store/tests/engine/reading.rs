//! Reading: views, runs, gathers, slices, batches.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use hyperslab_core::{ArraySource, DType, ErrorKind, FieldSpec, Selection, arrow};
use hyperslab_store::{Array, ArrayOptions, Durability, LocalStorage, MemoryStorage, Store};

use ndarray::Array2;

use crate::common::*;

/// A store in a folder, where files grow in place, and one in memory, where they do not.
fn stores() -> (tempfile::TempDir, [Store; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let local = Arc::new(LocalStorage::open(folder.path(), false, Some(true)).unwrap());
    let stores = [Store::on(local, options(Durability::Os)).unwrap(), Store::memory()];
    (folder, stores)
}

fn read(array: &Array, rows: std::ops::Range<u64>) -> (Vec<f32>, u64) {
    let block = array.read(0, rows).unwrap();
    (block.array.as_fixed_size_list().values().as_primitive::<Float32Type>().values().to_vec(), block.copied)
}

#[test]
fn a_view_is_contiguous_over_many_shards_and_segments() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    // 512 rows a shard, 2048 a segment.
    create(&store, "a", 4096, 100);
    append(&store, "a", 100, 20_000);
    append(&store, "a", 20_100, 7);
    let a = array(&store, "a");
    let info = a.info().unwrap();
    assert_eq!((info.rows, info.segments, info.shards), (20_107, 10, 40));
    assert_eq!((info.logical_bytes, info.version), (20_107 * 8, 3));
    assert_eq!(info.disk_bytes, 20_107 * 8 + 40 * 4096);
    let view = a.field("value").unwrap().view::<f32>().unwrap();
    assert!(view.is_view());
    assert_eq!(view.as_slice(), expected(20_107));
    let part = a.field("value").unwrap().rows::<f32>(500..15_000).unwrap();
    assert!(part.is_view());
    assert_eq!((part.shape(), part.as_slice()), (&[14_500, 2][..], &expected(20_107)[1000..30_000]));
    // Two readers share one map.
    let again = a.field("value").unwrap().view::<f32>().unwrap();
    assert_eq!(again.as_slice().as_ptr(), view.as_slice().as_ptr());
}

#[test]
fn runs_are_read_without_a_copy_and_joined_with_one() {
    let (_folder, stores) = stores();
    for store in stores {
        create(&store, "a", 4096, 100);
        append(&store, "a", 100, 30_000);
        append(&store, "a", 30_100, 50);
        let a = array(&store, "a");
        let (mut row, mut values) = (0, Vec::new());
        while row < a.rows() {
            let end = a.run_end(0, row);
            assert!(end > row);
            let (run, copied) = read(&a, row..end);
            assert_eq!(copied, 0);
            values.extend(run);
            row = end;
        }
        assert_eq!(values, expected(30_150));
        let (joined, copied) = read(&a, 0..30_150);
        assert_eq!(joined, expected(30_150));
        assert_eq!(copied, 30_150 * 8);
        assert_eq!(read(&a, 7..7), (vec![], 0));
        let batches: Vec<f32> = a
            .field("value")
            .unwrap()
            .batches(1000)
            .flat_map(|b| {
                b.unwrap().column(0).as_fixed_size_list().values().as_primitive::<Float32Type>().values().to_vec()
            })
            .collect();
        assert_eq!(batches, expected(30_150));
    }
}

#[test]
fn rows_are_taken_in_any_order() {
    let (_folder, stores) = stores();
    for store in stores {
        create(&store, "a", 4096, 5000);
        let a = array(&store, "a");
        let wanted = [4999, 0, 0, 2048, 513, 4998];
        let block = a.take(0, &wanted).unwrap();
        let values = block.array.as_fixed_size_list().values().as_primitive::<Float32Type>().values().to_vec();
        let expected: Vec<f32> = wanted.iter().flat_map(|&r| [r as f32 * 2.0, r as f32 * 2.0 + 1.0]).collect();
        assert_eq!((values, block.copied), (expected, 48));
        assert_eq!(a.take(0, &[]).unwrap().array.len(), 0);
        assert_eq!(a.take(0, &[0, 5000]).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(a.read(0, 4999..5001).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(a.read(1, 0..1).unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[test]
fn slices_follow_numpy() {
    let (_folder, stores) = stores();
    for store in stores {
        create(&store, "a", 4096, 3000);
        let field = array(&store, "a").field("value").unwrap();
        let all = rows(0, 3000).into_dyn();
        let slice = |text: &str| field.slice::<f32>(&Selection::parse(text).unwrap()).unwrap();
        assert_eq!(slice("10:2000:3"), all.slice(ndarray::s![10..2000;3, ..]).into_dyn());
        assert_eq!(slice("::-1, 1"), all.slice(ndarray::s![..;-1, 1]).into_dyn());
        assert_eq!(slice("-1, ::-1"), all.slice(ndarray::s![2999, ..;-1]).into_dyn());
        assert_eq!(slice("5:5"), all.slice(ndarray::s![5..5, ..]).into_dyn());
        assert_eq!(slice("7, 1").into_raw_vec_and_offset().0, [15.0]);
        assert!(field.slice::<f32>(&Selection::parse("0, 0, 0").unwrap()).is_err());
    }
}

#[test]
fn elements_are_never_reinterpreted() {
    let store = Store::memory();
    create(&store, "a", 4096, 3);
    let field = array(&store, "a").field("value").unwrap();
    let error = field.view::<f64>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("float32") && error.to_string().contains("float64"), "{error}");
    assert!(field.rows::<f32>(1..4).is_err());
    let error = array(&store, "a").field("values").map(drop).unwrap_err();
    assert!(error.to_string().contains("\"values\"") && error.to_string().contains("value"), "{error}");
    let error = store.snapshot().unwrap().array("A").map(drop).unwrap_err();
    assert!(error.to_string().contains("did you mean \"a\""), "{error}");
}

#[test]
fn every_dtype_and_cell_comes_back_bit_for_bit() {
    let (folder, stores) = stores();
    for store in stores {
        for (n, dtype) in DType::ALL.into_iter().enumerate() {
            for (m, cell) in [vec![], vec![3], vec![2, 2], vec![0], vec![2, 0]].into_iter().enumerate() {
                let field = FieldSpec::new("value", dtype, cell).unwrap();
                let name = format!("{dtype} {:?}", field.cell());
                let mut tx = store.begin().unwrap();
                tx.create(
                    name.as_str(),
                    vec![field.clone()],
                    ArrayOptions { shard_bytes: 4096, ..ArrayOptions::default() },
                )
                .unwrap();
                let count = 700;
                let raw: Vec<u8> = (0..count * field.row_bytes())
                    .map(|i| (i * 31 + n * 7 + m) as u8)
                    .map(|b| if dtype == DType::Bool { b & 1 } else { b })
                    .collect();
                let bytes = arrow_buffer::Buffer::from_slice_ref(&raw);
                let column = arrow::array_from_buffer(&field, bytes, count).unwrap().array;
                let schema = Arc::new(arrow_schema::Schema::new(vec![arrow::to_field(&field)]));
                let batch = arrow_array::RecordBatch::try_new(schema, vec![column]).unwrap();
                tx.append(name.as_str(), &batch.slice(0, 300)).unwrap();
                tx.commit().unwrap();
                let mut tx = store.begin().unwrap();
                tx.append(name.as_str(), &batch.slice(300, 400)).unwrap();
                tx.commit().unwrap();
                let a = array(&store, &name);
                let block = a.read(0, 0..count as u64).unwrap();
                assert_eq!(arrow::raw_bytes(&field, block.array.as_ref(), 0).unwrap().as_slice(), raw, "{name}");
                assert!(a.run_end(0, 0) > 0);
                let taken = a.take(0, &[699, 0]).unwrap();
                assert_eq!(taken.array.len(), 2);
            }
        }
    }
    drop(folder);
}

#[test]
fn an_array_without_rows_can_be_read() {
    let store = Store::on(Arc::new(MemoryStorage::new()), options(Durability::Full)).unwrap();
    let mut tx = store.begin().unwrap();
    tx.create("empty", fields(), ArrayOptions::default()).unwrap();
    tx.append_ndarray("empty", &rows(0, 0)).unwrap();
    tx.commit().unwrap();
    let a = array(&store, "empty");
    assert_eq!(a.field("value").unwrap().view::<f32>().unwrap().shape(), [0, 2]);
    assert_eq!(a.read(0, 0..0).unwrap().array.len(), 0);
    assert!(a.field("value").unwrap().batches(10).next().is_none());
    assert_eq!(a.info().unwrap().segments, 0);
}

/// An array of two floats a row, and what it must hold.
struct Edited {
    store: Store,
    model: Vec<[f32; 2]>,
}

impl Edited {
    fn new(store: Store, rows: usize) -> Self {
        create(&store, "a", 1 << 20, rows);
        Self { store, model: expected(rows).chunks(2).map(|row| [row[0], row[1]]).collect() }
    }

    fn replace(&mut self, rows: &[usize], value: f32) {
        let values = Array2::from_shape_fn((rows.len(), 2), |(i, j)| value + i as f32 + j as f32 / 2.0);
        let mut tx = self.store.begin().unwrap();
        let at: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        tx.replace_ndarray("a", "value", &at, &values).unwrap();
        tx.commit().unwrap();
        for (i, &row) in rows.iter().enumerate() {
            self.model[row] = [values[(i, 0)], values[(i, 1)]];
        }
    }

    fn delete(&mut self, rows: &BTreeSet<usize>) {
        let mut tx = self.store.begin().unwrap();
        let at: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        assert_eq!(tx.delete("a", &at).unwrap(), rows.len() as u64);
        tx.commit().unwrap();
        let mut row = 0..;
        self.model.retain(|_| !rows.contains(&row.next().unwrap()));
    }

    fn check(&self, store: &Store) {
        let a = array(store, "a");
        let n = self.model.len();
        assert_eq!((a.rows(), values(&a)), (n as u64, self.model.concat()));
        let (mut row, mut found) = (0, Vec::new());
        while row < a.rows() {
            let end = a.run_end(0, row);
            let (run, copied) = read(&a, row..end);
            assert!(copied <= 512 << 10, "{copied} bytes of rows {row}..{end} were copied");
            found.extend(run);
            row = end;
        }
        assert_eq!(found, self.model.concat());
        let wanted: Vec<usize> = (0..n).step_by(97).rev().chain([0, n - 1]).collect();
        let taken = a.take(0, &wanted.iter().map(|&row| row as u64).collect::<Vec<_>>()).unwrap().array;
        let taken = taken.as_fixed_size_list().values().as_primitive::<Float32Type>().values().to_vec();
        assert_eq!(taken, wanted.iter().flat_map(|&row| self.model[row]).collect::<Vec<_>>());
        let slice = a.field("value").unwrap().slice::<f32>(&Selection::parse("5::7, 1").unwrap()).unwrap();
        let column: Vec<f32> = self.model.iter().skip(5).step_by(7).map(|row| row[1]).collect();
        assert_eq!(slice.into_raw_vec_and_offset().0, column);
    }
}

#[test]
fn edited_rows_are_read_in_every_way() {
    let (folder, stores) = stores();
    let rows = 40_000;
    for (n, store) in stores.into_iter().enumerate() {
        let mut edited = Edited::new(store, rows);
        let mut random = Random(n as u64);
        edited.replace(&[7], -1.0);
        edited.replace(
            &(0..300).map(|_| random.below(rows)).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>(),
            0.5,
        );
        edited.check(&edited.store);
        edited.delete(&(0..300).map(|_| random.below(rows)).collect());
        edited.delete(&(1000..1500).collect());
        edited.replace(&(900..1100).collect::<Vec<_>>(), -1000.0);
        edited.check(&edited.store);
        let info = array(&edited.store, "a").info().unwrap();
        assert_eq!((info.rows, info.deleted_rows), (edited.model.len() as u64, (rows - edited.model.len()) as u64));
        assert!(info.patches > 400, "{}", info.patches);
        // So many that they go to a file.
        edited.delete(&(0..30_000).step_by(11).collect());
        edited.check(&edited.store);
        if n == 0 {
            edited.check(&in_folder(folder.path()));
        }
    }
}

#[test]
fn rows_apart_from_edits_stay_views() {
    let folder = tempfile::tempdir().unwrap();
    let mut edited = Edited::new(in_folder(folder.path()), 100_000);
    edited.replace(&[50_000], -1.0);
    edited.delete(&BTreeSet::from([60_000]));
    let a = array(&edited.store, "a");
    assert_eq!(read(&a, 0..50_000).1, 0);
    assert_eq!(read(&a, 50_001..60_000).1, 0);
    assert_eq!(read(&a, 60_000..a.rows()).1, 0);
    assert!(a.field("value").unwrap().rows::<f32>(0..50_000).unwrap().is_view());
    assert!(!a.field("value").unwrap().view::<f32>().unwrap().is_view());
    assert_eq!(read(&a, 49_999..50_002).1, 24);
    edited.check(&edited.store);
}

#[test]
fn cells_that_shrank_and_grew_again_hold_zeros() {
    let (_folder, stores) = stores();
    for store in stores {
        create(&store, "a", 1 << 20, 1000);
        for axis in [1, 3] {
            let mut tx = store.begin().unwrap();
            tx.resize_cell("a", "value", &[axis]).unwrap();
            tx.commit().unwrap();
            let cells: Vec<f32> =
                (0..1000).flat_map(|row| [row as f32 * 2.0, 0.0, 0.0].into_iter().take(axis)).collect();
            assert_eq!(values(&array(&store, "a")), cells);
        }
        let mut tx = store.begin().unwrap();
        tx.resize("a", 1500).unwrap();
        tx.commit().unwrap();
        let grown = values(&array(&store, "a"));
        assert_eq!((grown.len(), grown[2999..].iter().sum::<f32>()), (4500, 0.0));
    }
}
