#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;
use crate::ErrorKind;

/// A header of `version` around a dictionary.
fn file(version: u8, dict: &str) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[version, 0]);
    if version == 1 {
        bytes.extend_from_slice(&u16::try_from(dict.len()).unwrap().to_le_bytes());
    } else {
        bytes.extend_from_slice(&u32::try_from(dict.len()).unwrap().to_le_bytes());
    }
    bytes.extend_from_slice(dict.as_bytes());
    bytes
}

fn fails(bytes: &[u8], kind: ErrorKind, says: &str) {
    let error = NpyHeader::parse(bytes).expect_err(says);
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(says), "{error} does not say {says:?}");
}

const PLAIN: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }";

#[test]
fn the_three_versions_are_read() {
    for version in 1..=3 {
        let bytes = file(version, PLAIN);
        let header = NpyHeader::parse(&bytes).unwrap();
        assert_eq!(header.dtype, DType::Float32);
        assert_eq!(header.byte_order, ByteOrder::Little);
        assert!(!header.fortran_order);
        assert_eq!(header.shape, [3, 4]);
        assert_eq!(header.data_offset, bytes.len() as u64);
        assert_eq!(header.data_bytes().unwrap(), 48);
    }
}

#[test]
fn spelling_does_not_matter() {
    for dict in [
        "{\"shape\":(3,4),\"fortran_order\":False,\"descr\":\"<f4\"}\n",
        " {'descr' : u'<f4' ,\n'fortran_order': False, 'shape': ( 3L , 4L, ) , }   ",
        "{'fortran_order': False, 'descr': '<f4', 'shape': (3, 4)}",
    ] {
        assert_eq!(NpyHeader::parse(&file(1, dict)).unwrap().shape, [3, 4], "{dict}");
    }
}

#[test]
fn axis_0_is_the_rows() {
    let header = |shape: &str| {
        let dict = format!("{{'descr': '>i8', 'fortran_order': True, 'shape': {shape}}}");
        NpyHeader::parse(&file(2, &dict)).unwrap()
    };
    let scalar = header("()");
    assert_eq!((scalar.rows(), scalar.cell(), scalar.data_bytes().unwrap()), (1, &[][..], 8));
    assert_eq!((scalar.byte_order, scalar.fortran_order), (ByteOrder::Big, true));
    let vector = header("(5,)");
    assert_eq!((vector.rows(), vector.cell()), (5, &[][..]));
    let empty = header("(5, 0, 2)");
    assert_eq!((empty.rows(), empty.data_bytes().unwrap()), (5, 0));
    assert_eq!(empty.field("value").unwrap().cell(), [0, 2]);
}

#[test]
fn damaged_headers_are_refused() {
    use ErrorKind::Corrupt;
    fails(b"", Corrupt, "magic");
    fails(b"PK\x03\x04", Corrupt, "magic");
    fails(&MAGIC[..5], Corrupt, "magic");
    fails(b"\x93NUMPY\x01", Corrupt, "cut short");
    fails(b"\x93NUMPY\x01\x00\x10", Corrupt, "cut short");
    fails(b"\x93NUMPY\x04\x00\x10\x00", Corrupt, "version 4.0");
    fails(b"\x93NUMPY\x01\x01\x10\x00", Corrupt, "version 1.1");
    fails(b"\x93NUMPY\x01\x00\xff\xff{}", Corrupt, "65535 bytes long and 2 are there");
    fails(b"\x93NUMPY\x02\x00\xff\xff\xff\xff", Corrupt, "claims to be 4294967295");
    let mut latin = file(3, PLAIN);
    latin[20] = 0xe9;
    fails(&latin, Corrupt, "UTF-8");
    for (dict, says) in [
        ("", "no '{'"),
        ("{", "no string"),
        ("{}", "no key \"descr\""),
        ("{'descr': '<f4', 'shape': (3,)}", "no key \"fortran_order\""),
        ("{'descr': '<f4', 'fortran_order': False}", "no key \"shape\""),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), 'x': 1}", "unknown key \"x\""),
        ("{'descr': '<f4', 'fortran_order': 0, 'shape': (3,)}", "neither True nor False"),
        ("{'descr': '<f4', 'fortran_order': Falsey, 'shape': (3,)}", "neither True nor False"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (3)}", "no ','"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': [3]}", "no '('"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (3,,)}", "no length"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (3.0,)}", "no ','"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 4)}", "negative"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 4)}", "63 bits"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (3037000500, 3037000500)}", "larger than any file"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (9223372036854775807, 0, 2)}", "larger than any file"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (9223372036854775807,)}", "larger than any file"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)} x", "after the dictionary"),
        ("{'descr': '<f4", "no string at byte 10"),
    ] {
        fails(&file(1, dict), Corrupt, says);
    }
    let axes = "1, ".repeat(65);
    fails(&file(1, &format!("{{'shape': ({axes})}}")), Corrupt, "64 axes");
}

#[test]
fn other_dtypes_are_unsupported() {
    for (descr, says) in [
        ("'|O'", "pickled"),
        ("'O'", "pickled"),
        ("[('a', '<i4'), ('b', '<f4', (2,))]", "structured"),
        ("('<f4', (2,))", "structured"),
        ("'<U5'", "\"<U5\""),
        ("'|S0'", "\"|S0\""),
        ("'|V+3'", "\"|V+3\""),
        ("'<f16'", "\"<f16\""),
        ("'<M8[D]'", "\"<M8[D]\""),
        ("'é'", "cannot be stored"),
    ] {
        let dict = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (3,), }}");
        fails(&file(3, &dict), ErrorKind::Unsupported, says);
    }
}

#[test]
fn every_dtype_in_both_byte_orders() {
    for dtype in DType::ALL {
        let little = dtype.npy_descr();
        for (descr, order) in [(little.clone(), ByteOrder::Little), (little.replace('<', ">"), ByteOrder::Big)] {
            let order = if dtype.size() == 1 { ByteOrder::Little } else { order };
            let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (3,), }}");
            let header = NpyHeader::parse(&file(1, &dict)).unwrap();
            assert_eq!((header.dtype, header.byte_order), (dtype, order));
        }
    }
}

#[test]
fn written_as_numpy_writes_it() {
    let bytes = write_header(DType::Float32, &[3, 4], 64).unwrap();
    assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
    assert!(bytes[10..].starts_with(PLAIN.as_bytes()));
    assert_eq!((bytes.len(), bytes.last()), (128, Some(&b'\n')));
    let text = |shape: &[u64]| String::from_utf8_lossy(&write_header(DType::UInt8, shape, 64).unwrap()).into_owned();
    assert!(text(&[]).contains("'shape': (), }"));
    assert!(text(&[7]).contains("'shape': (7,), }"));
}

#[test]
fn written_headers_grow_in_place() {
    for dtype in DType::ALL {
        for shape in [&[][..], &[0], &[5, 0], &[7, 28, 28], &[1; 32]] {
            for align in [1, 16, 64, 4096] {
                let bytes = write_header(dtype, shape, align).unwrap();
                assert_eq!(bytes.len() % align, 0);
                let header = NpyHeader::parse(&bytes).unwrap();
                assert_eq!((header.dtype, &header.shape[..]), (dtype, shape));
                assert_eq!(header.data_offset, bytes.len() as u64);
                if let Some((first, rest)) = shape.split_first() {
                    let grown: Vec<u64> = std::iter::once(u64::MAX - first).chain(rest.iter().copied()).collect();
                    assert_eq!(write_header(dtype, &grown, align).unwrap().len(), bytes.len());
                }
            }
        }
    }
    assert_eq!(write_header(DType::Bool, &[1], 4096).unwrap().len(), 4096);
    assert_eq!(write_header(DType::Bool, &[1], 16384).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(write_header(DType::Bool, &[1; 5000], 64).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(write_header(DType::Bool, &[1], usize::MAX).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(write_header(DType::Bool, &[1], 0).unwrap_err().kind(), ErrorKind::Invalid);
}

proptest! {
    #[test]
    fn any_bytes_give_a_result(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = NpyHeader::parse(&bytes);
        let _ = NpyHeader::parse(&[MAGIC, &[1, 0, 30, 0], &bytes[..]].concat());
        let _ = NpyHeader::parse(&[MAGIC, &[3, 0, 30, 0, 0, 0], &bytes[..]].concat());
    }

    #[test]
    fn any_dictionary_like_text_gives_a_result(text in "[{}()',:u<>|f4L0-9é \\-]{0,60}", version in 1u8..=3) {
        let _ = NpyHeader::parse(&file(version, &text));
        let dict = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {text}");
        let _ = NpyHeader::parse(&file(version, &dict));
    }

    #[test]
    fn mutated_headers_give_a_result_or_a_header_within_bounds(
        at in 0usize..128, to in any::<u8>(), cut in 0usize..=128, version in 1u8..=3,
    ) {
        let mut bytes = file(version, PLAIN);
        let end = bytes.len() - 1;
        bytes[at.min(end)] = to;
        bytes.truncate(cut);
        if let Ok(header) = NpyHeader::parse(&bytes) {
            prop_assert!(header.data_offset <= bytes.len() as u64);
            prop_assert!(header.data_bytes().is_ok());
        }
    }

    #[test]
    fn what_is_written_is_read(
        dtype in proptest::sample::select(DType::ALL.to_vec()),
        shape in proptest::collection::vec(0u64..1000, 0..6),
    ) {
        let bytes = write_header(dtype, &shape, 64).unwrap();
        let header = NpyHeader::parse(&bytes).unwrap();
        prop_assert_eq!((header.dtype, &header.shape), (dtype, &shape));
    }
}
