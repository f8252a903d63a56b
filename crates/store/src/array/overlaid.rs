//! Reading rows that are deleted, patched, clipped or in memory in between: views of the clean stretches, and small
//! copies of the others.

mod gather;
mod sweep;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use arrow_array::new_empty_array;
use hyperslab_core::{Block, Error, FieldSpec, Result, arrow};
use roaring::RoaringBitmap;

use gather::Gather;
use sweep::{Part, Sweep};

use super::{Array, count};
use crate::column::{Column, addresses};
use crate::deletion::LiveIndex;
use crate::patch::Overlay;
use crate::segment::Segment;
use crate::state::address_field;

/// A clean stretch of at least this many bytes is worth a batch of its own, without a copy.
const CLEAN_BYTES: u64 = 64 << 10;
/// What is copied at once otherwise.
pub(super) const DIRTY_BYTES: u64 = 512 << 10;
/// Rows that have to be copied out of a shard are read with those between them, if these are not many more.
const SPARSE: u64 = 4;

/// By source: which rows are read at once where reading decompresses them or fills them in.
type Spans = Vec<(usize, Range<u64>)>;

/// Where one field's values come from.
struct Reader<'a> {
    array: &'a Array,
    field: usize,
    spec: &'a FieldSpec,
    overlay: Option<Arc<Overlay>>,
    /// Of each patch segment, the number of its first patch.
    patch_starts: Vec<u64>,
}

impl Array {
    /// Whether a field's rows lie in its shards as they are: none deleted, patched, clipped or in memory.
    pub(super) fn is_plain(&self, field: usize) -> bool {
        self.state.is_plain(field)
    }

    pub(super) fn overlaid_run_end(&self, field: usize, row: u64) -> Result<u64> {
        Reader::new(self, field)?.run_end(row)
    }

    pub(super) fn overlaid(&self, field: usize, rows: &Range<u64>) -> Result<Block> {
        Reader::new(self, field)?.read(rows)
    }

    pub(super) fn overlaid_take(&self, field: usize, rows: &[u64]) -> Result<Block> {
        Reader::new(self, field)?.take(rows)
    }

    /// The patches of a field; `None` if there are none.
    pub(crate) fn overlay(&self, field: usize) -> Result<Option<Arc<Overlay>>> {
        let patches = self.state.patches(field);
        let (Some(first), Some(overlays)) = (patches.first(), self.state.overlays.get(field)) else { return Ok(None) };
        if let Some(overlay) = overlays.now.get() {
            return Ok(Some(overlay.clone()));
        }
        let earlier = overlays.earlier.as_ref().filter(|o| o.first == first.rows.id);
        let mut overlay = earlier.map(|o| o.as_ref().clone()).unwrap_or_default();
        let spec = address_field()?;
        let mut start = 0;
        for patch in patches {
            let end = start + patch.rows.rows;
            let column = self.column(&patch.rows, 0, &spec);
            while overlay.covered < end {
                let offset = overlay.covered - start;
                let extent = column.extent(offset);
                let block = column.read(offset..extent.end)?;
                overlay = overlay.with(first.rows.id, &addresses(&block));
            }
            start = end;
        }
        Ok(Some(overlays.now.get_or_init(|| Arc::new(overlay)).clone()))
    }

    /// How many live rows of some segments have patches.
    pub(crate) fn patched_rows(&self, segments: &[Arc<Segment>]) -> Result<u64> {
        let overlays = (0..self.fields().len()).map(|field| self.overlay(field)).collect::<Result<Vec<_>>>()?;
        let mut rows = 0;
        for segment in segments {
            let first = u64::from(segment.id) << 32;
            let mut patched = RoaringBitmap::new();
            for overlay in overlays.iter().flatten() {
                let (mut patches, mut next) = (overlay.cursor(first), first);
                while let Some(run) = patches.seek(next).filter(|run| run.start < first + segment.rows) {
                    // Offsets have 32 bits.
                    patched.insert_range((run.start - first) as u32..(run.end - first) as u32);
                    next = run.end;
                }
            }
            let live = segment.deleted.live(self.store.storage.as_ref(), self.state.id, segment.rows)?;
            rows += patched.len() - live.map_or(0, |live| patched.intersection_len(live.deleted()));
        }
        Ok(rows)
    }

    fn column<'a>(&'a self, segment: &'a Segment, index: usize, field: &'a FieldSpec) -> Column<'a> {
        Column { store: &self.store, array: self.state.id, segment, index, field }
    }
}

impl<'a> Reader<'a> {
    fn new(array: &'a Array, field: usize) -> Result<Self> {
        let mut next = 0;
        let starts = array.state.patches(field).iter().map(|patch| {
            next += patch.rows.rows;
            next - patch.rows.rows
        });
        let patch_starts = starts.collect();
        Ok(Self { array, field, spec: array.spec(field)?, overlay: array.overlay(field)?, patch_starts })
    }

    fn live(&self, segment: &Segment) -> Result<Option<Arc<LiveIndex>>> {
        let deleted = segment.deleted.live(self.array.store.storage.as_ref(), self.array.state.id, segment.rows);
        deleted.map_err(|e| e.with("array", self.array.name()))
    }

    /// The field's values in a *source*: one of the array's segments, or, numbered after those, one of the field's patch
    /// segments.
    fn column(&self, source: usize) -> Result<Column<'a>> {
        let state = &self.array.state;
        let missing = || Error::corrupt(format!("array {:?} has no segment {source}", self.array.name().to_string()));
        match state.segments().get(source) {
            Some(segment) => Ok(self.array.column(segment, self.field, self.spec)),
            None => {
                let patches = state.patches(self.field).get(source - state.segments().len()).ok_or_else(missing)?;
                Ok(self.array.column(&patches.rows, 1, self.spec))
            }
        }
    }

    /// The source that holds a patch, and its rows from that patch on.
    fn patches(&self, patch: u64) -> Result<(usize, Range<u64>)> {
        let segment = self.patch_starts.partition_point(|&start| start <= patch).checked_sub(1);
        let found = segment.and_then(|i| {
            let row = patch - self.patch_starts.get(i)?;
            let rows = self.array.state.patches(self.field).get(i)?.rows.rows;
            (row < rows).then_some((self.array.state.segments().len() + i, row..rows))
        });
        found.ok_or_else(|| Error::corrupt(format!("there is no patch {patch} of field {:?}", self.spec.name())))
    }

    /// About how many bytes a row has.
    fn row_bytes(&self) -> u64 {
        self.array.state.row_bytes(self.field).max(1)
    }

    /// The end of the rows from `row` on that are read at once: a clean stretch, or a block that is copied.
    fn run_end(&self, row: u64) -> Result<u64> {
        let limit = (DIRTY_BYTES / self.row_bytes()).max(1);
        if self.is_dirty(row, limit)? {
            return Ok(row + limit);
        }
        let mut sweep = Sweep::new(self, row..self.array.rows())?;
        let mut dirty = 0;
        while let Some(mut part) = sweep.next()? {
            while !part.rows.is_empty() {
                let mut rows = part.rows.end - part.rows.start;
                if rows.saturating_mul(self.row_bytes()) >= CLEAN_BYTES {
                    let column = self.column(part.source)?;
                    rows = rows.min(column.extent(part.rows.start).end - part.rows.start);
                    if rows.saturating_mul(self.row_bytes()) >= CLEAN_BYTES && column.is_view(part.rows.start) {
                        return Ok(if dirty == 0 { row + rows } else { row + dirty });
                    }
                }
                dirty += rows;
                if dirty >= limit {
                    return Ok(row + limit);
                }
                part.rows.start += rows;
            }
        }
        Ok(row + dirty.max(1))
    }

    /// Whether no clean stretch is among so many rows of one segment, told without looking at every row: such a stretch
    /// would hold a window of half its length.
    fn is_dirty(&self, row: u64, rows: u64) -> Result<bool> {
        const WORTH_IT: u64 = 256;
        let window = CLEAN_BYTES / self.row_bytes() / 2;
        let Some((_, start, segment)) = self.array.state.segment_of(row) else { return Ok(false) };
        if window < WORTH_IT || row + rows > start + segment.live() {
            return Ok(false);
        }
        let live = self.live(segment)?;
        let offset = |row: u64| live.as_ref().map_or(row - start, |live| live.offset(row - start));
        let (mut at, end, base) = (offset(row), offset(row + rows - 1) + 1, u64::from(segment.id) << 32);
        let mut patches = self.overlay.as_ref().map(|overlay| overlay.cursor(base | at));
        while at + window <= end {
            let offsets = at..at + window;
            let patched = patches.as_mut().and_then(|patches| patches.seek(base | at)).is_some_and(|run| {
                // Patches that run on are a clean stretch, too.
                run.start < base | offsets.end && !(run.start <= base | offsets.start && run.end >= base | offsets.end)
            });
            if !patched && !live.as_ref().is_some_and(|live| live.has_deleted(offsets)) {
                return Ok(false);
            }
            at += window;
        }
        Ok(true)
    }

    fn read(&self, rows: &Range<u64>) -> Result<Block> {
        let mut sweep = Sweep::new(self, rows.clone())?;
        let mut parts = Vec::new();
        // Of each segment, from the first row to the last.
        let mut spans: Spans = Vec::new();
        while let Some(part) = sweep.next()? {
            match spans.last_mut() {
                _ if part.source >= self.array.state.segments().len() => {}
                Some((source, span)) if *source == part.source => span.end = part.rows.end,
                _ => spans.push((part.source, part.rows.clone())),
            }
            parts.push(part);
        }
        if let [part] = parts.as_slice() {
            let column = self.column(part.source)?;
            if part.rows.end <= column.extent(part.rows.start).end {
                return column.read(part.rows.clone());
            }
        }
        spans.retain(|(_, span)| span.end - span.start <= SPARSE * (rows.end - rows.start));
        self.gather(&parts, &spans)
    }

    fn take(&self, rows: &[u64]) -> Result<Block> {
        let state = &self.array.state;
        let missing =
            |row| Error::corrupt(format!("no segment of array {:?} holds row {row}", self.array.name().to_string()));
        let mut parts: Vec<Part> = Vec::with_capacity(rows.len());
        // The segment of the last row: its place, its id and what of it is alive; its rows.
        let (mut segment, mut held) = ((0, 0, None), 0..0);
        for &row in rows {
            if !held.contains(&row) {
                let (index, start, found) = state.segment_of(row).ok_or_else(|| missing(row))?;
                segment = (index, u64::from(found.id) << 32, self.live(found)?);
                held = start..start + found.live();
            }
            let (index, base, live) = &segment;
            let offset = live.as_ref().map_or(row - held.start, |live| live.offset(row - held.start));
            let (source, at) = match self.overlay.as_ref().and_then(|overlay| overlay.get(base | offset)) {
                Some(patch) => self.patches(patch).map(|(source, rows)| (source, rows.start))?,
                None => (*index, offset),
            };
            match parts.last_mut() {
                Some(last) if last.source == source && last.rows.end == at => last.rows.end += 1,
                _ => parts.push(Part { source, rows: at..at + 1 }),
            }
        }
        self.gather(&parts, &Vec::new())
    }

    /// A copy of parts.
    fn gather(&self, parts: &[Part], spans: &Spans) -> Result<Block> {
        let data_type = arrow::data_type(self.spec);
        if parts.is_empty() {
            return Ok(Block { array: new_empty_array(&data_type), copied: 0 });
        }
        let mut gather = Gather::default();
        let mut rows = 0;
        for part in parts {
            rows += part.rows.end - part.rows.start;
            let mut left = part.clone();
            while !left.rows.is_empty() {
                let added = gather.add(&left)?;
                left.rows.start += added;
                if added > 0 {
                    continue;
                }
                let column = self.column(left.source)?;
                let mut read = column.extent(left.rows.start);
                if !column.is_view(left.rows.start) {
                    let span = spans.iter().find(|(source, _)| *source == left.source);
                    let wanted = span.map_or(&left.rows, |(_, span)| span);
                    read = read.start.max(wanted.start)..read.end.min(wanted.end);
                }
                if !read.contains(&left.rows.start) {
                    return Err(Error::corrupt(format!("field {:?}: rows are missing", self.spec.name())));
                }
                let block = column.read(read.clone()).map_err(|e| e.with("array", self.array.name()))?;
                gather.put(left.source, read.start, block.array);
            }
        }
        let array = gather.join(&data_type)?;
        let copied = match self.spec.row_bytes() as u64 * rows {
            _ if self.spec.dtype().is_variable() => array.get_buffer_memory_size() as u64,
            0 => array.get_buffer_memory_size() as u64,
            fixed => fixed,
        };
        Ok(Block { array, copied })
    }
}

/// How many rows of a field are copied at once.
pub(super) fn dirty_rows(field: &FieldSpec) -> Result<usize> {
    count((DIRTY_BYTES / (field.row_bytes() as u64).max(1)).max(1))
}
