//! Goes through a pack from its first member to its last, and compares everything that can be compared.

use std::collections::HashMap;
use std::path::Path;

use hyperslab_core::{Error, Result};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::frames::FrameReader;
use super::tar::{self, BLOCK, Header};
use super::{Head, PackReport, SUMS};
use crate::layout::{self, ARRAYS, LOG, LogFile, STORE_FILE};

/// Takes what a pack holds. Paths are those in the store.
pub(super) trait Visit {
    /// A file of so many bytes, which follow.
    fn file(&mut self, path: &str, size: u64) -> Result<()> {
        let _ = (path, size);
        Ok(())
    }

    /// Bytes of a file.
    fn bytes(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        let _ = (path, bytes);
        Ok(())
    }

    /// All bytes of a file were there.
    fn end(&mut self, path: &str) -> Result<()> {
        let _ = path;
        Ok(())
    }

    /// A file that is equal to an earlier one.
    fn link(&mut self, path: &str, target: &str) -> Result<()> {
        let _ = (path, target);
        Ok(())
    }
}

/// What was found.
pub(super) struct Walked {
    head: Head,
    equal: u64,
    packed: u64,
}

impl Walked {
    pub(super) fn report(&self) -> PackReport {
        let Head { version, files, bytes, .. } = self.head;
        PackReport { version, files, equal: self.equal, bytes, packed: self.packed }
    }
}

/// A pack, of which the head was read.
pub(super) struct Walk {
    head: Head,
    archive: Archive,
    /// The folder that all members are in, with its separator.
    root: String,
    /// The path before, which the next one follows in order: none comes twice.
    last: String,
    /// Files, with their lengths and checksums.
    known: HashMap<String, (u64, [u8; 32])>,
    sums: String,
    bytes: u64,
    equal: u64,
}

impl Walk {
    /// Opens a pack and reads what it says of itself.
    ///
    /// # Errors
    /// As [`super::unpack`].
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut archive = Archive { reader: FrameReader::open(path)?, frame: Vec::new(), at: 0 };
        let none = || Error::corrupt("it does not begin as a pack");
        let Header::Pax { global: true, size } = archive.header()? else { return Err(none()) };
        let text = archive.small(size)?;
        let ("comment", text) = tar::parse_record(&text)? else { return Err(none()) };
        let head = Head::parse(text)?;
        let (root, last, sums, known) = (String::new(), String::new(), String::new(), HashMap::new());
        Ok(Self { head, archive, root, last, known, sums, bytes: 0, equal: 0 })
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    pub(super) fn frames(&self) -> u64 {
        self.archive.reader.count() as u64
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.archive.reader.file_bytes()
    }

    /// Goes through all members.
    ///
    /// # Errors
    /// `Corrupt`, naming the member; what the visitor says.
    pub(super) fn run(mut self, visit: &mut dyn Visit) -> Result<Walked> {
        loop {
            let (header, pax) = self.member_header()?;
            let named = |path: &str, e: Error| Error::new(e.kind(), format!("{path}: {}", e.message())).because(e);
            match (header, pax) {
                (Header::File { path, .. }, Some((key, value))) if key == "size" => {
                    let size = value.parse().map_err(|_| Error::corrupt(format!("{path} has no size")))?;
                    self.file(&path, size, visit).map_err(|e| named(&path, e))?;
                }
                (Header::Link { path, .. }, Some((key, target))) if key == "linkpath" => {
                    self.link(&path, &target, visit).map_err(|e| named(&path, e))?;
                }
                (_, Some((key, _))) => {
                    return Err(Error::corrupt(format!("a pax header says {key:?}, which packs do not")));
                }
                (Header::File { path, .. }, _) if path.strip_prefix(&self.root) == Some(SUMS) => {
                    return self.finish();
                }
                (Header::File { path, size }, _) => self.file(&path, size, visit).map_err(|e| named(&path, e))?,
                (Header::Link { path, target }, _) => {
                    self.link(&path, &target, visit).map_err(|e| named(&path, e))?;
                }
                (Header::End, _) => return Err(Error::corrupt(format!("it ends before {SUMS}"))),
                (Header::Pax { .. }, _) => return Err(Error::corrupt("two pax headers follow each other")),
            }
        }
    }

    /// The next header of a member, and the pax record before it.
    fn member_header(&mut self) -> Result<(Header, Option<(String, String)>)> {
        match self.archive.header()? {
            Header::Pax { global: false, size } => {
                let text = self.archive.small(size)?;
                let (key, value) = tar::parse_record(&text)?;
                let record = Some((key.to_owned(), value.to_owned()));
                Ok((self.archive.header()?, record))
            }
            header => Ok((header, None)),
        }
    }

    fn file(&mut self, path: &str, size: u64, visit: &mut dyn Visit) -> Result<()> {
        let path = self.next_path(path, size)?;
        visit.file(&path, size)?;
        let mut hash = Sha256::new();
        self.archive.take(size, &mut |bytes| {
            hash.update(bytes);
            visit.bytes(&path, bytes)
        })?;
        self.archive.skip_padding(size)?;
        visit.end(&path)?;
        self.known.insert(path.clone(), (size, hash.finalize().into()));
        self.sum(&path)
    }

    fn link(&mut self, path: &str, target: &str, visit: &mut dyn Visit) -> Result<()> {
        let target = target.strip_prefix(&self.root).filter(|_| !self.root.is_empty()).unwrap_or_default();
        let known = self.known.get(target).copied();
        let known = known.ok_or_else(|| Error::corrupt("it is a link to what is no file before it"))?;
        let path = self.next_path(path, known.0)?;
        visit.link(&path, target)?;
        self.equal += 1;
        self.known.insert(path.clone(), known);
        self.sum(&path)
    }

    fn sum(&mut self, path: &str) -> Result<()> {
        if let Some((_, hash)) = self.known.get(path) {
            self.sums.push_str(&sum_line(hash, path));
        }
        Ok(())
    }

    /// The path of a member in the store, if it is one that a store has, follows those before, and the pack said so much.
    fn next_path(&mut self, path: &str, size: u64) -> Result<String> {
        if self.root.is_empty() {
            let root = path.split_once('/').map_or("", |(root, _)| root);
            if root.is_empty() || root.starts_with('.') || root.contains(['\\', ':', '\0']) {
                return Err(Error::corrupt("it is not in a folder of its own"));
            }
            self.root = format!("{root}/");
        }
        let inside = path.strip_prefix(&self.root).filter(|path| is_store_path(path));
        let inside = inside.ok_or_else(|| Error::corrupt("a store has no such file"))?.to_owned();
        if inside <= self.last {
            return Err(Error::corrupt(format!("it comes after {}, twice or out of order", self.last)));
        }
        self.last.clone_from(&inside);
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.head.bytes || self.known.len() as u64 >= self.head.files {
            let Head { files, bytes, .. } = self.head;
            return Err(Error::corrupt(format!(
                "the pack says that it holds {files} files, of {bytes} bytes, and holds more"
            )));
        }
        Ok(inside)
    }

    /// Compares the checksums that the pack names with those that were found, and looks at its very end.
    fn finish(mut self) -> Result<Walked> {
        if (self.known.len() as u64, self.bytes) != (self.head.files, self.head.bytes) {
            let (files, bytes) = (self.known.len(), self.bytes);
            return Err(Error::corrupt(format!(
                "it says that it holds {} files, of {} bytes, and holds {files}, of {bytes}",
                self.head.files, self.head.bytes
            )));
        }
        let path = layout::checkpoint(self.head.version);
        if !self.known.contains_key(&path) {
            return Err(Error::corrupt(format!(
                "it says that it holds version {}, and has no {path}",
                self.head.version
            )));
        }
        let differ = || Error::corrupt(format!("its files are not those of which {SUMS} has the checksums"));
        let mut rest = self.sums.as_bytes();
        let size = rest.len() as u64;
        self.archive.take(size, &mut |bytes| {
            rest = rest.strip_prefix(bytes).ok_or_else(differ)?;
            Ok(())
        })?;
        // As many bytes are zeros as follow the sums if there are no more sums.
        self.archive.skip_zeros(tar::padding(size) + tar::END)?;
        if self.archive.more()? {
            return Err(Error::corrupt("it goes on after its end"));
        }
        Ok(Walked { head: self.head, equal: self.equal, packed: self.archive.reader.file_bytes() })
    }
}

/// A line of `SHA256SUMS`.
pub(super) fn sum_line(hash: &[u8; 32], path: &str) -> String {
    use std::fmt::Write;
    let mut line = String::with_capacity(64 + 3 + path.len());
    for byte in hash {
        // Writing to a text does not fail.
        let _ = write!(line, "{byte:02x}");
    }
    line.push_str("  ");
    line.push_str(path);
    line.push('\n');
    line
}

/// Whether a store has such a file: no other name can come out of a pack.
fn is_store_path(path: &str) -> bool {
    if path == STORE_FILE {
        return true;
    }
    let Some((folder, file)) = path.rsplit_once('/') else { return false };
    match folder.split_once('/') {
        None => folder == LOG && LogFile::parse(file).is_some(),
        Some((arrays, array)) => {
            let is_id = Uuid::parse_str(array).is_ok_and(|id| id.to_string() == array);
            arrays == ARRAYS && is_id && layout::is_file_name(file) && file.is_ascii()
        }
    }
}

/// The tar archive in a pack, as a stream of bytes.
struct Archive {
    reader: FrameReader,
    frame: Vec<u8>,
    at: usize,
}

impl Archive {
    /// Whether there are bytes left; compares the checksum of all frames when there are none.
    fn more(&mut self) -> Result<bool> {
        if self.at < self.frame.len() {
            return Ok(true);
        }
        let next = self.reader.next()?;
        self.at = 0;
        self.frame = next.unwrap_or_default();
        Ok(!self.frame.is_empty())
    }

    /// Hands on the next bytes, piece by piece.
    fn take(&mut self, size: u64, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut left = size;
        while left > 0 {
            if !self.more()? {
                return Err(Error::corrupt("its archive ends too early"));
            }
            let rest = self.frame.get(self.at..).unwrap_or_default();
            let now = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            each(rest.get(..now).unwrap_or_default())?;
            self.at += now;
            left -= now as u64;
        }
        Ok(())
    }

    fn header(&mut self) -> Result<Header> {
        let mut block = Vec::with_capacity(BLOCK);
        self.take(BLOCK as u64, &mut |bytes| {
            block.extend_from_slice(bytes);
            Ok(())
        })?;
        Header::parse(&block)
    }

    /// The text of a pax header, whose size was looked at.
    fn small(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        self.take(size, &mut |bytes| {
            text.extend_from_slice(bytes);
            Ok(())
        })?;
        self.skip_padding(size)?;
        Ok(text)
    }

    fn skip_padding(&mut self, size: u64) -> Result<()> {
        self.skip_zeros(tar::padding(size))
    }

    fn skip_zeros(&mut self, count: usize) -> Result<()> {
        self.take(count as u64, &mut |bytes| match bytes.iter().all(|&b| b == 0) {
            true => Ok(()),
            false => Err(Error::corrupt("there is something between the members of its archive")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_stores_come_out() {
        let id = "00000000-0000-0000-0000-000000001234";
        let good = [
            STORE_FILE.to_owned(),
            "_log/00000000000000000007.json".into(),
            "_log/00000000000000000000-00000000000000000099.jsonl".into(),
            format!("arrays/{id}/x-3.npy"),
        ];
        for path in good {
            assert!(is_store_path(&path), "{path}");
        }
        let bad = [
            "",
            "/",
            ".",
            "..",
            "/etc/passwd",
            "../x",
            "_log/..",
            "_log/lock",
            "_log/_last_checkpoint",
            "_log/a/b",
            "_pins/x",
            "arrays/x",
            "arrays/../x",
            "hyperslab.json/",
            "/hyperslab.json",
            "hyperslab-dir.json",
            "_log/./00000000000000000007.json",
            "_log//00000000000000000007.json",
            "_log/\0.json",
        ];
        for path in bad.map(str::to_owned) {
            assert!(!is_store_path(&path), "{path}");
        }
        for file in ["..", ".", "", ".x", "a/b", "../a", "a\\b", "c:a", "a\0", "é"] {
            assert!(!is_store_path(&format!("arrays/{id}/{file}")), "{file}");
        }
        assert!(!is_store_path(&format!("arrays/{}/x", id.replace('-', ""))));
    }
}
