//! DELETE, UPDATE, MERGE and TRUNCATE of arrays are refused here, before anything is planned from them.
//!
//! DataFusion would hand the table provider a list of filters, and loses some on the way: `DELETE … WHERE row IN
//! (SELECT …)` arrives with none at all, which means every row.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, not_impl_err};
use datafusion::config::ConfigOptions;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{LogicalPlan, WriteOp};
use datafusion::optimizer::AnalyzerRule;

use crate::ArrayTable;

/// The rule.
#[derive(Debug)]
pub(crate) struct RefuseDml;

impl AnalyzerRule for RefuseDml {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::Dml(dml) = node
                && !matches!(dml.op, WriteOp::Insert(_) | WriteOp::Ctas)
                && source_as_provider(&dml.target).is_ok_and(|t| t.downcast_ref::<ArrayTable>().is_some())
            {
                return not_impl_err!("{} is not supported for arrays yet: {}", dml.op.name(), dml.table_name);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(plan)
    }

    fn name(&self) -> &str {
        "refuse_array_dml"
    }
}
