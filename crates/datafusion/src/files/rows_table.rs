//! The rows of a query as a table that keeps their order.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableType};
use datafusion::physical_plan::ExecutionPlan;

/// A query as a table. Unlike a view, whose ORDER BY the planner takes out of FROM, its rows come in their order.
#[derive(Debug)]
pub struct RowsTable {
    plan: LogicalPlan,
}

impl RowsTable {
    /// A table of the rows of a query, such as [`as_fields`](fn@super::as_fields) gives.
    pub fn new(frame: DataFrame) -> Self {
        Self { plan: frame.into_parts().1 }
    }
}

#[async_trait]
impl TableProvider for RowsTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.plan.schema().inner())
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut plan = LogicalPlanBuilder::from(self.plan.clone());
        if let Some(columns) = projection.filter(|columns| !columns.iter().copied().eq(0..self.schema().fields().len()))
        {
            let columns = columns.iter().map(|&i| Expr::from(self.plan.schema().qualified_field(i)));
            plan = plan.project(columns.collect::<Vec<_>>())?;
        }
        if limit.is_some() {
            plan = plan.limit(0, limit)?;
        }
        state.create_physical_plan(&plan.build()?).await
    }
}
