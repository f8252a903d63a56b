//! CHECK of the log: every entry from the first on, packs, checkpoints, the hint.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use hyperslab_core::{Error, ErrorKind, Result};

use super::{Finding, Severity};
use crate::Storage;
use crate::layout::{self, LAST_CHECKPOINT, LOG, LogFile};
use crate::log::{Entry, apply, checkpoint, read_hint};
use crate::state::State;

/// What CHECK learned of the log.
#[derive(Debug, Default)]
pub(super) struct LogCheck {
    pub files: Files,
    /// The newest version of which anything tells.
    pub last: u64,
    /// The newest version that can be read.
    pub newest: Option<State>,
    /// The versions that can be read, as ranges: each starts with the first entry or a checkpoint.
    pub readable: Vec<RangeInclusive<u64>>,
    /// Checkpoints that are damaged.
    pub bad_checkpoints: Vec<u64>,
    pub bad_hint: bool,
}

/// The versions of a pack, and its lines by version.
type Pack = (RangeInclusive<u64>, BTreeMap<u64, Vec<u8>>);

/// The log's folder.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub loose: BTreeSet<u64>,
    pub packs: Vec<RangeInclusive<u64>>,
    pub checkpoints: BTreeSet<u64>,
    /// The checkpoint that the log starts at, if what was before was given up.
    pub start: Option<u64>,
    /// The pack that was read last, line by line.
    open: Option<Pack>,
}

/// Reads the whole log.
pub(super) fn check(storage: &dyn Storage, findings: &mut Vec<Finding>) -> Result<LogCheck> {
    let mut log = LogCheck { files: Files::list(storage)?, ..LogCheck::default() };
    let hint = check_hint(storage, &mut log, findings)?;
    log.last = log.files.last().max(hint).unwrap_or(0);
    let damage = walk(storage, &mut log, findings)?;
    explain(&log, damage, findings);
    Ok(log)
}

/// The version that the hint names.
fn check_hint(storage: &dyn Storage, log: &mut LogCheck, findings: &mut Vec<Finding>) -> Result<Option<u64>> {
    let Some(bytes) = storage.read(LAST_CHECKPOINT)? else { return Ok(None) };
    let hint = read_hint(storage)?;
    let problem = match &hint {
        None if bytes.is_empty() => "it is empty".to_owned(),
        None => "it is not what was written".to_owned(),
        Some(hint) if !log.files.checkpoints.contains(&hint.version) => {
            format!("it names the checkpoint of version {}, which is not there", hint.version)
        }
        Some(_) => return Ok(hint.map(|hint| hint.version)),
    };
    log.bad_hint = true;
    let advice = "nothing is lost: the next checkpoint replaces it";
    findings.push(finding(Severity::Note, LAST_CHECKPOINT.to_owned(), problem, advice.to_owned()));
    Ok(hint.map(|hint| hint.version))
}

/// A damaged or missing entry: version, file, problem.
type Damage = (u64, String, String);

/// Folds the entries, from a checkpoint on where they cannot be folded.
fn walk(storage: &dyn Storage, log: &mut LogCheck, findings: &mut Vec<Finding>) -> Result<Vec<Damage>> {
    let mut damage = Vec::new();
    let mut state: Option<State> = Some(State::default());
    let start = log.files.start;
    if let Some(start) = start {
        state = None;
        let problem =
            format!("the versions before {start} are gone: a repair gave them up, or this was a pack of one version");
        let advice = "nothing is to be done: this is where the log starts";
        findings.push(finding(Severity::Note, layout::start(start), problem, advice.to_owned()));
    }
    for version in start.unwrap_or(0)..=log.last {
        let is_start = start == Some(version);
        let found = if is_start { None } else { log.files.entry(storage, version, findings)? };
        let problem = match (&found, &mut state) {
            _ if is_start => None,
            (None, _) => Some("it is missing".to_owned()),
            (Some((bytes, path)), Some(state)) => apply(state, bytes, path).err().map(|e| why(&e)),
            (Some((bytes, path)), None) => Entry::parse(bytes, path).err().map(|e| why(&e)),
        };
        let whole = problem.is_none();
        if let Some(problem) = problem {
            state = None;
            let path = found.map_or_else(|| layout::entry(version), |(_, path)| path);
            damage.push((version, path, problem));
        }
        if log.files.checkpoints.contains(&version) {
            check_checkpoint(storage, log, version, &mut state, findings)?;
        }
        if let Some(state) = state.as_mut().filter(|_| is_start) {
            state.begin_at(version);
        }
        if state.is_some() {
            match log.readable.last_mut() {
                // Where only the checkpoint is whole, another range starts.
                Some(range) if whole && *range.end() + 1 == version => *range = *range.start()..=version,
                _ => log.readable.push(version..=version),
            }
        }
    }
    log.newest = match (state, log.readable.last().cloned()) {
        (None, Some(range)) => fold(storage, &mut log.files, range, |_, _| ())?,
        (state, _) => state.filter(|_| !log.readable.is_empty()),
    };
    Ok(damage)
}

/// Goes through versions that can be read, the first of which is version 0 or that of a checkpoint; shows each with its
/// entry (none of the checkpoint's own), and gives the last.
///
/// # Errors
/// `Corrupt` when the log changed meanwhile.
pub(super) fn fold(
    storage: &dyn Storage,
    files: &mut Files,
    versions: RangeInclusive<u64>,
    mut each: impl FnMut(&State, Option<&Entry>),
) -> Result<Option<State>> {
    let mut state = State::default();
    let mut seen = Vec::new();
    for version in versions.clone() {
        if version > 0 && version == *versions.start() {
            let path = layout::checkpoint(version);
            state = checkpoint::parse(&storage.read(&path)?.unwrap_or_default(), version, &path)?;
            files.start.into_iter().for_each(|start| state.begin_at(start));
            each(&state, None);
            continue;
        }
        let Some((bytes, path)) = files.entry(storage, version, &mut seen)? else {
            return Err(Error::corrupt(format!("the log file {} went while it was checked", layout::entry(version))));
        };
        apply(&mut state, &bytes, &path)?;
        each(&state, Some(&Entry::parse(&bytes, &path)?.0));
    }
    Ok(Some(state))
}

/// Holds a checkpoint against the fold of the entries, or starts from it where there is none.
fn check_checkpoint(
    storage: &dyn Storage,
    log: &mut LogCheck,
    version: u64,
    state: &mut Option<State>,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let path = layout::checkpoint(version);
    let Some(bytes) = storage.read(&path)? else { return Ok(()) };
    let problem = match checkpoint::parse(&bytes, version, &path) {
        Err(e) => why(&e),
        Ok(mut found) => match state {
            Some(state)
                if {
                    log.files.start.into_iter().for_each(|start| found.begin_at(start));
                    checkpoint::to_bytes(state)? == checkpoint::to_bytes(&found)?
                } =>
            {
                return Ok(());
            }
            None => {
                *state = Some(found);
                return Ok(());
            }
            Some(_) => "it says something else than the entries do".to_owned(),
        },
    };
    log.bad_checkpoints.push(version);
    let advice = "nothing is lost: it is passed over, and the entries say the same; `hyperslab check --repair` moves it \
                  aside";
    findings.push(finding(Severity::Warning, path, problem, advice.to_owned()));
    Ok(())
}

fn range(first: u64, last: u64) -> String {
    if first == last { format!("version {first}") } else { format!("versions {first} to {last}") }
}

/// Says of each damaged entry what is lost with it.
fn explain(log: &LogCheck, damage: Vec<Damage>, findings: &mut Vec<Finding>) {
    let newest = log.newest.as_ref().map(|state| state.version);
    for (version, path, problem) in damage {
        let next = log.readable.iter().map(|range| *range.start()).find(|&start| start >= version);
        let advice = match (next, newest) {
            (Some(next), _) => {
                let lost = if next == version { version } else { next - 1 };
                format!(
                    "from version {next} on a checkpoint holds everything: restore the file from a backup, or run \
                     `hyperslab check --repair`, which lets the log start there, so that the store opens and versions \
                     before {next} are given up ({} cannot be read)",
                    range(version, lost)
                )
            }
            (None, Some(newest)) => format!(
                "{} cannot be read, version {newest} can: restore the file from a backup, or \
                 run `hyperslab check --repair`, which moves what follows version {newest} aside, so that the store \
                 opens at it",
                range(version, log.last)
            ),
            (None, None) => "no version can be read: restore the file from a backup".to_owned(),
        };
        findings.push(finding(Severity::Error, path, problem, advice));
    }
}

impl Files {
    fn list(storage: &dyn Storage) -> Result<Self> {
        let mut files = Self::default();
        for name in storage.list(LOG)? {
            match LogFile::parse(&name) {
                Some(LogFile::Entry(version)) => drop(files.loose.insert(version)),
                Some(LogFile::Checkpoint(version)) => drop(files.checkpoints.insert(version)),
                Some(LogFile::Pack(versions)) => files.packs.push(versions),
                Some(LogFile::Start(version)) => files.start = files.start.max(Some(version)),
                None => {}
            }
        }
        files.packs.sort_unstable_by_key(|pack| *pack.start());
        Ok(files)
    }

    /// The same listing, to read it once more.
    pub(super) fn reader(&self) -> Self {
        let (loose, packs, checkpoints) = (self.loose.clone(), self.packs.clone(), self.checkpoints.clone());
        Self { loose, packs, checkpoints, start: self.start, open: None }
    }

    fn last(&self) -> Option<u64> {
        let packed = self.packs.iter().map(|pack| *pack.end()).max();
        packed.max(self.loose.last().copied()).max(self.checkpoints.last().copied())
    }

    /// An entry's bytes and the file that holds them, from its own file or a pack; they must say the same.
    pub(super) fn entry(
        &mut self,
        storage: &dyn Storage,
        version: u64,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<(Vec<u8>, String)>> {
        let packed = match self.packs.iter().find(|pack| pack.contains(&version)).cloned() {
            Some(pack) => {
                self.open(storage, &pack, findings)?;
                let line = self.open.as_ref().and_then(|(_, lines)| lines.get(&version).cloned());
                line.map(|bytes| (bytes, layout::pack(&pack)))
            }
            None => None,
        };
        let path = layout::entry(version);
        let Some(own) = storage.read(&path)? else { return Ok(packed) };
        match packed {
            Some((bytes, pack)) if bytes != own => {
                // Whichever is whole counts.
                let whole = |bytes: &[u8]| Entry::parse(bytes, &path).is_ok();
                let (bad, good) = if whole(&own) { ((pack, bytes), (path, own)) } else { ((path, own), (pack, bytes)) };
                let problem = format!("what it says of version {version} is not what {} says", good.0);
                findings.push(finding(
                    Severity::Warning,
                    bad.0,
                    problem,
                    format!("nothing is lost: {} is whole", good.0),
                ));
                Ok(Some((good.1, good.0)))
            }
            _ => Ok(Some((own, path))),
        }
    }

    /// Reads a pack, of which one line may be damaged and the others not.
    fn open(&mut self, storage: &dyn Storage, pack: &RangeInclusive<u64>, findings: &mut Vec<Finding>) -> Result<()> {
        if self.open.as_ref().is_some_and(|(open, _)| open == pack) {
            return Ok(());
        }
        let path = layout::pack(pack);
        let bytes = storage.read(&path)?.unwrap_or_default();
        let mut lines = BTreeMap::new();
        let mut count = 0;
        for (line, version) in bytes.split_inclusive(|&b| b == b'\n').zip(pack.clone()) {
            count += 1;
            // Where a line is missing, the others say whose they are.
            let version = Entry::parse(line, &path).map_or(version, |(entry, _)| entry.version);
            lines.entry(version).or_insert_with(|| line.to_vec());
        }
        let expected = pack.end() - pack.start() + 1;
        if count != expected {
            let problem = format!("it holds {count} entries, and its name says {expected}");
            let advice = "restore the file from a backup; the entries that it still holds are used";
            findings.push(finding(Severity::Error, path, problem, advice.to_owned()));
        }
        self.open = Some((pack.clone(), lines));
        Ok(())
    }
}

/// What is wrong, without the file's name, which the finding has.
fn why(error: &Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(error) = cause {
        let message = error.downcast_ref::<Error>().map_or_else(|| error.to_string(), |e| e.message().to_owned());
        text = if text.is_empty() { message } else { format!("{text}: {message}") };
        cause = error.source();
    }
    let unknown = error.kind() == ErrorKind::Unsupported;
    match (text.is_empty(), unknown) {
        (true, _) => error.to_string(),
        (false, true) => format!("{text} (use a newer hyperslab)"),
        (false, false) => text,
    }
}

fn finding(severity: Severity, file: String, problem: String, advice: String) -> Finding {
    Finding { severity, file, array: None, problem, advice }
}
