//! Faults by seed: random transactions and maintenance, of which every call of the storage fails, is torn, is where the
//! process dies, the power goes or the disk is full. The store then shows the state before or after, never one between,
//! and nothing that was acknowledged is lost.
//!
//! `HYPERSLAB_SEED=<n>` repeats from a seed that was printed, `HYPERSLAB_RUNS=<n>` does more of them.

mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use hyperslab_core::{ErrorKind, Result};
use hyperslab_store::testing::{Fault, FaultStorage, Files};
use hyperslab_store::{Durability, MemoryStorage, OptimizeOptions, Store, VacuumOptions};

use crate::common::{Random, options, seeds};
use crate::indexes::Checksums;
use world::{INDEX, Op, World, difference, transaction, world};

/// What is done, as a whole or not at all.
#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Op>),
    Optimize(String, bool),
    /// An index that an array may have is computed for the rows that were there before it.
    Index(String),
    Vacuum,
}

impl Step {
    fn run(&self, store: &Store) -> Result<()> {
        match self {
            Self::Commit(ops) => {
                let mut tx = store.begin()?;
                ops.iter().try_for_each(|op| op.run(&mut tx))?;
                tx.commit().map(drop)
            }
            Self::Optimize(array, full) => store.optimize(array.as_str(), &OptimizeOptions { full: *full }).map(drop),
            Self::Index(array) => match store.build_index(array.as_str(), INDEX, &mut |_| true) {
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
                done => done.map(drop),
            },
            Self::Vacuum => {
                let options = VacuumOptions { retain: std::time::Duration::ZERO, ..VacuumOptions::default() };
                store.vacuum(&options).map(drop)
            }
        }
    }
}

impl Step {
    /// Whether older versions may be gone after it.
    fn expires(&self) -> bool {
        match self {
            Self::Commit(ops) => ops.iter().any(|op| matches!(op, Op::Tag(..))),
            Self::Vacuum => true,
            Self::Optimize(..) | Self::Index(_) => false,
        }
    }
}

/// A store in memory and what it must show.
struct Campaign {
    seed: u64,
    random: Random,
    in_place: bool,
    files: Files,
    version: u64,
    now: World,
    /// Versions that can be read, with what they show.
    history: BTreeMap<u64, World>,
    runs: usize,
}

/// How a step ended that something happened to.
enum Ended {
    /// It said that it worked.
    Done,
    /// It said that it did not.
    Failed,
    /// Nobody knows.
    Unknown,
}

impl Campaign {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let in_place = random.below(4) > 0;
        let mut campaign = Self {
            seed,
            random,
            in_place,
            files: Files::new(),
            version: 0,
            now: World::new(),
            history: BTreeMap::from([(0, World::new())]),
            runs: 0,
        };
        let storage = campaign.storage();
        drop(campaign.open(&storage, Durability::Full));
        campaign.files = files(&storage);
        campaign
    }

    fn storage(&self) -> Arc<FaultStorage> {
        let memory = Arc::new(MemoryStorage::new());
        Arc::new(FaultStorage::with_files(memory, self.files.clone()).unwrap().with_in_place(self.in_place))
    }

    fn open(&self, storage: &Arc<FaultStorage>, durability: Durability) -> Store {
        opened(storage, durability).unwrap_or_else(|e| panic!("{}: opening: {e}", self.seed))
    }

    /// A step that the store can do, and what the world is after it.
    fn next(&mut self) -> (Step, World) {
        let array = self.now.keys().nth(self.random.below(self.now.len().max(1))).cloned();
        match (self.random.below(8), array) {
            (0 | 1, Some(array)) if self.random.below(3) > 0 => {
                (Step::Optimize(array, self.random.below(2) == 0), self.now.clone())
            }
            (0 | 1, Some(array)) => (Step::Index(array), self.now.clone()),
            (2, _) if self.random.below(2) == 0 => (Step::Vacuum, self.now.clone()),
            _ => {
                let (ops, after) = transaction(&mut self.random, &self.now, &self.history, 0);
                (Step::Commit(ops), after)
            }
        }
    }

    /// Does a step with nothing going wrong; what it cost. `None` for a step that changes nothing.
    fn clean(&mut self, step: &Step, after: &World) -> Option<(Arc<FaultStorage>, u64)> {
        let storage = self.storage();
        let store = self.open(&storage, Durability::Full);
        let start = storage.counts().mutations();
        let what = format!("seed {}, {step:?}", self.seed);
        if let Step::Commit(ops) = step {
            // What the transaction sees of itself is what will be committed.
            let mut tx = store.begin().unwrap();
            ops.iter().try_for_each(|op| op.run(&mut tx)).unwrap_or_else(|e| panic!("{what}: {e}"));
            let own = world(&tx.snapshot().unwrap(), &mut self.random).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(
                own == *after || own == self.now,
                "{what}: the transaction shows otherwise: {}",
                difference(&own, after)
            );
        }
        let begun = storage.counts().mutations();
        step.run(&store).unwrap_or_else(|e| panic!("{what}: {e}"));
        let calls = storage.counts().mutations() - begun;
        let shown = world(&store.snapshot().unwrap(), &mut self.random).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(shown == *after, "{what}: {}", difference(&shown, after));
        (storage.counts().mutations() > start).then_some((storage, calls))
    }

    /// What a storage shows after something happened to a step; it goes on working.
    fn check(&mut self, what: &str, storage: &Arc<FaultStorage>, step: &Step, after: &World, ended: &Ended) {
        self.runs += 1;
        let (what, durability) = (format!("seed {}, {what}, {step:?}", self.seed), Durability::Full);
        let store = opened(storage, durability).unwrap_or_else(|e| panic!("{what}: opening: {e}"));
        let snapshot = store.snapshot().unwrap_or_else(|e| panic!("{what}: {e}"));
        let shown = world(&snapshot, &mut self.random).unwrap_or_else(|e| panic!("{what}: {e}"));
        let (is_before, is_after) = (shown == self.now, shown == *after);
        let differs =
            || format!("{what}: before: {}; after: {}", difference(&shown, &self.now), difference(&shown, after));
        match ended {
            Ended::Done => assert!(is_after, "{}", differs()),
            Ended::Failed => assert!(is_before, "{}", differs()),
            Ended::Unknown => assert!(is_before || is_after, "{}", differs()),
        }
        // An older version is what it was.
        let kept = self.history.iter().nth(self.random.below(self.history.len()));
        if let (Some((version, old)), false) = (kept, step.expires()) {
            let at = store.at(*version).unwrap_or_else(|e| panic!("{what}: version {version}: {e}"));
            let shown = world(&at, &mut self.random).unwrap_or_else(|e| panic!("{what}: version {version}: {e}"));
            assert!(shown == *old, "{what}: version {version}: {}", difference(&shown, old));
        }
        // It takes another commit, which leaves the rest alone.
        let (ops, after) = transaction(&mut self.random, &shown, &BTreeMap::new(), 0);
        let more = Step::Commit(ops);
        more.run(&store).unwrap_or_else(|e| panic!("{what}: then {more:?}: {e}"));
        drop(store);
        let store = opened(storage, durability).unwrap_or_else(|e| panic!("{what}: opening: {e}"));
        let snapshot = store.snapshot().unwrap_or_else(|e| panic!("{what}: then {more:?}: {e}"));
        let shown = world(&snapshot, &mut self.random).unwrap_or_else(|e| panic!("{what}: then {more:?}: {e}"));
        assert!(shown == after, "{what}: then {more:?}: {}", difference(&shown, &after));
    }

    /// Something goes wrong in a step.
    fn fault(&mut self, step: &Step, after: &World, fault: Fault, durability: Durability) {
        let storage = self.storage();
        let store = self.open(&storage, durability);
        storage.arm(fault);
        let result = step.run(&store);
        drop(store);
        storage.disarm();
        let ended = match (&result, fault) {
            (_, Fault::Freeze { .. }) => Ended::Unknown,
            (Ok(()), _) => Ended::Done,
            (Err(e), _) if e.kind() == ErrorKind::OutcomeUnknown => Ended::Unknown,
            (Err(e), _) => {
                assert!(e.kind() == ErrorKind::Io, "seed {}, {fault:?}, {step:?}: {e}", self.seed);
                Ended::Failed
            }
        };
        self.check(&format!("{fault:?} under {durability:?}"), &storage, step, after, &ended);
    }

    /// Every call of a step is where it goes wrong, in every way.
    fn in_turn(&mut self, step: &Step, after: &World, calls: u64, done: &FaultStorage) {
        let last = done.counts().mutations();
        for call in 0..calls {
            for fault in [
                Fault::Fail { call },
                Fault::Kill { call },
                Fault::Freeze { call },
                Fault::Tear { write: call },
                Fault::FailSync { sync: call },
            ] {
                let durability = if self.random.below(3) == 0 { Durability::Os } else { Durability::Full };
                // Syncs and writes are fewer than calls: those beyond do nothing.
                self.fault(step, after, fault, durability);
            }
            self.power_cut(step, after, done, last - call);
        }
        self.power_cut(step, after, done, last);
        for _ in 0..4 {
            let bytes = self.random.below(6000) as u64;
            self.fault(step, after, Fault::DiskFull { bytes }, Durability::Full);
        }
    }

    /// The power goes before a call; of what was not synced, some is there.
    fn power_cut(&mut self, step: &Step, after: &World, done: &FaultStorage, call: u64) {
        let end = done.counts().mutations();
        for keeping in 0..3 {
            let mut random = Random(self.random.next());
            let keep = |_| match keeping {
                0 => false,
                1 => true,
                _ => random.below(3) == 0,
            };
            let storage = Arc::new(done.crash_at(call, keep).unwrap());
            let ended = if call == end { Ended::Done } else { Ended::Unknown };
            let what = format!("power cut before call {call} of {end}, keeping {keeping}");
            self.check(&what, &storage, step, after, &ended);
        }
    }

    /// Goes on from what a step left.
    fn take(&mut self, after: World, storage: &Arc<FaultStorage>) {
        self.files = files(storage);
        self.now = after;
        let store = self.open(storage, Durability::Full);
        self.version = store.snapshot().unwrap().version();
        // VACUUM expires versions, and so does a tag that moves away from one that had expired.
        self.history.retain(|&version, _| store.at(version).is_ok());
        self.history.insert(self.version, self.now.clone());
        while self.history.len() > 12 {
            let any = self.history.keys().nth(self.random.below(12)).copied().unwrap();
            self.history.remove(&any);
        }
    }
}

fn opened(storage: &Arc<FaultStorage>, durability: Durability) -> Result<Store> {
    let store = Store::on(storage.clone(), options(durability))?;
    store.add_index_kind(Arc::new(Checksums));
    Ok(store)
}

/// All files, as they are.
fn files(storage: &FaultStorage) -> Files {
    storage.files_after_crash(u64::MAX, |_| true).unwrap()
}

#[test]
fn every_call_of_random_steps_goes_wrong() {
    let mut runs = 0;
    for seed in seeds("campaign", 6) {
        let mut campaign = Campaign::new(seed);
        for step in 0..24 {
            let (step_, after) = campaign.next();
            let Some((done, calls)) = campaign.clean(&step_, &after) else { continue };
            if step % 4 == 3 {
                campaign.in_turn(&step_, &after, calls, &done);
            }
            campaign.take(after, &done);
        }
        runs += campaign.runs;
    }
    println!("{runs} runs");
}

#[test]
fn long_lives_with_a_fault_now_and_then() {
    for seed in seeds("life", 6) {
        let mut campaign = Campaign::new(seed);
        for _ in 0..120 {
            let (step, after) = campaign.next();
            let Some((done, calls)) = campaign.clean(&step, &after) else { continue };
            let call = campaign.random.below(calls.max(1) as usize) as u64;
            let fault = [Fault::Fail { call }, Fault::Kill { call }, Fault::Freeze { call }][campaign.random.below(3)];
            campaign.fault(&step, &after, fault, Durability::Full);
            let cut = done.counts().mutations() - call;
            campaign.power_cut(&step, &after, &done, cut);
            campaign.take(after, &done);
        }
    }
}
