//! HDF5: files of groups, datasets and attributes, as h5py, netCDF-4, MATLAB and PyTables write them.
//!
//! [`Hdf5File`] lists the datasets of a file and opens one as an array, [`Hdf5Sink`] writes a file. The file's structure is read by `hdf5-pure`
//! (`docs/decisions` says why); values are read from the map by this module, a window of rows at a time.
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
//! Rows are the first axis; a dataset without axes has one row, and an empty one (h5py's `Empty`) none. Not read:
//! virtual datasets and those in other files, references, soft and external links, szip, nbit and plugins' filters.

mod encode;
pub(crate) mod filters;
mod heap;
pub(crate) mod options;
mod sink;
mod source;
mod stored;
mod types;
mod writer;

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use hdf5_pure::{Dataset, FormatError, Group};
use hyperslab_core::{ArraySource, Error, Result};

use crate::container::{Container, Entry, STRUCT, missing_entry};
use crate::group::GroupSource;
use crate::map::MappedFile;

pub use sink::Hdf5Sink;
pub use source::Hdf5Source;

/// How deep groups are looked into.
const MAX_DEPTH: usize = 64;
/// How many groups and datasets are listed.
const MAX_OBJECTS: usize = 1 << 20;

/// An HDF5 file, mapped.
///
/// Its entries are its datasets, as `group/dataset`; a group that Hyperslab wrote as one array of several fields is one
/// entry. Any other group of datasets of as many rows can be opened as an array, too, by its name: `/` is the whole file.
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
    library: hdf5_pure::File,
    file: Arc<MappedFile>,
    entries: Vec<Entry>,
    metadata: Vec<(String, String)>,
}

impl Hdf5File {
    /// Maps a file and lists what is in it.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` for what is no HDF5 file, is damaged or is being written; `Invalid` for what is no regular
    /// file; `Io`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let file = Arc::new(MappedFile::open(path.as_ref())?);
        let in_file = |e: Error| e.with("file", path.as_ref().display());
        let library = guarded(|| hdf5_pure::File::from_source(Mapped(Arc::clone(&file)))).map_err(in_file)?;
        let entries = list(&library).map_err(in_file)?;
        let metadata = attributes(|| library.root().attrs()).map_err(in_file)?;
        Ok(Self { library, file, entries, metadata })
    }

    pub(crate) fn open_boxed(path: &Path) -> Result<Arc<dyn Container>> {
        Ok(Arc::new(Self::open(path)?))
    }

    /// Opens a dataset by its name, with or without the first `/`.
    ///
    /// # Errors
    /// `NotFound`, listing the datasets that are there; `Unsupported` for element types, filters and layouts that are
    /// not read; `Corrupt` for a damaged file.
    pub fn dataset(&self, name: &str) -> Result<Hdf5Source> {
        let path = name.trim_matches('/');
        let here = |e: Error| e.with("dataset", path).with("file", self.path().display());
        match self.find(|| self.library.dataset(path)).map_err(here)? {
            Some(dataset) => Hdf5Source::open(&self.file, &self.library, path, dataset).map_err(here),
            None => Err(missing_entry(self, name)),
        }
    }

    /// Opens the datasets of a group, which have as many rows, as the fields of one array.
    ///
    /// # Errors
    /// `NotFound` for a group that is not there; `Invalid` for datasets of different lengths; as
    /// [`dataset`](Self::dataset).
    pub fn group(&self, name: &str) -> Result<GroupSource> {
        let path = name.trim_matches('/');
        let here = |e: Error| e.with("group", format!("/{path}")).with("file", self.path().display());
        let found = match path {
            "" => Some(self.library.root()),
            _ => self.find(|| self.library.group(path)).map_err(here)?,
        };
        let group = found.ok_or_else(|| missing_entry(self, name))?;
        let mut fields = Vec::new();
        for (name, dataset) in guarded(|| Ok(group.iter_datasets()?.collect::<Vec<_>>())).map_err(here)? {
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            let source = Hdf5Source::open(&self.file, &self.library, &path, dataset)
                .map_err(|e| here(e.with("dataset", &path)))?;
            fields.push((name, Arc::new(source) as Arc<dyn ArraySource>));
        }
        GroupSource::new(fields).map_err(here)
    }

    /// What the library finds; `None` for what is not there.
    fn find<T>(&self, find: impl FnOnce() -> std::result::Result<T, hdf5_pure::Error>) -> Result<Option<T>> {
        use hdf5_pure::Error::{Format, NotADataset, NotAGroup};
        guarded(|| match find() {
            Err(Format(FormatError::PathNotFound(_)) | NotADataset(_) | NotAGroup(_)) => Ok(None),
            found => found.map(Some),
        })
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
        let path = name.trim_matches('/');
        let is_group = path.is_empty() || self.find(|| self.library.group(path)).is_ok_and(|g| g.is_some());
        if is_group { Ok(Arc::new(self.group(name)?)) } else { Ok(Arc::new(self.dataset(name)?)) }
    }
}

/// The datasets of a file, sorted by name.
fn list(library: &hdf5_pure::File) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut visited = HashSet::new();
    let mut groups = vec![(String::new(), 0, guarded(|| Ok(library.root()))?)];
    let mut seen = 0;
    while let Some((prefix, depth, group)) = groups.pop() {
        FIRST_READ.set(None);
        let found =
            guarded(|| Ok((group.iter_datasets()?.collect::<Vec<_>>(), group.iter_groups()?.collect::<Vec<_>>())));
        let (datasets, inner) = found.map_err(|e| e.with("group", format!("/{prefix}")))?;
        // A group that has two names, or lies in itself, is listed once, as h5py's `visit` does.
        if !visited.insert(FIRST_READ.get()) {
            continue;
        }
        seen += datasets.len() + inner.len();
        if seen > MAX_OBJECTS {
            return Err(Error::unsupported(format!("there are more than {MAX_OBJECTS} groups and datasets")));
        }
        let mut here: Vec<Entry> = datasets.iter().map(|(name, d)| describe(format!("{prefix}{name}"), d)).collect();
        if is_array(&group) && here.iter().all(|e| e.fields.len() == 1) && !here.is_empty() {
            let name = if prefix.is_empty() { "/" } else { prefix.trim_end_matches('/') };
            here = vec![as_one(name, here, prefix.len())?];
        }
        entries.append(&mut here);
        if depth < MAX_DEPTH {
            groups.extend(inner.into_iter().map(|(name, g)| (format!("{prefix}{name}/"), depth + 1, g)));
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// A dataset's entry, without fields where its elements cannot be read.
fn describe(name: String, dataset: &Dataset) -> Entry {
    let known = guarded(|| Ok((dataset.shape()?, dataset.datatype()?)));
    let Ok((shape, datatype)) = known else {
        return Entry { name, dtype: "unknown".to_owned(), shape: Vec::new(), bytes: 0, fields: Vec::new() };
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

/// Whether a group was written as one array of several fields.
fn is_array(group: &Group) -> bool {
    attributes(|| group.attrs()).is_ok_and(|all| all.iter().any(|(name, _)| name == sink::ARRAY_ATTRIBUTE))
}

/// The entry of a group whose datasets are fields.
fn as_one(name: &str, datasets: Vec<Entry>, prefix: usize) -> Result<Entry> {
    let bytes = datasets.iter().map(|e| e.bytes).fold(0, u64::saturating_add);
    let rows = datasets.iter().filter_map(|e| e.shape.first()).min().copied();
    let field = |e: Entry| Some(e.fields.first()?.renamed(e.name.get(prefix..)?));
    let fields = datasets.into_iter().filter_map(field).collect::<Result<_>>()?;
    Ok(Entry { name: name.to_owned(), dtype: STRUCT.to_owned(), shape: rows.into_iter().collect(), bytes, fields })
}

/// Attributes as text.
fn attributes(
    read: impl FnOnce() -> std::result::Result<HashMap<String, hdf5_pure::AttrValue>, hdf5_pure::Error>,
) -> Result<Vec<(String, String)>> {
    let mut found: Vec<_> = guarded(read)?
        .into_iter()
        .map(|(name, value)| {
            let mut text = String::new();
            match value.as_str() {
                Some(value) => text.push_str(value),
                // Writing to a string cannot fail.
                None => drop(write!(text, "{value}")),
            }
            (name, text)
        })
        .collect();
    found.sort();
    Ok(found)
}

/// Calls the library, whose errors and panics on a damaged file become errors of ours.
fn guarded<T>(call: impl FnOnce() -> std::result::Result<T, hdf5_pure::Error>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error @ hdf5_pure::Error::Format(FormatError::InvalidLayoutVersion(_)))) => Err(Error::unsupported(
            "it was written in a format newer than HDF5 1.14's; write it with libver=('earliest', 'v114') in h5py, or \
             rewrite it with h5repack --high=4",
        )
        .because(error)),
        Ok(Err(error)) => Err(match error.to_string().to_lowercase() {
            why if why.contains("support") || why.contains("external") => {
                Error::unsupported("it uses what is not read of HDF5")
            }
            _ => Error::corrupt("it cannot be read as HDF5"),
        }
        .because(error)),
        Err(_) => Err(Error::corrupt("it cannot be read as HDF5: its structure is damaged")),
    }
}

/// Refuses the filters that the library does not have either.
fn known_filter(id: u16) -> Result<()> {
    let name = match id {
        1 | 2 | 3 | 6 | 32000 => return Ok(()),
        4 => "szip",
        5 => "nbit",
        32001 => "blosc",
        32004 => "lz4",
        32013 => "zfp",
        32015 => "zstd",
        32008 => "bitshuffle",
        32026 => "blosc2",
        _ => "a plugin's",
    };
    Err(Error::unsupported(format!(
        "its chunks use filter {id} ({name}), which is not read; rewrite it with h5repack -f GZIP=4"
    )))
}

thread_local! {
    /// Where the library read first since this was last cleared: a group's own header when its members are listed. The
    /// library does not say otherwise whether two groups are the same.
    static FIRST_READ: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The map as the library's source of bytes: a file that shrank is an error for it, too.
struct Mapped(Arc<MappedFile>);

impl hdf5_pure::Source for Mapped {
    fn len(&self) -> u64 {
        self.0.bytes().len() as u64
    }

    fn read_at(&self, offset: u64, to: &mut [u8]) -> std::result::Result<(), FormatError> {
        let all = self.0.bytes();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let from = start.checked_add(to.len()).and_then(|end| all.get(start..end));
        let from =
            from.ok_or(FormatError::UnexpectedEof { expected: start.saturating_add(to.len()), available: all.len() })?;
        FIRST_READ.set(FIRST_READ.get().or(Some(offset)));
        self.0.check(all.len() as u64).map_err(|e| FormatError::Source(e.to_string()))?;
        to.copy_from_slice(from);
        Ok(())
    }
}
