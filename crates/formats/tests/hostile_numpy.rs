//! Damaged files of the formats around NumPy, and of torch, are errors: no panic, no memory beyond what a file of that size is worth.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod allocations;

use std::path::Path;

use hyperslab_core::ArraySource;
use hyperslab_formats::Format;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// Bytes that one allocation may have: the files here have some thousand bytes, and one window of 1 MiB is read.
const MOST: usize = 32 << 20;

/// Reads all of a file that there is to read; the errors name the file.
fn read(path: &Path) -> Result<(), hyperslab_core::Error> {
    let named = |e: hyperslab_core::Error| {
        assert!(e.to_string().contains(path.file_name().unwrap().to_str().unwrap()), "{e}");
        e
    };
    let container = Format::of_path(path).unwrap().open_container(path).map_err(named)?;
    let mut result = Ok(());
    for entry in container.entries().iter().take(50) {
        let done = container.open(&entry.name).and_then(|source| read_source(source.as_ref())).map_err(named);
        result = result.and(done);
    }
    result
}

fn read_source(source: &dyn ArraySource) -> Result<(), hyperslab_core::Error> {
    for (i, field) in source.fields().iter().enumerate() {
        if field.row_bytes() > 1 << 20 {
            continue;
        }
        let rows = source.rows().min(((1 << 20) / field.row_bytes().max(1)) as u64);
        source.read(i, rows / 2..rows)?;
        source.read(i, 0..rows)?;
        if rows > 0 {
            source.take(i, &[source.rows() - 1, 0])?;
        }
    }
    Ok(())
}

/// Every truncation must be an error, and no random change may panic or take much memory.
fn damage(file: &str) {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
    let bytes = std::fs::read(&data).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    for end in 0..bytes.len() {
        std::fs::write(&path, &bytes[..end]).unwrap();
        let (most, result) = allocations::most(|| read(&path));
        assert!(result.is_err(), "{file}: {end} of {} bytes were taken for a whole file", bytes.len());
        assert!(most <= MOST, "{file}: {most} bytes for the first {end}");
    }
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut below = |n: usize| {
        use proptest::prelude::Rng;
        (rng.next_u64() % n.max(1) as u64) as usize
    };
    for round in 0..1000 {
        let mut changed = bytes.clone();
        for _ in 0..=below(4) {
            let at = below(changed.len());
            match below(3) {
                0 => changed[at] ^= 1 << below(8),
                1 => changed[at] = [0, 1, b'9', 0x7f, 0x80, 0xff][below(6)],
                _ => changed[at..].iter_mut().take(8).for_each(|b| *b = 0xff),
            }
        }
        std::fs::write(&path, &changed).unwrap();
        let (most, _) = allocations::most(|| read(&path));
        assert!(most <= MOST, "{file}: {most} bytes in round {round}");
    }
}

/// One after the other, since all allocations are watched.
const FILES: &[&str] = &[
    "python.safetensors",
    "stored.npz",
    "deflated.npz",
    "mixed.npz",
    "views.pt",
    "numpack.npkg",
    "records.npy",
    "fortran_records.npy",
    "unicode.npy",
    "tens.npy",
];

#[test]
fn damaged_files_are_errors() {
    FILES.iter().for_each(|file| damage(file));
}
