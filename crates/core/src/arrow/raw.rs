//! Between Arrow arrays and the raw little-endian rows of shards.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeListArray, LargeBinaryArray,
    LargeStringArray, StringArray, StringViewArray, make_array,
};
use arrow_buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_data::ArrayData;
use arrow_schema::{DataType, FieldRef};
use half::bf16;

use super::{data_type, element_type};
use crate::{Block, DType, Error, FieldSpec, Result};

/// A column in the parts that a store keeps it in.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Raw little-endian rows in C order, the fill value or 0 where a row is NULL; of text and binary, the bytes of all
    /// rows one after the other.
    pub values: Buffer,
    /// Of text and binary: where each row starts, and where the last one ends, as many as rows and one more. The first
    /// stands for the start of `values`, whatever it is.
    pub offsets: Option<ScalarBuffer<i64>>,
    /// Which rows are not NULL, where some are.
    pub nulls: Option<NullBuffer>,
}

/// Makes an Arrow array of `rows` raw little-endian C-order rows: a view of `bytes`, except for bool, which is packed,
/// and bfloat16, which is widened.
///
/// # Errors
/// `Invalid` when `bytes` is not exactly `rows` rows or not aligned for the dtype, and for text and binary.
pub fn array_from_buffer(field: &FieldSpec, bytes: Buffer, rows: usize) -> Result<Block> {
    let dtype = field.dtype();
    if dtype.is_variable() || rows.checked_mul(field.row_bytes()) != Some(bytes.len()) {
        return Err(Error::invalid(format!(
            "field {:?}: {} bytes are not {rows} rows of {dtype}{:?}",
            field.name(),
            bytes.len(),
            field.cell()
        )));
    }
    let elements = rows * field.elements();
    let (values, copied): (ArrayRef, u64) = if dtype == DType::Bool {
        let packed = BooleanBuffer::collect_bool(elements, |i| bytes.get(i).is_some_and(|&b| b != 0));
        let copied = packed.inner().len() as u64;
        (Arc::new(BooleanArray::new(packed, None)), copied)
    } else if dtype == DType::Bfloat16 {
        let wide: Vec<f32> = bytes.as_chunks::<2>().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect();
        let copied = (wide.len() * size_of::<f32>()) as u64;
        (primitive(DataType::Float32, wide.into(), elements, field)?, copied)
    } else if let DataType::FixedSizeList(item, 2) = element_type(dtype) {
        let parts = primitive(item.data_type().clone(), bytes, elements * 2, field)?;
        (fixed_size_list(item, 2, parts, elements, field)?, 0)
    } else {
        (primitive(element_type(dtype), bytes, elements, field)?, 0)
    };
    let array = match data_type(field) {
        DataType::FixedSizeList(item, size) if !field.cell().is_empty() => {
            fixed_size_list(item, size, values, rows, field)?
        }
        _ => values,
    };
    Ok(Block { array, copied })
}

fn primitive(data_type: DataType, bytes: Buffer, len: usize, field: &FieldSpec) -> Result<ArrayRef> {
    // An empty buffer may dangle at any address.
    let bytes = if bytes.is_empty() { MutableBuffer::new(0).into() } else { bytes };
    let align = field.dtype().component_size();
    if bytes.as_ptr().align_offset(align.min(align_of::<u64>())) != 0 {
        return Err(Error::invalid(format!("field {:?}: its bytes are not aligned to {align}", field.name())));
    }
    let data = ArrayData::builder(data_type).len(len).add_buffer(bytes).build();
    data.map(make_array).map_err(|e| Error::invalid(format!("field {:?}", field.name())).because(e))
}

fn fixed_size_list(item: FieldRef, size: i32, values: ArrayRef, len: usize, field: &FieldSpec) -> Result<ArrayRef> {
    let list = FixedSizeListArray::try_new_with_length(item, size, values, None, len);
    list.map(|l| Arc::new(l) as ArrayRef).map_err(|e| Error::invalid(format!("field {:?}", field.name())).because(e))
}

/// Makes an Arrow array of rows in parts, the inverse of [`parts`]. Text is checked to be UTF-8.
///
/// # Errors
/// As [`array_from_buffer`]; `Corrupt` for offsets that do not fit the bytes and for what is no text.
pub fn array_from_parts(field: &FieldSpec, parts: Parts, rows: usize) -> Result<Block> {
    let Parts { values, offsets, nulls } = parts;
    let block = match offsets {
        None => array_from_buffer(field, values, rows)?,
        Some(offsets) => Block { array: text(field, values, offsets, rows)?, copied: 0 },
    };
    let Some(nulls) = nulls.filter(|n| n.null_count() > 0) else { return Ok(block) };
    if nulls.len() != rows {
        return Err(Error::invalid(format!(
            "field {:?}: {} rows of {rows} are NULL or not",
            field.name(),
            nulls.len()
        )));
    }
    let copied = block.copied + nulls.buffer().len() as u64;
    let data = block.array.to_data().into_builder().nulls(Some(nulls)).build();
    let data = data.map_err(|e| Error::invalid(format!("field {:?}", field.name())).because(e))?;
    Ok(Block { array: make_array(data), copied })
}

fn text(field: &FieldSpec, values: Buffer, offsets: ScalarBuffer<i64>, rows: usize) -> Result<ArrayRef> {
    let bad = |why: &str| Error::corrupt(format!("field {:?}: {why}", field.name()));
    let ordered = offsets.first().is_some_and(|&first| first >= 0) && offsets.is_sorted();
    let end = offsets.last().and_then(|&last| usize::try_from(last).ok());
    if offsets.len() != rows + 1 || !ordered || end.is_none_or(|end| end > values.len()) {
        return Err(bad("the offsets of its rows do not fit its bytes"));
    }
    let offsets = OffsetBuffer::new(offsets);
    Ok(match field.dtype() {
        DType::Utf8 => Arc::new(
            LargeStringArray::try_new(offsets, values, None).map_err(|e| bad("it holds what is no text").because(e))?,
        ),
        DType::Binary => {
            Arc::new(LargeBinaryArray::try_new(offsets, values, None).map_err(|e| bad("its bytes").because(e))?)
        }
        other => return Err(bad(&format!("{other} has no offsets"))),
    })
}

/// Rows that nobody wrote: the fill value; NULL where the field is nullable and has none; 0 or empty.
///
/// # Errors
/// `Invalid` for more rows than memory can hold.
pub fn filled(field: &FieldSpec, rows: usize) -> Result<Block> {
    let fill = field.fill().map(crate::Fill::as_bytes).unwrap_or_default();
    let (item, count) = match field.dtype().is_variable() {
        true => (fill.len(), rows),
        false => (field.dtype().size(), rows.saturating_mul(field.elements())),
    };
    let len = item.checked_mul(count).filter(|&len| isize::try_from(len).is_ok());
    let len = len.ok_or_else(|| Error::invalid(format!("{rows} rows of field {:?} are too many", field.name())))?;
    let values: Buffer = match fill.iter().all(|&b| b == 0) {
        true => MutableBuffer::from_len_zeroed(len).into(),
        false => fill.repeat(count).into(),
    };
    let offsets = field.dtype().is_variable().then(|| (0..=rows).map(|row| (row * item) as i64).collect());
    let nulls = (field.nullable() && field.fill().is_none()).then(|| NullBuffer::new_null(rows));
    let copied = len as u64 + if field.dtype().is_variable() { (rows as u64 + 1) * 8 } else { 0 };
    let mut block = array_from_parts(field, Parts { values, offsets, nulls }, rows)?;
    block.copied = block.copied.max(copied);
    Ok(block)
}

/// A column in parts. `first_row` numbers the rows in the messages. Text and binary may be of any of Arrow's types.
///
/// # Errors
/// `Invalid` for a NULL in a field that holds none (naming field and row), a NULL inside a cell, or a column that is not
/// of the field's type.
pub fn parts(field: &FieldSpec, column: &dyn Array, first_row: u64) -> Result<Parts> {
    if !field.nullable() {
        check_nulls(field, column, first_row, 1)?;
    }
    let nulls = column.logical_nulls().filter(|n| n.null_count() > 0);
    if !field.dtype().is_variable() {
        let mut values = raw_values(field, column, first_row, nulls.as_ref())?;
        if let Some(nulls) = &nulls {
            values = with_fill(field, &values, nulls);
        }
        return Ok(Parts { values, offsets: None, nulls });
    }
    let column = large(field, column, nulls.as_ref())?;
    let data = column.to_data();
    let offsets = data.buffers().first().cloned().unwrap_or_else(|| Buffer::from_slice_ref([0_i64]));
    let offsets = match data.is_empty() {
        true => ScalarBuffer::from(vec![0_i64]),
        false => ScalarBuffer::<i64>::new(offsets, data.offset(), data.len() + 1),
    };
    let start = offsets.first().copied().unwrap_or(0) as usize;
    let end = offsets.last().copied().unwrap_or(0) as usize;
    let bytes = data.buffers().get(1).ok_or_else(|| wrong_type(field, column.as_ref()))?;
    Ok(Parts { values: bytes.slice_with_length(start, end - start), offsets: Some(offsets), nulls })
}

/// The raw little-endian C-order bytes of a column: the inverse of [`array_from_buffer`], a view except for bool and
/// bfloat16. `first_row` numbers the rows in the messages.
///
/// # Errors
/// `Invalid` for a NULL (naming field and row), a column that is not of the field's type, text and binary.
pub fn raw_bytes(field: &FieldSpec, column: &dyn Array, first_row: u64) -> Result<Buffer> {
    if field.dtype().is_variable() {
        return Err(Error::unsupported(format!(
            "field {:?} holds {}, whose rows have lengths of their own: they are no n-dimensional array",
            field.name(),
            field.dtype()
        )));
    }
    check_nulls(field, column, first_row, 1)?;
    raw_values(field, column, first_row, None)
}

/// The raw bytes of a column, whatever stands where a row is NULL.
fn raw_values(field: &FieldSpec, column: &dyn Array, first_row: u64, nulls: Option<&NullBuffer>) -> Result<Buffer> {
    let mut data = column.to_data();
    let rows = data.len();
    let mut per_row = 1;
    // Walk down the lists, narrowing the child to the rows of the parent.
    while let DataType::FixedSizeList(_, n) = *data.data_type() {
        let n = usize::try_from(n).unwrap_or(0);
        let child = data.child_data().first().map(|c| c.slice(data.offset() * n, data.len() * n));
        data = child.ok_or_else(|| wrong_type(field, column))?;
        per_row *= n;
        let items = make_array(data.clone());
        if nulls.is_none_or(|rows| has_null_item(rows, items.as_ref(), per_row)) {
            check_nulls(field, items.as_ref(), first_row, per_row)?;
        }
    }
    let components = if matches!(field.dtype(), DType::Complex64 | DType::Complex128) { 2 } else { 1 };
    let expected = match element_type(field.dtype()) {
        DataType::FixedSizeList(item, _) => item.data_type().clone(),
        other => other,
    };
    if *data.data_type() != expected || per_row != field.elements() * components {
        return Err(wrong_type(field, column));
    }
    if field.dtype() == DType::Bool {
        let bits = BooleanArray::from(data);
        return Ok(bits.values().iter().map(u8::from).collect::<Vec<u8>>().into());
    }
    let item = match field.dtype() {
        DType::FixedBytes(n) => n as usize,
        DType::Bfloat16 => size_of::<f32>(),
        other => other.component_size(),
    };
    let buffer = data.buffers().first().ok_or_else(|| wrong_type(field, column))?;
    let bytes = buffer.slice_with_length(data.offset() * item, rows * per_row * item);
    if field.dtype() == DType::Bfloat16 {
        let floats = bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b));
        return Ok(floats.flat_map(|x| bf16::from_f32(x).to_le_bytes()).collect::<Vec<u8>>().into());
    }
    Ok(bytes)
}

/// Whether an item is NULL whose row is not.
fn has_null_item(rows: &NullBuffer, items: &dyn Array, per_row: usize) -> bool {
    let null = |items: NullBuffer| (0..items.len()).any(|i| items.is_null(i) && rows.is_valid(i / per_row.max(1)));
    items.logical_nulls().is_some_and(null)
}

/// The rows, with the fill value where they are NULL.
fn with_fill(field: &FieldSpec, values: &Buffer, nulls: &NullBuffer) -> Buffer {
    let row_bytes = field.row_bytes();
    let zeros = vec![0; field.dtype().size()];
    let fill = field.fill().map_or(zeros.as_slice(), crate::Fill::as_bytes).repeat(field.elements());
    let mut out = values.to_vec();
    if row_bytes > 0 {
        let rows = out.chunks_exact_mut(row_bytes).zip(nulls.iter());
        rows.filter(|(_, valid)| !valid).for_each(|(row, _)| row.copy_from_slice(&fill));
    }
    out.into()
}

/// Text or bytes as Arrow's type of large ones, in which NULL has no bytes.
fn large(field: &FieldSpec, column: &dyn Array, nulls: Option<&NullBuffer>) -> Result<ArrayRef> {
    fn get<T: 'static>(column: &dyn Array) -> Option<&T> {
        column.as_any().downcast_ref::<T>()
    }
    fn text<'a>(rows: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
        Arc::new(rows.collect::<LargeStringArray>())
    }
    fn bytes<'a>(rows: impl Iterator<Item = Option<&'a [u8]>>) -> ArrayRef {
        Arc::new(rows.collect::<LargeBinaryArray>())
    }
    let hidden = |offsets: &OffsetBuffer<i64>| {
        let length = |row: usize| offsets.get(row + 1).zip(offsets.get(row)).is_some_and(|(end, start)| end > start);
        nulls.is_some_and(|n| (0..n.len()).any(|row| n.is_null(row) && length(row)))
    };
    let made = match (field.dtype(), column.data_type()) {
        (DType::Utf8, DataType::LargeUtf8) => get::<LargeStringArray>(column).map(|a| match hidden(a.offsets()) {
            true => text(a.iter()),
            false => Arc::new(a.clone()),
        }),
        (DType::Utf8, DataType::Utf8) => get::<StringArray>(column).map(|a| text(a.iter())),
        (DType::Utf8, DataType::Utf8View) => get::<StringViewArray>(column).map(|a| text(a.iter())),
        (DType::Binary, DataType::LargeBinary) => get::<LargeBinaryArray>(column).map(|a| match hidden(a.offsets()) {
            true => bytes(a.iter()),
            false => Arc::new(a.clone()),
        }),
        (DType::Binary, DataType::Binary) => get::<BinaryArray>(column).map(|a| bytes(a.iter())),
        (DType::Binary, DataType::BinaryView) => get::<BinaryViewArray>(column).map(|a| bytes(a.iter())),
        _ => None,
    };
    made.ok_or_else(|| wrong_type(field, column))
}

fn wrong_type(field: &FieldSpec, column: &dyn Array) -> Error {
    Error::invalid(format!("field {:?} takes {}, not {}", field.name(), data_type(field), column.data_type()))
}

fn check_nulls(field: &FieldSpec, column: &dyn Array, first_row: u64, per_row: usize) -> Result<()> {
    if column.logical_null_count() == 0 {
        return Ok(());
    }
    let nulls = column.logical_nulls();
    let at = nulls.and_then(|n| (0..n.len()).find(|&i| n.is_null(i))).unwrap_or(0) / per_row.max(1);
    let row = first_row + at as u64;
    Err(Error::invalid(match field.nullable() {
        true => format!("field {:?}: row {row} is NULL, for which there is no value", field.name()),
        false => format!(
            "field {:?}: row {row} is NULL, and the field holds no NULL; filter such rows out or give them a value with coalesce",
            field.name()
        ),
    }))
}
