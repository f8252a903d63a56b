//! `arrays` and `array_info`: what there is.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::common::{Result, TableReference};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use hyperslab_core::FieldSpec;
use hyperslab_store::ArrayInfo;

use super::{Call, Parameter, TableFunction};
use crate::error::to_datafusion;
use crate::functions::{FunctionDoc, FunctionKind};
use crate::table::Origin;

pub(super) static ARRAYS: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "arrays",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "arrays()",
        summary: "The store's arrays: schema, name, rows, fields, logical and disk bytes, rows deleted and \
                  values replaced since the last OPTIMIZE, segments, shards, the version that last changed it and its \
                  time.",
        example: "CREATE TABLE digits AS SELECT value FROM 'examples/data/digits.npy'; \
                  SELECT name, rows, fields FROM arrays()",
    },
    parameters: &[],
    plan: arrays,
};

pub(super) static ARRAY_INFO: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "array_info",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "array_info(array)",
        summary: "The fields of an array or an array file, one row each: field, dtype, shape, rows, logical bytes \
                  (of text those of all that was written since the last OPTIMIZE); of an array's field its codec, its \
                  bytes on disk and the values replaced since (patches); and of the array the deleted_rows since, the \
                  segments, shards, the version that last changed it and its time.",
        example: "SELECT field, dtype, shape FROM array_info('examples/data/digits.npy')",
    },
    parameters: &[Parameter::required("array")],
    plan: array_info,
};

fn arrays(call: &mut Call<'_>) -> Result<LogicalPlan> {
    let mut infos = vec![];
    for table in call.all_arrays()? {
        if let Origin::Store { array, .. } = table.origin() {
            infos.push(array.info().map_err(to_datafusion)?);
        }
    }
    let fields = |i: &ArrayInfo| i.fields.iter().map(FieldSpec::to_string).collect::<Vec<_>>().join(", ");
    let columns = [
        ("schema", text(infos.iter().map(|i| i.name.schema.clone()))),
        ("name", text(infos.iter().map(|i| i.name.name.clone()))),
        ("rows", numbers(infos.iter().map(|i| Some(i.rows)))),
        ("fields", text(infos.iter().map(fields))),
        ("logical_bytes", numbers(infos.iter().map(|i| Some(i.logical_bytes)))),
    ];
    let infos: Vec<_> = infos.into_iter().map(Some).collect();
    table("arrays()", columns.into_iter().chain(stored(&infos)))
}

fn array_info(call: &mut Call<'_>) -> Result<LogicalPlan> {
    let (argument, found) = call.array_itself("array")?;
    let source = found.source();
    let fields = source.fields();
    let info = match found.origin() {
        Origin::Store { array, .. } => Some(array.info().map_err(to_datafusion)?),
        Origin::File(_) => None,
    };
    let shape = |f: &FieldSpec| {
        let axes: Vec<_> = f.shape(source.rows()).iter().map(ToString::to_string).collect();
        format!("({})", axes.join(", "))
    };
    let logical = |field: usize| match &info {
        Some(info) => info.field_logical_bytes.get(field).copied(),
        None => (fields.get(field)?.row_bytes() as u64).checked_mul(source.rows()),
    };
    let columns = [
        ("name", text(fields.iter().map(|_| argument.name.clone()))),
        ("field", text(fields.iter().map(|f| f.name().to_owned()))),
        ("dtype", text(fields.iter().map(|f| f.dtype().to_string()))),
        ("shape", text(fields.iter().map(shape))),
        ("rows", numbers(fields.iter().map(|_| Some(source.rows())))),
        ("logical_bytes", numbers((0..fields.len()).map(logical))),
    ];
    let of_field = |field: usize| {
        let info = info.as_ref()?;
        let (disk_bytes, patches) = (info.field_disk_bytes.get(field).copied()?, *info.field_patches.get(field)?);
        Some((ArrayInfo { disk_bytes, patches, ..info.clone() }, info.codecs.get(field).copied()?))
    };
    let found_fields: Vec<_> = (0..fields.len()).map(of_field).collect();
    let codecs = found_fields.iter().map(|f| f.as_ref().map(|(_, codec)| codec.to_string()));
    let codecs: ArrayRef = Arc::new(codecs.collect::<StringArray>());
    let infos: Vec<_> = found_fields.into_iter().map(|f| f.map(|(info, _)| info)).collect();
    let columns = columns.into_iter().chain([("codec", codecs)]);
    table(&format!("array_info({})", found.scan_name()), columns.chain(stored(&infos)))
}

/// What only an array of a store has.
fn stored(infos: &[Option<ArrayInfo>]) -> [(&'static str, ArrayRef); 7] {
    let number = |f: fn(&ArrayInfo) -> u64| numbers(infos.iter().map(move |i| i.as_ref().map(f)));
    let modified = infos.iter().map(|i| {
        let since = i.as_ref()?.modified.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_micros()).ok()
    });
    [
        ("disk_bytes", number(|i| i.disk_bytes)),
        ("deleted_rows", number(|i| i.deleted_rows)),
        ("patches", number(|i| i.patches)),
        ("segments", number(|i| i.segments)),
        ("shards", number(|i| i.shards)),
        ("version", number(|i| i.version)),
        ("modified", Arc::new(modified.collect::<TimestampMicrosecondArray>())),
    ]
}

pub(super) fn text(values: impl Iterator<Item = String>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

pub(super) fn numbers(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    Arc::new(values.map(|v| v.and_then(|v| i64::try_from(v).ok())).collect::<Int64Array>())
}

/// Rows that are known while planning. The scan's name tells them apart, because plan equality ignores the source.
pub(super) fn table(name: &str, columns: impl Iterator<Item = (&'static str, ArrayRef)>) -> Result<LogicalPlan> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))?;
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
    LogicalPlanBuilder::scan(TableReference::bare(name), provider_as_source(Arc::new(table)), None)?.build()
}
