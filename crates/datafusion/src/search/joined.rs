//! A search for each row of another plan, whose columns come out beside what is found.

use std::sync::Arc;

use datafusion::arrow::datatypes::Field;
use datafusion::common::{Column, DFSchema, Result, TableReference};
use datafusion::logical_expr::LogicalPlan;

use super::logical::{Outer, Output, Search, SearchColumn};
use crate::table::ROW;

/// Qualifies the columns found that no table qualifies, until the join's own names are put over them.
const FOUND: &str = "__found";

/// The search that a plan is.
pub(crate) fn search_of(plan: &LogicalPlan) -> Option<&Search> {
    match plan {
        LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
        _ => None,
    }
}

impl Outer {
    /// How EXPLAIN says it.
    pub(super) fn explained(self) -> &'static str {
        match self {
            Outer::Dropped => ", joined to its queries",
            Outer::Kept => ", left joined to its queries",
        }
    }
}

impl Search {
    /// The same search for each row of `query`, whose columns come first, all but the last, which is the vectors.
    ///
    /// # Errors
    /// Names that would be ambiguous.
    pub(crate) fn joined(self, query: LogicalPlan, outer: Outer) -> Result<Self> {
        let of_query = query.schema().iter().take(query.schema().fields().len() - 1).map(|(qualifier, field)| {
            let column = Column::new(qualifier.cloned(), field.name());
            ((qualifier.cloned(), Arc::clone(field)), SearchColumn::Query(column))
        });
        let found = self.schema.iter().zip(&self.columns).map(|((qualifier, field), column)| {
            let qualifier = qualifier.cloned().unwrap_or_else(|| TableReference::bare(FOUND));
            let field = match outer {
                Outer::Kept => Arc::new(Field::clone(field).with_nullable(true)),
                Outer::Dropped => Arc::clone(field),
            };
            ((Some(qualifier), field), column.clone())
        });
        let (fields, columns): (Vec<_>, Vec<_>) = of_query.chain(found).unzip();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        Ok(Self { query, output: Output::Joined(outer), columns, schema, ..self })
    }

    /// Whether a column of a joined search is one of its queries'.
    pub(crate) fn is_of_query(&self, column: &Column) -> bool {
        let index = self.schema.maybe_index_of_column(column);
        let from = index.and_then(|i| self.columns.get(i));
        matches!((from, self.output), (Some(SearchColumn::Query(c)), Output::Joined(_)) if c == column)
    }

    /// The same search for the rows of another plan with the same columns.
    pub(crate) fn with_query(self, query: LogicalPlan) -> Self {
        Self { query, ..self }
    }

    /// The columns of the query plan that the given output columns need: the vectors, and of a join what comes out and
    /// the `row` that messages name a query by.
    pub(super) fn necessary_of_query(&self, output: &[usize]) -> Option<Vec<usize>> {
        let schema = self.query.schema();
        let last = schema.fields().len().checked_sub(1)?;
        if !matches!(self.output, Output::Joined(_)) {
            return Some((0..=last).collect());
        }
        let of_query = output.iter().filter_map(|&i| match self.columns.get(i) {
            Some(SearchColumn::Query(column)) => Some(schema.index_of_column(column)),
            _ => None,
        });
        let mut needed: Vec<usize> = of_query.collect::<Result<_>>().ok()?;
        needed.extend((0..last).filter(|&i| schema.field(i).name() == ROW));
        needed.push(last);
        needed.sort_unstable();
        needed.dedup();
        Some(needed)
    }
}
