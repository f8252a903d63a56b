use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, Float32Array, Int32Array, LargeBinaryArray, LargeStringArray, StringArray,
    StringViewArray,
};
use arrow_buffer::{Buffer, NullBuffer};

use super::*;
use crate::Fill;

const OTHERS: [DType; 4] = [DType::Bfloat16, DType::FixedBytes(5), DType::Utf8, DType::Binary];

fn field(dtype: DType, cell: &[usize]) -> FieldSpec {
    FieldSpec::new("f", dtype, cell.to_vec()).unwrap()
}

#[test]
fn fields_go_both_ways() {
    for dtype in DType::ALL.into_iter().chain(OTHERS) {
        for cell in [&[][..], &[2], &[0], &[3, 2], &[2, 0, 4]] {
            if dtype.is_variable() && !cell.is_empty() {
                assert!(FieldSpec::new("f", dtype, cell.to_vec()).is_err());
                continue;
            }
            for nullable in [false, true] {
                let f = field(dtype, cell).with_nullable(nullable);
                assert_eq!(from_field(&to_field(&f)).unwrap(), f);
                let json = serde_json::to_string(&f).unwrap();
                assert_eq!(serde_json::from_str::<FieldSpec>(&json).unwrap(), f, "{json}");
            }
        }
    }
}

#[test]
fn bytes_go_both_ways_without_a_copy() {
    for dtype in DType::ALL.into_iter().chain([DType::FixedBytes(5)]) {
        for cell in [&[][..], &[3], &[2, 2], &[0]] {
            let f = field(dtype, cell);
            let n = 5 * f.row_bytes();
            let raw: Vec<u8> =
                (0..n).map(|i| if dtype == DType::Bool { (i % 3 == 0).into() } else { (i * 37) as u8 }).collect();
            let buffer = Buffer::from(raw.clone());
            let block = array_from_buffer(&f, buffer.clone(), 5).unwrap();
            assert_eq!(block.array.len(), 5);
            assert_eq!(block.array.data_type(), &data_type(&f));
            let back = raw_bytes(&f, block.array.as_ref(), 0).unwrap();
            assert_eq!(back.as_slice(), raw, "{f}");
            if dtype != DType::Bool && n > 0 {
                assert_eq!((block.copied, back.as_ptr()), (0, buffer.as_ptr()), "{f}");
            }
            let tail = raw_bytes(&f, block.array.slice(2, 2).as_ref(), 0).unwrap();
            assert_eq!(tail.as_slice(), &raw[2 * f.row_bytes()..4 * f.row_bytes()], "{f}");
        }
    }
}

#[test]
fn a_null_names_field_and_row() {
    let f = field(DType::Int32, &[]);
    let column = Int32Array::from(vec![Some(1), None]);
    let message = raw_bytes(&f, &column, 40).unwrap_err().to_string();
    assert!(message.contains("\"f\": row 41 is NULL"), "{message}");

    let f = field(DType::Int32, &[2]);
    let values = Int32Array::from(vec![Some(1), Some(2), Some(3), None]);
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let column = FixedSizeListArray::new(item, 2, Arc::new(values), None);
    let message = raw_bytes(&f, &column, 0).unwrap_err().to_string();
    assert!(message.contains("row 1 is NULL"), "{message}");
}

#[test]
fn other_types_are_refused_with_what_to_do() {
    let list = DataType::new_list(DataType::Float32, true);
    let message = from_field(&Field::new("v", list, true)).unwrap_err().to_string();
    assert!(message.contains("\"v\"") && message.contains("FLOAT[384]"), "{message}");
    let map = DataType::new_list(DataType::Utf8, true);
    assert!(from_field(&Field::new("v", map, true)).is_err());
    let wrong = raw_bytes(&field(DType::Int64, &[]), &Int32Array::from(vec![1]), 0).unwrap_err().to_string();
    assert!(wrong.contains("takes Int64, not Int32"), "{wrong}");
    assert!(FieldSpec::new("row", DType::Int8, vec![]).is_err());
    assert!(FieldSpec::new("v", DType::Int8, vec![usize::MAX, 2]).is_err());
}

#[test]
fn nested_lists_are_cells_of_several_axes() {
    let inner = DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Float32, true)), 3);
    let outer = DataType::FixedSizeList(Arc::new(Field::new("item", inner, true)), 2);
    assert_eq!(from_field(&Field::new("f", outer, false)).unwrap(), field(DType::Float32, &[2, 3]));
}

#[test]
fn bfloat16_is_rounded_to_the_nearest() {
    let f = field(DType::Bfloat16, &[]);
    // Half-way cases go to the even neighbour.
    let given = [1.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, -3.5, f32::INFINITY, f32::MAX];
    let kept = [1.0, 1.0, 1.0 + 4.0 / 256.0, -3.5, f32::INFINITY, f32::INFINITY];
    let bytes = raw_bytes(&f, &Float32Array::from(given.to_vec()), 0).unwrap();
    assert_eq!(bytes.len(), 12);
    let block = array_from_buffer(&f, bytes, 6).unwrap();
    assert_eq!(block.array.as_any().downcast_ref::<Float32Array>().unwrap().values(), &kept);
    assert!(block.copied > 0);
}

#[test]
fn text_goes_both_ways() {
    let rows = [Some("a"), None, Some(""), Some("snow ☃"), Some("b")];
    let f = field(DType::Utf8, &[]).with_nullable(true);
    let columns: [ArrayRef; 3] = [
        Arc::new(LargeStringArray::from(rows.to_vec())),
        Arc::new(StringArray::from(rows.to_vec())),
        Arc::new(StringViewArray::from(rows.to_vec())),
    ];
    for column in columns {
        for (start, len) in [(0, 5), (1, 3), (3, 2), (0, 0)] {
            let column = column.slice(start, len);
            let parts = parts(&f, column.as_ref(), 0).unwrap();
            assert_eq!(parts.offsets.as_ref().unwrap().len(), len + 1);
            let mut offsets: Vec<i64> = parts.offsets.as_ref().unwrap().to_vec();
            let first = offsets[0];
            offsets.iter_mut().for_each(|o| *o -= first);
            let back = Parts { offsets: Some(offsets.into()), ..parts };
            let block = array_from_parts(&f, back, len).unwrap();
            let texts = block.array.as_any().downcast_ref::<LargeStringArray>().unwrap();
            assert_eq!(texts.iter().collect::<Vec<_>>(), rows[start..start + len]);
        }
    }
    let plain = field(DType::Utf8, &[]);
    let message = parts(&plain, &StringArray::from(rows.to_vec()), 7).unwrap_err().to_string();
    assert!(message.contains("row 8 is NULL"), "{message}");
    assert!(raw_bytes(&plain, &StringArray::from(vec!["x"]), 0).is_err());
    assert!(parts(&plain, &LargeBinaryArray::from(vec![&b"x"[..]]), 0).is_err());
}

#[test]
fn damaged_text_is_an_error() {
    let f = field(DType::Utf8, &[]);
    let text = |values: &[u8], offsets: Vec<i64>| {
        let rows = offsets.len() - 1;
        array_from_parts(&f, Parts { values: values.to_vec().into(), offsets: Some(offsets.into()), nulls: None }, rows)
    };
    assert!(text(b"abc", vec![0, 1, 3]).is_ok());
    for (values, offsets) in [
        (&b"abc"[..], vec![0, 4]),
        (b"abc", vec![0, 2, 1]),
        (b"abc", vec![-1, 2]),
        (b"\xff\xfe", vec![0, 2]),
        ("é".as_bytes(), vec![0, 1, 2]),
    ] {
        assert!(text(values, offsets.clone()).is_err(), "{values:?} {offsets:?}");
    }
}

#[test]
fn nulls_hide_what_stands_below_them() {
    let f = field(DType::Int32, &[]).with_nullable(true).with_fill(Fill::of(-7_i32)).unwrap();
    let column = Int32Array::new(vec![1, 2, 3].into(), Some(NullBuffer::from(vec![true, false, true])));
    let found = parts(&f, &column, 0).unwrap();
    assert_eq!(found.values, Buffer::from_slice_ref([1_i32, -7, 3]));
    let back = array_from_parts(&f, found, 3).unwrap();
    assert_eq!(back.array.as_any().downcast_ref::<Int32Array>().unwrap(), &column);
    // Cells may be NULL, but nothing in them.
    let f = field(DType::Float32, &[2]).with_nullable(true);
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let lists = |items: Vec<Option<f32>>, rows: Vec<bool>| {
        let items = Arc::new(Float32Array::from(items));
        FixedSizeListArray::new(item.clone(), 2, items, Some(NullBuffer::from(rows)))
    };
    let column = lists(vec![Some(1.0), Some(2.0), None, None], vec![true, false]);
    let back = array_from_parts(&f, parts(&f, &column, 0).unwrap(), 2).unwrap().array;
    assert_eq!((back.is_null(0), back.is_null(1)), (false, true));
    let column = lists(vec![Some(1.0), None, None, None], vec![true, false]);
    assert!(parts(&f, &column, 0).unwrap_err().to_string().contains("row 0 is NULL"));
}

#[test]
fn what_nobody_wrote_is_filled() {
    let none = |f: &FieldSpec| filled(f, 3).unwrap().array;
    assert_eq!(none(&field(DType::Int32, &[])).null_count(), 0);
    assert_eq!(none(&field(DType::Int32, &[]).with_nullable(true)).null_count(), 3);
    assert_eq!(none(&field(DType::Float32, &[2]).with_nullable(true)).null_count(), 3);
    let f = field(DType::Int32, &[]).with_nullable(true).with_fill(Fill::of(9_i32)).unwrap();
    assert_eq!(none(&f).as_any().downcast_ref::<Int32Array>().unwrap().values(), &[9, 9, 9]);
    let f = field(DType::Utf8, &[]);
    assert_eq!(none(&f).as_any().downcast_ref::<LargeStringArray>().unwrap().value(2), "");
    let f = f.with_fill(Fill::text("né")).unwrap();
    assert_eq!(none(&f).as_any().downcast_ref::<LargeStringArray>().unwrap().value(2), "né");
    assert_eq!(filled(&f, 0).unwrap().array.len(), 0);
}
