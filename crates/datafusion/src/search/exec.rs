//! The physical search.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, new_empty_array};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, ScalarValue, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements, Partitioning,
    PlanProperties,
};
use hyperslab_core::ArraySource;

use super::indexed::{self, Sketched};
use super::logical::{Order, Output, count_of};
use super::stream;
use crate::error::to_datafusion;

/// Where an output column comes from, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExecColumn {
    QueryRow,
    /// A column of the query plan.
    Query(usize),
    Rank,
    Score,
    /// A column of the input.
    Input(usize),
    /// A field of the source.
    Field(usize),
}

/// Where the vectors come from.
#[derive(Debug, Clone)]
pub(super) enum VectorsFrom {
    /// A column of the input.
    Input(usize),
    /// A field of the source and its name: the vectors of the input's rows are read by `row`.
    Field(usize, String),
}

/// What a search is made of.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub(super) input: Arc<dyn ExecutionPlan>,
    pub(super) query: Arc<dyn ExecutionPlan>,
    pub(super) value: VectorsFrom,
    /// The input's `row`.
    pub(super) row: Option<usize>,
    pub(super) columns: Vec<ExecColumn>,
    /// The array whose rows the input's `row` are, where that is known.
    pub(super) source: Option<Arc<dyn ArraySource>>,
    pub(super) k: Arc<dyn PhysicalExpr>,
    pub(super) order: Order,
    pub(super) output: Output,
    /// Whether a query ranked by a metric may hold NaN and infinities.
    pub(super) allow_nan: bool,
    pub(super) index: Option<Sketched>,
    pub(super) schema: SchemaRef,
}

impl Parts {
    /// None of the vectors, for what is told by their type.
    pub(super) fn no_vectors(&self) -> Result<ArrayRef> {
        match (&self.value, &self.source) {
            (VectorsFrom::Input(column), _) => Ok(new_empty_array(self.input.schema().field(*column).data_type())),
            (VectorsFrom::Field(field, _), Some(source)) => Ok(source.take(*field, &[]).map_err(to_datafusion)?.array),
            (VectorsFrom::Field(..), None) => internal_err!("the searched array is lost"),
        }
    }
}

/// Ranks the rows of its input, each partition in a task of its own, and fetches what ranking did not need for the
/// winners. The metrics tell `rows_ranked`, how many of their distances to the queries were computed
/// (`distances_computed`) and how many a bound made needless (`distances_ruled_out`), `ranking_time` (of all partitions
/// together), `rows_fetched` and `bytes_fetched`; and, where the vectors are read by `row`, how many bytes of them were
/// read in place (`bytes_mapped`) and how many copied or unpacked (`bytes_copied`).
#[derive(Debug, Clone)]
pub(super) struct SearchExec {
    parts: Parts,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SearchExec {
    pub(super) fn new(parts: Parts) -> Self {
        let schema = Arc::clone(&parts.schema);
        let sorted = match parts.output {
            Output::Ranked => parts.columns.iter().position(|c| *c == ExecColumn::Rank),
            // Rows of one query come in order of `row`, and their row is the input's.
            Output::PerQuery | Output::Joined(_) | Output::Rows => None,
        };
        let rank = sorted.and_then(|i| Some(Column::new(schema.fields().get(i)?.name(), i)));
        let order = rank.map(|rank| vec![PhysicalSortExpr::new_default(Arc::new(rank))]);
        let equivalence = EquivalenceProperties::new_with_orderings(schema, order);
        let properties = PlanProperties::new(
            equivalence,
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self { parts, properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() }
    }

    fn literal_k(&self) -> Option<usize> {
        count_of(self.parts.k.downcast_ref::<Literal>()?.value()).ok()
    }
}

impl DisplayAs for SearchExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { input, value, order, k, columns, schema, source, .. } = &self.parts;
        let schema_of_input = input.schema();
        let vectors = match value {
            VectorsFrom::Input(i) => schema_of_input.fields().get(*i).map_or("?", |f| f.name().as_str()),
            VectorsFrom::Field(_, name) => name.as_str(),
        };
        if format == DisplayFormatType::TreeRender {
            return write!(f, "field={vectors}\n{order}\nk={k}");
        }
        write!(f, "SearchExec: {vectors}, {order}, k={k}")?;
        if self.parts.output == Output::PerQuery {
            f.write_str(", per query")?;
        }
        if let Output::Joined(outer) = self.parts.output {
            f.write_str(outer.explained())?;
        }
        if matches!(value, VectorsFrom::Field(..)) {
            f.write_str(", read by row")?;
        }
        if let Some(index) = indexed::used(&self.parts) {
            write!(f, ", index={}", index.name)?;
        }
        let late = schema.fields().iter().zip(columns).filter(|(_, c)| matches!(c, ExecColumn::Field(_)));
        let late: Vec<_> = late.map(|(f, _)| f.name().as_str()).collect();
        if source.is_some() && !late.is_empty() {
            write!(f, ", fetched by row=[{}]", late.join(", "))?;
        }
        Ok(())
    }
}

impl ExecutionPlan for SearchExec {
    fn name(&self) -> &str {
        "SearchExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.parts.input, &self.parts.query]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let query = Distribution::SinglePartition;
        InputDistributionRequirements::new(vec![Distribution::UnspecifiedDistribution, query])
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        // The scan has cut the array already.
        vec![false, false]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        f(&self.parts.k)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([input, query]) = <[_; 2]>::try_from(children) else {
            return internal_err!("a search has two inputs");
        };
        Ok(Arc::new(Self::new(Parts { input, query, ..self.parts.clone() })))
    }

    fn partition_statistics(&self, _partition: Option<usize>) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.parts.schema);
        if let (Some(k), true) = (self.literal_k(), !self.parts.output.is_batch()) {
            statistics.num_rows = Precision::Inexact(k);
        }
        Ok(Arc::new(statistics))
    }

    fn try_swapping_with_projection(&self, projection: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let all = self.parts.columns.len();
        let mut needed: Vec<usize> = vec![];
        for output in projection.expr() {
            needed.extend(collect_columns(&output.expr).iter().map(Column::index));
        }
        needed.sort_unstable();
        needed.dedup();
        if needed.len() == all {
            return Ok(None);
        }
        // What nobody asks for is not fetched. A projection of columns as they are is the search itself then.
        let schema = &self.parts.schema;
        let narrow = |at: &[usize]| {
            let columns = at.iter().filter_map(|&i| self.parts.columns.get(i).copied()).collect();
            let schema = Arc::new(schema.project(at)?);
            Ok::<_, DataFusionError>(Arc::new(Self::new(Parts { columns, schema, ..self.parts.clone() })))
        };
        let as_it_is =
            |e: &ProjectionExpr| e.expr.downcast_ref::<Column>().filter(|c| c.name() == e.alias).map(Column::index);
        if let Some(order) = projection.expr().iter().map(as_it_is).collect::<Option<Vec<_>>>() {
            return Ok(Some(narrow(&order)?));
        }
        let search = narrow(&needed)?;
        let above = projection.expr().iter().map(|output| {
            let expr = Arc::clone(&output.expr).transform(|e| {
                let place = e.downcast_ref::<Column>().and_then(|c| Some((c, needed.binary_search(&c.index()).ok()?)));
                Ok(match place {
                    Some((column, i)) => Transformed::yes(Arc::new(Column::new(column.name(), i)) as _),
                    None => Transformed::no(e),
                })
            });
            Ok(ProjectionExpr { expr: expr?.data, alias: output.alias.clone() })
        });
        let above: Vec<ProjectionExpr> = above.collect::<Result<_>>()?;
        Ok(Some(Arc::new(ProjectionExec::try_new(above, search)?)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("a search has one partition, not {partition}");
        }
        stream::start(self.parts.clone(), &self.metrics, context)
    }
}

/// The number of rows to return, once it can be computed.
pub(super) fn evaluate_k(k: &Arc<dyn PhysicalExpr>) -> Result<usize> {
    use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let one_row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
    let value = k.evaluate(&one_row)?.into_array(1)?;
    count_of(&ScalarValue::try_from_array(&value, 0)?)
}
