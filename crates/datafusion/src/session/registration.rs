//! What is registered on a context, in order.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session as SessionTrait;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, plan_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::OptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use datafusion::prelude::SessionContext;
use hyperslab_store::Store;

use crate::catalog::StoreCatalog;
use crate::files::{FileTableFactory, TextPlaces, array_sinks, file_catalog, table_factories};
use crate::index::SketchIndex;
use crate::optimizer::dml::ArrayDml;
use crate::optimizer::filter_queries::FilterQueries;
use crate::optimizer::lateral::JoinSearches;
use crate::optimizer::null_in::NullIn;
use crate::optimizer::pin::PinSnapshot;
use crate::optimizer::row_join::RowJoin;
use crate::optimizer::top_k::OrderByDistance;
use crate::search::SearchPlanner;
use crate::table_functions::{PositionsPlanner, SimilarPairsPlanner};
use crate::types::HyperslabTypes;
use crate::write::WritePlanner;
use crate::write::in_order::RowOrder;
use crate::{functions, relation};

/// Adds a store to an existing context, as catalog `catalog`, with the table functions, scalar functions, operators
/// and rules. The context keeps its own tables, functions, settings and default catalog; statements that it had
/// prepared are forgotten.
///
/// Works in `SessionContext::sql` then: SELECT over `catalog.schema.array` and over array files (`FROM 'x.npy'`), table
/// functions (their strings name `catalog.schema.array`, or `array` in the default schema), `ORDER BY distance LIMIT k`,
/// INSERT with a column list, DELETE, UPDATE, TRUNCATE, MERGE (INSERT in it with a column list), COPY to the array
/// formats, one version of the store per statement, each a transaction of its own. Needs [`Session`](crate::Session):
/// BEGIN … COMMIT, CREATE TABLE and CREATE TABLE AS an array, INSERT without a column list, DROP TABLE,
/// ALTER TABLE, the types of CREATE TABLE, the operators `<->` and `<#>` (in a context, choose the PostgreSQL dialect),
/// and sinks that leave `row` out.
///
/// # Errors
/// When the context has a catalog of that name.
pub fn register(context: &SessionContext, store: &Store, catalog: &str) -> Result<()> {
    let state = context.state();
    if state.catalog_list().catalog(catalog).is_some() {
        return plan_err!("the context has a catalog {catalog:?} already; choose another name for the store's");
    }
    store.add_index_kind(Arc::new(SketchIndex));
    let store_catalog = StoreCatalog::new(store.clone());
    let session_id = state.session_id().to_owned();
    let catalogs = Arc::clone(state.catalog_list());
    catalogs.register_catalog(catalog.to_owned(), Arc::new(store_catalog.clone()));
    let files = Arc::new(FileTableFactory::new(context));
    let builder = SessionStateBuilder::new_from_existing(state)
        .with_session_id(session_id)
        .with_catalog_list(file_catalog(catalogs, files));
    let state = extend(builder, &store_catalog).build();
    *context.state_ref().write() = state;
    Ok(())
}

/// The order matters: literals become values before anything looks at them; changes become our nodes before analysis pins
/// what they see; the NULLs of IN are spelled out, and queries filtered, before
/// anything is simplified; rows are joined before the planner adds
/// exchanges; row order is restored after it did.
pub(super) fn extend(mut builder: SessionStateBuilder, catalog: &StoreCatalog) -> SessionStateBuilder {
    builder.type_planner().get_or_insert_with(|| Arc::new(HyperslabTypes));
    let formats = builder.file_formats().get_or_insert_default();
    for factory in array_sinks() {
        formats.push(Arc::new(factory));
    }
    builder.table_factories().get_or_insert_default().extend(table_factories());
    let inner = builder.query_planner().take();
    functions::register_on(&mut builder);
    if let Some(catalogs) = builder.catalog_list().clone() {
        builder.relation_planners().get_or_insert_default().insert(0, relation::planner(catalogs));
    }
    let rules: [Arc<dyn OptimizerRule + Send + Sync>; 2] = [Arc::new(NullIn), Arc::new(FilterQueries)];
    builder.optimizer().get_or_insert_default().rules.splice(0..0, rules);
    RowJoin::insert_into(&mut builder.physical_optimizers().get_or_insert_default().rules);
    builder
        .with_analyzer_rule(Arc::new(JoinSearches))
        .with_analyzer_rule(Arc::new(ArrayDml))
        .with_analyzer_rule(Arc::new(PinSnapshot { store: catalog.store().clone() }))
        .with_optimizer_rule(Arc::new(OrderByDistance))
        .with_physical_optimizer_rule(Arc::new(RowOrder))
        .with_physical_optimizer_rule(Arc::new(TextPlaces))
        .with_query_planner(Arc::new(HyperslabQueryPlanner { inner }))
}

/// Puts a relation planner that sees the pinned catalog in front of the live one.
pub(super) fn pin_relations(state: &mut SessionState) -> Result<()> {
    state.register_relation_planner(relation::planner(Arc::clone(state.catalog_list())))
}

/// Plans our nodes. A plan without any goes to the context's own planner.
#[derive(Debug)]
struct HyperslabQueryPlanner {
    inner: Option<Arc<dyn QueryPlanner + Send + Sync>>,
}

#[async_trait]
impl QueryPlanner for HyperslabQueryPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn SessionTrait,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match &self.inner {
            Some(inner) if !has_our_nodes(plan)? => inner.create_physical_plan(plan, session).await,
            _ => {
                let planners: Vec<Arc<dyn ExtensionPlanner + Send + Sync>> = vec![
                    Arc::new(WritePlanner),
                    Arc::new(SearchPlanner),
                    Arc::new(PositionsPlanner),
                    Arc::new(SimilarPairsPlanner),
                ];
                DefaultPhysicalPlanner::with_extension_planners(planners).create_physical_plan(plan, session).await
            }
        }
    }
}

fn has_our_nodes(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Extension(e) = node {
            found |= OUR_NODES.contains(&e.node.name());
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// The names of our logical nodes.
const OUR_NODES: [&str; 9] = [
    "ArrayEdit",
    "ArrayWrite",
    "FlattenCells",
    "InOrder",
    "Positions",
    "Search",
    "StoreChange",
    "WholeFile",
    "SimilarPairs",
];
