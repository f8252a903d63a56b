//! The marks of the processes that use a store: files that each holds locked for as long as it lives.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind as Io, Read};
use std::path::{Path, PathBuf};

use hyperslab_core::{Error, Result};

use super::{found, temporary_name, write_all_at, write_failed};
use crate::storage::{FileInfo, PinFile, PinGuard};

/// A pin of this process.
#[derive(Debug)]
pub(super) struct LocalPin {
    name: String,
    path: PathBuf,
    file: File,
    /// Whose it is: a forked child inherits a copy, which must not take it away.
    process: u32,
}

impl LocalPin {
    /// Makes a pin in the folder, which is made too.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|e| write_failed("creating", folder, e))?;
        let name = uuid::Uuid::new_v4().to_string();
        let path = folder.join(&name);
        // Locked before it has its name, so that nobody takes it for that of a dead process.
        let temporary = folder.join(temporary_name());
        let open = OpenOptions::new().read(true).write(true).create_new(true).open(&temporary);
        let file = open.map_err(|e| write_failed("creating", &path, e))?;
        // Where there are no locks, the pin is believed by its age.
        let _unlocked = file.try_lock();
        fs::rename(&temporary, &path).map_err(|e| {
            let _orphan = fs::remove_file(&temporary);
            write_failed("creating", &path, e)
        })?;
        Ok(Self { name, path, file, process: std::process::id() })
    }
}

impl PinGuard for LocalPin {
    fn name(&self) -> &str {
        &self.name
    }

    fn write(&self, line: &[u8]) -> Result<()> {
        write_all_at(&self.file, line, 0).map_err(|e| write_failed("writing", &self.path, e))
    }
}

impl Drop for LocalPin {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            let _stale = fs::remove_file(&self.path);
        }
    }
}

/// Looks at a pin; `None` if its process has ended, and then it is removed unless `keep`. A lock that could be taken
/// proves that only where `locks_hold`.
pub(super) fn look(folder: &Path, info: FileInfo, locks_hold: bool, keep: bool) -> Result<Option<PinFile>> {
    let path = folder.join(&info.name);
    let failed = |e| Error::io("reading", path.display(), e);
    let Some(mut file) = found(File::open(&path)).map_err(failed)? else { return Ok(None) };
    let lives = match file.try_lock() {
        Err(TryLockError::WouldBlock) => true,
        Ok(()) if locks_hold => {
            if !keep {
                found(fs::remove_file(&path)).map_err(|e| write_failed("removing", &path, e))?;
            }
            return Ok(None);
        }
        Ok(()) => {
            file.unlock().map_err(failed)?;
            false
        }
        Err(TryLockError::Error(e)) if e.kind() == Io::Interrupted => true,
        Err(TryLockError::Error(_)) => false,
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    // A shorter line does not shorten the file.
    let end = bytes.iter().position(|&b| b == b'\n').map_or(bytes.len(), |at| at + 1);
    bytes.truncate(end);
    Ok(Some(PinFile { name: info.name, line: bytes, age: info.age, lives }))
}
