//! Text is written as `U`.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, Int16Array, LargeStringArray, RecordBatch, StringViewArray};
use hyperslab_core::{ArraySink, ArraySource, DType, ErrorKind, FieldSpec, Result};

use super::{NpySink, NpySource, names};
use crate::{Format, WriteOptions};

fn word() -> FieldSpec {
    FieldSpec::new("word", DType::Utf8, vec![]).unwrap()
}

fn fields() -> [FieldSpec; 3] {
    let number = |name: &str, cell| FieldSpec::new(name, DType::Int16, cell).unwrap();
    [number("a", vec![]), word(), number("b", vec![])]
}

fn texts(texts: &[&str]) -> RecordBatch {
    RecordBatch::try_from_iter([("word", Arc::new(LargeStringArray::from(texts.to_vec())) as ArrayRef)]).unwrap()
}

/// Rows around texts.
fn records(words: &[&str]) -> RecordBatch {
    let numbers = |k: i16| Arc::new((0..words.len() as i16).map(|i| i * k).collect::<Int16Array>()) as ArrayRef;
    let words = texts(words).column(0).clone();
    RecordBatch::try_from_iter([("a", numbers(1)), ("word", words), ("b", numbers(-1))]).unwrap()
}

fn sink(path: &std::path::Path, fields: &[FieldSpec], width: Option<&str>) -> Result<Box<dyn ArraySink>> {
    let options = WriteOptions::new().overwrite(true);
    let options = width.map_or(options.clone(), |width| options.set("text_width", width));
    Format::named("npy")?.create(path, fields, &options)
}

/// What a file's header says its dtype is, and the texts of a field.
fn read(path: &std::path::Path, field: usize) -> (String, Vec<String>) {
    let bytes = std::fs::read(path).unwrap();
    let header = String::from_utf8_lossy(&bytes[10..bytes.len().min(256)]).into_owned();
    let descr = header.split("'descr': ").nth(1).unwrap().split(", 'fortran_order'").next().unwrap().to_owned();
    let source = NpySource::open(path).unwrap();
    let texts = source.read(field, 0..source.rows()).unwrap().array;
    (descr, texts.as_string::<i64>().iter().map(|t| t.unwrap().to_owned()).collect())
}

#[test]
fn the_longest_text_says_how_wide_all_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let parts: [&[&str]; 3] = [&["", "grüße"], &[], &["日本", "\0a", "😀", "a b "]];
    for (width, descr) in [(None, "'<U5'"), (Some("5"), "'<U5'"), (Some("12"), "'<U12'")] {
        let mut sink = sink(&path, &[word()], width).unwrap();
        parts.iter().for_each(|part| sink.write(&texts(part)).unwrap());
        assert!(width.is_some() || names(&folder).len() <= 2 && !path.exists(), "{:?}", names(&folder));
        let summary = sink.finish().unwrap();
        assert_eq!((summary.rows, summary.bytes), (6, std::fs::metadata(&path).unwrap().len()));
        assert_eq!(read(&path, 0), (descr.to_owned(), parts.concat().iter().map(|t| t.to_string()).collect()));
        assert_eq!(names(&folder), ["a.npy"]);
        std::fs::remove_file(&path).unwrap();
    }
    let bytes = {
        let mut sink = sink(&path, &[word()], None).unwrap();
        sink.write(&texts(&["é", "ab"])).unwrap();
        sink.finish().unwrap();
        std::fs::read(&path).unwrap()
    };
    assert_eq!(bytes[128..], [0xe9, 0, 0, 0, 0, 0, 0, 0, b'a', 0, 0, 0, b'b', 0, 0, 0]);
    // Neither rows nor characters: as NumPy has it.
    for rows in [&[][..], &[""], &["", ""]] {
        let mut sink = sink(&path, &[word()], None).unwrap();
        sink.write(&texts(rows)).unwrap();
        sink.finish().unwrap();
        assert_eq!(read(&path, 0), ("'<U1'".to_owned(), rows.iter().map(|t| t.to_string()).collect()));
    }
    // Dropped, nothing is left.
    let path = folder.path().join("b.npy");
    let mut dropped = sink(&path, &[word()], None).unwrap();
    dropped.write(&texts(&["a"])).unwrap();
    drop(dropped);
    assert_eq!(names(&folder), ["a.npy"]);
}

#[test]
fn texts_among_other_fields_in_many_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let long = "ü".repeat(700);
    for width in [None, Some("700")] {
        let mut sink = sink(&path, &fields(), width).unwrap();
        let mut expected = Vec::new();
        for part in 0..4 {
            let words: Vec<String> = (0..500).map(|i| format!("{part}-{i}")).chain([long.clone()]).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            // A view of rows, whose texts do not start at the first byte.
            let all = records(&words);
            sink.write(&all.slice(0, 200)).unwrap();
            sink.write(&all.slice(200, words.len() - 200)).unwrap();
            expected.extend(words.iter().map(|w| w.to_string()));
        }
        sink.finish().unwrap();
        let (descr, found) = read(&path, 1);
        assert_eq!(descr, "[('a', '<i2'), ('word', '<U700'), ('b', '<i2')]");
        assert!(found == expected);
        let source = NpySource::open(&path).unwrap();
        let numbers = |field| {
            let block = source.read(field, 0..source.rows()).unwrap().array;
            block.as_primitive::<arrow_array::types::Int16Type>().values().to_vec()
        };
        assert!(numbers(0).iter().copied().eq((0..4).flat_map(|_| 0..501)));
        assert!(numbers(2).iter().copied().eq((0..4).flat_map(|_| (0..501).map(|i: i16| -i))));
    }
}

#[test]
fn text_of_another_type_of_arrows_is_text_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let view = Arc::new(StringViewArray::from(vec!["a text that is not within the view", "b"])) as ArrayRef;
    let mut sink = sink(&path, &[word()], None).unwrap();
    sink.write(&RecordBatch::try_from_iter([("word", view)]).unwrap()).unwrap();
    sink.finish().unwrap();
    assert_eq!(read(&path, 0).1, ["a text that is not within the view", "b"]);
}

#[test]
fn a_part_of_another_file_is_as_wide_as_its_options_say() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let options = WriteOptions::new().set("codec", "deflate");
    for (options, descr) in [(options.clone().set("text_width", "3"), "'<U3'"), (options.clone(), "'<U4'")] {
        let mut sink = Box::new(NpySink::create_part(&path, &word(), &options).unwrap().unsynced());
        sink.write(&texts(&["ab"])).unwrap();
        assert_eq!(sink.write(&texts(&["abcd"])).is_err(), descr == "'<U3'");
        sink.finish().unwrap();
        assert_eq!(read(&path, 0).0, descr);
    }
    let error = NpySink::create_part(&path, &word(), &options.set("text_width", "0")).unwrap_err().to_string();
    assert!(error.contains("from 1 to") && error.contains("a.npy"), "{error}");
}

#[test]
fn what_u_cannot_hold_names_its_row_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let null = Arc::new(LargeStringArray::from(vec![Some("a"), None])) as ArrayRef;
    let null = RecordBatch::try_from_iter([("word", null)]).unwrap();
    for (width, rows, says) in [
        (None, texts(&["a", "b\0"]), "text of row 2 ends with a NUL"),
        (Some("3"), texts(&["a", "b\0"]), "text of row 2 ends with a NUL"),
        (Some("3"), texts(&["abc", "äöüß"]), "text of row 2 has 4 characters, and each in the file has room for 3"),
        (None, null.clone(), "row 2 is NULL"),
        (Some("3"), null, "coalesce"),
    ] {
        let mut sink = sink(&path, &[word()], width).unwrap();
        sink.write(&texts(&["abc"])).unwrap();
        let error = sink.write(&rows).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let text = error.to_string();
        assert!(text.contains("\"word\"") && text.contains(says) && text.contains("a.npy"), "{text}");
        sink.write(&texts(&["x"])).unwrap();
        assert_eq!(sink.finish().unwrap().rows, 2);
        assert_eq!(read(&path, 0), ("'<U3'".to_owned(), vec!["abc".to_owned(), "x".to_owned()]));
    }
    for width in ["0", "x", "536870912"] {
        let error = sink(&path, &[word()], Some(width)).unwrap_err().to_string();
        assert!(error.contains("text_width") && error.contains("from 1 to 536870911"), "{error}");
    }
    let wide: Vec<_> = ["a", "b"].map(|name| word().renamed(name).unwrap()).to_vec();
    let error = sink(&path, &wide, Some("400000000")).unwrap_err().to_string();
    assert!(error.contains("longer than the 2147483647 bytes") && error.contains("a.npy"), "{error}");
    let binary = FieldSpec::new("raw", DType::Binary, vec![]).unwrap();
    let error = sink(&path, &[binary], None).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("binary"), "{error}");
}
