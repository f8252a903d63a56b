//! Structured dtypes, and text, that grow.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int16Type};
use arrow_array::{Float32Array, Int16Array, LargeStringArray};

use super::*;
use crate::{Format, WriteOptions};

fn fields() -> Vec<FieldSpec> {
    let field = |name: &str, dtype, cell: &[usize]| FieldSpec::new(name, dtype, cell.to_vec()).unwrap();
    vec![field("a", DType::Int16, &[]), field("word", DType::Utf8, &[]), field("pair", DType::Float32, &[2])]
}

/// Rows from a number on: `(i, "w<i>", [i, i + 0.5])`.
fn rows(numbers: std::ops::Range<i16>) -> RecordBatch {
    let fields = fields();
    let pairs: Vec<f32> = numbers.clone().flat_map(|i| [f32::from(i), f32::from(i) + 0.5]).collect();
    let pairs = arrow::array_from_buffer(&fields[2], Buffer::from_vec(pairs), numbers.len()).unwrap().array;
    let words = numbers.clone().map(|i| Some(format!("w{i}"))).collect::<LargeStringArray>();
    let columns: [(&str, ArrayRef); 3] =
        [("a", Arc::new(numbers.collect::<Int16Array>())), ("word", Arc::new(words)), ("pair", pairs)];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn check(path: &Path, count: i16) {
    let source = NpySource::open(path).unwrap();
    assert_eq!((source.rows(), source.shape()), (count as u64, &[count as u64][..]));
    let read = |field: usize| source.read(field, 0..source.rows()).unwrap().array;
    assert!(read(0).as_primitive::<Int16Type>().values().iter().copied().eq(0..count));
    assert!(read(1).as_string::<i64>().iter().flatten().map(str::to_owned).eq((0..count).map(|i| format!("w{i}"))));
    let pairs = read(2);
    let pairs: &Float32Array = pairs.as_fixed_size_list().values().as_primitive::<Float32Type>();
    assert!(pairs.values().iter().copied().eq((0..count).flat_map(|i| [f32::from(i), f32::from(i) + 0.5])));
}

#[test]
fn records_grow_whatever_lies_between_their_fields() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let plain = "[('a', '<i2'), ('word', '<U6'), ('pair', '<f4', (2,))]";
    let odd = "[('a', '>i2'), ('', '|V2'), ('word', '>U4'), ('pair', '>f4', (2,)), ('', '|V5')]";
    for (descr, item) in [(plain, 34), (odd, 33)] {
        for mode in [HeaderMode::EachAppend, HeaderMode::Deferred] {
            let dict = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (0,), }}");
            let mut bytes = b"\x93NUMPY\x01\x00\xb6\x00".to_vec();
            bytes.extend_from_slice(dict.as_bytes());
            bytes.resize(191, b' ');
            bytes.push(b'\n');
            std::fs::write(&path, &bytes).unwrap();
            let appender = NpyAppender::create_records(&path, &fields(), None, mode).unwrap();
            assert_eq!(appender.fields().map(FieldSpec::name).collect::<Vec<_>>(), ["a", "word", "pair"]);
            assert_eq!(appender.append_rows(&rows(0..3)).unwrap(), 3);
            assert_eq!(appender.append_rows(&rows(3..3)).unwrap(), 3);
            // Rows of which a slice is a view.
            assert_eq!(appender.append_rows(&rows(0..9).slice(3, 6)).unwrap(), 9);
            assert_eq!(appender.append_bytes(0, &[]).unwrap(), 9);
            assert_eq!(appender.finish().unwrap(), SinkSummary { rows: 9, bytes: 9 * item });
            check(&path, 9);
            let info = npy_info(&path).unwrap();
            assert_eq!((info.dtype.as_str(), info.appendable, info.needs_recovery), ("struct", true, false));
            assert_eq!(info.byte_order == hyperslab_core::ByteOrder::Big, descr == odd);
        }
    }
    let data = std::fs::read(&path).unwrap()[192..].to_vec();
    assert!(data.chunks(33).all(|record| record[2..4] == [0, 0] && record[28..] == [0; 5]));
}

#[test]
fn records_that_broke_off_are_recovered_and_get_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let appender = NpyAppender::create_records(&path, &fields(), Some(6), HeaderMode::EachAppend).unwrap();
    appender.append_rows(&rows(0..4)).unwrap();
    let others = NpyAppender::open(&path, HeaderMode::EachAppend).unwrap();
    others.append_rows(&rows(4..6)).unwrap();
    appender.append_rows(&rows(6..7)).unwrap();
    check(&path, 7);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole, &whole[whole.len() - 34..], &[1; 9]].concat()).unwrap();
    assert!(appender.append_rows(&rows(0..1)).unwrap_err().to_string().contains("npy_recover"));
    let done = npy_recover(&path, Incomplete::Drop).unwrap();
    assert_eq!((done.before, done.after, done.dropped_bytes), (vec![7], vec![8], 9));

    let dict = "{'descr': [('shape', '<i2'), ('b', '|u1')], 'fortran_order': False, 'shape': (99,)}\n";
    let head = [&b"\x93NUMPY\x01\x00"[..], &[dict.len() as u8, 0], dict.as_bytes()].concat();
    for how in [Widen::Copy, Widen::InPlace] {
        std::fs::write(&path, [head.clone(), vec![7; 297]].concat()).unwrap();
        assert!(!npy_info(&path).unwrap().appendable);
        assert!(npy_ensure_appendable(&path, how).unwrap());
        let fields = [("shape", DType::Int16), ("b", DType::UInt8)];
        let fields = fields.map(|(name, dtype)| FieldSpec::new(name, dtype, vec![]).unwrap());
        let appender = NpyAppender::create_records(&path, &fields, None, HeaderMode::EachAppend).unwrap();
        let one: [(&str, ArrayRef); 2] =
            [("shape", Arc::new(Int16Array::from(vec![-1]))), ("b", Arc::new(UInt8Array::from(vec![8])))];
        assert_eq!(appender.append_rows(&RecordBatch::try_from_iter(one).unwrap()).unwrap(), 100);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes[bytes.len() - 6..], [7, 7, 7, 0xff, 0xff, 8]);
    }
}

#[test]
fn other_fields_are_named_and_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let npy = Format::named("npy").unwrap();
    let append = |fields: &[FieldSpec]| npy.append(&path, fields, &WriteOptions::new());
    let error = append(&fields()).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("text_width"), "{error}");
    assert!(!path.exists());
    let mut sink = npy.append(&path, &fields(), &WriteOptions::new().set("text_width", "3")).unwrap();
    sink.write(&rows(0..99)).unwrap();
    sink.finish().unwrap();
    check(&path, 99);
    let before = std::fs::read(&path).unwrap();
    let [a, word, pair] = <[FieldSpec; 3]>::try_from(fields()).unwrap();
    let wide = FieldSpec::new("pair", DType::Float32, vec![3]).unwrap();
    for (given, says) in [
        (vec![a.clone(), word.clone()], "fields are a, word, pair, and rows of a, word are to be appended"),
        (vec![a.clone(), pair.clone(), word.clone()], "field 2 of the file is \"word\" of utf8[]"),
        (vec![a.clone(), word.clone(), wide], "\"pair\" of float32[2], and \"pair\" of float32[3]"),
        (vec![a.clone(), word.clone(), pair.renamed("p").unwrap()], "\"p\" of float32[2] is to be appended"),
    ] {
        let error = append(&given).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(says) && error.to_string().contains("a.npy"), "{error}");
    }
    let mut sink = append(&fields()).unwrap();
    sink.write(&rows(0..5)).unwrap();
    let error = sink.write(&rows(99..103)).unwrap_err().to_string();
    // The rows that are appended are counted.
    assert!(error.contains("text of row 6 has 4 characters") && error.contains("room for 3"), "{error}");
    drop(sink);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_only_read_does_not_grow() {
    let golden = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    for (name, says) in [
        ("records.npy", "\"code\""),
        ("bytes.npy", "\"value\""),
        ("unicode_2d.npy", "several axes"),
        ("months.npy", "another unit"),
        ("aligned.npy", "records along 2 axes"),
    ] {
        let error = NpyAppender::open(golden(name), HeaderMode::EachAppend).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(says) && error.to_string().contains(name), "{error}");
        npy_info(golden(name)).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    std::fs::copy(golden("unicode.npy"), &path).unwrap();
    let appender = NpyAppender::open(&path, HeaderMode::EachAppend).unwrap();
    assert_eq!(appender.append(&LargeStringArray::from(vec!["ä", ""])).unwrap(), 6);
    let source = NpySource::open(&path).unwrap();
    let texts = source.read(0, 0..6).unwrap().array;
    assert_eq!(texts.as_string::<i64>().iter().flatten().collect::<Vec<_>>(), ["a", "grüße", "日本", "", "ä", ""]);
}
