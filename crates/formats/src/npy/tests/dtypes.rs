//! Dtypes beyond one number per element, in files that NumPy made.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    DurationMillisecondType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    TimestampSecondType, UInt8Type,
};
use arrow_array::{Array, ArrayRef};
use hyperslab_core::{ArraySource, DType, ErrorKind, TimeUnit};

use super::{NpySource, npy, saved};

fn golden(name: &str) -> NpySource {
    NpySource::open(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

/// All rows of a field, which must be those that are taken one by one.
fn all(source: &NpySource, name: &str) -> ArrayRef {
    let field = source.fields().iter().position(|f| f.name() == name).unwrap();
    let array = source.read(field, 0..source.rows()).unwrap().array;
    let rows: Vec<u64> = (0..source.rows()).collect();
    assert_eq!(&array, &source.take(field, &rows).unwrap().array);
    for row in rows {
        let one = source.read(field, row..row + 1).unwrap().array;
        assert_eq!(&one, &array.slice(row as usize, 1), "{name}, row {row}");
    }
    array
}

#[test]
fn structured_dtypes_are_several_fields() {
    let source = golden("records.npy");
    let fields: Vec<_> = source.fields().iter().map(ToString::to_string).collect();
    assert_eq!(
        fields,
        [
            "id int32",
            "name utf8",
            "code utf8",
            "half float16",
            "z complex64",
            "day datetime64[s]",
            "m uint8[2, 2]",
            "at.x int8",
            "at.y int16"
        ]
    );
    assert_eq!(all(&source, "id").as_primitive::<Int32Type>().values(), &[1, -2]);
    assert_eq!(all(&source, "name").as_string::<i64>().iter().flatten().collect::<Vec<_>>(), ["Ann", "Zoë"]);
    assert_eq!(all(&source, "code").as_string::<i64>().iter().flatten().collect::<Vec<_>>(), ["x", "yz"]);
    assert_eq!(all(&source, "half").as_primitive::<Float16Type>().value(1).to_f32(), -0.5);
    let z = all(&source, "z");
    assert_eq!(z.as_fixed_size_list().values().as_primitive::<Float32Type>().values(), &[1.0, 2.0, 0.0, 3.0]);
    assert_eq!(all(&source, "day").as_primitive::<TimestampSecondType>().values(), &[1_582_934_400, i64::MIN]);
    let m = all(&source, "m");
    assert_eq!(m.as_fixed_size_list().values().as_primitive::<UInt8Type>().values(), &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(all(&source, "at.x").as_primitive::<Int8Type>().values(), &[5, 7]);
    assert_eq!(all(&source, "at.y").as_primitive::<Int16Type>().values(), &[6, 8]);
}

#[test]
fn records_may_have_axes_padding_and_fortran_order() {
    for name in ["aligned.npy", "fortran_records.npy"] {
        let source = golden(name);
        assert_eq!((source.rows(), source.fields().len(), source.shape()), (2, 2, &[2, 2][..]));
        let a = all(&source, "a");
        assert_eq!(a.as_fixed_size_list().values().as_primitive::<Int8Type>().values(), &[1, 3, 5, 7]);
        let b = all(&source, "b");
        assert_eq!(b.as_fixed_size_list().values().as_primitive::<Float64Type>().values(), &[2.5, 4.5, 6.5, 8.5]);
    }
}

#[test]
fn text_and_times_of_other_units() {
    let text = |name: &str| {
        let array = all(&golden(name), "value");
        array.as_string::<i64>().iter().flatten().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(text("unicode.npy"), ["a", "grüße", "日本", ""]);
    assert_eq!(text("bytes.npy"), ["a", "bc", ""]);
    let table = golden("unicode_2d.npy");
    assert_eq!((table.fields()[0].dtype(), table.fields()[0].cell()), (DType::FixedBytes(4), &[2][..]));
    let bytes = all(&table, "value");
    assert_eq!(bytes.as_fixed_size_list().values().as_fixed_size_binary().value(1), "ü\0\0".as_bytes());
    let months = golden("months.npy");
    assert_eq!(months.fields()[0].dtype(), DType::Datetime64(TimeUnit::Second));
    let seconds = all(&months, "value");
    assert_eq!(seconds.as_primitive::<TimestampSecondType>().values(), &[-2_678_400, 951_868_800, i64::MIN]);
    let tens = all(&golden("tens.npy"), "value");
    assert_eq!(tens.as_primitive::<DurationMillisecondType>().values(), &[10, -20]);
}

#[test]
fn values_that_do_not_fit_name_their_row() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&str, &[u8], &str); 3] = [
        ("|S2", b"ab\xff\xff", "UTF-8"),
        ("<U1", b"a\0\0\0\0\xd8\0\0", "Unicode"),
        ("<M8[D]", &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f], "64-bit seconds"),
    ];
    for (descr, data, expected) in cases {
        let source = NpySource::open(saved(&folder, &npy(1, descr, false, &[2], 128, data))).unwrap();
        source.read(0, 0..1).unwrap();
        for error in [source.read(0, 0..2).unwrap_err(), source.take(0, &[0, 1]).unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains("row 1") && text.contains(expected) && text.contains("a.npy"), "{text}");
        }
    }
    for descr in ["<f16", "<U0", "|S0", "<m8[M]", "<M8[as]", "|V0", "<c32"] {
        let error = NpySource::open(saved(&folder, &npy(1, descr, false, &[2], 128, &[0; 64]))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{descr}: {error}");
    }
}

#[test]
fn padding_counts_among_the_bytes_of_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let open = |padding: &[u32]| {
        let padding: String = padding.iter().map(|n| format!(", ('', '|V{n}')")).collect();
        let dict = format!("{{'descr': [('a', '<i4'){padding}], 'fortran_order': False, 'shape': (0,), }}\n");
        let head = [b"\x93NUMPY\x02\0".to_vec(), (dict.len() as u32).to_le_bytes().to_vec()].concat();
        NpySource::open(saved(&folder, &[head, dict.into_bytes()].concat()))
    };
    let most = i32::MAX as u32;
    assert_eq!(open(&[most - 5, 1]).unwrap().rows(), 0);
    for padding in [vec![most - 3], vec![most - 5, 2], vec![most; 1000]] {
        let error = open(&padding).unwrap_err();
        assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("too large"), "{error}");
    }
}
