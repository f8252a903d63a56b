//! The formats that this crate knows, and the choice of one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyperslab_core::{ArraySink, ArraySource, Error, FieldSpec, Result};

use crate::container::{Container, ContainerSink, OneArray, names};
use crate::hdf5::{Hdf5File, Hdf5Sink};
use crate::npy::NpyAppendSink;
use crate::numpack::{NumPackSink, NumPackStore};
use crate::torch::{TorchFile, TorchSink};
use crate::zarr::{ZarrFolder, ZarrSink};
use crate::{NpySink, NpySource, NpzFile, NpzSink, SafetensorsFile, SafetensorsSink, WriteOptions};

/// Every format, in the order of the table in this crate's documentation.
pub const FORMATS: &[Format] = &[
    Format {
        name: "npy",
        extensions: &["npy"],
        marks: &[],
        reader: Reader::Array(|path| Ok(Arc::new(NpySource::open(path)?))),
        writer: Writer::Growing(NpySink::create_boxed, NpyAppendSink::open_boxed),
    },
    Format {
        name: "npz",
        extensions: &["npz"],
        marks: &[],
        reader: Reader::Container(|path| Ok(Arc::new(NpzFile::open(path)?))),
        writer: Writer::Container(|path, options| Ok(Box::new(NpzSink::create(path, options)?))),
    },
    Format {
        name: "hdf5",
        extensions: &["h5", "hdf5"],
        marks: &[],
        reader: Reader::Container(Hdf5File::open_boxed),
        writer: Writer::Container(Hdf5Sink::create_boxed),
    },
    Format {
        name: "zarr",
        extensions: &["zarr", "zarr.zip"],
        marks: crate::zarr::MARKS,
        reader: Reader::Container(ZarrFolder::open_boxed),
        writer: Writer::Container(ZarrSink::create_boxed),
    },
    Format {
        name: "safetensors",
        extensions: &["safetensors"],
        marks: &[],
        reader: Reader::Container(|path| Ok(Arc::new(SafetensorsFile::open(path)?))),
        writer: Writer::Container(|path, options| Ok(Box::new(SafetensorsSink::create(path, options)?))),
    },
    Format {
        name: "torch",
        extensions: &["pt", "pth"],
        marks: &[],
        reader: Reader::Container(|path| Ok(Arc::new(TorchFile::open(path)?))),
        writer: Writer::Container(|path, options| Ok(Box::new(TorchSink::create(path, options)?))),
    },
    Format {
        name: "numpack",
        extensions: &["npk", "npkg"],
        marks: crate::numpack::MARKS,
        reader: Reader::Container(|path| Ok(Arc::new(NumPackStore::open(path)?))),
        writer: Writer::Container(|path, options| Ok(Box::new(NumPackSink::create(path, options)?))),
    },
];

/// A format: its name, its extensions and what it can do.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    name: &'static str,
    extensions: &'static [&'static str],
    /// Files that only a folder of it has; none of a format of files.
    marks: &'static [&'static str],
    reader: Reader,
    writer: Writer,
}

#[derive(Debug, Clone, Copy)]
enum Reader {
    Array(fn(&Path) -> Result<Arc<dyn ArraySource>>),
    Container(fn(&Path) -> Result<Arc<dyn Container>>),
}

#[derive(Debug, Clone, Copy)]
enum Writer {
    #[expect(dead_code, reason = "every format is written so far")]
    None,
    #[allow(dead_code, reason = "the only format of one array grows")]
    Array(CreateArray),
    /// A file of one array, and one to which rows are appended.
    Growing(CreateArray, CreateArray),
    Container(fn(&Path, &WriteOptions) -> Result<Box<dyn ContainerSink>>),
}

type CreateArray = fn(&Path, &[FieldSpec], &WriteOptions) -> Result<Box<dyn ArraySink>>;

impl Format {
    /// The format that a path's extension names, in either case.
    ///
    /// # Errors
    /// `Unsupported` for another extension, listing the known ones.
    pub fn of_path(path: &Path) -> Result<&'static Self> {
        Self::with_extension(path).map(|(format, _)| format).ok_or_else(|| {
            let known: Vec<_> = FORMATS.iter().flat_map(|f| f.extensions).map(|e| format!(".{e}")).collect();
            let (path, known) = (path.display(), known.join(", "));
            Error::unsupported(format!("the extension of {path} is that of no known array format; known: {known}"))
        })
    }

    /// The name of a file without the extension of its format, or without its last one if that is of none.
    ///
    /// ```
    /// use hyperslab_formats::Format;
    /// assert_eq!(["d/x.npy", "x.y.zarr.zip", "x.y.z"].map(|path| Format::stem(path.as_ref())), ["x", "x.y", "x.y"]);
    /// ```
    pub fn stem(path: &Path) -> String {
        let text = |part: Option<&std::ffi::OsStr>| part.map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let mut name = text(path.file_name());
        match Self::with_extension(path).and_then(|(_, extension)| name.len().checked_sub(extension.len() + 1)) {
            Some(length) if name.is_char_boundary(length) => {
                name.truncate(length);
                name
            }
            _ => text(path.file_stem()),
        }
    }

    /// The format of a path's extension, and that.
    fn with_extension(path: &Path) -> Option<(&'static Self, &'static str)> {
        let name = path.file_name()?.to_string_lossy().to_lowercase();
        let fits = |extension: &str| {
            let rest = name.strip_suffix(extension).and_then(|rest| rest.strip_suffix('.'));
            rest.is_some_and(|rest| !rest.is_empty())
        };
        let mut all = FORMATS.iter().flat_map(|format| format.extensions.iter().map(move |&e| (format, e)));
        all.find(|(_, extension)| fits(extension))
    }

    /// The format that a folder is of, by the files that only such a folder has, whatever it is called.
    ///
    /// ```
    /// use hyperslab_formats::Format;
    /// let folder = tempfile::tempdir()?;
    /// std::fs::write(folder.path().join("zarr.json"), "{}")?;
    /// assert_eq!(Format::of_folder(folder.path()).map(Format::name), Some("zarr"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn of_folder(folder: &Path) -> Option<&'static Self> {
        FORMATS.iter().find(|f| is_marked(folder, f.marks))
    }

    /// The format of a name, as `STORED AS` and `--from` spell it, in either case.
    ///
    /// # Errors
    /// `Unsupported` for another name, listing the known ones.
    pub fn named(name: &str) -> Result<&'static Self> {
        FORMATS.iter().find(|f| f.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
            let known: Vec<_> = FORMATS.iter().map(|f| f.name).collect();
            Error::unsupported(format!("there is no array format {name:?}; known: {}", known.join(", ")))
        })
    }

    /// Its name, in lower case.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its extensions, in lower case and without the first dot; the first one is the usual one, and what is written.
    pub fn extensions(&self) -> &'static [&'static str] {
        self.extensions
    }

    /// Whether a file of it holds several arrays by name.
    pub fn is_container(&self) -> bool {
        matches!(self.reader, Reader::Container(_))
    }

    /// Whether [`create_container`](Self::create_container) writes it: a file of several arrays by name.
    pub fn writes_arrays_by_name(&self) -> bool {
        matches!(self.writer, Writer::Container(_))
    }

    /// Whether it can be written.
    pub fn can_write(&self) -> bool {
        !matches!(self.writer, Writer::None)
    }

    /// Opens a file as arrays by name. A file of one array has one entry, named as the file without its extension.
    ///
    /// # Errors
    /// The format's; the file is named.
    pub fn open_container(&self, path: &Path) -> Result<Arc<dyn Container>> {
        match self.reader {
            Reader::Container(open) => open(path),
            Reader::Array(open) => Ok(Arc::new(OneArray::new(path, open(path)?))),
        }
    }

    /// Opens one array: the named one, or without a name the only one that the file holds.
    ///
    /// # Errors
    /// `NotFound` for a name that is not there and `Invalid` where there is no name and not just one array, both
    /// listing the names that are there; otherwise the format's.
    pub fn open(&self, path: &Path, entry: Option<&str>) -> Result<Arc<dyn ArraySource>> {
        if let (Reader::Array(open), None) = (self.reader, entry) {
            return open(path);
        }
        let container = self.open_container(path)?;
        let only = || match container.entries() {
            [only] => Ok(only.name.as_str()),
            entries => {
                let path = path.display();
                Err(Error::invalid(format!(
                    "{path} holds {} arrays, and one is needed: name it, as in '{path}::name'; there are: {}",
                    entries.len(),
                    names(entries)
                )))
            }
        };
        container.open(entry.map_or_else(only, Ok)?)
    }

    /// Starts a file of one array. Nothing of it is visible under `path`, and an existing file stays as it is, until
    /// [`ArraySink::finish`]. In a container the array is named as the file without its extension.
    ///
    /// # Errors
    /// `AlreadyExists` for an existing file, unless it may be overwritten; `Unsupported` for a format that is only
    /// read; `Invalid` for options and fields that the format does not take; `Io`.
    pub fn create(&self, path: &Path, fields: &[FieldSpec], options: &WriteOptions) -> Result<Box<dyn ArraySink>> {
        match self.writer {
            Writer::Array(create) | Writer::Growing(create, _) => create(path, fields, options),
            Writer::Container(create) => {
                let mut sink = create(path, options)?;
                let name = Self::stem(path);
                sink.begin(&name, fields)?;
                Ok(Box::new(OnlyArray(sink)))
            }
            Writer::None => Err(self.read_only(path)),
        }
    }

    /// Whether [`append`](Self::append) adds rows to its files.
    pub fn can_append(&self) -> bool {
        matches!(self.writer, Writer::Growing(..))
    }

    /// Opens a file to add rows to it, and makes one without rows where there is none. They become visible at
    /// [`ArraySink::finish`], and until then nobody else can append; dropping the sink leaves the file as it was.
    ///
    /// # Errors
    /// `Unsupported` for a format whose files do not grow, listing those that do; `Invalid` for rows of another dtype or
    /// shape than the file's, naming both, and for options that are not known; `Conflict`, retryable, while another one
    /// appends; `Io`.
    pub fn append(&self, path: &Path, fields: &[FieldSpec], options: &WriteOptions) -> Result<Box<dyn ArraySink>> {
        if let Writer::Growing(_, append) = self.writer {
            return append(path, fields, options);
        }
        let known: Vec<_> = FORMATS.iter().filter(|f| f.can_append()).map(|f| f.name).collect();
        let why = format!("{} files do not grow; those that do are: {}", self.name, known.join(", "));
        Err(Error::unsupported(why).with("file", path.display()))
    }

    /// Starts a file of several arrays.
    ///
    /// # Errors
    /// As [`create`](Self::create); `Unsupported` for a format of one array per file.
    pub fn create_container(&self, path: &Path, options: &WriteOptions) -> Result<Box<dyn ContainerSink>> {
        match self.writer {
            Writer::Container(create) => create(path, options),
            Writer::Array(_) | Writer::Growing(..) => Err(Error::unsupported(format!(
                "a .{} file holds one array; write each to a file of its own, or to one of: {}",
                self.name,
                FORMATS
                    .iter()
                    .filter(|f| matches!(f.writer, Writer::Container(_)))
                    .map(|f| f.name)
                    .collect::<Vec<_>>()
                    .join(", ")
            ))
            .with("file", path.display())),
            Writer::None => Err(self.read_only(path)),
        }
    }

    fn read_only(&self, path: &Path) -> Error {
        let known: Vec<_> = FORMATS.iter().filter(|f| f.can_write()).map(|f| f.name).collect();
        let why = format!("{} files are read and not written; written are: {}", self.name, known.join(", "));
        Error::unsupported(why).with("file", path.display())
    }
}

/// Whether a folder has one of a format's files.
pub(crate) fn is_marked(folder: &Path, marks: &[&str]) -> bool {
    marks.iter().any(|file| folder.join(file).is_file())
}

/// A container with one array, as a sink of its rows.
#[derive(Debug)]
struct OnlyArray(Box<dyn ContainerSink>);

impl ArraySink for OnlyArray {
    fn write(&mut self, batch: &arrow_array::RecordBatch) -> Result<()> {
        self.0.write(batch)
    }

    fn finish(self: Box<Self>) -> Result<hyperslab_core::SinkSummary> {
        self.0.finish()
    }
}

/// Splits `file.npz::name` into the path and the name of an array in it; a path that exists as it is, whatever it
/// contains, and one without `::` have no name.
///
/// ```
/// use hyperslab_formats::split_entry;
/// let (path, entry) = split_entry("dir/model.safetensors::layer.0.weight");
/// assert_eq!((path.to_str(), entry.as_deref()), (Some("dir/model.safetensors"), Some("layer.0.weight")));
/// assert_eq!(split_entry("a.npy").1, None);
/// ```
pub fn split_entry(text: &str) -> (PathBuf, Option<String>) {
    match text.split_once("::") {
        Some((path, entry)) if !path.is_empty() && !Path::new(text).exists() => {
            (PathBuf::from(path), Some(entry.to_owned()))
        }
        _ => (PathBuf::from(text), None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use hyperslab_core::{DType, ErrorKind};

    use super::*;

    #[test]
    fn extensions_and_names_are_one_list() {
        let all: Vec<_> = FORMATS.iter().flat_map(|f| f.extensions()).copied().collect();
        assert_eq!(all, ["npy", "npz", "h5", "hdf5", "zarr", "zarr.zip", "safetensors", "pt", "pth", "npk", "npkg"]);
        assert!(FORMATS.iter().all(|f| Format::named(f.name()).unwrap().name() == f.name()));
        let error = Format::named("xyz").unwrap_err().to_string();
        assert!(error.contains("\"xyz\"; known: npy"), "{error}");
    }

    #[test]
    fn a_file_of_one_array_is_a_container_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc.npy");
        let field = FieldSpec::new("value", DType::Int16, vec![2, 3]).unwrap();
        crate::create(&path, std::slice::from_ref(&field)).unwrap().finish().unwrap();
        let container = crate::open_container(&path).unwrap();
        let [entry] = container.entries() else { unreachable!() };
        assert_eq!((entry.name.as_str(), entry.dtype.as_str(), entry.bytes), ("abc", "int16", 0));
        assert_eq!((entry.shape.as_slice(), entry.fields.as_slice()), (&[0, 2, 3][..], &[field][..]));
        assert_eq!(container.open("abc").unwrap().rows(), 0);
        let error = container.open("b").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("there are: abc"), "{error}");
        let npy = Format::of_path(&path).unwrap();
        assert!(npy.open(&path, Some("abc")).is_ok() && npy.open(&path, Some("x")).is_err());
        assert_eq!(npy.create_container(&path, &WriteOptions::new()).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn an_existing_file_is_refused_unless_it_may_be_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let fields = [FieldSpec::new("value", DType::Int16, vec![]).unwrap()];
        let npy = Format::named("NPY").unwrap();
        let create = |overwrite| npy.create(&path, &fields, &WriteOptions::new().overwrite(overwrite));
        let late = create(false).unwrap();
        create(false).unwrap().finish().unwrap();
        let error = create(false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(error.to_string().contains("a.npy"), "{error}");
        assert_eq!(late.finish().unwrap_err().kind(), ErrorKind::AlreadyExists);
        create(true).unwrap().finish().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = npy.create(&path, &fields, &WriteOptions::new().set("level", "3")).unwrap_err();
        assert!(error.to_string().contains("no option of npy"), "{error}");
    }

    #[test]
    fn entries_are_split_off() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("a::b");
        std::fs::write(&odd, b"").unwrap();
        assert_eq!(split_entry(odd.to_str().unwrap()), (odd.clone(), None));
        assert_eq!(split_entry("a.h5::/x::y"), ("a.h5".into(), Some("/x::y".to_owned())));
        assert_eq!(split_entry("::x"), ("::x".into(), None));
    }
}
