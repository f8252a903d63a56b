//! VACUUM: versions expire, then the files go that no version, reader or writer needs.

use std::time::Duration;

use hyperslab_core::{Error, Result};

use crate::Store;

/// What VACUUM does.
#[derive(Debug, Clone)]
pub struct VacuumOptions {
    /// Versions younger than this stay readable.
    pub retain: Duration,
    /// Only say what would go.
    pub dry_run: bool,
}

impl Default for VacuumOptions {
    fn default() -> Self {
        Self { retain: Duration::from_secs(7 * 24 * 3600), dry_run: false }
    }
}

/// What VACUUM did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VacuumReport {
    /// The oldest version that can be read now (tagged ones aside).
    pub oldest: u64,
    /// Versions that expired.
    pub versions: u64,
    /// Files removed: path in the store, bytes.
    pub files: Vec<(String, u64)>,
    /// Files that no version needs and that were kept, and why.
    pub kept: Vec<(String, String)>,
}

impl Store {
    /// Expires old versions and removes the files that nobody needs.
    ///
    /// # Errors
    /// `ReadOnly`; `Io`; `Corrupt`.
    pub fn vacuum(&self, options: &VacuumOptions) -> Result<VacuumReport> {
        let _ = options;
        Err(Error::unsupported("not built yet"))
    }
}
