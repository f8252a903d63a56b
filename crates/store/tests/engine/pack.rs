//! Packing a store into one file, and back.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use hyperslab_core::ErrorKind;
use hyperslab_store::{
    ArrayOptions, CheckOptions, Codec, Durability, OpenOptions, PackOptions, Severity, Store, UnpackOptions,
    VacuumOptions, check, is_pack, pack_info, unpack, verify_pack,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::*;
use crate::everything::{everything, shown};

fn all() -> PackOptions {
    PackOptions { all_versions: true, ..PackOptions::default() }
}

fn unpack_new(pack: &Path, store: &Path) -> Store {
    unpack(pack, store, &UnpackOptions::default()).unwrap();
    whole(store);
    Store::open_with(store, options(Durability::Os)).unwrap()
}

/// CHECK finds nothing, but where the log starts.
fn whole(store: &Path) {
    let mut findings = check(store, &CheckOptions::default()).unwrap();
    findings.retain(|finding| finding.severity != Severity::Note || !finding.file.ends_with(".start.json"));
    assert_eq!(findings, []);
}

fn newest(store: &Store) -> Value {
    shown(&store.snapshot().unwrap()).unwrap()
}

/// What is in a folder, files and folders alike.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Shards that are large enough to be compressed.
fn compressed(store: &Store) {
    let mut tx = store.begin().unwrap();
    let options = ArrayOptions { shard_bytes: 1 << 20, codec: Codec::Zstd(3), ..ArrayOptions::default() };
    tx.create("compressed", fields(), options).unwrap();
    tx.append_ndarray("compressed", &rows(0, 100_000)).unwrap();
    tx.commit().unwrap();
}

/// A folder, a store in it with everything that the format knows, and the path of a pack.
fn with_everything() -> (TempDir, Store, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let store = everything(&folder.path().join("demo.slab"));
    compressed(&store);
    let pack = folder.path().join("demo.tar.zst");
    (folder, store, pack)
}

#[test]
fn the_newest_version_comes_back_and_goes_on() {
    let (folder, store, pack) = with_everything();
    let report = store.pack(&pack, &PackOptions::default()).unwrap();
    assert_eq!(verify_pack(&pack).unwrap(), report);
    assert_eq!(report.packed, std::fs::metadata(&pack).unwrap().len());
    let path = folder.path().join("copy.slab");
    let copy = unpack_new(&pack, &path);
    assert_eq!(newest(&copy), newest(&store));
    assert_eq!(copy.snapshot().unwrap().version(), store.snapshot().unwrap().version());
    // The versions before are not there, and say so; nor are their tags.
    assert_eq!(copy.at(3).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(copy.snapshot().unwrap().tags().is_empty());
    // Both go on alike.
    for store in [&store, &copy] {
        let mut tx = store.begin().unwrap();
        tx.delete("points", &[1, 2]).unwrap();
        tx.replace_ndarray("copy", "position", &[0], &rows(3, 1)).unwrap();
        tx.commit().unwrap();
        store.optimize("points", &hyperslab_store::OptimizeOptions { full: true }).unwrap();
    }
    assert_eq!(newest(&copy), newest(&store));
    whole(&path);
    // A pack of what was unpacked is that of the store.
    let again = folder.path().join("again.tar.zst");
    copy.pack(&again, &PackOptions::default()).unwrap();
    assert_eq!(newest(&unpack_new(&again, &folder.path().join("again.slab"))), newest(&store));
    // And so is one of its versions, which begin where it was unpacked.
    let unpacked = unpack_new(&pack, &folder.path().join("unpacked.slab"));
    for changed in [false, true] {
        if changed {
            create(&unpacked, "later", 4096, 10);
        }
        unpacked.pack(&again, &PackOptions { overwrite: true, ..all() }).unwrap();
        let copy = unpack_new(&again, &folder.path().join(format!("{changed}.slab")));
        let first = pack_info(&pack).unwrap().version;
        assert_eq!(copy.snapshot().unwrap().version(), first + u64::from(changed));
        assert_eq!(shown(&copy.at(first).unwrap()).unwrap(), shown(&unpacked.at(first).unwrap()).unwrap());
        assert_eq!(newest(&copy), newest(&unpacked));
    }
}

#[test]
fn all_versions_come_back() {
    let (folder, store, pack) = with_everything();
    create(&store, "many", 4096, 1);
    for n in 1..230 {
        append(&store, "many", n, 1);
    }
    let report = store.pack(&pack, &all()).unwrap();
    assert_eq!(verify_pack(&pack).unwrap(), report);
    let copy = unpack_new(&pack, &folder.path().join("copy.slab"));
    let newest = store.snapshot().unwrap();
    assert_eq!(copy.snapshot().unwrap().tags(), newest.tags());
    for version in 0..=newest.version() {
        let (one, other) = (store.at(version).unwrap(), copy.at(version).unwrap());
        assert_eq!(shown(&one).unwrap(), shown(&other).unwrap(), "version {version}");
        assert_eq!(one.time(), other.time());
    }
    assert!(names(&folder.path().join("copy.slab/_log")).iter().any(|name| name.ends_with(".jsonl")));
}

#[test]
fn expired_versions_are_left_out_and_tagged_ones_kept() {
    let (folder, store, pack) = with_everything();
    let retain =
        VacuumOptions { retain: std::time::Duration::ZERO, grace: std::time::Duration::ZERO, ..Default::default() };
    store.vacuum(&retain).unwrap();
    create(&store, "later", 4096, 3);
    store.pack(&pack, &all()).unwrap();
    let copy = unpack_new(&pack, &folder.path().join("copy.slab"));
    let newest = store.snapshot().unwrap();
    let tagged = newest.tags()["first"];
    assert_eq!(shown(&copy.at(tagged).unwrap()).unwrap(), shown(&store.at(tagged).unwrap()).unwrap());
    assert_eq!(copy.at(tagged + 1).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(shown(&copy.snapshot().unwrap()).unwrap(), shown(&newest).unwrap());
}

#[test]
fn equal_files_are_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path().join("demo.slab"));
    let noise = ndarray::Array2::from_shape_fn((20_000, 2), {
        let mut random = Random(7);
        move |_| random.next() as u32 as f32
    });
    let fill = |store: &Store, name: &str| {
        let mut tx = store.begin().unwrap();
        tx.create(name, fields(), ArrayOptions::default()).unwrap();
        tx.append_ndarray(name, &noise).unwrap();
        tx.commit().unwrap();
    };
    let (one, three) = (folder.path().join("one.tar.zst"), folder.path().join("three.tar.zst"));
    fill(&store, "a");
    let alone = store.pack(&one, &PackOptions::default()).unwrap();
    fill(&store, "b");
    fill(&store, "c");
    let report = store.pack(&three, &PackOptions::default()).unwrap();
    assert_eq!((alone.equal, report.equal), (0, 2));
    assert!(report.bytes > 3 * 160_000 && report.packed < alone.packed + 3000, "{report:?}");
    let copy = unpack_new(&three, &folder.path().join("copy.slab"));
    // Each is a file of its own, which may grow.
    append(&copy, "a", 0, 10);
    append(&copy, "b", 50, 20);
    assert_eq!(values(&array(&copy, "c")), values(&array(&store, "c")));
    assert_eq!(values(&array(&copy, "a"))[..40_000], values(&array(&store, "c")));
    assert_eq!(values(&array(&copy, "b"))[40_000..], expected(70)[100..]);
}

#[test]
fn further_directories_become_one() {
    let folder = tempfile::tempdir().unwrap();
    let dirs = vec![folder.path().join("one"), folder.path().join("two")];
    let with_dirs = OpenOptions { dirs, ..options(Durability::Os) };
    let store = Store::open_with(folder.path().join("demo.slab"), with_dirs).unwrap();
    create(&store, "a", 4096, 9000);
    let pack = folder.path().join("demo.tar.zst");
    assert_eq!(store.pack(&pack, &all()).unwrap_err().kind(), ErrorKind::Unsupported);
    store.pack(&pack, &PackOptions::default()).unwrap();
    drop(store);
    for name in ["one", "two", "demo.slab"] {
        std::fs::remove_dir_all(folder.path().join(name)).unwrap();
    }
    let copy = unpack_new(&pack, &folder.path().join("copy.slab"));
    assert_eq!(values(&array(&copy, "a")), expected(9000));
}

#[derive(Default)]
struct Stop(AtomicBool);

/// Stops a thread when dropped.
struct Stopped<'a>(&'a Stop);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Relaxed);
    }
}

#[test]
fn a_pack_is_of_one_version_whatever_others_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.slab");
    let store = in_folder(&path);
    create(&store, "a", 1 << 20, 1000);
    let stop = Stop::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let other = in_folder(&path);
            let mut n = 1000;
            while !stop.0.load(Relaxed) {
                append(&other, "a", n, 100);
                n += 100;
                let zero = std::time::Duration::ZERO;
                other.vacuum(&VacuumOptions { retain: zero, grace: zero, ..VacuumOptions::default() }).unwrap();
                other.optimize("a", &hyperslab_store::OptimizeOptions { full: true }).unwrap();
            }
        });
        // Also when something here fails.
        let _stopped = Stopped(&stop);
        for n in 0..12 {
            let pack = folder.path().join(format!("{n}.tar.zst"));
            let all_versions = n % 2 == 0;
            match store.pack(&pack, &PackOptions { all_versions, ..PackOptions::default() }) {
                Ok(report) => {
                    let copy = unpack_new(&pack, &folder.path().join(format!("{n}.slab")));
                    assert_eq!(copy.snapshot().unwrap().version(), report.version);
                    let found = values(&array(&copy, "a"));
                    assert_eq!(found, expected(found.len() / 2));
                }
                // Of all versions, one expired in that moment.
                Err(e) => assert!(e.kind() == ErrorKind::Conflict && all_versions, "{e}"),
            }
        }
    });
}

#[test]
fn names_that_are_taken_are_left_alone() {
    let (folder, store, pack) = with_everything();
    let copy = folder.path().join("copy.slab");
    let kind = |result: hyperslab_core::Result<_>| result.map(|_: hyperslab_store::PackReport| ()).unwrap_err().kind();
    std::fs::write(&pack, "mine").unwrap();
    assert_eq!(kind(store.pack(&pack, &PackOptions::default())), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(&pack).unwrap(), b"mine");
    let over = PackOptions { overwrite: true, ..PackOptions::default() };
    store.pack(&pack, &over).unwrap();
    assert_eq!(kind(store.pack(folder.path(), &over)), ErrorKind::Invalid);
    assert_eq!(kind(store.pack(folder.path().join("demo.slab/x"), &over)), ErrorKind::Invalid);

    std::fs::create_dir(&copy).unwrap();
    let over = UnpackOptions { overwrite: true, ..UnpackOptions::default() };
    assert_eq!(kind(unpack(&pack, &copy, &UnpackOptions::default())), ErrorKind::AlreadyExists);
    assert_eq!(kind(unpack(&pack, &copy, &over)), ErrorKind::Invalid);
    std::fs::remove_dir(&copy).unwrap();
    let old = in_folder(&copy);
    create(&old, "other", 4096, 10);
    drop(old);
    unpack(&pack, &copy, &over).unwrap();
    assert_eq!(newest(&Store::open(&copy).unwrap()), newest(&store));
    let few = UnpackOptions { max_bytes: Some(1000), ..UnpackOptions::default() };
    assert_eq!(kind(unpack(&pack, folder.path().join("few"), &few)), ErrorKind::Invalid);
    assert_eq!(names(folder.path()), ["copy.slab", "demo.slab", "demo.tar.zst"]);
}

#[test]
fn what_a_pack_says_of_itself() {
    let (folder, store, pack) = with_everything();
    let report = store.pack(&pack, &PackOptions::default()).unwrap();
    let info = pack_info(&pack).unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!((info.version, info.time), (snapshot.version(), snapshot.time()));
    assert_eq!((info.files, info.bytes, info.packed), (report.files, report.bytes, report.packed));
    let rows = |name: &str| info.arrays.iter().find(|(n, _)| n.to_string() == name).unwrap().1;
    assert_eq!(rows("points"), snapshot.array("points").unwrap().rows());
    assert!(is_pack(&pack).unwrap());
    std::fs::write(folder.path().join("x"), "no pack").unwrap();
    assert!(!is_pack(folder.path().join("x")).unwrap());
    let missing = pack_info(folder.path().join("missing")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[test]
fn a_damaged_store_is_not_packed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.slab");
    compressed(&everything(&path));
    let mut shards = Vec::new();
    for array in std::fs::read_dir(path.join("arrays")).unwrap() {
        shards.extend(std::fs::read_dir(array.unwrap().path()).unwrap().map(|file| file.unwrap().path()));
    }
    let (mut refused, mut packed) = (0, 0);
    for shard in shards {
        let good = std::fs::read(&shard).unwrap();
        let mut bad = good.clone();
        let at = if good.len() > 4200 { 4100 } else { good.len() / 2 };
        bad[at] ^= 4;
        std::fs::write(&shard, bad).unwrap();
        let store = Store::open_with(&path, options(Durability::Os)).unwrap();
        match store.pack(folder.path().join("x.tar.zst"), &all()) {
            Ok(_) => std::fs::remove_file(folder.path().join("x.tar.zst")).unwrap(),
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Corrupt, "{e}");
                assert!(e.to_string().contains(shard.file_name().unwrap().to_str().unwrap()), "{e}");
                refused += 1;
                packed += usize::from(shard.extension().is_some_and(|extension| extension == "zst"));
            }
        }
        std::fs::write(&shard, good).unwrap();
    }
    assert!(refused > 10 && packed > 0, "{refused}, {packed} of them compressed");
    assert_eq!(names(folder.path()), ["demo.slab"]);
}

/// A small store's pack, with an equal file in it.
fn small(folder: &Path) -> Vec<u8> {
    let store = in_folder(folder.join("small.slab"));
    create(&store, "a", 4096, 30);
    create(&store, "b", 4096, 30);
    let pack = folder.join("small.tar.zst");
    assert_eq!(store.pack(&pack, &PackOptions::default()).unwrap().equal, 1);
    std::fs::read(pack).unwrap()
}

/// Both verifying and unpacking it are errors, and leave nothing. (Unpacking now and then, since it syncs.)
fn refused(folder: &Path, bytes: &[u8], what: &str, unpacked: bool) {
    let pack = folder.join("bad.tar.zst");
    std::fs::write(&pack, bytes).unwrap();
    let error = verify_pack(&pack).expect_err(what);
    let kinds = [ErrorKind::Corrupt, ErrorKind::Invalid, ErrorKind::Unsupported, ErrorKind::Io];
    assert!(kinds.contains(&error.kind()), "{what}: {error}");
    assert!(error.to_string().contains("bad.tar.zst"), "{what}: {error}");
    if unpacked {
        let other = unpack(&pack, folder.join("bad.slab"), &UnpackOptions::default()).expect_err(what);
        assert_eq!(other.kind(), error.kind(), "{what}: {other}");
    }
    std::fs::remove_file(&pack).unwrap();
    assert_eq!(names(folder), ["small.slab", "small.tar.zst"], "{what}");
}

#[test]
fn every_flipped_bit_and_every_cut_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let good = small(folder.path());
    let mut random = Random(11);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << random.below(8);
        refused(folder.path(), &bad, &format!("byte {at} of {}", good.len()), at % 16 == 0);
    }
    for len in 0..good.len() {
        refused(folder.path(), &good[..len], &format!("cut to {len} of {}", good.len()), len % 16 == 0);
    }
    for more in [1, 512, 1024] {
        refused(folder.path(), &[good.clone(), vec![0; more]].concat(), "longer", true);
        refused(folder.path(), &[vec![0; more], good.clone()].concat(), "something before", true);
    }
    refused(folder.path(), &[good.clone(), good.clone()].concat(), "twice", true);
}

#[test]
fn tar_unpacks_it_and_sha256sum_verifies_it() {
    let (folder, store, pack) = with_everything();
    let tar = |archive: &Path| {
        Command::new("tar").arg("--zstd").arg("-xf").arg(archive).current_dir(folder.path().join("out")).output()
    };
    std::fs::create_dir(folder.path().join("out")).unwrap();
    store.pack(&pack, &PackOptions::default()).unwrap();
    if !tar(&pack).is_ok_and(|done| done.status.success()) {
        eprintln!("skipped: there is no tar that reads zstd");
        return;
    }
    let copy = folder.path().join("out/demo.slab");
    let sums = Command::new("sha256sum").args(["--quiet", "-c", "SHA256SUMS"]).current_dir(&copy).output().unwrap();
    assert!(sums.status.success(), "{}", String::from_utf8_lossy(&sums.stderr));
    let copy = Store::open_with(&copy, options(Durability::Os)).unwrap();
    assert_eq!(newest(&copy), newest(&store));
    create(&copy, "later", 4096, 3);
}
