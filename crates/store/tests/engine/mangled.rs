//! Stores of which a file was changed at random: every parser of the engine gets bytes that are nearly right. Nothing
//! panics; what is then shown is an error or the same values, and CHECK finds every change that matters.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hyperslab_core::{ErrorKind, Result};
use hyperslab_store::{CheckOptions, OpenOptions, Severity, Store, VacuumOptions, check};
use serde_json::Value;

use crate::common::{Random, seeds};
use crate::everything::{everything, shown};

/// What the newest version and all older ones show.
type Versions = BTreeMap<u64, Value>;

fn versions(store: &Store) -> Result<Versions> {
    let newest = store.snapshot()?.version();
    let mut shows = BTreeMap::from([(newest, shown(&*store.snapshot()?)?)]);
    for version in store.versions()? {
        shows.insert(version.version, shown(&*store.at(version.version)?)?);
    }
    Ok(shows)
}

fn open(path: &Path) -> Result<Store> {
    Store::open_with(path, OpenOptions { read_only: true, ..OpenOptions::default() })
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut found: Vec<PathBuf> = entries.flat_map(|p| if p.is_dir() { files(&p) } else { vec![p] }).collect();
    found.sort();
    found
}

/// Other bytes than these.
fn mangle(random: &mut Random, bytes: &[u8], upto: usize) -> Vec<u8> {
    let mut new = bytes.to_vec();
    let upto = upto.min(new.len());
    let at = random.below(upto);
    match random.below(8) {
        0 => new.truncate(at),
        1 => new.insert(at, random.next() as u8),
        2 => drop(new.drain(at..(at + 1 + random.below(16)).min(new.len()))),
        3 => new.extend((0..=random.below(40)).map(|_| random.next() as u8)),
        4 => {
            let end = (at + 8).min(new.len());
            new[at..end].copy_from_slice(&random.next().to_le_bytes()[..end - at]);
        }
        5 => {
            let end = (at + 1 + random.below(64)).min(new.len());
            new[at..end].fill([0, 0xff, b'9'][random.below(3)]);
        }
        6 => {
            let from = random.below(upto);
            let len = (1 + random.below(32)).min(new.len() - from.max(at));
            let piece = new[from..from + len].to_vec();
            new[at..at + len].copy_from_slice(&piece);
        }
        _ if new.is_empty() => new.push(0),
        _ => new[at] ^= 1 << random.below(8),
    }
    if new == bytes {
        new.push(b'x');
    }
    new
}

/// How much of a file is a header or something else that is parsed, rather than values.
fn parsed(name: &str, len: usize) -> usize {
    if name.ends_with(".npy") { 4096.min(len) } else { len }
}

#[test]
fn no_mangled_file_makes_it_panic_or_lie() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.slab");
    drop(everything(&path));
    let files: Vec<PathBuf> = files(&path).into_iter().filter(|f| f.metadata().unwrap().len() > 0).collect();
    let whole = versions(&open(&path).unwrap()).unwrap();
    assert!(whole.len() > 10);
    let (mut refused, mut same) = (0, 0);
    for seed in seeds("mangled", 400) {
        let mut random = Random(seed);
        let file = &files[random.below(files.len())];
        let bytes = std::fs::read(file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let upto = parsed(&name, bytes.len());
        let mut new = mangle(&mut random, &bytes, upto);
        if upto < bytes.len() {
            // Moved values are CHECK's to find: only the header changes.
            new.truncate(upto);
            new.resize(upto, 0);
            new.extend_from_slice(&bytes[upto..]);
        }
        std::fs::write(file, &new).unwrap();
        let what = format!("seed {seed}, {name}");
        match open(&path).and_then(|store| versions(&store)) {
            Ok(shows) => {
                same += 1;
                let names = || shows.keys().zip(whole.keys()).find(|(v, w)| v != w || shows[v] != whole[w]);
                assert!(shows == whole, "{what}: other values in {:?}", names());
            }
            Err(e) => {
                refused += 1;
                let kind = e.kind();
                assert!(
                    matches!(kind, ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::NotFound),
                    "{what}: {e}"
                );
            }
        }
        let _findings = check(&path, &CheckOptions::default()).map_err(|e| panic!("{what}: CHECK: {e}"));
        std::fs::write(file, &bytes).unwrap();
    }
    assert!(refused > same / 10, "{refused} refused, {same} the same");
    assert!(versions(&open(&path).unwrap()).unwrap() == whole);
}

/// Every committed byte counts: whichever is flipped, CHECK finds it.
#[test]
fn check_finds_every_flipped_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.slab");
    drop(everything(&path));
    let bad = |quick| {
        let found = check(&path, &CheckOptions { quick, ..CheckOptions::default() }).unwrap();
        found.into_iter().filter(|f| f.severity > Severity::Note).collect::<Vec<_>>()
    };
    assert_eq!(bad(false), []);
    let committed = |file: &&PathBuf| {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let len = file.metadata().unwrap().len();
        // `hyperslab.json` has no checksum: it holds an id and switches.
        len > 0
            && name != "lock"
            && name != "hyperslab.json"
            && !name.starts_with('_')
            && !file.to_string_lossy().contains("_pins")
    };
    let files = files(&path);
    let newest = format!("{:020}.json", open(&path).unwrap().snapshot().unwrap().version());
    for seed in seeds("flipped", 150) {
        let mut random = Random(seed);
        let file = files.iter().filter(committed).nth(random.below(files.iter().filter(committed).count())).unwrap();
        let mut bytes = std::fs::read(file).unwrap();
        let whole = bytes.clone();
        // The header's page is advisory; behind the committed rows there is nothing.
        let from = if file.extension().is_some_and(|e| e == "npy") { 4096 } else { 0 };
        let at = from + random.below(bytes.len() - from);
        bytes[at] ^= 1 << random.below(8);
        std::fs::write(file, &bytes).unwrap();
        let found = bad(false);
        assert!(!found.is_empty(), "seed {seed}: byte {at} of {} is flipped, and not found", file.display());
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(found.iter().any(|f| f.file.ends_with(&name)), "seed {seed}: {name}, byte {at}: {found:?}");
        std::fs::remove_file(file).unwrap();
        // A checkpoint that is gone is only made again, and nothing tells of the newest entry.
        let untold = name.ends_with(".checkpoint.json") || name == newest;
        let found = untold || bad(true).iter().any(|f| f.file.ends_with(&name));
        assert!(found, "seed {seed}: {name} is missing, and not found");
        std::fs::write(file, whole).unwrap();
    }
}

/// What another process left in `_pins` is no reason to fail, or to remove what it may need.
#[test]
fn a_mangled_pin_is_no_reason_to_fail() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.slab");
    let store = everything(&path);
    let newest = shown(&store.snapshot().unwrap()).unwrap();
    let mut random = Random(7);
    std::fs::create_dir_all(path.join("_pins")).unwrap();
    for n in 0..30 {
        let bytes: Vec<u8> = (0..random.below(200)).map(|_| random.next() as u8).collect();
        let name = format!("{:08x}-0000-4000-8000-{n:012x}", random.next() as u32);
        std::fs::write(path.join("_pins").join(name), bytes).unwrap();
    }
    let now = VacuumOptions { retain: std::time::Duration::ZERO, ..VacuumOptions::default() };
    match store.vacuum(&now) {
        Ok(_) => {}
        Err(e) => assert_eq!(e.kind(), ErrorKind::Corrupt, "{e}"),
    }
    assert_eq!(shown(&store.snapshot().unwrap()).unwrap(), newest);
}
