//! Zarr: chunks with their metadata in JSON, versions 2 and 3, as zarr-python, xarray and TensorStore write them, in a
//! folder or, to be read, in a zip archive.
//!
//! | in the store | here |
//! |---|---|
//! | bool, integers, floats (bfloat16 too), complex of either byte order, `numpy.datetime64`, `numpy.timedelta64` | the dtype of that name; times in units that are not ours as with [`.npy`](crate::npy) |
//! | text of fixed or variable length, one in a row | utf8 |
//! | text of fixed length, several in a row | bytes, UTF-8 filled up with NUL |
//! | raw bytes | bytes |
//! | bytes of variable length | binary |
//! | a structured dtype | a field for each of its own, those of a nested one as `outer.inner` |
//! | objects, text of variable length with several axes, other data types of extensions | listed, and refused when they are opened |
//!
//! Codecs: gzip, zlib, zstd, blosc (with blosclz, lz4, zlib or zstd in it), lz4; shuffle, transpose and Fortran order;
//! sharding, also of shards and of what is transposed or compressed as a whole; the checksums crc32c, crc32, adler32 and
//! fletcher32; numcodecs' filters delta, fixedscaleoffset, quantize, bitround, astype and packbits, and scale_offset and
//! cast_value. Others are refused by name: bz2, lzma, pcodec, zfpy, categorize, json2, pickle, msgpack2, base64, jenkins_lookup3 and snappy within blosc.
//!
//! Rows are the first axis; an array without axes has one row. Links within the folder are not followed. Consolidated
//! metadata is not used, since all of it is at hand.

mod blosc;
mod chain;
mod codecs;
mod dtypes;
mod fill;
mod filters;
mod metadata;
mod options;
mod sink;
mod source;
mod store;
mod stored;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyperslab_core::{ArraySource, Error, Result};
use serde_json::Value;

use crate::Format;
use crate::container::{Container, Entry, STRUCT, missing_entry};
use crate::group::GroupSource;
use metadata::Metadata;
use store::Store;

pub use sink::ZarrSink;
pub use source::ZarrSource;

/// Files that only the folder of a group or array has.
pub(crate) const MARKS: &[&str] = &["zarr.json", ".zgroup", ".zarray"];
/// How deep groups are looked into, and how many folders.
const MAX_DEPTH: usize = 32;
const MAX_FOLDERS: usize = 1 << 20;
/// The attribute of a group that is an array of several fields.
const ARRAY_ATTRIBUTE: &str = "hyperslab";

/// A Zarr folder, or a zip archive of what would be in one: an array, or a group of arrays.
///
/// Its entries are its arrays, as `group/array`; the folder itself as an array is named as the folder without its
/// extension. A group that Hyperslab wrote as one array of several fields is one entry. Any other group of arrays of as
/// many rows can be opened as an array, too, by its name: `/` is the whole folder.
#[derive(Debug)]
pub struct ZarrFolder {
    path: PathBuf,
    store: Store,
    entries: Vec<Entry>,
    metadata: Vec<(String, String)>,
    /// The path in the folder of each entry that is a group.
    groups: Vec<String>,
}

/// What a folder is.
enum Node {
    Array(Box<Found>),
    Group(Vec<(String, String)>),
    Other,
}

/// An array, and what its metadata says of it whether it can be read or not.
struct Found {
    metadata: Result<Metadata>,
    dtype: String,
    shape: Vec<u64>,
}

impl ZarrFolder {
    /// Lists what is in a folder, or in a zip archive as zarr-python's `ZipStore` writes it.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for what is neither; `Corrupt` for a damaged archive; `Io`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let in_file = |e: Error| e.with("file", path.display());
        let store = Store::open(path)?;
        let mut this = Self { path: path.to_owned(), store, entries: vec![], metadata: vec![], groups: vec![] };
        this.list().map_err(in_file)?;
        Ok(this)
    }

    pub(crate) fn open_boxed(path: &Path) -> Result<Arc<dyn Container>> {
        Ok(Arc::new(Self::open(path)?))
    }

    fn list(&mut self) -> Result<()> {
        let mut folders = vec![(String::new(), 0)];
        let mut seen = 0;
        while let Some((key, depth)) = folders.pop() {
            seen += 1;
            if seen > MAX_FOLDERS {
                return Err(Error::unsupported(format!("there are more than {MAX_FOLDERS} groups and arrays")));
            }
            match self.node(&key) {
                Ok(Node::Array(found)) => self.entries.push(found.entry(self.name(&key))),
                Ok(Node::Group(attributes)) => {
                    let is_array = attributes.iter().any(|(name, _)| name == ARRAY_ATTRIBUTE);
                    if key.is_empty() {
                        self.metadata = attributes;
                    }
                    match is_array.then(|| self.group(&key)) {
                        Some(Ok(source)) => self.push_group(key, &source),
                        _ if depth < MAX_DEPTH => {
                            let inner = self.store.folders(&key)?;
                            folders.extend(inner.into_iter().map(|name| (join(&key, &name), depth + 1)));
                        }
                        _ => {}
                    }
                }
                Ok(Node::Other) if key.is_empty() => {
                    let hint = match self.store.folders("")?.as_slice() {
                        [only] if matches!(self.store, Store::Zip(_)) => format!("; {only:?} in it should be its root"),
                        _ => "; is the folder above it one?".to_owned(),
                    };
                    let files = "it has neither zarr.json nor .zarray or .zgroup";
                    return Err(Error::invalid(format!("it is no Zarr folder: {files}{hint}")));
                }
                Ok(Node::Other) => {}
                Err(e) if key.is_empty() => return Err(e),
                // The others can be read all the same.
                Err(_) => {
                    let (dtype, fields) = ("unknown".to_owned(), Vec::new());
                    self.entries.push(Entry { name: self.name(&key), dtype, shape: Vec::new(), bytes: 0, fields });
                }
            }
        }
        self.entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    /// Lists a group that is one array of several fields.
    fn push_group(&mut self, key: String, source: &GroupSource) {
        let fields = source.fields().to_vec();
        let row: u64 = fields.iter().map(|f| f.row_bytes() as u64).sum();
        let name = if key.is_empty() { "/".to_owned() } else { key.clone() };
        let (shape, bytes) = (vec![source.rows()], source.rows().saturating_mul(row));
        self.entries.push(Entry { name, dtype: STRUCT.to_owned(), shape, bytes, fields });
        self.groups.push(key);
    }

    /// The name of the array at a key.
    fn name(&self, key: &str) -> String {
        match key {
            "" => Format::stem(&self.path),
            key => key.to_owned(),
        }
    }

    fn json(&self, key: &str) -> Result<Option<Value>> {
        let Some(bytes) = self.store.metadata(key)? else { return Ok(None) };
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).map_err(|e| Error::corrupt(format!("{key} is no JSON")).because(e))
    }

    fn node(&self, key: &str) -> Result<Node> {
        if let Some(json) = self.json(&join(key, "zarr.json"))? {
            return Ok(match json["node_type"].as_str() {
                Some("array") => Node::Array(Found::new(&json, Metadata::v3(&json))),
                Some("group") => Node::Group(metadata::attributes(&json["attributes"])),
                _ => return Err(Error::corrupt(format!("{} is neither an array nor a group", join(key, "zarr.json")))),
            });
        }
        let attributes = || Ok::<_, Error>(self.json(&join(key, ".zattrs"))?.unwrap_or_default());
        if let Some(json) = self.json(&join(key, ".zarray"))? {
            return Ok(Node::Array(Found::new(&json, Metadata::v2(&json, &attributes()?))));
        }
        match self.json(&join(key, ".zgroup"))? {
            Some(_) => Ok(Node::Group(metadata::attributes(&attributes()?))),
            None => Ok(Node::Other),
        }
    }

    /// Opens an array by its name, with or without the first `/`.
    ///
    /// # Errors
    /// `NotFound`, listing the arrays that are there; `Unsupported` for dtypes and codecs that are not read; `Corrupt`
    /// for damaged metadata.
    pub fn array(&self, name: &str) -> Result<ZarrSource> {
        let key = name.trim_matches('/');
        let at_root = key == self.name("") && self.entries.iter().any(|e| e.name == key);
        let keys = if at_root { ["", key] } else { [key, key] };
        for key in keys {
            match self.node(key) {
                Ok(Node::Array(found)) => return self.source(key, found.metadata),
                Err(e) if self.entries.iter().any(|e| e.name == key) => {
                    return Err(e.with("array", key).with("file", self.path.display()));
                }
                _ => {}
            }
        }
        Err(missing_entry(self, name))
    }

    fn source(&self, key: &str, metadata: Result<Metadata>) -> Result<ZarrSource> {
        let name = self.name(key);
        let prefix = if key.is_empty() { String::new() } else { format!("{key}/") };
        let source = metadata.and_then(|m| ZarrSource::new(&self.store, &self.path, &name, &prefix, m));
        source.map_err(|e| e.with("array", &name).with("file", self.path.display()))
    }

    /// Opens the arrays of a group, which have as many rows, as the fields of one array.
    ///
    /// # Errors
    /// `Invalid` for arrays of different lengths; as [`array`](Self::array).
    pub fn group(&self, name: &str) -> Result<GroupSource> {
        let key = name.trim_matches('/');
        let mut fields: Vec<(String, Arc<dyn ArraySource>)> = Vec::new();
        for name in self.store.folders(key)? {
            let inner = join(key, &name);
            if let Node::Array(found) = self.node(&inner)? {
                fields.push((name, Arc::new(self.source(&inner, found.metadata)?)));
            }
        }
        // Their order, which a folder does not keep.
        if let Node::Group(attributes) = self.node(key)? {
            let order = attributes.iter().find(|(name, _)| name == ARRAY_ATTRIBUTE);
            let order: Option<Vec<String>> = order.and_then(|(_, names)| serde_json::from_str(names).ok());
            let place = |name: &String| order.as_ref().and_then(|all| all.iter().position(|n| n == name));
            fields.sort_by_key(|(name, _)| place(name).unwrap_or(usize::MAX));
        }
        GroupSource::new(fields).map_err(|e| e.with("group", format!("/{key}")).with("file", self.path.display()))
    }
}

impl Container for ZarrFolder {
    fn path(&self) -> &Path {
        &self.path
    }

    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }

    fn open(&self, name: &str) -> Result<Arc<dyn ArraySource>> {
        let key = name.trim_matches('/');
        let is_group = match self.entries.iter().find(|e| e.name == key || e.name == name) {
            Some(entry) => self.groups.iter().any(|g| *g == entry.name.trim_matches('/')),
            None => matches!(self.node(key), Ok(Node::Group(_))),
        };
        if is_group { Ok(Arc::new(self.group(key)?)) } else { Ok(Arc::new(self.array(name)?)) }
    }
}

fn join(key: &str, name: &str) -> String {
    if key.is_empty() { name.to_owned() } else { format!("{key}/{name}") }
}

impl Found {
    fn new(json: &Value, metadata: Result<Metadata>) -> Box<Self> {
        let (dtype, shape) = metadata::described(json);
        Box::new(Self { metadata, dtype, shape })
    }

    /// The array's entry, without fields where it cannot be read.
    fn entry(self, name: String) -> Entry {
        let Ok(metadata) = self.metadata else {
            return Entry { name, dtype: self.dtype, shape: self.shape, bytes: 0, fields: Vec::new() };
        };
        let fields = metadata.elements.fields();
        let dtype = match fields.as_slice() {
            [field] => field.dtype().to_string(),
            _ => STRUCT.to_owned(),
        };
        // Of what has lengths of its own the offsets count.
        let element = match metadata.elements.bytes() {
            0 => 8,
            bytes => bytes as u64,
        };
        let bytes = metadata.shape.iter().fold(element, |all, &n| all.saturating_mul(n));
        Entry { name, dtype, shape: metadata.shape, bytes, fields }
    }
}
