//! Every file name, folder name and magic value of a store, and nothing else.

/// The writers' lock: an empty file, locked by the system while a commit runs.
pub(crate) const LOCK: &str = "_log/lock";
/// Starts the names of files that are still being written; [`Storage::list`](crate::Storage::list) hides them.
pub(crate) const TEMP_PREFIX: &str = ".tmp-";
/// The page size that shards are laid out for.
pub(crate) const PAGE: u64 = 4096;
