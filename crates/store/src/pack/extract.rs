//! Unpacking: into a folder beside the store's, which gets the store's name in the end.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use hyperslab_core::{Error, Result};

use super::walk::{Visit, Walk};
use super::{Head, PackReport, UnpackOptions};
use crate::action::Id;
use crate::layout::{ARRAYS, LOG, STORE_FILE};
use crate::storage::{LocalStorage, temporary_name};
use crate::store::{read_store_file, store_file_bytes};
use crate::{CheckOptions, Severity, Storage, check};

/// What a file takes of the disk besides its bytes.
const FILE_BYTES: u64 = 4096;

/// Unpacks a pack.
pub(super) fn extract(pack: &Path, target: &Path, options: &UnpackOptions) -> Result<PackReport> {
    let walk = Walk::open(pack)?;
    let target = std::path::absolute(target).map_err(|e| Error::io("finding", target.display(), e))?;
    let replaced = check_target(&target, options.overwrite)?;
    let parent = target.parent().ok_or_else(|| Error::invalid("a store cannot be the root of a file system"))?;
    fs::create_dir_all(parent).map_err(|e| Error::io("creating", parent.display(), e))?;
    check_room(walk.head(), parent, options)?;
    let id = walk.head().store;
    let mut folder = Folder { path: parent.join(temporary_name()), file: None, done: false };
    fs::create_dir(&folder.path).map_err(|e| Error::io("creating", folder.path.display(), e))?;
    let report = walk.run(&mut folder)?.report();
    folder.check_store_file(id)?;
    // Whether files may grow is for this file system to say.
    let in_place = LocalStorage::open(&folder.path, false, None)?.in_place();
    folder.create(STORE_FILE)?.write_all(&store_file_bytes(id, in_place)?).map_err(|e| failed(STORE_FILE, e))?;
    folder.end(STORE_FILE)?;
    folder.sync()?;
    let findings = check(&folder.path, &CheckOptions { quick: true, ..CheckOptions::default() })?;
    if let Some(bad) = findings.iter().find(|finding| finding.severity == Severity::Error) {
        return Err(Error::corrupt(format!("what it holds is no whole store: {}: {}", bad.file, bad.problem)));
    }
    folder.publish(&target, replaced)?;
    sync_folder(parent)?;
    Ok(report)
}

/// Whether there is a store to be replaced.
fn check_target(target: &Path, overwrite: bool) -> Result<bool> {
    if target.symlink_metadata().is_err() {
        return Ok(false);
    }
    if !overwrite {
        return Err(Error::already_exists(format!("{} exists; --overwrite replaces a store", target.display())));
    }
    let is_store = target.join(STORE_FILE).is_file();
    let is_folder = target.symlink_metadata().is_ok_and(|found| found.is_dir());
    if !is_store || !is_folder {
        return Err(Error::invalid(format!("{} is no store, and only a store is replaced", target.display())));
    }
    Ok(true)
}

/// Refuses what does not fit, before anything is written.
fn check_room(head: &Head, parent: &Path, options: &UnpackOptions) -> Result<()> {
    if let Some(most) = options.max_bytes
        && head.bytes > most
    {
        return Err(Error::invalid(format!("it unpacks to {} bytes, and at most {most} were allowed", head.bytes)));
    }
    #[cfg(unix)]
    if let Ok(found) = rustix::fs::statvfs(parent) {
        let room = found.f_bavail.saturating_mul(found.f_frsize);
        let needed = head.bytes.saturating_add(head.files.saturating_mul(FILE_BYTES));
        if needed > room {
            let why = format!("it unpacks to {} bytes, and {} has room for {room}", head.bytes, parent.display());
            return Err(Error::new(hyperslab_core::ErrorKind::Io, why));
        }
    }
    Ok(())
}

/// The folder that becomes the store, removed when dropped before.
struct Folder {
    path: PathBuf,
    /// The file that is being written.
    file: Option<File>,
    done: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

impl Visit for Folder {
    fn file(&mut self, path: &str, _size: u64) -> Result<()> {
        self.create(path).map(drop)
    }

    fn bytes(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(bytes).map_err(|e| failed(path, e))
    }

    fn end(&mut self, path: &str) -> Result<()> {
        match self.file.take() {
            Some(file) => file.sync_all().map_err(|e| failed(path, e)),
            None => Ok(()),
        }
    }

    /// A copy: in a store each file is one, since it may grow.
    fn link(&mut self, path: &str, target: &str) -> Result<()> {
        let mut from = File::open(self.path.join(target)).map_err(|e| failed(target, e))?;
        let to = self.create(path)?;
        std::io::copy(&mut from, to).map_err(|e| failed(path, e))?;
        self.end(path)
    }
}

impl Folder {
    /// Creates a file, whose path was looked at.
    fn create(&mut self, path: &str) -> Result<&mut File> {
        let full = self.path.join(path);
        if let Some(folder) = full.parent() {
            fs::create_dir_all(folder).map_err(|e| failed(path, e))?;
        }
        let file = File::options().write(true).create_new(true).open(&full).map_err(|e| failed(path, e))?;
        Ok(self.file.insert(file))
    }

    /// The pack's own `hyperslab.json` must be that of a store in one directory. It goes, for one that knows where it is.
    fn check_store_file(&self, id: Id) -> Result<()> {
        let storage = LocalStorage::open(&self.path, true, None)?;
        let file = read_store_file(&storage)?.ok_or_else(|| Error::corrupt(format!("it has no {STORE_FILE}")))?;
        if file.has_dirs() {
            return Err(Error::corrupt(format!("its {STORE_FILE} names further directories")));
        }
        if file.id() != id {
            return Err(Error::corrupt(format!("it says that it is of store {id}, and holds store {}", file.id())));
        }
        fs::remove_file(self.path.join(STORE_FILE)).map_err(|e| failed(STORE_FILE, e))
    }

    fn sync(&self) -> Result<()> {
        let arrays = self.path.join(ARRAYS);
        if let Ok(entries) = fs::read_dir(&arrays) {
            for entry in entries.flatten() {
                sync_folder(&entry.path())?;
            }
            sync_folder(&arrays)?;
        }
        sync_folder(&self.path.join(LOG))?;
        sync_folder(&self.path)
    }

    /// Gives the folder its name, in one step.
    fn publish(mut self, target: &Path, replaced: bool) -> Result<()> {
        let failed = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Error::already_exists(format!("{} was created meanwhile", target.display()))
            }
            _ => Error::io("creating", target.display(), e),
        };
        if replaced {
            // What was there has this folder's name then, and goes with it.
            return crate::storage::exchange(&self.path, target).map_err(failed);
        }
        crate::storage::rename_folder(&self.path, target).map_err(failed)?;
        self.done = true;
        Ok(())
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let file = File::open(folder).map_err(|e| Error::io("opening", folder.display(), e))?;
        file.sync_all().map_err(|e| Error::io("syncing", folder.display(), e))?;
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

fn failed(path: &str, e: std::io::Error) -> Error {
    Error::io("writing", path, e)
}
