//! What files an array's rows are in.

use super::Array;
use crate::action::ADDRESS;
use crate::shard::{Kind, Part, Shard};

/// A file that holds rows of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardInfo {
    /// The segment, or the patch segment.
    pub segment: u32,
    /// Whether it holds rows that were replaced, beside the array's own.
    pub patch: bool,
    /// The field; of patches also `address`.
    pub field: String,
    /// `values`, `offsets`, `bytes` or `validity`.
    pub part: &'static str,
    /// `raw` or `zstd`.
    pub kind: &'static str,
    /// The file, from the root of its directory.
    pub file: String,
    /// The first row, counted from the segment's first.
    pub start: u64,
    /// Rows, deleted ones among them.
    pub rows: u64,
    /// Bytes of the file that are committed.
    pub bytes: u64,
    /// Which of the store's directories holds it; 0 is its own.
    pub dir: u16,
}

impl Array {
    /// The files of its rows, by segment and field; those of replaced rows after them.
    pub fn shards(&self) -> Vec<ShardInfo> {
        let mut shards = Vec::new();
        for segment in self.state.segments() {
            for (field, of_field) in self.state.fields().iter().zip(&segment.shards) {
                shards.extend(of_field.iter().map(|s| self.shard_info(segment.id, false, field.name(), s)));
            }
        }
        for (index, field) in self.state.fields().iter().enumerate() {
            for patch in self.state.patches(index) {
                for shard in patch.rows.shards.iter().flatten() {
                    let name = if shard.field == ADDRESS { "address" } else { field.name() };
                    shards.push(self.shard_info(patch.rows.id, true, name, shard));
                }
            }
        }
        shards
    }

    fn shard_info(&self, segment: u32, patch: bool, field: &str, shard: &Shard) -> ShardInfo {
        ShardInfo {
            segment,
            patch,
            field: field.to_owned(),
            part: match shard.part {
                Part::Values => "values",
                Part::Offsets => "offsets",
                Part::Bytes => "bytes",
                Part::Validity => "validity",
            },
            kind: match shard.kind {
                Kind::Raw => "raw",
                Kind::Zstd => "zstd",
            },
            file: shard.path(self.state.id),
            start: shard.start,
            rows: shard.rows,
            bytes: shard.file_bytes(),
            dir: shard.dir,
        }
    }
}
