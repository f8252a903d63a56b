//! The files that versions need, as their records say.

use crate::action::{Action, ArrayRecord, Crc, Deleted, DeletedFile, Id, PatchAction};
use crate::shard::Shard;
use crate::state::State;

/// A file that a version needs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FileRef<'a> {
    /// Values, in a segment of this array, and what is said in the same breath.
    Shard(Id, &'a Shard, Beside<'a>),
    /// Deleted rows of a segment of this array, by the segment's id.
    Deleted(Id, u32, &'a DeletedFile),
}

/// What the record of a shard stands among.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beside<'a> {
    /// The shards of the same segment, or those of them that are new or have grown.
    pub shards: &'a [Shard],
    /// Of a patch segment: the segments that it patches.
    pub covers: &'a [u32],
}

impl FileRef<'_> {
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Shard(array, shard, _) => shard.path(*array),
            Self::Deleted(array, _, file) => file.path(*array),
        }
    }

    pub(crate) fn array(&self) -> Id {
        match self {
            Self::Shard(array, ..) | Self::Deleted(array, ..) => *array,
        }
    }

    /// The checksum of the first `bytes` bytes of values.
    pub(crate) fn crc32c(&self) -> Crc {
        match self {
            Self::Shard(_, shard, _) => shard.crc32c,
            Self::Deleted(_, _, file) => file.crc32c,
        }
    }
}

/// Every file that a version needs.
pub(crate) fn of_state(state: &State, mut each: impl FnMut(FileRef<'_>)) {
    state.arrays().for_each(|array| of_record(&array.to_record(), &mut each));
}

/// The files that an action needs, whether they are new or not.
pub(crate) fn of_action(action: &Action, mut each: impl FnMut(FileRef<'_>)) {
    match action {
        Action::SegmentAdd(a) | Action::SegmentExtend(a) => shards(a.array, &a.shards, &mut each),
        Action::SegmentReplace(a) => {
            for segment in &a.new {
                shards(a.array, &segment.shards, &mut each);
                deleted(a.array, segment.segment, &segment.deleted, &mut each);
            }
        }
        Action::ArrayClone(record) | Action::ArrayRestore(record) => of_record(record, &mut each),
        Action::Patch(a) => patches(a.array, a, &mut each),
        Action::IndexFill(a) => shards(a.array, &a.shards, &mut each),
        Action::Delete(a) => {
            for segment in &a.segments {
                segment.whole.iter().for_each(|file| each(FileRef::Deleted(a.array, segment.segment, file)));
            }
        }
        Action::Protocol(_)
        | Action::SchemaCreate(_)
        | Action::SchemaDrop(_)
        | Action::ArrayCreate(_)
        | Action::ArrayRename(_)
        | Action::ArrayDrop(_)
        | Action::ArraySet(_)
        | Action::FieldAdd(_)
        | Action::FieldDrop(_)
        | Action::FieldRename(_)
        | Action::Resize(_)
        | Action::IndexCreate(_)
        | Action::IndexDrop(_)
        | Action::TagSet(_)
        | Action::TagDrop(_)
        | Action::Expire(_) => {}
    }
}

fn of_record(record: &ArrayRecord, each: &mut impl FnMut(FileRef<'_>)) {
    let array = record.create.array;
    for segment in &record.segments {
        shards(array, &segment.shards, each);
        deleted(array, segment.segment, &segment.deleted, each);
    }
    record.patches.iter().for_each(|patch| patches(array, patch, each));
}

fn shards(array: Id, list: &[Shard], each: &mut impl FnMut(FileRef<'_>)) {
    list.iter().for_each(|shard| each(FileRef::Shard(array, shard, Beside { shards: list, covers: &[] })));
}

fn patches(array: Id, patch: &PatchAction, each: &mut impl FnMut(FileRef<'_>)) {
    let beside = Beside { shards: &patch.shards, covers: &patch.covers };
    patch.shards.iter().for_each(|shard| each(FileRef::Shard(array, shard, beside)));
}

fn deleted(array: Id, segment: u32, rows: &Deleted, each: &mut impl FnMut(FileRef<'_>)) {
    rows.file.iter().for_each(|file| each(FileRef::Deleted(array, segment, file)));
}
