//! What zarr-python writes beyond plain arrays is read, or refused by name: structured dtypes, times, fill values, shards in
//! shards, filters, zip archives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod python;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, LargeBinaryArray, LargeStringArray};
use hyperslab_core::{ArraySource, ErrorKind};
use hyperslab_formats::zarr::ZarrFolder;
use hyperslab_formats::{Container, Format, NpySource};

/// The name and the values of each field that a `.npy` or a `.json` list holds.
fn wanted(path: &Path) -> Vec<(String, ArrayRef)> {
    if path.extension().is_some_and(|e| e == "json") {
        let json = std::fs::read(path).unwrap();
        let array: ArrayRef = match serde_json::from_slice::<Vec<String>>(&json) {
            Ok(texts) => Arc::new(LargeStringArray::from(texts)),
            Err(_) => {
                let blobs: Vec<Vec<u8>> = serde_json::from_slice(&json).unwrap();
                Arc::new(LargeBinaryArray::from_iter_values(blobs))
            }
        };
        return vec![("value".to_owned(), array)];
    }
    let source = NpySource::open(path).unwrap();
    let field = |i: usize| (source.fields()[i].name().to_owned(), source.read(i, 0..source.rows()).unwrap().array);
    (0..source.fields().len()).map(field).collect()
}

/// Whether both are the same, NaN of whatever bits included.
fn same(a: &dyn Array, b: &dyn Array) -> bool {
    a.to_data() == b.to_data() || format!("{a:?}") == format!("{b:?}") && format!("{a:?}").contains("NaN")
}

fn compare(source: &dyn ArraySource, want: &[(String, ArrayRef)], case: &str) {
    let names: Vec<_> = source.fields().iter().map(|f| f.name().to_owned()).collect();
    assert_eq!(names, want.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), "{case}");
    let rows = source.rows();
    for (i, (name, want)) in want.iter().enumerate() {
        assert_eq!(rows, want.len() as u64, "{case}");
        let check = |range: Range<u64>| {
            let got = source.read(i, range.clone()).unwrap_or_else(|e| panic!("{case}: {e}"));
            let want = want.slice(range.start as usize, (range.end - range.start) as usize);
            assert!(same(&got.array, &want), "{case} {name} {range:?}: {:?} is not {want:?}", got.array);
        };
        check(0..rows);
        (0..rows).step_by(5).for_each(|row| check(row..(row + 5).min(rows)));
        let taken: Vec<u64> = [0, rows - 1, rows / 2, 0, rows / 3].to_vec();
        let got = source.take(i, &taken).unwrap().array;
        for (at, &row) in taken.iter().enumerate() {
            assert!(same(&got.slice(at, 1), &want.slice(row as usize, 1)), "{case} {name} row {row}");
        }
        assert_eq!(source.read(i, rows..rows + 1).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(source.take(i, &[rows]).unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(source.read(want.len(), 0..1).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn what_zarr_python_writes_is_read_or_refused() {
    let Some(python) = python::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    python.run("zarr_more_make.py", &[&python::seed()], folder.path());
    let lines = |name: &str| -> Vec<[String; 3]> {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        let parts = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
        text.lines().map(parts).collect()
    };
    let mut stores: HashMap<String, ZarrFolder> = HashMap::new();
    let mut listed = 0;
    let (cases, refused) = (lines("cases.txt"), lines("refused.txt"));
    assert!(cases.len() > 600 && refused.len() > 30, "{} {}", cases.len(), refused.len());
    for [store, array, want] in &cases {
        let case = format!("{store} {array}");
        let zarr = stores.entry(store.clone()).or_insert_with(|| ZarrFolder::open(folder.path().join(store)).unwrap());
        let want = wanted(&folder.path().join(want));
        let source = zarr.open(array).unwrap_or_else(|e| panic!("{case}: {e}"));
        let entry = zarr.entries().iter().find(|e| e.name == *array).expect(&case);
        assert_eq!(entry.fields, source.fields(), "{case}");
        assert_eq!(entry.dtype == "struct", want.len() > 1, "{case}");
        listed += 1;
        compare(source.as_ref(), &want, &case);
    }
    for [store, array, word] in &refused {
        let zarr = &stores[store];
        let entry = zarr.entries().iter().find(|e| e.name == *array).unwrap_or_else(|| panic!("{store} {array}"));
        assert!(entry.fields.is_empty(), "{entry:?}");
        let error = zarr.open(array).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Corrupt), "{error}");
        let error = error.to_string();
        assert!(
            error.contains(word) && error.contains(array) && error.contains(store),
            "{store} {array} {word}: {error}"
        );
        listed += 1;
    }
    assert_eq!(listed, stores.values().map(|zarr| zarr.entries().len()).sum::<usize>(), "nothing else is listed");
    archives(folder.path());
}

/// Archives that are damaged, or no archives.
fn archives(folder: &Path) {
    let name = "by-zarr-3-8.zarr.zip";
    let path = folder.join(name);
    assert_eq!(Format::of_path(&path).unwrap().name(), "zarr");
    let zarr = ZarrFolder::open(&path).unwrap();
    assert!(zarr.metadata().contains(&("unit".to_owned(), "m".to_owned())), "{:?}", zarr.metadata());
    assert_eq!(zarr.open("/group/records").unwrap().fields().len(), 2);
    for name in ["../by-zarr-3-0.zarr.zip", "group//packed", "group\\packed", "group/pack", "none"] {
        assert_eq!(zarr.open(name).unwrap_err().kind(), ErrorKind::NotFound, "{name}");
    }
    let error = ZarrFolder::open(folder.join("above.zip")).unwrap_err().to_string();
    assert!(error.contains("\"records2.zarr\" in it should be its root"), "{error}");
    assert_eq!(ZarrFolder::open(folder.join("cases.txt")).unwrap_err().kind(), ErrorKind::Invalid);
    // A chunk that unpacks to something else: the last byte of the first that is one of the shards.
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(12).position(|w| w == b"shards/c/0/0").unwrap();
    bytes[at + 400] ^= 1;
    let damaged = folder.join("damaged.zarr.zip");
    std::fs::write(&damaged, &bytes).unwrap();
    let source = ZarrFolder::open(&damaged).unwrap().open("shards").unwrap();
    let error = source.read(0, 0..source.rows()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("shards/c/0/0") && error.to_string().contains("damaged.zarr.zip"), "{error}");
    std::fs::write(&damaged, &bytes[..bytes.len() - 30]).unwrap();
    assert_eq!(ZarrFolder::open(&damaged).unwrap_err().kind(), ErrorKind::Corrupt);
    // What shrinks while it is open is an error, not a signal.
    std::fs::copy(&path, &damaged).unwrap();
    let zarr = ZarrFolder::open(&damaged).unwrap();
    let source = zarr.open("plain").unwrap();
    std::fs::File::options().write(true).open(&damaged).unwrap().set_len(100).unwrap();
    assert!(source.read(0, 0..1).unwrap_err().to_string().contains("shrank while it was open"));
    let error = Format::of_path(&path).unwrap().create_container(&path, &Default::default()).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("read and not written"), "{error}");
}
