//! What is written, h5py reads, and we do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod python;
mod values;

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, LargeBinaryArray, LargeStringArray, RecordBatch};
use hyperslab_core::{ArraySource, DType, ErrorKind, FieldSpec};
use hyperslab_formats::hdf5::Hdf5File;
use hyperslab_formats::{Container, Format, NpySource, WriteOptions};
use values::{batches, values};

fn write(path: &Path, field: &FieldSpec, column: &ArrayRef, options: &WriteOptions) {
    let format = Format::of_path(path).unwrap();
    let mut sink = format.create(path, std::slice::from_ref(field), options).unwrap();
    for batch in batches(&[(field.name(), Arc::clone(column))], 13) {
        sink.write(&batch).unwrap();
    }
    let summary = sink.finish().unwrap();
    assert_eq!(summary.rows, column.len() as u64);
    assert_eq!(summary.bytes, std::fs::metadata(path).unwrap().len());
}

fn layouts() -> Vec<(&'static str, WriteOptions)> {
    let new = || WriteOptions::new().set("dataset", "/some/group/x");
    vec![
        ("plain", new()),
        ("chunks", new().set("chunks", "5")),
        ("gzip", new().set("codec", "gzip").set("level", "6").set("shuffle", "true")),
        ("small", new().set("codec", "gzip").set("chunks", "3,1").set("fletcher32", "true")),
    ]
}

#[test]
fn what_is_written_h5py_reads() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut seed: u64 = python::seed().parse().unwrap();
    let mut cases = String::new();
    let dtypes = DType::ALL.into_iter().chain([DType::Bfloat16, DType::FixedBytes(3), DType::Utf8]);
    for (n, dtype) in dtypes.enumerate() {
        for (m, (cell, rows)) in [(vec![], 57), (vec![3], 41), (vec![2, 3], 8), (vec![2], 0)].into_iter().enumerate() {
            if dtype.is_variable() && !cell.is_empty() {
                continue;
            }
            let field = FieldSpec::new("value", dtype, cell).unwrap();
            let column = values(&field, rows, &mut seed);
            let want = if dtype.is_variable() { format!("{n}-{m}.json") } else { format!("{n}-{m}.npy") };
            match column.as_any().downcast_ref::<LargeStringArray>() {
                Some(texts) => {
                    let texts: Vec<_> = texts.iter().map(Option::unwrap).collect();
                    std::fs::write(at(&want), serde_json::to_vec(&texts).unwrap()).unwrap();
                }
                None => write(&at(&want), &field, &column, &WriteOptions::new()),
            }
            for (layout, options) in layouts() {
                if layout == "small" && field.cell().is_empty() || layout == "plain" && dtype.is_variable() {
                    continue;
                }
                let file = format!("{n}-{m}-{layout}.h5");
                write(&at(&file), &field, &column, &options);
                let layout = if rows == 0 && layout != "plain" { "any" } else { layout };
                writeln!(cases, "{file}\t/some/group/x\t{want}\t{layout}").unwrap();
                let source = Hdf5File::open(at(&file)).unwrap().dataset("some/group/x").unwrap();
                let got = source.read(0, 0..rows as u64).unwrap().array;
                let expected = match dtype {
                    DType::Utf8 => Arc::clone(&column),
                    _ => NpySource::open(at(&want)).unwrap().read(0, 0..rows as u64).unwrap().array,
                };
                assert!(got.to_data() == expected.to_data(), "{file} {field}");
            }
        }
    }
    attributes_and_containers(folder.path(), &mut cases, &mut seed);
    std::fs::write(at("cases.txt"), cases).unwrap();
    let Some(python) = python::python() else { return };
    python.run("hdf5_check.py", &[], folder.path());
    let source = Hdf5File::open(at("grow.h5")).unwrap().dataset("x").unwrap();
    assert_eq!(source.rows(), 2010);
    let (first, last) = (source.read(0, 0..10).unwrap(), source.read(0, 2000..2010).unwrap());
    assert!(first.array.to_data() == last.array.to_data());
}

fn attributes_and_containers(folder: &Path, cases: &mut String, seed: &mut u64) {
    let at = |name: &str| folder.join(name);
    let field = FieldSpec::new("value", DType::Int32, vec![]).unwrap();
    let column = values(&field, 2000, seed);
    write(&at("a.npy"), &field, &column, &WriteOptions::new());
    let attributes = WriteOptions::new().set("attributes", r#"{"unit": "m/s ü", "scale": 2, "x": 0.5}"#);
    write(&at("attributes.h5"), &field, &column, &attributes);
    writeln!(cases, "attributes.h5\tattributes\ta.npy\tplain").unwrap();
    let found = Hdf5File::open(at("attributes.h5")).unwrap().dataset("attributes").unwrap().attributes().unwrap();
    assert_eq!(found[0], ("scale".to_owned(), "2".to_owned()));
    assert_eq!(found[1], ("unit".to_owned(), "m/s ü".to_owned()));

    let hdf5 = Format::named("HDF5").unwrap();
    let words = FieldSpec::new("words", DType::Utf8, vec![]).unwrap();
    let texts: ArrayRef = Arc::new(LargeStringArray::from(vec!["a", "", "ü"]));
    let mut sink = hdf5.create_container(&at("grow.h5"), &WriteOptions::new().set("chunks", "7")).unwrap();
    sink.begin("x", std::slice::from_ref(&field)).unwrap();
    batches(&[("value", Arc::clone(&column))], 999).iter().for_each(|b| sink.write(b).unwrap());
    sink.begin("words", std::slice::from_ref(&words)).unwrap();
    batches(&[("words", Arc::clone(&texts))], 2).iter().for_each(|b| sink.write(b).unwrap());
    sink.finish().unwrap();

    // Several fields are a group, in their order, and one array again.
    let mut sink = hdf5.create_container(&at("container.h5"), &WriteOptions::new()).unwrap();
    sink.set_metadata("title", "two arrays").unwrap();
    let raw = FieldSpec::new("a raw", DType::Binary, vec![]).unwrap();
    let bytes: ArrayRef = Arc::new(LargeBinaryArray::from(vec![&b"\0\xff"[..], b"", b"x"]));
    let vectors = FieldSpec::new("vectors", DType::Float32, vec![2]).unwrap();
    let floats = values(&vectors, 3, seed);
    let fields = [words.clone(), raw, vectors];
    sink.begin("table", &fields).unwrap();
    let rows = [("words", Arc::clone(&texts)), ("a raw", bytes), ("vectors", floats)];
    batches(&rows, 1).iter().for_each(|b| sink.write(b).unwrap());
    sink.begin("deep/in/x", std::slice::from_ref(&field)).unwrap();
    batches(&[("value", column)], 64).iter().for_each(|b| sink.write(b).unwrap());
    for (name, what) in [
        ("table", "\"table\""),
        ("deep/in", "deep/in/x"),
        ("deep/in/x/y", "deep/in/x"),
        ("a//b", "a//b"),
        ("../b", ".."),
    ] {
        let mut sink = hdf5.create_container(&at("not.h5"), &WriteOptions::new()).unwrap();
        sink.begin("table", &fields).unwrap();
        sink.begin("deep/in/x", std::slice::from_ref(&field)).unwrap();
        let error =
            sink.begin(name, std::slice::from_ref(&field)).and_then(|()| sink.begin(name, &fields)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::AlreadyExists), "{error}");
        assert!(error.to_string().contains(what) && error.to_string().contains("not.h5"), "{name}: {error}");
    }
    assert!(!at("not.h5").exists());
    sink.finish().unwrap();
    let file = Hdf5File::open(at("container.h5")).unwrap();
    let names: Vec<_> = file.entries().iter().map(|e| (e.name.as_str(), e.dtype.as_str())).collect();
    assert_eq!(names, [("deep/in/x", "int32"), ("table", "struct")]);
    assert_eq!(file.entries()[1].shape, [3]);
    assert_eq!(file.entries()[1].fields, fields);
    assert_eq!(file.metadata(), [("title".to_owned(), "two arrays".to_owned())]);
    let table = file.open("table").unwrap();
    assert_eq!((table.fields(), table.rows()), (&fields[..], 3));
    for (i, (_, column)) in rows.iter().enumerate() {
        assert!(table.read(i, 0..3).unwrap().array.to_data() == column.to_data(), "{i}");
        assert!(table.take(i, &[2]).unwrap().array.to_data() == column.slice(2, 1).to_data(), "{i}");
    }
    assert_eq!(file.open("deep/in").unwrap().fields()[0].name(), "x");
    assert!(file.open("deep").unwrap_err().to_string().contains("no array in the group"));

    let mut sink = hdf5.create_container(&at("many.h5"), &WriteOptions::new()).unwrap();
    for i in 0..700 {
        sink.begin(&format!("d{i}"), std::slice::from_ref(&field)).unwrap();
        let one: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![i]));
        sink.write(&RecordBatch::try_from_iter([("value", one)]).unwrap()).unwrap();
    }
    sink.finish().unwrap();
    assert_eq!(Hdf5File::open(at("many.h5")).unwrap().entries().len(), 700);
}

#[test]
fn what_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    let hdf5 = Format::named("hdf5").unwrap();
    let field = FieldSpec::new("x", DType::Int32, vec![2, 3]).unwrap();
    let fields = std::slice::from_ref(&field);
    for (key, value) in
        [("chunks", "1,2,3,4"), ("chunks", "5,9"), ("chunks", "1000000000,2,3"), ("codec", "zstd"), ("row", "1")]
    {
        let error = hdf5.create(&path, fields, &WriteOptions::new().set(key, value)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("a.h5"), "{error}");
    }
    let null: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![Some(1), None]));
    let one = FieldSpec::new("x", DType::Int32, vec![]).unwrap().with_nullable(true);
    let mut sink = hdf5.create(&path, &[one], &WriteOptions::new()).unwrap();
    let error = sink.write(&RecordBatch::try_from_iter([("x", null)]).unwrap()).unwrap_err().to_string();
    assert!(error.contains("row 1 is NULL"), "{error}");
    drop(sink);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    std::fs::write(&path, b"x").unwrap();
    assert_eq!(hdf5.create(&path, fields, &WriteOptions::new()).err().unwrap().kind(), ErrorKind::AlreadyExists);
}
