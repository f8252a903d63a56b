//! Older states.

use std::sync::Arc;

use hyperslab_core::{Error, Result};

use super::files::LogFiles;
use super::{Entry, Log, apply, checkpoint, relisted};
use crate::layout;
use crate::state::State;

impl Log {
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

    /// The state at a committed version, whether it has expired or not: the newest checkpoint up to it that is whole,
    /// and the entries after that.
    ///
    /// # Errors
    /// `NotFound` for a version that is not there; `Corrupt`, naming the file.
    pub(crate) fn state_at(&self, version: u64) -> Result<Arc<State>> {
        let known = self.known();
        if known.version == version {
            return Ok(known);
        }
        let newest = self.newest()?.version;
        if version > newest {
            return Err(Error::not_found(format!("there is no version {version}; the newest is {newest}")));
        }
        let storage = self.storage.as_ref();
        relisted(|| {
            let mut files = LogFiles::list(storage)?;
            let (mut state, mut next) = (State::default(), 0);
            for &at in files.checkpoints.iter().rev().filter(|&&at| at <= version) {
                let path = layout::checkpoint(at);
                let Some(bytes) = storage.read(&path)? else { continue };
                if let Ok(found) = checkpoint::parse(&bytes, at, &path) {
                    (state, next) = (found, at + 1);
                    break;
                }
            }
            for version in next..=version {
                let (bytes, path) = files.read(storage, version)?;
                apply(&mut state, &bytes, &path)?;
            }
            Ok(Arc::new(state))
        })
    }
}
