//! Deleted rows of a segment: what the log says of them, and where the live ones are.

use std::sync::{Arc, OnceLock};

use hyperslab_core::{Error, Result};
use roaring::RoaringBitmap;

use crate::Storage;
use crate::action::{Crc, Deleted, Id, SegmentDelete};

/// The deleted rows of a segment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deletions {
    /// As the log says; of a transaction's own deletes only `rows` is true.
    record: Deleted,
    /// Worked out at the first read…
    live: OnceLock<Arc<LiveIndex>>,
    /// …from this, to which the ranges are to be added, or from the file.
    earlier: Option<Arc<LiveIndex>>,
}

/// Which rows of a segment are alive, by their offset and by their rank among the live ones.
#[derive(Debug, Default)]
pub(crate) struct LiveIndex {
    deleted: RoaringBitmap,
    /// Runs of live rows: the rank and the offset of the first row of each.
    runs: Vec<(u32, u32)>,
    rows: u64,
    /// Rows that are not deleted: counting them goes through the whole bitmap.
    alive: u64,
}

impl Deletions {
    /// How many rows are deleted.
    pub(crate) fn rows(&self) -> u64 {
        self.record.rows
    }

    pub(crate) fn record(&self) -> &Deleted {
        &self.record
    }

    /// What a checkpoint or a clone says of a segment of `rows` rows.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn restore(&mut self, record: &Deleted, rows: u64) -> Result<()> {
        check_ranges(&record.ranges, rows)?;
        let in_ranges: u64 = record.ranges.iter().map(|(start, end)| u64::from(end - start)).sum();
        let fits = if record.file.is_some() { in_ranges <= record.rows } else { in_ranges == record.rows };
        if !fits || record.rows > rows {
            return Err(Error::corrupt(format!("{} of {rows} rows are deleted, {in_ranges} in ranges", record.rows)));
        }
        *self = Self { record: record.clone(), ..Self::default() };
        Ok(())
    }

    /// Further rows of a segment of `rows` rows are deleted.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn apply(&mut self, delete: &SegmentDelete, rows: u64) -> Result<()> {
        let bad = |why: String| Error::corrupt(format!("segment {:08x}: {why}", delete.segment));
        check_ranges(&delete.ranges, rows)?;
        let further: u64 = delete.ranges.iter().map(|(start, end)| u64::from(end - start)).sum();
        if let Some(file) = &delete.whole {
            if !delete.ranges.is_empty() || delete.rows <= self.record.rows || delete.rows > rows {
                return Err(bad(format!("{} of {rows} rows are deleted in a file", delete.rows)));
            }
            let record = Deleted { rows: delete.rows, file: Some(file.clone()), ranges: Vec::new() };
            *self = Self { record, ..Self::default() };
            return Ok(());
        }
        if further == 0 || delete.rows != self.record.rows + further || delete.rows > rows {
            return Err(bad(format!(
                "{} rows were deleted, {further} are, {} are said",
                self.record.rows, delete.rows
            )));
        }
        let ranges = merged(&self.record.ranges, &delete.ranges)
            .ok_or_else(|| bad("a row is deleted for the second time".into()))?;
        let earlier = self.live.take().or(self.earlier.take());
        let record = Deleted { rows: delete.rows, file: self.record.file.take(), ranges };
        *self = Self { record, live: OnceLock::new(), earlier };
        Ok(())
    }

    /// Deletes offsets (ascending) of a segment of `rows` rows for a transaction itself; gives those that were alive.
    ///
    /// # Errors
    /// As [`live`](Self::live); `Invalid` for an offset that is not there.
    pub(crate) fn insert(&mut self, storage: &dyn Storage, array: Id, rows: u64, offsets: &[u32]) -> Result<Vec<u32>> {
        if let Some(beyond) = offsets.last().filter(|&&o| u64::from(o) >= rows) {
            return Err(Error::invalid(format!("there is no row {beyond} in a segment of {rows}")));
        }
        let mut deleted = self.live(storage, array, rows)?.map(|live| live.deleted.clone()).unwrap_or_default();
        let alive: Vec<u32> = offsets.iter().copied().filter(|&offset| deleted.insert(offset)).collect();
        self.set(deleted, rows);
        Ok(alive)
    }

    /// [`insert`](Self::insert) of a range of offsets that are there; gives how many of them were alive.
    ///
    /// # Errors
    /// As [`live`](Self::live).
    pub(crate) fn insert_range(
        &mut self,
        storage: &dyn Storage,
        array: Id,
        rows: u64,
        offsets: std::ops::Range<u32>,
    ) -> Result<u64> {
        let mut deleted = self.live(storage, array, rows)?.map(|live| live.deleted.clone()).unwrap_or_default();
        let alive = deleted.insert_range(offsets);
        deleted.optimize();
        self.set(deleted, rows);
        Ok(alive)
    }

    /// The segment has more rows now, none of them deleted.
    pub(crate) fn grow(&mut self) {
        self.earlier = self.live.take().or(self.earlier.take());
    }

    fn set(&mut self, deleted: RoaringBitmap, rows: u64) {
        self.record.rows = deleted.len();
        self.live = OnceLock::from(Arc::new(LiveIndex::new(deleted, rows)));
    }

    /// The index of a segment of `rows` rows; `None` if none is deleted.
    ///
    /// # Errors
    /// `Corrupt`, naming the file, where it is missing or damaged or says something else than the log.
    pub(crate) fn live(&self, storage: &dyn Storage, array: Id, rows: u64) -> Result<Option<Arc<LiveIndex>>> {
        if self.record.rows == 0 {
            return Ok(None);
        }
        if let Some(live) = self.live.get() {
            return Ok(Some(live.clone()));
        }
        let mut deleted = match &self.earlier {
            Some(earlier) => earlier.deleted.clone(),
            None => self.load(storage, array)?,
        };
        for &(start, end) in &self.record.ranges {
            deleted.insert_range(start..end);
        }
        if deleted.len() != self.record.rows || deleted.max().is_some_and(|max| u64::from(max) >= rows) {
            let file = self.record.file.as_ref().map(|f| f.path(array)).unwrap_or_default();
            let why = format!("{file}: {} rows are deleted, and the log says {}", deleted.len(), self.record.rows);
            return Err(Error::corrupt(why));
        }
        Ok(Some(self.live.get_or_init(|| Arc::new(LiveIndex::new(deleted, rows))).clone()))
    }

    fn load(&self, storage: &dyn Storage, array: Id) -> Result<RoaringBitmap> {
        let Some(file) = &self.record.file else { return Ok(RoaringBitmap::new()) };
        let path = file.path(array);
        let bytes = storage.read(&path)?;
        let bytes = bytes.ok_or_else(|| Error::corrupt(format!("the file {path} of deleted rows is missing")))?;
        if bytes.len() as u64 != file.bytes || Crc::of(&bytes) != file.crc32c {
            let why = format!("the file {path} of deleted rows is not what was written: its checksum is another");
            return Err(Error::corrupt(why));
        }
        RoaringBitmap::deserialize_from(bytes.as_slice())
            .map_err(|e| Error::corrupt(format!("the file {path} of deleted rows is not understood")).because(e))
    }
}

impl LiveIndex {
    fn new(deleted: RoaringBitmap, rows: u64) -> Self {
        let rows_end = u32::try_from(rows).unwrap_or(u32::MAX);
        let (mut runs, mut rank, mut next) = (Vec::new(), 0_u32, 0_u32);
        let mut ranges = deleted.iter();
        while let Some(range) = ranges.next_range() {
            if *range.start() > next {
                runs.push((rank, next));
                rank += range.start() - next;
            }
            next = range.end().saturating_add(1);
        }
        if next < rows_end {
            runs.push((rank, next));
        }
        let alive = rows.saturating_sub(deleted.len());
        Self { deleted, runs, rows, alive }
    }

    /// The deleted offsets.
    pub(crate) fn deleted(&self) -> &RoaringBitmap {
        &self.deleted
    }

    /// Whether some of the offsets are deleted.
    pub(crate) fn has_deleted(&self, offsets: std::ops::Range<u64>) -> bool {
        let run = self.run(self.run_of(offsets.start));
        run.is_none_or(|run| offsets.start < run.start || run.end < offsets.end)
    }

    /// The offset of the live row of a rank; the segment's end for a rank beyond.
    pub(crate) fn offset(&self, rank: u64) -> u64 {
        if rank >= self.alive {
            return self.rows;
        }
        let next = self.runs.partition_point(|&(first, _)| u64::from(first) <= rank);
        let run = next.checked_sub(1).and_then(|i| self.runs.get(i));
        run.map_or(self.rows, |&(first, offset)| u64::from(offset) + rank - u64::from(first))
    }

    /// The rank of the row at an offset; `None` if it is deleted.
    pub(crate) fn rank(&self, offset: u64) -> Option<u64> {
        let narrow = u32::try_from(offset).ok()?;
        if offset >= self.rows || self.deleted.contains(narrow) {
            return None;
        }
        let next = self.runs.partition_point(|&(_, first)| first <= narrow);
        let (rank, first) = next.checked_sub(1).and_then(|i| self.runs.get(i))?;
        Some(u64::from(*rank) + offset - u64::from(*first))
    }

    /// The number of the run of live rows that holds the live row at `offset`.
    pub(crate) fn run_of(&self, offset: u64) -> usize {
        self.runs.partition_point(|&(_, first)| u64::from(first) <= offset).saturating_sub(1)
    }

    /// The offsets of a run of live rows; `None` after the last.
    pub(crate) fn run(&self, number: usize) -> Option<std::ops::Range<u64>> {
        let &(rank, first) = self.runs.get(number)?;
        let end_rank = self.runs.get(number + 1).map_or(self.alive, |&(rank, _)| u64::from(rank));
        let first = u64::from(first);
        Some(first..first + end_rank - u64::from(rank))
    }
}

/// Ranges are ascending, apart from each other and within a segment's rows.
fn check_ranges(ranges: &[(u32, u32)], rows: u64) -> Result<()> {
    let mut next = 0;
    for &(start, end) in ranges {
        if start < next || end <= start || u64::from(end) > rows {
            return Err(Error::corrupt(format!("the range of deleted rows {start} to {end} of {rows} rows cannot be")));
        }
        next = end;
    }
    Ok(())
}

/// Both lists in one; `None` where they overlap. Neighbours become one range.
fn merged(a: &[(u32, u32)], b: &[(u32, u32)]) -> Option<Vec<(u32, u32)>> {
    let mut all: Vec<(u32, u32)> = a.iter().chain(b).copied().collect();
    all.sort_unstable();
    let mut out: Vec<(u32, u32)> = Vec::with_capacity(all.len());
    for (start, end) in all {
        match out.last_mut() {
            Some(last) if start < last.1 => return None,
            Some(last) if start == last.1 => last.1 = end,
            _ => out.push((start, end)),
        }
    }
    Some(out)
}

/// Offsets as half-open ranges.
pub(crate) fn to_ranges(offsets: &RoaringBitmap) -> Vec<(u32, u32)> {
    let (mut ranges, mut iter) = (Vec::new(), offsets.iter());
    while let Some(range) = iter.next_range() {
        ranges.push((*range.start(), range.end().saturating_add(1)));
    }
    ranges
}

/// The bytes of a file of deleted rows.
pub(crate) fn to_bytes(deleted: &RoaringBitmap) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(deleted.serialized_size());
    deleted.serialize_into(&mut bytes).map_err(|e| Error::invalid("deleted rows").because(e))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStorage;
    use proptest::prelude::*;

    fn array() -> Id {
        Id::random()
    }

    proptest! {
        /// Ranks and offsets of live rows are what counting gives, whether rows went at once or one after the other.
        #[test]
        fn ranks_and_offsets(rows in 1_u32..400, gone in prop::collection::vec(any::<prop::sample::Index>(), 0..300)) {
            let storage = MemoryStorage::new();
            let mut offsets: Vec<u32> = gone.iter().map(|i| i.index(rows as usize) as u32).collect();
            let mut deletions = Deletions::default();
            let mut by_ranges = Deletions::default();
            let mut dead = std::collections::BTreeSet::new();
            for chunk in offsets.chunks_mut(40) {
                let mut sorted = chunk.to_vec();
                sorted.sort_unstable();
                sorted.dedup();
                let fresh: Vec<u32> = sorted.iter().copied().filter(|o| dead.insert(*o)).collect();
                prop_assert_eq!(&deletions.insert(&storage, array(), rows.into(), &sorted).unwrap(), &fresh);
                if !fresh.is_empty() {
                    let ranges = to_ranges(&fresh.iter().copied().collect());
                    let delete = SegmentDelete { segment: 1, rows: dead.len() as u64, ranges, whole: None };
                    by_ranges.apply(&delete, rows.into()).unwrap();
                    // Nothing is deleted twice.
                    prop_assert!(by_ranges.clone().apply(&delete, rows.into()).is_err());
                }
                let _worked_out = by_ranges.live(&storage, array(), rows.into()).unwrap();
            }
            let live: Vec<u64> = (0..rows).filter(|o| !dead.contains(o)).map(u64::from).collect();
            for deletions in [&deletions, &by_ranges] {
                prop_assert_eq!(deletions.rows(), dead.len() as u64);
                let Some(index) = deletions.live(&storage, array(), rows.into()).unwrap() else {
                    prop_assert!(dead.is_empty());
                    continue;
                };
                for (rank, &offset) in live.iter().enumerate() {
                    prop_assert_eq!(index.offset(rank as u64), offset);
                    prop_assert_eq!(index.rank(offset), Some(rank as u64));
                    let end = (offset..u64::from(rows)).find(|&o| dead.contains(&(o as u32))).unwrap_or(rows.into());
                    let run = index.run(index.run_of(offset)).unwrap();
                    prop_assert!(run.contains(&offset) && run.end == end, "{:?}", run);
                }
                prop_assert_eq!(index.offset(live.len() as u64), u64::from(rows));
                for start in 0..rows {
                    let end = (start + 5).min(rows);
                    prop_assert_eq!(index.has_deleted(start.into()..end.into()), dead.range(start..end).next().is_some());
                }
                prop_assert!(dead.iter().all(|&o| index.rank(o.into()).is_none()));
            }
        }
    }

    #[test]
    fn a_file_of_deleted_rows_is_held_against_the_log() {
        let storage = MemoryStorage::new();
        let (id, bitmap): (_, RoaringBitmap) = (array(), [3, 5, 6, 7].into_iter().collect());
        let bytes = to_bytes(&bitmap).unwrap();
        let file =
            |crc32c, bytes| crate::action::DeletedFile { file: "x.roaring".into(), home: None, dir: 0, bytes, crc32c };
        let right = file(Crc::of(&bytes), bytes.len() as u64);
        storage.create_new(&right.path(id), &bytes).unwrap();
        let read = |file, rows, ranges| {
            let mut deletions = Deletions::default();
            deletions.restore(&Deleted { rows, file: Some(file), ranges }, 100)?;
            deletions.live(&storage, id, 100).map(|live| live.map(|l| l.deleted().len()))
        };
        assert_eq!(read(right.clone(), 4, vec![]).unwrap(), Some(4));
        assert_eq!(read(right.clone(), 6, vec![(0, 2)]).unwrap(), Some(6));
        for wrong in [file(Crc::of(b""), bytes.len() as u64), file(Crc::of(&bytes), 3)] {
            let error = read(wrong, 4, vec![]).unwrap_err().to_string();
            assert!(error.contains("x.roaring") && error.contains("checksum"), "{error}");
        }
        assert!(read(right.clone(), 5, vec![]).is_err(), "the log says another number");
        storage.remove(&right.path(id)).unwrap();
        assert!(read(right, 4, vec![]).unwrap_err().to_string().contains("is missing"));
        for ranges in [vec![(3, 3)], vec![(3, 5), (4, 6)], vec![(90, 101)], vec![(5, 6), (1, 2)]] {
            let rows = 2;
            assert!(Deletions::default().restore(&Deleted { rows, file: None, ranges }, 100).is_err());
        }
    }
}
