//! A call of a table function: its arguments in their places, and the forms that an argument may take.

use std::sync::Arc;

use datafusion::catalog::{CatalogProviderList, TableProvider};
use datafusion::common::utils::datafusion_strsim::normalized_levenshtein;
use datafusion::common::{Column, DFSchema, DataFusionError, Result, ScalarValue, TableReference, exec_err, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::planner::RelationPlannerContext;
use datafusion::logical_expr::{Expr, Limit, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{self, FunctionArg, FunctionArgExpr, FunctionArgOperator, TableFactor, Value};
use futures::FutureExt;
use hyperslab_core::ErrorKind;
use hyperslab_formats::Format;
use hyperslab_store::ArrayName;

use super::TableFunction;
use crate::catalog::{StoreCatalog, name_in};
use crate::error::from_datafusion;
use crate::files::{is_array_file, open_table, store_catalog};
use crate::table::ArrayTable;

/// What may refer to another table of FROM.
const SEEN_BY_LATERAL: &str = "only the query of LATERAL top_k(…) can be a column of a table to its left in FROM";

/// A call whose arguments are sorted into the function's parameters.
pub(crate) struct Call<'a> {
    function: &'static TableFunction,
    /// One per parameter.
    arguments: Vec<Option<ast::Expr>>,
    pub(crate) context: &'a mut dyn RelationPlannerContext,
    catalogs: &'a dyn CatalogProviderList,
}

/// What stands where an array is expected.
pub(crate) struct ArrayArgument {
    /// How messages call it.
    pub(crate) name: String,
    pub(crate) plan: LogicalPlan,
    /// The array itself, unless it is a subquery or another kind of table.
    pub(crate) table: Option<ArrayTable>,
}

impl<'a> Call<'a> {
    /// Sorts arguments into parameters.
    ///
    /// # Errors
    /// For an argument that is unknown, doubled, missing, or positional after a named one; the signature is printed.
    pub(crate) fn try_new(
        function: &'static TableFunction,
        arguments: Vec<FunctionArg>,
        context: &'a mut dyn RelationPlannerContext,
        catalogs: &'a dyn CatalogProviderList,
    ) -> Result<Self> {
        let mut call = Self { function, arguments: vec![None; function.parameters.len()], context, catalogs };
        let mut named = false;
        for (i, argument) in arguments.into_iter().enumerate() {
            let (index, expr) = match argument {
                FunctionArg::Unnamed(_) if named => return call.misused("a positional argument after a named one"),
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => match function.parameters.get(i) {
                    Some(parameter) if parameter.positional => (i, expr),
                    Some(parameter) => {
                        return call
                            .misused(&format!("too many arguments; {0} needs its name: {0} => …", parameter.name));
                    }
                    None => return call.misused("too many arguments"),
                },
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), operator } => {
                    named = true;
                    (call.named(name, &operator)?, expr)
                }
                FunctionArg::ExprNamed {
                    name: ast::Expr::Identifier(name),
                    arg: FunctionArgExpr::Expr(expr),
                    operator,
                } => {
                    named = true;
                    (call.named(name, &operator)?, expr)
                }
                other => return call.misused(&format!("{other} is no argument")),
            };
            let Some(place) = call.arguments.get_mut(index) else { return call.misused("too many arguments") };
            if place.replace(expr).is_some() {
                let name = function.parameters.get(index).map_or("", |p| p.name);
                return call.misused(&format!("the argument {name} is given twice"));
            }
        }
        let missing = |(p, a): (&super::Parameter, &Option<_>)| (p.required && a.is_none()).then_some(p.name);
        match function.parameters.iter().zip(&call.arguments).find_map(missing) {
            Some(name) => call.misused(&format!("the argument {name} is missing")),
            None => Ok(call),
        }
    }

    fn named(&self, name: ast::Ident, operator: &FunctionArgOperator) -> Result<usize> {
        if !matches!(operator, FunctionArgOperator::RightArrow | FunctionArgOperator::Assignment) {
            return self.misused(&format!("{name} {operator} …: an argument is named by {name} => …"));
        }
        let name = self.context.normalize_ident(name);
        match self.function.parameters.iter().position(|p| p.name.eq_ignore_ascii_case(&name)) {
            Some(index) => Ok(index),
            None => self.misused(&format!("there is no argument {name}")),
        }
    }

    /// An error that prints the signature.
    pub(crate) fn misused<T>(&self, what: &str) -> Result<T> {
        plan_err!("{}: {what}; the call is {}", self.function.doc.name, self.function.doc.signature)
    }

    /// The function's name, for messages.
    pub(crate) fn name(&self) -> &'static str {
        self.function.doc.name
    }

    /// The argument as it was written.
    pub(crate) fn argument(&self, name: &str) -> Option<ast::Expr> {
        let index = self.function.parameters.iter().position(|p| p.name == name)?;
        self.arguments.get(index)?.clone()
    }

    /// Text, or a name without quotes.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>> {
        Ok(match self.argument(name) {
            None => None,
            Some(ast::Expr::Identifier(ident)) => Some(self.context.normalize_ident(ident)),
            Some(expr) => match literal_text(&expr) {
                Some(text) => Some(text.to_owned()),
                None => return self.misused(&format!("{name} must be text, not {expr}")),
            },
        })
    }

    /// An expression of no columns: a literal, a parameter, a computation.
    pub(crate) fn constant(&mut self, expr: ast::Expr) -> Result<Expr> {
        let name = self.name();
        let planned = match self.context.sql_to_expr(expr.clone(), &DFSchema::empty()) {
            Ok(planned) => planned,
            Err(e) if matches!(e.find_root(), datafusion::error::DataFusionError::SchemaError(..)) => {
                return plan_err!(
                    "{name}: the argument {expr} names a column that is not in sight here; {SEEN_BY_LATERAL}"
                );
            }
            Err(e) => return Err(e),
        };
        if planned.contains_outer() || !planned.column_refs().is_empty() {
            return self.refused_correlation();
        }
        Ok(planned)
    }

    fn refused_correlation<T>(&self) -> Result<T> {
        plan_err!("{}: this argument cannot refer to another table; {SEEN_BY_LATERAL}", self.name())
    }

    /// A subquery's plan. Its order is kept.
    pub(crate) fn subquery(&mut self, query: Box<ast::Query>) -> Result<LogicalPlan> {
        // Planned as EXISTS (…), which takes any number of columns and, other than a derived table, keeps ORDER BY.
        let exists = ast::Expr::Exists { subquery: query, negated: false };
        let Expr::Exists(exists) = self.context.sql_to_expr(exists, &DFSchema::empty())? else {
            return self.misused("a subquery is expected");
        };
        if !exists.subquery.outer_ref_columns.is_empty() {
            return self.refused_correlation();
        }
        Ok(Arc::unwrap_or_clone(exists.subquery.subquery))
    }

    /// An array: its name as text or identifier, a file, or a subquery.
    pub(crate) fn array(&mut self, name: &str) -> Result<ArrayArgument> {
        let Some(expr) = self.argument(name) else { return self.misused(&format!("the argument {name} is missing")) };
        match self.table(&expr)? {
            Some(array) => Ok(array),
            None => self.misused(&format!("{name} must be an array's name or a subquery, not {expr}")),
        }
    }

    /// An array itself, not a subquery or another kind of table.
    pub(crate) fn array_itself(&mut self, name: &str) -> Result<(ArrayArgument, ArrayTable)> {
        let array = self.array(name)?;
        match array.table.clone() {
            Some(table) => Ok((array, table)),
            None => plan_err!("{}: {} is no array; give an array's name or an array file", self.name(), array.name),
        }
    }

    /// The table that an argument names or is, if it has the form of one.
    pub(crate) fn table(&mut self, expr: &ast::Expr) -> Result<Option<ArrayArgument>> {
        let idents = match expr {
            ast::Expr::Subquery(query) => {
                let plan = self.subquery(query.clone())?;
                return Ok(Some(ArrayArgument { name: "the subquery".to_owned(), plan, table: None }));
            }
            ast::Expr::Nested(inner) => return self.table(inner),
            ast::Expr::Identifier(ident) => vec![ident.clone()],
            ast::Expr::CompoundIdentifier(idents) => idents.clone(),
            other => {
                return match literal_text(other) {
                    Some(text) if !text.trim_start().starts_with('[') => self.named_table(text).map(Some),
                    _ => Ok(None),
                };
            }
        };
        let reference = self.context.object_name_to_table_reference(ast::ObjectName::from(idents.clone()))?;
        // What is attached may be called as another table of this FROM.
        let missing = |e: &DataFusionError| from_datafusion(e).is_some_and(|e| e.kind() == ErrorKind::NotFound);
        let found = match self.look_up(&reference) {
            Err(e) if idents.len() > 1 && missing(&e) => None,
            found => found?,
        };
        match found {
            Some(provider) => Ok(Some(scan(&reference.to_string(), provider)?)),
            // A name that only this statement knows: WITH … AS.
            None => match self.context.plan(table_factor(idents)) {
                Ok(plan) => Ok(Some(ArrayArgument { name: reference.to_string(), plan, table: None })),
                Err(_) => self.not_a_table(expr, &reference.to_string()),
            },
        }
    }

    /// An identifier that names no table: a column of another table, or a mistake.
    fn not_a_table<T>(&mut self, expr: &ast::Expr, name: &str) -> Result<T> {
        if self.context.sql_to_expr(expr.clone(), &DFSchema::empty()).is_ok_and(|e| e.contains_outer()) {
            return self.refused_correlation();
        }
        // Beside a comma, without LATERAL, the other tables are not in sight.
        let (catalog, schema, _) = self.resolve(&TableReference::parse_str(name));
        let known = self.catalogs.catalog(&catalog).and_then(|c| c.schema(&schema)).is_some();
        if matches!(expr, ast::Expr::CompoundIdentifier(_)) && !known {
            return plan_err!("{}: there is no array or table {name:?}; {SEEN_BY_LATERAL}", self.name());
        }
        self.unknown(name)
    }

    /// The array or file of a name given as text.
    pub(crate) fn named_table(&mut self, text: &str) -> Result<ArrayArgument> {
        // As it is written; then as SQL reads it, with schema and quotes.
        for reference in [TableReference::bare(text), TableReference::parse_str(text)] {
            if let Some(provider) = self.look_up(&reference)? {
                return scan(text, provider);
            }
        }
        if looks_like_file(text) {
            return file(text, None);
        }
        let quoted = vec![ast::Ident::with_quote('"', text)];
        match self.context.plan(table_factor(quoted)) {
            Ok(plan) => Ok(ArrayArgument { name: text.to_owned(), plan, table: None }),
            Err(_) => self.unknown(text),
        }
    }

    /// The plan of an argument that is a subquery.
    pub(crate) fn subquery_of(&mut self, expr: &ast::Expr) -> Result<Option<LogicalPlan>> {
        match expr {
            ast::Expr::Subquery(query) => self.subquery(query.clone()).map(Some),
            ast::Expr::Nested(inner) => self.subquery_of(inner),
            _ => Ok(None),
        }
    }

    /// The store, as the statement sees it, of the default catalog, or else the only one that there is.
    pub(crate) fn store(&self) -> Result<StoreCatalog> {
        let of = |name: &str| self.catalogs.catalog(name).as_deref().and_then(store_catalog).cloned();
        if let Some(store) = of(&self.context.context_provider().options().catalog.default_catalog) {
            return Ok(store);
        }
        let stores: Vec<StoreCatalog> = self.catalogs.catalog_names().iter().filter_map(|name| of(name)).collect();
        match stores.as_slice() {
            [store] => Ok(store.clone()),
            stores => plan_err!("{}: {} stores are registered, and none is the default", self.name(), stores.len()),
        }
    }

    /// The store and the name of an array that need not be there (any more).
    pub(crate) fn array_name(&mut self, name: &str) -> Result<(StoreCatalog, ArrayName)> {
        let reference = match self.argument(name) {
            Some(ast::Expr::Identifier(ident)) => self.context.object_name_to_table_reference(vec![ident].into())?,
            Some(ast::Expr::CompoundIdentifier(idents)) => {
                self.context.object_name_to_table_reference(idents.into())?
            }
            Some(expr) => match literal_text(&expr) {
                // A name with a dot in it, if there is an array of that name; else as SQL reads it.
                Some(text) if self.look_up(&TableReference::bare(text)).is_ok_and(|t| t.is_some()) => {
                    TableReference::bare(text)
                }
                Some(text) => TableReference::parse_str(text),
                None => return self.misused(&format!("{name} must be an array's name, not {expr}")),
            },
            None => return self.misused(&format!("the argument {name} is missing")),
        };
        let (catalog, schema, table) = self.resolve(&reference);
        match self.catalogs.catalog(&catalog).as_deref().and_then(store_catalog) {
            Some(catalog) => match catalog.attached_store(&schema)? {
                Some(attached) => {
                    let array = name_in(attached.snapshot()?.as_ref(), &table);
                    Ok((attached, array))
                }
                None => Ok((catalog.clone(), ArrayName::new(schema, table))),
            },
            None => plan_err!("{}: {reference} is no array of a store", self.name()),
        }
    }

    /// Every array of the session's catalogs.
    pub(crate) fn all_arrays(&self) -> Result<Vec<ArrayTable>> {
        let mut arrays = vec![];
        for catalog in self.catalogs.catalog_names().iter().filter_map(|c| self.catalogs.catalog(c)) {
            for schema in catalog.schema_names().iter().filter_map(|s| catalog.schema(s)) {
                for name in schema.table_names() {
                    if let Some(Ok(Some(provider))) = schema.table(&name).now_or_never() {
                        arrays.extend(provider.downcast_ref::<ArrayTable>().cloned());
                    }
                }
            }
        }
        Ok(arrays)
    }

    fn resolve(&self, reference: &TableReference) -> (String, String, String) {
        let defaults = &self.context.context_provider().options().catalog;
        let resolved = reference.clone().resolve(&defaults.default_catalog, &defaults.default_schema);
        (resolved.catalog.to_string(), resolved.schema.to_string(), resolved.table.to_string())
    }

    /// A table of the session's catalogs. Arrays are there at once; what has to be opened first, such as a Parquet file,
    /// is waited for.
    fn look_up(&self, reference: &TableReference) -> Result<Option<Arc<dyn TableProvider>>> {
        let (catalog, schema, table) = self.resolve(reference);
        let Some(schema) = self.catalogs.catalog(&catalog).and_then(|c| c.schema(&schema)) else { return Ok(None) };
        match schema.table(&table).now_or_never() {
            Some(found) => found,
            None => wait(schema.table(&table)),
        }
    }

    fn unknown<T>(&self, name: &str) -> Result<T> {
        let (catalog, schema, table) = self.resolve(&TableReference::parse_str(name));
        let known = self.catalogs.catalog(&catalog).and_then(|c| c.schema(&schema));
        let mut known = known.map(|s| s.table_names()).unwrap_or_default();
        known.sort_by(|a, b| similarity(b, &table).total_cmp(&similarity(a, &table)).then_with(|| a.cmp(b)));
        known.truncate(3);
        let hint = if known.is_empty() { String::new() } else { format!("; did you mean {}?", known.join(", ")) };
        plan_err!("{}: there is no array or table {name:?}{hint}", self.name())
    }
}

/// Waits for what planning, which is not async, cannot: in a thread and a runtime of its own, since the caller's must not
/// be blocked on itself.
fn wait<T: Send>(future: impl Future<Output = Result<T>> + Send) -> Result<T> {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future);
    std::thread::scope(|scope| match scope.spawn(run).join() {
        Ok(result) => result,
        Err(_) => exec_err!("the thread that opens a table ended early"),
    })
}

fn similarity(a: &str, b: &str) -> f64 {
    normalized_levenshtein(&a.to_lowercase(), &b.to_lowercase())
}

/// Whether a name that no catalog knows can only be meant as a file.
fn looks_like_file(text: &str) -> bool {
    text.contains('/') || is_array_file(text)
}

/// A scan under its array's name. It is called by name and version inside, because plan equality ignores the source.
fn scan(name: &str, provider: Arc<dyn TableProvider>) -> Result<ArrayArgument> {
    let table = provider.downcast_ref::<ArrayTable>().cloned();
    let inner = table.as_ref().map_or(name, |t| t.scan_name());
    let plan = LogicalPlanBuilder::scan(TableReference::bare(inner), provider_as_source(provider), None)?
        .alias(TableReference::bare(name))?
        .build()?;
    Ok(ArrayArgument { name: name.to_owned(), plan, table })
}

/// A file, or those that a glob matches, in the format of the extension or in the given one.
pub(crate) fn file(path: &str, format: Option<&'static Format>) -> Result<ArrayArgument> {
    scan(path, open_table(path, format)?)
}

/// A scan without an alias.
pub(crate) fn bare_scan(table: &ArrayTable) -> Result<LogicalPlan> {
    let name = TableReference::bare(table.scan_name());
    LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(table.clone())), None)?.build()
}

/// Keeps the ORDER BY of a subquery that is an argument. DataFusion's planner drops sorts from what stands in FROM
/// unless a limit is above them; this limit is no limit, and the optimizer removes it.
pub(crate) fn keep_order(plan: LogicalPlan) -> Result<LogicalPlan> {
    let limit = Limit { skip: None, fetch: None, input: Arc::new(plan) };
    Ok(LogicalPlan::Limit(limit))
}

fn table_factor(idents: Vec<ast::Ident>) -> TableFactor {
    TableFactor::Table {
        name: ast::ObjectName::from(idents),
        alias: None,
        args: None,
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    }
}

/// The text of a string literal.
pub(crate) fn literal_text(expr: &ast::Expr) -> Option<&str> {
    match expr {
        ast::Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            Value::EscapedStringLiteral(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// The only column of a plan, whatever its type.
pub(crate) fn only_column(plan: &LogicalPlan) -> Option<Column> {
    match plan.schema().columns().as_slice() {
        [column] => Some(column.clone()),
        _ => None,
    }
}

/// A literal's value.
pub(crate) fn literal(expr: &Expr) -> Option<ScalarValue> {
    match expr.clone().unalias() {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}
