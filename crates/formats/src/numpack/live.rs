//! The rows of an array that were not deleted.

use std::ops::Range;
use std::sync::Arc;

use hyperslab_core::{ArraySource, Block, Error, FieldSpec, Result};

use super::bitmap::Live;

/// Shorter runs are joined with those after them, so that reading an array with many gaps is no reading row by row.
const MIN_RUN: u64 = 1024;
/// How far the end of a run is looked for: this is asked for every window that is read.
const MAX_RUN: u64 = 1 << 18;

/// An array without its deleted rows.
#[derive(Debug)]
pub(super) struct LiveSource {
    all: Arc<dyn ArraySource>,
    live: Live,
    name: String,
}

impl LiveSource {
    pub(super) fn new(all: Arc<dyn ArraySource>, live: Live, name: String) -> Self {
        Self { all, live, name }
    }

    fn beyond(&self, row: u64) -> Error {
        let why = format!("there is no row {row}; there are {} rows, counted from 0", self.rows());
        Error::invalid(why).with("array", &self.name)
    }
}

impl ArraySource for LiveSource {
    fn fields(&self) -> &[FieldSpec] {
        self.all.fields()
    }

    fn rows(&self) -> u64 {
        self.live.count()
    }

    fn run_end(&self, field: usize, row: u64) -> u64 {
        if row >= self.rows() || self.live.check().is_err() {
            return self.rows();
        }
        let place = self.live.place(row);
        let run = self.live.run_end(place, MAX_RUN).min(self.all.run_end(field, place)) - place;
        if run < MIN_RUN { row.saturating_add(MIN_RUN).min(self.rows()) } else { row + run }
    }

    fn read(&self, field: usize, rows: Range<u64>) -> Result<Block> {
        if rows.start > rows.end || rows.end > self.rows() {
            return Err(self.beyond(rows.start.max(rows.end.saturating_sub(1))));
        }
        self.live.check()?;
        let count = rows.end - rows.start;
        if count == 0 {
            return self.all.read(field, 0..0);
        }
        let place = self.live.place(rows.start);
        if self.live.run_end(place, count) - place == count {
            return self.all.read(field, place..place + count);
        }
        let mut places = Vec::new();
        let mut row = rows.start;
        while row < rows.end {
            let place = self.live.place(row);
            let end = self.live.run_end(place, rows.end - row).max(place + 1);
            places.extend(place..end);
            row += end - place;
        }
        self.all.take(field, &places)
    }

    fn take(&self, field: usize, rows: &[u64]) -> Result<Block> {
        if let Some(&row) = rows.iter().find(|&&r| r >= self.rows()) {
            return Err(self.beyond(row));
        }
        self.live.check()?;
        let places: Vec<u64> = rows.iter().map(|&r| self.live.place(r)).collect();
        self.all.take(field, &places)
    }
}
