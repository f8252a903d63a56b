//! `deleted_<name>.npkb`: which rows are there, a bit each, least significant first, 1 for one that is.
//!
//! u64 rows, u64 deleted rows, then words of 64 rows. An older form has no counters before the words.

use std::ops::Range;
use std::sync::Arc;

use hyperslab_core::{Error, Result};

use crate::map::MappedFile;

const WORD: u64 = 64;
/// Words whose rows are counted together.
const BLOCK: usize = 64;

/// The rows that are there.
#[derive(Debug, Clone)]
pub(super) struct Live {
    file: Arc<MappedFile>,
    /// The words.
    range: Range<usize>,
    /// The rows of the array, deleted ones too. Those beyond the words are there.
    rows: u64,
    /// How many rows are there before each block of words, and in all.
    before: Arc<[u64]>,
}

impl Live {
    /// The rows of a bitmap of an array of `rows` rows. The counters in it are not believed: the bits are counted.
    pub(super) fn new(file: Arc<MappedFile>, range: Range<usize>, rows: u64) -> Result<Self> {
        let bytes = file.bytes().get(range.clone()).unwrap_or_default();
        let length = bytes.len() as u64;
        let first = bytes.first_chunk().map(|b| u64::from_le_bytes(*b));
        let newer = first.filter(|first| length == 8 * first.div_ceil(WORD).saturating_add(2).min(u64::MAX / 8));
        let words = match newer {
            Some(_) => range.start + 16..range.end,
            None if length == 8 * rows.div_ceil(WORD) => range,
            None => {
                let why =
                    format!("its bitmap of deleted rows has {length} bytes, which are no whole one for {rows} rows");
                return Err(Error::corrupt(why));
            }
        };
        let mut live = Self { file, range: words, rows, before: Arc::from([]) };
        let mut before = Vec::with_capacity(live.words() / BLOCK + 2);
        let mut sum = 0;
        for block in 0..=live.words() / BLOCK {
            before.push(sum);
            sum += (block * BLOCK..live.words().min((block + 1) * BLOCK))
                .map(|w| live.word(w).count_ones())
                .map(u64::from)
                .sum::<u64>();
        }
        sum += rows.saturating_sub(live.covered());
        before.push(sum);
        live.before = before.into();
        Ok(live)
    }

    /// How many rows are there.
    pub(super) fn count(&self) -> u64 {
        self.before.last().copied().unwrap_or(0)
    }

    /// Checks that the bitmap still has its bytes.
    pub(super) fn check(&self) -> Result<()> {
        self.file.check(self.range.end as u64)
    }

    /// Words that say something of the array's rows.
    fn words(&self) -> usize {
        (self.range.len() / 8).min(usize::try_from(self.rows.div_ceil(WORD)).unwrap_or(usize::MAX))
    }

    /// Rows that the words say something of.
    fn covered(&self) -> u64 {
        (self.words() as u64 * WORD).min(self.rows)
    }

    /// A word, without bits of rows that the array has not.
    fn word(&self, i: usize) -> u64 {
        let at = self.range.start + 8 * i;
        let word = self.file.bytes().get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b));
        let left = self.rows.saturating_sub(i as u64 * WORD);
        if left >= WORD { word } else { word & ((1 << left) - 1) }
    }

    /// The place of the `n`-th row that is there; `n` is less than their count.
    pub(super) fn place(&self, n: u64) -> u64 {
        let blocks = &self.before[..self.before.len() - 1];
        let block = blocks.partition_point(|&before| before <= n).saturating_sub(1);
        let mut left = n - blocks[block];
        for i in block * BLOCK..self.words() {
            let mut word = self.word(i);
            let here = u64::from(word.count_ones());
            if left < here {
                (0..left).for_each(|_| word &= word - 1);
                return i as u64 * WORD + u64::from(word.trailing_zeros());
            }
            left -= here;
        }
        self.covered() + left
    }

    /// The place after the run of rows without a gap that starts at a place, of which at most `most` are looked at.
    pub(super) fn run_end(&self, place: u64, most: u64) -> u64 {
        let stop = place.saturating_add(most).min(self.rows);
        let mut at = place;
        while at < stop {
            if at >= self.covered() {
                return stop;
            }
            let gap = (!self.word((at / WORD) as usize)) >> (at % WORD);
            let rest = WORD - at % WORD;
            let run = u64::from(gap.trailing_zeros()).min(rest);
            at += run;
            if run < rest {
                break;
            }
        }
        at.min(stop)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn live(counters: Option<[u64; 2]>, words: &[u64], rows: u64) -> Result<Live> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let all: Vec<u64> = counters.into_iter().flatten().chain(words.iter().copied()).collect();
        std::fs::write(&path, all.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>()).unwrap();
        let file = MappedFile::open(&path).unwrap();
        let range = 0..file.bytes().len();
        Live::new(Arc::new(file), range, rows)
    }

    #[test]
    fn rows_are_counted_found_and_followed() {
        let mut seed = 7_u64;
        let mut next = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            seed ^ seed >> 29
        };
        for words in [0_u64, 1, 2, 63, 64, 65, 200] {
            for rows in [words * 64, words * 64 + 70, (words * 64).saturating_sub(5)] {
                let bits: Vec<u64> = (0..words).map(|i| if i % 3 == 0 { u64::MAX } else { next() & next() }).collect();
                let there = |r: &u64| bits.get((r / 64) as usize).is_none_or(|w| w >> (r % 64) & 1 == 1);
                let expected: Vec<u64> = (0..rows).filter(there).collect();
                let live = live(Some([words * 64, 0]), &bits, rows).unwrap();
                assert_eq!(live.count(), expected.len() as u64);
                for (n, &place) in expected.iter().enumerate() {
                    assert_eq!(live.place(n as u64), place);
                    let end = (place..rows).find(|r| !there(r)).unwrap_or(rows);
                    assert_eq!(live.run_end(place, u64::MAX), end);
                    assert_eq!(live.run_end(place, 3), end.min(place + 3));
                }
            }
        }
    }

    #[test]
    fn both_forms_are_read_and_others_refused() {
        assert_eq!(live(Some([100, 0]), &[5, 1], 100).unwrap().count(), 3);
        assert_eq!(live(None, &[5, 1], 100).unwrap().count(), 3);
        for (counters, words) in
            [(Some([100, 0]), vec![5]), (None, vec![200, 1, 1]), (Some([u64::MAX, 0]), vec![1]), (None, vec![])]
        {
            assert!(live(counters, &words, 100).is_err(), "{counters:?} {words:?}");
        }
        assert_eq!(live(None, &[], 0).unwrap().count(), 0);
    }
}
