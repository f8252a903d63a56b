//! Stores that earlier programs wrote, kept in `tests/data/golden`: they are read for ever, and damaged ones give the
//! error that they gave.
//!
//! `cargo test -p hyperslab-store --test engine golden::write -- --ignored` writes them anew: only before a release, or
//! where the format got something new; stores of released formats are never written anew.

use std::path::{Path, PathBuf};

use hyperslab_core::{ArraySource, Error, ErrorKind, Result};
use hyperslab_store::{CheckOptions, Durability, OpenOptions, Severity, Store, check};
use serde_json::Value;

use crate::common::*;
use crate::everything::{everything, shown};

fn golden() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().and_then(Path::parent);
    root.unwrap().join("tests/data/golden")
}

fn open(path: &Path) -> Result<Store> {
    Store::open_with(path, OpenOptions { read_only: true, ..OpenOptions::default() })
}

/// What every version that can be read shows.
fn versions(store: &Store) -> Value {
    let versions = store.versions().unwrap();
    let shows = versions.iter().map(|v| (v.version.to_string(), shown(&store.at(v.version).unwrap()).unwrap()));
    Value::Object(shows.collect())
}

fn entry(path: &Path, version: u64) -> PathBuf {
    path.join(format!("_log/{version:020}.json"))
}

fn shard(path: &Path) -> PathBuf {
    let folder = std::fs::read_dir(path.join("arrays")).unwrap().next().unwrap().unwrap().path();
    std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

fn remove_checkpoints(path: &Path, from: u64) {
    for file in std::fs::read_dir(path.join("_log")).unwrap().map(|e| e.unwrap().path()) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let version =
            name.split_once('.').and_then(|(v, rest)| rest.starts_with("checkpoint").then(|| v.parse::<u64>()));
        if version.is_some_and(|v| v.unwrap() >= from) || name.starts_with("_last") {
            std::fs::remove_file(file).unwrap();
        }
    }
}

/// A damage to a store of four versions with one array in one shard.
struct Damage {
    name: &'static str,
    damage: fn(&Path),
    /// What reading the newest version says: kind, and what it names.
    reading: Option<(ErrorKind, &'static str)>,
    /// What CHECK names; nothing if it gives the same error.
    check: &'static str,
}

const DAMAGED: &[Damage] = &[
    Damage {
        name: "truncated-shard",
        damage: |path| std::fs::OpenOptions::new().write(true).open(shard(path)).unwrap().set_len(4100).unwrap(),
        reading: Some((ErrorKind::Corrupt, ".npy")),
        check: ".npy",
    },
    Damage { name: "flipped-byte", damage: |path| flip(&shard(path), 4100), reading: None, check: ".npy" },
    Damage {
        name: "missing-shard",
        damage: |path| std::fs::remove_file(shard(path)).unwrap(),
        reading: Some((ErrorKind::Corrupt, ".npy")),
        check: ".npy",
    },
    Damage {
        name: "garbage-log",
        damage: |path| {
            remove_checkpoints(path, 0);
            std::fs::write(entry(path, 2), b"\x00garbage\xff").unwrap();
        },
        reading: Some((ErrorKind::Corrupt, "_log/00000000000000000002.json")),
        check: "_log/00000000000000000002.json",
    },
    Damage {
        name: "missing-entry",
        damage: |path| std::fs::remove_file(entry(path, 2)).unwrap(),
        reading: Some((ErrorKind::Corrupt, "_log/00000000000000000002.json is missing")),
        check: "_log/00000000000000000002.json",
    },
    Damage {
        name: "damaged-newest-entry",
        damage: |path| {
            remove_checkpoints(path, 4);
            let file = entry(path, 4);
            let len = std::fs::metadata(&file).unwrap().len();
            std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(len / 2).unwrap();
        },
        reading: Some((ErrorKind::Corrupt, "_log/00000000000000000004.json")),
        check: "_log/00000000000000000004.json",
    },
    Damage {
        name: "newer-format",
        damage: |path| {
            let file = path.join("hyperslab.json");
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(file, text.replace("\"format\":1", "\"format\":99")).unwrap();
        },
        reading: Some((ErrorKind::Unsupported, "99")),
        check: "",
    },
];

fn small(path: &Path) {
    let store = in_folder(path);
    create(&store, "a", 1 << 20, 10);
    (1..4).for_each(|n| {
        append(&store, "a", n * 10, 10);
    });
}

/// What only one process needs.
fn tidy(path: &Path) {
    let _none = std::fs::remove_file(path.join("_log/lock"));
    let _none = std::fs::remove_dir_all(path.join("_pins"));
}

#[test]
#[ignore = "writes tests/data/golden anew"]
fn write() {
    let folder = golden();
    let _none = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("damaged")).unwrap();
    for damage in DAMAGED {
        let path = folder.join(format!("damaged/{}.slab", damage.name));
        small(&path);
        tidy(&path);
        (damage.damage)(&path);
    }
    for (name, versions_after) in [("everything", 0), ("packed-log", 205)] {
        let path = folder.join(format!("{name}.slab"));
        let store = if versions_after == 0 { everything(&path) } else { in_folder(&path) };
        if versions_after > 0 {
            create(&store, "a", 1 << 20, 1);
            (1..versions_after).for_each(|n| {
                append(&store, "a", n, 1);
            });
        }
        drop(store);
        tidy(&path);
        let shows = versions(&open(&path).unwrap());
        std::fs::write(folder.join(format!("{name}.json")), serde_json::to_string_pretty(&shows).unwrap()).unwrap();
    }
}

#[test]
fn old_stores_show_what_they_showed() {
    for name in ["everything", "packed-log"] {
        let path = golden().join(format!("{name}.slab"));
        let want: Value = serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
        assert!(
            versions(&open(&path).unwrap()) == want,
            "{name}: a version shows something else than when it was written"
        );
        let found = check(&path, &CheckOptions::default()).unwrap();
        assert!(found.iter().all(|f| f.severity == Severity::Note), "{name}: {found:?}");
        // And written to.
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("copy.slab");
        copy_folder(&path, &copy);
        let store =
            Store::open_with(&copy, OpenOptions { durability: Durability::Os, ..OpenOptions::default() }).unwrap();
        create(&store, "new", 1 << 20, 5);
        drop(store);
        assert_eq!(values(&array(&open(&copy).unwrap(), "new")), expected(5));
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|e| e.unwrap()) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn damaged_stores_say_what_is_damaged() {
    for damage in DAMAGED {
        let path = golden().join(format!("damaged/{}.slab", damage.name));
        let read = || -> Result<Vec<f32>> {
            let array = open(&path)?.snapshot()?.array("a")?;
            let read = array.read(0, 0..array.rows())?;
            assert_eq!(read.array.len(), 40);
            Ok(array.field("value")?.view::<f32>()?.as_slice().to_vec())
        };
        match (read(), damage.reading) {
            (Ok(values), None) => assert_ne!(values, expected(40), "{}", damage.name),
            (Err(error), Some((kind, names))) => {
                let text = Error::to_string(&error);
                assert!(error.kind() == kind && text.contains(names), "{}: {text}", damage.name);
                assert!(text.contains(damage.name), "{}: {text} does not name the store", damage.name);
            }
            (other, _) => panic!("{}: {other:?}", damage.name),
        }
        let found = match check(&path, &CheckOptions::default()) {
            Err(e) if damage.check.is_empty() => {
                assert!(damage.reading.is_some_and(|(kind, names)| e.kind() == kind && e.to_string().contains(names)));
                continue;
            }
            found => found.unwrap(),
        };
        let named = found.iter().find(|f| f.severity == Severity::Error && f.file.ends_with(damage.check));
        let named =
            named.or_else(|| found.iter().find(|f| f.severity == Severity::Error && f.file.contains(damage.check)));
        assert!(named.is_some_and(|f| !f.advice.is_empty()), "{}: {found:?}", damage.name);
    }
}
