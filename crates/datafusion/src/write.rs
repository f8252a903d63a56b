//! The write node: what INSERT, CREATE TABLE AS and append() execute.
//!
//! [`ArrayWrite`] is a logical node over the plan that gives the rows; [`ArrayWriteExec`] streams them into the
//! transaction of the [`Writer`](crate::transaction::Writer). An error, or a stream that is dropped, takes all of it
//! back: nothing of the statement is ever seen.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DFSchemaRef, Result, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::expr::{Alias, Cast};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, ExprSchemable, Extension, LogicalPlan, Projection, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use hyperslab_core::{FieldSpec, arrow};
use hyperslab_store::{Array, ArrayName, ArrayOptions, Store};

pub(crate) mod change;
pub(crate) mod convert;
pub(crate) mod edit;
mod exec;
pub(crate) mod flatten;
pub(crate) mod in_order;
mod numbered_files;
mod text_ranges;
pub(crate) mod to_fields;
pub(crate) mod whole_file;

pub(crate) use exec::{ArrayWriteExec, insert_exec};
use in_order::{InOrder, InOrderExec};

use crate::to_datafusion;

/// What a row holds in a field that a statement leaves out: the default, or NULL; `None` if it has neither.
///
/// # Errors
/// A fill value that is no value of the field's type.
pub(crate) fn left_out(field: &FieldSpec) -> Result<Option<Expr>> {
    if !field.nullable() && field.fill().is_none() {
        return Ok(None);
    }
    let value = arrow::filled(field, 1).map_err(to_datafusion)?.array;
    Ok(Some(Expr::Literal(ScalarValue::try_from_array(&value, 0)?, None)))
}

/// What to do when the array that CREATE TABLE names exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum IfExists {
    /// An error.
    Fail,
    /// Nothing (IF NOT EXISTS).
    Skip,
    /// Replace it in the same commit (OR REPLACE).
    Replace,
}

/// Where rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// To the end of an array that exists.
    Append,
    /// Into a new array.
    Create {
        /// Its layout.
        options: ArrayOptions,
        /// What if it exists.
        if_exists: IfExists,
    },
}

/// What the node returns when it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Report {
    /// One row: `count`.
    Count,
    /// One row: `rows`, `shape`, `version` (NULL in a transaction, which has none before it commits).
    Append,
}

impl Report {
    fn schema(self) -> SchemaRef {
        let field = |name: &str, t| Field::new(name, t, false);
        Arc::new(Schema::new(match self {
            Self::Count => vec![field("count", DataType::UInt64)],
            Self::Append => {
                vec![
                    field("rows", DataType::Int64),
                    field("shape", DataType::Utf8),
                    Field::new("version", DataType::Int64, true),
                ]
            }
        }))
    }
}

/// What is written where, shared by the logical and the physical node.
#[derive(Debug, Clone)]
pub(crate) struct WriteTarget {
    pub(crate) store: Store,
    pub(crate) name: ArrayName,
    /// The array's fields; the input's columns are these, in order.
    pub(crate) fields: Vec<FieldSpec>,
    pub(crate) mode: Mode,
    pub(crate) report: Report,
}

impl WriteTarget {
    /// The end of an array.
    pub(crate) fn append(store: &Store, array: &Array, report: Report) -> Self {
        let (name, fields) = (array.name().clone(), array.fields().to_vec());
        Self { store: store.clone(), name, fields, mode: Mode::Append, report }
    }
}

impl fmt::Display for WriteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match &self.mode {
            Mode::Append => "append to",
            Mode::Create { if_exists: IfExists::Replace, .. } => "create or replace",
            Mode::Create { .. } => "create",
        };
        write!(f, "{mode} {}", self.name)
    }
}

/// The logical write node.
#[derive(Debug, Clone)]
pub(crate) struct ArrayWrite {
    target: Arc<WriteTarget>,
    input: LogicalPlan,
    schema: DFSchemaRef,
}

impl PartialEq for ArrayWrite {
    fn eq(&self, other: &Self) -> bool {
        // Two writes are never one, even of the same rows to the same place.
        Arc::ptr_eq(&self.target, &other.target) && self.input == other.input
    }
}

impl Eq for ArrayWrite {}

impl std::hash::Hash for ArrayWrite {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.target.name.hash(state);
        self.input.hash(state);
    }
}

impl PartialOrd for ArrayWrite {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.input.partial_cmp(&other.input)
    }
}

impl ArrayWrite {
    /// Writes the rows of `input`, in their order; its columns are the target's fields, in order.
    ///
    /// # Errors
    /// Another number of columns, or a column that cannot become its field.
    pub(crate) fn plan(target: WriteTarget, input: LogicalPlan) -> Result<LogicalPlan> {
        let columns = input.schema().fields();
        if columns.len() != target.fields.len() {
            let names: Vec<_> = target.fields.iter().map(FieldSpec::name).collect();
            return plan_err!(
                "{} columns were given for {}, which has {} fields: {}",
                columns.len(),
                target.name,
                names.len(),
                names.join(", ")
            );
        }
        for (field, column) in target.fields.iter().zip(columns) {
            convert::check_type(field, column.data_type())?;
        }
        let schema = Arc::new(DFSchema::try_from(target.report.schema())?);
        let input = keep_lists(input)?;
        let node = Self { target: Arc::new(target), input: InOrder::plan(input)?, schema };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }
}

impl UserDefinedLogicalNodeCore for ArrayWrite {
    fn name(&self) -> &str {
        "ArrayWrite"
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
        write!(f, "ArrayWrite: {}", self.target)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match <[LogicalPlan; 1]>::try_from(inputs) {
            Ok([input]) => Ok(Self { input, ..self.clone() }),
            Err(_) => internal_err!("ArrayWrite has one input"),
        }
    }
}

/// Appends the rows of `input` to an array: what `append()` plans. One row comes back: `rows` (appended), `shape` (the
/// array's, with the rows of this version) and `version` (the commit's).
///
/// A column `row` of the input (BIGINT) is ignored; the others are the fields, by position.
///
/// # Errors
/// Another number of columns, or a column that cannot become its field.
pub(crate) fn append_plan(store: &Store, array: &Array, input: LogicalPlan) -> Result<LogicalPlan> {
    ArrayWrite::plan(WriteTarget::append(store, array, Report::Append), without_row(input)?)
}

/// The same plan without the generated column: a column named `row` of type BIGINT that cannot be NULL is taken to be
/// the position of a row, which whatever is written has anyway. A column `row` of a CSV file can be NULL, and stays.
pub(crate) fn without_row(plan: LogicalPlan) -> Result<LogicalPlan> {
    let is_row = |f: &Field| f.name() == crate::table::ROW && *f.data_type() == DataType::Int64 && !f.is_nullable();
    if !plan.schema().fields().iter().any(|f| is_row(f)) {
        return Ok(plan);
    }
    let keep = plan.schema().iter().filter(|(_, f)| !is_row(f)).map(Expr::from).collect::<Vec<_>>();
    project(plan, keep)
}

/// A projection of columns. It goes below a Sort or Limit's own projection untouched: sort keys that it leaves out are
/// kept by [`InOrder`].
pub(crate) fn project(plan: LogicalPlan, columns: Vec<Expr>) -> Result<LogicalPlan> {
    datafusion::logical_expr::LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// Casts of lists to a fixed length, in the columns that are written, become casts of their items alone: the length is
/// checked when they are written, and that error names the row, which the cast's does not.
fn keep_lists(plan: LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Projection(projection) => {
            // What reads no column does not mind either.
            let is_column = |e: &Expr| matches!(e.clone().unalias(), Expr::Column(_)) || e.column_refs().is_empty();
            let only_columns = projection.expr.iter().all(is_column);
            let keep = |e: Expr| keep_list(e, projection.input.schema());
            let exprs = projection.expr.iter().cloned().map(keep).collect::<Result<Vec<_>>>()?;
            let input = match only_columns {
                true => Arc::new(keep_lists(projection.input.as_ref().clone())?),
                false => projection.input,
            };
            Ok(LogicalPlan::Projection(Projection::try_new(exprs, input)?))
        }
        LogicalPlan::Sort(_) | LogicalPlan::Limit(_) | LogicalPlan::SubqueryAlias(_) => {
            let inputs = plan.inputs().into_iter().cloned().map(keep_lists).collect::<Result<Vec<_>>>()?;
            plan.with_new_exprs(plan.expressions(), inputs)
        }
        other => Ok(other),
    }
}

fn keep_list(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    match expr {
        Expr::Alias(alias) => {
            let inner = keep_list(*alias.expr, schema)?;
            // Not the name that the cast had: the alias gives it.
            let inner = match inner {
                Expr::Alias(named) => named.expr,
                other => Box::new(other),
            };
            Ok(Expr::Alias(Alias { expr: inner, ..alias }))
        }
        Expr::Cast(Cast { expr, field }) => match (expr.get_type(schema)?, field.data_type()) {
            (DataType::List(_) | DataType::LargeList(_), DataType::FixedSizeList(item, _)) => {
                let name = Expr::Cast(Cast { expr: expr.clone(), field: Arc::clone(&field) }).schema_name().to_string();
                Ok(Expr::Cast(Cast::new(expr, DataType::List(Arc::clone(item)))).alias(name))
            }
            _ => Ok(Expr::Cast(Cast { expr, field })),
        },
        other => Ok(other),
    }
}

/// Plans the nodes of this module.
#[derive(Debug)]
pub(crate) struct WritePlanner;

#[async_trait]
impl ExtensionPlanner for WritePlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        _session: &dyn Session,
        _planning: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let node = node.as_any();
        if let Some(change) = node.downcast_ref::<change::StoreChange>() {
            return Ok(Some(Arc::new(change::StoreChangeExec::new(change))));
        }
        if let Some(job) = node.downcast_ref::<crate::maintenance::Maintenance>() {
            return Ok(Some(Arc::new(crate::maintenance::MaintenanceExec::new(job))));
        }
        let [input] = physical_inputs else { return Ok(None) };
        let input = Arc::clone(input);
        Ok(if let Some(write) = node.downcast_ref::<ArrayWrite>() {
            Some(Arc::new(ArrayWriteExec::new(Arc::clone(&write.target), input)))
        } else if let Some(edit) = node.downcast_ref::<edit::ArrayEdit>() {
            Some(Arc::new(edit::ArrayEditExec::new(Arc::clone(edit.target()), input)))
        } else if let Some(in_order) = node.downcast_ref::<InOrder>() {
            Some(Arc::new(InOrderExec::try_new(input, in_order.visible())?))
        } else if let Some(flatten) = node.downcast_ref::<flatten::FlattenCells>() {
            Some(Arc::new(flatten::FlattenCellsExec::try_new(flatten, input)?))
        } else if let Some(fields) = node.downcast_ref::<to_fields::ToFields>() {
            Some(Arc::new(to_fields::ToFieldsExec::new(fields, input)))
        } else if let Some(file) = node.downcast_ref::<whole_file::WholeFile>() {
            let place = file.place.clone();
            Some(match place.rows_per_file {
                Some(rows) => Arc::new(numbered_files::NumberedFilesExec::new(place, rows, input)),
                None => Arc::new(whole_file::WholeFileExec::new(place, input)),
            })
        } else {
            None
        })
    }
}
