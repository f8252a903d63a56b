//! An array at one version, and how actions change it.

mod memory;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use hyperslab_core::{DType, Error, FieldSpec, Result};

pub(crate) use memory::patch_fields;

use crate::action::{
    ADDRESS, ArrayCreate, ArrayRecord, ArraySet, DeleteAction, FieldRecord, Id, PatchAction, SegmentAction,
    SegmentRecord, SegmentReplace,
};
use crate::codec::Codec;
use crate::log::Entry;
use crate::patch::Overlay;
use crate::runs::Run;
use crate::segment::Segment;
use crate::shard::{Part, Shard};
use crate::{ArrayName, ArrayOptions, Storage};

/// So many segments tell how long texts are.
const SAMPLE: usize = 8;

/// An array at one version.
#[derive(Debug, Clone)]
pub(crate) struct ArrayState {
    pub id: Id,
    pub name: ArrayName,
    pub options: ArrayOptions,
    fields: Vec<FieldSpec>,
    field_ids: Vec<u32>,
    codecs: Vec<Codec>,
    /// The id of the next new field: ids are never used again.
    pub next_field: u32,
    segments: Vec<Arc<Segment>>,
    /// Per field: the patches, oldest first.
    patches: Vec<Vec<Arc<PatchSegment>>>,
    /// Live rows.
    rows: u64,
    /// The version that last changed it in any way, and that version's time.
    pub changed: u64,
    pub modified: i64,
    /// The version that last changed anything but its rows.
    pub shaped: u64,
    /// Per field, its rows' places, worked out at the first read.
    pub(crate) runs: Vec<OnceLock<Arc<Vec<Run>>>>,
    /// Per field, its patches in the order of their addresses, worked out at the first read.
    pub(crate) overlays: Vec<Overlays>,
    places: OnceLock<Arc<Places>>,
    /// Per field: see [`is_plain`](Self::is_plain).
    plain: Vec<OnceLock<bool>>,
}

/// The patches of a field by address: worked out already, or what they can be worked out from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overlays {
    pub now: OnceLock<Arc<Overlay>>,
    /// Of an earlier version whose patches were fewer.
    pub earlier: Option<Arc<Overlay>>,
}

/// Rows of one field that were replaced: a segment of addresses and values.
#[derive(Debug, Clone)]
pub(crate) struct PatchSegment {
    pub rows: Segment,
    /// The segments of the array that it addresses.
    pub covers: BTreeSet<u32>,
}

/// Where the segments' live rows begin.
#[derive(Debug, Default)]
struct Places {
    by_id: HashMap<u32, usize>,
    starts: Vec<u64>,
}

/// The field of addresses, in patch segments.
pub(crate) fn address_field() -> Result<FieldSpec> {
    FieldSpec::new("address", DType::UInt64, vec![])
}

impl ArrayState {
    /// A new array without rows.
    ///
    /// # Errors
    /// `Corrupt` for fields that cannot be.
    pub(crate) fn create(action: &ArrayCreate, name: ArrayName, version: u64, time: i64) -> Result<Self> {
        let bad = |e: Error| Error::corrupt(format!("array {:?} cannot be created", name.to_string())).because(e);
        let fields: Vec<FieldSpec> = action.fields.iter().map(FieldRecord::spec).collect::<Result<_>>().map_err(bad)?;
        let field_ids: Vec<u32> = action.fields.iter().map(|f| f.id).collect();
        if field_ids.iter().collect::<BTreeSet<_>>().len() != fields.len() || field_ids.contains(&ADDRESS) {
            return Err(bad(Error::corrupt("two fields have the same id, or one has an id that is not to be had")));
        }
        check_fields(&fields).map_err(bad)?;
        let mut array = Self {
            id: action.array,
            name,
            options: ArrayOptions { shard_bytes: action.shard_bytes, ..ArrayOptions::default() },
            codecs: action.fields.iter().map(|f| f.codec).collect(),
            next_field: field_ids.iter().max().map_or(0, |id| id + 1),
            patches: vec![Vec::new(); fields.len()],
            fields,
            field_ids,
            segments: Vec::new(),
            rows: 0,
            changed: version,
            modified: time,
            shaped: version,
            runs: Vec::new(),
            overlays: Vec::new(),
            places: OnceLock::new(),
            plain: Vec::new(),
        };
        array.overlays.resize_with(array.fields.len(), Overlays::default);
        array.forget();
        Ok(array)
    }

    /// The action that creates it, without rows.
    pub(crate) fn to_action(&self) -> ArrayCreate {
        let fields = self.field_ids.iter().zip(&self.fields).zip(&self.codecs);
        ArrayCreate {
            array: self.id,
            schema: self.name.schema.clone(),
            name: self.name.name.clone(),
            fields: fields.map(|((&id, f), &codec)| FieldRecord { codec, ..FieldRecord::new(id, f) }).collect(),
            shard_bytes: self.options.shard_bytes,
        }
    }

    /// Everything about it: a checkpoint's record.
    pub(crate) fn to_record(&self) -> ArrayRecord {
        let segment = |s: &Arc<Segment>| SegmentRecord {
            segment: s.id,
            rows: s.rows,
            shards: s.shards.iter().flatten().cloned().collect(),
            deleted: s.deleted.record().clone(),
        };
        let patches = self.field_ids.iter().zip(&self.patches).flat_map(|(&field, patches)| {
            patches.iter().map(move |p| PatchAction {
                array: self.id,
                field,
                segment: p.rows.id,
                rows: p.rows.rows,
                shards: p.rows.shards.iter().flatten().cloned().collect(),
                covers: p.covers.iter().copied().collect(),
            })
        });
        ArrayRecord {
            create: self.to_action(),
            changed: self.changed,
            shaped: self.shaped,
            modified: self.modified,
            segments: self.segments.iter().map(segment).collect(),
            patches: patches.collect(),
            next_field: self.next_field,
        }
    }

    /// The array that a record describes.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn from_record(record: &ArrayRecord) -> Result<Self> {
        let name = ArrayName::new(record.create.schema.clone(), record.create.name.clone());
        let mut array = Self::create(&record.create, name, record.changed, record.modified)?;
        array.shaped = record.shaped;
        if record.next_field < array.next_field {
            return Err(Error::corrupt(format!("the id {} of the next field is taken", record.next_field)));
        }
        array.next_field = record.next_field;
        let mut ids = BTreeSet::new();
        for segment in &record.segments {
            if !ids.insert(segment.segment) {
                return Err(Error::corrupt(format!("segment {:08x} is there twice", segment.segment)));
            }
            array.push_record(segment)?;
        }
        for patch in &record.patches {
            array.patch(patch)?;
        }
        Ok(array)
    }

    /// Everything about it as another array, or as an older state of this one that comes back: nothing in it grows, and
    /// its files stay where they are.
    pub(crate) fn to_copy(&self, id: Id, name: &ArrayName) -> ArrayRecord {
        let mut record = self.to_record();
        let home = |home: &mut Option<Id>| *home = Some(home.unwrap_or(self.id)).filter(|h| *h != id);
        let shards = record.segments.iter_mut().flat_map(|s| s.shards.iter_mut());
        for shard in shards.chain(record.patches.iter_mut().flat_map(|p| p.shards.iter_mut())) {
            shard.open = false;
            home(&mut shard.home);
        }
        for file in record.segments.iter_mut().filter_map(|s| s.deleted.file.as_mut()) {
            home(&mut file.home);
        }
        record.patches.iter_mut().for_each(|p| p.array = id);
        record.create.array = id;
        record.create.schema.clone_from(&name.schema);
        record.create.name.clone_from(&name.name);
        record
    }

    pub(crate) fn fields(&self) -> &[FieldSpec] {
        &self.fields
    }

    pub(crate) fn field_ids(&self) -> &[u32] {
        &self.field_ids
    }

    pub(crate) fn codecs(&self) -> &[Codec] {
        &self.codecs
    }

    /// The index of the field with an id.
    pub(crate) fn field_index(&self, id: u32) -> Result<usize> {
        let index = self.field_ids.iter().position(|&f| f == id);
        index.ok_or_else(|| Error::corrupt(format!("array {:?} has no field {id}", self.name.to_string())))
    }

    /// The id and the description of a field.
    pub(crate) fn field_at(&self, index: usize) -> Result<(u32, &FieldSpec)> {
        let field = self.field_ids.get(index).copied().zip(self.fields.get(index));
        field.ok_or_else(|| Error::invalid(format!("array {:?} has no field {index}", self.name.to_string())))
    }

    /// Live rows.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// The patches of a field, oldest first.
    pub(crate) fn patches(&self, field: usize) -> &[Arc<PatchSegment>] {
        self.patches.get(field).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether a field's rows lie in its shards as they are: none deleted, patched, clipped, in memory or NULL, none of
    /// a length of its own, none but zeros without a shard.
    pub(crate) fn is_plain(&self, field: usize) -> bool {
        self.plain.get(field).is_some_and(|plain| {
            *plain.get_or_init(|| {
                let shard = |s: &Shard| s.part == Part::Values && s.clip.is_none();
                let Some(spec) = self.fields.get(field) else { return false };
                let filled = match spec.fill() {
                    Some(fill) => !fill.is_zero(),
                    None => spec.nullable(),
                };
                let written = |s: &Segment| s.shards.get(field).is_some_and(|shards| !shards.is_empty());
                let whole = !filled || self.segments.iter().all(|s| written(s));
                !spec.dtype().is_variable()
                    && whole
                    && self.patches(field).is_empty()
                    && self.segments.iter().all(|s| {
                        s.memory.is_none()
                            && s.deleted.rows() == 0
                            && s.shards.get(field).is_none_or(|shards| shards.iter().all(shard))
                    })
            })
        })
    }

    /// About how many bytes a row of a field has.
    pub(crate) fn row_bytes(&self, field: usize) -> u64 {
        let fixed = self.fields.get(field).map_or(0, |f| f.row_bytes() as u64);
        let sample = self.segments.iter().take(SAMPLE);
        let (bytes, rows) = sample.fold((0, 0), |(bytes, rows), s| {
            let text = s.part(field, Part::Bytes).iter().map(|shard| shard.bytes).sum::<u64>();
            (bytes + text, rows + s.rows)
        });
        fixed + bytes.checked_div(rows).unwrap_or(0)
    }

    /// The last segment, where it can grow in place.
    pub(crate) fn open_segment(&self) -> Option<&Arc<Segment>> {
        self.segments.last().filter(|s| s.is_open(&self.fields))
    }

    /// The last patch segment of a field, where it can grow in place.
    pub(crate) fn open_patches(&self, field: usize) -> Option<&Arc<PatchSegment>> {
        let shards = |p: &PatchSegment| p.rows.shards.iter().all(|s| s.last().is_some_and(|s| s.open));
        self.patches(field).last().filter(|p| shards(p))
    }

    /// A segment by id: where it stands, and its first live row.
    pub(crate) fn segment(&self, id: u32) -> Option<(usize, u64, &Arc<Segment>)> {
        let places = self.places();
        let index = *places.by_id.get(&id)?;
        Some((index, *places.starts.get(index)?, self.segments.get(index)?))
    }

    /// The segment that holds a live row: where it stands, and its first live row.
    pub(crate) fn segment_of(&self, row: u64) -> Option<(usize, u64, &Arc<Segment>)> {
        let places = self.places();
        // Of several that begin there, all but the last have no live rows.
        let index = places.starts.partition_point(|&start| start <= row).checked_sub(1)?;
        let (start, segment) = (*places.starts.get(index)?, self.segments.get(index)?);
        (row - start < segment.live()).then_some((index, start, segment))
    }

    fn places(&self) -> &Places {
        self.places.get_or_init(|| {
            let mut places = Places::default();
            let mut start = 0;
            for (index, segment) in self.segments.iter().enumerate() {
                places.by_id.insert(segment.id, index);
                places.starts.push(start);
                start += segment.live();
            }
            Arc::new(places)
        })
    }

    pub(super) fn add_segment(&mut self, action: &SegmentAction) -> Result<()> {
        if self.segments.iter().any(|s| s.id == action.segment) {
            return Err(Error::corrupt(format!("segment {:08x} is added twice", action.segment)));
        }
        let segment = self.new_segment(action.segment, action.rows, &action.shards)?;
        self.push(segment)
    }

    fn new_segment(&self, id: u32, rows: u64, shards: &[Shard]) -> Result<Segment> {
        Segment::empty(id, self.fields.len()).extended(rows, shards, &self.field_ids, &self.fields)
    }

    fn push_record(&mut self, record: &SegmentRecord) -> Result<()> {
        let mut segment = self.new_segment(record.segment, record.rows, &record.shards)?;
        segment.deleted.restore(&record.deleted, record.rows)?;
        self.push(segment)
    }

    fn push(&mut self, segment: Segment) -> Result<()> {
        self.segments.push(Arc::new(segment));
        self.count()
    }

    pub(super) fn extend_segment(&mut self, action: &SegmentAction) -> Result<()> {
        let last = self.open_segment().filter(|s| s.id == action.segment);
        let last = last
            .ok_or_else(|| Error::corrupt(format!("segment {:08x} grows and is not the open one", action.segment)))?;
        let segment = last.extended(action.rows, &action.shards, &self.field_ids, &self.fields)?;
        self.segments.pop();
        self.push(segment)
    }

    pub(super) fn replace_segments(&mut self, action: &SegmentReplace) -> Result<()> {
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

    pub(super) fn patch(&mut self, action: &PatchAction) -> Result<()> {
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
    fn patched(&mut self, field: usize) {
        if let Some(overlay) = self.overlays.get_mut(field) {
            let earlier = overlay.now.take().or(overlay.earlier.take());
            *overlay = Overlays { now: OnceLock::new(), earlier };
        }
        if let Some(plain) = self.plain.get_mut(field) {
            *plain = OnceLock::from(false);
        }
    }

    pub(super) fn delete(&mut self, action: &DeleteAction) -> Result<()> {
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

    pub(super) fn set(&mut self, action: &ArraySet) -> Result<()> {
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

    pub(super) fn add_field(&mut self, record: &FieldRecord) -> Result<()> {
        let spec = record.spec().map_err(|e| Error::corrupt("a field").because(e))?;
        if record.id < self.next_field || record.id == ADDRESS || self.fields.iter().any(|f| f.name() == spec.name()) {
            return Err(Error::corrupt(format!("the field {:?} cannot be added", spec.name())));
        }
        self.fields.push(spec);
        self.field_ids.push(record.id);
        self.codecs.push(record.codec);
        self.patches.push(Vec::new());
        self.overlays.push(Overlays::default());
        self.next_field = record.id + 1;
        for segment in &mut self.segments {
            Arc::make_mut(segment).push_field();
        }
        self.forget();
        Ok(())
    }

    pub(super) fn drop_field(&mut self, id: u32) -> Result<()> {
        let index = self.field_index(id)?;
        if self.fields.len() == 1 {
            return Err(Error::corrupt("the last field is dropped"));
        }
        self.fields.remove(index);
        self.field_ids.remove(index);
        self.codecs.remove(index);
        self.patches.remove(index);
        self.overlays.remove(index);
        for segment in &mut self.segments {
            Arc::make_mut(segment).remove_field(index);
        }
        self.forget();
        Ok(())
    }

    pub(super) fn rename_field(&mut self, id: u32, name: &str) -> Result<()> {
        let index = self.field_index(id)?;
        if self.fields.iter().any(|f| f.name() == name) {
            return Err(Error::corrupt(format!("a second field {name:?}")));
        }
        if let Some(field) = self.fields.get_mut(index) {
            *field = field.renamed(name).map_err(|e| Error::corrupt("a field").because(e))?;
        }
        Ok(())
    }

    pub(super) fn resize_cell(&mut self, id: u32, cell: &[usize]) -> Result<()> {
        let index = self.field_index(id)?;
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
    fn count(&mut self) -> Result<()> {
        let rows = self.segments.iter().try_fold(0_u64, |sum, s| sum.checked_add(s.live()));
        let rows = rows.filter(|&rows| i64::try_from(rows).is_ok());
        self.rows = rows.ok_or_else(|| Error::corrupt("an array has more rows than 63 bits can count"))?;
        self.forget();
        Ok(())
    }

    fn forget(&mut self) {
        self.runs = self.fields.iter().map(|_| OnceLock::new()).collect();
        self.plain = self.fields.iter().map(|_| OnceLock::new()).collect();
        self.places = OnceLock::new();
    }

    pub(super) fn touch(&mut self, entry: &Entry) {
        self.changed = entry.version;
        self.modified = entry.time;
    }

    pub(super) fn reshaped(&mut self, entry: &Entry) {
        self.touch(entry);
        self.shaped = entry.version;
    }
}

/// The live rows of a segment; `None` if none is deleted.
type Live = Option<Arc<crate::deletion::LiveIndex>>;

/// Addresses of rows.
impl ArrayState {
    /// The addresses of live rows.
    ///
    /// # Errors
    /// `Invalid` for a row that is not there; as [`delete_addresses`](Self::delete_addresses).
    pub(crate) fn addresses(&self, storage: &dyn Storage, rows: &[u64]) -> Result<Vec<u64>> {
        let mut addresses = Vec::with_capacity(rows.len());
        let mut current: Option<(u64, u64, &Arc<Segment>, Live)> = None;
        for &row in rows {
            let held = current.take().filter(|(start, end, ..)| (*start..*end).contains(&row));
            let (start, end, segment, live) = match held {
                Some(held) => held,
                None => {
                    let (_, start, segment) = self.segment_of(row).ok_or_else(|| self.no_row(row))?;
                    (start, start + segment.live(), segment, segment.deleted.live(storage, self.id, segment.rows)?)
                }
            };
            let offset = live.as_ref().map_or(row - start, |live| live.offset(row - start));
            addresses.push(u64::from(segment.id) << 32 | offset);
            current = Some((start, end, segment, live));
        }
        Ok(addresses)
    }

    fn no_row(&self, row: u64) -> Error {
        Error::invalid(format!("there is no row {row} in array {:?}, which has {}", self.name.to_string(), self.rows))
    }

    /// The position of the row at an address; `None` if it is deleted or its segment is not there.
    ///
    /// # Errors
    /// As [`delete_addresses`](Self::delete_addresses).
    pub(crate) fn rank_of(&self, storage: &dyn Storage, address: u64) -> Result<Option<u64>> {
        let Some((_, start, segment)) = self.segment((address >> 32) as u32) else { return Ok(None) };
        let offset = address & 0xffff_ffff;
        if offset >= segment.rows {
            return Ok(None);
        }
        Ok(match segment.deleted.live(storage, self.id, segment.rows)? {
            Some(live) => live.rank(offset).map(|rank| start + rank),
            None => Some(start + offset),
        })
    }
}

/// Refuses an array without fields or with two of the same name.
///
/// # Errors
/// `Invalid`, naming the field.
pub(crate) fn check_fields(fields: &[FieldSpec]) -> Result<()> {
    if fields.is_empty() {
        return Err(Error::invalid("an array needs at least one field"));
    }
    let mut seen = BTreeSet::new();
    match fields.iter().find(|f| !seen.insert(f.name())) {
        Some(twice) => Err(Error::invalid(format!("two fields are named {:?}", twice.name()))),
        None => Ok(()),
    }
}
