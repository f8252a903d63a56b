//! CHECK finds every damage that is planted, and says what can be saved.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyperslab_core::ErrorKind;
use hyperslab_store::{ArrayOptions, CheckOptions, Codec, Finding, OpenOptions, Severity, Store, VacuumOptions, check};

use crate::common::*;

/// A store of `versions` versions; the array `a` has ten rows a version, `b` is of two shards in segments of four.
fn store(versions: u64) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.slab");
    let store = in_folder(&path);
    create(&store, "a", 1 << 20, 10);
    create(&store, "b", 4096, 900);
    (2..versions).for_each(|n| {
        append(&store, "a", (n as usize - 1) * 10, 10);
    });
    assert_eq!(store.snapshot().unwrap().version(), versions);
    (folder, path)
}

fn found(path: &Path) -> Vec<Finding> {
    check(path, &CheckOptions::default()).unwrap()
}

fn quickly(path: &Path) -> Vec<Finding> {
    check(path, &CheckOptions { quick: true, ..CheckOptions::default() }).unwrap()
}

fn repair(path: &Path) -> Vec<Finding> {
    check(path, &CheckOptions { repair: true, ..CheckOptions::default() }).unwrap()
}

/// The one finding.
fn one(findings: &[Finding]) -> Finding {
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings[0].clone()
}

fn log(path: &Path, name: &str) -> PathBuf {
    path.join("_log").join(name)
}

fn entry(version: u64) -> String {
    format!("_log/{version:020}.json")
}

fn checkpoints(path: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(path.join("_log")).unwrap().map(|e| e.unwrap().path());
    let mut found: Vec<PathBuf> = all.filter(|p| p.to_string_lossy().ends_with(".checkpoint.json")).collect();
    found.sort();
    found
}

/// The shards of an array that has the name in the newest version, by size.
fn shards(path: &Path, name: &str) -> Vec<PathBuf> {
    let store = Store::open(path).unwrap();
    let rows = array(&store, name).rows();
    drop(store);
    let mut all = Vec::new();
    for folder in std::fs::read_dir(path.join("arrays")).unwrap() {
        let files: Vec<PathBuf> =
            std::fs::read_dir(folder.unwrap().path()).unwrap().map(|f| f.unwrap().path()).collect();
        let bytes: u64 = files.iter().map(|f| std::fs::metadata(f).unwrap().len() - 4096).sum();
        if bytes == rows * 8 {
            all = files;
        }
    }
    assert!(!all.is_empty());
    all.sort_by_key(|f| std::cmp::Reverse(std::fs::metadata(f).unwrap().len()));
    all
}

fn flip(file: &Path, at: u64) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at as usize] ^= 0x10;
    std::fs::write(file, bytes).unwrap();
}

fn cut(file: &Path, len: u64) {
    std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(len).unwrap();
}

fn ends_with(file: &str, path: &Path) -> bool {
    file.rsplit('/').next() == path.file_name().and_then(|name| name.to_str())
}

#[test]
fn a_whole_store_is_clean() {
    for versions in [2, 7, 250] {
        let (_folder, path) = store(versions);
        assert_eq!(found(&path), []);
        assert_eq!(quickly(&path), []);
        // Checking changes nothing, repairing what is whole neither.
        assert_eq!(repair(&path), []);
        let error = check(path.join("nothing"), &CheckOptions::default()).unwrap_err();
        assert!(error.to_string().contains("nothing"), "{error}");
    }
}

#[test]
fn a_missing_shard() {
    let (_folder, path) = store(5);
    let file = shards(&path, "b")[0].clone();
    std::fs::remove_file(&file).unwrap();
    for findings in [found(&path), quickly(&path)] {
        let finding = one(&findings);
        assert_eq!((finding.severity, finding.problem.as_str()), (Severity::Error, "it is missing"));
        assert!(ends_with(&finding.file, &file), "{finding:?}");
        assert_eq!(finding.array, Some("b".into()));
        assert!(finding.advice.contains("512 rows") && finding.advice.contains("\"value\""), "{finding:?}");
    }
    let only = |name: &str| CheckOptions { array: Some(name.into()), ..CheckOptions::default() };
    assert_eq!(check(&path, &only("a")).unwrap(), []);
    assert_eq!(check(&path, &only("b")).unwrap().len(), 1);
}

#[test]
fn a_shortened_shard() {
    let (_folder, path) = store(5);
    let file = shards(&path, "a")[0].clone();
    cut(&file, 4096 + 8 * 25 + 3);
    for findings in [found(&path), quickly(&path)] {
        let finding = one(&findings);
        assert_eq!(finding.severity, Severity::Error);
        assert!(finding.problem.contains("4299 bytes, and 4416 were committed"), "{finding:?}");
        // Version 1 had 10 rows, 3 had 20, 4 had 30.
        assert!(finding.advice.contains("first 25 rows are whole; 15 rows"), "{finding:?}");
        assert!(finding.advice.contains("versions from 4 on"), "{finding:?}");
    }
}

#[test]
fn a_flipped_byte_of_values() {
    let (_folder, path) = store(5);
    let file = shards(&path, "a")[0].clone();
    // In row 17, which version 3 appended.
    flip(&file, 4096 + 17 * 8 + 2);
    let finding = one(&found(&path));
    assert_eq!((finding.severity, finding.array.clone()), (Severity::Error, Some("a".into())));
    assert!(ends_with(&finding.file, &file) && finding.problem.contains("checksum"), "{finding:?}");
    assert!(finding.advice.contains("first 10 rows are whole; 30 rows"), "{finding:?}");
    assert!(finding.advice.contains("versions from 3 on"), "{finding:?}");
    assert_eq!(quickly(&path), [], "values are not read");
    // Bytes that belong to nobody do not matter.
    flip(&file, 4096 + 17 * 8 + 2);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.extend_from_slice(b"torn append");
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(found(&path), []);
}

#[test]
fn a_verifying_read_finds_a_flipped_byte() {
    let (_folder, path) = store(5);
    let verifying = || Store::open_with(&path, OpenOptions { verify: true, ..OpenOptions::default() }).unwrap();
    let read = |store: &Store, name: &str| store.snapshot()?.array(name)?.field("value")?.view::<f32>().map(drop);
    read(&verifying(), "a").unwrap();
    read(&verifying(), "b").unwrap();
    let (a, b) = (shards(&path, "a")[0].clone(), shards(&path, "b")[1].clone());
    flip(&a, 4096 + 17 * 8 + 2);
    flip(&b, 4096 + 100 * 8);
    // Who does not ask for it is not told.
    read(&Store::open(&path).unwrap(), "a").unwrap();
    let store = verifying();
    for (name, file) in [("a", &a), ("b", &b), ("a", &a)] {
        let error = read(&store, name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let file = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(error.to_string().contains(&file) && error.to_string().contains("checksum"), "{error}");
    }
    // So is who reads a few rows.
    let b = array(&store, "b");
    assert!(b.field("value").unwrap().rows::<f32>(600..601).is_err());
    // Once verified, a shard is not read again.
    let (_folder, path) = self::store(5);
    let store = Store::open_with(&path, OpenOptions { verify: true, ..OpenOptions::default() }).unwrap();
    read(&store, "a").unwrap();
    flip(&shards(&path, "a")[0], 4096 + 17 * 8 + 2);
    read(&store, "a").unwrap();
}

#[test]
fn a_wrong_header_loses_nothing() {
    let (_folder, path) = store(5);
    let file = shards(&path, "a")[0].clone();
    flip(&file, 0);
    let finding = one(&found(&path));
    assert_eq!(finding.severity, Severity::Warning);
    assert!(finding.problem.contains("header") && finding.advice.contains("nothing is lost"), "{finding:?}");
    flip(&file, 0);
    let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()[..128]).into_owned();
    let at = text.find("(40").unwrap() as u64;
    flip(&file, at + 1); // 40 becomes $0
    assert_eq!(one(&found(&path)).severity, Severity::Warning);
}

#[test]
fn a_damaged_newest_entry_is_moved_aside() {
    for damage in [0, 1, 2] {
        let (_folder, path) = store(6);
        let file = path.join(entry(6));
        match damage {
            0 => flip(&file, 40),
            1 => cut(&file, 60),
            _ => std::fs::write(&file, "").unwrap(),
        }
        let broken = std::fs::read(&file).unwrap();
        Store::open(&path).unwrap_err();
        let findings = found(&path);
        let finding = findings.iter().find(|f| f.file == entry(6)).unwrap();
        assert_eq!(finding.severity, Severity::Error);
        let readable = checkpoints(&path).iter().any(|c| c.to_string_lossy().contains("0006.checkpoint"));
        assert!(!readable);
        assert!(finding.advice.contains("--repair") && finding.advice.contains("version 5 can"), "{finding:?}");
        let findings = repair(&path);
        let aside = findings.last().unwrap();
        assert_eq!(aside.severity, Severity::Note);
        assert!(aside.file.starts_with("_log/damaged-"), "{aside:?}");
        assert_eq!(std::fs::read(path.join(&aside.file).join("00000000000000000006.json")).unwrap(), broken);
        // The store goes on from the version before.
        assert_eq!(found(&path).iter().filter(|f| f.severity > Severity::Note).count(), 0);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.snapshot().unwrap().version(), 5);
        assert_eq!(values(&array(&store, "a")), expected(40));
        append(&store, "a", 40, 20);
        assert_eq!(values(&array(&store, "a")), expected(60));
        drop(store);
        assert_eq!(found(&path).iter().filter(|f| f.severity > Severity::Note).count(), 0);
    }
}

#[test]
fn a_missing_entry_before_others() {
    let (_folder, path) = store(8);
    checkpoints(&path).iter().for_each(|c| std::fs::remove_file(c).unwrap());
    std::fs::remove_file(log(&path, "_last_checkpoint")).unwrap();
    std::fs::remove_file(path.join(entry(5))).unwrap();
    let finding = one(&found(&path));
    assert_eq!((finding.file.clone(), finding.problem.as_str()), (entry(5), "it is missing"));
    assert!(finding.advice.contains("versions 5 to 8 cannot be read, version 4 can"), "{finding:?}");
    let findings = repair(&path);
    assert!(findings.last().unwrap().problem.contains("3 files were moved"), "{findings:?}");
    let store = Store::open(&path).unwrap();
    assert_eq!(store.snapshot().unwrap().version(), 4);
    assert_eq!(values(&array(&store, "a")), expected(30));
}

#[test]
fn an_entry_below_a_checkpoint() {
    let (_folder, path) = store(60);
    let newest = checkpoints(&path).pop().unwrap();
    let version: u64 = newest.file_name().unwrap().to_string_lossy()[..20].parse().unwrap();
    flip(&path.join(entry(4)), 30);
    let older = checkpoints(&path).len() > 1;
    let finding = one(&found(&path));
    assert_eq!((finding.file.clone(), finding.severity), (entry(4), Severity::Error));
    assert!(finding.advice.contains("checkpoint holds"), "{finding:?}");
    assert!(older || finding.advice.contains(&(version - 1).to_string()), "{finding:?}");
    assert!(finding.advice.contains("--repair"), "{finding:?}");
}

#[test]
fn a_repair_lets_the_log_start_at_a_checkpoint() {
    for (n, missing) in [(14, false), (14, true), (60, true), (260, false)] {
        let (_folder, path) = store(n);
        let whole = values(&array(&Store::open(&path).unwrap(), "a"));
        let packed = log(&path, "00000000000000000000-00000000000000000099.jsonl");
        match (missing, packed.exists()) {
            (true, _) => std::fs::remove_file(path.join(entry(2))).unwrap(),
            (false, true) => flip(&packed, 400),
            (false, false) => flip(&path.join(entry(2)), 30),
        }
        if n < 60 {
            let error = Store::open(&path).unwrap_err().to_string();
            assert!(error.contains(&entry(2)), "{error}");
        }
        let said = repair(&path);
        let note = said.last().unwrap();
        assert!(note.severity == Severity::Note && note.problem.contains("the log starts at version"), "{said:?}");
        // It opens, with everything of the newest version; what was given up says so.
        let store = Store::open(&path).unwrap();
        assert_eq!(values(&array(&store, "a")), whole);
        let error = store.at(1).unwrap_err().to_string();
        assert!(error.contains("where the log starts"), "{error}");
        let versions = store.versions().unwrap();
        let first = versions.first().map_or(0, |v| v.version);
        assert!(first > 2 && store.at(first).is_ok() && !store.history("a").unwrap().is_empty(), "{first}");
        // It goes on: checkpoints and packs are written, VACUUM runs, CHECK and another repair find nothing to do.
        for _ in 0..230 {
            append(&store, "a", whole.len() / 2, 1);
        }
        store.vacuum(&VacuumOptions { retain: Duration::ZERO, ..VacuumOptions::default() }).unwrap();
        drop(store);
        let left = repair(&path);
        assert!(left.iter().all(|f| f.severity == Severity::Note), "{left:#?}");
        assert!(left.iter().any(|f| f.file.ends_with(".start.json")), "{left:#?}");
        let store = Store::open(&path).unwrap();
        assert_eq!(array(&store, "a").rows(), (whole.len() / 2 + 230) as u64);
    }
}

#[test]
fn damage_in_a_pack() {
    let (_folder, path) = store(250);
    let pack = log(&path, "00000000000000000000-00000000000000000099.jsonl");
    assert!(pack.exists());
    let whole = std::fs::read(&pack).unwrap();
    let name = "_log/00000000000000000000-00000000000000000099.jsonl";
    flip(&pack, whole.len() as u64 / 2);
    let finding = one(&found(&path));
    assert_eq!((finding.file.as_str(), finding.severity), (name, Severity::Error));
    assert!(finding.advice.contains("a checkpoint holds everything"), "{finding:?}");
    // A line is missing: that entry is, and the pack says how many it should hold.
    let lines: Vec<&[u8]> = whole.split_inclusive(|&b| b == b'\n').collect();
    std::fs::write(&pack, [&lines[..50], &lines[51..]].concat().concat()).unwrap();
    let findings = found(&path);
    assert!(findings.iter().any(|f| f.file == name && f.problem.contains("99 entries")), "{findings:?}");
    assert!(findings.iter().any(|f| f.file == entry(50) && f.problem == "it is missing"), "{findings:?}");
    std::fs::remove_file(&pack).unwrap();
    assert_eq!(found(&path).iter().filter(|f| f.severity == Severity::Error).count(), 100);
    // A loose copy of an entry makes up for it.
    std::fs::write(&pack, &whole).unwrap();
    flip(&pack, 30);
    std::fs::write(path.join(entry(0)), lines[0]).unwrap();
    let finding = one(&found(&path));
    assert_eq!((finding.file.as_str(), finding.severity), (name, Severity::Warning));
}

#[test]
fn a_damaged_checkpoint_and_a_garbage_hint() {
    let (_folder, path) = store(60);
    let newest = checkpoints(&path).pop().unwrap();
    flip(&newest, 100);
    std::fs::write(log(&path, "_last_checkpoint"), "garbage").unwrap();
    let findings = found(&path);
    assert_eq!(findings.len(), 2, "{findings:#?}");
    assert_eq!((findings[0].file.as_str(), findings[0].severity), ("_log/_last_checkpoint", Severity::Note));
    assert!(ends_with(&findings[1].file, &newest) && findings[1].severity == Severity::Warning, "{findings:?}");
    let store = Store::open(&path).unwrap();
    assert_eq!(values(&array(&store, "a")), expected(590));
    drop(store);
    repair(&path);
    assert!(!newest.exists());
    assert_eq!(found(&path), []);
}

#[test]
fn a_checkpoint_that_says_something_else() {
    let (_folder, path) = store(60);
    let (_other_folder, other) = store(60);
    let (newest, from) = (checkpoints(&path).pop().unwrap(), checkpoints(&other).pop().unwrap());
    if newest.file_name() != from.file_name() {
        return;
    }
    std::fs::copy(from, &newest).unwrap();
    let finding = one(&found(&path));
    assert!(ends_with(&finding.file, &newest) && finding.problem.contains("something else"), "{finding:?}");
}

#[test]
fn a_missing_store_file_and_leftovers() {
    let (_folder, path) = store(4);
    std::fs::write(path.join("_log/.tmp-1-2-3"), "half").unwrap();
    let folder = std::fs::read_dir(path.join("arrays")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(folder.join("00000000-0000-0000-0000-000000000001-0.npy"), "orphan").unwrap();
    let findings = found(&path);
    assert_eq!(findings.len(), 2, "{findings:#?}");
    assert!(findings.iter().all(|f| f.severity == Severity::Note && f.advice.contains("VACUUM")), "{findings:?}");
    std::fs::remove_file(path.join("hyperslab.json")).unwrap();
    let findings = found(&path);
    assert_eq!((findings[0].file.as_str(), findings[0].severity), ("hyperslab.json", Severity::Error));
    // What is being written by a process that lives is no left-over.
    let (_folder, path) = store(4);
    let store = Store::open(&path).unwrap();
    let mut tx = store.begin().unwrap();
    tx.append_ndarray("a", &rows(0, 3_000_000)).unwrap();
    assert_eq!(found(&path), []);
    drop(tx);
}

#[test]
fn damage_of_deleted_and_compressed_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.slab");
    let store = in_folder(&path);
    create(&store, "a", 1 << 20, 10_000);
    let mut tx = store.begin().unwrap();
    // More single rows than an entry holds.
    tx.delete("a", &(0..9000).step_by(2).collect::<Vec<i64>>()).unwrap();
    let options = ArrayOptions { codec: Codec::Zstd(3), ..ArrayOptions::default() };
    tx.create("z", fields(), options).unwrap();
    tx.append_ndarray("z", &rows(0, 100_000)).unwrap();
    tx.commit().unwrap();
    drop(store);
    assert_eq!(found(&path), []);
    let mut files: Vec<PathBuf> = Vec::new();
    for array in std::fs::read_dir(path.join("arrays")).unwrap() {
        files.extend(std::fs::read_dir(array.unwrap().path()).unwrap().map(|f| f.unwrap().path()));
    }
    for (suffix, array) in [(".roaring", "a"), (".npy.zst", "z")] {
        let file = files.iter().find(|f| f.to_string_lossy().ends_with(suffix)).unwrap();
        let whole = std::fs::read(file).unwrap();
        let damages: [&dyn Fn(); 3] =
            [&|| flip(file, whole.len() as u64 / 2), &|| cut(file, whole.len() as u64 - 5), &|| {
                std::fs::remove_file(file).unwrap();
            }];
        for damage in damages {
            damage();
            let finding = one(&found(&path));
            assert_eq!((finding.severity, finding.array.clone()), (Severity::Error, Some(array.into())), "{finding:?}");
            assert!(ends_with(&finding.file, file) && !finding.advice.is_empty(), "{finding:?}");
            std::fs::write(file, &whole).unwrap();
        }
    }
}
