//! An array at one version: an [`ArraySource`].

mod field;
mod overlaid;
mod shards;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow_buffer::{Buffer, MutableBuffer};
use hyperslab_core::{ArraySource, Block, Error, FieldSpec, Result, arrow};

pub use field::{Batches, Field};
pub use shards::ShardInfo;

use crate::pins::Hold;
use crate::runs::Run;
use crate::shard::Shard;
use crate::state::ArrayState;
use crate::store::Inner;
use crate::{ArrayName, Codec, FileRange};

/// An array at one version. Cheap to clone. It is an [`ArraySource`].
#[derive(Debug, Clone)]
pub struct Array {
    store: Arc<Inner>,
    state: Arc<ArrayState>,
    /// Its version, whose files are not vacuumed.
    hold: Arc<Hold>,
}

/// What `array_info` shows of an array.
#[derive(Debug, Clone)]
pub struct ArrayInfo {
    /// Its name.
    pub name: ArrayName,
    /// Its fields.
    pub fields: Vec<FieldSpec>,
    /// Live rows.
    pub rows: u64,
    /// Rows that are deleted and still in files, until OPTIMIZE leaves them out.
    pub deleted_rows: u64,
    /// Replaced values that stand beside their rows, until OPTIMIZE folds them in: of each field, one for every time that
    /// a row was replaced.
    pub patches: u64,
    /// Per field: those of it.
    pub field_patches: Vec<u64>,
    /// Bytes of values, uncompressed.
    pub logical_bytes: u64,
    /// Per field: bytes of its rows, uncompressed. Of text and binary, bytes of all that was written of it: what was
    /// deleted or replaced counts until OPTIMIZE leaves it out.
    pub field_logical_bytes: Vec<u64>,
    /// Bytes of its shard files.
    pub disk_bytes: u64,
    /// Per field: how its values lie in shards that do not grow any more.
    pub codecs: Vec<Codec>,
    /// Per field: bytes of its shard files, those of its patches included.
    pub field_disk_bytes: Vec<u64>,
    /// Segments.
    pub segments: u64,
    /// Shard files.
    pub shards: u64,
    /// The version that last changed it.
    pub version: u64,
    /// The time of that version.
    pub modified: SystemTime,
}

/// A piece of memory that holds some rows of a field.
#[derive(Debug, Clone)]
struct Piece {
    rows: Range<u64>,
    /// `None`: zeros.
    bytes: Option<Buffer>,
}

impl Piece {
    /// Rows that lie in it, without a copy unless they are zeros.
    fn slice(&self, rows: &Range<u64>, row_bytes: usize) -> Result<Buffer> {
        let (skip, len) =
            (bytes_of(rows.start - self.rows.start, row_bytes)?, bytes_of(rows.end - rows.start, row_bytes)?);
        Ok(match &self.bytes {
            Some(buffer) => buffer.slice_with_length(skip, len),
            None => MutableBuffer::from_len_zeroed(len).into(),
        })
    }
}

impl Array {
    pub(crate) fn new(store: Arc<Inner>, state: Arc<ArrayState>, hold: Arc<Hold>) -> Self {
        Self { store, state, hold }
    }

    pub(crate) fn state(&self) -> &Arc<ArrayState> {
        &self.state
    }

    pub(crate) fn storage(&self) -> &dyn crate::Storage {
        self.store.storage.as_ref()
    }

    /// Which rows of one of its segments are alive; `None` if all are.
    pub(crate) fn live(&self, segment: &crate::segment::Segment) -> Result<Option<Arc<crate::deletion::LiveIndex>>> {
        let live = segment.deleted.live(self.storage(), self.state.id, segment.rows);
        live.map_err(|e| e.with("array", self.name()))
    }

    /// Of each patch segment of a field: the number of its first patch among all of the field, and its id.
    pub(crate) fn patch_starts(&self, field: usize) -> Vec<(u64, u32)> {
        let mut next = 0;
        let starts = self.state.patches(field).iter().map(|patch| {
            let start = next;
            next += patch.rows.rows;
            (start, patch.rows.id)
        });
        starts.collect()
    }

    /// The name it has in this version.
    pub fn name(&self) -> &ArrayName {
        &self.state.name
    }

    /// The version of the store it was taken from.
    pub fn version(&self) -> u64 {
        self.hold.version
    }

    /// The fields.
    pub fn fields(&self) -> &[FieldSpec] {
        self.state.own_fields()
    }

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        self.state.rows()
    }

    /// A field by name.
    ///
    /// # Errors
    /// `NotFound`, naming the array and its fields.
    pub fn field(&self, name: &str) -> Result<Field> {
        let index = self.fields().iter().position(|f| f.name() == name).ok_or_else(|| {
            let names: Vec<&str> = self.fields().iter().map(FieldSpec::name).collect();
            Error::not_found(format!(
                "array {:?} has no field {name:?}; it has {}",
                self.name().to_string(),
                names.join(", ")
            ))
        })?;
        Field::new(self.clone(), index)
    }

    /// Sizes, counts and times.
    ///
    /// # Errors
    /// None today; sizes may come from the files one day.
    pub fn info(&self) -> Result<ArrayInfo> {
        let state = &self.state;
        let mut files = BTreeSet::new();
        let mut bytes_of = |shards: &mut dyn Iterator<Item = &Shard>| {
            let new = shards.filter(|s| files.insert((s.home, s.file.clone())));
            new.map(Shard::file_bytes).sum::<u64>()
        };
        let field_disk_bytes: Vec<u64> = (0..self.fields().len())
            .map(|field| {
                let rows = state.segments().iter().flat_map(|s| s.shards.get(field).into_iter().flatten());
                let patches = state.patches(field).iter().flat_map(|p| p.rows.shards.iter().flatten());
                bytes_of(&mut rows.chain(patches))
            })
            .collect();
        let logical = |(index, field): (usize, &FieldSpec)| match field.dtype().is_variable() {
            true => {
                let rows = state.segments().iter().map(|s| s.text(index));
                rows.chain(state.patches(index).iter().map(|p| p.rows.text(1))).sum()
            }
            false => self.rows().saturating_mul(field.row_bytes() as u64),
        };
        let field_logical_bytes: Vec<u64> = self.fields().iter().enumerate().map(logical).collect();
        let patches_of = |field| state.patches(field).iter().map(|p| p.rows.rows).sum();
        let field_patches: Vec<u64> = (0..self.fields().len()).map(patches_of).collect();
        Ok(ArrayInfo {
            name: self.name().clone(),
            fields: self.fields().to_vec(),
            rows: self.rows(),
            deleted_rows: state.segments().iter().map(|s| s.deleted.rows()).sum(),
            patches: field_patches.iter().sum(),
            field_patches,
            logical_bytes: field_logical_bytes.iter().fold(0, |sum, &bytes| sum.saturating_add(bytes)),
            field_logical_bytes,
            disk_bytes: field_disk_bytes.iter().sum(),
            codecs: state.codecs().iter().take(self.fields().len()).copied().collect(),
            field_disk_bytes,
            segments: self.state.segments().len() as u64,
            shards: files.len() as u64,
            version: self.state.changed,
            modified: SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(self.state.modified).unwrap_or(0)),
        })
    }

    /// The addresses of rows, which stay true whatever happens to rows before them.
    ///
    /// # Errors
    /// `Invalid` for rows that are not there.
    pub fn addresses(&self, rows: &[u64]) -> Result<crate::Addresses> {
        self.state.addresses(self.store.storage.as_ref(), rows).map(crate::Addresses)
    }

    fn spec(&self, field: usize) -> Result<&FieldSpec> {
        let name = || self.name().to_string();
        let field_spec = self.state.fields().get(field);
        field_spec.ok_or_else(|| Error::invalid(format!("array {:?} has no field {field}", name())))
    }

    fn check_rows(&self, rows: &Range<u64>) -> Result<()> {
        if rows.start <= rows.end && rows.end <= self.rows() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "rows {}..{} of array {:?}, which has {}",
            rows.start,
            rows.end,
            self.name().to_string(),
            self.rows()
        )))
    }

    fn map(&self, ranges: &[FileRange]) -> Result<Option<Buffer>> {
        if self.store.options.verify {
            ranges.iter().try_for_each(|range| self.verify(range)).map_err(|e| e.with("array", self.name()))?;
        }
        let mapped = self.store.maps.get(self.store.storage.as_ref(), ranges);
        mapped.map_err(|e| e.with("array", self.name()))
    }

    /// Compares a shard with its checksum, unless that was done.
    pub(crate) fn compare(&self, shard: &Shard) -> Result<()> {
        self.store.compare(shard, &shard.path(self.state.id))
    }

    /// Verifies the shard that a range belongs to.
    fn verify(&self, range: &FileRange) -> Result<()> {
        let shards = self.state.segments().iter().flat_map(|s| s.shards.iter().flatten());
        let mut shards = shards.filter(|s| range.path.ends_with(&s.file) && s.path(self.state.id) == range.path);
        shards.try_for_each(|shard| self.store.verify(shard, &range.path))
    }

    /// The piece of memory that holds `row` and as many rows around it as the system maps at once.
    fn piece(&self, runs: &[Run], row: u64) -> Result<Piece> {
        let missing = || Error::corrupt(format!("no shard of array {:?} holds row {row}", self.name().to_string()));
        let run = runs.partition_point(|run| run.start <= row).checked_sub(1).and_then(|i| runs.get(i));
        let run = run.filter(|run| row < run.end()).ok_or_else(missing)?;
        if let Some(compressed) = &run.compressed {
            let (shard, path) = compressed.as_ref();
            self.store.verify(shard, path).map_err(|e| e.with("array", self.name()))?;
            let row_bytes = shard.bytes / shard.rows.max(1);
            let (storage, frames) = (self.store.storage.as_ref(), &self.store.frames);
            let (rows, bytes, _) = frames
                .rows(storage, path, shard, row_bytes, row - run.start)
                .map_err(|e| e.with("array", self.name()))?;
            return Ok(Piece { rows: run.start + rows.start..run.start + rows.end, bytes: Some(bytes) });
        }
        if run.ranges.is_empty() {
            return Ok(Piece { rows: run.start..run.end(), bytes: None });
        }
        if run.ranges.len() > 1
            && let Some(bytes) = self.map(&run.ranges)?
        {
            return Ok(Piece { rows: run.start..run.end(), bytes: Some(bytes) });
        }
        let (start, end, range) = run.shard(row).ok_or_else(missing)?;
        let bytes = self.map(std::slice::from_ref(range))?.ok_or_else(missing)?;
        Ok(Piece { rows: start..end, bytes: Some(bytes) })
    }

    /// As [`piece`](Self::piece), with the pieces that one call came by before.
    fn kept_piece(&self, kept: &mut BTreeMap<u64, Piece>, runs: &[Run], row: u64) -> Result<Piece> {
        if let Some((_, piece)) = kept.range(..=row).next_back()
            && piece.rows.contains(&row)
        {
            return Ok(piece.clone());
        }
        let piece = self.piece(runs, row)?;
        kept.insert(piece.rows.start, piece.clone());
        Ok(piece)
    }

    /// The raw bytes of rows, and how many of them were copied.
    fn bytes(&self, field: usize, rows: &Range<u64>) -> Result<(Buffer, u64)> {
        self.check_rows(rows)?;
        let spec = self.spec(field)?;
        let row_bytes = spec.row_bytes();
        if !self.is_plain(field) {
            let block = self.overlaid(field, rows)?;
            return Ok((arrow::raw_bytes(spec, block.array.as_ref(), rows.start)?, block.copied));
        }
        if rows.is_empty() || row_bytes == 0 {
            return Ok((MutableBuffer::new(0).into(), 0));
        }
        let runs = self.state.runs_of(field);
        let piece = self.piece(&runs, rows.start)?;
        if rows.end <= piece.rows.end {
            let copied = if piece.bytes.is_some() { 0 } else { bytes_of(rows.end - rows.start, row_bytes)? as u64 };
            return Ok((piece.slice(rows, row_bytes)?, copied));
        }
        let len = bytes_of(rows.end - rows.start, row_bytes)?;
        let mut joined = MutableBuffer::with_capacity(len);
        let mut next = rows.start;
        while next < rows.end {
            let piece = self.piece(&runs, next)?;
            let end = rows.end.min(piece.rows.end);
            joined.extend_from_slice(&piece.slice(&(next..end), row_bytes)?);
            next = end;
        }
        Ok((joined.into(), len as u64))
    }

    /// Rows whose shards all lie in whole pages, in one map however many they are; `None` where that cannot be.
    fn contiguous(&self, field: usize, rows: &Range<u64>) -> Result<Option<Buffer>> {
        if !self.is_plain(field) {
            return Ok(None);
        }
        let row_bytes = self.spec(field)?.row_bytes();
        let runs = self.state.runs_of(field);
        let first = runs.partition_point(|run| run.end() <= rows.start);
        let end = runs.partition_point(|run| run.start < rows.end);
        let Some(parts) = runs.get(first..end) else { return Ok(None) };
        let joins = parts.iter().rev().skip(1).all(|run| run.whole_pages);
        let (Some(start), true) = (parts.first().map(|run| run.start), joins) else { return Ok(None) };
        if parts.iter().any(|run| run.ranges.is_empty()) {
            return Ok(None);
        }
        let ranges: Vec<FileRange> = parts.iter().flat_map(|run| run.ranges.iter().cloned()).collect();
        let Some(buffer) = self.map(&ranges)? else { return Ok(None) };
        let (skip, len) = (bytes_of(rows.start - start, row_bytes)?, bytes_of(rows.end - rows.start, row_bytes)?);
        Ok(Some(buffer.slice_with_length(skip, len)))
    }
}

/// Bytes of rows, where memory can hold them.
fn bytes_of(rows: u64, row_bytes: usize) -> Result<usize> {
    let bytes = usize::try_from(rows).ok().and_then(|rows| rows.checked_mul(row_bytes));
    let bytes = bytes.filter(|&b| isize::try_from(b).is_ok());
    bytes.ok_or_else(|| Error::invalid(format!("{rows} rows of {row_bytes} bytes do not fit in memory")))
}

fn count(rows: u64) -> Result<usize> {
    usize::try_from(rows).map_err(|e| Error::invalid(format!("{rows} rows do not fit in memory")).because(e))
}

impl ArraySource for Array {
    fn fields(&self) -> &[FieldSpec] {
        self.state.own_fields()
    }

    fn rows(&self) -> u64 {
        self.state.rows()
    }

    fn run_end(&self, field: usize, row: u64) -> u64 {
        if self.state.fields().get(field).is_none_or(|f| f.row_bytes() == 0) {
            return self.rows();
        }
        let end = match self.is_plain(field) {
            true => self.piece(&self.state.runs_of(field), row).map(|piece| piece.rows.end),
            false => self.overlaid_run_end(field, row),
        };
        // Reading it will say what is wrong.
        end.unwrap_or_else(|_| self.rows().max(row.saturating_add(1)))
    }

    fn read(&self, field: usize, rows: Range<u64>) -> Result<Block> {
        let spec = self.spec(field)?;
        if !self.is_plain(field) {
            self.check_rows(&rows)?;
            return self.overlaid(field, &rows);
        }
        let (bytes, copied) = self.bytes(field, &rows)?;
        let mut block = arrow::array_from_buffer(spec, bytes, count(rows.end - rows.start)?)?;
        block.copied = block.copied.max(copied);
        Ok(block)
    }

    fn take(&self, field: usize, rows: &[u64]) -> Result<Block> {
        let spec = self.spec(field)?;
        let row_bytes = spec.row_bytes();
        let len = bytes_of(rows.len() as u64, row_bytes)?;
        let mut taken = MutableBuffer::with_capacity(len);
        if let Some(&beyond) = rows.iter().find(|&&row| row >= self.rows()) {
            self.check_rows(&(beyond..beyond.saturating_add(1)))?;
        }
        if !self.is_plain(field) {
            return self.overlaid_take(field, rows);
        }
        if row_bytes > 0 {
            let runs = self.state.runs_of(field);
            let mut pieces = BTreeMap::new();
            let mut piece = Piece { rows: 0..0, bytes: None };
            for &row in rows {
                if !piece.rows.contains(&row) {
                    piece = self.kept_piece(&mut pieces, &runs, row)?;
                }
                let start = bytes_of(row - piece.rows.start, row_bytes)?;
                match piece.bytes.as_ref().map(|b| b.as_slice().get(start..start + row_bytes)) {
                    Some(Some(cell)) => taken.extend_from_slice(cell),
                    Some(None) => self.check_rows(&(row..row))?,
                    None => taken.extend_zeros(row_bytes),
                }
            }
        }
        let mut block = arrow::array_from_buffer(spec, taken.into(), rows.len())?;
        block.copied = len as u64;
        Ok(block)
    }
}
