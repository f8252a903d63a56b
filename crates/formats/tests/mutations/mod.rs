//! Calls readers with bytes changed at random, and watches what they do. `HYPERSLAB_SEED=<n>` changes them otherwise,
//! `HYPERSLAB_RUNS=<n>` so many times each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::allocations;

/// Reads bytes as a file of one kind.
type Target = fn(&[u8]);

/// Panics so far, of any thread, those too that a reader catches: a library that panics is to be mended, not hidden.
pub(crate) fn panics() -> usize {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            before(panic);
        }));
    });
    PANICS.load(Ordering::Relaxed)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Calls a target, which must neither panic nor allocate more than `most` at once; the bytes are kept if it does.
pub(crate) fn call(name: &str, target: Target, bytes: &[u8], most: usize, what: &str) {
    let before = panics();
    let (found, done) = allocations::most(|| catch_unwind(AssertUnwindSafe(|| target(bytes))));
    let kept = || {
        let path = std::env::temp_dir().join(format!("hyperslab-hostile-{name}"));
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    assert!(done.is_ok() && panics() == before, "{name}: {what}: it panics; the file is {}", kept());
    assert!(found <= most, "{name}: {what}: {found} bytes at once; the file is {}", kept());
}

/// Calls a target with each of the files, cut at up to 500 places, and changed at random.
pub(crate) fn run(name: &str, target: Target, files: &[Vec<u8>], runs: usize, most: usize) {
    files.iter().for_each(|bytes| call(name, target, bytes, most, "a good file"));
    for file in files {
        for end in (0..file.len()).step_by((file.len() / 500).max(1)) {
            call(name, target, &file[..end], most, &format!("cut after {end} bytes"));
        }
        for (run, bytes) in changed(file, runs / files.len()).enumerate() {
            call(name, target, &bytes, most, &format!("HYPERSLAB_SEED={}, run {run}", seed()));
        }
    }
}

/// A file changed at random, so many times unless `HYPERSLAB_RUNS` says how many.
pub(crate) fn changed(file: &[u8], runs: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut state = [0; 32];
    state[..8].copy_from_slice(&seed().to_le_bytes());
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &state);
    let runs = number("HYPERSLAB_RUNS").map_or(runs, |runs| runs as usize);
    (0..runs).map(move |_| {
        let mut bytes = file.to_vec();
        change(&mut bytes, &mut |n: usize| (rng.next_u64() % n.max(1) as u64) as usize);
        bytes
    })
}

fn seed() -> u64 {
    number("HYPERSLAB_SEED").unwrap_or(1)
}

/// Changes some bytes of a file, cuts it, or repeats a part of it.
fn change(bytes: &mut Vec<u8>, below: &mut impl FnMut(usize) -> usize) {
    for _ in 0..=below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = below(bytes.len());
        match below(8) {
            0 => bytes[at] ^= 1 << below(8),
            1 => bytes[at] = [0, 1, b'9', 0x7f, 0x80, 0xff][below(6)],
            2 => bytes[at..].iter_mut().take(8).for_each(|b| *b = 0xff),
            3 => bytes[at..].iter_mut().take(4).for_each(|b| *b = 0),
            // Digits are what texts say of lengths.
            4 => bytes[at..].iter_mut().filter(|b| b.is_ascii_digit()).take(1 + below(9)).for_each(|b| *b = b'9'),
            5 if below(4) == 0 => bytes.truncate(at),
            5 | 6 => {
                let piece: Vec<u8> = bytes[at..].iter().take(1 + below(32)).copied().collect();
                bytes.splice(at..at, piece);
            }
            _ => {
                let from = below(bytes.len().saturating_sub(16));
                let piece: Vec<u8> = bytes[from..].iter().take(1 + below(16)).copied().collect();
                bytes[at..].iter_mut().zip(piece).for_each(|(b, p)| *b = p);
            }
        }
    }
}
