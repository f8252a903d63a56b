//! Versions: opening an older one, what each changed, waiting for a new one.

mod changes;
mod diff;
mod lineage;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyperslab_core::{Error, Result};

use crate::log::Entry;
use crate::name::similar;
use crate::state::State;
use crate::{ArrayName, Durability, Snapshot, Store};
use changes::Changes;
pub use diff::{Diff, RowChange};

/// What one version is and did.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionInfo {
    /// The version.
    pub version: u64,
    /// Its time.
    pub time: SystemTime,
    /// The transaction's id.
    pub transaction: String,
    /// The program that wrote it.
    pub writer: String,
    /// What its commit was promised to survive.
    pub durability: Durability,
    /// The commit's message.
    pub message: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether it can still be read: VACUUM has not expired it.
    pub readable: bool,
    /// What it did, one for each array (or none) and kind of change.
    pub changes: Vec<ChangeInfo>,
}

/// One change of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeInfo {
    /// The array, under the name that it had then; `None` for tags, schemas and the like.
    pub array: Option<ArrayName>,
    /// `create`, `append`, `replace`, `delete`, `rename`, `drop`, `optimize`, `restore` …
    pub action: &'static str,
    /// Rows appended, replaced or deleted.
    pub rows: Option<u64>,
    /// More, for people: the other name, the fields, the tag.
    pub detail: String,
}

impl Store {
    /// A committed version.
    ///
    /// # Errors
    /// `NotFound` for one that is not there yet, naming the newest, or that has expired, naming the version that
    /// expired it; `Corrupt`, naming the file.
    pub fn at(&self, version: u64) -> Result<Arc<Snapshot>> {
        self.inner().at(version)
    }

    /// The version that was the newest at a time.
    ///
    /// # Errors
    /// As [`at`](Self::at); `NotFound` for a time before the first version.
    pub fn at_time(&self, time: SystemTime) -> Result<Arc<Snapshot>> {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        let version = self.inner().log.version_at(i64::try_from(since).unwrap_or(i64::MAX), 0);
        let version = version.and_then(|v| v.ok_or_else(|| Error::not_found("the store is younger than that time")));
        self.at(version.map_err(|e| e.with("store", self.describe()))?)
    }

    /// The version of a tag.
    ///
    /// # Errors
    /// As [`at`](Self::at); `NotFound` for a tag that is not there, naming the nearest.
    pub fn at_tag(&self, tag: &str) -> Result<Arc<Snapshot>> {
        let newest = self.snapshot()?;
        match newest.tags().get(tag) {
            Some(&version) => self.at(version),
            None => Err(no_tag(newest.state(), tag).with("store", self.describe())),
        }
    }

    /// All versions, oldest first, with what they changed. Costs reading the whole log.
    ///
    /// # Errors
    /// `Corrupt`, naming the file; `Io`.
    pub fn versions(&self) -> Result<Vec<VersionInfo>> {
        let newest = self.snapshot()?;
        let mut changes = Changes::default();
        self.each_version(newest.state(), |entry| {
            let changes = changes.of(entry);
            Some(info(entry, newest.state(), changes.into_iter().map(|(_, change)| change).collect()))
        })
    }

    /// The versions that changed an array, oldest first, with what they did to it. It is followed through its names:
    /// the one that has the name now, or had it last.
    ///
    /// # Errors
    /// As [`versions`](Self::versions); `NotFound` for a name that no array ever had.
    pub fn history(&self, name: impl Into<ArrayName>) -> Result<Vec<VersionInfo>> {
        let name = name.into();
        let newest = self.snapshot()?;
        let mut changes = Changes::default();
        let mut all = Vec::new();
        self.each_version(newest.state(), |entry| {
            let changes = changes.of(entry);
            if !changes.is_empty() {
                all.push((entry.clone_head(), changes));
            }
            None::<()>
        })?;
        let now = newest.state().by_name(&name).map(|array| array.id);
        let id = now.or_else(|| changes.last_named(&name));
        let id = id.ok_or_else(|| crate::snapshot::no_array(newest.state(), &name))?;
        let of_it = |(entry, changes): (Entry, Vec<changes::Change>)| {
            let own = changes.into_iter().filter(|(array, _)| *array == Some(id)).map(|(_, change)| change);
            let own: Vec<_> = own.collect();
            (!own.is_empty()).then(|| info(&entry, newest.state(), own))
        };
        Ok(all.into_iter().filter_map(of_it).collect())
    }

    /// Waits until version `version` is there; false when it did not come in time. Other processes' commits are
    /// noticed too.
    ///
    /// # Errors
    /// `Corrupt`; `Io`.
    pub fn wait_for_version(&self, version: u64, timeout: Duration) -> Result<bool> {
        let waited = self.inner().log.wait_for(version, timeout);
        waited.map_err(|e| e.with("store", self.describe()))
    }

    fn each_version<T>(&self, newest: &State, mut see: impl FnMut(&Entry) -> Option<T>) -> Result<Vec<T>> {
        let mut seen = Vec::new();
        let first = self.inner().log.first().map_err(|e| e.with("store", self.describe()))?;
        self.each_entry(first..=newest.version, |entry| {
            seen.extend(see(entry));
            Ok(())
        })?;
        Ok(seen)
    }

    fn each_entry(&self, versions: RangeInclusive<u64>, mut see: impl FnMut(&Entry) -> Result<()>) -> Result<()> {
        let mut first = *versions.start();
        // Not all at once: entries can be large.
        while first <= *versions.end() {
            let last = first.saturating_add(999).min(*versions.end());
            let entries = self.inner().log.entries(first..=last).map_err(|e| e.with("store", self.describe()))?;
            entries.iter().try_for_each(&mut see)?;
            first = last + 1;
        }
        Ok(())
    }
}

/// The error of a tag that is not there.
pub(crate) fn no_tag(state: &State, tag: &str) -> Error {
    let near = similar(tag, state.tags.keys().map(String::as_str));
    let hint = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) };
    Error::not_found(format!("there is no tag {tag:?}{hint}"))
}

fn info(entry: &Entry, newest: &State, changes: Vec<ChangeInfo>) -> VersionInfo {
    let tags = newest.tags.iter().filter(|(_, version)| **version == entry.version);
    VersionInfo {
        version: entry.version,
        time: SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(entry.time).unwrap_or(0)),
        transaction: entry.txn.to_string(),
        writer: entry.writer.clone(),
        durability: entry.sync.into(),
        message: entry.message.clone(),
        tags: tags.map(|(tag, _)| tag.clone()).collect(),
        readable: newest.is_readable(entry.version),
        changes,
    }
}
