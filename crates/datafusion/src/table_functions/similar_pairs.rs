//! `similar_pairs`: all pairs of rows that are similar enough, such as duplicates.

mod exec;
mod node;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, Result, plan_err};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::sql::sqlparser::ast;
use hyperslab_core::DType;
use hyperslab_vector::{Distance, Metric};

use super::{Call, Parameter, TableFunction};
use crate::error::to_datafusion;
use crate::functions::{FunctionDoc, FunctionKind};
use crate::search::{origin, vector_column};
use crate::table::ROW;
use crate::vectors::{element_type, fixed_len};

pub(crate) use node::SimilarPairsPlanner;
use node::{Side, SimilarPairs};

pub(super) static SIMILAR_PAIRS: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "similar_pairs",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "similar_pairs(array[, other], threshold => 0.95, metric => 'cosine', field => 'value')",
        summary: "All pairs of rows of an array whose similarity is at least the threshold (cosine, the default; dot; \
                  jaccard_similarity), or whose distance is at most it (cosine_distance, l2, l2sq, l1, hamming, \
                  jaccard, js): row_a, row_b, score, each pair once with row_a < row_b. With another array, the pairs \
                  of a row of the first and a row of the second. Exact; every two rows are compared, in blocks, on all \
                  cores. Order is promised with ORDER BY row_a, row_b.",
        example: "SELECT row_a, row_b, round(score, 3) AS score FROM similar_pairs('examples/data/digits.npy', \
                  threshold => 0.99) ORDER BY score DESC, row_a, row_b LIMIT 3",
    },
    parameters: &[
        Parameter::required("array"),
        Parameter::optional("other"),
        Parameter { name: "threshold", required: true, positional: false },
        Parameter::named("metric"),
        Parameter::named("field"),
    ],
    plan,
};

/// What pairs are chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Measure {
    pub(super) distance: Distance,
    /// Whether scores from the threshold up are chosen, instead of those up to it.
    pub(super) at_least: bool,
}

impl Measure {
    fn parse(name: Option<&str>) -> Result<Self> {
        let name = name.unwrap_or("cosine");
        // Here the cosine is the similarity: 0.95 is much alike.
        if ["cosine", "cosine_similarity"].iter().any(|n| n.eq_ignore_ascii_case(name)) {
            return Ok(Self { distance: Distance::CosineSimilarity, at_least: true });
        }
        let metric: Metric = name.parse().map_err(to_datafusion)?;
        if !metric.distance().is_symmetric() {
            return plan_err!("similar_pairs: {metric} differs with the order of the two rows; use js, which does not");
        }
        Ok(Self { distance: metric.distance(), at_least: metric.larger_is_better() })
    }
}

fn plan(call: &mut Call<'_>) -> Result<LogicalPlan> {
    let measure = Measure::parse(call.text("metric")?.as_deref())?;
    let threshold = match call.argument("threshold") {
        Some(threshold) => threshold_of(call, threshold)?,
        None => return call.misused("the argument threshold is missing"),
    };
    let field = call.text("field")?;
    let first = side(call, "array", field.as_deref(), measure)?;
    let sides = match call.argument("other") {
        Some(_) => vec![first, side(call, "other", field.as_deref(), measure)?],
        None => vec![first],
    };
    if let [a, b] = sides.as_slice()
        && a.len != b.len
    {
        return plan_err!(
            "similar_pairs: the vectors of the first array have {} values, those of the other {}",
            a.len,
            b.len
        );
    }
    SimilarPairs::plan(sides, threshold, measure)
}

fn threshold_of(call: &mut Call<'_>, threshold: ast::Expr) -> Result<Expr> {
    let text = threshold.to_string();
    let threshold = call.constant(threshold)?;
    if !matches!(threshold.clone().unalias(), Expr::Placeholder(_)) {
        let data_type = threshold.get_type(&DFSchema::empty())?;
        if !data_type.is_numeric() {
            return call.misused(&format!("threshold must be a number, not {text}"));
        }
    }
    Ok(cast(threshold, DataType::Float64))
}

/// One of the arrays: a plan of the numbers of its rows, and where their vectors are.
fn side(call: &mut Call<'_>, argument: &str, field: Option<&str>, measure: Measure) -> Result<Side> {
    let array = call.array(argument)?;
    let value = vector_column(&array.plan, field, &array.name)?;
    let data_type = array.plan.schema().qualified_field_from_column(&value)?.1.data_type().clone();
    if element_type(&data_type) == Some(&DataType::Boolean) {
        measure.distance.check_dtype(DType::Bool).map_err(to_datafusion)?;
    }
    let of_value = origin(&array.plan, &value);
    let rows = array.plan.schema().columns().into_iter().filter(|c| c.name == ROW);
    let same = |row: &Column| match (&of_value, origin(&array.plan, row)) {
        (Some(value), Some(row)) => row.column == 0 && row.same_scan(value),
        _ => false,
    };
    let row = rows.into_iter().find(same);
    let (Some(row), Some(field), Some(len)) =
        (row, of_value.as_ref().and_then(|o| o.column.checked_sub(1)), fixed_len(&data_type))
    else {
        return plan_err!(
            "similar_pairs: {} must be an array, or a subquery that chooses rows of one and keeps its columns row and {}",
            array.name,
            value.name
        );
    };
    let rows = LogicalPlanBuilder::from(array.plan).project(vec![Expr::Column(row)])?.build()?;
    Ok(Side { rows, field, len })
}
