//! CHECK: everything that can be known to be whole is looked at.

use std::path::Path;

use hyperslab_core::{Error, Result};

use crate::ArrayName;

/// What CHECK looks at.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// Only this array's shards.
    pub array: Option<ArrayName>,
    /// Sizes and cross references only: no value is read.
    pub quick: bool,
    /// Move damaged log entries at the end of the log aside, so that the last whole version can be written to again.
    pub repair: bool,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is lost: a left-over file, a stale hint.
    Note,
    /// Something is damaged that no version needs, or that can be made again.
    Warning,
    /// Values, or versions, are lost or wrong.
    Error,
}

/// Something that CHECK found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file in the store.
    pub file: String,
    /// The array concerned.
    pub array: Option<ArrayName>,
    /// What is wrong.
    pub problem: String,
    /// What can be saved, and how.
    pub advice: String,
}

/// Checks the store at `path`, also one that cannot be opened.
///
/// # Errors
/// `NotFound` when there is no store; `Io`. What is wrong with the store is no error but a finding.
pub fn check(path: impl AsRef<Path>, options: &CheckOptions) -> Result<Vec<Finding>> {
    let _ = (path.as_ref(), options);
    Err(Error::unsupported("not built yet"))
}
