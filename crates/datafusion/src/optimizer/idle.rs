//! Rules that have nothing to do in a plan are not run on it.
//!
//! DataFusion calls every rule on every node of a plan, in several passes. For a statement that searches one array that
//! takes as long as all the rest, though most of the rules are about joins, aggregates and sorts. Here each of them is
//! told what it is about, and what runs is what it was: its name, its order, its effect. A rule that is not listed runs
//! always.

use std::sync::Arc;

use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion, TreeNodeRewriter};
use datafusion::common::{DFSchemaRef, DataFusionError, Result};
use datafusion::config::ConfigOptions;
use datafusion::datasource::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{AnalyzerRule, OptimizerConfig, OptimizerRule};
use datafusion::physical_expr::Distribution;
use datafusion::physical_optimizer::{PhysicalOptimizerContext, PhysicalOptimizerRule};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// Kinds of nodes and expressions, as bits.
type Kinds = u16;

const JOIN: Kinds = 1;
const UNION: Kinds = 1 << 1;
const DISTINCT: Kinds = 1 << 2;
const AGGREGATE: Kinds = 1 << 3;
const FILTER: Kinds = 1 << 4;
const LIMIT: Kinds = 1 << 5;
const SORT: Kinds = 1 << 6;
const EMPTY: Kinds = 1 << 7;
const FUNCTION: Kinds = 1 << 8;
/// Expressions that are more than a column or a literal, functions too.
const COMPUTED: Kinds = 1 << 10;
/// Other nodes than scans, projections, filters and our own.
const OTHER: Kinds = 1 << 9;
/// A plan inside an expression, or one that refers to another: whatever there is may be in it.
const SUBQUERY: Kinds = Kinds::MAX;

/// DataFusion's logical rules that are about some kinds of nodes alone: one of these has to be there.
const LOGICAL: [(&str, Kinds); 24] = [
    ("simplify_expressions", COMPUTED),
    ("common_sub_expression_eliminate", COMPUTED),
    ("optimize_unions", UNION),
    ("unions_to_filter", UNION),
    ("replace_distinct_aggregate", DISTINCT),
    ("eliminate_join", JOIN),
    ("decorrelate_lateral_join", JOIN),
    ("extract_equijoin_predicate", JOIN),
    ("eliminate_duplicated_expr", SORT | AGGREGATE),
    ("eliminate_filter", FILTER),
    ("eliminate_cross_join", JOIN),
    ("eliminate_limit", LIMIT),
    ("propagate_empty_relation", EMPTY),
    ("filter_null_join_keys", JOIN),
    ("eliminate_outer_join", JOIN),
    ("push_down_limit", LIMIT),
    ("push_down_filter", FILTER | JOIN),
    ("single_distinct_aggregation_to_group_by", AGGREGATE),
    ("eliminate_group_by_constant", AGGREGATE),
    ("extract_leaf_expressions", FUNCTION),
    ("push_down_leaf_projections", FUNCTION),
    // About subqueries, which are all kinds.
    ("rewrite_set_comparison", 0),
    ("decorrelate_predicate_subquery", 0),
    ("scalar_subquery_to_join", 0),
];

/// DataFusion's rules of analysis, likewise.
const ANALYSIS: [(&str, Kinds); 2] = [
    ("resolve_grouping_function", AGGREGATE),
    // Conditions, numbers of rows, both sides of a join or union, arguments: whatever has a type that is asked for.
    ("type_coercion", Kinds::MAX),
];

/// DataFusion's physical rules that change nothing in a plan of [plain](is_plain) nodes.
const NOT_PLAIN: [&str; 15] = [
    "OutputRequirements",
    "aggregate_statistics",
    "join_selection",
    "LimitedDistinctAggregation",
    "FilterPushdown",
    "FilterPushdown(Post)",
    "WindowTopN",
    "CombinePartialFinalAggregate",
    "OptimizeAggregateOrder",
    "LimitAggregation",
    "LimitPushPastWindows",
    "HashJoinBuffering",
    "LimitPushdown",
    "TopKRepartition",
    "PushdownSort",
];

/// Decides on exchanges and sorts: it has nothing to do when no plain node asks for any.
const REQUIREMENTS: &str = "EnsureRequirements";

/// Nodes that neither sort, filter, join, aggregate nor end early, and ask for nothing of the kind; and rows in memory.
const PLAIN: [&str; 5] = ["ArrayScanExec", "CooperativeExec", "PlaceholderRowExec", "ProjectionExec", "SearchExec"];

fn is_plain(node: &Arc<dyn ExecutionPlan>) -> bool {
    // A scan of files is dealt out to the threads by a rule.
    let is_memory = |scan: &DataSourceExec| scan.data_source().is::<MemorySourceConfig>();
    PLAIN.contains(&node.name()) || node.downcast_ref().is_some_and(is_memory)
}

/// Has the rules that a session starts with told what they are about.
pub(crate) fn skip_idle(builder: &mut SessionStateBuilder) {
    for rule in &mut builder.optimizer().get_or_insert_default().rules {
        if let Some((_, about)) = LOGICAL.iter().find(|(name, _)| *name == rule.name()) {
            *rule = Arc::new(LogicalRule { rule: Arc::clone(rule), about: *about });
        }
    }
    for rule in &mut builder.analyzer().get_or_insert_default().rules {
        if let Some((_, about)) = ANALYSIS.iter().find(|(name, _)| *name == rule.name()) {
            *rule = Arc::new(Analysis { rule: Arc::clone(rule), about: *about });
        }
    }
    for rule in &mut builder.physical_optimizers().get_or_insert_default().rules {
        if NOT_PLAIN.contains(&rule.name()) || rule.name() == REQUIREMENTS {
            *rule = Arc::new(PhysicalRule { rule: Arc::clone(rule) });
        }
    }
}

/// Whether one pass of the rules leaves nothing to a second one: that of a chain of searches, filters and projections
/// over arrays. (What ends early or calls a distance may become a search, in the last rule of the pass.)
pub(crate) fn one_pass_will_do(plan: &LogicalPlan) -> Result<bool> {
    Ok(kinds(plan)? & !(FILTER | COMPUTED) == 0)
}

#[derive(Debug)]
struct LogicalRule {
    rule: Arc<dyn OptimizerRule + Send + Sync>,
    about: Kinds,
}

impl OptimizerRule for LogicalRule {
    fn name(&self) -> &str {
        self.rule.name()
    }

    /// The plan is looked at as a whole first.
    fn apply_order(&self) -> Option<ApplyOrder> {
        None
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let kinds = kinds(&plan)?;
        if kinds != SUBQUERY && kinds & self.about == 0 {
            return Ok(Transformed::no(plan));
        }
        match self.rule.apply_order() {
            None => self.rule.rewrite(plan, config),
            Some(order) => {
                plan.rewrite_with_subqueries(&mut EachNode { rule: &*self.rule, order, config, open: vec![] })
            }
        }
    }
}

#[derive(Debug)]
struct Analysis {
    rule: Arc<dyn AnalyzerRule + Send + Sync>,
    about: Kinds,
}

impl AnalyzerRule for Analysis {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        // This setting changes the types of columns, too.
        let is_needed = config.optimizer.expand_views_at_output || kinds(&plan)? & self.about != 0;
        if is_needed { self.rule.analyze(plan, config) } else { Ok(plan) }
    }

    fn name(&self) -> &str {
        self.rule.name()
    }
}

/// What is in a plan.
fn kinds(plan: &LogicalPlan) -> Result<Kinds> {
    let mut found = 0;
    plan.apply(|node| {
        found |= match node {
            LogicalPlan::Join(_) => JOIN,
            LogicalPlan::Union(_) => UNION,
            LogicalPlan::Distinct(_) => DISTINCT,
            LogicalPlan::Aggregate(_) => AGGREGATE,
            LogicalPlan::Filter(_) => FILTER,
            LogicalPlan::Limit(_) => LIMIT,
            LogicalPlan::Sort(_) => SORT,
            LogicalPlan::EmptyRelation(_) => EMPTY,
            LogicalPlan::Subquery(_) => SUBQUERY,
            LogicalPlan::Projection(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::TableScan(_)
            | LogicalPlan::Extension(_) => 0,
            _ => OTHER,
        };
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                found |= match e {
                    Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_) => {
                        SUBQUERY
                    }
                    Expr::ScalarFunction(_) => FUNCTION | COMPUTED,
                    Expr::Column(_) | Expr::Literal(..) | Expr::Alias(_) => 0,
                    _ => COMPUTED,
                };
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(if found == SUBQUERY { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// Calls a rule on each node, as the optimizer would.
struct EachNode<'a> {
    rule: &'a dyn OptimizerRule,
    order: ApplyOrder,
    config: &'a dyn OptimizerConfig,
    /// Of the nodes that are entered and not left: whether an input has another schema than before, and their own before.
    open: Vec<(bool, DFSchemaRef)>,
}

impl TreeNodeRewriter for EachNode<'_> {
    type Node = LogicalPlan;

    fn f_down(&mut self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        self.open.push((false, Arc::clone(node.schema())));
        match self.order {
            ApplyOrder::TopDown => self.rule.rewrite(node, self.config),
            ApplyOrder::BottomUp => Ok(Transformed::no(node)),
        }
    }

    fn f_up(&mut self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let (is_stale, before) = self.open.pop().unwrap_or_else(|| (false, Arc::clone(node.schema())));
        let node = if is_stale { Transformed::yes(node.recompute_schema()?) } else { Transformed::no(node) };
        let node = match self.order {
            ApplyOrder::TopDown => node,
            ApplyOrder::BottomUp => node.transform_data(|node| self.rule.rewrite(node, self.config))?,
        };
        let after = node.data.schema();
        if !Arc::ptr_eq(&before, after)
            && before != *after
            && let Some((is_stale, _)) = self.open.last_mut()
        {
            *is_stale = true;
        }
        Ok(node)
    }
}

#[derive(Debug)]
struct PhysicalRule {
    rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>,
}

impl PhysicalRule {
    fn is_needed(&self, plan: &Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<bool> {
        let batch = (self.rule.name() == REQUIREMENTS).then(|| config.execution.batch_size.get());
        plan.exists(|node| match batch {
            _ if !is_plain(node) => Ok(true),
            Some(batch) => asks_for_more(node, batch),
            None => Ok(false),
        })
    }
}

impl PhysicalOptimizerRule for PhysicalRule {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        if self.is_needed(&plan, config)? { self.rule.optimize(plan, config) } else { Ok(plan) }
    }

    fn optimize_with_context(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: &dyn PhysicalOptimizerContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match self.is_needed(&plan, context.config_options())? {
            true => self.rule.optimize_with_context(plan, context),
            false => Ok(plan),
        }
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

/// Whether a node asks its inputs for an order, or for partitions that they do not have, or would gain from more of them:
/// of an input of more rows than a batch.
fn asks_for_more(node: &Arc<dyn ExecutionPlan>, batch: usize) -> Result<bool> {
    if node.required_input_ordering().iter().any(Option::is_some) {
        return Ok(true);
    }
    let gains = node.benefits_from_input_partitioning();
    let asked = node.input_distribution_requirements().into_per_child();
    for ((input, asked), gains) in node.children().into_iter().zip(asked).zip(gains) {
        let is_met = match asked {
            Distribution::UnspecifiedDistribution => true,
            Distribution::SinglePartition => input.output_partitioning().partition_count() == 1,
            _ => false,
        };
        let is_small = || {
            let statistics = StatisticsContext::new().compute(input.as_ref(), &StatisticsArgs::new())?;
            Ok::<_, DataFusionError>(matches!(statistics.num_rows, Precision::Exact(rows) if rows <= batch))
        };
        if !is_met || gains && !is_small()? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
