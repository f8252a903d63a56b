//! Text and bytes of variable length: a dataset holds references into global heaps.
//!
//! Source: <https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html> ("Global Heap").

use std::collections::HashMap;
use std::ops::Range;

use hyperslab_core::{Error, Result};

/// The global heaps of a mapped file.
#[derive(Debug)]
pub(super) struct Heaps<'a> {
    file: &'a [u8],
    base: u64,
    /// Bytes of an address and of a length.
    widths: (usize, usize),
    /// By address: where each object of a collection is in the file.
    collections: HashMap<u64, HashMap<u16, Range<usize>>>,
}

impl<'a> Heaps<'a> {
    pub(super) fn new(file: &'a [u8], base: u64, widths: (usize, usize)) -> Self {
        Self { file, base, widths, collections: HashMap::new() }
    }

    /// Bytes of a reference.
    pub(super) fn reference_bytes(&self) -> usize {
        4 + self.widths.0 + 4
    }

    /// What a reference refers to: its length, the address of a collection, the number of an object in it.
    pub(super) fn get(&mut self, reference: &[u8]) -> Result<&'a [u8]> {
        let bad = || Error::corrupt("a reference to text leads nowhere: the file is damaged");
        let length = number(reference, 0, 4).ok_or_else(bad)?;
        let address = number(reference, 4, self.widths.0).ok_or_else(bad)?;
        let index = number(reference, 4 + self.widths.0, 4).ok_or_else(bad)?;
        let undefined = u64::MAX >> (64 - 8 * self.widths.0);
        if length == 0 || address == 0 || address == undefined {
            return Ok(&[]);
        }
        if !self.collections.contains_key(&address) {
            let collection = self.collection(address).ok_or_else(bad)?;
            self.collections.insert(address, collection);
        }
        let index = u16::try_from(index).map_err(|_| bad())?;
        let object = self.collections.get(&address).and_then(|c| c.get(&index)).ok_or_else(bad)?;
        let length = usize::try_from(length).map_err(|_| bad())?;
        self.file[object.clone()].get(..length).ok_or_else(bad)
    }

    fn collection(&self, address: u64) -> Option<HashMap<u16, Range<usize>>> {
        let width = self.widths.1;
        let start = usize::try_from(self.base.checked_add(address)?).ok()?;
        let file = self.file;
        if file.get(start..start.checked_add(5)?)? != b"GCOL\x01" {
            return None;
        }
        let size = usize::try_from(number(file, start + 8, width)?).ok()?;
        let end = start.checked_add(size).filter(|&end| end <= file.len())?;
        let mut objects = HashMap::new();
        let mut at = start + 8 + width;
        let header = 8 + width;
        while at + header <= end {
            let index = u16::try_from(number(file, at, 2)?).ok()?;
            let size = usize::try_from(number(file, at + 8, width)?).ok()?;
            if index == 0 {
                break;
            }
            let data = at + header;
            let data_end = data.checked_add(size).filter(|&e| e <= end)?;
            objects.insert(index, data..data_end);
            at = data_end.next_multiple_of(8).max(data);
        }
        Some(objects)
    }
}

/// A little-endian number of at most 8 bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    let mut all = [0; 8];
    all.get_mut(..width)?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(all))
}
