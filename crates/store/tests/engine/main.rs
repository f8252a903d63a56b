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
mod everything;
mod golden;
mod history;
mod indexes;
mod killed;
mod mangled;
mod model;
mod mounts;
mod optimize;
mod pack;
mod parts;
mod peers;
mod placement;
mod readers;
mod reading;
mod vacuum;
mod values;
