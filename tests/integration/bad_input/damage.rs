//! Stores that are damaged, from the future, not ours to write, or on a full disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use hyperslab::{OpenOptions, Store};
use hyperslab_tests::hyperslab_binary;

use super::{Place, contents};

const READ: &str = "SELECT * FROM n";
const WRITE: &str = "INSERT INTO n SELECT 50";

/// Both statements fail and name each of `named`; the store's files stay as they are.
fn unusable(place: &Place, named: &[&str]) {
    let before = tree(&place.store());
    for sql in [READ, WRITE] {
        place.refused(place.command(sql), sql, named);
        assert!(before == tree(&place.store()), "{sql}: files changed");
    }
    let error = Store::open_with(place.store(), OpenOptions { read_only: true, ..OpenOptions::default() });
    let error = error.and_then(|s| s.snapshot().map(|_| ())).unwrap_err().to_string();
    for name in named {
        assert!(error.contains(name), "no {name:?} in: {error}");
    }
}

/// Every file of the store with its bytes; locks and pins are no part of it.
fn tree(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("_pins") || path.ends_with("lock") {
            } else if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.clone(), std::fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// The log entries, oldest first.
fn entries(place: &Place) -> Vec<PathBuf> {
    let files = tree(&place.store()).into_iter().map(|f| f.0);
    let is_entry = |p: &PathBuf| {
        let name = p.file_name().unwrap().to_string_lossy().into_owned();
        p.parent().unwrap().ends_with("_log") && name.strip_suffix(".json").is_some_and(|n| n.parse::<u64>().is_ok())
    };
    let mut entries: Vec<_> = files.filter(is_entry).collect();
    entries.sort();
    assert!(entries.len() >= 6, "{entries:?}");
    entries
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_damaged_log_is_an_error_that_names_the_entry() {
    let place = Place::new();
    // A checkpoint stands for the entries before it, which then are not read.
    for (path, _) in tree(&place.store()) {
        if name(&path).contains("checkpoint") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let whole = contents(&place.store());
    let entries = entries(&place);
    let (middle, last) = (&entries[3], &entries[entries.len() - 1]);
    for entry in [middle, last] {
        let good = std::fs::read(entry).unwrap();
        let mut damages =
            vec![good[..good.len() / 2].to_vec(), good[..good.len() - 1].to_vec(), vec![], b"garbage".to_vec()];
        // One character of a value; one digit anywhere; one more byte.
        for at in [good.len() / 4, good.len() / 2, good.len() - 10] {
            let mut flipped = good.clone();
            flipped[at] ^= 1;
            damages.push(flipped);
        }
        for (i, damage) in damages.iter().enumerate() {
            // The last byte may be a newline, which says nothing.
            if damage.as_slice() == good.trim_ascii_end() {
                continue;
            }
            std::fs::write(entry, damage).unwrap();
            println!("damage {i} of {}", name(entry));
            unusable(&place, &[&name(entry)]);
        }
        std::fs::write(entry, &good).unwrap();
    }
    // A gap.
    let good = std::fs::read(middle).unwrap();
    std::fs::remove_file(middle).unwrap();
    unusable(&place, &[&name(middle)]);
    // An entry under another one's number.
    std::fs::copy(&entries[2], middle).unwrap();
    unusable(&place, &[&name(middle)]);
    std::fs::write(middle, &good).unwrap();
    assert!(contents(&place.store()) == whole);
}

#[test]
fn a_store_of_a_newer_format_is_refused() {
    let place = Place::new();
    let path = place.store().join("hyperslab.json");
    let good = std::fs::read_to_string(&path).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&good).unwrap();
    let versions: Vec<String> =
        json.as_object().unwrap().iter().filter(|(_, v)| v.is_u64()).map(|(k, _)| k.clone()).collect();
    let [key] = &versions[..] else { panic!("which number is the format's version? {good}") };
    json[key] = (json[key].as_u64().unwrap() + 1).into();
    let newer = json[key].to_string();
    std::fs::write(&path, json.to_string()).unwrap();
    unusable(&place, &["format", &newer]);
    std::fs::write(&path, "{").unwrap();
    unusable(&place, &["hyperslab.json"]);
    std::fs::remove_file(&path).unwrap();
    unusable(&place, &["hyperslab.json"]);
    std::fs::write(&path, good).unwrap();
    place.ok(READ);
}

#[test]
fn a_missing_or_shortened_shard_is_an_error() {
    let place = Place::new();
    place.ok("CREATE TABLE big AS SELECT value FROM generate_series(1, 100000)");
    let shards: Vec<PathBuf> =
        tree(&place.store()).into_iter().map(|f| f.0).filter(|p| p.extension().is_some_and(|e| e == "npy")).collect();
    let shard = shards.iter().max_by_key(|p| p.metadata().unwrap().len()).unwrap();
    let good = std::fs::read(shard).unwrap();
    for damage in [Some(good.len() / 2), Some(100), Some(0), None] {
        match damage {
            Some(n) => std::fs::write(shard, &good[..n]).unwrap(),
            None => std::fs::remove_file(shard).unwrap(),
        }
        place.refused(place.command("SELECT sum(value) FROM big"), "a shard cut short", &[&name(shard)]);
        // Other arrays are not concerned.
        place.ok("SELECT * FROM v");
    }
    std::fs::write(shard, &good).unwrap();
    assert_eq!(place.ok("SELECT sum(value) AS s FROM big"), "s\n5000050000\n");
}

#[cfg(unix)]
#[test]
fn a_store_that_may_not_be_written() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let place = Place::new();
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let folders = || {
        let mut folders: Vec<PathBuf> = tree(&place.store()).iter().map(|f| f.0.parent().unwrap().to_owned()).collect();
        folders.extend([place.folder.path().to_owned(), place.store()]);
        folders
    };
    for (path, _) in tree(&place.store()) {
        mode(&path, 0o444);
    }
    let lock = place.store().join("_log/lock");
    if lock.exists() {
        mode(&lock, 0o444);
    }
    if place.store().join("_pins").exists() {
        mode(&place.store().join("_pins"), 0o555);
    }
    for folder in folders() {
        mode(&folder, 0o555);
    }
    // Permissions do not bind root, so the child is nobody then, with a binary that nobody can reach.
    let root = std::fs::write(place.store().join("probe"), "").is_ok();
    let command = |sql: &str| {
        let mut command = place.command(sql);
        if root {
            let copy = place.path("hyperslab-for-nobody");
            if !copy.exists() {
                std::fs::copy(hyperslab_binary(), &copy).unwrap();
            }
            command = Command::new(copy);
            command
                .current_dir(place.folder.path())
                .args(["s.slab", "--format", "csv", "-c", sql])
                .uid(65534)
                .gid(65534);
        }
        command
    };
    if root {
        std::fs::remove_file(place.store().join("probe")).unwrap();
    }
    let before = contents(&place.store());
    let refused = |sql: &str| {
        let output = command(sql).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{sql}: {output:?}");
        assert!(err.contains("s.slab") && (err.contains("ermission") || err.contains("read-only")), "{sql}: {err}");
    };
    refused(WRITE);
    refused("CREATE TABLE x AS SELECT 1 AS x");
    refused("DROP TABLE n");
    assert!(before == contents(&place.store()));
    // Reading needs no permission to write, when it says so.
    let mut reading = command(READ);
    let output = reading.arg("--read-only").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    for folder in folders() {
        mode(&folder, 0o755);
    }
}

/// A disk that is full after some blocks: the limit on a file's size, whose signal the shell ignores for its child, makes
/// writes fail in the middle.
#[cfg(unix)]
#[test]
fn a_full_disk_during_append() {
    let place = Place::new();
    place.ok("CREATE TABLE big AS SELECT value FROM generate_series(1, 1000)");
    let before = contents(&place.store());
    let sql = "INSERT INTO big SELECT value FROM generate_series(1, 3000000)";
    for blocks in [1, 64, 1024, 20_000] {
        let mut command = Command::new("sh");
        command
            .current_dir(place.folder.path())
            .arg("-c")
            .arg("trap '' XFSZ; ulimit -f $1 && exec \"$2\" s.slab -c \"$3\"");
        command.arg("sh").arg(blocks.to_string()).arg(hyperslab_binary()).arg(sql);
        place.refused(command, &format!("a limit of {blocks} blocks"), &["s.slab"]);
        assert!(before == contents(&place.store()), "{blocks}: something changed");
    }
    place.ok(sql);
    assert_eq!(place.ok("SELECT count(*) AS n FROM big"), "n\n3001000\n");
}
