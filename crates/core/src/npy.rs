//! `.npy` headers, read and written, without I/O.
//!
//! Source of the format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use crate::{ByteOrder, DType, Result};

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
    /// Parses the header at the start of `bytes` (a prefix of the file, or all of it), versions 1, 2 and 3.
    ///
    /// # Errors
    /// `Corrupt` when this is no `.npy` header (magic, version, length beyond the bytes, dictionary, negative or
    /// overflowing shape); `Unsupported` for an object or structured dtype.
    pub fn parse(_bytes: &[u8]) -> Result<Self> {
        todo!()
    }

    /// Bytes of data the shape asks for.
    ///
    /// # Errors
    /// `Corrupt` when they do not fit in 63 bits.
    pub fn data_bytes(&self) -> Result<u64> {
        todo!()
    }
}

/// Writes a little-endian C-order header whose data starts at a multiple of `align` bytes (64 for ordinary files,
/// 4096 for shards), with room for the first axis to grow in place to 21 digits, as NumPy 2.3 leaves it.
///
/// # Errors
/// `Invalid` when the header would not fit in NumPy's limit of 10,000 bytes.
pub fn write_header(_dtype: DType, _shape: &[u64], _align: usize) -> Result<Vec<u8>> {
    todo!()
}
