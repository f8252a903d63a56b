//! The edit node: what DELETE, UPDATE, MERGE and TRUNCATE execute.
//!
//! [`ArrayEdit`] stands over the plan of the statement itself, which gives the positions of the rows concerned in the
//! statement's snapshot, and the new values: whatever the WHERE says, it is the rows of a query. [`ArrayEditExec`] makes
//! addresses of the positions, batch by batch, and stages the changes in a transaction that is based on that snapshot.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, DFSchemaRef, Result, internal_err, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNodeCore};
use hyperslab_core::FieldSpec;
use hyperslab_store::{Array, ArrayName, Snapshot, Store};

use super::{Report, convert};
use crate::to_datafusion;

mod exec;

pub(crate) use exec::ArrayEditExec;

/// What happens to a row of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// The row at the position in its first column is deleted.
    Delete,
    /// That row gets new values of these fields.
    Update(Vec<FieldSpec>),
    /// A new row of these fields, which are the array's.
    Insert(Vec<FieldSpec>),
}

impl Action {
    /// The fields that it takes from the input, in order.
    pub(crate) fn fields(&self) -> &[FieldSpec] {
        match self {
            Self::Delete => &[],
            Self::Update(fields) | Self::Insert(fields) => fields,
        }
    }
}

/// Which rows are edited how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Edit {
    /// Columns of the input: the position, then the values.
    Each(Action),
    /// Columns of the input: the position (NULL where no row matched), the number of the action (NULL for none), then
    /// the values of each action.
    Merge(Vec<Action>),
    /// All rows are deleted; the input has none.
    Truncate,
}

impl Edit {
    pub(crate) fn actions(&self) -> &[Action] {
        match self {
            Self::Each(action) => std::slice::from_ref(action),
            Self::Merge(actions) => actions,
            Self::Truncate => &[],
        }
    }

    /// The input's columns before the values.
    pub(crate) fn leading(&self) -> usize {
        match self {
            Self::Each(_) => 1,
            Self::Merge(_) => 2,
            Self::Truncate => 0,
        }
    }
}

/// What is edited, shared by the logical and the physical node.
#[derive(Debug, Clone)]
pub(crate) struct EditTarget {
    pub(crate) store: Store,
    pub(crate) name: ArrayName,
    /// The array's fields when the statement was planned.
    pub(crate) fields: Vec<FieldSpec>,
    pub(crate) edit: Edit,
    /// What the statement sees: the input's positions count its rows. Pinning sets it.
    pub(crate) base: Option<Arc<Snapshot>>,
}

impl fmt::Display for EditTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |fields: &[FieldSpec]| fields.iter().map(FieldSpec::name).collect::<Vec<_>>().join(", ");
        match &self.edit {
            Edit::Each(Action::Delete) => write!(f, "delete from {}", self.name),
            Edit::Each(Action::Update(fields)) => write!(f, "update {}: {}", self.name, names(fields)),
            Edit::Each(Action::Insert(_)) => write!(f, "append to {}", self.name),
            Edit::Truncate => write!(f, "truncate {}", self.name),
            Edit::Merge(actions) => {
                let actions: Vec<_> = actions
                    .iter()
                    .map(|a| match a {
                        Action::Delete => "delete".to_owned(),
                        Action::Update(fields) => format!("update {}", names(fields)),
                        Action::Insert(_) => "insert".to_owned(),
                    })
                    .collect();
                write!(f, "merge into {}: {}", self.name, actions.join("; "))
            }
        }
    }
}

/// The logical edit node.
#[derive(Debug, Clone)]
pub(crate) struct ArrayEdit {
    target: Arc<EditTarget>,
    input: LogicalPlan,
    schema: DFSchemaRef,
}

impl PartialEq for ArrayEdit {
    fn eq(&self, other: &Self) -> bool {
        // Two edits are never one.
        Arc::ptr_eq(&self.target, &other.target) && self.input == other.input
    }
}

impl Eq for ArrayEdit {}

impl std::hash::Hash for ArrayEdit {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.target.name.hash(state);
        self.input.hash(state);
    }
}

impl PartialOrd for ArrayEdit {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.input.partial_cmp(&other.input)
    }
}

impl ArrayEdit {
    /// Edits an array by the rows of `input`, whose columns [`Edit`] says.
    ///
    /// # Errors
    /// A column that cannot become its field.
    pub(crate) fn plan(store: &Store, array: &Array, edit: Edit, input: LogicalPlan) -> Result<LogicalPlan> {
        let columns = input.schema().fields();
        let fields: Vec<&FieldSpec> = edit.actions().iter().flat_map(Action::fields).collect();
        let is_position = |i: usize| columns.get(i).is_some_and(|c| *c.data_type() == DataType::Int64);
        if columns.len() != edit.leading() + fields.len() || !(0..edit.leading().min(1)).all(is_position) {
            return internal_err!("{} columns for an edit of {} fields", columns.len(), fields.len());
        }
        for (field, column) in fields.into_iter().zip(columns.iter().skip(edit.leading())) {
            convert::check_type(field, column.data_type())?;
        }
        let (name, fields) = (array.name().clone(), array.fields().to_vec());
        let target = EditTarget { store: store.clone(), name, fields, edit, base: None };
        let schema = Arc::new(DFSchema::try_from(Report::Count.schema())?);
        Ok(extension(Self { target: Arc::new(target), input, schema }))
    }

    /// All rows of an array are deleted.
    pub(crate) fn truncate(store: &Store, array: &Array) -> Result<LogicalPlan> {
        Self::plan(store, array, Edit::Truncate, LogicalPlanBuilder::empty(false).build()?)
    }

    /// The same edit of the array as a snapshot shows it; `None` for another store's.
    ///
    /// # Errors
    /// An array that is gone, or whose fields changed since the statement was prepared.
    pub(crate) fn pinned(&self, store: &Store, snapshot: &Arc<Snapshot>) -> Result<Option<LogicalPlan>> {
        if !self.target.store.is_same(store) {
            return Ok(None);
        }
        let name = &self.target.name;
        if snapshot.array(name).map_err(to_datafusion)?.fields() != self.target.fields {
            return plan_err!("the fields of {name} changed since the statement was prepared; prepare it again");
        }
        let target = EditTarget { base: Some(Arc::clone(snapshot)), ..self.target.as_ref().clone() };
        Ok(Some(extension(Self { target: Arc::new(target), ..self.clone() })))
    }

    pub(crate) fn target(&self) -> &Arc<EditTarget> {
        &self.target
    }
}

fn extension(node: ArrayEdit) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

impl UserDefinedLogicalNodeCore for ArrayEdit {
    fn name(&self) -> &str {
        "ArrayEdit"
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
        write!(f, "ArrayEdit: {}", self.target)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match <[LogicalPlan; 1]>::try_from(inputs) {
            Ok([input]) => Ok(Self { input, ..self.clone() }),
            Err(_) => internal_err!("ArrayEdit has one input"),
        }
    }
}
