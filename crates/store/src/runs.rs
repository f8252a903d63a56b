//! Where a field's rows are: runs of rows that lie in one piece of memory once their shards are mapped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_buffer::Buffer;
use hyperslab_core::{Error, Result};

use crate::layout;
use crate::shard::{Kind, Shard};
use crate::state::ArrayState;
use crate::{FileRange, Storage};

/// The most shards that one run joins: a growing array's last run is mapped again after every commit.
const RUN_SHARDS: usize = 16;
/// The most maps that are kept for the next reader; systems cap their number.
const KEPT_MAPS: usize = 1024;

/// Consecutive rows of one field, in shards whose maps join without a gap, or in no shard at all: zeros.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub start: u64,
    pub rows: u64,
    /// The first row of each shard…
    starts: Vec<u64>,
    /// …and its bytes. Empty for zeros.
    pub ranges: Vec<FileRange>,
    /// Whether a map of what follows can join on.
    pub whole_pages: bool,
    /// The compressed shard, and its file: such a run has no ranges.
    pub compressed: Option<Box<(Shard, String)>>,
}

impl Run {
    pub(crate) fn end(&self) -> u64 {
        self.start + self.rows
    }

    /// The rows of the shard that holds `row`, and its bytes.
    pub(crate) fn shard(&self, row: u64) -> Option<(u64, u64, &FileRange)> {
        let next = self.starts.partition_point(|start| *start <= row);
        let index = next.checked_sub(1)?;
        let (start, range) = (self.starts.get(index)?, self.ranges.get(index)?);
        let end = self.starts.get(next).copied().unwrap_or(self.end());
        Some((*start, end, range))
    }
}

/// The runs of one field.
pub(crate) fn runs(array: &ArrayState, field: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut base = 0;
    for segment in array.segments() {
        let shards = segment.shards.get(field).map(Vec::as_slice).unwrap_or_default();
        if shards.is_empty() && segment.rows > 0 {
            runs.push(Run {
                start: base,
                rows: segment.rows,
                starts: Vec::new(),
                ranges: Vec::new(),
                whole_pages: false,
                compressed: None,
            });
        }
        for shard in shards {
            add_shard(&mut runs, array, base, shard);
        }
        base += segment.rows;
    }
    runs
}

fn add_shard(runs: &mut Vec<Run>, array: &ArrayState, base: u64, shard: &Shard) {
    let path = shard.path(array.id);
    if shard.kind == Kind::Zstd {
        runs.push(Run {
            start: base + shard.start,
            rows: shard.rows,
            starts: Vec::new(),
            ranges: Vec::new(),
            whole_pages: false,
            compressed: Some(Box::new((shard.clone(), path))),
        });
        return;
    }
    let range = FileRange { path, offset: shard.offset, len: shard.bytes };
    let start = base + shard.start;
    let joins = shard.offset.is_multiple_of(layout::PAGE);
    match runs.last_mut() {
        Some(run) if run.whole_pages && joins && run.ranges.len() < RUN_SHARDS => {
            run.rows += shard.rows;
            run.starts.push(start);
            run.ranges.push(range);
            run.whole_pages = shard.is_whole_pages();
        }
        _ => runs.push(Run {
            start,
            rows: shard.rows,
            starts: vec![start],
            ranges: vec![range],
            whole_pages: shard.is_whole_pages(),
            compressed: None,
        }),
    }
}

/// The maps of a store, shared by its readers, by the first file that they map.
#[derive(Debug, Default)]
pub(crate) struct Maps {
    kept: Mutex<Kept>,
    /// The system was seen not to map several files into one piece.
    apart: AtomicBool,
}

#[derive(Debug, Default)]
struct Kept {
    maps: HashMap<String, Map>,
    clock: u64,
}

#[derive(Debug)]
struct Map {
    ranges: Vec<FileRange>,
    buffer: Buffer,
    used: u64,
}

impl Map {
    /// The part that is `ranges`, if they are a prefix of what is mapped.
    fn prefix(&self, ranges: &[FileRange]) -> Option<Buffer> {
        let (last, body) = ranges.split_last()?;
        let mapped_last = self.ranges.get(body.len())?;
        let same = self.ranges.get(..body.len()) == Some(body)
            && mapped_last.path == last.path
            && mapped_last.offset == last.offset
            && mapped_last.len >= last.len;
        let len = usize::try_from(ranges.iter().map(|r| r.len).sum::<u64>()).ok()?;
        (same && len <= self.buffer.len()).then(|| self.buffer.slice_with_length(0, len))
    }
}

impl Maps {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ranges in one piece of memory, or `None` where the system cannot do that.
    ///
    /// # Errors
    /// `Corrupt` for a file that is missing or shorter than its range.
    pub(crate) fn get(&self, storage: &dyn Storage, ranges: &[FileRange]) -> Result<Option<Buffer>> {
        let Some(first) = ranges.first() else { return Ok(None) };
        if ranges.len() > 1 && self.apart.load(Ordering::Relaxed) {
            return Ok(None);
        }
        {
            let mut kept = self.kept();
            kept.clock += 1;
            let clock = kept.clock;
            if let Some(map) = kept.maps.get_mut(&first.path)
                && let Some(buffer) = map.prefix(ranges)
            {
                map.used = clock;
                return Ok(Some(buffer));
            }
        }
        let Some(buffer) = storage.map(ranges)? else {
            self.apart.store(true, Ordering::Relaxed);
            return Ok(None);
        };
        let expected: u64 = ranges.iter().map(|r| r.len).sum();
        if buffer.len() as u64 != expected {
            return Err(Error::corrupt(format!("{} maps to {} bytes, not {expected}", first.path, buffer.len())));
        }
        self.kept().put(first.path.clone(), ranges.to_vec(), buffer.clone());
        Ok(Some(buffer))
    }
}

impl Kept {
    fn put(&mut self, path: String, ranges: Vec<FileRange>, buffer: Buffer) {
        if self.maps.len() >= KEPT_MAPS
            && let Some(oldest) = self.maps.iter().min_by_key(|(_, map)| map.used).map(|(path, _)| path.clone())
        {
            self.maps.remove(&oldest);
        }
        let used = self.clock;
        self.maps.insert(path, Map { ranges, buffer, used });
    }
}

impl ArrayState {
    /// Where a field's rows are.
    pub(crate) fn runs_of(&self, field: usize) -> Arc<Vec<Run>> {
        match self.runs.get(field) {
            Some(cell) => cell.get_or_init(|| Arc::new(runs(self, field))).clone(),
            None => Arc::default(),
        }
    }
}
