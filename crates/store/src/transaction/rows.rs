//! What the log must say of an array's rows: the working state held against what the log says already.

use std::collections::BTreeMap;
use std::ops::Range;

use arrow_buffer::Buffer;
use hyperslab_core::{ArraySource, Error, FieldSpec, Result, arrow};
use roaring::RoaringBitmap;

use super::Transaction;
use super::append::row_bytes;
use super::commit::Draft;
use super::rebase::Moves;
use super::stage::{addresses, patch_actions, patch_target, segments};
use crate::action::{Action, DeleteAction, Deleted, Id, SegmentAction, SegmentDelete};
use crate::deletion::{to_bytes, to_ranges};
use crate::packed;
use crate::segment::Segment;
use crate::state::{ArrayState, address_field};
use crate::writer::{Files, SegmentWriter, Target};

/// More ranges of deleted rows of one segment than these go to a file.
const INLINE_RANGES: usize = 1000;
/// What is read of the rows in memory at once.
const CHUNK: u64 = 4 << 20;

/// Where the new rows of a transaction are.
enum New {
    /// In files, or nowhere, being fill values.
    Segment(SegmentAction),
    /// In memory: these rows of the working state.
    Memory(Range<u64>),
}

impl Transaction {
    /// The arrays that are changed and still there.
    pub(super) fn changed(&self) -> Vec<Id> {
        self.work.touched.keys().copied().filter(|&id| self.work.state.array(id).is_some()).collect()
    }

    /// Before the lock: rows that need no open segment are written to files of their own. Gives the actions, by array.
    pub(super) fn write_early(&mut self) -> Result<BTreeMap<Id, Vec<Action>>> {
        let mut done = BTreeMap::new();
        for id in self.changed() {
            let Some(array) = self.work.state.array(id).cloned() else { continue };
            let target = Target::of(&array);
            let waiting = self.waiting.get(&id);
            let many = waiting.is_some_and(|w| w.has_writer());
            let logged = self.work.touched.get(&id).and_then(|t| t.logged.as_ref());
            let compressed = waiting.is_some_and(|w| target.compresses(w.slices().iter().map(|c| c.len())));
            if !many && !compressed && self.store.in_place && logged.is_some_and(|l| l.open_segment().is_some()) {
                continue;
            }
            if many || !self.is_simple(id) {
                self.freeze(id)?;
            }
            let mut actions = Vec::new();
            self.write_rows(id, None, &mut |action| {
                actions.push(action);
                Ok(())
            })?;
            done.insert(id, actions);
        }
        Ok(done)
    }

    /// Whether what waits can be written without having been part of the working state: nothing there is in memory.
    fn is_simple(&self, id: Id) -> bool {
        self.work.touched.get(&id).is_none_or(|t| t.memory == 0)
            && self.waiting.get(&id).is_none_or(|w| !w.has_writer())
    }

    /// Under the lock: what is left of an array's rows, then what is deleted, then what is replaced.
    pub(super) fn add_rows(
        &mut self,
        id: Id,
        early: Option<Vec<Action>>,
        moves: &Moves,
        draft: &mut Draft,
    ) -> Result<()> {
        self.check_ids(id, draft)?;
        match early {
            Some(actions) => actions.into_iter().try_for_each(|action| draft.add(action))?,
            None => {
                if !self.is_simple(id) {
                    self.freeze(id)?;
                }
                let open = draft.next.array(id).and_then(|array| array.open_segment()).cloned();
                self.write_rows(id, open.as_deref(), &mut |action| draft.add(action))?;
            }
        }
        self.add_deletes(id, moves, draft)?;
        self.add_patches(id, moves, draft)
    }

    /// Rows in files keep their addresses, so that their segments must keep their random ids.
    fn check_ids(&self, id: Id, draft: &Draft) -> Result<()> {
        let (Some(array), Some(next)) = (self.work.state.array(id), draft.next.array(id)) else { return Ok(()) };
        let logged = self.work.touched.get(&id).and_then(|t| t.logged.as_ref());
        let is_new = |id: u32| logged.is_none_or(|l| l.segment(id).is_none());
        let mut files = array.segments().iter().filter(|s| s.memory.is_none() && is_new(s.id));
        match files.find(|s| next.segment(s.id).is_some()) {
            Some(taken) => Err(super::rebase::conflict(format!("the segment {:08x} was added", taken.id))),
            None => Ok(()),
        }
    }

    /// Writes rows that are in memory, the first of them behind those of `open`, and says what the log gets for all.
    fn write_rows(&mut self, id: Id, open: Option<&Segment>, add: &mut dyn FnMut(Action) -> Result<()>) -> Result<()> {
        let Some(array) = self.work.state.array(id).cloned() else { return Ok(()) };
        let (target, in_place) = (Target::of(&array), self.store.in_place);
        let mut writer = SegmentWriter::new(target.clone(), open);
        for new in self.new_rows(&array) {
            match new {
                New::Segment(action) => {
                    let full = std::mem::replace(&mut writer, SegmentWriter::new(target.clone(), None));
                    full.finish(&mut self.files, in_place)?.into_iter().try_for_each(&mut *add)?;
                    add(Action::SegmentAdd(action))?;
                }
                New::Memory(rows) => {
                    let source = self.working_array(array.clone());
                    let row_bytes: u64 = array.fields().iter().map(|f| row_bytes(f) as u64).sum();
                    let step = (CHUNK / row_bytes.max(1)).max(1);
                    let mut next = rows.start;
                    while next < rows.end {
                        let end = rows.end.min(next + step);
                        let column = |(index, field)| {
                            packed::of_array(field, source.read(index, next..end)?.array.as_ref(), next)
                        };
                        let columns: Vec<Buffer> =
                            array.fields().iter().enumerate().map(column).collect::<Result<_>>()?;
                        let columns: Vec<&[u8]> = columns.iter().map(Buffer::as_slice).collect();
                        writer.write(&mut self.files, &columns, end - next)?;
                        next = end;
                    }
                }
            }
        }
        if let Some(waiting) = self.waiting.get(&id) {
            writer.write(&mut self.files, &waiting.slices(), waiting.column_rows)?;
        }
        writer.finish(&mut self.files, in_place)?.into_iter().try_for_each(add)
    }

    /// The segments of the working state that the log does not have.
    fn new_rows(&self, array: &ArrayState) -> Vec<New> {
        let logged = self.work.touched.get(&array.id).and_then(|t| t.logged.as_ref());
        let mut new: Vec<New> = Vec::new();
        let mut row = 0;
        for segment in array.segments() {
            let rows = row..row + segment.live();
            row = rows.end;
            match new.last_mut() {
                _ if logged.is_some_and(|l| l.segment(segment.id).is_some()) => {}
                Some(New::Memory(before)) if segment.memory.is_some() => before.end = rows.end,
                _ if segment.memory.is_some() => new.push(New::Memory(rows)),
                _ => new.push(New::Segment(SegmentAction {
                    array: array.id,
                    segment: segment.id,
                    rows: segment.rows,
                    shards: segment.shards.iter().flatten().cloned().collect(),
                })),
            }
        }
        new
    }

    /// The rows of a segment that this transaction deleted.
    pub(super) fn own_deleted(&self, array: &ArrayState, segment: &Segment) -> Result<RoaringBitmap> {
        let storage = self.store.storage.as_ref();
        let logged = self.work.touched.get(&array.id).and_then(|t| t.logged.as_ref());
        let before = logged.and_then(|l| l.segment(segment.id).map(|(.., before)| before.clone()));
        if segment.deleted.rows() == before.as_ref().map_or(0, |b| b.deleted.rows()) {
            return Ok(RoaringBitmap::new());
        }
        let now = segment.deleted.live(storage, array.id, segment.rows)?;
        let mut own = now.map(|live| live.deleted().clone()).unwrap_or_default();
        if let Some(before) = before
            && let Some(live) = before.deleted.live(storage, array.id, before.rows)?
        {
            own -= live.deleted();
        }
        Ok(own)
    }

    fn add_deletes(&mut self, id: Id, moves: &Moves, draft: &mut Draft) -> Result<()> {
        let Some(array) = self.work.state.array(id).cloned() else { return Ok(()) };
        let mut gone: BTreeMap<u32, RoaringBitmap> = BTreeMap::new();
        for segment in array.segments().iter().filter(|s| s.memory.is_none() && s.deleted.rows() > 0) {
            let own = self.own_deleted(&array, segment)?;
            if own.is_empty() {
                continue;
            }
            if !moves.concerns(segment.id) {
                gone.insert(segment.id, own);
                continue;
            }
            for offset in own {
                let moved = moves.moved(u64::from(segment.id) << 32 | u64::from(offset))?;
                gone.entry((moved >> 32) as u32).or_default().insert(moved as u32);
            }
        }
        let Some(next) = draft.next.array(id).cloned() else { return Ok(()) };
        let mut deletes = Vec::with_capacity(gone.len());
        for (segment, own) in gone {
            let (.., segment) = next.segment(segment).ok_or_else(|| Error::corrupt("a segment is gone"))?;
            deletes.push(self.segment_delete(&next, segment, &own)?);
        }
        if deletes.is_empty() {
            return Ok(());
        }
        draft.add(Action::Delete(DeleteAction { array: id, segments: deletes }))
    }

    /// What the log gets for further deleted rows of a segment: ranges while they are few, else a file of all.
    fn segment_delete(&mut self, array: &ArrayState, segment: &Segment, own: &RoaringBitmap) -> Result<SegmentDelete> {
        let (before, ranges) = (segment.deleted.record(), to_ranges(own));
        let rows = before.rows + own.len();
        if before.ranges.len() + ranges.len() <= INLINE_RANGES {
            return Ok(SegmentDelete { segment: segment.id, rows, ranges, whole: None });
        }
        let live = segment.deleted.live(self.store.storage.as_ref(), array.id, segment.rows)?;
        let mut all = live.map(|live| live.deleted() | own).unwrap_or_else(|| own.clone());
        all.optimize();
        let whole = Some(self.files.write_deleted(array.id, &to_bytes(&all)?)?);
        Ok(SegmentDelete { segment: segment.id, rows, ranges: Vec::new(), whole })
    }

    fn add_patches(&mut self, id: Id, moves: &Moves, draft: &mut Draft) -> Result<()> {
        let Some(array) = self.work.state.array(id).cloned() else { return Ok(()) };
        let logged = self.work.touched.get(&id).and_then(|t| t.logged.clone());
        for (index, (field, &field_id)) in array.fields().iter().zip(array.field_ids()).enumerate() {
            let old = logged.as_ref().and_then(|l| l.field_index(field_id).ok().map(|i| l.patches(i)));
            let is_old = |segment: u32| old.is_some_and(|old| old.iter().any(|p| p.rows.id == segment));
            let mut own = Own::default();
            for patch in array.patches(index).iter().filter(|p| !is_old(p.rows.id)) {
                match patch.rows.memory.as_deref() {
                    Some([Some(rows), Some(values)]) => {
                        let rows = arrow::raw_bytes(&address_field()?, rows.as_ref(), 0)?;
                        let values = packed::of_array(field, values.as_ref(), 0)?;
                        // Rows in memory were written with their new values.
                        let in_memory = |s: u32| array.segment(s).is_none_or(|(.., segment)| segment.memory.is_some());
                        own.push(addresses(&rows), &values, field, moves, in_memory)?;
                    }
                    _ => {
                        self.write_patches(&array, index, std::mem::take(&mut own), draft)?;
                        let covers = patch.covers.iter().copied();
                        if patch.covers.iter().any(|&segment| moves.concerns(segment)) {
                            return Err(super::rebase::conflict(format!(
                                "segments of the array {:?}, of which this one replaced many rows, were rewritten",
                                array.name.to_string()
                            )));
                        }
                        let shards = patch.rows.shards.iter().flatten().cloned().collect();
                        let action = SegmentAction { array: id, segment: patch.rows.id, rows: patch.rows.rows, shards };
                        let action = vec![Action::SegmentAdd(action)];
                        for action in patch_actions(action, field_id, &covers.collect()) {
                            draft.add(Action::Patch(action))?;
                        }
                    }
                }
            }
            if let Some(patches) = self.waiting.get(&id).and_then(|w| w.patches.get(&field_id)) {
                own.push(addresses(&patches.addresses), &patches.values, field, moves, |_| false)?;
            }
            self.write_patches(&array, index, own, draft)?;
        }
        Ok(())
    }

    /// Writes patches behind those of the newest state.
    fn write_patches(&mut self, array: &ArrayState, field: usize, own: Own, draft: &mut Draft) -> Result<()> {
        let (rows, values) = own.ordered(array.field_at(field)?.1)?;
        if rows.is_empty() {
            return Ok(());
        }
        let target = patch_target(array, field)?;
        let next = draft.next.array(array.id).cloned().ok_or_else(super::savepoint::gone)?;
        let (field_id, _) = array.field_at(field)?;
        let open = next.open_patches(next.field_index(field_id)?);
        let mut writer = SegmentWriter::new(target, open.map(|p| &p.rows));
        let covers = segments(&rows);
        writer.write(&mut self.files, &[crate::elements::as_bytes(&rows), &values], rows.len() as u64)?;
        for action in patch_actions(writer.finish(&mut self.files, self.store.in_place)?, field_id, &covers) {
            draft.add(Action::Patch(action))?;
        }
        Ok(())
    }

    /// The deleted rows of a segment as a record of their own, in a folder of the array `home`.
    pub(super) fn whole_deleted(&mut self, array: &ArrayState, segment: &Segment, home: Id) -> Result<Deleted> {
        let live = segment.deleted.live(self.store.storage.as_ref(), array.id, segment.rows)?;
        let all = live.map(|live| live.deleted().clone()).unwrap_or_default();
        let (rows, ranges) = (all.len(), to_ranges(&all));
        if ranges.len() <= INLINE_RANGES {
            return Ok(Deleted { rows, file: None, ranges });
        }
        let file = Some(self.files.write_deleted(home, &to_bytes(&all)?)?);
        Ok(Deleted { rows, file, ranges: Vec::new() })
    }
}

/// New values by address, in the order of time.
#[derive(Debug, Default)]
struct Own {
    rows: Vec<u64>,
    values: Vec<u8>,
}

impl Own {
    fn push(
        &mut self,
        rows: &[u64],
        values: &[u8],
        field: &FieldSpec,
        moves: &Moves,
        skip: impl Fn(u32) -> bool,
    ) -> Result<()> {
        let skips = segments(rows).into_iter().any(|s| skip(s) || moves.concerns(s));
        if !skips {
            self.rows.extend_from_slice(rows);
            self.values.extend_from_slice(values);
            return Ok(());
        }
        let mut kept = Vec::new();
        for (n, &row) in rows.iter().enumerate().filter(|(_, row)| !skip((**row >> 32) as u32)) {
            self.rows.push(moves.moved(row)?);
            kept.push(n);
        }
        self.values.extend(packed::pick(field, values, &kept)?);
        Ok(())
    }

    /// In the order of their addresses, each once: the last one.
    fn ordered(self, field: &FieldSpec) -> Result<(Vec<u64>, Vec<u8>)> {
        if self.rows.is_sorted_by(|a, b| a < b) {
            return Ok((self.rows, self.values));
        }
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        // Stable, so that of equal addresses the last one is the newest.
        order.sort_by_key(|&n| self.rows.get(n).copied());
        let mut rows: Vec<u64> = Vec::with_capacity(order.len());
        let mut kept: Vec<usize> = Vec::with_capacity(order.len());
        for n in order {
            let Some(&row) = self.rows.get(n) else { continue };
            if rows.last() == Some(&row) {
                kept.pop();
            } else {
                rows.push(row);
            }
            kept.push(n);
        }
        let values = packed::pick(field, &self.values, &kept)?;
        Ok((rows, values))
    }
}

/// Removes from `created` what nothing of the entry names.
pub(super) fn forget_orphans(files: &mut Files, actions: &[Action]) {
    if !files.created.is_empty() {
        files.keep_only(&actions.iter().flat_map(Action::files).collect());
    }
}
