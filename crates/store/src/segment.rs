//! A segment: a run of rows of one array, each field in its own shards.

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use hyperslab_core::{Error, FieldSpec, Result};

use crate::deletion::Deletions;
use crate::layout;
use crate::shard::{Part, Shard, row_multiple};

/// A segment. Rows inside are addressed by (segment id, offset).
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub id: u32,
    /// Rows, deleted ones among them.
    pub rows: u64,
    /// Per field of the array, in its order: the shards of its parts, part after part, each in the order of their rows;
    /// none reads as the fill value.
    pub shards: Vec<Vec<Shard>>,
    pub deleted: Deletions,
    /// A transaction's own rows, before they are in files: per field the values, or `None` for the fill value.
    pub memory: Option<Vec<Option<ArrayRef>>>,
}

/// Bytes of text or binary, between the first row's start and the last one's end.
fn text_of(rows: &dyn Array) -> u64 {
    let offsets = match rows.data_type() {
        DataType::LargeUtf8 => rows.as_string::<i64>().offsets(),
        DataType::LargeBinary => rows.as_binary::<i64>().offsets(),
        _ => return 0,
    };
    let ends = offsets.last().zip(offsets.first());
    ends.and_then(|(last, first)| u64::try_from(last - first).ok()).unwrap_or(0)
}

impl Segment {
    pub(crate) fn empty(id: u32, fields: usize) -> Self {
        Self { id, rows: 0, shards: vec![Vec::new(); fields], deleted: Deletions::default(), memory: None }
    }

    /// Rows that are not deleted.
    pub(crate) fn live(&self) -> u64 {
        self.rows - self.deleted.rows().min(self.rows)
    }

    /// The shards of a part of a field.
    pub(crate) fn part(&self, field: usize, part: Part) -> &[Shard] {
        let shards = self.shards.get(field).map(Vec::as_slice).unwrap_or_default();
        let start = shards.partition_point(|s| s.part < part);
        let end = shards.partition_point(|s| s.part <= part);
        shards.get(start..end).unwrap_or_default()
    }

    /// Whether rows can be added to it in place: every field that takes bytes has a last shard that is open.
    pub(crate) fn is_open(&self, fields: &[FieldSpec]) -> bool {
        let grows = |(index, field): (usize, &FieldSpec)| {
            let values = if field.dtype().is_variable() { Part::Offsets } else { Part::Values };
            let open = |part| self.part(index, part).last().map(|s| s.open);
            open(values).unwrap_or(field.row_bytes() == 0)
                && open(Part::Bytes) != Some(false)
                && open(Part::Validity) != Some(false)
        };
        self.memory.is_none() && fields.iter().enumerate().all(grows)
    }

    /// Bytes of a field of text or binary, those of deleted rows among them; those that stand for rows in no file are
    /// none.
    pub(crate) fn text(&self, field: usize) -> u64 {
        match self.memory.as_ref().and_then(|memory| memory.get(field)?.as_ref()) {
            Some(rows) => text_of(rows.as_ref()),
            None => self.part(field, Part::Bytes).iter().map(|s| s.bytes).sum(),
        }
    }

    /// The segment with `rows` rows, whose `shards` are new ones or replace grown ones.
    ///
    /// # Errors
    /// `Corrupt` when the shards do not cover exactly the rows, or a committed row would change.
    pub(crate) fn extended(&self, rows: u64, shards: &[Shard], ids: &[u32], fields: &[FieldSpec]) -> Result<Self> {
        let bad = |why: String| Error::corrupt(format!("segment {:08x}: {why}", self.id));
        let mut next = self.clone();
        if rows < self.rows {
            return Err(bad(format!("its rows go from {} to {rows}", self.rows)));
        }
        if rows > u64::from(u32::MAX) {
            return Err(bad(format!("{rows} rows are more than a segment can have")));
        }
        next.rows = rows;
        next.deleted.grow();
        for shard in shards {
            let index = ids.iter().position(|&id| id == shard.field);
            let (index, field) = index
                .and_then(|i| fields.get(i).map(|f| (i, f)))
                .ok_or_else(|| bad(format!("a shard of the unknown field {}", shard.field)))?;
            check_shard(shard, field).map_err(|why| bad(format!("shard {:?}: {why}", shard.file)))?;
            let Some(list) = next.shards.get_mut(index) else { continue };
            add_shard(list, shard).map_err(bad)?;
        }
        for (field, shards) in fields.iter().zip(&next.shards) {
            let last_of_part = shards.iter().zip(shards.iter().skip(1).map(Some).chain([None]));
            let short = last_of_part.filter(|(s, next)| next.is_none_or(|n| n.part != s.part));
            for (last, _) in short {
                if last.end() != next.rows {
                    return Err(bad(format!("field {:?} has {} rows of {}", field.name(), last.end(), next.rows)));
                }
            }
            let places = |part| shards.iter().filter(move |s| s.part == part).map(|s| (s.start, s.rows));
            if !places(Part::Offsets).eq(places(Part::Bytes)) {
                return Err(bad(format!("field {:?} has offsets of other rows than bytes", field.name())));
            }
        }
        Ok(next)
    }

    /// The array has one more field, of which there are no shards here.
    pub(crate) fn insert_field(&mut self, field: usize) {
        self.shards.insert(field.min(self.shards.len()), Vec::new());
        if let Some(memory) = &mut self.memory {
            memory.insert(field.min(memory.len()), None);
        }
    }

    /// The array has lost a field.
    pub(crate) fn remove_field(&mut self, field: usize) {
        if field < self.shards.len() {
            self.shards.remove(field);
        }
        if let Some(memory) = self.memory.as_mut().filter(|m| field < m.len()) {
            memory.remove(field);
        }
    }

    /// The cells of a field have another shape: of what was written, only what both shapes have still counts.
    pub(crate) fn clip(&mut self, field: usize, cell: &[usize]) {
        for shard in self.shards.get_mut(field).into_iter().flatten().filter(|s| s.part == Part::Values) {
            let before = shard.clip.as_ref().unwrap_or(&shard.cell);
            let clip: Vec<usize> = before.iter().zip(cell).map(|(&a, &b)| a.min(b)).collect();
            shard.open = false;
            shard.clip = (clip != shard.cell || cell != shard.cell).then_some(clip);
        }
    }
}

/// Adds a shard to those of a field, in place of the one that it continues.
fn add_shard(list: &mut Vec<Shard>, shard: &Shard) -> Result<(), String> {
    let at = list.partition_point(|s| s.part <= shard.part);
    let last = at.checked_sub(1).and_then(|i| list.get_mut(i)).filter(|s| s.part == shard.part);
    match last {
        Some(last) if last.start == shard.start => {
            let same = last.file == shard.file && last.offset == shard.offset;
            if !(same && last.open && shard.rows >= last.rows) {
                return Err(format!("shard {:?} does not continue {:?}", shard.file, last.file));
            }
            *last = shard.clone();
            return Ok(());
        }
        Some(last) if last.end() != shard.start => {
            return Err(format!("shard {:?} does not follow {:?}", shard.file, last.file));
        }
        None if shard.start != 0 => return Err(format!("shard {:?} is not the first", shard.file)),
        // What another shard follows has its final length.
        Some(last) => last.open = false,
        None => {}
    }
    list.insert(at, shard.clone());
    Ok(())
}

/// Holds a shard's record against its field.
fn check_shard(shard: &Shard, field: &FieldSpec) -> Result<(), String> {
    if !layout::is_file_name(&shard.file) {
        return Err("this is no file name".into());
    }
    let values = shard.part == Part::Values;
    let may_be = match shard.part {
        Part::Values => !field.dtype().is_variable(),
        Part::Offsets | Part::Bytes => field.dtype().is_variable(),
        Part::Validity => field.nullable(),
    };
    if !may_be {
        return Err(format!("a field of {} has no such part", field.dtype()));
    }
    let clipped = |clip: &Vec<usize>| {
        clip.len() == shard.cell.len()
            && clip.iter().zip(&shard.cell).zip(field.cell()).all(|((clip, cell), now)| clip <= cell && clip <= now)
    };
    let fits = match &shard.clip {
        _ if !values => shard.cell.is_empty() && shard.clip.is_none(),
        None => shard.cell == field.cell(),
        Some(clip) => shard.cell.len() == field.cell().len() && clipped(clip) && !shard.open,
    };
    if !fits {
        return Err(format!("its cell shape is {:?}, the field's {:?}", shard.cell, field.cell()));
    }
    let elements = shard.cell.iter().try_fold(1_u64, |n, &axis| n.checked_mul(axis as u64));
    let row_bytes = elements.and_then(|n| n.checked_mul(field.dtype().size() as u64));
    let bytes = match shard.part {
        Part::Values => row_bytes.and_then(|n| n.checked_mul(shard.rows)).filter(|&bytes| bytes > 0),
        Part::Offsets => shard.rows.checked_add(1).and_then(|n| n.checked_mul(8)),
        Part::Bytes => Some(shard.bytes),
        Part::Validity => Some(shard.rows),
    };
    if shard.rows == 0 || bytes != Some(shard.bytes) {
        return Err(format!("{} bytes are not {} rows of {row_bytes:?}", shard.bytes, shard.rows));
    }
    shard.check_kind()?;
    let end = shard.offset.checked_add(shard.bytes).filter(|&end| i64::try_from(end).is_ok());
    if end.is_none() || !shard.offset.is_multiple_of(64) || i64::try_from(shard.end()).is_err() {
        return Err(format!("it cannot start at byte {} and row {}", shard.offset, shard.start));
    }
    Ok(())
}

/// The rows of a full segment of an array: about four shards of every field, on whole pages of each.
pub(crate) fn capacity(fields: &[FieldSpec], shard_bytes: u64) -> u64 {
    let row_bytes: u64 = fields.iter().map(|f| f.row_bytes() as u64).sum();
    let bytes = shard_bytes.saturating_mul(layout::SEGMENT_SHARDS);
    let rows = (bytes / row_bytes.max(1)).clamp(1, layout::SEGMENT_ROWS);
    let least = fields.iter().map(|f| row_multiple(f.row_bytes() as u64)).max().unwrap_or(1);
    let multiple = if rows >= layout::SEGMENT_ROWS_MULTIPLE { layout::SEGMENT_ROWS_MULTIPLE } else { least };
    (rows / multiple).max(1) * multiple
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyperslab_core::DType;

    #[test]
    fn capacity_keeps_to_the_limits() -> Result<()> {
        let vectors = FieldSpec::new("v", DType::Float32, vec![128])?;
        let ids = FieldSpec::new("id", DType::Int64, vec![])?;
        let images = FieldSpec::new("image", DType::UInt8, vec![200, 1000, 3])?;
        assert_eq!(capacity(std::slice::from_ref(&vectors), 256 << 20), 2_097_152);
        assert_eq!(capacity(std::slice::from_ref(&ids), 256 << 20), 1 << 24);
        assert_eq!(capacity(&[ids.clone(), vectors], 256 << 20) % 65_536, 0);
        // 600,000 bytes a row: 128 rows fill whole pages of it, 512 of the ids.
        assert_eq!(capacity(&[ids, images], 256 << 20), 1536);
        Ok(())
    }
}
