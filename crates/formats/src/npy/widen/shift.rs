//! Shifting a file's data towards its end, so that it can be broken off and taken up at any moment.
//!
//! The journal, all numbers little-endian:
//!
//! | bytes | |
//! |---|---|
//! | 8 | `HSWIDEN1` |
//! | 8 | the file's length before |
//! | 4, 4 | bytes of the old header, and of the new one |
//! | | both headers |
//! | 4 | CRC-32 of all before |
//!
//! and then, from 64 KiB on, two slots of 1 MiB and 64 KiB, each for one part of the data: 8 bytes where it
//! starts in the file before, 8 bytes its length, 4 bytes CRC-32 of these two and the part, the part. Parts go from the
//! last to the first, into the two slots in turn; each is synced there before it is written at its new place, and there
//! before the next one takes the other slot. So the slot that starts first, of those that are whole, is the last part that
//! may be missing in the file, and everything before it is still where it was.

use std::fs::File;
use std::io;
use std::path::Path;

use flate2::Crc;
use hyperslab_core::{Error, Result};

use super::{journal, read_at, write_at};
use crate::npy::growth::Header;
use crate::npy::recover::write_header;
use crate::output::sync_folder;

const MAGIC: &[u8; 8] = b"HSWIDEN1";
const PART_BYTES: u64 = if cfg!(test) { 100 } else { 1 << 20 };
const SLOTS_START: u64 = 64 << 10;
const SLOT_BYTES: u64 = PART_BYTES + (64 << 10);
/// Start, length and checksum.
const SLOT_HEAD: usize = 20;
/// A version that no reader takes.
const NO_VERSION: u8 = 255;

/// What the journal says of the whole.
struct Plan {
    old: Header,
    new: Header,
    length: u64,
}

impl Plan {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.length.to_le_bytes());
        for header in [&self.old, &self.new] {
            bytes.extend_from_slice(&(header.bytes().len() as u32).to_le_bytes());
        }
        bytes.extend_from_slice(self.old.bytes());
        bytes.extend_from_slice(self.new.bytes());
        let sum = checksum(&[&bytes]);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (old, rest) = rest.split_first_chunk::<4>()?;
        let (new, rest) = rest.split_first_chunk::<4>()?;
        let old = u32::from_le_bytes(*old) as usize;
        let headers = old.checked_add(u32::from_le_bytes(*new) as usize)?;
        let (headers, rest) = rest.split_at_checked(headers)?;
        let sum = u32::from_le_bytes(*rest.first_chunk::<4>()?);
        if magic != MAGIC || sum != checksum(&[bytes.get(..24 + headers.len())?]) {
            return None;
        }
        let (old, new) = headers.split_at_checked(old)?;
        let (old, new) = (Header::parse(old.to_vec()).ok()?, Header::parse(new.to_vec()).ok()?);
        let length = u64::from_le_bytes(*length);
        (new.len() > old.len() && length >= old.len()).then_some(Self { old, new, length })
    }

    fn by(&self) -> u64 {
        self.new.len() - self.old.len()
    }
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut crc = Crc::new();
    parts.iter().for_each(|part| crc.update(part));
    crc.sum()
}

/// Shifts the data so that it starts where the new header ends.
pub(super) fn start(file: &mut File, old: &Header, new: &Header, path: &Path) -> Result<()> {
    let failed = |e| Error::io("widening", path.display(), e);
    let length = file.metadata().map_err(failed)?.len();
    let plan = Plan { old: old.clone(), new: new.clone(), length };
    let at = journal(path);
    let mut to = File::options().read(true).write(true).create_new(true).open(&at).map_err(failed)?;
    let begun = write_at(&mut to, 0, &plan.bytes()).and_then(|()| to.sync_all()).and_then(|()| sync_folder(&at));
    if let Err(e) = begun {
        // Nothing of the file was touched.
        let _ = std::fs::remove_file(&at);
        return Err(failed(e));
    }
    run(file, &mut to, &plan, length, 0).and_then(|()| end(path)).map_err(|e| resumable(path, e))
}

fn resumable(path: &Path, error: io::Error) -> Error {
    Error::io("widening", path.display(), error).with("to complete it, call", "npy_ensure_appendable again")
}

fn end(path: &Path) -> io::Result<()> {
    std::fs::remove_file(journal(path))?;
    sync_folder(path)
}

/// Completes what was broken off; false if that was before anything was shifted.
pub(super) fn resume(file: &mut File, path: &Path) -> Result<bool> {
    let at = journal(path);
    let failed = |e| Error::io("reading", at.display(), e);
    let mut from = File::options().read(true).write(true).open(&at).map_err(failed)?;
    let have = from.metadata().map_err(failed)?.len();
    let head = read_at(&mut from, 0, have.min(SLOTS_START) as usize).map_err(failed)?;
    let Some(plan) = Plan::parse(&head) else {
        // The file is touched only once the plan is whole.
        if Header::read(file, path).is_ok() {
            std::fs::remove_file(&at).map_err(failed)?;
            return Ok(false);
        }
        let why = format!("{} is damaged, and so the file cannot be completed; restore it from a copy", at.display());
        return Err(Error::corrupt(why).with("file", path.display()));
    };
    let resumed = |e| resumable(path, e);
    let length = file.metadata().map_err(resumed)?.len();
    let done =
        length >= plan.new.len() && read_at(file, 0, plan.new.bytes().len()).map_err(resumed)? == plan.new.bytes();
    if !done {
        let mut last: Option<(u64, Vec<u8>, u64)> = None;
        for slot in 0..2 {
            if let Some((start, part)) = read_slot(&mut from, slot, &plan).map_err(resumed)?
                && last.as_ref().is_none_or(|(first, ..)| start < *first)
            {
                last = Some((start, part, slot));
            }
        }
        let (todo, slot) = match last {
            None => (plan.length, 0),
            Some((start, part, slot)) => {
                write_at(file, start + plan.by(), &part).and_then(|()| file.sync_data()).map_err(resumed)?;
                (start, 1 - slot)
            }
        };
        run(file, &mut from, &plan, todo, slot).map_err(resumed)?;
    }
    end(path).map_err(resumed)?;
    Ok(true)
}

/// Shifts what lies before `todo`, from the last part to the first, then writes the header.
fn run(file: &mut File, journal: &mut File, plan: &Plan, mut todo: u64, mut slot: u64) -> io::Result<()> {
    write_at(file, 6, &[NO_VERSION])?;
    file.sync_data()?;
    while todo > plan.old.len() {
        let start = todo.saturating_sub(PART_BYTES).max(plan.old.len());
        let part = read_at(file, start, (todo - start) as usize)?;
        let (from, length) = (start.to_le_bytes(), (part.len() as u64).to_le_bytes());
        let sum = checksum(&[&from, &length, &part]).to_le_bytes();
        let slot_start = SLOTS_START + slot * SLOT_BYTES;
        write_at(journal, slot_start, &[&from[..], &length, &sum, &part].concat())?;
        journal.sync_data()?;
        write_at(file, start + plan.by(), &part)?;
        file.sync_data()?;
        (todo, slot) = (start, 1 - slot);
    }
    write_header(file, &plan.new)
}

/// A slot's part and where it starts, if the slot is whole.
fn read_slot(journal: &mut File, slot: u64, plan: &Plan) -> io::Result<Option<(u64, Vec<u8>)>> {
    let at = SLOTS_START + slot * SLOT_BYTES;
    let have = journal.metadata()?.len().saturating_sub(at).min(SLOT_BYTES);
    let bytes = read_at(journal, at, have as usize)?;
    let Some((head, rest)) = bytes.split_at_checked(SLOT_HEAD) else { return Ok(None) };
    let number = |at: usize| head.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    let (start, length) = (number(0), number(8));
    let sum = head.get(16..).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    let part = usize::try_from(length).ok().and_then(|n| rest.get(..n));
    let whole = part.filter(|part| {
        let within = start >= plan.old.len() && start.checked_add(length).is_some_and(|end| end <= plan.length);
        length > 0 && within && checksum(&[&head[..16], part]) == sum
    });
    Ok(whole.map(|part| (start, part.to_vec())))
}
