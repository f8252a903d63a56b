//! A folder of a local file system.

/// A folder.
#[derive(Debug)]
pub(crate) struct LocalStorage {}
