//! Running statements: the task, Ctrl-C, printing, and what a failure means for the rest of a script.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, SchemaRef, UInt64Type};
use datafusion::error::DataFusionError;
use futures::{FutureExt, StreamExt};
use hyperslab::{ErrorKind, OpenOptions, Session, SessionOptions, Store};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinError, JoinHandle};

use crate::args::{OpenArgs, RowLimit};
use crate::dot;
use crate::error::message;
use crate::output::{self, Format, Terminal};
use crate::script::{Command, CommandKind, Feed, commands};

/// Rows printed between two looks at Ctrl-C.
const PRINTED_ROWS: usize = 1024;

/// How long a cancelled query is waited for. What changes something is waited for until it is known what became of it.
const GRACE: Duration = Duration::from_secs(1);

/// Why a command, or a script, did not run to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What to tell the user.
    Error(String),
    /// Ctrl-C.
    Cancelled,
    /// Nobody reads the results any more (`| head`).
    Closed,
    /// `.quit`.
    Quit,
}

impl Failure {
    fn of_output(error: &io::Error, target: &Target) -> Self {
        match (error.kind(), target) {
            (io::ErrorKind::BrokenPipe, _) => Self::Closed,
            (_, Target::Stdout) => Self::Error(format!("writing the result failed: {error}")),
            (_, Target::File { path, .. }) => Self::Error(format!("writing {} failed: {error}", path.display())),
        }
    }
}

/// What dot-commands change.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) format: Format,
    pub(crate) max_rows: RowLimit,
    /// `None`: on a terminal only.
    pub(crate) timer: Option<bool>,
    pub(crate) quiet: bool,
    pub(crate) keep_going: bool,
    /// The terminal's width, where known.
    pub(crate) columns: Option<usize>,
}

/// Where results go.
pub(crate) enum Target {
    Stdout,
    File { path: PathBuf, file: BufWriter<File> },
}

/// The program's state.
pub(crate) struct App {
    pub(crate) session: Session,
    pub(crate) open: OpenArgs,
    pub(crate) settings: Settings,
    pub(crate) target: Target,
    /// Where statements run.
    runtime: Handle,
    /// Where this thread waits for them: its clock goes on while all threads of `runtime` compute.
    waiting: Rc<Runtime>,
    interrupt: Interrupt,
    /// Files that `.read` is reading, to stop them from reading each other for ever.
    reading: usize,
    /// Whether a statement of a script has failed.
    pub(crate) failed: bool,
}

/// Opens the store that was asked for.
pub(crate) fn open_session(open: &OpenArgs) -> Result<Session, String> {
    let store = match &open.store {
        None => Store::memory(),
        Some(path) => {
            let options = OpenOptions {
                read_only: open.read_only,
                create: !open.read_only,
                durability: open.durability,
                dirs: open.dirs.clone(),
                verify: open.verify,
                auto_compact: open.auto_compact,
                ..OpenOptions::default()
            };
            Store::open_with(path, options).map_err(|e| match e.kind() {
                ErrorKind::Corrupt => format!("{e}; run `hyperslab check {}` to see what can be saved", path.display()),
                _ => e.to_string(),
            })?
        }
    };
    Ok(Session::new(store, SessionOptions { target_partitions: open.threads, memory_limit: open.memory_limit }))
}

impl App {
    /// # Errors
    /// When the thread that listens for Ctrl-C cannot be started.
    pub(crate) fn new(
        session: Session,
        open: OpenArgs,
        settings: Settings,
        runtime: Handle,
        interactive: bool,
    ) -> io::Result<Self> {
        let interrupt = Interrupt::listen(interactive)?;
        let waiting = Rc::new(Builder::new_current_thread().enable_time().build()?);
        Ok(Self {
            waiting,
            session,
            open,
            settings,
            target: Target::Stdout,
            runtime,
            interrupt,
            reading: 0,
            failed: false,
        })
    }

    /// Runs the statements of `-c`.
    pub(crate) fn run_text(&mut self, text: &str) -> Result<(), Failure> {
        commands(text).iter().try_for_each(|command| self.run_in_script(command, None))
    }

    /// Runs a file, statement by statement as it is read.
    pub(crate) fn run_file(&mut self, path: &Path) -> Result<(), Failure> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|e| Failure::Error(format!("opening {name} failed: {e}")))?;
        if self.reading >= 16 {
            return Err(Failure::Error(format!("{name} is not read: 16 files that .read each other are enough")));
        }
        self.reading += 1;
        let done = self.run_reader(BufReader::new(file), &name);
        self.reading -= 1;
        done
    }

    /// Runs standard input, statement by statement as it comes.
    pub(crate) fn run_stdin(&mut self) -> Result<(), Failure> {
        self.run_reader(BufReader::new(io::stdin()), "standard input")
    }

    fn run_reader(&mut self, mut reader: impl BufRead, name: &str) -> Result<(), Failure> {
        let mut feed = Feed::default();
        let mut line = String::new();
        loop {
            line.clear();
            let read =
                reader.read_line(&mut line).map_err(|e| Failure::Error(format!("reading {name} failed: {e}")))?;
            if read == 0 {
                break;
            }
            for command in feed.push(&line) {
                self.run_in_script(&command, Some(name))?;
            }
        }
        feed.finish().map_or(Ok(()), |command| self.run_in_script(&command, Some(name)))
    }

    /// Runs a command; with `--keep-going` its error is printed and the script goes on.
    fn run_in_script(&mut self, command: &Command, file: Option<&str>) -> Result<(), Failure> {
        match self.run(command) {
            Err(Failure::Error(text)) => {
                let text = match file {
                    Some(file) => format!("{file}:{}: {}", command.line, absolute_line(&text, command.line)),
                    None => text,
                };
                if !self.settings.keep_going {
                    return Err(Failure::Error(text));
                }
                self.failed = true;
                report(&text);
                Ok(())
            }
            other => other,
        }
    }

    /// Runs one command.
    pub(crate) fn run(&mut self, command: &Command) -> Result<(), Failure> {
        match command.kind {
            CommandKind::Dot => dot::run(self, &command.text),
            CommandKind::Sql => self.run_sql(&command.text),
        }
    }

    /// Says what becomes of a transaction that nobody ended: for the end of the program, or another store.
    pub(crate) fn warn_of_transaction(&self) {
        if self.session.in_transaction() {
            let what =
                if self.session.has_uncommitted_changes() { "its changes are gone" } else { "it had no changes" };
            note(&format!("warning: the open transaction was rolled back without COMMIT: {what}"));
        }
    }

    /// Whether a person looks at the results.
    pub(crate) fn on_terminal(&self) -> bool {
        matches!(self.target, Target::Stdout) && io::stdout().is_terminal()
    }

    fn terminal(&self) -> Option<Terminal> {
        let RowLimit(max_rows) = self.settings.max_rows;
        self.on_terminal().then_some(Terminal { columns: self.settings.columns, max_rows })
    }

    /// Runs one statement and prints what it returns.
    pub(crate) fn run_sql(&mut self, sql: &str) -> Result<(), Failure> {
        let started = Instant::now();
        let (sender, mut events) = mpsc::channel(2);
        let _running = self.interrupt.start();
        let mut task = self.runtime.spawn(statement(self.session.clone(), sql.to_owned(), sender));
        let mut printer = Printer::new(changes(sql));
        let interrupt = self.interrupt.clone();
        let waiting = self.waiting.clone();
        let printed = waiting.block_on(async {
            loop {
                let event = tokio::select! {
                    biased;
                    () = interrupt.pressed() => return Err(Failure::Cancelled),
                    event = events.recv() => event,
                };
                match event {
                    None => return Ok(()),
                    Some(event) => self.print(&mut printer, event, &interrupt)?,
                }
            }
        });
        drop(events);
        if printed.is_err() {
            task.abort();
        }
        let patience = if printed.is_err() && !printer.changes { GRACE } else { Duration::MAX };
        let ended = waiting.block_on(async {
            match &printed {
                // It has sent everything: what it says now counts.
                Ok(()) => Some(ending((&mut task).await)),
                Err(_) => wait(&mut task, &interrupt, patience).await,
            }
        });
        match (printed, ended) {
            // A statement that was done before it could be cancelled has happened.
            (Err(Failure::Cancelled), Some(Ok(()))) if printer.changes => {}
            (Err(Failure::Cancelled), None) => {
                let remark = if printer.changes { "whether it succeeds is not known" } else { "it stops when it can" };
                note(&format!("the statement is still at work in the background; {remark}"));
                return Err(Failure::Cancelled);
            }
            (Err(failure), _) => return Err(failure),
            (Ok(()), Some(Err(text))) => return Err(Failure::Error(text)),
            (Ok(()), Some(Ok(())) | None) => {}
        }
        self.finish(printer, started.elapsed())
    }

    fn print(&mut self, printer: &mut Printer, event: Event, interrupt: &Interrupt) -> Result<(), Failure> {
        match event {
            Event::Schema(schema) => {
                let one_count = matches!(schema.fields().as_ref(), [f] if *f.data_type() == DataType::UInt64);
                printer.counts = printer.changes && one_count;
                if !schema.fields().is_empty() && !printer.counts {
                    printer.writer = Some(output::writer(self.settings.format, &schema, self.terminal()));
                }
                Ok(())
            }
            Event::Batch(batch) if printer.counts => {
                let counts = batch.columns().first().and_then(|c| c.as_primitive_opt::<UInt64Type>());
                printer.rows += counts.map_or(0, |c| c.values().iter().sum());
                Ok(())
            }
            Event::Batch(batch) => {
                printer.rows += batch.num_rows() as u64;
                let Some(writer) = &mut printer.writer else { return Ok(()) };
                self.write(|out| {
                    for start in (0..batch.num_rows()).step_by(PRINTED_ROWS) {
                        if interrupt.was_pressed() {
                            return Ok(Err(Failure::Cancelled));
                        }
                        writer.batch(&batch.slice(start, PRINTED_ROWS.min(batch.num_rows() - start)), out)?;
                    }
                    Ok(Ok(()))
                })?
            }
        }
    }

    fn finish(&mut self, printer: Printer, elapsed: Duration) -> Result<(), Failure> {
        let returned_rows = printer.writer.is_some();
        if let Some(mut writer) = printer.writer {
            self.write(|out| writer.finish(out))?;
        }
        let on_terminal = self.on_terminal();
        let timed = self.settings.timer.unwrap_or(on_terminal && !self.settings.quiet);
        let summary = match printer.rows {
            0 if !returned_rows && !printer.counts => "ok".to_owned(),
            1 => "1 row".to_owned(),
            n => format!("{n} rows"),
        };
        let summary = (on_terminal && !self.settings.quiet).then_some(summary);
        let time = timed.then(|| format!("{:.3} s", elapsed.as_secs_f64()));
        match (summary, time) {
            (Some(summary), Some(time)) => note(&format!("{summary} ({time})")),
            (Some(text), None) | (None, Some(text)) => note(&text),
            (None, None) => {}
        }
        Ok(())
    }

    /// Writes to the target and flushes it.
    pub(crate) fn write<R>(&mut self, f: impl FnOnce(&mut dyn Write) -> io::Result<R>) -> Result<R, Failure> {
        let done = match &mut self.target {
            Target::Stdout => {
                let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
                f(&mut out).and_then(|r| out.flush().map(|()| r))
            }
            Target::File { file, .. } => f(file).and_then(|r| file.flush().map(|()| r)),
        };
        done.map_err(|e| Failure::of_output(&e, &self.target))
    }

    /// Prints a result that did not come from a statement.
    pub(crate) fn print_batch(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let mut writer = output::writer(self.settings.format, &batch.schema(), self.terminal());
        self.write(|out| {
            writer.batch(batch, out)?;
            writer.finish(out)
        })
    }
}

/// An error, in one line on standard error.
pub(crate) fn report(text: &str) {
    // Nothing can be said where standard error is closed.
    let _ = writeln!(io::stderr(), "error: {text}");
}

/// A remark on standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

type Task = JoinHandle<Result<(), DataFusionError>>;

/// What a running statement sends.
enum Event {
    Schema(SchemaRef),
    Batch(RecordBatch),
}

struct Printer {
    /// Whether the statement's first word says that it changes something.
    changes: bool,
    /// Whether its result is the number of rows that it changed.
    counts: bool,
    /// `None` for a result without columns.
    writer: Option<Box<dyn output::Writer>>,
    rows: u64,
}

impl Printer {
    fn new(changes: bool) -> Self {
        Self { changes, counts: false, writer: None, rows: 0 }
    }
}

/// Runs in the runtime, so that Ctrl-C is heard while a statement computes.
async fn statement(session: Session, sql: String, events: mpsc::Sender<Event>) -> Result<(), DataFusionError> {
    let frame = session.sql(&sql).await?;
    let mut stream = frame.execute_stream().await?;
    // A closed channel means that nobody wants the rest.
    if events.send(Event::Schema(stream.schema())).await.is_err() {
        return Ok(());
    }
    while let Some(batch) = stream.next().await {
        if events.send(Event::Batch(batch?)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The end of a task: `None` when a second Ctrl-C, or the end of patience, came first.
async fn wait(task: &mut Task, interrupt: &Interrupt, patience: Duration) -> Option<Result<(), String>> {
    let ended = tokio::select! {
        biased;
        ended = &mut *task => ended,
        () = interrupt.pressed() => return None,
        () = tokio::time::sleep(patience) => return None,
    };
    Some(ending(ended))
}

fn ending(ended: Result<Result<(), DataFusionError>, JoinError>) -> Result<(), String> {
    match ended {
        Ok(result) => result.map_err(|e| message(&e)),
        Err(e) if e.is_cancelled() => Err("cancelled".to_owned()),
        Err(_) => Err("internal error: the statement panicked; please report it with the text above".to_owned()),
    }
}

/// The parser counts lines from the start of a statement; a file's reader counts from the start of the file.
fn absolute_line(text: &str, first: usize) -> String {
    let absolute = || {
        let (before, after) = text.rsplit_once(" at Line: ")?;
        let (line, column) = after.split_once(", Column: ")?;
        let line: usize = line.parse().ok()?;
        column.parse::<usize>().ok()?;
        Some(format!("{before} at line {}, column {column}", (line + first).checked_sub(1)?))
    };
    absolute().unwrap_or_else(|| text.to_owned())
}

/// Whether a statement's first word says that it changes something.
fn changes(sql: &str) -> bool {
    let word = sql.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default().to_ascii_uppercase();
    const WORDS: [&str; 12] = [
        "INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "COPY", "CREATE", "REPLACE", "ALTER", "DROP", "COMMIT",
        "END",
    ];
    WORDS.contains(&word.as_str())
}

/// Ctrl-C: cancels the running statement. Between statements it ends a script; the shell reads it as a key.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    pressed: Arc<Notify>,
    running: Arc<AtomicBool>,
}

pub(crate) struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Interrupt {
    /// Listens on a thread of its own: the runtime's may all be busy with the statement that is to be cancelled.
    pub(crate) fn listen(interactive: bool) -> io::Result<Self> {
        let this = Self { pressed: Arc::default(), running: Arc::default() };
        let listener = this.clone();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listen = async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                if listener.running.load(Ordering::Relaxed) {
                    listener.pressed.notify_one();
                } else if !interactive {
                    std::process::exit(crate::INTERRUPTED.into());
                }
            }
        };
        std::thread::Builder::new().name("ctrl-c".to_owned()).spawn(move || runtime.block_on(listen))?;
        Ok(this)
    }

    /// Marks a statement as running until the guard is dropped.
    pub(crate) fn start(&self) -> Running {
        // Forget a key pressed at the end of the statement before.
        self.was_pressed();
        self.running.store(true, Ordering::Relaxed);
        Running(self.running.clone())
    }

    pub(crate) async fn pressed(&self) {
        self.pressed.notified().await;
    }

    fn was_pressed(&self) -> bool {
        self.pressed.notified().now_or_never().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_syntax_errors_are_the_files() {
        let text = "syntax error: Expected: x, found: y at Line: 2, Column: 8";
        assert_eq!(absolute_line(text, 10), "syntax error: Expected: x, found: y at line 11, column 8");
        assert_eq!(absolute_line("a at Line: b", 10), "a at Line: b");
    }

    #[test]
    fn what_changes_something() {
        assert!(changes("insert into t values (1)") && changes("COPY(SELECT 1) TO 'x'") && changes("create table"));
        assert!(!changes("SELECT 1") && !changes("(SELECT 1)") && !changes("WITH t AS (SELECT 1) SELECT 1"));
    }
}
