//! `.npkg`: the files of a store in one.
//!
//! `NPKG`, u32 version (1 or 2), u8 compression (0 none, 1 zstd), u32 count; for each file u32 length and path, u64 its
//! bytes, u64 its bytes in the package (0: as they are), and those. At the end u32 CRC-32: of the CRC-32s of all files, in
//! version 1 of all bytes.

use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use flate2::Crc;
use flate2::read::ZlibDecoder;
use hyperslab_core::{Error, Result};

use super::Part;
use crate::map::MappedFile;
use crate::unpack::{MOST_DEFLATED, unpack};

pub(super) const MAGIC: &[u8; 4] = b"NPKG";
pub(super) const VERSION: u32 = 2;
/// The longest path that a file of a package may have.
const MAX_PATH: usize = 4096;
/// zstd packs at most one block of 128 KiB into 4 bytes.
const MOST_ZSTD: u64 = 32 << 10;
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// A package, mapped.
#[derive(Debug)]
pub(super) struct Package {
    file: Arc<MappedFile>,
    version: u32,
    /// In the package's order.
    files: Vec<Packed>,
    by_path: HashMap<String, usize>,
    crc: u32,
    /// What was unpacked, with its checksum.
    unpacked: Mutex<HashMap<usize, (Arc<MappedFile>, u32)>>,
    checked: OnceLock<()>,
}

#[derive(Debug)]
struct Packed {
    range: Range<usize>,
    /// Bytes when it is unpacked.
    bytes: u64,
    is_packed: bool,
}

impl Package {
    /// Maps a package and reads where its files are.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = Arc::new(MappedFile::open(path)?);
        let all = file.bytes();
        if !all.starts_with(MAGIC) {
            return Err(Error::corrupt("it is no NumPack package: it does not start with NPKG"));
        }
        let version = number(all, 4, 4)?;
        if !(1..=u64::from(VERSION)).contains(&version) {
            return Err(Error::unsupported(format!("the package has version {version}, and 1 and 2 are read")));
        }
        let codec = number(all, 8, 1)?;
        if codec > 1 {
            return Err(Error::unsupported(format!(
                "the package is compressed with codec {codec}, which is not known"
            )));
        }
        let count = number(all, 9, 4)?;
        let (mut files, mut by_path) = (Vec::new(), HashMap::new());
        let mut at = 13;
        for i in 0..count {
            let length = number(all, at, 4)? as usize;
            let path = all.get(at + 4..).and_then(|rest| rest.get(..length)).ok_or_else(short)?;
            let path = check_path(path)?;
            at += 4 + length;
            let (bytes, packed) = (number(all, at, 8)?, number(all, at + 8, 8)?);
            at += 16;
            let length = if packed == 0 { bytes } else { packed };
            let end = usize::try_from(length).ok().and_then(|n| at.checked_add(n)).filter(|&end| end <= all.len());
            let range = at..end.ok_or_else(|| short().with("entry", &path))?;
            at = range.end;
            if by_path.insert(path.clone(), i as usize).is_some() {
                return Err(Error::corrupt(format!("the package has {path:?} twice")));
            }
            files.push(Packed { range, bytes, is_packed: packed != 0 });
        }
        let crc = number(all, at, 4)? as u32;
        if at + 4 != all.len() {
            let more = all.len() - at - 4;
            return Err(Error::corrupt(format!("{more} bytes follow the package's end; copy or download it again")));
        }
        let (version, unpacked, checked) = (version as u32, Mutex::default(), OnceLock::new());
        Ok(Self { file, version, files, by_path, crc, unpacked, checked })
    }

    /// A file by its path; one that is compressed is unpacked now or was before.
    pub(super) fn get(&self, path: &str) -> Result<Option<Part>> {
        let Some(&i) = self.by_path.get(path) else { return Ok(None) };
        let packed = &self.files[i];
        if !packed.is_packed {
            return Ok(Some((Arc::clone(&self.file), packed.range.clone())));
        }
        let (file, _) = self.unpacked(i).map_err(|e| e.with("entry", path))?;
        let range = 0..file.bytes().len();
        Ok(Some((file, range)))
    }

    fn unpacked(&self, i: usize) -> Result<(Arc<MappedFile>, u32)> {
        let mut unpacked = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((file, crc)) = unpacked.get(&i) {
            return Ok((Arc::clone(file), *crc));
        }
        let packed = &self.files[i];
        self.file.check(packed.range.end as u64)?;
        let bytes = self.file.bytes().get(packed.range.clone()).unwrap_or_default();
        let is_zstd = bytes.starts_with(ZSTD);
        let most = (bytes.len() as u64).saturating_mul(if is_zstd { MOST_ZSTD } else { MOST_DEFLATED });
        if packed.bytes > most {
            let (claimed, length) = (packed.bytes, bytes.len());
            return Err(Error::corrupt(format!(
                "it claims to hold {claimed} bytes, and its {length} hold {most} at most"
            )));
        }
        let from: Box<dyn Read + '_> = match is_zstd {
            true => {
                let from = zstd::stream::read::Decoder::with_buffer(bytes);
                Box::new(from.map_err(|e| Error::corrupt("it cannot be unpacked").because(e))?)
            }
            false => Box::new(ZlibDecoder::new(bytes)),
        };
        let (file, crc) = unpack(from, packed.bytes)?.ok_or_else(|| {
            Error::corrupt(format!(
                "it does not unpack to {} bytes, as it should; copy the package again",
                packed.bytes
            ))
        })?;
        let file = Arc::new(MappedFile::of(file, self.file.path())?);
        unpacked.insert(i, (Arc::clone(&file), crc));
        Ok((file, crc))
    }

    /// Compares the checksum of all files, once.
    pub(super) fn check(&self) -> Result<()> {
        if self.checked.get().is_some() {
            return Ok(());
        }
        self.file.check(self.file.bytes().len() as u64)?;
        let mut sum = Crc::new();
        for (i, packed) in self.files.iter().enumerate() {
            let stored = || self.file.bytes().get(packed.range.clone()).unwrap_or_default();
            match (self.version, packed.is_packed) {
                (1, false) => sum.update(stored()),
                (1, true) => sum.update(self.unpacked(i)?.0.bytes()),
                (_, false) => {
                    let mut crc = Crc::new();
                    crc.update(stored());
                    sum.update(&crc.sum().to_le_bytes());
                }
                (_, true) => sum.update(&self.unpacked(i)?.1.to_le_bytes()),
            }
        }
        if sum.sum() != self.crc {
            return Err(Error::corrupt(
                "the package's checksum is another one: it is damaged; copy or download it again",
            ));
        }
        let _ = self.checked.set(());
        Ok(())
    }
}

/// A path within a store.
fn check_path(path: &[u8]) -> Result<String> {
    let path = String::from_utf8_lossy(path);
    let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains(['\\', '\0']);
    if path.len() > MAX_PATH || path.split('/').any(bad) {
        let shown: String = path.chars().take(100).collect();
        return Err(Error::corrupt(format!("the package has a file {shown:?}, which is no path within a store")));
    }
    Ok(path.into_owned())
}

/// A little-endian number of so many bytes.
fn number(all: &[u8], at: usize, bytes: usize) -> Result<u64> {
    let found = all.get(at..).and_then(|rest| rest.get(..bytes)).ok_or_else(short)?;
    Ok(found.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
}

fn short() -> Error {
    Error::corrupt("the package is incomplete; copy or download it again")
}
