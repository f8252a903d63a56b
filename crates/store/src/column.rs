//! Physical rows: what one field holds in one segment, before patches and deletions.

use std::ops::Range;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::{Buffer, MutableBuffer};
use hyperslab_core::{Block, Error, FieldSpec, Result, arrow};

use crate::action::Id;
use crate::segment::Segment;
use crate::shard::{Kind, Part, Shard};
use crate::store::Inner;
use crate::{FileRange, elements};

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
        if self.memory().is_some() || self.field.row_bytes() == 0 {
            return 0..self.segment.rows;
        }
        match self.shard(offset) {
            Some(shard) => shard.start..shard.end(),
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
            || (self.shard(offset).is_some_and(plain) && self.field.dtype() != hyperslab_core::DType::Bool)
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
        let row_bytes = self.field.row_bytes();
        let (bytes, copied) = match self.shard(rows.start) {
            Some(shard) if row_bytes > 0 => self.shard_rows(shard, &rows)?,
            _ => {
                let bytes = Buffer::from(MutableBuffer::from_len_zeroed(len * row_bytes));
                let copied = bytes.len() as u64;
                (bytes, copied)
            }
        };
        let mut block = arrow::array_from_buffer(self.field, bytes, len)?;
        block.copied = block.copied.max(copied);
        Ok(block)
    }

    fn memory(&self) -> Option<&arrow_array::ArrayRef> {
        self.segment.memory.as_ref()?.get(self.index)?.as_ref()
    }

    /// The shard that holds a row; none where it reads as the fill value.
    fn shard(&self, offset: u64) -> Option<&Shard> {
        let shards = self.segment.part(self.index, Part::Values);
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
        match shard.kind {
            Kind::Raw => {
                self.store.verify(shard, &path)?;
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
    let bytes = arrow::raw_bytes(before, values.as_ref(), 0)?;
    let clip: Vec<usize> = before.cell().iter().zip(now.cell()).map(|(&a, &b)| a.min(b)).collect();
    let bytes = reshaped(&bytes, values.len(), before.cell(), &clip, now);
    Ok(arrow::array_from_buffer(now, bytes, values.len())?.array)
}

/// Rows of cells of one shape as rows of cells of another.
fn reshaped(bytes: &Buffer, rows: usize, from: &[usize], clip: &[usize], field: &FieldSpec) -> Buffer {
    let item = field.dtype().size();
    let to = field.cell();
    let (from_bytes, to_bytes) = (from.iter().product::<usize>() * item, field.row_bytes());
    let mut out = MutableBuffer::from_len_zeroed(rows * to_bytes);
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
