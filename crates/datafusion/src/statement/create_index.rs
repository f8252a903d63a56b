//! `CREATE INDEX [IF NOT EXISTS] s ON docs USING sketch (embedding) [WITH (bits = 8)]`.

use datafusion::common::{Result, not_impl_err, plan_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CreateIndex, Expr as SqlExpr, IndexColumn, IndexType, OrderByExpr, OrderByOptions, Value,
};

use super::refuse_clauses;
use crate::index::{BITS, DEFAULT_BITS, SKETCH};
use crate::maintenance::{Job, Maintenance, NewIndex, OptionValue};
use crate::session::Frame;

const CREATE: &str = "CREATE INDEX";

pub(super) fn plan(frame: &Frame, create: CreateIndex) -> Result<LogicalPlan> {
    let CreateIndex {
        name,
        table_name,
        using,
        columns,
        unique,
        concurrently,
        if_not_exists,
        include,
        nulls_distinct,
        with,
        predicate,
        index_options,
        alter_options,
    } = create;
    refuse_clauses(
        CREATE,
        &[
            ("UNIQUE", unique),
            ("CONCURRENTLY (it never keeps others from writing)", concurrently),
            ("INCLUDE", !include.is_empty()),
            ("NULLS DISTINCT", nulls_distinct.is_some()),
            ("WHERE", predicate.is_some()),
            ("an option of another system", !index_options.is_empty() || !alter_options.is_empty()),
        ],
    )?;
    frame.check_no_transaction(CREATE)?;
    frame.check_writable(CREATE)?;
    let name = match name.as_ref().map(|name| name.0.as_slice()) {
        Some([part]) if part.as_ident().is_some() => part.as_ident().map(|i| frame.identifier(i)).unwrap_or_default(),
        Some(_) => return plan_err!("{CREATE}: an index belongs to its array, and its name has one part"),
        None => return plan_err!("{CREATE}: the index needs a name: CREATE INDEX s ON {table_name} USING …"),
    };
    let array = frame.existing(CREATE, &table_name)?;
    let kind = kind(using.as_ref())?;
    let field = match columns.as_slice() {
        [column] => field(frame, column)?,
        _ => return plan_err!("{CREATE}: a {kind} index is of one field, not of {}", columns.len()),
    };
    let mut options = Vec::with_capacity(with.len() + 1);
    for given in &with {
        let (key, value) = option(given)?;
        if options.iter().any(|(other, _)| *other == key) {
            return plan_err!("{CREATE}: option {key} is given twice");
        }
        options.push((key, value));
    }
    if !options.iter().any(|(key, _)| key == BITS) {
        options.push((BITS.to_owned(), OptionValue::Number(i64::from(DEFAULT_BITS))));
    }
    let index = NewIndex { array, name, field, kind: kind.to_owned(), options, if_not_exists };
    Maintenance::plan(&frame.store, Job::CreateIndex(index))
}

fn kind(using: Option<&IndexType>) -> Result<&'static str> {
    match using {
        Some(IndexType::Custom(kind)) if kind.value.eq_ignore_ascii_case(SKETCH) => Ok(SKETCH),
        Some(other) => not_impl_err!("{CREATE}: there is no kind of index {other}; the one there is: USING {SKETCH}"),
        None => plan_err!("{CREATE}: say which kind of index, as in USING {SKETCH} (embedding)"),
    }
}

/// The field of a column without more.
fn field(frame: &Frame, column: &IndexColumn) -> Result<String> {
    let IndexColumn { column: OrderByExpr { expr, options, with_fill }, operator_class } = column;
    let OrderByOptions { asc, nulls_first } = options;
    refuse_clauses(
        CREATE,
        &[
            ("ASC or DESC", asc.is_some()),
            ("NULLS FIRST or LAST", nulls_first.is_some()),
            ("WITH FILL", with_fill.is_some()),
            ("an operator class (one index serves all its metrics)", operator_class.is_some()),
        ],
    )?;
    match expr {
        SqlExpr::Identifier(ident) => Ok(frame.identifier(ident)),
        other => plan_err!("{CREATE}: an index is of a field of the array, not of {other}"),
    }
}

/// One of `WITH (bits = 8)`.
fn option(given: &SqlExpr) -> Result<(String, OptionValue)> {
    let bad = || plan_err!("{CREATE}: options are given as WITH ({BITS} = {DEFAULT_BITS}), not as {given}");
    let SqlExpr::BinaryOp { left, op: BinaryOperator::Eq, right } = given else { return bad() };
    let SqlExpr::Identifier(key) = left.as_ref() else { return bad() };
    let value = match right.as_ref() {
        SqlExpr::Value(value) => match &value.value {
            Value::Number(number, _) => match number.parse() {
                Ok(number) => OptionValue::Number(number),
                Err(_) => OptionValue::Text(number.to_string()),
            },
            Value::SingleQuotedString(text) => OptionValue::Text(text.clone()),
            Value::Boolean(value) => OptionValue::Bool(*value),
            _ => return bad(),
        },
        other => OptionValue::Text(other.to_string()),
    };
    Ok((key.value.to_lowercase(), value))
}
