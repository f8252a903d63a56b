//! The seekable zstd format: a `.npy` file in independent zstd frames, and a table of them in a skippable frame at its
//! end (facebook/zstd, contrib/seekable_format/zstd_seekable_compression_format.md, version 0.1.0). `zstd -d` gives the
//! `.npy` file; a reader that wants some rows decompresses the frames that hold them.

use std::fmt;
use std::str::FromStr;

use hyperslab_core::{Error, Result};
use serde::{Deserialize, Serialize};

mod frames;
mod reader;
mod writer;

pub(crate) use frames::Frames;
pub(crate) use reader::Seekable;
pub(crate) use writer::{SeekableWriter, seek_table};

/// How a field's values lie in files that do not grow any more. As text: `none`, `zstd`, `zstd(9)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// As they are: the fastest to read, without a copy.
    #[default]
    None,
    /// The seekable zstd format, at this level (−7 to 22; zstd's own default is 3).
    Zstd(i32),
}

/// The levels that can be asked for; faster negative ones compress next to nothing.
const LEVELS: std::ops::RangeInclusive<i32> = -7..=22;
/// What `zstd` without a level means.
const LEVEL: i32 = 3;

impl Codec {
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Refuses a level that does not exist.
    ///
    /// # Errors
    /// `Invalid`, naming the levels.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::Zstd(level) if !LEVELS.contains(&level) => {
                Err(Error::invalid(format!("zstd has no level {level}; it has {} to {}", LEVELS.start(), LEVELS.end())))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Zstd(LEVEL) => f.write_str("zstd"),
            Self::Zstd(level) => write!(f, "zstd({level})"),
        }
    }
}

impl FromStr for Codec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let lower = text.trim().to_ascii_lowercase();
        let level = lower.strip_prefix("zstd(").and_then(|rest| rest.strip_suffix(')'));
        let codec = match (lower.as_str(), level.map(|level| level.trim().parse())) {
            ("none", _) => Self::None,
            ("zstd", _) => Self::Zstd(LEVEL),
            (_, Some(Ok(level))) => Self::Zstd(level),
            _ => {
                return Err(Error::invalid(format!(
                    "there is no codec {text:?}; there are none, zstd and zstd(level)"
                )));
            }
        };
        codec.check().map(|()| codec)
    }
}

/// What a frame of values aims at, uncompressed.
pub(crate) const FRAME_BYTES: usize = 256 << 10;
/// The largest frame that the format allows, uncompressed.
const MAX_FRAME: u64 = 1 << 30;
/// No byte of zstd holds more: a block of four bytes is 128 KiB of one byte.
pub(crate) const MOST_PER_BYTE: u64 = 1 << 17;
/// Starts a skippable frame that holds a seek table.
pub(crate) const SKIPPABLE_TABLE: u32 = 0x184D_2A5E;
/// Starts a skippable frame of padding.
const SKIPPABLE_PADDING: u32 = 0x184D_2A50;
/// What a skippable frame starts with: its magic number and the length of what follows.
pub(crate) const SKIPPABLE_HEADER: usize = 8;
/// Ends a seekable file.
pub(crate) const SEEKABLE: u32 = 0x8F92_EAB1;
/// What a seek table ends with: the number of frames, a descriptor, the magic number.
pub(crate) const TABLE_FOOTER: usize = 9;
/// In the descriptor: the entries have checksums.
const WITH_CHECKSUMS: u8 = 0x80;
/// In the descriptor: bits that must be zero.
const RESERVED: u8 = 0x7c;

#[cfg(test)]
mod tests;
