//! Checked conversion of a query's columns to an array's fields: a value that does not fit, a list of the wrong
//! length or a NULL is an error that names field and row. Nothing is cut, wrapped or turned into NULL.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, GenericListArray, OffsetSizeTrait, UInt64Array,
    make_array, new_empty_array,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::kernels::cmp::not_distinct;
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options, take};
use datafusion::arrow::datatypes::{DataType, Field, Float16Type, Float32Type, Float64Type, TimeUnit};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::{Result, exec_datafusion_err, exec_err, plan_err};
use hyperslab_core::{DType, FieldSpec, arrow};

/// Whether a column of a type can be stored in a field, as far as types tell.
///
/// # Errors
/// What the field takes, and what to do.
pub(crate) fn check_type(field: &FieldSpec, data_type: &DataType) -> Result<()> {
    if matches!(data_type, DataType::Null) {
        return Ok(()); // an untyped NULL or parameter: its value decides
    }
    let (leaf, depth) = leaf_type(data_type);
    if list_lengths(field, depth).is_none() {
        return plan_err!(
            "field {:?} holds {}, which {data_type} cannot become; {}",
            field.name(),
            shown(field),
            if depth == 0 { "give a list of that length" } else { "its number of axes differs" }
        );
    }
    let target = component_type(field.dtype());
    let is_text = matches!(leaf, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let fits = match field.dtype() {
        DType::Datetime64(_) => {
            is_text || matches!(leaf, DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64)
        }
        DType::Timedelta64(_) => matches!(leaf, DataType::Duration(_)),
        DType::Utf8 => is_text,
        DType::Binary | DType::FixedBytes(_) => {
            is_text || leaf.is_binary() || matches!(leaf, DataType::FixedSizeBinary(_))
        }
        _ => leaf.is_numeric() || matches!(leaf, DataType::Boolean | DataType::Null),
    };
    if fits || *leaf == target {
        return Ok(());
    }
    let hint = match field.dtype() {
        _ if is_text => format!("; cast the text, for example with CAST(... AS {})", sql_name(field.dtype())),
        DType::Timedelta64(_) => String::new(),
        dtype => format!("; cast it, for example with CAST(... AS {})", sql_name(dtype)),
    };
    plan_err!("field {:?} holds {}, which {data_type} cannot become{hint}", field.name(), shown(field))
}

/// Which rows the values of a column belong to, for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// The input's, from this one on.
    Input(u64),
    /// These of the input.
    Picked(&'a [u64]),
    /// These of the array.
    Array(&'a [u64]),
}

impl Rows<'_> {
    /// The number of the column's `row`-th.
    fn number(self, row: u64) -> u64 {
        match self {
            Self::Input(first) => first + row,
            Self::Picked(rows) | Self::Array(rows) => {
                usize::try_from(row).ok().and_then(|row| rows.get(row)).copied().unwrap_or_default()
            }
        }
    }
}

/// A column as the field stores it.
///
/// # Errors
/// A NULL, a wrong length, a value that does not fit: with field and row.
pub(crate) fn convert(field: &FieldSpec, column: &ArrayRef, of: Rows<'_>) -> Result<ArrayRef> {
    let rows = column.len();
    let place = Place { field, of };
    check_type(field, column.data_type())?;
    if field.nullable() && column.logical_null_count() > 0 {
        return convert_nullable(field, column, of);
    }
    place.no_nulls(column, 1)?;
    // An empty column of an untyped NULL has no lists to walk.
    if rows == 0 {
        return Ok(new_empty_array(&arrow::data_type(field)));
    }
    let (_, depth) = leaf_type(column.data_type());
    let mut leaves = Arc::clone(column);
    let mut per_row = 1;
    for n in list_lengths(field, depth).unwrap_or_default() {
        leaves = place.items(&leaves, n, per_row)?;
        per_row *= n;
        place.no_nulls(&leaves, per_row)?;
    }
    let leaves = place.elements(&leaves, per_row)?;
    wrap(field, leaves, rows)
}

/// A column of which some rows are NULL, as a nullable field stores it: the others are converted.
fn convert_nullable(field: &FieldSpec, column: &ArrayRef, of: Rows<'_>) -> Result<ArrayRef> {
    let nulls = column.logical_nulls().unwrap_or_else(|| NullBuffer::new_valid(column.len()));
    let valid: Vec<u64> = (0u64..).zip(nulls.iter()).filter(|(_, valid)| *valid).map(|(row, _)| row).collect();
    if valid.is_empty() {
        let field = FieldSpec::new(field.name(), field.dtype(), field.cell().to_vec()).map_err(crate::to_datafusion)?;
        let none = arrow::filled(&field.with_nullable(true), column.len()).map_err(crate::to_datafusion)?;
        return Ok(none.array);
    }
    let numbers: Vec<u64> = valid.iter().map(|&row| of.number(row)).collect();
    let given = match of {
        Rows::Input(_) => Rows::Picked(&numbers),
        _ => Rows::Array(&numbers),
    };
    let values = take(column, &UInt64Array::from(valid), None)?;
    let values = convert(field, &values, given)?;
    // Below a NULL stands the first value.
    let mut next = 0;
    let places = nulls.iter().map(|valid| {
        next += u64::from(valid);
        if valid { next - 1 } else { 0 }
    });
    let spread = take(&values, &places.collect::<UInt64Array>(), None)?;
    Ok(make_array(spread.to_data().into_builder().nulls(Some(nulls)).build()?))
}

/// Puts flat elements back into the field's lists.
fn wrap(field: &FieldSpec, leaves: ArrayRef, rows: usize) -> Result<ArrayRef> {
    let mut array = leaves;
    if let DataType::FixedSizeList(item, 2) = arrow::element_type(field.dtype()) {
        let len = array.len() / 2;
        array = Arc::new(FixedSizeListArray::try_new_with_length(item, 2, array, None, len)?);
    }
    match arrow::data_type(field) {
        DataType::FixedSizeList(item, n) if !field.cell().is_empty() => {
            Ok(Arc::new(FixedSizeListArray::try_new_with_length(item, n, array, None, rows)?))
        }
        _ => Ok(array),
    }
}

/// The lengths that lists of `depth` levels must have, outermost first: one level per axis of the cell, or one for
/// all of them together; a complex number is one more, of length 2, or also part of the one for all.
fn list_lengths(field: &FieldSpec, depth: usize) -> Option<Vec<usize>> {
    let cell = field.cell();
    let pair = matches!(field.dtype(), DType::Complex64 | DType::Complex128).then_some(2);
    let (elements, all) = (field.elements(), cell.len() + usize::from(pair.is_some()));
    if depth == all {
        Some(cell.iter().copied().chain(pair).collect())
    } else if !cell.is_empty() && depth == 1 + usize::from(pair.is_some()) {
        Some([elements].into_iter().chain(pair).collect())
    } else {
        (depth == 1 && all > 1).then(|| vec![elements * pair.unwrap_or(1)])
    }
}

fn component_type(dtype: DType) -> DataType {
    match arrow::element_type(dtype) {
        DataType::FixedSizeList(item, _) => item.data_type().clone(),
        other => other,
    }
}

fn leaf_type(data_type: &DataType) -> (&DataType, usize) {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let (leaf, depth) = leaf_type(item.data_type());
            (leaf, depth + 1)
        }
        DataType::Dictionary(_, value) => leaf_type(value),
        other => (other, 0),
    }
}

fn shown(field: &FieldSpec) -> String {
    let cell = field.cell();
    if cell.is_empty() { field.dtype().to_string() } else { format!("{}{cell:?}", field.dtype()) }
}

fn sql_name(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "BOOLEAN",
        DType::Int8 => "TINYINT",
        DType::Int16 => "SMALLINT",
        DType::Int32 => "INT",
        DType::Int64 => "BIGINT",
        DType::UInt8 => "TINYINT UNSIGNED",
        DType::UInt16 => "SMALLINT UNSIGNED",
        DType::UInt32 => "INT UNSIGNED",
        DType::UInt64 => "BIGINT UNSIGNED",
        DType::Float16 => "HALF",
        DType::Bfloat16 => "BFLOAT16",
        DType::FixedBytes(_) => "BINARY",
        DType::Utf8 => "VARCHAR",
        DType::Binary => "BYTEA",
        DType::Float32 | DType::Complex64 => "FLOAT",
        DType::Float64 | DType::Complex128 => "DOUBLE",
        DType::Datetime64(_) | DType::Timedelta64(_) => "TIMESTAMP",
    }
}

/// Where values come from, for messages.
struct Place<'a> {
    field: &'a FieldSpec,
    of: Rows<'a>,
}

impl Place<'_> {
    fn row(&self, row: usize) -> String {
        let field = self.field.name();
        match self.of {
            Rows::Input(first) => format!("field {field:?}, row {} of the input", first + row as u64),
            Rows::Picked(_) => format!("field {field:?}, row {} of the input", self.of.number(row as u64)),
            Rows::Array(rows) => format!("field {field:?}, row {}", rows.get(row).copied().unwrap_or_default()),
        }
    }

    fn no_nulls(&self, array: &ArrayRef, per_row: usize) -> Result<()> {
        if array.logical_null_count() == 0 {
            return Ok(());
        }
        let at = array.logical_nulls().and_then(|n| (0..n.len()).find(|&i| n.is_null(i))).unwrap_or(0) / per_row.max(1);
        exec_err!(
            "{}: the value is NULL or holds one, and the field holds no NULL; filter such rows out or give them a value with coalesce",
            self.row(at)
        )
    }

    /// The items of lists that must all have `n` of them.
    fn items(&self, lists: &ArrayRef, n: usize, per_row: usize) -> Result<ArrayRef> {
        match lists.data_type() {
            DataType::FixedSizeList(_, size) => {
                let list = lists.as_fixed_size_list();
                self.length(0, usize::try_from(*size).unwrap_or(0), n)?;
                Ok(Arc::clone(list.values()))
            }
            DataType::List(_) => self.list_items(lists.as_list::<i32>(), n, per_row),
            DataType::LargeList(_) => self.list_items(lists.as_list::<i64>(), n, per_row),
            DataType::Dictionary(_, value) => self.items(&cast(lists, value)?, n, per_row),
            other => exec_err!("field {:?} cannot take {other}", self.field.name()),
        }
    }

    fn list_items<O: OffsetSizeTrait>(&self, list: &GenericListArray<O>, n: usize, per_row: usize) -> Result<ArrayRef> {
        for i in 0..list.len() {
            self.length(i / per_row.max(1), list.value_length(i).as_usize(), n)?;
        }
        let offsets = list.value_offsets();
        let (Some(start), Some(end)) = (offsets.first(), offsets.last()) else {
            return Ok(list.values().slice(0, 0));
        };
        Ok(list.values().slice(start.as_usize(), end.as_usize() - start.as_usize()))
    }

    fn length(&self, row: usize, found: usize, expected: usize) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        exec_err!("{}: a list of {found} elements, where {} needs {expected}", self.row(row), shown(self.field))
    }

    /// Casts the elements and makes sure that nothing was lost but the rounding between floats.
    fn elements(&self, values: &ArrayRef, per_row: usize) -> Result<ArrayRef> {
        let target = component_type(self.field.dtype());
        if *values.data_type() == target {
            self.fits(values, too_large(self.field.dtype(), values), per_row)?;
            return Ok(Arc::clone(values));
        }
        if values.is_empty() {
            return Ok(new_empty_array(&target)); // an empty list has no type that could be cast
        }
        let values = match (values.data_type(), &target) {
            (DataType::Dictionary(_, value), _) => &cast(values, value)?,
            (_, DataType::FixedSizeBinary(_)) => &cast(values, &DataType::Binary)?,
            _ => values,
        };
        // With `safe`, what cannot be cast becomes NULL, so that the row can be named.
        let options = CastOptions { safe: true, ..CastOptions::default() };
        let out = cast_with_options(values, &target, &options).map_err(|e| {
            exec_datafusion_err!("field {:?} cannot take {}: {e}", self.field.name(), values.data_type())
        })?;
        let lost = lost(values, &out)?.or_else(|| too_large(self.field.dtype(), &out));
        self.fits(values, lost, per_row)?;
        Ok(out)
    }

    /// Refuses what was lost.
    fn fits(&self, values: &ArrayRef, lost: Option<usize>, per_row: usize) -> Result<()> {
        match lost {
            None => Ok(()),
            Some(i) => exec_err!(
                "{}: the value {} does not fit {}",
                self.row(i / per_row.max(1)),
                array_value_to_string(values, i).unwrap_or_default(),
                self.field.dtype()
            ),
        }
    }
}

/// The first finite value that is infinite in a field of a narrower type than Arrow's.
fn too_large(dtype: DType, values: &ArrayRef) -> Option<usize> {
    let floats = values.as_primitive_opt::<Float32Type>().filter(|_| dtype == DType::Bfloat16)?;
    floats.values().iter().position(|&x| x.is_finite() && half::bf16::from_f32(x).is_infinite())
}

/// The first text of a time with more digits than a unit keeps.
fn cut(from: &ArrayRef, unit: TimeUnit) -> Result<Option<usize>> {
    let kept = match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    let texts = cast(from, &DataType::Utf8View)?;
    let is_cut = |text: Option<&str>| {
        let fraction = text.and_then(|t| t.split_once('.')).map_or("", |(_, fraction)| fraction);
        fraction.bytes().take_while(u8::is_ascii_digit).skip(kept).any(|digit| digit != b'0')
    };
    Ok(texts.as_string_view().iter().position(is_cut))
}

/// The first element that the cast changed, beyond rounding to a float from a float, decimal or text.
fn lost(from: &ArrayRef, to: &ArrayRef) -> Result<Option<usize>> {
    if to.null_count() > 0 {
        return Ok((0..to.len()).find(|&i| to.is_null(i)));
    }
    let inexact = from.data_type().is_floating()
        || matches!(from.data_type(), DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..))
        || matches!(from.data_type(), DataType::Decimal256(..));
    if inexact && to.data_type().is_floating() {
        return Ok(overflowed(from, to));
    }
    if matches!(from.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        return match to.data_type() {
            DataType::Timestamp(unit, _) => cut(from, *unit),
            _ => Ok(None),
        };
    }
    let back = cast_with_options(to, from.data_type(), &CastOptions { safe: true, ..CastOptions::default() })?;
    let same: BooleanArray = not_distinct(&back, from)?;
    if same.true_count() == same.len() {
        return Ok(None);
    }
    Ok((0..same.len()).find(|&i| !same.value(i)))
}

/// The first finite value that became infinite.
fn overflowed(from: &ArrayRef, to: &ArrayRef) -> Option<usize> {
    let infinite = |i: usize| match to.data_type() {
        DataType::Float16 => to.as_primitive::<Float16Type>().value(i).is_infinite(),
        DataType::Float32 => to.as_primitive::<Float32Type>().value(i).is_infinite(),
        _ => to.as_primitive::<Float64Type>().value(i).is_infinite(),
    };
    let was_infinite = |i: usize| match from.data_type() {
        DataType::Float16 => from.as_primitive::<Float16Type>().value(i).is_infinite(),
        DataType::Float32 => from.as_primitive::<Float32Type>().value(i).is_infinite(),
        DataType::Float64 => from.as_primitive::<Float64Type>().value(i).is_infinite(),
        _ => false,
    };
    (0..to.len()).find(|&i| infinite(i) && !was_infinite(i))
}

/// The Arrow schema of an array's fields, without `row`.
pub(crate) fn fields_schema(fields: &[FieldSpec]) -> datafusion::arrow::datatypes::SchemaRef {
    let fields: Vec<Field> = fields.iter().map(arrow::to_field).collect();
    Arc::new(datafusion::arrow::datatypes::Schema::new(fields))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use datafusion::arrow::array::{Float64Array, Int64Array, ListArray};
    use datafusion::arrow::datatypes::Int64Type;

    fn field(dtype: DType, cell: &[usize]) -> FieldSpec {
        FieldSpec::new("x", dtype, cell.to_vec()).unwrap()
    }

    #[test]
    fn values_that_do_not_fit_name_the_row() {
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![1, 255, 256]));
        let e = convert(&field(DType::UInt8, &[]), &ints, Rows::Input(10)).unwrap_err().to_string();
        assert!(e.contains("row 12") && e.contains("256") && e.contains("uint8"), "{e}");
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 1.5]));
        assert!(
            convert(&field(DType::Int32, &[]), &floats, Rows::Input(0)).unwrap_err().to_string().contains("row 1 ")
        );
        assert!(convert(&field(DType::Float32, &[]), &floats, Rows::Input(0)).is_ok());
        let big: ArrayRef = Arc::new(Float64Array::from(vec![1e300, f64::INFINITY]));
        assert!(convert(&field(DType::Float32, &[]), &big, Rows::Input(0)).unwrap_err().to_string().contains("row 0 "));
        assert!(convert(&field(DType::Float32, &[]), &big.slice(1, 1), Rows::Input(0)).is_ok());
    }

    #[test]
    fn lists_are_checked_and_flattened() {
        let rows = vec![Some(vec![Some(1), Some(2)]), Some(vec![Some(3), Some(4)]), Some(vec![Some(5)])];
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(rows));
        let f = field(DType::Float32, &[2]);
        let e = convert(&f, &lists, Rows::Input(0)).unwrap_err().to_string();
        assert!(e.contains("row 2 ") && e.contains("1 elements"), "{e}");
        let good = convert(&f, &lists.slice(1, 1), Rows::Input(0)).unwrap();
        assert_eq!(good.data_type(), &arrow::data_type(&f));
        assert_eq!(good.as_fixed_size_list().values().as_primitive::<Float32Type>().values(), &[3.0, 4.0]);
        // A tensor of complex numbers is as flat as Arrow has it.
        let tensor = field(DType::Complex64, &[2, 3]);
        let zeros = datafusion::arrow::array::new_empty_array(&arrow::data_type(&tensor));
        assert!(check_type(&tensor, zeros.data_type()).is_ok());
        let pairs = Arc::new(FixedSizeListArray::new(
            Arc::new(Field::new("complex", DataType::Float32, false)),
            2,
            Arc::new(datafusion::arrow::array::Float32Array::from_iter_values((0..12_u8).map(f32::from))),
            None,
        ));
        let item = Arc::new(Field::new("item", pairs.data_type().clone(), false));
        let cells: ArrayRef = Arc::new(FixedSizeListArray::new(item, 6, pairs, None));
        assert_eq!(convert(&tensor, &cells, Rows::Input(0)).unwrap().as_ref(), cells.as_ref());
        // Complex numbers are pairs.
        let c = convert(&field(DType::Complex64, &[]), &lists.slice(0, 2), Rows::Input(0)).unwrap();
        assert_eq!(c.data_type(), &arrow::element_type(DType::Complex64));
        let nulls: ArrayRef =
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), None])]));
        assert!(convert(&f, &nulls, Rows::Input(5)).unwrap_err().to_string().contains("row 5 "));
    }
}
