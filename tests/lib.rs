//! What the two test binaries share: the repository's root, a Python with NumPy for cross-checks, the `hyperslab`
//! binary, and a session that tests call without being asynchronous.

#![allow(clippy::panic, clippy::print_stderr, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::error::DataFusionError;
use hyperslab::{Session, SessionOptions, Store};
use tokio::runtime::Runtime;

/// The repository's root, where `examples/data` is.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The Python whose NumPy and pyarrow check ours: `HYPERSLAB_PYTHON`, or the virtual environment that `make venv`
/// makes.
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
/// When the script fails, with what it wrote.
pub fn run_python(python: &Path, folder: &Path, script: &str, arguments: &[&str]) -> String {
    let output = Command::new(python).current_dir(folder).arg("-c").arg(script).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("cannot run {}: {e}", python.display()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The `hyperslab` binary, built beside this test binary (`make test` builds it first).
///
/// # Panics
/// When it is not there.
pub fn hyperslab_binary() -> PathBuf {
    let here = std::env::current_exe().unwrap_or_else(|e| panic!("{e}"));
    let folder = here.ancestors().nth(2).unwrap_or(Path::new("."));
    let binary = folder.join(format!("hyperslab{}", std::env::consts::EXE_SUFFIX));
    assert!(binary.exists(), "{} is not built: `cargo build --workspace --bins` builds it", binary.display());
    binary
}

/// A session whose statements are run and waited for.
#[derive(Debug)]
pub struct Sql {
    session: Session,
    runtime: Runtime,
}

impl Sql {
    /// Over an empty store in memory, with as many partitions as the machine has cores.
    pub fn memory() -> Self {
        Self::on(Store::memory(), None)
    }

    /// Over a store.
    ///
    /// # Panics
    /// When no threads can be started.
    pub fn on(store: Store, target_partitions: Option<usize>) -> Self {
        // Planning recurses deeply in unoptimised builds.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_stack_size(8 << 20)
            .enable_all()
            .build()
            .unwrap_or_else(|e| panic!("{e}"));
        let session = Session::new(store, SessionOptions { target_partitions, ..SessionOptions::default() });
        Self { session, runtime }
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The session's store.
    pub fn store(&self) -> &Store {
        self.session.store()
    }

    /// Runs a statement; its rows in one batch, or the message as the shell shows it.
    ///
    /// # Errors
    /// The statement's.
    ///
    /// # Panics
    /// When the statement does.
    pub fn run(&self, sql: &str) -> Result<RecordBatch, String> {
        let (session, text) = (self.session.clone(), sql.to_owned());
        let task = async move {
            let frame = session.sql(&text).await?;
            let schema = frame.schema().inner().clone();
            let batches = frame.collect().await?;
            let schema = batches.first().map_or(schema, RecordBatch::schema);
            Ok::<_, DataFusionError>(concat_batches(&schema, &batches)?)
        };
        let result = self.runtime.block_on(async { self.runtime.spawn(task).await });
        let result = result.unwrap_or_else(|e| panic!("{sql}: {e}"));
        result.map_err(|e| e.find_root().to_string())
    }

    /// Runs a statement that must succeed.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok(&self, sql: &str) -> RecordBatch {
        self.run(sql).unwrap_or_else(|e| panic!("{sql}\n{e}"))
    }

    /// Runs a statement that must fail; its message.
    ///
    /// # Panics
    /// When it succeeds.
    pub fn error(&self, sql: &str) -> String {
        match self.run(sql) {
            Ok(rows) => panic!("{sql}\nmust fail, and gave {} rows", rows.num_rows()),
            Err(message) => message,
        }
    }
}
