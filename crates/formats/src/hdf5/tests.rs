//! What reads the structures of a file, given bytes that were changed. Their checksums are not looked at here: who makes a
//! file to do harm makes those, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use hdf5_pure::MaxExtent;

use super::Hdf5File;
use super::chunk_index::stored_chunks;
use super::header::Header;
use super::layout::{Index, Layout, fill_value, is_null};
use super::links::{Found, Objects};
use super::structure::{Addressing, IGNORED, Structure};
use crate::chunks::grid::Grid;

/// Files of every index of chunks and kind of link (`tests/data/make_hdf5.py`).
const FILES: [&str; 3] = ["newest.h5", "oldest.h5", "blocks.h5"];

/// A dataset as the unchanged file has it: its header, shape, the lengths that it may grow to.
struct Known {
    name: String,
    address: u64,
    shape: Vec<u64>,
    most: Vec<Option<u64>>,
}

/// A file's bytes, how it stores addresses, its root group and its datasets.
fn file(name: &str) -> (Vec<u8>, Addressing, u64, Vec<Known>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let file = Hdf5File::open(&path).unwrap();
    let known = |name: &str| {
        let mut objects = file.objects().unwrap();
        let found = objects.find(&objects.root(), name).unwrap().unwrap();
        let dataset = file.library.dataset(found.address).unwrap();
        let shape = dataset.shape().unwrap();
        let most = match dataset.maxshape().unwrap() {
            Some(most) => most.iter().map(|n| if let MaxExtent::Fixed(n) = n { Some(*n) } else { None }).collect(),
            None => shape.iter().copied().map(Some).collect(),
        };
        Known { name: name.to_owned(), address: found.address, shape, most }
    };
    let datasets = file.entries.iter().map(|entry| known(&entry.name)).collect();
    let root = file.objects().unwrap().root().address;
    (std::fs::read(&path).unwrap(), file.library.addressing(), root, datasets)
}

/// Reads all structures that lead to the values of a dataset; gives its index and its number of chunks.
fn chunks(bytes: &[u8], addressing: Addressing, known: &Known) -> hyperslab_core::Result<Option<(Index, usize)>> {
    let structure = Structure::new(bytes, addressing);
    let header = Header::read(&mut structure.walk(), known.address)?;
    let _ = (fill_value(&header), is_null(&header));
    let Layout::Chunked(layout) = Layout::read(&header)? else { return Ok(None) };
    let grid = Grid::new(&known.shape, &layout.chunk, 4)?;
    let found = stored_chunks(&structure, &layout, &grid, &known.most)?;
    Ok(Some((layout.index, found.len())))
}

#[test]
fn the_files_have_every_index() {
    let mut found = Vec::new();
    for name in FILES {
        let (bytes, addressing, _, datasets) = file(name);
        for known in &datasets {
            if let Some((index, count)) = chunks(&bytes, addressing, known).unwrap() {
                assert!(count > 0, "{name} {}", known.name);
                found.push(std::mem::discriminant(&index));
            }
        }
    }
    let all =
        [Index::BTree1, Index::Single(None), Index::Implicit, Index::FixedArray, Index::ExtensibleArray, Index::BTree2];
    assert!(all.iter().all(|index| found.contains(&std::mem::discriminant(index))));
}

#[test]
fn changed_structures_are_read_or_refused() {
    IGNORED.set(true);
    // xorshift64*, so that each run is the same.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |n: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    };
    for name in FILES {
        let (good, addressing, root, datasets) = file(name);
        let places: Vec<usize> = (0..good.len() - 8).filter(|&at| good[at] != 0).collect();
        let (mut read, mut refused) = (0, 0);
        for _ in 0..400 {
            let mut bytes = good.clone();
            for _ in 0..1 + below(12) {
                let at = places[below(places.len())];
                match below(5) {
                    0 => bytes[at] ^= 1 << below(8),
                    1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][below(5)],
                    2 => bytes[at..at + 8].fill(0xff),
                    // An address of something else.
                    3 => bytes[at..at + 8].copy_from_slice(&(places[below(places.len())] as u64).to_le_bytes()),
                    _ => {
                        let from = places[below(places.len())];
                        bytes.copy_within(from..from + 8, at);
                    }
                }
            }
            if below(8) == 0 {
                bytes.truncate(below(good.len()));
            }
            for known in &datasets {
                match chunks(&bytes, addressing, known) {
                    // A chunk takes 40 bytes here, and 8 in the smallest index; without an index, one of 4 bytes.
                    Ok(Some((_, count))) => assert!(count <= bytes.len() / 2, "{name} {}: {count} chunks", known.name),
                    Ok(None) => read += 1,
                    Err(_) => refused += 1,
                }
            }
            let mut objects = Objects::new(Structure::new(&bytes, addressing), root);
            for path in ["links/soft0", "links/up/links/soft7", "links/circle", "soft", "levels"] {
                let _ = objects.find(&Found { address: root, path: String::new() }, path);
            }
        }
        assert!(refused > 100 && (read > 100 || name == "blocks.h5"), "{name}: {read} read, {refused} refused");
    }
    IGNORED.set(false);
}

/// The places of a signature.
fn places(bytes: &[u8], signature: &[u8; 4]) -> Vec<usize> {
    (0..bytes.len() - 4).filter(|&at| &bytes[at..at + 4] == signature).collect()
}

#[test]
fn structures_that_lead_to_themselves_come_to_an_end() {
    IGNORED.set(true);
    for (name, signature, dataset) in [("newest.h5", b"BTIN", "levels"), ("oldest.h5", b"TREE", "levels")] {
        let (mut bytes, addressing, _, datasets) = file(name);
        let known = datasets.iter().find(|known| known.name == dataset).unwrap();
        chunks(&bytes, addressing, known).unwrap();
        // Whatever a node leads to is that node.
        for at in places(&bytes, signature) {
            for field in at + 8..(at + 2048).min(bytes.len() - 8) {
                let address = u64::from_le_bytes(bytes[field..field + 8].try_into().unwrap()) as usize;
                if [b"BTLF".as_slice(), b"TREE", b"BTIN"]
                    .iter()
                    .any(|s| bytes.get(address..).is_some_and(|b| b.starts_with(s)))
                {
                    bytes[field..field + 8].copy_from_slice(&(at as u64).to_le_bytes());
                }
            }
        }
        assert!(chunks(&bytes, addressing, known).is_err(), "{name}");
    }
    // A header that goes on with itself.
    let continuation = [0x10, 0, 16, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0];
    let bytes = [&[1, 0, 1, 0, 1, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0][..], &continuation].concat();
    let (_, addressing, ..) = file("newest.h5");
    let error = Header::read(&mut Structure::new(&bytes, addressing).walk(), 0).unwrap_err();
    assert!(error.to_string().contains("circles"), "{error}");
    IGNORED.set(false);
}
