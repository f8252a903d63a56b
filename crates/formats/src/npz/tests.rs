#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int16Type, Int32Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use hyperslab_core::{DType, ErrorKind, FieldSpec, VALUE, arrow};
use proptest::prelude::*;

use super::{NpzFile, NpzSink};
use crate::WriteOptions;
use crate::container::{Container, ContainerSink};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn column(field: &FieldSpec, bytes: &[u8], rows: usize) -> ArrayRef {
    let mut aligned = arrow_buffer::MutableBuffer::new(bytes.len());
    aligned.extend_from_slice(bytes);
    arrow::array_from_buffer(field, aligned.into(), rows).unwrap().array
}

fn batch(fields: &[FieldSpec], columns: Vec<ArrayRef>) -> RecordBatch {
    let schema = arrow_schema::Schema::new(fields.iter().map(arrow::to_field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

#[test]
fn files_of_numpy_are_read() {
    for name in ["stored.npz", "deflated.npz"] {
        let file = NpzFile::open(golden(name)).unwrap();
        let shapes: Vec<_> =
            file.entries().iter().map(|e| (e.name.as_str(), e.dtype.as_str(), e.shape.clone())).collect();
        assert_eq!(
            shapes,
            [
                ("ints", "int32", vec![3, 2]),
                ("big", "float64", vec![2, 3]),
                ("fortran", "float32", vec![2, 3]),
                ("scalar", "float64", vec![]),
                ("folder/name", "uint8", vec![3]),
                ("arr_0", "int64", vec![0, 4]),
                ("text", "utf8", vec![3])
            ]
        );
        let read = |array: &str| {
            let source = file.open(array).unwrap();
            source.read(0, 0..source.rows()).unwrap().array
        };
        assert_eq!(
            read("ints").as_fixed_size_list().values().as_primitive::<Int32Type>().values(),
            &[0, 1, 2, 3, 4, 5]
        );
        assert_eq!(read("big").as_fixed_size_list().values().as_primitive::<Float64Type>().value(4), 4.0);
        assert_eq!(read("fortran").as_fixed_size_list().values().as_primitive::<Float32Type>().value(4), 4.0);
        assert_eq!(read("scalar").as_primitive::<Float64Type>().values(), &[7.5]);
        assert_eq!(read("arr_0").len(), 0);
        assert_eq!(read("text").as_string::<i64>().iter().flatten().collect::<Vec<_>>(), ["a", "grüße", ""]);
        let error = file.open("none").unwrap_err().to_string();
        assert!(error.contains("folder/name") && error.contains(name), "{error}");
    }
    let mixed = NpzFile::open(golden("mixed.npz")).unwrap();
    assert_eq!(mixed.entries().len(), 1);
    let taken = mixed.open("zip64").unwrap().take(0, &[4, 1]).unwrap().array;
    assert_eq!(taken.as_primitive::<Int16Type>().values(), &[4, 1]);
    assert_eq!(crate::open(&golden("mixed.npz")).unwrap().rows(), 5);
}

/// An archive of one entry, `a.npy`, with the least that a zip archive has.
fn archive(deflate: bool, content: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(content);
    let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(content).unwrap();
    let packed = if deflate { packer.finish().unwrap() } else { content.to_vec() };
    let sizes = [crc.sum(), packed.len() as u32, content.len() as u32].map(u32::to_le_bytes).concat();
    let method = [20, 0, 0, 0, if deflate { 8 } else { 0 }, 0, 0, 0, 0, 0];
    let mut file = [b"PK\x03\x04", &method[..], &sizes, &[5, 0, 0, 0], b"a.npy", &packed].concat();
    let at = file.len() as u32;
    let entry = [b"PK\x01\x02", &[20, 0][..], &method, &sizes, &[5, 0], &[0; 16], b"a.npy"].concat();
    file.extend_from_slice(&entry);
    file.extend_from_slice(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    file.extend_from_slice(&[entry.len() as u32, at].map(u32::to_le_bytes).concat());
    file.extend_from_slice(&[0, 0]);
    file
}

#[test]
fn bombs_and_lies_are_refused_before_they_are_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npz");
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        NpzFile::open(&path).and_then(|f| f.open("a"))
    };
    let header = |rows| hyperslab_core::npy::write_header(DType::UInt8, &[rows], 64).unwrap();
    let with = |rows, bytes: usize| [header(rows), vec![0; bytes]].concat();
    let deflated = true;
    assert_eq!(open(&archive(deflated, &with(1 << 20, 1 << 20))).unwrap().rows(), 1 << 20);
    // The header asks for more than the entry holds.
    let error = open(&archive(deflated, &with(1 << 40, 9))).unwrap_err();
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("array: a"), "{error}");
    assert!(open(&archive(false, &with(1 << 40, 9))).is_err());
    // The directory claims more than deflate can pack; and less, and another checksum, than is there.
    let whole = archive(deflated, &with(1 << 20, 1 << 20));
    let at = whole.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let changed = |offset: usize, value: u32| {
        let mut bytes = whole.clone();
        bytes[at + offset..][..4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let error = open(&changed(24, 0xf000_0000)).unwrap_err().to_string();
    assert!(error.contains("can hold"), "{error}");
    assert!(open(&changed(24, 1 << 19)).unwrap_err().to_string().contains("incomplete"));
    for bytes in [changed(16, 7), changed(24, (1 << 20) + 500)] {
        let error = open(&bytes).unwrap().read(0, 0..1).unwrap_err();
        assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("a.npz"), "{error}");
    }
    // Objects are listed, and refused when opened.
    let mut object = with(1, 8);
    let at = object.windows(5).position(|w| w == b"'|u1'").unwrap();
    object[at..at + 5].copy_from_slice(b"'|O' ");
    let error = open(&archive(deflated, &object)).unwrap_err().to_string();
    assert!(error.contains("a.npz"), "{error}");
    assert_eq!(NpzFile::open(&path).unwrap().entries()[0].dtype, "unreadable");
}

#[test]
fn what_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npz");
    let field = [FieldSpec::new(VALUE, DType::UInt8, vec![]).unwrap()];
    let mut sink = NpzSink::create(&path, &WriteOptions::new()).unwrap();
    assert!(sink.write(&batch(&field, vec![column(&field[0], &[1], 1)])).is_err());
    for name in ["", "/a", "a/../b"] {
        assert_eq!(sink.begin(name, &field).unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert!(sink.begin("a", &[]).is_err());
    assert!(sink.begin("a", &[FieldSpec::new("t", DType::Binary, vec![]).unwrap()]).is_err());
    sink.begin("a", &field).unwrap();
    assert_eq!(sink.begin("a", &field).unwrap_err().kind(), ErrorKind::AlreadyExists);
    drop(sink);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    for (key, value, expected) in [
        ("codec", "zstd", "none, deflate"),
        ("level", "4", "codec deflate"),
        ("x", "1", "known: codec, level, text_width"),
        ("text_width", "0", "from 1 to"),
    ] {
        let error = NpzSink::create(&path, &WriteOptions::new().set(key, value)).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("a.npz"), "{error}");
    }
}

#[test]
fn text_waits_until_its_width_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npz");
    let word = [FieldSpec::new("word", DType::Utf8, vec![]).unwrap()];
    let both = [word[0].clone(), FieldSpec::new("n", DType::UInt8, vec![]).unwrap()];
    let texts = |texts: Vec<&str>| Arc::new(arrow_array::LargeStringArray::from(texts)) as ArrayRef;
    let packed = WriteOptions::new().set("codec", "deflate");
    let options = [
        WriteOptions::new(),
        packed.clone(),
        packed.set("text_width", "9"),
        WriteOptions::new().set("text_width", "9"),
    ];
    for options in options {
        let mut sink = Box::new(NpzSink::create(&path, &options.clone().overwrite(true)).unwrap());
        assert!(sink.holds_text());
        sink.begin("words", &word).unwrap();
        sink.write(&batch(&word, vec![texts(vec!["a", "grüße"])])).unwrap();
        sink.write(&batch(&word, vec![texts(vec!["", "日本"])])).unwrap();
        let error = sink.write(&batch(&word, vec![texts(vec!["x\0"])])).unwrap_err().to_string();
        assert!(error.contains("row 4") && error.contains("array: words.npy") && error.contains("a.npz"), "{error}");
        sink.begin("both", &both).unwrap();
        sink.write(&batch(&both, vec![texts(vec!["xyz", ""]), column(&both[1], &[7, 8], 2)])).unwrap();
        sink.begin("none", &word).unwrap();
        let summary = sink.finish().unwrap();
        assert_eq!((summary.rows, summary.bytes), (6, std::fs::metadata(&path).unwrap().len()));
        let file = NpzFile::open(&path).unwrap();
        let read = |array: &str, field: usize| {
            let source = file.open(array).unwrap();
            source.read(field, 0..source.rows()).unwrap().array
        };
        let words = read("words", 0);
        assert_eq!(words.as_string::<i64>().iter().flatten().collect::<Vec<_>>(), ["a", "grüße", "", "日本"]);
        assert_eq!(read("both", 0).as_string::<i64>().iter().flatten().collect::<Vec<_>>(), ["xyz", ""]);
        assert_eq!(read("both", 1).as_primitive::<arrow_array::types::UInt8Type>().values(), &[7, 8]);
        assert_eq!(file.open("none").unwrap().rows(), 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_written_is_read(
        arrays in prop::collection::vec((0..DType::ALL.len(), prop::collection::vec(0..4_usize, 0..3), 0..40_usize, 1..4_usize), 0..5),
        level in prop::option::of(1..10_u32),
        cut in 0..40_usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let options = level.map_or(WriteOptions::new(), |l| {
            WriteOptions::new().set("codec", "deflate").set("level", l.to_string())
        });
        let mut sink = Box::new(NpzSink::create(&path, &options).unwrap());
        let mut expected = Vec::new();
        for (i, (dtype, cell, rows, count)) in arrays.iter().enumerate() {
            let fields: Vec<_> = (0..*count).map(|f| {
                let dtype = DType::ALL[(dtype + f) % DType::ALL.len()];
                let name = if *count == 1 { VALUE.to_owned() } else { format!("fü{f}") };
                FieldSpec::new(name, dtype, cell.clone()).unwrap()
            }).collect();
            let columns: Vec<_> = fields.iter().map(|f| {
                let bytes: Vec<u8> = (0..rows * f.row_bytes()).map(|i| if f.dtype() == DType::Bool { (i % 2) as u8 } else { i as u8 }).collect();
                column(f, &bytes, *rows)
            }).collect();
            let all = batch(&fields, columns.clone());
            sink.begin(&format!("dir/a{i}"), &fields).unwrap();
            let first = cut.min(*rows);
            sink.write(&all.slice(0, first)).unwrap();
            sink.write(&all.slice(first, rows - first)).unwrap();
            expected.push((fields, columns));
        }
        let summary = sink.finish().unwrap();
        prop_assert_eq!(summary.bytes, std::fs::metadata(&path).unwrap().len());
        let file = NpzFile::open(&path).unwrap();
        prop_assert_eq!(file.entries().len(), expected.len());
        for (i, (fields, columns)) in expected.iter().enumerate() {
            let source = file.open(&format!("dir/a{i}")).unwrap();
            prop_assert_eq!(source.fields(), fields.as_slice());
            for (f, values) in columns.iter().enumerate() {
                let block = source.read(f, 0..source.rows()).unwrap();
                prop_assert_eq!(&block.array, values);
                prop_assert!(level.is_some() || fields.len() > 1 || fields[f].dtype() == DType::Bool || block.copied == 0);
                let reversed: Vec<u64> = (0..source.rows()).rev().collect();
                let taken = source.take(f, &reversed).unwrap().array;
                prop_assert!((0..taken.len()).all(|r| taken.slice(r, 1) == values.slice(taken.len() - 1 - r, 1)));
            }
        }
    }
}
