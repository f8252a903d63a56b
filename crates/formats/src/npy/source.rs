//! Reading `.npy` files in place.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use hyperslab_core::npy::{MAX_HEADER_BYTES, NpyHeader};
use hyperslab_core::{ArraySource, Block, Error, FieldSpec, Result, VALUE};

use crate::map::MappedFile;
use crate::raw::{Encoding, Layout, RawField, RawSource};

/// A mapped `.npy` file.
///
/// Little-endian C-order values are views of the map; bools are packed, and big-endian, Fortran-order and misaligned
/// values (an old writer's header) are copied, for the rows concerned only.
///
/// Nobody may change the file in place while it is open. That it shrank is noticed, and an error.
#[derive(Debug)]
pub struct NpySource {
    header: NpyHeader,
    raw: RawSource,
}

impl NpySource {
    /// Maps a file and checks its header and its length.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` for a header that is not understood or a file shorter than its shape asks for;
    /// `Unsupported` for object, text and structured dtypes; `Invalid` for what is no regular file or a cell too
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
        let header = NpyHeader::parse(all.get(..MAX_HEADER_BYTES).unwrap_or(all)).map_err(here)?;
        let layout = layout(&header).map_err(here)?;
        let (expected, found) = (header.data_bytes().map_err(here)?, all.len() as u64 - header.data_offset);
        if found < expected {
            return Err(here(Error::corrupt(format!(
                "the file is incomplete: shape {:?} of {} needs {expected} bytes of data, and {found} are there; copy or \
                 download it again",
                header.shape, header.dtype
            ))));
        }
        // Both are within the map, and so within usize.
        let start = range.start + header.data_offset as usize;
        let data = start..start + expected as usize;
        Ok(Self { raw: RawSource::new(file, data, layout, name)?, header })
    }

    /// What the file's header says.
    pub fn header(&self) -> &NpyHeader {
        &self.header
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        self.raw.file().path()
    }
}

fn layout(header: &NpyHeader) -> Result<Layout> {
    let spec = header.field(VALUE)?;
    let (record, cell) = (spec.dtype().size(), spec.cell().to_vec());
    let field = RawField { spec, encoding: Encoding::Plain(header.byte_order), offset: 0, bytes: record };
    Ok(Layout { fields: vec![field], record, cell, rows: header.rows(), fortran: header.fortran_order })
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
