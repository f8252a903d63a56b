//! Object headers: the messages that say what a dataset or a group is.
//!
//! Source: HDF5 File Format Specification, IV.A "Data Object Headers".

use hyperslab_core::Result;

use super::structure::{Fields, Walk, damaged, verify};

/// The messages that are read here, by their type.
pub(super) mod kind {
    pub(crate) const DATASPACE: u16 = 0x01;
    pub(crate) const LINK_INFO: u16 = 0x02;
    pub(crate) const OLD_FILL: u16 = 0x04;
    pub(crate) const FILL: u16 = 0x05;
    pub(crate) const LINK: u16 = 0x06;
    pub(crate) const EXTERNAL_FILES: u16 = 0x07;
    pub(crate) const LAYOUT: u16 = 0x08;
    pub(crate) const FILTERS: u16 = 0x0b;
    pub(crate) const CONTINUATION: u16 = 0x10;
    pub(crate) const SYMBOL_TABLE: u16 = 0x11;
}

/// Bit of a message's flags: its body is elsewhere, shared with other headers.
const SHARED: u8 = 1 << 1;

/// One message of a header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    flags: u8,
    pub(super) body: Fields<'a>,
}

impl Message<'_> {
    /// Whether the body is elsewhere.
    pub(super) fn is_shared(&self) -> bool {
        self.flags & SHARED != 0
    }
}

/// The header of a dataset or of a group.
#[derive(Debug)]
pub(super) struct Header<'a> {
    pub(super) messages: Vec<Message<'a>>,
}

impl<'a> Header<'a> {
    /// Reads the header at an address.
    pub(super) fn read(walk: &mut Walk<'a>, address: u64) -> Result<Self> {
        if walk.structure.from(address)?.starts_with(b"OHDR") { second(walk, address) } else { first(walk, address) }
    }

    /// The first message of a type.
    pub(super) fn find(&self, kind: u16) -> Option<Message<'a>> {
        self.messages.iter().find(|m| m.kind == kind).copied()
    }
}

/// IV.A.1.a "Version 1 Data Object Header Prefix".
fn first<'a>(walk: &mut Walk<'a>, address: u64) -> Result<Header<'a>> {
    let mut prefix = walk.fields(address, 16)?;
    prefix.version(1)?;
    prefix.skip(7)?;
    let length = prefix.u32()? as usize;
    let mut blocks = vec![walk.bytes(address.saturating_add(16), length)?];
    let mut messages = Vec::new();
    while let Some(block) = blocks.pop() {
        let mut fields = walk.structure.fields(block);
        while fields.rest.len() >= 8 {
            let (kind, length, flags) = (fields.u16()?, fields.u16()?, fields.u8()?);
            fields.skip(3)?;
            let mut body = walk.structure.fields(fields.take(usize::from(length))?);
            if kind == kind::CONTINUATION {
                let (address, length) = continuation(&mut body)?;
                blocks.push(walk.bytes(address, length)?);
            } else {
                messages.push(Message { kind, flags, body });
            }
        }
    }
    Ok(Header { messages })
}

/// IV.A.1.b "Version 2 Data Object Header Prefix".
fn second<'a>(walk: &mut Walk<'a>, address: u64) -> Result<Header<'a>> {
    let mut prefix = walk.structure.fields(walk.structure.from(address)?);
    let all = prefix.rest.len();
    prefix.skip(4)?;
    prefix.version(2)?;
    let flags = prefix.u8()?;
    prefix.skip(if flags & 1 << 5 != 0 { 16 } else { 0 })?;
    prefix.skip(if flags & 1 << 4 != 0 { 4 } else { 0 })?;
    let length = prefix.number(1 << (flags & 3))?;
    let head = all - prefix.rest.len();
    let length = usize::try_from(length).ok().and_then(|l| l.checked_add(head + 4));
    let length = length.ok_or_else(|| damaged("a header is longer than any"))?;
    let header = verify(walk.bytes(address, length)?)?;
    let mut blocks = vec![header.get(head..).unwrap_or_default()];
    let mut messages = Vec::new();
    let has_order = flags & 1 << 2 != 0;
    let message_head = if has_order { 6 } else { 4 };
    while let Some(block) = blocks.pop() {
        let mut fields = walk.structure.fields(block);
        // What is shorter is a gap.
        while fields.rest.len() >= message_head {
            let (kind, length, flags) = (u16::from(fields.u8()?), fields.u16()?, fields.u8()?);
            fields.skip(message_head - 4)?;
            let mut body = walk.structure.fields(fields.take(usize::from(length))?);
            if kind == kind::CONTINUATION {
                let (address, length) = continuation(&mut body)?;
                blocks.push(walk.checked(address, length, b"OCHK")?.rest);
            } else {
                messages.push(Message { kind, flags, body });
            }
        }
    }
    Ok(Header { messages })
}

/// IV.A.2.q "The Object Header Continuation Message".
fn continuation(body: &mut Fields<'_>) -> Result<(u64, usize)> {
    let address = body.defined()?;
    let length = usize::try_from(body.length()?).map_err(|_| damaged("a header is longer than any"))?;
    if length == 0 {
        return Err(damaged("a header goes on with nothing"));
    }
    Ok((address, length))
}
