//! How a dataset's values are laid out in the file, by the messages of its header.
//!
//! Source: HDF5 File Format Specification, IV.A.2.i "The Data Layout Message", whose version 5 (HDF5 2.0) has the fields of
//! version 4: only the sizes of filtered chunks are wider in the indexes, which say themselves how wide.

use hyperslab_core::{Error, Result};

use super::header::{Header, kind};
use super::structure::{Fields, damaged};

/// Bits of the flags of chunks: those at the edge of the shape are stored unfiltered, the single chunk is filtered.
const PLAIN_EDGES: u8 = 1;
const SINGLE_IS_FILTERED: u8 = 1 << 1;
/// The most axes of a dataset.
const MAX_AXES: usize = 32;

/// Where the values of a dataset are.
#[derive(Debug)]
pub(super) enum Layout<'a> {
    /// In the header.
    Compact(&'a [u8]),
    /// In one piece; without an address nobody wrote them.
    Contiguous { address: Option<u64>, bytes: u64 },
    /// In chunks.
    Chunked(ChunkedLayout),
    /// In other datasets.
    Virtual,
}

/// Where the chunks of a dataset are.
#[derive(Debug)]
pub(super) struct ChunkedLayout {
    /// The shape of a chunk, in elements.
    pub(super) chunk: Vec<u64>,
    pub(super) index: Index,
    /// Of the index, or of the chunks where there is none; without one nobody wrote a chunk.
    pub(super) address: Option<u64>,
    /// Whether chunks that reach beyond the shape are stored unfiltered.
    pub(super) plain_edges: bool,
}

/// What says where the chunks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Index {
    BTree1,
    /// There is one chunk; its bytes and left-out filters, if it is filtered.
    Single(Option<(u64, u32)>),
    /// All chunks lie one after another.
    Implicit,
    FixedArray,
    ExtensibleArray,
    BTree2,
}

impl<'a> Layout<'a> {
    /// The layout that a dataset's header says.
    pub(super) fn read(header: &Header<'a>) -> Result<Self> {
        if header.find(kind::EXTERNAL_FILES).is_some() {
            return Err(Error::unsupported(
                "its values are in other files (external storage), which are not opened; copy them into one file: \
                 file['new'] = file['old'][:] in h5py",
            ));
        }
        let message = header.find(kind::LAYOUT).ok_or_else(|| damaged("a dataset has no layout"))?;
        let mut fields = message.body;
        let (version, class) = (fields.u8()?, fields.u8()?);
        if !(3..=5).contains(&version) {
            return Err(Error::unsupported(format!(
                "its layout has version {version}, and 3, 4 and 5 are read; rewrite the file with h5repack"
            )));
        }
        Ok(match class {
            0 => {
                let bytes = fields.u16()?;
                Self::Compact(fields.take(usize::from(bytes))?)
            }
            1 => Self::Contiguous { address: fields.address()?, bytes: fields.length()? },
            2 if version == 3 => Self::Chunked(chunked_3(&mut fields)?),
            2 => Self::Chunked(chunked_4(&mut fields)?),
            3 => Self::Virtual,
            _ => return Err(Error::unsupported(format!("its layout is of class {class}, which is not known"))),
        })
    }
}

fn chunked_3(fields: &mut Fields<'_>) -> Result<ChunkedLayout> {
    let axes = usize::from(fields.u8()?);
    let address = fields.address()?;
    let chunk = chunk_shape(fields, axes, 4)?;
    Ok(ChunkedLayout { chunk, index: Index::BTree1, address, plain_edges: false })
}

fn chunked_4(fields: &mut Fields<'_>) -> Result<ChunkedLayout> {
    let (flags, axes, width) = (fields.u8()?, usize::from(fields.u8()?), usize::from(fields.u8()?));
    let chunk = chunk_shape(fields, axes, width)?;
    let index = match fields.u8()? {
        1 if flags & SINGLE_IS_FILTERED != 0 => Index::Single(Some((fields.length()?, fields.u32()?))),
        1 => Index::Single(None),
        2 => Index::Implicit,
        // What follows is how each was made, which their own headers say, too.
        3 => fields.skip(1).map(|()| Index::FixedArray)?,
        4 => fields.skip(5).map(|()| Index::ExtensibleArray)?,
        5 => fields.skip(6).map(|()| Index::BTree2)?,
        other => {
            return Err(Error::unsupported(format!("its chunks have an index of type {other}, which is not known")));
        }
    };
    Ok(ChunkedLayout { chunk, index, address: fields.address()?, plain_edges: flags & PLAIN_EDGES != 0 })
}

/// The lengths of a chunk along each axis; the last one that is stored is the bytes of an element.
fn chunk_shape(fields: &mut Fields<'_>, axes: usize, width: usize) -> Result<Vec<u64>> {
    if !(2..=MAX_AXES + 1).contains(&axes) {
        return Err(damaged("its chunks have an impossible number of axes"));
    }
    let mut chunk = (0..axes).map(|_| fields.number(width)).collect::<Result<Vec<_>>>()?;
    chunk.pop();
    Ok(chunk)
}

/// The element that stands for those that nobody wrote, as the header says: empty for zeros.
///
/// Source: IV.A.2.f "The Data Storage - Fill Value Message", IV.A.2.e for the old one.
pub(super) fn fill_value<'a>(header: &Header<'a>) -> Result<&'a [u8]> {
    let Some(message) = header.find(kind::FILL).or_else(|| header.find(kind::OLD_FILL)) else { return Ok(&[]) };
    if message.is_shared() {
        return Err(Error::unsupported("its fill value is shared with other datasets; rewrite the file with h5repack"));
    }
    let mut fields = message.body;
    let is_there = match (message.kind, fields.rest.first().copied()) {
        (kind::OLD_FILL, _) => true,
        (_, Some(1 | 2)) => {
            fields.skip(3)?;
            fields.u8()? != 0
        }
        (_, Some(3)) => {
            fields.skip(1)?;
            fields.u8()? & 1 << 5 != 0
        }
        (_, version) => {
            return Err(Error::unsupported(format!("its fill value has version {version:?}, and 1 to 3 are read")));
        }
    };
    if !is_there {
        return Ok(&[]);
    }
    let bytes = fields.u32()? as usize;
    fields.take(bytes)
}

/// Whether a dataset has no value at all, not even one (h5py's `Empty`).
///
/// Source: IV.A.2.b "The Dataspace Message", version 2.
pub(super) fn is_null(header: &Header<'_>) -> bool {
    header.find(kind::DATASPACE).is_some_and(|m| !m.is_shared() && matches!(m.body.rest, [2, _, _, 2, ..]))
}
