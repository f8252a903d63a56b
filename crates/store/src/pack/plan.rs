//! What goes into a pack: the files of a version, as its records say.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::ops::RangeInclusive;
use std::sync::Arc;

use hyperslab_core::{Error, Result};

use crate::Storage;
use crate::action::{Crc, Id};
use crate::layout::{self, STORE_FILE};
use crate::log::{Entry, checkpoint};
use crate::pins::Holds;
use crate::refs::{FileRef, of_action, of_state};
use crate::shard::{Kind, Shard};
use crate::state::State;
use crate::store::Inner;

/// A file of a pack.
pub(super) struct Member {
    /// In the unpacked store.
    pub path: String,
    pub bytes: u64,
    pub source: Source,
}

/// Where the bytes of a member come from.
pub(super) enum Source {
    /// They are here.
    Text(Vec<u8>),
    /// Log entries, one after the other.
    Entries(RangeInclusive<u64>),
    /// A file of the store, which may be longer: a raw shard grows.
    File { path: String, crc32c: Crc },
    /// A compressed shard.
    Compressed { path: String, shard: Box<Shard> },
    /// A shard whose values follow a page of header.
    Shard { path: String, shard: Box<Shard> },
}

/// The members of a pack, in order, and what keeps VACUUM off them.
pub(super) struct Plan {
    pub id: Id,
    pub state: Arc<State>,
    pub members: Vec<Member>,
    pub _holds: Option<Holds>,
}

impl Plan {
    /// A version without those before it.
    pub(super) fn live(store: &Arc<Inner>, state: &Arc<State>) -> Result<Self> {
        let (version, id) = (state.version, store_id(store)?);
        let mut members = vec![store_file(id)?];
        let mut text = |path: String, bytes: Vec<u8>| {
            members.push(Member { path, bytes: bytes.len() as u64, source: Source::Text(bytes) });
        };
        // A version on which nothing was built (a repair's) has no entry, and needs none.
        if let Some(bytes) = store.log.reader()?.find(version)? {
            text(layout::entry(version), bytes);
        }
        text(layout::checkpoint(version), checkpoint::alone(state)?);
        text(layout::start(version), b"{}\n".to_vec());
        let mut files = Files::default();
        of_state(state, |file| files.add(file));
        members.extend(files.members());
        members.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { id, state: state.clone(), members, _holds: None })
    }

    /// A version and those before it that can be read.
    pub(super) fn whole(store: &Arc<Inner>, state: &Arc<State>) -> Result<Self> {
        if store.dirs > 1 {
            return Err(Error::unsupported(
                "the versions of a store with further directories cannot be packed: their log says in which directory \
                 each file is; pack the newest version alone, without --all-versions",
            ));
        }
        let id = store_id(store)?;
        let mut members = vec![store_file(id)?];
        let mut reader = store.log.reader()?;
        let (mut folded, first) = reader.first()?;
        if let Some(start) = reader.start() {
            for path in [layout::checkpoint(start), layout::start(start)] {
                let bytes = store.storage.read(&path)?;
                let bytes = bytes.ok_or_else(|| Error::corrupt(format!("the log file {path} is missing")))?;
                members.push(Member { path, bytes: bytes.len() as u64, source: Source::Text(bytes) });
            }
            if let Some(bytes) = reader.find(start)? {
                let path = layout::entry(start);
                members.push(Member { path, bytes: bytes.len() as u64, source: Source::Text(bytes) });
            }
        }
        let readable = |version: u64| state.is_readable(version);
        let holds = store.hold_all(state, (first.saturating_sub(1)..=state.version).filter(|&v| readable(v)))?;
        let (mut files, mut sizes) = (Files::default(), Vec::new());
        if reader.start().is_some() && readable(folded.version) {
            of_state(&folded, |file| files.add(file));
        }
        for version in first..=state.version {
            let (bytes, path) = reader.read(version)?;
            sizes.push(bytes.len() as u64);
            crate::log::apply(&mut folded, &bytes, &path)?;
            if !readable(version) {
                continue;
            }
            // What it shares with the version before was named by that, if that can be read.
            if version > 0 && readable(version - 1) {
                Entry::parse(&bytes, &path)?.0.actions.iter().for_each(|a| of_action(a, |file| files.add(file)));
            } else {
                of_state(&folded, |file| files.add(file));
            }
        }
        members.extend(entries(first, &sizes));
        let bytes = checkpoint::to_bytes(state)?;
        let path = layout::checkpoint(state.version);
        if members.iter().all(|member| member.path != path) {
            members.push(Member { path, bytes: bytes.len() as u64, source: Source::Text(bytes) });
        }
        members.extend(files.members());
        members.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { id, state: state.clone(), members, _holds: Some(holds) })
    }

    /// The bytes of all members.
    pub(super) fn bytes(&self) -> u64 {
        self.members.iter().map(|member| member.bytes).sum()
    }
}

/// The log's entries from `first` on: full hundreds in packs, the newest ones in files of their own.
fn entries(first: u64, sizes: &[u64]) -> Vec<Member> {
    let mut members = Vec::new();
    let sum = |range: &RangeInclusive<u64>| {
        let at = |version: u64| usize::try_from(version - first).unwrap_or(usize::MAX);
        sizes.get(at(*range.start())..=at(*range.end())).unwrap_or_default().iter().sum::<u64>()
    };
    let mut put = |path: String, range: RangeInclusive<u64>| {
        members.push(Member { path, bytes: sum(&range), source: Source::Entries(range) });
    };
    let mut next = first;
    let end = first + sizes.len() as u64;
    if let Some(newest) = end.checked_sub(1) {
        for range in crate::log::packs_due(first.next_multiple_of(layout::LOOSE_ENTRIES), newest) {
            (next..*range.start()).for_each(|version| put(layout::entry(version), version..=version));
            next = range.end() + 1;
            put(layout::pack(&range), range);
        }
    }
    (next..end).for_each(|version| put(layout::entry(version), version..=version));
    members
}

/// `hyperslab.json`, which says that files do not grow: unpacked by tar alone, equal files are one.
fn store_file(id: Id) -> Result<Member> {
    let source = crate::store::store_file_bytes(id, false)?;
    Ok(Member { path: STORE_FILE.to_owned(), bytes: source.len() as u64, source: Source::Text(source) })
}

fn store_id(store: &Inner) -> Result<Id> {
    let file = crate::store::read_store_file(store.storage.as_ref())?;
    file.map(|file| file.id()).ok_or_else(|| Error::corrupt(format!("{STORE_FILE} is missing")))
}

/// The files that versions need, by their path in the unpacked store, with the longest record of each.
#[derive(Default)]
struct Files(BTreeMap<String, (u64, Source)>);

impl Files {
    fn add(&mut self, file: FileRef<'_>) {
        let path = file.path();
        // In the pack there is one directory.
        let (bytes, source) = match file {
            FileRef::Shard(_, shard, _) => {
                let (path, shard) = (path.clone(), Box::new(shard.clone()));
                let bytes = shard.file_bytes();
                match shard.kind {
                    Kind::Raw => (bytes, Source::Shard { path, shard }),
                    Kind::Zstd => (bytes, Source::Compressed { path, shard }),
                }
            }
            FileRef::Deleted(_, _, deleted) => {
                (deleted.bytes, Source::File { path: path.clone(), crc32c: deleted.crc32c })
            }
        };
        let inside = layout::dir_of(&path).map_or(path.as_str(), |(_, rest)| rest).to_owned();
        match self.0.entry(inside) {
            Slot::Occupied(mut known) if known.get().0 < bytes => {
                known.insert((bytes, source));
            }
            Slot::Occupied(_) => {}
            Slot::Vacant(slot) => {
                slot.insert((bytes, source));
            }
        }
    }

    fn members(self) -> impl Iterator<Item = Member> {
        self.0.into_iter().map(|(path, (bytes, source))| Member { path, bytes, source })
    }
}

/// A piece of a file of the store.
pub(super) fn piece(storage: &dyn Storage, path: &str, offset: u64, len: u64) -> Result<arrow_buffer::Buffer> {
    let range = crate::FileRange { path: path.to_owned(), offset, len };
    let piece = storage.map(std::slice::from_ref(&range))?;
    piece.ok_or_else(|| Error::corrupt(format!("{path} cannot be mapped")))
}
