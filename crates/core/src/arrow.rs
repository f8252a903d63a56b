//! The mapping between fields and Arrow, both ways, and between raw little-endian rows and Arrow arrays.
//!
//! | field | Arrow type |
//! |---|---|
//! | cell shape `()` | the primitive type; bool is bit-packed when read |
//! | `(d)` | `FixedSizeList<T, d>`, its items not nullable |
//! | more axes | `FixedSizeList<T, product>` with the canonical extension `arrow.fixed_shape_tensor`, whose metadata holds the shape |
//! | complex64, complex128 | `T` is `FixedSizeList<Float32 or Float64, 2>`, whose item is named `complex` |
//! | datetime64, timedelta64 | `Timestamp` without a zone, `Duration`; NaT stays the smallest value, it is no NULL |
//!
//! Source of the extension: <https://arrow.apache.org/docs/format/CanonicalExtensions.html#fixed-shape-tensor>.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, FixedSizeListArray, make_array};
use arrow_buffer::{BooleanBuffer, Buffer, MutableBuffer};
use arrow_data::ArrayData;
use arrow_schema::extension::{EXTENSION_TYPE_METADATA_KEY, EXTENSION_TYPE_NAME_KEY};
use arrow_schema::{DataType, Field, FieldRef, TimeUnit as ArrowUnit};

use crate::{Block, DType, Error, FieldSpec, Result, TimeUnit};

/// The name of the canonical extension type of cells of two axes and more.
pub const FIXED_SHAPE_TENSOR: &str = "arrow.fixed_shape_tensor";

const ITEM: &str = "item";
const COMPLEX: &str = "complex";

/// The Arrow type of one element.
pub fn element_type(dtype: DType) -> DataType {
    let pair = |t| DataType::FixedSizeList(Arc::new(Field::new(COMPLEX, t, false)), 2);
    match dtype {
        DType::Bool => DataType::Boolean,
        DType::Int8 => DataType::Int8,
        DType::Int16 => DataType::Int16,
        DType::Int32 => DataType::Int32,
        DType::Int64 => DataType::Int64,
        DType::UInt8 => DataType::UInt8,
        DType::UInt16 => DataType::UInt16,
        DType::UInt32 => DataType::UInt32,
        DType::UInt64 => DataType::UInt64,
        DType::Float16 => DataType::Float16,
        DType::Float32 => DataType::Float32,
        DType::Float64 => DataType::Float64,
        DType::Complex64 => pair(DataType::Float32),
        DType::Complex128 => pair(DataType::Float64),
        DType::Datetime64(unit) => DataType::Timestamp(arrow_unit(unit), None),
        DType::Timedelta64(unit) => DataType::Duration(arrow_unit(unit)),
    }
}

fn arrow_unit(unit: TimeUnit) -> ArrowUnit {
    match unit {
        TimeUnit::Second => ArrowUnit::Second,
        TimeUnit::Millisecond => ArrowUnit::Millisecond,
        TimeUnit::Microsecond => ArrowUnit::Microsecond,
        TimeUnit::Nanosecond => ArrowUnit::Nanosecond,
    }
}

/// The Arrow type of a field's column.
pub fn data_type(field: &FieldSpec) -> DataType {
    let element = element_type(field.dtype());
    if field.cell().is_empty() {
        return element;
    }
    // `FieldSpec::new` keeps a cell's elements within i32.
    let size = i32::try_from(field.elements()).unwrap_or(i32::MAX);
    DataType::FixedSizeList(Arc::new(Field::new(ITEM, element, false)), size)
}

/// The Arrow field of a field's column: never nullable, with the tensor extension where the cell has several axes.
///
/// ```
/// use hyperslab_core::{DType, FieldSpec, arrow};
/// let field = FieldSpec::new("image", DType::UInt8, vec![8, 8])?;
/// let column = arrow::to_field(&field);
/// assert_eq!(column.extension_type_name(), Some(arrow::FIXED_SHAPE_TENSOR));
/// assert_eq!(arrow::from_field(&column)?, field);
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
pub fn to_field(field: &FieldSpec) -> Field {
    let column = Field::new(field.name(), data_type(field), false);
    if field.cell().len() < 2 {
        return column;
    }
    column.with_metadata(HashMap::from([
        (EXTENSION_TYPE_NAME_KEY.to_owned(), FIXED_SHAPE_TENSOR.to_owned()),
        (EXTENSION_TYPE_METADATA_KEY.to_owned(), serde_json::json!({ "shape": field.cell() }).to_string()),
    ]))
}

/// The field that a column can be stored as. Nullability is not part of it: NULLs are refused when values come.
/// A variable-length list has no cell shape; cast it to a fixed-size list first.
///
/// # Errors
/// `Unsupported`, naming the column, its type and what to do; `Invalid` for a tensor whose shape is not its size.
pub fn from_field(column: &Field) -> Result<FieldSpec> {
    let unsupported = |hint: &str| {
        Error::unsupported(format!(
            "column {:?} of type {} cannot be stored in an array{hint}",
            column.name(),
            column.data_type()
        ))
    };
    if let Some(dtype) = dtype_of(column.data_type()) {
        return FieldSpec::new(column.name(), dtype, vec![]);
    }
    match column.data_type() {
        DataType::FixedSizeList(..) => {
            let (dtype, nested) = nested_cell(column.data_type()).ok_or_else(|| unsupported(""))?;
            let cell = match tensor_shape(column)? {
                Some(shape) if shape.iter().product::<usize>() == nested.iter().product::<usize>() => shape,
                Some(shape) => {
                    return Err(Error::invalid(format!(
                        "column {:?}: the tensor shape {shape:?} does not have {} elements",
                        column.name(),
                        nested.iter().product::<usize>()
                    )));
                }
                None => nested,
            };
            FieldSpec::new(column.name(), dtype, cell)
        }
        DataType::List(_) | DataType::LargeList(_) => {
            Err(unsupported("; its lists have no fixed length: cast it, for example with ::FLOAT[384]"))
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Err(unsupported(
            "; text fields are not supported: leave the column out or join with the file that holds it",
        )),
        DataType::Null => Err(unsupported("; give it a type with a cast")),
        _ => Err(unsupported("; cast it to a number, a bool or a timestamp")),
    }
}

/// The dtype and the cell shape of nested fixed-size lists, outermost first.
fn nested_cell(data_type: &DataType) -> Option<(DType, Vec<usize>)> {
    if let Some(dtype) = dtype_of(data_type) {
        return Some((dtype, vec![]));
    }
    let DataType::FixedSizeList(item, n) = data_type else { return None };
    let (dtype, mut inner) = nested_cell(item.data_type())?;
    inner.insert(0, usize::try_from(*n).ok()?);
    Some((dtype, inner))
}

fn dtype_of(data_type: &DataType) -> Option<DType> {
    let unit = |u: &ArrowUnit| match u {
        ArrowUnit::Second => TimeUnit::Second,
        ArrowUnit::Millisecond => TimeUnit::Millisecond,
        ArrowUnit::Microsecond => TimeUnit::Microsecond,
        ArrowUnit::Nanosecond => TimeUnit::Nanosecond,
    };
    Some(match data_type {
        DataType::Boolean => DType::Bool,
        DataType::Int8 => DType::Int8,
        DataType::Int16 => DType::Int16,
        DataType::Int32 => DType::Int32,
        DataType::Int64 => DType::Int64,
        DataType::UInt8 => DType::UInt8,
        DataType::UInt16 => DType::UInt16,
        DataType::UInt32 => DType::UInt32,
        DataType::UInt64 => DType::UInt64,
        DataType::Float16 => DType::Float16,
        DataType::Float32 => DType::Float32,
        DataType::Float64 => DType::Float64,
        DataType::Timestamp(u, None) => DType::Datetime64(unit(u)),
        DataType::Duration(u) => DType::Timedelta64(unit(u)),
        DataType::FixedSizeList(item, 2) if item.name() == COMPLEX => match item.data_type() {
            DataType::Float32 => DType::Complex64,
            DataType::Float64 => DType::Complex128,
            _ => return None,
        },
        _ => return None,
    })
}

/// The shape in a `arrow.fixed_shape_tensor` column's metadata, if it is one. A permutation is refused.
fn tensor_shape(column: &Field) -> Result<Option<Vec<usize>>> {
    #[derive(serde::Deserialize)]
    struct Tensor {
        shape: Vec<usize>,
        permutation: Option<Vec<usize>>,
    }
    if column.extension_type_name() != Some(FIXED_SHAPE_TENSOR) {
        return Ok(None);
    }
    let bad = || {
        Error::invalid(format!(
            "column {:?}: the metadata of its {FIXED_SHAPE_TENSOR} is not understood",
            column.name()
        ))
    };
    let tensor: Tensor =
        serde_json::from_str(column.extension_type_metadata().unwrap_or_default()).map_err(|e| bad().because(e))?;
    match tensor.permutation {
        Some(p) if !p.iter().copied().eq(0..tensor.shape.len()) => Err(bad().with("permutation", format!("{p:?}"))),
        _ => Ok(Some(tensor.shape)),
    }
}

/// Makes an Arrow array of `rows` raw little-endian C-order rows: a view of `bytes`, except for bool, which is packed.
///
/// # Errors
/// `Invalid` when `bytes` is not exactly `rows` rows or not aligned for the dtype.
pub fn array_from_buffer(field: &FieldSpec, bytes: Buffer, rows: usize) -> Result<Block> {
    if rows.checked_mul(field.row_bytes()) != Some(bytes.len()) {
        return Err(Error::invalid(format!(
            "field {:?}: {} bytes are not {rows} rows of {} bytes",
            field.name(),
            bytes.len(),
            field.row_bytes()
        )));
    }
    let dtype = field.dtype();
    let elements = rows * field.elements();
    let (values, copied): (ArrayRef, u64) = if dtype == DType::Bool {
        let packed = BooleanBuffer::collect_bool(elements, |i| bytes.get(i).is_some_and(|&b| b != 0));
        let copied = packed.inner().len() as u64;
        (Arc::new(BooleanArray::new(packed, None)), copied)
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

/// The raw little-endian C-order bytes of a column: the inverse of [`array_from_buffer`], a view except for bool.
/// `first_row` numbers the rows in the messages.
///
/// # Errors
/// `Invalid` for a NULL (naming field and row) or a column that is not of the field's type.
pub fn raw_bytes(field: &FieldSpec, column: &dyn Array, first_row: u64) -> Result<Buffer> {
    check_nulls(field, column, first_row, 1)?;
    let mut data = column.to_data();
    let rows = data.len();
    let mut per_row = 1;
    // Walk down the lists, narrowing the child to the rows of the parent.
    while let DataType::FixedSizeList(_, n) = *data.data_type() {
        let n = usize::try_from(n).unwrap_or(0);
        let child = data.child_data().first().map(|c| c.slice(data.offset() * n, data.len() * n));
        data = child.ok_or_else(|| wrong_type(field, column))?;
        per_row *= n;
        check_nulls(field, make_array(data.clone()).as_ref(), first_row, per_row)?;
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
    let item = field.dtype().component_size();
    let buffer = data.buffers().first().ok_or_else(|| wrong_type(field, column))?;
    Ok(buffer.slice_with_length(data.offset() * item, rows * per_row * item))
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
    Err(Error::invalid(format!(
        "field {:?}: row {} is NULL, and the field holds no NULL; filter such rows out or give them a value with coalesce",
        field.name(),
        first_row + at as u64
    )))
}

#[cfg(test)]
mod tests;
