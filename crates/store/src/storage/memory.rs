//! Memory.

/// Memory.
#[derive(Debug)]
pub(crate) struct MemoryStorage {}
