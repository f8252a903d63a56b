//! What every [`Storage`] must do, as one suite that each of them runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test suite, compiled for tests only")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use hyperslab_core::ErrorKind;

use super::{FileRange, Storage};

/// Runs the suite; `make` gives a new, empty, writable storage each time.
///
/// # Panics
/// When the storage breaks the contract.
pub fn run(make: impl Fn() -> Arc<dyn Storage>) {
    nothing_is_there(&*make());
    files_are_created_once(&*make());
    racing_creators_have_one_winner(&make());
    folders_list_their_own(&*make());
    writes_grow_a_file(&*make());
    maps_hold_what_was_written(&*make());
    maps_do_not_change(&*make());
    short_files_are_corrupt(&*make());
    syncs_find_their_files(&*make());
    one_writer_at_a_time(&make());
    a_busy_lock_is_a_conflict(&make());
    paths_stay_inside(&*make());
}

fn range(path: &str, offset: u64, len: u64) -> FileRange {
    FileRange { path: path.into(), offset, len }
}

fn bytes(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 31 + seed * 7) % 251) as u8).collect()
}

fn sorted(storage: &dyn Storage, folder: &str) -> Vec<String> {
    let mut names = storage.list(folder).unwrap();
    names.sort();
    names
}

fn nothing_is_there(storage: &dyn Storage) {
    assert_eq!(storage.read("a/b").unwrap(), None);
    assert_eq!(storage.len("a/b").unwrap(), None);
    assert!(storage.list("a").unwrap().is_empty());
    assert!(storage.list("").unwrap().is_empty());
    storage.remove("a/b").unwrap();
    assert!(!storage.read_only());
    assert!(!storage.describe().is_empty());
}

fn files_are_created_once(storage: &dyn Storage) {
    storage.create_new("a/b", b"first").unwrap();
    for create in [Storage::create_new, Storage::create_new_synced] as [fn(&_, &_, &_) -> _; 2] {
        let error = create(storage, "a/b", b"second, longer").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
        assert!(error.to_string().contains("a/b"), "{error}");
    }
    assert_eq!(storage.read("a/b").unwrap().unwrap(), b"first");
    storage.replace("a/b", b"3").unwrap();
    assert_eq!(storage.read("a/b").unwrap().unwrap(), b"3");
    assert_eq!(storage.len("a/b").unwrap(), Some(1));
    storage.replace("c/new", b"").unwrap();
    assert_eq!(storage.read("c/new").unwrap().unwrap(), b"");
    storage.create_new_synced("d/e/f", b"deep").unwrap();
    assert_eq!(storage.read("d/e/f").unwrap().unwrap(), b"deep");
    storage.remove("a/b").unwrap();
    assert_eq!(storage.read("a/b").unwrap(), None);
    storage.create_new("a/b", b"again").unwrap();
    assert_eq!(sorted(storage, "a"), ["b"]);
}

fn racing_creators_have_one_winner(storage: &Arc<dyn Storage>) {
    const THREADS: usize = 8;
    for round in 0..20 {
        let path = format!("race/{round}");
        let start = Barrier::new(THREADS);
        let winners: Vec<usize> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..THREADS)
                .map(|i| {
                    let (start, path) = (&start, &path);
                    scope.spawn(move || {
                        let content = bytes(10_000 + i, i);
                        start.wait();
                        match storage.create_new(path, &content) {
                            Ok(()) => Some(i),
                            Err(e) => {
                                assert_eq!(e.kind(), ErrorKind::AlreadyExists, "{e}");
                                // Whoever lost sees all of what the winner wrote.
                                let len = storage.read(path).unwrap().unwrap().len();
                                assert!(len >= 10_000, "{len}");
                                None
                            }
                        }
                    })
                })
                .collect();
            racers.into_iter().filter_map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(storage.read(&path).unwrap().unwrap(), bytes(10_000 + winners[0], winners[0]));
    }
    assert_eq!(storage.list("race").unwrap().len(), 20, "no temporary file is left or shown");
}

fn folders_list_their_own(storage: &dyn Storage) {
    for path in ["top", "a/1", "a/2", "a/b/3", "a.b", "ab/4"] {
        storage.create_new(path, b"").unwrap();
    }
    assert_eq!(sorted(storage, ""), ["a", "a.b", "ab", "top"]);
    assert_eq!(sorted(storage, "a"), ["1", "2", "b"]);
    assert_eq!(sorted(storage, "a/b"), ["3"]);
    assert!(storage.list("b").unwrap().is_empty());
    storage.remove("a/1").unwrap();
    assert_eq!(sorted(storage, "a"), ["2", "b"]);
}

fn writes_grow_a_file(storage: &dyn Storage) {
    storage.write_at("deep/er/grown", 4096, b"data").unwrap();
    assert_eq!(storage.len("deep/er/grown").unwrap(), Some(4100));
    let content = storage.read("deep/er/grown").unwrap().unwrap();
    assert!(content[..4096].iter().all(|byte| *byte == 0), "a hole reads as zeros");
    assert_eq!(&content[4096..], b"data");
    storage.write_at("deep/er/grown", 0, b"header").unwrap();
    storage.write_at("deep/er/grown", 4098, b"TA and more").unwrap();
    let content = storage.read("deep/er/grown").unwrap().unwrap();
    assert_eq!(&content[..7], b"header\0");
    assert_eq!(&content[4096..], b"daTA and more");
    // Never shortened, also by nothing.
    storage.write_at("deep/er/grown", 0, b"").unwrap();
    assert_eq!(storage.len("deep/er/grown").unwrap(), Some(4109));
    // Removed, it is gone for later writes too.
    storage.remove("deep/er/grown").unwrap();
    storage.write_at("deep/er/grown", 1, b"x").unwrap();
    assert_eq!(storage.read("deep/er/grown").unwrap().unwrap(), b"\0x");
    // Replaced, too.
    storage.replace("deep/er/grown", b"....").unwrap();
    storage.write_at("deep/er/grown", 1, b"y").unwrap();
    assert_eq!(storage.read("deep/er/grown").unwrap().unwrap(), b".y..");
    // Parts of a file that was created whole.
    storage.create_new("whole", b"abc").unwrap();
    storage.write_at("whole", 3, b"def").unwrap();
    assert_eq!(storage.read("whole").unwrap().unwrap(), b"abcdef");
}

fn maps_hold_what_was_written(storage: &dyn Storage) {
    let content = bytes(20_000, 3);
    storage.create_new("f", &content).unwrap();
    for (offset, len) in [(0, 20_000), (4096, 15_904), (4096, 4096), (4097, 1000), (123, 5000), (19_999, 1)] {
        let map = storage.map(&[range("f", offset, len)]).unwrap().expect("one range can always be mapped");
        assert_eq!(&*map, &content[offset as usize..][..len as usize], "{len} at {offset}");
    }
    let data = storage.map(&[range("f", 4096, 4096)]).unwrap().unwrap();
    assert_eq!(data.as_ptr().align_offset(64), 0, "data at byte 4096 suits every element type");
    for ranges in [vec![], vec![range("f", 20_000, 0)], vec![range("f", 0, 0), range("f", 5, 0)]] {
        let empty = storage.map(&ranges).unwrap().unwrap();
        assert_eq!((empty.len(), empty.as_ptr().align_offset(64)), (0, 0));
    }
    // Several ranges: in one piece and right, or not at all.
    storage.create_new("g", &bytes(9000, 4)).unwrap();
    if let Some(map) = storage.map(&[range("f", 4096, 8192), range("g", 4096, 4904)]).unwrap() {
        assert_eq!(&*map, [&content[4096..12_288], &bytes(9000, 4)[4096..]].concat());
    }
}

fn maps_do_not_change(storage: &dyn Storage) {
    storage.write_at("f", 4096, &bytes(5000, 1)).unwrap();
    let early = storage.map(&[range("f", 4096, 5000)]).unwrap().unwrap();
    storage.write_at("f", 9096, &bytes(50_000, 2)).unwrap();
    storage.write_at("f", 0, b"header").unwrap();
    let late = storage.map(&[range("f", 4096, 55_000)]).unwrap().unwrap();
    assert_eq!(&*late, [bytes(5000, 1), bytes(50_000, 2)].concat());
    storage.remove("f").unwrap();
    assert_eq!(&*early, bytes(5000, 1), "a map outlives growth and removal of its file");
    assert_eq!(&late[5000..], bytes(50_000, 2));
}

fn short_files_are_corrupt(storage: &dyn Storage) {
    storage.create_new("full", &bytes(8192, 1)).unwrap();
    storage.create_new("short", &bytes(5000, 1)).unwrap();
    for ranges in [
        vec![range("short", 4096, 4096)],
        vec![range("full", 4096, 4096), range("short", 4096, 4096)],
        vec![range("short", 8192, 1)],
        vec![range("short", u64::MAX - 5, 10)],
        vec![range("short", 4096, 1 << 62)],
        vec![range("absent", 0, 1)],
    ] {
        match storage.map(&ranges) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                let text = error.to_string();
                assert!(text.contains("short") || text.contains("absent"), "{text}");
            }
            // Whoever cannot map several ranges at once maps them one by one.
            Ok(map) => assert!(map.is_none() && ranges.len() > 1, "{ranges:?}"),
        }
    }
    let text = storage.map(&[range("short", 4096, 4096)]).unwrap_err().to_string();
    assert!(text.contains("5000") && text.contains("8192"), "{text}");
}

fn syncs_find_their_files(storage: &dyn Storage) {
    storage.write_at("a/b/c", 0, b"x").unwrap();
    storage.sync_file("a/b/c").unwrap();
    storage.create_new("a/b/d", b"y").unwrap();
    storage.sync_file("a/b/d").unwrap();
    for folder in ["a/b", "a", "", "a/b"] {
        storage.sync_folder(folder).unwrap();
    }
    let error = storage.sync_file("a/b/none").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

fn one_writer_at_a_time(storage: &Arc<dyn Storage>) {
    let inside = AtomicUsize::new(0);
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                for _ in 0..50 {
                    let guard = storage.lock(Duration::from_secs(60)).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two writers at once");
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(guard);
                }
            });
        }
    });
}

fn a_busy_lock_is_a_conflict(storage: &Arc<dyn Storage>) {
    let guard = storage.lock(Duration::ZERO).unwrap();
    for timeout in [Duration::ZERO, Duration::from_millis(20)] {
        let error = storage.lock(timeout).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(error.is_retryable() && error.to_string().contains("lock"), "{error}");
    }
    // A guard may be given to another thread; whoever waits gets the lock when it is dropped.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| storage.lock(Duration::from_secs(60)).map(drop));
        scope.spawn(move || drop(guard));
        waiting.join().unwrap().unwrap();
    });
    drop(storage.lock(Duration::ZERO).unwrap());
}

fn paths_stay_inside(storage: &dyn Storage) {
    let corrupt = |result: Result<(), hyperslab_core::Error>, path: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{path:?}: {error}");
        assert!(error.to_string().contains("outside the store"), "{path:?}: {error}");
    };
    for path in ["", "/", "/etc/passwd", "..", "../x", "a/../b", "a//b", "a/", "./a", "a/.", "a\\b", "C:x", "a\0b"] {
        corrupt(storage.map(&[range(path, 0, 1)]).map(drop), path);
        corrupt(storage.read(path).map(drop), path);
        corrupt(storage.len(path).map(drop), path);
        corrupt(storage.create_new(path, b""), path);
        corrupt(storage.create_new_synced(path, b""), path);
        corrupt(storage.replace(path, b""), path);
        corrupt(storage.write_at(path, 0, b""), path);
        corrupt(storage.remove(path), path);
        corrupt(storage.sync_file(path), path);
        if !path.is_empty() {
            corrupt(storage.list(path).map(drop), path);
            corrupt(storage.sync_folder(path), path);
        }
    }
}
