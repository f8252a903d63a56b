//! The engine from outside: stores in memory and in folders.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod appends;
mod basics;
mod campaign;
mod check;
mod codec;
mod common;
mod conflicts;
mod cost;
mod crash;
mod damage;
mod edits;
mod history;
mod model;
mod optimize;
mod placement;
mod reading;
mod vacuum;
mod values;
