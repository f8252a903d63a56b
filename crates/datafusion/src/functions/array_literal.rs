//! Long array literals as one value: a thousand numbers are planned a thousand expressions otherwise.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult};

use crate::dialect::numbers::{LONG, Number, joined};

/// Plans `[1, 2, …]`. The type stays that of `make_array`.
#[derive(Debug)]
pub(super) struct ArrayLiterals;

impl ExprPlanner for ArrayLiterals {
    fn plan_array_literal(&self, exprs: Vec<Expr>, _schema: &DFSchema) -> Result<PlannerResult<Vec<Expr>>> {
        let joined = match exprs.as_slice() {
            [Expr::Literal(ScalarValue::Utf8(Some(text)), _)] => joined(text),
            _ => None,
        };
        let Some(numbers) = joined.or_else(|| exprs.iter().map(number).collect()) else {
            return Ok(PlannerResult::Original(exprs));
        };
        let integers = numbers.iter().map(|n| match n {
            Number::Integer(i) => Some(*i),
            Number::Float(_) => None,
        });
        let integers = integers.collect::<Option<Vec<_>>>();
        // Short ones of mixed types, too: EXECUTE evaluates its arguments before anything unifies their types.
        let mixed = integers.is_none() && numbers.iter().any(|n| matches!(n, Number::Integer(_)));
        if numbers.len() < LONG && !mixed {
            return Ok(PlannerResult::Original(exprs));
        }
        let elements: ArrayRef = match integers {
            Some(integers) => Arc::new(Int64Array::from(integers)),
            None => Arc::new(Float64Array::from_iter_values(numbers.iter().map(|n| match n {
                Number::Integer(i) => *i as f64,
                Number::Float(x) => *x,
            }))),
        };
        Ok(PlannerResult::Planned(Expr::Literal(list(elements), None)))
    }
}

fn number(expr: &Expr) -> Option<Number> {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(i)), None) => Some(Number::Integer(*i)),
        Expr::Literal(ScalarValue::Float64(Some(x)), None) => Some(Number::Float(*x)),
        Expr::Negative(inner) => match number(inner)? {
            Number::Integer(i) => Some(Number::Integer(i.checked_neg()?)),
            Number::Float(x) => Some(Number::Float(-x)),
        },
        _ => None,
    }
}

/// Numbers as a list of DOUBLE.
pub(crate) fn list_literal(numbers: impl IntoIterator<Item = f64>) -> ScalarValue {
    list(Arc::new(Float64Array::from_iter_values(numbers)))
}

fn list(elements: ArrayRef) -> ScalarValue {
    ScalarValue::List(Arc::new(SingleRowListArrayBuilder::new(elements).build_list_array()))
}
