//! Runs the corpus in `sql/`: each `.slt` file over a fresh store in memory (each `connection` in it is a session), with
//! the repository's root as the working folder and `__SCRATCH__` replaced by an empty folder of the file's own.
//!
//! `cargo test -p hyperslab-tests --test slt -- top_k` runs the files whose name holds `top_k`;
//! `HYPERSLAB_SLT_UPDATE=1` rewrites the expectations instead (`make slt-update`).

#![allow(clippy::print_stderr, reason = "a test runner")]

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use hyperslab::{Session, SessionOptions, Store};
use hyperslab_tests::root;
use libtest_mimic::{Arguments, Failed, Trial};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};

fn main() -> std::process::ExitCode {
    if let Err(e) = std::env::set_current_dir(root()) {
        eprintln!("{}: {e}", root().display());
        return std::process::ExitCode::FAILURE;
    }
    let arguments = Arguments::from_args();
    let mut files: Vec<PathBuf> = match std::fs::read_dir("sql") {
        Ok(entries) => entries.filter_map(|e| Some(e.ok()?.path())).collect(),
        Err(_) => Vec::new(),
    };
    files.retain(|f| f.extension().is_some_and(|e| e == "slt"));
    files.sort();
    let trials = files
        .into_iter()
        .map(|file| Trial::test(file.with_extension("").display().to_string(), move || run(&file)))
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run(file: &Path) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(8 << 20)
        .enable_all()
        .build()?;
    // Planning recurses deeply in unoptimised builds: give it a worker's stack, not the test thread's.
    let file = file.to_owned();
    runtime.block_on(async move { tokio::spawn(async move { run_file(&file).await }).await? })
}

async fn run_file(file: &Path) -> Result<(), Failed> {
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path().display().to_string();
    let store = Store::memory();
    let mut runner = Runner::new(|| {
        let session = Session::new(store.clone(), SessionOptions::default());
        let scratch = folder.clone();
        async move { Ok(Database { session, scratch }) }
    });
    runner.with_column_validator(sqllogictest::strict_column_validator);
    if std::env::var_os("HYPERSLAB_SLT_UPDATE").is_some() {
        let update = runner.update_test_file(
            file,
            " ",
            sqllogictest::default_validator,
            sqllogictest::default_normalizer,
            sqllogictest::strict_column_validator,
        );
        return update.await.map_err(|e| e.to_string().into());
    }
    runner.run_file_async(file).await.map_err(|e| e.display(false).to_string().into())
}

struct Database {
    session: Session,
    scratch: String,
}

/// The message as the shell shows it: the root of the error.
#[derive(Debug)]
struct Failure(String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<datafusion::error::DataFusionError> for Failure {
    fn from(e: datafusion::error::DataFusionError) -> Self {
        Self(e.find_root().to_string())
    }
}

#[async_trait]
impl AsyncDB for Database {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        let frame = self.session.sql(&sql.replace("__SCRATCH__", &self.scratch)).await?;
        let types = frame.schema().fields().iter().map(|f| column_type(f.data_type())).collect::<Vec<_>>();
        let batches = frame.collect().await?;
        let rows = batches.iter().map(rows).collect::<Result<Vec<_>, _>>()?.concat();
        if types.is_empty() && rows.is_empty() {
            return Ok(DBOutput::StatementComplete(0));
        }
        let rows = rows.into_iter().flat_map(lines).map(|r| self.hide_scratch(r)).collect();
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "hyperslab"
    }
}

impl Database {
    fn hide_scratch(&self, row: Vec<String>) -> Vec<String> {
        row.into_iter().map(|cell| cell.replace(&self.scratch, "__SCRATCH__")).collect()
    }
}

/// A record cannot hold a newline: the further lines of a row's last cell (a plan) become rows of their own.
fn lines(mut row: Vec<String>) -> Vec<Vec<String>> {
    let last = row.pop().unwrap_or_default();
    let mut lines = last.lines().map(str::to_owned);
    row.extend(lines.next());
    std::iter::once(row).chain(lines.map(|line| vec![line])).collect()
}

fn column_type(data_type: &DataType) -> DefaultColumnType {
    match data_type {
        t if t.is_integer() => DefaultColumnType::Integer,
        t if t.is_floating() => DefaultColumnType::FloatingPoint,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DefaultColumnType::Text,
        _ => DefaultColumnType::Any,
    }
}

fn rows(batch: &RecordBatch) -> Result<Vec<Vec<String>>, Failure> {
    let options = FormatOptions::default().with_null("NULL");
    let formatters = batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options));
    let formatters = formatters.collect::<Result<Vec<_>, _>>().map_err(|e| Failure(e.to_string()))?;
    let cell = |f: &ArrayFormatter<'_>, i| match f.value(i).try_to_string() {
        Ok(text) if text.is_empty() => Ok("(empty)".to_owned()),
        // EXPLAIN ends with a newline, which a record cannot.
        Ok(text) => Ok(text.trim_end().to_owned()),
        other => other.map_err(|e| Failure(e.to_string())),
    };
    let rows = (0..batch.num_rows()).map(|i| formatters.iter().map(|f| cell(f, i)).collect());
    rows.collect()
}
