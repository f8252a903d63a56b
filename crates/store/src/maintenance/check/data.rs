//! CHECK of the files of values and of deleted rows.

use std::ops::ControlFlow;

use hyperslab_core::npy::NpyHeader;
use hyperslab_core::{Error, ErrorKind, Result};
use roaring::RoaringBitmap;

use super::contents::Reading;
use super::files::{Files, Needed, What};
use super::{Finding, Severity};
use crate::action::Crc;
use crate::codec::Seekable;
use crate::layout::DATA_OFFSET;
use crate::shard::{Kind, Part, Shard};
use crate::{FileRange, Storage};

/// So much of a file is looked at at once.
const PIECE: u64 = 8 << 20;

/// Looks at every file that is needed; `quick` leaves out what needs reading values.
pub(super) fn check(storage: &dyn Storage, files: &Files, quick: bool, findings: &mut Vec<Finding>) -> Result<()> {
    for (path, needed) in &files.needed {
        let found = File { storage, path, needed };
        if let Some(why) = &needed.contradiction {
            findings.push(found.finding(
                Severity::Error,
                format!("the log contradicts itself: {why}"),
                "the program that wrote the log is wrong; report this".to_owned(),
            ));
        }
        let checked = match &needed.what {
            What::Shard { shard, .. } => found.shard(shard, quick),
            What::Deleted { segment } => found.deleted(*segment, quick),
        };
        match checked {
            Ok(found) => findings.extend(found),
            // The length may have changed since it was looked at.
            Err(e) if e.kind() == ErrorKind::Corrupt => {
                findings.push(found.finding(Severity::Error, e.to_string(), found.lost(0)));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// A file that is looked at.
struct File<'a> {
    storage: &'a dyn Storage,
    path: &'a str,
    needed: &'a Needed,
}

impl File<'_> {
    fn shard(&self, shard: &Shard, quick: bool) -> Result<Option<Finding>> {
        let Some(len) = self.storage.len(self.path)? else {
            return Ok(Some(self.finding(Severity::Error, "it is missing".to_owned(), self.lost(0))));
        };
        if len < shard.file_bytes() {
            let whole = match shard.kind {
                Kind::Raw => len.saturating_sub(shard.offset),
                Kind::Zstd => 0,
            };
            let problem = format!("it has {len} bytes, and {} were committed", shard.file_bytes());
            return Ok(Some(self.finding(Severity::Error, problem, self.lost(whole))));
        }
        match shard.kind {
            Kind::Raw => {
                let header = self.storage.map(&[self.range(0, DATA_OFFSET.min(len))])?;
                let header = self.header(shard, len, header.as_deref().unwrap_or_default());
                if quick {
                    return Ok(header);
                }
                let (mut sums, mut reading) = (Sums::new(self.needed), self.reading(shard));
                let mut at = 0;
                while at < shard.bytes {
                    let n = PIECE.min(shard.bytes - at);
                    let piece = self.storage.map(&[self.range(shard.offset + at, n)])?;
                    let piece = piece.as_deref().unwrap_or_default();
                    if sums.add(piece).is_break() {
                        break;
                    }
                    reading.add(piece);
                    at += n;
                }
                Ok(self.sums(&sums).or_else(|| self.contents(&reading)).or(header))
            }
            Kind::Zstd => self.compressed(shard, quick),
        }
    }

    fn range(&self, offset: u64, len: u64) -> FileRange {
        FileRange { path: self.path.to_owned(), offset, len }
    }

    /// Holds the header against the record. It is advisory: nothing is lost by it.
    fn header(&self, shard: &Shard, len: u64, bytes: &[u8]) -> Option<Finding> {
        let problem = match NpyHeader::parse(bytes) {
            Err(e) => e.to_string(),
            Ok(header) => header_problem(&header, shard, len)?,
        };
        let advice = "nothing is lost: the log says what the file holds; numpy.load may show something else or refuse";
        Some(self.finding(Severity::Warning, format!("its .npy header is wrong: {problem}"), advice.to_owned()))
    }

    /// A file in the seekable zstd format: each frame is decompressed.
    fn compressed(&self, shard: &Shard, quick: bool) -> Result<Option<Finding>> {
        let bytes = self.storage.map(&[self.range(0, shard.file_bytes())])?;
        let bytes = bytes.ok_or_else(|| Error::corrupt("it cannot be mapped"))?;
        let file = match Seekable::open(self.path, bytes) {
            Ok(file) => file,
            Err(e) => return Ok(Some(self.finding(Severity::Error, e.to_string(), self.lost(0)))),
        };
        let plain = shard.offset.saturating_add(shard.bytes);
        if file.len() != plain {
            let problem = format!("it holds {} bytes uncompressed, and {plain} were committed", file.len());
            return Ok(Some(self.finding(Severity::Error, problem, self.lost(0))));
        }
        if quick {
            return Ok(None);
        }
        let (mut sums, mut reading) = (Sums::new(self.needed), self.reading(shard));
        let (mut at, mut header) = (0, Vec::new());
        while at < plain {
            let frame = file.frame_of(at).and_then(|(index, holds)| Ok((file.decompress(index)?, holds)));
            let (bytes, holds) = match frame {
                Ok(frame) => frame,
                Err(e) => {
                    let whole = at.saturating_sub(shard.offset);
                    return Ok(Some(self.finding(Severity::Error, e.to_string(), self.lost(whole))));
                }
            };
            let values = usize::try_from(shard.offset.saturating_sub(holds.start)).unwrap_or(usize::MAX);
            let (head, values) = bytes.split_at(values.min(bytes.len()));
            header.extend_from_slice(head);
            if sums.add(values).is_break() {
                break;
            }
            reading.add(values);
            at = holds.end;
        }
        Ok(self.sums(&sums).or_else(|| self.contents(&reading)).or_else(|| self.header(shard, plain, &header)))
    }

    fn reading(&self, shard: &Shard) -> Reading<'_> {
        Reading::new(&self.needed.contents, shard.part == Part::Offsets)
    }

    /// What the values say.
    fn contents(&self, reading: &Reading<'_>) -> Option<Finding> {
        let (values, why) = reading.bad.as_ref()?;
        let problem = format!("its values cannot be: {why}; they are what was written, so report this");
        Some(self.finding(Severity::Error, problem, self.lost(values.saturating_mul(8))))
    }

    /// What the checksums say.
    fn sums(&self, sums: &Sums<'_>) -> Option<Finding> {
        let (bytes, written, found) = sums.bad?;
        let problem = format!(
            "its values are not what was written: the first {bytes} bytes have the checksum {found}, and the log says \
             {written}"
        );
        Some(self.finding(Severity::Error, problem, self.lost(sums.whole)))
    }

    fn deleted(&self, segment: u32, quick: bool) -> Result<Option<Finding>> {
        let Some((&bytes, mark)) = self.needed.marks.last_key_value() else { return Ok(None) };
        let problem = match (quick, self.storage.len(self.path)?) {
            (_, None) => "it is missing".to_owned(),
            (_, Some(len)) if len != bytes => format!("it has {len} bytes, and {bytes} were committed"),
            (true, _) => return Ok(None),
            (false, _) => {
                let content = self.storage.read(self.path)?.unwrap_or_default();
                let found = Crc::of(&content);
                if found != mark.crc32c {
                    format!("it is not what was written: it has the checksum {found}, and the log says {}", mark.crc32c)
                } else if let Err(e) = RoaringBitmap::deserialize_from(&content[..]) {
                    format!("it is no roaring bitmap: {e}")
                } else {
                    return Ok(None);
                }
            }
        };
        let advice = format!(
            "which rows of segment {segment:08x} are deleted is not known from version {} on, and the array cannot be \
             read there: restore the file from a backup, or restore the array from a version before",
            mark.version
        );
        Ok(Some(self.finding(Severity::Error, problem, advice)))
    }

    /// What is lost and what is not, when so many bytes of values are whole.
    fn lost(&self, whole: u64) -> String {
        let What::Shard { shard, field } = &self.needed.what else { return String::new() };
        let part = match shard.part {
            Part::Values => String::new(),
            Part::Offsets => " (where its values start)".to_owned(),
            Part::Bytes => " (the bytes of its values)".to_owned(),
            Part::Validity => " (which are NULL)".to_owned(),
        };
        let part = match &self.needed.contents.covers {
            Some(_) => " (which rows have new values)".to_owned(),
            None => part,
        };
        let rows = match shard.kind {
            Kind::Raw if shard.part == Part::Values || shard.part == Part::Validity => {
                whole.min(shard.bytes).checked_div(shard.bytes.checked_div(shard.rows).unwrap_or(0)).unwrap_or(0)
            }
            _ => self
                .needed
                .marks
                .iter()
                .take_while(|&(&bytes, _)| bytes <= whole)
                .map(|(_, m)| m.rows)
                .last()
                .unwrap_or(0),
        };
        let first = self.needed.marks.values().find(|mark| mark.rows > rows).map_or(0, |mark| mark.version);
        let kept = if rows == 0 { String::new() } else { format!("its first {rows} rows are whole; ") };
        format!(
            "{kept}{} of the field {field:?}{part} are lost in versions from {first} on that hold them; other fields, \
             shards and arrays are not concerned; restore the file from a backup, or write these rows again",
            match shard.rows - rows {
                1 => "1 row".to_owned(),
                n => format!("{n} rows"),
            }
        )
    }

    fn finding(&self, severity: Severity, problem: String, advice: String) -> Finding {
        Finding { severity, file: self.path.to_owned(), array: Some(self.needed.array.clone()), problem, advice }
    }
}

/// Why a header does not go with the record of its shard.
fn header_problem(header: &NpyHeader, shard: &Shard, len: u64) -> Option<String> {
    if header.data_offset != shard.offset {
        return Some(format!("values start at byte {}, and at {} in the log", header.data_offset, shard.offset));
    }
    if header.fortran_order {
        return Some("it says Fortran order".to_owned());
    }
    let cell: Vec<u64> = shard.cell.iter().map(|&n| n as u64).collect();
    if shard.part == Part::Values && header.cell() != cell {
        return Some(format!("it says cells of the shape {:?}, and the log {cell:?}", header.cell()));
    }
    // Another process may have appended since the log was read.
    match header.data_bytes() {
        Ok(bytes) if bytes > len.saturating_sub(shard.offset) => {
            Some(format!("it claims {bytes} bytes of values, and the file has {}", len.saturating_sub(shard.offset)))
        }
        Ok(_) => None,
        Err(e) => Some(e.to_string()),
    }
}

/// Checksums of all prefixes of a file that versions know.
struct Sums<'a> {
    needed: &'a Needed,
    crc: Crc,
    at: u64,
    /// So many bytes are what was written.
    whole: u64,
    /// The first prefix that is not: its bytes, the checksum that it should have, the one that it has.
    bad: Option<(u64, Crc, Crc)>,
}

impl<'a> Sums<'a> {
    fn new(needed: &'a Needed) -> Self {
        Self { needed, crc: Crc::default(), at: 0, whole: 0, bad: None }
    }

    /// Takes the next bytes; ends at the first checksum that is wrong.
    fn add(&mut self, mut bytes: &[u8]) -> ControlFlow<()> {
        // A frame may hold nothing but the header.
        if bytes.is_empty() {
            return ControlFlow::Continue(());
        }
        for (&end, mark) in self.needed.marks.range(self.at + 1..=self.at + bytes.len() as u64) {
            let (now, later) = bytes.split_at((end - self.at) as usize);
            self.crc = self.crc.append(now);
            (self.at, bytes) = (end, later);
            if self.crc != mark.crc32c {
                self.bad = Some((end, mark.crc32c, self.crc));
                return ControlFlow::Break(());
            }
            self.whole = end;
        }
        self.crc = self.crc.append(bytes);
        self.at += bytes.len() as u64;
        ControlFlow::Continue(())
    }
}
