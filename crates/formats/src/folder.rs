//! The files of a folder that is an array store (Zarr, NumPack): only those within it, and no links.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use hyperslab_core::{Error, Result};

use crate::map::MappedFile;

/// The most bytes that a file of metadata may have.
pub(crate) const MAX_METADATA: u64 = 64 << 20;

/// A folder, and keys in it: paths with `/`.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::not_found(format!("there is no folder {}", path.display())),
            _ => Error::io("opening", path.display(), e),
        })?;
        if !metadata.is_dir() {
            return Err(Error::invalid(format!(
                "{} is no folder; a Zarr array or group and a NumPack store are (of Zarr a zip archive is read, too)",
                path.display()
            )));
        }
        Ok(Self { root: path.to_owned() })
    }

    /// The path of a key, where it is a file of its own and no part of it a link.
    fn find(&self, key: &str) -> Result<Option<(PathBuf, Metadata)>> {
        let mut path = self.root.clone();
        let mut found = None;
        for part in key.split('/') {
            if part.is_empty() || part == "." || part == ".." || part.contains(['\\', '\0']) {
                return Err(Error::invalid(format!("{key:?} is no name within a folder")));
            }
            path.push(part);
            let metadata = match path.symlink_metadata() {
                Ok(metadata) => metadata,
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
                Err(e) => return Err(Error::io("reading", path.display(), e)),
            };
            if metadata.file_type().is_symlink() {
                return Err(Error::unsupported(format!(
                    "{} is a link, and links out of the folder are not followed; copy what it leads to",
                    path.display()
                )));
            }
            found = Some(metadata);
        }
        match found {
            Some(metadata) if metadata.is_file() => Ok(Some((path, metadata))),
            _ => Ok(None),
        }
    }

    /// A whole file of at most `most` bytes; `None` if it is not there.
    pub(crate) fn read(&self, key: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let Some((path, metadata)) = self.find(key)? else { return Ok(None) };
        if metadata.len() > most {
            return Err(Error::corrupt(format!(
                "{} has {} bytes; at most {most} are sensible",
                path.display(),
                metadata.len()
            )));
        }
        let mut bytes = Vec::with_capacity(metadata.len() as usize);
        let file = File::open(&path).map_err(|e| Error::io("opening", path.display(), e))?;
        file.take(most).read_to_end(&mut bytes).map_err(|e| Error::io("reading", path.display(), e))?;
        Ok(Some(bytes))
    }

    /// A file, mapped.
    pub(crate) fn mapped(&self, key: &str) -> Result<Option<MappedFile>> {
        let Some((path, _)) = self.find(key)? else { return Ok(None) };
        MappedFile::open(&path).map(Some)
    }

    /// A file of which parts are read.
    pub(crate) fn file(&self, key: &str) -> Result<Option<PartFile>> {
        let Some((path, metadata)) = self.find(key)? else { return Ok(None) };
        let file = File::open(&path).map_err(|e| Error::io("opening", path.display(), e))?;
        Ok(Some(PartFile { file, path, length: metadata.len() }))
    }

    /// The folders in a folder (`""` is the root), sorted, without links.
    pub(crate) fn folders(&self, key: &str) -> Result<Vec<String>> {
        let path = if key.is_empty() { self.root.clone() } else { self.root.join(key) };
        let failed = |e| Error::io("listing", path.display(), e);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_dir() {
                names.extend(entry.file_name().into_string().ok());
            }
        }
        names.sort();
        Ok(names)
    }
}

/// An open file.
#[derive(Debug)]
pub(crate) struct PartFile {
    file: File,
    path: PathBuf,
    length: u64,
}

impl PartFile {
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of the file, which has to have them.
    pub(crate) fn read(&mut self, at: u64, bytes: u64) -> Result<Vec<u8>> {
        if at.checked_add(bytes).is_none_or(|end| end > self.length) {
            return Err(Error::corrupt(format!(
                "{} is incomplete: {bytes} bytes at {at} are needed, and it has {}; copy it again",
                self.path.display(),
                self.length
            )));
        }
        let mut to = vec![0; bytes as usize];
        let read = self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.read_exact(&mut to));
        read.map_err(|e| Error::io("reading", self.path.display(), e))?;
        Ok(to)
    }
}
