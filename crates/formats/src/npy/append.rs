//! Appending to `.npy` files.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use arrow_array::{Array, RecordBatch, make_array};
use hyperslab_core::{DType, Error, ErrorKind, FieldSpec, Result, SinkSummary, VALUE};

use super::encode::Record;
use super::growth::Header;
use super::lock::{is_at, open_locked, real};
use super::text::TEXT_WIDTH;
use super::widen::refuse_interrupted;
use crate::output::NewFile;

/// How often a file that others make and take back is looked for.
const MOST_TRIES: usize = 100;

/// When what was appended becomes visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderMode {
    /// Each append writes the header, so that several processes can append in turn, each of them waiting for the lock
    /// while another one writes.
    #[default]
    EachAppend,
    /// The header is written by [`NpyAppender::finish`] only: faster with many small appends, and all of them become
    /// visible at once. Others can append only afterwards. Dropping the appender instead cuts off what was appended, and
    /// removes a file that it had made;
    /// after a crash, [`npy_recover`](super::npy_recover) gets it back.
    Deferred,
}

/// A `.npy` file that grows by items: by `array[i]` in C order (along axis 0), by `array[..., i]` in Fortran order (along
/// the last axis). An item of a structured dtype is a record of all its fields, and text has room for as many characters
/// as the file's dtype says.
///
/// Several threads may share one, and several processes may have the same file open: a lock on the file keeps the appends
/// apart, and nothing tells in which order they come. Bytes are written and synced before the header that counts them. An
/// append of which a part fails leaves the file as it was.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("a.npy");
/// use arrow_array::Int16Array;
/// use hyperslab_core::{ArraySource, DType, FieldSpec};
/// use hyperslab_formats::npy::{HeaderMode, NpyAppender, NpySource};
///
/// let field = FieldSpec::new("value", DType::Int16, vec![])?;
/// let appender = NpyAppender::create(&path, &field, false, HeaderMode::EachAppend)?;
/// appender.append(&Int16Array::from(vec![1, 2]))?;
/// assert_eq!(appender.append(&Int16Array::from(vec![3]))?, 3);
/// assert_eq!(NpySource::open(&path)?.rows(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct NpyAppender {
    path: PathBuf,
    record: Record,
    /// Bytes of an item.
    item_bytes: usize,
    fortran: bool,
    mode: HeaderMode,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    /// The header in the file.
    header: Header,
    /// Items in the file; more than the header says while that is deferred.
    items: u64,
    /// Items appended by this appender.
    appended: u64,
    /// Whether this appender made the file, and nothing was completed in it so far.
    created: bool,
    /// Whether the file could not be brought back to what it was.
    failed: bool,
}

impl NpyAppender {
    /// Opens a file to append to it.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for an array without axes and for a file that needs [`npy_recover`](super::npy_recover);
    /// `Conflict` when another appender has deferred its header, in deferred mode also when another one is just
    /// appending; `Corrupt`, `Unsupported`, `ReadOnly` and `Io` as for [`NpySource`](super::NpySource).
    pub fn open(path: impl AsRef<Path>, mode: HeaderMode) -> Result<Self> {
        let path = real(path.as_ref())?;
        let mut file = open_locked(&path, mode == HeaderMode::EachAppend)?;
        let header = checked_header(&mut file, &path)?;
        let here = |e: Error| e.with("file", path.display());
        let (record, items) = (header.record().map_err(here)?, header.items().map_err(here)?);
        let (item_bytes, fortran) = (record.bytes(), header.fortran_order());
        if mode == HeaderMode::EachAppend {
            file.unlock().map_err(|e| Error::io("unlocking", path.display(), e))?;
        }
        let state = Mutex::new(State { file, header, items, appended: 0, created: false, failed: false });
        Ok(Self { path, record, item_bytes, fortran, mode, state })
    }

    /// As [`open`](Self::open); where there is no file, one without items is made first, of `item`'s dtype and cell, and
    /// in Fortran order if `fortran` is set.
    ///
    /// # Errors
    /// As [`open`](Self::open); `Invalid` when the file that is there has items of another dtype or shape, or is in the
    /// other order; `Unsupported` for text, binary and bfloat16, of which no file is made.
    pub fn create(path: impl AsRef<Path>, item: &FieldSpec, fortran: bool, mode: HeaderMode) -> Result<Self> {
        Self::make(path.as_ref(), std::slice::from_ref(item), None, fortran, mode)
    }

    /// As [`create`](Self::create), of records of several fields, with `text_width` characters in each text of a file that
    /// is made.
    ///
    /// # Errors
    /// As [`create`](Self::create); `Invalid` when the file that is there has other fields, naming the first difference;
    /// `Unsupported` for text in a new file without a width.
    pub fn create_records(
        path: impl AsRef<Path>,
        fields: &[FieldSpec],
        text_width: Option<usize>,
        mode: HeaderMode,
    ) -> Result<Self> {
        Self::make(path.as_ref(), fields, text_width, false, mode)
    }

    pub(super) fn make(
        path: &Path,
        fields: &[FieldSpec],
        text_width: Option<usize>,
        fortran: bool,
        mode: HeaderMode,
    ) -> Result<Self> {
        let mut tries = 0;
        let appender = loop {
            tries += 1;
            let created = match path.exists() {
                true => false,
                false => {
                    let made = new_file(path, fields, text_width, fortran).map_err(|e| e.with("file", path.display()));
                    match made {
                        // Another one was faster.
                        Err(e) if e.kind() == ErrorKind::AlreadyExists => false,
                        other => other.map(|()| true)?,
                    }
                }
            };
            match Self::open(path, mode) {
                // Another one had made the file, and took it back.
                Err(e) if e.kind() == ErrorKind::NotFound && !created && tries < MOST_TRIES => {}
                opened => {
                    let opened = opened?;
                    opened.lock().created = created;
                    break opened;
                }
            }
        };
        // In one dimension the orders are the same.
        let has_axes = |field: Option<&FieldSpec>| field.is_some_and(|f| !f.cell().is_empty());
        let alone = fields.len() == 1 && appender.record.fields().len() == 1;
        if alone && appender.fortran != fortran && has_axes(fields.first()) && has_axes(appender.record.fields().next())
        {
            let name = |fortran| if fortran { "Fortran" } else { "C" };
            let (found, wanted) = (name(appender.fortran), name(fortran));
            return Err(appender.here(Error::invalid(format!(
                "the file is in {found} order, not in {wanted} order; it grows along axis {}",
                if appender.fortran { -1 } else { 0 }
            ))));
        }
        appender.check_fields(fields)?;
        Ok(appender)
    }

    /// The fields of one item: one, or those of a structured dtype.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = &FieldSpec> {
        self.record.fields()
    }

    /// Whether the file is in Fortran order, and so grows along its last axis.
    pub fn fortran_order(&self) -> bool {
        self.fortran
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses items of other fields: values are never cast. The name of an only one does not matter.
    ///
    /// # Errors
    /// `Invalid`, naming the first difference.
    pub fn check_fields(&self, fields: &[FieldSpec]) -> Result<()> {
        let shown = |field: &FieldSpec| format!("{}{:?}", field.dtype(), field.cell());
        let names =
            |fields: &mut dyn Iterator<Item = &FieldSpec>| fields.map(|f| f.name()).collect::<Vec<_>>().join(", ");
        if fields.len() != self.record.fields().len() {
            return Err(self.here(Error::invalid(format!(
                "the file's fields are {}, and rows of {} are to be appended; select as many as the file has, in its order",
                names(&mut self.record.fields()),
                names(&mut fields.iter())
            ))));
        }
        for (i, (found, given)) in self.record.fields().zip(fields).enumerate() {
            let same = (found.dtype(), found.cell()) == (given.dtype(), given.cell());
            if fields.len() > 1 && (!same || found.name() != given.name()) {
                return Err(self.here(Error::invalid(format!(
                    "field {} of the file is {:?} of {}, and {:?} of {} is to be appended; select the fields in the file's order, \
                     {}, under its names, and cast or reshape them",
                    i + 1,
                    found.name(),
                    shown(found),
                    given.name(),
                    shown(given),
                    names(&mut self.record.fields())
                ))));
            }
            if !same {
                return Err(self.here(Error::invalid(format!(
                    "the file's items are {}, and {} is to be appended; cast or reshape it",
                    shown(found),
                    shown(given)
                ))));
            }
        }
        Ok(())
    }

    /// Appends items of the only field, one for each row of a column of its Arrow type. Returns how many the file has now.
    /// No items are no error.
    ///
    /// # Errors
    /// As [`append_rows`](Self::append_rows).
    pub fn append(&self, items: &dyn Array) -> Result<u64> {
        let batch = RecordBatch::try_from_iter_with_nullable([(VALUE, make_array(items.to_data()), true)]);
        self.append_rows(&batch.map_err(|e| self.here(Error::invalid("the items are no column").because(e)))?)
    }

    /// Appends items, one for each row, of which the columns are the [`fields`](Self::fields) in their order, of their Arrow
    /// types. Returns how many the file has now. No items are no error.
    ///
    /// # Errors
    /// `Invalid` for a NULL, another type, a text that has no room, and a file that another program has changed to other
    /// items or left incomplete; `Io`. The file is then as it was.
    pub fn append_rows(&self, rows: &RecordBatch) -> Result<u64> {
        let first_row = self.lock().appended;
        let checked = self.record.check(rows, first_row).map_err(|e| self.here(e))?;
        self.append_with(rows.num_rows() as u64, &mut |file| {
            self.record.write(&checked, &mut |bytes: &[u8]| file.write_all(bytes))
        })
    }

    /// Appends items that are already in the file's byte order and axis order. Returns how many the file has now.
    ///
    /// # Errors
    /// `Invalid` when `bytes` are not so many items; otherwise as [`append`](Self::append).
    pub fn append_bytes(&self, items: u64, bytes: &[u8]) -> Result<u64> {
        if items.checked_mul(self.item_bytes as u64) != Some(bytes.len() as u64) {
            let why = format!("{} bytes are not {items} items of {} each", bytes.len(), self.item_bytes);
            return Err(self.here(Error::invalid(why)));
        }
        self.append_with(items, &mut |file| file.write_all(bytes))
    }

    fn append_with(&self, items: u64, write: &mut dyn FnMut(&mut File) -> io::Result<()>) -> Result<u64> {
        let mut state = self.lock();
        if state.failed {
            return Err(self.here(Error::invalid(
                "an append failed and could not be taken back; bring the file in order with npy_recover",
            )));
        }
        if self.mode == HeaderMode::Deferred {
            return self.grow(&mut state, items, write);
        }
        let locked = state.file.lock().map_err(|e| Error::io("locking", self.path.display(), e));
        let grown = locked.and_then(|()| self.refresh(&mut state)).and_then(|()| self.grow(&mut state, items, write));
        let unlocked = state.file.unlock().map_err(|e| Error::io("unlocking", self.path.display(), e));
        grown.and_then(|items| unlocked.map(|()| items))
    }

    /// How many items the file has, those included whose header is deferred.
    ///
    /// # Errors
    /// `Io`, and where the file is no longer what it was.
    pub fn items(&self) -> Result<u64> {
        let mut state = self.lock();
        if self.mode == HeaderMode::EachAppend {
            state.items = Header::read(&mut state.file, &self.path)?.items().map_err(|e| self.here(e))?;
        }
        Ok(state.items)
    }

    /// Writes the header if it was deferred, and syncs the file, so that all that was appended survives a power cut.
    ///
    /// # Errors
    /// `Invalid` after an append that could not be taken back; `Io`.
    pub fn finish(self) -> Result<SinkSummary> {
        let mut state = self.lock();
        if state.failed {
            return Err(self.here(Error::invalid(
                "an append failed and could not be taken back; bring the file in order with npy_recover",
            )));
        }
        let rows = state.appended;
        if self.mode == HeaderMode::Deferred && rows > 0 {
            let header = state.header.with_items(state.items).map_err(|e| self.here(e))?;
            self.write_header(&mut state, header)?;
        }
        state.file.sync_all().map_err(|e| self.failed(e))?;
        // From here on there is nothing to take back.
        (state.appended, state.created) = (0, false);
        Ok(SinkSummary { rows, bytes: rows * self.item_bytes as u64 })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // After a panic of another thread the file is looked at again, or has failed.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn here(&self, error: Error) -> Error {
        error.with("file", self.path.display())
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::io("appending to", self.path.display(), error)
    }

    /// Looks at what others did to the file since. The file is locked.
    fn refresh(&self, state: &mut State) -> Result<()> {
        if !is_at(&state.file, &self.path) {
            state.file = open_locked(&self.path, true)?;
        }
        let header = checked_header(&mut state.file, &self.path)?;
        let record = header.record().map_err(|e| self.here(e))?;
        if header.fortran_order() != self.fortran || record != self.record {
            return Err(self.here(Error::invalid("another program made it a file of other items; open it again")));
        }
        state.items = header.items().map_err(|e| self.here(e))?;
        state.header = header;
        Ok(())
    }

    /// Writes items after the last one, and their number. The file is locked.
    fn grow(&self, state: &mut State, items: u64, write: &mut dyn FnMut(&mut File) -> io::Result<()>) -> Result<u64> {
        if items == 0 {
            return Ok(state.items);
        }
        let (end, total) = (self.end(state), state.items.checked_add(items));
        // Room for the number is looked for before anything is written.
        let too_many = || self.here(Error::invalid("the file would have more items than any reader takes"));
        let header = state.header.with_items(total.ok_or_else(too_many)?).map_err(|e| self.here(e))?;
        let file = &mut state.file;
        let written = file.seek(SeekFrom::Start(end)).and_then(|_| write(file));
        if let Err(e) = written {
            state.failed = state.file.set_len(end).is_err();
            return Err(self.failed(e));
        }
        if self.mode == HeaderMode::EachAppend
            && let Err(e) = self.write_header(state, header)
        {
            state.failed |= state.file.set_len(end).is_err();
            return Err(e);
        }
        state.items += items;
        state.appended += items;
        Ok(state.items)
    }

    /// Where the next item starts.
    fn end(&self, state: &State) -> u64 {
        state.header.len() + state.items * self.item_bytes as u64
    }

    fn write_header(&self, state: &mut State, header: Header) -> Result<()> {
        // The bytes that a header counts are there before it is.
        state.file.sync_data().map_err(|e| self.failed(e))?;
        let mut write =
            |header: &Header| state.file.seek(SeekFrom::Start(0)).and_then(|_| state.file.write_all(header.bytes()));
        if let Err(e) = write(&header) {
            state.failed = write(&state.header).is_err();
            return Err(self.failed(e));
        }
        state.header = header;
        Ok(())
    }
}

impl Drop for NpyAppender {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        if self.mode != HeaderMode::Deferred {
            return;
        }
        // The lock is held: nobody else has put anything into it.
        if state.created && state.header.items().is_ok_and(|n| n == 0) && is_at(&state.file, &self.path) {
            let _ = std::fs::remove_file(&self.path);
        } else if state.appended > 0 && !state.failed {
            let items = state.header.items().unwrap_or(state.items);
            let _ = state.file.set_len(state.header.len() + items * self.item_bytes as u64);
        }
    }
}

/// The header of a locked file that has what its shape asks for.
fn checked_header(file: &mut File, path: &Path) -> Result<Header> {
    // Whoever moves data in the file holds the lock, which is ours: it was broken off, and waiting would not help.
    refuse_interrupted(path).map_err(|e| Error::invalid(e.message()).with("file", path.display()))?;
    let header = Header::read(file, path)?;
    let here = |e: Error| e.with("file", path.display());
    header.growth_axis().map_err(here)?;
    let expected = header.parsed.data_bytes;
    let length = file.metadata().map_err(|e| Error::io("reading", path.display(), e))?.len();
    let found = length.saturating_sub(header.len());
    if found != expected {
        return Err(here(Error::invalid(format!(
            "its shape {:?} asks for {expected} bytes of data, and {found} are there, as after an append that broke off; bring \
             it in order with npy_recover",
            header.parsed.shape
        ))));
    }
    Ok(header)
}

/// A file without items.
fn new_file(path: &Path, fields: &[FieldSpec], text_width: Option<usize>, fortran: bool) -> Result<()> {
    if let Some(field) = fields.iter().find(|f| f.dtype() == DType::Bfloat16) {
        let why = format!("field {:?}: NumPy has no bfloat16; cast it to float32", field.name());
        return Err(Error::unsupported(why));
    }
    let record = Record::new(fields, text_width)?;
    if record.widens() {
        return Err(Error::unsupported(format!(
            "a new file that is to grow needs the option {TEXT_WIDTH}: how many characters each text has room for"
        )));
    }
    let mut bytes = record.header(0)?;
    if let (true, [field]) = (fortran, fields)
        && !field.cell().is_empty()
    {
        let cell: String = field.cell().iter().map(|n| format!("{n}, ")).collect();
        let dict = format!("{{'descr': {}, 'fortran_order': True, 'shape': ({cell}0), }}", record.descr()?);
        let header = Header::parse(bytes)?;
        bytes = header.with_dict(dict.as_bytes())?.bytes().to_vec();
    }
    let mut file = NewFile::create(path, false)?;
    file.write(&bytes)?;
    file.publish()
}

#[cfg(test)]
mod tests;
