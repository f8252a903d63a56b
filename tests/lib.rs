//! What the two test binaries share: the repository's root, and a Python with NumPy for cross-checks.

#![allow(clippy::panic, clippy::print_stderr, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's root, where `examples/data` is.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The Python whose NumPy checks ours: `HYPERSLAB_PYTHON`, or the virtual environment that `make venv` makes.
///
/// `None`, said on stderr, when there is none: the test is then skipped.
///
/// # Panics
/// In CI (`CI=true`), where these tests may not be skipped.
pub fn python() -> Option<PathBuf> {
    let found = std::env::var_os("HYPERSLAB_PYTHON").map(PathBuf::from).or_else(|| {
        let venv = root().join(".venv/bin/python");
        venv.exists().then_some(venv)
    });
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "in CI the checks against NumPy may not be skipped");
    if found.is_none() {
        eprintln!("SKIPPED: no Python with NumPy; `make venv` makes one");
    }
    found
}

/// Runs a Python script with arguments in `folder` and gives its standard output.
///
/// # Panics
/// When the script fails, with what it wrote to stderr.
pub fn run_python(python: &Path, folder: &Path, script: &str, arguments: &[&str]) -> String {
    let output = Command::new(python).current_dir(folder).arg("-c").arg(script).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("cannot run {}: {e}", python.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
