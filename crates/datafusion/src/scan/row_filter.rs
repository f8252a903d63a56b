//! Which rows a predicate on `row` lets through.
//!
//! Both kinds of predicates come here: the logical ones of the statement, which the table takes over wholly where they
//! are understood, and the physical ones that joins and top-k operators fill while the scan runs.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions as physical;
use datafusion::physical_expr::utils::collect_columns;

use super::RowRanges;
use crate::table::ROW;

/// The rows that can satisfy a predicate. A predicate that says nothing about rows is no `RowFilter` at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowFilter {
    /// Every row that satisfies the predicate is among these.
    pub(crate) ranges: RowRanges,
    /// Whether all of these satisfy it.
    pub(crate) exact: bool,
}

impl RowFilter {
    /// What a predicate of a statement over a table of `schema` and `rows` rows says about rows.
    pub(crate) fn of_expr(expr: &Expr, schema: &Schema, rows: u64) -> Option<Self> {
        Analysis { schema, rows }.logical(expr)
    }

    /// What a predicate over the columns of `schema` says about rows now. Dynamic filters are taken as they stand.
    pub(crate) fn of_physical(expr: &Arc<dyn PhysicalExpr>, schema: &Schema, rows: u64) -> Option<Self> {
        Analysis { schema, rows }.physical(expr)
    }

    fn exact(ranges: RowRanges) -> Self {
        Self { ranges, exact: true }
    }

    fn and(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(Self { ranges: a.ranges.intersect(&b.ranges), exact: a.exact && b.exact }),
            (Some(known), None) | (None, Some(known)) => Some(Self { exact: false, ..known }),
            (None, None) => None,
        }
    }

    fn or(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        let (a, b) = (a?, b?);
        Some(Self { ranges: a.ranges.union(&b.ranges), exact: a.exact && b.exact })
    }
}

struct Analysis<'a> {
    schema: &'a Schema,
    rows: u64,
}

impl Analysis<'_> {
    fn logical(&self, expr: &Expr) -> Option<RowFilter> {
        match expr {
            Expr::Alias(alias) => self.logical(&alias.expr),
            Expr::Literal(value, _) => self.constant(value),
            Expr::Not(inner) => self.not(self.logical(inner)),
            Expr::IsNotNull(inner) => self.is_row(inner).then(|| self.all()),
            Expr::IsNull(inner) => self.is_row(inner).then(|| RowFilter::exact(RowRanges::empty())),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
                Operator::And => RowFilter::and(self.logical(left), self.logical(right)),
                Operator::Or => RowFilter::or(self.logical(left), self.logical(right)),
                op => self.either_side(*op, self.logical_operand(left)?, self.logical_operand(right)?),
            },
            Expr::Between(Between { expr, negated, low, high }) => {
                let row = self.logical_operand(expr)?;
                let low = self.either_side(Operator::GtEq, row.clone(), self.logical_operand(low)?);
                let high = self.either_side(Operator::LtEq, row, self.logical_operand(high)?);
                let both = RowFilter::and(low, high);
                if *negated { self.not(both) } else { both }
            }
            Expr::InList(list) => {
                let row = self.logical_operand(&list.expr)?;
                let items = list.list.iter().map(|item| self.logical_operand(item));
                self.in_list(&row, items, list.negated)
            }
            _ => None,
        }
    }

    fn physical(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<RowFilter> {
        let expr = expr.as_ref();
        if let Some(dynamic) = expr.downcast_ref::<physical::DynamicFilterPhysicalExpr>() {
            self.physical(&dynamic.current().ok()?)
        } else if let Some(literal) = expr.downcast_ref::<physical::Literal>() {
            self.constant(literal.value())
        } else if let Some(not) = expr.downcast_ref::<physical::NotExpr>() {
            self.not(self.physical(not.arg()))
        } else if let Some(is) = expr.downcast_ref::<physical::IsNotNullExpr>() {
            matches!(self.physical_operand(is.arg())?, Operand::Row(None)).then(|| self.all())
        } else if let Some(is) = expr.downcast_ref::<physical::IsNullExpr>() {
            let row = matches!(self.physical_operand(is.arg())?, Operand::Row(None));
            row.then(|| RowFilter::exact(RowRanges::empty()))
        } else if let Some(binary) = expr.downcast_ref::<physical::BinaryExpr>() {
            let (left, right) = (binary.left(), binary.right());
            match binary.op() {
                Operator::And => RowFilter::and(self.physical(left), self.physical(right)),
                Operator::Or => RowFilter::or(self.physical(left), self.physical(right)),
                op => self.either_side(*op, self.physical_operand(left)?, self.physical_operand(right)?),
            }
        } else if let Some(list) = expr.downcast_ref::<physical::InListExpr>() {
            let row = self.physical_operand(list.expr())?;
            let items = list.list().iter().map(|item| self.physical_operand(item));
            self.in_list(&row, items, list.negated())
        } else if let Some(case) = expr.downcast_ref::<physical::CaseExpr>() {
            // A join over several partitions routes by CASE: whichever branch holds, the row is in one of them.
            let branches = case.when_then_expr().iter().map(|(_, then)| then).chain([case.else_expr()?]);
            let any = branches.map(|b| self.physical(b)).reduce(RowFilter::or)??;
            Some(RowFilter { exact: false, ..any })
        } else {
            None
        }
    }

    fn logical_operand(&self, expr: &Expr) -> Option<Operand> {
        match expr {
            Expr::Alias(alias) => self.logical_operand(&alias.expr),
            Expr::Column(column) if column.name == ROW => Some(Operand::Row(None)),
            Expr::Literal(value, _) => Some(Operand::Value(value.clone())),
            Expr::Cast(cast) => self.logical_operand(&cast.expr)?.cast(cast.field.data_type()),
            Expr::TryCast(cast) => self.logical_operand(&cast.expr)?.cast(cast.field.data_type()),
            _ => None,
        }
    }

    fn physical_operand(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<Operand> {
        if let Some(column) = expr.downcast_ref::<physical::Column>() {
            let field = self.schema.fields().get(column.index())?;
            (field.name() == ROW).then_some(Operand::Row(None))
        } else if let Some(literal) = expr.downcast_ref::<physical::Literal>() {
            Some(Operand::Value(literal.value().clone()))
        } else if let Some(cast) = expr.downcast_ref::<physical::CastExpr>() {
            self.physical_operand(cast.expr())?.cast(cast.cast_type())
        } else {
            None
        }
    }

    fn is_row(&self, expr: &Expr) -> bool {
        matches!(self.logical_operand(expr), Some(Operand::Row(None)))
    }

    fn all(&self) -> RowFilter {
        RowFilter::exact(RowRanges::all(self.rows))
    }

    fn constant(&self, value: &ScalarValue) -> Option<RowFilter> {
        match value {
            ScalarValue::Boolean(Some(true)) => Some(self.all()),
            ScalarValue::Boolean(_) => Some(RowFilter::exact(RowRanges::empty())),
            _ => None,
        }
    }

    fn not(&self, inner: Option<RowFilter>) -> Option<RowFilter> {
        // The complement of a superset is no superset. (NULLs are never understood, so that NOT has two values.)
        let inner = inner.filter(|f| f.exact)?;
        Some(RowFilter::exact(inner.ranges.complement(self.rows)))
    }

    fn either_side(&self, op: Operator, left: Operand, right: Operand) -> Option<RowFilter> {
        let ranges = match (left, right) {
            (Operand::Row(cast), Operand::Value(value)) => self.compare(op, cast.as_ref(), &value)?,
            (Operand::Value(value), Operand::Row(cast)) => self.compare(op.swap()?, cast.as_ref(), &value)?,
            _ => return None,
        };
        Some(RowFilter::exact(ranges))
    }

    fn in_list(&self, row: &Operand, items: impl Iterator<Item = Option<Operand>>, negated: bool) -> Option<RowFilter> {
        let Operand::Row(cast) = row else { return None };
        let mut ranges = Vec::new();
        for item in items {
            let Operand::Value(value) = item? else { return None };
            ranges.extend_from_slice(self.compare(Operator::Eq, cast.as_ref(), &value)?.ranges());
        }
        let found = Some(RowFilter::exact(RowRanges::from_ranges(ranges)));
        if negated { self.not(found) } else { found }
    }

    /// The rows `r` for which `cast(r) op value`. Casts of a row keep its order, so that the rows below, at and above
    /// the value are three runs.
    fn compare(&self, op: Operator, cast: Option<&DataType>, value: &ScalarValue) -> Option<RowRanges> {
        let order = self.order(cast, value)?;
        let below = partition_point(self.rows, |r| order(r) == Ordering::Less);
        let up_to = partition_point(self.rows, |r| order(r) != Ordering::Greater);
        Some(match op {
            Operator::Eq => RowRanges::from(below..up_to),
            Operator::NotEq => RowRanges::from(below..up_to).complement(self.rows),
            Operator::Lt => RowRanges::from(0..below),
            Operator::LtEq => RowRanges::from(0..up_to),
            Operator::Gt => RowRanges::from(up_to..self.rows),
            Operator::GtEq => RowRanges::from(below..self.rows),
            _ => return None,
        })
    }

    /// How rows, as the type they are cast to, compare with a value; `None` where that is not a plain comparison or
    /// the cast of some row could fail. That does not depend on the number of rows: a prepared statement decides about
    /// its filters once, and reads later versions, too.
    fn order(&self, cast: Option<&DataType>, value: &ScalarValue) -> Option<Box<dyn Fn(u64) -> Ordering>> {
        let cast = cast.unwrap_or(&DataType::Int64);
        if value.data_type() != *cast {
            return None;
        }
        Some(match *value {
            // Adding 0 makes -0 equal to row 0. NaN is above every row.
            ScalarValue::Float64(Some(v)) => Box::new(move |r| (r as f64).total_cmp(&(v + 0.0))),
            ScalarValue::Float32(Some(v)) => Box::new(move |r| (r as f32).total_cmp(&(v + 0.0))),
            ScalarValue::Decimal128(Some(v), precision, scale) => {
                let unit = 10_i128.checked_pow(u32::try_from(scale).ok()?)?;
                let limit = 10_i128.checked_pow(u32::from(precision))?;
                LAST_ROW.checked_mul(unit).filter(|&l| l < limit)?;
                Box::new(move |r| (i128::from(r) * unit).cmp(&v))
            }
            ref value => {
                let (v, max) = integer(value)?;
                if max < LAST_ROW {
                    return None;
                }
                Box::new(move |r| i128::from(r).cmp(&v))
            }
        })
    }
}

/// The largest row number that there can be.
const LAST_ROW: i128 = i64::MAX as i128;

/// One side of a comparison: the row, perhaps cast, or a value.
#[derive(Debug, Clone)]
enum Operand {
    Row(Option<DataType>),
    Value(ScalarValue),
}

impl Operand {
    fn cast(self, to: &DataType) -> Option<Self> {
        match self {
            Self::Row(None) => Some(Self::Row(if *to == DataType::Int64 { None } else { Some(to.clone()) })),
            Self::Row(Some(_)) => None,
            Self::Value(value) => value.cast_to(to).ok().map(Self::Value),
        }
    }
}

/// An integer's value and the largest of its type.
fn integer(value: &ScalarValue) -> Option<(i128, i128)> {
    Some(match *value {
        ScalarValue::Int8(Some(v)) => (v.into(), i8::MAX.into()),
        ScalarValue::Int16(Some(v)) => (v.into(), i16::MAX.into()),
        ScalarValue::Int32(Some(v)) => (v.into(), i32::MAX.into()),
        ScalarValue::Int64(Some(v)) => (v.into(), i64::MAX.into()),
        ScalarValue::UInt8(Some(v)) => (v.into(), u8::MAX.into()),
        ScalarValue::UInt16(Some(v)) => (v.into(), u16::MAX.into()),
        ScalarValue::UInt32(Some(v)) => (v.into(), u32::MAX.into()),
        ScalarValue::UInt64(Some(v)) => (v.into(), u64::MAX.into()),
        _ => return None,
    })
}

/// Whether a predicate reads `row`, so that it may say something about rows.
pub(super) fn mentions_row(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    let columns = collect_columns(expr);
    let is_row = |c: &physical::Column| schema.fields().get(c.index()).is_some_and(|f| f.name() == ROW);
    columns.iter().any(is_row)
}

/// The first of `0..rows` for which `before` does not hold, or `rows`.
fn partition_point(rows: u64, before: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, rows);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests;
