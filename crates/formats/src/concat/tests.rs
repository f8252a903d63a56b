#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use arrow_array::{Int32Array, RecordBatch};
use hyperslab_core::{DType, ErrorKind};

use super::*;

/// Writes consecutive numbers from `first` as rows of `cell`.
fn file(path: &Path, cell: &[usize], first: i32, rows: usize) -> PathBuf {
    let field = FieldSpec::new("value", DType::Int32, cell.to_vec()).unwrap();
    let values: Vec<i32> = (first..).take(rows * field.elements()).collect();
    let buffer = arrow_buffer::Buffer::from_vec(values);
    let array = arrow::array_from_buffer(&field, buffer, rows).unwrap().array;
    let mut sink = crate::create(path, &[field]).unwrap();
    sink.write(&RecordBatch::try_from_iter([("value", array)]).unwrap()).unwrap();
    sink.finish().unwrap();
    path.to_owned()
}

fn numbers(source: &ConcatSource, block: &Block) -> Vec<i32> {
    let bytes = arrow::raw_bytes(&source.fields()[0], &block.array, 0).unwrap();
    Int32Array::new(bytes.into(), None).values().to_vec()
}

#[test]
fn rows_follow_each_other_in_the_order_of_the_paths() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for cell in [&[][..], &[1], &[2], &[2, 3]] {
        let n: usize = cell.iter().product();
        let per_row = n as i32;
        let paths =
            [file(&at("c.npy"), cell, 5 * per_row, 4), file(&at("a.npy"), cell, 0, 5), file(&at("b.npy"), cell, 0, 0)];
        let source = ConcatSource::open(&paths).unwrap();
        assert_eq!(source.rows(), 9);
        assert_eq!([source.run_end(0, 0), source.run_end(0, 4), source.run_end(0, 5)], [5, 5, 9]);
        let row = |r: u64| (r as i32 * per_row..).take(n).collect::<Vec<i32>>();
        for start in 0..=9 {
            for end in start..=9 {
                let block = source.read(0, start..end).unwrap();
                assert_eq!(numbers(&source, &block), (start..end).flat_map(row).collect::<Vec<_>>());
                let one_file = end <= 5 || start >= 5 || start == end;
                let bytes = (end - start) * n as u64 * 4;
                assert_eq!(block.copied, if one_file { 0 } else { bytes }, "{start}..{end} of {cell:?}");
            }
        }
        for rows in [&[][..], &[3, 1], &[8, 5, 5], &[8, 0, 4, 5, 0]] {
            let block = source.take(0, rows).unwrap();
            assert_eq!(numbers(&source, &block), rows.iter().copied().flat_map(row).collect::<Vec<_>>());
            assert_eq!(block.array.len(), rows.len());
        }
    }
}

#[test]
fn cells_without_elements_keep_their_rows() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a.npy", "b.npy"].map(|name| file(&folder.path().join(name), &[3, 0], 0, 4));
    let source = ConcatSource::open(&paths).unwrap();
    assert_eq!(source.read(0, 1..7).unwrap().array.len(), 6);
    assert_eq!(source.take(0, &[0, 5, 7]).unwrap().array.len(), 3);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let paths = [file(&at("a.npy"), &[2], 0, 3), file(&at("b.npy"), &[3], 0, 3)];
    let error = ConcatSource::open(&paths).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    for part in ["a.npy", "b.npy", "value int32[2]", "value int32[3]"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(ConcatSource::open::<&Path>(&[]).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(ConcatSource::open(&[at("none.npy")]).unwrap_err().kind(), ErrorKind::NotFound);

    let source = ConcatSource::open(&paths[..1]).unwrap();
    let backwards = Range { start: 2, end: 1 };
    for result in [
        source.read(0, 0..4),
        source.read(0, backwards),
        source.read(1, 0..1),
        source.take(0, &[3]),
        source.take(1, &[0]),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Invalid);
    }
}
