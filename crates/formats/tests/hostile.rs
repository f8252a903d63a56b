//! Damaged and hostile files are errors: no panic, no memory beyond what a file of that size is worth.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod allocations;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::{ArrayRef, Int32Array, LargeStringArray, RecordBatch};
use hdf5_pure::{AttrValue, CompoundTypeBuilder, FileBuilder, MaxExtent};
use hyperslab_core::{ArraySource, DType, FieldSpec};
use hyperslab_formats::hdf5::Hdf5File;
use hyperslab_formats::{Container, Format, WriteOptions};
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
