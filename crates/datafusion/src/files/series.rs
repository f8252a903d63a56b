//! A numbered series of files, `part-00000.npy`, `part-00001.npy`, …: all of them appear, or none.

use std::path::{Path, PathBuf};

use hyperslab_core::{Error, Result};
use tempfile::TempDir;

/// What stands for the number in a file's name.
const NUMBER: &str = "{}";
/// The fewest digits of a number, so that names stay in order when there are more files another time.
const DIGITS: usize = 5;

/// Files that are written into a folder beside their place, and renamed in the end. Dropped, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Series {
    names: Names,
    overwrite: bool,
    /// Holds the files until they are renamed.
    folder: TempDir,
    /// Files so far.
    files: u64,
}

/// The names of the files.
#[derive(Debug)]
struct Names {
    folder: PathBuf,
    before: String,
    after: String,
}

impl Series {
    /// # Errors
    /// `Invalid` for a name without a place for the number; `AlreadyExists` for a file of such a name.
    pub(crate) fn start(path: &Path, overwrite: bool) -> Result<Self> {
        let names = Names::of(path)?;
        super::make_folder_of(path)?;
        if !overwrite && let Some((_, there)) = names.existing()?.first() {
            return Err(exists(there));
        }
        let folder = temporary_in(&names.folder)?;
        Ok(Self { names, overwrite, folder, files: 0 })
    }

    /// Where the next file is to be written.
    pub(crate) fn add(&mut self) -> PathBuf {
        self.files += 1;
        self.written(self.files - 1)
    }

    /// Gives all files their names, and removes those that they replace.
    pub(crate) fn publish(self) -> Result<()> {
        let digits = DIGITS.max(self.files.saturating_sub(1).to_string().len());
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
                "{}: several files need a {NUMBER} in their name, once, where the number goes, as in 'part-{NUMBER}.npy'",
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
