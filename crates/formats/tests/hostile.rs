//! Files that were made to do harm, and good ones changed at random, are read or refused: no panic, and no memory beyond
//! what a file of that size is worth. `HYPERSLAB_SEED=<n>` changes them otherwise, `HYPERSLAB_RUNS=<n>` so many times each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod allocations;
mod corpus;
mod mutations;
mod targets;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{Array, ArrayRef, Int32Array, LargeStringArray, RecordBatch};
use hyperslab_core::{DType, FieldSpec};
use hyperslab_formats::zarr::ZarrFolder;
use hyperslab_formats::{Container, Format, NumPackStore, WriteOptions};

/// Bytes that one allocation may have: files here have some ten thousand bytes, and one window of 1 MiB is read.
const MOST: usize = 20 << 20;

/// One after the other, since all allocations are watched.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn hostile_files_are_read_or_refused() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (target, what, bytes) in corpus::hostile() {
        let (name, call_it) = targets::TARGETS.iter().find(|(name, _)| *name == target).unwrap();
        // Objects of a pickle are larger than the byte that makes one.
        mutations::call(name, *call_it, &bytes, MOST + 64 * bytes.len(), &what);
    }
    for (name, target) in targets::TARGETS {
        // The structure of HDF5 is read by a library.
        let runs = if *name == "hdf5" { 4000 } else { 1200 };
        mutations::run(name, *target, &corpus::good(name), runs, MOST);
    }
}

#[test]
fn the_targets_read_what_is_good() {
    // Otherwise nothing would be tested by changing it. (A target gives nothing back: the files are opened here.)
    let folder = tempfile::tempdir().unwrap();
    for (target, extension) in [
        ("npy", "npy"),
        ("npz", "npz"),
        ("safetensors", "safetensors"),
        ("torch", "pt"),
        ("numpack", "npkg"),
        ("hdf5", "h5"),
        ("zarr_zip", "zarr.zip"),
    ] {
        for bytes in corpus::good(target) {
            let path = folder.path().join(format!("a.{extension}"));
            std::fs::write(&path, bytes).unwrap();
            assert!(!hyperslab_formats::open_container(&path).unwrap().entries().is_empty(), "{target}");
        }
    }
    // Of Zarr, in a folder: every chunk of the one, and every metadata of the other.
    let path = folder.path().join("a.zarr");
    let whole = || {
        let zarr = ZarrFolder::open(&path).unwrap();
        let source = zarr.open("a").unwrap();
        let rows = source.rows();
        let read = |i: usize| source.read(i, 0..rows).unwrap_or_else(|e| panic!("{e}"));
        assert!((0..source.fields().len()).map(read).all(|block| block.array.len() as u64 == rows));
    };
    for bytes in corpus::good("zarr_chunk") {
        targets::zarr_chunk_folder(&path, bytes[0], &bytes[1..]);
        whole();
    }
    for bytes in corpus::good("zarr_metadata") {
        let third = bytes.windows(9).any(|window| window == b"node_type");
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join(if third { "zarr.json" } else { ".zarray" }), bytes).unwrap();
        whole();
    }
    for bytes in corpus::good("zarr_zip") {
        let path = folder.path().join("a.zarr.zip");
        std::fs::write(&path, bytes).unwrap();
        let zarr = hyperslab_formats::open_container(&path).unwrap();
        let source = zarr.open(&zarr.entries()[0].name).unwrap();
        assert_eq!(source.read(0, 0..source.rows()).unwrap().array.len() as u64, source.rows());
    }
}

/// The files of a folder, those of its folders included.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// Reads a folder with one of its files cut and changed, many times over.
fn damage(file: &Path, rounds: usize, folder: &Path) {
    let whole = std::fs::read(file).unwrap();
    let step = (whole.len() / 100).max(1);
    let before = mutations::panics();
    let cut = (0..whole.len()).step_by(step).map(|end| whole[..end].to_vec());
    for (n, bytes) in cut.chain(mutations::changed(&whole, rounds)).enumerate() {
        std::fs::write(file, &bytes).unwrap();
        let (most, ()) = allocations::most(|| targets::read(folder));
        assert!(most <= MOST, "{n}: {most} bytes: {}: {}", file.display(), String::from_utf8_lossy(&bytes));
    }
    assert_eq!(mutations::panics(), before, "{}: a reader panics", file.display());
    std::fs::write(file, whole).unwrap();
}

#[test]
fn damaged_zarr_folders_are_errors() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
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
            damage(&found[file], rounds, &path);
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
            let (most, ()) = allocations::most(|| targets::read(&path));
            assert!(most <= MOST, "{most} bytes: {key} {huge}");
        }
    }
}

#[test]
fn damaged_numpack_folders_are_errors() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
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
    for (file, rounds) in [("metadata.npkm", 1000), ("deleted_plain.npkb", 500), ("data_plain.npkd", 50)] {
        damage(&path.join(file), rounds, &path);
    }
}
