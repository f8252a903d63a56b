#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use hyperslab_core::ErrorKind;

use super::*;
use crate::storage::{LocalStorage, contract};

fn storage() -> FaultStorage {
    FaultStorage::new(Arc::new(MemoryStorage::new())).unwrap()
}

fn read(storage: &dyn Storage, path: &str) -> Option<String> {
    storage.read(path).unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn keeps_the_contract() {
    contract::run(|| Arc::new(storage()));
}

#[test]
fn counts_calls_bytes_and_files() {
    let storage = storage();
    storage.create_new("a", b"123").unwrap();
    let before = storage.counts();
    storage.create_new("a", b"123").unwrap_err();
    storage.create_new_synced("b", b"12").unwrap();
    storage.replace("b", b"1").unwrap();
    storage.replace("c", b"1").unwrap();
    storage.write_at("c", 1, b"23").unwrap();
    storage.write_at("d/e", 1, b"23").unwrap();
    storage.remove("c").unwrap();
    storage.rename("b", "f").unwrap();
    storage.rename("f", "b").unwrap();
    storage.sync_file("b").unwrap();
    storage.sync_folder("").unwrap();
    storage.read("b").unwrap();
    storage.files("").unwrap();
    drop(storage.pin().unwrap());
    storage.len("b").unwrap();
    storage.list("").unwrap();
    storage.map(&[]).unwrap();
    drop(storage.lock(Duration::ZERO).unwrap());
    let counts = storage.counts() - before;
    assert_eq!((counts.creates, counts.replaces, counts.writes, counts.removes, counts.renames), (2, 2, 2, 1, 2));
    assert_eq!((counts.file_syncs, counts.folder_syncs, counts.syncs()), (2, 1, 3));
    assert_eq!((counts.reads, counts.lens, counts.lists, counts.maps, counts.locks), (1, 1, 2, 1, 1));
    assert_eq!((counts.bytes_written, counts.files_created), (2 + 1 + 1 + 2 + 2, 3));
    assert_eq!((counts.mutations(), counts.pins), (11, 1));
}

#[test]
fn one_call_fails() {
    let storage = storage();
    storage.arm(Fault::Fail { call: 1 });
    storage.create_new("a", b"1").unwrap();
    let error = storage.write_at("a", 0, b"2").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(read(&storage, "a").unwrap(), "1");
    storage.write_at("a", 0, b"3").unwrap();
    assert_eq!(read(&storage, "a").unwrap(), "3");
}

#[test]
fn a_killed_process_tears_its_last_write() {
    let storage = storage();
    storage.write_at("a", 0, b"....").unwrap();
    storage.arm(Fault::Kill { call: 0 });
    storage.write_at("a", 0, b"abcd").unwrap_err();
    for result in [
        storage.create_new("b", b""),
        storage.create_new_synced("b", b""),
        storage.replace("a", b""),
        storage.write_at("a", 0, b"x"),
        storage.remove("a"),
        storage.sync_file("a"),
        storage.sync_folder(""),
    ] {
        result.unwrap_err();
    }
    assert_eq!(read(&storage, "a").unwrap(), "ab..");
    storage.disarm();
    storage.remove("a").unwrap();
}

#[test]
fn a_torn_creation_shows_nothing() {
    let storage = storage();
    storage.replace("a", b"old").unwrap();
    for (write, path) in [(1, "b"), (0, "c")] {
        storage.arm(Fault::Tear { write });
        if write == 1 {
            storage.sync_folder("").unwrap();
            storage.write_at("a", 3, b"!").unwrap();
        }
        storage.create_new(path, b"content").unwrap_err();
        assert_eq!(read(&storage, path), None);
    }
    storage.arm(Fault::Tear { write: 0 });
    storage.replace("a", b"new").unwrap_err();
    assert_eq!(read(&storage, "a").unwrap(), "old!");
    storage.arm(Fault::Tear { write: 0 });
    storage.write_at("a", 0, b"new!").unwrap_err();
    assert_eq!(read(&storage, "a").unwrap(), "ned!");
}

#[test]
fn a_frozen_disk_lies() {
    let storage = storage();
    storage.create_new("a", b"1").unwrap();
    storage.arm(Fault::Freeze { call: 1 });
    storage.write_at("a", 1, b"2").unwrap();
    storage.write_at("a", 2, b"3").unwrap();
    storage.create_new_synced("b", b"").unwrap();
    storage.remove("a").unwrap();
    storage.sync_file("a").unwrap();
    storage.sync_folder("").unwrap();
    assert_eq!(read(&storage, "a").unwrap(), "12");
    assert_eq!(read(&storage, "b"), None);
    assert!(storage.crash().unwrap().list("").unwrap().is_empty());
}

#[test]
fn a_full_disk_takes_what_fits() {
    let storage = storage();
    storage.arm(Fault::DiskFull { bytes: 5 });
    storage.create_new("a", b"123").unwrap();
    let error = storage.create_new("b", b"123").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(read(&storage, "b"), None);
    storage.write_at("a", 3, b"456").unwrap_err();
    assert_eq!(read(&storage, "a").unwrap(), "12345");
    storage.remove("a").unwrap();
    storage.sync_folder("").unwrap();
    storage.write_at("c", 0, b"x").unwrap_err();
    storage.disarm();
    storage.write_at("c", 0, b"x").unwrap();
}

#[test]
fn a_crash_leaves_what_was_synced() {
    let storage = storage();
    storage.create_new("d/named", b"no bytes").unwrap();
    storage.sync_folder("d").unwrap();
    storage.create_new("d/nameless", b"bytes").unwrap();
    storage.sync_file("d/nameless").unwrap();
    assert_eq!(storage.crash().unwrap().list("d").unwrap(), ["named"]);
    assert_eq!(read(&storage.crash().unwrap(), "d/named").unwrap(), "");

    storage.sync_folder("d").unwrap();
    storage.sync_file("d/named").unwrap();
    storage.write_at("d/named", 0, b"NO").unwrap();
    storage.write_at("d/nameless", 5, b" and").unwrap();
    storage.sync_file("d/nameless").unwrap();
    storage.write_at("d/nameless", 9, b" more").unwrap();
    storage.create_new_synced("e", b"whole").unwrap();
    storage.remove("d/named").unwrap();
    let after = storage.crash().unwrap();
    assert_eq!(read(&after, "d/named").unwrap(), "no bytes");
    assert_eq!(read(&after, "d/nameless").unwrap(), "bytes and");
    assert_eq!(read(&after, "e"), None);
    storage.sync_folder("d").unwrap();
    storage.sync_folder("").unwrap();
    let after = storage.crash().unwrap();
    assert_eq!(read(&after, "d/named"), None);
    assert_eq!(read(&after, "e").unwrap(), "whole");

    // It goes on, and can crash again.
    after.write_at("e", 5, b"?").unwrap();
    after.replace("d/nameless", b"other").unwrap();
    after.sync_folder("d").unwrap();
    let again = after.crash().unwrap();
    assert_eq!(read(&again, "e").unwrap(), "whole");
    assert_eq!(read(&again, "d/nameless").unwrap(), "", "a replacement's bytes were not synced");
}

#[test]
fn one_run_shows_a_crash_at_each_of_its_calls() {
    let storage = storage();
    storage.create_new_synced("a", b"1").unwrap();
    storage.sync_folder("").unwrap();
    storage.write_at("a", 0, b"2").unwrap();
    storage.sync_file("a").unwrap();
    let at = |call, keep: bool| read(&storage.crash_at(call, |_| keep).unwrap(), "a");
    let worst: Vec<_> = (0..=4).map(|call| at(call, false)).collect();
    assert_eq!(worst, [None, None, Some("1".into()), Some("1".into()), Some("2".into())]);
    let best: Vec<_> = (0..=4).map(|call| at(call, true)).collect();
    assert_eq!(best, [None, Some("1".into()), Some("1".into()), Some("2".into()), Some("2".into())]);
}

#[test]
fn what_a_failed_sync_lost_no_later_one_saves() {
    let storage = storage();
    storage.create_new_synced("a", b"1").unwrap();
    storage.sync_folder("").unwrap();
    storage.arm(Fault::FailSync { sync: 0 });
    storage.write_at("a", 1, b"2").unwrap();
    storage.sync_file("a").unwrap_err();
    storage.sync_file("a").unwrap();
    assert_eq!(read(&storage, "a").unwrap(), "12");
    assert_eq!(read(&storage.crash().unwrap(), "a").unwrap(), "1");
    storage.arm(Fault::FailSync { sync: 1 });
    storage.create_new_synced("b", b"").unwrap();
    storage.sync_folder("").unwrap_err();
    storage.arm(Fault::FailSync { sync: 0 });
    storage.create_new_synced("c", b"").unwrap_err();
    assert_eq!(read(&storage, "c"), None);
    storage.sync_folder("").unwrap();
    assert_eq!(storage.crash().unwrap().list("").unwrap(), ["a"]);
}

#[test]
fn a_crash_can_be_put_in_a_folder() {
    let storage = storage().with_in_place(true);
    assert!(storage.in_place() && storage.crash().unwrap().in_place());
    storage.create_new_synced("d/a", b"1").unwrap();
    storage.sync_folder("d").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let local = Arc::new(LocalStorage::open(folder.path().join("s"), false, None).unwrap());
    let after = FaultStorage::with_files(local, storage.files_after_crash(u64::MAX, |_| false).unwrap()).unwrap();
    assert_eq!(std::fs::read(folder.path().join("s/d/a")).unwrap(), b"1");
    assert_eq!(read(&after.crash().unwrap(), "d/a").unwrap(), "1");
    // Around a storage that holds something already, nothing is known.
    let late = FaultStorage::new(after.inner()).unwrap();
    assert_eq!(late.crash().unwrap_err().kind(), ErrorKind::Unsupported);
}
