//! Files and folders that appear under their name as a whole, or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use hyperslab_core::{Error, Result};
use tempfile::{NamedTempFile, TempDir};

const BUFFER_BYTES: usize = 256 << 10;

/// A file being written: a temporary one in the same folder, which takes the final name when it is published and
/// vanishes when it is dropped instead.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    overwrite: bool,
    file: BufWriter<NamedTempFile>,
    /// Whether a write failed, so that the file's length is not known.
    failed: bool,
}

impl NewFile {
    /// Starts a file.
    ///
    /// # Errors
    /// `AlreadyExists` when something is there and `overwrite` is false; `Invalid` when it is no regular file; `Io`.
    pub(crate) fn create(path: &Path, overwrite: bool) -> Result<Self> {
        // A link stays one, and its target is replaced.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let there = std::fs::metadata(&path);
        if path.file_name().is_none() || there.as_ref().is_ok_and(|m| !m.is_file()) {
            return Err(Error::invalid(format!("{} is not a regular file and cannot be replaced", path.display())));
        }
        if there.is_ok() && !overwrite {
            return Err(exists(&path));
        }
        let file = temporary(folder(&path)).map_err(|e| Error::io("creating", path.display(), e))?;
        Ok(Self { path, overwrite, file: BufWriter::with_capacity(BUFFER_BYTES, file), failed: false })
    }

    /// The final path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| {
            self.failed = true;
            Error::io("writing", self.path.display(), e)
        })
    }

    /// The temporary file, everything written to it so far. Its position may be changed.
    pub(crate) fn file(&mut self) -> Result<&mut File> {
        self.check()?;
        self.file.flush().map_err(|e| {
            self.failed = true;
            Error::io("writing", self.path.display(), e)
        })?;
        Ok(self.file.get_mut().as_file_mut())
    }

    /// Another temporary file for the same path, in place of this one.
    pub(crate) fn again(&self) -> Result<Self> {
        let file = temporary(folder(&self.path)).map_err(|e| Error::io("creating", self.path.display(), e))?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Self { path: self.path.clone(), overwrite: self.overwrite, file, failed: false })
    }

    /// An operating system's error while writing this file.
    pub(crate) fn failed(&self, error: io::Error) -> Error {
        Error::io("writing", self.path.display(), error)
    }

    fn check(&self) -> Result<()> {
        if self.failed {
            return Err(Error::invalid(format!("{} is discarded, because writing to it failed", self.path.display())));
        }
        Ok(())
    }

    /// Syncs the file and gives it the final name.
    ///
    /// # Errors
    /// `Invalid` after a failed write; `AlreadyExists` when a file took the name meanwhile and may not be replaced;
    /// `Io`.
    pub(crate) fn publish(mut self) -> Result<()> {
        self.file()?.sync_all().map_err(|e| self.failed(e))?;
        let path = self.path.clone();
        self.publish_unsynced()?;
        sync_folder(&path).map_err(|e| Error::io("writing", path.display(), e))
    }

    /// Gives it the final name, whether or not it would survive a power cut.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub(crate) fn publish_unsynced(mut self) -> Result<()> {
        self.file()?;
        let Self { path, overwrite, file, .. } = self;
        let file = file.into_inner().map_err(|e| Error::io("writing", path.display(), e.into_error()))?;
        if overwrite {
            file.persist(&path).map_err(|e| Error::io("replacing", path.display(), e.error))?;
        } else {
            file.persist_noclobber(&path).map_err(|e| match e.error.kind() {
                io::ErrorKind::AlreadyExists => exists(&path),
                _ => Error::io("creating", path.display(), e.error),
            })?;
        }
        Ok(())
    }

    /// Swaps the descriptor for one that cannot be written, as a full disk cannot.
    #[cfg(test)]
    pub(crate) fn make_writes_fail(&mut self) {
        let file = self.file.get_mut();
        *file.as_file_mut() = File::open(file.path()).unwrap_or_else(|e| unreachable!("{e}"));
    }
}

pub(crate) fn exists(path: &Path) -> Error {
    Error::already_exists(format!(
        "{} exists; add the option overwrite to replace it, or choose another name",
        path.display()
    ))
}

/// The folder that a file is in.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Only now does a new name survive a power cut. Not every system can sync a folder.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder(path)).and_then(|f| f.sync_all()) } else { Ok(()) }
}

/// A temporary file beside the final one, as readable as any new file; the umask still applies.
pub(crate) fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".hyperslab-").suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// A folder being written: a temporary one beside the final one, whose name it takes when it is published; dropped, it
/// vanishes.
#[derive(Debug)]
pub(crate) struct NewFolder {
    path: PathBuf,
    overwrite: bool,
    temporary: TempDir,
    /// What the folder is, and the files that show that one is: nothing else is replaced.
    what: &'static str,
    marks: &'static [&'static str],
}

impl NewFolder {
    /// Starts a folder.
    ///
    /// # Errors
    /// `AlreadyExists` when something is there and `overwrite` is false; `Invalid` when it is no such folder; `Io`.
    pub(crate) fn create(
        path: &Path,
        overwrite: bool,
        what: &'static str,
        marks: &'static [&'static str],
    ) -> Result<Self> {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut builder = tempfile::Builder::new();
        builder.prefix(".hyperslab-").suffix(".tmp");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        check_target(&path, overwrite, what, marks)?;
        let temporary = builder.tempdir_in(folder(&path)).map_err(|e| Error::io("creating", path.display(), e))?;
        Ok(Self { path, overwrite, temporary, what, marks })
    }

    /// The final path.
    pub(crate) fn target(&self) -> &Path {
        &self.path
    }

    /// The temporary folder.
    pub(crate) fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Gives `done`, the temporary folder or one in it, the final name.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub(crate) fn publish(&self, done: &Path) -> Result<()> {
        check_target(&self.path, self.overwrite, self.what, self.marks)?;
        let replaced = |e| Error::io("replacing", self.path.display(), e);
        // What was there is moved aside, and back if the new one cannot take its place.
        let old = match self.path.exists() {
            true => {
                let aside =
                    tempfile::Builder::new().prefix(".hyperslab-").suffix(".tmp").tempdir_in(folder(&self.path));
                let aside = aside.map_err(replaced)?;
                std::fs::rename(&self.path, aside.path().join("old")).map_err(replaced)?;
                Some(aside)
            }
            false => None,
        };
        if let Err(e) = std::fs::rename(done, &self.path) {
            if let Some(aside) = old {
                let _ = std::fs::rename(aside.path().join("old"), &self.path);
            }
            return Err(replaced(e));
        }
        sync_folder(&self.path).map_err(|e| Error::io("writing", self.path.display(), e))
    }
}

/// Refuses to replace what may not be, or what is no such folder.
fn check_target(path: &Path, overwrite: bool, what: &str, marks: &[&str]) -> Result<()> {
    if path.file_name().is_none() {
        return Err(Error::invalid(format!("{} cannot be replaced", path.display())));
    }
    let Ok(there) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !overwrite {
        return Err(exists(path));
    }
    let is_empty = || std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    if there.is_dir() && (crate::format::is_marked(path, marks) || is_empty()) {
        return Ok(());
    }
    Err(Error::invalid(format!("{} is no {what} and is not replaced; choose another name", path.display())))
}
