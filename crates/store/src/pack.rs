//! A store as one file, and back: `hyperslab pack`, `hyperslab unpack`.
//!
//! A pack is a tar archive of a store's folder, compressed by zstd in independent frames: `tar --zstd -xf` unpacks it,
//! too, and `sha256sum -c SHA256SUMS` in the folder verifies what came out. Of files that are equal the archive has one,
//! and links to it. `docs/file-format.md` has it byte by byte, `docs/decisions/010-pack.md` says why.

mod create;
mod extract;
mod frames;
mod plan;
mod tar;
mod walk;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyperslab_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::action::Id;
use crate::log::{checkpoint, seal, unseal};
use crate::state::State;
use crate::{ArrayName, Store, layout};
use walk::{Visit, Walk};

/// The format of packs that this program writes, and the newest that it reads.
const FORMAT: u64 = 1;
/// The last member of a pack: the SHA-256 of every other one, as `sha256sum` writes it.
const SUMS: &str = "SHA256SUMS";
/// The most files of a pack.
const MOST_FILES: u64 = 1 << 24;
/// The largest checkpoint that is looked into for the list of arrays.
const LARGEST_CHECKPOINT: u64 = 1 << 30;

/// How a store is packed.
#[derive(Debug, Clone)]
pub struct PackOptions {
    /// The level of zstd, −7 to 22.
    pub level: i32,
    /// Keep the versions before the newest that can still be read, with their tags and the history.
    pub all_versions: bool,
    /// Replace the file if it is there.
    pub overwrite: bool,
}

impl Default for PackOptions {
    fn default() -> Self {
        Self { level: 3, all_versions: false, overwrite: false }
    }
}

/// How a pack is unpacked.
#[derive(Debug, Clone, Default)]
pub struct UnpackOptions {
    /// Replace the store if there is one.
    pub overwrite: bool,
    /// Refuse packs that say that they unpack to more bytes; without it, to more than the disk has room for.
    pub max_bytes: Option<u64>,
}

/// What was packed, unpacked or verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackReport {
    /// The store's newest version in the pack.
    pub version: u64,
    /// Files of the store.
    pub files: u64,
    /// Those of them of which the pack holds no bytes, since an earlier file is equal.
    pub equal: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of the pack.
    pub packed: u64,
}

/// What a pack says of itself.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PackInfo {
    /// The store's id.
    pub store: String,
    /// The newest version in it.
    pub version: u64,
    /// When that was committed.
    pub time: SystemTime,
    /// Whether versions before it are in it, too.
    pub all_versions: bool,
    /// The program that wrote it.
    pub writer: String,
    /// Files of the store.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the pack.
    pub packed: u64,
    /// Frames of the pack, which are decompressed independently.
    pub frames: u64,
    /// The arrays of the newest version, by name, with their rows.
    pub arrays: Vec<(ArrayName, u64)>,
}

/// The comment that begins the archive, a sealed text.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    #[serde(rename = "hyperslab-pack")]
    format: u64,
    store: Id,
    version: u64,
    time: i64,
    all_versions: bool,
    /// All members but the last.
    files: u64,
    /// Their bytes, of links those of the file that they are equal to.
    bytes: u64,
    writer: String,
}

impl Head {
    fn to_text(&self) -> Result<String> {
        let (mut bytes, _) = seal(self)?;
        bytes.pop(); // the newline
        String::from_utf8(bytes).map_err(|e| Error::invalid("packing the store").because(e))
    }

    fn parse(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            #[serde(rename = "hyperslab-pack")]
            format: u64,
        }
        let (text, _) = unseal(format!("{text}\n").as_bytes())?;
        let bad = |e: serde_json::Error| Error::corrupt("what it says of itself is not understood").because(e);
        let Format { format } = serde_json::from_str(&text).map_err(bad)?;
        if format != FORMAT {
            return Err(Error::unsupported(format!(
                "it is a pack of format {format}, and this program reads {FORMAT}; use a newer hyperslab"
            )));
        }
        let head: Self = serde_json::from_str(&text).map_err(bad)?;
        if head.files > MOST_FILES {
            return Err(Error::corrupt(format!("it says that it holds {} files", head.files)));
        }
        Ok(head)
    }
}

impl Store {
    /// Writes the newest version, or all of them, into one file. What others commit meanwhile is not in it, and does not
    /// disturb; a VACUUM leaves what is being packed. The file gets its name when it is whole and durable.
    ///
    /// ```
    /// use hyperslab_store::{PackOptions, Store, UnpackOptions, unpack};
    /// let folder = tempfile::tempdir()?;
    /// let (pack, copy) = (folder.path().join("demo.tar.zst"), folder.path().join("copy.slab"));
    /// let report = Store::memory().pack(&pack, &PackOptions::default())?;
    /// assert_eq!(unpack(&pack, &copy, &UnpackOptions::default())?, report);
    /// assert_eq!(Store::open(&copy)?.snapshot()?.version(), report.version);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `AlreadyExists` without `overwrite`; `Corrupt`, naming the file, when a shard is not what was written; `Invalid` for a
    /// level that zstd does not know, and for a file inside the store; `Unsupported` for all versions of a store with
    /// further directories; `Conflict` when versions expired just now; `Io`.
    pub fn pack(&self, out: impl AsRef<Path>, options: &PackOptions) -> Result<PackReport> {
        create::create(self.inner(), out.as_ref(), options).map_err(|e| e.with("pack", out.as_ref().display()))
    }
}

/// Makes a store of a pack. It appears under its name when every file was written, verified and made durable; when that
/// fails, nothing is left.
///
/// # Errors
/// `NotFound`; `AlreadyExists` without `overwrite`, and `Invalid` with it when there is something else than a store;
/// `Invalid` for a file that is no pack; `Corrupt`, naming the member, for one that is not what was written or would
/// write elsewhere; `Io`, also when the disk has no room for it.
pub fn unpack(pack: impl AsRef<Path>, store: impl AsRef<Path>, options: &UnpackOptions) -> Result<PackReport> {
    let (pack, store) = (pack.as_ref(), store.as_ref());
    extract::extract(pack, store, options).map_err(|e| e.with("pack", pack.display()))
}

/// Reads a whole pack, compares all its checksums, and writes nothing.
///
/// # Errors
/// As [`unpack`].
pub fn verify_pack(pack: impl AsRef<Path>) -> Result<PackReport> {
    struct Nothing;
    impl Visit for Nothing {}
    let pack = pack.as_ref();
    let inner = || Walk::open(pack)?.run(&mut Nothing);
    inner().map(|walked| walked.report()).map_err(|e: Error| e.with("pack", pack.display()))
}

/// What a pack says of itself, of which its end and the first frames are read.
///
/// # Errors
/// As [`unpack`].
pub fn pack_info(pack: impl AsRef<Path>) -> Result<PackInfo> {
    let pack = pack.as_ref();
    let inner = || {
        let walk = Walk::open(pack)?;
        let (head, frames, packed) = (walk.head().clone(), walk.frames(), walk.file_bytes());
        let path = layout::checkpoint(head.version);
        let mut find = Find { path: path.clone(), found: None };
        match walk.run(&mut find) {
            // It stops where the checkpoint ends.
            Err(e) if find.found.is_none() => return Err(e),
            _ => {}
        }
        let bytes = find.found.ok_or_else(|| Error::corrupt(format!("it has no {path}")))?;
        let state = checkpoint::parse(&bytes, head.version, &path)?;
        let micros = u64::try_from(head.time).unwrap_or(0);
        Ok(PackInfo {
            store: head.store.to_string(),
            version: head.version,
            time: SystemTime::UNIX_EPOCH + Duration::from_micros(micros),
            all_versions: head.all_versions,
            writer: head.writer,
            files: head.files,
            bytes: head.bytes,
            packed,
            frames,
            arrays: arrays(&state),
        })
    };
    inner().map_err(|e: Error| e.with("pack", pack.display()))
}

/// The names of a version's arrays, sorted, and their rows.
fn arrays(state: &State) -> Vec<(ArrayName, u64)> {
    let mut arrays: Vec<_> = state.arrays().map(|array| (array.name.clone(), rows(array))).collect();
    arrays.sort();
    arrays
}

fn rows(array: &Arc<crate::state::ArrayState>) -> u64 {
    array.rows()
}

/// Keeps one member, and stops.
struct Find {
    path: String,
    found: Option<Vec<u8>>,
}

impl Visit for Find {
    fn file(&mut self, path: &str, size: u64) -> Result<()> {
        if self.found.is_some() {
            return Err(Error::invalid("the rest is not needed"));
        }
        if path == self.path {
            if size > LARGEST_CHECKPOINT {
                return Err(Error::unsupported(format!("{path} is too large to be looked into")));
            }
            self.found = Some(Vec::new());
        }
        Ok(())
    }

    fn bytes(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        if let Some(found) = self.found.as_mut().filter(|_| path == self.path) {
            found.extend_from_slice(bytes);
        }
        Ok(())
    }
}

/// Whether a file ends as a pack does.
///
/// # Errors
/// `NotFound`, `Io`.
pub fn is_pack(path: impl AsRef<Path>) -> Result<bool> {
    match frames::FrameReader::open(path.as_ref()) {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.kind(), ErrorKind::Invalid) => Ok(false),
        Err(e) => Err(e),
    }
}

/// A pack around any archive, for tests of hostile ones.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn archive_to_pack(archive: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut frames = frames::Frames::new(&mut bytes, 1)?;
    frames.write(archive)?;
    frames.finish()?;
    Ok(bytes)
}
