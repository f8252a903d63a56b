//! Zip archives, zip64 included, which `.npz` and torch's files are.
//!
//! Source of the format: <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>.

mod directory;
mod writer;

pub(crate) use directory::{Method, Packed, read};
pub(crate) use writer::{ZipEntry, ZipWriter, put16};
