//! CHECK of what no version needs.

use hyperslab_core::Result;

use super::files::Files;
use super::{Finding, Severity};
use crate::Storage;
use crate::layout::{ARRAYS, LOG, PINS, TEMP_PREFIX};
use crate::maintenance::{array_folders, transaction_of};
use crate::pins::Pinned;

/// Notes files that VACUUM would remove.
pub(super) fn check(storage: &dyn Storage, dirs: u16, files: &Files, findings: &mut Vec<Finding>) -> Result<()> {
    let mut staging = std::collections::BTreeSet::new();
    for pin in storage.pins()? {
        staging.extend(Pinned::parse(&pin.line).unwrap_or_default().staging);
    }
    let mut note = |file: String, problem: &str| {
        let advice = "nothing is lost; VACUUM removes it once it is an hour old".to_owned();
        findings.push(Finding { severity: Severity::Note, file, array: None, problem: problem.to_owned(), advice });
    };
    let mut folders = array_folders(storage, dirs)?;
    folders.extend(["", LOG, PINS].map(str::to_owned));
    for folder in folders {
        for file in storage.files(&folder)? {
            let path = if folder.is_empty() { file.name.clone() } else { format!("{folder}/{}", file.name) };
            if file.name.starts_with(TEMP_PREFIX) {
                note(path, "a file that was being written, or still is");
            } else if !folder.contains(ARRAYS) || files.needed.contains_key(&path) {
                continue;
            } else if files.expired.contains(&path) {
                note(path, "only versions that have expired need it");
            } else if transaction_of(&path).is_none_or(|id| !staging.contains(&id)) {
                note(path, "no version needs it: a transaction that did not commit left it, or is writing it");
            }
        }
    }
    Ok(())
}
