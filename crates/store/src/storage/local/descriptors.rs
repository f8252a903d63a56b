//! A few open files, so that many small writes to the same shards cost no opening.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many files are kept open: the shards that one commit of a wide array extends.
const KEPT: usize = 64;

/// Files open for writing by their path in the store, the last used first.
#[derive(Debug, Default)]
pub(super) struct Descriptors(Mutex<VecDeque<(String, Arc<File>)>>);

impl Descriptors {
    fn files(&self) -> MutexGuard<'_, VecDeque<(String, Arc<File>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file, if it is open and still has a name: one that another process removed would swallow what is written.
    pub(super) fn get(&self, path: &str) -> Option<Arc<File>> {
        let mut files = self.files();
        let at = files.iter().position(|(name, _)| name == path)?;
        let entry = files.remove(at)?;
        if !has_name(&entry.1) {
            return None;
        }
        let file = entry.1.clone();
        files.push_front(entry);
        Some(file)
    }

    pub(super) fn put(&self, path: &str, file: Arc<File>) {
        let mut files = self.files();
        files.push_front((path.into(), file));
        files.truncate(KEPT);
    }

    pub(super) fn forget(&self, path: &str) {
        self.files().retain(|(name, _)| name != path);
    }
}

#[cfg(unix)]
fn has_name(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|found| found.nlink() > 0)
}

/// Elsewhere a file that is open for writing here cannot be removed.
#[cfg(not(unix))]
fn has_name(_file: &File) -> bool {
    true
}
