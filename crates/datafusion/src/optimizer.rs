//! Own optimizer rules, logical and physical; `session.rs` says in which order they run.

pub(crate) mod dml;
pub(crate) mod filter_queries;
pub(crate) mod idle;
pub(crate) mod lateral;
pub(crate) mod nearest;
pub(crate) mod null_in;
pub(crate) mod pin;
pub(crate) mod row_join;
pub(crate) mod top_k;
