//! What other transactions committed since this one began: conflicts, and rows that compaction moved.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyperslab_core::{Error, FieldSpec, Result};
use roaring::RoaringBitmap;

use super::stage::addresses;
use super::{Touched, Transaction, exists};
use crate::action::{Action, Deleted, Id, SegmentReplace};
use crate::column::{self, Column};
use crate::deletion::{Deletions, LiveIndex};
use crate::segment::Segment;
use crate::state::{ArrayState, PatchSegment, State, address_field};
use crate::{ArrayName, Storage};

/// So many rows are named in a conflict…
const NAMED: usize = 5;
/// …the first of this many.
const LOOKED_UP: usize = 1000;

/// Where compaction has moved rows of an array.
#[derive(Debug, Default)]
pub(super) struct Moves(Vec<Move>);

#[derive(Debug)]
struct Move {
    old: Vec<Place>,
    new: Vec<Place>,
}

/// A segment that was replaced, or that replaces.
#[derive(Debug)]
struct Place {
    segment: u32,
    /// Its first live row, counted from that of the first segment.
    start: u64,
    /// How many live rows it has.
    rows: u64,
    live: Option<Arc<LiveIndex>>,
}

impl Moves {
    /// Whether a segment of the base was replaced.
    pub(super) fn concerns(&self, segment: u32) -> bool {
        self.0.iter().any(|m| m.old.iter().any(|place| place.segment == segment))
    }

    /// The address that a row had in the base.
    fn origin(&self, address: u64) -> Option<u64> {
        self.0.iter().rev().try_fold(address, |address, m| follow(&m.new, &m.old, address))
    }

    /// Where the row of an address of the base is now.
    ///
    /// # Errors
    /// `Conflict` where it is gone.
    pub(super) fn moved(&self, address: u64) -> Result<u64> {
        let gone = || conflict("a row was deleted".into());
        self.0.iter().try_fold(address, |address, m| follow(&m.old, &m.new, address).ok_or_else(gone))
    }
}

impl Move {
    fn new(action: &SegmentReplace, storage: &dyn Storage) -> Result<Self> {
        let place = |start: &mut u64, segment: u32, rows: u64, deleted: &Deleted| {
            let mut deletions = Deletions::default();
            deletions.restore(deleted, rows)?;
            let live = deletions.live(storage, action.array, rows)?;
            let first = *start;
            *start += rows - deleted.rows;
            Ok::<_, Error>(Place { segment, start: first, rows: rows - deleted.rows, live })
        };
        let (mut old, mut new) = (0, 0);
        Ok(Self {
            old: action.old.iter().map(|s| place(&mut old, s.segment, s.rows, &s.deleted)).collect::<Result<_>>()?,
            new: action.new.iter().map(|s| place(&mut new, s.segment, s.rows, &s.deleted)).collect::<Result<_>>()?,
        })
    }
}

/// Where the row of an address is that compaction took from some segments to others: the row of the same rank.
fn follow(from: &[Place], to: &[Place], address: u64) -> Option<u64> {
    let (segment, offset) = ((address >> 32) as u32, address & 0xffff_ffff);
    let Some(old) = from.iter().find(|place| place.segment == segment) else { return Some(address) };
    let rank = old.start + old.live.as_ref().map_or(Some(offset), |live| live.rank(offset))?;
    let new = to.iter().find(|place| (place.start..place.start + place.rows).contains(&rank))?;
    let rank = rank - new.start;
    Some(u64::from(new.segment) << 32 | new.live.as_ref().map_or(rank, |live| live.offset(rank)))
}

/// Rows of the base that a transaction edited, where they are now: offsets by segment.
#[derive(Debug, Default)]
struct Edited(BTreeMap<u32, RoaringBitmap>);

impl Edited {
    fn insert(&mut self, address: u64) {
        self.0.entry((address >> 32) as u32).or_default().insert(address as u32);
    }

    fn contains(&self, address: u64) -> bool {
        self.0.get(&((address >> 32) as u32)).is_some_and(|offsets| offsets.contains(address as u32))
    }

    /// Follows compaction; gives the addresses of rows that are gone.
    fn follow(&mut self, moved: &Move) -> Hit {
        let mut gone = Hit::default();
        for place in &moved.old {
            for offset in self.0.remove(&place.segment).unwrap_or_default() {
                let address = u64::from(place.segment) << 32 | u64::from(offset);
                match follow(&moved.old, &moved.new, address) {
                    Some(now) => self.insert(now),
                    None => gone.add(address),
                }
            }
        }
        gone
    }
}

/// Rows that two transactions changed.
#[derive(Debug, Default)]
struct Hit {
    rows: u64,
    /// The addresses of some.
    some: Vec<u64>,
}

impl Hit {
    fn add(&mut self, address: u64) {
        self.rows += 1;
        if self.some.len() < LOOKED_UP {
            self.some.push(address);
        }
    }
}

impl Transaction {
    /// First committer wins: refuses what relies on something that was changed since the base, and says where rows of
    /// each array are now.
    ///
    /// # Errors
    /// `Conflict`; `AlreadyExists` for a name that is taken.
    pub(super) fn check_conflicts(&self, newest: &State) -> Result<BTreeMap<Id, Moves>> {
        if newest.version == self.base.version() {
            return Ok(BTreeMap::new());
        }
        for (id, touched) in &self.work.touched {
            check_array(*id, touched, newest)?;
        }
        if !self.actions.is_empty() {
            self.check_names(newest)?;
            self.check_schemas(newest)?;
        }
        self.check_rows(newest)
    }

    fn check_names(&self, newest: &State) -> Result<()> {
        let (base, work) = (self.base.state(), &self.work.state);
        let is_here = |name: &ArrayName, id: Id| base.by_name(name).is_some_and(|array| array.id == id);
        for array in work.arrays().filter(|array| !is_here(&array.name, array.id)) {
            let name = &array.name;
            let taken = newest.by_name(name).filter(|other| other.id != array.id);
            // What this transaction itself drops or moves away leaves its name.
            let leaves = |other: &ArrayState| {
                self.work.touched.contains_key(&other.id) && work.array(other.id).is_none_or(|o| o.name != *name)
            };
            if taken.is_some_and(|other| !leaves(other)) {
                return Err(exists(name).with("reason", "another commit took the name since this transaction began"));
            }
            if !newest.has_schema(&name.schema) && base.has_schema(&name.schema) {
                return Err(conflict(format!("the schema {:?} was dropped", name.schema)));
            }
        }
        Ok(())
    }

    fn check_schemas(&self, newest: &State) -> Result<()> {
        let (base, work) = (self.base.state(), &self.work.state);
        if let Some(schema) = work.schemas.difference(&base.schemas).find(|s| newest.has_schema(s)) {
            return Err(Error::already_exists(format!("the schema {schema:?} exists: another commit created it")));
        }
        for schema in base.schemas.difference(&work.schemas) {
            if !newest.has_schema(schema) {
                return Err(conflict(format!("the schema {schema:?} was dropped")));
            }
            if let Some(name) = newest.names_in(schema).find(|name| base.by_name(name).is_none()) {
                return Err(conflict(format!("the array {:?} was created", name.to_string())));
            }
        }
        Ok(())
    }

    /// Holds the rows that were edited here against those that others edited, version after version.
    fn check_rows(&self, newest: &State) -> Result<BTreeMap<Id, Moves>> {
        let mut edited: BTreeMap<Id, Edited> = BTreeMap::new();
        for (&id, touched) in &self.work.touched {
            let (Some(base), Some(now)) = (&touched.base, newest.array(id)) else { continue };
            let is_base = touched.logged.as_ref().is_some_and(|logged| Arc::ptr_eq(logged, base));
            if is_base && !Arc::ptr_eq(base, now) {
                let rows = self.edited(id, base)?;
                if !rows.0.is_empty() {
                    edited.insert(id, rows);
                }
            }
        }
        let mut moves: BTreeMap<Id, Moves> = BTreeMap::new();
        if edited.is_empty() {
            return Ok(moves);
        }
        let mut walk = self.base.state().as_ref().clone();
        for entry in self.store.log.new_entries(self.base.version() + 1..=newest.version)? {
            for action in &entry.actions {
                let before = action.array().and_then(|id| walk.array(id).cloned());
                walk.act(action, &entry)?;
                let Some(before) = before else { continue };
                let Some(rows) = edited.get_mut(&before.id) else { continue };
                let Some(after) = walk.array(before.id) else { continue };
                let moved = moves.entry(before.id).or_default();
                let hit = match action {
                    Action::SegmentReplace(replace) => {
                        let next = Move::new(replace, self.store.storage.as_ref()).map_err(unreadable)?;
                        let hit = rows.follow(&next);
                        if hit.rows == 0 {
                            moved.0.push(next);
                        }
                        hit
                    }
                    Action::Delete(_) => self.deleted_of(rows, &before, after).map_err(unreadable)?,
                    Action::Patch(patch) => {
                        let field = after.field_index(patch.field)?;
                        self.patched_of(rows, field, &before, after).map_err(unreadable)?
                    }
                    _ => Hit::default(),
                };
                if hit.rows > 0 {
                    return Err(self.row_conflict(before.id, &hit, moved, entry.version));
                }
            }
        }
        Ok(moves)
    }

    /// The rows of the base that were replaced or deleted here.
    fn edited(&self, id: Id, base: &ArrayState) -> Result<Edited> {
        let mut edited = Edited::default();
        let Some(array) = self.work.state.array(id) else { return Ok(edited) };
        let mut add = |rows: &[u64]| {
            let of_base = rows.iter().filter(|row| base.segment((**row >> 32) as u32).is_some());
            of_base.for_each(|&row| edited.insert(row));
        };
        for patches in self.waiting.get(&id).into_iter().flat_map(|w| w.patches.values()) {
            add(addresses(&patches.addresses));
        }
        for (index, &field) in array.field_ids().iter().enumerate() {
            let old = base.field_index(field).ok().map(|i| base.patches(i)).unwrap_or_default();
            for patch in array.patches(index).iter().filter(|p| !old.iter().any(|o| o.rows.id == p.rows.id)) {
                add(&self.addresses_of(id, patch, 0)?);
            }
        }
        for segment in base.segments() {
            if let Some((.., now)) = array.segment(segment.id) {
                let own = self.own_deleted(array, now)?;
                if !own.is_empty() {
                    *edited.0.entry(segment.id).or_default() |= own;
                }
            }
        }
        Ok(edited)
    }

    /// The rows that a patch segment addresses, from its `first` patch on.
    fn addresses_of(&self, array: Id, patch: &PatchSegment, first: u64) -> Result<Vec<u64>> {
        let field: FieldSpec = address_field()?;
        let column = Column { store: &self.store, array, segment: &patch.rows, index: 0, field: &field };
        let (mut next, mut found) = (first, Vec::new());
        while next < patch.rows.rows {
            let end = column.extent(next).end;
            found.extend(column::addresses(&column.read(next..end)?));
            next = end;
        }
        Ok(found)
    }

    /// Which of the rows another commit deleted.
    fn deleted_of(&self, rows: &Edited, before: &ArrayState, after: &ArrayState) -> Result<Hit> {
        let live = |array: &ArrayState, s: &Segment| {
            let live = s.deleted.live(self.store.storage.as_ref(), array.id, s.rows)?;
            Ok::<_, Error>(live.map(|live| live.deleted().clone()).unwrap_or_default())
        };
        let mut hit = Hit::default();
        for (old, new) in before.segments().iter().zip(after.segments()).filter(|(o, n)| !Arc::ptr_eq(o, n)) {
            let Some(own) = rows.0.get(&new.id) else { continue };
            let both = (live(after, new)? - live(before, old)?) & own;
            both.iter().for_each(|offset| hit.add(u64::from(new.id) << 32 | u64::from(offset)));
        }
        Ok(hit)
    }

    /// Which of the rows another commit replaced.
    fn patched_of(&self, rows: &Edited, field: usize, before: &ArrayState, after: &ArrayState) -> Result<Hit> {
        let mut hit = Hit::default();
        if let Some(patch) = after.patches(field).last() {
            let old = before.patches(field).iter().find(|p| p.rows.id == patch.rows.id);
            let replaced = self.addresses_of(after.id, patch, old.map_or(0, |p| p.rows.rows))?;
            replaced.into_iter().filter(|&row| rows.contains(row)).for_each(|row| hit.add(row));
        }
        Ok(hit)
    }

    fn row_conflict(&self, id: Id, hit: &Hit, moves: &Moves, version: u64) -> Error {
        let Some(base) = self.base.state().array(id) else { return super::savepoint::gone() };
        let rank = |&row: &u64| base.rank_of(self.store.storage.as_ref(), moves.origin(row)?).ok().flatten();
        let mut rows: Vec<u64> = hit.some.iter().filter_map(rank).collect();
        rows.sort_unstable();
        rows.dedup();
        let named: Vec<String> = rows.iter().take(NAMED).map(u64::to_string).collect();
        let more = hit.rows.saturating_sub(named.len() as u64);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let (s, were) = if hit.rows == 1 { ("", "was") } else { ("s", "were") };
        conflict(format!(
            "row{s} {}{more} of the array {:?} {were} changed too, in version {version},",
            named.join(", "),
            base.name.to_string()
        ))
    }
}

fn check_array(id: Id, touched: &Touched, newest: &State) -> Result<()> {
    let Some(base) = &touched.base else { return Ok(()) };
    let name = base.name.to_string();
    let Some(now) = newest.array(id) else {
        return Err(conflict(format!("the array {name:?} was dropped")));
    };
    if now.shaped != base.shaped {
        return Err(conflict(format!(
            "the array {name:?} was changed in more than its rows (its name is {:?})",
            now.name.to_string()
        )));
    }
    if touched.reshaped && now.changed != base.changed {
        return Err(conflict(format!("rows of the array {name:?} were changed")));
    }
    Ok(())
}

/// The error of another commit that came first.
pub(super) fn conflict(what: String) -> Error {
    Error::conflict(format!("{what} by another commit since this transaction began; retry"))
}

/// What others changed cannot be compared any more: VACUUM may have removed what only versions in between needed.
fn unreadable(error: Error) -> Error {
    conflict("rows that may be those of this transaction were changed".into()).because(error)
}
