//! Tests that need processes, other programs, or the whole repository.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "tests"
)]

mod attach;
mod bad_input;
mod cli;
mod convert;
mod copy;
mod exact_search;
mod foreign_files;
mod functions;
mod indexes;
mod joined_search;
mod memory;
mod oracle;
mod order_by_distance;
mod pack;
mod processes;
mod structure;
