//! Older versions: their states, their times, waiting for newer ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyperslab_core::{Error, Result};

use super::{Entry, Log, LogFiles, apply, relisted, start};
use crate::state::State;

/// States of older versions that are kept for who asks again.
const KEPT: usize = 8;

/// The first and the longest pause between two looks for an entry that another process may write.
const PAUSES: (Duration, Duration) = (Duration::from_micros(500), Duration::from_millis(20));

/// States of older versions, the one that was asked for last at the end.
#[derive(Debug, Default)]
pub(super) struct Past(Mutex<VecDeque<Arc<State>>>);

impl Past {
    fn get(&self, version: u64) -> Option<Arc<State>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|s| s.version == version)?;
        let state = kept.remove(at)?;
        kept.push_back(state.clone());
        Some(state)
    }

    /// The newest that is kept of those before `version`.
    fn before(&self, version: u64) -> Option<Arc<State>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().filter(|s| s.version < version).max_by_key(|s| s.version).cloned()
    }

    fn keep(&self, state: Arc<State>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(state);
    }
}

impl Log {
    /// The state at a version.
    ///
    /// # Errors
    /// `NotFound` for one that is not there yet, naming the newest, or that has expired, naming the version that said
    /// so; `Corrupt`, naming the file.
    pub(crate) fn at(&self, version: u64) -> Result<Arc<State>> {
        let newest = self.newest()?;
        if version == newest.version {
            return Ok(newest);
        }
        if version > newest.version {
            let why = format!("there is no version {version} yet; the newest is {}", newest.version);
            return Err(Error::not_found(why));
        }
        if !newest.is_readable(version) {
            let why = match newest.expired {
                Some(e) if e.by == e.before => format!(
                    "it is one before {}, where the log starts (a repair gave it up, or this was a pack of one version)",
                    e.before
                ),
                expired => format!("version {} expired it (VACUUM)", expired.map(|e| e.by).unwrap_or_default()),
            };
            return Err(Error::not_found(format!("version {version} cannot be read any more: {why}")));
        }
        self.state_at(version)
    }

    /// The state at a version, whether it has expired or not: the newest checkpoint up to it that is whole, or an older
    /// state that is known, and the entries after that.
    ///
    /// # Errors
    /// `NotFound` for a version that is not there; `Corrupt`, naming the file.
    pub(crate) fn state_at(&self, version: u64) -> Result<Arc<State>> {
        let newest = self.known();
        if newest.version == version {
            return Ok(newest);
        }
        if version > newest.version && version > self.newest()?.version {
            return Err(Error::not_found(format!("there is no version {version}; the newest is {}", newest.version)));
        }
        if let Some(state) = self.past.get(version) {
            return Ok(state);
        }
        let known = self.past.before(version);
        let state = Arc::new(relisted(|| {
            let mut files = LogFiles::list(self.storage.as_ref())?;
            let (checkpoint, _) = start(self.storage.as_ref(), &files, version)?;
            let mut state = match &known {
                Some(known) if known.version >= checkpoint.version => known.as_ref().clone(),
                _ => checkpoint,
            };
            let next = if state.log_bytes == 0 { 0 } else { state.version + 1 };
            for version in next..=version {
                let (bytes, path) = files.read(self.storage.as_ref(), version)?;
                apply(&mut state, &bytes, &path)?;
            }
            Ok(state)
        })?);
        self.past.keep(state.clone());
        Ok(state)
    }

    /// The newest version, from `first` on, that is not younger than a time (microseconds since 1970), if there is one.
    ///
    /// # Errors
    /// `Corrupt`, naming the file.
    pub(crate) fn version_at(&self, time: i64, first: u64) -> Result<Option<u64>> {
        let newest = self.newest()?;
        if newest.time <= time {
            return Ok(Some(newest.version));
        }
        relisted(|| {
            let mut files = LogFiles::list(self.storage.as_ref())?;
            let (mut low, mut high) = (first, newest.version);
            while low < high {
                let middle = low + (high - low) / 2;
                let (bytes, path) = files.read(self.storage.as_ref(), middle)?;
                if Entry::parse(&bytes, &path)?.0.time <= time { low = middle + 1 } else { high = middle }
            }
            Ok(low.checked_sub(1).filter(|&version| version >= first))
        })
    }

    /// Waits until a version is there; false when it did not come in time. Commits of this handle of the store are
    /// noticed at once, those of others within some milliseconds.
    ///
    /// # Errors
    /// As [`newest`](Self::newest).
    pub(crate) fn wait_for(&self, version: u64, timeout: Duration) -> Result<bool> {
        let end = Instant::now().checked_add(timeout);
        let (mut pause, longest) = PAUSES;
        loop {
            if self.newest()?.version >= version {
                return Ok(true);
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if self.fixed.is_some() || left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            if current.version < version {
                let wait = left.map_or(pause, |left| left.min(pause));
                let _woken = self.changed.wait_timeout(current, wait).unwrap_or_else(PoisonError::into_inner);
            }
            pause = (pause * 2).min(longest);
        }
    }
}
