//! OPTIMIZE: small shards are merged, patches folded, deleted rows dropped, sealed shards (re)compressed.

use hyperslab_core::{Error, Result};

use crate::{ArrayName, Store};

/// What OPTIMIZE does.
#[derive(Debug, Clone, Default)]
pub struct OptimizeOptions {
    /// Rewrite every segment, whether it needs that or not.
    pub full: bool,
}

/// What OPTIMIZE did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptimizeReport {
    /// Segments replaced, and by how many.
    pub segments_before: u64,
    /// See above.
    pub segments_after: u64,
    /// Deleted rows that are gone from the files.
    pub rows_dropped: u64,
    /// Patched rows that stand in their shards now.
    pub rows_folded: u64,
    /// Bytes of shards before and after.
    pub bytes_before: u64,
    /// See above.
    pub bytes_after: u64,
    /// The newest version; unchanged if nothing was to do.
    pub version: u64,
}

impl Store {
    /// Rewrites what has become slow to read of an array, in bounded memory; never changes what a query returns.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when edits of others came in between every time; `Io`.
    pub fn optimize(&self, name: impl Into<ArrayName>, options: &OptimizeOptions) -> Result<OptimizeReport> {
        let _ = (name.into(), options);
        Err(Error::unsupported("not built yet"))
    }
}
