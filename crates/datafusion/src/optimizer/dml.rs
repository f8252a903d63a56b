//! Changes of arrays that DataFusion's planner planned, in contexts that a store is registered on.
//!
//! INSERT becomes the [write node](crate::write), so that values are checked and rows keep their order.
//! DELETE, UPDATE, MERGE and TRUNCATE are refused here, before anything is planned from them: DataFusion would hand the
//! table provider a list of filters, and loses some on the way: `DELETE … WHERE row IN (SELECT …)` arrives with none at
//! all, which means every row.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result, not_impl_err, plan_datafusion_err};
use datafusion::config::ConfigOptions;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder, Projection, Values, WriteOp};
use datafusion::optimizer::AnalyzerRule;
use hyperslab_core::FieldSpec;

use crate::ArrayTable;
use crate::table::Origin;
use crate::write::{ArrayWrite, Report, WriteTarget};

/// The rule.
#[derive(Debug)]
pub(crate) struct ArrayDml;

impl AnalyzerRule for ArrayDml {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_down(|node| match &node {
            LogicalPlan::Dml(dml) => match rewrite(dml)? {
                Some(write) => Ok(Transformed::yes(write)),
                None => Ok(Transformed::no(node)),
            },
            _ => Ok(Transformed::no(node)),
        });
        rewritten.map(|t| t.data)
    }

    fn name(&self) -> &str {
        "array_dml"
    }
}

fn rewrite(dml: &DmlStatement) -> Result<Option<LogicalPlan>> {
    let provider = source_as_provider(&dml.target).ok();
    let Some(table) = provider.as_ref().and_then(|p| p.downcast_ref::<ArrayTable>()) else { return Ok(None) };
    match (&dml.op, table.origin()) {
        (WriteOp::Insert(InsertOp::Append), Origin::Store { store, array, explicit: false }) => {
            let target = WriteTarget::append(store, array, Report::Count);
            let input = fields_of(&dml.input, &target.fields)?;
            ArrayWrite::plan(target, input).map(Some)
        }
        (op, _) => not_impl_err!("{} is not supported for arrays yet: {}", op.name(), dml.table_name),
    }
}

/// The array's fields from the input of an INSERT, which has the table's columns, `row` among them. The planner's
/// silent casts to the table's types are taken off: the write node's are checked.
fn fields_of(input: &LogicalPlan, fields: &[FieldSpec]) -> Result<LogicalPlan> {
    let missing = |f: &FieldSpec| plan_datafusion_err!("INSERT: there is no column for the field {:?}", f.name());
    let LogicalPlan::Projection(Projection { expr, input: source, .. }) = input else {
        let columns = fields.iter().map(|f| Expr::Column(Column::from_name(f.name())));
        return LogicalPlanBuilder::from(input.clone()).project(columns)?.build();
    };
    let exprs = fields.iter().map(|field| {
        let at = input.schema().index_of_column_by_name(None, field.name()).ok_or_else(|| missing(field))?;
        let value = expr.get(at).cloned().ok_or_else(|| missing(field))?.unalias();
        Ok(without_cast(value).alias(field.name()))
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    let source = match source.as_ref() {
        LogicalPlan::Values(Values { values, .. }) => {
            let rows = values.iter().map(|row| row.iter().cloned().map(without_cast).collect()).collect();
            LogicalPlanBuilder::values(rows)?
        }
        other => LogicalPlanBuilder::from(other.clone()),
    };
    source.project(exprs)?.build()
}

fn without_cast(value: Expr) -> Expr {
    match value {
        Expr::Cast(cast) => *cast.expr,
        other => other,
    }
}
