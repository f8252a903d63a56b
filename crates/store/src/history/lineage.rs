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
    /// The groups that a segment is in: where it was replaced (more than once, if it was restored in between) and where
    /// it came from.
    of_segment: HashMap<u32, Vec<usize>>,
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
        Self { id, groups: Vec::new(), of_segment: HashMap::new(), patched: HashSet::new(), restored: false }
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
        let ids = action.old.iter().map(|s| s.segment).chain(action.new.iter().map(|s| s.segment));
        for id in ids {
            self.of_segment.entry(id).or_default().push(self.groups.len());
        }
        self.groups.push(Group { old, new });
        Ok(())
    }

    fn groups_of(&self, segment: u32) -> impl Iterator<Item = &Group> {
        self.of_segment.get(&segment).into_iter().flatten().filter_map(|i| self.groups.get(*i))
    }

    /// The segment and all that rows of it were in.
    fn related(&self, segment: u32) -> BTreeSet<u32> {
        let (mut related, mut left) = (BTreeSet::new(), vec![segment]);
        while let Some(segment) = left.pop() {
            if related.insert(segment) {
                left.extend(
                    self.groups_of(segment).flat_map(|group| group.old.iter().chain(&group.new)).map(|m| m.segment),
                );
            }
        }
        related
    }

    /// Whether rows of a segment may be in an array, in other segments.
    pub(super) fn leads(&self, segment: u32, to: &ArrayState) -> bool {
        self.related(segment).into_iter().any(|segment| to.segment(segment).is_some())
    }

    /// Whether values of a segment may have been replaced before they were compacted.
    pub(super) fn is_patched(&self, segment: u32) -> bool {
        self.restored || self.related(segment).iter().any(|segment| self.patched.contains(segment))
    }

    /// The address, in an array, of what was the row at an address; `None` if it was deleted. After a restore it may
    /// be where the row was before a compaction, or where another one took it.
    ///
    /// # Errors
    /// `Corrupt` for a file of deleted rows that cannot be read.
    pub(super) fn translate(&self, storage: &dyn Storage, address: u64, to: &ArrayState) -> Result<Option<u64>> {
        let (mut seen, mut left) = (Vec::new(), vec![((address >> 32) as u32, address & 0xffff_ffff)]);
        while let Some((segment, offset)) = left.pop() {
            if to.segment(segment).is_some() {
                return Ok(Some(u64::from(segment) << 32 | offset));
            }
            seen.push(segment);
            for group in self.groups_of(segment) {
                let is_old = group.old.iter().any(|m| m.segment == segment);
                let (from, to) = if is_old { (&group.old, &group.new) } else { (&group.new, &group.old) };
                if let Some(rank) = rank(from, storage, self.id, segment, offset)?
                    && let Some(next) = place(to, storage, self.id, rank)?
                    && !seen.contains(&next.0)
                {
                    left.push(next);
                }
            }
        }
        Ok(None)
    }
}

/// The rank of a row among the live ones of some segments; `None` if it was deleted.
fn rank(members: &[Member], storage: &dyn Storage, id: Id, segment: u32, offset: u64) -> Result<Option<u64>> {
    let mut before = 0;
    for member in members {
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

/// Where the live row of a rank is.
fn place(members: &[Member], storage: &dyn Storage, id: Id, mut rank: u64) -> Result<Option<(u32, u64)>> {
    for member in members {
        let live = member.rows - member.deleted.rows();
        if rank < live {
            let offset = member.live(storage, id)?.map_or(rank, |live| live.offset(rank));
            return Ok(Some((member.segment, offset)));
        }
        rank -= live;
    }
    Ok(None)
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
