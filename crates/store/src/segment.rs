//! A segment: a run of rows of one array, each field in its own shards.

use hyperslab_core::{Error, FieldSpec, Result};

use crate::action::SegmentAction;
use crate::layout;
use crate::shard::{Shard, row_multiple};

/// A segment. Rows inside are addressed by (segment id, offset).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub id: u32,
    pub rows: u64,
    /// Per field of the array, in its order: the shards, in the order of their rows; none reads as zeros.
    pub shards: Vec<Vec<Shard>>,
}

impl Segment {
    pub(crate) fn empty(id: u32, fields: usize) -> Self {
        Self { id, rows: 0, shards: vec![Vec::new(); fields] }
    }

    /// Whether rows can be added to it in place: every field that takes bytes has a last shard that is open.
    pub(crate) fn is_open(&self, fields: &[FieldSpec]) -> bool {
        fields
            .iter()
            .zip(&self.shards)
            .all(|(field, shards)| field.row_bytes() == 0 || shards.last().is_some_and(|s| s.open))
    }

    /// The segment after `action`, whose shards are new ones or replace grown ones.
    ///
    /// # Errors
    /// `Corrupt` when the shards do not cover exactly the rows, or a committed row would change.
    pub(crate) fn extended(&self, action: &SegmentAction, ids: &[u32], fields: &[FieldSpec]) -> Result<Self> {
        let bad = |why: String| Error::corrupt(format!("segment {:08x}: {why}", action.segment));
        let mut next = self.clone();
        if action.rows < self.rows {
            return Err(bad(format!("its rows go from {} to {}", self.rows, action.rows)));
        }
        next.rows = action.rows;
        for shard in &action.shards {
            let index = ids.iter().position(|&id| id == shard.field);
            let (index, field) = index
                .and_then(|i| fields.get(i).map(|f| (i, f)))
                .ok_or_else(|| bad(format!("a shard of the unknown field {}", shard.field)))?;
            check_shard(shard, field).map_err(|why| bad(format!("shard {:?}: {why}", shard.file)))?;
            let Some(list) = next.shards.get_mut(index) else { continue };
            match list.last() {
                Some(last) if last.start == shard.start => {
                    let same = last.file == shard.file && last.offset == shard.offset;
                    if !(same && last.open && shard.rows >= last.rows) {
                        return Err(bad(format!("shard {:?} does not continue {:?}", shard.file, last.file)));
                    }
                    list.pop();
                }
                Some(last) if last.end() != shard.start => {
                    return Err(bad(format!("shard {:?} does not follow {:?}", shard.file, last.file)));
                }
                None if shard.start != 0 => return Err(bad(format!("shard {:?} is not the first", shard.file))),
                Some(last) => {
                    // What another shard follows has its final length.
                    let closed = Shard { open: false, ..last.clone() };
                    list.pop();
                    list.push(closed);
                }
                None => {}
            }
            list.push(shard.clone());
        }
        for (field, shards) in fields.iter().zip(&next.shards) {
            if let Some(last) = shards.last()
                && last.end() != next.rows
            {
                return Err(bad(format!("field {:?} has {} rows of {}", field.name(), last.end(), next.rows)));
            }
        }
        Ok(next)
    }
}

/// Holds a shard's record against its field.
fn check_shard(shard: &Shard, field: &FieldSpec) -> Result<(), String> {
    if !layout::is_file_name(&shard.file) {
        return Err("this is no file name".into());
    }
    if shard.cell != field.cell() {
        return Err(format!("its cell shape is {:?}, the field's {:?}", shard.cell, field.cell()));
    }
    if shard.rows == 0 || shard.rows.checked_mul(field.row_bytes() as u64) != Some(shard.bytes) || shard.bytes == 0 {
        return Err(format!("{} bytes are not {} rows of {}", shard.bytes, shard.rows, field.row_bytes()));
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
