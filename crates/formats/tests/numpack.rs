//! What NumPack writes is read, and what is written NumPack reads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod python;
mod values;
mod wanted;

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type};
use hyperslab_core::{DType, ErrorKind, FieldSpec};
use hyperslab_formats::{Container, ContainerSink, Format, NumPackStore, WriteOptions, create_container};
use values::{batches, values};
use wanted::wanted;

#[test]
fn what_numpack_writes_is_read() {
    let Some(python) = python::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    python.run("numpack_make.py", &[&python::seed()], folder.path());
    let Ok(cases) = std::fs::read_to_string(folder.path().join("cases.txt")) else {
        eprintln!("SKIPPED: this Python cannot load NumPack");
        return;
    };
    assert!(cases.lines().count() > 500, "{}", cases.lines().count());
    let mut opened: HashMap<&str, NumPackStore> = HashMap::new();
    for case in cases.lines() {
        let [store, name, want] = case.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let want = wanted(&folder.path().join(want));
        let store = opened.entry(store).or_insert_with(|| NumPackStore::open(folder.path().join(store)).unwrap());
        let entry = store.entries().iter().find(|e| e.name == name).unwrap_or_else(|| panic!("{case}"));
        let source = store.open(name).unwrap_or_else(|e| panic!("{case}: {e}"));
        let rows = source.rows();
        assert_eq!(rows, want.len() as u64, "{case}");
        assert_eq!((entry.fields.as_slice(), entry.shape.first().unwrap_or(&1)), (source.fields(), &rows), "{case}");
        let check = |range: std::ops::Range<u64>| {
            let got = source.read(0, range.clone()).unwrap_or_else(|e| panic!("{case}: {e}"));
            let want = want.slice(range.start as usize, (range.end - range.start) as usize);
            assert!(got.array.to_data() == want.to_data(), "{case} {range:?}");
            got.copied
        };
        check(0..rows);
        for step in [1, 7, 640].into_iter().filter(|s| rows / s < 300) {
            (0..rows).step_by(step as usize).for_each(|row| _ = check(row..(row + step).min(rows)));
        }
        let mut row = 0;
        while row < rows {
            let end = source.run_end(0, row);
            assert!(end > row && end <= rows, "{case}: a run from {row} to {end}");
            check(row..end);
            row = end;
        }
        if rows > 0 {
            let taken: Vec<u64> = [0, rows - 1, rows / 2, 0, rows / 3].to_vec();
            let got = source.take(0, &taken).unwrap().array;
            for (i, &row) in taken.iter().enumerate() {
                assert!(got.slice(i, 1).to_data() == want.slice(row as usize, 1).to_data(), "{case} row {row}");
            }
        }
        assert_eq!(source.read(0, rows..rows + 1).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(source.take(0, &[rows]).unwrap_err().kind(), ErrorKind::Invalid);
    }
    let half = opened["rows.npk"].open("half").unwrap();
    assert_eq!((half.run_end(0, 0), half.run_end(0, 3000)), (3000, 10000));
    assert_eq!((half.read(0, 0..3000).unwrap().copied, half.read(0, 3000..10000).unwrap().copied), (0, 0));
    assert_eq!(half.read(0, 2999..3001).unwrap().copied, 24);
    let in_place = opened["types-plain.npkg"].open("float64 37").unwrap().read(0, 0..37).unwrap();
    assert!(in_place.copied == 0 || in_place.copied == 37 * 8, "misaligned values are copied, others are views");
    refused(folder.path());
}

fn refused(folder: &Path) {
    let all = |name: &str| {
        let store = NumPackStore::open(folder.join(name))?;
        store.open("x").and_then(|source| source.read(0, 0..source.rows()))
    };
    for (name, kind, why) in [
        ("short.npk", ErrorKind::Corrupt, "has 31 bytes"),
        ("missing.npk", ErrorKind::Corrupt, "data_x.npkd is missing"),
        ("bitmap.npk", ErrorKind::Corrupt, "bitmap"),
        ("twice.npk", ErrorKind::Corrupt, "twice"),
        ("dtype.npk", ErrorKind::Unsupported, "code 14"),
        ("huge.npk", ErrorKind::Corrupt, "too large"),
        ("outside.npk", ErrorKind::Invalid, "no name within"),
        ("absolute.npk", ErrorKind::Invalid, "no name within"),
        ("rows-missing.npk", ErrorKind::Corrupt, "segments have 4 rows"),
        ("no-segments.npk", ErrorKind::Corrupt, "no list of segments"),
        ("blocks.npk", ErrorKind::Unsupported, "compressed in blocks"),
        ("cut.npk", ErrorKind::Corrupt, "incomplete"),
        ("magic.npk", ErrorKind::Corrupt, "NPKB"),
        ("nothing.npk", ErrorKind::Invalid, "no NumPack store"),
        ("path-parent.npkg", ErrorKind::Corrupt, "\"../data_x\""),
        ("path-root.npkg", ErrorKind::Corrupt, "\"/etc/x\""),
        ("path-inner.npkg", ErrorKind::Corrupt, "no path within"),
        ("path-empty.npkg", ErrorKind::Corrupt, "no path within"),
        ("path-windows.npkg", ErrorKind::Corrupt, "no path within"),
        ("path-twice.npkg", ErrorKind::Corrupt, "twice"),
        ("bomb.npkg", ErrorKind::Corrupt, "claims to hold"),
        ("less.npkg", ErrorKind::Corrupt, "does not unpack to 40"),
        ("more.npkg", ErrorKind::Corrupt, "does not unpack to 80"),
        ("damaged.npkg", ErrorKind::Corrupt, "checksum"),
        ("tail.npkg", ErrorKind::Corrupt, "1 bytes follow"),
        ("newer.npkg", ErrorKind::Unsupported, "version 3"),
        ("other.npkg", ErrorKind::Corrupt, "NPKG"),
        ("none.npkg", ErrorKind::NotFound, "none.npkg"),
    ] {
        let error = all(name).unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(error.to_string().contains(why) && error.to_string().contains(name), "{error}");
    }
    if cfg!(unix) {
        assert!(all("link.npk").unwrap_err().to_string().contains("is a link"));
    }
}

/// A package that NumPack 0.5 made, with rows dropped and replaced, for where there is no Python.
#[test]
fn a_package_of_numpack_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/numpack.npkg");
    let store = NumPackStore::open(path).unwrap();
    let mut shapes: Vec<_> =
        store.entries().iter().map(|e| (e.name.as_str(), e.dtype.as_str(), e.shape.clone())).collect();
    shapes.sort();
    assert_eq!(
        shapes,
        [("flags", "bool", vec![9]), ("matrix", "int32", vec![38, 3]), ("scores", "float64", vec![100])]
    );
    let matrix = store.open("matrix").unwrap().read(0, 0..38).unwrap().array;
    let expected: Vec<i32> = (0..40).filter(|r| ![3, 7].contains(r)).flat_map(|r| 3 * r..3 * r + 3).collect();
    assert_eq!(matrix.as_fixed_size_list().values().as_primitive::<Int32Type>().values(), &expected[..]);
    let scores = store.open("scores").unwrap().take(0, &[4, 99]).unwrap().array;
    assert_eq!(scores.as_primitive::<Float64Type>().values(), &[-1.0, 49.5]);
    assert!(store.open("nope").unwrap_err().to_string().contains("there are: "));
}

fn fill(mut sink: Box<dyn ContainerSink>, expected: &[(String, FieldSpec, arrow_array::ArrayRef)]) -> u64 {
    for (name, field, column) in expected {
        sink.begin(name, std::slice::from_ref(field)).unwrap();
        batches(&[("value", column.clone())], 13).iter().for_each(|batch| sink.write(batch).unwrap());
    }
    let summary = sink.finish().unwrap();
    assert_eq!(summary.rows, expected.iter().map(|(_, _, column)| column.len() as u64).sum::<u64>());
    summary.bytes
}

#[test]
fn what_is_written_numpack_reads() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut seed: u64 = python::seed().parse().unwrap();
    let (mut cases, mut expected) = (String::new(), Vec::new());
    let times = |d: &DType| matches!(d, DType::Datetime64(_) | DType::Timedelta64(_));
    for dtype in DType::ALL.into_iter().filter(|d| !times(d)).chain([DType::Bfloat16]) {
        for (cell, rows) in [(vec![], 57), (vec![3], 41), (vec![2, 3], 8), (vec![2], 0), (vec![0], 4), (vec![], 1)] {
            let field = FieldSpec::new("value", dtype, cell).unwrap();
            let column = values(&field, rows, &mut seed);
            let (name, want) = (format!("{} grüße: {dtype}", expected.len()), format!("{}.npy", expected.len()));
            let mut npy = hyperslab_formats::create(&at(&want), std::slice::from_ref(&field)).unwrap();
            batches(&[("value", column.clone())], 13).iter().for_each(|batch| npy.write(batch).unwrap());
            npy.finish().unwrap();
            writeln!(cases, "{name}\t{want}").unwrap();
            expected.push((name, field, column));
        }
    }
    // Enough to be written compressed in several parts.
    let large = FieldSpec::new("value", DType::Int32, vec![100]).unwrap();
    expected.push(("large".to_owned(), large.clone(), values(&large, 4000, &mut seed)));
    let new = WriteOptions::new;
    let (none, best) = (new().set("codec", "none"), new().set("level", "19"));
    for (name, options) in [("all.npk", new()), ("zstd.npkg", new()), ("none.npkg", none), ("best.npkg", best)] {
        let bytes = fill(create_container(&at(name), &options).unwrap(), &expected);
        let store = NumPackStore::open(at(name)).unwrap();
        let sizes = |path: &Path| std::fs::read_dir(path).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        let there = if at(name).is_dir() { sizes(&at(name)) } else { at(name).metadata().unwrap().len() };
        assert_eq!(bytes, there, "{name}");
        for ((array, field, column), entry) in expected.iter().zip(store.entries()) {
            assert_eq!(&entry.name, array);
            let source = store.open(array).unwrap();
            let block = source.read(0, 0..column.len() as u64).unwrap();
            assert!(block.array.to_data() == column.to_data(), "{name} {array}");
            assert_eq!(source.fields()[0].cell(), field.cell());
            assert!(!name.ends_with(".npk") || block.copied == 0 || field.dtype() == DType::Bool, "{array}");
        }
    }
    std::fs::write(at("cases.txt"), cases).unwrap();
    if let Some(python) = python::python() {
        python.run("numpack_check.py", &[], folder.path());
    }
}

#[test]
fn what_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let numbers = [FieldSpec::new("value", DType::Int8, vec![]).unwrap()];
    let batch = &batches(&[("value", values(&numbers[0], 1, &mut 1))], 1)[0];
    for name in ["a.npk", "a.npkg"] {
        let mut sink = create_container(&at(name), &WriteOptions::new()).unwrap();
        assert_eq!(sink.write(batch).unwrap_err().kind(), ErrorKind::Invalid);
        for (bad, dtype) in [("", DType::Int8), ("a/b", DType::Int8), ("a\\b", DType::Int8)] {
            let field = [FieldSpec::new("value", dtype, vec![]).unwrap()];
            assert_eq!(sink.begin(bad, &field).unwrap_err().kind(), ErrorKind::Invalid);
        }
        for dtype in [DType::Utf8, DType::FixedBytes(2), DType::ALL[14]] {
            let error = sink.begin("x", &[FieldSpec::new("value", dtype, vec![]).unwrap()]).unwrap_err();
            assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains(name), "{error}");
        }
        sink.begin("x", &numbers).unwrap();
        sink.write(batch).unwrap();
        assert_eq!(sink.begin("x", &numbers).unwrap_err().kind(), ErrorKind::AlreadyExists);
        drop(sink);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let numpack = Format::named("numpack").unwrap();
    for (name, options, why) in [
        ("a.npk", WriteOptions::new().set("codec", "none"), "no option of numpack folders"),
        ("a.npkg", WriteOptions::new().set("codec", "none").set("level", "3"), "codec zstd"),
        ("a.npkg", WriteOptions::new().set("level", "23"), "from 1 to 22"),
    ] {
        let error = numpack.create_container(&at(name), &options).err().unwrap().to_string();
        assert!(error.contains(why) && error.contains(name), "{error}");
    }
    // Only another store is replaced.
    std::fs::create_dir(at("other.npk")).unwrap();
    std::fs::write(at("other.npk").join("precious"), b"x").unwrap();
    let over = WriteOptions::new().overwrite(true);
    assert_eq!(numpack.create_container(&at("other.npk"), &over).err().unwrap().kind(), ErrorKind::Invalid);
    for rows in [1, 2] {
        let mut sink = numpack.create(&at("b.npk"), &numbers, &over).unwrap();
        (0..rows).for_each(|_| sink.write(batch).unwrap());
        sink.finish().unwrap();
        assert_eq!(NumPackStore::open(at("b.npk")).unwrap().open("b").unwrap().rows(), rows);
    }
    let error = numpack.create_container(&at("b.npk"), &WriteOptions::new()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}
