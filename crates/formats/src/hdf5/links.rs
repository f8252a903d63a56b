//! The links of groups, and the paths that lead along them.
//!
//! Source: HDF5 File Format Specification, IV.A.2.g "The Link Message", IV.A.2.c "The Link Info Message", III.B and III.C
//! (symbol tables), III.D "Local Heaps".

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use hyperslab_core::{Error, Result};

use super::btree::{each_child, each_record};
use super::fractal_heap::FractalHeap;
use super::header::{Header, kind};
use super::structure::{Fields, Structure, Walk, damaged};

/// How many soft links a path may lead along, as in HDF5's library.
const MAX_SOFT_LINKS: usize = 16;
/// How many names a path may have, those of the soft links along it included.
const MAX_NAMES: usize = 1024;
/// Bytes that the paths and fields of what is listed may have together: so many times those of the file, and these.
///
/// A path is that of its group, too, and many links lead to one dataset: the structures that they are in say little of what
/// is kept for them.
const LISTED: usize = 16;
const LISTED_LEAST: usize = 16 << 20;
/// The type of a link whose object is in another file.
const EXTERNAL: u8 = 64;

/// What a link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// The header at an address.
    Hard(u64),
    /// A path, from the link's own group unless it starts with `/`.
    Soft(String),
    /// A path in another file.
    External { file: String, path: String },
    /// What only some program knows.
    Other(u8),
}

/// What a header says of an object.
#[derive(Debug, Default)]
pub(super) struct Object {
    pub(super) is_dataset: bool,
    pub(super) is_group: bool,
    /// The links of a group, in the file's order.
    pub(super) links: Vec<(String, Target)>,
    by_name: HashMap<String, usize>,
}

impl Object {
    fn get(&self, name: &str) -> Option<&Target> {
        self.by_name.get(name).and_then(|&at| self.links.get(at)).map(|(_, target)| target)
    }

    fn insert(&mut self, name: String, target: Target) {
        self.by_name.insert(name.clone(), self.links.len());
        self.links.push((name, target));
    }
}

/// Where a path leads: the header of an object, and the path to it without soft links and without the first `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) address: u64,
    pub(super) path: String,
}

/// The path of what has this name in the group with this path.
pub(super) fn inner(group: &str, name: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{group}/{name}") }
}

/// The groups and datasets of a file, each of which is read once. What is kept for their paths has its limit.
#[derive(Debug)]
pub(super) struct Objects<'a> {
    walk: Walk<'a>,
    root: u64,
    /// `None` for what cannot be read.
    read: HashMap<u64, Option<Object>>,
    /// Bytes that may still be kept.
    left: usize,
}

impl<'a> Objects<'a> {
    /// `root`: the address of the root group's header.
    pub(super) fn new(structure: Structure<'a>, root: u64) -> Self {
        let left = structure.bytes().saturating_mul(LISTED).saturating_add(LISTED_LEAST);
        Self { walk: structure.walk(), root, read: HashMap::new(), left }
    }

    /// Where the root group is.
    pub(super) fn root(&self) -> Found {
        Found { address: self.root, path: String::new() }
    }

    /// The object whose header is at an address.
    pub(super) fn object(&mut self, address: u64) -> Result<&Object> {
        let read = match self.read.entry(address) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(new) => match object(&mut self.walk, address) {
                Ok(object) => new.insert(Some(object)),
                Err(e) => {
                    new.insert(None);
                    return Err(e);
                }
            },
        };
        read.as_ref().ok_or_else(|| damaged("an object has several names, and cannot be read"))
    }

    /// Counts bytes that are kept for what is listed.
    pub(super) fn keep(&mut self, bytes: usize) -> Result<()> {
        let left = self.left.checked_sub(bytes);
        self.left =
            left.ok_or_else(|| damaged("the paths and fields of what is in it are many times as large as it is"))?;
        Ok(())
    }

    /// The path of a member of a group, which is kept.
    pub(super) fn path(&mut self, group: &Found, name: &str) -> Result<String> {
        self.keep(group.path.len() + 1 + name.len())?;
        Ok(inner(&group.path, name))
    }

    /// Follows a path from a group; `None` where nothing has that name.
    ///
    /// # Errors
    /// `NotFound` for a soft link to nothing, `Unsupported` for one to another file, `Invalid` for one in a circle;
    /// as [`follow`](Self::follow).
    pub(super) fn find(&mut self, from: &Found, path: &str) -> Result<Option<Found>> {
        self.follow(from, path)?
    }

    /// As [`find`](Self::find), whose errors of links that lead nowhere are the inner result.
    ///
    /// # Errors
    /// A group on the way that cannot be read: `Corrupt`, `Unsupported`.
    pub(super) fn follow(&mut self, from: &Found, path: &str) -> Result<Result<Option<Found>>> {
        self.keep(from.path.len())?;
        // The groups that the path has led through, each with its name in the one before.
        let mut places = vec![(from.path.clone(), from.address)];
        let mut rest: VecDeque<String> = names(path).map(str::to_owned).collect();
        let mut followed: Vec<(String, String)> = Vec::new();
        let (root, mut address) = (self.root, from.address);
        for _ in 0..MAX_NAMES {
            let Some(name) = rest.pop_front() else {
                return Ok(Ok(Some(Found { address, path: joined(&places, "") })));
            };
            match self.object(address)?.get(&name) {
                Some(&Target::Hard(to)) => {
                    address = to;
                    // Back in a group that holds this one, the path is the shorter one.
                    match places.iter().position(|(_, a)| *a == to) {
                        Some(at) => places.truncate(at + 1),
                        None => places.push((name, to)),
                    }
                }
                Some(Target::Soft(to)) => {
                    let link = joined(&places, &name);
                    let to = to.clone();
                    self.keep(link.len() + to.len())?;
                    followed.push((link, to.clone()));
                    if followed.len() > MAX_SOFT_LINKS || rest.len() + names(&to).count() > MAX_NAMES {
                        break;
                    }
                    names(&to).rev().for_each(|name| rest.push_front(name.to_owned()));
                    if to.starts_with('/') {
                        address = root;
                        places = vec![(String::new(), address)];
                    }
                }
                Some(Target::External { file, path }) => {
                    return Ok(Err(Error::unsupported(format!(
                        "{} is a link to {path} of the file {file}, and no other files are opened; open that file",
                        joined(&places, &name)
                    ))));
                }
                Some(Target::Other(kind)) => {
                    let here = joined(&places, &name);
                    let why = format!("{here} is a link of type {kind}, which is not known");
                    return Ok(Err(Error::unsupported(why)));
                }
                None => {
                    let Some((link, to)) = followed.last() else { return Ok(Ok(None)) };
                    let here = joined(&places, &name);
                    let why = format!("the soft link {link} leads to {to}, and there is no {here}");
                    return Ok(Err(Error::not_found(why)));
                }
            }
        }
        let Some((link, to)) = followed.first() else {
            let why = format!("a path has more than {MAX_NAMES} names; nothing lies so deep");
            return Ok(Err(Error::invalid(why)));
        };
        Ok(Err(Error::invalid(format!(
            "the soft link {link} leads to {to}, and from there in a circle, or through more than {MAX_SOFT_LINKS} soft \
             links; open what it should lead to by its own name"
        ))))
    }
}

/// The path of a name in the last of some groups.
fn joined(places: &[(String, u64)], name: &str) -> String {
    let all: Vec<_> = places.iter().map(|(name, _)| name.as_str()).chain([name]).filter(|n| !n.is_empty()).collect();
    all.join("/")
}

/// The names along a path.
fn names(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty() && *name != ".")
}

fn object(walk: &mut Walk<'_>, address: u64) -> Result<Object> {
    let header = Header::read(walk, address)?;
    let has = |kind| header.find(kind).is_some();
    let is_group = has(kind::SYMBOL_TABLE) || has(kind::LINK_INFO) || has(kind::LINK);
    let mut object = Object { is_dataset: has(kind::LAYOUT), is_group, ..Object::default() };
    if let Some(message) = header.find(kind::SYMBOL_TABLE) {
        symbols(walk, message.body, &mut object)?;
        return Ok(object);
    }
    for message in header.messages.iter().filter(|m| m.kind == kind::LINK) {
        link(walk, message.body, &mut object)?;
    }
    if let Some(message) = header.find(kind::LINK_INFO) {
        dense(walk, message.body, &mut object)?;
    }
    Ok(object)
}

/// IV.A.2.g "The Link Message".
fn link(walk: &mut Walk<'_>, mut fields: Fields<'_>, links: &mut Object) -> Result<()> {
    fields.version(1)?;
    let flags = fields.u8()?;
    let kind = if flags & 1 << 3 != 0 { fields.u8()? } else { 0 };
    // The order in which it was made, and the encoding of the name, which is UTF-8 or a part of it.
    fields.skip(if flags & 1 << 2 != 0 { 8 } else { 0 })?;
    fields.skip(usize::from(flags >> 4 & 1))?;
    let length = usize::try_from(fields.number(1 << (flags & 3))?).unwrap_or(usize::MAX);
    let name = text(fields.take(length)?);
    let target = match kind {
        0 => Target::Hard(fields.defined()?),
        _ => {
            let length = usize::from(fields.u16()?);
            let value = fields.take(length)?;
            walk.spend(length)?;
            match kind {
                1 => Target::Soft(text(value)),
                EXTERNAL => {
                    // A byte of flags, then two texts, each with a NUL after it.
                    let mut texts = value.get(1..).unwrap_or_default().split(|&b| b == 0).map(text);
                    let mut next = || texts.next().unwrap_or_default();
                    Target::External { file: next(), path: next() }
                }
                other => Target::Other(other),
            }
        }
    };
    walk.spend(name.len())?;
    links.insert(name, target);
    Ok(())
}

/// Links in a heap, by IV.A.2.c "The Link Info Message" and records of type 5 (III.A.2.c).
fn dense(walk: &mut Walk<'_>, mut fields: Fields<'_>, links: &mut Object) -> Result<()> {
    fields.version(0)?;
    let flags = fields.u8()?;
    fields.skip(if flags & 1 != 0 { 8 } else { 0 })?;
    let (Some(heap), Some(index)) = (fields.address()?, fields.address()?) else { return Ok(()) };
    let heap = FractalHeap::read(walk, heap)?;
    each_record(walk, index, &[5], &mut |walk, _, mut record| {
        // Its hash, and where it is in the heap.
        record.skip(4)?;
        let object = heap.object(walk, record.rest)?;
        link(walk, walk.structure.fields(object), links)
    })
}

/// III.B "Group Symbol Table Nodes", III.C "Symbol Table Entry", III.D "Local Heaps".
fn symbols(walk: &mut Walk<'_>, mut fields: Fields<'_>, links: &mut Object) -> Result<()> {
    let (tree, heap) = (fields.address()?, fields.defined()?);
    let Some(tree) = tree else { return Ok(()) };
    let (address, length) = (walk.structure.address_bytes, walk.structure.length_bytes);
    let mut heap = walk.block(heap, 8 + 2 * length + address, b"HEAP")?;
    heap.version(0)?;
    heap.skip(3)?;
    let heap_bytes = usize::try_from(heap.length()?).unwrap_or(usize::MAX);
    heap.skip(length)?;
    let texts = walk.structure.from(heap.defined()?)?;
    let texts = texts.get(..heap_bytes).ok_or_else(|| damaged("a group's names are cut off"))?;
    let text_at = |walk: &mut Walk<'_>, at: u64| {
        let rest = usize::try_from(at).ok().and_then(|at| texts.get(at..));
        let rest = rest.ok_or_else(|| damaged("a name lies beyond its group's names"))?;
        let found = rest.split(|&b| b == 0).next().unwrap_or_default();
        walk.spend(found.len())?;
        Ok::<_, Error>(text(found))
    };
    each_child(walk, tree, (0, length), &mut |walk, _, node| {
        let mut fields = walk.block(node, 8, b"SNOD")?;
        fields.version(1)?;
        fields.skip(1)?;
        let count = usize::from(fields.u16()?);
        let entry = 2 * address + 24;
        let entries = node.checked_add(8).ok_or_else(|| damaged("a group lies beyond any file"))?;
        let mut fields = walk.fields(entries, count * entry)?;
        for _ in 0..count {
            let name = fields.number(address)?;
            let (header, cached) = (fields.address()?, fields.u32()?);
            fields.skip(4)?;
            let mut scratch = walk.structure.fields(fields.take(16)?);
            let name = text_at(walk, name)?;
            let target = match (header, cached) {
                (_, 2) => Target::Soft(text_at(walk, u64::from(scratch.u32()?))?),
                (Some(header), _) => Target::Hard(header),
                (None, _) => return Err(damaged("a link leads nowhere")),
            };
            links.insert(name, target);
        }
        Ok(())
    })
}

/// Names and paths; what is no UTF-8 is found by no name.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}
