//! Checkpoints: the state at one version, so that opening need not read every entry. They hold nothing that the
//! entries do not say.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyperslab_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::entry::damaged;
use super::seal::{seal, unseal};
use crate::action::{ArrayRecord, Crc, Protocol};
use crate::state::{ArrayState, Expired, State};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checkpoint {
    version: u64,
    /// The time of that version.
    time: i64,
    /// The checksum of that version's entry.
    entry: Crc,
    /// The bytes of all entries up to that version.
    log_bytes: u64,
    /// The first version whose data may not be durable.
    unsynced: Option<u64>,
    protocol: Protocol,
    schemas: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expired: Option<Expired>,
    arrays: Vec<ArrayRecord>,
}

/// The bytes of the checkpoint of `state`.
pub(crate) fn to_bytes(state: &State) -> Result<Vec<u8>> {
    seal(&checkpoint(state)).map(|(bytes, _)| bytes)
}

/// The same of a store that holds this version only, in one directory, durably.
pub(crate) fn alone(state: &State) -> Result<Vec<u8>> {
    let mut checkpoint = checkpoint(state);
    checkpoint.tags.clear();
    checkpoint.unsynced = None;
    for array in &mut checkpoint.arrays {
        for segment in &mut array.segments {
            segment.shards.iter_mut().for_each(|shard| shard.dir = 0);
            segment.deleted.file.iter_mut().for_each(|file| file.dir = 0);
        }
        array.patches.iter_mut().flat_map(|patch| &mut patch.shards).for_each(|shard| shard.dir = 0);
    }
    seal(&checkpoint).map(|(bytes, _)| bytes)
}

fn checkpoint(state: &State) -> Checkpoint {
    Checkpoint {
        version: state.version,
        time: state.time,
        entry: state.chain,
        log_bytes: state.log_bytes,
        unsynced: state.unsynced,
        protocol: state.protocol.clone(),
        schemas: state.schemas.iter().cloned().collect(),
        tags: state.tags.clone(),
        expired: state.expired,
        arrays: state.arrays().map(|array| array.to_record()).collect(),
    }
}

/// The state that a checkpoint holds.
///
/// # Errors
/// `Corrupt`, naming the file.
pub(crate) fn parse(bytes: &[u8], version: u64, path: &str) -> Result<State> {
    let inner = || {
        let (text, _) = unseal(bytes)?;
        let checkpoint: Checkpoint =
            serde_json::from_str(&text).map_err(|e| Error::corrupt("it is not understood").because(e))?;
        if checkpoint.version != version {
            return Err(Error::corrupt(format!("it is of version {}", checkpoint.version)));
        }
        to_state(checkpoint)
    };
    inner().map_err(|e| damaged(path, e))
}

fn to_state(checkpoint: Checkpoint) -> Result<State> {
    checkpoint.protocol.check_reader()?;
    let mut state = State::default();
    state.version = checkpoint.version;
    state.chain = checkpoint.entry;
    state.time = checkpoint.time;
    state.log_bytes = checkpoint.log_bytes;
    state.unsynced = checkpoint.unsynced;
    state.protocol = checkpoint.protocol;
    state.schemas = checkpoint.schemas.into_iter().collect();
    state.tags = checkpoint.tags;
    state.expired = checkpoint.expired;
    for record in &checkpoint.arrays {
        state.insert(Arc::new(ArrayState::from_record(record)?))?;
    }
    Ok(state)
}
