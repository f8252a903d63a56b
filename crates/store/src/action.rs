//! The actions of the log: what one version changes, as it stands in an entry.

use std::fmt;

use hyperslab_core::{DType, Error, FieldSpec, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::shard::Shard;

/// One change. An action that is not in this list makes the log unreadable: it is an error, never skipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Action {
    #[serde(rename = "protocol")]
    Protocol(Protocol),
    #[serde(rename = "schema.create")]
    SchemaCreate(SchemaAction),
    #[serde(rename = "schema.drop")]
    SchemaDrop(SchemaAction),
    #[serde(rename = "array.create")]
    ArrayCreate(ArrayCreate),
    #[serde(rename = "array.rename")]
    ArrayRename(ArrayRename),
    #[serde(rename = "array.drop")]
    ArrayDrop(ArrayDrop),
    #[serde(rename = "segment.add")]
    SegmentAdd(SegmentAction),
    #[serde(rename = "segment.extend")]
    SegmentExtend(SegmentAction),
}

/// Features that a reader or a writer must know. This program knows none yet: every one is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Protocol {
    pub reader: Vec<String>,
    pub writer: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SchemaAction {
    pub schema: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArrayCreate {
    pub array: Id,
    pub schema: String,
    pub name: String,
    pub fields: Vec<FieldRecord>,
    pub shard_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArrayRename {
    pub array: Id,
    pub schema: String,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArrayDrop {
    pub array: Id,
}

/// A segment is added after the others, or the last one, being open, grows. `rows` is the segment's new length and
/// `shards` are those that are new or have grown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SegmentAction {
    pub array: Id,
    pub segment: u32,
    pub rows: u64,
    pub shards: Vec<Shard>,
}

/// A field in the log. `id` stays when the field is renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FieldRecord {
    pub id: u32,
    pub name: String,
    pub dtype: DType,
    pub cell: Vec<usize>,
}

impl FieldRecord {
    pub(crate) fn new(id: u32, spec: &FieldSpec) -> Self {
        Self { id, name: spec.name().to_owned(), dtype: spec.dtype(), cell: spec.cell().to_vec() }
    }

    /// The field, its limits checked again: the log may come from anywhere.
    pub(crate) fn spec(&self) -> Result<FieldSpec> {
        FieldSpec::new(self.name.clone(), self.dtype, self.cell.clone())
    }
}

/// A UUID, written as text with hyphens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id(pub Uuid);

impl Id {
    pub(crate) fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Uuid::try_parse(&text).map(Self).map_err(|e| serde::de::Error::custom(format!("{text:?} is no UUID: {e}")))
    }
}

/// A crc32c, written as eight hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Crc(pub u32);

impl Crc {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(crc32c::crc32c(bytes))
    }

    /// The checksum of the bytes that this one covers followed by `bytes`.
    #[must_use]
    pub(crate) fn append(self, bytes: &[u8]) -> Self {
        Self(crc32c::crc32c_append(self.0, bytes))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        digits.then(|| u32::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Crc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl Serialize for Crc {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Crc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no checksum")))
    }
}

impl Protocol {
    /// Refuses features that a reader must know and this program does not.
    pub(crate) fn check_reader(&self) -> Result<()> {
        Self::check(&self.reader, "read")
    }

    /// Refuses features that a writer must know and this program does not.
    pub(crate) fn check_writer(&self) -> Result<()> {
        Self::check(&self.writer, "write to")
    }

    fn check(features: &[String], verb: &str) -> Result<()> {
        match features.first() {
            None => Ok(()),
            Some(feature) => Err(Error::unsupported(format!(
                "to {verb} this store a program must know the feature {feature:?}, which this version of hyperslab does not; use a newer one"
            ))),
        }
    }
}
