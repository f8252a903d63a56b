#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int16Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use hyperslab_core::{DType, ErrorKind, FieldSpec, VALUE, arrow};
use proptest::prelude::*;

use super::{DTYPES, SafetensorsFile, SafetensorsSink};
use crate::container::{Container, ContainerSink};
use crate::{Format, WriteOptions};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A file of a header and values.
fn made(header: &str, values: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), values].concat()
}

fn opened(bytes: &[u8]) -> hyperslab_core::Result<SafetensorsFile> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    std::fs::write(&path, bytes).unwrap();
    SafetensorsFile::open(&path)
}

fn batch(field: &FieldSpec, bytes: &[u8], rows: usize) -> RecordBatch {
    let field = field.renamed(VALUE).unwrap();
    // Vectors of bytes are not aligned.
    let mut aligned = arrow_buffer::MutableBuffer::new(bytes.len());
    aligned.extend_from_slice(bytes);
    let array = arrow::array_from_buffer(&field, Buffer::from(aligned), rows).unwrap().array;
    let schema = arrow_schema::Schema::new(vec![arrow::to_field(&field)]);
    RecordBatch::try_new(Arc::new(schema), vec![array]).unwrap()
}

#[test]
fn files_of_the_formats_own_library_are_read() {
    let file = SafetensorsFile::open(golden("python.safetensors")).unwrap();
    let entry = |name: &str| file.entries().iter().find(|e| e.name == name).unwrap();
    let mut metadata = file.metadata().to_vec();
    metadata.sort();
    assert_eq!(metadata, [("format".into(), "np".into()), ("note".into(), "grüße".to_owned())]);
    for dtype in ["bool", "uint8", "uint64", "int8", "int64", "float16", "float64", "complex64"] {
        assert_eq!((entry(dtype).dtype.as_str(), &entry(dtype).shape[..]), (dtype, &[3, 2][..]));
        let source = file.open(dtype).unwrap();
        let block = source.read(0, 1..3).unwrap();
        let bytes = arrow::raw_bytes(&source.fields()[0], block.array.as_ref(), 0).unwrap();
        assert_eq!(block.copied == 0, dtype != "bool", "{dtype}");
        assert_eq!(bytes.len() as u64, entry(dtype).bytes / 3 * 2);
    }
    let f64s = file.open("float64").unwrap().read(0, 1..3).unwrap().array;
    assert_eq!(f64s.as_fixed_size_list().values().as_primitive::<Float64Type>().values(), &[2.0, 3.0, 4.0, 5.0]);
    assert_eq!(entry("bf16").dtype, "bfloat16");
    let bf16 = file.open("bf16").unwrap().take(0, &[2, 0]).unwrap().array;
    assert_eq!(bf16.as_fixed_size_list().values().as_primitive::<Float32Type>().values(), &[4.0, 5.0, 0.0, 1.0]);
    let deep = file.open("deep").unwrap();
    assert_eq!(deep.fields()[0].cell(), [3, 4]);
    let deep = deep.read(0, 1..2).unwrap().array;
    assert_eq!(deep.as_fixed_size_list().values().as_primitive::<Int16Type>().value(11), 23);
    // One row with a scalar; no rows; rows of empty cells.
    assert_eq!((entry("scalar").shape.len(), entry("scalar").bytes), (0, 8));
    assert_eq!(file.open("scalar").unwrap().read(0, 0..1).unwrap().array.as_primitive::<Float64Type>().value(0), 7.5);
    assert_eq!(file.open("empty").unwrap().rows(), 0);
    assert_eq!(file.open("cells").unwrap().read(0, 0..2).unwrap().array.len(), 2);
    // There is no such dtype here: it is listed, and refused by name.
    assert_eq!((entry("f8").dtype.as_str(), entry("f8").bytes, entry("f8").fields.len()), ("F8_E4M3", 4, 0));
    let error = file.open("f8").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    for part in ["F8_E4M3", "array: f8", "python.safetensors"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let error = file.open("none").unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("bf16"), "{error}");
    let error = crate::open(&golden("python.safetensors")).unwrap_err();
    assert!(error.to_string().contains("python.safetensors::name"), "{error}");
}

#[test]
fn what_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let mut sink = crate::create_container(&path, &WriteOptions::new()).unwrap();
    let field = |dtype| FieldSpec::new(VALUE, dtype, vec![]).unwrap();
    let row = batch(&field(DType::UInt8), &[7], 1);
    assert_eq!(sink.write(&row).unwrap_err().kind(), ErrorKind::Invalid);
    let error = sink.begin("a", &[field(DType::Complex128)]).unwrap_err().to_string();
    assert!(error.contains("complex128") && error.contains("cast it to complex64"), "{error}");
    assert!(sink.begin("a", &[field(DType::Utf8)]).is_err());
    assert!(sink.begin("__metadata__", &[field(DType::Int8)]).is_err());
    assert!(sink.begin("a", &[]).is_err());
    sink.begin("a", &[field(DType::UInt8)]).unwrap();
    assert_eq!(sink.begin("a", &[field(DType::UInt8)]).unwrap_err().kind(), ErrorKind::AlreadyExists);
    sink.write(&row).unwrap();
    drop(sink);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn one_array_is_named_as_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("abc.safetensors");
    let field = FieldSpec::new(VALUE, DType::Int16, vec![2]).unwrap();
    let mut sink = crate::create(&path, std::slice::from_ref(&field)).unwrap();
    sink.write(&batch(&field, &[1, 0, 2, 0, 3, 0, 4, 0], 2)).unwrap();
    let summary = sink.finish().unwrap();
    assert_eq!((summary.rows, summary.bytes), (2, std::fs::metadata(&path).unwrap().len()));
    assert_eq!(crate::open(&path).unwrap().rows(), 2);
    assert!(Format::of_path(&path).unwrap().open(&path, Some("abc")).is_ok());
}

#[test]
fn large_files_are_written_once_and_unaligned_ones_rearranged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    for (bytes, names, room) in [(2 << 20, 3, true), ((2 << 20) + 1, 3, false), (2 << 20, 2000, false)] {
        let options = WriteOptions::new().overwrite(true);
        let mut sink = Box::new(SafetensorsSink::create(&path, &options).unwrap());
        sink.set_metadata("unit", "m").unwrap();
        let (u8s, f64s) = ([DType::UInt8, DType::Float64]).map(|d| FieldSpec::new(VALUE, d, vec![]).unwrap()).into();
        sink.begin("bytes", std::slice::from_ref(&u8s)).unwrap();
        sink.write(&batch(&u8s, &vec![9; bytes], bytes)).unwrap();
        for i in 0..names {
            sink.begin(&format!("some longer name of a tensor {i}"), std::slice::from_ref(&f64s)).unwrap();
            sink.write(&batch(&f64s, &f64::from(i).to_le_bytes(), 1)).unwrap();
        }
        let summary = sink.finish().unwrap();
        let found = std::fs::read(&path).unwrap();
        assert_eq!(summary.bytes, found.len() as u64);
        assert_eq!(summary.bytes - (bytes as u64 + 8 * names as u64) == 64 << 10, room);
        let file = SafetensorsFile::open(&path).unwrap();
        assert_eq!(file.metadata(), [("unit".to_owned(), "m".to_owned())]);
        assert_eq!(file.entries().len(), names as usize + 1);
        let last = file.open(&format!("some longer name of a tensor {}", names - 1)).unwrap().read(0, 0..1).unwrap();
        assert_eq!(last.array.as_primitive::<Float64Type>().value(0), f64::from(names - 1));
        assert_eq!(last.copied, 0);
        assert!(found.ends_with(&[9]) != room || room, "the widest come first");
    }
}

#[test]
fn hostile_headers_are_refused() {
    let tensor =
        |shape: &str, offsets: &str| format!(r#""a":{{"dtype":"U8","shape":{shape},"data_offsets":{offsets}}}"#);
    assert!(opened(&made(&format!("{{{}}}   ", tensor("[2]", "[0,2]")), &[1, 2])).is_ok());
    assert!(opened(&made("{}", &[])).unwrap().entries().is_empty());
    let huge = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![1, 2, 3], "fewer than the 8"),
        (huge, "at most 100000000"),
        ([&99_u64.to_le_bytes()[..], b"{}"].concat(), "incomplete copy"),
        (made(" {}", &[]), "does not start with '{'"),
        (made("{\"a\":", &[]), "not understood"),
        (made(&format!("{{{}}}", tensor("[2]", "[0,3]")), &[1, 2, 3]), "takes 2 bytes"),
        (made(&format!("{{{}}}", tensor("[2]", "[0,2]")), &[1]), "incomplete copy"),
        (made(&format!("{{{}}}", tensor("[2]", "[0,2]")), &[1, 2, 3]), "1 bytes follow"),
        (made(&format!("{{{}}}", tensor("[1]", "[1,2]")), &[1, 2]), "hole"),
        (made(&format!("{{{}}}", tensor("[0]", "[2,0]")), &[1, 2]), "cannot be at offsets"),
        (made(&format!("{{{}}}", tensor("[1]", "[-1,0]")), &[1, 2]), "not understood"),
        (made(&format!("{{{}}}", tensor("[4294967296,4294967296]", "[0,0]")), &[]), "larger than any file"),
        (made(&format!("{{{},{}}}", tensor("[1]", "[0,1]"), tensor("[1]", "[1,2]")), &[1, 2]), "twice"),
        (made(&format!("{{{},{}}}", tensor("[2]", "[0,2]"), tensor("[2]", "[1,3]").replace('a', "b")), &[1, 2, 3]), ""),
        (made(&format!("{{{}}}", tensor(&format!("[{}1]", "1,".repeat(99)), "[0,1]")), &[1]), "more than 32 axes"),
        (made(r#"{"__metadata__":{"a":1}}"#, &[]), "not understood"),
        (made(&format!("{{{}", "\"a\":{".repeat(10_000)), &[]), "not understood"),
    ];
    for (bytes, expected) in cases {
        let error = opened(&bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(expected) && error.to_string().contains("a.safetensors"), "{error}");
    }
    // A later dtype, of which only the place is known.
    let later = opened(&made(r#"{"a":{"dtype":"X3","shape":[2],"data_offsets":[0,1]}}"#, &[1])).unwrap();
    assert_eq!(later.open("a").unwrap_err().kind(), ErrorKind::Unsupported);
    // A cell beyond Arrow's limit.
    let wide = made(r#"{"a":{"dtype":"U8","shape":[0,4294967296],"data_offsets":[0,0]}}"#, &[]);
    let error = opened(&wide).unwrap().open("a").unwrap_err().to_string();
    assert!(error.contains("too large") && error.contains("array: a"), "{error}");
}

#[test]
fn metadata_is_an_option() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let set = |json: &str| SafetensorsSink::create(&path, &WriteOptions::new().set("metadata", json));
    Box::new(set(r#"{"license": "mit", "é": "x"}"#).unwrap()).finish().unwrap();
    let file = SafetensorsFile::open(&path).unwrap();
    assert_eq!(file.metadata()[0], ("license".to_owned(), "mit".to_owned()));
    for json in ["[1]", r#"{"a": 1}"#, "{"] {
        let error = SafetensorsSink::create(folder.path().join("b"), &WriteOptions::new().set("metadata", json));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("option metadata is no JSON object of texts"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(
        tensors in prop::collection::vec((0..DTYPES.len(), prop::collection::vec(0..4_usize, 0..3), 0..9_usize, any::<u8>()), 0..6),
        cut in 0..9_usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let mut sink = Box::new(SafetensorsSink::create(&path, &WriteOptions::new()).unwrap());
        let mut expected: Vec<(FieldSpec, ArrayRef)> = Vec::new();
        for (i, (dtype, cell, rows, seed)) in tensors.iter().enumerate() {
            let field = FieldSpec::new(VALUE, DTYPES[*dtype].1, cell.clone()).unwrap();
            let bytes: Vec<u8> = (0..rows * field.row_bytes()).map(|i| match field.dtype() {
                DType::Bool => u8::from(i % 3 == 0),
                // No NaN, which bfloat16 does not keep bit by bit.
                DType::Bfloat16 => [*seed, 0x3f][i % 2],
                _ => seed.wrapping_add(i as u8),
            }).collect();
            let all = batch(&field, &bytes, *rows);
            sink.begin(&format!("t{i}\"ü"), std::slice::from_ref(&field)).unwrap();
            let first = cut.min(*rows);
            sink.write(&all.slice(0, first)).unwrap();
            sink.write(&all.slice(first, rows - first)).unwrap();
            expected.push((field, Arc::clone(all.column(0))));
        }
        let summary = sink.finish().unwrap();
        prop_assert_eq!(summary.bytes, std::fs::metadata(&path).unwrap().len());
        let file = SafetensorsFile::open(&path).unwrap();
        for (i, (field, values)) in expected.iter().enumerate() {
            let source = file.open(&format!("t{i}\"ü")).unwrap();
            prop_assert_eq!(source.fields(), std::slice::from_ref(field));
            let block = source.read(0, 0..source.rows()).unwrap();
            prop_assert_eq!(&block.array, values);
            let reversed: Vec<u64> = (0..source.rows()).rev().collect();
            let taken = source.take(0, &reversed).unwrap().array;
            prop_assert!((0..taken.len()).all(|r| taken.slice(r, 1) == values.slice(taken.len() - 1 - r, 1)));
        }
    }
}
