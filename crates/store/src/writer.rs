//! Writes rows into shards: fills the open ones, then makes new ones, and says what the log must record.

mod parts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hyperslab_core::{Error, ErrorKind, FieldSpec, Result};
use uuid::Uuid;

use crate::action::{Action, Crc, DeletedFile, Id, SegmentAction};
use crate::codec::Codec;
use crate::layout;
use crate::packed::{self, Rows};
use crate::pins::{Pins, Staging};
use crate::segment::{self, Segment};
use crate::shard::Kind;
use crate::state::ArrayState;
use crate::store::Inner;
use crate::{Durability, Storage};
use parts::{Parts, Place};

/// A field's rows are compressed from this size on.
pub(crate) const COMPRESSED_BYTES: usize = 64 << 10;

/// The files that a transaction wrote.
#[derive(Debug)]
pub(crate) struct Files {
    pub storage: Arc<dyn Storage>,
    txn: Id,
    next: u64,
    /// The store's directories, its own among them.
    dirs: u16,
    pins: Arc<Pins>,
    /// Keeps VACUUM off the new files.
    staging: Option<Staging>,
    /// New files: removed unless the transaction commits.
    pub created: Vec<String>,
    /// How long the new files are that were written to.
    lens: BTreeMap<String, u64>,
    /// Files and folders to sync before the log entry.
    unsynced: BTreeMap<String, Vec<String>>,
    /// Headers of grown shards, written after the log entry.
    headers: Vec<(String, Vec<u8>)>,
}

impl Files {
    /// None yet, of the transaction `txn`.
    pub(crate) fn new(store: &Inner, txn: Id) -> Self {
        Self {
            storage: store.storage.clone(),
            txn,
            next: 0,
            dirs: store.dirs,
            pins: store.pins.clone(),
            staging: None,
            created: Vec::new(),
            lens: BTreeMap::new(),
            unsynced: BTreeMap::new(),
            headers: Vec::new(),
        }
    }

    /// The name of a new file and the directory that it goes to: each in turn, to use all disks.
    fn create_name(&mut self, array: Id, kind: Kind) -> (u16, String) {
        self.create(array, |txn, n| match kind {
            Kind::Raw => layout::shard_file(txn, n),
            Kind::Zstd => layout::compressed_file(txn, n),
        })
    }

    fn create(&mut self, array: Id, name: impl FnOnce(Uuid, u64) -> String) -> (u16, String) {
        match self.staging {
            Some(_) => self.pins.refresh(),
            None => self.staging = Some(self.pins.stage(self.txn)),
        }
        let file = name(self.txn.0, self.next);
        let dir = self.next_dir();
        self.created.push(layout::array_file(dir, array.0, &file));
        (dir, file)
    }

    fn next_dir(&mut self) -> u16 {
        // Transactions of one shard each must not all begin with the same directory.
        let first = self.txn.0.as_u128() as u64;
        let dir = first.wrapping_add(self.next) % u64::from(self.dirs.max(1));
        self.next += 1;
        dir as u16
    }

    fn wrote(&mut self, folder: String, path: &str) {
        let files = self.unsynced.entry(folder).or_default();
        if files.last().is_none_or(|last| last != path) && !files.iter().any(|f| f == path) {
            files.push(path.to_owned());
        }
    }

    /// Makes everything that was written since the last call durable, or forgets it.
    pub(crate) fn sync(&mut self, durability: Durability) -> Result<()> {
        let unsynced = std::mem::take(&mut self.unsynced);
        if durability == Durability::Os {
            return Ok(());
        }
        for (folder, files) in unsynced {
            for file in &files {
                self.storage.sync_file(file)?;
            }
            if files.iter().any(|f| self.created.contains(f)) {
                self.storage.sync_folder(&folder)?;
            }
        }
        Ok(())
    }

    /// Holds that no new file was removed, by a VACUUM that did not know of this transaction or by hand.
    ///
    /// # Errors
    /// `Io`, naming the file.
    pub(crate) fn check_present(&self) -> Result<()> {
        self.lens.iter().try_for_each(|(file, &len)| self.check_len(file, len))
    }

    fn check_len(&self, file: &str, len: u64) -> Result<()> {
        if self.storage.len(file)?.is_some_and(|found| found >= len) {
            return Ok(());
        }
        let why = format!("{file}, which this transaction wrote, was removed; nothing was committed");
        Err(Error::new(ErrorKind::Io, why))
    }

    /// Writes to a file, which may be new. One that was removed since is not begun again: its first bytes are gone.
    fn put(&mut self, path: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        match self.lens.get(path).copied() {
            Some(len) => self.check_len(path, len)?,
            None if !self.created.iter().any(|file| file == path) => return self.storage.write_at(path, offset, bytes),
            None => {}
        }
        self.storage.write_at(path, offset, bytes)?;
        let len = self.lens.entry(path.to_owned()).or_default();
        *len = end.max(*len);
        Ok(())
    }

    /// The new files are named by the log now, or will never be.
    pub(crate) fn settled(&mut self) {
        self.created.clear();
        self.lens.clear();
        self.staging = None;
    }

    /// Tells `numpy.load` of the rows that are committed now. A header is advisory: an error changes nothing.
    pub(crate) fn write_headers(&mut self) {
        for (path, header) in self.headers.drain(..) {
            let _advisory = self.storage.write_at(&path, 0, &header);
        }
    }

    /// Removes all but the first `keep` new files, as far as that is possible.
    pub(crate) fn forget(&mut self, keep: usize) {
        for path in self.created.drain(keep.min(self.created.len())..) {
            self.lens.remove(&path);
            self.unsynced.values_mut().for_each(|files| files.retain(|file| *file != path));
            let _orphan = self.storage.remove(&path);
        }
    }

    /// Removes the new files that nothing committed names.
    pub(crate) fn keep_only(&mut self, named: &BTreeSet<String>) {
        let orphans: Vec<String> = self.created.extract_if(.., |path| !named.contains(path)).collect();
        for path in orphans {
            self.lens.remove(&path);
            self.unsynced.values_mut().for_each(|files| files.retain(|file| *file != path));
            let _orphan = self.storage.remove(&path);
        }
    }

    /// Writes a new file of deleted rows.
    pub(crate) fn write_deleted(&mut self, array: Id, bytes: &[u8]) -> Result<DeletedFile> {
        let (dir, file) = self.create(array, layout::deleted_file);
        let path = layout::array_file(dir, array.0, &file);
        self.put(&path, 0, bytes)?;
        self.wrote(layout::array_folder(dir, array.0), &path);
        Ok(DeletedFile { file, home: None, dir, bytes: bytes.len() as u64, crc32c: Crc::of(bytes) })
    }

    /// Removes the new files of a transaction that does not commit, as far as that is possible.
    pub(crate) fn discard(&mut self) {
        for path in self.created.drain(..) {
            let _orphan = self.storage.remove(&path);
        }
        self.lens.clear();
        self.staging = None;
    }
}

/// What a writer must know of an array.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub array: Id,
    pub fields: Vec<FieldSpec>,
    pub field_ids: Vec<u32>,
    /// How shards that do not grow are written, by field; those that are missing are not compressed.
    pub codecs: Vec<Codec>,
    pub shard_bytes: u64,
}

impl Target {
    /// What a writer of an array's rows must know.
    pub(crate) fn of(array: &ArrayState) -> Self {
        Self {
            array: array.id,
            fields: array.fields().to_vec(),
            field_ids: array.field_ids().to_vec(),
            codecs: array.codecs().to_vec(),
            shard_bytes: array.options.shard_bytes,
        }
    }

    /// How `bytes` of a field are written where they need not grow: a few are not worth compressing.
    fn codec(&self, index: usize, bytes: usize) -> Codec {
        let codec = self.codecs.get(index).copied().unwrap_or_default();
        if bytes < COMPRESSED_BYTES { Codec::None } else { codec }
    }

    /// Whether rows of so many bytes by field go to files of their own, because some are compressed there.
    pub(crate) fn compresses(&self, bytes: impl IntoIterator<Item = usize>) -> bool {
        bytes.into_iter().enumerate().any(|(index, bytes)| !self.codec(index, bytes).is_none())
    }
}

/// Appends rows to the segments of one array.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    target: Target,
    segment_rows: u64,
    /// At this many bytes of text and binary a segment is closed.
    segment_text: u64,
    current: Option<Current>,
    done: Vec<Action>,
}

#[derive(Debug)]
struct Current {
    id: u32,
    rows: u64,
    /// Whether the segment is in the log already, and with how many rows.
    committed: Option<u64>,
    /// Bytes of text and binary in it.
    text: u64,
    /// Per field, the shards that are new or grow.
    shards: Vec<Parts>,
}

impl SegmentWriter {
    /// A writer that fills `open` first.
    pub(crate) fn new(target: Target, open: Option<&Segment>) -> Self {
        let segment_rows = segment::capacity(&target.fields, target.shard_bytes);
        let current = open.map(|segment| Current {
            id: segment.id,
            rows: segment.rows,
            committed: Some(segment.rows),
            text: (0..segment.shards.len()).map(|field| segment.text(field)).sum(),
            shards: segment.shards.iter().map(|shards| Parts::of(shards)).collect(),
        });
        let segment_text = target.shard_bytes.saturating_mul(layout::SEGMENT_SHARDS);
        Self { target, segment_rows, segment_text, current, done: Vec::new() }
    }

    /// A writer of one new segment, whatever its size.
    pub(crate) fn whole(target: Target, id: u32) -> Self {
        let current = Current { id, ..Current::new(target.fields.len()) };
        let (segment_rows, segment_text) = (u64::from(u32::MAX), u64::MAX);
        Self { target, segment_rows, segment_text, current: Some(current), done: Vec::new() }
    }

    /// Appends `rows` rows, of which `columns` are the bytes, one per field: [`packed`] or raw.
    pub(crate) fn write(&mut self, files: &mut Files, columns: &[&[u8]], rows: u64) -> Result<()> {
        let fields = self.target.fields.len();
        let unpack = |(field, column): (&FieldSpec, &&[u8])| match packed::is_packed(field) {
            true => packed::unpack(field, column).map(Some),
            false => Ok(None),
        };
        let unpacked: Vec<Option<Rows>> = self.target.fields.iter().zip(columns).map(unpack).collect::<Result<_>>()?;
        let mut done = 0;
        while done < rows {
            let current = self.current.get_or_insert_with(|| Current::new(fields));
            let mut n = (rows - done).min(self.segment_rows.saturating_sub(current.rows));
            if n == 0 || current.text >= self.segment_text {
                self.close(files, false)?;
                continue;
            }
            for text in unpacked.iter().flatten() {
                n = text.fitting(done as usize, n as usize, self.segment_text - current.text) as u64;
            }
            let range = done as usize..(done + n) as usize;
            for (index, (field, column)) in self.target.fields.iter().zip(columns).enumerate() {
                let Some(parts) = current.shards.get_mut(index) else { continue };
                let mut to = Place { target: &self.target, index, field, files };
                match unpacked.get(index).and_then(Option::as_ref) {
                    Some(rows) => {
                        current.text += rows.text(range.clone()).len() as u64;
                        parts.write_unpacked(&mut to, rows, range.clone(), current.rows)?;
                    }
                    None => parts.write_values(&mut to, column, range.clone())?,
                }
            }
            current.rows += n;
            done += n;
        }
        Ok(())
    }

    /// Ends the writing; `open` says whether the last segment may grow in place later.
    pub(crate) fn finish(mut self, files: &mut Files, open: bool) -> Result<Vec<Action>> {
        self.close(files, open)?;
        Ok(self.done)
    }

    fn close(&mut self, files: &mut Files, open: bool) -> Result<()> {
        let Some(current) = self.current.take() else { return Ok(()) };
        if current.committed == Some(current.rows) {
            return Ok(());
        }
        let open = open && current.rows < self.segment_rows && current.text < self.segment_text;
        let mut shards = Vec::new();
        for (index, (field, parts)) in self.target.fields.iter().zip(current.shards).enumerate() {
            shards.extend(parts.close(&mut Place { target: &self.target, index, field, files }, open)?);
        }
        let action = SegmentAction { array: self.target.array, segment: current.id, rows: current.rows, shards };
        self.done.push(match current.committed {
            Some(_) => Action::SegmentExtend(action),
            None => Action::SegmentAdd(action),
        });
        Ok(())
    }
}

impl Current {
    fn new(fields: usize) -> Self {
        let id = random_segment_id();
        Self { id, rows: 0, committed: None, text: 0, shards: (0..fields).map(|_| Parts::default()).collect() }
    }
}

/// A random 32-bit id.
pub(crate) fn random_segment_id() -> u32 {
    let (high, low) = Id::random().0.as_u64_pair();
    // The version and variant bits of a UUID are not in these 32.
    ((high >> 32) ^ (low & 0xffff_ffff)) as u32
}
