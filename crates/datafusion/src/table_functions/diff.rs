//! `diff`: the rows in which two versions of an array differ, with the values of both.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{
    Array as _, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray, UInt32Array,
};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result, ScalarValue, TableReference, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::stream;
use hyperslab_core::{ArraySource, FieldSpec, arrow};
use hyperslab_store::{Array, Diff, RowChange};

use super::call::literal;
use super::{Call, Parameter, TableFunction};
use crate::catalog::StoreCatalog;
use crate::error::to_datafusion;
use crate::functions::{FunctionDoc, FunctionKind};
use crate::version::tagged;

/// Rows of a batch, and about how many bytes of values, of both sides together.
const BATCH: (usize, usize) = (8192, 8 << 20);

pub(super) static DIFF: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "diff",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "diff(array, from[, to])",
        summary: "The rows in which two versions (numbers or tags; the second is the newest if not given) of an array \
                  differ: change ('added', 'replaced', 'deleted'), old_row, new_row, then old_<field> and new_<field> \
                  of each field. Rows are followed where deletions moved them; equal bits are no change.",
        example: "CREATE TABLE t (x INT); INSERT INTO t VALUES (1), (2); INSERT INTO t VALUES (3); \
                  SELECT change, new_row, new_x FROM diff('t', 2, 3)",
    },
    parameters: &[Parameter::required("array"), Parameter::required("from"), Parameter::optional("to")],
    plan,
};

fn plan(call: &mut Call<'_>) -> Result<LogicalPlan> {
    let (catalog, name) = call.array_name("array")?;
    let store = catalog.store();
    let from = match version(call, &catalog, "from")? {
        Some(from) => from,
        None => return call.misused("the argument from is missing"),
    };
    let to = match version(call, &catalog, "to")? {
        Some(to) => to,
        None => store.snapshot().map_err(to_datafusion)?.version(),
    };
    let diff = store.diff(&name, from, to).map_err(to_datafusion)?;
    let table = DiffTable::new(diff)?;
    let scan = TableReference::bare(format!("diff({name}@v{from},v{to})"));
    LogicalPlanBuilder::scan(scan, provider_as_source(Arc::new(table)), None)?.build()
}

/// A version given by its number or its tag.
fn version(call: &mut Call<'_>, catalog: &StoreCatalog, name: &str) -> Result<Option<u64>> {
    let Some(expr) = call.argument(name) else { return Ok(None) };
    let value = literal(&call.constant(expr.clone())?);
    match value {
        Some(ScalarValue::Int64(Some(version))) if version >= 0 => Ok(u64::try_from(version).ok()),
        Some(ScalarValue::Utf8(Some(tag)) | ScalarValue::Utf8View(Some(tag)) | ScalarValue::LargeUtf8(Some(tag))) => {
            tagged(catalog.store(), catalog.snapshot()?.as_ref(), &tag).map(Some)
        }
        _ => call.misused(&format!("{name} is a version's number or a tag, not {expr}")),
    }
}

/// What a column shows.
#[derive(Debug, Clone, Copy)]
enum Column {
    Change,
    OldRow,
    NewRow,
    Old(usize),
    New(usize),
}

#[derive(Debug)]
struct DiffTable {
    /// Nothing was asked of it yet; each execution copies it.
    diff: Arc<Diff>,
    columns: Vec<Column>,
    schema: SchemaRef,
}

impl DiffTable {
    fn new(diff: Diff) -> Result<Self> {
        let row = |name| Field::new(name, DataType::Int64, true);
        let mut fields = vec![Field::new("change", DataType::Utf8, false), row("old_row"), row("new_row")];
        let mut columns = vec![Column::Change, Column::OldRow, Column::NewRow];
        let specs = |array: Option<&Array>| array.map(|a| a.fields().to_vec()).unwrap_or_default();
        let (old, new) = (specs(diff.old()), specs(diff.new_array()));
        let at = |specs: &[FieldSpec], name: &str| specs.iter().position(|s| s.name() == name);
        let added = new.iter().filter(|s| at(&old, s.name()).is_none());
        for spec in old.iter().chain(added) {
            for (prefix, side, column) in
                [("old", &old, Column::Old as fn(usize) -> Column), ("new", &new, Column::New as fn(usize) -> Column)]
            {
                let Some(index) = at(side, spec.name()) else { continue };
                let Some(spec) = side.get(index) else { continue };
                let field = arrow::to_field(spec).with_name(format!("{prefix}_{}", spec.name()));
                fields.push(field.with_nullable(true));
                columns.push(column(index));
            }
        }
        if let Some(twice) =
            fields.iter().enumerate().find(|(i, f)| fields.iter().take(*i).any(|g| g.name() == f.name()))
        {
            return plan_err!("diff: a field gives a second column {:?}; rename it first", twice.1.name());
        }
        Ok(Self { diff: Arc::new(diff), columns, schema: Arc::new(Schema::new(fields)) })
    }
}

#[async_trait]
impl TableProvider for DiffTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let projection = projection.unwrap_or(&all);
        let schema = Arc::new(self.schema.project(projection)?);
        let columns = projection.iter().filter_map(|i| self.columns.get(*i)).copied().collect();
        let stream = DiffStream { diff: Arc::clone(&self.diff), columns, schema: Arc::clone(&schema) };
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(stream)], None, [], false, limit)?))
    }
}

#[derive(Debug)]
struct DiffStream {
    diff: Arc<Diff>,
    /// The columns that are asked for; no others are read.
    columns: Vec<Column>,
    schema: SchemaRef,
}

impl PartitionStream for DiffStream {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (diff, columns, schema) = (self.diff.as_ref().clone(), self.columns.clone(), Arc::clone(&self.schema));
        let rows = batch_rows(&diff, &columns);
        let batches = stream::try_unfold((diff, columns, schema), move |(mut diff, columns, schema)| async move {
            // Comparing rows may take long without giving any.
            let work = move || {
                let changes = diff.next_changes(rows).map_err(to_datafusion)?;
                if changes.is_empty() {
                    return Ok(None);
                }
                let batch = batch(&diff, &columns, &schema, &changes)?;
                Ok(Some((batch, (diff, columns, schema))))
            };
            tokio::task::spawn_blocking(work).await.map_err(|e| DataFusionError::External(Box::new(e)))?
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}

fn batch_rows(diff: &Diff, columns: &[Column]) -> usize {
    let bytes = |array: Option<&Array>, i: usize| array.and_then(|a| a.fields().get(i)).map_or(0, FieldSpec::row_bytes);
    let row_bytes: usize = columns
        .iter()
        .map(|column| match column {
            Column::Old(i) => bytes(diff.old(), *i),
            Column::New(i) => bytes(diff.new_array(), *i),
            _ => 8,
        })
        .sum();
    (BATCH.1 / row_bytes.max(1)).clamp(1, BATCH.0)
}

fn batch(diff: &Diff, columns: &[Column], schema: &SchemaRef, changes: &[RowChange]) -> Result<RecordBatch> {
    let positions = |side: fn(&RowChange) -> Option<u64>| {
        changes.iter().map(|c| side(c).and_then(|row| i64::try_from(row).ok())).collect::<Int64Array>()
    };
    let kind = |c: &RowChange| match (c.old, c.new) {
        (None, _) => "added",
        (_, None) => "deleted",
        _ => "replaced",
    };
    let arrays = columns.iter().map(|column| -> Result<ArrayRef> {
        Ok(match column {
            Column::Change => Arc::new(StringArray::from_iter_values(changes.iter().map(kind))),
            Column::OldRow => Arc::new(positions(|c| c.old)),
            Column::NewRow => Arc::new(positions(|c| c.new)),
            Column::Old(field) => values(diff.old(), *field, changes.iter().map(|c| c.old))?,
            Column::New(field) => values(diff.new_array(), *field, changes.iter().map(|c| c.new))?,
        })
    });
    let arrays = arrays.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(changes.len()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?)
}

/// Values of rows, NULL where there is none.
fn values(array: Option<&Array>, field: usize, rows: impl Iterator<Item = Option<u64>>) -> Result<ArrayRef> {
    let Some(array) = array else { return plan_err!("diff: the array is not there") };
    let mut present = Vec::new();
    let places: UInt32Array = rows
        .map(|row| {
            let place = u32::try_from(present.len()).ok();
            row.and_then(|row| {
                present.push(row);
                place
            })
        })
        .collect();
    let values = array.take(field, &present).map_err(to_datafusion)?.array;
    if places.null_count() == 0 { Ok(values) } else { Ok(take(&values, &places, None)?) }
}
