//! The header of a `.npy` file that grows: its bytes, of which only the shape changes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use hyperslab_core::npy::MAX_HEADER_BYTES;
use hyperslab_core::{ByteOrder, DType, Error, FieldSpec, Result};

use super::encode::{Column, Record};
use super::layout::NpyLayout;
use crate::container::STRUCT;
use crate::raw::{Encoding, RawField};

/// The digits that the growth axis can have in a header with room, as in NumPy's writer.
const GROWTH_DIGITS: usize = 21;
/// What a header's length is a multiple of.
const ALIGN: usize = 64;
/// The longest dictionary that `numpy.load` evaluates without being told that the file is trusted.
const NUMPY_MAX_DICT_BYTES: usize = 10_000;

/// A header whose file grows along one axis, by items: `array[i]` in C order, `array[..., i]` in Fortran order.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) parsed: NpyLayout,
    /// Everything before the data.
    bytes: Vec<u8>,
    /// Where the dictionary starts.
    dict: usize,
    /// The shape, parentheses included.
    shape: Range<usize>,
}

/// The bytes say all.
impl PartialEq for Header {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
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
        let parsed = NpyLayout::parse(&bytes)?;
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
            axes => Ok(if self.fortran_order() { axes - 1 } else { 0 }),
        }
    }

    /// The length of the growth axis.
    pub(super) fn items(&self) -> Result<u64> {
        Ok(self.parsed.shape.get(self.growth_axis()?).copied().unwrap_or(0))
    }

    /// Whether the file is in Fortran order.
    pub(super) fn fortran_order(&self) -> bool {
        self.parsed.layout.fortran
    }

    /// The dtype: ours, or that there are several.
    pub(super) fn dtype(&self) -> String {
        match self.parsed.layout.fields.as_slice() {
            [field] => field.spec.dtype().to_string(),
            _ => STRUCT.to_owned(),
        }
    }

    /// The byte order: big where any field's is.
    pub(super) fn byte_order(&self) -> ByteOrder {
        let big = |field: &RawField| match field.encoding {
            Encoding::Plain(order) | Encoding::Unicode(order) | Encoding::Time(order, _) => order == ByteOrder::Big,
            Encoding::Bytes => false,
        };
        if self.parsed.layout.fields.iter().any(big) { ByteOrder::Big } else { ByteOrder::Little }
    }

    /// All axes but the one that grows.
    fn other_axes(&self) -> Result<Vec<usize>> {
        let mut axes = self.parsed.shape.clone();
        axes.remove(self.growth_axis()?);
        Ok(axes.into_iter().map(|n| usize::try_from(n).unwrap_or(usize::MAX)).collect())
    }

    /// Bytes of one item.
    pub(super) fn item_bytes(&self) -> Result<u64> {
        // That all items are within 63 bits was checked.
        let axes = self.other_axes()?.into_iter().map(|n| n as u64);
        Ok(axes.fold(self.parsed.layout.record as u64, u64::saturating_mul))
    }

    /// How one item lies in the file: all axes but the one that grows.
    ///
    /// # Errors
    /// `Invalid` for an array without axes; `Unsupported` for what is only read.
    pub(super) fn record(&self) -> Result<Record> {
        let axes = self.other_axes()?;
        let layout = &self.parsed.layout;
        let is_whole = matches!(layout.fields.as_slice(), [field] if field.bytes == layout.record);
        if !is_whole && !axes.is_empty() {
            return Err(Error::unsupported(format!(
                "the file holds records along {} axes, and records are appended along one only; flatten it with numpy.ravel",
                self.parsed.shape.len()
            )));
        }
        let mut end = 0;
        let mut columns = Vec::with_capacity(layout.fields.len());
        for field in &layout.fields {
            let gap = field.offset.saturating_sub(end);
            end = field.offset + field.bytes;
            columns.push(self.column(field, &axes, gap)?);
        }
        Ok(Record { columns, tail: layout.record.saturating_sub(end) })
    }

    fn column(&self, field: &RawField, axes: &[usize], gap: usize) -> Result<Column> {
        let spec = &field.spec;
        let (order, width) = match field.encoding {
            Encoding::Plain(order) => (order, 0),
            Encoding::Unicode(order) if spec.dtype() == DType::Utf8 => (order, field.bytes / 4),
            _ => {
                return Err(Error::unsupported(format!(
                    "field {:?} is of a dtype that is read and not written (bytes, texts along several axes, or times of another unit than s, ms, us or ns); change it with astype in NumPy",
                    spec.name()
                )));
            }
        };
        let inner = spec.cell().get(self.parsed.shape.len() - 1..).unwrap_or_default();
        let cell = axes.iter().chain(inner).copied().collect();
        let fortran = if self.fortran_order() && axes.len() > 1 { axes.to_vec() } else { Vec::new() };
        let field = FieldSpec::new(spec.name(), spec.dtype(), cell)?;
        Ok(Column { field, width, widens: false, order, gap, fortran })
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
        assert_eq!(fortran.record().unwrap().fields().next().unwrap().cell(), [3]);
        // A type is spelt as it was, and what looks like the shape is none.
        let odd = "{'shape': (3,), 'descr': [('shape', '<i4', (2,)), ('(9,)', '>U3')], 'fortran_order': False}";
        let grown = header(1, odd, 192).with_items(12).unwrap();
        assert!(
            String::from_utf8_lossy(grown.bytes()).contains("{'shape': (12,), 'descr': [('shape', '<i4', (2,)), (")
        );
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
