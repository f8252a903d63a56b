//! Patches: values of rows that were replaced, found by address.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, ArrayRef};

/// Patches of one field by address: layers, of which later ones win.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overlay {
    layers: Vec<Arc<Layer>>,
    /// How many patches they cover, counted from the field's first…
    pub covered: u64,
    /// …which is in this patch segment.
    pub first: u32,
}

/// Runs of patches, ascending and apart.
#[derive(Debug, Clone, Default)]
struct Layer {
    runs: Vec<PatchRun>,
}

/// Patches of consecutive addresses, which follow one another in the field's patch log too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PatchRun {
    /// The first address, and the one after the last.
    pub start: u64,
    pub end: u64,
    /// The patch of the first, counted from the field's first patch.
    pub patch: u64,
}

/// Goes through the patches of a field in the order of their addresses.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    /// What each layer has left, the oldest layer first.
    layers: Vec<&'a [PatchRun]>,
}

impl Overlay {
    /// The same with further patches: `addresses` are those of the patches from `covered` on.
    #[must_use]
    pub(crate) fn with(&self, first: u32, addresses: &[u64]) -> Self {
        let mut next = self.clone();
        next.first = first;
        let mut entries: Vec<(u64, u64)> = addresses.iter().copied().zip(self.covered..).collect();
        // Of one address the last patch counts.
        entries.sort_by_key(|&(address, _)| address);
        entries.reverse();
        entries.dedup_by_key(|&mut (address, _)| address);
        let mut layer = Layer::default();
        for &(address, patch) in entries.iter().rev() {
            layer.push(PatchRun { start: address, end: address.saturating_add(1), patch });
        }
        next.covered += addresses.len() as u64;
        if !layer.runs.is_empty() {
            next.layers.push(Arc::new(layer));
        }
        next.merge();
        next
    }

    /// Joins layers until each is at least twice as large as the one after it.
    fn merge(&mut self) {
        while let [.., older, newer] = self.layers.as_slice() {
            if older.runs.len() >= 2 * newer.runs.len() {
                break;
            }
            let joined = Arc::new(older.merged(newer));
            self.layers.truncate(self.layers.len() - 2);
            self.layers.push(joined);
        }
    }

    /// The patch of an address.
    pub(crate) fn get(&self, address: u64) -> Option<u64> {
        let run = |layer: &Arc<Layer>| layer.from(address).first().filter(|run| run.start <= address).copied();
        self.layers.iter().rev().find_map(run).map(|run| run.patch + (address - run.start))
    }

    /// The patches from an address on.
    pub(crate) fn cursor(&self, address: u64) -> Cursor<'_> {
        Cursor { layers: self.layers.iter().map(|layer| layer.from(address)).collect() }
    }
}

impl Cursor<'_> {
    /// The first patches at or after `address`, as far as they run. `address` never goes back.
    pub(crate) fn seek(&mut self, address: u64) -> Option<PatchRun> {
        let mut found: Option<PatchRun> = None;
        for layer in &mut self.layers {
            skip(layer, address);
            let Some(run) = layer.first().map(|run| run.from(address)) else { continue };
            found = match found {
                Some(older) if older.start < run.start => Some(older.until(run.start)),
                _ => Some(run),
            };
        }
        found
    }
}

/// Leaves out the runs that end before an address, which mostly is near.
fn skip(runs: &mut &[PatchRun], address: u64) {
    const NEAR: usize = 4;
    let near = runs.iter().take(NEAR).take_while(|run| run.end <= address).count();
    let before = if near < NEAR { near } else { runs.partition_point(|run| run.end <= address) };
    *runs = runs.get(before..).unwrap_or_default();
}

impl PatchRun {
    /// The part at and after an address before the end.
    fn from(self, address: u64) -> Self {
        let start = self.start.max(address);
        Self { start, end: self.end, patch: self.patch + (start - self.start) }
    }

    /// The part before an address.
    fn until(self, address: u64) -> Self {
        Self { end: self.end.min(address), ..self }
    }
}

impl Layer {
    /// The runs that end after an address.
    fn from(&self, address: u64) -> &[PatchRun] {
        let start = self.runs.partition_point(|run| run.end <= address);
        self.runs.get(start..).unwrap_or_default()
    }

    /// Adds a run after the others.
    fn push(&mut self, run: PatchRun) {
        match self.runs.last_mut() {
            Some(last) if last.end == run.start && last.patch + (last.end - last.start) == run.patch => {
                last.end = run.end;
            }
            _ => self.runs.push(run),
        }
    }

    /// Both, where the newer wins.
    fn merged(&self, newer: &Self) -> Self {
        let mut all = Self { runs: Vec::with_capacity(self.runs.len() + newer.runs.len()) };
        let mut older = self.runs.iter().copied();
        let mut left = older.next();
        for &run in &newer.runs {
            while let Some(before) = left.filter(|o| o.start < run.start) {
                all.push(before.until(run.start));
                left = if before.end > run.start { Some(before.from(run.start)) } else { older.next() };
            }
            all.push(run);
            while let Some(hidden) = left.filter(|o| o.start < run.end) {
                left = if hidden.end > run.end { Some(hidden.from(run.end)) } else { older.next() };
            }
        }
        left.into_iter().chain(older).for_each(|run| all.push(run));
        all
    }
}

/// The segments that addresses are in.
pub(crate) fn segments_of(addresses: &ArrayRef) -> BTreeSet<u32> {
    let Some(addresses) = addresses.as_primitive_opt::<UInt64Type>() else { return BTreeSet::new() };
    let mut segments = BTreeSet::new();
    let mut last = None;
    for address in addresses.values() {
        let segment = (address >> 32) as u32;
        if last != Some(segment) {
            segments.insert(segment);
            last = Some(segment);
        }
    }
    debug_assert_eq!(addresses.null_count(), 0);
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Whatever the order of the patches, the overlay gives the newest of each address.
        #[test]
        fn the_newest_patch_counts(
            chunks in prop::collection::vec(prop_oneof![
                prop::collection::vec(0_u64..200, 0..30),
                (0_u64..200, 0_u64..30).prop_map(|(start, len)| (start..(start + len).min(200)).collect()),
            ], 0..40),
            start in 0_u64..220,
            len in 0_u64..100,
        ) {
            let mut overlay = Overlay::default();
            let mut model = BTreeMap::new();
            let mut number = 0;
            for chunk in &chunks {
                overlay = overlay.with(7, chunk);
                for &address in chunk {
                    model.insert(address, number);
                    number += 1;
                }
            }
            prop_assert_eq!(overlay.covered, number);
            for address in 0..220 {
                prop_assert_eq!(overlay.get(address), model.get(&address).copied());
            }
            let expected: Vec<(u64, u64)> = model.range(start..start + len).map(|(a, n)| (*a, *n)).collect();
            let (mut found, mut cursor, mut at) = (Vec::new(), overlay.cursor(start), start);
            while let Some(run) = cursor.seek(at).filter(|run| run.start < start + len) {
                prop_assert!(run.start >= at && run.end > run.start);
                found.extend((run.start..run.end.min(start + len)).zip(run.patch..));
                at = run.end;
            }
            prop_assert_eq!(found, expected);
            // Few layers, however many commits.
            prop_assert!(overlay.layers.len() <= 9, "{} layers", overlay.layers.len());
        }
    }

    #[test]
    fn rows_that_are_replaced_together_are_one_run() {
        let all: Vec<u64> = (0..1000).collect();
        let overlay = Overlay::default().with(7, &all);
        assert_eq!(overlay.cursor(0).seek(10), Some(PatchRun { start: 10, end: 1000, patch: 10 }));
        let overlay = overlay.with(7, &[500]);
        let mut cursor = overlay.cursor(0);
        assert_eq!(cursor.seek(10), Some(PatchRun { start: 10, end: 500, patch: 10 }));
        assert_eq!(cursor.seek(500), Some(PatchRun { start: 500, end: 501, patch: 1000 }));
        assert_eq!(cursor.seek(501), Some(PatchRun { start: 501, end: 1000, patch: 501 }));
        assert_eq!(cursor.seek(1000), None);
    }
}
