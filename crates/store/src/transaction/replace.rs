//! The commit of a job that changes no result.

use hyperslab_core::Result;

use super::Transaction;
use crate::Durability;
use crate::action::Action;
use crate::state::State;
use crate::writer::Files;

impl Transaction {
    /// The files that it writes.
    pub(crate) fn files_mut(&mut self) -> &mut Files {
        &mut self.files
    }

    /// Commits the action that `decide` gives for the newest state. It is asked without the lock, until it has seen the
    /// newest version, and then with it: it should be quick to say again what it said.
    ///
    /// # Errors
    /// What `decide` says; as [`commit`](Self::commit).
    pub(crate) fn commit_replacement(mut self, mut decide: impl FnMut(&State) -> Result<Action>) -> Result<u64> {
        self.check_writable()?;
        let durability = self.store.options.durability;
        self.sync(durability)?;
        let store = self.store.clone();
        decide(store.log.newest()?.as_ref())?;

        let lock = store.storage.lock(store.options.lock_timeout)?;
        let newest = store.log.newest()?;
        newest.protocol.check_writer()?;
        let action = decide(&newest)?;
        if durability == Durability::Full {
            self.sync_earlier(&newest)?;
        }
        self.files.check_present()?;
        let mut draft = self.draft(&newest, durability)?;
        draft.add(action)?;
        let version = self.publish(draft)?;
        self.files.write_headers();
        drop(lock);
        store.log.maintain();
        Ok(version)
    }
}
