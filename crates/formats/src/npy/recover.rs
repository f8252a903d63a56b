//! `npy_recover`: a shape for the data that is there.

use std::fs::File;
use std::path::Path;

use hyperslab_core::{Error, Result};

use super::growth::Header;
use super::lock::{open_locked, real};
use super::widen;

/// What becomes of the last item when only a part of it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incomplete {
    /// It is cut off.
    Drop,
    /// The rest of it becomes zeros.
    Zero,
}

/// What [`npy_recover`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The shape that the header had.
    pub before: Vec<u64>,
    /// The shape that it has.
    pub after: Vec<u64>,
    /// Bytes that were cut off.
    pub dropped_bytes: u64,
    /// Zeros that were added.
    pub added_bytes: u64,
}

/// Brings the header of a file that was left incomplete, by a crash during an append or a download that broke off, in line
/// with its data: the growth axis gets the length that the file's size gives, shorter or longer. A file that is whole is
/// left as it is. Broken off at any moment, it can be called again.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("a.npy");
/// use hyperslab_core::{DType, FieldSpec};
/// use hyperslab_formats::npy::{Incomplete, npy_info, npy_recover};
///
/// let field = FieldSpec::new("value", DType::Int32, vec![2])?;
/// hyperslab_formats::create(&path, &[field])?.finish()?;
/// use std::io::Write;
/// std::fs::File::options().append(true).open(&path)?.write_all(&[1; 19])?; // two rows and three bytes
/// assert!(npy_info(&path)?.needs_recovery);
/// let done = npy_recover(&path, Incomplete::Drop)?;
/// assert_eq!((done.after.as_slice(), done.dropped_bytes), (&[2, 2][..], 3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `Invalid` where the size gives no length: an array without axes, or whose items have no bytes, and a header without
/// room for the length; `Corrupt` for a header that is not understood; `NotFound`; `ReadOnly`; `Io`.
pub fn npy_recover(path: impl AsRef<Path>, incomplete: Incomplete) -> Result<Recovered> {
    let path = &real(path.as_ref())?;
    let mut file = open_locked(path, true)?;
    widen::refuse_interrupted(path)?;
    recover(&mut file, incomplete, path).map_err(|e| match e.context().iter().any(|(key, _)| *key == "file") {
        true => e,
        false => e.with("file", path.display()),
    })
}

fn recover(file: &mut File, incomplete: Incomplete, path: &Path) -> Result<Recovered> {
    let failed = |e| Error::io("recovering", path.display(), e);
    let header = Header::read(file, path)?;
    let before = header.parsed.shape.clone();
    let found = file.metadata().map_err(failed)?.len().saturating_sub(header.len());
    if found == header.parsed.data_bytes {
        return Ok(Recovered { after: before.clone(), before, dropped_bytes: 0, added_bytes: 0 });
    }
    let item = header.item_bytes()?;
    if item == 0 {
        let why = format!(
            "an array of shape {before:?} needs no bytes of data, and {found} are there: no length can be told from them; \
             cut the file off after {} bytes",
            header.len()
        );
        return Err(Error::invalid(why));
    }
    let (whole, rest) = (found / item, found % item);
    let (items, dropped_bytes, added_bytes) = match incomplete {
        _ if rest == 0 => (whole, 0, 0),
        Incomplete::Drop => (whole, rest, 0),
        Incomplete::Zero => (whole + 1, 0, item - rest),
    };
    let after = header.with_items(items)?;
    // The data is never shorter than a header says that was brought in line.
    if added_bytes > 0 {
        file.set_len(header.len() + items * item).map_err(failed)?;
        file.sync_all().map_err(failed)?;
    }
    write_header(file, &after).map_err(failed)?;
    if dropped_bytes > 0 {
        file.set_len(header.len() + items * item).map_err(failed)?;
        file.sync_all().map_err(failed)?;
    }
    Ok(Recovered { before, after: after.parsed.shape, dropped_bytes, added_bytes })
}

/// Puts a header in place of one of the same length, and syncs.
pub(super) fn write_header(file: &mut File, header: &Header) -> std::io::Result<()> {
    widen::write_at(file, 0, header.bytes())?;
    file.sync_data()
}
