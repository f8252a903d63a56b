//! Where the files of a Zarr hierarchy are: in a folder, or in a zip archive.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::read::DeflateDecoder;
use hyperslab_core::{Error, Result};

use crate::folder::{Folder, MAX_METADATA, PartFile};
use crate::map::MappedFile;
use crate::unpack::{MOST_DEFLATED, unpack};
use crate::zip::{self, Method, Packed};

/// How many unpacked entries are kept.
const KEPT: usize = 8;
/// How much smaller metadata gets by being packed: beyond that, and so many bytes, it is a bomb.
const METADATA_RATIO: u64 = 256;
const SMALL_METADATA: u64 = 1 << 20;

/// Files by keys: paths with `/`.
#[derive(Debug, Clone)]
pub(super) enum Store {
    Folder(Folder),
    Zip(Arc<ZipFile>),
}

impl Store {
    /// A folder, or a file that has to be a zip archive.
    pub(super) fn open(path: &Path) -> Result<Self> {
        match path.is_file() {
            true => Ok(Self::Zip(Arc::new(ZipFile::open(path)?))),
            false => Ok(Self::Folder(Folder::open(path)?)),
        }
    }

    /// A file of metadata; `None` if it is not there.
    pub(super) fn metadata(&self, key: &str) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Folder(folder) => folder.read(key, MAX_METADATA),
            Self::Zip(zip) => zip.read(key, MAX_METADATA.min(zip.sensible_metadata(key))),
        }
    }

    /// A whole file of at most `most` bytes; `None` if it is not there.
    pub(super) fn read(&self, key: &str, most: u64) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Folder(folder) => folder.read(key, most),
            Self::Zip(zip) => zip.read(key, most),
        }
    }

    /// A file of which parts are read.
    pub(super) fn file(&self, key: &str) -> Result<Option<Part>> {
        match self {
            Self::Folder(folder) => Ok(folder.file(key)?.map(Part::File)),
            Self::Zip(zip) => zip.file(key),
        }
    }

    /// The folders in a folder (`""` is the root), sorted.
    pub(super) fn folders(&self, key: &str) -> Result<Vec<String>> {
        match self {
            Self::Folder(folder) => folder.folders(key),
            Self::Zip(zip) => Ok(zip.folders(key)),
        }
    }
}

/// An open file.
pub(super) enum Part {
    File(PartFile),
    /// Bytes of a map from `start` on.
    Mapped {
        file: Arc<MappedFile>,
        start: usize,
        bytes: usize,
    },
}

impl Part {
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::File(file) => file.length(),
            Self::Mapped { bytes, .. } => *bytes as u64,
        }
    }

    /// Bytes of the file, which has to have them.
    pub(super) fn read(&mut self, at: u64, bytes: u64) -> Result<Vec<u8>> {
        let (file, start, length) = match self {
            Self::File(file) => return file.read(at, bytes),
            Self::Mapped { file, start, bytes } => (file, *start, *bytes),
        };
        let end = at.checked_add(bytes).filter(|&end| end <= length as u64).ok_or_else(|| {
            Error::corrupt(format!("an entry is incomplete: {bytes} bytes at {at} are needed, and it has {length}"))
        })?;
        file.check((start as u64).saturating_add(end))?;
        Ok(file.bytes()[start + at as usize..start + end as usize].to_vec())
    }
}

/// A zip archive, mapped: what zarr-python's `ZipStore` writes. Its entries are the files of a folder; nothing is ever
/// written under their names, so that no name leads out of it. Of entries of one name the last one counts.
///
/// Stored entries are read in place. Deflated ones are unpacked when they are read, those of which only parts are needed
/// (shards) to nameless files; none of them has more bytes than the directory says, and its checksum is compared.
#[derive(Debug)]
pub(super) struct ZipFile {
    file: Arc<MappedFile>,
    entries: BTreeMap<String, Packed>,
    unpacked: Mutex<VecDeque<(String, Arc<MappedFile>)>>,
}

impl ZipFile {
    fn open(path: &Path) -> Result<Self> {
        let file = Arc::new(MappedFile::open(path)?);
        if !file.bytes().starts_with(b"PK") {
            return Err(Error::invalid(format!("{} is neither a folder nor a zip archive", path.display())));
        }
        let entries = zip::read(file.bytes()).map_err(|e| e.with("file", path.display()))?;
        Ok(Self { file, entries: entries.into_iter().collect(), unpacked: Mutex::default() })
    }

    /// The entry of a key, and its bytes as they are stored.
    fn find(&self, key: &str) -> Result<Option<(&Packed, &[u8])>> {
        let Some(packed) = self.entries.get(key) else { return Ok(None) };
        self.file.check(packed.range.end as u64)?;
        let stored = self.file.bytes().get(packed.range.clone()).unwrap_or_default();
        let refused = |why: String| Error::unsupported(why).with("entry", key);
        match &packed.method {
            Method::Refused(method) => Err(refused(format!("it is {method}; pack it again, stored or deflated"))),
            Method::Deflated if packed.bytes > (stored.len() as u64).saturating_mul(MOST_DEFLATED) => {
                let (claim, stored) = (packed.bytes, stored.len());
                let why = format!("it claims to hold {claim} bytes, which {stored} deflated ones cannot");
                Err(Error::corrupt(why).with("entry", key))
            }
            Method::Stored | Method::Deflated => Ok(Some((packed, stored))),
        }
    }

    /// The most bytes that an entry of metadata has.
    fn sensible_metadata(&self, key: &str) -> u64 {
        let stored = self.entries.get(key).map_or(0, |packed| packed.range.len() as u64);
        stored.saturating_mul(METADATA_RATIO).max(SMALL_METADATA)
    }

    fn read(&self, key: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let Some((packed, stored)) = self.find(key)? else { return Ok(None) };
        if packed.bytes > most {
            let why = format!("it has {} bytes; at most {most} are sensible", packed.bytes);
            return Err(Error::corrupt(why).with("entry", key));
        }
        let bytes = match packed.method {
            Method::Deflated => {
                // One more, which shows that there are not more.
                let mut bytes = Vec::with_capacity(packed.bytes as usize + 1);
                let read = DeflateDecoder::new(stored).take(packed.bytes + 1).read_to_end(&mut bytes);
                read.map_err(|e| Error::corrupt("the entry cannot be unpacked").because(e).with("entry", key))?;
                bytes
            }
            _ => stored.to_vec(),
        };
        let mut crc = flate2::Crc::new();
        crc.update(&bytes);
        if bytes.len() as u64 != packed.bytes || crc.sum() != packed.crc {
            return Err(other_bytes(key));
        }
        Ok(Some(bytes))
    }

    fn file(&self, key: &str) -> Result<Option<Part>> {
        let Some((packed, stored)) = self.find(key)? else { return Ok(None) };
        if packed.method == Method::Stored {
            let (file, range) = (Arc::clone(&self.file), &packed.range);
            return Ok(Some(Part::Mapped { file, start: range.start, bytes: range.len() }));
        }
        let mut kept = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match kept.iter().position(|(name, _)| name == key).and_then(|at| kept.remove(at)) {
            Some((_, file)) => file,
            None => {
                let unpacked = unpack(DeflateDecoder::new(stored), packed.bytes).map_err(|e| e.with("entry", key))?;
                let (file, _) = unpacked.filter(|(_, crc)| *crc == packed.crc).ok_or_else(|| other_bytes(key))?;
                Arc::new(MappedFile::of(file, self.file.path())?)
            }
        };
        kept.truncate(KEPT - 1);
        kept.push_front((key.to_owned(), Arc::clone(&file)));
        let bytes = file.bytes().len();
        Ok(Some(Part::Mapped { file, start: 0, bytes }))
    }

    /// The names before a `/` after a prefix, each found by one look at the sorted entries.
    fn folders(&self, key: &str) -> Vec<String> {
        let prefix = if key.is_empty() { String::new() } else { format!("{key}/") };
        let mut found = Vec::new();
        let mut from = Bound::Included(prefix.clone());
        while let Some((name, _)) = self.entries.range((from, Bound::Unbounded)).next() {
            let Some(rest) = name.strip_prefix(&prefix) else { break };
            from = match rest.split_once('/') {
                Some((folder, _)) => {
                    if is_name(folder) {
                        found.push(folder.to_owned());
                    }
                    // `0` is the character after `/`.
                    Bound::Included(format!("{prefix}{folder}0"))
                }
                None => Bound::Excluded(name.clone()),
            };
        }
        found
    }
}

/// Whether a part of a path is that of a folder within it.
fn is_name(part: &str) -> bool {
    !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0'])
}

fn other_bytes(key: &str) -> Error {
    let why = "it does not unpack to the bytes that the archive's directory says; copy or download the file again";
    Error::corrupt(why).with("entry", key)
}
