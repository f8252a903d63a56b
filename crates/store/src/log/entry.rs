//! A log entry: what one commit changed.

use hyperslab_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::seal::{seal, unseal};
use crate::Durability;
use crate::action::{Action, Crc, Id};

/// One committed version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub version: u64,
    /// The version that the transaction read.
    pub base: u64,
    pub txn: Id,
    /// The checksum of the entry before; zero for the first.
    pub prev: Crc,
    /// Microseconds since 1970, later than that of every entry before.
    pub time: i64,
    pub sync: SyncMode,
    /// The program that wrote it.
    pub writer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    pub actions: Vec<Action>,
}

/// Whether the version was durable when its commit returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SyncMode {
    Full,
    Os,
}

impl From<Durability> for SyncMode {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Full => Self::Full,
            Durability::Os => Self::Os,
        }
    }
}

impl From<SyncMode> for Durability {
    fn from(sync: SyncMode) -> Self {
        match sync {
            SyncMode::Full => Self::Full,
            SyncMode::Os => Self::Os,
        }
    }
}

/// The `writer` of entries that this program writes.
pub(crate) const WRITER: &str = concat!("hyperslab ", env!("CARGO_PKG_VERSION"));

impl Entry {
    /// The entry without what it did.
    pub(crate) fn clone_head(&self) -> Self {
        Self { writer: self.writer.clone(), message: self.message.clone(), actions: Vec::new(), ..*self }
    }

    /// The bytes of its file and their checksum.
    pub(crate) fn to_bytes(&self) -> Result<(Vec<u8>, Crc)> {
        seal(self)
    }

    /// Reads the entry in the file `path`, whose checksum it gives too.
    ///
    /// # Errors
    /// `Corrupt`, naming the file: its bytes are not those that were written, or say something that this program
    /// does not know (an action, a key).
    pub(crate) fn parse(bytes: &[u8], path: &str) -> Result<(Self, Crc)> {
        let bad = |e: Error| damaged(path, e);
        let (text, crc) = unseal(bytes).map_err(bad)?;
        let entry = serde_json::from_str(&text).map_err(|e| bad(Error::corrupt("it is not understood").because(e)))?;
        Ok((entry, crc))
    }
}

/// Names the file of the log that `error` is about.
pub(crate) fn damaged(path: &str, error: Error) -> Error {
    Error::new(error.kind(), format!("the log file {path} cannot be used")).because(error)
}
