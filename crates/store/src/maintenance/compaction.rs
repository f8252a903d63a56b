//! Compaction by itself: a thread of an open store optimizes what commits have worn past the thresholds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::optimize::{Scope, is_due, optimize};
use crate::action::{Action, Id};
use crate::state::State;
use crate::store::Inner;

/// How long commits are left to themselves before what they wore is looked at.
const PAUSE: Duration = Duration::from_millis(100);
/// After what time a failure is tried again at first…
const RETRY: Duration = Duration::from_secs(10);
/// …and at last.
const MAX_RETRY: Duration = Duration::from_secs(3600);
/// Arrays of fewer segments need not be looked at for what an append did.
const LOOK_FROM: usize = 64;

/// What the thread has to look at.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    arrays: BTreeSet<Id>,
    /// What failed: when it is tried again, and how long was waited for that.
    failed: BTreeMap<Id, (Instant, Duration)>,
    started: bool,
    busy: bool,
    closed: bool,
}

/// The arrays that a commit may have worn, `state` being what it led to.
pub(crate) fn worn(actions: &[Action], state: &State) -> BTreeSet<Id> {
    let worn = |action: &Action| match action {
        Action::SegmentAdd(a) => state.array(a.array).filter(|s| s.segments().len() >= LOOK_FROM).map(|s| s.id),
        Action::Patch(a) => Some(a.array),
        Action::Delete(a) => Some(a.array),
        _ => None,
    };
    actions.iter().filter_map(worn).collect()
}

impl Compaction {
    /// Has arrays looked at after a commit.
    pub(crate) fn look_at(&self, store: &Arc<Inner>, arrays: BTreeSet<Id>) {
        if !store.options.auto_compact || arrays.is_empty() {
            return;
        }
        let mut queue = self.shared.queue();
        if queue.closed {
            return;
        }
        let idle = queue.arrays.is_empty();
        queue.arrays.extend(arrays);
        if !std::mem::replace(&mut queue.started, true) {
            let (shared, store) = (self.shared.clone(), Arc::downgrade(store));
            let thread = std::thread::Builder::new().name("hyperslab-compaction".into());
            // Where no thread is to be had, OPTIMIZE is still there.
            let spawned = thread.spawn(move || shared.run(&store)).ok();
            *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = spawned;
        } else if idle {
            self.shared.changed.notify_all();
        }
    }

    /// Ends the thread; what it is writing is given up.
    pub(crate) fn close(&self) {
        self.shared.queue().closed = true;
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It panics only if the program is wrong, and then has said so.
            let _ended = thread.join();
        }
    }

    /// Waits until everything that was committed has been looked at.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn wait(&self) {
        let mut queue = self.shared.queue();
        while (!queue.arrays.is_empty() || queue.busy) && !queue.closed {
            queue = self.shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.queue().closed
    }

    fn run(&self, store: &Weak<Inner>) {
        while let Some(arrays) = self.next() {
            for id in arrays {
                let Some(store) = store.upgrade() else { return };
                let failed = self.compact(&store, id).is_err();
                let mut queue = self.queue();
                match failed {
                    true => {
                        let waited = queue.failed.get(&id).map_or(RETRY / 2, |(_, waited)| *waited);
                        let wait = (waited * 2).min(MAX_RETRY);
                        queue.failed.insert(id, (Instant::now() + wait, wait));
                    }
                    false => {
                        queue.failed.remove(&id);
                    }
                }
            }
            self.queue().busy = false;
            self.changed.notify_all();
        }
    }

    fn compact(&self, store: &Arc<Inner>, id: Id) -> hyperslab_core::Result<()> {
        let newest = store.log.newest()?;
        if newest.array(id).is_some_and(|array| is_due(array)) {
            optimize(store, id, Scope::Automatic, &|| self.is_closed())?;
        }
        Ok(())
    }

    /// The arrays to look at next, when there are any; `None` when the store is closed.
    fn next(&self) -> Option<BTreeSet<Id>> {
        let mut queue = self.queue();
        loop {
            if queue.closed {
                return None;
            }
            let now = Instant::now();
            let again = queue.failed.values().map(|(at, _)| at.saturating_duration_since(now)).min();
            if !queue.arrays.is_empty() || again == Some(Duration::ZERO) {
                break;
            }
            queue = match again {
                Some(wait) => self.changed.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
        let (mut queue, _) = self
            .changed
            .wait_timeout_while(queue, PAUSE, |queue| !queue.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mut arrays = std::mem::take(&mut queue.arrays);
        // What failed a moment ago waits for its time.
        arrays.retain(|id| queue.failed.get(id).is_none_or(|(at, _)| *at <= now));
        arrays.extend(queue.failed.iter().filter(|(_, (at, _))| *at <= now).map(|(id, _)| *id));
        queue.busy = true;
        (!queue.closed).then_some(arrays)
    }
}
