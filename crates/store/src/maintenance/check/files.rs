//! The files that the versions which can be read need, with everything that their records say.

use std::collections::{BTreeMap, BTreeSet};

use hyperslab_core::Result;

use super::contents::Contents;
use super::log::{self, LogCheck};
use crate::action::{ADDRESS, Crc};
use crate::log::Entry;
use crate::refs::{Beside, FileRef, of_action, of_state};
use crate::shard::{Part, Shard};
use crate::state::{ArrayState, State};
use crate::{ArrayName, Storage};

/// What is to be found on disk.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// By path.
    pub needed: BTreeMap<String, Needed>,
    /// What only versions need that have expired.
    pub expired: BTreeSet<String>,
}

/// A file that a version needs which can be read.
#[derive(Debug)]
pub(super) struct Needed {
    pub array: ArrayName,
    pub what: What,
    /// What each version says of it that says something new, by the bytes.
    pub marks: BTreeMap<u64, Mark>,
    /// What its values must say.
    pub contents: Contents,
    /// Records that contradict each other: why.
    pub contradiction: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    /// Values: the longest record, and the field's name.
    Shard { shard: Shard, field: String },
    /// Deleted rows of a segment.
    Deleted { segment: u32 },
}

/// The first bytes of a file, as versions see them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub rows: u64,
    pub crc32c: Crc,
    /// The first version that says so.
    pub version: u64,
}

impl Files {
    /// Goes through the log once more.
    pub(super) fn collect(storage: &dyn Storage, log: &LogCheck, only: Option<&ArrayName>) -> Result<Self> {
        let mut files = Self::default();
        let Some(newest) = &log.newest else { return Ok(files) };
        for range in log.readable.clone() {
            let first = *range.start();
            let mut source = log.files.reader();
            log::fold(storage, &mut source, range, |state, entry| {
                files.version(state, entry, newest, state.version == first, only);
            })?;
        }
        let needed = &files.needed;
        files.expired.retain(|path| !needed.contains_key(path));
        Ok(files)
    }

    /// A version: everything that it needs if the one before says nothing of it, else what is new.
    fn version(&mut self, state: &State, entry: Option<&Entry>, newest: &State, first: bool, only: Option<&ArrayName>) {
        let readable = newest.is_readable(state.version);
        let mut add = |file: FileRef<'_>| {
            if readable {
                self.add(state, file, only);
            } else {
                self.expired.insert(file.path());
            }
        };
        let whole = first || (readable && !newest.is_readable(state.version.saturating_sub(1)));
        match entry {
            Some(entry) if !whole => entry.actions.iter().for_each(|action| of_action(action, &mut add)),
            _ => of_state(state, add),
        }
    }

    fn add(&mut self, state: &State, file: FileRef<'_>, only: Option<&ArrayName>) {
        // An array that was dropped in the same version has no name.
        let array = state.array(file.array());
        let name = array.map_or_else(|| ArrayName::from(file.array().to_string().as_str()), |a| a.name.clone());
        if only.is_some_and(|only| *only != name) {
            return;
        }
        let (bytes, rows, what) = match file {
            FileRef::Shard(_, shard, beside) => {
                // Addresses are those of new values of the field that stands beside them.
                let id = beside.shards.iter().map(|s| s.field).find(|&id| id != ADDRESS);
                let id = id.filter(|_| shard.field == ADDRESS).unwrap_or(shard.field);
                let at = array.and_then(|a| a.field_ids().iter().position(|&known| known == id));
                let field = at.and_then(|i| array?.fields().get(i)).map(|f| f.name().to_owned());
                let field = field.unwrap_or_else(|| match id {
                    ADDRESS => "address".to_owned(), // which rows a patch is of
                    field => field.to_string(),
                });
                (shard.bytes, shard.rows, What::Shard { shard: shard.clone(), field })
            }
            FileRef::Deleted(_, segment, file) => (file.bytes, 0, What::Deleted { segment }),
        };
        let mark = Mark { rows, crc32c: file.crc32c(), version: state.version };
        let new = || Needed {
            array: name,
            what: what.clone(),
            marks: BTreeMap::new(),
            contents: Contents::default(),
            contradiction: None,
        };
        let needed = self.needed.entry(file.path()).or_insert_with(new);
        if let FileRef::Shard(_, shard, beside) = file {
            needed.contents.learn(shard, beside, array.map(AsRef::as_ref));
        }
        if let Some(why) = needed.what.contradicts(&what) {
            needed.contradiction = Some(format!("version {}: {why}", state.version));
        }
        if needed.marks.last_key_value().is_none_or(|(&last, _)| last < bytes) {
            needed.what = what;
        }
        let first = needed.marks.entry(bytes).or_insert(mark);
        if first.crc32c != mark.crc32c {
            needed.contradiction = Some(format!(
                "version {} says that its first {bytes} bytes have the checksum {}, and version {} says {}",
                first.version, first.crc32c, mark.version, mark.crc32c
            ));
        }
    }
}

impl Contents {
    fn learn(&mut self, shard: &Shard, beside: Beside<'_>, array: Option<&ArrayState>) {
        if shard.part == Part::Offsets {
            let is_text =
                |s: &&Shard| (s.field, s.part, s.start, s.rows) == (shard.field, Part::Bytes, shard.start, shard.rows);
            let text = beside.shards.iter().find(is_text).map(|text| (shard.bytes, text.bytes));
            self.text.extend(text);
        }
        if shard.field == ADDRESS {
            let covers = self.covers.get_or_insert_default();
            for &segment in beside.covers {
                // Of a segment that was compacted away it is not known any more how long it was.
                let found = array.and_then(|array| array.segments().iter().find(|s| s.id == segment));
                let known = covers.entry(segment).or_default();
                *known = found.map_or(u64::MAX, |s| s.rows).max(*known);
            }
        }
    }
}

impl What {
    /// Why two records cannot be of one file.
    fn contradicts(&self, other: &Self) -> Option<String> {
        match (self, other) {
            (Self::Shard { shard: a, .. }, Self::Shard { shard: b, .. }) => {
                let same = (a.kind, a.part, a.offset, &a.cell) == (b.kind, b.part, b.offset, &b.cell);
                (!same).then(|| format!("it is a shard of {:?} {:?} cells {:?} elsewhere", a.kind, a.part, a.cell))
            }
            (Self::Deleted { .. }, Self::Deleted { .. }) => None,
            _ => Some("it holds values and deleted rows at once".into()),
        }
    }
}
