//! The logical node.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, ScalarValue, TableReference, internal_err, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use hyperslab_vector::{Distance, Metric};

use super::lineage::{Origin, origin};
use crate::table::ROW;
use crate::vectors::element_type;

/// By what order the k first rows are chosen. Ties go to the smaller row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    /// The better score first, NaN last.
    Metric(Metric),
    /// As SQL orders by what the distance function returns: NaN above every number, NULL where it is told to be.
    Sql {
        /// What is ordered by.
        distance: Distance,
        /// Whether `DESC`.
        descending: bool,
        /// Whether `NULLS FIRST`.
        nulls_first: bool,
    },
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Order::Metric(metric) => write!(f, "metric={metric}"),
            Order::Sql { distance, descending, .. } => {
                write!(f, "order={distance} {}", if *descending { "desc" } else { "asc" })
            }
        }
    }
}

/// What comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Output {
    /// `rank, row, score`, then the input's other columns, for the one row of the query plan.
    Ranked,
    /// The same for each row of the query plan, whose `row` comes first as `query_row`.
    PerQuery,
    /// Each row of the query plan, beside the rows found for its vector. A row whose vector is NULL finds none.
    Joined(Outer),
    /// The input's rows as they are, the k best of them, in order of `row`, for at most one row of the query plan.
    Rows,
}

/// What becomes of a row of the query plan for which nothing is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outer {
    /// It is left out.
    Dropped,
    /// It comes out with NULL for all that would have been found.
    Kept,
}

impl Output {
    /// Whether the query plan may have any number of rows.
    pub(crate) fn is_batch(self) -> bool {
        matches!(self, Output::PerQuery | Output::Joined(_))
    }
}

/// Where an output column comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum SearchColumn {
    /// The `row` of the query.
    QueryRow,
    /// A column of the query plan.
    Query(Column),
    /// 1 for the best.
    Rank,
    /// What the metric computes.
    Score,
    /// A column of the input, carried along.
    Input(Column),
    /// A field of the array that the input scans, fetched for the winners by `row`.
    Field(usize),
}

/// Ranks the rows of `input` by the distance of their vectors to those of `query`.
///
/// `query` has one column, the vectors as lists of numbers; for [`Output::PerQuery`] it has `row` before it, for
/// [`Output::Joined`] any columns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Search {
    pub(crate) input: LogicalPlan,
    pub(crate) query: LogicalPlan,
    /// The input's vectors.
    pub(crate) value: Column,
    /// The same as a field that is read by `row`, where the input may drop rows: the vectors of those are never read.
    /// The input may then lack the column.
    pub(crate) late_value: Option<usize>,
    /// The input's `row`, by which ties are broken.
    pub(crate) row: Option<Column>,
    pub(crate) k: Expr,
    pub(crate) order: Order,
    pub(crate) output: Output,
    /// Whether a query ranked by a metric may hold NaN and infinities.
    pub(crate) allow_nan: bool,
    pub(crate) columns: Vec<SearchColumn>,
    /// What the output is filtered by.
    pub(crate) conditions: Vec<Expr>,
    pub(super) schema: DFSchemaRef,
}

impl Search {
    /// A search whose columns are decided by what its input is.
    ///
    /// # Errors
    /// When `value` is no column of vectors, `k` is a number that is no count, or names would be ambiguous.
    pub(crate) fn try_new(
        input: LogicalPlan,
        query: LogicalPlan,
        value: Column,
        k: Expr,
        order: Order,
        output: Output,
    ) -> Result<Self> {
        check_literal_k(&k)?;
        let row = row_column(&input, &value);
        let row_origin = row.as_ref().and_then(|r| origin(&input, r));
        let late_value =
            if hands_on_all_rows(&input) { None } else { fetched_late(&input, &value, row_origin.as_ref()) };
        let of_input = |column: Column| match fetched_late(&input, &column, row_origin.as_ref()) {
            Some(field) => SearchColumn::Field(field),
            None => SearchColumn::Input(column),
        };
        let all = input.schema().iter().map(|(qualifier, field)| {
            let column = Column::new(qualifier.cloned(), field.name());
            ((qualifier.cloned(), Arc::clone(field)), of_input(column))
        });
        let mut columns: Vec<OutputColumn> = vec![];
        if output == Output::Rows {
            columns.extend(all);
        } else {
            let is_row = |c: &SearchColumn| matches!((c, &row), (SearchColumn::Input(c), Some(row)) if c == row);
            let generated = |name, data_type, nullable| (None, Arc::new(Field::new(name, data_type, nullable)));
            let (rows, others): (Vec<_>, Vec<_>) = all.map(|((_, f), c)| ((None, f), c)).partition(|(_, c)| is_row(c));
            if output == Output::PerQuery {
                columns.push((generated("query_row", DataType::Int64, false), SearchColumn::QueryRow));
            }
            columns.push((generated("rank", DataType::Int64, false), SearchColumn::Rank));
            columns.extend(rows);
            columns.push((generated("score", DataType::Float64, false), SearchColumn::Score));
            columns.extend(others);
            rename_clashing(&mut columns);
            refuse_ambiguous(&columns)?;
        }
        let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        Ok(Self {
            input,
            query,
            value,
            late_value,
            row,
            k,
            order,
            output,
            allow_nan: false,
            columns,
            conditions: vec![],
            schema,
        })
    }

    /// Whether all that comes out is found by `row`, so that ranking reads nothing but the vectors.
    pub(crate) fn is_fetched_by_row(&self) -> bool {
        self.row.as_ref().and_then(|row| origin(&self.input, row)).is_some()
            && self.columns.iter().all(|c| !matches!(c, SearchColumn::Input(c) if Some(c) != self.row.as_ref()))
    }

    /// The same search, of queries that may hold NaN and infinities or not.
    pub(crate) fn with_allow_nan(self, allow_nan: bool) -> Self {
        Self { allow_nan, ..self }
    }

    /// The node as a plan.
    pub(crate) fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    /// The same search without the carried columns that its input lacks.
    fn without_missing_columns(mut self) -> Result<Self> {
        let has = |c: &SearchColumn| match c {
            SearchColumn::Input(c) => self.input.schema().has_column(c),
            SearchColumn::Query(c) => self.query.schema().has_column(c),
            _ => true,
        };
        if self.columns.iter().all(has) {
            return Ok(self);
        }
        let kept = self.schema.iter().zip(&self.columns).filter(|(_, c)| has(c));
        let (fields, columns): (Vec<_>, Vec<_>) =
            kept.map(|((q, f), c)| ((q.cloned(), Arc::clone(f)), c.clone())).unzip();
        self.schema = Arc::new(DFSchema::new_with_metadata(fields, self.schema.metadata().clone())?);
        self.columns = columns;
        Ok(self)
    }
}

type OutputColumn = ((Option<TableReference>, Arc<Field>), SearchColumn);

/// The `row` that the vectors belong to: that of the scan they come from, or the only one.
fn row_column(input: &LogicalPlan, value: &Column) -> Option<Column> {
    let is_row = |f: &Field| f.name() == ROW && f.data_type() == &DataType::Int64;
    let schema = input.schema();
    let rows: Vec<Column> =
        schema.iter().filter(|(_, f)| is_row(f)).map(|(q, f)| Column::new(q.cloned(), f.name())).collect();
    let of_value = origin(input, value);
    let same = |row: &&Column| match (&of_value, origin(input, row)) {
        (Some(value), Some(row)) => value.same_scan(&row) && row.column == 0,
        _ => false,
    };
    match (rows.iter().find(same), rows.as_slice()) {
        (Some(row), _) => Some(row.clone()),
        (None, [row]) => Some(row.clone()),
        _ => None,
    }
}

/// The field that `column` is, if it can be found by `row`.
fn fetched_late(input: &LogicalPlan, column: &Column, row: Option<&Origin>) -> Option<usize> {
    let row = row.filter(|row| row.column == 0)?;
    let found = origin(input, column)?;
    if found.same_scan(row) { found.column.checked_sub(1) } else { None }
}

/// Whether a plan is a scan, perhaps of some rows only, with other names: its vectors are views already.
fn hands_on_all_rows(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::SubqueryAlias(a) => hands_on_all_rows(&a.input),
        LogicalPlan::Projection(p) => hands_on_all_rows(&p.input),
        _ => false,
    }
}

/// A field that has the name of a column which the search adds comes back as `score_1`, or the first such name that is
/// free.
fn rename_clashing(columns: &mut [OutputColumn]) {
    let is_added = |c: &SearchColumn| matches!(c, SearchColumn::QueryRow | SearchColumn::Rank | SearchColumn::Score);
    let added = columns.iter().filter(|(_, c)| is_added(c)).map(|((_, f), _)| f.name().clone());
    let added: Vec<String> = added.collect();
    let mut taken: HashSet<String> = columns.iter().map(|((_, f), _)| f.name().clone()).collect();
    for ((_, field), column) in columns {
        if is_added(column) || !added.contains(field.name()) {
            continue;
        }
        let names = (1_u64..).map(|n| format!("{}_{n}", field.name()));
        if let Some(name) = names.into_iter().find(|name| taken.insert(name.clone())) {
            *field = Arc::new(field.as_ref().clone().with_name(name));
        }
    }
}

fn refuse_ambiguous(columns: &[OutputColumn]) -> Result<()> {
    for (i, ((_, field), _)) in columns.iter().enumerate() {
        if columns.iter().take(i).any(|((_, earlier), _)| earlier.name() == field.name()) {
            return plan_err!(
                "the search would have two columns named {0:?}: give the array as a subquery that names them apart, \
                 as in (SELECT row, value, {0:?} AS other FROM …)",
                field.name()
            );
        }
    }
    Ok(())
}

/// The column of vectors to search: the one named, or the only one.
///
/// # Errors
/// When there is none, several, or the one named is none.
pub(crate) fn vector_column(plan: &LogicalPlan, name: Option<&str>, of: &str) -> Result<Column> {
    let is_vector = |f: &Field| element_type(f.data_type()).is_some();
    let schema = plan.schema();
    let found: Vec<(Column, &Arc<Field>)> = schema
        .iter()
        .filter(|(_, f)| match name {
            Some(name) => f.name() == name,
            None => is_vector(f),
        })
        .map(|(q, f)| (Column::new(q.cloned(), f.name()), f))
        .collect();
    let names = |only_vectors: bool| {
        let fields = schema.fields().iter().filter(|f| !only_vectors || is_vector(f));
        fields.map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ")
    };
    match (found.as_slice(), name) {
        ([(column, field)], _) if is_vector(field) => Ok(column.clone()),
        ([(column, field)], _) => {
            plan_err!(
                "{of}: field {:?} is {}, and vectors are needed: lists of numbers",
                column.name,
                field.data_type()
            )
        }
        ([], Some(name)) => plan_err!("{of} has no field {name:?}; its columns are {}", names(false)),
        ([], None) => plan_err!("{of} has no field of vectors (lists of numbers); its columns are {}", names(false)),
        (_, None) => plan_err!("{of} has several fields of vectors: {}; say which with field => '…'", names(true)),
        (_, Some(name)) => plan_err!("{of} has several columns named {name:?}"),
    }
}

/// Refuses a number that is no count, before anything runs; everything else is checked when it is known.
fn check_literal_k(k: &Expr) -> Result<()> {
    match k.clone().unalias() {
        Expr::Literal(value, _) => count_of(&value).map(|_| ()),
        Expr::Negative(_) => plan_err!("k must be at least 1, not {k}"),
        _ => Ok(()),
    }
}

/// A value as the number of rows to return.
///
/// # Errors
/// When it is NULL, less than 1 or no integer.
pub(crate) fn count_of(k: &ScalarValue) -> Result<usize> {
    if k.is_null() {
        return plan_err!("k must be at least 1, not NULL");
    }
    if !k.data_type().is_integer() {
        return plan_err!("k must be a whole number, at least 1, not {k} ({})", k.data_type());
    }
    match k.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(Some(n))) if n >= 1 => Ok(usize::try_from(n).unwrap_or(usize::MAX)),
        _ => plan_err!("k must be at least 1, not {k}"),
    }
}

impl PartialOrd for Search {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

/// A predicate without columns that was put over a plan, if that is all that was.
///
/// DataFusion pushes such a predicate, for example `random() < 0.5`, into every input of a node, whatever the node says
/// of its columns. Where it would mean something else below, the node takes it back.
pub(crate) fn pushed_condition<'a>(before: &LogicalPlan, after: &'a LogicalPlan) -> Option<&'a Expr> {
    match after {
        LogicalPlan::Filter(f) if f.predicate.column_refs().is_empty() && f.input.as_ref() == before => {
            Some(&f.predicate)
        }
        _ => None,
    }
}

impl UserDefinedLogicalNodeCore for Search {
    fn name(&self) -> &str {
        "Search"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input, &self.query]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        std::iter::once(self.k.clone()).chain(self.conditions.iter().cloned()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Search: {}, {}, k={}", self.value, self.order, self.k)?;
        if self.output == Output::PerQuery {
            f.write_str(", per query")?;
        }
        if let Output::Joined(outer) = self.output {
            f.write_str(outer.explained())?;
        }
        if self.late_value.is_some() {
            f.write_str(", read by row")?;
        }
        let late = self.schema.fields().iter().zip(&self.columns);
        let late: Vec<_> =
            late.filter(|(_, c)| matches!(c, SearchColumn::Field(_))).map(|(f, _)| f.name().as_str()).collect();
        if !late.is_empty() {
            write!(f, ", fetched by row=[{}]", late.join(", "))?;
        }
        if !self.conditions.is_empty() {
            let conditions: Vec<_> = self.conditions.iter().map(Expr::to_string).collect();
            write!(f, ", then filtered by [{}]", conditions.join(", "))?;
        }
        Ok(())
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Ok([input, query]), Some((k, conditions))) = (<[LogicalPlan; 2]>::try_from(inputs), exprs.split_first())
        else {
            return internal_err!("a search has two inputs and k");
        };
        check_literal_k(k)?;
        let mut node = Self { k: k.clone(), conditions: conditions.to_vec(), ..self.clone() };
        // Below a search a pushed condition means something else.
        match (pushed_condition(&self.input, &input), pushed_condition(&self.query, &query)) {
            (Some(a), Some(b)) if a == b => node.conditions.push(a.clone()),
            _ => (node.input, node.query) = (input, query),
        }
        node.without_missing_columns()
    }

    fn necessary_children_exprs(&self, output: &[usize]) -> Option<Vec<Vec<usize>>> {
        let schema = self.input.schema();
        let carried = output.iter().filter_map(|&i| match self.columns.get(i) {
            Some(SearchColumn::Input(c)) => Some(c),
            _ => None,
        });
        let value = Some(&self.value).filter(|_| self.late_value.is_none());
        let needed = carried.chain(&self.row).chain(value);
        let mut needed: Vec<usize> = needed.map(|c| schema.index_of_column(c)).collect::<Result<_>>().ok()?;
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed, self.necessary_of_query(output)?])
    }
}
