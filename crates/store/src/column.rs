//! Physical rows: what one field holds in one segment, before patches and deletions.

use std::ops::Range;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::{Buffer, MutableBuffer, NullBuffer, ScalarBuffer};
use hyperslab_core::arrow::{self, Parts};
use hyperslab_core::{Block, DType, Error, FieldSpec, Result};

use crate::action::Id;
use crate::segment::Segment;
use crate::shard::{Kind, Part, Shard};
use crate::store::Inner;
use crate::{FileRange, elements, packed};

/// Rows that stand in no file are made in pieces of about this many bytes.
const FILL_BYTES: u64 = 512 << 10;

/// One field of one segment (or of one patch segment).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column<'a> {
    pub store: &'a Inner,
    /// The array, whose folder holds the files.
    pub array: Id,
    pub segment: &'a Segment,
    /// Which column of the segment.
    pub index: usize,
    pub field: &'a FieldSpec,
}

impl Column<'_> {
    /// The rows around `offset` that one [`read`](Self::read) gives without joining.
    pub(crate) fn extent(&self, offset: u64) -> Range<u64> {
        if self.memory().is_some() {
            return 0..self.segment.rows;
        }
        match self.shard(self.first_part(), offset) {
            Some(shard) => match self.shard(Part::Validity, offset) {
                Some(validity) => shard.start.max(validity.start)..shard.end().min(validity.end()),
                None => shard.start..shard.end(),
            },
            // Shards of a time when the cells had elements may end before.
            None if self.field.row_bytes() == 0 => {
                let before = self.segment.part(self.index, self.first_part()).last();
                before.map_or(0, Shard::end)..self.segment.rows
            }
            None => {
                let rows = (FILL_BYTES / self.field.row_bytes() as u64).max(1);
                let start = offset / rows * rows;
                start..self.segment.rows.min(start + rows)
            }
        }
    }

    /// Whether reading copies nothing, so that an extent may be read whole to use some of its rows.
    pub(crate) fn is_view(&self, offset: u64) -> bool {
        let plain = |s: &Shard| s.kind == Kind::Raw && s.clip.is_none();
        self.memory().is_some()
            || (!matches!(self.field.dtype(), DType::Bool | DType::Bfloat16)
                && self.shard(Part::Values, offset).is_some_and(plain)
                && self.shard(Part::Validity, offset).is_none())
    }

    /// Rows of one extent.
    ///
    /// # Errors
    /// `Corrupt` for a file that is missing, too short or damaged.
    pub(crate) fn read(&self, rows: Range<u64>) -> Result<Block> {
        let len = count(rows.end - rows.start)?;
        if let Some(values) = self.memory() {
            let array = values.slice(count(rows.start)?, len);
            return Ok(Block { array, copied: 0 });
        }
        // Of cells that became empty nothing is left in the shards.
        let shard = self.shard(self.first_part(), rows.start).filter(|_| self.field.row_bytes() > 0);
        let Some(shard) = shard else {
            return match self.field.row_bytes() {
                0 => arrow::array_from_buffer(self.field, MutableBuffer::new(0).into(), len),
                _ => arrow::filled(self.field, len),
            };
        };
        let (values, offsets, copied) = match shard.part {
            Part::Offsets => {
                let (values, offsets) = self.text(shard, &rows)?;
                (values, Some(offsets), (len as u64 + 1) * 8)
            }
            _ => {
                let (values, copied) = self.shard_rows(shard, &rows)?;
                (values, None, copied)
            }
        };
        let nulls = self.nulls(&rows)?;
        let mut block = arrow::array_from_parts(self.field, Parts { values, offsets, nulls }, len)?;
        block.copied = block.copied.max(copied);
        Ok(block)
    }

    /// The bytes of rows of text or binary, and where each row starts in them.
    fn text(&self, offsets: &Shard, rows: &Range<u64>) -> Result<(Buffer, ScalarBuffer<i64>)> {
        let bad = |why: &str| Error::corrupt(format!("{}: {why}", offsets.path(self.array)));
        let (start, end) = (rows.start - offsets.start, rows.end - offsets.start);
        let (places, _) = self.shard_bytes(offsets, start * 8..(end + 1) * 8)?;
        let places: &[i64] = elements::from_bytes(&places).ok_or_else(|| bad("its values are not aligned"))?;
        let texts = self.shard(Part::Bytes, rows.start).ok_or_else(|| bad("there are no bytes to its offsets"))?;
        let (first, last) = (places.first().copied().unwrap_or(0), places.last().copied().unwrap_or(0));
        let range = u64::try_from(first).ok().zip(u64::try_from(last).ok());
        let range = range.filter(|&(first, last)| first <= last && last <= texts.bytes);
        let (from, to) = range.ok_or_else(|| bad("its offsets do not fit the bytes"))?;
        let values = match from == to {
            true => MutableBuffer::new(0).into(),
            false => self.shard_bytes(texts, from..to)?.0,
        };
        Ok((values, places.iter().map(|place| place.saturating_sub(first)).collect()))
    }

    /// Which rows are not NULL, where some are.
    fn nulls(&self, rows: &Range<u64>) -> Result<Option<NullBuffer>> {
        let Some(shard) = self.shard(Part::Validity, rows.start) else { return Ok(None) };
        let (bytes, _) = self.shard_bytes(shard, rows.start - shard.start..rows.end - shard.start)?;
        Ok(Some(packed::nulls_of(&bytes)).filter(|nulls| nulls.null_count() > 0))
    }

    fn memory(&self) -> Option<&arrow_array::ArrayRef> {
        self.segment.memory.as_ref()?.get(self.index)?.as_ref()
    }

    /// The part that is there if any is.
    fn first_part(&self) -> Part {
        if self.field.dtype().is_variable() { Part::Offsets } else { Part::Values }
    }

    /// The shard of a part that holds a row; none where it reads as the fill value, or is not NULL.
    fn shard(&self, part: Part, offset: u64) -> Option<&Shard> {
        let shards = self.segment.part(self.index, part);
        let next = shards.partition_point(|s| s.start <= offset);
        next.checked_sub(1).and_then(|i| shards.get(i)).filter(|s| offset < s.end())
    }

    /// The bytes of rows of a shard, and how many of them were copied.
    fn shard_rows(&self, shard: &Shard, rows: &Range<u64>) -> Result<(Buffer, u64)> {
        let written = shard.cell.iter().product::<usize>() * self.field.dtype().size();
        let (start, end) = (rows.start - shard.start, rows.end - shard.start);
        let (bytes, copied) = self.shard_bytes(shard, start * written as u64..end * written as u64)?;
        match &shard.clip {
            None => Ok((bytes, copied)),
            Some(clip) => {
                let clipped = reshaped(&bytes, (end - start) as usize, &shard.cell, clip, self.field);
                let copied = clipped.len() as u64;
                Ok((clipped, copied))
            }
        }
    }

    /// Some bytes of a shard's values, and how many of them were copied.
    fn shard_bytes(&self, shard: &Shard, bytes: Range<u64>) -> Result<(Buffer, u64)> {
        let path = shard.path(self.array);
        self.store.verify(shard, &path)?;
        match shard.kind {
            Kind::Raw => {
                let range = FileRange { path, offset: shard.offset, len: shard.bytes };
                let map = self.store.maps.get(self.store.storage.as_ref(), std::slice::from_ref(&range))?;
                let map = map.ok_or_else(|| Error::corrupt(format!("{} cannot be mapped", range.path)))?;
                Ok((map.slice_with_length(count(bytes.start)?, count(bytes.end - bytes.start)?), 0))
            }
            Kind::Zstd => {
                let (storage, frames) = (self.store.storage.as_ref(), &self.store.frames);
                let file = frames.open(storage, &path, shard.file_bytes(), shard.offset.saturating_add(shard.bytes))?;
                let (values, _) = frames.bytes(&file, shard.offset + bytes.start..shard.offset + bytes.end)?;
                let copied = values.len() as u64;
                Ok((values, copied))
            }
        }
    }
}

/// Values of cells of one shape as values of cells of another: what both have stays, the rest is the fill value.
pub(crate) fn reshape(values: &ArrayRef, before: &FieldSpec, now: &FieldSpec) -> Result<ArrayRef> {
    let parts = arrow::parts(before, values.as_ref(), 0)?;
    let clip: Vec<usize> = before.cell().iter().zip(now.cell()).map(|(&a, &b)| a.min(b)).collect();
    let bytes = reshaped(&parts.values, values.len(), before.cell(), &clip, now);
    Ok(arrow::array_from_parts(now, Parts { values: bytes, ..parts }, values.len())?.array)
}

/// Rows of cells of one shape as rows of cells of another.
fn reshaped(bytes: &Buffer, rows: usize, from: &[usize], clip: &[usize], field: &FieldSpec) -> Buffer {
    let item = field.dtype().size();
    let to = field.cell();
    let (from_bytes, to_bytes) = (from.iter().product::<usize>() * item, field.row_bytes());
    let mut out = match field.fill().filter(|fill| !fill.is_zero()) {
        Some(fill) => MutableBuffer::from(fill.as_bytes().repeat(rows * field.elements())),
        None => MutableBuffer::from_len_zeroed(rows * to_bytes),
    };
    for row in 0..rows {
        let source = bytes.get(row * from_bytes..(row + 1) * from_bytes);
        let target = out.as_slice_mut().get_mut(row * to_bytes..(row + 1) * to_bytes);
        if let (Some(source), Some(target)) = (source, target) {
            copy_clipped(source, target, from, to, clip, item);
        }
    }
    out.into()
}

/// Copies the first `clip` of each axis.
fn copy_clipped(source: &[u8], target: &mut [u8], from: &[usize], to: &[usize], clip: &[usize], item: usize) {
    let ([from_axis, from_rest @ ..], [_, to_rest @ ..], [keep, clip_rest @ ..]) = (from, to, clip) else {
        target.copy_from_slice(source);
        return;
    };
    let from_step = from_rest.iter().product::<usize>() * item;
    let to_step = to_rest.iter().product::<usize>() * item;
    debug_assert!(keep <= from_axis);
    for i in 0..*keep {
        let part = source.get(i * from_step..(i + 1) * from_step);
        let place = target.get_mut(i * to_step..(i + 1) * to_step);
        if let (Some(part), Some(place)) = (part, place) {
            copy_clipped(part, place, from_rest, to_rest, clip_rest, item);
        }
    }
}

/// The addresses of patches.
pub(crate) fn addresses(block: &Block) -> Vec<u64> {
    let data = block.array.to_data();
    let bytes = data.buffers().first().map(|b| b.as_slice()).unwrap_or_default();
    let all: &[u64] = elements::from_bytes(bytes).unwrap_or_default();
    all.get(data.offset()..data.offset() + data.len()).unwrap_or_default().to_vec()
}

fn count(rows: u64) -> Result<usize> {
    usize::try_from(rows).map_err(|e| Error::invalid(format!("{rows} rows do not fit in memory")).because(e))
}
