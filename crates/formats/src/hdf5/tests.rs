//! What reads the structures of a file, given bytes that were changed. Their checksums are not looked at here: who makes a
//! file to do harm makes those, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use hdf5_pure::MaxExtent;
use hyperslab_core::{ArraySource, ErrorKind};

use super::Hdf5File;
use super::chunk_index::stored_chunks;
use super::encode::lookup3;
use super::header::Header;
use super::heap::Heaps;
use super::layout::{Index, Layout, fill_value, is_null};
use super::links::{Found, Objects};
use super::structure::{Addressing, IGNORED, Structure};
use crate::chunks::grid::Grid;
use crate::container::Container;

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

fn numbers(all: &[u64]) -> Vec<u8> {
    all.iter().flat_map(|n| n.to_le_bytes()).collect()
}

/// An object header of version 1.
fn header(messages: &[(u16, &[u8])]) -> Vec<u8> {
    let message = |&(kind, body): &(u16, &[u8])| {
        let length = (body.len() as u16).to_le_bytes();
        [&kind.to_le_bytes()[..], &length, &[0; 4], body].concat()
    };
    let all: Vec<u8> = messages.iter().flat_map(message).collect();
    let count = messages.len() as u8;
    [&[1, 0, count, 0, 1, 0, 0, 0][..], &(all.len() as u32).to_le_bytes(), &[0; 4], &all].concat()
}

/// A file in the old style: a group with a name of so many bytes has members that are the dataset of a header, or
/// soft links where there is none, all by the same name.
fn one_many_times(name: usize, members: u16, dataset: Option<&[u8]>) -> Vec<u8> {
    const ROOT: u64 = 48;
    const GROUP: u64 = 88;
    const TREES: [u64; 2] = [128, 168];
    const NODES: [u64; 2] = [208, 256];
    let heap = NODES[1] + 8 + 40 * u64::from(members);
    let names = [b"a\0".to_vec(), vec![b'n'; name], vec![0]].concat();
    let last = heap + 32 + names.len() as u64;
    let eof = last + dataset.map_or(0, <[u8]>::len) as u64;
    let mut all = [&b"\x89HDF\r\n\x1a\n\x02\x08\x08\0"[..], &numbers(&[0, u64::MAX, eof, ROOT])].concat();
    let sum = lookup3(&all);
    all.extend(sum.to_le_bytes());
    all.extend(TREES.iter().flat_map(|&tree| header(&[(0x11, &numbers(&[tree, heap]))])));
    for node in NODES {
        all.extend([&b"TREE\0\0\x01\0"[..], &numbers(&[u64::MAX, u64::MAX, 0, node])].concat());
    }
    all.extend([&b"SNOD\x01\0\x01\0"[..], &numbers(&[2, GROUP, 0, 0, 0])].concat());
    all.extend([&b"SNOD\x01\0"[..], &members.to_le_bytes()].concat());
    let member = if dataset.is_some() { [0, last, 0, 0, 0] } else { [0, u64::MAX, 2, 0, 0] };
    (0..members).for_each(|_| all.extend(numbers(&member)));
    all.extend([&b"HEAP\0\0\0\0"[..], &numbers(&[names.len() as u64, u64::MAX, heap + 32]), &names].concat());
    assert_eq!(all.len() as u64, last);
    all.extend_from_slice(dataset.unwrap_or_default());
    all
}

#[test]
fn paths_and_fields_take_no_more_memory_than_the_file_is_worth() {
    let folder = tempfile::tempdir().unwrap();
    let open = |bytes: &[u8]| {
        let path = folder.path().join("a.h5");
        std::fs::write(&path, bytes).unwrap();
        Hdf5File::open(&path)
    };
    let plain = header(&[(0x08, &[0; 8])]);
    let few = open(&one_many_times(2000, 20, Some(&plain))).unwrap();
    assert_eq!(few.entries.len(), 20);
    assert!(few.entries.iter().all(|e| e.name == format!("{}/a", "n".repeat(2000))));
    // Soft links that lead to themselves.
    assert!(open(&one_many_times(2000, 20, None)).unwrap().entries.is_empty());
    // Of one axis; a compound of integers of two bytes, whose names, offsets and types follow; nowhere.
    let member = |n: u16| {
        let integer = [0x10, 0, 0, 0, 2, 0, 0, 0, 0, 0, 16, 0];
        [format!("f{n:04}\0").as_bytes(), &(2 * n).to_le_bytes(), &integer].concat()
    };
    let compound =
        [&[0x36, 0xd0, 7, 0, 0xa0, 0x0f, 0, 0][..], &(0..2000).flat_map(member).collect::<Vec<u8>>()].concat();
    let space = [&[2, 1, 0, 1][..], &numbers(&[3])].concat();
    let layout = [&[3, 1][..], &numbers(&[u64::MAX, 12000])].concat();
    let wide = header(&[(0x01, &space), (0x03, &compound), (0x08, &layout)]);
    let few = open(&one_many_times(1, 20, Some(&wide))).unwrap();
    assert!(
        few.entries.len() == 20 && few.entries.iter().all(|e| e.fields.len() == 2000),
        "{:?}",
        few.entries[0].dtype
    );
    // The paths would have 600 MB, the fields 100 MB.
    for (name, members, dataset) in [(200_000, 3000, Some(&plain)), (200_000, 3000, None), (1, 500, Some(&wide))] {
        let bytes = one_many_times(name, members, dataset.map(Vec::as_slice));
        assert!(bytes.len() < 400_000);
        let error = open(&bytes).map(|file| file.entries.len()).unwrap_err();
        assert!(error.to_string().contains("many times as large"), "{error}");
    }
}

#[test]
fn collections_of_text_in_each_other_come_to_an_end() {
    let (_, addressing, ..) = file("newest.h5");
    let (count, first) = (1000, 32);
    let mut bytes = vec![0; first];
    for n in 0..count {
        bytes.extend(b"GCOL\x01\0\0\0");
        bytes.extend(numbers(&[(count - n) * 32 + 16]));
        // An object; its 16 bytes are the first of the next collection.
        bytes.extend(numbers(&[n + 1, 16]));
    }
    bytes.extend([0; 16]);
    let mut heaps = Heaps::new(Structure::new(&bytes, addressing));
    let mut get = |n: u64| {
        let reference = [&16_u32.to_le_bytes()[..], &numbers(&[first as u64 + n * 32]), &(n as u32 + 1).to_le_bytes()];
        heaps.get(&reference.concat()).map(<[u8]>::len)
    };
    assert!((0..4).all(|n| get(n).unwrap() == 16 && get(0).unwrap() == 16), "each is read once");
    assert!((4..10).any(|n| get(n).is_err()), "they have many times the bytes of the file");
}

#[test]
fn what_cannot_be_read_is_listed_and_the_others_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["newest.h5", "oldest.h5"] {
        let (good, addressing, root, _) = file(name);
        let path = folder.path().join(name);
        let open = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Hdf5File::open(&path)
        };
        let entries = open(&good).unwrap().entries;
        for broken in ["plain", "links"] {
            let mut objects = Objects::new(Structure::new(&good, addressing), root);
            let found = objects.find(&objects.root(), broken).unwrap().unwrap();
            let mut bytes = good.clone();
            bytes[found.address as usize] ^= 0xff;
            let damaged = open(&bytes).unwrap();
            let of = |name: &str| damaged.entries.iter().find(|e| e.name == name);
            // A soft link that leads to it, or through it.
            for unknown in [broken, "soft"] {
                let entry = of(unknown).unwrap();
                assert_eq!((entry.dtype.as_str(), entry.fields.len()), ("unknown", 0), "{name} {broken}: {unknown}");
                for error in [damaged.dataset(unknown).map(drop), damaged.open(unknown).map(drop)] {
                    let error = error.unwrap_err();
                    assert_ne!(error.kind(), ErrorKind::NotFound, "{name} {unknown}: {error}");
                    assert!(error.to_string().contains(unknown) && error.to_string().contains(name), "{error}");
                }
            }
            let others =
                entries.iter().filter(|e| e.name != broken && e.name != "soft" && !e.name.starts_with("links"));
            assert!(others.clone().count() > 15);
            for other in others {
                assert_eq!(of(&other.name), Some(other), "{name} {broken}");
                let source = damaged.dataset(&other.name).unwrap();
                source.read(0, 0..source.rows()).unwrap();
            }
        }
        let mut bytes = good.clone();
        bytes[root as usize] ^= 0xff;
        let error = open(&bytes).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn links_with_names_of_thousands_of_bytes_are_read() {
    IGNORED.set(true);
    let (_, addressing, ..) = file("newest.h5");
    let names: Vec<_> = [5000, 60_000].map(|n| "n".repeat(n)).into();
    let links: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let length = (name.len() as u16).to_le_bytes();
            [&[1, 1][..], &length, name.as_bytes(), &numbers(&[7 + n as u64])].concat()
        })
        .collect();
    // A B-tree of one leaf, its header at an address.
    let tree = |at: usize, kind: u8, records: &[Vec<u8>]| {
        let record = (records[0].len() as u16).to_le_bytes();
        let head = [&b"BTHD\0"[..], &[kind, 0, 2, 0, 0], &record, &[0; 4], &numbers(&[at as u64 + 38])].concat();
        let head =
            [&head[..], &(records.len() as u16).to_le_bytes(), &numbers(&[records.len() as u64]), &[0; 4]].concat();
        [&head[..], b"BTLF\0", &[kind], &records.concat(), &[0; 4]].concat()
    };
    // The header of the group, then the heap's, the names' and the huge objects' tree, the links.
    let (heap, by_name, huge, first) = (64, 256, 512, 1024);
    let file = |found: u64| {
        let mut bytes = header(&[(0x02, &[&[0, 0][..], &numbers(&[heap as u64, by_name as u64])].concat())]);
        bytes.resize(heap, 0);
        bytes.extend(b"FRHP\0\x07\0\0\0\0\0\x10\0\0");
        bytes.extend(numbers(&[3, huge as u64, 0, u64::MAX, 0, 0, 0, 0, 0, 2, 0, 0]));
        bytes.extend([&[4, 0][..], &numbers(&[512, 65536]), &[32, 0, 1, 0], &numbers(&[u64::MAX]), &[0; 6]].concat());
        bytes.resize(by_name, 0);
        // A hash, and a reference to the huge object of a number.
        bytes.extend(tree(by_name, 5, &[1, 2].map(|n| vec![0, 0, 0, 0, 0x10, n, 0, 0, 0, 0, 0])));
        bytes.resize(huge, 0);
        let starts = [first, first + links[0].len()];
        let record = |n: usize| numbers(&[starts[n] as u64, links[n].len() as u64, n as u64 + found]);
        bytes.extend(tree(huge, 1, &[record(0), record(1)]));
        bytes.resize(first, 0);
        [bytes, links.concat()].concat()
    };
    let bytes = file(1);
    let mut objects = Objects::new(Structure::new(&bytes, addressing), 0);
    for (n, name) in names.iter().enumerate() {
        assert_eq!(objects.find(&objects.root(), name).unwrap().unwrap().address, 7 + n as u64);
    }
    // Objects of other numbers.
    let bytes = file(2);
    let error = Objects::new(Structure::new(&bytes, addressing), 0).object(0).map(drop).unwrap_err();
    assert!(error.to_string().contains("beyond its group's heap"), "{error}");
    IGNORED.set(false);
}
