//! Row order as a stated contract of everything that writes rows: what the query orders stays ordered, and what it
//! does not order keeps the order of its source.
//!
//! A sink that merely asks for one partition gets its rows shuffled (`CoalescePartitionsExec` takes batches as they
//! come). So every sink reads through [`InOrderExec`]: where the input declares an order, that order is required,
//! which makes the planner merge instead of coalesce; where it declares none, partitions are read one after the
//! other, and [`RowOrder`] removes what would have dealt the rows out among partitions before; text files are cut into
//! ranges then, so that several threads parse them.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, OrderingRequirements, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::common::spawn_buffered;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements,
    Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};

use super::text_ranges;

/// The rows of `input` in their order, its first `visible` columns only: the others are sort keys that were kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct InOrder {
    input: LogicalPlan,
    visible: usize,
    schema: DFSchemaRef,
}

impl PartialOrd for InOrder {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.input.partial_cmp(&other.input)
    }
}

impl InOrder {
    /// Puts the contract above a plan. The keys of an ORDER BY that the plan's projection leaves out are kept below.
    pub(crate) fn plan(input: LogicalPlan) -> Result<LogicalPlan> {
        let visible = input.schema().fields().len();
        let input = keep_sort_keys(input)?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(Self::try_new(input, visible)?) }))
    }

    fn try_new(input: LogicalPlan, visible: usize) -> Result<Self> {
        let columns = input.schema().iter().take(visible).map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        let schema = DFSchema::new_with_metadata(columns, input.schema().metadata().clone())?;
        Ok(Self { input, visible, schema: Arc::new(schema) })
    }

    pub(crate) fn visible(&self) -> usize {
        self.visible
    }
}

impl UserDefinedLogicalNodeCore for InOrder {
    fn name(&self) -> &str {
        "InOrder"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InOrder")
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match <[LogicalPlan; 1]>::try_from(inputs) {
            Ok([input]) => Self::try_new(input, self.visible),
            Err(_) => internal_err!("InOrder has one input"),
        }
    }
}

/// `Projection(a) over Sort(b)` loses the order when `b` is not in `a`: append `b` to the projections above the sort.
fn keep_sort_keys(plan: LogicalPlan) -> Result<LogicalPlan> {
    sorted(plan).map(|(plan, _)| plan)
}

/// The plan with the columns by which it is sorted in its output, and those columns; none when it is not sorted.
fn sorted(plan: LogicalPlan) -> Result<(LogicalPlan, Vec<Column>)> {
    match plan {
        LogicalPlan::Sort(sort) => {
            let mut keys: Vec<Column> = Vec::new();
            for column in sort.expr.iter().flat_map(|key| key.expr.column_refs()) {
                if !keys.contains(column) {
                    keys.push(column.clone());
                }
            }
            Ok((LogicalPlan::Sort(sort), keys))
        }
        LogicalPlan::Limit(mut limit) => {
            let (input, keys) = sorted(Arc::unwrap_or_clone(limit.input))?;
            limit.input = Arc::new(input);
            Ok((LogicalPlan::Limit(limit), keys))
        }
        LogicalPlan::Projection(p) => {
            let (input, keys) = sorted(p.input.as_ref().clone())?;
            if keys.is_empty() {
                return Ok((LogicalPlan::Projection(p), keys));
            }
            let mut exprs = p.expr.clone();
            let mut kept = Vec::new();
            for key in keys {
                let found = exprs.iter().find(|e| matches!((*e).clone().unalias(), Expr::Column(c) if c == key));
                match found {
                    Some(e) => kept.push({
                        let (q, n) = e.qualified_name();
                        Column::new(q, n)
                    }),
                    None => {
                        let name = format!("__order_{}", kept.len());
                        exprs.push(Expr::Column(key).alias(&name));
                        kept.push(Column::from_name(name));
                    }
                }
            }
            Ok((LogicalPlanBuilder::from(input).project(exprs)?.build()?, kept))
        }
        other => Ok((other, vec![])),
    }
}

/// Executes [`InOrder`]: one partition, the input's rows in order.
#[derive(Debug, Clone)]
pub(crate) struct InOrderExec {
    input: Arc<dyn ExecutionPlan>,
    ordering: Option<LexOrdering>,
    visible: usize,
    properties: Arc<PlanProperties>,
}

impl InOrderExec {
    /// Reads `input` in the order that it declares now, else partition after partition.
    pub(crate) fn try_new(input: Arc<dyn ExecutionPlan>, visible: usize) -> Result<Self> {
        let ordering = input.output_ordering().cloned();
        Self::with_ordering(input, visible, ordering)
    }

    fn with_ordering(input: Arc<dyn ExecutionPlan>, visible: usize, ordering: Option<LexOrdering>) -> Result<Self> {
        let schema: SchemaRef = if input.schema().fields().len() == visible {
            input.schema()
        } else {
            Arc::new(input.schema().project(&(0..visible).collect::<Vec<_>>())?)
        };
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Ok(Self { input, ordering, visible, properties })
    }
}

impl DisplayAs for InOrderExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ordering {
            Some(o) => write!(f, "InOrderExec: [{o}]"),
            None => write!(f, "InOrderExec: partition after partition"),
        }
    }
}

impl ExecutionPlan for InOrderExec {
    fn name(&self) -> &str {
        "InOrderExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![match self.ordering {
            Some(_) => Distribution::SinglePartition,
            None => Distribution::UnspecifiedDistribution,
        }])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![self.ordering.clone().map(OrderingRequirements::from)]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match <[Arc<dyn ExecutionPlan>; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self::with_ordering(input, self.visible, self.ordering.clone())?)),
            Err(_) => internal_err!("InOrderExec has one input"),
        }
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = Arc::clone(&self.input);
        let partitions = input.output_partitioning().partition_count();
        let columns: Option<Vec<usize>> =
            (input.schema().fields().len() != self.visible).then(|| (0..self.visible).collect());
        let batches = if waits_for_all(&input)? {
            let streams = (0..partitions).map(|p| Ok(spawn_buffered(input.execute(p, Arc::clone(&context))?, 2)));
            futures::stream::iter(streams.collect::<Result<Vec<_>>>()?).flatten().boxed()
        } else if partitions > 1 && text_ranges::is_cut(&input) {
            // One more than can be parsed at a time, for the next thread that has nothing to do.
            let ahead = context.session_config().target_partitions() + 1;
            // A range is begun when it is made: `buffered` polls the first of them only.
            let streams = futures::stream::iter(0..partitions).map(move |p| {
                let range = input.execute(p, Arc::clone(&context));
                std::future::ready(range.map(|range| spawn_buffered(range, text_ranges::BATCHES)))
            });
            streams.buffered(ahead).try_flatten().boxed()
        } else {
            // A partition starts when the one before has ended: scans of files hand their work to whoever asks first.
            let streams = futures::stream::iter(0..partitions).map(move |p| {
                input.execute(p, Arc::clone(&context)).unwrap_or_else(|e| {
                    let failed = futures::stream::once(async move { Err(e) });
                    Box::pin(RecordBatchStreamAdapter::new(input.schema(), failed))
                })
            });
            streams.flatten().boxed()
        };
        let batches = batches.map(move |batch| match &columns {
            Some(columns) => Ok(batch?.project(columns)?),
            None => batch,
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

/// Whether a partition of a plan gives no row before every other one was started too: a hash join of partitions probes
/// none before each has read its build side, so reading them one by one would wait for ever.
fn waits_for_all(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    plan.exists(|node| {
        let join = node.downcast_ref::<HashJoinExec>();
        Ok(join.is_some_and(|j| *j.partition_mode() == PartitionMode::Partitioned))
    })
}

/// Below an [`InOrderExec`] that reads partition after partition, nothing may deal rows out or take them as they come:
/// round-robin repartitioning goes, and coalescing becomes reading in sequence. Where rows are hashed among partitions
/// (a hash join, an aggregation) there is no order to keep, and the plan stays.
#[derive(Debug)]
pub(crate) struct RowOrder;

impl PhysicalOptimizerRule for RowOrder {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_down(|node| match node.downcast_ref::<InOrderExec>() {
            Some(sink) if sink.ordering.is_none() => {
                let input = in_sequence(Arc::clone(&sink.input))?;
                let sink = InOrderExec::with_ordering(input, sink.visible, None)?;
                Ok(Transformed::new(Arc::new(sink) as Arc<dyn ExecutionPlan>, true, TreeNodeRecursion::Jump))
            }
            _ => Ok(Transformed::no(node)),
        });
        plan.map(|t| t.data)
    }

    fn name(&self) -> &str {
        "row_order"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn in_sequence(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let mut hashed = false;
    plan.apply(|node| {
        hashed |= node
            .downcast_ref::<RepartitionExec>()
            .is_some_and(|r| !matches!(r.partitioning(), Partitioning::RoundRobinBatch(_)));
        Ok(TreeNodeRecursion::Continue)
    })?;
    if hashed {
        // Reading hashed partitions one by one would hold the others back in memory.
        return Ok(match plan.output_partitioning().partition_count() {
            1 => plan,
            _ => Arc::new(CoalescePartitionsExec::new(plan)),
        });
    }
    let plan = plan.transform_up(|node| {
        if let Some(r) = node.downcast_ref::<RepartitionExec>() {
            return Ok(Transformed::yes(Arc::clone(r.input())));
        }
        if let Some(c) = node.downcast_ref::<CoalescePartitionsExec>() {
            let visible = c.schema().fields().len();
            let rows =
                Arc::new(InOrderExec::with_ordering(with_text_in_ranges(Arc::clone(c.input()))?, visible, None)?);
            return Ok(Transformed::yes(match c.fetch() {
                Some(n) => Arc::new(GlobalLimitExec::new(rows, 0, Some(n))),
                None => rows,
            }));
        }
        Ok(Transformed::no(node))
    });
    with_text_in_ranges(plan?.data)
}

fn with_text_in_ranges(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    Ok(text_ranges::cut(&plan)?.unwrap_or(plan))
}
