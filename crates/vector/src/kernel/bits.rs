//! Counts of bits, by which hamming and jaccard compare bytes and bools.

use super::{Isa, PREFETCH, Pass};
use crate::scalar::Load;

/// Elements of a byte that are asked for together.
const CACHE_LINE: usize = 64;

/// The counts of the bits of each row and a query. Counts are integers, exact whatever the order.
pub(crate) struct BitCounts<'a, T, const BOTH: bool> {
    /// Rows of as many elements as the query has bytes, at least as many as there are counts.
    pub(crate) rows: &'a [T],
    pub(crate) query: &'a [u8],
    /// Gets how many bits are set in one of the two only.
    pub(crate) unequal: &'a mut [f64],
    /// Gets how many are set in both, if `BOTH`; as long as `unequal`.
    pub(crate) both: &'a mut [f64],
}

impl<T: Load, const BOTH: bool> Pass for BitCounts<'_, T, BOTH> {
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { rows, query, unequal, both } = self;
        let (query_words, query_rest) = query.as_chunks();
        let mut rows = rows;
        for (unequal, both) in unequal.iter_mut().zip(both) {
            let row;
            (row, rows) = rows.split_at(query.len());
            for line in row.chunks(CACHE_LINE) {
                I::prefetch(line.as_ptr().wrapping_byte_add(PREFETCH).cast());
            }
            let (words, rest) = row.as_chunks();
            let (mut xor, mut and) = (0, 0);
            for (word, query) in words.iter().zip(query_words) {
                let (word, query) = (u64::from_le_bytes(word.map(T::byte)), u64::from_le_bytes(*query));
                xor += u64::from((word ^ query).count_ones());
                if BOTH {
                    and += u64::from((word & query).count_ones());
                }
            }
            for (byte, query) in rest.iter().map(|v| T::byte(*v)).zip(query_rest) {
                xor += u64::from((byte ^ query).count_ones());
                if BOTH {
                    and += u64::from((byte & query).count_ones());
                }
            }
            *unequal = xor as f64;
            if BOTH {
                *both = and as f64;
            }
        }
    }
}
