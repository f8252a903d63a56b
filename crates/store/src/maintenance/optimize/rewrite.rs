//! Writes a group of segments anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_buffer::Buffer;
use hyperslab_core::{ArraySource as _, Error, Result};

use super::OptimizeReport;
use super::plan::Group;
use crate::action::{Action, Deleted, Id, ReplacedSegment, SegmentRecord, SegmentReplace};
use crate::index::indexes;
use crate::segment::Segment;
use crate::shard::Shard;
use crate::state::{ArrayState, State};
use crate::store::Inner;
use crate::transaction::Transaction;
use crate::writer::{SegmentWriter, Target, random_segment_id};
use crate::{Array, Snapshot, packed};

/// What is read of all fields at once.
const BATCH: u64 = 4 << 20;

/// Rewrites a group and commits it; `None` if it was told to stop.
///
/// # Errors
/// `Conflict` when somebody changed rows of the group since the snapshot; `Io`. Nothing was changed then.
pub(super) fn rewrite(
    store: &Arc<Inner>,
    snapshot: &Arc<Snapshot>,
    source: &Array,
    group: &Group,
    stop: &dyn Fn() -> bool,
) -> Result<Option<OptimizeReport>> {
    let array = source.state();
    let old = array.segments().get(group.segments.clone()).unwrap_or_default();
    let Some(first) = old.first() else { return Ok(None) };
    let start = array.segment(first.id).map_or(0, |(_, start, _)| start);
    let rows: u64 = old.iter().map(|s| s.live()).sum();

    let mut tx = Transaction::new(store.clone(), snapshot.clone());
    let mut writer = SegmentWriter::new(target(array), None);
    let step = batch_rows(old);
    let mut row = start;
    while row < start + rows {
        if stop() {
            return Ok(None);
        }
        let end = (start + rows).min(row + step);
        let mut columns = Vec::with_capacity(array.fields().len());
        for (index, field) in array.own_fields().iter().enumerate() {
            let block = source.read(index, row..end)?;
            columns.push(packed::of_array(field, block.array.as_ref(), row)?);
        }
        // The columns of indexes are computed anew: some rows may have none yet.
        for of in indexes(array)? {
            let values = columns.get(of.of).map(Buffer::as_slice).unwrap_or_default();
            let computed = store.index_kinds.columns(&of, (end - row) as usize, values)?;
            columns.extend(computed.into_iter().map(Buffer::from_vec));
        }
        let columns: Vec<&[u8]> = columns.iter().map(Buffer::as_slice).collect();
        writer.write(tx.files_mut(), &columns, end - row)?;
        row = end;
    }
    // The last segment of the array may go on growing.
    let open = store.in_place && group.segments.end == array.segments().len();
    let new = records(writer.finish(tx.files_mut(), open)?);
    let mut report = OptimizeReport {
        segments_before: old.len() as u64,
        segments_after: new.len() as u64,
        rows_dropped: old.iter().map(|s| s.rows - s.live()).sum(),
        rows_folded: source.patched_rows(old)?,
        bytes_before: old.iter().flat_map(|s| s.shards.iter().flatten()).map(Shard::file_bytes).sum(),
        bytes_after: new.iter().flat_map(|s| &s.shards).map(Shard::file_bytes).sum(),
        version: 0,
    };
    let ids: BTreeSet<u32> = old.iter().map(|s| s.id).collect();
    let replaced = old.iter().map(replaced).collect();
    let action = SegmentReplace { array: array.id, old: replaced, new };
    let mut checked = snapshot.version();
    report.version = tx.commit_replacement(|newest| {
        check_unchanged(store, array.id, &ids, checked, newest.version)?;
        checked = newest.version;
        Ok(Action::SegmentReplace(with_new_ids(action.clone(), newest)))
    })?;
    Ok(Some(report))
}

fn target(array: &ArrayState) -> Target {
    Target {
        array: array.id,
        fields: array.fields().to_vec(),
        field_ids: array.field_ids().to_vec(),
        codecs: array.codecs().to_vec(),
        shard_bytes: array.options.shard_bytes,
    }
}

/// How many rows are about a batch.
fn batch_rows(segments: &[Arc<Segment>]) -> u64 {
    let bytes: u64 = segments.iter().flat_map(|s| s.shards.iter().flatten()).map(|shard| shard.bytes).sum();
    let rows: u64 = segments.iter().map(|s| s.rows).sum();
    (BATCH / (bytes / rows.max(1)).max(16)).max(1)
}

fn records(actions: Vec<Action>) -> Vec<SegmentRecord> {
    let record = |action| match action {
        Action::SegmentAdd(a) => {
            Some(SegmentRecord { segment: a.segment, rows: a.rows, shards: a.shards, deleted: Deleted::default() })
        }
        _ => None,
    };
    actions.into_iter().filter_map(record).collect()
}

fn replaced(segment: &Arc<Segment>) -> ReplacedSegment {
    ReplacedSegment { segment: segment.id, rows: segment.rows, deleted: segment.deleted.record().clone() }
}

/// Gives the new segments other ids where theirs are taken, or are those of segments that patches still name.
fn with_new_ids(mut action: SegmentReplace, newest: &State) -> SegmentReplace {
    let Some(array) = newest.array(action.array) else { return action };
    let mut taken: BTreeSet<u32> = array.segments().iter().map(|s| s.id).collect();
    for field in 0..array.fields().len() {
        taken.extend(array.patches(field).iter().flat_map(|p| p.covers.iter().copied()));
    }
    for segment in &mut action.new {
        while !taken.insert(segment.segment) {
            segment.segment = random_segment_id();
        }
    }
    action
}

/// Refuses the replacement of segments that somebody else changed in the versions after `from`, up to `to`.
fn check_unchanged(store: &Inner, array: Id, segments: &BTreeSet<u32>, from: u64, to: u64) -> Result<()> {
    if from >= to {
        return Ok(());
    }
    let in_group = |id: &u32| segments.contains(id);
    for entry in store.log.entries(from + 1..=to)? {
        let changed = entry.actions.iter().any(|action| match action {
            Action::SegmentExtend(a) => a.array == array && in_group(&a.segment),
            Action::SegmentReplace(a) => a.array == array && a.old.iter().any(|old| in_group(&old.segment)),
            Action::Patch(a) => a.array == array && a.covers.iter().any(in_group),
            Action::Delete(a) => a.array == array && a.segments.iter().any(|d| in_group(&d.segment)),
            Action::ArrayDrop(a) => a.array == array,
            Action::ArrayRestore(a) => a.create.array == array,
            Action::FieldDrop(a) => a.array == array,
            Action::Resize(a) => a.array == array,
            Action::IndexFill(a) => a.array == array && in_group(&a.segment),
            Action::IndexDrop(a) => a.array == array,
            _ => false,
        });
        if changed {
            let why = format!("version {} changed rows that were being optimized; retry", entry.version);
            return Err(Error::conflict(why));
        }
    }
    Ok(())
}
