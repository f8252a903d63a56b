//! Every array that a statement reads is read at one version of the store.
//!
//! A view or a prepared plan holds the tables of the version at which it was made, and a catalog that is looked at
//! twice may show two versions. [`pin`] rebinds every scan of a store's array to one snapshot and names the scan after
//! its version, because plan equality ignores a scan's source. [`Session`](crate::Session) pins by itself;
//! [`PinSnapshot`] does it for contexts that a store is registered on.

use std::sync::Arc;
use std::time::Instant;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, TableReference, plan_datafusion_err, plan_err};
use datafusion::config::{ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::{Extension, LogicalPlan, SubqueryAlias, TableScan, TableScanBuilder};
use datafusion::optimizer::AnalyzerRule;
use hyperslab_store::{Snapshot, Store};

use crate::catalog::StoreCatalog;
use crate::search::QueryVector;
use crate::table::Origin;
use crate::write::edit::ArrayEdit;
use crate::{ArrayTable, to_datafusion};

/// What a statement sees.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight<'a> {
    pub(crate) store: &'a Store,
    pub(crate) snapshot: &'a Arc<Snapshot>,
    /// Whether a transaction's own changes are in the snapshot.
    pub(crate) staged: bool,
    /// The catalog with what is attached, and when the statement began; only in a session.
    pub(crate) session: Option<(&'a StoreCatalog, Instant)>,
}

/// Rebinds every scan and every edit of the store's arrays to the snapshot, views and subqueries included, but for those
/// whose version the statement named itself. Tables of attached places are looked up anew, and array files that were
/// opened before the statement began are opened anew.
///
/// # Errors
/// An array or file that a view or prepared statement reads and that is gone, or whose fields changed.
pub(crate) fn pin(plan: LogicalPlan, sight: Sight<'_>) -> Result<LogicalPlan> {
    let pinned = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(scan) => pin_scan(scan, sight),
        LogicalPlan::Extension(extension) => pin_extension(extension, sight),
        other => Ok(Transformed::no(other)),
    });
    pinned.map(|t| t.data)
}

fn pin_scan(scan: TableScan, sight: Sight<'_>) -> Result<Transformed<LogicalPlan>> {
    let table = match source_as_provider(&scan.source) {
        Ok(provider) => provider.downcast_ref::<ArrayTable>().map(|table| pin_table(table, sight)).transpose()?,
        Err(_) => None,
    };
    let Some(table) = table.flatten() else { return Ok(Transformed::no(LogicalPlan::TableScan(scan))) };
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

fn pin_extension(extension: Extension, sight: Sight<'_>) -> Result<Transformed<LogicalPlan>> {
    let node = extension.node.as_any();
    let pinned = if let Some(edit) = node.downcast_ref::<ArrayEdit>() {
        edit.pinned(sight.store, sight.snapshot)?
    } else if let Some(query) = node.downcast_ref::<QueryVector>() {
        query.of_table(|table| pin_table(table, sight))?
    } else {
        None
    };
    Ok(pinned.map_or_else(|| Transformed::no(LogicalPlan::Extension(extension)), Transformed::yes))
}

/// The table as the statement sees it; `None` for one that is of no store and of no place that changes.
fn pin_table(table: &ArrayTable, sight: Sight<'_>) -> Result<Option<ArrayTable>> {
    let Sight { store, snapshot, staged, session } = sight;
    match table.origin() {
        Origin::Store { store: of, array, explicit: false } if of.is_same(store) => {
            // A view that was made in a transaction holds what that showed.
            if !staged && !table.is_staged() && array.version() == snapshot.version() {
                return Ok(Some(table.clone()));
            }
            let fresh_name = array.name().clone();
            let array = snapshot.array(&fresh_name).map_err(to_datafusion)?;
            let fresh = ArrayTable::from_array(store.clone(), array);
            check_fields(table, &fresh, &fresh_name)?;
            Ok(Some(if staged { fresh.staged() } else { fresh }))
        }
        Origin::Store { explicit: false, .. } | Origin::File(_) => refreshed(table, session),
        Origin::Store { .. } => Ok(None),
    }
}

/// A view or prepared statement is planned for the fields that there were.
fn check_fields(planned: &ArrayTable, fresh: &ArrayTable, name: &dyn std::fmt::Display) -> Result<()> {
    if fresh.arrow_schema() != planned.arrow_schema() {
        return plan_err!("the fields of {name} changed since the view or prepared statement was made; make it again");
    }
    Ok(())
}

/// A table of an attached place, or of files that were opened for an earlier statement, as this one sees it.
fn refreshed(table: &ArrayTable, session: Option<(&StoreCatalog, Instant)>) -> Result<Option<ArrayTable>> {
    let Some((catalog, began)) = session else { return Ok(None) };
    let (fresh, name) = match (table.attachment(), table.opened_before(began)) {
        (Some((place, name)), _) => (attached(catalog, place, name)?, format!("{place}.{name}")),
        (None, Some(files)) => (files.reopen()?, files.texts.join(", ")),
        (None, None) => return Ok(None),
    };
    check_fields(table, &fresh, &name)?;
    Ok(Some(fresh))
}

/// A table of an attached place, as the statement sees it.
fn attached(catalog: &StoreCatalog, place: &str, name: &str) -> Result<ArrayTable> {
    match catalog.attached_path(place)? {
        Some(_) => catalog.array_table(place, name)?,
        None => None,
    }
    .ok_or_else(|| plan_datafusion_err!("{place}.{name} is not attached any more; ATTACH {place:?} again"))
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
        let snapshot = self.store.snapshot().map_err(to_datafusion)?;
        pin(plan, Sight { store: &self.store, snapshot: &snapshot, staged: false, session: None })
    }

    fn name(&self) -> &str {
        "pin_snapshot"
    }
}
