//! Text and bytes of variable length: a dataset holds references into global heaps.
//!
//! Source: HDF5 File Format Specification, III.E "Global Heap".

use std::collections::HashMap;

use hyperslab_core::{Error, Result};

use super::structure::{Structure, Walk};

/// Objects and what precedes them start at multiples of so many bytes.
const ALIGNMENT: usize = 8;

/// The global heaps of a mapped file.
#[derive(Debug)]
pub(super) struct Heaps<'a> {
    /// Collections in each other come to an end.
    walk: Walk<'a>,
    /// By address: the objects of a collection.
    collections: HashMap<u64, HashMap<u16, &'a [u8]>>,
}

impl<'a> Heaps<'a> {
    pub(super) fn new(structure: Structure<'a>) -> Self {
        Self { walk: structure.walk(), collections: HashMap::new() }
    }

    /// What a reference refers to: its length, the address of a collection, the number of an object in it.
    pub(super) fn get(&mut self, reference: &[u8]) -> Result<&'a [u8]> {
        let bad = || Error::corrupt("a reference to text leads nowhere: the file is damaged");
        let mut fields = self.walk.structure.fields(reference);
        let (length, address, index) = (fields.u32()? as usize, fields.address()?, fields.u32()?);
        let Some(address) = address.filter(|&address| length > 0 && address > 0) else { return Ok(&[]) };
        if !self.collections.contains_key(&address) {
            let collection = self.collection(address).map_err(|e| bad().because(e))?;
            self.collections.insert(address, collection);
        }
        let index = u16::try_from(index).map_err(|_| bad())?;
        let object = self.collections.get(&address).and_then(|c| c.get(&index)).ok_or_else(bad)?;
        object.get(..length).ok_or_else(bad)
    }

    fn collection(&mut self, address: u64) -> Result<HashMap<u16, &'a [u8]>> {
        let bad = || Error::corrupt("there is no collection of text");
        let structure = self.walk.structure;
        // Of the collection and of an object.
        let head = (8 + structure.length_bytes).next_multiple_of(ALIGNMENT);
        let all = structure.from(address)?;
        if !all.starts_with(b"GCOL\x01") {
            return Err(bad());
        }
        let mut fields = structure.fields(all);
        fields.skip(8)?;
        let size = usize::try_from(fields.length()?).map_err(|_| bad())?;
        let mut rest = self.walk.bytes(address, size)?.get(head..).ok_or_else(bad)?;
        let mut objects = HashMap::new();
        while let Some((object, after)) = rest.split_at_checked(head) {
            let mut fields = structure.fields(object);
            let index = fields.u16()?;
            fields.skip(6)?;
            let size = usize::try_from(fields.length()?).map_err(|_| bad())?;
            if index == 0 {
                break;
            }
            objects.insert(index, after.get(..size).ok_or_else(bad)?);
            rest = after.get(size.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        }
        Ok(objects)
    }
}
