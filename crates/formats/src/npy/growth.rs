//! The header of a `.npy` file that grows: its bytes, of which only the shape changes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use hyperslab_core::npy::{MAX_HEADER_BYTES, NpyHeader};
use hyperslab_core::{Error, FieldSpec, Result, VALUE};

/// The digits that the growth axis can have in a header with room, as in NumPy's writer.
const GROWTH_DIGITS: usize = 21;
/// What a header's length is a multiple of.
const ALIGN: usize = 64;
/// The longest dictionary that `numpy.load` evaluates without being told that the file is trusted.
const NUMPY_MAX_DICT_BYTES: usize = 10_000;

/// A header whose file grows along one axis, by items: `array[i]` in C order, `array[..., i]` in Fortran order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) parsed: NpyHeader,
    /// Everything before the data.
    bytes: Vec<u8>,
    /// Where the dictionary starts.
    dict: usize,
    /// The shape, parentheses included.
    shape: Range<usize>,
}

impl Header {
    /// Reads the header of a file.
    pub(super) fn read(file: &mut File, path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        let read =
            file.seek(SeekFrom::Start(0)).and_then(|_| file.take(MAX_HEADER_BYTES as u64).read_to_end(&mut bytes));
        read.map_err(|e| Error::io("reading", path.display(), e))?;
        Self::parse(bytes).map_err(|e| e.with("file", path.display()))
    }

    /// Parses the header at the start of `bytes`.
    pub(super) fn parse(mut bytes: Vec<u8>) -> Result<Self> {
        let parsed = NpyHeader::parse(&bytes)?;
        // The header was found within the bytes.
        bytes.truncate(parsed.data_offset as usize);
        let dict = if bytes.get(6) == Some(&1) { 10 } else { 12 };
        let shape = find_shape(&bytes, dict);
        let shape = shape.ok_or_else(|| Error::corrupt("the shape is not found in the .npy header"))?;
        Ok(Self { parsed, bytes, dict, shape })
    }

    /// Everything before the data.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes before the data.
    pub(super) fn len(&self) -> u64 {
        self.parsed.data_offset
    }

    /// The version's first number.
    pub(super) fn version(&self) -> u8 {
        self.bytes.get(6).copied().unwrap_or(0)
    }

    /// The axis that grows.
    ///
    /// # Errors
    /// `Invalid` for an array without axes.
    pub(super) fn growth_axis(&self) -> Result<usize> {
        match self.parsed.shape.len() {
            0 => Err(Error::invalid(
                "the array has no axes, so that nothing can be appended to it; save it with numpy.atleast_1d",
            )),
            axes => Ok(if self.parsed.fortran_order { axes - 1 } else { 0 }),
        }
    }

    /// The length of the growth axis.
    pub(super) fn items(&self) -> Result<u64> {
        Ok(self.parsed.shape.get(self.growth_axis()?).copied().unwrap_or(0))
    }

    /// The field of one item: all axes but the one that grows.
    pub(super) fn item(&self) -> Result<FieldSpec> {
        let mut cell = self.parsed.shape.clone();
        cell.remove(self.growth_axis()?);
        let cell = cell.into_iter().map(|n| usize::try_from(n).unwrap_or(usize::MAX)).collect();
        FieldSpec::new(VALUE, self.parsed.dtype, cell)
    }

    /// Whether the growth axis can have any length that a reader takes.
    pub(super) fn has_room(&self) -> bool {
        self.growth_axis().is_ok_and(|axis| self.replaced(axis, &"9".repeat(GROWTH_DIGITS), self.bytes.len()).is_some())
    }

    /// The header of the same length for another length of the growth axis.
    ///
    /// # Errors
    /// `Invalid` when there is no room for it.
    pub(super) fn with_items(&self, items: u64) -> Result<Self> {
        let axis = self.growth_axis()?;
        let bytes = self.replaced(axis, &items.to_string(), self.bytes.len());
        let bytes = bytes.ok_or_else(|| {
            let why = format!("its header has no room for a length of {items}; make some with npy_ensure_appendable");
            Error::invalid(why)
        })?;
        Self::parse(bytes)
    }

    /// A header with room for any length of the growth axis, longer only if it must be.
    ///
    /// # Errors
    /// `Invalid` when it would be longer than NumPy reads.
    pub(super) fn with_room(&self) -> Result<Self> {
        let axis = self.growth_axis()?;
        let items = self.items()?.to_string();
        let most = NUMPY_MAX_DICT_BYTES.max(self.bytes.len());
        let lengths = std::iter::once(self.bytes.len()).chain((ALIGN..=most + ALIGN).step_by(ALIGN));
        for length in lengths.filter(|&n| n >= self.bytes.len()) {
            if self.replaced(axis, &"9".repeat(GROWTH_DIGITS), length).is_some() {
                return Self::parse(self.replaced(axis, &items, length).unwrap_or_default());
            }
        }
        Err(Error::invalid("a header with room to grow would be longer than NumPy reads"))
    }

    /// A header of the same length with another dictionary.
    ///
    /// # Errors
    /// `Invalid` when it does not fit, otherwise as [`parse`](Self::parse).
    pub(super) fn with_dict(&self, dict: &[u8]) -> Result<Self> {
        let before = self.bytes.get(..self.dict).unwrap_or_default();
        let mut bytes = [before, dict].concat();
        if bytes.len() >= self.bytes.len() {
            return Err(Error::invalid("the .npy header does not fit in its place"));
        }
        bytes.resize(self.bytes.len() - 1, b' ');
        bytes.push(b'\n');
        Self::parse(bytes)
    }

    /// The header with another length of the growth axis, `length` bytes long, if it fits. Needless spaces go.
    fn replaced(&self, axis: usize, items: &str, length: usize) -> Option<Vec<u8>> {
        let mut shape: Vec<_> = self.parsed.shape.iter().map(u64::to_string).collect();
        *shape.get_mut(axis)? = items.to_owned();
        let comma = if shape.len() == 1 { "," } else { "" };
        let shape = format!("({}{comma})", shape.join(", "));
        let before = self.bytes.get(self.dict..self.shape.start)?;
        let after = self.bytes.get(self.shape.end..)?.trim_ascii_end();
        let dict = [before, shape.as_bytes(), after].concat();
        let fits = |dict: &Vec<u8>| self.dict + dict.len() < length;
        let dict = if fits(&dict) { dict } else { without_spaces(&dict) };
        if !fits(&dict) {
            return None;
        }
        let mut bytes = self.bytes.get(..8)?.to_vec();
        match self.dict {
            10 => bytes.extend_from_slice(&u16::try_from(length - self.dict).ok()?.to_le_bytes()),
            _ => bytes.extend_from_slice(&u32::try_from(length - self.dict).ok()?.to_le_bytes()),
        }
        bytes.extend_from_slice(&dict);
        bytes.resize(length - 1, b' ');
        bytes.push(b'\n');
        Some(bytes)
    }
}

/// The strings of a dictionary, from quote to quote. The header was parsed: they have no escapes.
fn strings(dict: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut open = None;
    for (i, &byte) in dict.iter().enumerate() {
        match open {
            Some((start, quote)) if quote == byte => {
                found.push(start..i + 1);
                open = None;
            }
            None if matches!(byte, b'\'' | b'"') => open = Some((i, byte)),
            _ => {}
        }
    }
    found
}

/// Where the value of the key `shape`, a tuple, is; of the last one, as in Python.
fn find_shape(bytes: &[u8], start: usize) -> Option<Range<usize>> {
    let dict = bytes.get(start..)?;
    let key = |s: &Range<usize>| {
        let after = dict.get(s.end..).unwrap_or_default().trim_ascii_start();
        dict.get(s.start + 1..s.end - 1) == Some(b"shape") && after.starts_with(b":")
    };
    let key = strings(dict).into_iter().rfind(key)?;
    let from = key.end + dict.get(key.end..)?.iter().position(|&b| b == b'(')?;
    let to = from + dict.get(from..)?.iter().position(|&b| b == b')')?;
    Some(start + from..start + to + 1)
}

fn without_spaces(dict: &[u8]) -> Vec<u8> {
    let strings = strings(dict);
    let within = |i| strings.iter().any(|s| s.contains(&i));
    dict.iter().enumerate().filter(|(i, b)| !b.is_ascii_whitespace() || within(*i)).map(|(_, &b)| b).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn header(version: u8, dict: &str, length: usize) -> Header {
        let preamble = if version == 1 { 10 } else { 12 };
        let mut bytes = b"\x93NUMPY".to_vec();
        bytes.extend_from_slice(&[version, 0]);
        bytes.extend_from_slice(&((length - preamble) as u32).to_le_bytes()[..preamble - 8]);
        bytes.extend_from_slice(dict.as_bytes());
        assert!(bytes.len() < length);
        bytes.resize(length - 1, b' ');
        bytes.push(b'\n');
        Header::parse(bytes).unwrap()
    }

    const DICT: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }";

    #[test]
    fn only_the_shape_changes() {
        for version in 1..=3 {
            let grown = header(version, DICT, 128).with_items(1_000_000).unwrap();
            assert_eq!((grown.items().unwrap(), grown.len(), grown.version()), (1_000_000, 128, version));
            assert_eq!(grown.parsed.shape, [1_000_000, 4]);
            assert_eq!(grown.with_items(3).unwrap(), header(version, DICT, 128));
        }
        let fortran = header(1, &DICT.replace("False", "True"), 128).with_items(70).unwrap();
        assert_eq!(fortran.parsed.shape, [3, 70]);
        assert_eq!(fortran.item().unwrap().cell(), [3]);
        // A type is spelt as it was, and what looks like the shape is none.
        let odd = "{\"shape\":(3,),'descr' :  '|S5','fortran_order':False}";
        let grown = header(1, odd, 128).with_items(12).unwrap();
        assert!(String::from_utf8_lossy(grown.bytes()).contains("{\"shape\":(12,),'descr' :  '|S5'"));
        let twice = "{'shape': (1,), 'descr': '<f4', 'fortran_order': False, 'shape' : ( 3 , ), }";
        assert_eq!(header(1, twice, 128).with_items(5).unwrap().parsed.shape, [5]);
    }

    #[test]
    fn room_is_made_within_the_header_before_it_grows() {
        let roomy = header(1, DICT, 128);
        assert!(roomy.has_room());
        assert_eq!(roomy.with_room().unwrap(), roomy);
        // 59 bytes of dictionary in 69: none for 21 digits, until the spaces go.
        let tight = header(1, DICT, 80);
        assert!(!header(1, DICT, 71).has_room());
        assert!(header(1, DICT, 71).with_items(1_000).is_ok());
        assert_eq!(
            header(1, DICT, 71).with_items(u64::MAX >> 1).unwrap_err().kind(),
            hyperslab_core::ErrorKind::Invalid
        );
        let wide = tight.with_room().unwrap();
        assert!(wide.has_room() && wide.len() == if tight.has_room() { 80 } else { 128 });
        assert_eq!(header(1, DICT, 71).with_room().unwrap().len(), 128);
        let scalar = header(1, "{'descr': '<f4', 'fortran_order': False, 'shape': ()}", 128);
        assert!(scalar.growth_axis().is_err() && !scalar.has_room());
    }
}
