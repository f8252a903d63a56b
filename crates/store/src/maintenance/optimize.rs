//! OPTIMIZE: small segments are merged, patches folded, deleted rows dropped, sealed shards (de)compressed.
//!
//! An array is worked through group by group of neighbouring segments, each of which is read in batches, written anew and
//! committed by itself: memory and temporary files are bounded, and what was done stays done when the process is killed.

mod plan;
mod rewrite;

use std::collections::BTreeSet;
use std::sync::Arc;

use hyperslab_core::{ErrorKind, Result};

use plan::Group;
pub(crate) use plan::{Scope, is_due};

use crate::action::Id;
use crate::state::ArrayState;
use crate::store::Inner;
use crate::{ArrayName, Store};

/// How often in a row a group may lose against other writers.
const ATTEMPTS: u32 = 10;

/// What OPTIMIZE does.
#[derive(Debug, Clone, Default)]
pub struct OptimizeOptions {
    /// Rewrite every segment, whether it needs that or not.
    pub full: bool,
}

/// What OPTIMIZE did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptimizeReport {
    /// Segments that were replaced…
    pub segments_before: u64,
    /// …and by how many.
    pub segments_after: u64,
    /// Deleted rows that are not in the new files.
    pub rows_dropped: u64,
    /// Replaced rows that stand in their shards now.
    pub rows_folded: u64,
    /// Bytes of the shards that were replaced, those of patches not included…
    pub bytes_before: u64,
    /// …and of the new ones. The old files stay until VACUUM.
    pub bytes_after: u64,
    /// The newest version; unchanged if nothing was to do.
    pub version: u64,
}

impl Store {
    /// Rewrites what has become slow to read of an array, in bounded memory; never changes what a query returns. Other
    /// writers go on meanwhile: who changes rows that are being rewritten wins, and their segments are done again.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when edits of others came in between every time; `ReadOnly`; `Io`. What was done before the
    /// error stays.
    pub fn optimize(&self, name: impl Into<ArrayName>, options: &OptimizeOptions) -> Result<OptimizeReport> {
        let array = self.snapshot()?.array(name)?.state().id;
        let inner = self.inner();
        inner.check_writable()?;
        let done = optimize(inner, array, Scope::Asked { full: options.full }, &|| false);
        done.map_err(|e| e.with("store", self.describe()))
    }
}

/// Optimizes an array until nothing is left to do, or until it is told to stop.
///
/// # Errors
/// As [`Store::optimize`].
pub(crate) fn optimize(store: &Arc<Inner>, array: Id, scope: Scope, stop: &dyn Fn() -> bool) -> Result<OptimizeReport> {
    let mut report = OptimizeReport::default();
    // Only what was there in the beginning is rewritten, and that once: it ends whatever others do.
    let mut todo: Option<BTreeSet<u32>> = None;
    let mut lost = 0;
    loop {
        let snapshot = store.snapshot()?;
        report.version = report.version.max(snapshot.version());
        let Some(source) = snapshot.array_by_id(array) else { return Ok(report) };
        let state = source.state();
        let todo = todo.get_or_insert_with(|| state.segments().iter().map(|s| s.id).collect());
        let groups = plan::groups(state, scope, todo);
        let Some(group) = groups.first().filter(|_| !stop()) else { return Ok(report) };
        match rewrite::rewrite(store, &snapshot, &source, group, stop) {
            Ok(Some(done)) => {
                report.add(&done);
                group.ids(state).for_each(|id| {
                    todo.remove(&id);
                });
                lost = 0;
            }
            Ok(None) => return Ok(report),
            Err(e) if e.kind() == ErrorKind::Conflict && lost < ATTEMPTS => lost += 1,
            // Others append all the time: the segment that grows is left to them.
            Err(e)
                if e.kind() == ErrorKind::Conflict
                    && let Some(growing) = growing(state, group) =>
            {
                todo.remove(&growing);
                lost = 0;
            }
            Err(e) => return Err(e.with("array", source.name())),
        }
    }
}

/// The segment of the group that grows in place.
fn growing(state: &ArrayState, group: &Group) -> Option<u32> {
    let last = group.segments.end == state.segments().len();
    state.open_segment().filter(|_| last).map(|s| s.id)
}

impl OptimizeReport {
    fn add(&mut self, other: &Self) {
        self.segments_before += other.segments_before;
        self.segments_after += other.segments_after;
        self.rows_dropped += other.rows_dropped;
        self.rows_folded += other.rows_folded;
        self.bytes_before += other.bytes_before;
        self.bytes_after += other.bytes_after;
        self.version = self.version.max(other.version);
    }
}

impl Group {
    fn ids<'a>(&self, state: &'a ArrayState) -> impl Iterator<Item = u32> + use<'a> {
        state.segments().get(self.segments.clone()).unwrap_or_default().iter().map(|s| s.id)
    }
}
