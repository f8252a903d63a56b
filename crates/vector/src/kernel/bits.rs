//! Counts of bits, by which hamming and jaccard compare bytes and bools.

use super::{Isa, Pass};
use crate::scalar::Load;

/// The counts of the bits of each row and a query. Counts are integers, exact whatever the order.
pub(crate) struct BitCounts<'a, T> {
    /// Rows of as many elements as the query has bytes, at least as many as there are counts.
    pub(crate) rows: &'a [T],
    pub(crate) query: &'a [u8],
    /// Gets how many bits are set in one of the two only.
    pub(crate) unequal: &'a mut [f64],
    /// Gets how many are set in both.
    pub(crate) both: &'a mut [f64],
}

impl<T: Load> Pass for BitCounts<'_, T> {
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { rows, query, unequal, both } = self;
        let rows = rows.chunks_exact(query.len().max(1)).chain(std::iter::repeat(&[] as &[T]));
        for ((row, unequal), both) in rows.zip(unequal).zip(both) {
            let ((words, rest), (query_words, query_rest)) = (row.as_chunks(), query.as_chunks());
            let (mut xor, mut and) = (0, 0);
            for (word, query) in words.iter().zip(query_words) {
                let (word, query) = (u64::from_le_bytes(word.map(T::byte)), u64::from_le_bytes(*query));
                xor += u64::from((word ^ query).count_ones());
                and += u64::from((word & query).count_ones());
            }
            for (byte, query) in rest.iter().map(|v| T::byte(*v)).zip(query_rest) {
                xor += u64::from((byte ^ query).count_ones());
                and += u64::from((byte & query).count_ones());
            }
            (*unequal, *both) = (xor as f64, and as f64);
        }
    }
}
