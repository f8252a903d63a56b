//! From the logical to the physical search.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result, internal_err, plan_err};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::exec::{ExecColumn, Parts, SearchExec, VectorsFrom};
use super::indexed::Sketched;
use super::lineage::origin;
use super::logical::{Search, SearchColumn};
use super::query::QueryVector;

/// Plans [`Search`] nodes and their [`QueryVector`]s.
#[derive(Debug, Default)]
pub(crate) struct SearchPlanner;

#[async_trait]
impl ExtensionPlanner for SearchPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(query) = node.as_any().downcast_ref::<QueryVector>() {
            return query.physical(planner, session, context).await.map(Some);
        }
        let Some(search) = node.as_any().downcast_ref::<Search>() else { return Ok(None) };
        let [input, query] = inputs else { return internal_err!("a search has two inputs") };
        let k = search.k.clone().unalias();
        if let Expr::Placeholder(parameter) = &k {
            return plan_err!("parameter {} (k) has no value", parameter.id);
        }
        let k = planner.create_physical_expr(&k, &DFSchema::empty(), session, context)?;
        let schema = search.input.schema();
        let index = |c| schema.index_of_column(c);
        let columns = search.columns.iter().map(|column| {
            Ok(match column {
                SearchColumn::QueryRow => ExecColumn::QueryRow,
                SearchColumn::Query(c) => ExecColumn::Query(search.query.schema().index_of_column(c)?),
                SearchColumn::Rank => ExecColumn::Rank,
                SearchColumn::Score => ExecColumn::Score,
                SearchColumn::Input(c) => ExecColumn::Input(index(c)?),
                SearchColumn::Field(f) => ExecColumn::Field(*f),
            })
        });
        let row = search.row.as_ref();
        let source = row.and_then(|row| origin(&search.input, row)).filter(|o| o.column == 0);
        let source = source.and_then(|o| o.table().map(|t| Arc::clone(t.source())));
        let is_found = source.is_some();
        let mut plan: Arc<dyn ExecutionPlan> = Arc::new(SearchExec::new(Parts {
            input: Arc::clone(input),
            query: Arc::clone(query),
            value: match search.late_value {
                Some(field) if is_found => VectorsFrom::Field(field, search.value.name.clone()),
                _ => VectorsFrom::Input(index(&search.value)?),
            },
            row: row.map(index).transpose()?,
            columns: columns.collect::<Result<_>>()?,
            source,
            k,
            order: search.order,
            output: search.output,
            allow_nan: search.allow_nan,
            index: Sketched::of(search),
            schema: Arc::clone(node.schema().inner()),
        }));
        for condition in &search.conditions {
            let condition = planner.create_physical_expr(condition, node.schema(), session, context)?;
            plan = Arc::new(FilterExec::try_new(condition, plan)?);
        }
        Ok(Some(plan))
    }
}
