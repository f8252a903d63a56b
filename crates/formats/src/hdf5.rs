//! HDF5: files of groups, datasets and attributes, as h5py, netCDF-4, MATLAB and PyTables write them.
//!
//! [`Hdf5File`] lists the datasets of a file and opens one as an array. The file's structure is read by `hdf5-pure`
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

mod chunks;
mod filters;
mod grid;
mod heap;
mod source;
mod types;

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use hdf5_pure::{FormatError, Group};
use hyperslab_core::{ArraySource, Error, Result};

use crate::map::MappedFile;

pub use source::Hdf5Source;

/// How deep groups are looked into.
const MAX_DEPTH: usize = 64;
/// How many groups and datasets are listed.
const MAX_OBJECTS: usize = 1 << 20;
/// How many names an error lists.
const MAX_NAMES: usize = 20;

/// An HDF5 file, mapped.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("a.h5");
/// # let mut builder = hdf5_pure::FileBuilder::new();
/// # builder.create_dataset("x").with_i32_data(&[5, 6, 7]);
/// # std::fs::write(&path, builder.finish()?)?;
/// use hyperslab_core::ArraySource;
/// use hyperslab_formats::hdf5::Hdf5File;
///
/// let file = Hdf5File::open(&path)?;
/// assert_eq!(file.names()?, ["/x"]);
/// assert_eq!(file.dataset("x")?.rows(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Hdf5File {
    library: hdf5_pure::File,
    file: Arc<MappedFile>,
}

impl Hdf5File {
    /// Maps a file and reads its first header.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` for what is no HDF5 file, is damaged or is being written; `Invalid` for what is no regular
    /// file; `Io`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let file = Arc::new(MappedFile::open(path.as_ref())?);
        let library = guarded(|| hdf5_pure::File::from_source(Mapped(Arc::clone(&file))));
        let library = library.map_err(|e| e.with("file", path.as_ref().display()))?;
        Ok(Self { library, file })
    }

    /// The names of all datasets, in order, as `/group/dataset`.
    ///
    /// # Errors
    /// `Corrupt` for a damaged file.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut visited = HashSet::new();
        let mut groups = vec![(String::new(), 0, guarded(|| Ok(self.library.root())).map_err(|e| self.here(e))?)];
        let mut seen = 0;
        while let Some((path, depth, group)) = groups.pop() {
            FIRST_READ.set(None);
            let (datasets, inner) = guarded(|| Ok((group.datasets()?, inner_groups(&group)?)))
                .map_err(|e| self.here(e.with("group", if path.is_empty() { "/" } else { &path })))?;
            // A group that has two names, or lies in itself, is listed once, as h5py's `visit` does.
            if !visited.insert(FIRST_READ.get()) {
                continue;
            }
            seen += datasets.len() + inner.len();
            if seen > MAX_OBJECTS {
                let why = format!("there are more than {MAX_OBJECTS} groups and datasets");
                return Err(self.here(Error::unsupported(why)));
            }
            names.extend(datasets.into_iter().map(|name| format!("{path}/{name}")));
            if depth < MAX_DEPTH {
                groups.extend(inner.into_iter().rev().map(|(name, g)| (format!("{path}/{name}"), depth + 1, g)));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Opens a dataset by its name, with or without the first `/`.
    ///
    /// # Errors
    /// `NotFound`, listing the datasets that are there; `Unsupported` for element types, filters and layouts that are
    /// not read; `Corrupt` for a damaged file.
    pub fn dataset(&self, name: &str) -> Result<Hdf5Source> {
        let full = format!("/{}", name.trim_matches('/'));
        let here = |e: Error| self.here(e.with("dataset", &full));
        let found = match catch_unwind(AssertUnwindSafe(|| self.library.dataset(&full[1..]))) {
            Ok(Err(
                hdf5_pure::Error::Format(FormatError::PathNotFound(_))
                | hdf5_pure::Error::NotADataset(_)
                | hdf5_pure::Error::NotAGroup(_),
            )) => return Err(self.missing(&full)?),
            found => guarded(|| found.unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
        };
        Hdf5Source::open(&self.file, &self.library, &full, found.map_err(here)?).map_err(here)
    }

    fn missing(&self, name: &str) -> Result<Error> {
        let names = self.names()?;
        let mut there: Vec<_> = names.iter().take(MAX_NAMES).map(String::as_str).collect();
        if names.len() > MAX_NAMES {
            there.push("…");
        }
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        Ok(Error::not_found(format!(
            "there is no dataset {name:?}; there are: {there} (soft and external links are not followed)"
        ))
        .with("file", self.file.path().display()))
    }

    fn here(&self, error: Error) -> Error {
        error.with("file", self.file.path().display())
    }
}

fn inner_groups(group: &Group) -> std::result::Result<Vec<(String, Group)>, hdf5_pure::Error> {
    Ok(group.iter_groups()?.collect())
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
        self.0.check_length(all.len() as u64).map_err(|e| FormatError::Source(e.to_string()))?;
        to.copy_from_slice(from);
        Ok(())
    }
}

/// Opens one dataset of a file; without a name, the only one.
///
/// # Errors
/// As [`Hdf5File::dataset`]; `Invalid` for a file of several datasets without a name.
pub fn open(path: &Path, dataset: Option<&str>) -> Result<Arc<dyn ArraySource>> {
    let file = Hdf5File::open(path)?;
    let name = match dataset {
        Some(name) => name.to_owned(),
        None => match file.names()?.as_slice() {
            [only] => only.clone(),
            names => {
                let there: Vec<_> = names.iter().take(MAX_NAMES).map(String::as_str).collect();
                let why = format!("the file has {} datasets: {}; name one", names.len(), there.join(", "));
                return Err(Error::invalid(why).with("file", path.display()));
            }
        },
    };
    Ok(Arc::new(file.dataset(&name)?))
}
