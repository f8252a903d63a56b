//! The rows of a query as the fields of an array, before they are written: casts, and lists that get the length of the
//! first one.

use std::str::FromStr;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, plan_err};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::LogicalPlanBuilder;
use hyperslab_core::{DType, Error, FieldSpec, arrow};

use crate::table::ROW;
use crate::to_datafusion;
use crate::write::in_order::InOrder;
use crate::write::to_fields::ToFields;
use crate::write::without_row;

/// What a field becomes: `float16` for every field of numbers, `image=float16` for one, `image=uint8[8,8]` with another
/// shape of its cells, of as many elements. Values keep their value: only floats are rounded, and what does not fit is an
/// error that names its row.
///
/// ```
/// # use hyperslab_datafusion::FieldCast;
/// let cast: FieldCast = "image=uint8[8,8]".parse()?;
/// assert_eq!(cast.to_string(), "image=uint8[8, 8]");
/// assert!("float33".parse::<FieldCast>().is_err());
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldCast {
    /// `None`: every field of numbers.
    field: Option<String>,
    dtype: DType,
    cell: Option<Vec<usize>>,
}

impl std::fmt::Display for FieldCast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(field) = &self.field {
            write!(f, "{field}=")?;
        }
        write!(f, "{}", self.dtype)?;
        self.cell.as_ref().map_or(Ok(()), |cell| write!(f, "{cell:?}"))
    }
}

impl FromStr for FieldCast {
    type Err = Error;

    fn from_str(text: &str) -> hyperslab_core::Result<Self> {
        let (field, dtype) = match text.rsplit_once('=') {
            Some((field, dtype)) => (Some(field.trim().to_owned()), dtype.trim()),
            None => (None, text.trim()),
        };
        if let Ok(dtype) = dtype.parse() {
            return Ok(Self { field, dtype, cell: None });
        }
        let bad = || {
            Error::invalid(format!(
                "{text:?} is no cast; write a dtype (float16, int8, datetime64[us]), with a field before it or the \
                 shape of a cell behind it: image=uint8[8,8]"
            ))
        };
        let (dtype, shape) = dtype.strip_suffix(']').and_then(|t| t.rsplit_once('[')).ok_or_else(bad)?;
        let axes = shape.split(',').map(|n| n.trim().parse().map_err(|_| bad()));
        let cell = axes.collect::<hyperslab_core::Result<Vec<usize>>>()?;
        Ok(Self { field, dtype: dtype.trim().parse().map_err(|_| bad())?, cell: Some(cell) })
    }
}

/// The rows of a query in their order, without the generated `row`, cast. With `fixed`, lists of no fixed length, which no
/// array holds, become cells of the length of the first row's; a row with another one is an error that names it.
///
/// # Errors
/// A cast of a field that is not there, listing them; a cast of what has no dtype; a first row without a list.
pub async fn as_fields(frame: DataFrame, casts: &[FieldCast], fixed: bool) -> Result<DataFrame> {
    let (state, plan) = frame.into_parts();
    let plan = without_row(plan)?;
    let columns: Vec<Field> = plan.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    let names: Vec<&str> = columns.iter().map(|c| c.name().as_str()).collect();
    if let Some(unknown) = casts.iter().filter_map(|c| c.field.as_deref()).find(|f| !names.contains(f)) {
        return plan_err!("there is no field {unknown:?} to cast; there are: {}", names.join(", "));
    }
    let is_list = |c: &Field| matches!(c.data_type(), DataType::List(_) | DataType::LargeList(_));
    let first = match fixed && columns.iter().any(is_list) {
        true => {
            let one = LogicalPlanBuilder::from(InOrder::plan(plan.clone())?).limit(0, Some(1))?.build()?;
            DataFrame::new(state.clone(), one).collect().await?.into_iter().find(|batch| batch.num_rows() > 0)
        }
        false => None,
    };
    let mut fields = Vec::with_capacity(columns.len());
    for (i, column) in columns.iter().enumerate() {
        let wanted = casts.iter().rev().find(|c| match &c.field {
            Some(field) => field == column.name(),
            None => is_number(column.data_type()),
        });
        if wanted.is_none() && !(fixed && is_list(column)) {
            fields.push(None);
            continue;
        }
        let cell = match (wanted.and_then(|c| c.cell.clone()), is_list(column)) {
            (Some(cell), _) => cell,
            (None, true) => cell_of(column, first.as_ref().map(|batch| batch.column(i)))?,
            (None, false) => match (arrow::from_field(&named(column)), column.data_type()) {
                (Ok(field), _) => field.cell().to_vec(),
                (Err(e), DataType::FixedSizeList(..)) => return Err(to_datafusion(e)),
                // A date or a decimal has no dtype of its own, but what it is cast to has.
                (Err(_), _) => vec![],
            },
        };
        let dtype = wanted.map_or_else(|| element_of(column), |c| Ok(c.dtype))?;
        let field = FieldSpec::new(named(column).name(), dtype, cell).map_err(to_datafusion)?;
        fields.push(Some(field.with_nullable(column.is_nullable() && !is_list(column))));
    }
    let plan = match fields.iter().any(Option::is_some) {
        true => ToFields::plan(plan, fields)?,
        false => InOrder::plan(plan)?,
    };
    Ok(DataFrame::new(state, plan))
}

/// No field can be named `row`, but a column of a file can.
fn named(column: &Field) -> Field {
    match column.name() == ROW {
        true => column.clone().with_name(hyperslab_core::VALUE),
        false => column.clone(),
    }
}

fn leaf(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => leaf(item.data_type()),
        other => other,
    }
}

fn is_number(data_type: &DataType) -> bool {
    let leaf = leaf(data_type);
    leaf.is_numeric() || *leaf == DataType::Boolean
}

fn element_of(column: &Field) -> Result<DType> {
    let element = Field::new(column.name(), leaf(column.data_type()).clone(), false);
    Ok(arrow::from_field(&named(&element)).map_err(to_datafusion)?.dtype())
}

/// The lengths of the lists in the first row.
fn cell_of(column: &Field, first: Option<&ArrayRef>) -> Result<Vec<usize>> {
    let name = column.name();
    let mut lengths = Vec::new();
    let mut values = first.cloned();
    let mut data_type = column.data_type();
    while let DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) = data_type {
        let inside = values.as_ref().filter(|v| !v.is_empty() && v.is_valid(0)).map(|v| match v.data_type() {
            DataType::List(_) => v.as_list::<i32>().value(0),
            DataType::LargeList(_) => v.as_list::<i64>().value(0),
            _ => v.as_fixed_size_list().value(0),
        });
        let Some(inside) = inside else {
            return plan_err!(
                "column {name:?} holds lists of no fixed length, and its first row does not say one; cast it to a dtype \
                 with a shape, such as {name}=float32[384]"
            );
        };
        lengths.push(inside.len());
        values = Some(inside);
        data_type = item.data_type();
    }
    Ok(lengths)
}
