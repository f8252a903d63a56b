//! What zarr-python writes is read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod python;
mod wanted;

use std::path::Path;

use arrow_array::{Array, ArrayRef};
use hyperslab_core::ErrorKind;
use hyperslab_formats::Container;
use hyperslab_formats::zarr::ZarrFolder;
use wanted::wanted;

#[test]
fn what_zarr_python_writes_is_read() {
    let Some(python) = python::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    python.run("zarr_make.py", &[&python::seed()], folder.path());
    let cases = std::fs::read_to_string(folder.path().join("cases.txt")).unwrap();
    assert!(cases.lines().count() > 900, "{}", cases.lines().count());
    let mut opened: Vec<(String, ZarrFolder)> = Vec::new();
    for case in cases.lines() {
        let [name, array, want] = case.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let want = wanted(&folder.path().join(want));
        if !opened.iter().any(|(n, _)| n == name) {
            opened.push((name.to_owned(), ZarrFolder::open(folder.path().join(name)).unwrap()));
        }
        let (_, zarr) = opened.iter().find(|(n, _)| n == name).unwrap();
        assert!(zarr.entries().iter().any(|e| e.name == array && e.fields.len() == 1), "{case}");
        let source = zarr.open(array).unwrap_or_else(|e| panic!("{case}: {e}"));
        let rows = source.rows();
        assert_eq!(rows, want.len() as u64, "{case}");
        let check = |range: std::ops::Range<u64>| {
            let got = source.read(0, range.clone()).unwrap_or_else(|e| panic!("{case}: {e}"));
            let want = want.slice(range.start as usize, (range.end - range.start) as usize);
            assert!(got.array.to_data() == want.to_data() || same_nan(&got.array, &want), "{case} {range:?}");
        };
        check(0..rows);
        for step in [1, 5, 64].into_iter().filter(|s| rows / s < 60) {
            (0..rows).step_by(step as usize).for_each(|row| check(row..(row + step).min(rows)));
        }
        if rows > 0 {
            let taken: Vec<u64> = [0, rows - 1, rows / 2, 0, rows / 3].to_vec();
            let got = source.take(0, &taken).unwrap().array;
            for (i, &row) in taken.iter().enumerate() {
                let (got, want) = (got.slice(i, 1), want.slice(row as usize, 1));
                assert!(got.to_data() == want.to_data() || same_nan(&got, &want), "{case} row {row}");
            }
        }
        assert_eq!(source.read(0, rows..rows + 1).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(source.take(0, &[rows]).unwrap_err().kind(), ErrorKind::Invalid);
    }
    for version in [2, 3] {
        let zarr = ZarrFolder::open(folder.path().join(format!("types{version}.zarr"))).unwrap();
        assert_eq!(zarr.array("int8/little/37").unwrap().attributes(), [("unit".to_owned(), "m".to_owned())]);
        let error = zarr.array("int8/litle").unwrap_err();
        assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("bool/big/0x4"), "{error}");
        assert_eq!(zarr.open("int8/little").unwrap_err().kind(), ErrorKind::Invalid, "arrays of different lengths");
    }
    damaged(folder.path());
}

/// Whether both are NaN, of whatever bits, in the same places.
fn same_nan(a: &ArrayRef, b: &ArrayRef) -> bool {
    format!("{a:?}") == format!("{b:?}") && format!("{a:?}").contains("NaN")
}

/// Files that are links, missing, too short or too long.
fn damaged(folder: &Path) {
    let path = folder.join("alone3.zarr");
    let read = || {
        let zarr = ZarrFolder::open(&path)?;
        let source = zarr.open("alone3")?;
        source.read(0, 0..source.rows())
    };
    let chunk = path.join("c/1/0");
    let bytes = std::fs::read(&chunk).unwrap();
    for (cut, added) in [(1, 0), (bytes.len(), 0), (0, 1 << 20)] {
        let damaged = [&bytes[..bytes.len() - cut], &vec![0; added]].concat();
        std::fs::write(&chunk, damaged).unwrap();
        let error = read().unwrap_err();
        assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("alone3"), "{error}");
    }
    std::fs::remove_file(&chunk).unwrap();
    assert!(read().is_ok(), "a missing chunk is the fill value");
    #[cfg(unix)]
    {
        std::fs::write(folder.join("secret"), &bytes).unwrap();
        std::os::unix::fs::symlink(folder.join("secret"), &chunk).unwrap();
        assert!(read().unwrap_err().to_string().contains("is a link"));
        std::fs::remove_file(&chunk).unwrap();
        std::fs::rename(path.join("c/1"), folder.join("c1")).unwrap();
        std::os::unix::fs::symlink(folder.join("c1"), path.join("c/1")).unwrap();
        assert!(read().unwrap_err().to_string().contains("is a link"));
    }
    let zarr = ZarrFolder::open(&path).unwrap();
    for name in ["../alone2.zarr", "c/../../alone2.zarr", "a//b", "a\\b"] {
        assert_eq!(zarr.open(name).unwrap_err().kind(), ErrorKind::NotFound, "{name}");
    }
    assert!(ZarrFolder::open(folder).unwrap_err().to_string().contains("no Zarr folder"));
    assert_eq!(ZarrFolder::open(folder.join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(ZarrFolder::open(folder.join("cases.txt")).unwrap_err().kind(), ErrorKind::Invalid);
}
