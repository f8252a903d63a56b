//! A shard: the rows of one field, in one segment, in one `.npy` file.

use hyperslab_core::{DType, Error, FieldSpec, Result, npy};
use serde::{Deserialize, Serialize};

use crate::action::{Crc, Id, is_first};
use crate::layout::{self, DATA_OFFSET, PAGE};

/// A shard's record in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shard {
    /// The field's id.
    pub field: u32,
    /// Which part of the field's values.
    pub part: Part,
    /// The file's name in the array's folder.
    pub file: String,
    /// The array whose folder holds the file, where that is another one: this is a clone's shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Id>,
    /// Which of the store's directories holds the file; 0 is the store's own.
    #[serde(default, skip_serializing_if = "is_first")]
    pub dir: u16,
    /// How the file holds the values.
    pub kind: Kind,
    /// Where the values start in the file.
    pub offset: u64,
    /// The first row, counted from the segment's first.
    pub start: u64,
    /// Committed rows.
    pub rows: u64,
    /// Committed bytes of values.
    pub bytes: u64,
    /// The cell shape that it was written with.
    pub cell: Vec<usize>,
    /// The part of `cell` that still counts, where an axis was shrunk since: the rest reads as the fill value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<Vec<usize>>,
    /// Whether it may still grow in place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
    /// The bytes of a compressed shard's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<u64>,
    /// The checksum of the committed bytes of values, uncompressed.
    pub crc32c: Crc,
}

/// A part of a field's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// The values of a fixed-width field.
    Values,
    /// Of text and binary: where each row's bytes start in `bytes`, and where the last one's end (int64, rows + 1).
    Offsets,
    /// Of text and binary: the bytes of all rows, one after the other.
    Bytes,
    /// Of a nullable field: 1 for a value, 0 for NULL (bool). Where it is absent every row has a value.
    Validity,
}

/// How a shard's file holds its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Row after row, in C order, little-endian.
    Raw,
    /// The `.npy` file of that, in the seekable zstd format.
    Zstd,
}

impl Shard {
    /// The length of axis 0 of the `.npy` that it is.
    pub(crate) fn length(&self) -> u64 {
        match self.part {
            Part::Values | Part::Validity => self.rows,
            Part::Offsets => self.bytes / 8,
            Part::Bytes => self.bytes,
        }
    }

    /// The page that its file starts with.
    ///
    /// # Errors
    /// As [`part_header`].
    pub(crate) fn header(&self, field: &FieldSpec) -> Result<Vec<u8>> {
        part_header(field, self.part, self.length())
    }

    /// The path of its file; `array` is the one whose segment it is in.
    pub(crate) fn path(&self, array: Id) -> String {
        layout::array_file(self.dir, self.home.unwrap_or(array).0, &self.file)
    }

    /// The folder of its file.
    pub(crate) fn folder(&self, array: Id) -> String {
        layout::array_folder(self.dir, self.home.unwrap_or(array).0)
    }

    /// Holds what is said of its file against its kind.
    pub(crate) fn check_kind(&self) -> std::result::Result<(), &'static str> {
        match (self.kind, self.stored) {
            (Kind::Raw, None) => Ok(()),
            (Kind::Raw, Some(_)) => Err("a raw shard has no key \"stored\""),
            (Kind::Zstd, Some(stored)) if !self.open && i64::try_from(stored).is_ok() => Ok(()),
            (Kind::Zstd, _) => Err("a shard of kind \"zstd\" says how many bytes are stored, and does not grow"),
        }
    }

    /// The bytes of its file that are committed.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.stored.unwrap_or(self.offset.saturating_add(self.bytes))
    }

    /// The row after its last, counted from the segment's first.
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.rows)
    }

    /// Whether the next shard's map can follow this one's without a gap.
    pub(crate) fn is_whole_pages(&self) -> bool {
        self.offset.is_multiple_of(PAGE) && self.bytes.is_multiple_of(PAGE)
    }
}

/// The smallest number of rows whose bytes fill whole pages; a shard's capacity is a multiple of it.
pub(crate) fn row_multiple(row_bytes: u64) -> u64 {
    PAGE / gcd(PAGE, row_bytes)
}

/// The rows of a full shard, of about `shard_bytes`.
pub(crate) fn capacity(row_bytes: u64, shard_bytes: u64) -> u64 {
    let multiple = row_multiple(row_bytes);
    multiple * (shard_bytes / (multiple * row_bytes).max(1)).max(1)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The page that the file of a part starts with: a `.npy` header that claims `length` elements along axis 0.
///
/// # Errors
/// `Invalid` for a cell whose shape does not fit in the page.
pub(crate) fn part_header(field: &FieldSpec, part: Part, length: u64) -> Result<Vec<u8>> {
    let header = match part {
        Part::Values => npy::write_header(field.dtype(), &field.shape(length), PAGE as usize)?,
        Part::Offsets => npy::write_header(DType::Int64, &[length], PAGE as usize)?,
        Part::Bytes => npy::write_header(DType::UInt8, &[length], PAGE as usize)?,
        Part::Validity => npy::write_header(DType::Bool, &[length], PAGE as usize)?,
    };
    if header.len() as u64 != DATA_OFFSET {
        return Err(Error::invalid(format!("field {:?} has too many axes for a shard's header", field.name())));
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_shards_are_whole_pages() {
        for row_bytes in [1, 2, 3, 4, 8, 40, 512, 1536, 4096, 4097, 614_400] {
            for shard_bytes in [1, 4096, 1 << 20, 256 << 20] {
                let rows = capacity(row_bytes, shard_bytes);
                assert_eq!(rows * row_bytes % PAGE, 0);
                let least = row_multiple(row_bytes);
                assert!(rows == least || rows * row_bytes <= shard_bytes, "{row_bytes} {shard_bytes}");
            }
        }
        assert_eq!(capacity(512, 256 << 20), 524_288);
    }
}
