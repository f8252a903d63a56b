//! Statements that DataFusion does not plan as we need them; the others go to its planner.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::display::{PlanType, ToStringifiedPlan};
use datafusion::common::format::ExplainStatementOptions;
use datafusion::common::{DFSchema, Result, SchemaReference, TableReference, not_impl_err, plan_err};
use datafusion::logical_expr::{DdlStatement, LogicalPlan, Prepare, Statement as PlanStatement};
use datafusion::sql::parser::{CopyToSource, ExplainStatement, Statement as Parsed};
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{
    self, Expr as SqlExpr, Ident, ObjectName, Statement as Sql, Value, VisitMut, VisitorMut,
};
use hyperslab_store::{ArrayName, Snapshot};

use crate::catalog::only_read;
use crate::session::{CATALOG, Frame};
use crate::version::{self, VersionRef};

mod alter_table;
pub(crate) mod attach;
mod check;
mod copy;
mod create_external;
mod create_index;
mod create_table;
pub(crate) mod custom;
mod delete;
mod drop;
mod drop_index;
mod edit;
mod insert;
mod merge;
mod optimize;
mod restore;
mod schema;
mod show_indexes;
mod tag;
pub(crate) mod transaction;
mod truncate;
mod unplanned;
mod update;
mod vacuum;

pub(crate) use edit::typed;

use custom::AnyStatement;

/// Plans a statement; nothing is changed before the plan is executed.
pub(crate) async fn plan_any(frame: &Frame, statement: AnyStatement) -> Result<LogicalPlan> {
    match statement {
        AnyStatement::Parsed(parsed) => plan(frame, *parsed).await,
        AnyStatement::Custom(statement) => custom::plan(frame, statement),
        AnyStatement::Explain(options, statement) => {
            let inner = custom::plan(frame, statement)?;
            explained(frame, options, inner).await
        }
    }
}

async fn plan(frame: &Frame, parsed: Parsed) -> Result<LogicalPlan> {
    match parsed {
        Parsed::Explain(ExplainStatement { options, statement }) => {
            let inner = Box::pin(plan(frame, *statement)).await?;
            explained(frame, options, inner).await
        }
        Parsed::CopyTo(copy) => copy::plan(frame, copy).await,
        Parsed::Statement(mut sql) => {
            unplanned::refuse(&sql)?;
            let _ = VisitMut::visit(sql.as_mut(), &mut TextVectors);
            plan_sql(frame, *sql).await
        }
        Parsed::CreateExternalTable(create) => create_external::plan(frame, create).await,
        other => frame.state.statement_to_plan(other).await,
    }
}

async fn plan_sql(frame: &Frame, sql: Sql) -> Result<LogicalPlan> {
    match sql {
        Sql::CreateTable(create) => create_table::plan(frame, create).await,
        Sql::Insert(insert) => insert::plan(frame, insert).await,
        Sql::Drop { object_type: ast::ObjectType::Table | ast::ObjectType::Schema, .. } => drop::plan(frame, sql).await,
        Sql::Drop { object_type: ast::ObjectType::Index, .. } => drop_index::plan(frame, sql),
        Sql::AlterTable(alter) => alter_table::plan(frame, alter),
        Sql::CreateSchema { .. } => schema::plan(frame, sql).await,
        Sql::Prepare { name, data_types, statement } if is_ours(&statement) => {
            // DataFusion plans the shell of the statement; what is prepared is ours.
            let outer = Sql::Prepare { name, data_types, statement: Box::new(placeholder()?) };
            let inner = Box::pin(plan_sql(frame, *statement)).await?;
            match to_datafusion_plan(frame, outer).await? {
                LogicalPlan::Statement(PlanStatement::Prepare(mut prepare)) => {
                    prepare.input = Arc::new(inner);
                    Ok(LogicalPlan::Statement(PlanStatement::Prepare(prepare)))
                }
                other => Ok(other),
            }
        }
        Sql::Update(update) => update::plan(frame, update).await,
        Sql::Delete(delete) => delete::plan(frame, delete).await,
        Sql::Merge(merge) => merge::plan(frame, merge).await,
        Sql::Truncate(truncate) => truncate::plan(frame, truncate).await,
        Sql::StartTransaction { .. } | Sql::Commit { .. } | Sql::Rollback { .. } => {
            plan_err!("BEGIN, COMMIT and ROLLBACK cannot be prepared or explained")
        }
        Sql::Savepoint { .. } | Sql::ReleaseSavepoint { .. } => {
            not_impl_err!(
                "SAVEPOINT is not supported; a statement that fails leaves the transaction as it was before it"
            )
        }
        Sql::Comment { .. } => not_impl_err!("COMMENT ON is not supported: arrays and fields hold no comments"),
        Sql::CreateIndex(create) => create_index::plan(frame, create),
        sql => {
            let untyped = matches!(&sql, Sql::Prepare { data_types, .. } if data_types.is_empty());
            match to_datafusion_plan(frame, sql).await? {
                LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => create_table::select_into(frame, create),
                LogicalPlan::Statement(PlanStatement::Prepare(prepare)) if untyped => all_types_or_none(prepare),
                plan => Ok(plan),
            }
        }
    }
}

/// DataFusion drops the parameters whose types it cannot infer, and then misses them: without types each EXECUTE brings
/// its own.
fn all_types_or_none(mut prepare: Prepare) -> Result<LogicalPlan> {
    if prepare.fields.len() != prepare.input.get_parameter_names()?.len() {
        prepare.fields.clear();
    }
    Ok(LogicalPlan::Statement(PlanStatement::Prepare(prepare)))
}

/// What DataFusion's planner makes of a statement.
async fn to_datafusion_plan(frame: &Frame, sql: Sql) -> Result<LogicalPlan> {
    frame.state.statement_to_plan(Parsed::Statement(Box::new(sql))).await
}

/// Whether a statement under PREPARE is planned here.
fn is_ours(sql: &Sql) -> bool {
    matches!(
        sql,
        Sql::Insert(_)
            | Sql::Update(_)
            | Sql::Delete(_)
            | Sql::Merge(_)
            | Sql::Truncate(_)
            | Sql::StartTransaction { .. }
            | Sql::Commit { .. }
            | Sql::Rollback { .. }
            | Sql::CreateTable(_)
            | Sql::Drop { .. }
            | Sql::AlterTable(_)
            | Sql::CreateSchema { .. }
    )
}

/// A statement to be replaced in DataFusion's plan of what stands around it.
fn placeholder() -> Result<Sql> {
    match crate::dialect::parse_one("SELECT 1", 50)? {
        Parsed::Statement(sql) => Ok(*sql),
        _ => plan_err!("a SELECT is a statement"),
    }
}

/// EXPLAIN of any statement: DataFusion plans the EXPLAIN around a placeholder, which our plan then replaces, so that
/// every option of EXPLAIN works and nothing is executed but by ANALYZE.
async fn explained(frame: &Frame, options: ExplainStatementOptions, inner: LogicalPlan) -> Result<LogicalPlan> {
    let inner = frame.pin(inner)?;
    let outer = ExplainStatement { options, statement: Box::new(Parsed::Statement(Box::new(placeholder()?))) };
    Ok(match frame.state.statement_to_plan(Parsed::Explain(outer)).await? {
        LogicalPlan::Explain(mut explain) => {
            explain.stringified_plans = vec![inner.to_stringified(PlanType::InitialLogicalPlan)];
            explain.plan = Arc::new(inner);
            LogicalPlan::Explain(explain)
        }
        LogicalPlan::Analyze(mut analyze) => {
            analyze.input = Arc::new(inner);
            LogicalPlan::Analyze(analyze)
        }
        other => other,
    })
}

impl Frame {
    fn normalizes(&self) -> bool {
        self.state.config_options().sql_parser.enable_ident_normalization
    }

    /// An identifier as the catalog knows it: in lower case unless quoted.
    pub(crate) fn identifier(&self, ident: &Ident) -> String {
        match ident.quote_style {
            None if self.normalizes() => ident.value.to_lowercase(),
            _ => ident.value.clone(),
        }
    }

    /// The name in the store that a table's name means, whether or not there is an array; none for another catalog.
    pub(crate) fn store_name(&self, name: &ObjectName) -> Result<Option<ArrayName>> {
        self.resolve(object_name_to_table_reference(name.clone(), self.normalizes())?)
    }

    /// The same of a name that is normalized already.
    ///
    /// # Errors
    /// A name of what is attached, which no statement that asks for the store's names acts on.
    pub(crate) fn resolve(&self, reference: TableReference) -> Result<Option<ArrayName>> {
        let defaults = &self.state.config_options().catalog;
        let resolved = reference.resolve(&defaults.default_catalog, &defaults.default_schema);
        if resolved.catalog.as_ref() != CATALOG {
            return Ok(None);
        }
        self.refuse_attached(&resolved.schema)?;
        Ok(Some(ArrayName::new(resolved.schema.as_ref(), resolved.table.as_ref())))
    }

    fn refuse_attached(&self, schema: &str) -> Result<()> {
        match self.catalog.attached_path(schema)? {
            Some(path) => plan_err!("{schema}: {}", only_read(&path)),
            None => Ok(()),
        }
    }

    /// The array of that name, which must be there.
    pub(crate) fn existing(&self, statement: &str, name: &ObjectName) -> Result<ArrayName> {
        match self.array_named(name)? {
            Some(array) => Ok(array),
            None => plan_err!("{statement}: {name} is no array of the store"),
        }
    }

    /// A version that the statement names.
    pub(crate) fn version(&self, version: &VersionRef) -> Result<Arc<Snapshot>> {
        version.snapshot(&self.store, &self.snapshot, |expr| {
            version::constant(self.state.create_logical_expr(&expr.to_string(), &DFSchema::empty())?)
        })
    }

    /// The array of that name in this statement's version.
    pub(crate) fn array_named(&self, name: &ObjectName) -> Result<Option<ArrayName>> {
        Ok(self.store_name(name)?.filter(|n| self.snapshot.contains(n)))
    }

    /// The schema of the store that a name means; none for another catalog.
    pub(crate) fn schema_named(&self, name: &ObjectName) -> Result<Option<String>> {
        let parts: Vec<String> = name.0.iter().filter_map(|p| p.as_ident()).map(|i| self.identifier(i)).collect();
        let reference = match parts.as_slice() {
            [schema] => SchemaReference::Bare { schema: schema.as_str().into() },
            [catalog, schema] => {
                SchemaReference::Full { catalog: catalog.as_str().into(), schema: schema.as_str().into() }
            }
            _ => return plan_err!("{name} is no name of a schema"),
        };
        let default = &self.state.config_options().catalog.default_catalog;
        let schema = match reference {
            SchemaReference::Bare { schema } if default == CATALOG => schema.to_string(),
            SchemaReference::Full { schema, catalog } if catalog.as_ref() == CATALOG => schema.to_string(),
            _ => return Ok(None),
        };
        self.refuse_attached(&schema)?;
        Ok(Some(schema))
    }
}

/// Refuses the clauses of a statement that are given and that nothing acts on.
pub(crate) fn refuse_clauses(statement: &str, clauses: &[(&str, bool)]) -> Result<()> {
    match clauses.iter().find(|(_, given)| *given) {
        Some((clause, _)) => not_impl_err!("{statement}: {clause} is not supported; leave it out"),
        None => Ok(()),
    }
}

/// `'[1, 2]'::VECTOR(2)`, pgvector's habit: the text becomes the array that it spells. It is no cast that DataFusion
/// has, so that the syntax tree is changed before it is planned.
struct TextVectors;

impl VisitorMut for TextVectors {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut SqlExpr) -> ControlFlow<()> {
        if let SqlExpr::Cast { expr: inner, data_type, .. } = expr
            && is_cell(data_type)
            && let SqlExpr::Value(value) = inner.as_ref()
            && let Value::SingleQuotedString(text) = &value.value
            && text.trim_start().starts_with('[')
            && let Some(array) = parse_array(text)
        {
            **inner = array;
        }
        ControlFlow::Continue(())
    }
}

fn is_cell(data_type: &ast::DataType) -> bool {
    match data_type {
        ast::DataType::Array(ast::ArrayElemTypeDef::SquareBracket(..)) => true,
        ast::DataType::Custom(name, _) => {
            matches!(name.to_string().to_uppercase().as_str(), "VECTOR" | "HALFVEC" | "TENSOR")
        }
        _ => false,
    }
}

/// A text of nested brackets and numbers as an array expression; nothing else is taken from a string.
fn parse_array(text: &str) -> Option<SqlExpr> {
    let allowed = |c: char| c.is_ascii_digit() || c.is_ascii_whitespace() || "[],.+-eE".contains(c);
    if !text.chars().all(allowed) {
        return None;
    }
    let dialect = crate::dialect::HyperslabDialect::default();
    let mut parser = ast_parser(&dialect, text)?;
    let expr = parser.parse_expr().ok()?;
    matches!(parser.peek_token().token, datafusion::sql::sqlparser::tokenizer::Token::EOF).then_some(expr)
}

fn ast_parser<'a>(
    dialect: &'a crate::dialect::HyperslabDialect,
    text: &str,
) -> Option<datafusion::sql::sqlparser::parser::Parser<'a>> {
    datafusion::sql::sqlparser::parser::Parser::new(dialect).try_with_sql(text).ok()
}

/// A COPY source as a query.
pub(crate) async fn source_plan(frame: &Frame, source: CopyToSource) -> Result<LogicalPlan> {
    let query = match source {
        CopyToSource::Query(query) => Parsed::Statement(Box::new(Sql::Query(query))),
        CopyToSource::Relation(name) => crate::dialect::parse_one(&format!("SELECT * FROM {name}"), 50)?,
    };
    Box::pin(plan(frame, query)).await
}
