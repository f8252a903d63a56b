//! What the distance functions have in common: they take two vectors and give a DOUBLE.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, new_null_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Float64Type};
use datafusion::common::utils::take_function_args;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use hyperslab_core::DType;
use hyperslab_vector::{Distance, PreparedQuery, Scalar, distances, pair_distance, pairwise_distances};

use super::FunctionDoc;
use crate::error::to_datafusion;
use crate::vectors::{Vectors, each_number_type, element_type, fixed_len};

/// A distance function, as it is listed.
#[derive(Debug)]
pub(crate) struct DistanceDoc {
    pub(super) doc: FunctionDoc,
    pub(super) distance: Distance,
}

/// A function of two vectors. They may be of any number type and of either list type.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct DistanceFunction {
    name: &'static str,
    aliases: Vec<String>,
    distance: Distance,
    signature: Signature,
}

impl DistanceFunction {
    pub(super) fn new(listed: &DistanceDoc) -> Self {
        Self {
            name: listed.doc.name,
            aliases: listed.doc.aliases.iter().map(|&a| a.to_owned()).collect(),
            distance: listed.distance,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }

    /// What it computes.
    pub(crate) fn distance(&self) -> Distance {
        self.distance
    }

    /// Whether a distance of two vectors without NULLs can be NULL.
    fn may_be_null(&self) -> bool {
        is_null_of_zero(self.distance, f64::NAN, || true)
    }

    fn refuse_lengths<T>(&self, a: usize, b: usize) -> Result<T> {
        exec_err!("{} needs vectors of the same length, not of {a} and {b} values", self.name)
    }

    /// The type that an argument is taken as.
    fn coerced(&self, data_type: &DataType) -> Result<DataType> {
        let doubles = |f: fn(Arc<Field>) -> DataType| f(Arc::new(Field::new_list_field(DataType::Float64, true)));
        match data_type {
            bools if element_type(bools) == Some(&DataType::Boolean) => {
                self.distance.check_dtype(DType::Bool).map_err(to_datafusion)?;
                Ok(bools.clone())
            }
            vectors if element_type(vectors).is_some() => Ok(vectors.clone()),
            DataType::Null => Ok(doubles(DataType::List)),
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)
                if item.data_type().is_numeric() || item.data_type().is_null() =>
            {
                Ok(doubles(DataType::List))
            }
            other => plan_err!("{} takes vectors, that is lists of numbers or bools, not {other}", self.name),
        }
    }

    /// Distances of a column to one vector.
    fn to_one(&self, column: &dyn Array, vector: &[f64]) -> Result<ArrayRef> {
        let vectors = Vectors::try_new(column)?;
        let query = PreparedQuery::for_distance(self.distance, vector);
        if let (Some((dim, elements)), true) = (vectors.dense(), vectors.has_no_nulls() && !self.may_be_null())
            && dim == vector.len()
        {
            let mut scores = vec![0.0; vectors.len()];
            each_number_type!(vectors, values => {
                distances(&values[elements], dim, &query, &mut scores).map_err(to_datafusion)
            })?;
            return Ok(Arc::new(Float64Array::from(scores)));
        }
        let mut out = vec![None; vectors.len()];
        for run in vectors.runs() {
            let first = vectors.range(run.start);
            let dim = first.len();
            if dim != vector.len() {
                return self.refuse_lengths(dim, vector.len());
            }
            let elements = first.start..vectors.range(run.end - 1).end;
            let mut scores = vec![0.0; run.len()];
            each_number_type!(vectors, values => {
                let rows = &values[elements];
                distances(rows, dim, &query, &mut scores).map_err(to_datafusion)?;
                for (i, score) in scores.into_iter().enumerate() {
                    let zero = || is_zero(vector) || is_zero(&rows[i * dim..(i + 1) * dim]);
                    out[run.start + i] = (!is_null_of_zero(self.distance, score, zero)).then_some(score);
                }
                Ok(())
            })?;
        }
        Ok(Arc::new(Float64Array::from(out)))
    }

    /// Distances of two columns, row by row.
    fn pairwise(&self, a: &dyn Array, b: &dyn Array) -> Result<ArrayRef> {
        let same_type = element_type(a.data_type()) == element_type(b.data_type());
        let (a, b) = (Vectors::try_new(a)?, Vectors::try_new(b)?);
        if a.len() != b.len() {
            return exec_err!("{} got columns of {} and {} rows", self.name, a.len(), b.len());
        }
        if let (Some((dim_a, in_a)), Some((dim_b, in_b)), true) = (a.dense(), b.dense(), same_type)
            && dim_a == dim_b
            && a.has_no_nulls()
            && b.has_no_nulls()
        {
            let mut scores = vec![0.0; a.len()];
            return each_number_type!(a, all_a; b, all_b => {
                let (rows_a, rows_b) = (&all_a[in_a], &all_b[in_b]);
                pairwise_distances(self.distance, rows_a, rows_b, dim_a, &mut scores).map_err(to_datafusion)?;
                let row = |i: usize| i * dim_a..(i + 1) * dim_a;
                Ok(Arc::new(Float64Array::from_iter(scores.into_iter().enumerate().map(|(i, score)| {
                    let zero = || is_zero(&rows_a[row(i)]) || is_zero(&rows_b[row(i)]);
                    (!is_null_of_zero(self.distance, score, zero)).then_some(score)
                }))) as ArrayRef)
            });
        }
        let bytes = self.bytes_of(a.elements().data_type(), b.elements().data_type());
        let one = |i: usize| {
            if a.is_null(i) || b.is_null(i) {
                return Ok(None);
            }
            let (a, b) = (a.to_f64(i)?, b.to_f64(i)?);
            if a.len() != b.len() {
                return self.refuse_lengths(a.len(), b.len());
            }
            let score = match bytes {
                Some(Side::First) => self.of_bytes(&a, &b),
                Some(Side::Second) => self.of_bytes(&b, &a),
                None => pair_distance(self.distance, &a, &b),
            };
            let score = score.map_err(to_datafusion)?;
            Ok((!is_null_of_zero(self.distance, score, || is_zero(&a) || is_zero(&b))).then_some(score))
        };
        Ok(Arc::new((0..a.len()).map(one).collect::<Result<Float64Array>>()?))
    }

    /// Which of the vectors is of bytes, where their bits are compared. Then the other one is taken as bytes too.
    fn bytes_of(&self, a: &DataType, b: &DataType) -> Option<Side> {
        match (self.distance.compares_bits(), a, b) {
            (true, DataType::UInt8, _) => Some(Side::First),
            (true, _, DataType::UInt8) => Some(Side::Second),
            _ => None,
        }
    }

    fn of_bytes(&self, bytes: &[f64], other: &[f64]) -> hyperslab_core::Result<f64> {
        let bytes: Vec<u8> = bytes.iter().map(|v| *v as u8).collect();
        let mut score = [0.0];
        distances(&bytes, bytes.len(), &PreparedQuery::for_distance(self.distance, other), &mut score)?;
        Ok(score[0])
    }

    /// Whether the distances of a column to one vector, which is the first argument or the second, are computed by
    /// [`to_one`](Self::to_one).
    fn is_of_column(&self, column: &DataType, one: &DataType, one_is: Side) -> bool {
        let bytes = match (element_type(column), element_type(one)) {
            (Some(column), Some(one)) => self.bytes_of(column, one),
            _ => None,
        };
        !matches!(bytes, Some(Side::Second)) && (self.distance.is_symmetric() || one_is == Side::Second)
    }

    fn one_vector(&self, value: &ScalarValue) -> Result<Option<Vec<f64>>> {
        let array = value.to_array()?;
        let vectors = Vectors::try_new(&array)?;
        if vectors.is_null(0) { Ok(None) } else { vectors.to_f64(0).map(Some) }
    }
}

/// One of two arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    First,
    Second,
}

/// Whether a function of two vectors is NULL because one of them is all zeros, which has no direction: so it is for the
/// cosine, as in DataFusion. `zero` is asked only where the score leaves it open.
pub(crate) fn is_null_of_zero(distance: Distance, score: f64, zero: impl FnOnce() -> bool) -> bool {
    let cosine = matches!(distance, Distance::CosineDistance | Distance::CosineSimilarity);
    cosine && (score == 0.0 || score == 1.0 || score.is_nan()) && zero()
}

/// Whether every element is 0.
pub(crate) fn is_zero<T: Scalar>(vector: &[T]) -> bool {
    hyperslab_vector::to_f64(vector).iter().all(|v| *v == 0.0)
}

/// Vectors of more values are named by their length and a hash: names are compared again and again.
const LONG: usize = 16;

/// What stands for a long vector of numbers in the name of a column: the same for the same values, on every machine.
fn name_of_long(expr: &Expr) -> Option<String> {
    let values = match expr {
        Expr::Literal(ScalarValue::List(list), _) if list.is_valid(0) => list.value(0),
        Expr::Literal(ScalarValue::FixedSizeList(list), _) if list.is_valid(0) => list.value(0),
        // As it is written.
        Expr::ScalarFunction(call) if call.name() == "make_array" => {
            return long(call.args.len(), call.args.iter().map(number));
        }
        Expr::Cast(cast) => return name_of_long(&cast.expr),
        _ => return None,
    };
    let values = cast(&values, &DataType::Float64).ok()?;
    long(values.len(), values.as_primitive::<Float64Type>().iter())
}

fn number(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Literal(ScalarValue::Float64(value), _) => *value,
        Expr::Literal(ScalarValue::Int64(value), _) => value.map(|value| value as f64),
        _ => None,
    }
}

/// The length, and a hash of the numbers' bits, as FNV-1a does it, in words.
fn long(len: usize, mut values: impl Iterator<Item = Option<f64>>) -> Option<String> {
    if len <= LONG {
        return None;
    }
    let hash = values.try_fold(0xcbf2_9ce4_8422_2325_u64, |hash, value| {
        Some((hash ^ value?.to_bits()).wrapping_mul(0x100_0000_01b3).rotate_left(29))
    })?;
    Some(format!("[{len} values, {hash:016x}]"))
}

impl ScalarUDFImpl for DistanceFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    /// A long vector is not printed whole: the planner compares the names of expressions again and again.
    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        let name = |e: &Expr| name_of_long(e).unwrap_or_else(|| e.schema_name().to_string());
        Ok(format!("{}({})", self.name, arguments.iter().map(name).collect::<Vec<_>>().join(",")))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let [a, b] = take_function_args(self.name, arguments)?;
        if let (Some(a), Some(b)) = (fixed_len(a), fixed_len(b))
            && a != b
        {
            return plan_err!("{} needs vectors of the same length, not of {a} and {b} values", self.name);
        }
        Ok(vec![self.coerced(a)?, self.coerced(b)?])
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let [a, b] = take_function_args(self.name, arguments.args)?;
        let array = match (a, b) {
            (ColumnarValue::Array(a), ColumnarValue::Array(b)) => self.pairwise(&a, &b)?,
            (ColumnarValue::Array(a), ColumnarValue::Scalar(b))
                if !self.is_of_column(a.data_type(), &b.data_type(), Side::Second) =>
            {
                self.pairwise(&a, &b.to_array_of_size(rows)?)?
            }
            (ColumnarValue::Scalar(a), ColumnarValue::Array(b))
                if !self.is_of_column(b.data_type(), &a.data_type(), Side::First) =>
            {
                self.pairwise(&a.to_array_of_size(rows)?, &b)?
            }
            (ColumnarValue::Array(column), ColumnarValue::Scalar(one))
            | (ColumnarValue::Scalar(one), ColumnarValue::Array(column)) => match self.one_vector(&one)? {
                Some(vector) => self.to_one(&column, &vector)?,
                None => new_null_array(&DataType::Float64, rows),
            },
            (ColumnarValue::Scalar(a), ColumnarValue::Scalar(b)) => {
                let one = self.pairwise(&a.to_array()?, &b.to_array()?)?;
                return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&one, 0)?));
            }
        };
        Ok(ColumnarValue::Array(array))
    }
}
