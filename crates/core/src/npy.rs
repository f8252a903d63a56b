//! `.npy` headers, read and written, without I/O.
//!
//! Source of the format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use crate::{ByteOrder, DType, Error, FieldSpec, Result};

/// The most bytes that a header can take, dictionary and preamble together: what has to be read of a file before
/// [`NpyHeader::parse`].
pub const MAX_HEADER_BYTES: usize = MAX_DICT_BYTES + 12;

const MAGIC: &[u8] = b"\x93NUMPY";
const MAX_DICT_BYTES: usize = 65536;
/// The longest dictionary that `numpy.load` evaluates without being told that the file is trusted.
const NUMPY_MAX_DICT_BYTES: usize = 10_000;
/// How deep structured dtypes are in each other.
const MAX_DEPTH: usize = 16;
/// NumPy's limit on axes.
const MAX_AXES: usize = 64;
/// The digits that the first axis can grow to in place, as in NumPy's writer.
const GROWTH_DIGITS: usize = 21;
/// Magic, version and the dictionary's length, in version 1.0.
const PREAMBLE_BYTES: usize = MAGIC.len() + 4;

/// What a `.npy` header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NpyHeader {
    /// The element type.
    pub dtype: DType,
    /// The byte order of the elements in the file.
    pub byte_order: ByteOrder,
    /// Whether the data is in Fortran (column-major) order.
    pub fortran_order: bool,
    /// The shape, every axis included; empty for a 0-d array.
    pub shape: Vec<u64>,
    /// Where the data starts, in bytes from the file's start.
    pub data_offset: u64,
}

impl NpyHeader {
    /// Parses the header at the start of `bytes` (a prefix of the file, or all of it), versions 1, 2 and 3. As in
    /// NumPy, white space, the order of the keys, a trailing comma and Python 2's `L` after a number do not matter.
    ///
    /// ```
    /// use hyperslab_core::{DType, npy};
    /// let bytes = npy::write_header(DType::Float32, &[1000, 128], 64)?;
    /// let header = npy::NpyHeader::parse(&bytes)?;
    /// assert_eq!((header.rows(), header.cell()), (1000, &[128][..]));
    /// assert_eq!((header.data_offset, header.data_bytes()?), (128, 512_000));
    /// # Ok::<(), hyperslab_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Corrupt` when this is no `.npy` header (magic, version, length beyond the bytes, dictionary, negative or
    /// overflowing shape); `Unsupported` for an object or structured dtype.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let NpyRawHeader { descr, fortran_order, shape, data_offset } = NpyRawHeader::parse(bytes)?;
        let Descr::Simple(descr) = descr else {
            return Err(Error::unsupported("the .npy has a structured dtype; save its fields as one .npy file each"));
        };
        let (dtype, byte_order) = DType::from_npy_descr(&descr)?;
        let header = Self { dtype, byte_order, fortran_order, shape, data_offset };
        let end = header.data_bytes()?.checked_add(header.data_offset);
        end.filter(|&e| i64::try_from(e).is_ok()).ok_or_else(|| header.too_large())?;
        Ok(header)
    }

    /// Bytes of data the shape asks for.
    ///
    /// # Errors
    /// `Corrupt` when they do not fit in 63 bits. An axis of length 0 does not hide that of the others.
    pub fn data_bytes(&self) -> Result<u64> {
        let item = self.dtype.size() as u64;
        let full = self.shape.iter().try_fold(item, |bytes, &n| bytes.checked_mul(n.max(1)));
        let full = full.filter(|&b| i64::try_from(b).is_ok()).ok_or_else(|| self.too_large())?;
        Ok(if self.shape.contains(&0) { 0 } else { full })
    }

    fn too_large(&self) -> Error {
        Error::corrupt(format!("a .npy of shape {:?} and dtype {} is larger than any file", self.shape, self.dtype))
    }

    /// The length of axis 0. A 0-d array is read as one row with a scalar.
    pub fn rows(&self) -> u64 {
        self.shape.first().copied().unwrap_or(1)
    }

    /// The axes after the first: the shape of one row's cell.
    pub fn cell(&self) -> &[u64] {
        self.shape.get(1..).unwrap_or_default()
    }

    /// The field, named `name`, whose rows the file holds.
    ///
    /// # Errors
    /// As [`FieldSpec::new`].
    pub fn field(&self, name: &str) -> Result<FieldSpec> {
        let cell = self.cell().iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect();
        FieldSpec::new(name, self.dtype, cell)
    }
}

/// A dtype as a header has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Descr {
    /// One element: `<f4`.
    Simple(String),
    /// A structured dtype.
    Fields(Vec<DescrField>),
}

/// A field of a structured dtype. One without a name is padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescrField {
    /// Its name, without a title.
    pub name: String,
    /// Its dtype.
    pub descr: Descr,
    /// The axes of a subarray, of its dtype each.
    pub shape: Vec<u64>,
}

/// What a `.npy` header says, of any dtype but object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NpyRawHeader {
    /// The dtype as it stands there.
    pub descr: Descr,
    /// Whether the data is in Fortran (column-major) order.
    pub fortran_order: bool,
    /// The shape, every axis included; empty for a 0-d array. That it fits into a file is not checked.
    pub shape: Vec<u64>,
    /// Where the data starts, in bytes from the file's start.
    pub data_offset: u64,
}

impl NpyRawHeader {
    /// Parses the header at the start of `bytes`, as [`NpyHeader::parse`] does.
    ///
    /// # Errors
    /// `Corrupt` when this is no `.npy` header; `Unsupported` for an object dtype.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Err(Error::corrupt("this is no .npy file: it does not start with NumPy's magic bytes"));
        };
        let cut = || Error::corrupt("the .npy header is cut short; the file is an incomplete copy");
        let (&[major, minor], rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
        let (length, rest) = match (major, minor) {
            (1, 0) => {
                let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
                (usize::from(u16::from_le_bytes(*length)), rest)
            }
            (2 | 3, 0) => {
                let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
                (usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX), rest)
            }
            _ => {
                return Err(Error::corrupt(format!(
                    "version {major}.{minor} of the .npy format is not known; known are 1.0, 2.0 and 3.0"
                )));
            }
        };
        if length > MAX_DICT_BYTES {
            return Err(Error::corrupt(format!(
                "the .npy header claims to be {length} bytes long; the longest that is read is {MAX_DICT_BYTES}"
            )));
        }
        let Some(dict) = rest.get(..length) else {
            return Err(Error::corrupt(format!(
                "the .npy header claims to be {length} bytes long and {} are there; the file is an incomplete copy",
                rest.len()
            )));
        };
        let text = if major == 3 {
            let text = std::str::from_utf8(dict);
            text.map_err(|e| Error::corrupt("the .npy header is not UTF-8").because(e))?.to_owned()
        } else {
            dict.iter().map(|&b| char::from(b)).collect() // Latin-1
        };
        let (descr, fortran_order, shape) = Dict::new(&text).parse()?;
        Ok(Self { descr, fortran_order, shape, data_offset: (bytes.len() - rest.len() + length) as u64 })
    }
}

/// A cursor over the text of the dictionary.
struct Dict<'a> {
    text: &'a str,
    rest: &'a str,
}

type Parts = (Descr, bool, Vec<u64>);

impl<'a> Dict<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, rest: text }
    }

    fn parse(mut self) -> Result<Parts> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect('{')?;
        while !self.eat('}') {
            let key = self.string()?;
            self.expect(':')?;
            // As in a Python dictionary, the last of several equal keys counts.
            match key {
                "descr" => descr = Some(self.descr(0)?),
                "fortran_order" => fortran_order = Some(self.boolean()?),
                "shape" => shape = Some(self.shape()?),
                _ => return Err(self.bad(&format!("unknown key {key:?}"))),
            }
            if !self.eat(',') {
                self.expect('}')?;
                break;
            }
        }
        if !self.space().is_empty() {
            return Err(self.bad("text after the dictionary"));
        }
        let missing = |key| Error::corrupt(format!("the .npy header has no key {key:?}"));
        let descr = descr.ok_or_else(|| missing("descr"))?;
        let fortran_order = fortran_order.ok_or_else(|| missing("fortran_order"))?;
        Ok((descr, fortran_order, shape.ok_or_else(|| missing("shape"))?))
    }

    fn bad(&self, what: &str) -> Error {
        let shown: String = self.text.trim_end().chars().take(200).collect();
        let at = self.text.len() - self.rest.len();
        Error::corrupt(format!("the .npy header {shown:?} is not understood: {what} at byte {at} of the dictionary"))
    }

    /// The rest after white space.
    fn space(&mut self) -> &'a str {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c', '\0']);
        self.rest
    }

    fn eat(&mut self, token: char) -> bool {
        let after = self.space().strip_prefix(token);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn expect(&mut self, token: char) -> Result<()> {
        if self.eat(token) { Ok(()) } else { Err(self.bad(&format!("no {token:?}"))) }
    }

    fn string(&mut self) -> Result<&'a str> {
        let start = self.space();
        let quoted = start.strip_prefix(['u', 'U', 'r', 'R']).unwrap_or(start);
        let parts = quoted.chars().next().filter(|q| matches!(q, '\'' | '"')).and_then(|q| quoted[1..].split_once(q));
        let (text, rest) = parts.filter(|(t, _)| !t.contains(['\\', '\n'])).ok_or_else(|| self.bad("no string"))?;
        self.rest = rest;
        Ok(text)
    }

    fn descr(&mut self, depth: usize) -> Result<Descr> {
        if depth > MAX_DEPTH {
            return Err(self.bad("a structured dtype in too many others"));
        }
        if self.eat('[') {
            let mut fields = Vec::new();
            while !self.eat(']') {
                fields.push(self.descr_field(depth)?);
                if !self.eat(',') {
                    self.expect(']')?;
                    break;
                }
            }
            return Ok(Descr::Fields(fields));
        }
        if self.space().starts_with(['(', '{']) {
            return Err(Error::unsupported(
                "the .npy has a structured dtype that is not understood; save its fields one by one",
            ));
        }
        let descr = self.string()?;
        let kind = descr.trim_start_matches(['<', '>', '=', '|']);
        if kind == "O" || kind.starts_with("object") {
            return Err(Error::unsupported(
                "the .npy has dtype object: it holds pickled Python objects, which are never loaded; save it again with a numeric dtype",
            ));
        }
        Ok(Descr::Simple(descr.to_owned()))
    }

    /// `('name', descr)`, `('name', descr, shape)`; the name may be `('title', 'name')`.
    fn descr_field(&mut self, depth: usize) -> Result<DescrField> {
        self.expect('(')?;
        let name = if self.eat('(') {
            self.string()?;
            self.expect(',')?;
            let name = self.string()?;
            self.expect(')')?;
            name
        } else {
            self.string()?
        };
        self.expect(',')?;
        let descr = self.descr(depth + 1)?;
        let mut shape = Vec::new();
        if self.eat(',') && !self.space().starts_with(')') {
            shape = if self.space().starts_with('(') { self.shape()? } else { vec![self.length()?] };
            self.eat(',');
        }
        self.expect(')')?;
        Ok(DescrField { name: name.to_owned(), descr, shape })
    }

    fn boolean(&mut self) -> Result<bool> {
        let rest = self.space();
        for (name, value) in [("True", true), ("False", false)] {
            if let Some(after) = rest.strip_prefix(name).filter(|a| !a.starts_with(|c: char| c.is_alphanumeric())) {
                self.rest = after;
                return Ok(value);
            }
        }
        Err(self.bad("neither True nor False"))
    }

    fn shape(&mut self) -> Result<Vec<u64>> {
        self.expect('(')?;
        let mut shape = Vec::new();
        while !self.eat(')') {
            shape.push(self.length()?);
            if shape.len() > MAX_AXES {
                return Err(self.bad("a shape of more than 64 axes"));
            }
            if !self.eat(',') {
                // `(3)` is a number in Python and no tuple.
                if shape.len() == 1 {
                    return Err(self.bad("no ',' in a shape of one axis"));
                }
                self.expect(')')?;
                break;
            }
        }
        Ok(shape)
    }

    fn length(&mut self) -> Result<u64> {
        let rest = self.space();
        if rest.starts_with('-') {
            return Err(self.bad("a negative length in the shape"));
        }
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 {
            return Err(self.bad("no length"));
        }
        let (number, rest) = rest.split_at(digits);
        let value = number.parse().ok().filter(|&n| i64::try_from(n).is_ok());
        let value = value.ok_or_else(|| self.bad("a length beyond 63 bits in the shape"))?;
        self.rest = rest.strip_prefix(['L', 'l']).unwrap_or(rest);
        Ok(value)
    }
}

/// Writes a little-endian C-order header, version 1.0, whose data starts at a multiple of `align` bytes (64 for
/// ordinary files, 4096 for shards), with room for the first axis to grow in place to 21 digits, as NumPy 2.3 leaves
/// it: the header of another number of rows has the same length.
///
/// # Errors
/// `Invalid` when the header would not fit in NumPy's limit of 10,000 bytes.
pub fn write_header(dtype: DType, shape: &[u64], align: usize) -> Result<Vec<u8>> {
    write_header_of(&format!("'{}'", dtype.npy_descr()), shape, align)
}

/// As [`write_header`], of a dtype given as Python has it: `'<f4'` with its quotes, or the list of a structured dtype.
/// One that is not ASCII makes it version 3.0.
///
/// # Errors
/// As [`write_header`].
pub fn write_header_of(descr: &str, shape: &[u64], align: usize) -> Result<Vec<u8>> {
    let mut dict = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (");
    for (i, n) in shape.iter().enumerate() {
        dict.push_str(if i == 0 { "" } else { " " });
        dict.push_str(&format!("{n},"));
    }
    if shape.len() > 1 {
        dict.pop();
    }
    dict.push_str("), }");
    if let Some(n) = shape.first() {
        dict.extend(std::iter::repeat_n(' ', GROWTH_DIGITS.saturating_sub(n.to_string().len())));
    }
    let (version, preamble) = if dict.is_ascii() { (1, PREAMBLE_BYTES) } else { (3, PREAMBLE_BYTES + 2) };
    let total = (preamble + dict.len() + 1).checked_next_multiple_of(align);
    let fits = total.filter(|&t| t - preamble <= NUMPY_MAX_DICT_BYTES);
    let length = fits.and_then(|t| u16::try_from(t - preamble).ok());
    let (Some(total), Some(length)) = (fits, length) else {
        return Err(Error::invalid(format!(
            "a .npy header of shape {shape:?} at a multiple of {align} bytes would not fit in NumPy's limit of {NUMPY_MAX_DICT_BYTES} bytes"
        )));
    };
    let mut header = Vec::with_capacity(total);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&[version, 0]);
    header.extend_from_slice(&u32::from(length).to_le_bytes()[..preamble - MAGIC.len() - 2]);
    header.extend_from_slice(dict.as_bytes());
    header.resize(total - 1, b' ');
    header.push(b'\n');
    Ok(header)
}

#[cfg(test)]
mod tests;
