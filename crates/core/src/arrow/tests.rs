use arrow_array::Int32Array;

use super::*;

fn field(dtype: DType, cell: &[usize]) -> FieldSpec {
    FieldSpec::new("f", dtype, cell.to_vec()).unwrap()
}

#[test]
fn fields_go_both_ways() {
    for dtype in DType::ALL {
        for cell in [&[][..], &[2], &[0], &[3, 2], &[2, 0, 4]] {
            let f = field(dtype, cell);
            assert_eq!(from_field(&to_field(&f)).unwrap(), f);
        }
    }
}

#[test]
fn bytes_go_both_ways_without_a_copy() {
    for dtype in DType::ALL {
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
    assert!(from_field(&Field::new("v", DataType::Utf8, true)).unwrap_err().to_string().contains("text"));
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
