//! Reading rows that are deleted, patched, clipped or in memory in between: views of the clean stretches, and small
//! copies of the others.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, make_array};
use arrow_data::ArrayData;
use arrow_data::transform::MutableArrayData;
use hyperslab_core::{Block, Error, FieldSpec, Result};

use super::{Array, count};
use crate::column::{Column, addresses};
use crate::deletion::LiveIndex;
use crate::patch::Overlay;
use crate::segment::Segment;
use crate::state::address_field;

/// A clean stretch of at least this many bytes is worth a batch of its own, without a copy.
const CLEAN_BYTES: u64 = 64 << 10;
/// What is copied at once otherwise.
const DIRTY_BYTES: u64 = 512 << 10;

/// Consecutive live rows of one segment that lie side by side.
#[derive(Debug)]
struct Stretch {
    /// The segment's place in the array.
    segment: usize,
    offsets: Range<u64>,
}

/// Where one field's values come from.
struct Reader<'a> {
    array: &'a Array,
    field: usize,
    spec: &'a FieldSpec,
    overlay: Option<Arc<Overlay>>,
}

/// The arrays that a copy is put together from.
#[derive(Default)]
struct Sources {
    arrays: Vec<ArrayData>,
    /// By (segment, or patch segment behind all segments; first row): the array, and its last row.
    found: BTreeMap<(usize, u64), (usize, u64)>,
    /// (array, start, end)
    parts: Vec<(usize, usize, usize)>,
}

impl Array {
    /// Whether a field's rows lie in its shards as they are: none deleted, patched, clipped, compressed or in memory.
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
    fn overlay(&self, field: usize) -> Result<Option<Arc<Overlay>>> {
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
            let live = segment.deleted.live(self.store.storage.as_ref(), self.state.id, segment.rows)?;
            let first = u64::from(segment.id) << 32;
            let mut patched: Vec<u64> = overlays
                .iter()
                .flatten()
                .flat_map(|overlay| overlay.range(first..first + segment.rows))
                .map(|(address, _)| address - first)
                .filter(|&offset| live.as_ref().is_none_or(|live| live.rank(offset).is_some()))
                .collect();
            patched.sort_unstable();
            patched.dedup();
            rows += patched.len() as u64;
        }
        Ok(rows)
    }

    fn column<'a>(&'a self, segment: &'a Segment, index: usize, field: &'a FieldSpec) -> Column<'a> {
        Column { store: &self.store, array: self.state.id, segment, index, field }
    }
}

impl<'a> Reader<'a> {
    fn new(array: &'a Array, field: usize) -> Result<Self> {
        Ok(Self { array, field, spec: array.spec(field)?, overlay: array.overlay(field)? })
    }

    fn live(&self, segment: &Segment) -> Result<Option<Arc<LiveIndex>>> {
        segment.deleted.live(self.array.store.storage.as_ref(), self.array.state.id, segment.rows)
    }

    /// About how many bytes a row has.
    fn row_bytes(&self) -> u64 {
        (self.spec.row_bytes() as u64).max(1)
    }

    fn segment(&self, index: usize) -> Result<&'a Arc<Segment>> {
        self.array.state.segments().get(index).ok_or_else(|| Error::corrupt("a segment is gone"))
    }

    fn segment_column(&self, index: usize) -> Result<Column<'a>> {
        Ok(Column {
            store: &self.array.store,
            array: self.array.state.id,
            segment: self.segment(index)?,
            index: self.field,
            field: self.spec,
        })
    }

    /// The live rows from `row` on, at most to `end`, that lie side by side in one extent.
    fn stretch(&self, row: u64, end: u64) -> Result<Stretch> {
        let missing =
            || Error::corrupt(format!("no segment of array {:?} holds row {row}", self.array.name().to_string()));
        let (index, start, segment) = self.array.state.segment_of(row).ok_or_else(missing)?;
        let (offset, run_end) = match self.live(segment)? {
            Some(live) => {
                let offset = live.offset(row - start);
                (offset, live.run_end(offset))
            }
            None => (row - start, segment.rows),
        };
        let extent = self.segment_column(index)?.extent(offset);
        let end = run_end.min(extent.end).min(offset.saturating_add(end - row));
        if end <= offset {
            return Err(missing());
        }
        Ok(Stretch { segment: index, offsets: offset..end })
    }

    /// The part of a stretch before its first patch.
    fn clean(&self, stretch: &Stretch) -> Result<u64> {
        let Some(overlay) = &self.overlay else { return Ok(stretch.offsets.end - stretch.offsets.start) };
        let base = u64::from(self.segment(stretch.segment)?.id) << 32;
        let next = overlay.next(base | stretch.offsets.start).unwrap_or(u64::MAX);
        Ok(next.min(base | stretch.offsets.end).saturating_sub(base | stretch.offsets.start))
    }

    /// The end of the rows from `row` on that are read at once: a clean stretch, or a block that is copied.
    fn run_end(&self, row: u64) -> Result<u64> {
        let rows = self.array.rows();
        let limit = row.saturating_add((DIRTY_BYTES / self.row_bytes()).max(1)).min(rows);
        let mut next = row;
        while next < limit {
            let stretch = self.stretch(next, rows)?;
            let clean = self.clean(&stretch)?;
            if clean.saturating_mul(self.row_bytes()) >= CLEAN_BYTES
                && self.segment_column(stretch.segment)?.is_view(stretch.offsets.start)
            {
                return Ok(if next == row { row + clean } else { next });
            }
            // Over the patches that follow one another.
            next += clean.max(1);
        }
        Ok(limit.max(row + 1).min(rows.max(row + 1)))
    }

    fn read(&self, rows: &Range<u64>) -> Result<Block> {
        if rows.is_empty() {
            let empty = arrow_array::new_empty_array(&hyperslab_core::arrow::data_type(self.spec));
            return Ok(Block { array: empty, copied: 0 });
        }
        let first = self.stretch(rows.start, rows.end)?;
        let whole = first.offsets.end - first.offsets.start == rows.end - rows.start;
        if whole && self.clean(&first)? == rows.end - rows.start {
            return self.segment_column(first.segment)?.read(first.offsets);
        }
        let mut stretches = vec![first];
        let mut next = rows.start;
        while let Some(last) = stretches.last() {
            next += last.offsets.end - last.offsets.start;
            if next >= rows.end {
                break;
            }
            stretches.push(self.stretch(next, rows.end)?);
        }
        let mut sources = Sources::default();
        self.read_bases(&stretches, &mut sources)?;
        for stretch in &stretches {
            self.add(stretch, &mut sources)?;
        }
        self.joined(sources, count(rows.end - rows.start)?)
    }

    /// One view per extent, from the first row of the block to its last.
    fn read_bases(&self, stretches: &[Stretch], sources: &mut Sources) -> Result<()> {
        let mut i = 0;
        while let Some(first) = stretches.get(i) {
            let column = self.segment_column(first.segment)?;
            let extent = column.extent(first.offsets.start);
            let mut end = first.offsets.end;
            i += 1;
            while let Some(next) =
                stretches.get(i).filter(|n| n.segment == first.segment && n.offsets.start < extent.end)
            {
                end = next.offsets.end;
                i += 1;
            }
            let block = column.read(first.offsets.start..end)?;
            sources.put((first.segment, first.offsets.start), end, &block.array);
        }
        Ok(())
    }

    /// The rows of a stretch, patches in their places.
    fn add(&self, stretch: &Stretch, sources: &mut Sources) -> Result<()> {
        let base = u64::from(self.segment(stretch.segment)?.id) << 32;
        let patches = match &self.overlay {
            Some(overlay) => overlay.range(base | stretch.offsets.start..base | stretch.offsets.end),
            None => Vec::new(),
        };
        let mut next = stretch.offsets.start;
        for (address, patch) in patches {
            let offset = address & 0xffff_ffff;
            sources.add(stretch.segment, next..offset)?;
            self.add_patch(patch, sources)?;
            next = offset + 1;
        }
        sources.add(stretch.segment, next..stretch.offsets.end)
    }

    /// One patched row, of the patch with a number.
    fn add_patch(&self, number: u64, sources: &mut Sources) -> Result<()> {
        let mut start = 0;
        for (i, patch) in self.array.state.patches(self.field).iter().enumerate() {
            if number < start + patch.rows.rows {
                let row = number - start;
                let key = self.array.state.segments().len() + i;
                if !sources.holds(key, row) {
                    let column = self.array.column(&patch.rows, 1, self.spec);
                    let extent = if column.is_view(row) { column.extent(row) } else { row..row + 1 };
                    let block = column.read(extent.clone())?;
                    sources.put((key, extent.start), extent.end, &block.array);
                }
                return sources.add(key, row..row + 1);
            }
            start += patch.rows.rows;
        }
        Err(Error::corrupt(format!("there is no patch {number} of field {:?}", self.spec.name())))
    }

    fn take(&self, rows: &[u64]) -> Result<Block> {
        let state = &self.array.state;
        let found = state.addresses(self.array.store.storage.as_ref(), rows)?;
        let mut sources = Sources::default();
        for address in found {
            if let Some(patch) = self.overlay.as_ref().and_then(|o| o.get(address)) {
                self.add_patch(patch, &mut sources)?;
                continue;
            }
            let offset = address & 0xffff_ffff;
            let (index, ..) =
                state.segment((address >> 32) as u32).ok_or_else(|| Error::corrupt("a segment is gone"))?;
            if !sources.holds(index, offset) {
                let column = self.segment_column(index)?;
                let extent = if column.is_view(offset) { column.extent(offset) } else { offset..offset + 1 };
                let block = column.read(extent.clone())?;
                sources.put((index, extent.start), extent.end, &block.array);
            }
            sources.add(index, offset..offset + 1)?;
        }
        self.joined(sources, rows.len())
    }

    fn joined(&self, sources: Sources, rows: usize) -> Result<Block> {
        if sources.arrays.is_empty() {
            return self.read(&(0..0));
        }
        let mut out = MutableArrayData::new(sources.arrays.iter().collect(), false, rows);
        for (array, start, end) in sources.parts {
            out.try_extend(array, start, end).map_err(|e| Error::invalid("joining rows").because(e))?;
        }
        let array: ArrayRef = make_array(out.freeze());
        let copied = array.get_buffer_memory_size() as u64;
        let fixed = self.spec.row_bytes() as u64 * rows as u64;
        Ok(Block { array, copied: if fixed > 0 { fixed } else { copied } })
    }
}

impl Sources {
    fn put(&mut self, (segment, start): (usize, u64), end: u64, array: &ArrayRef) {
        self.found.insert((segment, start), (self.arrays.len(), end));
        self.arrays.push(array.to_data());
    }

    fn find(&self, segment: usize, row: u64) -> Option<(usize, u64, u64)> {
        let (&(s, start), &(array, end)) = self.found.range(..=(segment, row)).next_back()?;
        (s == segment && row < end).then_some((array, start, end))
    }

    fn holds(&self, segment: usize, row: u64) -> bool {
        self.find(segment, row).is_some()
    }

    fn add(&mut self, segment: usize, rows: Range<u64>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let found = self.find(segment, rows.start).filter(|&(_, _, end)| rows.end <= end);
        let (array, start, _) = found.ok_or_else(|| Error::corrupt("rows are in none of the pieces that were read"))?;
        let (from, to) = (count(rows.start - start)?, count(rows.end - start)?);
        match self.parts.last_mut() {
            Some(last) if last.0 == array && last.2 == from => last.2 = to,
            _ => self.parts.push((array, from, to)),
        }
        Ok(())
    }
}
