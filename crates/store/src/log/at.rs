//! Older states.

use std::sync::Arc;

use hyperslab_core::{Error, Result};

use super::files::LogFiles;
use super::{Log, apply, checkpoint, relisted};
use crate::layout;
use crate::state::State;

impl Log {
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
