//! The seekable zstd format: a `.npy` file in independent zstd frames, and a table of them in a skippable frame at its
//! end (facebook/zstd, contrib/seekable_format/zstd_seekable_compression_format.md, version 0.1.0). `zstd -d` gives the
//! `.npy` file; a reader that wants some rows decompresses the frames that hold them.

mod frames;
mod reader;
mod writer;

pub(crate) use frames::Frames;
pub(crate) use reader::Seekable;
pub(crate) use writer::SeekableWriter;

/// What a frame of values aims at, uncompressed.
pub(crate) const FRAME_BYTES: usize = 256 << 10;
/// The largest frame that the format allows, uncompressed.
const MAX_FRAME: u64 = 1 << 30;
/// Starts a skippable frame that holds a seek table.
const SKIPPABLE_TABLE: u32 = 0x184D_2A5E;
/// Starts a skippable frame of padding.
const SKIPPABLE_PADDING: u32 = 0x184D_2A50;
/// What a skippable frame starts with: its magic number and the length of what follows.
const SKIPPABLE_HEADER: usize = 8;
/// Ends a seekable file.
const SEEKABLE: u32 = 0x8F92_EAB1;
/// What a seek table ends with: the number of frames, a descriptor, the magic number.
const TABLE_FOOTER: usize = 9;
/// In the descriptor: the entries have checksums.
const WITH_CHECKSUMS: u8 = 0x80;
/// In the descriptor: bits that must be zero.
const RESERVED: u8 = 0x7c;

#[cfg(test)]
mod tests;
