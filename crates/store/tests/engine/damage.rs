//! Damaged, newer and foreign stores: each is an error that names the file, and nothing is changed.

use std::path::{Path, PathBuf};

use hyperslab_core::{ArraySource, Error, ErrorKind};
use hyperslab_store::{OpenOptions, Store};

use crate::common::*;

/// A store of `versions` versions in a folder; the array `a` has one row a version.
fn store(versions: u64) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.slab");
    let store = in_folder(&path);
    create(&store, "a", 1 << 20, 1);
    (1..versions as usize).for_each(|n| {
        append(&store, "a", n, 1);
    });
    assert_eq!(store.snapshot().unwrap().version(), versions);
    (folder, path)
}

fn entry(path: &Path, version: u64) -> PathBuf {
    path.join(format!("_log/{version:020}.json"))
}

fn checkpoints(path: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(path.join("_log")).unwrap().map(|e| e.unwrap().path());
    let mut found: Vec<PathBuf> = all.filter(|p| p.to_string_lossy().ends_with(".checkpoint.json")).collect();
    found.sort();
    found
}

fn without_checkpoints(path: &Path) {
    checkpoints(path).iter().for_each(|p| std::fs::remove_file(p).unwrap());
    let _none = std::fs::remove_file(path.join("_log/_last_checkpoint"));
}

/// Every byte of every file.
fn bytes(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()) {
        if entry.is_dir() {
            found.extend(bytes(&entry))
        } else {
            found.push((entry.clone(), std::fs::read(&entry).unwrap()))
        }
    }
    found.sort();
    found
}

/// Opening fails, whether to read or to write, and changes nothing.
fn refused(path: &Path) -> Error {
    let before = bytes(path);
    let error = Store::open(path).unwrap_err();
    let read_only = OpenOptions { read_only: true, ..OpenOptions::default() };
    assert_eq!(Store::open_with(path, read_only).unwrap_err().kind(), error.kind());
    assert_eq!(bytes(path), before, "{error}");
    assert!(error.to_string().contains("demo.slab"), "{error}");
    error
}

fn corrupt(path: &Path, names: &str) {
    let error = refused(path);
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(names), "{error} does not name {names}");
}

#[test]
fn in_a_young_store_an_entry_below_a_checkpoint_is_checked_too() {
    for version in 0..12 {
        for damage in [cut, alter] {
            let (_folder, path) = store(12);
            assert!(!checkpoints(&path).is_empty());
            damage(&entry(&path, version));
            corrupt(&path, &format!("{version:020}.json"));
        }
    }
}

fn cut(file: &Path) {
    let bytes = std::fs::read(file).unwrap();
    std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
}

/// Flips a bit in the middle, in place.
fn alter(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, &bytes).unwrap();
}

#[test]
fn an_entry_that_is_cut_short_or_altered() {
    let (_folder, path) = store(6);
    without_checkpoints(&path);
    for version in 0..=6 {
        let file = entry(&path, version);
        let whole = std::fs::read(&file).unwrap();
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&file, &whole[..cut]).unwrap();
            corrupt(&path, &format!("_log/{version:020}.json"));
        }
        for at in [0, whole.len() / 3, whole.len() - 5] {
            let mut altered = whole.clone();
            altered[at] ^= 4;
            std::fs::write(&file, &altered).unwrap();
            corrupt(&path, &format!("_log/{version:020}.json"));
        }
        std::fs::write(&file, &whole).unwrap();
    }
    assert_eq!(values(&array(&Store::open(&path).unwrap(), "a")), expected(6));
}

#[test]
fn the_newest_entry_is_checked_even_if_a_checkpoint_covers_it() {
    for versions in 1..16 {
        let (_folder, path) = store(versions);
        let file = entry(&path, versions);
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        corrupt(&path, &format!("_log/{versions:020}.json"));
        std::fs::remove_file(&file).unwrap();
        if !checkpoints(&path).iter().any(|c| c.to_string_lossy().contains(&format!("{versions:020}"))) {
            continue; // nothing tells of it
        }
        corrupt(&path, &format!("_log/{versions:020}.json"));
    }
}

#[test]
fn a_missing_entry_is_named_wherever_it_is() {
    for gone in 0..6 {
        let (_folder, path) = store(6);
        std::fs::remove_file(entry(&path, gone)).unwrap();
        corrupt(&path, &format!("_log/{gone:020}.json is missing"));
    }
    // A missing end shows by the hint.
    let (_folder, path) = store(12);
    let newest = checkpoints(&path).pop().unwrap();
    let version: u64 = newest.file_name().unwrap().to_string_lossy()[..20].parse().unwrap();
    checkpoints(&path).iter().for_each(|p| std::fs::remove_file(p).unwrap());
    (version..=12).for_each(|v| std::fs::remove_file(entry(&path, v)).unwrap());
    corrupt(&path, &format!("_log/{version:020}.json is missing"));
}

#[test]
fn an_entry_of_another_log_does_not_fit() {
    let (_folder, path) = store(4);
    let (_other_folder, other) = store(4);
    without_checkpoints(&path);
    std::fs::copy(entry(&other, 3), entry(&path, 3)).unwrap();
    corrupt(&path, "_log/00000000000000000003.json");
    let (_folder, path) = store(4);
    without_checkpoints(&path);
    std::fs::copy(entry(&path, 2), entry(&path, 3)).unwrap();
    corrupt(&path, "_log/00000000000000000003.json");
}

/// Writes an entry of the same store with other contents.
fn rewrite(path: &Path, version: u64, change: impl Fn(&mut serde_json::Value)) {
    let file = entry(path, version);
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    json.as_object_mut().unwrap().remove("crc32c");
    change(&mut json);
    std::fs::write(file, sealed(&json)).unwrap();
}

fn sealed(json: &serde_json::Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(json).unwrap();
    bytes.pop();
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(format!(",\"crc32c\":\"{crc:08x}\"}}\n").as_bytes());
    bytes
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    use serde_json::json;
    type Change = fn(&mut serde_json::Value);
    let cases: &[(Change, ErrorKind, &str)] = &[
        (|e| e["actions"] = json!([{"array.teleport": {}}]), ErrorKind::Corrupt, "array.teleport"),
        (|e| e["actions"][0]["segment.extend"]["wings"] = json!(2), ErrorKind::Corrupt, "wings"),
        (|e| e["actions"][0]["segment.extend"]["shards"][0]["kind"] = json!("zstd"), ErrorKind::Corrupt, "zstd"),
        (
            |e| e["actions"] = json!([{"protocol": {"reader": ["tiles"], "writer": []}}]),
            ErrorKind::Unsupported,
            "tiles",
        ),
        (|e| e["actions"][0]["segment.extend"]["rows"] = json!(1), ErrorKind::Corrupt, "rows"),
        (
            |e| e["actions"][0]["segment.extend"]["shards"][0]["file"] = json!("../../x"),
            ErrorKind::Corrupt,
            "file name",
        ),
        (|e| e["actions"][0]["segment.extend"]["shards"][0]["bytes"] = json!(9), ErrorKind::Corrupt, "9 bytes"),
        (|e| e["actions"][0]["segment.extend"]["shards"][0]["start"] = json!(1), ErrorKind::Corrupt, "follow"),
        (|e| e["time"] = json!(0), ErrorKind::Corrupt, "time"),
        (|e| e["version"] = json!(7), ErrorKind::Corrupt, "version 7"),
        (|e| e["prev"] = json!("00000000"), ErrorKind::Corrupt, "checksum"),
    ];
    for (change, kind, names) in cases {
        let (_folder, path) = store(3);
        without_checkpoints(&path);
        rewrite(&path, 3, change);
        let error = refused(&path);
        assert_eq!(error.kind(), *kind, "{error}");
        let text = error.to_string();
        assert!(text.contains(names) && text.contains("_log/00000000000000000003.json"), "{text}");
    }
}

#[test]
fn a_feature_that_only_writers_must_know_lets_readers_in() {
    let (_folder, path) = store(3);
    without_checkpoints(&path);
    rewrite(&path, 3, |e| {
        e["actions"] = serde_json::json!([{"protocol": {"reader": [], "writer": ["row_ids"]}}]);
    });
    let store = Store::open(&path).unwrap();
    assert_eq!(array(&store, "a").rows(), 2);
    let mut tx = store.begin().unwrap();
    tx.append_ndarray("a", &rows(0, 1)).unwrap();
    let error = tx.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("row_ids"), "{error}");
}

#[test]
fn a_damaged_checkpoint_is_passed_over_while_the_entries_are_whole() {
    let (_folder, path) = store(260);
    assert!(path.join(format!("_log/{:020}-{:020}.jsonl", 0, 99)).exists());
    for checkpoint in checkpoints(&path).into_iter().rev() {
        let whole = std::fs::read(&checkpoint).unwrap();
        for damage in [&b"garbage"[..], b"", &whole[..whole.len() / 2]] {
            std::fs::write(&checkpoint, damage).unwrap();
            assert_eq!(values(&array(&Store::open(&path).unwrap(), "a")), expected(260));
        }
    }
    // Now every entry is needed, the packed ones too.
    let pack = path.join(format!("_log/{:020}-{:020}.jsonl", 0, 99));
    let whole = std::fs::read(&pack).unwrap();
    for cut in [0, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&pack, &whole[..cut]).unwrap();
        corrupt(&path, "00000000000000000000-00000000000000000099.jsonl");
    }
    let mut altered = whole.clone();
    altered[whole.len() / 2] ^= 1;
    std::fs::write(&pack, &altered).unwrap();
    corrupt(&path, "00000000000000000000-00000000000000000099.jsonl");
    std::fs::remove_file(&pack).unwrap();
    corrupt(&path, "_log/00000000000000000000.json is missing");
}

#[test]
fn the_hint_may_be_anything() {
    let (_folder, path) = store(20);
    for hint in [&b""[..], b"garbage", b"{\"version\":900,\"bytes\":0,\"log_bytes\":0}"] {
        std::fs::write(path.join("_log/_last_checkpoint"), hint).unwrap();
        assert_eq!(array(&Store::open(&path).unwrap(), "a").rows(), 20);
    }
}

#[test]
fn a_newer_format_names_both_versions() {
    let (_folder, path) = store(1);
    std::fs::write(path.join("hyperslab.json"), r#"{"format": 2, "shape_of_things": "to come"}"#).unwrap();
    let error = refused(&path);
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("version 2") && error.to_string().contains("up to 1"), "{error}");
    for garbage in ["", "{}", "[]", r#"{"format": "one"}"#, r#"{"format": 0, "id": "x", "in_place": true}"#] {
        std::fs::write(path.join("hyperslab.json"), garbage).unwrap();
        corrupt(&path, "hyperslab.json");
    }
    std::fs::remove_file(path.join("hyperslab.json")).unwrap();
    let before = bytes(&path);
    assert!(Store::open(&path).is_err(), "a log and shards are no empty folder");
    assert_eq!(bytes(&path), before);
}

#[test]
fn a_log_without_files_is_no_empty_store() {
    let (_folder, path) = store(3);
    std::fs::remove_dir_all(path.join("_log")).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[test]
fn a_folder_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("notes.txt"), "{error}");
    let only_folders = tempfile::tempdir().unwrap();
    std::fs::create_dir(only_folders.path().join("photos")).unwrap();
    assert_eq!(Store::open(only_folders.path()).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(!only_folders.path().join("_log").exists());
    let missing = folder.path().join("nothing");
    assert_eq!(Store::open_with(&missing, OpenOptions::default()).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!missing.exists());
}

#[test]
fn an_interrupted_creation_is_finished() {
    let (_folder, path) = store(1);
    let first = std::fs::read(entry(&path, 0)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("_log")).unwrap();
    std::fs::write(entry(folder.path(), 0), first).unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(create(&store, "a", 1 << 20, 3), 1);
}

#[test]
fn a_read_only_store_refuses_to_be_changed() {
    let (_folder, path) = store(2);
    let store = Store::open_with(&path, OpenOptions { read_only: true, ..OpenOptions::default() }).unwrap();
    assert!(store.read_only());
    let mut tx = store.begin().unwrap();
    assert_eq!(tx.append_ndarray("a", &rows(0, 1)).unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(tx.drop_array("a").unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(tx.commit().unwrap(), 2);
    assert_eq!(array(&store, "a").rows(), 2);
    // It sees what others commit.
    append(&Store::open(&path).unwrap(), "a", 2, 1);
    assert_eq!(array(&store, "a").rows(), 3);
}

#[test]
fn an_open_store_notices_that_its_log_is_gone_or_altered() {
    let (_folder, path) = store(5);
    let open = Store::open(&path).unwrap();
    append(&Store::open(&path).unwrap(), "a", 5, 1);
    let file = entry(&path, 6);
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..20]).unwrap();
    let error = open.snapshot().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("00000000000000000006.json"), "{error}");
    std::fs::write(&file, whole).unwrap();
    assert_eq!(open.snapshot().unwrap().version(), 6);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(open.snapshot().unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_handle_far_behind_catches_up_through_packs() {
    let (_folder, path) = store(5);
    let open = Store::open(&path).unwrap();
    let other = in_folder(&path);
    (5..400).for_each(|n| {
        append(&other, "a", n, 1);
    });
    assert!(!entry(&path, 6).exists(), "it is packed");
    assert_eq!(array(&open, "a").rows(), 400);
    append(&open, "a", 400, 1);
    assert_eq!(values(&array(&other, "a")), expected(401));
}

#[test]
fn a_short_or_missing_shard_is_named() {
    let (_folder, path) = store(1);
    let shard = std::fs::read_dir(path.join("arrays")).unwrap().next().unwrap().unwrap().path();
    let shard = std::fs::read_dir(shard).unwrap().next().unwrap().unwrap().path();
    let name = shard.file_name().unwrap().to_string_lossy().into_owned();
    let file = std::fs::OpenOptions::new().write(true).open(&shard).unwrap();
    file.set_len(4100).unwrap();
    let read = || {
        let field = array(&Store::open(&path).unwrap(), "a").field("value").unwrap();
        field.view::<f32>().map(drop).unwrap_err()
    };
    let error = read();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(&name), "{error}");
    std::fs::remove_file(&shard).unwrap();
    assert!(read().to_string().contains(&name));
}

#[test]
fn a_field_without_shards_reads_as_zeros() {
    let (_folder, path) = store(1);
    without_checkpoints(&path);
    // A second segment of 3 rows without a shard, then a third that is the first one's shard.
    rewrite(&path, 1, |e| {
        let add = e["actions"][1].clone();
        let mut zeros = add.clone();
        zeros["segment.add"]["segment"] = 1.into();
        zeros["segment.add"]["rows"] = 3.into();
        zeros["segment.add"]["shards"] = serde_json::json!([]);
        let mut again = add;
        again["segment.add"]["segment"] = 2.into();
        e["actions"].as_array_mut().unwrap().extend([zeros, again]);
    });
    let a = array(&Store::open(&path).unwrap(), "a");
    let expected = [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
    assert_eq!(values(&a), expected);
    assert!(!a.field("value").unwrap().view::<f32>().unwrap().is_view());
    assert_eq!((a.rows(), a.run_end(0, 0), a.run_end(0, 1), a.run_end(0, 4)), (5, 1, 4, 5));
    let taken = a.take(0, &[4, 2, 0]).unwrap().array;
    let taken = hyperslab_core::arrow::raw_bytes(&fields()[0], taken.as_ref(), 0).unwrap();
    assert_eq!(taken.typed_data::<f32>(), [0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    assert_eq!(a.read(0, 1..3).unwrap().array.len(), 2);
}

/// Replaces a random value somewhere in the JSON.
fn scramble(random: &mut impl FnMut(usize) -> usize, json: &mut serde_json::Value) {
    use serde_json::{Value, json};
    let inside = random(8) > 0;
    match json {
        Value::Object(map) if inside && !map.is_empty() => {
            let key = map.keys().nth(random(map.len())).cloned().unwrap();
            match random(20) {
                0 => drop(map.remove(&key)),
                _ => scramble(random, map.get_mut(&key).unwrap()),
            }
        }
        Value::Array(list) if inside && !list.is_empty() => {
            let at = random(list.len());
            match random(10) {
                0 => drop(list.remove(at)),
                1 => list.push(list[at].clone()),
                _ => scramble(random, &mut list[at]),
            }
        }
        other => {
            let values = [
                json!(0),
                json!(1),
                json!(-1),
                json!(4096),
                json!(u64::MAX),
                json!(i64::MAX),
                json!(i64::MIN),
                json!(u32::MAX),
                json!(1.5),
                json!(""),
                json!("x"),
                json!("public"),
                json!("float64"),
                json!(null),
                json!(true),
                json!([]),
                json!([0]),
                json!({}),
            ];
            *other = values[random(values.len())].clone();
        }
    }
}

#[test]
fn no_log_makes_it_panic() {
    let (_folder, path) = store(12);
    let mut seed = 1_u64;
    let mut random = |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % n
    };
    let newest_checkpoint = checkpoints(&path).pop().unwrap();
    let checkpoint_version: u64 = newest_checkpoint.file_name().unwrap().to_string_lossy()[..20].parse().unwrap();
    let originals = bytes(&path.join("_log"));
    let (mut opened, mut refused) = (0, 0);
    for round in 0..1500 {
        let (file, version) = match round % 3 {
            0 => (newest_checkpoint.clone(), checkpoint_version),
            1 => (entry(&path, 12), 12),
            _ => (entry(&path, 1), 1),
        };
        if round % 3 > 0 {
            checkpoints(&path).iter().for_each(|p| std::fs::remove_file(p).unwrap());
        }
        let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        json.as_object_mut().unwrap().remove("crc32c");
        (0..=random(3)).for_each(|_| scramble(&mut random, &mut json));
        std::fs::write(&file, sealed(&json)).unwrap();
        match Store::open_with(&path, OpenOptions { read_only: true, ..OpenOptions::default() }) {
            Ok(store) => {
                opened += 1;
                let snapshot = store.snapshot().unwrap();
                for name in snapshot.arrays("public") {
                    let array = snapshot.array(name.as_str()).unwrap();
                    let _info = array.info();
                    let _first = array.run_end(0, 0);
                    let _row = (array.rows() > 0).then(|| array.read(0, 0..1).map(drop));
                }
            }
            Err(e) => {
                refused += 1;
                assert!(matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{version}: {e}");
            }
        }
        for (path, bytes) in &originals {
            if round % 3 > 0 || *path == file {
                std::fs::write(path, bytes).unwrap();
            }
        }
    }
    assert!(opened > 50 && refused > 500, "{opened} {refused}");
}
