//! The nodes of B-trees, of both versions.
//!
//! Source: HDF5 File Format Specification, III.A.1 "Version 1 B-trees", III.A.2 "Version 2 B-trees".

use hyperslab_core::Result;

use super::structure::{Fields, Walk, damaged};

/// Calls for each child of the leaves of a version 1 tree of nodes of a type with the key before it and its address.
/// `key`: its bytes.
pub(super) fn each_child<'a>(
    walk: &mut Walk<'a>,
    root: u64,
    (kind, key): (u8, usize),
    call: &mut impl FnMut(&mut Walk<'a>, Fields<'a>, u64) -> Result<()>,
) -> Result<()> {
    let (address, length) = (walk.structure.address_bytes, key + walk.structure.address_bytes);
    let head = 8 + 2 * address;
    let mut nodes = vec![(root, None)];
    while let Some((node, level)) = nodes.pop() {
        let mut fields = walk.block(node, head, b"TREE")?;
        let (found, its_level, used) = (fields.u8()?, fields.u8()?, usize::from(fields.u16()?));
        if found != kind || level.is_some_and(|level| level != its_level) {
            return Err(damaged("a node of a B-tree is not where it belongs"));
        }
        let after = node.checked_add(head as u64).ok_or_else(|| damaged("a node lies beyond any file"))?;
        let mut fields = walk.fields(after, used * length)?;
        let first = nodes.len();
        for _ in 0..used {
            let key = walk.structure.fields(fields.take(key)?);
            let child = fields.defined()?;
            match its_level.checked_sub(1) {
                None => call(walk, key, child)?,
                Some(below) => nodes.push((child, Some(below))),
            }
        }
        nodes[first..].reverse();
    }
    Ok(())
}

/// The header of a version 2 tree.
#[derive(Debug)]
struct Tree {
    node_bytes: usize,
    record_bytes: usize,
    kind: u8,
}

/// Calls for each record of a version 2 tree whose type is one of `kinds` with that type and the record.
pub(super) fn each_record<'a>(
    walk: &mut Walk<'a>,
    address: u64,
    kinds: &[u8],
    call: &mut impl FnMut(&mut Walk<'a>, u8, Fields<'a>) -> Result<()>,
) -> Result<()> {
    let length = 22 + walk.structure.address_bytes + walk.structure.length_bytes;
    let mut fields = walk.checked(address, length, b"BTHD")?;
    fields.version(0)?;
    let kind = fields.u8()?;
    let (node_bytes, record_bytes) = (fields.u32()? as usize, usize::from(fields.u16()?));
    let depth = usize::from(fields.u16()?);
    fields.skip(2)?;
    let (root, records) = (fields.address()?, usize::from(fields.u16()?));
    let tree = Tree { node_bytes, record_bytes, kind };
    if !kinds.contains(&kind) || record_bytes == 0 {
        return Err(damaged("a B-tree is not of the type that belongs here"));
    }
    let Some(root) = root else { return Ok(()) };
    let widths = tree.widths(depth, walk.structure.address_bytes)?;
    let mut nodes = vec![(root, records, depth)];
    while let Some((node, records, depth)) = nodes.pop() {
        let first = nodes.len();
        let inner = widths.get(depth).filter(|_| depth > 0);
        let pointer = inner.map(|(count, total)| walk.structure.address_bytes + count + total);
        let mut fields = tree.node(walk, node, records, pointer)?;
        for _ in 0..records {
            call(walk, kind, walk.structure.fields(fields.take(record_bytes)?))?;
        }
        if let Some(&(count, total)) = widths.get(depth).filter(|_| depth > 0) {
            for _ in 0..=records {
                let child = fields.defined()?;
                let records = fields.number(count)?;
                fields.skip(total)?;
                nodes.push((child, usize::try_from(records).unwrap_or(usize::MAX), depth - 1));
            }
        }
        nodes[first..].reverse();
    }
    Ok(())
}

impl Tree {
    /// For the nodes of each depth: the widths in them of the number of a child's records, and of those below it. They are
    /// as wide as the most that there can be.
    fn widths(&self, depth: usize, address_bytes: usize) -> Result<Vec<(usize, usize)>> {
        // A tree of 2^64 records whose nodes have two children is as deep.
        if depth > 64 {
            return Err(damaged("a B-tree is deeper than any"));
        }
        let width = |most: u64| (64 - most.leading_zeros() as usize).div_ceil(8).max(1);
        let room = self.node_bytes.checked_sub(10).ok_or_else(|| damaged("a node of a B-tree is too small"))?;
        let in_leaf = (room / self.record_bytes) as u64;
        let count = width(in_leaf);
        let mut widths = vec![(count, 0)];
        let (mut below, mut below_width) = (in_leaf, 0);
        for _ in 0..depth {
            widths.push((count, below_width));
            let pointer = address_bytes + count + below_width;
            let here = (room.saturating_sub(pointer) / (self.record_bytes + pointer)) as u64;
            below = here.saturating_add(1).saturating_mul(below).saturating_add(here);
            below_width = width(below);
        }
        Ok(widths)
    }

    /// The records, and the children after them, of a node.
    fn node<'a>(
        &self,
        walk: &mut Walk<'a>,
        address: u64,
        records: usize,
        pointer: Option<usize>,
    ) -> Result<Fields<'a>> {
        let signature = if pointer.is_some() { b"BTIN" } else { b"BTLF" };
        let children = pointer.map_or(Some(0), |p| records.checked_add(1)?.checked_mul(p));
        let length =
            records.checked_mul(self.record_bytes).zip(children).and_then(|(r, c)| r.checked_add(c)?.checked_add(10));
        let length =
            length.filter(|&l| l <= self.node_bytes).ok_or_else(|| damaged("a node of a B-tree is overfull"))?;
        let mut fields = walk.checked(address, length, signature)?;
        fields.version(0)?;
        match fields.u8()? == self.kind {
            true => Ok(fields),
            false => Err(damaged("a node of a B-tree is not where it belongs")),
        }
    }
}
