//! The one trait that touches files, and who implements it.
//!
//! Paths are relative to the store, `/`-separated, as [`crate::layout`] makes them; those that begin with `@n/` are
//! relative to the store's directory `n`.

#[cfg(any(test, feature = "testing"))]
pub mod contract;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fault;
mod local;
mod memory;
mod path;

use std::fmt::Debug;
use std::time::Duration;

use arrow_buffer::Buffer;
use hyperslab_core::Result;

pub use local::LocalStorage;
pub(crate) use local::{Temporary, exchange, publish, rename_folder, temporary_name};
pub use memory::MemoryStorage;

/// A run of bytes of one file, to be mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRange {
    /// The file.
    pub path: String,
    /// The first byte.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
}

/// The writers' lock of a store; dropping it unlocks.
pub trait LockGuard: Send + Debug {}

/// A file in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Its name in the folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// The time since it was last written to; zero where the clocks disagree.
    pub age: Duration,
}

/// A mark that this process lives and uses the store; dropping it takes the mark away.
pub trait PinGuard: Send + Sync + Debug {
    /// What other processes call it.
    fn name(&self) -> &str;

    /// Replaces what the mark says: one line with its newline. Not synced; a reader may see a torn line.
    fn write(&self, line: &[u8]) -> Result<()>;
}

/// The mark of a process, as another one sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinFile {
    /// Its name.
    pub name: String,
    /// What it says; empty before the first write.
    pub line: Vec<u8>,
    /// The time since it was last written to.
    pub age: Duration,
    /// Whether its process certainly lives. Where that cannot be told, its age is all there is to go by.
    pub lives: bool,
}

/// Everything the engine does to the medium. Each method is one step that a test can fail, tear or freeze.
///
/// A file, once written and committed, is immutable except for being extended beyond its committed length
/// ([`write_at`](Storage::write_at)) and for its advisory `.npy` header.
pub trait Storage: Send + Sync + Debug {
    /// What to call this store in messages: its path, or `memory`.
    fn describe(&self) -> String;

    /// Says where the store's further directories are: paths that begin with `@1/` are in the first of them, and so on.
    /// Called before any such path is used. A storage to which every path is just a name need not know.
    ///
    /// # Errors
    /// `Invalid` when they cannot be used.
    fn place(&self, dirs: &[String]) -> Result<()> {
        let _ = dirs;
        Ok(())
    }

    /// Whether committed files can be extended in place (a known local file system). Where not, every append
    /// makes new files.
    fn in_place(&self) -> bool;

    /// Whether nothing can be written.
    fn read_only(&self) -> bool;

    /// Maps the ranges one after the other into one contiguous piece of memory, or `None` where the system or
    /// the ranges (lengths that are no multiple of the page size, in any but the last) do not allow that; one
    /// range always can be. The buffer keeps the map alive.
    ///
    /// # Errors
    /// `Corrupt`, naming the file and both lengths, when a file is shorter than its range.
    fn map(&self, ranges: &[FileRange]) -> Result<Option<Buffer>>;

    /// The bytes of a whole small file, or `None` if there is none.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>>;

    /// A file's length, or `None` if there is none.
    fn len(&self, path: &str) -> Result<Option<u64>>;

    /// The names (not paths) of the files and folders in a folder (`""` is the store itself), in no order; empty if
    /// there is no such folder. Files that are still being created are not there yet.
    fn list(&self, folder: &str) -> Result<Vec<String>>;

    /// Creates a file with these bytes atomically: readers see all of it or nothing, also after a crash of the
    /// process. Makes its folder. Not synced.
    ///
    /// # Errors
    /// `AlreadyExists` when the file exists; it is then left alone.
    fn create_new(&self, path: &str, bytes: &[u8]) -> Result<()>;

    /// [`create_new`](Self::create_new) whose bytes are durable before the name appears, so that a power cut leaves
    /// all of the file or nothing. (The name itself is durable after [`sync_folder`](Self::sync_folder).)
    fn create_new_synced(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.create_new(path, bytes)?;
        self.sync_file(path)
    }

    /// Replaces or creates a small file atomically (hints only: nothing committed is ever replaced).
    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()>;

    /// Writes bytes at a position of a file, which is created (with its folder) when it does not exist, and grown
    /// when needed; a hole reads as zeros. Visible to maps of the same file. Not synced.
    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Removes a file; no error if there is none.
    fn remove(&self, path: &str) -> Result<()>;

    /// The files in a folder with lengths and ages, in no order, also those that are still being created (their names
    /// begin with `.tmp-`), without the folders; empty if there is no such folder.
    fn files(&self, folder: &str) -> Result<Vec<FileInfo>>;

    /// Gives a file another name, in one step, and makes the folder of that.
    ///
    /// # Errors
    /// `NotFound` when there is no such file; `AlreadyExists` when the new name is taken.
    fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Removes a folder if it is empty.
    fn remove_folder(&self, folder: &str) -> Result<()>;

    /// Makes a mark of this process, which goes with it, however it ends; `None` where there are no such marks.
    fn pin(&self) -> Result<Option<Box<dyn PinGuard>>> {
        Ok(None)
    }

    /// The marks of all processes that live, or of which that is not known, this one among them. Those of processes
    /// that ended without taking theirs away are removed, unless the storage is read-only.
    fn pins(&self) -> Result<Vec<PinFile>> {
        Ok(Vec::new())
    }

    /// Makes a file's bytes durable.
    fn sync_file(&self, path: &str) -> Result<()>;

    /// Makes the names in a folder (and of the folder itself) durable.
    fn sync_folder(&self, folder: &str) -> Result<()>;

    /// Takes the writers' lock, between threads and between processes, or waits for it.
    ///
    /// # Errors
    /// `Conflict` (retryable) when it was not to be had within `timeout`; `ReadOnly`.
    fn lock(&self, timeout: Duration) -> Result<Box<dyn LockGuard>>;
}
