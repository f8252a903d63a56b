#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use arrow_array::{ArrayRef, Float32Array, Int32Array, RecordBatch, UInt8Array};
use arrow_buffer::Buffer;
use hyperslab_core::{ArraySink, ArraySource, DType, arrow};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::*;
use crate::npy::{Incomplete, NpyAppendSink, NpySource, Widen, npy_ensure_appendable, npy_info, npy_recover};

mod records;

fn field(dtype: DType, cell: &[usize]) -> FieldSpec {
    FieldSpec::new("value", dtype, cell.to_vec()).unwrap()
}

/// A file with a header of 128 bytes.
fn saved(path: &Path, descr: &str, fortran: bool, shape: &str, data: &[u8]) {
    let order = if fortran { "True" } else { "False" };
    let dict = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend_from_slice(dict.as_bytes());
    bytes.resize(127, b' ');
    bytes.push(b'\n');
    bytes.extend_from_slice(data);
    std::fs::write(path, bytes).unwrap();
}

fn ints(values: std::ops::Range<i32>) -> Int32Array {
    values.collect::<Vec<_>>().into()
}

/// All elements of a file, in C order.
fn all(path: &Path) -> (Vec<u64>, Vec<u8>) {
    let source = NpySource::open(path).unwrap();
    let block = source.read(0, 0..source.rows()).unwrap();
    (source.shape().to_vec(), arrow::raw_bytes(&source.fields()[0], &block.array, 0).unwrap().to_vec())
}

/// Items one after the other, as the array whose last axis they are along.
fn along_the_last_axis(items: &[u8], count: usize, item: usize) -> Vec<u8> {
    let elements = items.len() / item / count.max(1);
    let element = |e: usize, i: usize| &items[(i * elements + e) * item..][..item];
    (0..elements).flat_map(|e| (0..count).flat_map(move |i| element(e, i).to_vec())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn what_is_appended_is_there(
        dtype in (0..DType::ALL.len()).prop_map(|i| DType::ALL[i]),
        cell in proptest::collection::vec(1usize..4, 0..3),
        pieces in proptest::collection::vec(0usize..5, 0..6),
        fortran: bool,
        big: bool,
        deferred: bool,
        seed: u64,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let field = field(dtype, &cell);
        let mode = if deferred { HeaderMode::Deferred } else { HeaderMode::EachAppend };
        if big && dtype.size() > 1 {
            let cell: String = cell.iter().map(|n| format!("{n},")).collect();
            let shape = if fortran { format!("({cell}0,)") } else { format!("(0,{cell})") };
            saved(&path, &dtype.npy_descr().replace('<', ">"), fortran, &shape, &[]);
        }
        let appender = NpyAppender::create(&path, &field, fortran, mode).unwrap();
        let mut expected = Vec::new();
        let mut total = 0;
        for count in pieces {
            let bytes: Vec<u8> = (0..count * field.row_bytes())
                .map(|i| (seed.wrapping_mul(i as u64 * 2 + 1) >> 13) as u8)
                .map(|b| if dtype == DType::Bool { b & 1 } else { b })
                .collect();
            let items = arrow::array_from_buffer(&field, Buffer::from_vec(bytes.clone()), count);
            // Vectors of bytes may lie anywhere.
            let Ok(items) = items else { continue };
            total += count;
            prop_assert_eq!(appender.append(&items.array).unwrap(), total as u64);
            prop_assert_eq!(appender.items().unwrap(), total as u64);
            expected.extend(bytes);
            let visible = npy_info(&path).unwrap();
            prop_assert_eq!(visible.needs_recovery, deferred && total > 0);
        }
        let summary = appender.finish().unwrap();
        prop_assert_eq!((summary.rows, summary.bytes), (total as u64, expected.len() as u64));
        let (shape, bytes) = all(&path);
        let (in_file, axis) = if fortran && !cell.is_empty() {
            (along_the_last_axis(&expected, total, dtype.size()), cell.len())
        } else {
            (expected, 0)
        };
        prop_assert_eq!(shape[axis], total as u64);
        prop_assert_eq!(bytes, in_file);
    }
}

#[test]
fn threads_and_appenders_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let open = || NpyAppender::create(&path, &field(DType::Int32, &[]), false, HeaderMode::EachAppend).unwrap();
    let (shared, own) = (open(), open());
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let appender = if thread % 2 == 0 { &shared } else { &own };
            scope.spawn(move || {
                for i in 0..20 {
                    let values = vec![thread * 1000 + i; 1 + (i as usize + thread as usize) % 7];
                    appender.append(&Int32Array::from(values)).unwrap();
                }
            });
        }
    });
    let (_, bytes) = all(&path);
    let values: Vec<i32> = bytes.as_chunks::<4>().0.iter().map(|&b| i32::from_le_bytes(b)).collect();
    check_blocks(&values, 6, 20);
}

/// Each append is there once, in one piece, and those of a thread are in their order.
fn check_blocks(values: &[i32], threads: i32, appends: i32) {
    let mut seen: Vec<Vec<i32>> = vec![Vec::new(); threads as usize];
    for block in values.chunk_by(|a, b| a == b) {
        let (thread, i) = (block[0] / 1000, block[0] % 1000);
        assert_eq!(block.len(), 1 + (i as usize + thread as usize) % 7);
        seen[thread as usize].push(i);
    }
    assert!(seen.iter().all(|s| s.iter().copied().eq(0..appends)), "{seen:?}");
}

/// The other process of the next test.
#[test]
fn another_process() {
    let Some(path) = std::env::var_os("HYPERSLAB_APPEND_TO") else { return };
    let thread: i32 = std::env::var("HYPERSLAB_APPEND_AS").unwrap().parse().unwrap();
    let appender = NpyAppender::open(path, HeaderMode::EachAppend).unwrap();
    for i in 0..20 {
        appender.append(&Int32Array::from(vec![thread * 1000 + i; 1 + (i + thread) as usize % 7])).unwrap();
    }
}

#[test]
fn processes_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    NpyAppender::create(&path, &field(DType::Int32, &[]), false, HeaderMode::EachAppend).unwrap();
    let start = |i: i32| {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "npy::append::tests::another_process"]);
        command.env("HYPERSLAB_APPEND_TO", &path).env("HYPERSLAB_APPEND_AS", i.to_string());
        command.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let children: Vec<_> = (0..3).map(start).collect();
    assert!(children.into_iter().all(|mut c| c.wait().unwrap().success()));
    let (_, bytes) = all(&path);
    let values: Vec<i32> = bytes.as_chunks::<4>().0.iter().map(|&b| i32::from_le_bytes(b)).collect();
    check_blocks(&values, 3, 20);
}

#[test]
fn a_deferred_header_shows_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let one = field(DType::Int32, &[]);
    let batch = |values| RecordBatch::try_from_iter([("value", Arc::new(ints(values)) as ArrayRef)]).unwrap();
    let mut sink = Box::new(NpyAppendSink::open(&path, &one).unwrap());
    sink.write(&batch(0..5)).unwrap();
    assert_eq!(NpySource::open(&path).unwrap().rows(), 0);
    let conflict = NpyAppender::open(&path, HeaderMode::Deferred).unwrap_err();
    assert!(conflict.kind() == ErrorKind::Conflict && conflict.is_retryable(), "{conflict}");
    assert_eq!(sink.finish().unwrap(), SinkSummary { rows: 5, bytes: 20 });
    assert_eq!(NpySource::open(&path).unwrap().rows(), 5);

    // Dropped, nothing of it stays; after a crash, it can be had back.
    let whole = std::fs::read(&path).unwrap();
    let mut sink = NpyAppendSink::open(&path, &one).unwrap();
    sink.write(&batch(5..9)).unwrap();
    let crashed = folder.path().join("crashed.npy");
    std::fs::copy(&path, &crashed).unwrap();
    drop(sink);
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    let error = NpyAppender::open(&crashed, HeaderMode::EachAppend).unwrap_err();
    assert!(error.to_string().contains("npy_recover") && error.to_string().contains("36 are there"), "{error}");
    assert_eq!(npy_recover(&crashed, Incomplete::Drop).unwrap().after, [9]);
    assert_eq!(all(&crashed).1, (0..9).flat_map(i32::to_le_bytes).collect::<Vec<_>>());
}

#[test]
fn a_file_that_was_made_for_an_append_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let pairs = field(DType::Int32, &[2]);
    let npy = crate::Format::named("npy").unwrap();
    let append =
        |axis: &str| npy.append(&path, std::slice::from_ref(&pairs), &crate::WriteOptions::new().set("axis", axis));
    let cells = || arrow::array_from_buffer(&pairs, Buffer::from_slice_ref([1_i32, 2, 3, 4]), 2).unwrap().array;
    let batch = || RecordBatch::try_from_iter([("value", cells())]).unwrap();
    let mut sink = append("-1").unwrap();
    sink.write(&batch()).unwrap();
    drop(sink);
    assert!(!path.exists());

    // Along the last axis rows are columns of the file.
    let mut sink = append("1").unwrap();
    sink.write(&batch()).unwrap();
    sink.finish().unwrap();
    assert_eq!(npy_info(&path).unwrap().shape, [2, 2]);
    assert!(npy_info(&path).unwrap().fortran_order);
    drop(append("-1").unwrap());
    assert_eq!(npy_info(&path).unwrap().shape, [2, 2]);
    for (axis, says) in
        [("0", "Fortran order, not in C order; it grows along axis -1"), ("2", "from -1 to 1"), ("x", "axis")]
    {
        let error = append(axis).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("a.npy"), "{error}");
    }
    let two = [pairs.clone(), pairs.renamed("b").unwrap()];
    let error = npy.append(&path, &two, &crate::WriteOptions::new()).unwrap_err().to_string();
    assert!(error.contains("fields are value, and rows of value, b are"), "{error}");
    let error = crate::Format::named("npz").unwrap().append(&path, &two, &crate::WriteOptions::new()).unwrap_err();
    assert!(error.to_string().contains("npz files do not grow; those that do are: npy"), "{error}");
    // A name that leads nowhere is no reason to wait for ever.
    #[cfg(unix)]
    {
        let link = folder.path().join("link.npy");
        std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
        assert!(NpyAppender::create(&link, &pairs, false, HeaderMode::Deferred).is_err());
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    saved(&path, "<i4", false, "(2, 3)", &[1; 24]);
    let before = std::fs::read(&path).unwrap();
    let appender = NpyAppender::open(&path, HeaderMode::EachAppend).unwrap();
    let refused = |result: Result<u64>, says: &[&str]| {
        let error = result.expect_err(says[0]);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(says.iter().chain(&["a.npy"]).all(|s| error.to_string().contains(s)), "{error}");
    };
    // No value is ever cast.
    refused(appender.append(&Float32Array::from(vec![3.7])), &["Int32", "Float32"]);
    refused(appender.append(&ints(0..3)), &["FixedSizeList"]);
    refused(appender.append_bytes(2, &[0; 12]), &["12 bytes are not 2 items of 12"]);
    assert_eq!(appender.append_bytes(0, &[]).unwrap(), 2);
    let other = appender.check_fields(&[field(DType::Int64, &[3])]).unwrap_err();
    assert!(other.to_string().contains("int32[3]") && other.to_string().contains("int64[3]"), "{other}");
    assert!(NpyAppender::create(&path, &field(DType::Int32, &[4]), false, HeaderMode::Deferred).is_err());
    let order = NpyAppender::create(&path, &field(DType::Int32, &[3]), true, HeaderMode::Deferred).unwrap_err();
    assert!(order.to_string().contains("C order"), "{order}");
    let sink = NpyAppendSink::open(&path, &field(DType::Int32, &[])).unwrap_err();
    assert!(sink.to_string().contains("int32[3]"), "{sink}");
    assert_eq!(std::fs::read(&path).unwrap(), before);

    // Another program makes it another file.
    saved(&path, "<i4", false, "(2, 4)", &[1; 32]);
    refused(appender.append_bytes(1, &[0; 12]), &["open it again"]);
    saved(&path, "<i4", false, "(2, 3)", &[1; 25]);
    refused(appender.append_bytes(1, &[0; 12]), &["npy_recover"]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(appender.append_bytes(1, &[0; 12]).unwrap_err().kind(), ErrorKind::NotFound);

    let open = |path: &Path| NpyAppender::open(path, HeaderMode::EachAppend).unwrap_err();
    assert_eq!(open(&path).kind(), ErrorKind::NotFound);
    assert_eq!(open(folder.path()).kind(), ErrorKind::Invalid);
    saved(&path, "<i4", false, "()", &[1; 4]);
    assert!(open(&path).to_string().contains("atleast_1d"));
    assert!(npy_recover(&path, Incomplete::Drop).is_ok());
    saved(&path, "<i4", false, "(0, 0)", &[1; 5]);
    assert!(npy_recover(&path, Incomplete::Drop).unwrap_err().to_string().contains("after 128 bytes"));
    for dtype in [DType::Utf8, DType::Bfloat16] {
        let path = folder.path().join("b.npy");
        let error = NpyAppender::create(&path, &field(dtype, &[]), false, HeaderMode::Deferred).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(!path.exists());
    }
}

#[test]
fn a_write_that_fails_is_an_error_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    saved(&path, "<i4", false, "(2,)", &[1; 8]);
    let appender = NpyAppender::open(&path, HeaderMode::Deferred).unwrap();
    // A descriptor that cannot be written, as on a full disk.
    appender.state.lock().unwrap().file = File::open(&path).unwrap();
    assert_eq!(appender.append(&ints(0..1)).unwrap_err().kind(), ErrorKind::Io);
    assert!(appender.append(&ints(0..1)).unwrap_err().to_string().contains("npy_recover"));
    assert!(appender.finish().is_err());
    assert_eq!(all(&path).0, [2]);
}

#[test]
fn a_header_without_room_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let dict = b"{'descr':'|u1','fortran_order':False,'shape':(9,)}\n";
    std::fs::write(&path, [&b"\x93NUMPY\x01\x00"[..], &[dict.len() as u8, 0], dict, &[1; 9]].concat()).unwrap();
    let appender = NpyAppender::open(&path, HeaderMode::EachAppend).unwrap();
    let error = appender.append(&UInt8Array::from(vec![2])).unwrap_err();
    assert!(error.to_string().contains("npy_ensure_appendable") && error.to_string().contains("a.npy"), "{error}");
    assert_eq!(npy_info(&path).unwrap().data_bytes, 9);
    // The appender that was open goes on with the file that took the name.
    assert!(npy_ensure_appendable(&path, Widen::Copy).unwrap());
    assert_eq!(appender.append(&UInt8Array::from(vec![2])).unwrap(), 10);
    assert_eq!(all(&path).1, [1, 1, 1, 1, 1, 1, 1, 1, 1, 2]);
}

#[test]
fn recovery_follows_the_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    for (fortran, shape, after) in [(false, "(2, 3)", [4, 3]), (true, "(3, 2)", [3, 4])] {
        for stale in [shape.to_owned(), shape.replace('2', "77")] {
            // Three items of 3 and a part of one.
            saved(&path, "|u1", fortran, &stale, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
            let done = npy_recover(&path, Incomplete::Zero).unwrap();
            assert_eq!((done.after.as_slice(), done.dropped_bytes, done.added_bytes), (&after[..], 0, 2));
            assert_eq!(std::fs::read(&path).unwrap()[128..], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0]);
            saved(&path, "|u1", fortran, &stale, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
            let done = npy_recover(&path, Incomplete::Drop).unwrap();
            assert_eq!((done.dropped_bytes, done.added_bytes), (1, 0));
            assert_eq!(std::fs::read(&path).unwrap()[128..], [1, 2, 3, 4, 5, 6, 7, 8, 9]);
            assert!(!npy_info(&path).unwrap().needs_recovery);
            let again = npy_recover(&path, Incomplete::Drop).unwrap();
            assert_eq!(again.before, again.after);
        }
    }
}

#[test]
fn damage_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    saved(&path, "<i4", true, "(3, 2)", &[1; 24]);
    let whole = std::fs::read(&path).unwrap();
    let use_all = |bytes: &[u8]| {
        let write = || std::fs::write(&path, bytes).unwrap();
        write();
        let _ = npy_info(&path);
        if let Ok(appender) = NpyAppender::open(&path, HeaderMode::EachAppend) {
            let _ = appender.append_bytes(1, &[0; 12]);
        }
        for how in [Widen::Copy, Widen::InPlace] {
            write();
            let _ = npy_ensure_appendable(&path, how);
        }
        write();
        if let Ok(done) = npy_recover(&path, Incomplete::Drop) {
            assert!(!npy_info(&path).unwrap().needs_recovery, "{done:?}");
        }
    };
    for end in 0..whole.len() {
        std::fs::write(&path, &whole[..end]).unwrap();
        assert!(NpyAppender::open(&path, HeaderMode::EachAppend).is_err(), "{end}");
        let _ = (npy_info(&path), npy_recover(&path, Incomplete::Zero));
    }
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for round in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + rng.next_u32() % 3 {
            let at = rng.next_u32() as usize % 80;
            bytes[at] = match rng.next_u32() % 3 {
                0 => bytes[at] ^ (1 << (rng.next_u32() % 8)),
                1 => b"0123456789(), {}'<>:"[rng.next_u32() as usize % 20],
                _ => rng.next_u32() as u8,
            };
        }
        if let Ok(header) = Header::parse(bytes[..128].to_vec()) {
            let _ = (
                header.with_items(u64::from(rng.next_u32())),
                header.with_room(),
                header.record(),
                header.item_bytes(),
            );
        }
        // Each of these syncs, and that is slow.
        if round % 100 == 0 {
            use_all(&bytes);
        }
    }
}
