//! VACUUM removes what nobody needs, and nothing else, whoever reads and writes beside it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyperslab_core::ErrorKind;
use hyperslab_store::testing::{Fault, FaultStorage};
use hyperslab_store::{
    CheckOptions, Durability, MemoryStorage, OpenOptions, Severity, Storage, Store, VacuumOptions, VacuumReport,
    check_on,
};

use crate::common::*;

/// Expires all but the newest version.
const NOW: VacuumOptions =
    VacuumOptions { retain: Duration::ZERO, grace: Duration::from_secs(3600), array: None, dry_run: false };
/// And believes no file without a pin.
const NO_GRACE: VacuumOptions = VacuumOptions { grace: Duration::ZERO, ..NOW };

/// Arrays `a` and `b`, of which `b`, in two shards, is dropped in the newest version, 3.
fn dropped(store: &Store) {
    create(store, "a", 1 << 20, 10);
    create(store, "b", 4096, 900);
    drop_array(store, "b");
}

fn drop_array(store: &Store, name: &str) -> u64 {
    let mut tx = store.begin().unwrap();
    tx.drop_array(name).unwrap();
    tx.commit().unwrap()
}

fn vacuum(store: &Store) -> VacuumReport {
    store.vacuum(&NOW).unwrap()
}

fn files(storage: &dyn Storage) -> Vec<String> {
    let folders = storage.list("arrays").unwrap();
    folders.iter().flat_map(|f| storage.list(&format!("arrays/{f}")).unwrap()).collect()
}

fn memory() -> (Arc<MemoryStorage>, Store) {
    let storage = Arc::new(MemoryStorage::new());
    let store = on(&storage, Durability::Full);
    (storage, store)
}

fn is_clean(storage: &dyn Storage) {
    let findings = check_on(storage, &CheckOptions::default()).unwrap();
    assert!(findings.iter().all(|f| f.severity == Severity::Note), "{findings:#?}");
}

#[test]
fn files_of_expired_versions_go() {
    let (storage, store) = memory();
    dropped(&store);
    assert_eq!(files(storage.as_ref()).len(), 3);
    let log = storage.list("_log").unwrap().len();
    // A week is kept by default.
    let week = store.vacuum(&VacuumOptions::default()).unwrap();
    assert_eq!((week.oldest, week.versions, week.files.len(), week.kept.len()), (0, 0, 0, 0));
    let report = vacuum(&store);
    assert_eq!((report.oldest, report.versions, report.files.len()), (3, 3, 2));
    assert_eq!(report.bytes(), 2 * 4096 + 900 * 8);
    assert_eq!(report.kept, []);
    assert_eq!(files(storage.as_ref()).len(), 1);
    assert_eq!(storage.list("arrays").unwrap().len(), 1);
    assert_eq!(values(&array(&store, "a")), expected(10));
    assert!(storage.list("_log").unwrap().len() > log, "nothing of the log is removed");
    is_clean(storage.as_ref());
    // Once more there is nothing to do, and nothing is written.
    let version = store.snapshot().unwrap().version();
    assert_eq!(version, 4);
    let again = vacuum(&store);
    assert_eq!((again.oldest, again.versions, again.files.len(), store.snapshot().unwrap().version()), (3, 0, 0, 4));
    let reopened = on(&storage, Durability::Full);
    assert_eq!(values(&array(&reopened, "a")), expected(10));
}

#[test]
fn only_versions_older_than_asked_for_expire() {
    let (_storage, store) = memory();
    create(&store, "a", 1 << 20, 10);
    create(&store, "b", 1 << 20, 10);
    drop_array(&store, "b");
    std::thread::sleep(Duration::from_millis(400));
    append(&store, "a", 10, 10);
    // Version 3 was the newest one 200 ms ago.
    let report = store.vacuum(&VacuumOptions { retain: Duration::from_millis(200), ..NOW }).unwrap();
    assert_eq!((report.oldest, report.versions, report.files.len()), (3, 3, 1));
    assert_eq!(values(&array(&store, "a")), expected(20));
}

#[test]
fn a_dry_run_only_says_so() {
    let (storage, store) = memory();
    dropped(&store);
    let before = files(storage.as_ref());
    let report = store.vacuum(&VacuumOptions { dry_run: true, ..NOW }).unwrap();
    assert_eq!((report.oldest, report.versions, report.files.len()), (3, 3, 2));
    assert_eq!((files(storage.as_ref()), store.snapshot().unwrap().version()), (before, 3));
    let done = vacuum(&store);
    assert_eq!((done.files, done.versions), (report.files, report.versions));
}

#[test]
fn a_snapshot_keeps_its_files() {
    let (storage, store) = memory();
    create(&store, "a", 1 << 20, 10);
    create(&store, "b", 4096, 900);
    let snapshot = store.snapshot().unwrap();
    drop_array(&store, "b");
    let report = vacuum(&store);
    assert_eq!((report.files.len(), report.kept.len()), (0, 2), "{report:?}");
    assert!(report.kept[0].1.contains("version 2 is being read by this process"), "{report:?}");
    // An array outlives its snapshot.
    let b = snapshot.array("b").unwrap();
    drop(snapshot);
    assert_eq!(vacuum(&store).files.len(), 0);
    assert_eq!(values(&b), expected(900));
    let field = b.field("value").unwrap();
    drop(b);
    assert_eq!(vacuum(&store).files.len(), 0);
    drop(field);
    assert_eq!(vacuum(&store).files.len(), 2);
    assert_eq!(files(storage.as_ref()).len(), 1);
}

#[test]
fn another_handle_keeps_its_files_too() {
    let (storage, store) = memory();
    create(&store, "a", 1 << 20, 10);
    create(&store, "b", 4096, 900);
    let other = on(&storage, Durability::Full);
    let b = array(&other, "b");
    drop_array(&store, "b");
    let report = vacuum(&store);
    assert_eq!((report.files.len(), report.kept.len()), (0, 2));
    let who = format!("process {}", std::process::id());
    assert!(report.kept[0].1.contains(&who), "{report:?}");
    assert_eq!(values(&b), expected(900));
    drop(b);
    // The last version that it read stays pinned until it reads another one.
    other.snapshot().unwrap();
    assert_eq!(vacuum(&store).files.len(), 2);
}

#[test]
fn snapshots_of_many_versions_are_kept_apart() {
    let (_storage, store) = memory();
    let mut held = Vec::new();
    for n in 0..5 {
        create(&store, &format!("b{n}"), 1 << 20, 10 + n);
        held.push(array(&store, &format!("b{n}")));
        drop_array(&store, &format!("b{n}"));
    }
    for n in [3, 0, 4, 1, 2] {
        assert_eq!(vacuum(&store).files.len(), 0);
        let b = held.iter().position(|b| b.rows() == 10 + n).unwrap();
        assert_eq!(values(&held[b]), expected(10 + n as usize));
        held.remove(b);
        let report = vacuum(&store);
        assert_eq!((report.files.len(), report.kept.len()), (1, held.len()), "{report:?}");
    }
}

#[test]
fn files_of_a_running_transaction_are_kept() {
    let (storage, store) = memory();
    create(&store, "a", 1 << 22, 10);
    let other = on(&storage, Durability::Full);
    for by in [&store, &other] {
        let n = array(&store, "a").rows() as usize;
        let mut tx = by.begin().unwrap();
        tx.append_ndarray("a", &rows(n, 1_200_000)).unwrap();
        let report = store.vacuum(&NO_GRACE).unwrap();
        assert!(report.files.is_empty() && !report.kept.is_empty(), "{report:?}");
        assert!(report.kept.iter().all(|(_, why)| why.contains("writing it")), "{report:?}");
        tx.commit().unwrap();
        assert_eq!(store.vacuum(&NO_GRACE).unwrap().files, []);
        assert_eq!(values(&array(&store, "a")), expected(n + 1_200_000));
    }
    is_clean(storage.as_ref());
}

#[test]
fn a_commit_whose_files_are_gone_is_refused() {
    let (storage, store) = memory();
    create(&store, "a", 1 << 22, 10);
    let before = files(storage.as_ref());
    let mut tx = store.begin().unwrap();
    tx.append_ndarray("a", &rows(10, 1_200_000)).unwrap();
    let folder = format!("arrays/{}", storage.list("arrays").unwrap()[0]);
    let staged = storage.list(&folder).unwrap().into_iter().find(|name| !before.contains(name)).unwrap();
    storage.remove(&format!("{folder}/{staged}")).unwrap();
    let error = tx.commit().unwrap_err();
    assert!(error.kind() == ErrorKind::Io && error.to_string().contains(&staged), "{error}");
    assert_eq!(values(&array(&store, "a")), expected(10));
    is_clean(storage.as_ref());
}

#[test]
fn what_a_killed_process_left_goes_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    create(&store, "a", 1 << 20, 10);
    let array = std::fs::read_dir(folder.path().join("arrays")).unwrap().next().unwrap().unwrap().path();
    let left = [
        array.join("00000000-0000-4000-8000-000000000001-0.npy"),
        array.join(".tmp-1-2-3"),
        folder.path().join("_log/.tmp-1-2-4"),
        folder.path().join(".tmp-5"),
    ];
    left.iter().for_each(|path| std::fs::write(path, b"12345").unwrap());
    let report = vacuum(&store);
    assert_eq!((report.files.len(), report.kept.len()), (0, 4), "{report:?}");
    assert!(report.kept.iter().all(|(_, why)| why.contains("may be in use")), "{report:?}");
    // A commit of another process may be about to give a temporary file its name, whatever grace is asked for.
    let report = store.vacuum(&NO_GRACE).unwrap();
    assert_eq!((report.files.len(), report.kept.len(), report.bytes()), (1, 3, 5), "{report:?}");
    let hours_ago = std::time::SystemTime::now() - Duration::from_secs(2 * 3600);
    std::fs::write(&left[0], b"12345").unwrap();
    for path in &left {
        std::fs::File::options().write(true).open(path).unwrap().set_modified(hours_ago).unwrap();
    }
    let report = vacuum(&store);
    assert_eq!((report.files.len(), report.kept.len(), report.bytes()), (4, 0, 20), "{report:?}");
    assert!(left.iter().all(|path| !path.exists()));
}

#[test]
fn a_read_only_store_is_not_vacuumed() {
    let (storage, store) = memory();
    dropped(&store);
    store.snapshot().unwrap();
    let read_only = Store::on(storage, OpenOptions { read_only: true, ..OpenOptions::default() }).unwrap();
    assert_eq!(read_only.vacuum(&NOW).unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(read_only.vacuum(&VacuumOptions { dry_run: true, ..NOW }).unwrap().files.len(), 2);
}

#[test]
fn two_at_once_do_no_harm() {
    let (storage, store) = memory();
    for n in 0..20 {
        create(&store, &format!("b{n}"), 1 << 20, 10);
        if n > 0 {
            drop_array(&store, &format!("b{}", n - 1));
        }
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| on(&storage, Durability::Os).vacuum(&NOW).map(drop).unwrap());
        }
    });
    vacuum(&store);
    assert_eq!(files(storage.as_ref()).len(), 1);
    is_clean(storage.as_ref());
}

/// Readers that always find what their version says, while versions come, go and are vacuumed.
#[test]
fn readers_beside_it_find_all_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    create(&store, "b", 4096, 600);
    /// Also when the test fails.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let reader = in_folder(folder.path());
                while !done.load(Ordering::Relaxed) {
                    let snapshot = reader.snapshot().unwrap();
                    std::thread::yield_now();
                    assert_eq!(values(&snapshot.array("b").unwrap()), expected(600));
                }
            });
        }
        scope.spawn(|| {
            let store = in_folder(folder.path());
            while !done.load(Ordering::Relaxed) {
                store.vacuum(&NO_GRACE).unwrap();
            }
        });
        let _done = Done(&done);
        for _ in 0..60 {
            let mut tx = store.begin().unwrap();
            tx.drop_array("b").unwrap();
            tx.create("b", fields(), options_of(4096)).unwrap();
            tx.append_ndarray("b", &rows(0, 600)).unwrap();
            // A commit of VACUUM in between does not matter.
            tx.commit().unwrap();
        }
    });
    store.vacuum(&NO_GRACE).unwrap();
    let storage = hyperslab_store::LocalStorage::open(folder.path(), true, None).unwrap();
    assert_eq!(files(&storage).len(), 2);
    is_clean(&storage);
}

fn options_of(shard_bytes: u64) -> hyperslab_store::ArrayOptions {
    hyperslab_store::ArrayOptions { shard_bytes, ..hyperslab_store::ArrayOptions::default() }
}

/// Every call fails, is torn, or is where the process dies: then VACUUM is run again.
#[test]
fn killed_and_run_again() {
    let start = |durability| {
        let storage = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::new())).unwrap().with_in_place(true));
        let store = on(&storage, durability);
        dropped(&store);
        storage.create_new("arrays/x/00000000-0000-4000-8000-000000000001-0.npy", b"left").unwrap();
        (storage, store)
    };
    for durability in [Durability::Full, Durability::Os] {
        let (storage, store) = start(durability);
        let before = storage.counts().mutations();
        store.vacuum(&NO_GRACE).unwrap();
        let calls = storage.counts().mutations() - before;
        assert!(calls >= 6, "{calls}");
        for call in 0..calls {
            for fault in
                [Fault::Fail { call }, Fault::Kill { call }, Fault::Tear { write: call }, Fault::Freeze { call }]
            {
                let (storage, store) = start(durability);
                storage.arm(fault);
                let result = store.vacuum(&NO_GRACE);
                drop(store);
                storage.disarm();
                is_clean(storage.as_ref());
                let store = on(&storage, durability);
                assert_eq!(values(&array(&store, "a")), expected(10), "{fault:?} {result:?}");
                store.vacuum(&NO_GRACE).unwrap();
                assert_eq!(files(storage.as_ref()).len(), 1, "{fault:?} {result:?}");
                is_clean(storage.as_ref());
            }
        }
    }
}

/// What a power cut brings back still has its files.
#[test]
fn a_power_cut_at_any_time() {
    for last in [Durability::Full, Durability::Os] {
        let storage = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::new())).unwrap().with_in_place(true));
        let store = on(&storage, Durability::Full);
        create(&store, "a", 1 << 20, 10);
        create(&store, "b", 4096, 900);
        // Perhaps not durable: then the array may come back.
        drop_array(&on(&storage, last), "b");
        let first = storage.counts().mutations();
        assert_eq!(store.vacuum(&NO_GRACE).unwrap().files.len(), 2);
        let end = storage.counts().mutations();
        for call in first..=end {
            for keeping in 0..6u64 {
                let keep = |step: usize| match keeping {
                    0 => false,
                    1 => true,
                    seed => (step as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 == 0,
                };
                let after = Arc::new(storage.crash_at(call, keep).unwrap());
                if let Err(e) = Store::on(after.clone(), options(Durability::Full)) {
                    // The newest version was not durable: what is left of it is moved aside.
                    assert!(last == Durability::Os && e.kind() == ErrorKind::Corrupt, "{e}");
                    let repair = CheckOptions { repair: true, ..CheckOptions::default() };
                    check_on(after.as_ref(), &repair).unwrap();
                }
                let store = on(&after, Durability::Full);
                let snapshot = store.snapshot().unwrap();
                assert_eq!(values(&snapshot.array("a").unwrap()), expected(10));
                if snapshot.contains("b") {
                    assert_eq!(values(&snapshot.array("b").unwrap()), expected(900), "{call} of {first}..{end}");
                }
                is_clean(after.as_ref());
                store.vacuum(&NO_GRACE).unwrap();
                is_clean(after.as_ref());
            }
        }
    }
}

const CHILD: &str = "HYPERSLAB_TEST_VACUUM_CHILD";

/// What the child does: hold a snapshot, or load, until it is told to go on.
#[test]
fn child_process() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let (what, path) = task.split_once('|').unwrap();
    let store = in_folder(path);
    let wait = || {
        let mut out = std::io::stdout().lock();
        writeln!(out, "ready").unwrap();
        out.flush().unwrap();
        std::io::stdin().read_line(&mut String::new()).unwrap();
    };
    match what {
        "read" => {
            let b = array(&store, "b");
            wait();
            assert_eq!(values(&b), expected(900));
        }
        "load" => {
            let mut tx = store.begin().unwrap();
            tx.append_ndarray("a", &rows(10, 1_200_000)).unwrap();
            wait();
            tx.commit().unwrap();
        }
        _ => panic!("{task}"),
    }
}

/// Starts a child and waits until it holds what it is to hold.
fn child(what: &str, path: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["vacuum::child_process", "--exact", "--nocapture"])
        .env(CHILD, format!("{what}|{}", path.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("ready") {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "the child ended");
    }
    child.stdout = Some(out.into_inner());
    child
}

fn finish(mut child: Child) {
    writeln!(child.stdin.take().unwrap(), "go on").unwrap();
    std::io::copy(&mut child.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn pins(path: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(path.join("_pins")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn another_process_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.slab");
    let store = in_folder(&path);
    create(&store, "a", 1 << 20, 10);
    create(&store, "b", 4096, 900);
    let mut killed = child("read", &path);
    let reader = child("read", &path);
    drop_array(&store, "b");
    let report = store.vacuum(&NO_GRACE).unwrap();
    assert_eq!((report.files.len(), report.kept.len()), (0, 2), "{report:?}");
    finish(reader);
    assert_eq!(store.vacuum(&NO_GRACE).unwrap().kept.len(), 2);
    assert_eq!(pins(&path).len(), 2);
    // Whoever is killed leaves its pin, which pins nothing.
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(store.vacuum(&NO_GRACE).unwrap().files.len(), 2);
    assert_eq!(pins(&path).len(), 1);
    drop(store);
    assert_eq!(pins(&path).len(), 0);
}

#[test]
fn another_process_loads_for_hours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.slab");
    let store = in_folder(&path);
    create(&store, "a", 1 << 22, 10);
    let loader = child("load", &path);
    let mut killed = child("load", &path);
    let report = store.vacuum(&NO_GRACE).unwrap();
    assert!(report.files.is_empty() && report.kept.len() >= 2, "{report:?}");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let report = store.vacuum(&NO_GRACE).unwrap();
    assert!(!report.files.is_empty() && !report.kept.is_empty(), "{report:?}");
    finish(loader);
    assert_eq!(values(&array(&store, "a")), expected(1_200_010));
    assert_eq!(store.vacuum(&NO_GRACE).unwrap().files, []);
}

/// Nothing is written, locked or pinned by who only reads: the folder may belong to somebody else.
#[test]
fn a_read_only_handle_writes_nothing() {
    let storage = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::new())).unwrap());
    let store = on(&storage, Durability::Full);
    dropped(&store);
    create(&store, "c", 4096, 900);
    drop(store);
    let before = storage.counts();
    let options = OpenOptions { read_only: true, ..OpenOptions::default() };
    let store = Store::on(storage.clone(), options).unwrap();
    assert_eq!(values(&array(&store, "c")), expected(900));
    store.check(&CheckOptions::default()).unwrap();
    store.vacuum(&VacuumOptions { dry_run: true, ..NOW }).unwrap();
    drop(store);
    let counts = storage.counts() - before;
    assert_eq!((counts.mutations(), counts.locks, counts.pins), (0, 0, 0), "{counts:?}");
}

#[cfg(unix)]
#[test]
fn a_folder_without_permission_to_write_is_read() {
    use std::os::unix::fs::PermissionsExt;
    fn each(path: &Path, folder_mode: u32, file_mode: u32) {
        let all: Vec<PathBuf> = match std::fs::read_dir(path) {
            Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
            Err(_) => Vec::new(),
        };
        for inside in all {
            match inside.is_dir() {
                true => each(&inside, folder_mode, file_mode),
                false => std::fs::set_permissions(&inside, std::fs::Permissions::from_mode(file_mode)).unwrap(),
            }
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(folder_mode)).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.slab");
    dropped(&in_folder(&path));
    each(&path, 0o555, 0o444);
    let before = std::fs::read_dir(&path).unwrap().count();
    let options = OpenOptions { read_only: true, ..OpenOptions::default() };
    let store = Store::open_with(&path, options).unwrap();
    assert_eq!(values(&array(&store, "a")), expected(10));
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), before);
    // Whoever opens it to write reads too, where it cannot be written (not by root, who can).
    let writable = Store::open_with(&path, OpenOptions::default()).unwrap();
    assert_eq!(values(&array(&writable, "a")), expected(10));
    drop(writable);
    each(&path, 0o755, 0o644);
}

#[test]
fn files_of_edits_are_kept_and_go() {
    let (storage, store) = memory();
    create(&store, "a", 1 << 20, 100);
    let mut tx = store.begin().unwrap();
    tx.replace_ndarray("a", "value", &[3, 5], &rows(1000, 2)).unwrap();
    tx.delete("a", &(0..90).step_by(2).collect::<Vec<i64>>()).unwrap();
    tx.commit().unwrap();
    let edited = values(&array(&store, "a"));
    assert!(store.vacuum(&NO_GRACE).unwrap().files.is_empty());
    assert_eq!(values(&array(&on(&storage, Durability::Full), "a")), edited);
    is_clean(storage.as_ref());
    store.optimize("a", &hyperslab_store::OptimizeOptions { full: true }).unwrap();
    store.snapshot().unwrap();
    assert!(!store.vacuum(&NO_GRACE).unwrap().files.is_empty());
    assert_eq!(values(&array(&on(&storage, Durability::Full), "a")), edited);
    assert_eq!(files(storage.as_ref()).len(), 1);
    is_clean(storage.as_ref());
}

#[test]
fn a_tag_keeps_its_version() {
    let (storage, store) = memory();
    create(&store, "a", 1 << 20, 10);
    create(&store, "b", 4096, 900);
    let mut tx = store.begin().unwrap();
    tx.set_tag("kept", 2).unwrap();
    tx.commit().unwrap();
    drop_array(&store, "b");
    store.snapshot().unwrap();
    let report = store.vacuum(&NO_GRACE).unwrap();
    assert_eq!((report.oldest, report.versions, report.files.len()), (4, 3, 0), "{report:?}");
    is_clean(storage.as_ref());
    assert_eq!(values(&store.at_tag("kept").unwrap().array("b").unwrap()), expected(900));
    let error = store.at(1).unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("version 5 expired it"), "{error}");
    let mut tx = store.begin().unwrap();
    tx.drop_tag("kept").unwrap();
    tx.commit().unwrap();
    store.snapshot().unwrap();
    assert_eq!(store.vacuum(&NO_GRACE).unwrap().files.len(), 2);
    assert_eq!(store.at_tag("kept").unwrap_err().kind(), ErrorKind::NotFound);
    is_clean(storage.as_ref());
}
