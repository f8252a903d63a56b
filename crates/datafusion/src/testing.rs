//! What the tests of this crate share.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::prelude::{SessionConfig, SessionContext};
use hyperslab_store::{ArrayOptions, Store};
use ndarray::{Array1, Array2};

use crate::catalog::StoreCatalog;
use crate::optimizer::row_join::RowJoin;
use crate::scan::ArrayScanExec;

/// A store in memory with arrays of one field:
/// - `big`: 20,000 rows of float32\[16\], `value[i] = row + i`,
/// - `label`: 20,000 rows of int64, `row % 7`,
/// - `small`: 3,000 rows of int64, `row * 10`.
pub(crate) fn store() -> Store {
    let store = Store::memory();
    let mut transaction = store.begin().unwrap();
    let field = |dtype, cell| vec![hyperslab_core::FieldSpec::new("value", dtype, cell).unwrap()];
    let big = Array2::from_shape_fn((20_000, 16), |(row, i)| (row + i) as f32);
    let label = Array1::from_shape_fn(20_000, |row| row as i64 % 7);
    let small = Array1::from_shape_fn(3_000, |row| row as i64 * 10);
    transaction.create("big", field(hyperslab_core::DType::Float32, vec![16]), ArrayOptions::default()).unwrap();
    transaction.create("label", field(hyperslab_core::DType::Int64, vec![]), ArrayOptions::default()).unwrap();
    transaction.create("small", field(hyperslab_core::DType::Int64, vec![]), ArrayOptions::default()).unwrap();
    transaction.append_ndarray("big", &big).unwrap();
    transaction.append_ndarray("label", &label).unwrap();
    transaction.append_ndarray("small", &small).unwrap();
    transaction.commit().unwrap();
    store
}

/// A context whose default catalog is a store's, with some partitions, and the rule for joins on row or without.
pub(crate) fn context(store: &Store, partitions: usize, row_joins: bool) -> SessionContext {
    let config = SessionConfig::new()
        .with_target_partitions(partitions)
        .with_default_catalog_and_schema("hyperslab", "public")
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true);
    let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = PhysicalOptimizer::new().rules;
    if row_joins {
        RowJoin::insert_into(&mut rules);
    }
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_physical_optimizer_rules(rules)
        .build();
    let context = SessionContext::new_with_state(state);
    context.register_catalog("hyperslab", Arc::new(StoreCatalog::new(store.clone())));
    context
}

/// The rows of a statement as text, in their order.
pub(crate) async fn rows(context: &SessionContext, sql: &str) -> Vec<String> {
    let frame = context.sql(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    let batches = frame.collect().await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        rows.extend(
            (0..batch.num_rows()).map(|i| columns.iter().map(|c| c.value(i).to_string()).collect::<Vec<_>>().join("|")),
        );
    }
    rows
}

/// The same, sorted.
pub(crate) async fn sorted(context: &SessionContext, sql: &str) -> Vec<String> {
    let mut rows = rows(context, sql).await;
    rows.sort_unstable();
    rows
}

/// The error of a statement, from planning or from running.
pub(crate) async fn error(context: &SessionContext, sql: &str) -> String {
    match context.sql(sql).await {
        Err(e) => e.to_string(),
        Ok(frame) => frame.collect().await.expect_err(sql).to_string(),
    }
}

/// The physical plan of a statement, as EXPLAIN shows it.
pub(crate) async fn explain(context: &SessionContext, sql: &str) -> String {
    let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string()
}

/// Runs a statement to its end and returns its plan, which then holds its metrics.
pub(crate) async fn run(context: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    datafusion::physical_plan::collect(Arc::clone(&plan), context.task_ctx()).await.unwrap();
    plan
}

/// The scans of a plan, in the order of EXPLAIN, and their metrics.
pub(crate) fn scans(plan: &Arc<dyn ExecutionPlan>) -> Vec<(ArrayScanExec, MetricsSet)> {
    let own = plan.downcast_ref::<ArrayScanExec>().map(|s| (s.clone(), s.metrics().unwrap()));
    own.into_iter().chain(plan.children().into_iter().flat_map(scans)).collect()
}

/// The value of a metric, summed over partitions.
pub(crate) fn metric(metrics: &MetricsSet, name: &str) -> usize {
    let values: Vec<usize> =
        metrics.iter().filter(|m| m.value().name() == name).map(|m| m.value().as_usize()).collect();
    assert!(!values.is_empty(), "there is no metric {name}");
    values.iter().sum()
}

/// The first node of a name in a plan.
pub(crate) fn find(plan: &Arc<dyn ExecutionPlan>, name: &str) -> Option<Arc<dyn ExecutionPlan>> {
    if plan.name() == name {
        return Some(Arc::clone(plan));
    }
    plan.children().into_iter().find_map(|child| find(child, name))
}
