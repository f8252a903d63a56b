//! Where live rows are, one part after the other.

use std::ops::Range;
use std::sync::Arc;

use hyperslab_core::{Error, Result};

use super::Reader;
use crate::deletion::LiveIndex;
use crate::patch::Cursor;

/// Live rows of one field that lie side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// See [`Reader::column`].
    pub source: usize,
    /// Counted from that segment's first.
    pub rows: Range<u64>,
}

/// Goes through consecutive live rows.
pub(super) struct Sweep<'r, 'a> {
    reader: &'r Reader<'a>,
    /// How many rows are still to come.
    left: u64,
    segment: usize,
    /// The segment's id, as the upper half of addresses.
    base: u64,
    live: Option<Arc<LiveIndex>>,
    /// Of the run of live rows with this number…
    run: usize,
    /// …what is left.
    offsets: Range<u64>,
    patches: Option<Cursor<'r>>,
}

impl<'r, 'a> Sweep<'r, 'a> {
    pub(super) fn new(reader: &'r Reader<'a>, rows: Range<u64>) -> Result<Self> {
        let left = rows.end.saturating_sub(rows.start);
        let mut sweep = Self { reader, left, segment: 0, base: 0, live: None, run: 0, offsets: 0..0, patches: None };
        if left == 0 {
            return Ok(sweep);
        }
        let (segment, start, _) = reader.array.state.segment_of(rows.start).ok_or_else(|| sweep.missing())?;
        sweep.enter(segment)?;
        let rank = rows.start - start;
        match &sweep.live {
            Some(live) => {
                let offset = live.offset(rank);
                sweep.run = live.run_of(offset);
                sweep.offsets = offset..live.run(sweep.run).map_or(offset, |run| run.end);
            }
            None => sweep.offsets.start = rank,
        }
        Ok(sweep)
    }

    fn missing(&self) -> Error {
        Error::corrupt(format!("array {:?} has fewer rows than it counts", self.reader.array.name().to_string()))
    }

    /// Goes to the first live row of a segment.
    fn enter(&mut self, segment: usize) -> Result<()> {
        let held = self.reader.array.state.segments().get(segment).ok_or_else(|| self.missing())?;
        self.segment = segment;
        self.base = u64::from(held.id) << 32;
        self.live = self.reader.live(held)?;
        self.run = 0;
        self.offsets = match &self.live {
            Some(live) => live.run(0).unwrap_or(0..0),
            None => 0..held.rows,
        };
        self.patches = self.reader.overlay.as_ref().map(|overlay| overlay.cursor(self.base));
        Ok(())
    }

    /// Goes on to the next row, if it is not side by side with the last.
    fn advance(&mut self) -> Result<()> {
        while self.offsets.is_empty() {
            self.run += 1;
            match self.live.as_ref().and_then(|live| live.run(self.run)) {
                Some(run) => self.offsets = run,
                None => self.enter(self.segment + 1)?,
            }
        }
        Ok(())
    }

    /// The next rows; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Part>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.advance()?;
        let start = self.offsets.start;
        let mut end = self.offsets.end.min(start.saturating_add(self.left));
        let mut part = Part { source: self.segment, rows: start..end };
        if let Some(patches) = self.patches.as_mut().and_then(|patches| patches.seek(self.base | start)) {
            let first = patches.start - self.base;
            if first > start {
                end = end.min(first);
                part.rows.end = end;
            } else {
                let (source, rows) = self.reader.patches(patches.patch)?;
                end = end.min(patches.end - self.base).min(start + (rows.end - rows.start));
                part = Part { source, rows: rows.start..rows.start + (end - start) };
            }
        }
        self.offsets.start = end;
        self.left -= end - start;
        Ok(Some(part))
    }
}
