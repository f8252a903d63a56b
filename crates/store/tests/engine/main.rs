//! The engine from outside: stores in memory and in folders.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod basics;
