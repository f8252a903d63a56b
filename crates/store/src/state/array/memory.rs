//! What a transaction does to its own state: rows and patches that are in no file yet.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use hyperslab_core::{Error, FieldSpec, Result};

use super::{ArrayState, PatchSegment};
use crate::Storage;
use crate::action::{ADDRESS, PatchAction, SegmentAction};
use crate::column::reshape;
use crate::segment::Segment;
use crate::writer::random_segment_id;

/// Rows in memory join the ones before them up to this many bytes, so that many small changes make few segments.
const JOINED: u64 = 64 << 10;

impl ArrayState {
    /// Adds rows that are in memory: to the last segment, where that is in memory too and small, else as a new one.
    /// Gives the address of the first of them.
    ///
    /// # Errors
    /// More rows than can be counted.
    pub(crate) fn push_memory_segment(&mut self, columns: Vec<ArrayRef>, rows: u64) -> Result<u64> {
        let row_bytes: u64 = self.fields.iter().map(|f| f.row_bytes() as u64).sum();
        let small = |s: &Segment| s.rows.saturating_add(rows).saturating_mul(row_bytes.max(1)) <= JOINED;
        let last = self.segments.last().filter(|s| small(s)).and_then(|s| joined(s.memory.as_deref()?, &columns));
        if let (Some(memory), Some(last)) = (last, self.segments.last_mut()) {
            let segment = Arc::make_mut(last);
            let first = u64::from(segment.id) << 32 | segment.rows;
            segment.memory = Some(memory);
            segment.rows += rows;
            segment.deleted.grow();
            return self.count().map(|()| first);
        }
        let mut id = random_segment_id();
        while self.segments.iter().any(|s| s.id == id) {
            id = random_segment_id();
        }
        let mut segment = Segment::empty(id, self.fields.len());
        segment.rows = rows;
        segment.memory = Some(columns.into_iter().map(Some).collect());
        self.push(segment).map(|()| u64::from(id) << 32)
    }

    /// Adds patches that are in memory: to the last ones, where they are in memory too and few.
    pub(crate) fn push_memory_patch(&mut self, field: usize, addresses: ArrayRef, values: ArrayRef) {
        let Some(row_bytes) = self.fields.get(field).map(|f| f.row_bytes() as u64 + 8) else { return };
        let Some(patches) = self.patches.get_mut(field) else { return };
        let covers = crate::patch::segments_of(&addresses);
        let (rows, columns) = (values.len() as u64, [addresses, values]);
        let small = |p: &PatchSegment| p.rows.rows.saturating_add(rows).saturating_mul(row_bytes) <= JOINED;
        let last = patches.last().filter(|p| small(p)).and_then(|p| joined(p.rows.memory.as_deref()?, &columns));
        if let (Some(memory), Some(last)) = (last, patches.last_mut()) {
            let last = Arc::make_mut(last);
            last.rows.memory = Some(memory);
            last.rows.rows += rows;
            last.covers.extend(covers);
        } else {
            let mut segment = Segment::empty(random_segment_id(), 2);
            segment.rows = rows;
            segment.memory = Some(columns.into_iter().map(Some).collect());
            patches.push(Arc::new(PatchSegment { rows: segment, covers }));
        }
        self.patched(field);
    }

    /// The rows of a segment that were in memory are in files.
    ///
    /// # Errors
    /// `Corrupt` where the files do not hold those rows.
    pub(crate) fn spilled_segment(&mut self, action: &SegmentAction) -> Result<()> {
        let mut written = self.new_segment(action.segment, action.rows, &action.shards)?;
        let old = self.segments.iter_mut().find(|s| s.id == action.segment && s.rows == action.rows);
        let old = old.ok_or_else(|| Error::corrupt(format!("segment {:08x} was not in memory", action.segment)))?;
        written.deleted = old.deleted.clone();
        *old = Arc::new(written);
        self.forget();
        Ok(())
    }

    /// The patches of a field that were in memory, all of them after those in files, are in files.
    ///
    /// # Errors
    /// `Corrupt` where the files do not hold patches.
    pub(crate) fn spilled_patches(&mut self, field: usize, actions: &[PatchAction]) -> Result<()> {
        if let (Some(patches), Some(overlay)) = (self.patches.get_mut(field), self.overlays.get_mut(field)) {
            patches.retain(|p| p.rows.memory.is_none());
            *overlay = super::Overlays::default();
        }
        actions.iter().try_for_each(|action| self.patch(action))
    }

    /// The cells of a field have another shape: also of the rows in memory.
    pub(super) fn reshape_memory(&mut self, field: usize, before: &FieldSpec) -> Result<()> {
        let Some(now) = self.fields.get(field).cloned() else { return Ok(()) };
        let change = |segment: &mut Segment, column: usize| {
            if let Some(Some(values)) = segment.memory.as_mut().and_then(|m| m.get_mut(column)) {
                *values = reshape(values, before, &now)?;
            }
            Ok::<_, Error>(())
        };
        for segment in self.segments.iter_mut().filter(|s| s.memory.is_some()) {
            change(Arc::make_mut(segment), field)?;
        }
        for patch in self.patches.get_mut(field).into_iter().flatten().filter(|p| p.rows.memory.is_some()) {
            change(&mut Arc::make_mut(patch).rows, 1)?;
        }
        Ok(())
    }

    /// Deletes live rows; gives how many.
    ///
    /// # Errors
    /// As [`delete_addresses`](Self::delete_addresses).
    pub(crate) fn delete_rows(&mut self, storage: &dyn Storage, rows: Range<u64>) -> Result<u64> {
        let id = self.id;
        let (mut start, mut deleted) = (0, 0);
        for segment in &mut self.segments {
            let live = segment.live();
            let (from, to) = (rows.start.max(start) - start, rows.end.min(start + live).saturating_sub(start));
            start += live;
            if from >= to {
                continue;
            }
            let index = segment.deleted.live(storage, id, segment.rows)?;
            let offset = |rank: u64| index.as_ref().map_or(rank, |index| index.offset(rank));
            // Also what was deleted before and after, so that a segment without a live row is one range.
            let first = if from == 0 { 0 } else { offset(from) };
            let end = if to == live { segment.rows } else { offset(to - 1) + 1 };
            let narrow = |offset: u64| {
                u32::try_from(offset).map_err(|e| Error::corrupt("a segment has too many rows").because(e))
            };
            let offsets = narrow(first)?..narrow(end)?;
            let segment = Arc::make_mut(segment);
            deleted += segment.deleted.insert_range(storage, id, segment.rows, offsets)?;
        }
        self.count()?;
        Ok(deleted)
    }

    /// Deletes rows by address; gives how many were alive. Nothing is deleted if one is not there.
    ///
    /// # Errors
    /// `Corrupt` for a file of deleted rows that cannot be read; `Invalid` for an address that is not there.
    pub(crate) fn delete_addresses(&mut self, storage: &dyn Storage, addresses: &[u64]) -> Result<u64> {
        let mut by_segment: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for address in addresses {
            by_segment.entry((address >> 32) as u32).or_default().push(*address as u32);
        }
        let id = self.id;
        let mut changed = Vec::with_capacity(by_segment.len());
        let mut deleted = 0;
        for (segment, mut offsets) in by_segment {
            offsets.sort_unstable();
            offsets.dedup();
            let found = self.segment(segment).map(|(at, _, segment)| (at, segment));
            let (at, found) = found.ok_or_else(|| Error::invalid("a row is not there any more"))?;
            let mut next = found.as_ref().clone();
            deleted += next.deleted.insert(storage, id, next.rows, &offsets)?.len() as u64;
            changed.push((at, next));
        }
        for (at, next) in changed {
            if let Some(segment) = self.segments.get_mut(at) {
                *segment = Arc::new(next);
            }
        }
        self.count()?;
        Ok(deleted)
    }

    /// Refuses addresses of rows that are not there or are deleted.
    ///
    /// # Errors
    /// `Invalid`; `Corrupt` for a file of deleted rows that cannot be read.
    pub(crate) fn check_addresses(&self, storage: &dyn Storage, addresses: &[u64]) -> Result<()> {
        let gone = || Error::invalid(format!("a row of array {:?} is not there any more", self.name.to_string()));
        let mut last = None;
        for address in addresses {
            let (id, offset) = ((address >> 32) as u32, address & 0xffff_ffff);
            let (_, rows, live) = match last.take() {
                Some((last_id, rows, live)) if last_id == id => (id, rows, live),
                _ => {
                    let (.., segment) = self.segment(id).ok_or_else(gone)?;
                    (id, segment.rows, segment.deleted.live(storage, self.id, segment.rows)?)
                }
            };
            let deleted = live.as_ref().is_some_and(|live| live.deleted().contains(offset as u32));
            if offset >= rows || deleted {
                return Err(gone());
            }
            last = Some((id, rows, live));
        }
        Ok(())
    }

    /// Takes the patches of a field that a transaction keeps in memory, oldest first.
    pub(crate) fn memory_patches(&self, field: usize) -> impl Iterator<Item = (&ArrayRef, &ArrayRef)> {
        self.patches(field).iter().filter_map(|p| match p.rows.memory.as_deref() {
            Some([Some(addresses), Some(values)]) => Some((addresses, values)),
            _ => None,
        })
    }
}

/// Columns with further rows; `None` where one is the fill value, or they are not of the same type.
fn joined(columns: &[Option<ArrayRef>], more: &[ArrayRef]) -> Option<Vec<Option<ArrayRef>>> {
    let join = |(a, b): (&Option<ArrayRef>, &ArrayRef)| {
        let a = a.as_ref()?;
        arrow_select::concat::concat(&[a.as_ref(), b.as_ref()]).ok().map(Some)
    };
    (columns.len() == more.len()).then(|| columns.iter().zip(more).map(join).collect())?
}

/// The fields of a patch segment: the addresses, and the values.
pub(crate) fn patch_fields(id: u32, field: &FieldSpec) -> Result<([u32; 2], [FieldSpec; 2])> {
    Ok(([ADDRESS, id], [super::address_field()?, field.clone()]))
}
