//! `top_k_agg`: the k best rows of each group.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, ListArray, StructArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, not_impl_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use datafusion::physical_expr::PhysicalExpr;
use hyperslab_vector::{Hit, Metric, TopK};

use super::{FunctionDoc, FunctionKind};

pub(super) static TOP_K_AGG: FunctionDoc = FunctionDoc {
    name: "top_k_agg",
    aliases: &[],
    kind: FunctionKind::Aggregate,
    signature: "top_k_agg(row, score, k, descending => false)",
    summary: "The k rows of the smallest score (of the largest with descending => true, for similarities) in each \
              group, best first: a list of {row, score}. Equal scores go to the smaller row, NaN comes last, rows \
              whose row or score is NULL do not count; of no rows it is NULL. Memory is k entries per group.",
    example: "CREATE TABLE t (label INT, v FLOAT[2]); INSERT INTO t VALUES (1, [3, 0]), (1, [1, 0]), (2, [2, 0]); \
              SELECT label, top_k_agg(row, v <-> [0, 0], 1) AS nearest FROM t GROUP BY label ORDER BY label",
};

const SIGNATURE: &str = TOP_K_AGG.signature;

/// The aggregate.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct TopKAgg {
    signature: Signature,
}

impl TopKAgg {
    pub(super) fn new() -> Self {
        let names = ["row", "score", "k", "descending"].map(str::to_owned).to_vec();
        let signature = Signature::user_defined(Volatility::Immutable);
        // Without names the arguments are positional only.
        let signature = signature.clone().with_parameter_names(names).unwrap_or(signature);
        Self { signature }
    }
}

fn entry_fields() -> Fields {
    Fields::from(vec![Field::new("row", DataType::Int64, false), Field::new("score", DataType::Float64, false)])
}

fn entry() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Struct(entry_fields()), true))
}

impl AggregateUDFImpl for TopKAgg {
    fn name(&self) -> &str {
        TOP_K_AGG.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(entry()))
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let (row, score, k, descending) = match arguments {
            [row, score, k] => (row, score, k, None),
            [row, score, k, descending] => (row, score, k, Some(descending)),
            _ => {
                return plan_err!("top_k_agg takes 3 or 4 arguments, not {}; the call is {SIGNATURE}", arguments.len());
            }
        };
        if !row.is_integer() && !row.is_null() {
            return plan_err!("top_k_agg: row must be an integer, not {row}; the call is {SIGNATURE}");
        }
        if !score.is_numeric() && !score.is_null() {
            return plan_err!("top_k_agg: score must be a number, not {score}; the call is {SIGNATURE}");
        }
        if !k.is_integer() && !k.is_null() {
            return plan_err!("top_k_agg: k must be a whole number, at least 1, not {k}; the call is {SIGNATURE}");
        }
        if let Some(other) = descending.filter(|t| !t.is_null() && **t != DataType::Boolean) {
            return plan_err!("top_k_agg: descending must be true or false, not {other}; the call is {SIGNATURE}");
        }
        let mut coerced = vec![DataType::Int64, DataType::Float64, DataType::Int64];
        coerced.extend(descending.map(|_| DataType::Boolean));
        Ok(coerced)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[top_k_agg]", args.name), DataType::List(entry()), true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return not_impl_err!("top_k_agg(DISTINCT …) is not supported");
        }
        let (Some(k), descending) = (args.exprs.get(2), args.exprs.get(3)) else {
            return internal_err!("top_k_agg without k");
        };
        let k = crate::search::count_of(&constant(k, "k")?)?;
        let descending = match descending.map(|d| constant(d, "descending")).transpose()? {
            None | Some(ScalarValue::Boolean(Some(false))) => false,
            Some(ScalarValue::Boolean(Some(true))) => true,
            Some(other) => return exec_err!("top_k_agg: descending must be true or false, not {other}"),
        };
        // Any metric of the direction: only its order is used.
        let metric = if descending { Metric::Dot } else { Metric::L2sq };
        Ok(Box::new(Best { top: TopK::new(k, metric) }))
    }
}

/// The value of an argument that must be the same for all rows.
fn constant(argument: &Arc<dyn PhysicalExpr>, name: &str) -> Result<ScalarValue> {
    use datafusion::physical_expr::expressions::Literal;
    match argument.downcast_ref::<Literal>() {
        Some(literal) => Ok(literal.value().clone()),
        None => plan_err!("top_k_agg: {name} must be a number or a parameter, not {argument}; the call is {SIGNATURE}"),
    }
}

/// The best rows of a group so far.
#[derive(Debug)]
struct Best {
    top: TopK,
}

/// Row numbers of any sign, in the order of the signed ones.
fn to_unsigned(row: i64) -> u64 {
    row.cast_unsigned() ^ (1 << 63)
}

fn to_signed(row: u64) -> i64 {
    (row ^ (1 << 63)).cast_signed()
}

impl Best {
    fn offer(&mut self, rows: &ArrayRef, scores: &ArrayRef) -> Result<()> {
        let (rows, scores) = (cast(rows, &DataType::Int64)?, cast(scores, &DataType::Float64)?);
        let (rows, scores) = (rows.as_primitive::<Int64Type>(), scores.as_primitive::<Float64Type>());
        for pair in rows.iter().zip(scores) {
            if let (Some(row), Some(score)) = pair {
                self.top.push(score, to_unsigned(row));
            }
        }
        Ok(())
    }

    fn list(&self) -> Result<ScalarValue> {
        let hits = self.top.clone().into_sorted();
        if hits.is_empty() {
            return ScalarValue::try_from(&DataType::List(entry()));
        }
        let rows = Int64Array::from_iter_values(hits.iter().map(|hit| to_signed(hit.row)));
        let scores = Float64Array::from_iter_values(hits.iter().map(|&Hit { score, .. }| score));
        let entries = StructArray::new(entry_fields(), vec![Arc::new(rows), Arc::new(scores)], None);
        let list = ListArray::new(entry(), OffsetBuffer::from_lengths([entries.len()]), Arc::new(entries), None);
        Ok(ScalarValue::List(Arc::new(list)))
    }
}

impl Accumulator for Best {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [rows, scores, ..] = values else { return internal_err!("top_k_agg without row and score") };
        self.offer(rows, scores)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [states] = states else { return internal_err!("top_k_agg has one state") };
        let states = states.as_list::<i32>();
        for state in (0..states.len()).filter(|&i| states.is_valid(i)).map(|i| states.value(i)) {
            let entries = state.as_struct();
            self.offer(entries.column(0), entries.column(1))?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.list()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.list()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.top.memory_size()
    }
}
