//! Opening a store and seeing its versions.

use std::path::Path;
use std::sync::Arc;

use hyperslab_core::Result;

use crate::{OpenOptions, Snapshot, Storage, Transaction};

/// A store: a folder, or memory. Cheap to clone; clones are the same store. Any number of threads may use it.
#[derive(Debug, Clone)]
pub struct Store {}

impl Store {
    /// Opens the store at `path`, or creates it if there is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, OpenOptions { create: true, ..OpenOptions::default() })
    }

    /// Opens the store at `path`.
    pub fn open_with(_path: impl AsRef<Path>, _options: OpenOptions) -> Result<Self> {
        todo!()
    }

    /// An empty store in memory.
    pub fn memory() -> Self {
        todo!()
    }

    /// A store on any storage (tests, other backends).
    pub fn on(_storage: Arc<dyn Storage>, _options: OpenOptions) -> Result<Self> {
        todo!()
    }

    /// The newest committed version. Costs one look at the log's folder.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>> {
        todo!()
    }

    /// Starts a transaction on the newest version. It holds no lock until it commits.
    pub fn begin(&self) -> Result<Transaction> {
        todo!()
    }

    /// The path, or `memory`.
    pub fn describe(&self) -> String {
        todo!()
    }

    /// Whether it was opened read-only.
    pub fn read_only(&self) -> bool {
        todo!()
    }
}
