//! What this process still needs of a store: the versions that it reads and the transactions that are staging files.
//!
//! It stands in the process's pin, which VACUUM reads. The pin names the versions of all live snapshots and the last
//! one that was read, so that it is written when a version is read for the first time, never for each snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyperslab_core::Result;
use serde::{Deserialize, Serialize};

use crate::Storage;
use crate::action::Id;
use crate::log::{seal, unseal};
use crate::storage::PinGuard;

/// A pin that is in use is written at least so often, for those who can tell only by its age that it is.
const REFRESHED: Duration = Duration::from_secs(60);

/// The pin of one open store.
#[derive(Debug)]
pub(crate) struct Pins {
    storage: Arc<dyn Storage>,
    /// Whoever cannot write cannot pin.
    enabled: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A forked child has a pin of its own.
    process: u32,
    file: Option<Box<dyn PinGuard>>,
    /// Live snapshots, by version.
    versions: BTreeMap<u64, usize>,
    /// Transactions that have files which no log entry names.
    staging: BTreeSet<Id>,
    /// The versions that the pin names.
    recorded: BTreeSet<u64>,
    /// Those of them that had not expired after the pin was written.
    sure: BTreeSet<u64>,
    written: Option<Instant>,
}

/// What a pin says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pinned {
    /// The process's number, for people.
    pub process: u32,
    /// Versions that it may still read.
    pub versions: BTreeSet<u64>,
    /// Transactions whose files it is writing.
    pub staging: BTreeSet<Id>,
}

impl Pinned {
    /// What a pin says, or `None` for a line that was torn.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        unseal(line).ok().and_then(|(text, _)| serde_json::from_str(&text).ok())
    }
}

/// A version is kept readable as long as this lives.
#[derive(Debug)]
pub(crate) struct Hold {
    pins: Arc<Pins>,
    pub version: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.pins.release(self.version);
    }
}

/// Versions are kept readable as long as this lives.
#[derive(Debug)]
pub(crate) struct Holds {
    pins: Arc<Pins>,
    versions: Vec<u64>,
}

impl Drop for Holds {
    fn drop(&mut self) {
        let mut state = self.pins.state();
        for version in &self.versions {
            if let Some(count) = state.versions.get_mut(version) {
                *count = count.saturating_sub(1);
            }
        }
        state.versions.retain(|_, count| *count > 0);
        self.pins.write(&mut state);
    }
}

/// A transaction's files are kept as long as this lives.
#[derive(Debug)]
pub(crate) struct Staging {
    pins: Arc<Pins>,
    txn: Id,
}

impl Drop for Staging {
    fn drop(&mut self) {
        let mut state = self.pins.state();
        state.staging.remove(&self.txn);
        self.pins.write(&mut state);
    }
}

impl Pins {
    pub(crate) fn new(storage: Arc<dyn Storage>, enabled: bool) -> Arc<Self> {
        Arc::new(Self { storage, enabled, state: Mutex::default() })
    }

    /// Holds a version, and says whether the caller must [`confirm`](Self::confirm) it, having looked whether the
    /// version had expired before VACUUM could see the pin.
    pub(crate) fn hold(self: &Arc<Self>, version: u64) -> (Arc<Hold>, bool) {
        let mut state = self.state();
        *state.versions.entry(version).or_default() += 1;
        let unsure = self.enabled && !state.sure.contains(&version);
        let fresh = self.enabled && !state.recorded.contains(&version);
        if fresh || (self.enabled && state.written.is_some_and(|at| at.elapsed() > REFRESHED)) {
            self.write(&mut state);
        }
        (Arc::new(Hold { pins: self.clone(), version }), unsure)
    }

    /// Holds versions, writing the pin once. The caller looks whether they had expired before.
    pub(crate) fn hold_all(self: &Arc<Self>, versions: impl Iterator<Item = u64>) -> Holds {
        let versions: Vec<u64> = versions.collect();
        let mut state = self.state();
        versions.iter().for_each(|&version| *state.versions.entry(version).or_default() += 1);
        self.write(&mut state);
        Holds { pins: self.clone(), versions }
    }

    /// A version that is held had not expired.
    pub(crate) fn confirm(&self, version: u64) {
        let mut state = self.state();
        if state.recorded.contains(&version) {
            state.sure.insert(version);
        }
    }

    /// Registers a transaction before its first file is created.
    pub(crate) fn stage(self: &Arc<Self>, txn: Id) -> Staging {
        let mut state = self.state();
        state.staging.insert(txn);
        self.write(&mut state);
        Staging { pins: self.clone(), txn }
    }

    /// Shows those who go by the pin's age that this process lives.
    pub(crate) fn refresh(&self) {
        let mut state = self.state();
        if state.written.is_some_and(|at| at.elapsed() > REFRESHED) {
            self.write(&mut state);
        }
    }

    /// The name of this process's pin and exactly what it needs now.
    pub(crate) fn own(&self) -> (Option<String>, Pinned) {
        let state = self.state();
        (state.file.as_ref().map(|file| file.name().to_owned()), state.needs())
    }

    fn release(&self, version: u64) {
        let mut state = self.state();
        let Some(count) = state.versions.get_mut(&version) else { return };
        *count = count.saturating_sub(1);
        if *count > 0 {
            return;
        }
        state.versions.remove(&version);
        // The last one is probably read again.
        if state.recorded.last() != Some(&version) && state.recorded.contains(&version) {
            self.write(&mut state);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let process = std::process::id();
        if state.process != process {
            state.process = process;
            state.file = None;
            state.recorded.clear();
            state.sure.clear();
        }
        state
    }

    /// Writes the pin. Where it cannot be written (no permission, a full disk) reading goes on without.
    fn write(&self, state: &mut State) {
        if !self.enabled {
            return;
        }
        let mut pinned = state.needs();
        pinned.versions.extend(state.recorded.last().filter(|_| pinned.versions.is_empty()));
        state.recorded.clone_from(&pinned.versions);
        state.sure.retain(|version| pinned.versions.contains(version));
        state.written = Some(Instant::now());
        let _unpinned = self.try_write(state, &pinned);
    }

    fn try_write(&self, state: &mut State, pinned: &Pinned) -> Result<()> {
        if state.file.is_none() {
            state.file = self.storage.pin()?;
        }
        match &state.file {
            Some(file) => file.write(&seal(pinned)?.0),
            None => Ok(()),
        }
    }
}

impl State {
    fn needs(&self) -> Pinned {
        let versions = self.versions.keys().copied().collect();
        Pinned { process: self.process, versions, staging: self.staging.clone() }
    }
}
