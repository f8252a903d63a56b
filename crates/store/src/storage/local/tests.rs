#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use hyperslab_core::ErrorKind;
use tempfile::TempDir;

use super::temporary::publish_by_link;
use super::*;
use crate::storage::contract;

fn store() -> (TempDir, LocalStorage) {
    let folder = tempfile::tempdir().unwrap();
    let storage = LocalStorage::open(folder.path().join("s"), false, Some(true)).unwrap();
    (folder, storage)
}

fn range(path: &str, offset: u64, len: u64) -> FileRange {
    FileRange { path: path.into(), offset, len }
}

#[test]
fn keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let made = AtomicU64::new(0);
    contract::run(|| {
        let name = made.fetch_add(1, Ordering::Relaxed).to_string();
        Arc::new(LocalStorage::open(folder.path().join(name), false, Some(true)).unwrap())
    });
}

#[test]
fn shards_are_mapped_into_one_run_of_addresses() {
    let (_folder, storage) = store();
    let mut ranges = Vec::new();
    let mut expected = Vec::new();
    for shard in 0..5_u8 {
        let content: Vec<u8> = (0..4096 * 4).map(|i| (i % 241) as u8 ^ shard).collect();
        let len = if shard == 4 { 5000 } else { 8192 };
        storage.create_new(&format!("arrays/a/{shard}.npy"), &content).unwrap();
        expected.extend_from_slice(&content[4096..4096 + len]);
        ranges.push(range(&format!("arrays/a/{shard}.npy"), 4096, len as u64));
    }
    let map = storage.map(&ranges).unwrap();
    if !cfg!(target_os = "linux") {
        return;
    }
    let map = map.expect("page-aligned shards are contiguous");
    assert_eq!(&*map, expected);
    let third = &map[2 * 8192..][..8192];
    assert_eq!(third.as_ptr() as usize - map.as_ptr() as usize, 2 * 8192);
    assert_eq!(third, &expected[2 * 8192..3 * 8192]);
    // The map is the file, not a copy: what is appended behind a range's end, in the same page, shows through.
    storage.write_at("arrays/a/4.npy", 4096 + 4999, b"!").unwrap();
    assert_eq!(map.last(), Some(&b'!'));

    // Lengths that are no whole pages, but for the last.
    assert!(storage.map(&[range("arrays/a/0.npy", 4096, 8000), ranges[1].clone()]).unwrap().is_none());
    assert!(storage.map(&[range("arrays/a/0.npy", 4097, 8192), ranges[1].clone()]).unwrap().is_none());
    // Neighbours in one file are one range, whatever their lengths.
    let joined = storage.map(&[range("arrays/a/0.npy", 100, 50), range("arrays/a/0.npy", 150, 900)]).unwrap();
    assert_eq!(joined.unwrap().len(), 950);
}

#[test]
fn many_maps_come_and_go() {
    let (_folder, storage) = store();
    storage.create_new("a", &[1; 8192]).unwrap();
    storage.create_new("b", &[2; 8192]).unwrap();
    let (a, b) = (range("a", 4096, 4096), range("b", 4096, 4096));
    // More maps than a process may have: they are given back.
    for _ in 0..20_000 {
        let map = storage.map(&[a.clone(), b.clone(), a.clone(), b.clone()]).unwrap();
        assert_eq!(map.is_some(), cfg!(target_os = "linux"));
        assert!(map.is_none_or(|map| map[4095..4097] == [1, 2]));
    }
}

#[test]
fn a_short_shard_behind_a_whole_one_names_both_lengths() {
    let (_folder, storage) = store();
    storage.create_new("a", &[1; 8192]).unwrap();
    storage.create_new("b", &[2; 6000]).unwrap();
    let error = storage.map(&[range("a", 4096, 4096), range("b", 4096, 4096)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("shard b is shorter than committed: 6000 bytes, 8192 needed"), "{error}");
}

#[test]
fn nothing_temporary_stays() {
    let (folder, storage) = store();
    storage.create_new("d/a", b"1").unwrap();
    storage.create_new("d/a", b"2").unwrap_err();
    storage.replace("d/a", b"3").unwrap();
    storage.create_new_synced("d/b", b"4").unwrap();
    let names: Vec<_> = fs::read_dir(folder.path().join("s/d")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn the_fallback_for_file_systems_without_exclusive_rename_is_atomic_too() {
    let folder = tempfile::tempdir().unwrap();
    let (temporary, path) = (folder.path().join("t"), folder.path().join("f"));
    fs::write(&temporary, b"whole").unwrap();
    publish_by_link(&temporary, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"whole");
    // The file has a second name now: an answer "exists" means that it was us.
    publish_by_link(&temporary, &path).unwrap();
    fs::remove_file(&temporary).unwrap();
    fs::write(&temporary, b"other").unwrap();
    assert_eq!(publish_by_link(&temporary, &path).unwrap_err().kind(), Io::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), b"whole");
}

#[test]
fn read_only_refuses_every_write() {
    let (folder, writable) = store();
    writable.create_new("a", b"1").unwrap();
    let storage = LocalStorage::open(folder.path().join("s"), true, None).unwrap();
    assert_eq!(storage.read("a").unwrap().unwrap(), b"1");
    for result in [
        storage.create_new("b", b""),
        storage.create_new_synced("b", b""),
        storage.replace("a", b""),
        storage.write_at("a", 0, b"2"),
        storage.remove("a"),
        storage.lock(Duration::ZERO).map(drop),
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
    }
    assert_eq!(writable.list("").unwrap(), ["a"], "not even the lock file is made");
}

#[test]
#[cfg(unix)]
fn a_folder_without_permission_is_read_only_and_named() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, storage) = store();
    storage.create_new("_log/x", b"").unwrap();
    let log = folder.path().join("s/_log");
    fs::set_permissions(&log, fs::Permissions::from_mode(0o555)).unwrap();
    // The superuser is refused nothing.
    if fs::write(log.join("probe"), b"").is_err() {
        for result in [storage.lock(Duration::ZERO).map(drop), storage.create_new("_log/y", b"")] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
            assert!(error.to_string().contains("_log"), "{error}");
        }
    }
    fs::set_permissions(&log, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_system_s_refusals_are_read_only_errors() {
    for kind in [Io::PermissionDenied, Io::ReadOnlyFilesystem] {
        let error = write_failed("creating", Path::new("/s/_log/lock"), kind.into());
        assert_eq!(error.kind(), ErrorKind::ReadOnly);
        assert!(error.to_string().contains("/s/_log/lock"), "{error}");
    }
    assert_eq!(write_failed("creating", Path::new("/s"), Io::StorageFull.into()).kind(), ErrorKind::Io);
}

#[test]
fn a_file_is_no_store() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("f"), b"").unwrap();
    let error = LocalStorage::open(folder.path().join("f"), false, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("is a file"), "{error}");
}

#[test]
fn handles_on_one_folder_exclude_each_other() {
    let (folder, one) = store();
    let other = LocalStorage::open(folder.path().join("s/../s"), false, None).unwrap();
    let guard = one.lock(Duration::ZERO).unwrap();
    let error = other.lock(Duration::from_millis(5)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("lock:") && error.to_string().contains("retry"), "{error}");
    drop(guard);
    drop(other.lock(Duration::ZERO).unwrap());
}

#[test]
fn a_store_made_anew_has_a_new_lock() {
    let (folder, storage) = store();
    drop(storage.lock(Duration::ZERO).unwrap());
    fs::remove_dir_all(folder.path().join("s")).unwrap();
    let guard = storage.lock(Duration::ZERO).unwrap();
    assert!(folder.path().join("s").join(LOCK).exists());
    assert_excluded(folder.path(), true);
    drop(guard);
    assert_excluded(folder.path(), false);
}

/// Where the child of the test below finds the store.
const CHILD: &str = "HYPERSLAB_TEST_LOCK_CHILD";

/// Not a test by itself: what the other process does. Exit code 0: locked, 2: somebody else has the lock.
#[test]
fn child_takes_the_lock() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let storage = LocalStorage::open(path, false, None).unwrap();
    std::process::exit(match storage.lock(Duration::from_millis(20)) {
        Ok(_) => 0,
        Err(e) if e.kind() == ErrorKind::Conflict => 2,
        Err(_) => 3,
    });
}

fn assert_excluded(folder: &Path, excluded: bool) {
    let name = concat!(module_path!(), "::child_takes_the_lock");
    let name = name.split_once("::").unwrap().1;
    let mut child = Command::new(std::env::current_exe().unwrap());
    let status = child.args(["--exact", name]).env(CHILD, folder.join("s")).output().unwrap().status;
    assert_eq!(status.code(), Some(if excluded { 2 } else { 0 }));
}

#[test]
fn processes_exclude_each_other() {
    let (folder, storage) = store();
    for _ in 0..2 {
        let guard = storage.lock(Duration::ZERO).unwrap();
        assert_excluded(folder.path(), true);
        drop(guard);
        // Unlocked although the descriptor stays open.
        assert_excluded(folder.path(), false);
    }
}

#[test]
fn what_another_handle_removed_is_not_written_to() {
    let (folder, storage) = store();
    storage.write_at("a", 0, b"old").unwrap();
    let other = LocalStorage::open(folder.path().join("s"), false, None).unwrap();
    other.remove("a").unwrap();
    storage.write_at("a", 3, b"new").unwrap();
    assert_eq!(other.read("a").unwrap().unwrap(), b"\0\0\0new");
}

#[test]
fn more_files_than_are_kept_open() {
    let (_folder, storage) = store();
    for round in 0..3_u64 {
        for file in 0..200 {
            storage.write_at(&format!("d/{file}"), round, &[round as u8 + 1]).unwrap();
        }
    }
    for file in 0..200 {
        storage.sync_file(&format!("d/{file}")).unwrap();
        assert_eq!(storage.read(&format!("d/{file}")).unwrap().unwrap(), [1, 2, 3]);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn known_file_systems_extend_in_place() {
    // procfs is none, and a path that is not there yet counts as its nearest folder.
    assert!(!detect_in_place(Path::new("/proc/self/no/such/folder")));
    if rustix::fs::statfs("/dev/shm").is_ok_and(|found| found.f_type as u64 == 0x0102_1994) {
        assert!(detect_in_place(Path::new("/dev/shm/no/such/folder")));
        assert!(LocalStorage::open("/dev/shm/no/such/folder", true, None).unwrap().in_place());
    }
    assert!(!LocalStorage::open("/dev/shm", true, Some(false)).unwrap().in_place());
}

#[test]
fn the_pin_of_a_dead_process_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let storage = |in_place| LocalStorage::open(folder.path(), false, Some(in_place)).unwrap();
    let dead = folder.path().join("_pins/0-dead");
    fs::create_dir(folder.path().join("_pins")).unwrap();
    fs::write(&dead, "a line\n").unwrap();
    // Where locks may not hold between machines, its age is all there is.
    let pins = storage(false).pins().unwrap();
    assert_eq!((pins.len(), pins[0].lives, pins[0].line.as_slice()), (1, false, &b"a line\n"[..]));
    assert!(LocalStorage::open(folder.path(), true, Some(true)).unwrap().pins().unwrap().is_empty());
    assert!(dead.exists(), "a read-only storage removes nothing");
    assert!(storage(true).pins().unwrap().is_empty());
    assert!(!dead.exists());
    // One that lives is believed on every file system.
    let storage = storage(false);
    let pin = storage.pin().unwrap().unwrap();
    assert_eq!(storage.pins().unwrap().iter().map(|pin| pin.lives).collect::<Vec<_>>(), [true]);
    drop(pin);
    assert!(fs::read_dir(folder.path().join("_pins")).unwrap().next().is_none());
}
