//! Tests that need processes, other programs, or the whole repository.

mod structure;
