//! NumPack's stores: a folder `.npk` of arrays, and a package `.npkg` of such a folder's files.
//!
//! - **Folders** are read in place: an array's rows are a file of its own, or several (segments). Rows that were dropped
//!   are marked in a bitmap and left out; a run of rows without a gap is a view of the map.
//! - **Packages** are checked and unpacked when their first array is opened: files that are stored as they are, are read
//!   in place, and compressed ones (zstd, or zlib where NumPack had no zstd) become nameless files in the system's folder
//!   for temporary files (`TMPDIR`). The checksum, which is of all files together, is compared.
//!
//! An array's shape is that of the rows that are there. One without axes is one row with a scalar. bool, ints, floats and
//! complex numbers are the dtype of that name; the format has no others, and no attributes. A data file that is longer than
//! its shape asks for, as an append that was cut off leaves it, is read up to its shape; a shorter one is an error.
//!
//! What is written has no deleted rows; bfloat16 is written as float32. A folder appears as a whole, and replaces only
//! another such folder. Options of the writer, for packages: `codec`, `zstd` (the default; NumPack needs `zstandard` to
//! unpack it) or `none`, and `level`, 1 to 22.
//!
//! NumPack's own appends lose dropped rows' marks and orphan bytes after a crash; here a store is read and written whole,
//! and does not grow.
//!
//! Source of the format: <https://github.com/BirchKwok/NumPack>; read off files that NumPack 0.5 wrote.

mod bitmap;
mod live;
mod metadata;
mod package;
mod sink;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyperslab_core::{ArraySource, Error, FieldSpec, Result, VALUE};
use serde::Deserialize;

use crate::ConcatSource;
use crate::container::{Container, Entry, missing_entry};
use crate::folder::{Folder, MAX_METADATA};
use crate::map::MappedFile;
use crate::raw::{Layout, RawSource};

use bitmap::Live;
use live::LiveSource;
use metadata::Described;
use package::Package;

pub use sink::NumPackSink;

/// The file that says what arrays there are.
const METADATA: &str = "metadata.npkm";
/// Files that only the folder of a store has.
pub(crate) const MARKS: &[&str] = &[METADATA];
/// The extension of packages.
const PACKAGE: &str = "npkg";

/// A NumPack store: a folder, or a package, mapped.
#[derive(Debug)]
pub struct NumPackStore {
    path: PathBuf,
    files: Files,
    entries: Vec<Entry>,
    arrays: Vec<Array>,
    by_name: HashMap<String, usize>,
}

#[derive(Debug)]
struct Array {
    described: Described,
    live: Option<Live>,
}

/// Where a store's files are.
#[derive(Debug)]
enum Files {
    Folder(Folder),
    Package(Package),
}

/// A file, and where in a mapped one it is.
type Part = (Arc<MappedFile>, Range<usize>);

impl Files {
    /// A file by its path in the store.
    fn get(&self, path: &str) -> Result<Option<Part>> {
        match self {
            Self::Folder(folder) => Ok(folder.mapped(path)?.map(|file| {
                let range = 0..file.bytes().len();
                (Arc::new(file), range)
            })),
            Self::Package(package) => package.get(path),
        }
    }

    fn needed(&self, path: &str) -> Result<Part> {
        let missing = || Error::corrupt(format!("its file {path} is missing; copy the store again"));
        self.get(path)?.ok_or_else(missing)
    }
}

impl NumPackStore {
    /// Opens a folder, or maps a package, and reads what arrays there are.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` for damaged metadata, or a package that is no whole one; `Unsupported` for what is newer than
    /// NumPack 0.7; `Invalid` for what is no store; `Io`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::of(path).map_err(|e| e.with("file", path.display()))
    }

    fn of(path: &Path) -> Result<Self> {
        let files = match path.is_file() {
            true => Files::Package(Package::open(path)?),
            false => Files::Folder(Folder::open(path)?),
        };
        let no_store = || Error::invalid(format!("it is no NumPack store: it has no {METADATA}"));
        let (file, range) = files.get(METADATA)?.ok_or_else(no_store)?;
        if range.len() as u64 > MAX_METADATA {
            return Err(Error::corrupt(format!(
                "{METADATA} has {} bytes; at most {MAX_METADATA} are sensible",
                range.len()
            )));
        }
        let described = metadata::read(file.bytes().get(range).unwrap_or_default())?;
        let mut this = Self { path: path.to_owned(), files, entries: vec![], arrays: vec![], by_name: HashMap::new() };
        for described in described {
            let name = described.name.clone();
            if this.by_name.insert(name.clone(), this.arrays.len()).is_some() {
                return Err(Error::corrupt("its metadata has an array twice").with("array", name));
            }
            let live = this.live(&described).map_err(|e| e.with("array", &name))?;
            this.entries.push(entry(&described, live.as_ref()));
            this.arrays.push(Array { described, live });
        }
        Ok(this)
    }

    /// The rows that are there, when some are not.
    fn live(&self, array: &Described) -> Result<Option<Live>> {
        let Some(&rows) = array.shape.first() else { return Ok(None) };
        match self.files.get(&format!("deleted_{}.npkb", array.name))? {
            Some((file, range)) => Ok(Some(Live::new(file, range, rows)?).filter(|live| live.count() < rows)),
            None => Ok(None),
        }
    }

    fn source(&self, Array { described, live }: &Array) -> Result<Arc<dyn ArraySource>> {
        if let Files::Package(package) = &self.files {
            package.check()?;
        }
        let field = field(described)?;
        let rows = described.shape.first().copied().unwrap_or(1);
        let all: Arc<dyn ArraySource> = match described.file.ends_with(".npkseg") {
            true => self.segments(described, &field, rows)?,
            false => Arc::new(self.raw(&described.file, described, &field, rows)?),
        };
        Ok(match live {
            Some(live) => Arc::new(LiveSource::new(all, live.clone(), described.name.clone())),
            None => all,
        })
    }

    /// The first rows of a file of rows.
    fn raw(&self, path: &str, array: &Described, field: &FieldSpec, rows: u64) -> Result<RawSource> {
        let (file, range) = self.files.needed(path)?;
        let needed = rows.checked_mul(field.row_bytes() as u64);
        let found = range.len() as u64;
        let needed = needed.filter(|&n| n <= found).ok_or_else(|| {
            let wanted = format!("{rows} rows of {} bytes", field.row_bytes());
            Error::corrupt(format!("its file {path} has {found} bytes, and not {wanted}; it is an incomplete copy"))
        })?;
        let range = range.start..range.start + needed as usize;
        RawSource::new(file, range, Layout::plain(field.clone(), rows), Some(array.name.clone()))
    }

    /// The rows of a list of files of rows.
    fn segments(&self, array: &Described, field: &FieldSpec, rows: u64) -> Result<Arc<dyn ArraySource>> {
        let (file, range) = self.files.needed(&array.file)?;
        let json = file.bytes().get(range).filter(|b| b.len() as u64 <= MAX_METADATA).unwrap_or_default();
        let list: Segments = serde_json::from_slice(json)
            .map_err(|e| Error::corrupt(format!("its file {} is no list of segments", array.file)).because(e))?;
        if list.version != 1 {
            let why = format!("its list of segments has version {}, and 1 is read", list.version);
            return Err(Error::unsupported(why));
        }
        let mut sources: Vec<(PathBuf, Arc<dyn ArraySource>)> = Vec::new();
        let mut left = rows;
        for segment in &list.segments {
            let rows = segment.rows.min(left);
            left -= rows;
            sources.push((segment.file.clone().into(), Arc::new(self.raw(&segment.file, array, field, rows)?)));
        }
        if left > 0 {
            let there = rows - left;
            return Err(Error::corrupt(format!("its segments have {there} rows, and the shape asks for {rows}")));
        }
        if sources.is_empty() {
            sources.push((array.file.clone().into(), Arc::new(self.raw(&array.file, array, field, 0)?)));
        }
        Ok(Arc::new(ConcatSource::new(sources)?))
    }
}

/// `data_<name>.npkseg`.
#[derive(Deserialize)]
struct Segments {
    version: u64,
    segments: Vec<Segment>,
}

#[derive(Deserialize)]
struct Segment {
    file: String,
    rows: u64,
}

fn field(array: &Described) -> Result<FieldSpec> {
    let cell = array.shape.get(1..).unwrap_or_default();
    FieldSpec::new(VALUE, array.dtype, cell.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect())
}

fn entry(array: &Described, live: Option<&Live>) -> Entry {
    let mut shape = array.shape.clone();
    if let (Some(live), Some(rows)) = (live, shape.first_mut()) {
        *rows = live.count();
    }
    let bytes = shape.iter().fold(array.dtype.size() as u64, |n, &axis| n.saturating_mul(axis));
    let fields = field(array).into_iter().collect();
    Entry { name: array.name.clone(), dtype: array.dtype.to_string(), shape, bytes, fields }
}

impl Container for NumPackStore {
    fn path(&self) -> &Path {
        &self.path
    }

    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn open(&self, name: &str) -> Result<Arc<dyn ArraySource>> {
        let i = *self.by_name.get(name).ok_or_else(|| missing_entry(self, name))?;
        self.source(&self.arrays[i]).map_err(|e| e.with("array", name).with("file", self.path.display()))
    }
}
