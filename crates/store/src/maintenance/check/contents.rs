//! What the values of some shards must say to be read: offsets of text, and addresses of patches.
//!
//! Checksums tell what was not written; this tells what should not have been.

use std::collections::BTreeMap;

/// What is known of the values of a shard beside its checksums.
#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    /// Of offsets: by their bytes in a version, how many bytes of text there are then.
    pub text: BTreeMap<u64, u64>,
    /// Of addresses: the segments that they may name, and their rows.
    pub covers: Option<BTreeMap<u32, u64>>,
}

/// Looks at the values of a shard, piece by piece.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    contents: &'a Contents,
    is_offsets: bool,
    /// Bytes of a value whose rest is in the next piece.
    begun: Vec<u8>,
    /// Values so far, and the last of them.
    values: u64,
    last: u64,
    /// The first value that is wrong: which one, and why.
    pub bad: Option<(u64, String)>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(contents: &'a Contents, is_offsets: bool) -> Self {
        Self { contents, is_offsets, begun: Vec::new(), values: 0, last: 0, bad: None }
    }

    /// Takes the next bytes.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        if (!self.is_offsets && self.contents.covers.is_none()) || self.bad.is_some() {
            return;
        }
        let missing = if self.begun.is_empty() { 0 } else { 8 - self.begun.len() };
        let (head, rest) = bytes.split_at(missing.min(bytes.len()));
        self.begun.extend_from_slice(head);
        if let Ok(value) = <[u8; 8]>::try_from(self.begun.as_slice()) {
            self.begun.clear();
            self.value(u64::from_le_bytes(value));
        }
        let (values, tail) = rest.as_chunks::<8>();
        for value in values {
            self.value(u64::from_le_bytes(*value));
        }
        self.begun.extend_from_slice(tail);
    }

    fn value(&mut self, value: u64) {
        if self.bad.is_some() {
            return;
        }
        let wrong = match self.is_offsets {
            true => self.wrong_offset(value),
            false => self.wrong_address(value),
        };
        self.bad = wrong.map(|why| (self.values, why));
        self.values += 1;
        self.last = value;
    }

    fn wrong_offset(&self, value: u64) -> Option<String> {
        if self.values == 0 && value != 0 {
            return Some(format!("the text of its first row starts at byte {value}, not at 0"));
        }
        if value < self.last {
            return Some(format!("the text of row {} ends at byte {value}, before its start", self.values - 1));
        }
        match self.contents.text.get(&((self.values + 1) * 8)) {
            Some(&text) if text != value => Some(format!("its rows end at byte {value} of a text of {text} bytes")),
            _ => None,
        }
    }

    fn wrong_address(&self, value: u64) -> Option<String> {
        let (segment, offset) = ((value >> 32) as u32, value & u64::from(u32::MAX));
        match self.contents.covers.as_ref()?.get(&segment) {
            None => Some(format!("patch {} is of segment {segment:08x}, which it does not cover", self.values)),
            Some(&rows) if offset >= rows => {
                Some(format!("patch {} is of row {offset} of segment {segment:08x}, which has {rows}", self.values))
            }
            Some(_) => None,
        }
    }
}
