//! What can be chosen when a store is opened and an array is created.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use crate::codec::Codec;

/// What a returned commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Data, folders and the log entry are synced before commit returns: survives a power cut.
    #[default]
    Full,
    /// No sync: survives a killed process, not a power cut.
    Os,
}

/// How to open a store.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Refuse every write; needs no permission to write.
    pub read_only: bool,
    /// Create the store if there is none.
    pub create: bool,
    /// What a returned commit survives.
    pub durability: Durability,
    /// How long a commit waits for other writers.
    pub lock_timeout: Duration,
    /// Further directories, perhaps on other disks, over which a new store spreads its shards. Of a store that is
    /// there: where its directories are now, in the same order, if they were moved.
    pub dirs: Vec<PathBuf>,
    /// Open this version, read-only, as if it were the newest. For a store in whose log a later entry is damaged.
    pub at: Option<u64>,
    /// Rewrite in the background what commits have worn past the thresholds of `docs/file-format.md`.
    pub auto_compact: bool,
    /// Compare each shard's values with its checksum before the first of them are read through this handle. A byte that
    /// the disk changed is an error then, not a value; the first read of a shard reads all of it.
    pub verify: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            create: false,
            durability: Durability::Full,
            lock_timeout: Duration::from_secs(30),
            dirs: Vec::new(),
            at: None,
            auto_compact: true,
            verify: false,
        }
    }
}

/// How an array is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayOptions {
    /// The size that shards (files) aim at, in bytes.
    pub shard_bytes: u64,
    /// How fields are compressed…
    pub codec: Codec,
    /// …those excepted that are named here.
    pub codecs: BTreeMap<String, Codec>,
}

impl ArrayOptions {
    /// The codec of a field.
    pub fn codec_of(&self, field: &str) -> Codec {
        self.codecs.get(field).copied().unwrap_or(self.codec)
    }
}

impl Default for ArrayOptions {
    fn default() -> Self {
        Self { shard_bytes: 256 << 20, codec: Codec::None, codecs: BTreeMap::new() }
    }
}
