//! A store in memory: gone with its last handle.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow_buffer::{Buffer, MutableBuffer};
use hyperslab_core::{Error, Result};

use super::path::{check_file, check_folder, check_range, missing};
use super::{FileInfo, FileRange, LockGuard, PinFile, PinGuard, Storage};

/// Files as shared buffers. A map of one range is a slice of its file's buffer; writing to a file that is mapped
/// copies it first, so that a map never changes.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    files: Mutex<BTreeMap<String, File>>,
    lock: Arc<MemoryLock>,
    pins: Arc<Pins>,
}

#[derive(Debug)]
struct File {
    bytes: Buffer,
    written: Instant,
}

impl File {
    fn new(bytes: Buffer) -> Self {
        Self { bytes, written: Instant::now() }
    }
}

impl MemoryStorage {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, File>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn must_exist(&self, path: &str) -> Result<()> {
        check_file(path)?;
        match self.files().contains_key(path) {
            true => Ok(()),
            false => Err(Error::not_found(format!("there is no file {path}"))),
        }
    }
}

/// The bytes in a buffer that is aligned for every element type.
fn aligned(bytes: &[u8]) -> Buffer {
    let mut buffer = MutableBuffer::with_capacity(bytes.len());
    buffer.extend_from_slice(bytes);
    buffer.into()
}

fn to_usize(value: u64, path: &str) -> Result<usize> {
    usize::try_from(value).map_err(|_| Error::invalid(format!("{path} is too large for this system's memory")))
}

impl Storage for MemoryStorage {
    fn describe(&self) -> String {
        "memory".into()
    }

    fn in_place(&self) -> bool {
        false
    }

    fn read_only(&self) -> bool {
        false
    }

    fn map(&self, ranges: &[FileRange]) -> Result<Option<Buffer>> {
        let files = self.files();
        let mut pieces = Vec::new();
        for range in ranges {
            check_file(&range.path)?;
            let file = files.get(&range.path).ok_or_else(|| missing(&range.path))?;
            check_range(&range.path, file.bytes.len() as u64, range.offset, range.len)?;
            if range.len > 0 {
                let (offset, len) = (to_usize(range.offset, &range.path)?, to_usize(range.len, &range.path)?);
                pieces.push(file.bytes.slice_with_length(offset, len));
            }
        }
        Ok(match pieces.len() {
            0 => Some(MutableBuffer::new(0).into()),
            1 => pieces.pop(),
            _ => None,
        })
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        check_file(path)?;
        Ok(self.files().get(path).map(|file| file.bytes.to_vec()))
    }

    fn len(&self, path: &str) -> Result<Option<u64>> {
        check_file(path)?;
        Ok(self.files().get(path).map(|file| file.bytes.len() as u64))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        check_folder(folder)?;
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let files = self.files();
        let inside = files.range(prefix.clone()..).map_while(|(path, _)| path.strip_prefix(&prefix));
        let mut names: Vec<String> = inside.filter_map(|path| path.split('/').next()).map(String::from).collect();
        // A folder's files are neighbours, but for names such as `a`, `a.b`, `a/c`.
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    fn create_new(&self, path: &str, bytes: &[u8]) -> Result<()> {
        check_file(path)?;
        let file = aligned(bytes);
        let mut files = self.files();
        if files.contains_key(path) {
            return Err(Error::already_exists(format!("the file {path} exists")));
        }
        files.insert(path.into(), File::new(file));
        Ok(())
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        check_file(path)?;
        self.files().insert(path.into(), File::new(aligned(bytes)));
        Ok(())
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        check_file(path)?;
        let start = to_usize(offset, path)?;
        let end = start
            .checked_add(bytes.len())
            .filter(|&end| isize::try_from(end).is_ok())
            .ok_or_else(|| Error::invalid(format!("{path} is too large for this system's memory")))?;
        let mut files = self.files();
        let old = files.remove(path).map_or_else(|| MutableBuffer::new(0).into(), |file| file.bytes);
        let mut file = old.into_mutable().unwrap_or_else(|shared| {
            let mut copy = MutableBuffer::with_capacity(shared.len().max(end));
            copy.extend_from_slice(&shared);
            copy
        });
        if file.len() < end {
            file.resize(end, 0);
        }
        if let Some(target) = file.as_slice_mut().get_mut(start..end) {
            target.copy_from_slice(bytes);
        }
        files.insert(path.into(), File::new(file.into()));
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<()> {
        check_file(path)?;
        self.files().remove(path);
        Ok(())
    }

    fn files(&self, folder: &str) -> Result<Vec<FileInfo>> {
        check_folder(folder)?;
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let files = self.files();
        let inside = files.range(prefix.clone()..).map_while(|(path, file)| Some((path.strip_prefix(&prefix)?, file)));
        let own = inside.filter(|(name, _)| !name.contains('/'));
        let info = |(name, file): (&str, &File)| FileInfo {
            name: name.into(),
            bytes: file.bytes.len() as u64,
            age: file.written.elapsed(),
        };
        Ok(own.map(info).collect())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        check_file(from)?;
        check_file(to)?;
        let mut files = self.files();
        if files.contains_key(to) {
            return Err(Error::already_exists(format!("the file {to} exists")));
        }
        let file = files.remove(from).ok_or_else(|| Error::not_found(format!("there is no file {from}")))?;
        files.insert(to.into(), file);
        Ok(())
    }

    /// Folders are but parts of names here.
    fn remove_folder(&self, folder: &str) -> Result<()> {
        check_file(folder)
    }

    fn pin(&self) -> Result<Option<Box<dyn PinGuard>>> {
        let name = uuid::Uuid::new_v4().to_string();
        self.pins.all().insert(name.clone(), (Vec::new(), Instant::now()));
        Ok(Some(Box::new(MemoryPin { name, pins: self.pins.clone() })))
    }

    fn pins(&self) -> Result<Vec<PinFile>> {
        let pins = self.pins.all();
        let pin = |(name, (line, written)): (&String, &(Vec<u8>, Instant))| PinFile {
            name: name.clone(),
            line: line.clone(),
            age: written.elapsed(),
            lives: true,
        };
        Ok(pins.iter().map(pin).collect())
    }

    fn sync_file(&self, path: &str) -> Result<()> {
        self.must_exist(path)
    }

    fn sync_folder(&self, folder: &str) -> Result<()> {
        check_folder(folder)
    }

    fn lock(&self, timeout: Duration) -> Result<Box<dyn LockGuard>> {
        let deadline = Instant::now().checked_add(timeout);
        let mut held = self.lock.held.lock().unwrap_or_else(PoisonError::into_inner);
        while *held {
            let left = deadline.map_or(timeout, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(Error::conflict("another writer holds the lock of the store in memory; retry")
                    .with("waited", format!("{timeout:?}")));
            }
            held = self.lock.freed.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *held = true;
        Ok(Box::new(MemoryGuard(self.lock.clone())))
    }
}

/// The marks of the handles, by name: what each says, and since when.
#[derive(Debug, Default)]
struct Pins(Mutex<BTreeMap<String, (Vec<u8>, Instant)>>);

impl Pins {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, (Vec<u8>, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct MemoryPin {
    name: String,
    pins: Arc<Pins>,
}

impl PinGuard for MemoryPin {
    fn name(&self) -> &str {
        &self.name
    }

    fn write(&self, line: &[u8]) -> Result<()> {
        self.pins.all().insert(self.name.clone(), (line.to_vec(), Instant::now()));
        Ok(())
    }
}

impl Drop for MemoryPin {
    fn drop(&mut self) {
        self.pins.all().remove(&self.name);
    }
}

#[derive(Debug, Default)]
struct MemoryLock {
    held: Mutex<bool>,
    freed: Condvar,
}

#[derive(Debug)]
struct MemoryGuard(Arc<MemoryLock>);

impl LockGuard for MemoryGuard {}

impl Drop for MemoryGuard {
    fn drop(&mut self) {
        *self.0.held.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::contract;

    #[test]
    fn keeps_the_contract() {
        contract::run(|| Arc::new(MemoryStorage::new()));
    }

    #[test]
    fn one_range_is_mapped_without_a_copy() {
        let storage = MemoryStorage::new();
        storage.create_new("f", &[7; 9000]).unwrap();
        let whole = FileRange { path: "f".into(), offset: 0, len: 9000 };
        let data = FileRange { offset: 4096, len: 4904, ..whole.clone() };
        let whole = storage.map(&[whole]).unwrap().unwrap();
        let data = storage.map(&[data]).unwrap().unwrap();
        assert_eq!(data.as_ptr(), whole[4096..].as_ptr());
    }
}
