//! `top_k`: the k rows of an array that are nearest to a query vector.

use datafusion::arrow::array::Array;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, Result, ScalarValue, UnnestOptions, plan_err};
use datafusion::functions_nested::length::array_length_udf;
use datafusion::functions_nested::range::range_udf;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast, col, lit};
use datafusion::sql::sqlparser::ast;
use hyperslab_core::DType;
use hyperslab_vector::Metric;

use super::call::{literal, literal_text};
use super::{Call, Parameter, TableFunction};
use crate::dialect;
use crate::error::to_datafusion;
use crate::functions::{FunctionDoc, FunctionKind};
use crate::search::{Order, Output, QueryVector, Search, vector_column};
use crate::table::ROW;
use crate::vectors::{element_type, fixed_len, parse_vector};

pub(super) static TOP_K: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "top_k",
        aliases: &["vector_search"],
        kind: FunctionKind::Table,
        signature: "top_k(array, query, k => 10, metric => 'cosine', field => 'value', filter => condition, \
                    queries => (SELECT row, value …), allow_nan => false)",
        summary: "The k rows nearest to a query vector: rank, row, score, then the array's fields. The query is a \
                  vector, a parameter, a subquery of one row, or a column of a table to its left in FROM, each of \
                  whose rows is searched for: FROM q, LATERAL top_k('docs', q.value, 5) n. A list of vectors, another \
                  array's name, or queries => (SELECT row, value …) asks many at once, too: query_row comes first. \
                  Metrics: cosine, cosine_similarity, l2, \
                  l2sq, l1, dot, hamming, jaccard, jaccard_similarity, kl, js. The filter is applied before ranking, \
                  a WHERE around the function after it. A query with NaN or infinities is refused unless allow_nan.",
        example: "SELECT rank, row, round(score, 3) AS score FROM top_k('examples/data/packages.npy', \
                  (SELECT value FROM 'examples/data/packages.npy' WHERE row = 7), 5, metric => 'cosine') ORDER BY rank",
    },
    parameters: &[
        // `query` may be left out for `queries`.
        Parameter::required("array"),
        Parameter::optional("query"),
        Parameter::optional("k"),
        Parameter::optional("metric"),
        Parameter::named("field"),
        Parameter::named("filter"),
        Parameter::named("queries"),
        Parameter::named("allow_nan"),
    ],
    plan,
};

const DEFAULT_K: i64 = 10;

fn plan(call: &mut Call<'_>) -> Result<LogicalPlan> {
    let metric = match call.text("metric")? {
        Some(name) => name.parse().map_err(to_datafusion)?,
        None => Metric::Cosine,
    };
    let allow_nan = match call.argument("allow_nan") {
        Some(value) => match literal(&call.constant(value.clone())?) {
            Some(ScalarValue::Boolean(Some(allow))) => allow,
            _ => return call.misused(&format!("allow_nan must be true or false, not {value}")),
        },
        None => false,
    };
    let k = match call.argument("k") {
        Some(k) => call.constant(k)?,
        None => lit(DEFAULT_K),
    };
    let array = call.array("array")?;
    let field = call.text("field")?;
    let value = vector_column(&array.plan, field.as_deref(), &array.name)?;
    let mut input = array.plan;
    if let Some(filter) = call.argument("filter") {
        input = filtered(call, input, filter)?;
    }
    let vectors = input.schema().qualified_field_from_column(&value)?.1.data_type();
    if element_type(vectors) == Some(&DataType::Boolean) {
        metric.check_dtype(DType::Bool).map_err(to_datafusion)?;
    }
    let dim = fixed_len(vectors);
    let element = element_type(input.schema().qualified_field_from_column(&value)?.1.data_type()).cloned();
    let wanted = Wanted { array: &array.name, field: &value.name, dim, booleans: element == Some(DataType::Boolean) };
    let (query, output) = match (call.argument("query"), call.argument("queries")) {
        (Some(query), None) => match wanted.outer(call, &query)? {
            Some(plan) => (plan, Output::Ranked),
            None => wanted.asked(call, query)?,
        },
        (None, Some(queries)) => match call.table(&queries)? {
            Some(table) => (wanted.many(&table.name, &table.plan)?, Output::PerQuery),
            None => wanted.listed(call, queries)?,
        },
        (Some(_), Some(_)) => return call.misused("give either query or queries"),
        (None, None) => return call.misused("the argument query is missing"),
    };
    let search = Search::try_new(input, query, value, k, Order::Metric(metric), output)?;
    Ok(search.with_allow_nan(allow_nan).into_plan())
}

fn is_subquery(expr: &ast::Expr) -> bool {
    match expr {
        ast::Expr::Subquery(_) => true,
        ast::Expr::Nested(inner) => is_subquery(inner),
        _ => false,
    }
}

/// The rows that may win: those of a condition, written as an expression or as text, or those whose `row` a subquery
/// gives.
fn filtered(call: &mut Call<'_>, input: LogicalPlan, filter: ast::Expr) -> Result<LogicalPlan> {
    let is_text = literal_text(&filter).is_some();
    let filter = match (literal_text(&filter), &filter) {
        (Some(text), _) => dialect::parse_expr(text)?,
        (None, ast::Expr::Subquery(query)) => ast::Expr::InSubquery {
            expr: Box::new(ast::Expr::Identifier(ast::Ident::new(ROW))),
            subquery: query.clone(),
            negated: false,
        },
        (None, _) => filter,
    };
    let text = filter.to_string();
    let condition = match call.context.sql_to_expr(filter, input.schema()) {
        // The tables of a statement are looked up before its text is read.
        Err(e) if is_text && text.to_ascii_lowercase().contains("select ") => {
            return plan_err!("{}: {e}; write a filter that names tables without quotes", call.name());
        }
        planned => planned?,
    };
    if condition.contains_outer() || has_outer_in_subquery(&condition, input.schema())? {
        return plan_err!(
            "{}: the filter cannot refer to another table, only the query of a LATERAL call can: {text}",
            call.name()
        );
    }
    LogicalPlanBuilder::from(input).filter(condition)?.build()
}

/// Whether a subquery of a condition refers to a table that is not the one filtered.
fn has_outer_in_subquery(condition: &Expr, schema: &DFSchema) -> Result<bool> {
    condition.exists(|e| {
        let subquery = match e {
            Expr::ScalarSubquery(subquery) => subquery,
            Expr::InSubquery(e) => &e.subquery,
            Expr::Exists(e) => &e.subquery,
            _ => return Ok(false),
        };
        let outer = |e: &Expr| matches!(e, Expr::OuterReferenceColumn(_, c) if !schema.has_column(c));
        Ok(subquery.outer_ref_columns.iter().any(outer))
    })
}

/// What a query vector must be like.
struct Wanted<'a> {
    array: &'a str,
    field: &'a str,
    /// The length of the array's vectors, where all have one.
    dim: Option<usize>,
    /// Whether they are vectors of booleans.
    booleans: bool,
}

impl Wanted<'_> {
    /// The type that queries are computed in. The array's own would cut off what a query says more precisely.
    fn query_type() -> DataType {
        QueryVector::data_type()
    }

    fn check_len(&self, len: Option<usize>) -> Result<()> {
        match (len, self.dim) {
            (Some(len), Some(dim)) if len != dim => plan_err!(
                "the query vector has {len} values, and the vectors of {} in {} have {dim}",
                self.field,
                self.array
            ),
            _ => Ok(()),
        }
    }

    fn check_type(&self, data_type: &DataType) -> Result<()> {
        if element_type(data_type).is_none() {
            return plan_err!("the query must be a vector (a list of numbers), not {data_type}");
        }
        if element_type(data_type) == Some(&DataType::Boolean) && !self.booleans {
            return plan_err!(
                "the query is a vector of booleans, and the vectors of {} in {} are numbers; write 1 and 0",
                self.field,
                self.array
            );
        }
        self.check_len(fixed_len(data_type))
    }

    /// The query of a LATERAL call: an expression of the outer table's columns.
    fn outer(&self, call: &mut Call<'_>, query: &ast::Expr) -> Result<Option<LogicalPlan>> {
        if is_subquery(query) || literal_text(query).is_some() {
            return Ok(None);
        }
        match call.context.sql_to_expr(query.clone(), &DFSchema::empty()) {
            Ok(expr) if expr.contains_outer() => {
                self.check_type(&expr.get_type(&DFSchema::empty())?)?;
                Ok(Some(query_of(cast(expr, Self::query_type()))?))
            }
            _ => Ok(None),
        }
    }

    /// One query or, by their form, many.
    fn asked(&self, call: &mut Call<'_>, query: ast::Expr) -> Result<(LogicalPlan, Output)> {
        match call.table(&query)? {
            Some(table) if is_subquery(&query) => Ok((self.one(&table.plan)?, Output::Ranked)),
            Some(table) => Ok((self.many(&table.name, &table.plan)?, Output::PerQuery)),
            None => self.written(call, query),
        }
    }

    /// Queries that must be many: a list of vectors or a parameter that is one.
    fn listed(&self, call: &mut Call<'_>, queries: ast::Expr) -> Result<(LogicalPlan, Output)> {
        let text = queries.to_string();
        if literal_text(&queries).is_some() {
            return call
                .misused(&format!("queries must be a subquery, an array's name or a list of vectors, not {text}"));
        }
        let expr = call.constant(queries)?;
        let is_parameter = matches!(expr.clone().unalias(), Expr::Placeholder(_));
        if !is_parameter && !is_list_of_vectors(&expr.get_type(&DFSchema::empty())?) {
            return call
                .misused(&format!("queries must be a subquery, an array's name or a list of vectors, not {text}"));
        }
        Ok((Self::each_of(expr)?, Output::PerQuery))
    }

    /// The vectors of a list, numbered from 0.
    fn each_of(list: Expr) -> Result<LogicalPlan> {
        let lists = DataType::List(std::sync::Arc::new(Field::new_list_field(Self::query_type(), true)));
        let all = LogicalPlanBuilder::empty(true).project(vec![cast(list, lists).alias("query")])?;
        let numbers =
            range_udf().call(vec![lit(0_i64), cast(array_length_udf().call(vec![col("query")]), DataType::Int64)]);
        let columns = vec![Column::from_name(ROW), Column::from_name("query")];
        let each = all
            .project(vec![numbers.alias(ROW), col("query")])?
            .unnest_columns_with_options(columns, UnnestOptions::new().with_preserve_nulls(false))?;
        each.project(vec![col(ROW), col("query")])?.build()
    }

    /// What no table is needed for: a vector, or a list of them.
    fn written(&self, call: &mut Call<'_>, query: ast::Expr) -> Result<(LogicalPlan, Output)> {
        let expr = match literal_text(&query) {
            Some(text) => match parse_vector(text) {
                Some(vector) => lit(list_of(&vector)),
                None => return plan_err!("{text:?} is no vector; write numbers as in '[0.1, 2, -3e4]'"),
            },
            None => call.constant(query)?,
        };
        if !matches!(expr.clone().unalias(), Expr::Placeholder(_)) {
            let data_type = expr.get_type(&DFSchema::empty())?;
            if is_list_of_vectors(&data_type) {
                return Ok((Self::each_of(expr)?, Output::PerQuery));
            }
            // NULL is refused when it is asked for, [] for its length.
            let untyped = data_type.is_null() || matches!(&data_type, DataType::List(i) if i.data_type().is_null());
            if !untyped {
                self.check_type(&data_type)?;
            }
        }
        self.check_len(len_of(&expr))?;
        let query = cast(expr, Self::query_type());
        let plan = match &query {
            Expr::Cast(c) if matches!(c.expr.clone().unalias(), Expr::Literal(..) | Expr::Placeholder(_)) => {
                QueryVector::plan(query)?
            }
            _ => query_of(query)?,
        };
        Ok((plan, Output::Ranked))
    }

    /// The vectors of a subquery that gives one row.
    fn one(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        let value = self.column(plan, "the query")?;
        if let Some(stored) = QueryVector::stored(plan, &value) {
            return Ok(stored);
        }
        let query = cast(Expr::Column(value), Self::query_type()).alias("query");
        LogicalPlanBuilder::from(plan.clone()).project(vec![query])?.build()
    }

    /// The vectors of many rows, each with its own `row`.
    fn many(&self, name: &str, plan: &LogicalPlan) -> Result<LogicalPlan> {
        let value = self.column(plan, name)?;
        let schema = plan.schema();
        let rows: Vec<Column> = schema
            .iter()
            .filter(|(_, f)| f.name() == ROW && f.data_type().is_integer())
            .map(|(q, f)| Column::new(q.cloned(), f.name()))
            .collect();
        let [row] = rows.as_slice() else {
            return plan_err!("queries need their row, which comes back as query_row: (SELECT row, value FROM …)");
        };
        let row = cast(Expr::Column(row.clone()), DataType::Int64).alias(ROW);
        let query = cast(Expr::Column(value), Self::query_type()).alias("query");
        LogicalPlanBuilder::from(plan.clone()).project(vec![row, query])?.build()
    }

    fn column(&self, plan: &LogicalPlan, of: &str) -> Result<Column> {
        let value = match super::call::only_column(plan) {
            Some(column) => column,
            None => vector_column(plan, None, of)?,
        };
        self.check_type(plan.schema().qualified_field_from_column(&value)?.1.data_type())?;
        Ok(value)
    }
}

/// A plan of one row and column.
fn query_of(vector: Expr) -> Result<LogicalPlan> {
    LogicalPlanBuilder::empty(true).project(vec![vector.alias("query")])?.build()
}

fn is_list_of_vectors(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            element_type(item.data_type()).is_some()
        }
        _ => false,
    }
}

/// The length of a vector that is written out.
fn len_of(expr: &Expr) -> Option<usize> {
    match literal(expr) {
        Some(ScalarValue::List(list)) if list.is_valid(0) => Some(list.value(0).len()),
        Some(ScalarValue::LargeList(list)) if list.is_valid(0) => Some(list.value(0).len()),
        Some(ScalarValue::FixedSizeList(list)) => Some(list.value(0).len()),
        Some(_) => None,
        None => match expr {
            Expr::ScalarFunction(call) if call.name() == "make_array" => Some(call.args.len()),
            _ => None,
        },
    }
}

/// A vector as a value.
fn list_of(vector: &[f64]) -> ScalarValue {
    crate::functions::list_literal(vector.iter().copied())
}
