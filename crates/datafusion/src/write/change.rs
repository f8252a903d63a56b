//! Changes without rows: CREATE TABLE, DROP, RENAME, fields, indexes, schemas, tags and RESTORE. They run when the statement's
//! frame is collected.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, DFSchemaRef, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::TryStreamExt;
use hyperslab_core::{Error, ErrorKind, FieldSpec, Result as StoreResult};
use hyperslab_store::{ArrayName, ArrayOptions, Codec, Snapshot, Store, Transaction};

use super::IfExists;
use crate::to_datafusion;
use crate::transaction::Writer;

/// A change of the store's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// CREATE TABLE with columns.
    Create { name: ArrayName, fields: Vec<FieldSpec>, options: ArrayOptions, if_exists: IfExists },
    /// DROP TABLE.
    Drop { names: Vec<ArrayName>, if_exists: bool },
    /// ALTER TABLE … RENAME TO.
    Rename { from: ArrayName, to: ArrayName, if_exists: bool },
    /// ALTER TABLE: other fields, in order.
    Alter { name: ArrayName, steps: Vec<FieldChange>, if_exists: bool },
    /// ALTER TABLE … SET: options of files that are written from now on; a field's own codec comes last.
    SetOptions {
        name: ArrayName,
        shard_bytes: Option<u64>,
        codec: Option<Codec>,
        codecs: Vec<(String, Codec)>,
        if_exists: bool,
    },
    /// CREATE SCHEMA.
    CreateSchema { name: String, if_not_exists: bool },
    /// DROP SCHEMA, with its arrays where `cascade`.
    DropSchema { name: String, if_exists: bool, cascade: bool },
    /// CREATE TAG.
    SetTag { tag: String, version: u64, if_exists: IfExists },
    /// DROP TAG.
    DropTag { tag: String, if_exists: bool },
    /// DROP INDEX.
    DropIndex { array: ArrayName, index: String, if_exists: bool },
    /// RESTORE TABLE.
    Restore { name: ArrayName, version: u64 },
}

/// A change of an array's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FieldChange {
    /// ADD COLUMN.
    Add { field: FieldSpec, if_not_exists: bool },
    /// DROP COLUMN.
    Drop { name: String, if_exists: bool },
    /// RENAME COLUMN.
    Rename { from: String, to: String },
}

impl FieldChange {
    fn apply(&self, tx: &mut Transaction, array: &ArrayName) -> StoreResult<()> {
        let fields = tx.fields(array)?;
        let has = |name: &str| fields.iter().any(|f| f.name() == name);
        match self {
            Self::Add { field, if_not_exists: true } if has(field.name()) => Ok(()),
            Self::Add { field, .. } => tx.add_field(array, field.clone()),
            Self::Drop { name, if_exists: true } if !has(name) => Ok(()),
            Self::Drop { name, .. } => tx.drop_field(array, name),
            Self::Rename { from, to } => tx.rename_field(array, from, to),
        }
    }
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { field, .. } => write!(f, "add {field}"),
            Self::Drop { name, .. } => write!(f, "drop {name}"),
            Self::Rename { from, to } => write!(f, "rename {from} to {to}"),
        }
    }
}

impl Change {
    fn apply(&self, tx: &mut Transaction) -> StoreResult<()> {
        let base = tx.snapshot()?;
        match self {
            Self::Create { name, fields, options, if_exists } => {
                if base.contains(name) {
                    match if_exists {
                        IfExists::Skip => return Ok(()),
                        IfExists::Replace => tx.drop_array(name)?,
                        IfExists::Fail => {
                            return Err(taken(format!(
                                "array {name} exists already; use CREATE OR REPLACE TABLE, \
                                 CREATE TABLE IF NOT EXISTS or another name"
                            )));
                        }
                    }
                }
                tx.create(name, fields.clone(), options.clone())
            }
            Self::Drop { names, if_exists } => {
                names.iter().filter(|n| !*if_exists || base.contains(*n)).try_for_each(|n| tx.drop_array(n))
            }
            Self::Rename { from, .. } if !base.contains(from) && self.is_lenient() => Ok(()),
            Self::Rename { from, to, .. } => tx.rename(from, to),
            Self::Alter { name, if_exists: true, .. } if !base.contains(name) => Ok(()),
            Self::Alter { name, steps, .. } => steps.iter().try_for_each(|step| step.apply(tx, name)),
            Self::SetOptions { name, if_exists: true, .. } if !base.contains(name) => Ok(()),
            Self::SetOptions { name, shard_bytes, codec, codecs, .. } => {
                let fields = tx.fields(name)?;
                let all = codec.iter().flat_map(|codec| fields.iter().map(|f| (f.name().to_owned(), *codec)));
                let codecs = all.chain(codecs.iter().cloned()).collect();
                tx.set_options(name, *shard_bytes, &codecs)
            }
            Self::CreateSchema { name, .. } if base.schemas().contains(name) => match self.is_lenient() {
                true => Ok(()),
                false => Err(taken(format!("schema {name} exists already"))),
            },
            Self::CreateSchema { name, .. } => tx.create_schema(name),
            Self::DropSchema { name, .. } if !base.schemas().contains(name) && self.is_lenient() => Ok(()),
            Self::DropSchema { name, cascade, .. } => {
                if *cascade {
                    for array in base.arrays(name) {
                        tx.drop_array(ArrayName::new(name, array))?;
                    }
                }
                tx.drop_schema(name)
            }
            Self::SetTag { tag, version, if_exists } => match (base.tags().get(tag), if_exists) {
                (Some(_), IfExists::Skip) => Ok(()),
                (Some(at), IfExists::Fail) => {
                    let why = format!("tag {tag} exists already, at version {at}");
                    Err(taken(format!("{why}; use CREATE OR REPLACE TAG, or another name")))
                }
                _ => tx.set_tag(tag, *version),
            },
            Self::DropTag { tag, if_exists: true } if !base.tags().contains_key(tag) => Ok(()),
            Self::DropTag { tag, .. } => tx.drop_tag(tag),
            Self::DropIndex { array, index, if_exists: true } if !has_index(&base, array, index)? => Ok(()),
            Self::DropIndex { array, index, .. } => tx.drop_index(array, index),
            Self::Restore { name, version } => tx.restore(name, *version),
        }
    }

    fn is_lenient(&self) -> bool {
        match self {
            Self::Create { if_exists, .. } => *if_exists == IfExists::Skip,
            Self::Drop { if_exists, .. }
            | Self::Rename { if_exists, .. }
            | Self::Alter { if_exists, .. }
            | Self::SetOptions { if_exists, .. }
            | Self::DropSchema { if_exists, .. } => *if_exists,
            Self::CreateSchema { if_not_exists, .. } => *if_not_exists,
            Self::SetTag { .. } | Self::DropTag { .. } | Self::DropIndex { .. } | Self::Restore { .. } => false,
        }
    }
}

fn has_index(snapshot: &Snapshot, array: &ArrayName, index: &str) -> StoreResult<bool> {
    if !snapshot.contains(array) {
        return Ok(false);
    }
    Ok(snapshot.array(array)?.indexes()?.iter().any(|info| info.name == index))
}

fn taken(message: String) -> Error {
    Error::new(ErrorKind::AlreadyExists, message)
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { name, .. } => write!(f, "create {name}"),
            Self::Drop { names, .. } => {
                let names: Vec<_> = names.iter().map(ToString::to_string).collect();
                write!(f, "drop {}", names.join(", "))
            }
            Self::Rename { from, to, .. } => write!(f, "rename {from} to {to}"),
            Self::Alter { name, steps, .. } => {
                let steps: Vec<_> = steps.iter().map(ToString::to_string).collect();
                write!(f, "alter {name}: {}", steps.join(", "))
            }
            Self::SetOptions { name, .. } => write!(f, "set options of {name}"),
            Self::CreateSchema { name, .. } => write!(f, "create schema {name}"),
            Self::DropSchema { name, .. } => write!(f, "drop schema {name}"),
            Self::SetTag { tag, version, .. } => write!(f, "tag version {version} as {tag}"),
            Self::DropTag { tag, .. } => write!(f, "drop tag {tag}"),
            Self::DropIndex { array, index, .. } => write!(f, "drop index {index} of {array}"),
            Self::Restore { name, version } => write!(f, "restore {name} to version {version}"),
        }
    }
}

/// The logical node of a [`Change`]: no input, no rows.
#[derive(Debug, Clone)]
pub(crate) struct StoreChange {
    store: Store,
    change: Change,
    schema: DFSchemaRef,
}

impl StoreChange {
    /// A plan that makes the change when it is executed.
    pub(crate) fn plan(store: &Store, change: Change) -> LogicalPlan {
        let node = Self { store: store.clone(), change, schema: Arc::new(DFSchema::empty()) };
        LogicalPlan::Extension(Extension { node: Arc::new(node) })
    }
}

impl PartialEq for StoreChange {
    fn eq(&self, other: &Self) -> bool {
        self.change == other.change
    }
}

impl Eq for StoreChange {}

impl std::hash::Hash for StoreChange {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.change.to_string().hash(state);
    }
}

impl PartialOrd for StoreChange {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (self == other).then_some(std::cmp::Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for StoreChange {
    fn name(&self) -> &str {
        "StoreChange"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreChange: {}", self.change)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, _inputs: Vec<LogicalPlan>) -> Result<Self> {
        Ok(self.clone())
    }
}

/// Executes a [`StoreChange`].
#[derive(Debug)]
pub(crate) struct StoreChangeExec {
    store: Store,
    change: Change,
    properties: Arc<PlanProperties>,
}

impl StoreChangeExec {
    pub(crate) fn new(node: &StoreChange) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::new(Schema::empty())),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        ));
        Self { store: node.store.clone(), change: node.change.clone(), properties }
    }
}

impl DisplayAs for StoreChangeExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreChangeExec: {}", self.change)
    }
}

impl ExecutionPlan for StoreChangeExec {
    fn name(&self) -> &str {
        "StoreChangeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (store, change) = (self.store.clone(), self.change.clone());
        let work = async move {
            let mut writer = Writer::begin(&context, &store)?;
            change.apply(writer.tx()?).map_err(to_datafusion)?;
            writer.finish().await?;
            Ok::<_, datafusion::common::DataFusionError>(futures::stream::empty::<Result<RecordBatch>>())
        };
        let batches = futures::stream::once(work).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}
