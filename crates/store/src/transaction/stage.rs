//! What waits to become part of a transaction's working state, and where it goes when it is too much for memory.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::ArrayRef;
use arrow_buffer::MutableBuffer;
use hyperslab_core::{FieldSpec, Result, arrow};

use super::Transaction;
use crate::action::{Action, Id, PatchAction};
use crate::state::{ArrayState, address_field};
use crate::writer::{Files, SegmentWriter, Target};
use crate::{elements, packed};

/// An array's rows and patches stay in memory up to this size, to be written in place under the lock.
pub(super) const WAITING: usize = 8 << 20;
/// Those of all arrays together.
const WAITING_ALL: usize = 64 << 20;
/// Rows of at least this size are not copied once the array's rows go to files.
const DIRECT: usize = 256 << 10;
/// What is replaced at once.
const CHUNK: usize = 4 << 20;

/// The changes of one array that are not in the working state yet. They come after those that are.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Per field, the raw bytes of the last rows that were appended.
    pub columns: Vec<MutableBuffer>,
    pub column_rows: u64,
    /// The rows before, in files.
    writer: Option<SegmentWriter>,
    written: u64,
    /// New values, by field id.
    pub patches: BTreeMap<u32, WaitingPatches>,
}

/// Values that replace others.
#[derive(Debug, Default)]
pub(super) struct WaitingPatches {
    pub addresses: MutableBuffer,
    pub values: MutableBuffer,
    pub rows: u64,
    /// Those before, in files.
    writer: Option<SegmentWriter>,
    /// The segments that those in files address.
    covers: BTreeSet<u32>,
}

impl Waiting {
    /// Rows appended.
    pub(super) fn rows(&self) -> u64 {
        self.column_rows + self.written
    }

    /// Whether part of it is in files already.
    pub(super) fn has_writer(&self) -> bool {
        self.writer.is_some() || self.patches.values().any(|p| p.writer.is_some())
    }

    fn bytes(&self) -> usize {
        let patches = self.patches.values().map(|p| p.addresses.len() + p.values.len());
        self.columns.iter().map(MutableBuffer::len).chain(patches).sum()
    }

    pub(super) fn slices(&self) -> Vec<&[u8]> {
        self.columns.iter().map(MutableBuffer::as_slice).collect()
    }

    fn write(&mut self, files: &mut Files, target: &Target, columns: &[&[u8]], rows: u64) -> Result<()> {
        let writer = self.writer.get_or_insert_with(|| SegmentWriter::new(target.clone(), None));
        writer.write(files, columns, rows)?;
        self.written += rows;
        Ok(())
    }

    /// Writes the rows that wait to files of their own.
    fn write_columns(&mut self, files: &mut Files, target: &Target) -> Result<()> {
        let (columns, rows) = (std::mem::take(&mut self.columns), std::mem::take(&mut self.column_rows));
        if rows > 0 {
            let columns: Vec<&[u8]> = columns.iter().map(MutableBuffer::as_slice).collect();
            self.write(files, target, &columns, rows)?;
        }
        Ok(())
    }
}

impl WaitingPatches {
    /// Whether some are in files already.
    pub(super) fn has_writer(&self) -> bool {
        self.writer.is_some()
    }

    fn write(&mut self, files: &mut Files, target: &Target) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let writer = self.writer.get_or_insert_with(|| SegmentWriter::new(target.clone(), None));
        writer.write(files, &[self.addresses.as_slice(), self.values.as_slice()], self.rows)?;
        self.covers.extend(segments(addresses(&self.addresses)));
        (self.addresses, self.values, self.rows) = (MutableBuffer::default(), MutableBuffer::default(), 0);
        Ok(())
    }
}

/// Raw bytes as addresses.
pub(super) fn addresses(bytes: &[u8]) -> &[u64] {
    elements::from_bytes(bytes).unwrap_or_default()
}

/// The segments of addresses.
pub(super) fn segments(addresses: &[u64]) -> BTreeSet<u32> {
    let mut last = None;
    addresses.iter().map(|a| (a >> 32) as u32).filter(|&s| last.replace(s) != Some(s)).collect()
}

/// What writes patches of a field of an array.
pub(super) fn patch_target(array: &ArrayState, field: usize) -> Result<Target> {
    let (id, spec) = array.field_at(field)?;
    let (ids, fields) = crate::state::patch_fields(id, spec)?;
    Ok(Target {
        array: array.id,
        fields: fields.to_vec(),
        field_ids: ids.to_vec(),
        codecs: Vec::new(),
        shard_bytes: array.options.shard_bytes,
    })
}

/// What a writer of patches did.
pub(super) fn patch_actions(written: Vec<Action>, field: u32, covers: &BTreeSet<u32>) -> Vec<PatchAction> {
    let patch = |action| match action {
        Action::SegmentAdd(a) | Action::SegmentExtend(a) => Some(PatchAction {
            array: a.array,
            field,
            segment: a.segment,
            rows: a.rows,
            shards: a.shards,
            covers: covers.iter().copied().collect(),
        }),
        _ => None,
    };
    written.into_iter().filter_map(patch).collect()
}

fn array_of(field: &FieldSpec, bytes: MutableBuffer, rows: u64) -> Result<ArrayRef> {
    Ok(packed::to_array(field, bytes.into(), rows)?.array)
}

impl Transaction {
    /// Adds rows, whose raw bytes are `columns`, one per field.
    pub(super) fn push_rows(&mut self, id: Id, columns: &[&[u8]], rows: u64) -> Result<()> {
        let computed = self.index_columns(id, columns, rows)?;
        let columns: Vec<&[u8]> = columns.iter().copied().chain(computed.iter().map(Vec::as_slice)).collect();
        let bytes: usize = columns.iter().map(|column| column.len()).sum();
        let result = self.try_push_rows(id, &columns, rows, bytes);
        self.failed |= result.is_err();
        result
    }

    fn try_push_rows(&mut self, id: Id, columns: &[&[u8]], rows: u64, bytes: usize) -> Result<()> {
        self.make_room(id, bytes)?;
        let waiting = self.waiting.entry(id).or_default();
        if bytes > WAITING || (waiting.writer.is_some() && bytes >= DIRECT) {
            let array = self.work.state.array(id).ok_or_else(super::savepoint::gone)?;
            let target = Target::of(array);
            waiting.write_columns(&mut self.files, &target)?;
            return waiting.write(&mut self.files, &target, columns, rows);
        }
        waiting.columns.resize_with(columns.len(), MutableBuffer::default);
        for (waiting, column) in waiting.columns.iter_mut().zip(columns) {
            waiting.extend_from_slice(column);
        }
        waiting.column_rows += rows;
        Ok(())
    }

    /// Adds new values for rows by address: of some fields, by index, the raw bytes.
    pub(super) fn push_patches(&mut self, id: Id, rows: &[u64], columns: &[(usize, &[u8])]) -> Result<()> {
        let mut computed = Vec::new();
        for &(field, values) in columns {
            computed.extend(self.index_patches(id, field, rows.len() as u64, values)?);
        }
        let computed = computed.iter().map(|(at, values)| (*at, values.as_slice()));
        let mut columns = columns.iter().copied().chain(computed);
        let result = columns.try_for_each(|(field, values)| self.push_patch(id, rows, field, values));
        self.failed |= result.is_err();
        result
    }

    fn push_patch(&mut self, id: Id, rows: &[u64], field: usize, values: &[u8]) -> Result<()> {
        let array = self.work.state.array(id).ok_or_else(super::savepoint::gone)?;
        let (field_id, spec) = array.field_at(field).map(|(id, spec)| (id, spec.clone()))?;
        if !packed::is_packed(&spec) && spec.row_bytes() == 0 {
            return Ok(()); // cells without elements have no values
        }
        // Packs are not cut: what is replaced at once has been in memory as a whole anyway.
        let chunk = if packed::is_packed(&spec) { rows.len() } else { CHUNK / (spec.row_bytes() + 8) }.max(1);
        for (n, rows) in rows.chunks(chunk).enumerate() {
            let values = match packed::is_packed(&spec) {
                true => values,
                false => {
                    let (start, row_bytes) = (n * chunk, spec.row_bytes());
                    values.get(start * row_bytes..(start + rows.len()) * row_bytes).unwrap_or_default()
                }
            };
            self.make_room(id, values.len() + size_of_val(rows))?;
            let patches = self.waiting.entry(id).or_default().patches.entry(field_id).or_default();
            patches.addresses.extend_from_slice(elements::as_bytes(rows));
            patches.values.extend_from_slice(values);
            patches.rows += rows.len() as u64;
        }
        Ok(())
    }

    /// Keeps what is in memory below its limits, with further bytes of an array.
    fn make_room(&mut self, id: Id, bytes: usize) -> Result<()> {
        let here = self.waiting.get(&id).map_or(0, Waiting::bytes) + self.work.touched.get(&id).map_or(0, |t| t.memory);
        if here + bytes > WAITING && here > 0 {
            self.spill(id)?;
        } else {
            let waiting: usize = self.waiting.values().map(Waiting::bytes).sum();
            let memory: usize = self.work.touched.values().map(|t| t.memory).sum();
            if waiting + memory + bytes > WAITING_ALL {
                let all: Vec<Id> = self.work.touched.keys().copied().collect();
                all.into_iter().try_for_each(|id| self.spill(id))?;
            }
        }
        Ok(())
    }

    /// Writes an array's changes that are in memory to files.
    fn spill(&mut self, id: Id) -> Result<()> {
        let Some(array) = self.work.state.array(id).cloned() else { return Ok(()) };
        if self.work.touched.get(&id).is_some_and(|t| t.memory > 0) {
            self.freeze(id)?;
            return self.spill_frozen(id);
        }
        let Some(waiting) = self.waiting.get_mut(&id) else { return Ok(()) };
        if waiting.column_rows > 0 {
            waiting.write_columns(&mut self.files, &Target::of(&array))?;
        }
        for (&field, patches) in &mut waiting.patches {
            patches.write(&mut self.files, &patch_target(&array, array.field_index(field)?)?)?;
        }
        Ok(())
    }

    /// Writes everything of an array to files.
    pub(super) fn write_out(&mut self, id: Id) -> Result<()> {
        self.freeze(id)?;
        if self.work.touched.get(&id).is_none_or(|t| t.memory == 0) {
            return Ok(());
        }
        let result = self.spill_frozen(id);
        self.failed |= result.is_err();
        result
    }

    /// The rows first: patches in files never address rows in memory.
    fn spill_frozen(&mut self, id: Id) -> Result<()> {
        let Some(array) = self.work.state.array(id).cloned() else { return Ok(()) };
        let target = Target::of(&array);
        for segment in array.segments() {
            let Some(memory) = &segment.memory else { continue };
            let column = |(field, values): (&FieldSpec, &Option<ArrayRef>)| match values {
                Some(values) => packed::of_array(field, values.as_ref(), 0),
                None => packed::of_array(field, &arrow::filled(field, segment.rows as usize)?.array, 0),
            };
            let columns: Vec<_> = array.fields().iter().zip(memory).map(column).collect::<Result<_>>()?;
            let columns: Vec<&[u8]> = columns.iter().map(|c: &arrow_buffer::Buffer| c.as_slice()).collect();
            let mut writer = SegmentWriter::whole(target.clone(), segment.id);
            writer.write(&mut self.files, &columns, segment.rows)?;
            for action in writer.finish(&mut self.files, false)? {
                if let Action::SegmentAdd(action) = action {
                    self.array_mut(id)?.spilled_segment(&action)?;
                }
            }
        }
        for (index, (field, &field_id)) in array.fields().iter().zip(array.field_ids()).enumerate() {
            let mut writer = SegmentWriter::new(patch_target(&array, index)?, None);
            let mut covers = BTreeSet::new();
            for (rows, values) in array.memory_patches(index) {
                let rows_bytes = arrow::raw_bytes(&address_field()?, rows.as_ref(), 0)?;
                let bytes = packed::of_array(field, values.as_ref(), 0)?;
                covers.extend(segments(addresses(&rows_bytes)));
                writer.write(&mut self.files, &[&rows_bytes, &bytes], rows.len() as u64)?;
            }
            let actions = patch_actions(writer.finish(&mut self.files, false)?, field_id, &covers);
            if !actions.is_empty() {
                self.array_mut(id)?.spilled_patches(index, &actions)?;
            }
        }
        self.touch(id).memory = 0;
        Ok(())
    }

    /// Makes what waits part of the working state, of all arrays.
    pub(super) fn freeze_all(&mut self) -> Result<()> {
        let all: Vec<Id> = self.waiting.keys().copied().collect();
        all.into_iter().try_for_each(|id| self.freeze(id))
    }

    /// Makes what waits part of the working state.
    pub(super) fn freeze(&mut self, id: Id) -> Result<()> {
        let Some(waiting) = self.waiting.remove(&id) else { return Ok(()) };
        let result = self.try_freeze(id, waiting);
        self.failed |= result.is_err();
        result
    }

    fn try_freeze(&mut self, id: Id, mut waiting: Waiting) -> Result<()> {
        let Some(array) = self.work.state.array(id).cloned() else { return Ok(()) };
        let mut memory = 0;
        if waiting.writer.is_some() {
            waiting.write_columns(&mut self.files, &Target::of(&array))?;
        }
        if let Some(writer) = waiting.writer.take() {
            for action in writer.finish(&mut self.files, self.store.in_place)? {
                self.work.act(&action)?;
            }
        } else if waiting.column_rows > 0 {
            // Never 0: cells without elements are rows in memory too.
            memory += waiting.columns.iter().map(MutableBuffer::len).sum::<usize>() + 1;
            let columns = array.fields().iter().zip(std::mem::take(&mut waiting.columns));
            let columns = columns.map(|(field, bytes)| array_of(field, bytes, waiting.column_rows));
            let columns = columns.collect::<Result<_>>()?;
            self.array_mut(id)?.push_memory_segment(columns, waiting.column_rows)?;
        }
        for (field_id, mut patches) in waiting.patches {
            let index = array.field_index(field_id)?;
            if patches.writer.is_some() {
                patches.write(&mut self.files, &patch_target(&array, index)?)?;
            }
            if let Some(writer) = patches.writer.take() {
                for action in patch_actions(writer.finish(&mut self.files, false)?, field_id, &patches.covers) {
                    self.work.act(&Action::Patch(action))?;
                }
            } else if patches.rows > 0 {
                memory += patches.addresses.len() + patches.values.len();
                let rows = array_of(&address_field()?, patches.addresses, patches.rows)?;
                let values = array_of(array.field_at(index)?.1, patches.values, patches.rows)?;
                self.array_mut(id)?.push_memory_patch(index, rows, values);
            }
        }
        self.touch(id).memory += memory;
        Ok(())
    }
}
