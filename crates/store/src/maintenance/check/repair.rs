//! Repair: what follows the newest version that can be read is moved aside, never removed.

use std::collections::BTreeSet;
use std::time::Duration;

use hyperslab_core::{ErrorKind, Result};

use super::log::LogCheck;
use super::{Finding, Severity};
use crate::Storage;
use crate::layout::{self, LAST_CHECKPOINT, LOG};
use crate::transaction::now;

/// How long a repair waits for writers.
const PATIENCE: Duration = Duration::from_secs(10);

/// Moves damaged checkpoints, and everything after the newest version that can be read, to `_log/damaged-<time>/`.
pub(super) fn repair(storage: &dyn Storage, log: &LogCheck, findings: &mut Vec<Finding>) -> Result<()> {
    let Some(newest) = log.newest.as_ref().map(|state| state.version) else { return Ok(()) };
    let ends = newest < log.last;
    // Of what can be read, the last part starts at a checkpoint, because entries before it are damaged.
    let begins = log.readable.last().map(|range| *range.start()).filter(|&first| first > 0);
    let start = begins.filter(|_| log.files.start < begins);
    if !ends && log.bad_checkpoints.is_empty() && start.is_none() {
        return Ok(());
    }
    let _lock = storage.lock(PATIENCE)?;
    if let Some(first) = start {
        begin_at(storage, log, first, findings)?;
        if !ends && log.bad_checkpoints.is_empty() {
            return Ok(());
        }
    }
    let folder = format!("{LOG}/damaged-{}", now());
    let mut moved = Vec::new();
    let mut aside = |path: String| {
        let name = path.rsplit('/').next().unwrap_or_default();
        match storage.rename(&path, &format!("{folder}/{name}")) {
            // An entry that was missing, or a hint.
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            done => done.map(|()| moved.push(path)),
        }
    };
    // Whatever tells of later versions goes before them, and they go newest first: what is left is whole at every step.
    for &version in &log.files.checkpoints {
        if version > newest || log.bad_checkpoints.contains(&version) {
            aside(layout::checkpoint(version))?;
        }
    }
    aside(LAST_CHECKPOINT.to_owned())?;
    if ends {
        for &version in log.files.loose.iter().rev().filter(|&&version| version > newest) {
            aside(layout::entry(version))?;
        }
        for pack in log.files.packs.iter().rev().filter(|pack| *pack.end() > newest) {
            unpack(storage, log, pack, newest)?;
            aside(layout::pack(pack))?;
        }
    }
    storage.sync_folder(&folder)?;
    storage.sync_folder(LOG)?;
    let problem = match ends {
        true => format!("{} files were moved here; the newest version is {newest} now", moved.len()),
        false => format!("{} files were moved here; the versions are what they were", moved.len()),
    };
    let advice = format!("keep them until nothing is missed: {}", moved.join(", "));
    findings.push(Finding { severity: Severity::Note, file: folder, array: None, problem, advice });
    Ok(())
}

/// Says that the log starts at a checkpoint, and not at version 0.
fn begin_at(storage: &dyn Storage, log: &LogCheck, first: u64, findings: &mut Vec<Finding>) -> Result<()> {
    let path = layout::start(first);
    // Which files no commit with `full` has waited for stands in entries that cannot be read.
    let (mut files, mut folders) = (BTreeSet::new(), BTreeSet::new());
    if let Some(newest) = &log.newest {
        crate::refs::of_state(newest, |file| {
            let file = file.path();
            folders.extend(file.rsplit_once('/').map(|(folder, _)| folder.to_owned()));
            files.insert(file);
        });
    }
    for file in &files {
        if storage.len(file)?.is_some() {
            storage.sync_file(file)?;
        }
    }
    folders.iter().try_for_each(|folder| storage.sync_folder(folder))?;
    storage.create_new_synced(&path, b"{}\n")?;
    storage.sync_folder(LOG)?;
    if let Some(before) = log.files.start {
        storage.remove(&layout::start(before))?;
    }
    let problem = format!("the log starts at version {first} now; versions before it cannot be read any more");
    let advice =
        "the damaged entries stay where they are; with them restored and this file removed, the versions are back";
    findings.push(Finding { severity: Severity::Note, file: path, array: None, problem, advice: advice.to_owned() });
    Ok(())
}

/// Gives the entries of a pack that can be read files of their own.
fn unpack(storage: &dyn Storage, log: &LogCheck, pack: &std::ops::RangeInclusive<u64>, newest: u64) -> Result<()> {
    let (mut source, mut seen) = (log.files.reader(), Vec::new());
    for version in *pack.start()..=newest {
        if let Some((bytes, _)) = source.entry(storage, version, &mut seen)? {
            match storage.create_new_synced(&layout::entry(version), &bytes) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                done => done?,
            }
        }
    }
    storage.sync_folder(LOG)
}
