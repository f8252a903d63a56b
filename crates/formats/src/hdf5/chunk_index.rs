//! The indexes of chunks: where in the file each of them is.
//!
//! Source: HDF5 File Format Specification, VII "Appendix C: Types of Indexes for Dataset Chunks" (single chunk, implicit,
//! fixed array, extensible array, version 2 B-tree), III.A.1 for version 1 B-trees.

use hyperslab_core::{Error, Result};

use super::btree::{each_child, each_record};
use super::layout::{ChunkedLayout, Index};
use super::structure::{Fields, Structure, Walk, damaged, verify};
use crate::chunks::grid::Grid;

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredChunk {
    /// From the start of the file.
    pub(super) at: u64,
    pub(super) bytes: u64,
    /// The filters that were left out, a bit each.
    pub(super) mask: u32,
}

/// The chunks that are stored, sorted by their number in the grid. `most`: the lengths that the axes may grow to; `None`
/// for one without limit.
pub(super) fn stored_chunks(
    structure: &Structure<'_>,
    layout: &ChunkedLayout,
    grid: &Grid,
    most: &[Option<u64>],
) -> Result<Vec<(u64, StoredChunk)>> {
    let Some(address) = layout.address else { return Ok(Vec::new()) };
    let order = Order::new(layout, most);
    let mut reader = Reader { walk: structure.walk(), grid, layout, order, found: Vec::new() };
    match layout.index {
        Index::BTree1 => reader.btree_1(address)?,
        Index::Single(filtered) => {
            let (bytes, mask) = filtered.unwrap_or((grid.chunk_bytes() as u64, 0));
            reader.add(&vec![0; layout.chunk.len()], address, bytes, mask)?;
        }
        Index::Implicit => reader.implicit(address)?,
        Index::FixedArray => reader.fixed_array(address)?,
        Index::ExtensibleArray if most.iter().filter(|n| n.is_none()).count() != 1 => {
            return Err(damaged("an index of chunks is of one axis that grows, and there is another number of them"));
        }
        Index::ExtensibleArray => reader.extensible_array(address)?,
        Index::BTree2 => reader.btree_2(address)?,
    }
    let mut found = reader.found;
    found.sort_unstable_by_key(|(number, _)| *number);
    Ok(found)
}

/// Which chunk the n-th of an array is: they are counted along the last axis first, the one that grows without limit last,
/// and those too that the dataset may grow to.
#[derive(Debug)]
struct Order {
    /// The axes, the one along which is counted last first; the number of chunks along each, and their length.
    axes: Vec<(usize, u64, u64)>,
}

impl Order {
    fn new(layout: &ChunkedLayout, most: &[Option<u64>]) -> Self {
        let chunks = layout.chunk.iter().zip(most).enumerate();
        let mut axes: Vec<_> =
            chunks.map(|(i, (&c, most))| (i, most.map_or(u64::MAX, |n| n.div_ceil(c.max(1)).max(1)), c)).collect();
        if let Some(at) = most.iter().position(Option::is_none).filter(|&at| at < axes.len()) {
            axes[..=at].rotate_right(1);
        }
        Self { axes }
    }

    /// The first element of the n-th chunk; `None` beyond any shape.
    fn offset(&self, n: u64, offset: &mut [u64]) -> Option<()> {
        let mut rest = n;
        for &(axis, count, length) in self.axes.iter().rev() {
            *offset.get_mut(axis)? = (rest % count).checked_mul(length)?;
            rest /= count;
        }
        (rest == 0).then_some(())
    }

    /// Of an array of all chunks, how many.
    fn len(&self) -> Option<u64> {
        self.axes.iter().try_fold(1_u64, |all, &(_, count, _)| all.checked_mul(count))
    }
}

/// How the elements of an array are stored, each a chunk.
#[derive(Debug, Clone, Copy)]
struct Elements {
    bytes: usize,
    /// Bytes of a chunk's size, which is there for filtered chunks.
    size: Option<usize>,
}

impl Elements {
    /// By the type of client of an array and the bytes that it says that its elements have.
    fn new(client: u8, bytes: u8, address_bytes: usize) -> Result<Self> {
        let bytes = usize::from(bytes);
        let size = match client {
            0 => (bytes == address_bytes).then_some(None),
            1 => bytes.checked_sub(address_bytes + 4).filter(|size| (1..=8).contains(size)).map(Some),
            _ => None,
        };
        let size = size.ok_or_else(|| damaged("an index of chunks has impossible elements"))?;
        Ok(Self { bytes, size })
    }

    /// The bytes of so many, and of what else there is.
    fn many(&self, count: u64, extra: usize) -> Result<usize> {
        let all = usize::try_from(count).ok().and_then(|n| n.checked_mul(self.bytes)?.checked_add(extra));
        all.ok_or_else(|| damaged("an index of chunks is larger than any file"))
    }
}

struct Reader<'a, 'l> {
    walk: Walk<'a>,
    grid: &'l Grid,
    layout: &'l ChunkedLayout,
    order: Order,
    found: Vec<(u64, StoredChunk)>,
}

impl<'a> Reader<'a, '_> {
    /// A chunk whose first element is at `offset`. One that lies beyond the shape, which was made smaller, is left out.
    fn add(&mut self, offset: &[u64], address: u64, bytes: u64, mask: u32) -> Result<()> {
        let at = self.walk.structure.absolute(address)?;
        if let Some(number) = self.grid.number(offset) {
            let mask = if self.layout.plain_edges && self.grid.is_cut(offset) { u32::MAX } else { mask };
            self.found.push((number, StoredChunk { at, bytes, mask }));
        }
        Ok(())
    }

    /// III.A.1, nodes of type 1.
    fn btree_1(&mut self, address: u64) -> Result<()> {
        let axes = self.layout.chunk.len();
        let mut walk = self.walk.structure.walk();
        let mut offset = vec![0; axes];
        // A key has the place in an element, too, which is 0.
        each_child(&mut walk, address, (1, 8 + 8 * (axes + 1)), &mut |_, mut key, chunk| {
            let (bytes, mask) = (key.u32()?, key.u32()?);
            for axis in &mut offset {
                *axis = key.number(8)?;
            }
            self.add(&offset, chunk, u64::from(bytes), mask)
        })
    }

    /// VII.E "The Version 2 B-trees Index": records of type 10, and of type 11 for filtered chunks.
    fn btree_2(&mut self, address: u64) -> Result<()> {
        let axes = self.layout.chunk.len();
        let address_bytes = self.walk.structure.address_bytes;
        let chunk_bytes = self.grid.chunk_bytes() as u64;
        let mut walk = self.walk.structure.walk();
        let mut offset = vec![0; axes];
        each_record(&mut walk, address, &[10, 11], &mut |_, kind, mut record| {
            let bad = || damaged("an index of chunks has impossible records");
            let size = record.rest.len().checked_sub(address_bytes + 8 * axes).ok_or_else(bad)?;
            let chunk = record.address()?;
            let (bytes, mask) = match kind {
                10 if size == 0 => (chunk_bytes, 0),
                11 if size > 4 => (record.number(size - 4)?, record.u32()?),
                _ => return Err(bad()),
            };
            for (axis, length) in offset.iter_mut().zip(&self.layout.chunk) {
                *axis = record.number(8)?.saturating_mul(*length);
            }
            chunk.map_or(Ok(()), |chunk| self.add(&offset, chunk, bytes, mask))
        })
    }

    /// VII.B "The Implicit Index".
    fn implicit(&mut self, address: u64) -> Result<()> {
        let (chunk, count) = (self.grid.chunk_bytes() as u64, self.order.len());
        let there = self.walk.structure.from(address)?.len() as u64;
        let count = count.filter(|n| n.checked_mul(chunk).is_some_and(|all| all <= there) && chunk > 0);
        let count = count.ok_or_else(|| {
            Error::corrupt(format!(
                "the file is incomplete: its chunks start at byte {address}, and {there} bytes follow; copy or download \
                 the file again"
            ))
        })?;
        (0..count).try_for_each(|n| self.add_nth(n, address + n * chunk, chunk, 0))
    }

    /// The n-th chunk of an array.
    fn add_nth(&mut self, n: u64, address: u64, bytes: u64, mask: u32) -> Result<()> {
        // Beyond 32 axes there is none.
        let mut offset = [0; 32];
        let offset = offset.get_mut(..self.layout.chunk.len()).unwrap_or_default();
        match self.order.offset(n, offset) {
            Some(()) => self.add(offset, address, bytes, mask),
            None => Ok(()),
        }
    }

    /// All elements of a part of an array, of which the first is the n-th.
    fn add_elements(&mut self, mut fields: Fields<'a>, elements: Elements, count: u64, first: u64) -> Result<()> {
        for n in 0..count {
            let address = fields.address()?;
            let (bytes, mask) = match elements.size {
                Some(width) => (fields.number(width)?, fields.u32()?),
                None => (self.grid.chunk_bytes() as u64, 0),
            };
            if let Some(address) = address {
                self.add_nth(first.saturating_add(n), address, bytes, mask)?;
            }
        }
        Ok(())
    }

    /// The pages of a block, which follow each other from `address`, all but the last of as many elements. A page whose bit
    /// is not set was not written.
    fn add_pages(&mut self, address: u64, elements: Elements, pages: &Pages<'_>, first: u64) -> Result<()> {
        let stride = elements.many(pages.elements, 4)? as u64;
        for page in 0..pages.elements_in_all.div_ceil(pages.elements) {
            if !pages.is_written(page) {
                continue;
            }
            let before = page * pages.elements;
            let count = pages.elements.min(pages.elements_in_all - before);
            let at = stride.checked_mul(page).and_then(|b| b.checked_add(address));
            let at = at.ok_or_else(|| damaged("a page of an index of chunks lies beyond any file"))?;
            let bytes = verify(self.walk.bytes(at, elements.many(count, 4)?)?)?;
            self.add_elements(self.walk.structure.fields(bytes), elements, count, first.saturating_add(before))?;
        }
        Ok(())
    }

    /// VII.C "The Fixed Array Index".
    fn fixed_array(&mut self, address: u64) -> Result<()> {
        let (address_bytes, length_bytes) = (self.walk.structure.address_bytes, self.walk.structure.length_bytes);
        let mut fields = self.walk.checked(address, 12 + length_bytes + address_bytes, b"FAHD")?;
        fields.version(0)?;
        let elements = Elements::new(fields.u8()?, fields.u8()?, address_bytes)?;
        let page = page_elements(fields.u8()?)?;
        let (count, block) = (fields.length()?, fields.address()?);
        let Some(block) = block else { return Ok(()) };
        let head = 6 + address_bytes;
        if count <= page {
            let mut fields = self.walk.checked(block, elements.many(count, head + 4)?, b"FADB")?;
            fields.version(0)?;
            fields.skip(head - 5)?;
            return self.add_elements(fields, elements, count, 0);
        }
        let bits = usize::try_from(count.div_ceil(page).div_ceil(8)).unwrap_or(usize::MAX);
        let length = bits.saturating_add(head + 4);
        let mut fields = self.walk.checked(block, length, b"FADB")?;
        fields.version(0)?;
        fields.skip(head - 5)?;
        let pages = Pages { elements: page, elements_in_all: count, written: fields.rest, first: 0 };
        self.add_pages(block.saturating_add(length as u64), elements, &pages, 0)
    }

    /// VII.D "The Extensible Array Index".
    fn extensible_array(&mut self, address: u64) -> Result<()> {
        let (address_bytes, length_bytes) = (self.walk.structure.address_bytes, self.walk.structure.length_bytes);
        let mut fields = self.walk.checked(address, 16 + 6 * length_bytes + address_bytes, b"EAHD")?;
        fields.version(0)?;
        let elements = Elements::new(fields.u8()?, fields.u8()?, address_bytes)?;
        let array = Extensible::read(&mut fields, elements)?;
        // Numbers of blocks and elements, which nothing depends on.
        fields.skip(6 * length_bytes)?;
        let Some(index) = fields.address()? else { return Ok(()) };
        let pointers = array.direct_blocks() + array.super_blocks() - array.first_super_block();
        let length = 10 + address_bytes + usize::from(array.in_index) * elements.bytes + pointers * address_bytes;
        let mut fields = self.walk.checked(index, length, b"EAIB")?;
        fields.version(0)?;
        fields.skip(1 + address_bytes)?;
        let in_index = fields.take(usize::from(array.in_index) * elements.bytes)?;
        let mut n = u64::from(array.in_index);
        self.add_elements(self.walk.structure.fields(in_index), elements, n, 0)?;
        for super_block in 0..array.super_blocks() {
            let (blocks, count) = array.super_block(super_block);
            if super_block < array.first_super_block() {
                for block in 0..blocks {
                    if let Some(address) = fields.address()? {
                        self.data_block(address, &array, count, n.saturating_add(block * count), None)?;
                    }
                }
            } else if let Some(address) = fields.address()? {
                self.super_block(address, &array, (blocks, count), n)?;
            }
            n = n.saturating_add(blocks.saturating_mul(count));
        }
        Ok(())
    }

    /// The blocks that a super block leads to: so many, of so many elements each.
    fn super_block(&mut self, at: u64, array: &Extensible, (blocks, count): (u64, u64), first: u64) -> Result<()> {
        let address_bytes = self.walk.structure.address_bytes;
        let pages = if count > array.page { count / array.page } else { 0 };
        let bits = blocks.saturating_mul(pages.div_ceil(8));
        let bits = usize::try_from(bits).unwrap_or(usize::MAX);
        let pointers = usize::try_from(blocks).ok().and_then(|b| b.checked_mul(address_bytes)).unwrap_or(usize::MAX);
        let head = 6 + address_bytes + array.offset_bytes;
        let length = bits.saturating_add(pointers).saturating_add(head + 4);
        let mut fields = self.walk.checked(at, length, b"EASB")?;
        fields.version(0)?;
        fields.skip(head - 5)?;
        let written = fields.take(bits)?;
        for block in 0..blocks {
            let Some(address) = fields.address()? else { continue };
            let pages = Pages { elements: array.page, elements_in_all: count, written, first: block * pages };
            self.data_block(address, array, count, first.saturating_add(block * count), Some(&pages))?;
        }
        Ok(())
    }

    fn data_block(
        &mut self,
        address: u64,
        array: &Extensible,
        count: u64,
        first: u64,
        pages: Option<&Pages<'_>>,
    ) -> Result<()> {
        let head = 6 + self.walk.structure.address_bytes + array.offset_bytes;
        if count <= array.page {
            let mut fields = self.walk.checked(address, array.elements.many(count, head + 4)?, b"EADB")?;
            fields.version(0)?;
            fields.skip(head - 5)?;
            return self.add_elements(fields, array.elements, count, first);
        }
        let pages = pages.ok_or_else(|| damaged("an index of chunks has pages where none can be"))?;
        self.walk.checked(address, head + 4, b"EADB")?.version(0)?;
        self.add_pages(address.saturating_add(head as u64 + 4), array.elements, pages, first)
    }
}

/// The elements of a page, of which this is the logarithm.
fn page_elements(bits: u8) -> Result<u64> {
    1_u64.checked_shl(u32::from(bits)).ok_or_else(|| damaged("a page of an index of chunks is larger than any file"))
}

/// How a block is divided into pages.
#[derive(Debug)]
struct Pages<'a> {
    elements: u64,
    elements_in_all: u64,
    /// A bit for each page that was written, the highest of a byte first, from the `first` bit on.
    written: &'a [u8],
    first: u64,
}

impl Pages<'_> {
    fn is_written(&self, page: u64) -> bool {
        let bit = self.first.saturating_add(page);
        let byte = usize::try_from(bit / 8).ok().and_then(|i| self.written.get(i));
        byte.is_some_and(|byte| byte & 0x80 >> (bit % 8) != 0)
    }
}

/// How an extensible array grows: its elements are in the index block, then in data blocks. Those of super block `i` are
/// `2^(i/2)` (rounded down) data blocks of `least * 2^(i/2)` (rounded up) elements each; the first super blocks are not
/// stored, and the index block leads to their data blocks.
#[derive(Debug)]
struct Extensible {
    elements: Elements,
    in_index: u8,
    /// Elements of the smallest data block.
    least: u8,
    /// Pointers of the smallest super block that is stored.
    least_pointers: u8,
    max_bits: u8,
    /// Elements of a page.
    page: u64,
    /// Bytes of the number of a block's first element.
    offset_bytes: usize,
}

impl Extensible {
    fn read(fields: &mut Fields<'_>, elements: Elements) -> Result<Self> {
        let (max_bits, in_index, least, least_pointers) = (fields.u8()?, fields.u8()?, fields.u8()?, fields.u8()?);
        let page = page_elements(fields.u8()?)?;
        let offset_bytes = usize::from(max_bits).div_ceil(8);
        let array = Self { elements, in_index, least, least_pointers, max_bits, page, offset_bytes };
        let all_powers = least.is_power_of_two() && least_pointers.is_power_of_two();
        let is_possible = all_powers && max_bits <= 64 && u32::from(max_bits) >= least.ilog2();
        if !is_possible || array.first_super_block() > array.super_blocks() {
            return Err(damaged("an index of chunks has impossible sizes"));
        }
        Ok(array)
    }

    fn super_blocks(&self) -> usize {
        1 + usize::from(self.max_bits) - self.least.ilog2() as usize
    }

    /// The first super block that is stored.
    fn first_super_block(&self) -> usize {
        2 * self.least_pointers.ilog2() as usize
    }

    /// Data blocks that the index block leads to.
    fn direct_blocks(&self) -> usize {
        2 * (usize::from(self.least_pointers) - 1)
    }

    /// The data blocks of a super block, and the elements of each. At most 65 bits say which super block, so that both fit.
    fn super_block(&self, number: usize) -> (u64, u64) {
        (1 << (number / 2), u64::from(self.least) << number.div_ceil(2))
    }
}
