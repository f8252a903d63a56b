//! Actions of indexes: columns of an array that are computed from a field.

use serde::{Deserialize, Serialize};

use super::{FieldRecord, Id};
use crate::shard::Shard;

/// An index: columns that a program computes from the values of a field, beside the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IndexRecord {
    pub name: String,
    /// The field that it is of.
    pub field: u32,
    /// What computes the columns, and how.
    pub kind: String,
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub options: serde_json::Map<String, serde_json::Value>,
    /// Ids are those of no field. The fill value stands in rows of which nothing is known.
    pub columns: Vec<FieldRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IndexCreate {
    pub array: Id,
    pub index: IndexRecord,
}

/// A segment gets the shards of index columns of which it had none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IndexFill {
    pub array: Id,
    pub segment: u32,
    pub shards: Vec<Shard>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IndexDrop {
    pub array: Id,
    pub name: String,
}
