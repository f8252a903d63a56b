//! Which segments are rewritten together.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::Codec;
use crate::segment::{self, Segment};
use crate::shard::{Kind, Shard};
use crate::state::ArrayState;
use crate::writer::COMPRESSED_BYTES;

/// Segments of less than this are not rewritten by themselves: reading them is cheap however worn they are.
const WORN_BYTES: u64 = 1 << 20;
/// From so many small segments on they are merged by themselves.
const SMALL_SEGMENTS: usize = 64;
/// From so many patch segments of a field on they are folded by themselves…
const PATCH_SEGMENTS: usize = 64;
/// …if what they patch is no more than this.
const PATCHED_BYTES: u64 = 64 << 20;

/// Who wants what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// OPTIMIZE: everything that can be better, or with `full` every segment.
    Asked { full: bool },
    /// What is past the thresholds at which compaction starts by itself.
    Automatic,
}

/// Neighbouring segments that are rewritten together, by their places in the array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub segments: Range<usize>,
}

/// Whether compaction by itself has something to do.
pub(crate) fn is_due(array: &ArrayState) -> bool {
    let all = array.segments().iter().map(|s| s.id).collect();
    !groups(array, Scope::Automatic, &all).is_empty()
}

/// The groups to rewrite, of the segments in `todo`.
pub(crate) fn groups(array: &ArrayState, scope: Scope, todo: &BTreeSet<u32>) -> Vec<Group> {
    let capacity = segment::capacity(array.fields(), array.options.shard_bytes);
    let worn = worn(array, scope, capacity);
    let mergeable = mergeable(array, scope, capacity);
    let mut groups = Vec::new();
    let (mut start, mut rows) = (0, 0);
    let mut close = |range: Range<usize>| {
        if range.len() > 1 || range.clone().any(|i| worn.get(i) == Some(&true)) {
            groups.push(Group { segments: range });
        }
    };
    for (index, segment) in array.segments().iter().enumerate() {
        let wanted =
            todo.contains(&segment.id) && (worn.get(index) == Some(&true) || mergeable.get(index) == Some(&true));
        if !wanted || (index > start && rows + segment.live() > capacity) {
            close(start..index);
            (start, rows) = (index, 0);
        }
        match wanted {
            true => rows += segment.live(),
            false => start = index + 1,
        }
    }
    close(start..array.segments().len().max(start));
    groups
}

/// Which segments are rewritten whatever their neighbours are.
fn worn(array: &ArrayState, scope: Scope, capacity: u64) -> Vec<bool> {
    let patched = patched(array);
    let heavy = match scope {
        Scope::Asked { .. } => BTreeSet::new(),
        Scope::Automatic => patched_often(array),
    };
    let is_worn = |(index, segment): (usize, &std::sync::Arc<Segment>)| {
        if scope != (Scope::Asked { full: true }) && is_hollow(array, segment, capacity) {
            return false;
        }
        let (deleted, patched) = (segment.rows - segment.live(), patched.get(&segment.id).copied().unwrap_or(0));
        match scope {
            Scope::Asked { full: true } => true,
            Scope::Asked { full: false } => {
                deleted > 0 || patched > 0 || is_clipped(segment) || has_other_codec(array, segment)
            }
            Scope::Automatic => {
                let often = deleted > segment.rows / 4 || patched > segment.rows / 8;
                (often && bytes(segment) >= WORN_BYTES)
                    || (heavy.contains(&segment.id) && index < array.segments().len())
            }
        }
    };
    array.segments().iter().enumerate().map(is_worn).collect()
}

/// Which segments are rewritten if a neighbour is too: those that are less than half full.
fn mergeable(array: &ArrayState, scope: Scope, capacity: u64) -> Vec<bool> {
    let small: Vec<bool> = array.segments().iter().map(|s| s.live() < capacity.div_ceil(2)).collect();
    if scope != Scope::Automatic {
        return small;
    }
    // The last one, if it is open, still grows.
    let growing = array.open_segment().is_some();
    let closed = array.segments().len() - usize::from(growing);
    if small.iter().take(closed).filter(|&&s| s).count() < SMALL_SEGMENTS {
        return vec![false; small.len()];
    }
    // From the end, as long as what comes after is as large: every row is then rewritten only as often as its array
    // doubles.
    let mut after = 0;
    let mut chosen = vec![false; small.len()];
    for (index, segment) in array.segments().iter().enumerate().take(closed).rev() {
        let joins = after == 0 || segment.live() <= after.max(capacity / 64);
        if !joins {
            break;
        }
        after += segment.live();
        if let (Some(chosen), Some(small)) = (chosen.get_mut(index), small.get(index)) {
            *chosen = *small;
        }
    }
    chosen
}

/// About how many patches each segment has.
fn patched(array: &ArrayState) -> BTreeMap<u32, u64> {
    let mut patched: BTreeMap<u32, u64> = BTreeMap::new();
    for field in 0..array.fields().len() {
        let mut of_field: BTreeMap<u32, u64> = BTreeMap::new();
        for patch in array.patches(field) {
            let each = patch.rows.rows.div_ceil((patch.covers.len() as u64).max(1));
            patch.covers.iter().for_each(|&segment| *of_field.entry(segment).or_default() += each);
        }
        for (segment, rows) in of_field {
            let most = patched.entry(segment).or_default();
            *most = rows.max(*most);
        }
    }
    patched
}

/// The segments of fields that have many patch segments, where they are small.
fn patched_often(array: &ArrayState) -> BTreeSet<u32> {
    let mut often = BTreeSet::new();
    for field in 0..array.fields().len() {
        let patches = array.patches(field);
        if patches.len() < PATCH_SEGMENTS {
            continue;
        }
        let covered: BTreeSet<u32> = patches.iter().flat_map(|p| p.covers.iter().copied()).collect();
        let segments = array.segments().iter().filter(|s| covered.contains(&s.id));
        if segments.map(|s| bytes(s)).sum::<u64>() <= PATCHED_BYTES {
            often.extend(covered);
        }
    }
    often
}

/// Whether it stands for more rows than a written segment has, of which a field has none in files: an array that was
/// resized. Writing them would make a large array of what is next to nothing.
fn is_hollow(array: &ArrayState, segment: &Segment, capacity: u64) -> bool {
    let none =
        segment.shards.iter().zip(array.fields()).any(|(shards, field)| shards.is_empty() && field.row_bytes() > 0);
    none && segment.rows > capacity
}

/// Bytes of values of a segment, uncompressed.
fn bytes(segment: &Segment) -> u64 {
    segment.shards.iter().flatten().map(|shard| shard.bytes).sum()
}

/// Whether a cell was resized since: such shards are read by copying.
fn is_clipped(segment: &Segment) -> bool {
    segment.shards.iter().flatten().any(|shard| shard.clip.is_some())
}

/// Whether a shard would be written in another way today.
fn has_other_codec(array: &ArrayState, segment: &Segment) -> bool {
    let other = |shard: &Shard, codec: &Codec| match codec {
        Codec::None => shard.kind == Kind::Zstd,
        Codec::Zstd(_) => shard.kind == Kind::Raw && shard.bytes >= COMPRESSED_BYTES as u64,
    };
    segment.shards.iter().zip(array.codecs()).any(|(shards, codec)| shards.iter().any(|shard| other(shard, codec)))
}
