//! Checkpoints: the state at one version, so that opening need not read every entry. They hold nothing that the
//! entries do not say.

use std::collections::HashSet;
use std::sync::Arc;

use hyperslab_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::entry::damaged;
use super::seal::{seal, unseal};
use crate::ArrayName;
use crate::action::{ArrayCreate, Crc, Protocol, SegmentAction};
use crate::shard::Shard;
use crate::state::{ArrayState, State};

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
    arrays: Vec<ArrayRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArrayRecord {
    create: ArrayCreate,
    changed: u64,
    shaped: u64,
    modified: i64,
    segments: Vec<SegmentRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SegmentRecord {
    segment: u32,
    rows: u64,
    shards: Vec<Shard>,
}

/// The bytes of the checkpoint of `state`.
pub(crate) fn to_bytes(state: &State) -> Result<Vec<u8>> {
    let arrays = state.arrays().map(|array| ArrayRecord {
        create: array.to_action(),
        changed: array.changed,
        shaped: array.shaped,
        modified: array.modified,
        segments: array
            .segments()
            .iter()
            .map(|s| SegmentRecord {
                segment: s.id,
                rows: s.rows,
                shards: s.shards.iter().flatten().cloned().collect(),
            })
            .collect(),
    });
    let checkpoint = Checkpoint {
        version: state.version,
        time: state.time,
        entry: state.chain,
        log_bytes: state.log_bytes,
        unsynced: state.unsynced,
        protocol: state.protocol.clone(),
        schemas: state.schemas.iter().cloned().collect(),
        arrays: arrays.collect(),
    };
    seal(&checkpoint).map(|(bytes, _)| bytes)
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
    for record in checkpoint.arrays {
        let name = ArrayName::new(record.create.schema.clone(), record.create.name.clone());
        let mut array = ArrayState::create(&record.create, name, record.changed, record.modified)?;
        array.shaped = record.shaped;
        let mut ids = HashSet::new();
        for s in record.segments {
            if !ids.insert(s.segment) {
                return Err(Error::corrupt(format!("segment {:08x} is there twice", s.segment)));
            }
            let action =
                SegmentAction { array: record.create.array, segment: s.segment, rows: s.rows, shards: s.shards };
            array.push_segment(&action)?;
        }
        state.insert(Arc::new(array))?;
    }
    Ok(state)
}
