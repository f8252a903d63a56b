//! HDF5: files of groups, datasets and attributes, as h5py, netCDF-4, MATLAB and PyTables write them.
//!
//! [`Hdf5File`] lists the datasets of a file and opens one as an array, [`Hdf5Sink`] writes a file. Types, shapes and
//! attributes are read by `hdf5-pure` (`docs/decisions` says why); links, layouts and the indexes of chunks are read by this
//! module, and so are the values: from the map, a window of rows at a time.
//!
//! | in the file | here |
//! |---|---|
//! | integers, floats (float16, bfloat16) of either byte order | the dtype of that name |
//! | h5py's bool (an enum of FALSE and TRUE), other enums | bool; the integers |
//! | h5py's complex (a compound of `r` and `i`) | complex64, complex128 |
//! | opaque, h5py's datetime64 in it | bytes of that length; datetime64, timedelta64 |
//! | text of fixed or variable length, one in a row | utf8 |
//! | text of fixed length, several in a row | bytes, filled up as they are |
//! | bytes of variable length | binary |
//! | a compound | a field for each member, those of a nested one as `outer.inner` |
//! | arrays as elements | more axes of the cell |
//!
//! Rows are the first axis; a dataset without axes has one row, and an empty one (h5py's `Empty`) none. Soft links within the
//! file are followed. Not read: virtual datasets and those in other files, external links, references, szip, nbit and plugins'
//! filters.

mod btree;
mod chunk_index;
mod encode;
pub(crate) mod filters;
mod fractal_heap;
mod header;
mod heap;
mod layout;
mod library;
mod links;
pub(crate) mod options;
mod scale_offset;
mod sink;
mod source;
mod stored;
mod structure;
#[cfg(test)]
mod tests;
mod types;
mod writer;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use hdf5_pure::Dataset;
use hyperslab_core::{ArraySource, Error, FieldSpec, Result};

use crate::container::{Container, Entry, STRUCT, missing_entry};
use crate::group::GroupSource;
use crate::map::MappedFile;
use library::{Library, guarded};
use links::{Found, Objects, Target, inner};
use structure::Structure;

pub use sink::Hdf5Sink;
pub use source::Hdf5Source;

/// How deep groups are looked into.
const MAX_DEPTH: usize = 64;
/// How many groups, datasets and soft links are listed.
const MAX_OBJECTS: usize = 1 << 20;

/// An HDF5 file, mapped.
///
/// Its entries are its datasets, as `group/dataset`; a group that Hyperslab wrote as one array of several fields is one
/// entry. A soft link to a dataset is an entry, too. Any other group of datasets of as many rows can be opened as an array,
/// too, by its name: `/` is the whole file. What cannot be read, a group or a dataset, is an entry of dtype `unknown`, and
/// opening it says why.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("a.h5");
/// # let mut builder = hdf5_pure::FileBuilder::new();
/// # builder.create_dataset("x").with_i32_data(&[5, 6, 7]);
/// # std::fs::write(&path, builder.finish()?)?;
/// use hyperslab_core::ArraySource;
/// use hyperslab_formats::{Container, hdf5::Hdf5File};
///
/// let file = Hdf5File::open(&path)?;
/// assert_eq!(file.entries()[0].name, "x");
/// assert_eq!(file.dataset("/x")?.rows(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Hdf5File {
    library: Library,
    file: Arc<MappedFile>,
    entries: Vec<Entry>,
    metadata: Vec<(String, String)>,
}

impl Hdf5File {
    /// Maps a file and lists what is in it.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` for what is no HDF5 file, whose root group is damaged or which is being written; `Invalid` for
    /// what is no regular file; `Io`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let file = Arc::new(MappedFile::open(path.as_ref())?);
        let in_file = |e: Error| e.with("file", path.as_ref().display());
        let library = Library::open(&file).map_err(in_file)?;
        let mut opened = Self { library, file, entries: Vec::new(), metadata: Vec::new() };
        opened.metadata =
            opened.library.group_attributes(opened.objects().map_err(in_file)?.root().address).map_err(in_file)?;
        opened.entries = opened.list().map_err(in_file)?;
        Ok(opened)
    }

    pub(crate) fn open_boxed(path: &Path) -> Result<Arc<dyn Container>> {
        Ok(Arc::new(Self::open(path)?))
    }

    /// Opens a dataset by its name, with or without the first `/`.
    ///
    /// # Errors
    /// `NotFound`, listing the datasets that are there; `Unsupported` for element types, filters and layouts that are
    /// not read, and for links to other files; `Invalid` for soft links in a circle; `Corrupt` for a damaged file.
    pub fn dataset(&self, name: &str) -> Result<Hdf5Source> {
        let path = name.trim_matches('/');
        let here = |e: Error| e.with("dataset", path).with("file", self.path().display());
        let mut objects = self.objects().map_err(here)?;
        let found = objects.find(&objects.root(), path).map_err(here)?.ok_or_else(|| missing_entry(self, name))?;
        match objects.object(found.address).map_err(here)?.is_dataset {
            true => self.source(path, found.address).map_err(here),
            false => Err(missing_entry(self, name)),
        }
    }

    /// Opens the datasets of a group, which have as many rows, as the fields of one array. Its soft links to datasets are
    /// fields, too.
    ///
    /// # Errors
    /// `NotFound` for a group that is not there; `Invalid` for datasets of different lengths; as
    /// [`dataset`](Self::dataset).
    pub fn group(&self, name: &str) -> Result<GroupSource> {
        let path = name.trim_matches('/');
        let here = |e: Error| e.with("group", format!("/{path}")).with("file", self.path().display());
        let mut objects = self.objects().map_err(here)?;
        let found = objects.find(&objects.root(), path).map_err(here)?.ok_or_else(|| missing_entry(self, name))?;
        let group = objects.object(found.address).map_err(here)?;
        if !group.is_group {
            return Err(missing_entry(self, name));
        }
        let mut fields = Vec::new();
        for (name, target) in group.links.clone() {
            let path = inner(path, &name);
            let of_dataset = |e: Error| here(e.with("dataset", &path));
            let Some(address) = member(&mut objects, &found, &name, &target).map_err(of_dataset)? else { continue };
            let source = self.source(&path, address).map_err(of_dataset)?;
            fields.push((name, Arc::new(source) as Arc<dyn ArraySource>));
        }
        GroupSource::new(fields).map_err(here)
    }

    fn source(&self, path: &str, address: u64) -> Result<Hdf5Source> {
        let dataset = self.library.dataset(address)?;
        Hdf5Source::open(&self.file, self.library.addressing(), path, dataset, address)
    }

    /// The objects of the file, of which none was read.
    fn objects(&self) -> Result<Objects<'_>> {
        self.file.check(self.file.bytes().len() as u64)?;
        let structure = Structure::new(self.file.bytes(), self.library.addressing());
        Ok(Objects::new(structure, structure.address(self.library.root())?))
    }

    /// The datasets of the file, sorted by name.
    fn list(&self) -> Result<Vec<Entry>> {
        let mut objects = self.objects()?;
        let (mut entries, mut soft) = (Vec::new(), Vec::new());
        let (mut visited, mut seen) = (HashSet::new(), 0);
        let mut waiting = vec![(objects.root(), 0)];
        while let Some((group, depth)) = waiting.pop() {
            // A group that has two names, or lies in itself, is listed once, as h5py's `visit` does.
            if !visited.insert(group.address) {
                continue;
            }
            let in_group = |e: Error| e.with("group", format!("/{}", group.path));
            let members = Members::of(&mut objects, &group).map_err(in_group)?;
            seen += members.len();
            if seen > MAX_OBJECTS {
                return Err(Error::unsupported(format!(
                    "there are more than {MAX_OBJECTS} groups, datasets and links"
                )));
            }
            let mut here: Vec<_> = members.unreadable.into_iter().map(unknown).collect();
            for dataset in members.datasets {
                here.push(self.entry(&mut objects, dataset.path, dataset.address).map_err(in_group)?);
            }
            let is_array = || self.library.group_attributes(group.address).is_ok_and(|all| is_array(&all));
            if !here.is_empty() && here.iter().all(|e| e.fields.len() == 1) && is_array() {
                // Where its names cannot be those of fields, they are listed as they are.
                here = as_one(&group.path, &here).map_or(here, |one| vec![one]);
            }
            entries.append(&mut here);
            let group = Rc::new(group);
            soft.extend(members.soft.into_iter().map(|link| (Rc::clone(&group), link)));
            if depth < MAX_DEPTH {
                waiting.extend(members.groups.into_iter().map(|group| (group, depth + 1)));
            }
        }
        let mut linked = self.linked(&mut objects, soft, &entries)?;
        entries.append(&mut linked);
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The entry of the dataset whose header is at an address.
    fn entry(&self, objects: &mut Objects<'_>, name: String, address: u64) -> Result<Entry> {
        let entry = describe(name, self.library.dataset(address));
        objects.keep(field_bytes(&entry.fields))?;
        Ok(entry)
    }

    /// The entries of soft links of groups. What leads to no dataset is none, and opening it says why.
    fn linked(
        &self,
        objects: &mut Objects<'_>,
        soft: Vec<(Rc<Found>, String)>,
        entries: &[Entry],
    ) -> Result<Vec<Entry>> {
        let by_name: HashMap<_, _> = entries.iter().map(|e| (e.name.as_str(), e)).collect();
        let mut linked = Vec::new();
        for (group, link) in soft {
            let name = objects.path(&group, &link)?;
            let found = match objects.follow(&group, &link) {
                Ok(Ok(Some(found))) => found,
                Ok(_) => continue,
                Err(_) => {
                    linked.push(unknown(name));
                    continue;
                }
            };
            let is_dataset = objects.object(found.address).map(|object| object.is_dataset);
            linked.push(match (by_name.get(found.path.as_str()), is_dataset) {
                (Some(&entry), _) => {
                    objects.keep(field_bytes(&entry.fields))?;
                    Entry { name, ..entry.clone() }
                }
                // It has another name, too, under which it is listed.
                (None, Ok(true)) => self.entry(objects, name, found.address)?,
                (None, Ok(false)) => continue,
                (None, Err(_)) => unknown(name),
            });
        }
        Ok(linked)
    }
}

/// What a group has.
#[derive(Default)]
struct Members {
    /// In the file's order.
    datasets: Vec<Found>,
    /// In the opposite order of their names.
    groups: Vec<Found>,
    soft: Vec<String>,
    /// The paths of what cannot be read.
    unreadable: Vec<String>,
}

impl Members {
    fn of(objects: &mut Objects<'_>, group: &Found) -> Result<Self> {
        let mut members = Self::default();
        for (link, target) in objects.object(group.address)?.links.clone() {
            match target {
                Target::Hard(address) => {
                    let found = Found { address, path: objects.path(group, &link)? };
                    match objects.object(address) {
                        Ok(object) if object.is_dataset => members.datasets.push(found),
                        Ok(object) if object.is_group => members.groups.push(found),
                        // A named type.
                        Ok(_) => {}
                        // The others can be read all the same.
                        Err(_) => members.unreadable.push(found.path),
                    }
                }
                Target::Soft(_) => members.soft.push(link),
                Target::External { .. } | Target::Other(_) => {}
            }
        }
        members.groups.sort_by(|a, b| b.path.cmp(&a.path));
        Ok(members)
    }

    fn len(&self) -> usize {
        self.datasets.len() + self.groups.len() + self.soft.len() + self.unreadable.len()
    }
}

impl Container for Hdf5File {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }

    fn open(&self, name: &str) -> Result<Arc<dyn ArraySource>> {
        let is_group = || {
            let mut objects = self.objects().ok()?;
            let found = objects.find(&objects.root(), name).ok()??;
            Some(objects.object(found.address).ok()?.is_group)
        };
        if is_group() == Some(true) { Ok(Arc::new(self.group(name)?)) } else { Ok(Arc::new(self.dataset(name)?)) }
    }
}

/// The header of the dataset that a link of a group leads to; `None` for what is none. A soft link that leads nowhere is none
/// either, and opening it says why.
fn member(objects: &mut Objects<'_>, group: &Found, name: &str, target: &Target) -> Result<Option<u64>> {
    let address = match target {
        Target::Hard(address) => *address,
        Target::Soft(_) => match objects.follow(group, name)? {
            Ok(Some(found)) => found.address,
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(objects.object(address)?.is_dataset.then_some(address))
}

/// The entry of what cannot be read.
fn unknown(name: String) -> Entry {
    Entry { name, dtype: "unknown".to_owned(), shape: Vec::new(), bytes: 0, fields: Vec::new() }
}

/// Bytes that the fields of an entry take.
fn field_bytes(fields: &[FieldSpec]) -> usize {
    fields.iter().map(|field| size_of::<FieldSpec>() + field.name().len()).sum()
}

/// A dataset's entry, without fields where its elements cannot be read.
fn describe(name: String, dataset: Result<Dataset>) -> Entry {
    let known = dataset.and_then(|dataset| guarded(|| Ok((dataset.shape()?, dataset.datatype()?))));
    let Ok((shape, datatype)) = known else {
        return unknown(name);
    };
    let cell: Option<Vec<usize>> = shape.iter().skip(1).map(|&n| usize::try_from(n).ok()).collect();
    let fields = cell.and_then(|cell| types::members(&datatype, &cell).ok()).unwrap_or_default();
    let fields: Vec<_> = fields.into_iter().map(|m| m.field).collect();
    let dtype = match fields.as_slice() {
        [] => types::class(&datatype).to_owned(),
        [field] => field.dtype().to_string(),
        _ => STRUCT.to_owned(),
    };
    let elements = shape.iter().fold(1, |n: u64, &axis| n.saturating_mul(axis));
    Entry { name, dtype, shape, bytes: elements.saturating_mul(u64::from(datatype.type_size())), fields }
}

/// Whether a group, by its attributes, was written as one array of several fields.
fn is_array(attributes: &[(String, String)]) -> bool {
    attributes.iter().any(|(name, _)| name == sink::ARRAY_ATTRIBUTE)
}

/// The entry of a group whose datasets are fields.
fn as_one(path: &str, datasets: &[Entry]) -> Result<Entry> {
    let bytes = datasets.iter().map(|e| e.bytes).fold(0, u64::saturating_add);
    let rows = datasets.iter().filter_map(|e| e.shape.first()).min().copied();
    let prefix = if path.is_empty() { 0 } else { path.len() + 1 };
    let field = |e: &Entry| Some(e.fields.first()?.renamed(e.name.get(prefix..)?));
    let fields = datasets.iter().filter_map(field).collect::<Result<_>>()?;
    let name = if path.is_empty() { "/" } else { path };
    Ok(Entry { name: name.to_owned(), dtype: STRUCT.to_owned(), shape: rows.into_iter().collect(), bytes, fields })
}
