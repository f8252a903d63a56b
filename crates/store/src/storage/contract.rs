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
    files_have_lengths_and_ages(&*make());
    names_change_once(&*make());
    folders_go_when_empty(&*make());
    pins_show_who_lives(&*make());
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

fn files_have_lengths_and_ages(storage: &dyn Storage) {
    assert!(storage.files("a").unwrap().is_empty());
    storage.create_new("a/1", b"12345").unwrap();
    storage.create_new("a/.tmp-2", b"").unwrap();
    storage.create_new("a/b/3", b"1").unwrap();
    let mut files = storage.files("a").unwrap();
    files.sort_by(|a, b| b.name.cmp(&a.name));
    let shown: Vec<_> = files.iter().map(|file| (file.name.as_str(), file.bytes)).collect();
    assert_eq!(shown, [("1", 5), (".tmp-2", 0)], "with what is being created, without folders");
    assert!(files.iter().all(|file| file.age < Duration::from_secs(600)), "{files:?}");
    std::thread::sleep(Duration::from_millis(30));
    storage.write_at("a/.tmp-2", 0, b"now").unwrap();
    let age = |name: &str| storage.files("a").unwrap().into_iter().find(|f| f.name == name).unwrap().age;
    assert!(age("1") > age(".tmp-2"), "{:?}", storage.files("a"));
}

fn names_change_once(storage: &dyn Storage) {
    storage.write_at("a", 0, b"first").unwrap();
    storage.create_new("b", b"second").unwrap();
    assert_eq!(storage.rename("a", "b").unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(storage.rename("none", "c").unwrap_err().kind(), ErrorKind::NotFound);
    storage.rename("a", "new/folder/a").unwrap();
    assert_eq!(storage.read("a").unwrap(), None);
    assert_eq!(storage.read("new/folder/a").unwrap().unwrap(), b"first");
    assert_eq!(storage.read("b").unwrap().unwrap(), b"second");
    // Later writes to the old name make a new file.
    storage.write_at("a", 0, b"third").unwrap();
    assert_eq!(storage.read("new/folder/a").unwrap().unwrap(), b"first");
}

fn folders_go_when_empty(storage: &dyn Storage) {
    storage.remove_folder("none").unwrap();
    storage.create_new("a/b", b"").unwrap();
    storage.remove_folder("a").unwrap();
    assert_eq!(sorted(storage, ""), ["a"]);
    storage.remove("a/b").unwrap();
    storage.remove_folder("a").unwrap();
    assert!(storage.list("").unwrap().is_empty());
    storage.create_new("a/b", b"").unwrap();
    storage.sync_folder("a").unwrap();
}

fn pins_show_who_lives(storage: &dyn Storage) {
    assert!(storage.pins().unwrap().is_empty());
    let (Some(one), Some(two)) = (storage.pin().unwrap(), storage.pin().unwrap()) else {
        return assert!(storage.pins().unwrap().is_empty());
    };
    assert_ne!(one.name(), two.name());
    one.write(b"a long line\n").unwrap();
    one.write(b"short\n").unwrap();
    let look = || {
        let mut pins = storage.pins().unwrap();
        pins.sort_by(|a, b| b.line.cmp(&a.line));
        pins
    };
    let pins = look();
    assert_eq!(
        pins.iter().map(|p| (p.name.as_str(), p.line.as_slice())).collect::<Vec<_>>(),
        [(one.name(), &b"short\n"[..]), (two.name(), &b""[..])]
    );
    assert!(pins.iter().all(|pin| pin.lives && pin.age < Duration::from_secs(600)), "{pins:?}");
    drop(one);
    assert_eq!(look().len(), 1);
    drop(two);
    assert!(look().is_empty());
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
        corrupt(storage.rename(path, "a"), path);
        corrupt(storage.rename("b", path), path);
        corrupt(storage.remove_folder(path), path);
        if !path.is_empty() {
            corrupt(storage.list(path).map(drop), path);
            corrupt(storage.files(path).map(drop), path);
            corrupt(storage.sync_folder(path), path);
        }
    }
}
