#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int32Array, RecordBatch};
use arrow_buffer::Buffer;
use hyperslab_core::{ArraySink, ArraySource, DType, Error, ErrorKind, FieldSpec, SinkSummary, arrow};
use proptest::prelude::*;
use tempfile::TempDir;

use super::{NpySink, NpySource};

mod dtypes;
mod text;

/// A `.npy` file made by hand: its header padded so that the data starts at `offset`.
fn npy(version: u8, descr: &str, fortran: bool, shape: &[usize], offset: usize, data: &[u8]) -> Vec<u8> {
    let shape: String = shape.iter().map(|n| format!("{n},")).collect();
    let order = if fortran { "True" } else { "False" };
    let dict = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({shape}), }}");
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend_from_slice(&[version, 0]);
    let preamble = if version == 1 { 10 } else { 12 };
    let length = offset - preamble;
    bytes.extend_from_slice(&(length as u32).to_le_bytes()[..preamble - 8]);
    bytes.extend_from_slice(dict.as_bytes());
    assert!(bytes.len() < offset);
    bytes.resize(offset - 1, b' ');
    bytes.push(b'\n');
    bytes.extend_from_slice(data);
    bytes
}

fn saved(folder: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("a.npy");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Bytes of `count` elements: special bit patterns first, then a sequence; bools are 0 and 1.
fn sample(dtype: DType, count: usize) -> Vec<u8> {
    if dtype == DType::Bool {
        return (0..count).map(|i| u8::from(i % 3 == 1)).collect();
    }
    let special: Vec<Vec<u8>> = match dtype.component_size() {
        1 => [0u8, 1, 0x7f, 0x80, 0xff].map(|v| vec![v]).to_vec(),
        // 1.0, -0.0, infinities, quiet and signalling NaNs with payloads, the smallest subnormal, the largest numbers.
        2 => [0x3c00u16, 0x8000, 0x7c00, 0xfc00, 0x7e01, 0x7d55, 0xfeaa, 1, 0x7bff, 0xffff]
            .map(|v| v.to_le_bytes().to_vec())
            .to_vec(),
        4 => [0x3f80_0000u32, 0x8000_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_dead, 0x7fa0_beef, 1, u32::MAX]
            .map(|v| v.to_le_bytes().to_vec())
            .to_vec(),
        // i64::MIN is NaT.
        _ => [
            0x3ff0 << 48,
            1 << 63,
            0x7ff0 << 48,
            0x7ff8_dead_beef_0001,
            0x7ff4_0000_0000_0001,
            i64::MAX as u64,
            1,
            u64::MAX,
        ]
        .map(|v: u64| v.to_le_bytes().to_vec())
        .to_vec(),
    };
    let size = dtype.size();
    let mut bytes = special.concat();
    bytes.extend((0..count * size).map(|i| (i * 37 % 251) as u8));
    bytes.truncate(count * size);
    bytes
}

fn big_endian(dtype: DType, bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(dtype.component_size()).flat_map(|c| c.iter().rev().copied()).collect()
}

/// From C order to Fortran order, by walking every index.
fn to_fortran(shape: &[usize], item: usize, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0; bytes.len()];
    for (i, element) in bytes.chunks(item).enumerate() {
        let (mut rest, mut at, mut stride) = (i, 0, shape.iter().product::<usize>());
        for (axis, &n) in shape.iter().enumerate() {
            stride /= n;
            let index = rest / stride;
            rest %= stride;
            at += index * shape[..axis].iter().product::<usize>();
        }
        out[at * item..][..item].copy_from_slice(element);
    }
    out
}

fn raw(source: &NpySource, array: &dyn Array) -> Vec<u8> {
    arrow::raw_bytes(&source.fields()[0], array, 0).unwrap().to_vec()
}

/// Checks that a source reads `expected`, little-endian C order, whole, in parts and row by row.
fn reads(source: &NpySource, expected: &[u8]) {
    let (rows, row_bytes) = (source.rows(), source.fields()[0].row_bytes());
    assert_eq!(expected.len(), rows as usize * row_bytes);
    let of = |start: u64, end: u64| &expected[start as usize * row_bytes..end as usize * row_bytes];
    for (start, end) in [(0, rows), (rows / 3, rows), (0, rows / 2), (rows / 3, rows / 3), (rows - 1, rows)] {
        let block = source.read(0, start..end).unwrap();
        assert_eq!(block.array.len() as u64, end - start);
        assert_eq!(block.array.data_type(), &arrow::data_type(&source.fields()[0]));
        assert_eq!(raw(source, &block.array), of(start, end), "{start}..{end} of {:?}", source.shape());
    }
    let wanted: Vec<u64> = (0..rows).rev().chain([0, 0, rows / 2]).collect();
    let block = source.take(0, &wanted).unwrap();
    let bytes: Vec<u8> = wanted.iter().flat_map(|&r| of(r, r + 1).to_vec()).collect();
    assert_eq!(raw(source, &block.array), bytes, "taken of {:?}", source.shape());
    assert!(block.copied > 0 || row_bytes == 0);
    assert_eq!(source.take(0, &[]).unwrap().array.len(), 0);
}

#[test]
fn every_dtype_layout_and_version_reads_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    for dtype in DType::ALL {
        for shape in [&[13][..], &[7, 5], &[5, 3, 4], &[3, 2, 1, 3]] {
            let values = sample(dtype, shape.iter().product());
            let fortran = to_fortran(shape, dtype.size(), &values);
            let descr = dtype.npy_descr();
            for version in 1..=3 {
                for (order, descr) in [("little", descr.clone()), ("big", descr.replace('<', ">"))] {
                    for is_fortran in [false, true] {
                        let data = if is_fortran { &fortran } else { &values };
                        let data = if order == "big" { big_endian(dtype, data) } else { data.clone() };
                        let path = saved(&folder, &npy(version, &descr, is_fortran, shape, 128, &data));
                        let source = NpySource::open(&path).unwrap();
                        assert_eq!(
                            source.fields()[0].to_string(),
                            FieldSpec::new("value", dtype, shape[1..].to_vec()).unwrap().to_string()
                        );
                        reads(&source, &values);
                        let strided = is_fortran && shape.len() > 1;
                        let swapped = order == "big" && dtype.size() > 1;
                        let copied = source.read(0, 0..source.rows()).unwrap().copied;
                        assert_eq!(copied == 0, !strided && !swapped && dtype != DType::Bool, "{:?}", source.shape());
                    }
                }
            }
        }
    }
}

#[test]
fn views_point_into_the_map() {
    let folder = tempfile::tempdir().unwrap();
    let values = sample(DType::Float32, 12);
    let source = NpySource::open(saved(&folder, &npy(1, "<f4", false, &[3, 4], 128, &values))).unwrap();
    let pointer = |block: &hyperslab_core::Block| {
        arrow::raw_bytes(&source.fields()[0], &block.array, 0).unwrap().as_ptr() as usize
    };
    let (whole, last) = (source.read(0, 0..3).unwrap(), source.read(0, 2..3).unwrap());
    assert_eq!(pointer(&last), pointer(&whole) + 32);
    assert_eq!(pointer(&whole) % 4096, 128);
    // Arrow counts the bytes of a read, not of the map.
    assert!(last.array.get_array_memory_size() < 1000);
    // An array outlives its source.
    let expected = raw(&source, &last.array);
    let field = source.fields()[0].clone();
    drop(source);
    assert_eq!(arrow::raw_bytes(&field, &last.array, 0).unwrap().as_slice(), expected);
}

#[test]
fn misaligned_headers_are_read_with_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    for dtype in DType::ALL {
        for offset in [79, 80, 81, 82, 84, 88] {
            let values = sample(dtype, 15);
            let source = NpySource::open(saved(&folder, &npy(1, &dtype.npy_descr(), false, &[5, 3], offset, &values)));
            let source = source.unwrap();
            reads(&source, &values);
            let copied = source.read(0, 1..4).unwrap().copied;
            let aligned = offset % dtype.component_size() == 0;
            if dtype != DType::Bool {
                assert_eq!(copied, if aligned { 0 } else { 9 * dtype.size() as u64 });
            }
        }
    }
}

#[test]
fn unusual_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let open = |shape: &[usize], fortran: bool, data: &[u8]| {
        NpySource::open(saved(&folder, &npy(1, "<i4", fortran, shape, 128, data))).unwrap()
    };
    for fortran in [false, true] {
        let scalar = open(&[], fortran, &7i32.to_le_bytes());
        assert_eq!((scalar.rows(), scalar.fields()[0].cell()), (1, &[][..]));
        assert_eq!(scalar.read(0, 0..1).unwrap().array.as_ref(), &Int32Array::from(vec![7]));
        for shape in [&[0][..], &[0, 3], &[0, 0, 2]] {
            let empty = open(shape, fortran, &[]);
            assert_eq!(empty.rows(), 0);
            assert_eq!(empty.read(0, 0..0).unwrap().array.len(), 0);
            assert_eq!(empty.take(0, &[]).unwrap().array.len(), 0);
            assert_eq!(empty.read(0, 0..1).unwrap_err().kind(), ErrorKind::Invalid);
        }
        for shape in [&[9, 0][..], &[9, 3, 0], &[9, 0, 3]] {
            let hollow = open(shape, fortran, &[]);
            assert_eq!(hollow.rows(), 9);
            assert_eq!(hollow.read(0, 2..9).unwrap().array.len(), 7);
            assert_eq!(hollow.take(0, &[8, 0]).unwrap().array.len(), 2);
        }
    }
    let tall = open(&[1 << 40, 0], false, &[]);
    assert_eq!(tall.read(0, 0..1 << 40).unwrap().array.len(), 1 << 40);
}

#[test]
fn bytes_after_the_data_are_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = npy(1, "|u1", false, &[3], 128, b"abc");
    bytes.extend_from_slice(b"more");
    reads(&NpySource::open(saved(&folder, &bytes)).unwrap(), b"abc");
}

#[test]
fn wrong_rows_and_fields_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source = NpySource::open(saved(&folder, &npy(1, "|u1", false, &[3], 128, b"abc"))).unwrap();
    let backwards = std::ops::Range { start: 2, end: 1 };
    for (result, says) in [
        (source.read(0, 1..4), "no row 3"),
        (source.read(0, 4..4), "no row 4"),
        (source.read(0, backwards), "no row 2"),
        (source.read(1, 0..1), "no field number 1"),
        (source.take(0, &[0, 3]), "no row 3"),
        (source.take(1, &[0]), "no field number 1"),
    ] {
        let error = result.expect_err(says);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(says) && error.to_string().contains("a.npy"), "{error}");
    }
}

#[test]
fn damaged_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |bytes: &[u8], kind: ErrorKind, says: &[&str]| {
        let error = NpySource::open(saved(&folder, bytes)).expect_err(says[0]);
        assert_eq!(error.kind(), kind, "{error}");
        for part in says.iter().chain(&["a.npy"]) {
            assert!(error.to_string().contains(part), "{error} does not say {part:?}");
        }
    };
    let whole = npy(1, "<f4", false, &[3, 4], 128, &[0; 48]);
    let incomplete = ["incomplete", "[3, 4] of float32", "needs 48 bytes", "47 are there"];
    fails(&whole[..175], ErrorKind::Corrupt, &incomplete);
    fails(&whole[..128], ErrorKind::Corrupt, &["0 are there"]);
    fails(&whole[..127], ErrorKind::Corrupt, &["incomplete copy"]);
    fails(b"", ErrorKind::Corrupt, &["magic"]);
    fails(b"id,name\n1,a\n", ErrorKind::Corrupt, &["magic"]);
    fails(&npy(1, "|O", false, &[3], 128, &[0; 24]), ErrorKind::Unsupported, &["pickled"]);
    fails(&npy(1, "<f16", false, &[3], 128, &[0; 48]), ErrorKind::Unsupported, &["<f16"]);
    fails(&npy(1, "|u1", false, &[1, 1 << 40], 128, &[]), ErrorKind::Invalid, &["too large"]);
    fails(&npy(2, "|u1", false, &[1 << 40], 128, &[1]), ErrorKind::Corrupt, &["1 are there"]);
    let long = [b"\x93NUMPY\x02\x00".as_slice(), &(1u32 << 20).to_le_bytes(), &[b' '; 1 << 10]].concat();
    fails(&long, ErrorKind::Corrupt, &["claims to be 1048576 bytes"]);
    assert_eq!(NpySource::open(folder.path()).unwrap_err().kind(), ErrorKind::Invalid);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damage_anywhere_is_an_error_or_readable(at in 0usize..176, to in any::<u8>(), length in 0usize..=176) {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = npy(1, "<f4", true, &[3, 4], 128, &[7; 48]);
        bytes[at] = to;
        bytes.truncate(length);
        if let Ok(source) = NpySource::open(saved(&folder, &bytes)) {
            let rows = source.rows().min(1 << 20);
            let _ = source.read(0, 0..rows).unwrap();
            let _ = source.take(0, &if rows > 0 { vec![rows - 1, 0] } else { vec![] }).unwrap();
        }
    }
}

#[test]
fn a_file_that_shrank_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(&folder, &npy(1, "<f8", false, &[10_000], 128, &[1; 80_000]));
    let source = NpySource::open(&path).unwrap();
    source.read(0, 9_999..10_000).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(8_128).unwrap();
    for result in [source.read(0, 9_999..10_000), source.take(0, &[9_999])] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("a.npy shrank"), "{error}");
    }
}

fn batch(field: &FieldSpec, bytes: &[u8]) -> RecordBatch {
    let rows = bytes.len() / field.row_bytes();
    let array = arrow::array_from_buffer(field, Buffer::from(bytes), rows).unwrap().array;
    RecordBatch::try_from_iter([("value", array)]).unwrap()
}

fn write(path: &Path, field: &FieldSpec, parts: &[&[u8]]) -> Result<SinkSummary, Error> {
    let mut sink = Box::new(NpySink::create(path, field)?);
    for part in parts {
        sink.write(&batch(field, part))?;
    }
    sink.finish()
}

/// The names in a folder.
fn names(folder: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_dtype_is_written_and_read_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    for dtype in DType::ALL {
        for cell in [&[][..], &[3], &[2, 3]] {
            let field = FieldSpec::new("named", dtype, cell.to_vec()).unwrap();
            let values = sample(dtype, 24 * field.elements());
            let (first, second) = values.split_at(7 * field.row_bytes());
            let path = folder.path().join("a.npy");
            let summary = write(&path, &field, &[first, &[], second]).unwrap();
            assert_eq!(summary, SinkSummary { rows: 24, bytes: 128 + values.len() as u64 });
            let file = std::fs::read(&path).unwrap();
            assert_eq!(file[128..], values);
            let source = NpySource::open(&path).unwrap();
            assert_eq!(source.shape(), field.shape(24));
            reads(&source, &values);
        }
    }
    assert_eq!(names(&folder), ["a.npy"]);
}

#[test]
fn nothing_is_visible_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let field = FieldSpec::new("value", DType::Int32, vec![]).unwrap();
    let mut sink = NpySink::create(&path, &field).unwrap();
    sink.write(&batch(&field, &[1; 4096])).unwrap();
    assert!(!path.exists());
    drop(sink);
    assert_eq!(names(&folder), [""; 0]);

    write(&path, &field, &[&7i32.to_le_bytes()]).unwrap();
    let old = NpySource::open(&path).unwrap();
    let mut sink = Box::new(NpySink::create(&path, &field).unwrap());
    sink.write(&batch(&field, &9i32.to_le_bytes())).unwrap();
    assert_eq!(NpySource::open(&path).unwrap().read(0, 0..1).unwrap().array.as_ref(), &Int32Array::from(vec![7]));
    sink.finish().unwrap();
    // Who has the old file open still reads it.
    assert_eq!(old.read(0, 0..1).unwrap().array.as_ref(), &Int32Array::from(vec![7]));
    assert_eq!(NpySource::open(&path).unwrap().read(0, 0..1).unwrap().array.as_ref(), &Int32Array::from(vec![9]));
    assert_eq!(names(&folder), ["a.npy"]);
}

#[test]
fn refused_rows_leave_the_sink_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let field = FieldSpec::new("value", DType::Int32, vec![]).unwrap();
    let mut sink = Box::new(NpySink::create(&path, &field).unwrap());
    sink.write(&batch(&field, &5i32.to_le_bytes())).unwrap();
    let column = |array: ArrayRef| RecordBatch::try_from_iter([("value", array)]).unwrap();
    let null = column(Arc::new(Int32Array::from(vec![Some(1), None])));
    let error = sink.write(&null).unwrap_err();
    assert!(error.to_string().contains("row 2 is NULL") && error.to_string().contains("a.npy"), "{error}");
    let float = column(Arc::new(arrow_array::Float32Array::from(vec![1.0])));
    assert_eq!(sink.write(&float).unwrap_err().kind(), ErrorKind::Invalid);
    let two = RecordBatch::try_from_iter([("a", null.column(0).clone()), ("b", null.column(0).clone())]).unwrap();
    assert!(sink.write(&two).unwrap_err().to_string().contains("the rows have 2"));
    assert_eq!(sink.finish().unwrap().rows, 1);
    reads(&NpySource::open(&path).unwrap(), &5i32.to_le_bytes());
}

#[test]
fn no_rows_are_a_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let field = FieldSpec::new("value", DType::Float64, vec![4]).unwrap();
    assert_eq!(write(&path, &field, &[]).unwrap(), SinkSummary { rows: 0, bytes: 128 });
    assert_eq!(NpySource::open(&path).unwrap().shape(), [0, 4]);
}

#[test]
fn what_is_no_file_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let field = FieldSpec::new("value", DType::Int32, vec![]).unwrap();
    assert_eq!(NpySink::create(folder.path(), &field).unwrap_err().kind(), ErrorKind::Invalid);
    let error = NpySink::create(folder.path().join("none").join("a.npy"), &field).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("a.npy"), "{error}");
}

#[cfg(unix)]
#[test]
fn links_and_permissions_are_those_of_ordinary_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (target, link) = (folder.path().join("target.npy"), folder.path().join("link.npy"));
    let field = FieldSpec::new("value", DType::UInt8, vec![]).unwrap();
    write(&target, &field, &[b"a"]).unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    write(&link, &field, &[b"b"]).unwrap();
    assert!(link.is_symlink());
    reads(&NpySource::open(&target).unwrap(), b"b");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    std::fs::write(folder.path().join("plain"), b"").unwrap();
    assert_eq!(mode(&target), mode(&folder.path().join("plain")));
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let field = FieldSpec::new("value", DType::UInt8, vec![]).unwrap();
    write(&path, &field, &[b"old"]).unwrap();
    let mut sink = Box::new(NpySink::create(&path, &field).unwrap());
    sink.make_writes_fail();
    let error = sink.write(&batch(&field, &[1; 1 << 20])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("a.npy"), "{error}");
    assert!(sink.finish().unwrap_err().to_string().contains("discarded"));
    reads(&NpySource::open(&path).unwrap(), b"old");
    assert_eq!(names(&folder), ["a.npy"]);
}
