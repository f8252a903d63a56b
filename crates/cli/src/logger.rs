//! What the library logs, on standard error: warnings always, progress where somebody watches.

use std::io::{self, IsTerminal};

use log::{LevelFilter, Log, Metadata, Record};

use crate::run::note;

/// Prints the library's own records; those of other crates are not for users of the shell.
struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("hyperslab") && metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = if record.level() == log::Level::Warn { "warning: " } else { "" };
            note(&format!("{level}{}", record.args()));
        }
    }

    fn flush(&self) {}
}

/// Logs from now on.
pub(crate) fn to_stderr() {
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(if io::stderr().is_terminal() { LevelFilter::Info } else { LevelFilter::Warn });
    }
}
