//! Versions that a statement names: by number, by time, by tag.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, TableVersion, UnaryOperator, Value,
};
use hyperslab_store::{Snapshot, Store};

use crate::to_datafusion;

/// A version as a statement names it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum VersionRef {
    /// Its number.
    Version(u64),
    /// The newest of a time.
    Time(Box<ast::Expr>),
    /// Its tag.
    Tag(String),
}

impl fmt::Display for VersionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "version {version}"),
            Self::Time(time) => write!(f, "timestamp {time}"),
            Self::Tag(tag) => write!(f, "tag {tag}"),
        }
    }
}

impl VersionRef {
    /// What a clause of FROM names.
    ///
    /// # Errors
    /// A form that is not understood, or a version that is no number.
    pub(crate) fn parse(clause: &TableVersion) -> Result<Self> {
        match clause {
            TableVersion::VersionAsOf(expr) => number(expr).map(Self::Version),
            TableVersion::TimestampAsOf(expr) | TableVersion::ForSystemTimeAsOf(expr) => {
                Ok(Self::Time(Box::new(expr.clone())))
            }
            TableVersion::Function(ast::Expr::Function(function)) => Self::parse_at(function),
            other => plan_err!("{other} is not understood; {FORMS}"),
        }
    }

    /// `AT (VERSION | TIMESTAMP | TAG => …)`.
    fn parse_at(function: &ast::Function) -> Result<Self> {
        let bad = || plan_err!("{function} is not understood; {FORMS}");
        if !function.name.to_string().eq_ignore_ascii_case("at") {
            return bad();
        }
        let FunctionArguments::List(list) = &function.args else { return bad() };
        let [argument] = list.args.as_slice() else { return bad() };
        let (name, expr) = match argument {
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } => (name.value.to_uppercase(), expr),
            FunctionArg::ExprNamed { name, arg: FunctionArgExpr::Expr(expr), .. } => {
                (name.to_string().to_uppercase(), expr)
            }
            _ => return bad(),
        };
        match name.as_str() {
            "VERSION" => number(expr).map(Self::Version),
            "TIMESTAMP" => Ok(Self::Time(Box::new(expr.clone()))),
            "TAG" => match expr {
                ast::Expr::Value(v) => match &v.value {
                    Value::SingleQuotedString(tag) => Ok(Self::Tag(tag.clone())),
                    _ => plan_err!("a tag is text, not {expr}"),
                },
                _ => plan_err!("a tag is text, not {expr}"),
            },
            _ => bad(),
        }
    }

    /// The version itself, for a statement that sees `seen` of the store. `value` works out a constant expression.
    ///
    /// # Errors
    /// A version that is not there yet or has expired; a tag that is not there; a time that cannot be worked out.
    pub(crate) fn snapshot(
        &self,
        store: &Store,
        seen: &Snapshot,
        value: impl FnOnce(ast::Expr) -> Result<Option<ScalarValue>>,
    ) -> Result<Arc<Snapshot>> {
        let found = match self {
            Self::Version(version) => store.at(*version),
            Self::Tag(tag) => store.at(tagged(store, seen, tag)?),
            Self::Time(expr) => {
                let micros = micros(expr, value)?;
                let Ok(since) = u64::try_from(micros) else {
                    return plan_err!("{expr} is before 1970, and the store is younger");
                };
                store.at_time(UNIX_EPOCH + Duration::from_micros(since))
            }
        };
        found.map_err(to_datafusion)
    }
}

/// The version of a tag, as a statement sees the tags: those of its transaction.
///
/// # Errors
/// A tag that is not there.
pub(crate) fn tagged(store: &Store, seen: &Snapshot, tag: &str) -> Result<u64> {
    if let Some(version) = seen.tags().get(tag) {
        return Ok(*version);
    }
    store.at_tag(tag).map_err(to_datafusion)?;
    plan_err!("there is no tag {tag:?} in what this transaction sees")
}

const FORMS: &str = "write VERSION AS OF 3, TIMESTAMP AS OF '2026-01-31 12:00:00', AT (VERSION => 3), \
                     AT (TIMESTAMP => '…') or AT (TAG => '…')";

fn number(expr: &ast::Expr) -> Result<u64> {
    match expr {
        ast::Expr::Value(v) => match &v.value {
            Value::Number(n, _) => match n.to_string().parse() {
                Ok(version) => Ok(version),
                Err(_) => plan_err!("a version is a whole number, not {expr}"),
            },
            _ => plan_err!("a version is a whole number, not {expr}"),
        },
        ast::Expr::Nested(inner) => number(inner),
        ast::Expr::UnaryOp { op: UnaryOperator::Plus, expr } => number(expr),
        _ => plan_err!("a version is a whole number, not {expr}"),
    }
}

/// The value of an expression of constants, `now()` among them.
///
/// # Errors
/// An expression that cannot be worked out.
pub(crate) fn constant(expr: Expr) -> Result<Option<ScalarValue>> {
    let simplifier = ExprSimplifier::new(SimplifyContext::builder().with_current_time().build());
    let expr = simplifier.coerce(expr, &DFSchema::empty())?;
    Ok(crate::table_functions::literal(&simplifier.simplify(expr)?))
}

/// Microseconds since 1970. Text without an offset is in UTC, as are all times of a store.
fn micros(expr: &ast::Expr, value: impl FnOnce(ast::Expr) -> Result<Option<ScalarValue>>) -> Result<i64> {
    let text = match expr {
        ast::Expr::Value(v) => match &v.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    };
    if let Some(text) = text {
        return match string_to_timestamp_nanos(&text) {
            Ok(nanos) => Ok(nanos.div_euclid(1000)),
            Err(e) => plan_err!("{expr} is no time: {e}"),
        };
    }
    let Some(found) = value(expr.clone())? else {
        return plan_err!("{expr} must be known before the statement runs: write a time, or now() and intervals");
    };
    let found = found.cast_to(&DataType::Timestamp(TimeUnit::Microsecond, None));
    match found {
        Ok(ScalarValue::TimestampMicrosecond(Some(micros), _)) => Ok(micros),
        _ => plan_err!("{expr} is no time"),
    }
}
