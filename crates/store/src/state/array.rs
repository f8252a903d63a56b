//! An array at one version.

mod addresses;
mod apply;
mod index;
mod memory;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use hyperslab_core::{DType, Error, FieldSpec, Result};

pub(crate) use memory::patch_fields;

use crate::action::{ADDRESS, ArrayCreate, ArrayRecord, FieldRecord, Id, IndexRecord, PatchAction, SegmentRecord};
use crate::codec::Codec;
use crate::patch::Overlay;
use crate::runs::Run;
use crate::segment::Segment;
use crate::shard::{Part, Shard};
use crate::{ArrayName, ArrayOptions};

/// So many segments tell how long texts are.
const SAMPLE: usize = 8;

/// An array at one version.
#[derive(Debug, Clone)]
pub(crate) struct ArrayState {
    pub id: Id,
    pub name: ArrayName,
    pub options: ArrayOptions,
    /// The array's own, and then the columns of its indexes.
    fields: Vec<FieldSpec>,
    field_ids: Vec<u32>,
    codecs: Vec<Codec>,
    indexes: Vec<IndexRecord>,
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
            indexes: Vec::new(),
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
        let fields = self.field_ids.iter().zip(self.own_fields()).zip(&self.codecs);
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
            indexes: self.indexes.clone(),
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
        for index in &record.indexes {
            array.push_index(index)?;
        }
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

    /// All that it stores: its own fields, and then the columns of its indexes.
    pub(crate) fn fields(&self) -> &[FieldSpec] {
        &self.fields
    }

    /// Its fields as users see them.
    pub(crate) fn own_fields(&self) -> &[FieldSpec] {
        let columns: usize = self.indexes.iter().map(|index| index.columns.len()).sum();
        self.fields.get(..self.fields.len().saturating_sub(columns)).unwrap_or_default()
    }

    pub(crate) fn indexes(&self) -> &[IndexRecord] {
        &self.indexes
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
