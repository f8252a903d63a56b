//! The mapping between fields and Arrow, both ways, and between raw little-endian rows and Arrow arrays.
//!
//! | field | Arrow type |
//! |---|---|
//! | cell shape `()` | the primitive type; bool is bit-packed when read |
//! | `(d)` | `FixedSizeList<T, d>`, its items not nullable |
//! | more axes | `FixedSizeList<T, product>` with the canonical extension `arrow.fixed_shape_tensor`, whose metadata holds the shape |
//! | complex64, complex128 | `T` is `FixedSizeList<Float32 or Float64, 2>`, whose item is named `complex` |
//! | datetime64, timedelta64 | `Timestamp` without a zone, `Duration`; NaT stays the smallest value, it is no NULL |
//! | bfloat16 | `T` is `Float32`; the column's metadata says what it is, and values are rounded to the nearest on the way back |
//! | fixed-size bytes | `FixedSizeBinary` |
//! | utf8, binary | `LargeUtf8`, `LargeBinary` |
//!
//! A field that may hold NULL is a nullable column; its items never are.
//!
//! Source of the extension: <https://arrow.apache.org/docs/format/CanonicalExtensions.html#fixed-shape-tensor>.

mod raw;

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::extension::{EXTENSION_TYPE_METADATA_KEY, EXTENSION_TYPE_NAME_KEY};
use arrow_schema::{DataType, Field, TimeUnit as ArrowUnit};

use crate::{DType, Error, FieldSpec, Result, TimeUnit};

pub use raw::{Parts, array_from_buffer, array_from_parts, filled, parts, raw_bytes};

/// The name of the canonical extension type of cells of two axes and more.
pub const FIXED_SHAPE_TENSOR: &str = "arrow.fixed_shape_tensor";

/// The key of the metadata of a column whose Arrow type does not say its dtype.
const DTYPE_KEY: &str = "hyperslab.dtype";

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
        DType::Float32 | DType::Bfloat16 => DataType::Float32,
        DType::Float64 => DataType::Float64,
        DType::Complex64 => pair(DataType::Float32),
        DType::Complex128 => pair(DataType::Float64),
        DType::Datetime64(unit) => DataType::Timestamp(arrow_unit(unit), None),
        DType::Timedelta64(unit) => DataType::Duration(arrow_unit(unit)),
        // `FieldSpec::new` keeps the width within i32.
        DType::FixedBytes(n) => DataType::FixedSizeBinary(i32::try_from(n).unwrap_or(i32::MAX)),
        DType::Utf8 => DataType::LargeUtf8,
        DType::Binary => DataType::LargeBinary,
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

/// The Arrow field of a field's column: nullable as the field is, with the tensor extension where the cell has several
/// axes.
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
    let mut metadata = HashMap::new();
    if field.cell().len() >= 2 {
        metadata.insert(EXTENSION_TYPE_NAME_KEY.to_owned(), FIXED_SHAPE_TENSOR.to_owned());
        let shape = serde_json::json!({ "shape": field.cell() }).to_string();
        metadata.insert(EXTENSION_TYPE_METADATA_KEY.to_owned(), shape);
    }
    if field.dtype() == DType::Bfloat16 {
        metadata.insert(DTYPE_KEY.to_owned(), DType::Bfloat16.to_string());
    }
    Field::new(field.name(), data_type(field), field.nullable()).with_metadata(metadata)
}

/// The field that a column can be stored as, nullable if the column is. A variable-length list has no cell shape; cast it
/// to a fixed-size list first.
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
    let marked = column.metadata().get(DTYPE_KEY).is_some_and(|d| *d == DType::Bfloat16.to_string());
    let exact = |dtype| if marked && dtype == DType::Float32 { DType::Bfloat16 } else { dtype };
    if let Some(dtype) = dtype_of(column.data_type()) {
        let field = FieldSpec::new(column.name(), exact(dtype), vec![])?;
        return Ok(field.with_nullable(column.is_nullable()));
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
            Ok(FieldSpec::new(column.name(), exact(dtype), cell)?.with_nullable(column.is_nullable()))
        }
        DataType::List(_) | DataType::LargeList(_) => {
            Err(unsupported("; its lists have no fixed length: cast it, for example with ::FLOAT[384]"))
        }
        DataType::Null => Err(unsupported("; give it a type with a cast")),
        other => Err(unsupported(hint(other))),
    }
}

/// What makes a column of a type that no array holds one that can be stored.
fn hint(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            "; cast it, for example with ::DOUBLE or ::BIGINT"
        }
        DataType::Date32 | DataType::Date64 => "; cast it with ::TIMESTAMP(0)",
        DataType::Timestamp(_, Some(_)) => "; times have no zone there: cast it to UTC with ::TIMESTAMP(6)",
        DataType::Time32(_) | DataType::Time64(_) | DataType::Interval(_) => "; cast it to text with ::VARCHAR",
        DataType::Struct(_) => "; take its members as columns, as in s['a'] AS a",
        DataType::Map(..) | DataType::Union(..) => "; take what is needed of it as columns",
        _ => "; cast it to a number, a bool, a timestamp or text",
    }
}

/// The dtype and the cell shape of nested fixed-size lists, outermost first.
fn nested_cell(data_type: &DataType) -> Option<(DType, Vec<usize>)> {
    if let Some(dtype) = dtype_of(data_type) {
        return (!dtype.is_variable()).then_some((dtype, vec![]));
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
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DType::Binary,
        DataType::FixedSizeBinary(n) => DType::FixedBytes(u32::try_from(*n).ok()?),
        DataType::Dictionary(_, values) => return dtype_of(values),
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

#[cfg(test)]
mod tests;
