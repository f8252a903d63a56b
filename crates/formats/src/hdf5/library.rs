//! What `hdf5-pure` reads: the superblock, and of one object its shape, type, filters and attributes.
//!
//! The library finds objects by their paths, and does not find those of a group that has a soft link in the old style. Here
//! it is given an object by the address of its header: as a file of which this object is the root.

use std::collections::HashMap;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hdf5_pure::{AttrValue, Dataset, FormatError, Superblock};
use hyperslab_core::{Error, Result};

use super::encode::lookup3;
use super::structure::Addressing;
use crate::map::MappedFile;

/// The library, on a mapped file.
#[derive(Debug)]
pub(super) struct Library {
    file: Arc<MappedFile>,
    superblock: Superblock,
}

impl Library {
    /// # Errors
    /// `Corrupt` for what is no HDF5 file, or is being written.
    pub(super) fn open(file: &Arc<MappedFile>) -> Result<Self> {
        let source = Source { file: Arc::clone(file), first: Vec::new() };
        let library = guarded(|| hdf5_pure::File::from_source(source))?;
        Ok(Self { file: Arc::clone(file), superblock: library.superblock().clone() })
    }

    pub(super) fn addressing(&self) -> Addressing {
        Addressing::new(&self.superblock)
    }

    /// Where in the file the header of the root group is.
    pub(super) fn root(&self) -> u64 {
        self.superblock.root_group_address
    }

    /// The dataset whose header is at an address.
    pub(super) fn dataset(&self, address: u64) -> Result<Dataset> {
        let library = self.rooted(address)?;
        guarded(|| library.dataset("/"))
    }

    /// The attributes of the group whose header is at an address.
    pub(super) fn group_attributes(&self, address: u64) -> Result<Vec<(String, String)>> {
        let library = self.rooted(address)?;
        attributes(|| library.root().attrs())
    }

    /// The file as one whose root is at an address.
    ///
    /// Its superblock is of version 2 (HDF5 File Format Specification, II.A "Disk Format: Level 0A"), at the first byte: all
    /// else that is there is a superblock, or no part of what is HDF5.
    fn rooted(&self, address: u64) -> Result<hdf5_pure::File> {
        let superblock = &self.superblock;
        let mut first = b"\x89HDF\r\n\x1a\n\x02".to_vec();
        first.extend([superblock.offset_size, superblock.length_size, 0]);
        let extension = superblock.superblock_extension_address.unwrap_or(u64::MAX);
        for number in [superblock.base_address.get(), extension, superblock.eof_address, address] {
            first.extend(number.to_le_bytes().iter().take(usize::from(superblock.offset_size)));
        }
        let sum = lookup3(&first);
        first.extend_from_slice(&sum.to_le_bytes());
        guarded(|| hdf5_pure::File::from_source(Source { file: Arc::clone(&self.file), first }))
    }
}

/// The map as the library's source of bytes, with other ones at the start: a file that shrank is an error for it, too.
struct Source {
    file: Arc<MappedFile>,
    first: Vec<u8>,
}

impl hdf5_pure::Source for Source {
    fn len(&self) -> u64 {
        self.file.bytes().len() as u64
    }

    fn read_at(&self, offset: u64, to: &mut [u8]) -> std::result::Result<(), FormatError> {
        let all = self.file.bytes();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let from = start.checked_add(to.len()).and_then(|end| all.get(start..end));
        let from =
            from.ok_or(FormatError::UnexpectedEof { expected: start.saturating_add(to.len()), available: all.len() })?;
        self.file.check(all.len() as u64).map_err(|e| FormatError::Source(e.to_string()))?;
        to.copy_from_slice(from);
        let first = self.first.get(start..).unwrap_or_default();
        to.iter_mut().zip(first).for_each(|(to, &byte)| *to = byte);
        Ok(())
    }
}

/// Attributes as text, sorted by name.
pub(super) fn attributes(
    read: impl FnOnce() -> std::result::Result<HashMap<String, AttrValue>, hdf5_pure::Error>,
) -> Result<Vec<(String, String)>> {
    let mut found: Vec<_> = guarded(read)?
        .into_iter()
        .map(|(name, value)| {
            let mut text = String::new();
            match value.as_str() {
                Some(value) => text.push_str(value),
                // Writing to a string cannot fail.
                None => drop(write!(text, "{value}")),
            }
            (name, text)
        })
        .collect();
    found.sort();
    Ok(found)
}

/// Calls the library, whose errors and panics on a damaged file become errors of ours.
pub(super) fn guarded<T>(call: impl FnOnce() -> std::result::Result<T, hdf5_pure::Error>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(match error.to_string().to_lowercase() {
            why if why.contains("support") => Error::unsupported("it uses what is not read of HDF5"),
            _ => Error::corrupt("it cannot be read as HDF5"),
        }
        .because(error)),
        Err(_) => Err(Error::corrupt("it cannot be read as HDF5: its structure is damaged")),
    }
}
