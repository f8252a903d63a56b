//! Writes the parts of a field's rows, shard after shard.

use std::collections::BTreeMap;
use std::ops::Range;

use hyperslab_core::{FieldSpec, Result};

use super::{COMPRESSED_BYTES, Files, Target};
use crate::action::Crc;
use crate::codec::{Codec, SeekableWriter};
use crate::layout::DATA_OFFSET;
use crate::packed::Rows;
use crate::shard::{self, Kind, Part, Shard};

/// A new shard of up to this size is written together with its header.
const ONE_WRITE: usize = 1 << 20;
/// What is said to be no NULL at once, where that was not said before.
const BACKFILL: u64 = 1 << 20;

/// Where a field's rows are written.
pub(super) struct Place<'a> {
    pub target: &'a Target,
    pub index: usize,
    pub field: &'a FieldSpec,
    pub files: &'a mut Files,
}

/// The shards of one field that are new or grow, by part.
#[derive(Debug, Default)]
pub(super) struct Parts(BTreeMap<Part, Vec<Growing>>);

#[derive(Debug)]
struct Growing {
    shard: Shard,
    /// Rows that the log has already; `None` for a new file.
    committed: Option<u64>,
    /// The length of axis 0 that the file's header claims.
    header: Option<u64>,
    /// What compresses the shard.
    zstd: Option<SeekableWriter>,
}

impl Parts {
    /// The last shards of a segment, which grow.
    pub(super) fn of(shards: &[Shard]) -> Self {
        let grow =
            |s: &Shard| Growing { shard: s.clone(), committed: Some(s.rows), header: Some(s.length()), zstd: None };
        // Of each part the last one stays.
        Self(shards.iter().map(|s| (s.part, vec![grow(s)])).collect())
    }

    /// Writes some of the raw rows.
    pub(super) fn write_values(&mut self, to: &mut Place<'_>, column: &[u8], rows: Range<usize>) -> Result<()> {
        let row_bytes = to.field.row_bytes();
        let bytes = column.get(rows.start * row_bytes..rows.end * row_bytes).unwrap_or_default();
        self.write_fixed(to, Part::Values, row_bytes, bytes)
    }

    /// Writes some of the rows; the segment has `before` already.
    pub(super) fn write_unpacked(
        &mut self,
        to: &mut Place<'_>,
        all: &Rows,
        rows: Range<usize>,
        before: u64,
    ) -> Result<()> {
        match to.field.dtype().is_variable() {
            true => self.write_text(to, all, rows.clone())?,
            false => self.write_values(to, &all.values, rows.clone())?,
        }
        let said = self.0.get(&Part::Validity).is_some_and(|shards| !shards.is_empty());
        let validity = all.validity.get(rows.clone()).unwrap_or_default();
        if !said && !validity.contains(&0) {
            return Ok(());
        }
        let mut missing = if said { 0 } else { before };
        while missing > 0 {
            let n = missing.min(BACKFILL);
            self.write_fixed(to, Part::Validity, 1, &vec![1; n as usize])?;
            missing -= n;
        }
        match validity.is_empty() {
            true => self.write_fixed(to, Part::Validity, 1, &vec![1; rows.len()]),
            false => self.write_fixed(to, Part::Validity, 1, validity),
        }
    }

    /// Writes rows of a part whose rows are all of one width.
    fn write_fixed(&mut self, to: &mut Place<'_>, part: Part, row_bytes: usize, mut bytes: &[u8]) -> Result<()> {
        let row_bytes = row_bytes as u64;
        let capacity = shard::capacity(row_bytes, to.target.shard_bytes);
        let shards = self.0.entry(part).or_default();
        while !bytes.is_empty() {
            if shards.last().is_none_or(|g| g.shard.rows >= capacity) {
                shards.push(Growing::after(shards.last(), to, part, capacity, bytes.len())?);
            }
            let Some(g) = shards.last_mut() else { break };
            let rows = (capacity - g.shard.rows).min(bytes.len() as u64 / row_bytes.max(1));
            let (now, later) = bytes.split_at((rows * row_bytes) as usize);
            g.write(to, rows, now)?;
            if g.shard.rows >= capacity {
                g.end(to)?;
            }
            bytes = later;
        }
        Ok(())
    }

    /// Writes rows of text or binary: pairs of shards of offsets and bytes, which cover the same rows.
    fn write_text(&mut self, to: &mut Place<'_>, all: &Rows, rows: Range<usize>) -> Result<()> {
        let (capacity, shard_bytes) = (shard::capacity(8, to.target.shard_bytes), to.target.shard_bytes);
        let mut offsets = self.0.remove(&Part::Offsets).unwrap_or_default();
        let mut texts = self.0.remove(&Part::Bytes).unwrap_or_default();
        let mut next = rows.start;
        while next < rows.end {
            let full = |pair: (&Growing, &Growing)| pair.0.shard.rows >= capacity || pair.1.shard.bytes >= shard_bytes;
            if offsets.last().zip(texts.last()).is_none_or(full) {
                offsets.iter_mut().chain(&mut texts).try_for_each(|g| g.end(to))?;
                let text = all.text(next..rows.end).len();
                offsets.push(Growing::after(offsets.last(), to, Part::Offsets, capacity, (rows.end - next) * 8)?);
                texts.push(Growing::after(texts.last(), to, Part::Bytes, shard_bytes, text)?);
            }
            let (Some(offset), Some(text)) = (offsets.last_mut(), texts.last_mut()) else { break };
            let room = (rows.end - next).min((capacity - offset.shard.rows) as usize);
            let n = all.fitting(next, room, shard_bytes - text.shard.bytes);
            let base = text.shard.bytes as i64 - all.offsets.get(next).copied().unwrap_or(0);
            let ends = all.offsets.get(next + 1..next + 1 + n).unwrap_or_default();
            let first = (offset.shard.rows == 0).then_some(0);
            let ends: Vec<u8> =
                first.into_iter().chain(ends.iter().map(|end| base + end)).flat_map(i64::to_le_bytes).collect();
            offset.write(to, n as u64, &ends)?;
            text.write(to, n as u64, all.text(next..next + n))?;
            next += n;
        }
        self.0.insert(Part::Offsets, offsets);
        self.0.insert(Part::Bytes, texts);
        Ok(())
    }

    /// Ends the shards; `open` says whether the last of each part may grow later.
    pub(super) fn close(self, to: &mut Place<'_>, open: bool) -> Result<Vec<Shard>> {
        let mut shards = Vec::new();
        for growing in self.0.into_values() {
            let last = growing.len().saturating_sub(1);
            for (i, mut g) in growing.into_iter().enumerate() {
                g.end(to)?;
                g.shard.open = open && i == last && g.shard.kind == Kind::Raw;
                if g.shard.kind == Kind::Raw && g.header != Some(g.shard.length()) {
                    let path = g.shard.path(to.target.array);
                    let header = g.shard.header(to.field)?;
                    match g.committed {
                        Some(_) => to.files.headers.push((path, header)),
                        None => to.files.put(&path, 0, &header)?,
                    }
                }
                shards.push(g.shard);
            }
        }
        Ok(shards)
    }
}

impl Growing {
    /// A new shard behind another one, for `bytes` and what will follow them; `most`: the length of its axis 0 when it
    /// is full.
    fn after(last: Option<&Self>, to: &mut Place<'_>, part: Part, most: u64, bytes: usize) -> Result<Self> {
        let start = last.map_or(0, |g| g.shard.end());
        // The few rows that are left over from many are compressed like them.
        let many = last.is_some_and(|g| g.shard.kind == Kind::Zstd);
        let codec = to.target.codec(to.index, if many { COMPRESSED_BYTES } else { bytes });
        let kind = if codec.is_none() { Kind::Raw } else { Kind::Zstd };
        let (dir, file) = to.files.create_name(to.target.array, kind);
        let values = part == Part::Values;
        let shard = Shard {
            field: to.target.field_ids.get(to.index).copied().unwrap_or_default(),
            part,
            file,
            home: None,
            dir,
            kind,
            offset: DATA_OFFSET,
            start,
            rows: 0,
            bytes: 0,
            cell: if values { to.field.cell().to_vec() } else { Vec::new() },
            clip: None,
            open: false,
            stored: None,
            crc32c: Crc::default(),
        };
        let zstd = match codec {
            Codec::None => None,
            Codec::Zstd(level) => {
                let header = shard::part_header(to.field, part, most)?;
                let row_bytes = match part {
                    Part::Values => to.field.row_bytes(),
                    Part::Offsets => 8,
                    Part::Bytes | Part::Validity => 1,
                };
                Some(SeekableWriter::new(level, &header, row_bytes)?)
            }
        };
        Ok(Self { shard, committed: None, header: None, zstd })
    }

    /// Writes rows that fit, of which there is at least one.
    fn write(&mut self, to: &mut Place<'_>, rows: u64, values: &[u8]) -> Result<()> {
        let path = self.shard.path(to.target.array);
        let first = self.shard.rows == 0;
        let at = self.shard.offset + self.shard.bytes;
        self.shard.rows += rows;
        self.shard.bytes += values.len() as u64;
        self.shard.crc32c = self.shard.crc32c.append(values);
        let files = &mut *to.files;
        if let Some(zstd) = &mut self.zstd {
            zstd.write(values, &mut |at, bytes| files.put(&path, at, bytes))?;
        } else if first && values.len() <= ONE_WRITE {
            let mut file = self.shard.header(to.field)?;
            file.extend_from_slice(values);
            files.put(&path, 0, &file)?;
            self.header = Some(self.shard.length());
        } else if !values.is_empty() {
            files.put(&path, at, values)?;
        }
        files.wrote(self.shard.folder(to.target.array), &path);
        Ok(())
    }

    /// Writes the end of a compressed file.
    fn end(&mut self, to: &mut Place<'_>) -> Result<()> {
        let Some(zstd) = self.zstd.take() else { return Ok(()) };
        let (path, header) = (self.shard.path(to.target.array), self.shard.header(to.field)?);
        let stored = zstd.finish(&header, &mut |at, bytes| to.files.put(&path, at, bytes))?;
        self.shard.stored = Some(stored);
        Ok(())
    }
}
