//! One element of every cell as a column, and columns as the elements of cells: what `columns` and `matrix` are made of.
//! They have no name in SQL.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, UInt64Array};
use datafusion::arrow::compute::{interleave, take};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The `index`-th element, in C order, of cells that `cells` gives.
pub(crate) fn element_of(cells: Expr, index: usize) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    let function = ElementOf { name: format!("element_{index}"), index: index as u64, signature };
    ScalarUDF::new_from_impl(function).call(vec![cells])
}

/// Cells whose elements are the given values, all of one type.
pub(crate) fn cells_of(elements: Vec<Expr>) -> Expr {
    let signature = Signature::variadic_any(Volatility::Immutable);
    ScalarUDF::new_from_impl(CellsOf { signature }).call(elements)
}

/// What the elements of cells are.
pub(crate) fn leaf_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::FixedSizeList(item, _) => leaf_type(item.data_type()),
        other => other,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ElementOf {
    name: String,
    index: u64,
    signature: Signature,
}

impl ScalarUDFImpl for ElementOf {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [cells @ DataType::FixedSizeList(..)] => Ok(leaf_type(cells).clone()),
            other => internal_err!("{other:?} are no cells"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [cells] = arrays.as_slice() else { return internal_err!("one column of cells is expected") };
        Ok(ColumnarValue::Array(element(cells, self.index)?))
    }
}

/// One element of each cell. A NULL cell has NULL elements.
pub(crate) fn element(cells: &ArrayRef, index: u64) -> Result<ArrayRef> {
    let (mut leaves, mut per_cell) = (Arc::clone(cells), 1_u64);
    while let DataType::FixedSizeList(_, n) = *leaves.data_type() {
        per_cell *= u64::try_from(n).unwrap_or(0);
        leaves = Arc::clone(leaves.as_fixed_size_list().values());
    }
    let at = |row: usize| row as u64 * per_cell + index;
    let positions: UInt64Array = match cells.nulls() {
        None => UInt64Array::from_iter_values((0..cells.len()).map(at)),
        Some(nulls) => (0..cells.len()).map(|row| nulls.is_valid(row).then_some(at(row))).collect(),
    };
    Ok(take(&leaves, &positions, None)?)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CellsOf {
    signature: Signature,
}

impl ScalarUDFImpl for CellsOf {
    fn name(&self) -> &str {
        "cells_of"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match (arguments.first(), i32::try_from(arguments.len())) {
            (Some(element), Ok(n)) => Ok(DataType::FixedSizeList(item(element), n)),
            _ => internal_err!("cells of {} elements", arguments.len()),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = arguments
            .args
            .iter()
            .map(|value| value.to_array(arguments.number_rows))
            .collect::<Result<Vec<ArrayRef>>>()?;
        let Some(first) = columns.first() else { return internal_err!("cells of no elements") };
        let n = i32::try_from(columns.len()).unwrap_or(i32::MAX);
        let arrays: Vec<&dyn Array> = columns.iter().map(AsRef::as_ref).collect();
        let positions: Vec<(usize, usize)> =
            (0..first.len()).flat_map(|row| (0..columns.len()).map(move |column| (column, row))).collect();
        let elements = interleave(&arrays, &positions)?;
        let cells = FixedSizeListArray::try_new(item(first.data_type()), n, elements, None)?;
        Ok(ColumnarValue::Array(Arc::new(cells)))
    }
}

fn item(element: &DataType) -> Arc<Field> {
    Arc::new(Field::new_list_field(element.clone(), true))
}
