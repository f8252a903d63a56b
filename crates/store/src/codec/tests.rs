#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write as _;
use std::process::{Command, Stdio};

use arrow_buffer::Buffer;
use hyperslab_core::{DType, ErrorKind, FieldSpec};
use proptest::prelude::*;

use super::*;
use crate::{MemoryStorage, Storage, shard};

/// The seekable file of `values`, given in pieces of `piece` bytes.
fn compressed(header: &[u8], values: &[u8], row_bytes: usize, piece: usize, level: i32) -> Vec<u8> {
    let mut file = Vec::new();
    let mut sink = |at: u64, bytes: &[u8]| {
        let at = at as usize;
        file.resize(file.len().max(at + bytes.len()), 0);
        file[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    };
    let mut writer = SeekableWriter::new(level, header, row_bytes).unwrap();
    for piece in values.chunks(piece.max(1)) {
        writer.write(piece, &mut sink).unwrap();
    }
    let len = writer.finish(header, &mut sink).unwrap();
    assert_eq!(len, file.len() as u64);
    file
}

fn header(dtype: DType, cell: Vec<usize>, rows: u64) -> Vec<u8> {
    shard::part_header(&FieldSpec::new("value", dtype, cell).unwrap(), shard::Part::Values, rows).unwrap()
}

fn values(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 7) as u8 ^ (i >> 11) as u8).collect()
}

#[test]
fn bytes_are_found_again_frame_by_frame() {
    let values = values(5 * FRAME_BYTES + 400);
    let header = header(DType::Float32, vec![100], values.len() as u64 / 400);
    let file = compressed(&header, &values, 400, 70_000, 3);
    assert!(file.len() < values.len() / 4, "{}", file.len());
    let storage = MemoryStorage::new();
    storage.create_new("a/x.npy.zst", &file).unwrap();
    let frames = Frames::default();
    let open = || frames.open(&storage, "a/x.npy.zst", file.len() as u64, (4096 + values.len()) as u64);
    assert_eq!(frames.bytes(&open().unwrap(), 0..4096).unwrap().0.as_slice(), header);
    assert_eq!(frames.decompressed(), 1);
    // Rows in one frame cost that frame, and no copy; once more, nothing.
    for _ in 0..2 {
        let (bytes, copied) = frames.bytes(&open().unwrap(), 4096 + 400..4096 + 1200).unwrap();
        assert_eq!((bytes.as_slice(), copied), (&values[400..1200], 0));
        assert_eq!(frames.decompressed(), 2);
    }
    // A frame holds whole rows.
    let (holds, _) = frames.around(&open().unwrap(), 4096 + 1_000_000).unwrap();
    assert_eq!(((holds.start - 4096) % 400, (holds.end - 4096) % 400), (0, 0));
    assert_eq!(frames.decompressed(), 3);
    let (all, copied) = frames.bytes(&open().unwrap(), 4096..(4096 + values.len()) as u64).unwrap();
    assert_eq!((all.as_slice(), copied), (values.as_slice(), values.len() as u64));
    assert!(frames.bytes(&open().unwrap(), 4096..(4097 + values.len()) as u64).is_err());
    assert!(frames.open(&storage, "a/x.npy.zst", file.len() as u64, 4096).is_err());
}

#[test]
fn zstd_gives_the_npy_file() {
    let values = values(900_000);
    let header = header(DType::Int64, vec![], 112_500);
    let file = compressed(&header, &values, 8, 1000, 1);
    let expected = [header, values].concat();
    assert_eq!(zstd::decode_all(file.as_slice()).unwrap(), expected);
    let Ok(mut zstd) = Command::new("zstd").args(["-dc"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
        return; // the program is not there; the library said it already
    };
    let mut input = zstd.stdin.take().unwrap();
    let writing = std::thread::spawn(move || input.write_all(&file));
    let output = zstd.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert!(output.status.success() && output.stdout == expected);
}

#[test]
fn frames_that_hold_less_or_more_than_a_row() {
    let values = values(3 << 20);
    let header = header(DType::UInt8, vec![3 << 20], 1);
    let file = Seekable::open("f", Buffer::from_vec(compressed(&header, &values, 3 << 20, usize::MAX, 3))).unwrap();
    let frames = Frames::default();
    assert_eq!(frames.bytes(&file, 4096..4096 + (3 << 20)).unwrap().0.as_slice(), values);
    assert!(SeekableWriter::new(99, &header, 1).is_err());
}

#[test]
fn every_flipped_byte_is_found() {
    let values = values(3000);
    let header = header(DType::UInt8, vec![], 3000);
    let whole = compressed(&header, &values, 1, 3000, 3);
    let expected = [header, values].concat();
    for at in 0..whole.len() {
        let mut file = whole.clone();
        file[at] ^= 1 << (at % 8);
        let read = Seekable::open("dir/f.npy.zst", Buffer::from_vec(file)).and_then(|file| {
            let frames = Frames::default();
            frames.bytes(&file, 0..file.len()).map(|(bytes, _)| bytes)
        });
        match read {
            // Padding and the reserved bits of headers say nothing.
            Ok(bytes) => assert_eq!(bytes.as_slice(), expected, "byte {at}"),
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Corrupt, "byte {at}: {e}");
                assert!(e.to_string().contains("dir/f.npy.zst"), "{e}");
            }
        }
    }
    for len in 0..whole.len() {
        assert!(Seekable::open("f", Buffer::from_slice_ref(&whole[..len])).is_err(), "cut at {len}");
    }
}

#[test]
fn codecs_are_written_and_read_as_text() {
    for (text, codec) in
        [("none", Codec::None), ("zstd", Codec::Zstd(3)), ("zstd(9)", Codec::Zstd(9)), ("zstd(-5)", Codec::Zstd(-5))]
    {
        assert_eq!((text.parse::<Codec>().unwrap(), codec.to_string()), (codec, text.to_owned()));
    }
    assert_eq!(" ZSTD( 4 ) ".parse::<Codec>().unwrap(), Codec::Zstd(4));
    for bad in ["", "lz4", "zstd()", "zstd(99)", "zstd(x)", "zstd(3"] {
        assert_eq!(bad.parse::<Codec>().unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
    }
    assert_eq!(serde_json::to_string(&Codec::Zstd(9)).unwrap(), r#"{"zstd":9}"#);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_is_written_is_read(
        row_bytes in 1_usize..3000, rows in 1_usize..2000, piece in 1_usize..300_000, level in -3..6_i32,
        ranges in proptest::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 1..8),
    ) {
        let values = values(row_bytes * rows);
        let header = header(DType::UInt8, vec![row_bytes], rows as u64);
        let file = Seekable::open("f", Buffer::from_vec(compressed(&header, &values, row_bytes, piece, level))).unwrap();
        let plain = [header, values].concat();
        prop_assert_eq!(file.len(), plain.len() as u64);
        let frames = Frames::default();
        for (from, to) in ranges {
            let (a, b) = ((from * plain.len() as f64) as usize, (to * plain.len() as f64) as usize);
            let (from, to) = (a.min(b), a.max(b));
            let (bytes, _) = frames.bytes(&file, from as u64..to as u64).unwrap();
            prop_assert_eq!(bytes.as_slice(), &plain[from..to]);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), frames in 0_u32..4) {
        let mut file = bytes;
        file.extend_from_slice(&frames.to_le_bytes());
        file.push(0);
        file.extend_from_slice(&SEEKABLE.to_le_bytes());
        if let Ok(file) = Seekable::open("f", Buffer::from_vec(file)) {
            let _ = Frames::default().bytes(&file, 0..file.len());
        }
    }
}
