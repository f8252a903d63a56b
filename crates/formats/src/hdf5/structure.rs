//! Reading the bytes of a file's structures: fields of given widths, addresses, checksums.
//!
//! Source: <https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html> (HDF5 File Format Specification 3.0), which
//! the modules next to this one cite by section.

use hyperslab_core::{Error, Result};

use super::encode::lookup3;

/// How often the bytes of a file are read at most: names are counted where they are and where they are kept.
/// Paths, which hold the names of all groups around, are counted by [`Objects`](super::links::Objects).
const WALKED: usize = 4;

/// How a file stores addresses and lengths, as its superblock says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addressing {
    /// Where addresses count from.
    base: u64,
    address_bytes: usize,
    length_bytes: usize,
}

impl Addressing {
    pub(super) fn new(superblock: &hdf5_pure::Superblock) -> Self {
        Self {
            base: superblock.base_address.get(),
            address_bytes: usize::from(superblock.offset_size),
            length_bytes: usize::from(superblock.length_size),
        }
    }
}

/// The structures of a mapped file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Structure<'a> {
    file: &'a [u8],
    base: u64,
    /// Bytes of an address and of a length.
    pub(super) address_bytes: usize,
    pub(super) length_bytes: usize,
}

impl<'a> Structure<'a> {
    pub(super) fn new(file: &'a [u8], addressing: Addressing) -> Self {
        let Addressing { base, address_bytes, length_bytes } = addressing;
        Self { file, base, address_bytes, length_bytes }
    }

    /// Bytes of the file.
    pub(super) fn bytes(&self) -> usize {
        self.file.len()
    }

    /// Bytes of a reference into a global heap: a length, the address of a collection, the number of an object.
    pub(super) fn reference_bytes(&self) -> usize {
        4 + self.address_bytes + 4
    }

    /// A byte of the file by its address.
    pub(super) fn absolute(&self, address: u64) -> Result<u64> {
        self.base.checked_add(address).ok_or_else(|| damaged("an address is beyond any file"))
    }

    /// The address of the byte `absolute` of the file.
    pub(super) fn address(&self, absolute: u64) -> Result<u64> {
        absolute.checked_sub(self.base).ok_or_else(|| damaged("an address precedes the file's first"))
    }

    /// The file from an address on.
    pub(super) fn from(&self, address: u64) -> Result<&'a [u8]> {
        let start = usize::try_from(self.absolute(address)?).ok();
        let found = start.and_then(|start| self.file.get(start..));
        found.ok_or_else(|| cut_off(address, self.file.len()))
    }

    /// The fields of some bytes.
    pub(super) fn fields<'b>(&self, bytes: &'b [u8]) -> Fields<'b> {
        Fields { rest: bytes, address_bytes: self.address_bytes, length_bytes: self.length_bytes }
    }

    /// Starts to read structures that lead to each other.
    pub(super) fn walk(&self) -> Walk<'a> {
        Walk { structure: *self, left: self.file.len().saturating_mul(WALKED) }
    }
}

/// Reads structures that lead to each other. All together they have a few times the bytes of the file, so that those of one
/// that was made to do harm, which lead to each other in circles or lie in each other, come to an end.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    pub(super) structure: Structure<'a>,
    left: usize,
}

impl<'a> Walk<'a> {
    /// Counts bytes that are read.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<()> {
        self.left =
            self.left.checked_sub(bytes).ok_or_else(|| damaged("its structures lead to each other in circles"))?;
        Ok(())
    }

    /// So many bytes at an address.
    pub(super) fn bytes(&mut self, address: u64, length: usize) -> Result<&'a [u8]> {
        self.spend(length)?;
        self.structure.from(address)?.get(..length).ok_or_else(|| cut_off(address, self.structure.file.len()))
    }

    /// The fields of so many bytes at an address.
    pub(super) fn fields(&mut self, address: u64, length: usize) -> Result<Fields<'a>> {
        let bytes = self.bytes(address, length)?;
        Ok(self.structure.fields(bytes))
    }

    /// The fields of a structure at an address, after its signature.
    pub(super) fn block(&mut self, address: u64, length: usize, signature: &[u8; 4]) -> Result<Fields<'a>> {
        let bytes = self.bytes(address, length)?;
        match bytes.strip_prefix(signature) {
            Some(rest) => Ok(self.structure.fields(rest)),
            None => Err(damaged(&format!("there is no {} at byte {address}", String::from_utf8_lossy(signature)))),
        }
    }

    /// As [`block`](Self::block) for one that ends with a checksum, which is verified and left out.
    pub(super) fn checked(&mut self, address: u64, length: usize, signature: &[u8; 4]) -> Result<Fields<'a>> {
        let mut fields = self.block(address, length, signature)?;
        let bytes = self.structure.from(address)?.get(..length).unwrap_or_default();
        fields.rest = match verify(bytes)?.get(signature.len()..) {
            Some(rest) => rest,
            None => return Err(damaged("a structure is shorter than its signature")),
        };
        Ok(fields)
    }
}

/// What precedes the checksum that `bytes` end with.
pub(super) fn verify(bytes: &[u8]) -> Result<&[u8]> {
    let (rest, sum) = bytes.split_last_chunk::<4>().ok_or_else(|| damaged("a checksum is missing"))?;
    if lookup3(rest) != u32::from_le_bytes(*sum) && !ignore_checksums() {
        return Err(damaged("the checksum of a structure is wrong"));
    }
    Ok(rest)
}

#[cfg(not(test))]
fn ignore_checksums() -> bool {
    false
}

/// Whether checksums are not looked at, so that tests reach what is behind them with bytes that they changed.
#[cfg(test)]
pub(super) fn ignore_checksums() -> bool {
    IGNORED.get()
}

#[cfg(test)]
thread_local! {
    pub(super) static IGNORED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// The fields that follow each other in a structure, little-endian.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) rest: &'a [u8],
    address_bytes: usize,
    length_bytes: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, bytes: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or_else(|| damaged("a structure ends early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn skip(&mut self, bytes: usize) -> Result<()> {
        self.take(bytes).map(drop)
    }

    /// A number of at most 8 bytes.
    pub(super) fn number(&mut self, bytes: usize) -> Result<u64> {
        let taken = self.take(bytes)?;
        let mut all = [0; 8];
        all.get_mut(..bytes).ok_or_else(|| damaged("a number is wider than 8 bytes"))?.copy_from_slice(taken);
        Ok(u64::from_le_bytes(all))
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        Ok(self.number(1)? as u8)
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        Ok(self.number(2)? as u16)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(self.number(4)? as u32)
    }

    /// A length of the file's width.
    pub(super) fn length(&mut self) -> Result<u64> {
        self.number(self.length_bytes)
    }

    /// An address; `None` for the undefined one, all bits of which are set.
    pub(super) fn address(&mut self) -> Result<Option<u64>> {
        let width = self.address_bytes;
        let address = self.number(width)?;
        Ok((address != u64::MAX >> (64 - 8 * width.clamp(1, 8))).then_some(address))
    }

    /// An address that has to be there.
    pub(super) fn defined(&mut self) -> Result<u64> {
        self.address()?.ok_or_else(|| damaged("an address is missing"))
    }

    /// A version that has to be this.
    pub(super) fn version(&mut self, known: u8) -> Result<()> {
        match self.u8()? {
            found if found == known => Ok(()),
            found => Err(Error::unsupported(format!(
                "a structure has version {found}, and {known} is read; rewrite the file with h5repack"
            ))),
        }
    }
}

/// The error for a structure that cannot be as it is.
pub(super) fn damaged(why: &str) -> Error {
    Error::corrupt(format!("the file's structure is damaged: {why}"))
}

fn cut_off(address: u64, length: usize) -> Error {
    Error::corrupt(format!(
        "the file is incomplete: a structure lies at byte {address} of {length}; copy or download the file again"
    ))
}
