//! The actions of the log: what one version changes, as it stands in an entry.

mod index;

use std::fmt;

use hyperslab_core::{DType, Error, FieldSpec, Fill, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

pub(crate) use self::index::{IndexCreate, IndexDrop, IndexFill, IndexRecord};
pub(crate) use crate::codec::Codec;
use crate::layout;
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
    #[serde(rename = "segment.replace")]
    SegmentReplace(SegmentReplace),
    #[serde(rename = "array.clone")]
    ArrayClone(ArrayRecord),
    #[serde(rename = "array.restore")]
    ArrayRestore(ArrayRecord),
    #[serde(rename = "array.set")]
    ArraySet(ArraySet),
    #[serde(rename = "field.add")]
    FieldAdd(FieldAdd),
    #[serde(rename = "field.drop")]
    FieldDrop(FieldDrop),
    #[serde(rename = "field.rename")]
    FieldRename(FieldRename),
    #[serde(rename = "index.create")]
    IndexCreate(IndexCreate),
    #[serde(rename = "index.fill")]
    IndexFill(IndexFill),
    #[serde(rename = "index.drop")]
    IndexDrop(IndexDrop),
    #[serde(rename = "resize")]
    Resize(Resize),
    #[serde(rename = "patch")]
    Patch(PatchAction),
    #[serde(rename = "delete")]
    Delete(DeleteAction),
    #[serde(rename = "tag.set")]
    TagSet(TagSet),
    #[serde(rename = "tag.drop")]
    TagDrop(TagDrop),
    #[serde(rename = "expire")]
    Expire(Expire),
}

impl Action {
    /// The files that it names, which may be new.
    pub(crate) fn files(&self) -> Vec<String> {
        let shards = |array: Id, shards: &[Shard]| shards.iter().map(|s| s.path(array)).collect();
        match self {
            Self::SegmentAdd(a) | Self::SegmentExtend(a) => shards(a.array, &a.shards),
            Self::Patch(a) => shards(a.array, &a.shards),
            Self::IndexFill(a) => shards(a.array, &a.shards),
            Self::SegmentReplace(a) => {
                let new = a.new.iter().flat_map(|s| s.shards.iter().map(|shard| shard.path(a.array)));
                new.chain(a.new.iter().filter_map(|s| Some(s.deleted.file.as_ref()?.path(a.array)))).collect()
            }
            Self::Delete(a) => a.segments.iter().filter_map(|s| Some(s.whole.as_ref()?.path(a.array))).collect(),
            Self::ArrayClone(record) | Self::ArrayRestore(record) => {
                let array = record.create.array;
                let segments = record.segments.iter().flat_map(|s| s.shards.iter().map(|shard| shard.path(array)));
                let patches = record.patches.iter().flat_map(|p| p.shards.iter().map(|shard| shard.path(array)));
                let deleted = record.segments.iter().filter_map(|s| Some(s.deleted.file.as_ref()?.path(array)));
                segments.chain(patches).chain(deleted).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The array whose rows it changes.
    pub(crate) fn array(&self) -> Option<Id> {
        match self {
            Self::SegmentAdd(a) | Self::SegmentExtend(a) => Some(a.array),
            Self::SegmentReplace(a) => Some(a.array),
            Self::Patch(a) => Some(a.array),
            Self::Delete(a) => Some(a.array),
            _ => None,
        }
    }
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

/// Segments are replaced by others that hold the same live rows in the same order (compaction), in the place of the first
/// of them. What was replaced is said with its deletion vector, so that addresses can be translated by rank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SegmentReplace {
    pub array: Id,
    /// Consecutive segments of the array.
    pub old: Vec<ReplacedSegment>,
    pub new: Vec<SegmentRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplacedSegment {
    pub segment: u32,
    pub rows: u64,
    #[serde(default, skip_serializing_if = "Deleted::is_none")]
    pub deleted: Deleted,
}

/// A whole segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SegmentRecord {
    pub segment: u32,
    pub rows: u64,
    pub shards: Vec<Shard>,
    #[serde(default, skip_serializing_if = "Deleted::is_none")]
    pub deleted: Deleted,
}

/// The deleted rows of a segment: those in a file, and those of later deletes, as ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deleted {
    /// How many rows are deleted.
    pub rows: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<DeletedFile>,
    /// Half-open ranges of offsets, ascending, apart from each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<(u32, u32)>,
}

impl Deleted {
    pub(crate) fn is_none(&self) -> bool {
        self.rows == 0
    }
}

/// A roaring bitmap of offsets in the portable format, alone in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeletedFile {
    pub file: String,
    /// The array whose folder holds the file; the record's own array if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Id>,
    #[serde(default, skip_serializing_if = "is_first")]
    pub dir: u16,
    pub bytes: u64,
    pub crc32c: Crc,
}

impl DeletedFile {
    /// The path of the file; `array` is the one whose segment it belongs to.
    pub(crate) fn path(&self, array: Id) -> String {
        layout::array_file(self.dir, self.home.unwrap_or(array).0, &self.file)
    }
}

/// A patch segment of a field is added, or the last one, being open, grows. Its rows are (address, new value): the
/// field `ADDRESS` holds segment << 32 | offset. Later rows win.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PatchAction {
    pub array: Id,
    pub field: u32,
    /// The patch segment.
    pub segment: u32,
    /// Its new length.
    pub rows: u64,
    /// Those that are new or have grown.
    pub shards: Vec<Shard>,
    /// The segments that the new rows address, ascending.
    pub covers: Vec<u32>,
}

/// The id, in shards of patch segments, of the addresses.
pub(crate) const ADDRESS: u32 = u32::MAX;

/// Rows are deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteAction {
    pub array: Id,
    pub segments: Vec<SegmentDelete>,
}

/// The rows that are deleted from one segment: `ranges` are further ones, `whole` is all that are deleted from now on,
/// these among them. `rows` counts all that are deleted from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SegmentDelete {
    pub segment: u32,
    pub rows: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<(u32, u32)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<DeletedFile>,
}

/// An array with everything in it, as in a checkpoint: a clone, or what a restored one is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArrayRecord {
    pub create: ArrayCreate,
    pub changed: u64,
    pub shaped: u64,
    pub modified: i64,
    pub segments: Vec<SegmentRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<PatchAction>,
    /// What `create` says nothing of: the id that the next new field gets.
    pub next_field: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<IndexRecord>,
}

/// Options of an array are changed; what is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArraySet {
    pub array: Id,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard_bytes: Option<u64>,
    /// New codecs, by field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codecs: Vec<(u32, Codec)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FieldAdd {
    pub array: Id,
    pub field: FieldRecord,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FieldDrop {
    pub array: Id,
    pub field: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FieldRename {
    pub array: Id,
    pub field: u32,
    pub name: String,
}

/// A field's cells have another shape. (Rows are added by a segment without shards, and taken away by deleting them.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resize {
    pub array: Id,
    pub field: u32,
    pub cell: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TagSet {
    pub tag: String,
    pub version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TagDrop {
    pub tag: String,
}

/// Versions before `before` cannot be read any more, unless they have a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expire {
    pub before: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
pub(crate) fn is_first(dir: &u16) -> bool {
    *dir == 0
}

/// A field in the log. `id` stays when the field is renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FieldRecord {
    pub id: u32,
    pub name: String,
    pub dtype: DType,
    pub cell: Vec<usize>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nullable: bool,
    /// The value of what nobody wrote, where it is not 0, empty or NULL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Codec::is_none")]
    pub codec: Codec,
}

impl FieldRecord {
    pub(crate) fn new(id: u32, spec: &FieldSpec) -> Self {
        let (name, cell) = (spec.name().to_owned(), spec.cell().to_vec());
        let fill = spec.fill().map(|fill| fill.to_json(spec.dtype()));
        Self { id, name, dtype: spec.dtype(), cell, nullable: spec.nullable(), fill, codec: Codec::None }
    }

    /// The field, its limits checked again: the log may come from anywhere.
    pub(crate) fn spec(&self) -> Result<FieldSpec> {
        let field = FieldSpec::new(self.name.clone(), self.dtype, self.cell.clone())?.with_nullable(self.nullable);
        match &self.fill {
            Some(fill) => field.with_fill(Fill::from_json(self.dtype, fill)?),
            None => Ok(field),
        }
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
