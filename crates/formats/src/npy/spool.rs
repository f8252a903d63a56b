//! Rows that wait in a temporary file until it is known how long their texts are.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use hyperslab_core::{DType, Error, Result};

use super::encode::{Checked, Encoder, PIECE_BYTES};
use super::text::put_text;
use crate::output::folder;

/// The file, beside the one that is written. It has no name where the system allows that, and vanishes when it is dropped.
#[derive(Debug)]
pub(crate) struct Spool {
    file: BufWriter<File>,
    /// Whether a write failed, so that rows are missing.
    failed: bool,
}

impl Spool {
    /// Starts one for the file at `path`.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(folder(path)).map_err(|e| Error::io("creating", path.display(), e))?;
        Ok(Self { file: BufWriter::with_capacity(PIECE_BYTES, file), failed: false })
    }

    /// Appends rows.
    pub(crate) fn write(&mut self, encoder: &mut Encoder, rows: &Checked, path: &Path) -> Result<()> {
        let bytes = encoder.compact(rows);
        self.file.write_all(&bytes).map_err(|e| {
            self.failed = true;
            Error::io("writing", path.display(), e)
        })
    }

    /// Hands on all rows as they are in a `.npy`, in pieces.
    pub(crate) fn drain(self, encoder: &Encoder, path: &Path, to: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if self.failed {
            let why = format!("{} is discarded, because writing to it failed", path.display());
            return Err(Error::invalid(why));
        }
        let failed = |e: io::Error| Error::io("writing", path.display(), e);
        let mut file = self.file.into_inner().map_err(|e| failed(e.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut from = BufReader::with_capacity(PIECE_BYTES, file);
        let (mut bytes, mut text) = (Vec::new(), Vec::new());
        for _ in 0..encoder.rows() {
            expand(encoder, &mut from, &mut bytes, &mut text).map_err(failed)?;
            if bytes.len() >= PIECE_BYTES {
                to(&bytes)?;
                bytes.clear();
            }
        }
        to(&bytes)
    }
}

/// Reads one row and appends it as it is in a `.npy`.
fn expand(encoder: &Encoder, from: &mut impl Read, to: &mut Vec<u8>, text: &mut Vec<u8>) -> io::Result<()> {
    for column in encoder.columns() {
        if column.field.dtype() == DType::Utf8 {
            let mut length = [0; 4];
            from.read_exact(&mut length)?;
            text.resize(u32::from_le_bytes(length) as usize, 0);
            from.read_exact(text)?;
            let text = std::str::from_utf8(text).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            put_text(text, column.characters(), column.order, to);
        } else {
            let start = to.len();
            to.resize(start + column.bytes(), 0);
            from.read_exact(&mut to[start..])?;
        }
    }
    Ok(())
}
