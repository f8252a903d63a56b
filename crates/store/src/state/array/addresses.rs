//! From the positions of rows to their addresses, which do not change, and back.

use std::sync::Arc;

use hyperslab_core::{Error, Result};

use super::ArrayState;
use crate::Storage;
use crate::deletion::LiveIndex;
use crate::segment::Segment;

/// The live rows of a segment; `None` if none is deleted.
type Live = Option<Arc<LiveIndex>>;

impl ArrayState {
    /// The addresses of live rows.
    ///
    /// # Errors
    /// `Invalid` for a row that is not there; as [`delete_addresses`](Self::delete_addresses).
    pub(crate) fn addresses(&self, storage: &dyn Storage, rows: &[u64]) -> Result<Vec<u64>> {
        let mut addresses = Vec::with_capacity(rows.len());
        let mut current: Option<(u64, u64, &Arc<Segment>, Live)> = None;
        for &row in rows {
            let held = current.take().filter(|(start, end, ..)| (*start..*end).contains(&row));
            let (start, end, segment, live) = match held {
                Some(held) => held,
                None => {
                    let (_, start, segment) = self.segment_of(row).ok_or_else(|| self.no_row(row))?;
                    (start, start + segment.live(), segment, segment.deleted.live(storage, self.id, segment.rows)?)
                }
            };
            let offset = live.as_ref().map_or(row - start, |live| live.offset(row - start));
            addresses.push(u64::from(segment.id) << 32 | offset);
            current = Some((start, end, segment, live));
        }
        Ok(addresses)
    }

    fn no_row(&self, row: u64) -> Error {
        Error::invalid(format!("there is no row {row} in array {:?}, which has {}", self.name.to_string(), self.rows))
    }

    /// The position of the row at an address; `None` if it is deleted or its segment is not there.
    ///
    /// # Errors
    /// As [`delete_addresses`](Self::delete_addresses).
    pub(crate) fn rank_of(&self, storage: &dyn Storage, address: u64) -> Result<Option<u64>> {
        let Some((_, start, segment)) = self.segment((address >> 32) as u32) else { return Ok(None) };
        let offset = address & 0xffff_ffff;
        if offset >= segment.rows {
            return Ok(None);
        }
        Ok(match segment.deleted.live(storage, self.id, segment.rows)? {
            Some(live) => live.rank(offset).map(|rank| start + rank),
            None => Some(start + offset),
        })
    }
}
