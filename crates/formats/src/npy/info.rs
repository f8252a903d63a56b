//! `npy_info`: what a `.npy` file's header and length say.

use std::fs::File;
use std::path::Path;

use hyperslab_core::{ByteOrder, Error, Result};

use super::growth::Header;
use super::lock::real;
use super::widen;

/// What [`npy_info`] says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NpyInfo {
    /// The format's version: 1, 2 or 3.
    pub version: u8,
    /// The element type in our words, or `struct` for a structured dtype of several fields.
    pub dtype: String,
    /// The byte order of the elements in the file; of several fields, big if that of any is.
    pub byte_order: ByteOrder,
    /// Whether the data is in Fortran (column-major) order.
    pub fortran_order: bool,
    /// The shape in the header, every axis included.
    pub shape: Vec<u64>,
    /// The axis that appending grows: the first in C order, the last in Fortran order; none of a 0-d array.
    pub growth_axis: Option<usize>,
    /// Bytes before the data.
    pub header_bytes: u64,
    /// Bytes of data that the shape asks for.
    pub expected_bytes: u64,
    /// Bytes after the header.
    pub data_bytes: u64,
    /// Whether the header has room for any length of the growth axis; else see
    /// [`npy_ensure_appendable`](crate::npy::npy_ensure_appendable).
    pub appendable: bool,
    /// Whether the file has other bytes than its shape asks for, as after a crash during an append; see
    /// [`npy_recover`](crate::npy::npy_recover).
    pub needs_recovery: bool,
}

/// Reads what a `.npy` file's header and length say, whether or not they fit each other.
///
/// # Errors
/// `NotFound`; `Corrupt` for a header that is not understood; `Unsupported` for dtypes that are not read;
/// `Conflict` for a file whose header was being widened in place when that was interrupted; `Io`.
pub fn npy_info(path: impl AsRef<Path>) -> Result<NpyInfo> {
    let path = &real(path.as_ref())?;
    let failed = |e| Error::io("reading", path.display(), e);
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Error::invalid(format!("{} is not a regular file", path.display())));
    }
    widen::refuse_interrupted(path)?;
    let mut file = File::open(path).map_err(failed)?;
    let header = Header::read(&mut file, path)?;
    let length = file.metadata().map_err(failed)?.len();
    let expected_bytes = header.parsed.data_bytes;
    let data_bytes = length.saturating_sub(header.len());
    Ok(NpyInfo {
        version: header.version(),
        dtype: header.dtype(),
        byte_order: header.byte_order(),
        fortran_order: header.fortran_order(),
        growth_axis: header.growth_axis().ok(),
        header_bytes: header.len(),
        expected_bytes,
        data_bytes,
        appendable: header.has_room(),
        needs_recovery: data_bytes != expected_bytes,
        shape: header.parsed.shape,
    })
}
