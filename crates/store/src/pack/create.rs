//! Packing.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use hyperslab_core::npy::{self, NpyHeader};
use hyperslab_core::{Error, Result};
use sha2::{Digest, Sha256};

use super::frames::Frames;
use super::plan::{Member, Plan, Source, piece};
use super::{FORMAT, Head, MOST_FILES, PackOptions, PackReport, SUMS, tar};
use crate::action::Crc;
use crate::layout::{DATA_OFFSET, PAGE};
use crate::log::{Reader, WRITER};
use crate::shard::Shard;
use crate::storage::Temporary;
use crate::store::Inner;

/// So much of a file is read at once.
const PIECE: u64 = 1 << 20;

/// Packs a store into a file, which gets its name in the end.
pub(super) fn create(store: &Arc<Inner>, out: &Path, options: &PackOptions) -> Result<PackReport> {
    let root = std::path::absolute(store.storage.describe()).ok().and_then(|path| path.canonicalize().ok());
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let (Some(root), Ok(folder)) = (root, folder.canonicalize())
        && folder.starts_with(&root)
        && root.is_dir()
    {
        return Err(Error::invalid("a pack cannot be inside of the store; give it another place"));
    }
    let exists = || Error::already_exists(format!("{} exists; --overwrite replaces it", out.display()));
    if out.is_dir() {
        return Err(Error::invalid(format!("{} is a folder; a pack is a file", out.display())));
    }
    if out.symlink_metadata().is_ok() && !options.overwrite {
        return Err(exists());
    }
    let temporary = Temporary::beside(out);
    let failed = |e| Error::io("writing", out.display(), e);
    let file = File::options().write(true).create_new(true).open(&temporary.0);
    let mut file = BufWriter::new(file.map_err(|e| Error::io("creating", out.display(), e))?);
    let report = write(store, &mut file, options)?;
    let file = file.into_inner().map_err(|e| failed(e.into_error()))?;
    file.sync_all().map_err(failed)?;
    if options.overwrite {
        fs::rename(&temporary.0, out).map_err(failed)?;
        temporary.done();
    } else {
        crate::storage::publish(temporary, out).map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => exists(),
            _ => failed(e),
        })?;
    }
    super::extract::sync_folder(folder)?;
    Ok(report)
}

/// Writes a pack.
fn write(store: &Arc<Inner>, out: &mut dyn Write, options: &PackOptions) -> Result<PackReport> {
    let snapshot = store.snapshot()?;
    let state = snapshot.state();
    let plan = if options.all_versions { Plan::whole(store, state)? } else { Plan::live(store, state)? };
    if plan.members.len() as u64 > MOST_FILES {
        let why = format!("the store has {} files, and a pack holds at most {MOST_FILES}", plan.members.len());
        return Err(Error::unsupported(why));
    }
    let (files, bytes) = (plan.members.len() as u64, plan.bytes());
    let (version, time) = (plan.state.version, plan.state.time);
    let (format, all_versions, writer) = (FORMAT, options.all_versions, WRITER.to_owned());
    let head = Head { format, store: plan.id, version, time, all_versions, files, bytes, writer };
    let mut packer = Packer {
        store,
        reader: store.log.reader()?,
        frames: Frames::new(out, options.level)?,
        root: root_name(&store.storage.describe()),
        mtime: u64::try_from(time / 1_000_000).unwrap_or(0),
        sums: String::new(),
        known: HashMap::new(),
        equal: 0,
    };
    packer.frames.write(&tar::comment(&head.to_text()?, packer.mtime)?)?;
    for member in &plan.members {
        packer.put(member)?;
    }
    let equal = packer.equal;
    Ok(PackReport { version, files, equal, bytes, packed: packer.finish()? })
}

/// The folder that the archive unpacks to by itself: the store's own name where it is a plain one.
fn root_name(store: &str) -> String {
    let name = Path::new(store).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let good = (1..=60).contains(&name.len()) && name.chars().all(plain) && !name.starts_with(['.', '-']);
    if good && name != "memory" { name.to_owned() } else { "store.slab".to_owned() }
}

/// Files by their length and the checksum in the log, with their SHA-256: those of one key are probably equal.
type Known = HashMap<(u64, Crc), Vec<(String, [u8; 32])>>;

/// Writes member after member.
struct Packer<'a> {
    store: &'a Arc<Inner>,
    reader: Reader,
    frames: Frames<'a>,
    root: String,
    mtime: u64,
    sums: String,
    known: Known,
    equal: u64,
}

impl Packer<'_> {
    fn put(&mut self, member: &Member) -> Result<()> {
        self.store.pins.refresh();
        let key = match &member.source {
            Source::Text(_) | Source::Entries(_) => None,
            Source::File { crc32c, .. } => Some((member.bytes, *crc32c)),
            Source::Compressed { shard, .. } | Source::Shard { shard, .. } => Some((member.bytes, shard.crc32c)),
        };
        let path = format!("{}/{}", self.root, member.path);
        if let Some(known) = key.and_then(|key| self.known.get(&key)).cloned() {
            let mut hash = Sha256::new();
            self.read(member, &mut |_, bytes| {
                hash.update(bytes);
                Ok(())
            })?;
            let hash: [u8; 32] = hash.finalize().into();
            if let Some((target, _)) = known.iter().find(|(_, known)| *known == hash) {
                let target = format!("{}/{target}", self.root);
                self.frames.write(&tar::link(&path, &target, self.mtime)?)?;
                self.equal += 1;
                return self.sum(member, None, hash);
            }
        }
        self.frames.write(&tar::file(&path, member.bytes, self.mtime)?)?;
        let mut hash = Sha256::new();
        let found = self.read(member, &mut |frames, bytes| {
            hash.update(bytes);
            frames.write(bytes)
        })?;
        if found != member.bytes {
            let why = format!("{} has {found} bytes now, and had {} before", member.path, member.bytes);
            return Err(Error::corrupt(why));
        }
        self.frames.write(vec![0; tar::padding(member.bytes)].as_slice())?;
        self.sum(member, key, hash.finalize().into())
    }

    /// Notes the checksum of a member.
    fn sum(&mut self, member: &Member, key: Option<(u64, Crc)>, hash: [u8; 32]) -> Result<()> {
        if let Some(key) = key {
            self.known.entry(key).or_default().push((member.path.clone(), hash));
        }
        self.sums.push_str(&super::walk::sum_line(&hash, &member.path));
        Ok(())
    }

    /// Hands on the bytes of a member, piece by piece, compared with what the log says of them; gives their number.
    fn read(&mut self, member: &Member, each: &mut dyn FnMut(&mut Frames<'_>, &[u8]) -> Result<()>) -> Result<u64> {
        let (store, frames) = (self.store, &mut self.frames);
        let mut total = 0;
        let mut each = |bytes: &[u8]| {
            total += bytes.len() as u64;
            each(frames, bytes)
        };
        match &member.source {
            Source::Text(bytes) => each(bytes)?,
            Source::Entries(versions) => {
                for version in versions.clone() {
                    each(&self.reader.read(version)?.0)?;
                }
            }
            Source::File { path, crc32c } => pieces(store, path, 0, member.bytes, Some(*crc32c), &mut each)?,
            Source::Compressed { path, shard } => {
                store.compare(shard, path)?;
                pieces(store, path, 0, member.bytes, None, &mut each)?;
            }
            Source::Shard { path, shard } => {
                each(&head(store, path, shard)?)?;
                pieces(store, path, shard.offset, shard.bytes, Some(shard.crc32c), &mut each)?;
            }
        }
        Ok(total)
    }

    fn finish(mut self) -> Result<u64> {
        let sums = std::mem::take(&mut self.sums);
        let bytes = sums.len() as u64;
        self.frames.cut()?;
        self.frames.write(&tar::file(&format!("{}/{SUMS}", self.root), bytes, self.mtime)?)?;
        self.frames.write(sums.as_bytes())?;
        self.frames.write(vec![0; tar::padding(bytes) + tar::END].as_slice())?;
        self.frames.finish()
    }
}

fn pieces(
    store: &Inner,
    path: &str,
    offset: u64,
    bytes: u64,
    crc32c: Option<Crc>,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let (mut at, mut crc) = (0, Crc::default());
    while at < bytes {
        let len = PIECE.min(bytes - at);
        let piece = piece(store.storage.as_ref(), path, offset + at, len)?;
        crc = crc.append(&piece);
        each(&piece)?;
        store.pins.refresh();
        at += len;
    }
    match crc32c {
        Some(expected) if crc != expected => Err(Error::corrupt(format!(
            "{path} is not what was written: it has the checksum {crc}, and the log says {expected}; CHECK says what can \
             be saved"
        ))),
        _ => Ok(()),
    }
}

/// What stands before a shard's values: a header that claims the rows of the version, where the file's own may claim those
/// of a newer one.
fn head(store: &Inner, path: &str, shard: &Shard) -> Result<Vec<u8>> {
    let found = piece(store.storage.as_ref(), path, 0, shard.offset)?.to_vec();
    // A header that is damaged is left for CHECK: the values do not need it.
    let Ok(header) = NpyHeader::parse(&found) else { return Ok(found) };
    if shard.offset != DATA_OFFSET || header.rows() == shard.length() {
        return Ok(found);
    }
    let mut shape = header.shape.clone();
    shape.splice(..1, [shard.length()]);
    npy::write_header(header.dtype, &shape, PAGE as usize)
}
