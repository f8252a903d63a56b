//! What a transaction sees of itself, and how it goes back to an earlier point.

use std::sync::Arc;

use hyperslab_core::{Error, Result};

use super::Transaction;
use crate::Snapshot;

/// A point of a transaction to go back to.
#[derive(Debug, Clone)]
pub struct Savepoint {
    _private: (),
}

impl Transaction {
    /// The store as this transaction sees it: its base and its own changes up to now. Later changes do not show in it.
    ///
    /// # Errors
    /// `Io`, where rows have to go to files.
    pub fn snapshot(&mut self) -> Result<Arc<Snapshot>> {
        Ok(self.base().clone())
    }

    /// A point to go back to.
    ///
    /// # Errors
    /// `Io`, where rows have to go to files.
    pub fn savepoint(&mut self) -> Result<Savepoint> {
        Ok(Savepoint { _private: () })
    }

    /// Forgets every change since the savepoint, also one that failed halfway.
    ///
    /// # Errors
    /// `Invalid` for another transaction's savepoint.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) -> Result<()> {
        let _ = savepoint;
        Err(Error::unsupported("not built yet"))
    }
}
