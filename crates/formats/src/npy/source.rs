//! Reading `.npy` files in place.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use hyperslab_core::npy::MAX_HEADER_BYTES;
use hyperslab_core::{ArraySource, Block, Error, FieldSpec, Result};

use super::NpyLayout;
use crate::map::MappedFile;
use crate::raw::RawSource;

/// A mapped `.npy` file.
///
/// Little-endian C-order values are views of the map; bools are packed, and big-endian, Fortran-order and misaligned
/// values (an old writer's header) are copied, for the rows concerned only. The fields of a structured dtype, text and
/// times of other units are copied as well.
///
/// Nobody may change the file in place while it is open, but for appending to it. That it shrank, or was written to, is
/// noticed with the next read, and an error.
#[derive(Debug)]
pub struct NpySource {
    shape: Vec<u64>,
    raw: RawSource,
}

impl NpySource {
    /// Maps a file and checks its header and its length.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` for a header that is not understood or a file shorter than its shape asks for;
    /// `Unsupported` for object and extended-precision dtypes; `Invalid` for what is no regular file or a cell too
    /// large for Arrow; `Io`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let file = Arc::new(MappedFile::open(path.as_ref())?);
        let range = 0..file.bytes().len();
        Self::within(file, range, None)
    }

    /// The `.npy` at a range of a file, such as an entry of a `.npz`.
    pub(crate) fn within(file: Arc<MappedFile>, range: Range<usize>, name: Option<String>) -> Result<Self> {
        let here = |e: Error| match &name {
            Some(name) => e.with("array", name).with("file", file.path().display()),
            None => e.with("file", file.path().display()),
        };
        let all = file.bytes().get(range.clone()).unwrap_or_default();
        let header = NpyLayout::parse(all.get(..MAX_HEADER_BYTES).unwrap_or(all)).map_err(here)?;
        header.check_length(all.len() as u64).map_err(here)?;
        if name.is_none() {
            // The rows that its header names stay what they are when others are appended.
            file.let_it_grow(header.data_offset + header.data_bytes);
        }
        // Both are within the map, and so within usize.
        let start = range.start + header.data_offset as usize;
        let data = start..start + header.data_bytes as usize;
        let NpyLayout { layout, shape, .. } = header;
        Ok(Self { raw: RawSource::new(file, data, layout, name)?, shape })
    }

    /// The shape in the file, every axis included; empty for a 0-d array.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        self.raw.file().path()
    }
}

impl ArraySource for NpySource {
    fn fields(&self) -> &[FieldSpec] {
        self.raw.fields()
    }

    fn rows(&self) -> u64 {
        self.raw.rows()
    }

    fn read(&self, field: usize, rows: Range<u64>) -> Result<Block> {
        self.raw.read(field, rows)
    }

    fn take(&self, field: usize, rows: &[u64]) -> Result<Block> {
        self.raw.take(field, rows)
    }
}
