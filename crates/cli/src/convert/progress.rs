//! How far a conversion is: a bar on a terminal, lines elsewhere, nothing with `--quiet`.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

use super::input::Query;
use crate::run::note;

/// Cells of the bar.
const WIDTH: usize = 24;
/// Time between two lines where there is no terminal.
const LINES: Duration = Duration::from_secs(10);

/// What all tasks of a conversion report to.
#[derive(Debug)]
pub(super) struct Progress {
    quiet: bool,
    terminal: bool,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    arrays: usize,
    finished: usize,
    /// Bytes that are read in all, where every array's are known, and of those that are done.
    total: Option<u64>,
    done: u64,
    running: Vec<Running>,
    /// What is being read back.
    compared: Vec<String>,
    drawn: bool,
    last_line: Option<Instant>,
}

/// An array at work.
#[derive(Debug)]
struct Running {
    id: usize,
    name: String,
    /// The scans that its rows come from.
    scans: Vec<Arc<dyn ExecutionPlan>>,
    rows: Option<u64>,
    bytes: Option<u64>,
    /// Rows that were read, where the scans do not say it.
    read: Option<Arc<AtomicU64>>,
}

impl Running {
    fn read(&self) -> u64 {
        if let Some(read) = &self.read {
            return read.load(Ordering::Relaxed);
        }
        let rows = self.scans.iter().filter_map(|scan| scan.metrics()?.output_rows());
        rows.map(|n| n as u64).sum()
    }

    /// Bytes that were read, by the share of the rows.
    fn bytes_read(&self) -> Option<u64> {
        let (rows, bytes) = (self.rows.filter(|&n| n > 0)?, self.bytes?);
        Some((u128::from(bytes) * u128::from(self.read().min(rows)) / u128::from(rows)) as u64)
    }
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet, terminal: io::stderr().is_terminal(), started: Instant::now(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it takes so far.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What there is to do: the bytes of each array, where known.
    pub(super) fn expect(&self, bytes: &[Option<u64>]) {
        let mut state = self.state();
        state.arrays = bytes.len();
        state.total = bytes.iter().copied().sum::<Option<u64>>().filter(|&n| n > 0);
    }

    /// An array starts: its query, and the plan that reads it.
    pub(super) fn start(&self, id: usize, name: &str, plan: &Arc<dyn ExecutionPlan>, query: &Query) {
        let mut scans = Vec::new();
        leaves(plan, &mut scans);
        let counted = || {
            let rows = |scan: &Arc<dyn ExecutionPlan>| {
                let statistics = StatisticsContext::new().compute(scan.as_ref(), &StatisticsArgs::new()).ok()?;
                Some(*statistics.num_rows.get_value()? as u64)
            };
            scans.iter().map(rows).sum::<Option<u64>>()
        };
        let rows = query.rows.or_else(counted);
        let (bytes, read) = (query.bytes, query.read.clone());
        self.state().running.push(Running { id, name: name.to_owned(), scans, rows, bytes, read });
    }

    /// An array is done; the line says so where there is no terminal.
    pub(super) fn finish(&self, id: usize, line: &str) {
        let mut state = self.state();
        state.finished += 1;
        if let Some(at) = state.running.iter().position(|r| r.id == id) {
            let running = state.running.swap_remove(at);
            state.done += running.bytes.unwrap_or(0);
        }
        if !self.quiet {
            clear(&mut state);
            note(line);
        }
    }

    /// Something is read back.
    pub(super) fn compare(&self, what: &str) {
        self.state().compared.push(what.to_owned());
    }

    /// It is the same, which the line says.
    pub(super) fn compared(&self, what: &str, line: &str) {
        let mut state = self.state();
        state.compared.retain(|other| other != what);
        if !self.quiet {
            clear(&mut state);
            note(line);
        }
    }

    /// Called several times a second.
    pub(super) fn tick(&self) {
        let mut state = self.state();
        let line = match (state.running.as_slice(), state.compared.as_slice()) {
            ([], []) => return,
            ([], [what, ..]) => format!("comparing {what}  {}", time(self.elapsed().as_secs_f64())),
            _ => self.line(&state),
        };
        if self.quiet {
            return;
        }
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
            let _ = io::stderr().flush();
            state.drawn = true;
        } else if state.last_line.unwrap_or(self.started).elapsed() >= LINES {
            state.last_line = Some(Instant::now());
            note(&line);
        }
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        clear(&mut self.state());
    }

    fn line(&self, state: &State) -> String {
        let names: Vec<&str> = state.running.iter().map(|r| r.name.as_str()).collect();
        let mut what = names.join(", ");
        if let Some((end, _)) = what.char_indices().nth(30) {
            what.truncate(end);
            what.push('…');
        }
        if state.arrays > 1 {
            what = format!("{what} ({} of {} done)", state.finished, state.arrays);
        }
        let seconds = self.elapsed().as_secs_f64().max(0.001);
        let read: Option<u64> = state.running.iter().map(Running::bytes_read).sum();
        match (state.total, read) {
            (Some(total), Some(read)) => {
                let read = (state.done + read).min(total);
                let share = read as f64 / total as f64;
                let rate = read as f64 / seconds;
                let left = if rate > 0.0 { time((total - read) as f64 / rate) } else { "?".to_owned() };
                let percent = (share * 100.0) as u32;
                let of = format!("{} of {}", bytes(read), bytes(total));
                let bar = if self.terminal { bar(share) } else { String::new() };
                format!("{bar}{percent}%  {what}  {of}  {}/s  {left} left", bytes(rate as u64))
            }
            _ => {
                let rows: u64 = state.running.iter().map(Running::read).sum();
                format!("{what}  {rows} rows  {:.0} rows/s  {}", rows as f64 / seconds, time(seconds))
            }
        }
    }
}

fn clear(state: &mut State) {
    if std::mem::take(&mut state.drawn) {
        let _ = write!(io::stderr(), "\r\x1b[K");
        let _ = io::stderr().flush();
    }
}

fn leaves(plan: &Arc<dyn ExecutionPlan>, into: &mut Vec<Arc<dyn ExecutionPlan>>) {
    let children = plan.children();
    if children.is_empty() {
        into.push(Arc::clone(plan));
    }
    children.into_iter().for_each(|child| leaves(child, into));
}

fn bar(share: f64) -> String {
    let full = ((share * WIDTH as f64) as usize).min(WIDTH);
    format!("[{}{}] ", "#".repeat(full), "-".repeat(WIDTH - full))
}

/// A number of bytes as people read it, in powers of 1000.
pub(super) fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if value < 999.5 || unit == "TB" {
            let digits = if unit == "B" || value >= 99.95 { 0 } else { 1 };
            return format!("{value:.digits$} {unit}");
        }
        value /= 1000.0;
    }
    format!("{n} B")
}

/// A time as people read it.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 9.95 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!([0, 999, 1000, 65_000, 4_294_967_296].map(bytes), ["0 B", "999 B", "1.0 kB", "65.0 kB", "4.3 GB"]);
        assert_eq!([0.03, 12.4, 600.0, 9000.0].map(time), ["0.0 s", "12 s", "10 min", "2.5 h"]);
        assert_eq!(bar(0.5).matches('#').count(), WIDTH / 2);
        assert_eq!(bar(1.5).len(), bar(0.0).len());
    }
}
