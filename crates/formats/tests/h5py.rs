//! What h5py writes is read, and what is written h5py reads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod python;
mod wanted;

use std::path::Path;

use arrow_array::Array;
use hyperslab_core::{ArraySource, ErrorKind};
use hyperslab_formats::Container;
use hyperslab_formats::hdf5::Hdf5File;
use wanted::wanted;

#[test]
fn what_h5py_writes_is_read() {
    let Some(python) = python::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    python.run("hdf5_make.py", &[&python::seed()], folder.path());
    let cases = std::fs::read_to_string(folder.path().join("cases.txt")).unwrap();
    assert!(cases.lines().count() > 900, "{}", cases.lines().count());
    for case in cases.lines() {
        let [file, dataset, field, want] = case.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let want = wanted(&folder.path().join(want));
        let file = Hdf5File::open(folder.path().join(file)).unwrap();
        if dataset == "/scale/i4" || dataset == "/scale/i4+" {
            assert_eq!(file.dataset(dataset).unwrap_err().kind(), ErrorKind::Unsupported, "{case}");
            continue;
        }
        let source = file.dataset(dataset).unwrap_or_else(|e| panic!("{case}: {e}"));
        let field = source.fields().iter().position(|f| f.name() == field).unwrap_or_else(|| panic!("{case}"));
        let rows = source.rows();
        assert_eq!(rows, want.len() as u64, "{case}");
        let check = |range: std::ops::Range<u64>| {
            let got = source.read(field, range.clone()).unwrap_or_else(|e| panic!("{case}: {e}"));
            let want = want.slice(range.start as usize, (range.end - range.start) as usize);
            assert!(got.array.to_data() == want.to_data(), "{case} {range:?}");
        };
        check(0..rows);
        for step in [1, 5, 7, 64].into_iter().filter(|s| rows / s < 1000) {
            (0..rows).step_by(step as usize).for_each(|row| check(row..(row + step).min(rows)));
        }
        if rows > 0 {
            let taken: Vec<u64> = [0, rows - 1, rows / 2, 0, rows / 3].to_vec();
            let got = source.take(field, &taken).unwrap().array;
            for (i, &row) in taken.iter().enumerate() {
                assert!(got.slice(i, 1).to_data() == want.slice(row as usize, 1).to_data(), "{case} row {row}");
            }
        }
        assert_eq!(source.read(field, rows..rows + 1).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(source.take(field, &[rows]).unwrap_err().kind(), ErrorKind::Invalid);
    }
    listed_and_refused(folder.path());
}

fn listed_and_refused(folder: &Path) {
    let file = Hdf5File::open(folder.join("types-earliest.h5")).unwrap();
    assert_eq!(file.entries().len(), 14 * 2 * 5);
    let error = file.dataset("float32/litle").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("bool/big/0x4, "), "{error}");
    assert_eq!(file.dataset("/float32").unwrap_err().kind(), ErrorKind::NotFound);
    let dataset = file.dataset("float32/little/37").unwrap();
    assert_eq!(dataset.attributes().unwrap(), [("unit".to_owned(), "m".to_owned())]);
    let block = dataset.read(0, 3..9).unwrap();
    assert_eq!(block.copied, 0, "a contiguous dataset is a view");
    assert_eq!(file.dataset("float32/big/37").unwrap().read(0, 3..9).unwrap().copied, 24);
    let file = Hdf5File::open(folder.join("layouts-earliest.h5")).unwrap();
    assert_eq!(file.dataset("rows/f8").unwrap().read(0, 3..7).unwrap().copied, 0, "a plain chunk is a view");
    assert_eq!(file.dataset("rows/f8").unwrap().read(0, 3..8).unwrap().copied, 400);

    let error = Hdf5File::open(folder.join("newest.h5")).and_then(|f| f.dataset("x"));
    // Chunks of HDF5 2.0's newest format, once the library reads them, are read.
    if let Err(error) = error {
        assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("libver"), "{error}");
    }
    for version in ["earliest", "v114"] {
        let file = Hdf5File::open(folder.join(format!("refused-{version}.h5"))).unwrap();
        let names: Vec<_> = file.entries().iter().map(|e| e.name.as_str()).collect();
        assert!(names.contains(&"deep/er/x") && names.contains(&"hard"), "{names:?}");
        assert!(!names.iter().any(|n| *n == "outside" || *n == "dangling"), "{names:?}");
        for (name, kind) in [
            ("outside", ErrorKind::NotFound),
            ("dangling", ErrorKind::NotFound),
            ("external", ErrorKind::Unsupported),
            ("virtual", ErrorKind::Unsupported),
            ("reference", ErrorKind::Unsupported),
            ("lists", ErrorKind::Unsupported),
        ] {
            let error = file.dataset(name).unwrap_err();
            assert_eq!(error.kind(), kind, "{name}: {error}");
            assert!(error.to_string().contains(name) && error.to_string().contains(version), "{error}");
        }
        assert_eq!(file.dataset("empty").unwrap().rows(), 0);
        let both = file.dataset("both");
        match version {
            "earliest" => assert_eq!(both.unwrap().rows(), 4),
            _ => assert!(both.unwrap_err().to_string().contains("maxshape")),
        }
    }
}
