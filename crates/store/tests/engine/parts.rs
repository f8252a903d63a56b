//! Damage in every kind of file of values, found by reading, by verifying and by CHECK; and OPTIMIZE of all of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, Int32Array, LargeBinaryArray, LargeStringArray, RecordBatch};
use hyperslab_core::{ArraySource as _, DType, ErrorKind, FieldSpec, Result};
use hyperslab_store::{ArrayOptions, CheckOptions, Codec, Finding, OpenOptions, OptimizeOptions, Severity, Store};

use crate::common::*;

fn fields() -> Vec<FieldSpec> {
    let spec = |name: &str, dtype| FieldSpec::new(name, dtype, vec![]).unwrap();
    vec![
        spec("id", DType::Int32),
        spec("text", DType::Utf8),
        spec("maybe", DType::Utf8).with_nullable(true),
        spec("data", DType::Binary).with_nullable(true),
        spec("n", DType::Int32).with_nullable(true),
    ]
}

fn batch(rows: impl Iterator<Item = usize> + Clone) -> RecordBatch {
    let text = |i: usize| format!("{i}:{}", "wörter ".repeat(i % 7));
    let some = |i: usize| !i.is_multiple_of(3);
    let columns: [(&str, ArrayRef); 5] = [
        ("id", Arc::new(rows.clone().map(|i| i as i32).collect::<Int32Array>())),
        ("text", Arc::new(rows.clone().map(|i| Some(text(i))).collect::<LargeStringArray>())),
        ("maybe", Arc::new(rows.clone().map(|i| some(i).then(|| text(i + 1))).collect::<LargeStringArray>())),
        (
            "data",
            Arc::new(rows.clone().map(|i| some(i + 1).then(|| vec![i as u8; i % 5])).collect::<LargeBinaryArray>()),
        ),
        ("n", Arc::new(rows.map(|i| some(i + 2).then_some(i as i32)).collect::<Int32Array>())),
    ];
    let columns = columns.map(|(name, column)| (name, column, matches!(name, "maybe" | "data" | "n")));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// An array `a` of so many rows. Those of 90 000 are compressed in all parts, since no shard is small.
fn store(path: &Path, codec: Codec, rows: usize) -> Store {
    let store = in_folder(path);
    let mut tx = store.begin().unwrap();
    tx.create(
        "a",
        fields(),
        ArrayOptions { codec, shard_bytes: if rows < 90_000 { 256 << 10 } else { 8 << 20 }, ..ArrayOptions::default() },
    )
    .unwrap();
    tx.append("a", &batch(0..rows)).unwrap();
    tx.commit().unwrap();
    store
}

fn read(store: &Store) -> Result<Vec<ArrayRef>> {
    let a = store.snapshot()?.array("a")?;
    (0..a.fields().len()).map(|field| Ok(a.read(field, 0..a.rows())?.array)).collect()
}

fn verifying(path: &Path) -> Store {
    Store::open_with(path, OpenOptions { verify: true, ..OpenOptions::default() }).unwrap()
}

fn found(path: &Path) -> Vec<Finding> {
    hyperslab_store::check(path, &CheckOptions::default()).unwrap()
}

/// The newest entry of the log, with other contents under a right seal; checkpoints would say what it was.
fn rewrite(path: &Path, change: impl Fn(&mut serde_json::Value)) {
    let files = std::fs::read_dir(path.join("_log")).unwrap().map(|e| e.unwrap().path());
    let (checkpoints, entries): (Vec<PathBuf>, Vec<PathBuf>) =
        files.partition(|p| p.file_name().unwrap().to_string_lossy().contains("checkpoint"));
    checkpoints.iter().for_each(|p| std::fs::remove_file(p).unwrap());
    let newest = entries.into_iter().filter(|p| p.file_name().unwrap().len() == 25).max().unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&newest).unwrap()).unwrap();
    json.as_object_mut().unwrap().remove("crc32c");
    change(&mut json);
    let mut bytes = serde_json::to_vec(&json).unwrap();
    bytes.pop();
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(format!(",\"crc32c\":\"{crc:08x}\"}}\n").as_bytes());
    std::fs::write(newest, bytes).unwrap();
}

/// The records of all shards in an entry.
fn shards_of<'a>(json: &'a mut serde_json::Value, found: &mut Vec<&'a mut serde_json::Value>) {
    if json.get("part").is_some() {
        found.push(json);
        return;
    }
    match json {
        serde_json::Value::Object(map) => map.values_mut().for_each(|v| shards_of(v, found)),
        serde_json::Value::Array(all) => all.iter_mut().for_each(|v| shards_of(v, found)),
        _ => {}
    }
}

/// The files of the array `a` that the newest entry names: part, field, path.
fn files(path: &Path) -> Vec<(String, u64, PathBuf)> {
    let folder = std::fs::read_dir(path.join("arrays")).unwrap().next().unwrap().unwrap().path();
    let all = std::cell::RefCell::new(Vec::new());
    rewrite(path, |json| {
        let mut shards = Vec::new();
        shards_of(json, &mut shards);
        for shard in shards {
            let file = folder.join(shard["file"].as_str().unwrap());
            all.borrow_mut().push((shard["part"].as_str().unwrap().to_owned(), shard["field"].as_u64().unwrap(), file));
        }
    });
    all.into_inner()
}

#[test]
fn a_flipped_byte_in_any_part_of_any_codec_is_found() {
    for codec in [Codec::None, Codec::Zstd(3)] {
        let folder = tempfile::tempdir().unwrap();
        drop(store(folder.path(), codec, 90_000));
        assert_eq!(found(folder.path()), []);
        read(&verifying(folder.path())).unwrap();
        let files = files(folder.path());
        for part in ["values", "offsets", "bytes", "validity"] {
            let (.., file) = files.iter().find(|(p, ..)| p == part).unwrap();
            assert_eq!(file.extension().unwrap() == "zst", codec != Codec::None, "{part}");
            let whole = std::fs::read(file).unwrap();
            let mut flipped = whole.clone();
            let middle = 4096.min(whole.len() / 3) + whole.len() / 2;
            flipped[middle] ^= 1;
            std::fs::write(file, flipped).unwrap();
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let error = read(&verifying(folder.path())).unwrap_err();
            assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains(&name), "{part}: {error}");
            let findings = found(folder.path());
            assert_eq!(findings.len(), 1, "{part}: {findings:?}");
            assert!(findings[0].severity == Severity::Error && findings[0].file.ends_with(&name), "{findings:?}");
            assert!(findings[0].advice.contains("restore the file"), "{findings:?}");
            std::fs::write(file, whole).unwrap();
        }
        assert_eq!(found(folder.path()), []);
    }
}

#[test]
fn a_compressed_file_of_other_values_is_found_by_verifying_alone() {
    for part in ["values", "offsets", "bytes", "validity"] {
        let folder = tempfile::tempdir().unwrap();
        drop(store(folder.path(), Codec::Zstd(3), 90_000));
        let (.., file) = files(folder.path()).into_iter().find(|(p, ..)| p == part).unwrap();
        let mut plain = zstd::decode_all(std::fs::read(&file).unwrap().as_slice()).unwrap();
        let last = plain.len() - 1;
        // As seekable as before, with whole checksums of its own, but of other values.
        plain[last] ^= 1;
        let bytes = seekable(&plain);
        let stored = bytes.len();
        std::fs::write(&file, bytes).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        rewrite(folder.path(), |json| {
            let mut shards = Vec::new();
            shards_of(json, &mut shards);
            let of_file = shards.into_iter().filter(|s| s["file"].as_str() == Some(&name));
            of_file.for_each(|s| s["stored"] = stored.into());
        });
        let error = read(&verifying(folder.path())).unwrap_err().to_string();
        assert!(error.contains(&name) && error.contains("checksum"), "{part}: {error}");
        let a = array(&verifying(folder.path()), "a");
        let first: Result<Vec<_>> = (0..a.fields().len()).map(|f| a.take(f, &[0])).collect();
        assert!(first.is_err(), "{part}");
        // Who does not ask is not told, unless the values cannot be.
        if part == "values" {
            read(&in_folder(folder.path())).unwrap();
        }
    }
}

/// A file in the seekable format, as docs/file-format.md says it.
fn seekable(plain: &[u8]) -> Vec<u8> {
    let (mut out, mut table) = (Vec::new(), Vec::new());
    let mut frames: Vec<&[u8]> = vec![&plain[..4096]];
    frames.extend(plain[4096..].chunks(256 << 10));
    for frame in frames {
        let mut encoder = zstd::bulk::Compressor::new(3).unwrap();
        encoder.include_checksum(true).unwrap();
        let bytes = encoder.compress(frame).unwrap();
        table.extend((bytes.len() as u32).to_le_bytes());
        table.extend((frame.len() as u32).to_le_bytes());
        out.extend(bytes);
    }
    let count = (table.len() / 8) as u32;
    out.extend([0x5E, 0x2A, 0x4D, 0x18]);
    out.extend((table.len() as u32 + 9).to_le_bytes());
    out.extend(table);
    out.extend(count.to_le_bytes());
    out.extend([0, 0xB1, 0xEA, 0x92, 0x8F]);
    out
}

/// Changes a value of 8 bytes in a raw file, and the log's checksum with it.
fn forge(path: &Path, file: &Path, at: usize, value: u64) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[4096 + at * 8..4096 + (at + 1) * 8].copy_from_slice(&value.to_le_bytes());
    std::fs::write(file, &bytes).unwrap();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    rewrite(path, |json| {
        let mut shards = Vec::new();
        shards_of(json, &mut shards);
        for shard in shards.into_iter().filter(|s| s["file"].as_str() == Some(&name)) {
            let end = 4096 + shard["bytes"].as_u64().unwrap() as usize;
            shard["crc32c"] = format!("{:08x}", crc32c::crc32c(&bytes[4096..end])).into();
        }
    });
}

#[test]
fn offsets_that_cannot_be_are_found_by_check() {
    let planted = [
        (0, 3, "starts at byte 3"),
        (50, 1 << 40, "before its start"),
        (60, 0, "before its start"),
        (100, 1 << 40, "of a text of"),
    ];
    for (at, value, problem) in planted {
        let folder = tempfile::tempdir().unwrap();
        drop(store(folder.path(), Codec::None, 100));
        assert_eq!(found(folder.path()), []);
        let (.., file) = files(folder.path()).into_iter().find(|(part, ..)| part == "offsets").unwrap();
        forge(folder.path(), &file, at, value);
        let findings = found(folder.path());
        assert_eq!(findings.len(), 1, "{findings:?}");
        let finding = &findings[0];
        assert!(finding.severity == Severity::Error && finding.problem.contains(problem), "{finding:?}");
        assert!(finding.file.ends_with(&*file.file_name().unwrap().to_string_lossy()), "{finding:?}");
        assert!(finding.advice.contains("where its values start"), "{finding:?}");
        // Reading it is an error or gives something, and never panics.
        let _ = read(&in_folder(folder.path()));
    }
}

#[test]
fn patches_of_rows_that_are_not_there_are_found_by_check() {
    for (value, problem) in [(100, "which has 100"), (1 << 50, "which it does not cover")] {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), Codec::None, 100);
        let mut tx = store.begin().unwrap();
        tx.replace("a", &[7, 90], &batch([1, 2].into_iter())).unwrap();
        tx.commit().unwrap();
        drop(store);
        assert_eq!(found(folder.path()), []);
        let (.., file) = files(folder.path()).into_iter().find(|&(_, field, _)| field == u64::from(u32::MAX)).unwrap();
        let segment = u64::from_le_bytes(std::fs::read(&file).unwrap()[4096..4104].try_into().unwrap()) & !0xFFFF_FFFF;
        forge(folder.path(), &file, 1, if value == 100 { segment | 100 } else { segment ^ value });
        let findings = found(folder.path());
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].problem.contains(problem), "{findings:?}");
        assert!(findings[0].advice.contains("field \"id\" (which rows have new values)"), "{findings:?}");
        let _ = read(&in_folder(folder.path()));
    }
}

#[test]
fn optimizing_text_nulls_and_compressed_fields_changes_nothing_that_is_read() {
    for codec in [Codec::None, Codec::Zstd(1)] {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), codec, 20_000);
        let mut tx = store.begin().unwrap();
        tx.append("a", &batch(20_000..20_100)).unwrap();
        tx.commit().unwrap();
        let mut tx = store.begin().unwrap();
        let rows: Vec<i64> = (0..20_100).step_by(17).collect();
        tx.replace("a", &rows, &batch(rows.iter().map(|&row| row as usize + 1))).unwrap();
        tx.delete("a", &(5..20_000).step_by(13).collect::<Vec<i64>>()).unwrap();
        tx.commit().unwrap();
        let before = read(&store).unwrap();
        assert!(before[2].null_count() > 0);
        let report = store.optimize("a", &OptimizeOptions::default()).unwrap();
        assert!(report.rows_dropped > 1000 && report.rows_folded > 1000, "{report:?}");
        assert_eq!(read(&store).unwrap(), before);
        // What is done is done.
        assert_eq!(store.optimize("a", &OptimizeOptions::default()).unwrap().segments_before, 0);
        let other = if codec == Codec::None { Codec::Zstd(9) } else { Codec::None };
        let mut tx = store.begin().unwrap();
        let all = fields().iter().map(|field| (field.name().to_owned(), other)).collect();
        tx.set_options("a", None, &all).unwrap();
        tx.commit().unwrap();
        assert_eq!(read(&store).unwrap(), before);
        assert!(store.optimize("a", &OptimizeOptions::default()).unwrap().segments_before > 0);
        assert_eq!(store.optimize("a", &OptimizeOptions::default()).unwrap().segments_before, 0);
        assert_eq!(read(&store).unwrap(), before);
        assert_eq!(read(&verifying(folder.path())).unwrap(), before);
        // Another level alone is nothing to OPTIMIZE, unless it is FULL.
        let mut tx = store.begin().unwrap();
        tx.set_options("a", None, &[("text".to_owned(), Codec::Zstd(2))].into()).unwrap();
        tx.commit().unwrap();
        store.optimize("a", &OptimizeOptions::default()).unwrap();
        let mut tx = store.begin().unwrap();
        tx.set_options("a", None, &[("text".to_owned(), Codec::Zstd(5))].into()).unwrap();
        tx.commit().unwrap();
        assert_eq!(store.optimize("a", &OptimizeOptions::default()).unwrap().segments_before, 0);
        assert!(store.optimize("a", &OptimizeOptions { full: true }).unwrap().segments_before > 0);
        assert_eq!(read(&store).unwrap(), before);
        assert_eq!(found(folder.path()), []);
    }
}
