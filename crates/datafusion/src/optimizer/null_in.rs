//! `IN` and `NOT IN` where NULL may meet them: DataFusion 55 gets these wrong, so they are rewritten to what it gets right.
//!
//! - A subquery that is not a conjunct of the WHERE clause becomes a mark join, which says false where SQL says NULL:
//!   under NOT the row is taken. It becomes
//!   `EXISTS (S with x) OR (EXISTS (S with a NULL) OR x IS NULL AND EXISTS S) AND NULL`.
//! - So does a conjunct `x NOT IN S` where S is correlated or x names no column, which its anti join cannot do.
//! - The simplifier takes intersections and differences of lists by their text. NULLs and what is no constant go out of
//!   the list, as `OR NULL` and `OR x = y`; lists of one nullable value, of which such a set may be empty, are hidden.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, Result, ScalarValue, internal_err, not_impl_err};
use datafusion::logical_expr::expr::{Exists, InList, InSubquery, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Subquery, Volatility, lit, not,
};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// The rule, which must be the first: PREPARE optimizes a plan that was not analyzed, and not again later.
#[derive(Debug)]
pub(crate) struct NullIn;

impl OptimizerRule for NullIn {
    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        plan.transform_down_with_subqueries(rewrite)
    }

    fn name(&self) -> &str {
        "null_in"
    }
}

fn rewrite(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut found = false;
    plan.apply_expressions(|e| {
        found |= concerned(e);
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !found {
        return Ok(Transformed::no(plan));
    }
    match plan {
        LogicalPlan::Filter(Filter { predicate, input, .. }) => {
            let conjuncts = split_conjunction_owned(predicate).into_iter();
            let conjuncts = conjuncts.map(|c| conjunct(c, input.schema())).collect::<Result<Vec<_>>>()?;
            let predicate = conjunction(conjuncts).unwrap_or_else(|| lit(true));
            Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, input)?)))
        }
        // Pushed down by somebody who has simplified it already.
        LogicalPlan::TableScan(_) => Ok(Transformed::no(plan)),
        plan => {
            let mut schema = DFSchema::empty();
            plan.inputs().iter().for_each(|input| schema.merge(input.schema()));
            // A column keeps the name that the plan above knows it by.
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|e| {
                let name = names.save(&e);
                let rewritten = lists(e, &schema)?;
                Ok(Transformed::new(name.restore(rewritten.data), rewritten.transformed, TreeNodeRecursion::Continue))
            })
        }
    }
}

/// Whether an expression has anything that the rule looks at.
fn concerned(expr: &Expr) -> bool {
    let found = |e: &Expr| Ok(matches!(e, Expr::InList(_) | Expr::InSubquery(_)) || disjoined(e).is_some());
    expr.exists(found).unwrap_or(false)
}

/// A conjunct of a filter, of which only the truth counts.
fn conjunct(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let (inner, flipped) = match expr {
        Expr::Not(inner) => (*inner, true),
        other => (other, false),
    };
    match inner {
        Expr::InSubquery(mut found) => {
            found.negated ^= flipped;
            if !found.negated || joins(&found)? { Ok(Expr::InSubquery(found)) } else { three_valued(found, schema) }
        }
        inner => {
            let expr = if flipped { not(inner) } else { inner };
            let expr = expr.transform_down(|e| match e {
                Expr::InSubquery(found) => {
                    Ok(Transformed::new(three_valued(found, schema)?, true, TreeNodeRecursion::Jump))
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(lists(expr.data, schema)?.data)
        }
    }
}

/// Whether DataFusion's null-aware join does it: one pair of columns is compared, and nothing else.
fn joins(found: &InSubquery) -> Result<bool> {
    let mut names_column = false;
    found.expr.apply(|e| {
        names_column |= matches!(e, Expr::Column(_));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(names_column && found.subquery.outer_ref_columns.is_empty())
}

/// `x IN S` with its NULLs, of pieces that are true or false.
fn three_valued(found: InSubquery, schema: &DFSchema) -> Result<Expr> {
    let Some((qualifier, field)) = found.subquery.subquery.schema().iter().next() else {
        return internal_err!("the subquery of IN has no column");
    };
    let (key, keys_null) = (Expr::Column(Column::from((qualifier, field))), field.is_nullable());
    let value_null = found.expr.nullable(schema)?;
    if !keys_null && !value_null {
        return Ok(Expr::InSubquery(found));
    }
    let InSubquery { expr: x, subquery, negated } = found;
    check_shape(&x, &subquery)?;
    let mut unknown = Vec::new();
    if keys_null {
        unknown.push(any_row(&subquery, Some(key.clone().is_null()))?);
    }
    if value_null {
        unknown.push(x.as_ref().clone().is_null().and(any_row(&subquery, None)?));
    }
    let (outer, columns) = outer(*x, schema)?;
    let mut matched = subquery;
    matched.outer_ref_columns.extend(columns);
    let matched = any_row(&matched, Some(key.eq(outer)))?;
    // True where a row matches; else NULL where one might; else false.
    let found = unknown.into_iter().reduce(Expr::or).map(|unknown| unknown.and(null())).map(|n| matched.clone().or(n));
    let found = found.unwrap_or(matched);
    Ok(if negated { not(found) } else { found })
}

/// Refuses what cannot be asked of a subquery's rows one by one.
fn check_shape(x: &Expr, subquery: &Subquery) -> Result<()> {
    const ADVICE: &str = "is not supported where either may be NULL; write [NOT] EXISTS (SELECT … WHERE …) instead";
    if x.exists(|e| {
        let nested = matches!(e, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_));
        Ok(nested || matches!(e, Expr::OuterReferenceColumn(..)))
    })? {
        return not_impl_err!(
            "[NOT] IN (SELECT …) of {x}, which is or holds a subquery or a column of an outer one, {ADVICE}"
        );
    }
    let mut whole = false;
    subquery.subquery.apply(|node| {
        whole |= match node {
            LogicalPlan::Limit(_) => true,
            LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
            _ => false,
        };
        Ok(TreeNodeRecursion::Continue)
    })?;
    if whole && !subquery.outer_ref_columns.is_empty() {
        return not_impl_err!("{x} [NOT] IN a correlated subquery with LIMIT or an aggregate {ADVICE}");
    }
    Ok(())
}

/// An expression as a subquery sees it, and its columns.
fn outer(expr: Expr, schema: &DFSchema) -> Result<(Expr, Vec<Expr>)> {
    let mut columns = Vec::new();
    let expr = expr.transform(|e| match e {
        Expr::Column(column) => {
            let field = Arc::clone(schema.field_from_column(&column)?);
            columns.push(Expr::OuterReferenceColumn(field, column));
            Ok(Transformed::yes(columns.last().cloned().unwrap_or_default()))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok((expr.data, columns))
}

/// Whether a subquery has a row (that a condition is true of).
fn any_row(subquery: &Subquery, condition: Option<Expr>) -> Result<Expr> {
    let mut rows = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
    if let Some(condition) = condition {
        rows = rows.filter(condition)?;
    }
    if subquery.outer_ref_columns.is_empty() {
        rows = rows.limit(0, Some(1))?;
    }
    Ok(Expr::Exists(Exists { subquery: subquery.with_plan(Arc::new(rows.build()?)), negated: false }))
}

fn null() -> Expr {
    lit(ScalarValue::Boolean(None))
}

/// The lists of an expression.
fn lists(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let hidden = hazards(&expr, schema)?;
    expr.transform_up(|e| match e {
        Expr::InList(list) => {
            let hide = hidden.contains_key(value_of(&list.expr));
            let (list, rest) = constants(list)?;
            if !hide && rest.is_empty() {
                return Ok(Transformed::no(Expr::InList(list)));
            }
            let operator = if list.negated { Operator::And } else { Operator::Or };
            let constants =
                (!list.list.is_empty()).then(|| if hide { as_is(Expr::InList(list)) } else { Expr::InList(list) });
            let terms: Vec<Expr> = constants.into_iter().chain(rest).collect();
            Ok(Transformed::yes(balanced(&terms, operator)))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) if !hidden.is_empty() => {
            let hide =
                |side: Expr| if equated(&side).is_some_and(|x| hidden.contains_key(x)) { as_is(side) } else { side };
            Ok(Transformed::yes(hide(*left).or(hide(*right))))
        }
        other => Ok(Transformed::no(other)),
    })
}

/// A list without what is no constant, and that: NULL, and comparisons.
fn constants(list: InList) -> Result<(InList, Vec<Expr>)> {
    let InList { expr, list, negated } = list;
    let keep_all = expr.is_volatile();
    let (mut kept, mut rest) = (Vec::with_capacity(list.len()), Vec::new());
    for item in list {
        match constant(&item) {
            Some(true) => kept.push(item),
            Some(false) => rest.push(null()),
            None if keep_all => kept.push(item),
            None if negated => rest.push(expr.as_ref().clone().not_eq(item)),
            None => rest.push(expr.as_ref().clone().eq(item)),
        }
    }
    Ok((InList { expr, list: kept, negated }, rest))
}

/// Whether an item is a value (true), NULL (false), or known only later.
fn constant(item: &Expr) -> Option<bool> {
    match item {
        Expr::Literal(value, _) => Some(!value.is_null()),
        Expr::Cast(cast) => constant(&cast.expr),
        Expr::Negative(inner) => constant(inner),
        Expr::Alias(alias) => constant(&alias.expr),
        _ => None,
    }
}

/// Terms joined by an operator, as flat as can be: lists may be long.
fn balanced(terms: &[Expr], operator: Operator) -> Expr {
    match terms {
        [] => null(),
        [one] => one.clone(),
        terms => {
            let (left, right) = terms.split_at(terms.len() / 2);
            let (left, right) = (balanced(left, operator), balanced(right, operator));
            Expr::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right)))
        }
    }
}

/// The nullable values of which an expression has several lists, with NOT or AND around any of them: the simplifier
/// would make true or false of what is NULL for a NULL.
fn hazards(expr: &Expr, schema: &DFSchema) -> Result<HashMap<Expr, usize>> {
    let mut counts: HashMap<Expr, usize> = HashMap::new();
    let mut inverts = false;
    expr.apply(|e| {
        let value = match e {
            Expr::ScalarFunction(f) if f.func.inner().downcast_ref::<AsIs>().is_some() => {
                return Ok(TreeNodeRecursion::Jump);
            }
            Expr::InList(list) => {
                inverts |= list.negated;
                Some(value_of(&list.expr))
            }
            Expr::Not(_) => {
                inverts = true;
                None
            }
            Expr::BinaryExpr(BinaryExpr { op: Operator::And, .. }) => {
                inverts = true;
                None
            }
            e => disjoined(e),
        };
        if let Some(value) = value
            && value.nullable(schema).unwrap_or(true)
        {
            *counts.entry(value.clone()).or_default() += 1;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    counts.retain(|_, count| inverts && *count > 1);
    Ok(counts)
}

/// The column of `x = 1 OR …`, which the simplifier makes a list of.
fn disjoined(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => equated(left).or_else(|| equated(right)),
        _ => None,
    }
}

/// The column that is compared with a constant.
fn equated(expr: &Expr) -> Option<&Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = expr else { return None };
    match (value_of(left), value_of(right)) {
        (column @ Expr::Column(_), _) if constant(right).is_some() => Some(column),
        (_, column @ Expr::Column(_)) if constant(left).is_some() => Some(column),
        _ => None,
    }
}

/// A value without its casts, which the simplifier takes off.
fn value_of(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) => value_of(&cast.expr),
        other => other,
    }
}

fn as_is(condition: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(AsIs::default())), vec![condition]))
}

/// Gives its argument, which the simplifier does not look into.
#[derive(Debug, PartialEq, Eq, Hash)]
struct AsIs {
    signature: Signature,
}

impl Default for AsIs {
    fn default() -> Self {
        Self { signature: Signature::exact(vec![DataType::Boolean], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for AsIs {
    fn name(&self) -> &str {
        "as_is"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.into_iter().next() {
            Some(value) => Ok(value),
            None => internal_err!("as_is takes one argument"),
        }
    }
}
