//! The columns of an index for rows that were there before it.

use std::ops::Range;
use std::sync::Arc;

use hyperslab_core::{ArraySource as _, Error, Result, arrow};

use crate::action::{Action, IndexFill};
use crate::index::{IndexOf, filled, indexes};
use crate::segment::Segment;
use crate::state::{ArrayState, State};
use crate::store::Inner;
use crate::transaction::Transaction;
use crate::writer::{SegmentWriter, Target};
use crate::{Array, ArrayName, Snapshot, Store};

/// What is read of the field at once.
const BATCH: u64 = 4 << 20;

/// How far the building of an index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexProgress {
    /// Rows that have its columns…
    pub done: u64,
    /// …of so many.
    pub rows: u64,
}

impl Store {
    /// Computes the columns of an index where rows have none, segment by segment: each is committed by itself, so that
    /// what was done stays done when the process ends, memory is bounded, and calling it again goes on. `progress` is
    /// called now and then, and ends it by saying false.
    ///
    /// # Errors
    /// `NotFound` for array, index or its kind; `ReadOnly`; `Io`.
    pub fn build_index(
        &self,
        array: impl Into<ArrayName>,
        index: &str,
        progress: &mut dyn FnMut(IndexProgress) -> bool,
    ) -> Result<IndexProgress> {
        let id = self.snapshot()?.array(array)?.state().id;
        self.inner().check_writable()?;
        let gone = || Error::not_found(format!("there is no index {index:?}, or it was dropped meanwhile"));
        loop {
            let snapshot = self.snapshot()?;
            let source = snapshot.array_by_id(id).ok_or_else(gone)?;
            let state = source.state();
            let of = indexes(state)?.into_iter().find(|of| of.index.name == index).ok_or_else(gone)?;
            if self.inner().index_kinds.get(&of.index.kind).is_none() {
                return Err(Error::not_found(format!("there is no kind of index {:?}", of.index.kind)));
            }
            let build = Build { store: self.inner(), snapshot: &snapshot, source: &source, of: &of };
            let done = state.segments().iter().filter(|s| !build.is_wanted(s)).map(|s| s.live()).sum();
            let mut at = IndexProgress { done, rows: state.rows() };
            let Some(segment) = state.segments().iter().find(|s| build.is_wanted(s)).cloned() else { return Ok(at) };
            let mut tell = |rows| {
                at.done = done + rows;
                progress(at)
            };
            if !build.segment(&segment, &mut tell)? {
                return Ok(at);
            }
        }
    }
}

struct Build<'a> {
    store: &'a Arc<Inner>,
    snapshot: &'a Arc<Snapshot>,
    source: &'a Array,
    of: &'a IndexOf<'a>,
}

impl Build<'_> {
    /// Whether a segment has values, and no columns of the index to them.
    fn is_wanted(&self, segment: &Segment) -> bool {
        let has = |at: usize| segment.shards.get(at).is_some_and(|shards| !shards.is_empty());
        has(self.of.of) && !self.of.at.clone().any(has)
    }

    /// Computes the columns of a segment and commits them, if nothing has come in between; false if it was told to stop.
    fn segment(&self, segment: &Arc<Segment>, progress: &mut dyn FnMut(u64) -> bool) -> Result<bool> {
        let state = self.source.state();
        let mut tx = Transaction::new(self.store.clone(), self.snapshot.clone());
        let mut writer = SegmentWriter::whole(target(state, self.of), segment.id);
        let live = self.source.live(segment)?;
        let start = state.segment(segment.id).map_or(0, |(_, start, _)| start);
        let step = (BATCH / (self.of.field.row_bytes() as u64).max(1)).max(1);
        let (mut next, mut rank) = (0, 0);
        while next < segment.rows {
            if !progress(rank) {
                return Ok(false);
            }
            let offsets = next..segment.rows.min(next + step);
            let runs = live_runs(live.as_deref(), &offsets);
            let columns = self.columns(&offsets, &runs, start + rank)?;
            let columns: Vec<&[u8]> = columns.iter().map(Vec::as_slice).collect();
            writer.write(tx.files_mut(), &columns, offsets.end - offsets.start)?;
            rank += runs.iter().map(|run| run.end - run.start).sum::<u64>();
            next = offsets.end;
        }
        let written = writer.finish(tx.files_mut(), false)?;
        let shards = written.into_iter().filter_map(|action| match action {
            Action::SegmentAdd(add) => Some(add.shards),
            _ => None,
        });
        let fill = IndexFill { array: state.id, segment: segment.id, shards: shards.flatten().collect() };
        let done = tx.commit_replacement(|newest| match self.fits(newest, segment) {
            true => Ok(Action::IndexFill(fill.clone())),
            false => Err(Error::conflict("the segment was rewritten or filled meanwhile")),
        });
        match done {
            // Whoever came in between left another segment, or a filled one: it is looked at again.
            Err(e) if e.kind() == hyperslab_core::ErrorKind::Conflict => Ok(true),
            done => done.map(|_| true),
        }
    }

    /// Raw columns of the index for some offsets of a segment, of which those of `runs` are alive and the first one is
    /// row `row`.
    fn columns(&self, offsets: &Range<u64>, runs: &[Range<u64>], row: u64) -> Result<Vec<Vec<u8>>> {
        let rows = (offsets.end - offsets.start) as usize;
        let alive: u64 = runs.iter().map(|run| run.end - run.start).sum();
        let block = self.source.read(self.of.of, row..row + alive)?;
        let values = arrow::raw_bytes(self.of.field, block.array.as_ref(), row)?;
        let computed = self.store.index_kinds.columns(self.of, alive as usize, &values)?;
        if alive as usize == rows {
            return Ok(computed);
        }
        let mut columns = Vec::with_capacity(computed.len());
        for (column, computed) in self.of.columns.iter().zip(computed) {
            let (mut all, width) = (filled(column, rows)?, column.row_bytes());
            let mut from = computed.as_slice();
            for run in runs {
                let (start, len) = ((run.start - offsets.start) as usize, (run.end - run.start) as usize);
                if let (Some(to), Some((first, rest))) =
                    (all.get_mut(start * width..(start + len) * width), from.split_at_checked(len * width))
                {
                    to.copy_from_slice(first);
                    from = rest;
                }
            }
            columns.push(all);
        }
        Ok(columns)
    }

    /// Whether the columns can be added to what the newest version has: of values that were replaced since, the writer
    /// has computed the columns itself.
    fn fits(&self, newest: &State, segment: &Segment) -> bool {
        let array = newest.array(self.source.state().id);
        let same = array.and_then(|array| array.index(&self.of.index.name)).is_some_and(|(i, _)| i == self.of.index);
        let found = array.and_then(|array| array.segment(segment.id));
        same && found.is_some_and(|(.., now)| now.rows == segment.rows && self.is_wanted_in(array, now))
    }

    fn is_wanted_in(&self, array: Option<&Arc<ArrayState>>, segment: &Segment) -> bool {
        let at = array.and_then(|array| array.index(&self.of.index.name)).map_or(0..0, |(_, at)| at);
        at.into_iter().all(|at| segment.shards.get(at).is_some_and(Vec::is_empty))
    }
}

/// The live offsets among some.
fn live_runs(live: Option<&crate::deletion::LiveIndex>, offsets: &Range<u64>) -> Vec<Range<u64>> {
    let Some(live) = live else { return vec![offsets.clone()] };
    let mut runs = Vec::new();
    for number in live.run_of(offsets.start).. {
        let Some(run) = live.run(number).filter(|run| run.start < offsets.end) else { break };
        let run = run.start.max(offsets.start)..run.end.min(offsets.end);
        if !run.is_empty() {
            runs.push(run);
        }
    }
    runs
}

/// What writes the columns of an index.
fn target(array: &ArrayState, of: &IndexOf<'_>) -> Target {
    Target {
        array: array.id,
        fields: of.columns.to_vec(),
        field_ids: of.index.columns.iter().map(|column| column.id).collect(),
        codecs: Vec::new(),
        shard_bytes: array.options.shard_bytes,
    }
}
