//! Anonymous memory (what is no mapped file) stays bounded however large the data is.
//!
//! The peak is sampled from `/proc/<pid>/status` of the child, so this runs on Linux only.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hyperslab::DType;
use hyperslab::core::npy::write_header;
use hyperslab_tests::hyperslab_binary;

const GIB: u64 = 1 << 30;
const LIMIT: u64 = 400 << 20;

/// A `.npy` of 2 GiB of float32 that takes no room on a file system with sparse files.
fn sparse(path: &Path) {
    let header = write_header(DType::Float32, &[2 * GIB / 512, 128], 64).unwrap();
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(&header).unwrap();
    file.set_len(header.len() as u64 + 2 * GIB).unwrap();
}

/// Anonymous resident bytes of a process; `None` once it has ended.
fn anonymous(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// The statement's peak of anonymous memory.
fn peak(folder: &Path, store: &str, sql: &str) -> u64 {
    let mut command = Command::new(hyperslab_binary());
    command.current_dir(folder).args([store, "--durability", "os", "-c", sql]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut peak, mut samples) = (0, 0);
    while child.try_wait().unwrap().is_none() {
        if let Some(now) = anonymous(child.id()) {
            peak = peak.max(now);
            samples += 1;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(samples > 10 && peak > 1 << 20, "{sql}: {samples} samples, peak {peak}");
    println!("{sql}: peak {} MiB", peak >> 20);
    peak
}

#[test]
fn memory_is_bounded_by_the_work_in_flight() {
    if !cfg!(target_os = "linux") {
        eprintln!("SKIPPED: anonymous memory is sampled from /proc, which only Linux has");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    sparse(&folder.path().join("zeros.npy"));
    for (store, sql) in [
        ("s.slab", "CREATE TABLE zeros AS SELECT * FROM 'zeros.npy'"),
        ("s.slab", "COPY zeros TO 'zeros.parquet'"),
        (":memory:", "COPY (SELECT value FROM 'zeros.npy') TO 'copy.npy'"),
    ] {
        let peak = peak(folder.path(), store, sql);
        assert!(peak < LIMIT, "{sql}: {} MiB of anonymous memory", peak >> 20);
        let _ = std::fs::remove_file(folder.path().join("zeros.parquet"));
    }
}
