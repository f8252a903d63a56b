//! NumPy's `.npz`: a zip archive of `.npy` files, as `numpy.savez` and `numpy.savez_compressed` write it.
//!
//! An array's name is that of its entry without `.npy`; entries that are no `.npy` are not listed, and an array with a
//! dtype that cannot be read is listed as `unreadable`.
//!
//! - **Stored** entries are read in place, as a `.npy` is: views of the map where they are aligned. As with a `.npy`,
//!   nothing is checked but the header and the length.
//! - **Deflated** entries are unpacked when their first row is read, to a nameless file in the system's folder for
//!   temporary files (`TMPDIR`), which goes with the array. It takes as many bytes as the entry says that it holds, never
//!   more; the checksum is compared.
//!
//! An entry that claims to hold more than deflate can pack into its bytes, or less than its header's shape asks for, is
//! refused before anything is unpacked. Encrypted entries and other codecs, which NumPy does not write, are refused.
//!
//! Option of the writer: `codec`, `none` (the default) or `deflate`, and then `level`, 1 to 9. Stored arrays are aligned to
//! 64 bytes. Archives and entries beyond 4 GiB are zip64.
//!
//! Source of the format: <https://numpy.org/doc/stable/reference/generated/numpy.savez.html>.

mod sink;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::read::DeflateDecoder;
use hyperslab_core::npy::MAX_HEADER_BYTES;
use hyperslab_core::{ArraySource, Block, Error, FieldSpec, Result};

use crate::NpySource;
use crate::container::{Container, Entry, STRUCT, missing_entry};
use crate::map::MappedFile;
use crate::npy::NpyLayout;
use crate::unpack::{MOST_DEFLATED, unpack};
use crate::zip::{self, Method, Packed};

pub use sink::NpzSink;

/// A `.npz` file, mapped.
#[derive(Debug)]
pub struct NpzFile {
    file: Arc<MappedFile>,
    entries: Vec<Entry>,
    packed: Vec<Packed>,
    by_name: HashMap<String, usize>,
}

impl NpzFile {
    /// Maps a file, reads its directory and the header of every array.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` for what is no zip archive or an incomplete one; `Invalid` for what is no regular file;
    /// `Io`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let file = Arc::new(MappedFile::open(path.as_ref())?);
        let mut found = Self { entries: Vec::new(), packed: Vec::new(), by_name: HashMap::new(), file };
        for (name, packed) in zip::read(found.file.bytes()).map_err(|e| e.with("file", path.as_ref().display()))? {
            let Some(name) = name.strip_suffix(".npy") else { continue };
            if found.by_name.insert(name.to_owned(), found.entries.len()).is_some() {
                return Err(
                    Error::corrupt(format!("array {name:?} is there twice")).with("file", path.as_ref().display())
                );
            }
            found.entries.push(found.entry(name, &packed));
            found.packed.push(packed);
        }
        Ok(found)
    }

    fn entry(&self, name: &str, packed: &Packed) -> Entry {
        let Ok(layout) = self.layout(packed) else {
            let (name, dtype) = (name.to_owned(), "unreadable".to_owned());
            return Entry { name, dtype, shape: Vec::new(), bytes: packed.bytes, fields: Vec::new() };
        };
        let fields: Vec<_> = layout.fields().cloned().collect();
        let dtype = match fields.as_slice() {
            [field] => field.dtype().to_string(),
            _ => STRUCT.to_owned(),
        };
        Entry { name: name.to_owned(), dtype, shape: layout.shape.clone(), bytes: layout.data_bytes, fields }
    }

    /// What the header of an entry says, checked against the sizes in the directory.
    fn layout(&self, packed: &Packed) -> Result<NpyLayout> {
        let bytes = self.file.bytes().get(packed.range.clone()).unwrap_or_default();
        let layout = match &packed.method {
            Method::Refused(method) => {
                let why = format!("the entry is {method}; unpack it, and pack it again with deflate");
                return Err(Error::unsupported(why));
            }
            Method::Stored => NpyLayout::parse(bytes)?,
            Method::Deflated => {
                let most = (packed.range.len() as u64).saturating_mul(MOST_DEFLATED);
                if packed.bytes > most {
                    return Err(Error::corrupt(format!(
                        "the entry claims to hold {} bytes, and its {} can hold {most} at most",
                        packed.bytes,
                        packed.range.len()
                    )));
                }
                let mut head = Vec::new();
                let unpacked = DeflateDecoder::new(bytes).take(MAX_HEADER_BYTES as u64).read_to_end(&mut head);
                unpacked.map_err(|e| Error::corrupt("the entry cannot be unpacked").because(e))?;
                NpyLayout::parse(&head)?
            }
        };
        layout.check_length(packed.bytes)?;
        Ok(layout)
    }
}

impl Container for NpzFile {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn open(&self, name: &str) -> Result<Arc<dyn ArraySource>> {
        let i = *self.by_name.get(name).ok_or_else(|| missing_entry(self, name))?;
        let packed = &self.packed[i];
        let layout = self.layout(packed).map_err(|e| e.with("array", name).with("file", self.path().display()))?;
        let file = Arc::clone(&self.file);
        if packed.method == Method::Stored {
            return Ok(Arc::new(NpySource::within(file, packed.range.clone(), Some(name.to_owned()))?));
        }
        let fields = layout.fields().cloned().collect();
        let (packed, name) = (packed.clone(), name.to_owned());
        Ok(Arc::new(Deflated { fields, rows: layout.rows(), file, packed, name, unpacked: Mutex::new(None) }))
    }
}

/// A deflated entry, unpacked when it is first read.
#[derive(Debug)]
struct Deflated {
    fields: Vec<FieldSpec>,
    rows: u64,
    file: Arc<MappedFile>,
    packed: Packed,
    name: String,
    unpacked: Mutex<Option<Arc<NpySource>>>,
}

impl Deflated {
    fn unpacked(&self) -> Result<Arc<NpySource>> {
        let mut unpacked = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = &*unpacked {
            return Ok(Arc::clone(source));
        }
        let here = |e: Error| e.with("array", &self.name).with("file", self.file.path().display());
        self.file.check(self.packed.range.end as u64)?;
        let file = self.unpack().map_err(here)?;
        let file = Arc::new(MappedFile::of(file, self.file.path())?);
        let range = 0..file.bytes().len();
        let source = Arc::new(NpySource::within(file, range, Some(self.name.clone()))?);
        if source.fields() != self.fields || source.rows() != self.rows {
            return Err(here(Error::corrupt("the entry changed while it was open; open the file again")));
        }
        Ok(Arc::clone(unpacked.insert(source)))
    }

    fn unpack(&self) -> Result<std::fs::File> {
        let bytes = self.file.bytes().get(self.packed.range.clone()).unwrap_or_default();
        match unpack(DeflateDecoder::new(bytes), self.packed.bytes)? {
            Some((file, crc)) if crc == self.packed.crc => Ok(file),
            _ => {
                let why = "the entry does not unpack to the bytes that the archive's directory says; copy or download the \
                           file again";
                Err(Error::corrupt(why))
            }
        }
    }
}

impl ArraySource for Deflated {
    fn fields(&self) -> &[FieldSpec] {
        &self.fields
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn read(&self, field: usize, rows: Range<u64>) -> Result<Block> {
        self.unpacked()?.read(field, rows)
    }

    fn take(&self, field: usize, rows: &[u64]) -> Result<Block> {
        self.unpacked()?.take(field, rows)
    }
}
