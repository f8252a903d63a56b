//! Sets of rows as sorted ranges.

use std::fmt;
use std::ops::Range;

/// A set of row positions: ranges that are sorted, not empty, and neither overlap nor touch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RowRanges(Vec<Range<u64>>);

impl RowRanges {
    /// No row.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The rows `0..rows`.
    pub fn all(rows: u64) -> Self {
        Self::from(0..rows)
    }

    /// The union of ranges in any order.
    pub fn from_ranges(mut ranges: Vec<Range<u64>>) -> Self {
        ranges.retain(|r| r.start < r.end);
        ranges.sort_unstable_by_key(|r| r.start);
        let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Self(merged)
    }

    /// The rows that are in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::from_ranges(self.0.iter().chain(&other.0).cloned().collect())
    }

    /// The rows that are in both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut out = Vec::new();
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            let both = x.start.max(y.start)..x.end.min(y.end);
            if both.start < both.end {
                out.push(both);
            }
            if x.end <= y.end {
                a.next();
            } else {
                b.next();
            }
        }
        // Pieces of different ranges do not touch, because those of one side do not.
        Self(out)
    }

    /// The rows of `0..rows` that are not in the set.
    #[must_use]
    pub fn complement(&self, rows: u64) -> Self {
        let mut out = Vec::with_capacity(self.0.len() + 1);
        let mut from = 0;
        for range in &self.0 {
            out.push(from..range.start.min(rows));
            from = range.end;
        }
        out.push(from..rows);
        Self::from_ranges(out)
    }

    /// The rows within `range`.
    #[must_use]
    pub fn clip(&self, range: Range<u64>) -> Self {
        let from = self.0.partition_point(|r| r.end <= range.start);
        let inside = self.0.iter().skip(from).take_while(|r| r.start < range.end);
        Self(inside.map(|r| r.start.max(range.start)..r.end.min(range.end)).filter(|r| r.start < r.end).collect())
    }

    /// The first `count` rows.
    #[must_use]
    pub fn first(&self, count: u64) -> Self {
        let mut left = count;
        let mut out = Vec::new();
        for range in &self.0 {
            let take = left.min(range.end - range.start);
            if take == 0 {
                break;
            }
            out.push(range.start..range.start + take);
            left -= take;
        }
        Self(out)
    }

    /// Whether a row is in the set.
    pub fn contains(&self, row: u64) -> bool {
        self.0.get(self.0.partition_point(|r| r.end <= row)).is_some_and(|r| r.contains(&row))
    }

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        self.0.iter().map(|r| r.end - r.start).sum()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first row and the one after the last, if there are rows.
    pub fn bounds(&self) -> Option<Range<u64>> {
        Some(self.0.first()?.start..self.0.last()?.end)
    }

    /// The ranges, in order.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.0
    }
}

impl From<Range<u64>> for RowRanges {
    fn from(range: Range<u64>) -> Self {
        Self::from_ranges(vec![range])
    }
}

impl FromIterator<u64> for RowRanges {
    fn from_iter<I: IntoIterator<Item = u64>>(rows: I) -> Self {
        Self::from_ranges(rows.into_iter().map(|r| r..r.saturating_add(1)).collect())
    }
}

/// `[0..10, 12..13]`, abbreviated after a few ranges.
impl fmt::Display for RowRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        f.write_str("[")?;
        for (i, range) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{}..{}", if i == 0 { "" } else { ", " }, range.start, range.end)?;
        }
        if self.0.len() > SHOWN {
            write!(f, ", … {} ranges", self.0.len())?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const ROWS: u64 = 40;

    fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
        prop::collection::vec((0..ROWS, 0..8_u64).prop_map(|(s, n)| s..(s + n).min(ROWS)), 0..6)
    }

    fn rows(ranges: &RowRanges) -> Vec<u64> {
        ranges.ranges().iter().cloned().flatten().collect()
    }

    fn check(ranges: &RowRanges, expected: &BTreeSet<u64>) {
        assert_eq!(rows(ranges), expected.iter().copied().collect::<Vec<_>>());
        assert!(ranges.ranges().windows(2).all(|w| w[0].end < w[1].start), "{ranges:?}");
        assert!(ranges.ranges().iter().all(|r| r.start < r.end), "{ranges:?}");
        assert_eq!(ranges.rows(), expected.len() as u64);
        assert_eq!(ranges.is_empty(), expected.is_empty());
    }

    proptest! {
        #[test]
        fn ranges_are_sets_of_rows(a in ranges(), b in ranges(), start in 0..ROWS, end in 0..ROWS, n in 0..ROWS) {
            let set = |r: &[Range<u64>]| r.iter().cloned().flatten().collect::<BTreeSet<u64>>();
            let (x, y) = (set(&a), set(&b));
            let (a, b) = (RowRanges::from_ranges(a), RowRanges::from_ranges(b));
            check(&a, &x);
            check(&a.union(&b), &x.union(&y).copied().collect());
            check(&a.intersect(&b), &x.intersection(&y).copied().collect());
            check(&a.complement(ROWS), &(0..ROWS).filter(|r| !x.contains(r)).collect());
            check(&a.clip(start..end), &x.iter().copied().filter(|r| (start..end).contains(r)).collect());
            check(&a.first(n), &x.iter().copied().take(n as usize).collect());
            prop_assert!((0..ROWS).all(|r| a.contains(r) == x.contains(&r)));
            prop_assert_eq!(RowRanges::from_iter(x), a);
        }
    }

    #[test]
    fn many_ranges_are_abbreviated() {
        assert_eq!(RowRanges::from_iter([1, 2, 9]).to_string(), "[1..3, 9..10]");
        assert_eq!(RowRanges::from_iter([0, 2, 4, 6, 8]).to_string(), "[0..1, 2..3, 4..5, 6..7, … 5 ranges]");
    }
}
