//! Patches: values of rows that were replaced, found by address.

use std::collections::BTreeSet;
use std::ops::Range;
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

/// Addresses, ascending, and where the patches of each are: the number of the patch among all of the field.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layer {
    entries: Vec<(u64, u64)>,
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
        let mut layer: Vec<(u64, u64)> = Vec::with_capacity(entries.len());
        for entry in entries {
            match layer.last_mut() {
                Some(last) if last.0 == entry.0 => *last = entry,
                _ => layer.push(entry),
            }
        }
        next.covered += addresses.len() as u64;
        if !layer.is_empty() {
            next.layers.push(Arc::new(Layer { entries: layer }));
        }
        next.merge();
        next
    }

    /// Joins layers until each is at least twice as large as the one after it.
    fn merge(&mut self) {
        while let [.., older, newer] = self.layers.as_slice() {
            if older.entries.len() >= 2 * newer.entries.len() {
                break;
            }
            let joined = Arc::new(older.merged(newer));
            self.layers.truncate(self.layers.len() - 2);
            self.layers.push(joined);
        }
    }

    /// The patch of an address.
    pub(crate) fn get(&self, address: u64) -> Option<u64> {
        self.layers.iter().rev().find_map(|layer| layer.get(address))
    }

    /// The first address at or after `address` that has a patch.
    pub(crate) fn next(&self, address: u64) -> Option<u64> {
        self.layers.iter().filter_map(|layer| layer.from(address).first().map(|entry| entry.0)).min()
    }

    /// The patches of a range of addresses, ascending, each address once.
    pub(crate) fn range(&self, addresses: Range<u64>) -> Vec<(u64, u64)> {
        let within = |layer: &Layer| {
            let from = layer.from(addresses.start);
            let end = from.partition_point(|&(address, _)| address < addresses.end);
            Layer { entries: from.get(..end).unwrap_or_default().to_vec() }
        };
        let mut layers = self.layers.iter().map(|layer| within(layer));
        let first = layers.next().unwrap_or_default();
        layers.fold(first, |older, newer| older.merged(&newer)).entries
    }
}

impl Layer {
    fn from(&self, address: u64) -> &[(u64, u64)] {
        let start = self.entries.partition_point(|entry| entry.0 < address);
        self.entries.get(start..).unwrap_or_default()
    }

    fn get(&self, address: u64) -> Option<u64> {
        self.from(address).first().filter(|entry| entry.0 == address).map(|entry| entry.1)
    }

    /// Both, where the newer wins.
    fn merged(&self, newer: &Self) -> Self {
        if newer.entries.is_empty() {
            return self.clone();
        }
        let mut entries = Vec::with_capacity(self.entries.len() + newer.entries.len());
        let mut older = self.entries.iter().copied().peekable();
        for &entry in &newer.entries {
            while let Some(before) = older.next_if(|o| o.0 < entry.0) {
                entries.push(before);
            }
            let _replaced = older.next_if(|o| o.0 == entry.0);
            entries.push(entry);
        }
        entries.extend(older);
        Self { entries }
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
            chunks in prop::collection::vec(prop::collection::vec(0_u64..200, 0..30), 0..40),
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
                prop_assert_eq!(overlay.next(address), model.range(address..).next().map(|(a, _)| *a));
            }
            let expected: Vec<(u64, u64)> = model.range(start..start + len).map(|(a, n)| (*a, *n)).collect();
            prop_assert_eq!(overlay.range(start..start + len), expected);
            // Few layers, however many commits.
            prop_assert!(overlay.layers.len() <= 9, "{} layers", overlay.layers.len());
        }
    }
}
