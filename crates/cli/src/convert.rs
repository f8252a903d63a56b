//! `hyperslab convert`: files, folders and stores of any format into any other.
//!
//! [`input`] finds the arrays, each a query; [`output`] lays out what they become; [`work`] streams each query through
//! COPY, CREATE TABLE AS, or into a file of several arrays; [`progress`] tells how far it is.

mod input;
mod kind;
mod output;
mod parquet;
mod progress;
mod work;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use datafusion::error::DataFusionError;
use hyperslab::FieldCast;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::error::message;
use crate::run::{Failure, Interrupt, note, report};
use crate::{FAILED, INTERRUPTED};
use progress::Progress;
use work::{Totals, Work};

/// Time between two looks at the progress.
const TICK: Duration = Duration::from_millis(200);
/// How long the removal of temporary files may take at the end.
const PATIENCE: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  hyperslab convert embeddings.npy embeddings.parquet
  hyperslab convert model.safetensors weights/               each tensor to weights/NAME.npy
  hyperslab convert weights/ weights.h5 --option codec=gzip  a folder's files to one file
  hyperslab convert demo.slab demo.zarr --verify             every array of a store, compared afterwards
  hyperslab convert wide.csv demo.slab::points --value c0:c9 ten columns as one matrix field
  hyperslab convert model.safetensors::wte wte.npy --slice '0:1000' --cast float16
  hyperslab convert demo.slab best.npz --select 'SELECT value FROM embeddings WHERE row < 100'
  hyperslab convert 'parts/*.npy' all.npy                    a pattern in quotes joins files to one array

Several arrays go to a folder (OUT/), to a file of several arrays (.npz, .safetensors, .h5, .zarr) or to a store (.slab).
A file appears under its name when it is whole, and a store takes all arrays in one transaction: what was interrupted
has left nothing, and can be run again; with --resume, files of a folder that are there are left out.
Exit status: 0; 1 when something failed; 2 for a wrong command line; 130 after Ctrl-C.";

/// `hyperslab convert`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ConvertArgs {
    /// What to read: files, folders of files, stores, patterns. FILE::NAME is one array of several
    #[arg(value_name = "IN", required = true, num_args = 1..)]
    inputs: Vec<String>,

    /// What to write: a file, a folder (OUT/), a store. OUT::NAME names the array there
    #[arg(value_name = "OUT", required = true)]
    output: String,

    /// The format of IN, if its extension does not say it
    #[arg(long, value_name = "FORMAT")]
    from: Option<String>,

    /// The format of OUT, or of the files in the folder OUT (npy if not given)
    #[arg(long, value_name = "FORMAT")]
    to: Option<String>,

    /// Write the rows of a query. Inputs are tables by their names, and `input` if there is one
    #[arg(long, value_name = "SQL", conflicts_with_all = ["slice", "value"])]
    select: Option<String>,

    /// Write a part of each array: NumPy's slices of rows and further axes, as in '0:1000, :, 3'
    #[arg(long, value_name = "SLICE", allow_hyphen_values = true)]
    slice: Option<String>,

    /// Another dtype, for every field of numbers or one (NAME=DTYPE), perhaps with the shape of its cells:
    /// float16, label=int8, image=uint8[8,8]. A value that does not fit is an error. May be given several times
    #[arg(long = "cast", value_name = "[FIELD=]DTYPE")]
    casts: Vec<FieldCast>,

    /// Columns of a table as one field `value`: 'c0:c9', or ':' for all
    #[arg(long, value_name = "FIRST:LAST")]
    value: Option<String>,

    /// The CSV file that is read has no line of names
    #[arg(long)]
    no_header: bool,

    /// An option of the format that is written, as in COPY's OPTIONS. May be given several times
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = key_value)]
    options: Vec<(String, String)>,

    /// How many files of a folder are written at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,

    /// Replace what is there, when the new one is whole
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,

    /// Leave out what is there: go on where a conversion of many arrays was interrupted
    #[arg(long)]
    resume: bool,

    /// Read everything back and compare it with what was read
    #[arg(long)]
    verify: bool,

    /// Print errors only
    #[arg(short, long)]
    quiet: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let split = text.split_once('=').filter(|(key, _)| !key.trim().is_empty());
    let (key, value) = split.ok_or_else(|| format!("{text:?} is no KEY=VALUE"))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// What an error says.
fn said(error: DataFusionError) -> String {
    message(&error)
}

/// Converts, and gives the exit status.
pub(crate) fn run(args: ConvertArgs, runtime: Runtime) -> ExitCode {
    let progress = Arc::new(Progress::new(args.quiet));
    let quiet = args.quiet;
    let done = supervised(args, &runtime, &progress);
    progress.clear();
    // What was stopped removes its temporary files.
    runtime.shutdown_timeout(PATIENCE);
    match done {
        Ok(summary) => {
            if !quiet {
                note(&summary);
            }
            ExitCode::SUCCESS
        }
        Err(Failure::Error(text)) => {
            report(&text);
            FAILED.into()
        }
        Err(_) => {
            report("cancelled");
            INTERRUPTED.into()
        }
    }
}

/// Runs the conversion, watches it and listens for Ctrl-C.
fn supervised(args: ConvertArgs, runtime: &Runtime, progress: &Arc<Progress>) -> Result<String, Failure> {
    let failed = |e: std::io::Error| Failure::Error(format!("listening for Ctrl-C failed: {e}"));
    let interrupt = Interrupt::listen(false).map_err(failed)?;
    let _running = interrupt.start();
    let waiting = Builder::new_current_thread().enable_time().build().map_err(failed)?;
    let mut task = runtime.spawn(convert(args, Arc::clone(progress)));
    let mut cancelled = false;
    let ended = waiting.block_on(async {
        loop {
            tokio::select! {
                biased;
                () = interrupt.pressed() => {
                    if std::mem::replace(&mut cancelled, true) {
                        return None;
                    }
                    task.abort();
                }
                ended = &mut task => return Some(ended),
                () = tokio::time::sleep(TICK) => progress.tick(),
            }
        }
    });
    match ended {
        Some(Ok(done)) => done.map_err(Failure::Error),
        _ if cancelled => Err(Failure::Cancelled),
        _ => Err(Failure::Error("internal error: the conversion panicked; please report it".to_owned())),
    }
}

/// The whole of it; what the summary says.
async fn convert(args: ConvertArgs, progress: Arc<Progress>) -> Result<String, String> {
    let inputs = input::open(&args).await?;
    let (units, skipped) = output::plan(&args, inputs.queries)?;
    let bytes: Vec<_> = units.iter().flat_map(|u| u.items.iter().map(|item| item.query.bytes)).collect();
    progress.expect(&bytes);
    let jobs = usize::from(args.jobs);
    let work = Arc::new(Work::new(args, inputs.session, Arc::clone(&progress)));
    let mut totals = Totals::default();
    let mut units = units.into_iter();
    // Dropped, a set stops its tasks.
    let mut tasks = JoinSet::new();
    loop {
        while tasks.len() < jobs
            && let Some(unit) = units.next()
        {
            let work = Arc::clone(&work);
            tasks.spawn(async move { work.run(&unit).await });
        }
        let Some(done) = tasks.join_next().await else { break };
        let done = done.map_err(|e| format!("internal error: {e}; please report it"))??;
        totals.arrays += done.arrays;
        totals.rows += done.rows;
        totals.bytes += done.bytes;
    }
    Ok(work::summary(totals, skipped, progress.elapsed().as_secs_f64()))
}
