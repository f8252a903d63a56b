//! Damaged and hostile files are errors: no panic, no memory beyond what a file of that size is worth.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod allocations;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::{Array, ArrayRef, Int32Array, LargeStringArray, RecordBatch};
use hdf5_pure::{AttrValue, CompoundTypeBuilder, FileBuilder, MaxExtent};
use hyperslab_core::{ArraySource, DType, FieldSpec};
use hyperslab_formats::hdf5::Hdf5File;
use hyperslab_formats::zarr::ZarrFolder;
use hyperslab_formats::{Container, Format, NumPackStore, WriteOptions};
use proptest::test_runner::{RngAlgorithm, TestRng};

/// Bytes that one allocation may have: files here have some ten thousand bytes.
const MOST: usize = 64 << 20;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Random numbers, the same in every run.
fn numbers() -> impl FnMut(usize) -> usize {
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    move |below| {
        use proptest::prelude::Rng;
        (rng.next_u64() % below.max(1) as u64) as usize
    }
}

/// Calls `read` with every truncation (of some hundred) and with many random changes of a file.
fn damage(file: &[u8], path: &Path, rounds: usize, mut read: impl FnMut(&Path)) {
    let mut below = numbers();
    let step = (file.len() / 500).max(1);
    for end in (0..file.len()).step_by(step) {
        std::fs::write(path, &file[..end]).unwrap();
        read(path);
    }
    for _ in 0..rounds {
        let mut bytes = file.to_vec();
        for _ in 0..=below(4) {
            let at = below(bytes.len());
            match below(4) {
                0 => bytes[at] ^= 1 << below(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][below(5)],
                2 => bytes[at..].iter_mut().take(8).for_each(|b| *b = 0xff),
                _ => {
                    let from = below(bytes.len().saturating_sub(16));
                    let piece: Vec<u8> = bytes[from..].iter().take(1 + below(16)).copied().collect();
                    bytes[at..].iter_mut().zip(piece).for_each(|(b, p)| *b = p);
                }
            }
        }
        std::fs::write(path, &bytes).unwrap();
        read(path);
    }
}

/// Reads all of a file that there is to read, and ignores the errors.
fn read_hdf5(path: &Path) {
    let Ok(file) = Hdf5File::open(path) else { return };
    let _ = file.group("/");
    for entry in file.entries().iter().take(50) {
        let Ok(source) = file.dataset(&entry.name) else { continue };
        let _ = source.attributes();
        read_source(&source);
    }
}

fn read_source(source: &dyn ArraySource) {
    for (i, field) in source.fields().iter().enumerate() {
        // A window of any file may have as many rows as who asks can hold.
        let rows = source.rows().min(((1 << 20) / field.row_bytes().max(1)) as u64);
        if field.row_bytes() > 1 << 20 {
            continue;
        }
        let _ = source.read(i, 0..rows);
        let _ = source.read(i, rows / 2..rows);
        let _ = source.take(i, &[source.rows().saturating_sub(1), 0]);
        assert!(source.run_end(i, 0) <= source.rows());
    }
}

fn hdf5_files() -> Vec<Vec<u8>> {
    let mut plain = FileBuilder::new();
    plain.create_dataset("x").with_f64_data(&[1.5; 40]).with_shape(&[10, 4]).set_attr("unit", AttrValue::I64(7));
    let mut group = plain.create_group("g");
    group.create_dataset("words").with_vlen_strings(&["a", "", "some text", "ü"]);
    group.create_dataset("fixed").with_ascii_strings(&["ab", "c"]).unwrap();
    plain.add_group(group.finish());
    let mut chunked = FileBuilder::new();
    let values: Vec<i32> = (0..600).collect();
    chunked
        .create_dataset("a")
        .with_i32_data(&values)
        .with_shape(&[60, 10])
        .with_chunks(&[7, 4])
        .with_shuffle()
        .with_deflate(4);
    chunked
        .create_dataset("b")
        .with_i32_data(&values)
        .with_maxshape(&[MaxExtent::Unlimited])
        .with_chunks(&[50])
        .with_lzf();
    chunked.create_dataset("c").with_i32_data(&values).with_chunks(&[600]).with_fletcher32();
    let mut compound = FileBuilder::new();
    let datatype = CompoundTypeBuilder::new().f64_field("x").i32_field("n").u8_field("b").build().unwrap();
    compound.create_dataset("t").with_compound_data(datatype, (0..130).collect(), 10);
    let mut files: Vec<_> = [plain, chunked, compound].into_iter().map(|b| b.finish().unwrap()).collect();
    files.push(ours());
    files
}

/// A file as it is written here: a B-tree of chunks, heaps of text, a group.
fn ours() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    let options = WriteOptions::new().set("codec", "gzip").set("chunks", "3").set("attributes", r#"{"unit": "m"}"#);
    let fields = [("n", DType::Int32), ("t", DType::Utf8)].map(|(n, d)| FieldSpec::new(n, d, vec![]).unwrap());
    let mut sink = Format::named("hdf5").unwrap().create(&path, &fields, &options).unwrap();
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..20));
    let texts: ArrayRef = Arc::new(LargeStringArray::from_iter_values((0..20).map(|i| "ab".repeat(i))));
    sink.write(&RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap()).unwrap();
    sink.finish().unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn damaged_hdf5_files_are_errors() {
    std::panic::set_hook(Box::new(|panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        eprintln!("{panic}");
    }));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    for file in hdf5_files() {
        std::fs::write(&path, &file).unwrap();
        assert!(!Hdf5File::open(&path).unwrap().entries().is_empty());
        damage(&file, &path, 1000, |path| {
            let (most, ()) = allocations::most(|| read_hdf5(path));
            assert!(most <= MOST, "{most} bytes for a file of {}", file.len());
        });
    }
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "the library panics");
}

/// Reads all of a folder that there is to read, and ignores the errors.
fn read_zarr(path: &Path) {
    let Ok(zarr) = ZarrFolder::open(path) else { return };
    let _ = zarr.group("/");
    for entry in zarr.entries().iter().take(50) {
        if let Ok(source) = zarr.open(&entry.name) {
            read_source(source.as_ref());
        }
    }
}

/// The files of a folder, those of its folders included.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn damaged_zarr_folders_are_errors() {
    std::panic::set_hook(Box::new(|panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        eprintln!("{panic}");
    }));
    let folder = tempfile::tempdir().unwrap();
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..60));
    let texts: ArrayRef = Arc::new(LargeStringArray::from_iter_values((0..60).map(|i| "ab".repeat(i))));
    let new = || WriteOptions::new().set("chunks", "7");
    for (n, (options, column)) in [
        (new(), &numbers),
        (new().set("shards", "28"), &numbers),
        (new().set("version", "2").set("codec", "zlib"), &numbers),
        (new().set("codec", "gzip"), &texts),
    ]
    .into_iter()
    .enumerate()
    {
        let path = folder.path().join(format!("{n}.zarr"));
        let dtype = if column.data_type().is_integer() { DType::Int32 } else { DType::Utf8 };
        let field = FieldSpec::new("x", dtype, vec![]).unwrap();
        let mut sink = Format::named("zarr").unwrap().create(&path, &[field], &options).unwrap();
        sink.write(&RecordBatch::try_from_iter([("x", Arc::clone(column))]).unwrap()).unwrap();
        sink.finish().unwrap();
        let mut found = Vec::new();
        files(&path, &mut found);
        found.sort();
        // The metadata, and a chunk or shard.
        let metadata = found.iter().position(|p| p.extension().is_some_and(|e| e == "json") || p.ends_with(".zarray"));
        let chunk = found.iter().position(|p| p.file_name().is_some_and(|n| n == "1")).unwrap();
        for (file, rounds) in [(metadata.unwrap(), 1500), (chunk, 500)] {
            let whole = std::fs::read(&found[file]).unwrap();
            damage(&whole, &found[file], rounds, |_| {
                let (most, ()) = allocations::most(|| read_zarr(&path));
                assert!(
                    most <= MOST,
                    "{most} bytes: {}",
                    String::from_utf8_lossy(&std::fs::read(&found[file]).unwrap())
                );
            });
            std::fs::write(&found[file], whole).unwrap();
        }
        assert!(ZarrFolder::open(&path).is_ok());
    }
    // Numbers that overflow, and that ask for more than there is.
    let path = folder.path().join("0.zarr");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path.join("zarr.json")).unwrap()).unwrap();
    for huge in [i64::MAX as u64, u64::MAX, 1 << 40, 1 << 31, 0] {
        for key in ["shape", "chunk_shape"] {
            let mut json = json.clone();
            let place = if key == "shape" { &mut json[key] } else { &mut json["chunk_grid"]["configuration"][key] };
            *place = serde_json::json!([huge]);
            std::fs::write(path.join("zarr.json"), json.to_string()).unwrap();
            let (most, ()) = allocations::most(|| read_zarr(&path));
            assert!(most <= MOST, "{most} bytes: {key} {huge}");
        }
    }
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "something panics");
}

/// Reads all of a store that there is to read, and ignores the errors.
fn read_numpack(path: &Path) {
    let Ok(store) = NumPackStore::open(path) else { return };
    for entry in store.entries().iter().take(50) {
        if let Ok(source) = store.open(&entry.name) {
            read_source(source.as_ref());
        }
    }
}

#[test]
fn damaged_numpack_folders_are_errors() {
    std::panic::set_hook(Box::new(|panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        eprintln!("{panic}");
    }));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npk");
    let column: ArrayRef = Arc::new(Int32Array::from_iter_values(0..200));
    let batch = RecordBatch::try_from_iter([("x", column)]).unwrap();
    let mut sink = Format::named("numpack").unwrap().create_container(&path, &WriteOptions::new()).unwrap();
    for name in ["plain", "other"] {
        sink.begin(name, &[FieldSpec::new("x", DType::Int32, vec![]).unwrap()]).unwrap();
        sink.write(&batch).unwrap();
    }
    sink.finish().unwrap();
    // Rows that were deleted.
    let bitmap: Vec<u8> = [200, 100, !0 << 3, 0, !0, 0x7f].iter().flat_map(|n: &u64| n.to_le_bytes()).collect();
    std::fs::write(path.join("deleted_plain.npkb"), bitmap).unwrap();
    assert_eq!(NumPackStore::open(&path).unwrap().open("plain").unwrap().rows(), 61 + 64 + 7);
    for (file, rounds) in [("metadata.npkm", 1500), ("deleted_plain.npkb", 500), ("data_plain.npkd", 50)] {
        let whole = std::fs::read(path.join(file)).unwrap();
        damage(&whole, &path.join(file), rounds, |_| {
            let (most, ()) = allocations::most(|| read_numpack(&path));
            assert!(most <= MOST, "{most} bytes: {file}");
        });
        std::fs::write(path.join(file), whole).unwrap();
    }
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "something panics");
}
