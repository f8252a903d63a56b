//! A numbered series of files, `part-00000.npy`, `part-00001.npy`, …: all of them appear, or none.

use std::fs::File;
use std::path::{Path, PathBuf};

use hyperslab_core::{Error, Result};
use hyperslab_formats::Format;
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

    /// Gives all files their names, and removes those that they replace. One series after the other gets into a folder.
    pub(crate) fn publish(self) -> Result<()> {
        let _locked = locked(&self.names.folder)?;
        let there = self.names.existing()?;
        if !self.overwrite
            && let Some((_, there)) = there.first()
        {
            return Err(exists(there));
        }
        self.check_kind(&there)?;
        // What was there waits until all files have their names, and then goes with its folder.
        let aside = temporary_in(&self.names.folder)?;
        let mut renames = Renames::default();
        if let Err(error) = self.rename(&there, aside.path(), &mut renames) {
            if renames.take_back().is_err() {
                let (old, new) = (aside.keep(), self.folder.keep());
                let (old, new) = (old.display(), new.display());
                return Err(Error::invalid(format!(
                    "{error}; and what was renamed cannot be taken back: the old files are in {old}, the new ones in {new}"
                )));
            }
            return Err(error);
        }
        sync(&self.names.folder)
    }

    fn rename(&self, there: &[(String, PathBuf)], aside: &Path, renames: &mut Renames) -> Result<()> {
        let digits = DIGITS.max(self.files.saturating_sub(1).to_string().len());
        for (i, (name, path)) in there.iter().enumerate() {
            renames.rename(path.clone(), aside.join(format!("{i}-{name}")))?;
        }
        for number in 0..self.files {
            renames.rename(self.written(number), self.names.folder.join(self.names.name(number, digits)))?;
        }
        Ok(())
    }

    /// Only files replace files, and folders of a format those of the same.
    fn check_kind(&self, there: &[(String, PathBuf)]) -> Result<()> {
        let new = self.written(0);
        let format = |path: &Path| Format::of_folder(path).map(Format::name);
        let ours = if new.is_dir() { format(&new) } else { None };
        for (_, path) in there.iter().filter(|(_, path)| !path.is_file()) {
            if ours.is_none() || format(path) != ours {
                return Err(Error::already_exists(format!(
                    "{} is none of the files that would be replaced; remove it, or choose another name",
                    path.display()
                )));
            }
        }
        Ok(())
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

/// Renames that can be taken back.
#[derive(Debug, Default)]
struct Renames(Vec<(PathBuf, PathBuf)>);

impl Renames {
    fn rename(&mut self, from: PathBuf, to: PathBuf) -> Result<()> {
        std::fs::rename(&from, &to).map_err(|e| Error::io("creating", to.display(), e))?;
        self.0.push((from, to));
        Ok(())
    }

    /// Takes back all that can be.
    fn take_back(self) -> std::io::Result<()> {
        let back: Vec<_> = self.0.into_iter().rev().map(|(from, to)| std::fs::rename(to, from)).collect();
        back.into_iter().collect()
    }
}

/// The folder, as long as no other series gets its names there. Not every system can lock a folder.
fn locked(folder: &Path) -> Result<Option<File>> {
    if !cfg!(unix) {
        return Ok(None);
    }
    let file = File::open(folder).and_then(|file| file.lock().map(|()| file));
    file.map(Some).map_err(|e| Error::io("locking", folder.display(), e))
}

fn temporary_in(folder: &Path) -> Result<TempDir> {
    let made = tempfile::Builder::new().prefix(".hyperslab-").suffix(".tmp").tempdir_in(folder);
    made.map_err(|e| Error::io("creating a folder in", folder.display(), e))
}

/// Only now do new names survive a power cut. Not every system can sync a folder.
fn sync(folder: &Path) -> Result<()> {
    let synced = if cfg!(unix) { File::open(folder).and_then(|f| f.sync_all()) } else { Ok(()) };
    synced.map_err(|e| Error::io("writing", folder.display(), e))
}

fn exists(path: &Path) -> Error {
    Error::already_exists(format!(
        "{} exists; add the option overwrite to replace all files of such names, or choose another name",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::fs;

    use super::*;

    fn written(folder: &Path, overwrite: bool, files: usize) -> Series {
        let mut series = Series::start(&folder.join("part-{}"), overwrite).unwrap();
        (0..files).for_each(|i| fs::write(series.add(), format!("new {i}")).unwrap());
        series
    }

    #[test]
    fn of_two_series_of_a_name_the_first_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (written(folder.path(), false, 2), written(folder.path(), false, 3));
        first.publish().unwrap();
        assert!(second.publish().unwrap_err().to_string().contains("part-00000 exists"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_is_not_replaced_by_a_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("part-7")).unwrap();
        fs::write(folder.path().join("part-7/kept"), "").unwrap();
        fs::write(folder.path().join("part-00000"), "old").unwrap();
        let error = written(folder.path(), true, 1).publish().unwrap_err().to_string();
        assert!(error.contains("part-7 is none of the files"), "{error}");
        assert!(folder.path().join("part-7/kept").exists());
        assert_eq!(fs::read_to_string(folder.path().join("part-00000")).unwrap(), "old");
    }

    #[test]
    fn a_series_that_cannot_be_renamed_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("part-00000"), "old").unwrap();
        let mut series = written(folder.path(), true, 1);
        // A file that was never written.
        series.add();
        series.publish().unwrap_err();
        assert_eq!(fs::read_to_string(folder.path().join("part-00000")).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
