//! Files that get their name when they are whole.

use std::fs;
use std::io::{self, ErrorKind as Io};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::layout::TEMP_PREFIX;

/// A temporary file, removed when dropped.
pub(crate) struct Temporary(pub(crate) PathBuf);

impl Temporary {
    /// The name of one in the same folder as `path`; there is no file yet.
    pub(crate) fn beside(path: &Path) -> Self {
        Self(path.with_file_name(temporary_name()))
    }

    /// It has its name now: nothing is left to remove.
    pub(crate) fn done(self) {
        std::mem::forget(self);
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A name that no other call, process or machine uses.
pub(crate) fn temporary_name() -> String {
    static RANDOM: OnceLock<String> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // The process's number is there for forked children, which inherit both statics.
    let random = RANDOM.get_or_init(|| uuid::Uuid::new_v4().simple().to_string());
    format!("{TEMP_PREFIX}{random}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Gives a finished file its name, unless that is taken: in one step, so that others see all of it or nothing.
pub(crate) fn publish(temporary: Temporary, path: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, &temporary.0, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => {
                temporary.done();
                return Ok(());
            }
            // The file system does not offer it; a link does the same in two steps.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            Err(e) => return Err(e.into()),
        }
    }
    publish_by_link(&temporary.0, path)
}

/// Gives a file another name, unless that is taken.
pub(super) fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            done => return Ok(done?),
        }
    }
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

/// Links a file under its name; the caller removes the other one.
pub(super) fn publish_by_link(temporary: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(temporary, path) {
        Err(e) if e.kind() == Io::AlreadyExists && is_linked(temporary) => Ok(()),
        result => result,
    }
}

/// Whether a link was made although the answer says otherwise, as a network file system's repeated request may.
#[cfg(unix)]
fn is_linked(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).is_ok_and(|found| found.nlink() > 1)
}

#[cfg(not(unix))]
fn is_linked(_path: &Path) -> bool {
    false
}

/// Gives a folder another name, unless that is taken.
pub(crate) fn rename_folder(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            done => return Ok(done?),
        }
    }
    if to.symlink_metadata().is_ok() {
        return Err(Io::AlreadyExists.into());
    }
    fs::rename(from, to)
}

/// Two folders take each other's name: in one step where the system can.
pub(crate) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            done => return Ok(done?),
        }
    }
    let aside = other.with_file_name(temporary_name());
    fs::rename(other, &aside)?;
    fs::rename(one, other)?;
    fs::rename(&aside, one)
}
