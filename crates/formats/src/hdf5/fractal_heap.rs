//! Fractal heaps: where a group of many links keeps them.
//!
//! Source: HDF5 File Format Specification, III.G "Fractal Heap".

use std::collections::HashMap;

use hyperslab_core::{Error, Result};

use super::btree::each_record;
use super::structure::{Fields, Structure, Walk, damaged};

/// A heap whose objects are read one by one. Its blocks are in rows, a block of the next row twice as large; the larger
/// ones hold rows of blocks themselves.
#[derive(Debug)]
pub(super) struct FractalHeap {
    /// Bytes of a reference to an object.
    reference_bytes: usize,
    /// Bytes of an offset in the heap, and of a length in a reference to an object.
    offset_bytes: usize,
    size_bytes: usize,
    /// Blocks in a row, bytes of the first block, and of the largest that holds objects.
    width: u64,
    first: u64,
    most_direct: u64,
    /// `None` where all objects are huge.
    root: Option<u64>,
    /// Rows of the root; 0 where it is the one block.
    rows: u16,
    /// By its number: the address and the bytes of an object that is larger than a block.
    huge: HashMap<u64, (u64, u64)>,
}

impl FractalHeap {
    /// The heap whose header is at an address.
    pub(super) fn read(walk: &mut Walk<'_>, address: u64) -> Result<Self> {
        let (address_bytes, length_bytes) = (walk.structure.address_bytes, walk.structure.length_bytes);
        // A header with filters is longer, so that its checksum lies elsewhere.
        let mut head = walk.block(address, 9, b"FRHP")?;
        head.skip(3)?;
        if head.u16()? != 0 {
            return Err(Error::unsupported("a group keeps its links compressed; rewrite the file with h5repack"));
        }
        let mut fields = walk.checked(address, 26 + 12 * length_bytes + 3 * address_bytes, b"FRHP")?;
        fields.version(0)?;
        let reference_bytes = usize::from(fields.u16()?);
        fields.skip(3)?;
        let largest = u64::from(fields.u32()?);
        fields.skip(length_bytes)?;
        let huge = fields.address()?;
        // Where free space is, and how much there is of what.
        fields.skip(9 * length_bytes + address_bytes)?;
        let (width, first, most_direct) = (u64::from(fields.u16()?), fields.length()?, fields.length()?);
        let offset_bytes = usize::from(fields.u16()?).div_ceil(8);
        fields.skip(2)?;
        let (root, rows) = (fields.address()?, fields.u16()?);
        let all_powers = [width, first, most_direct].into_iter().all(u64::is_power_of_two);
        if !all_powers || most_direct < first || offset_bytes > 8 || width.checked_mul(first).is_none() {
            return Err(damaged("a heap's blocks have impossible sizes"));
        }
        let size_bytes = bytes_for(most_direct.min(largest));
        let huge = huge.map_or(Ok(HashMap::new()), |tree| huge_objects(walk, tree))?;
        Ok(Self { reference_bytes, offset_bytes, size_bytes, width, first, most_direct, root, rows, huge })
    }

    /// The object that a reference refers to.
    pub(super) fn object<'a>(&self, walk: &mut Walk<'a>, reference: &'a [u8]) -> Result<&'a [u8]> {
        let structure = walk.structure;
        let mut fields = structure.fields(reference);
        // The type of reference: to an object in a block, to a huge one. What is smaller than any link is the third.
        match fields.u8()? >> 4 & 3 {
            0 => {}
            1 => return self.huge(walk, fields),
            _ => return Err(damaged("a link is kept as none is")),
        }
        let (offset, length) = (fields.number(self.offset_bytes)?, fields.number(self.size_bytes)?);
        let (block, bytes, at) = self.block(&structure, offset)?;
        let block = structure.from(block)?;
        let object = usize::try_from(at).ok().zip(usize::try_from(length).ok());
        let object =
            object.filter(|_| block.starts_with(b"FHDB") && at.checked_add(length).is_some_and(|e| e <= bytes));
        let object = object.and_then(|(at, length)| block.get(at..)?.get(..length));
        object.ok_or_else(beyond)
    }

    /// The huge object that the rest of a reference refers to: by its place, where a reference has room for that, or by its
    /// number.
    fn huge<'a>(&self, walk: &mut Walk<'a>, mut fields: Fields<'_>) -> Result<&'a [u8]> {
        let room = self.reference_bytes.saturating_sub(1);
        let (address, length) = if room >= walk.structure.address_bytes + walk.structure.length_bytes {
            (fields.defined()?, fields.length()?)
        } else {
            *self.huge.get(&fields.number(room.min(8))?).ok_or_else(beyond)?
        };
        walk.bytes(address, usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// The address and the bytes of the block that holds the byte at an offset of the heap, and where in it.
    fn block(&self, structure: &Structure<'_>, offset: u64) -> Result<(u64, u64, u64)> {
        let (mut address, mut rows, mut offset) = (self.root.ok_or_else(beyond)?, u32::from(self.rows), offset);
        if rows == 0 {
            return Ok((address, self.first, offset));
        }
        let row_bytes = self.width * self.first;
        // Blocks in a block are smaller than it, so that this ends.
        loop {
            let row = (offset / row_bytes).checked_ilog2().map_or(0, |r| r + 1);
            let start = row.checked_sub(1).map_or(0, |r| row_bytes << r);
            let bytes = start.checked_div(self.width).filter(|&b| b > 0).unwrap_or(self.first);
            let number = u64::from(row) * self.width + (offset - start) / bytes;
            if row >= rows {
                return Err(beyond());
            }
            let head = 5 + structure.address_bytes + self.offset_bytes;
            let entries = structure.from(address)?;
            let entry = usize::try_from(number).ok().and_then(|n| n.checked_mul(structure.address_bytes));
            let entry = entry.and_then(|e| entries.get(head..)?.get(e..)).filter(|_| entries.starts_with(b"FHIB"));
            address = structure.fields(entry.ok_or_else(|| damaged("a heap's block is cut off"))?).defined()?;
            offset = (offset - start) % bytes;
            if bytes <= self.most_direct {
                return Ok((address, bytes, offset));
            }
            rows = (bytes / row_bytes).checked_ilog2().map_or(0, |r| r + 1);
        }
    }
}

/// III.A.2 "Version 2 B-trees", records of type 1: the huge objects of a heap without filters, by their numbers.
fn huge_objects(walk: &mut Walk<'_>, tree: u64) -> Result<HashMap<u64, (u64, u64)>> {
    let mut objects = HashMap::new();
    each_record(walk, tree, &[1], &mut |_, _, mut record| {
        let (address, length, number) = (record.defined()?, record.length()?, record.length()?);
        objects.insert(number, (address, length));
        Ok(())
    })?;
    Ok(objects)
}

fn beyond() -> Error {
    damaged("a link lies beyond its group's heap")
}

/// Bytes that a number up to this takes.
fn bytes_for(most: u64) -> usize {
    (64 - most.leading_zeros() as usize).div_ceil(8)
}
