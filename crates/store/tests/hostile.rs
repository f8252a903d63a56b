//! Files of a store that were made to do harm, and good ones changed at random, are read or refused: no panic, and no memory
//! beyond what a file of that size is worth. `HYPERSLAB_SEED=<n>` changes them otherwise, `HYPERSLAB_RUNS=<n>` so many
//! times each. And packing takes the memory of some frames, whatever the store holds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, dead_code)]

#[path = "../../formats/tests/allocations/mod.rs"]
mod allocations;
#[path = "engine/common.rs"]
mod common;
#[path = "engine/everything.rs"]
mod everything;
#[path = "../../formats/tests/mutations/mod.rs"]
mod mutations;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use hyperslab_core::ErrorKind;
use hyperslab_store::testing::targets::{TARGETS, archive_as_pack};
use hyperslab_store::{ArrayOptions, Codec, PackOptions, Store, UnpackOptions, unpack, verify_pack};

/// Bytes that one allocation may have: files here have some ten thousand bytes.
const MOST: usize = 32 << 20;

/// One after the other, since all allocations are watched.
static ALONE: Mutex<()> = Mutex::new(());

/// The files below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
    found.sort();
}

/// A sealed text without its checksum.
fn unsealed(bytes: &[u8]) -> Vec<u8> {
    [&bytes[..bytes.len() - 22], b"}"].concat()
}

/// Good files of each target.
fn good() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.slab");
    let store = everything::everything(&path);
    let mut tx = store.begin().unwrap();
    let options = ArrayOptions { shard_bytes: 1 << 20, codec: Codec::Zstd(3), ..ArrayOptions::default() };
    tx.create("compressed", common::fields(), options).unwrap();
    tx.append_ndarray("compressed", &common::rows(0, 100_000)).unwrap();
    tx.commit().unwrap();
    let snapshot = store.snapshot().unwrap();
    let mut found = Vec::new();
    files(&path, &mut found);
    let pack = folder.path().join("demo.tar.zst");
    store.pack(&pack, &PackOptions { all_versions: true, ..PackOptions::default() }).unwrap();
    let pin =
        found.iter().find(|path| path.parent().unwrap().ends_with("_pins")).map(|path| std::fs::read(path).unwrap());
    drop((snapshot, store));
    let of = |end: &str| -> Vec<Vec<u8>> {
        found
            .iter()
            .filter(|path| path.to_str().unwrap().ends_with(end))
            .map(|path| std::fs::read(path).unwrap())
            .collect()
    };
    let is_entry = |path: &&PathBuf| path.file_name().is_some_and(|name| name.len() == 25);
    let entries: Vec<Vec<u8>> =
        found.iter().filter(is_entry).map(|path| unsealed(&std::fs::read(path).unwrap())).collect();
    assert!(entries.len() > 10);
    let headers: Vec<Vec<u8>> = of(".npy").iter().take(8).map(|file| file[..4096].to_vec()).collect();
    let pin = pin.unwrap();
    let pin = pin[..=pin.iter().position(|&b| b == b'\n').unwrap()].to_vec();
    let pack = std::fs::read(pack).unwrap();
    vec![
        ("log_entries", vec![entries.join(&b'\n')]),
        ("checkpoint", of(".checkpoint.json").iter().map(|bytes| unsealed(bytes)).collect()),
        ("store_file", of("hyperslab.json")),
        ("pin", vec![unsealed(&pin)]),
        ("shard_header", headers),
        ("compressed_shard", of(".zst")),
        ("deleted_rows", of(".roaring")),
        ("pack_archive", vec![zstd::stream::decode_all(&pack[..]).unwrap(), small_archive()]),
        ("pack", vec![pack]),
    ]
}

#[test]
fn damaged_files_of_a_store_are_read_or_refused() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let good = good();
    assert_eq!(good.len(), TARGETS.len());
    for (name, target) in TARGETS {
        let (_, files) = good.iter().find(|(of, _)| of == name).unwrap();
        assert!(!files.is_empty(), "{name}");
        // A pack is read whole, through a file; texts and headers are not.
        let runs = if name.starts_with("pack") { 300 } else { 2000 };
        mutations::run(name, *target, files, runs, MOST);
    }
}

#[test]
fn hostile_texts_are_refused() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let texts: [Vec<u8>; 6] = [
        br#"{"a":"#.repeat(100_000),
        b"[".repeat(100_000),
        [br#"{"version":"#.to_vec(), b"9".repeat(100_000), b"}".to_vec()].concat(),
        br#"{"format":1,"id":"00000000-0000-0000-0000-000000000001","in_place":true,"dirs":["../../.."]}"#.to_vec(),
        Vec::new(),
        vec![0; 4096],
    ];
    // A table of frames that claims 1 GiB for eight bytes.
    let table = [
        &[0; 8][..],
        &0x184D_2A5E_u32.to_le_bytes(),
        &17_u32.to_le_bytes(),
        &8_u32.to_le_bytes(),
        &(1_u32 << 30).to_le_bytes(),
        &1_u32.to_le_bytes(),
        &[0],
        &0x8F92_EAB1_u32.to_le_bytes(),
    ];
    // A bitmap of 2^32 - 1 containers, and a run container that runs over.
    let bitmaps: [&[u8]; 2] = [
        &[0x3a, 0x30, 0, 0, 0xff, 0xff, 0xff, 0xff],
        &[0x3b, 0x30, 0, 0, 1, 0, 0, 0xff, 0xff, 1, 0, 0xff, 0xff, 0xff, 0xff],
    ];
    for (name, target) in TARGETS {
        for bytes in texts.iter().map(Vec::as_slice).chain([table.concat().as_slice()]).chain(bitmaps) {
            mutations::call(name, *target, bytes, MOST, "made by hand");
        }
    }
}

/// A member of a tar archive, made by hand.
fn member(path: &[u8], kind: u8, target: &str, size: u64, bytes: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..path.len()].copy_from_slice(path);
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000000\0");
    block[156] = kind;
    block[157..157 + target.len()].copy_from_slice(target.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    // The checksum, as `targets` would make it good.
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend_from_slice(bytes);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

/// The archive of a pack of a small store with two equal shards.
fn small_archive() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let store = common::in_folder(folder.path().join("demo.slab"));
    common::create(&store, "a", 4096, 30);
    common::create(&store, "b", 4096, 30);
    let pack = folder.path().join("demo.tar.zst");
    store.pack(&pack, &PackOptions::default()).unwrap();
    zstd::stream::decode_all(&std::fs::read(pack).unwrap()[..]).unwrap()
}

/// Where the members of an archive begin.
fn members(archive: &[u8]) -> Vec<usize> {
    let (mut at, mut found) = (0, Vec::new());
    while archive[at] != 0 {
        let size = std::str::from_utf8(&archive[at + 124..at + 135]).unwrap();
        found.push(at);
        at += 512 + usize::from_str_radix(size, 8).unwrap().next_multiple_of(512);
    }
    found
}

#[test]
fn hostile_archives_write_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    let archive = small_archive();
    let starts = members(&archive);
    assert!(starts.len() >= 8, "{starts:?}");
    let (head, rest) = archive.split_at(starts[1]);
    let refused = |what: &str, archive: &[u8], says: &str| {
        let pack = inside.join("a.tar.zst");
        std::fs::write(&pack, archive_as_pack(archive).unwrap()).unwrap();
        let error = unpack(&pack, inside.join("a.slab"), &UnpackOptions::default()).expect_err(what);
        assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Io), "{what}: {error}");
        assert!(error.to_string().contains(says), "{what}: {error}");
        std::fs::remove_file(&pack).unwrap();
        let mut left = Vec::new();
        files(folder.path(), &mut left);
        assert_eq!(left, Vec::<PathBuf>::new(), "{what}");
        assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 0, "{what}");
    };
    let before = |member: Vec<u8>| [head, &member, rest].concat();
    let file = |path: &[u8]| before(member(path, b'0', "", 3, b"abc"));
    for path in [
        &b"/etc/x"[..],
        b"../x",
        b"demo.slab/../../x",
        b"demo.slab//x",
        b"demo.slab/./x",
        b"x",
        b"demo.slab/x",
        b"\\x",
        b"c:x",
        b"demo.slab/_log/../../x",
        b"demo.slab/arrays/00000000-0000-0000-0000-000000000000/../../../x",
        b"demo.slab/_log/lock",
        b"demo.slab/_pins/x",
        b"demo.slab/arrays/x/y",
        b"",
    ] {
        refused(&String::from_utf8_lossy(path), &file(path), "");
    }
    refused("a name with NUL", &file(b"demo.slab/_log\0/x"), "no text");
    refused("a name that is no UTF-8", &file(b"demo.slab/\xff"), "no text");
    let last = |bytes: &[u8]| [&archive[..starts[2]], bytes, &archive[starts[2]..]].concat();
    refused("the same name twice", &last(&archive[starts[1]..starts[2]]), "twice or out of order");
    let swapped =
        [head, &archive[starts[2]..starts[3]], &archive[starts[1]..starts[2]], &archive[starts[3]..]].concat();
    refused("another order", &swapped, "twice or out of order");
    for (kind, what) in
        [(b'2', "a symbolic link"), (b'3', "a device"), (b'5', "a folder"), (b'6', "a pipe"), (b'L', "a GNU name")]
    {
        refused(what, &before(member(b"demo.slab/_log/0", kind, "/etc/passwd", 0, b"")), "holds files only");
    }
    let name = b"demo.slab/_log/00000000000000000000.json";
    for target in ["/etc/passwd", "../../../etc/passwd", "demo.slab/hyperslab.json", ""] {
        refused("a link out", &before(member(name, b'1', target, 0, b"")), "link to what is no file before it");
    }
    refused("more than was said", &before(member(name, b'0', "", 3, b"abc")), "and holds more");
    refused("a size behind the end", &before(member(name, b'0', "", 1 << 30, b"abc")), "and holds more");
    refused("the largest size", &before(member(name, b'0', "", (1 << 33) - 1, b"abc")), "and holds more");
    let pax = |text: &str| member(b"pax_header", b'x', "", text.len() as u64, text.as_bytes());
    refused("a pax path", &before(pax("20 path=/etc/passwd\n")), "which packs do not");
    refused("a pax size", &before([pax("29 size=18446744073709551615\n"), file(name)].concat()), "");
    refused("two pax headers", &before([pax("11 size=12\n"), pax("11 size=12\n")].concat()), "");
    refused("no member", &[head, &[0; 1024]].concat(), "it ends before SHA256SUMS");
    refused("a file less", &[head, &archive[starts[2]..]].concat(), "");
    refused("no end", &archive[..archive.len() - 512], "");
    refused("more behind the end", &[&archive[..], &[0; 512]].concat(), "goes on after its end");
    refused(
        "something behind a file",
        &{
            let mut archive = archive.clone();
            archive[starts[2] - 1] = 1;
            archive
        },
        "between the members",
    );
    let mut other = archive.clone();
    let shard = archive.windows(6).position(|window| window == b"\x93NUMPY").unwrap();
    other[shard + 4096 + 5] ^= 1;
    refused("another value", &other, "SHA256SUMS has the checksums");
    refused("no head", rest, "does not begin as a pack");
    refused("nothing", &[], "");
}

/// What the head of an archive says, changed; its checksum is made good.
fn with_head(archive: &[u8], change: impl Fn(String) -> String) -> Vec<u8> {
    let end = members(archive)[1];
    let record = String::from_utf8(archive[512..end].to_vec()).unwrap();
    let text = record.trim_end_matches('\0').trim_end().split_once('=').unwrap().1.to_owned();
    let body = change(text[..text.len() - 21].to_owned());
    let text = format!("{body},\"crc32c\":\"{:08x}\"}}", crc32c::crc32c(body.as_bytes()));
    let mut len = text.len() + 10;
    len += len.to_string().len();
    let len = if len.to_string().len() == (text.len() + 10).to_string().len() { len } else { len + 1 };
    let record = format!("{len} comment={text}\n");
    [member(b"pax_global_header", b'g', "", record.len() as u64, record.as_bytes()), archive[end..].to_vec()].concat()
}

#[test]
fn what_a_pack_says_is_held_against_what_it_holds() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let archive = small_archive();
    let error = |change: &dyn Fn(String) -> String| {
        let pack = folder.path().join("a.tar.zst");
        std::fs::write(&pack, archive_as_pack(&with_head(&archive, change)).unwrap()).unwrap();
        let error = unpack(&pack, folder.path().join("a.slab"), &UnpackOptions::default()).map(drop);
        assert!(!folder.path().join("a.slab").exists() || error.is_ok());
        error.map_err(|e| e.to_string())
    };
    let number = |text: String, key: &str, value: u64| {
        let at = text.find(&format!("\"{key}\":")).unwrap() + key.len() + 3;
        let end = at + text[at..].find([',', '}']).unwrap_or(text.len() - at);
        format!("{}{value}{}", &text[..at], &text[end..])
    };
    let with = |key: &'static str, value: u64| error(&move |text| number(text, key, value)).unwrap_err();
    assert!(with("bytes", 1 << 60).contains("has room for"), "the disk is too small");
    assert!(with("bytes", 100).contains("holds more"));
    assert!(with("files", 1 << 40).contains("files"));
    assert!(with("files", 3).contains("holds more"));
    assert!(with("files", 300).contains("it says that it holds 300 files"));
    assert!(with("hyperslab-pack", 2).contains("use a newer hyperslab"));
    assert!(with("version", 77).contains("has no _log/00000000000000000077.checkpoint.json"));
    assert!(error(&|text| text.replacen("\"store\":\"", "\"store\":\"0", 1)).is_err());
    assert_eq!(error(&|text| text), Ok(()));
}

#[test]
fn the_memory_of_packing_is_that_of_some_frames() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let peaks = |name: &str, rows: usize| {
        let store = common::in_folder(folder.path().join(format!("{name}.slab")));
        let mut random = common::Random(5);
        let mut tx = store.begin().unwrap();
        let options = hyperslab_store::ArrayOptions { shard_bytes: 64 << 20, ..Default::default() };
        tx.create("a", common::fields(), options).unwrap();
        tx.append_ndarray("a", &ndarray::Array2::from_shape_fn((rows, 2), |_| random.next() as u32 as f32)).unwrap();
        tx.commit().unwrap();
        let (pack, copy) =
            (folder.path().join(format!("{name}.tar.zst")), folder.path().join(format!("{name} copy.slab")));
        let (packing, report) = allocations::peak(|| store.pack(&pack, &PackOptions::default()).unwrap());
        assert!(report.bytes > rows as u64 * 8);
        let (verifying, _) = allocations::peak(|| verify_pack(&pack).unwrap());
        let (unpacking, _) = allocations::peak(|| unpack(&pack, &copy, &UnpackOptions::default()).unwrap());
        assert_eq!(Store::open(&copy).unwrap().snapshot().unwrap().array("a").unwrap().rows(), rows as u64);
        [packing, verifying, unpacking]
    };
    let (small, large) = (peaks("small", 1 << 20), peaks("large", 4 << 20));
    for (small, large) in small.into_iter().zip(large) {
        assert!(small <= 24 << 20 && large <= small + (1 << 20), "{small} bytes for 8 MiB, {large} for 32 MiB");
    }
}
