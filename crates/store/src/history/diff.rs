//! The rows in which two versions of an array differ.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef};
use hyperslab_core::{ArraySource, Error, Result};
use roaring::RoaringBitmap;

use super::lineage::Lineage;
use crate::deletion::LiveIndex;
use crate::patch::Overlay;
use crate::segment::Segment;
use crate::{Array, ArrayName, Snapshot, Store};

/// Offsets of a segment that are looked at together.
const WINDOW: u64 = 1 << 16;
/// Bytes of values that are compared together, of each side.
const COMPARED: usize = 1 << 20;

/// A row that is not the same in two versions: added (no position before), deleted (none after), or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowChange {
    /// Its position in the first version.
    pub old: Option<u64>,
    /// Its position in the second.
    pub new: Option<u64>,
}

/// The rows in which two versions of an array differ, in their order, worked out while they are asked for.
///
/// Rows are the same that have the same address (or were compacted from there), whatever their positions became. A row
/// is replaced if a field that both versions have holds other bits; a field whose cells have another shape is not
/// compared.
#[derive(Debug, Clone)]
pub struct Diff {
    old: Option<Array>,
    new: Option<Array>,
    /// Rows are followed from `a` to `b`: from old to new, or, where `swapped`, the other way.
    a: Option<Array>,
    b: Option<Array>,
    swapped: bool,
    /// The fields that both have, by their places.
    fields: Vec<Compared>,
    lineage: Lineage,
    /// Where the walk is: the segment of `a`, the offset in it, the next row of `b`.
    segment: usize,
    offset: u64,
    next_b: u64,
    finished: bool,
    /// What is not reported yet.
    found: VecDeque<Run>,
}

/// Consecutive rows that are only in `a`, or only in `b`; or one row of both.
type Run = (Option<Range<u64>>, Option<Range<u64>>);

#[derive(Debug, Clone)]
struct Compared {
    a: usize,
    b: usize,
    overlay_a: Option<Arc<Overlay>>,
    overlay_b: Option<Arc<Overlay>>,
    /// Whether both sides have the same patches.
    same_patches: bool,
    row_bytes: usize,
}

impl Store {
    /// The rows in which two versions of an array differ; the first may be the later one. The array is the one that has
    /// the name in the second version (or had it in the first), whatever it was called in the other. Where one array
    /// took another's place under the name, all rows of the one are deleted and all of the other added.
    ///
    /// # Errors
    /// As [`at`](Self::at); `NotFound` for a name that is in neither version.
    pub fn diff(&self, name: impl Into<ArrayName>, from: u64, to: u64) -> Result<Diff> {
        let name = name.into();
        let (first, second) = (self.at(from)?, self.at(to)?);
        let id = |s: &Arc<Snapshot>| s.state().by_name(&name).map(|array| array.id);
        let (old, new) = match (id(&first), id(&second)) {
            (old, Some(id)) => {
                (first.array_by_id(id).or_else(|| old.and_then(|old| first.array_by_id(old))), second.array_by_id(id))
            }
            (Some(id), None) => (first.array_by_id(id), second.array_by_id(id)),
            (None, None) => return Err(crate::snapshot::no_array(second.state(), &name)),
        };
        let lineage = self.lineage(old.as_ref(), new.as_ref(), from, to)?;
        Diff::new(old, new, lineage, from > to)
    }

    /// What happened to the array's segments between two versions, if that matters.
    fn lineage(&self, old: Option<&Array>, new: Option<&Array>, from: u64, to: u64) -> Result<Lineage> {
        let id = old.or(new).map(|array| array.state().id);
        let mut lineage = Lineage::of(id.ok_or_else(|| Error::invalid("there is no array"))?);
        let (Some(old), Some(new)) = (old, new) else { return Ok(lineage) };
        let all_in = |a: &Array, b: &Array| a.state().segments().iter().all(|s| b.state().segment(s.id).is_some());
        if old.state().id != new.state().id || (all_in(old, new) || all_in(new, old)) {
            return Ok(lineage);
        }
        let (first, last) = (from.min(to), from.max(to));
        self.each_entry(first + 1..=last, |entry| lineage.see(entry))?;
        if lineage.restored {
            // What came back may have been compacted before.
            self.each_entry(self.inner().log.first()?.max(1)..=first, |entry| lineage.see(entry))?;
        }
        Ok(lineage)
    }
}

impl Diff {
    fn new(old: Option<Array>, new: Option<Array>, lineage: Lineage, backwards: bool) -> Result<Self> {
        let (mut a, mut b, swapped) = (old.clone(), new.clone(), backwards);
        if swapped {
            std::mem::swap(&mut a, &mut b);
        }
        let mut fields = Vec::new();
        if let (Some(a), Some(b)) = (&a, &b)
            && a.state().id == b.state().id
        {
            for (i, id) in a.state().field_ids().iter().enumerate() {
                let Some(j) = b.state().field_ids().iter().position(|f| f == id) else { continue };
                let (Some(x), Some(y)) = (a.fields().get(i), b.fields().get(j)) else { continue };
                if x.cell() == y.cell() && x.dtype() == y.dtype() {
                    let (overlay_a, overlay_b) = (a.overlay(i)?, b.overlay(j)?);
                    let covered = |overlay: &Option<Arc<Overlay>>| overlay.as_ref().map(|o| o.covered);
                    // Not their number alone: a restored version has other patches after the same first ones.
                    let same_patches =
                        covered(&overlay_a) == covered(&overlay_b) && a.patch_starts(i) == b.patch_starts(j);
                    let row_bytes = x.row_bytes();
                    fields.push(Compared { a: i, b: j, overlay_a, overlay_b, same_patches, row_bytes });
                }
            }
        }
        let (segment, offset, next_b, finished, found) = (0, 0, 0, false, VecDeque::new());
        Ok(Self { old, new, a, b, swapped, fields, lineage, segment, offset, next_b, finished, found })
    }

    /// The array in the first version, if it was there.
    pub fn old(&self) -> Option<&Array> {
        self.old.as_ref()
    }

    /// The array in the second version, if it is there.
    pub fn new_array(&self) -> Option<&Array> {
        self.new.as_ref()
    }

    /// The next rows that differ, at most `max` of them; none at the end.
    ///
    /// # Errors
    /// `Corrupt` or `Io`, where values cannot be read to compare them.
    pub fn next_changes(&mut self, max: usize) -> Result<Vec<RowChange>> {
        let mut changes = Vec::new();
        while changes.len() < max {
            let Some((a, b)) = self.found.front_mut() else {
                if self.finished {
                    break;
                }
                self.step()?;
                continue;
            };
            let (old, new) = if self.swapped { (b, a) } else { (a, b) };
            while changes.len() < max {
                let change = RowChange {
                    old: old.as_mut().and_then(Iterator::next),
                    new: new.as_mut().and_then(Iterator::next),
                };
                if change.old.is_none() && change.new.is_none() {
                    self.found.pop_front();
                    break;
                }
                changes.push(change);
            }
        }
        Ok(changes)
    }

    /// Looks at the next window of a segment of `a`, or at what `b` has after all of them.
    fn step(&mut self) -> Result<()> {
        let (a, b) = (self.a.clone(), self.b.clone());
        let rows_b = b.as_ref().map_or(0, ArraySource::rows);
        let Some((a, segment)) = a.as_ref().and_then(|a| Some((a, a.state().segments().get(self.segment)?.clone())))
        else {
            self.added(rows_b);
            self.finished = true;
            return Ok(());
        };
        let start = a.state().segment(segment.id).map_or(0, |(_, start, _)| start);
        let related = b.as_ref().filter(|b| b.state().id == a.state().id);
        let end = match related {
            Some(b) => match b.state().segment(segment.id) {
                Some((_, start_b, same)) => {
                    self.added(start_b);
                    let same = same.clone();
                    self.same_segment(a, b, (&segment, start), (&same, start_b))?
                }
                None if self.lineage.leads(segment.id, b.state()) => self.moved_segment(a, b, &segment, start)?,
                None => self.gone(&segment, start),
            },
            None => self.gone(&segment, start),
        };
        if end {
            self.segment += 1;
            self.offset = 0;
        }
        Ok(())
    }

    /// The rows of `b` before `end` that were not met yet are only there.
    fn added(&mut self, end: u64) {
        if self.next_b < end {
            self.found.push_back((None, Some(self.next_b..end)));
            self.next_b = end;
        }
    }

    fn gone(&mut self, segment: &Segment, start: u64) -> bool {
        if segment.live() > 0 {
            self.found.push_back((Some(start..start + segment.live()), None));
        }
        true
    }

    /// A window of a segment that both have. Gives whether it was the last.
    fn same_segment(
        &mut self,
        a: &Array,
        b: &Array,
        (in_a, start_a): (&Arc<Segment>, u64),
        (in_b, start_b): (&Arc<Segment>, u64),
    ) -> Result<bool> {
        let rows = in_a.rows.max(in_b.rows);
        let same_rows = in_a.rows == in_b.rows && in_a.deleted.record() == in_b.deleted.record();
        let fields = self.fields.clone();
        let untouched = same_rows && fields.iter().all(|f| f.same_patches && !is_clipped(in_a, in_b, f));
        let window = self.offset..rows.min(self.offset + WINDOW);
        self.offset = if untouched { rows } else { window.end };
        if !untouched {
            let (live_a, live_b) = (a.live(in_a)?, b.live(in_b)?);
            let row = |live: &Option<Arc<LiveIndex>>, segment: &Segment, start: u64, offset: u64| {
                if offset >= segment.rows {
                    return None;
                }
                live.as_ref().map_or(Some(offset), |live| live.rank(offset)).map(|rank| start + rank)
            };
            let candidates = candidates(a, b, &fields, in_a.id, &window);
            let all = fields.iter().any(|f| is_clipped(in_a, in_b, f));
            let mut pairs = Vec::new();
            let mut changes = Vec::new();
            for offset in window {
                let candidate = all || candidates.contains(offset as u32);
                if same_rows && !candidate {
                    continue;
                }
                match (row(&live_a, in_a, start_a, offset), row(&live_b, in_b, start_b, offset)) {
                    (Some(a), Some(b)) if candidate => pairs.push((a, b)),
                    (Some(_), Some(_)) | (None, None) => {}
                    (old, new) => changes.push((old, new)),
                }
            }
            self.report(a, b, pairs, changes)?;
        }
        if self.offset >= rows {
            self.next_b = start_b + in_b.live();
        }
        Ok(self.offset >= rows)
    }

    /// A window of a segment whose rows were compacted.
    fn moved_segment(&mut self, a: &Array, b: &Array, segment: &Arc<Segment>, start: u64) -> Result<bool> {
        let window = self.offset..segment.rows.min(self.offset + WINDOW);
        self.offset = window.end;
        let live = a.live(segment)?;
        let all = self.lineage.is_patched(segment.id) || a.state().shaped != b.state().shaped;
        let storage = a.storage();
        let (mut pairs, mut changes) = (Vec::new(), Vec::new());
        for offset in window {
            let Some(rank) = live.as_ref().map_or(Some(offset), |live| live.rank(offset)) else { continue };
            let from = u64::from(segment.id) << 32 | offset;
            let to = self.lineage.translate(storage, from, b.state())?;
            let row = match to {
                Some(to) => b.state().rank_of(storage, to)?,
                None => None,
            };
            let Some((row, to)) = row.zip(to) else {
                changes.push((Some(start + rank), None));
                continue;
            };
            changes.extend((self.next_b..row).map(|added| (None, Some(added))));
            self.next_b = self.next_b.max(row + 1);
            let patched = |o: &Option<Arc<Overlay>>, address| o.as_ref().is_some_and(|o| o.get(address).is_some());
            if all || self.fields.iter().any(|f| patched(&f.overlay_a, from) || patched(&f.overlay_b, to)) {
                pairs.push((start + rank, row));
            }
        }
        self.report(a, b, pairs, changes)?;
        Ok(self.offset >= segment.rows)
    }

    /// Reports added and deleted rows, and of the pairs those that differ.
    fn report(
        &mut self,
        a: &Array,
        b: &Array,
        pairs: Vec<(u64, u64)>,
        changes: Vec<(Option<u64>, Option<u64>)>,
    ) -> Result<()> {
        let replaced = self.differing(a, b, &pairs)?.into_iter().map(|(a, b)| (Some(a), Some(b)));
        let mut replaced = replaced.peekable();
        let mut changes = changes.into_iter().peekable();
        loop {
            // Both are in the order of the array: by the position that both sides of a pair have.
            let next = match (changes.peek(), replaced.peek()) {
                (Some(change), Some(pair)) => {
                    let first = match change {
                        (Some(a), _) => Some(*a) < pair.0,
                        (None, b) => *b < pair.1,
                    };
                    if first { changes.next() } else { replaced.next() }
                }
                (Some(_), None) => changes.next(),
                (None, _) => replaced.next(),
            };
            let Some((old, new)) = next else { return Ok(()) };
            let range = |row: Option<u64>| row.map(|row| row..row + 1);
            match (self.found.back_mut(), old, new) {
                (Some((Some(run), None)), Some(row), None) | (Some((None, Some(run))), None, Some(row))
                    if run.end == row =>
                {
                    run.end += 1;
                }
                _ => self.found.push_back((range(old), range(new))),
            }
        }
    }

    /// The pairs of rows whose values differ in a field.
    fn differing(&self, a: &Array, b: &Array, pairs: &[(u64, u64)]) -> Result<Vec<(u64, u64)>> {
        let mut differs = vec![false; pairs.len()];
        for field in &self.fields {
            let rows = (COMPARED / field.row_bytes.max(64)).max(1);
            for (pairs, differs) in pairs.chunks(rows).zip(differs.chunks_mut(rows)) {
                let (of_a, of_b): (Vec<u64>, Vec<u64>) = pairs.iter().copied().unzip();
                let (values_a, values_b) = (a.take(field.a, &of_a)?.array, b.take(field.b, &of_b)?.array);
                compare(&values_a, &values_b, differs);
            }
        }
        Ok(pairs.iter().zip(differs).filter(|(_, differs)| *differs).map(|(pair, _)| *pair).collect())
    }
}

/// Sets what is not the same, bit for bit, in both.
fn compare(a: &ArrayRef, b: &ArrayRef, differs: &mut [bool]) {
    if a.len() != b.len() || a.to_data() == b.to_data() {
        return;
    }
    if let [differs] = differs {
        *differs = true;
        return;
    }
    let half = differs.len() / 2;
    let (first, second) = differs.split_at_mut(half);
    compare(&a.slice(0, half), &b.slice(0, half), first);
    compare(&a.slice(half, a.len() - half), &b.slice(half, b.len() - half), second);
}

/// Whether cells of a field were resized in between, although they have the same shape again.
fn is_clipped(a: &Segment, b: &Segment, field: &Compared) -> bool {
    let clips = |s: &Segment, field: usize| {
        s.shards.get(field).into_iter().flatten().map(|s| (s.start, s.clip.clone())).collect::<Vec<_>>()
    };
    let (clips_a, clips_b) = (clips(a, field.a), clips(b, field.b));
    clips_a.iter().zip(&clips_b).any(|(a, b)| a != b)
}

/// Offsets in a segment of rows whose newest patch, of any field, is not the same on both sides.
fn candidates(a: &Array, b: &Array, fields: &[Compared], segment: u32, offsets: &Range<u64>) -> RoaringBitmap {
    let base = u64::from(segment) << 32;
    let (start, end) = (base + offsets.start, base + offsets.end);
    let mut found = RoaringBitmap::new();
    for field in fields.iter().filter(|f| !f.same_patches) {
        let (starts_a, starts_b) = (a.patch_starts(field.a), b.patch_starts(field.b));
        for overlay in [&field.overlay_a, &field.overlay_b].into_iter().flatten() {
            let (mut cursor, mut next) = (overlay.cursor(start), start);
            while let Some(run) = cursor.seek(next).filter(|run| run.start < end) {
                next = run.end.min(end);
                for address in run.start..next {
                    // Which patch, by its place in the patch log.
                    let patch = |overlay: &Option<Arc<Overlay>>, starts: &[(u64, u32)]| {
                        let number = overlay.as_ref()?.get(address)?;
                        let at = starts.partition_point(|(start, _)| *start <= number).checked_sub(1)?;
                        starts.get(at).map(|(start, segment)| (*segment, number - start))
                    };
                    if patch(&field.overlay_a, &starts_a) != patch(&field.overlay_b, &starts_b) {
                        found.insert((address - base) as u32);
                    }
                }
            }
        }
    }
    found
}
