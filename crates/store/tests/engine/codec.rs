//! Compressed fields: what is written is read, in frames, and damage is found.

use std::sync::Arc;

use hyperslab_core::{ArraySource, DType, ErrorKind, FieldSpec, Selection, arrow};
use hyperslab_store::testing::{Fault, FaultStorage};
use hyperslab_store::{ArrayOptions, Codec, Durability, MemoryStorage, OpenOptions, Store};

use crate::common::*;

fn compressed(shard_bytes: u64) -> ArrayOptions {
    ArrayOptions { shard_bytes, codec: Codec::Zstd(3), ..ArrayOptions::default() }
}

/// An array `a` of `n` rows in compressed shards.
fn create_compressed(store: &Store, shard_bytes: u64, n: usize) {
    let mut tx = store.begin().unwrap();
    tx.create("a", fields(), compressed(shard_bytes)).unwrap();
    tx.append_ndarray("a", &rows(0, n)).unwrap();
    tx.commit().unwrap();
}

/// The files of the arrays, by the end of their names.
fn files(folder: &std::path::Path, suffix: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for array in std::fs::read_dir(folder.join("arrays")).unwrap() {
        for file in std::fs::read_dir(array.unwrap().path()).unwrap() {
            found.push(file.unwrap().path());
        }
    }
    found.retain(|path| path.to_string_lossy().ends_with(suffix));
    found.sort();
    found
}

#[test]
fn every_dtype_comes_back_bit_for_bit() {
    let store = Store::memory();
    for (n, dtype) in DType::ALL.into_iter().enumerate() {
        for cell in [vec![], vec![3], vec![40, 50], vec![0]] {
            let field = FieldSpec::new("value", dtype, cell).unwrap();
            let name = format!("{dtype} {:?}", field.cell());
            let mut tx = store.begin().unwrap();
            tx.create(name.as_str(), vec![field.clone()], compressed(1 << 18)).unwrap();
            let count = 300_000 / field.row_bytes().max(100) * 10;
            let raw: Vec<u8> = (0..count * field.row_bytes())
                .map(|i| (i / 5 + n * 7) as u8 ^ (i >> 9) as u8)
                .map(|b| if dtype == DType::Bool { b & 1 } else { b })
                .collect();
            let bytes = arrow_buffer::Buffer::from_slice_ref(&raw);
            let column = arrow::array_from_buffer(&field, bytes, count).unwrap().array;
            let schema = Arc::new(arrow_schema::Schema::new(vec![arrow::to_field(&field)]));
            let batch = arrow_array::RecordBatch::try_new(schema, vec![column]).unwrap();
            tx.append(name.as_str(), &batch).unwrap();
            tx.commit().unwrap();
            let a = array(&store, &name);
            let block = a.read(0, 0..count as u64).unwrap();
            assert_eq!(arrow::raw_bytes(&field, block.array.as_ref(), 0).unwrap().as_slice(), raw, "{name}");
            let taken = a.take(0, &[count as u64 - 1, 0, 7]).unwrap().array;
            let expected: Vec<u8> = [count - 1, 0, 7]
                .iter()
                .flat_map(|i| raw[i * field.row_bytes()..(i + 1) * field.row_bytes()].to_vec())
                .collect();
            assert_eq!(arrow::raw_bytes(&field, taken.as_ref(), 0).unwrap().as_slice(), expected, "{name}");
            if raw.len() >= 64 << 10 {
                let info = a.info().unwrap();
                assert!(info.disk_bytes < info.logical_bytes, "{name}: {info:?}");
            }
        }
    }
    assert!(store.frames_decompressed() > 20);
}

#[test]
fn a_few_rows_cost_the_frames_that_hold_them() {
    let store = Store::memory();
    create_compressed(&store, 1 << 20, 400_000); // 3.2 MB: four shards of up to four frames
    let a = array(&store, "a");
    assert_eq!(store.frames_decompressed(), 0);
    let of_row = |row: u64| [row as f32 * 2.0, row as f32 * 2.0 + 1.0];
    let row = |row: u64| a.field("value").unwrap().rows::<f32>(row..row + 1).unwrap().as_slice().to_vec();
    assert_eq!(row(200_000), of_row(200_000));
    assert_eq!(store.frames_decompressed(), 1);
    // Its neighbours are there already.
    assert_eq!(row(200_001), of_row(200_001));
    assert_eq!(store.frames_decompressed(), 1);
    let taken = a.take(0, &[200_002, 5, 399_999, 6]).unwrap();
    assert_eq!(taken.array.len(), 4);
    assert_eq!(store.frames_decompressed(), 3);
    let field = a.field("value").unwrap();
    let slice = field.slice::<f32>(&Selection::parse("10:20").unwrap()).unwrap();
    assert_eq!(slice, rows(10, 10).into_dyn());
    assert_eq!(store.frames_decompressed(), 3);
    assert_eq!(values(&a), expected(400_000));
    assert!(store.frames_decompressed() <= 16);
    // Batches end with frames, so that none is put together from two.
    let batches: Vec<_> = field.batches(1 << 20).map(|b| b.unwrap().num_rows()).collect();
    assert_eq!(batches.iter().sum::<usize>(), 400_000);
    assert!(batches.iter().all(|&n| n * 8 <= 256 << 10), "{batches:?}");
}

#[test]
fn small_appends_grow_a_raw_shard_and_large_ones_are_compressed() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    create_compressed(&store, 1 << 22, 10);
    append(&store, "a", 10, 10);
    assert_eq!((files(folder.path(), ".npy").len(), files(folder.path(), ".npy.zst").len()), (1, 0));
    append(&store, "a", 20, 10_000); // 80 kB
    assert_eq!((files(folder.path(), ".npy").len(), files(folder.path(), ".npy.zst").len()), (1, 1));
    append(&store, "a", 10_020, 10);
    append(&store, "a", 10_030, 10);
    assert_eq!((files(folder.path(), ".npy").len(), files(folder.path(), ".npy.zst").len()), (2, 1));
    append(&store, "a", 10_040, 2_000_000); // 16 MB: through files before the commit
    assert_eq!(files(folder.path(), ".npy.zst").len(), 1 + 4);
    let n = 2_010_040;
    assert_eq!(values(&array(&store, "a")), expected(n));
    drop(store);
    let store = Store::open_with(folder.path(), OpenOptions { read_only: true, ..OpenOptions::default() }).unwrap();
    let a = array(&store, "a");
    assert_eq!(values(&a), expected(n));
    let on_disk: u64 = ["npy", "zst"]
        .iter()
        .flat_map(|suffix| files(folder.path(), suffix))
        .map(|path| std::fs::metadata(path).unwrap().len())
        .sum();
    assert_eq!(a.info().unwrap().disk_bytes, on_disk);
}

#[test]
fn zstd_gives_a_npy_file_that_says_how_many_rows_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    create_compressed(&store, 256 << 20, 30_000);
    let file = std::fs::read(&files(folder.path(), ".npy.zst")[0]).unwrap();
    let npy = zstd::decode_all(file.as_slice()).unwrap();
    let text = String::from_utf8_lossy(&npy[..200]).into_owned();
    assert!(text.contains("'shape': (30000, 2)") && text.contains("'<f4'"), "{text}");
    assert_eq!(npy.len(), 4096 + 30_000 * 8);
    let values: Vec<u8> = rows(0, 30_000).iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(npy[4096..], values);
}

#[test]
fn codecs_are_chosen_by_field_and_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    let fields: Vec<FieldSpec> = ["x", "y"].map(|name| FieldSpec::new(name, DType::Int64, vec![]).unwrap()).to_vec();
    let mut options = ArrayOptions::default();
    options.codecs.insert("y".into(), Codec::Zstd(9));
    let mut tx = store.begin().unwrap();
    tx.create("a", fields.clone(), options.clone()).unwrap();
    let column: arrow_array::ArrayRef = Arc::new((0..50_000_i64).collect::<arrow_array::Int64Array>());
    let schema = Arc::new(arrow_schema::Schema::new(fields.iter().map(arrow::to_field).collect::<Vec<_>>()));
    let batch = arrow_array::RecordBatch::try_new(schema, vec![column.clone(), column.clone()]).unwrap();
    tx.append("a", &batch).unwrap();
    tx.commit().unwrap();
    assert_eq!((files(folder.path(), ".npy").len(), files(folder.path(), ".npy.zst").len()), (1, 1));
    drop(store);
    let store = in_folder(folder.path());
    let mut tx = store.begin().unwrap();
    tx.append("a", &batch).unwrap();
    tx.commit().unwrap();
    assert_eq!((files(folder.path(), ".npy").len(), files(folder.path(), ".npy.zst").len()), (2, 2));
    let a = array(&store, "a");
    for field in 0..2 {
        assert_eq!(&a.read(field, 50_000..100_000).unwrap().array, &column);
    }
    let mut tx = store.begin().unwrap();
    options.codecs.insert("z".into(), Codec::None);
    let error = tx.create("b", fields.clone(), options.clone()).unwrap_err();
    assert!(error.to_string().contains("\"z\""), "{error}");
    options.codecs.remove("z");
    options.codec = Codec::Zstd(77);
    let error = tx.create("b", fields, options).unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("77"), "{error}");
}

#[test]
fn damage_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    create_compressed(&store, 1 << 20, 100_000);
    drop(store);
    let path = files(folder.path(), ".npy.zst").remove(0);
    let whole = std::fs::read(&path).unwrap();
    let read = || {
        let store = in_folder(folder.path());
        let a = array(&store, "a");
        let read = a.read(0, 0..100_000).map(drop);
        (read, a.read(0, 0..10).map(drop))
    };
    let mut flipped = whole.clone();
    let at = whole.len() - 2000;
    flipped[at] ^= 4;
    for (bytes, start_is_whole) in
        [(flipped, true), (whole[..whole.len() - 1].to_vec(), false), (Vec::new(), false), (whole[9..].to_vec(), false)]
    {
        std::fs::write(&path, bytes).unwrap();
        let (all, start) = read();
        let error = all.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(error.to_string().contains(&name), "{error}");
        assert_eq!(start.is_ok(), start_is_whole);
    }
    // Another file of the same length.
    std::fs::write(&path, vec![7; whole.len()]).unwrap();
    assert_eq!(read().0.unwrap_err().kind(), ErrorKind::Corrupt);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(read().0.unwrap_err().kind(), ErrorKind::Corrupt);
    std::fs::write(&path, whole).unwrap();
    assert!(read().0.is_ok());
}

#[test]
fn a_full_disk_leaves_the_old_version() {
    for bytes in [0, 100, 4000, 20_000] {
        let storage = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::new())).unwrap());
        let store = on(&storage, Durability::Full);
        create_compressed(&store, 1 << 18, 100_000);
        storage.arm(Fault::DiskFull { bytes });
        let mut tx = store.begin().unwrap();
        let failed = tx.append_ndarray("a", &rows(100_000, 2_000_000)).and_then(|()| tx.commit());
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::Io);
        storage.disarm();
        assert_eq!(values(&array(&on(&storage, Durability::Full), "a")), expected(100_000));
    }
}
