//! The Python whose libraries check ours.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python with the libraries of `tests/requirements.txt`.
pub(crate) struct Python(PathBuf);

/// `HYPERSLAB_PYTHON`, or the virtual environment that `make venv` makes. Without one the test says so and passes,
/// except in CI.
pub(crate) fn python() -> Option<Python> {
    let given = std::env::var_os("HYPERSLAB_PYTHON").map(PathBuf::from);
    let found = given.or_else(|| Some(root().join(".venv/bin/python")).filter(|p| p.exists()));
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "in CI the checks against Python may not be skipped");
    if found.is_none() {
        eprintln!("SKIPPED: no Python with h5py and zarr; `make venv` makes one");
    }
    found.map(Python)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A seed for random cases: `HYPERSLAB_SEED`, or another one each time. It is printed, which a failed test shows.
pub(crate) fn seed() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = std::env::var("HYPERSLAB_SEED").unwrap_or_else(|_| now.subsec_micros().to_string());
    eprintln!("HYPERSLAB_SEED={seed}");
    seed
}

impl Python {
    /// Runs a script of `tests/python` in a folder; it must succeed.
    pub(crate) fn run(&self, script: &str, arguments: &[&str], folder: &Path) {
        let output = Command::new(&self.0)
            .arg(root().join("tests/python").join(script).canonicalize().unwrap())
            .args(arguments)
            .current_dir(folder)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{script}: {}{}", text(&output.stdout), text(&output.stderr));
    }
}
