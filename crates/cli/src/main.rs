//! The Hyperslab shell: the binary `hyperslab`.

mod args;
mod check;
mod complete;
mod convert;
mod dot;
mod error;
#[cfg(test)]
mod functions_page;
mod logger;
mod output;
mod pack;
mod run;
mod script;
mod shell;
mod shrunk;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use args::{Input, Job, Options};
use run::{App, Failure, Settings, open_session, report};

/// Exit status after a statement that failed.
pub(crate) const FAILED: u8 = 1;
/// Exit status after Ctrl-C in a script.
pub(crate) const INTERRUPTED: u8 = 130;

/// Parser and planner recurse with the depth of a statement.
const STACK: usize = 64 << 20;

fn main() -> ExitCode {
    let mut options = Options::from_command_line();
    logger::to_stderr();
    if let Some(Job::Unpack(args)) = &options.job
        && let Some(convert) = pack::as_conversion(args)
    {
        options.job = Some(Job::Convert(convert));
    }
    match &options.job {
        Some(Job::Check(args)) => return check::run(args),
        Some(Job::Pack(args)) => return pack::pack(args),
        Some(Job::Unpack(args)) => return pack::unpack(args),
        Some(Job::Info(args)) => return pack::info(args),
        Some(Job::Convert(_)) | None => {}
    }
    let runtime = match start_runtime(options.open.threads) {
        Ok(runtime) => runtime,
        Err(e) => {
            report(&format!("starting the threads failed: {e}"));
            return FAILED.into();
        }
    };
    shrunk::say_so_before_the_end();
    if let Some(Job::Convert(args)) = options.job {
        return convert::run(args, runtime);
    }
    let code = start(options, &runtime);
    // A statement that was left to itself does not hold up the end.
    runtime.shutdown_background();
    code
}

/// The threads that statements run on.
fn start_runtime(threads: Option<usize>) -> io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_stack_size(STACK);
    // One more than a query's partitions: a query that was cancelled and has not noticed yet may hold those.
    let threads = threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from));
    let runtime = builder.worker_threads(threads.unwrap_or(1) + 1).build()?;
    ignore_file_size_signal(&runtime);
    Ok(runtime)
}

/// A write beyond the limit on the size of files (`ulimit -f`) then fails, and is reported, instead of ending the
/// process.
fn ignore_file_size_signal(runtime: &tokio::runtime::Runtime) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        const SIGXFSZ: i32 = 25; // on Linux and macOS alike
        let _entered = runtime.enter();
        // Once registered, the signal is tokio's for good; where it cannot be, it ends the process as before.
        drop(signal(SignalKind::from_raw(SIGXFSZ)));
    }
    #[cfg(not(unix))]
    let _ = runtime;
}

fn start(options: Options, runtime: &tokio::runtime::Runtime) -> ExitCode {
    let session = match open_session(&options.open) {
        Ok(session) => session,
        Err(text) => {
            report(&text);
            return FAILED.into();
        }
    };
    let interactive = options.inputs.is_empty() && io::stdin().is_terminal() && io::stdout().is_terminal();
    let settings = Settings {
        format: options.format,
        max_rows: options.max_rows,
        timer: None,
        quiet: options.quiet,
        keep_going: options.keep_going,
        columns: None,
    };
    let mut app = match App::new(session, options.open, settings, runtime.handle().clone(), interactive) {
        Ok(app) => app,
        Err(e) => {
            report(&format!("listening for Ctrl-C failed: {e}"));
            return FAILED.into();
        }
    };
    let code = if interactive {
        match shell::run(&mut app) {
            Ok(()) => ExitCode::SUCCESS,
            Err(text) => {
                report(&text);
                FAILED.into()
            }
        }
    } else {
        run_inputs(&mut app, options.inputs)
    };
    app.warn_of_transaction();
    code
}

/// Runs `-c`, `-f` and standard input.
fn run_inputs(app: &mut App, inputs: Vec<Input>) -> ExitCode {
    app.settings.columns = shell::terminal_columns();
    let inputs = if inputs.is_empty() { vec![Input::Stdin] } else { inputs };
    let run = |app: &mut App, input: &Input| match input {
        Input::Command(text) => app.run_text(text),
        Input::File(path) => app.run_file(path),
        Input::Stdin => app.run_stdin(),
    };
    for input in &inputs {
        match run(app, input) {
            Ok(()) => {}
            Err(Failure::Quit | Failure::Closed) => break,
            Err(Failure::Cancelled) => {
                report("cancelled");
                return INTERRUPTED.into();
            }
            Err(Failure::Error(text)) => {
                report(&text);
                app.failed = true;
                if !app.settings.keep_going {
                    break;
                }
            }
        }
    }
    if app.failed { FAILED.into() } else { ExitCode::SUCCESS }
}
