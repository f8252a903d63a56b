//! A numbered series of files, `part-00000.npy`, `part-00001.npy`, …: all of them appear, or none.

use std::path::{Path, PathBuf};

use datafusion::arrow::array::RecordBatch;
use hyperslab_core::{Error, Result};
use tempfile::TempDir;

use super::fields::{FieldsSink, in_file};
use super::output::Target;

/// What stands for the number in a file's name.
const NUMBER: &str = "{}";
/// The fewest digits of a number, so that names stay in order when there are more files another time.
const DIGITS: usize = 5;

/// Files that are written one after another into a folder beside their place, and renamed in the end.
#[derive(Debug)]
pub(super) struct Numbered {
    target: Target,
    names: Names,
    rows_per_file: u64,
    overwrite: bool,
    /// Holds the files until they are renamed.
    folder: TempDir,
    current: Option<FieldsSink>,
    /// Rows of the current file.
    rows: u64,
    /// Files so far, the current one included.
    files: u64,
}

/// The names of the files.
#[derive(Debug)]
struct Names {
    folder: PathBuf,
    before: String,
    after: String,
}

impl Numbered {
    /// # Errors
    /// `Invalid` for a name without a place for the number; `AlreadyExists` for a file of such a name.
    pub(super) fn start(target: &Target, rows_per_file: u64, overwrite: bool) -> Result<Self> {
        let names = Names::of(&target.path)?;
        if !overwrite && let Some((_, there)) = names.existing()?.first() {
            return Err(exists(there));
        }
        let folder = temporary_in(&names.folder)?;
        let target = target.clone();
        Ok(Self { target, names, rows_per_file, overwrite, folder, current: None, rows: 0, files: 0 })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let path = self.target.path.clone();
        self.write_rows(batch).map_err(|e| in_file(&e, &path))
    }

    fn write_rows(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut from = 0;
        while from < batch.num_rows() {
            if self.rows == self.rows_per_file {
                self.complete()?;
            }
            let room = usize::try_from(self.rows_per_file - self.rows).unwrap_or(usize::MAX);
            let count = room.min(batch.num_rows() - from);
            self.current()?.write(&batch.slice(from, count))?;
            from += count;
            self.rows += count as u64;
        }
        Ok(())
    }

    /// Completes the last file and gives all of them their names. No rows make one file without rows.
    pub(super) fn finish(mut self) -> Result<()> {
        let path = self.target.path.clone();
        self.current().map(drop).and_then(|()| self.complete()).map_err(|e| in_file(&e, &path))?;
        let digits = DIGITS.max((self.files - 1).to_string().len());
        let there = self.names.existing()?;
        if !self.overwrite
            && let Some((_, there)) = there.first()
        {
            return Err(exists(there));
        }
        // What was there waits until all files have their names, and then goes with its folder.
        let aside = temporary_in(&self.names.folder)?;
        let mut renames = Renames::default();
        for (i, (name, path)) in there.iter().enumerate() {
            renames.rename(path.clone(), aside.path().join(format!("{i}-{name}")))?;
        }
        for number in 0..self.files {
            renames.rename(self.written(number), self.names.folder.join(self.names.name(number, digits)))?;
        }
        renames.keep();
        sync(&self.names.folder)
    }

    fn current(&mut self) -> Result<&mut FieldsSink> {
        let sink = match self.current.take() {
            Some(sink) => sink,
            None => {
                self.files += 1;
                let Target { format, fields, options, .. } = &self.target;
                FieldsSink::start(&self.written(self.files - 1), format, fields, options)?
            }
        };
        Ok(self.current.insert(sink))
    }

    fn complete(&mut self) -> Result<()> {
        self.rows = 0;
        self.current.take().map_or(Ok(()), FieldsSink::finish)
    }

    fn written(&self, number: u64) -> PathBuf {
        self.folder.path().join(self.names.name(number, DIGITS))
    }
}

impl Names {
    fn of(path: &Path) -> Result<Self> {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        match name.split(NUMBER).collect::<Vec<_>>().as_slice() {
            [before, after] => Ok(Self { folder, before: (*before).to_owned(), after: (*after).to_owned() }),
            _ => Err(Error::invalid(format!(
                "{}: several files need a {NUMBER} in their name, once, where the number goes: 'part-{NUMBER}.npy'",
                path.display()
            ))),
        }
    }

    fn name(&self, number: u64, digits: usize) -> String {
        format!("{}{number:0digits$}{}", self.before, self.after)
    }

    /// The files of such names, in order of name.
    fn existing(&self) -> Result<Vec<(String, PathBuf)>> {
        let failed = |e| Error::io("reading", self.folder.display(), e);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = name.strip_prefix(&self.before).and_then(|n| n.strip_suffix(&self.after));
            if number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())) {
                found.push((name, entry.path()));
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Renames that are taken back unless they are kept.
#[derive(Debug, Default)]
struct Renames(Vec<(PathBuf, PathBuf)>);

impl Renames {
    fn rename(&mut self, from: PathBuf, to: PathBuf) -> Result<()> {
        std::fs::rename(&from, &to).map_err(|e| Error::io("creating", to.display(), e))?;
        self.0.push((from, to));
        Ok(())
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Renames {
    fn drop(&mut self) {
        for (from, to) in self.0.iter().rev() {
            let _ = std::fs::rename(to, from);
        }
    }
}

fn temporary_in(folder: &Path) -> Result<TempDir> {
    let made = tempfile::Builder::new().prefix(".hyperslab-").suffix(".tmp").tempdir_in(folder);
    made.map_err(|e| Error::io("creating a folder in", folder.display(), e))
}

/// Only now do new names survive a power cut. Not every system can sync a folder.
fn sync(folder: &Path) -> Result<()> {
    let synced = if cfg!(unix) { std::fs::File::open(folder).and_then(|f| f.sync_all()) } else { Ok(()) };
    synced.map_err(|e| Error::io("writing", folder.display(), e))
}

fn exists(path: &Path) -> Error {
    Error::already_exists(format!(
        "{} exists; add the option overwrite to replace all files of such names, or choose another name",
        path.display()
    ))
}
