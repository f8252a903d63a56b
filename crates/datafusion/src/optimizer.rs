//! Own optimizer rules, logical and physical; `session.rs` says in which order they run.
