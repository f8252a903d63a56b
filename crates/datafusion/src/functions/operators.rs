//! pgvector's operators between vectors: `<->`, `<=>`, `<#>`, `<+>`, `<~>`, `<%>`.

use std::sync::Arc;

use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, ScalarUDF};

use super::{DistanceFunction, distance_functions, list_literal};
use crate::vectors::{element_type, parse_vector};

/// The operators and the functions that they are.
const OPERATORS: [(&str, &str); 6] = [
    ("<->", "l2_distance"),
    ("<=>", "cosine_distance"),
    ("<#>", "negative_inner_product"),
    ("<+>", "l1_distance"),
    ("<~>", "hamming_distance"),
    ("<%>", "jaccard_distance"),
];

/// Plans the operators where one side is a vector; elsewhere `<=>` keeps its meaning, IS NOT DISTINCT FROM.
#[derive(Debug)]
pub(super) struct DistanceOperators;

impl ExprPlanner for DistanceOperators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let symbol = expr.op.to_string();
        let Some((_, name)) = OPERATORS.into_iter().find(|(op, _)| *op == symbol) else {
            return Ok(PlannerResult::Original(expr));
        };
        let is_vector = |e: &Expr| e.get_type(schema).is_ok_and(|t| element_type(&t).is_some());
        if !is_vector(&expr.left) && !is_vector(&expr.right) {
            if symbol == "<=>" {
                return Ok(PlannerResult::Original(expr));
            }
            return plan_err!("{symbol} needs a vector on one side: {} {symbol} {}", expr.left, expr.right);
        }
        let function = distance_functions().find(|f| f.doc.name == name);
        let Some(function) = function else { return Ok(PlannerResult::Original(expr)) };
        let function = Arc::new(ScalarUDF::new_from_impl(DistanceFunction::new(function)));
        Ok(PlannerResult::Planned(function.call(vec![vector(expr.left)?, vector(expr.right)?])))
    }
}

/// A text literal beside a vector is a vector too: `embedding <-> '[0.1, 0.2]'`.
fn vector(expr: Expr) -> Result<Expr> {
    match &expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => match parse_vector(text) {
            Some(numbers) => Ok(Expr::Literal(list_literal(numbers), None)),
            None => plan_err!("{text:?} is no vector; write numbers as in '[0.1, 2, -3e4]'"),
        },
        _ => Ok(expr),
    }
}
