//! A small store with everything in it that the format knows, and all that it shows, for the tests that damage stores and
//! for the golden ones.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, Int64Array, LargeStringArray, RecordBatch};
use arrow_schema::Schema;
use hyperslab_core::{ArraySource, DType, FieldSpec, Fill, Result};
use hyperslab_store::{ArrayOptions, Codec, Durability, LocalStorage, OptimizeOptions, Snapshot, Store, Transaction};
use ndarray::{Array1, Array2};
use serde_json::{Value, json};

use crate::common::*;

fn commit(store: &Store, change: impl FnOnce(&mut Transaction) -> Result<()>) -> u64 {
    let mut tx = store.begin().unwrap();
    change(&mut tx).unwrap();
    tx.commit().unwrap()
}

fn field(name: &str, dtype: DType, cell: &[usize]) -> FieldSpec {
    FieldSpec::new(name, dtype, cell.to_vec()).unwrap()
}

/// `points` has rows of (id, position), which were appended, replaced, deleted, and have gained a field; `copy` is a
/// compacted clone; `packed` is compressed; `holes` has more deleted ranges than fit in an entry; `texts` have
/// NULLs and a fill value; `old` was dropped.
pub(crate) fn everything(path: &Path) -> Store {
    let local = Arc::new(LocalStorage::open(path, false, Some(true)).unwrap());
    let store = Store::on(local, options(Durability::Os)).unwrap();
    let raw = || ArrayOptions { shard_bytes: 8192, ..ArrayOptions::default() };
    let points = |from: i64, n: usize| {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + n as i64));
        let spec = field("position", DType::Float32, &[2]);
        let bytes = arrow_buffer::Buffer::from_vec(rows(from as usize, n).into_raw_vec_and_offset().0);
        let positions = hyperslab_core::arrow::array_from_buffer(&spec, bytes, n).unwrap().array;
        RecordBatch::try_from_iter([("id", ids), ("position", positions)]).unwrap()
    };
    commit(&store, |tx| {
        tx.create("points", vec![field("id", DType::Int64, &[]), field("position", DType::Float32, &[2])], raw())?;
        tx.append("points", &points(0, 1300))?;
        tx.create("old", fields(), raw())?;
        tx.append_ndarray("old", &rows(0, 10))
    });
    commit(&store, |tx| tx.append("points", &points(1300, 40)));
    let at: Vec<i64> = (0..60).map(|n| n * n % 1340).collect();
    commit(&store, |tx| tx.replace_ndarray("points", "position", &at, &rows(5000, 60)));
    let tagged = commit(&store, |tx| tx.delete("points", &[0, 5, 6, 7, -1, 600]).map(drop));
    commit(&store, |tx| {
        tx.set_tag("first", tagged)?;
        tx.create_schema("other")?;
        tx.drop_array("old")
    });
    commit(&store, |tx| tx.clone_array("points", "copy"));
    commit(&store, |tx| {
        tx.add_field("points", field("extra", DType::Int16, &[3]))?;
        tx.rename_field("points", "id", "key")?;
        tx.resize("points", 1400)
    });
    store.optimize("copy", &OptimizeOptions { full: true }).unwrap();
    commit(&store, |tx| {
        tx.create("packed", vec![field("value", DType::Int32, &[])], ArrayOptions { codec: Codec::Zstd(3), ..raw() })?;
        tx.append_ndarray("packed", &Array1::from_iter(0..40_000_i32))
    });
    commit(&store, |tx| {
        tx.create("holes", vec![field("value", DType::UInt8, &[])], raw())?;
        tx.append_ndarray("holes", &Array1::from_iter((0..2600).map(|n| n as u8)))
    });
    let at: Vec<i64> = (0..1250).map(|n| n * 2 + 1).collect();
    commit(&store, |tx| tx.delete("holes", &at).map(drop));
    let texts = || {
        vec![
            field("text", DType::Utf8, &[]),
            field("maybe", DType::Utf8, &[]).with_nullable(true),
            field("score", DType::Int64, &[]).with_nullable(true).with_fill(Fill::of(-1_i64)).unwrap(),
        ]
    };
    let words = |from: i64, n: i64| {
        let word = |i: i64| format!("{i} {}", "é☃".repeat(i as usize % 7));
        let text: ArrayRef = Arc::new((from..from + n).map(|i| Some(word(i))).collect::<LargeStringArray>());
        let maybe = (from..from + n).map(|i| (i % 3 > 0).then(|| word(i))).collect::<LargeStringArray>();
        let score = (from..from + n).map(|i| (i % 4 > 0).then_some(i)).collect::<Int64Array>();
        let schema = Schema::new(texts().iter().map(hyperslab_core::arrow::to_field).collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), vec![text, Arc::new(maybe), Arc::new(score)]).unwrap()
    };
    for (name, codec) in [("texts", Codec::None), ("texts packed", Codec::Zstd(3))] {
        commit(&store, |tx| {
            tx.create(name, texts(), ArrayOptions { codec, ..raw() })?;
            tx.append(name, &words(0, 100))
        });
        commit(&store, |tx| tx.append(name, &words(100, 30)));
        commit(&store, |tx| {
            tx.replace(name, &[1, 50, -1], &words(1000, 3))?;
            tx.delete(name, &[0, 60]).map(drop)
        });
    }
    store.optimize("texts packed", &OptimizeOptions { full: true }).unwrap();
    commit(&store, |tx| tx.resize("texts", 140));
    commit(&store, |tx| tx.replace_ndarray("copy", "position", &[3, -3], &Array2::from_elem((2, 2), -1.0_f32)));
    commit(&store, |tx| tx.append("copy", &points(9000, 3)));
    store
}

/// Of the values, whatever Arrow keeps behind NULLs and ends.
fn checksum(spec: &FieldSpec, column: &ArrayRef) -> Result<u32> {
    let column_of = column.as_any();
    if let Some(texts) = column_of.downcast_ref::<LargeStringArray>() {
        return Ok(crc32c::crc32c(format!("{:?}", texts.iter().collect::<Vec<_>>()).as_bytes()));
    }
    if let (true, Some(numbers)) = (spec.nullable(), column_of.downcast_ref::<Int64Array>()) {
        return Ok(crc32c::crc32c(format!("{:?}", numbers.iter().collect::<Vec<_>>()).as_bytes()));
    }
    Ok(crc32c::crc32c(&hyperslab_core::arrow::raw_bytes(spec, column.as_ref(), 0)?))
}

/// Everything that a snapshot shows, as text.
pub(crate) fn shown(snapshot: &Snapshot) -> Result<Value> {
    let mut arrays = serde_json::Map::new();
    for schema in snapshot.schemas() {
        for name in snapshot.arrays(&schema) {
            let array = snapshot.array(hyperslab_store::ArrayName::new(schema.clone(), name))?;
            let mut columns = serde_json::Map::new();
            for (f, spec) in array.fields().iter().enumerate() {
                let block = array.read(f, 0..array.rows())?;
                let values = format!("{} rows, {:08x}", block.array.len(), checksum(spec, &block.array)?);
                columns.insert(spec.to_string(), json!(values));
            }
            arrays.insert(array.name().to_string(), Value::Object(columns));
        }
    }
    Ok(Value::Object(arrays))
}
