//! What a transaction sees of itself, and how it goes back to an earlier point.

use std::sync::Arc;

use hyperslab_core::{Error, Result};

use super::{Transaction, Work};
use crate::action::Id;
use crate::state::ArrayState;
use crate::{Array, Snapshot};

/// A point of a transaction to go back to.
#[derive(Debug, Clone)]
pub struct Savepoint {
    transaction: Id,
    number: u64,
    work: Work,
    actions: usize,
    held: usize,
    files: usize,
    failed: bool,
}

impl Transaction {
    /// The store as this transaction sees it: its base and its own changes up to now. Later changes do not show in it.
    /// It can be read as long as the transaction is not dropped or rolled back behind it.
    ///
    /// # Errors
    /// `Io`, where rows have to go to files.
    pub fn snapshot(&mut self) -> Result<Arc<Snapshot>> {
        if self.waiting.is_empty() && Arc::ptr_eq(&self.work.state, self.base.state()) {
            return Ok(self.base.clone());
        }
        self.freeze_all()?;
        Ok(Arc::new(self.base.with_state(self.work.state.clone())))
    }

    /// A point to go back to.
    ///
    /// # Errors
    /// `Io`, where rows have to go to files.
    pub fn savepoint(&mut self) -> Result<Savepoint> {
        self.freeze_all()?;
        let number = self.next_savepoint;
        self.next_savepoint += 1;
        self.savepoints.push(number);
        Ok(Savepoint {
            transaction: self.id,
            number,
            work: self.work.clone(),
            actions: self.actions.len(),
            held: self.held.len(),
            files: self.files.created.len(),
            failed: self.failed,
        })
    }

    /// Forgets every change since the savepoint, also one that failed halfway, and the savepoints after it.
    ///
    /// # Errors
    /// `Invalid` for another transaction's savepoint, or one that was itself forgotten.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) -> Result<()> {
        if savepoint.transaction != self.id {
            return Err(Error::invalid("the savepoint is of another transaction"));
        }
        let found = self.savepoints.binary_search(&savepoint.number);
        let found = found.map_err(|_| Error::invalid("the savepoint was forgotten: the transaction went behind it"))?;
        self.savepoints.truncate(found + 1);
        self.waiting.clear();
        self.work = savepoint.work.clone();
        self.actions.truncate(savepoint.actions);
        self.held.truncate(savepoint.held);
        self.failed = savepoint.failed;
        self.files.forget(savepoint.files);
        Ok(())
    }

    /// An array of the working state; what waits does not show in it.
    pub(super) fn working_array(&self, array: Arc<ArrayState>) -> Array {
        self.base.array_of(array)
    }
}

/// The error of an array that is not there although it was found.
pub(super) fn gone() -> Error {
    Error::not_found("the array is not there any more")
}
