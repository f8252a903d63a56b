//! What h5py writes is read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod python;
mod wanted;

use std::ops::Range;
use std::path::Path;

use arrow_array::Array;
use hyperslab_core::{ArraySource, ErrorKind};
use hyperslab_formats::Container;
use hyperslab_formats::hdf5::{Hdf5File, Hdf5Source};
use wanted::wanted;

#[test]
fn what_h5py_writes_is_read() {
    let Some(python) = python::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    python.run("hdf5_make.py", &[&python::seed()], folder.path());
    check_cases(folder.path(), 1500);
    listed(folder.path());
    views(folder.path());
    links_and_what_is_refused(folder.path());
}

/// Versions of the library by layouts, filters, axes that grow and shapes.
#[test]
fn every_index_of_chunks_is_read() {
    let Some(python) = python::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    python.run("hdf5_layouts.py", &[&python::seed()], folder.path());
    check_cases(folder.path(), 2850);
}

/// Reads what `cases.txt` lists, as a whole, in windows and by rows.
fn check_cases(folder: &Path, least: usize) {
    let cases = std::fs::read_to_string(folder.join("cases.txt")).unwrap();
    assert!(cases.lines().count() >= least, "{}", cases.lines().count());
    let mut open: Option<(&str, Hdf5File)> = None;
    for case in cases.lines() {
        let [name, dataset, field, want] = case.split('\t').collect::<Vec<_>>().try_into().unwrap();
        if open.as_ref().is_none_or(|(opened, _)| *opened != name) {
            open = Some((name, Hdf5File::open(folder.join(name)).unwrap_or_else(|e| panic!("{case}: {e}"))));
        }
        let file = &open.as_ref().unwrap().1;
        let source = file.dataset(dataset).unwrap_or_else(|e| panic!("{case}: {e}"));
        let field = source.fields().iter().position(|f| f.name() == field).unwrap_or_else(|| panic!("{case}"));
        check(&source, field, &wanted(&folder.join(want)), case);
    }
}

fn check(source: &Hdf5Source, field: usize, want: &dyn Array, case: &str) {
    let rows = source.rows();
    assert_eq!(rows, want.len() as u64, "{case}");
    let check = |range: Range<u64>| {
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

fn listed(folder: &Path) {
    let file = Hdf5File::open(folder.join("types-earliest.h5")).unwrap();
    assert_eq!(file.entries().len(), 14 * 2 * 5);
    let error = file.dataset("float32/litle").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("bool/big/0x4, "), "{error}");
    assert_eq!(file.dataset("/float32").unwrap_err().kind(), ErrorKind::NotFound);
    let dataset = file.dataset("float32/little/37").unwrap();
    assert_eq!(dataset.attributes().unwrap(), [("unit".to_owned(), "m".to_owned())]);
    for version in ["earliest", "v114", "latest"] {
        // h5py lists one name of a dataset that has two.
        let mut want = std::fs::read_to_string(folder.join(format!("listed-{version}.txt"))).unwrap();
        want.push_str("\nreal");
        let mut want: Vec<_> = want.lines().filter(|name| *name != "indirect").collect();
        want.sort_unstable();
        let file = Hdf5File::open(folder.join(format!("links-{version}.h5"))).unwrap();
        let names: Vec<_> = file.entries().iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, want, "{version}");
    }
    for version in ["earliest", "latest"] {
        let file = Hdf5File::open(folder.join(format!("huge-{version}.h5"))).unwrap();
        assert!(file.entries().len() == 20001 && file.entries().iter().all(|e| e.shape == [5]), "{version}");
    }
}

fn views(folder: &Path) {
    // The newest format puts values where no number is aligned.
    let file = Hdf5File::open(folder.join("types-earliest.h5")).unwrap();
    let block = file.dataset("float32/little/37").unwrap().read(0, 3..9).unwrap();
    assert_eq!(block.copied, 0, "a contiguous dataset is a view");
    assert_eq!(file.dataset("float32/big/37").unwrap().read(0, 3..9).unwrap().copied, 24);
    let file = Hdf5File::open(folder.join("layouts-earliest.h5")).unwrap();
    assert_eq!(file.dataset("rows/f8").unwrap().read(0, 3..7).unwrap().copied, 0, "a plain chunk is a view");
    assert_eq!(file.dataset("rows/f8").unwrap().read(0, 3..8).unwrap().copied, 400);
    let file = Hdf5File::open(folder.join("types-latest.h5")).unwrap();
    assert_eq!(file.dataset("uint8/little/37").unwrap().read(0, 3..9).unwrap().copied, 0);
}

fn links_and_what_is_refused(folder: &Path) {
    for version in ["earliest", "v114", "latest"] {
        let file = Hdf5File::open(folder.join(format!("links-{version}.h5"))).unwrap();
        for (name, kind, why) in [
            ("outside", ErrorKind::Unsupported, "/secret of the file other.h5"),
            ("indirect", ErrorKind::Unsupported, "other.h5"),
            ("dangling", ErrorKind::NotFound, "/nothing"),
            ("few/gone001", ErrorKind::NotFound, "nothing1"),
            ("many/gone321", ErrorKind::NotFound, "nothing321"),
            ("circle", ErrorKind::Invalid, "in a circle"),
            ("ring1/x", ErrorKind::Invalid, "ring2"),
            ("toolong", ErrorKind::Invalid, "more than 16"),
            ("soft/x", ErrorKind::NotFound, "soft"),
            ("external", ErrorKind::Unsupported, "h5py"),
            ("virtual", ErrorKind::Unsupported, "h5py"),
            ("reference", ErrorKind::Unsupported, "a reference"),
            ("lists", ErrorKind::Unsupported, "a sequence"),
        ] {
            for error in [file.dataset(name).map(drop).unwrap_err(), file.open(name).map(drop).unwrap_err()] {
                assert_eq!(error.kind(), kind, "{name}: {error}");
                let text = error.to_string();
                assert!(text.contains(why) && text.contains(name) && text.contains(version), "{name}: {text}");
            }
        }
        assert_eq!(file.dataset("empty").unwrap().rows(), 0);
        // A group by a soft link, and one whose datasets are links.
        assert_eq!(file.open("group/er").unwrap().rows(), 2);
        let deep = file.open("deep").unwrap();
        assert_eq!((deep.fields()[0].name(), deep.rows()), ("up", 3));
    }
}
