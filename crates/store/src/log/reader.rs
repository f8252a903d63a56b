//! Reads entries one after the other, also while others pack them.

use std::ops::RangeInclusive;
use std::sync::Arc;

use hyperslab_core::{Error, ErrorKind, Result};

use super::{LISTINGS, Log, LogFiles, checkpoint, pack};
use crate::Storage;
use crate::layout;
use crate::state::State;

/// The entries of a log, of which one pack at most is in memory.
pub(crate) struct Reader {
    storage: Arc<dyn Storage>,
    files: LogFiles,
}

impl Log {
    /// Reads entries one after the other.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn reader(&self) -> Result<Reader> {
        let files = LogFiles::list(self.storage.as_ref())?;
        Ok(Reader { storage: self.storage.clone(), files })
    }
}

impl Reader {
    /// The bytes of an entry and the file that holds them.
    ///
    /// # Errors
    /// `Corrupt`, naming the entry, when there is none.
    pub(crate) fn read(&mut self, version: u64) -> Result<(Vec<u8>, String)> {
        let mut result = self.files.read(self.storage.as_ref(), version);
        for _ in 1..LISTINGS {
            match &result {
                // Packing moves entries.
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    self.files = LogFiles::list(self.storage.as_ref())?;
                    result = self.files.read(self.storage.as_ref(), version);
                }
                _ => break,
            }
        }
        result.map_err(|e| if e.kind() == ErrorKind::NotFound { Error::corrupt(e.message()) } else { e })
    }

    /// The bytes of an entry, or `None` for the one that the log starts after, which need not be there.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn find(&mut self, version: u64) -> Result<Option<Vec<u8>>> {
        match self.read(version) {
            Err(_) if self.start() == Some(version) => Ok(None),
            found => found.map(|(bytes, _)| Some(bytes)),
        }
    }

    /// The version of the checkpoint that the log starts at, if it does not start with its first entry.
    pub(crate) fn start(&self) -> Option<u64> {
        self.files.start
    }

    /// The state before the first entry that there is, and its version.
    ///
    /// # Errors
    /// `Corrupt`, naming the file.
    pub(crate) fn first(&self) -> Result<(State, u64)> {
        let Some(start) = self.start() else { return Ok((State::default(), 0)) };
        let path = layout::checkpoint(start);
        let bytes = self.storage.read(&path)?;
        let bytes = bytes.ok_or_else(|| Error::corrupt(format!("the log file {path} is missing")))?;
        Ok((checkpoint::parse(&bytes, start, &path)?, start + 1))
    }
}

/// The hundreds from the version `first` on, the newest being `newest`, that belong in packs.
pub(crate) fn packs_due(first: u64, newest: u64) -> impl Iterator<Item = RangeInclusive<u64>> {
    pack::due(first, newest, newest)
}
