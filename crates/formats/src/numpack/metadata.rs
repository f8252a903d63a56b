//! `metadata.npkm`: the arrays of a store.
//!
//! A header of 20 bytes (`NPKB`, u32 version 1, u64 bytes of all arrays, u32 count), then for each array: its name, its
//! shape, the name of its data file, when it was changed (µs), its bytes, the dtype, and 22 bytes that say whether its data
//! file is compressed in blocks, which NumPack never does. Numbers are little-endian, texts have their length (u32) before
//! them.

use hyperslab_core::{DType, Error, Result};

const MAGIC: &[u8; 4] = b"NPKB";
const VERSION: u32 = 1;
/// As many axes as a field has at most, with the rows.
const MAX_AXES: u32 = 32;
/// Compression: its kind, its level and two sizes, and whether there are blocks.
const PLAIN: [u8; 22] = [0; 22];

/// The format's codes of dtypes, counted from 0.
pub(super) const DTYPES: [DType; 14] = [
    DType::Bool,
    DType::UInt8,
    DType::UInt16,
    DType::UInt32,
    DType::UInt64,
    DType::Int8,
    DType::Int16,
    DType::Int32,
    DType::Int64,
    DType::Float16,
    DType::Float32,
    DType::Float64,
    DType::Complex64,
    DType::Complex128,
];

/// What the metadata says of an array.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) name: String,
    /// With the rows that were deleted.
    pub(super) shape: Vec<u64>,
    pub(super) file: String,
    pub(super) dtype: DType,
}

/// Reads the arrays.
///
/// # Errors
/// `Corrupt` for what is not understood or incomplete; `Unsupported` for dtypes and compression that NumPack 0.7 does not
/// write.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Described>> {
    let mut from = Reader(bytes);
    if from.array::<4>()? != *MAGIC {
        return Err(Error::corrupt("its metadata does not start with NPKB"));
    }
    let version = from.u32()?;
    if version != VERSION {
        return Err(Error::unsupported(format!("its metadata has version {version}, and {VERSION} is read")));
    }
    let _bytes = from.u64()?;
    let count = from.u32()?;
    let mut arrays = Vec::new();
    for _ in 0..count {
        let name = from.text()?;
        arrays.push(described(&mut from, &name).map_err(|e| e.with("array", &name))?);
    }
    Ok(arrays)
}

fn described(from: &mut Reader, name: &str) -> Result<Described> {
    let axes = from.u32()?;
    if axes > MAX_AXES {
        return Err(Error::corrupt(format!("it has {axes} axes, and at most {MAX_AXES} are read")));
    }
    let shape = (0..axes).map(|_| from.u64()).collect::<Result<Vec<_>>>()?;
    // An overflow is no shape of any file.
    let elements = shape.iter().try_fold(16_u64, |n, &axis| n.checked_mul(axis.max(1)));
    elements.ok_or_else(|| Error::corrupt(format!("shape {shape:?} is too large")))?;
    let file = from.text()?;
    let (_changed, _bytes) = (from.u64()?, from.u64()?);
    let [code] = from.array()?;
    let dtype = DTYPES.get(usize::from(code)).copied();
    let dtype =
        dtype.ok_or_else(|| Error::unsupported(format!("its dtype has the code {code}, which is not known")))?;
    if from.array::<22>()? != PLAIN {
        return Err(Error::unsupported(
            "its data is compressed in blocks, which is not read; save it again with NumPack",
        ));
    }
    Ok(Described { name: name.to_owned(), shape, file, dtype })
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk().ok_or_else(short)?;
        self.0 = rest;
        Ok(*first)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String> {
        let length = self.u32()? as usize;
        let (text, rest) = self.0.split_at_checked(length).ok_or_else(short)?;
        self.0 = rest;
        String::from_utf8(text.to_vec())
            .map_err(|e| Error::corrupt("its metadata has a text that is no UTF-8").because(e))
    }
}

fn short() -> Error {
    Error::corrupt("its metadata is incomplete; copy the store again")
}

/// An array that was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) name: String,
    pub(super) shape: Vec<u64>,
    pub(super) file: String,
    pub(super) bytes: u64,
    pub(super) dtype: DType,
}

/// The metadata of arrays, changed at `now`, in microseconds.
pub(super) fn write(arrays: &[Written], now: u64) -> Vec<u8> {
    let mut to = MAGIC.to_vec();
    to.extend_from_slice(&VERSION.to_le_bytes());
    to.extend_from_slice(&arrays.iter().map(|a| a.bytes).sum::<u64>().to_le_bytes());
    to.extend_from_slice(&(arrays.len() as u32).to_le_bytes());
    let text = |to: &mut Vec<u8>, text: &str| {
        to.extend_from_slice(&(text.len() as u32).to_le_bytes());
        to.extend_from_slice(text.as_bytes());
    };
    for array in arrays {
        text(&mut to, &array.name);
        to.extend_from_slice(&(array.shape.len() as u32).to_le_bytes());
        array.shape.iter().for_each(|axis| to.extend_from_slice(&axis.to_le_bytes()));
        text(&mut to, &array.file);
        to.extend_from_slice(&now.to_le_bytes());
        to.extend_from_slice(&array.bytes.to_le_bytes());
        to.push(DTYPES.iter().position(|d| *d == array.dtype).unwrap_or(0) as u8);
        to.extend_from_slice(&PLAIN);
    }
    to
}
