//! Versions: opening an older one, what each changed, waiting for a new one.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyperslab_core::{Error, Result};

use crate::{ArrayName, Snapshot, Store};

/// What one version is and did.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionInfo {
    /// The version.
    pub version: u64,
    /// Its time.
    pub time: SystemTime,
    /// The transaction's id.
    pub transaction: String,
    /// The program that wrote it.
    pub writer: String,
    /// `full` or `os`.
    pub durability: &'static str,
    /// The commit's message.
    pub message: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// What it did, one for each array (or none) and kind of change.
    pub changes: Vec<ChangeInfo>,
}

/// One change of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeInfo {
    /// The array, under the name that it had then; `None` for tags, schemas and the like.
    pub array: Option<ArrayName>,
    /// `create`, `append`, `replace`, `delete`, `rename`, `drop`, `optimize`, `restore` …
    pub action: &'static str,
    /// Rows appended, replaced or deleted.
    pub rows: Option<u64>,
    /// More, for people: the other name, the fields, the tag.
    pub detail: String,
}

fn later<T>() -> Result<T> {
    Err(Error::unsupported("not built yet"))
}

impl Store {
    /// A committed version.
    ///
    /// # Errors
    /// `NotFound` for one that is not there yet, naming the newest, or that has expired, naming the version that
    /// expired it; `Corrupt`.
    pub fn at(&self, version: u64) -> Result<Arc<Snapshot>> {
        let _ = version;
        later()
    }

    /// The version that was the newest at a time.
    ///
    /// # Errors
    /// As [`at`](Self::at); `NotFound` for a time before the first version.
    pub fn at_time(&self, time: SystemTime) -> Result<Arc<Snapshot>> {
        let _ = time;
        later()
    }

    /// The version of a tag.
    ///
    /// # Errors
    /// As [`at`](Self::at); `NotFound` for a tag that is not there, naming the nearest.
    pub fn at_tag(&self, tag: &str) -> Result<Arc<Snapshot>> {
        let _ = tag;
        later()
    }

    /// All versions, oldest first, with what they changed.
    ///
    /// # Errors
    /// `Corrupt`; `Io`.
    pub fn versions(&self) -> Result<Vec<VersionInfo>> {
        later()
    }

    /// Waits until version `version` is there; false when it did not come in time.
    ///
    /// # Errors
    /// `Corrupt`; `Io`.
    pub fn wait_for_version(&self, version: u64, timeout: Duration) -> Result<bool> {
        let _ = (version, timeout);
        later()
    }
}
