//! What became of segments that were compacted: addresses are translated by the rank of live rows.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use hyperslab_core::Result;

use crate::Storage;
use crate::action::{Action, Deleted, Id, SegmentReplace};
use crate::deletion::{Deletions, LiveIndex};
use crate::log::Entry;
use crate::state::ArrayState;

/// The replaced segments of one array.
#[derive(Debug, Clone)]
pub(super) struct Lineage {
    id: Id,
    groups: Vec<Group>,
    /// The group that replaced a segment.
    replaced: HashMap<u32, usize>,
    /// Segments in which rows were replaced.
    patched: HashSet<u32>,
    /// Whether the array was restored to an earlier state in between.
    pub(super) restored: bool,
}

#[derive(Debug, Clone)]
struct Group {
    old: Vec<Member>,
    new: Vec<Member>,
}

#[derive(Debug, Clone)]
struct Member {
    segment: u32,
    rows: u64,
    deleted: Deletions,
}

impl Lineage {
    pub(super) fn of(id: Id) -> Self {
        Self { id, groups: Vec::new(), replaced: HashMap::new(), patched: HashSet::new(), restored: false }
    }

    /// Takes note of what an entry did to the array.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(super) fn see(&mut self, entry: &Entry) -> Result<()> {
        for action in &entry.actions {
            match action {
                Action::SegmentReplace(a) if a.array == self.id => self.replace(a)?,
                Action::Patch(a) if a.array == self.id => self.patched.extend(&a.covers),
                Action::ArrayRestore(a) if a.create.array == self.id => self.restored = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn replace(&mut self, action: &SegmentReplace) -> Result<()> {
        let old = action.old.iter().map(|s| Member::new(s.segment, s.rows, &s.deleted)).collect::<Result<_>>()?;
        let new = action.new.iter().map(|s| Member::new(s.segment, s.rows, &s.deleted)).collect::<Result<_>>()?;
        self.replaced.extend(action.old.iter().map(|s| (s.segment, self.groups.len())));
        self.groups.push(Group { old, new });
        Ok(())
    }

    /// The segment and all that its rows went through.
    fn reached(&self, segment: u32) -> BTreeSet<u32> {
        let (mut reached, mut left) = (BTreeSet::new(), vec![segment]);
        while let Some(segment) = left.pop() {
            if reached.insert(segment)
                && let Some(group) = self.replaced.get(&segment).and_then(|i| self.groups.get(*i))
            {
                left.extend(group.new.iter().map(|m| m.segment));
            }
        }
        reached
    }

    /// Whether rows of a segment are in an array, perhaps in other segments.
    pub(super) fn leads(&self, segment: u32, to: &ArrayState) -> bool {
        self.reached(segment).into_iter().any(|segment| to.segment(segment).is_some())
    }

    /// Whether values of a segment may have been replaced before they were compacted.
    pub(super) fn is_patched(&self, segment: u32) -> bool {
        self.restored || self.reached(segment).iter().any(|segment| self.patched.contains(segment))
    }

    /// The address, in an array, of what was the row at an address; `None` if it was deleted.
    ///
    /// # Errors
    /// `Corrupt` for a file of deleted rows that cannot be read.
    pub(super) fn translate(&self, storage: &dyn Storage, address: u64, to: &ArrayState) -> Result<Option<u64>> {
        let (mut segment, mut offset) = ((address >> 32) as u32, address & 0xffff_ffff);
        for _ in 0..=self.groups.len() {
            if to.segment(segment).is_some() {
                return Ok(Some(u64::from(segment) << 32 | offset));
            }
            let Some(group) = self.replaced.get(&segment).and_then(|i| self.groups.get(*i)) else { return Ok(None) };
            let Some(rank) = group.rank(storage, self.id, segment, offset)? else { return Ok(None) };
            let Some(next) = group.place(storage, self.id, rank)? else { return Ok(None) };
            (segment, offset) = next;
        }
        Ok(None)
    }
}

impl Group {
    fn rank(&self, storage: &dyn Storage, id: Id, segment: u32, offset: u64) -> Result<Option<u64>> {
        let mut before = 0;
        for member in &self.old {
            if member.segment == segment {
                if offset >= member.rows {
                    return Ok(None);
                }
                let rank = member.live(storage, id)?.map_or(Some(offset), |live| live.rank(offset));
                return Ok(rank.map(|rank| before + rank));
            }
            before += member.rows - member.deleted.rows();
        }
        Ok(None)
    }

    fn place(&self, storage: &dyn Storage, id: Id, mut rank: u64) -> Result<Option<(u32, u64)>> {
        for member in &self.new {
            let live = member.rows - member.deleted.rows();
            if rank < live {
                let offset = member.live(storage, id)?.map_or(rank, |live| live.offset(rank));
                return Ok(Some((member.segment, offset)));
            }
            rank -= live;
        }
        Ok(None)
    }
}

impl Member {
    fn new(segment: u32, rows: u64, record: &Deleted) -> Result<Self> {
        let mut deleted = Deletions::default();
        deleted.restore(record, rows)?;
        Ok(Self { segment, rows, deleted })
    }

    fn live(&self, storage: &dyn Storage, id: Id) -> Result<Option<Arc<LiveIndex>>> {
        self.deleted.live(storage, id, self.rows)
    }
}
