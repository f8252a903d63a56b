//! Every array that a statement reads is read at one version of the store.
//!
//! A view or a prepared plan holds the tables of the version at which it was made, and a catalog that is looked at
//! twice may show two versions. [`pin`] rebinds every scan of a store's array to one snapshot and names the scan after
//! its version, because plan equality ignores a scan's source. [`Session`](crate::Session) pins by itself;
//! [`PinSnapshot`] does it for contexts that a store is registered on.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, TableReference, plan_err};
use datafusion::config::{ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::{LogicalPlan, SubqueryAlias, TableScan, TableScanBuilder};
use datafusion::optimizer::AnalyzerRule;
use hyperslab_store::{Snapshot, Store};

use crate::table::Origin;
use crate::write::edit::ArrayEdit;
use crate::{ArrayTable, to_datafusion};

/// Rebinds every scan and every edit of the store's arrays to the snapshot, views and subqueries included, but for those
/// whose version the statement named itself. `staged`: a transaction's own changes are in the snapshot.
///
/// # Errors
/// An array that a view or prepared statement reads and that is gone, or whose fields changed.
pub(crate) fn pin(plan: LogicalPlan, store: &Store, snapshot: &Arc<Snapshot>, staged: bool) -> Result<LogicalPlan> {
    let pinned = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(scan) => pin_scan(scan, store, snapshot, staged),
        LogicalPlan::Extension(extension) => {
            let edit = extension.node.as_any().downcast_ref::<ArrayEdit>();
            match edit.map(|edit| edit.pinned(store, snapshot)).transpose()?.flatten() {
                Some(pinned) => Ok(Transformed::yes(pinned)),
                None => Ok(Transformed::no(LogicalPlan::Extension(extension))),
            }
        }
        other => Ok(Transformed::no(other)),
    });
    pinned.map(|t| t.data)
}

fn pin_scan(
    scan: TableScan,
    store: &Store,
    snapshot: &Arc<Snapshot>,
    staged: bool,
) -> Result<Transformed<LogicalPlan>> {
    let table = match source_as_provider(&scan.source) {
        Ok(provider) => provider.downcast_ref::<ArrayTable>().cloned(),
        Err(_) => None,
    };
    let Some(table) = table else { return Ok(Transformed::no(LogicalPlan::TableScan(scan))) };
    let table = match table.origin() {
        Origin::Store { store: of, array, explicit: false } if of.is_same(store) => {
            // A view that was made in a transaction holds what that showed.
            if !staged && !table.is_staged() && array.version() == snapshot.version() {
                table.clone()
            } else {
                let fresh_name = array.name().clone();
                let array = snapshot.array(&fresh_name).map_err(to_datafusion)?;
                let fresh = ArrayTable::from_array(store.clone(), array);
                if fresh.arrow_schema() != table.arrow_schema() {
                    return plan_err!(
                        "the fields of {} changed since the view or prepared statement was made; make it again",
                        fresh_name
                    );
                }
                if staged { fresh.staged() } else { fresh }
            }
        }
        _ => return Ok(Transformed::no(LogicalPlan::TableScan(scan))),
    };
    let name = TableReference::bare(table.scan_name());
    let source = provider_as_source(Arc::new(table));
    if scan.table_name == name {
        return Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan })));
    }
    // Only a plan that was optimized already has filters in its scan; their columns carry the old name.
    if !scan.filters.is_empty() {
        return Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan })));
    }
    let alias = scan.table_name.clone();
    let renamed =
        TableScanBuilder::new(name, source).with_projection(scan.projection).with_fetch(scan.fetch).build()?;
    let plan = SubqueryAlias::try_new(Arc::new(LogicalPlan::TableScan(renamed)), alias)?;
    Ok(Transformed::yes(LogicalPlan::SubqueryAlias(plan)))
}

/// Marks the configuration of a statement that is pinned already.
#[derive(Debug, Clone, Default)]
pub(crate) struct StatementIsPinned;

impl ConfigExtension for StatementIsPinned {
    const PREFIX: &'static str = "hyperslab_statement";
}

impl ExtensionOptions for StatementIsPinned {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn std::any::Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _value: &str) -> Result<()> {
        datafusion::common::config_err!("there is no setting {key:?} of {}", Self::PREFIX)
    }

    fn entries(&self) -> Vec<datafusion::config::ConfigEntry> {
        vec![]
    }
}

/// Pins each plan of a context to the newest version, unless the statement is pinned already.
#[derive(Debug)]
pub(crate) struct PinSnapshot {
    pub(crate) store: Store,
}

impl AnalyzerRule for PinSnapshot {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        if config.extensions.get::<StatementIsPinned>().is_some() {
            return Ok(plan);
        }
        pin(plan, &self.store, &self.store.snapshot().map_err(to_datafusion)?, false)
    }

    fn name(&self) -> &str {
        "pin_snapshot"
    }
}
