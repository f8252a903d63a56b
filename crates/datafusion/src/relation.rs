//! FROM: arrays at older versions; table functions with positional and named arguments; and the refusal of what nobody acts on.

use std::sync::Arc;

use datafusion::catalog::CatalogProviderList;
use datafusion::common::{DFSchema, Result, TableReference, not_impl_err, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::sql::sqlparser::ast::{
    FunctionArg, Ident, ObjectName, ObjectNamePart, TableAlias, TableFactor, TableFunctionArgs, TableVersion,
};

use hyperslab_store::ArrayName;

use crate::catalog::name_in;
use crate::table::ArrayTable;
use crate::table_functions::{self, Call, TableFunction};
use crate::version::{self, VersionRef};
use crate::{files, to_datafusion};

/// A planner of everything in FROM. Array names given as text are looked up in `catalogs`, which should be pinned to the
/// statement's snapshot.
pub(crate) fn planner(catalogs: Arc<dyn CatalogProviderList>) -> Arc<dyn RelationPlanner> {
    Arc::new(HyperslabRelations { catalogs })
}

#[derive(Debug)]
struct HyperslabRelations {
    catalogs: Arc<dyn CatalogProviderList>,
}

impl RelationPlanner for HyperslabRelations {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        refuse_ignored_clauses(&relation)?;
        match relation {
            TableFactor::Table { name, args: Some(_), version: Some(version), .. } => {
                plan_err!("{name}: a table function's call has no version ({version})")
            }
            TableFactor::Table { name, alias, version: Some(version), .. } => {
                self.versioned(&name, alias, &version, context)
            }
            TableFactor::Table { name, alias, args: Some(args), .. } => self.function(name, alias, args, context, None),
            TableFactor::Function { lateral, name, args, alias, .. } => {
                let args = TableFunctionArgs { args, settings: None };
                self.function(name, alias, args, context, Some(lateral))
            }
            other => Ok(RelationPlanning::Original(Box::new(other))),
        }
    }
}

impl HyperslabRelations {
    /// An array at the version that its clause names.
    fn versioned(
        &self,
        name: &ObjectName,
        alias: Option<TableAlias>,
        clause: &TableVersion,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let version = VersionRef::parse(clause)?;
        let reference = context.object_name_to_table_reference(name.clone())?;
        let defaults = &context.context_provider().options().catalog;
        let resolved = reference.clone().resolve(&defaults.default_catalog, &defaults.default_schema);
        let catalog = self.catalogs.catalog(&resolved.catalog);
        let Some(catalog) = catalog.as_deref().and_then(files::store_catalog) else {
            return plan_err!("{name} {clause}: only arrays of a store have versions");
        };
        let attached = catalog.attached_store(&resolved.schema)?;
        let catalog = attached.as_ref().unwrap_or(catalog);
        let store = catalog.store();
        let value = |expr| version::constant(context.sql_to_expr(expr, &DFSchema::empty())?);
        let snapshot = version.snapshot(store, catalog.snapshot()?.as_ref(), value)?;
        let array = match &attached {
            Some(_) => name_in(&snapshot, &resolved.table),
            None => ArrayName::new(resolved.schema.as_ref(), resolved.table.as_ref()),
        };
        if !snapshot.contains(&array) {
            if attached.is_none() && catalog.store_schema(&resolved.schema).session_table(&resolved.table).is_some() {
                return plan_err!("{name} {clause}: a view or an external table has no versions, only arrays have");
            }
            let missing = snapshot.array(&array).err();
            let why = missing.as_ref().map(|e| e.message()).unwrap_or_default();
            return plan_err!("in version {}, {why}", snapshot.version());
        }
        let array = snapshot.array(&array).map_err(to_datafusion)?;
        let mut table = ArrayTable::from_array(store.clone(), array).explicit();
        if attached.is_some() {
            table = table.attached(&resolved.schema, &resolved.table);
        }
        let scanned = TableReference::bare(table.scan_name());
        let plan = LogicalPlanBuilder::scan(scanned, provider_as_source(Arc::new(table)), None)?;
        let plan = plan.alias(reference)?.build()?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }

    /// A call. `lateral` where it was written in the form that can be.
    fn function(
        &self,
        name: ObjectName,
        alias: Option<TableAlias>,
        args: TableFunctionArgs,
        context: &mut dyn RelationPlannerContext,
        lateral: Option<bool>,
    ) -> Result<RelationPlanning> {
        if let Some(settings) = &args.settings {
            let settings: Vec<_> = settings.iter().map(ToString::to_string).collect();
            return not_impl_err!("SETTINGS {} is not supported", settings.join(", "));
        }
        match only_ident(&name).and_then(|ident| table_functions::find(&ident.value)) {
            Some(function) => self.ours(function, alias, args.args, context),
            None => theirs(name, alias, args, lateral),
        }
    }

    fn ours(
        &self,
        function: &'static TableFunction,
        alias: Option<TableAlias>,
        args: Vec<FunctionArg>,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let mut call = Call::try_new(function, args, context, self.catalogs.as_ref())?;
        let plan = (function.plan)(&mut call)?;
        // Without an alias its columns are qualified by the function's name.
        let plan = match alias {
            Some(_) => plan,
            None => LogicalPlanBuilder::from(plan).alias(function.doc.name)?.build()?,
        };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

/// A function of DataFusion's: handed on, unless it would drop the arguments' names.
fn theirs(
    name: ObjectName,
    alias: Option<TableAlias>,
    args: TableFunctionArgs,
    lateral: Option<bool>,
) -> Result<RelationPlanning> {
    let named = |arg: &&FunctionArg| matches!(arg, FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. });
    if let Some(arg) = args.args.iter().find(named) {
        return plan_err!("the table function {name} takes no named arguments, such as {arg}");
    }
    // DataFusion looks functions up as they are written.
    let name = match only_ident(&name) {
        Some(ident) if ident.quote_style.is_none() => ObjectName::from(vec![Ident::new(ident.value.to_lowercase())]),
        _ => name,
    };
    let relation = match lateral {
        Some(lateral) => TableFactor::Function { lateral, name, args: args.args, with_ordinality: false, alias },
        None => TableFactor::Table {
            name,
            alias,
            args: Some(args),
            with_hints: vec![],
            version: None,
            with_ordinality: false,
            partitions: vec![],
            json_path: None,
            sample: None,
            index_hints: vec![],
        },
    };
    Ok(RelationPlanning::Original(Box::new(relation)))
}

fn only_ident(name: &ObjectName) -> Option<&Ident> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => Some(ident),
        _ => None,
    }
}

/// Refuses what DataFusion's planner would drop without a word.
fn refuse_ignored_clauses(relation: &TableFactor) -> Result<()> {
    let refuse = |what: &str, name: &dyn std::fmt::Display| not_impl_err!("{what} is not supported yet (table {name})");
    match relation {
        TableFactor::Table {
            name,
            alias: _,
            args: _,
            with_hints,
            version: _,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
        } => {
            if sample.is_some() {
                return refuse("TABLESAMPLE", name);
            }
            if !with_hints.is_empty() {
                return refuse("WITH (…), a table hint,", name);
            }
            if !index_hints.is_empty() {
                return refuse("an index hint", name);
            }
            if !partitions.is_empty() {
                return refuse("PARTITION (…)", name);
            }
            if json_path.is_some() {
                return refuse("a JSON path", name);
            }
            if *with_ordinality {
                return refuse("WITH ORDINALITY", name);
            }
            Ok(())
        }
        TableFactor::Function { name, with_ordinality: true, .. } => refuse("WITH ORDINALITY", name),
        TableFactor::Derived { sample: Some(_), .. } => refuse("TABLESAMPLE", &"(subquery)"),
        _ => Ok(()),
    }
}
