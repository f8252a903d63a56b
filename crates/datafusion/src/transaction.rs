//! The transaction that a session has open, and the one that a statement writes into.
//!
//! [`OpenTransaction`] is the session's slot. A statement is planned with the [`Scope`] of its moment, which goes along
//! in its configuration; a node that writes takes its transaction from there with [`Writer::begin`]: the open one, with
//! a savepoint, so that a statement that fails or is dropped leaves it as it was, or one of its own, which it commits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::common::{DataFusionError, Result, exec_err, plan_err};
use datafusion::execution::TaskContext;
use hyperslab_core::ErrorKind;
use hyperslab_store::{Savepoint, Snapshot, Store, Transaction};

use crate::to_datafusion;

/// A session's transaction, if it has one open. Dropping it rolls back.
#[derive(Debug)]
pub(crate) struct OpenTransaction {
    store: Store,
    slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    /// How many were begun: the number of the one that is open.
    begun: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    /// Statements that changed it.
    changes: u64,
    /// What it shows, as last asked for.
    seen: Option<Arc<Snapshot>>,
    work: Work,
}

#[derive(Debug)]
enum Work {
    /// No statement writes.
    Idle(Box<Transaction>),
    /// A statement writes and has the transaction.
    Busy,
    /// It only reads.
    ReadOnly,
    /// A failed statement could not be undone.
    Broken(String),
}

/// What a statement sees of the store.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) snapshot: Arc<Snapshot>,
    /// Whether a transaction's own changes are in it.
    pub(crate) staged: bool,
    pub(crate) scope: Scope,
}

/// Where a statement was planned: within which transaction of its session, after how many changes.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    session: Arc<OpenTransaction>,
    within: Option<(u64, u64)>,
}

impl OpenTransaction {
    pub(crate) fn none(store: &Store) -> Arc<Self> {
        Arc::new(Self { store: store.clone(), slot: Mutex::default() })
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.slot().open.is_some()
    }

    /// Whether there is one with changes.
    pub(crate) fn has_changes(&self) -> bool {
        self.slot().open.as_ref().is_some_and(|open| open.changes > 0)
    }

    /// What a statement sees now: the open transaction's snapshot, or the newest version. While a statement writes,
    /// others see the transaction as it was before.
    pub(crate) fn see(self: &Arc<Self>) -> Result<Seen> {
        let mut slot = self.slot();
        let number = slot.begun;
        let Some(open) = &mut slot.open else {
            drop(slot);
            let snapshot = self.store.snapshot().map_err(to_datafusion)?;
            return Ok(Seen { snapshot, staged: false, scope: Scope { session: Arc::clone(self), within: None } });
        };
        let snapshot = match (&open.seen, &mut open.work) {
            (_, Work::Broken(why)) => return broken(why),
            (Some(seen), _) => Arc::clone(seen),
            (None, Work::Idle(tx)) => tx.snapshot().map_err(to_datafusion)?,
            (None, Work::Busy | Work::ReadOnly) => return busy(),
        };
        open.seen = Some(Arc::clone(&snapshot));
        let scope = Scope { session: Arc::clone(self), within: Some((number, open.changes)) };
        Ok(Seen { snapshot, staged: true, scope })
    }

    /// BEGIN.
    pub(crate) fn begin(&self, read_only: bool) -> Result<()> {
        let mut slot = self.slot();
        if slot.open.is_some() {
            return plan_err!("BEGIN: a transaction is open already; COMMIT or ROLLBACK it first");
        }
        let (work, seen) = if read_only || self.store.read_only() {
            (Work::ReadOnly, Some(self.store.snapshot().map_err(to_datafusion)?))
        } else {
            (Work::Idle(Box::new(self.store.begin().map_err(to_datafusion)?)), None)
        };
        slot.begun += 1;
        slot.open = Some(Open { changes: 0, seen, work });
        Ok(())
    }

    /// COMMIT. Whatever comes of it, the transaction has ended, unless it could not be tried.
    pub(crate) async fn commit(&self) -> Result<()> {
        let tx = {
            let mut slot = self.slot();
            match slot.open.as_ref().map(|open| &open.work) {
                None => return no_transaction("COMMIT"),
                Some(Work::Busy) => return busy(),
                Some(_) => {}
            }
            match slot.open.take().map(|open| open.work) {
                Some(Work::Idle(tx)) => tx,
                Some(Work::Broken(why)) => return broken(&why),
                _ => return Ok(()),
            }
        };
        let done = tokio::task::spawn_blocking(move || tx.commit()).await;
        match done.map_err(|e| DataFusionError::External(Box::new(e)))? {
            Ok(_) => Ok(()),
            Err(e) => {
                let e = match e.kind() {
                    ErrorKind::OutcomeUnknown => e,
                    _ if e.is_retryable() => e.with("transaction", "rolled back; run it again from BEGIN"),
                    _ => e.with("transaction", "rolled back"),
                };
                Err(to_datafusion(e))
            }
        }
    }

    /// ROLLBACK. A statement that is still writing loses its transaction.
    pub(crate) fn rollback(&self) -> Result<()> {
        match self.slot().open.take() {
            Some(_) => Ok(()),
            None => no_transaction("ROLLBACK"),
        }
    }

    /// Gives a statement the transaction.
    fn take(&self, within: (u64, u64), unchanged: bool) -> Result<Box<Transaction>> {
        let mut slot = self.slot();
        let (number, changes) = within;
        let current = slot.begun == number;
        let Some(open) = slot.open.as_mut().filter(|_| current) else {
            return exec_err!("the transaction in which this statement was planned has ended; plan it again");
        };
        if unchanged && open.changes != changes {
            return exec_err!("the transaction changed since this statement was planned; plan it again");
        }
        match std::mem::replace(&mut open.work, Work::Busy) {
            Work::Idle(tx) => Ok(tx),
            other => {
                let refused = match &other {
                    Work::ReadOnly => exec_err!("the transaction is READ ONLY; end it and begin one that writes"),
                    Work::Broken(why) => broken(why),
                    _ => busy(),
                };
                open.work = other;
                refused
            }
        }
    }

    /// Takes it back: changed, or as it was. False if it was rolled back in between.
    fn put_back(&self, number: u64, work: Work, changed: bool) -> bool {
        let mut slot = self.slot();
        let current = slot.begun == number;
        let Some(open) = slot.open.as_mut().filter(|_| current) else { return false };
        open.work = work;
        if changed {
            open.changes += 1;
            open.seen = None;
        }
        true
    }
}

fn busy<T>() -> Result<T> {
    exec_err!("another statement is writing in this session's transaction; wait for its end, or ROLLBACK")
}

fn broken<T>(why: &str) -> Result<T> {
    exec_err!("a failed statement could not be taken back ({why}); the transaction cannot go on: ROLLBACK it")
}

fn no_transaction<T>(what: &str) -> Result<T> {
    plan_err!("{what}: no transaction is open; BEGIN starts one, and a statement outside of it commits by itself")
}

impl Scope {
    /// The open transaction for a statement that was planned here; `None` where it commits by itself.
    fn transaction(&self, store: &Store, unchanged: bool) -> Result<Option<Box<Transaction>>> {
        if !self.session.store.is_same(store) {
            return Ok(None); // another store, which somebody registered on the session's context
        }
        match self.within {
            Some(within) => self.session.take(within, unchanged).map(Some),
            None if self.session.is_open() => {
                exec_err!("this statement was planned before BEGIN, outside of the transaction; plan it again")
            }
            None => Ok(None),
        }
    }
}

/// The transaction that one statement writes into. Dropped before [`finish`](Self::finish), nothing of the statement
/// stays.
#[derive(Debug)]
pub(crate) struct Writer {
    tx: Option<Box<Transaction>>,
    /// The session's transaction to give it back to, by number, and the point to go back to.
    session: Option<(Arc<OpenTransaction>, u64, Savepoint)>,
}

impl Writer {
    /// For a statement whose rows do not depend on what they are added to.
    pub(crate) fn begin(context: &TaskContext, store: &Store) -> Result<Self> {
        Self::new(context, store, None)
    }

    /// For a statement that changes rows of a snapshot.
    pub(crate) fn begin_at(context: &TaskContext, store: &Store, base: &Arc<Snapshot>) -> Result<Self> {
        Self::new(context, store, Some(base))
    }

    fn new(context: &TaskContext, store: &Store, base: Option<&Arc<Snapshot>>) -> Result<Self> {
        if let Some(scope) = context.session_config().get_extension::<Scope>()
            && let Some(tx) = scope.transaction(store, base.is_some())?
        {
            let (session, (number, _)) = (Arc::clone(&scope.session), scope.within.unwrap_or_default());
            let mut tx = tx;
            return match tx.savepoint() {
                Ok(savepoint) => Ok(Self { tx: Some(tx), session: Some((session, number, savepoint)) }),
                Err(e) => {
                    session.put_back(number, Work::Idle(tx), false);
                    Err(to_datafusion(e))
                }
            };
        }
        let tx = match base {
            Some(base) => store.begin_at(base),
            None => store.begin(),
        };
        Ok(Self { tx: Some(Box::new(tx.map_err(to_datafusion)?)), session: None })
    }

    /// Whether the statement commits by itself.
    pub(crate) fn commits(&self) -> bool {
        self.session.is_none()
    }

    /// The transaction.
    pub(crate) fn tx(&mut self) -> Result<&mut Transaction> {
        match self.tx.as_deref_mut() {
            Some(tx) => Ok(tx),
            None => datafusion::common::internal_err!("a writer was used after its end"),
        }
    }

    /// Keeps what was written: committed, which gives the version, or as part of the session's transaction.
    ///
    /// # Errors
    /// What the commit gives: then nothing was kept.
    pub(crate) async fn finish(mut self) -> Result<Option<u64>> {
        let Some(tx) = self.tx.take() else { return Ok(None) };
        if let Some((session, number, _)) = self.session.take() {
            if !session.put_back(number, Work::Idle(tx), true) {
                return exec_err!("the transaction was rolled back while this statement was writing; nothing was kept");
            }
            return Ok(None);
        }
        // Away from the runtime's threads: it syncs files and may wait for another writer.
        let done = tokio::task::spawn_blocking(move || tx.commit()).await;
        let version = done.map_err(|e| DataFusionError::External(Box::new(e)))?.map_err(to_datafusion)?;
        Ok(Some(version))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let (Some(mut tx), Some((session, number, savepoint))) = (self.tx.take(), self.session.take()) {
            let work = match tx.rollback_to(&savepoint) {
                Ok(()) => Work::Idle(tx),
                Err(e) => Work::Broken(e.to_string()),
            };
            session.put_back(number, work, false);
        }
    }
}

#[cfg(test)]
mod tests;
