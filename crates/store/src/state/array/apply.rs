//! What each action of the log changes in an array.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use hyperslab_core::{Error, Result};

use super::{ArrayState, Overlays, PatchSegment, patch_fields};
use crate::action::{
    ADDRESS, ArraySet, DeleteAction, FieldRecord, PatchAction, SegmentAction, SegmentRecord, SegmentReplace,
};
use crate::log::Entry;
use crate::segment::Segment;
use crate::shard::Shard;

impl ArrayState {
    pub(in crate::state) fn add_segment(&mut self, action: &SegmentAction) -> Result<()> {
        if self.segments.iter().any(|s| s.id == action.segment) {
            return Err(Error::corrupt(format!("segment {:08x} is added twice", action.segment)));
        }
        let segment = self.new_segment(action.segment, action.rows, &action.shards)?;
        self.push(segment)
    }

    pub(super) fn new_segment(&self, id: u32, rows: u64, shards: &[Shard]) -> Result<Segment> {
        Segment::empty(id, self.fields.len()).extended(rows, shards, &self.field_ids, &self.fields)
    }

    pub(super) fn push_record(&mut self, record: &SegmentRecord) -> Result<()> {
        let mut segment = self.new_segment(record.segment, record.rows, &record.shards)?;
        segment.deleted.restore(&record.deleted, record.rows)?;
        self.push(segment)
    }

    pub(super) fn push(&mut self, segment: Segment) -> Result<()> {
        self.segments.push(Arc::new(segment));
        self.count()
    }

    pub(in crate::state) fn extend_segment(&mut self, action: &SegmentAction) -> Result<()> {
        let last = self.open_segment().filter(|s| s.id == action.segment);
        let last = last
            .ok_or_else(|| Error::corrupt(format!("segment {:08x} grows and is not the open one", action.segment)))?;
        let segment = last.extended(action.rows, &action.shards, &self.field_ids, &self.fields)?;
        self.segments.pop();
        self.push(segment)
    }

    pub(in crate::state) fn replace_segments(&mut self, action: &SegmentReplace) -> Result<()> {
        let bad = |why: &str| Error::corrupt(format!("segments are replaced, and {why}"));
        let first = action.old.first().ok_or_else(|| bad("none is named"))?;
        let at =
            self.segments.iter().position(|s| s.id == first.segment).ok_or_else(|| bad("the first is not there"))?;
        let old = self.segments.get(at..at + action.old.len()).ok_or_else(|| bad("the last is not there"))?;
        let same = |(s, o): (&Arc<Segment>, &crate::action::ReplacedSegment)| {
            s.id == o.segment && s.rows == o.rows && s.deleted.record().rows == o.deleted.rows
        };
        if !old.iter().zip(&action.old).all(same) {
            return Err(bad("they are not what is said of them"));
        }
        let live: u64 = old.iter().map(|s| s.live()).sum();
        let mut new = Vec::with_capacity(action.new.len());
        for record in &action.new {
            let mut segment = self.new_segment(record.segment, record.rows, &record.shards)?;
            segment.deleted.restore(&record.deleted, record.rows)?;
            let taken = self.segments.iter().chain(&new).any(|s: &Arc<Segment>| s.id == segment.id);
            if taken {
                return Err(bad("a new one has the id of another"));
            }
            new.push(Arc::new(segment));
        }
        if new.iter().map(|s| s.live()).sum::<u64>() != live {
            return Err(bad("the new ones have another number of rows"));
        }
        self.segments.splice(at..at + action.old.len(), new);
        self.drop_dead_patches();
        self.count()
    }

    /// Forgets patches of segments that are not there any more.
    fn drop_dead_patches(&mut self) {
        let alive: BTreeSet<u32> = self.segments.iter().map(|s| s.id).collect();
        for (patches, overlay) in self.patches.iter_mut().zip(&mut self.overlays) {
            let before = patches.len();
            patches.retain(|p| p.covers.iter().any(|id| alive.contains(id)));
            if patches.len() < before {
                *overlay = Overlays::default();
            }
        }
    }

    pub(in crate::state) fn patch(&mut self, action: &PatchAction) -> Result<()> {
        let index = self.field_index(action.field)?;
        let bad = |why: &str| Error::corrupt(format!("patch segment {:08x}: {why}", action.segment));
        if let Some(id) = action.covers.iter().find(|&&id| !self.segments.iter().any(|s| s.id == id)) {
            // Of a record (a checkpoint, a clone), others may have been replaced since.
            let some = action.covers.iter().any(|&id| self.segments.iter().any(|s| s.id == id));
            if !some {
                return Err(bad(&format!("there is no segment {id:08x}")));
            }
        }
        let (Some(field), Some(patches)) = (self.fields.get(index), self.patches.get_mut(index)) else { return Ok(()) };
        let (ids, fields) = patch_fields(action.field, field)?;
        let mut next = match patches.last() {
            Some(last) if last.rows.id == action.segment => {
                let last = patches.pop();
                last.map(Arc::unwrap_or_clone).ok_or_else(|| bad("it is not there"))?
            }
            _ if patches.iter().any(|p| p.rows.id == action.segment) => return Err(bad("it is not the last one")),
            _ => PatchSegment { rows: Segment::empty(action.segment, 2), covers: BTreeSet::new() },
        };
        next.rows = next.rows.extended(action.rows, &action.shards, &ids, &fields)?;
        next.covers.extend(&action.covers);
        patches.push(Arc::new(next));
        self.patched(index);
        Ok(())
    }

    /// The overlay of a field is that of before and something newer.
    pub(super) fn patched(&mut self, field: usize) {
        if let Some(overlay) = self.overlays.get_mut(field) {
            let earlier = overlay.now.take().or(overlay.earlier.take());
            *overlay = Overlays { now: OnceLock::new(), earlier };
        }
        if let Some(plain) = self.plain.get_mut(field) {
            *plain = OnceLock::from(false);
        }
    }

    pub(in crate::state) fn delete(&mut self, action: &DeleteAction) -> Result<()> {
        for delete in &action.segments {
            let found = self.segments.iter_mut().find(|s| s.id == delete.segment);
            let segment = found.ok_or_else(|| {
                Error::corrupt(format!("rows of segment {:08x} are deleted, which is not there", delete.segment))
            })?;
            let segment = Arc::make_mut(segment);
            segment.deleted.apply(delete, segment.rows)?;
        }
        self.count()
    }

    pub(in crate::state) fn set(&mut self, action: &ArraySet) -> Result<()> {
        if let Some(bytes) = action.shard_bytes {
            self.options.shard_bytes = bytes;
        }
        for (field, codec) in &action.codecs {
            codec.check().map_err(|e| Error::corrupt("a codec").because(e))?;
            let index = self.field_index(*field)?;
            if let Some(slot) = self.codecs.get_mut(index) {
                *slot = *codec;
            }
        }
        Ok(())
    }

    pub(in crate::state) fn add_field(&mut self, record: &FieldRecord) -> Result<()> {
        if record.id < self.next_field {
            return Err(Error::corrupt(format!("the field {:?} cannot be added", record.name)));
        }
        self.insert_column(self.own_fields().len(), record)
    }

    /// Adds a field, or a column of an index.
    pub(super) fn insert_column(&mut self, at: usize, record: &FieldRecord) -> Result<()> {
        let spec = record.spec().map_err(|e| Error::corrupt("a field").because(e))?;
        let taken = self.field_ids.contains(&record.id) || self.fields.iter().any(|f| f.name() == spec.name());
        if taken || record.id == ADDRESS {
            return Err(Error::corrupt(format!("the field {:?} cannot be added", spec.name())));
        }
        self.fields.insert(at, spec);
        self.field_ids.insert(at, record.id);
        self.codecs.insert(at, record.codec);
        self.patches.insert(at, Vec::new());
        self.overlays.insert(at, Overlays::default());
        self.next_field = self.next_field.max(record.id + 1);
        for segment in &mut self.segments {
            Arc::make_mut(segment).insert_field(at);
        }
        self.forget();
        Ok(())
    }

    pub(in crate::state) fn drop_field(&mut self, id: u32) -> Result<()> {
        if self.own_fields().len() == 1 || self.indexes.iter().any(|index| index.field == id) {
            return Err(Error::corrupt("the last field is dropped, or one that has an index"));
        }
        self.remove_column(self.field_index(id)?);
        Ok(())
    }

    pub(super) fn remove_column(&mut self, index: usize) {
        self.fields.remove(index);
        self.field_ids.remove(index);
        self.codecs.remove(index);
        self.patches.remove(index);
        self.overlays.remove(index);
        for segment in &mut self.segments {
            Arc::make_mut(segment).remove_field(index);
        }
        self.forget();
    }

    pub(in crate::state) fn rename_field(&mut self, id: u32, name: &str) -> Result<()> {
        let index = self.field_index(id)?;
        if self.fields.iter().any(|f| f.name() == name) {
            return Err(Error::corrupt(format!("a second field {name:?}")));
        }
        if let Some(field) = self.fields.get_mut(index) {
            *field = field.renamed(name).map_err(|e| Error::corrupt("a field").because(e))?;
        }
        Ok(())
    }

    pub(in crate::state) fn resize_cell(&mut self, id: u32, cell: &[usize]) -> Result<()> {
        let index = self.field_index(id)?;
        if self.indexes.iter().any(|i| i.field == id) {
            return Err(Error::corrupt("the cells of a field change that has an index"));
        }
        let Some(field) = self.fields.get_mut(index) else { return Ok(()) };
        if field.cell().len() != cell.len() {
            return Err(Error::corrupt(format!("cells of {:?} become {cell:?}", field.cell())));
        }
        let before = field.clone();
        *field = field.with_cell(cell.to_vec()).map_err(|e| Error::corrupt("a field").because(e))?;
        self.reshape_memory(index, &before)?;
        for segment in &mut self.segments {
            Arc::make_mut(segment).clip(index, cell);
        }
        for patch in self.patches.get_mut(index).into_iter().flatten() {
            Arc::make_mut(patch).rows.clip(1, cell);
        }
        self.forget();
        Ok(())
    }

    /// Counts the live rows, and forgets what was worked out.
    pub(super) fn count(&mut self) -> Result<()> {
        let rows = self.segments.iter().try_fold(0_u64, |sum, s| sum.checked_add(s.live()));
        let rows = rows.filter(|&rows| i64::try_from(rows).is_ok());
        self.rows = rows.ok_or_else(|| Error::corrupt("an array has more rows than 63 bits can count"))?;
        self.forget();
        Ok(())
    }

    pub(super) fn forget(&mut self) {
        self.runs = self.fields.iter().map(|_| OnceLock::new()).collect();
        self.plain = self.fields.iter().map(|_| OnceLock::new()).collect();
        self.places = OnceLock::new();
    }

    pub(in crate::state) fn touch(&mut self, entry: &Entry) {
        self.changed = entry.version;
        self.modified = entry.time;
    }

    pub(in crate::state) fn reshaped(&mut self, entry: &Entry) {
        self.touch(entry);
        self.shaped = entry.version;
    }
}
