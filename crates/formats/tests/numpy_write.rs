//! What is written is read by numpy and by safetensors' own library.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, reason = "the seed is for random cases")]
mod python;

use std::sync::Arc;

use arrow_array::{ArrayRef, LargeStringArray, RecordBatch};
use hyperslab_core::{ArraySink, DType, FieldSpec, TimeUnit, arrow};
use hyperslab_formats::{ContainerSink, Format, WriteOptions, create_container};

fn fields() -> Vec<FieldSpec> {
    let seconds = DType::Datetime64(TimeUnit::Second);
    [
        ("flag", DType::Bool, vec![]),
        ("small", DType::Int8, vec![]),
        ("half", DType::Float16, vec![]),
        ("real", DType::Float64, vec![]),
        ("z", DType::Complex64, vec![]),
        ("day", seconds, vec![]),
        ("cells", DType::UInt16, vec![2, 3]),
        ("word", DType::Utf8, vec![]),
    ]
    .into_iter()
    .map(|(name, dtype, cell)| FieldSpec::new(name, dtype, cell).unwrap())
    .collect()
}

/// The half-precision bits of a whole number below 2048.
fn half(i: u32) -> u16 {
    let bits = (i as f32).to_bits();
    if i == 0 { 0 } else { ((((bits >> 23) - 112) << 10) | (bits >> 13 & 0x3ff)) as u16 }
}

fn column(field: &FieldSpec, rows: u32) -> ArrayRef {
    if field.dtype() == DType::Utf8 {
        return Arc::new((0..rows).map(|i| Some("aß😀x".repeat(i as usize % 3))).collect::<LargeStringArray>());
    }
    let value = |i: u32| match field.name() {
        "flag" => vec![u8::from(i % 3 == 1)],
        "small" => vec![(i % 100) as u8],
        "half" => half(i).to_le_bytes().to_vec(),
        "real" => (f64::from(i) / 4.0).to_le_bytes().to_vec(),
        "z" => [i as f32, i as f32 + 1.0].map(f32::to_le_bytes).concat(),
        "day" => u64::from(i).to_le_bytes().to_vec(),
        _ => (i * 6..i * 6 + 6).flat_map(|n| (n as u16).to_le_bytes()).collect(),
    };
    let mut bytes = arrow_buffer::MutableBuffer::new(0);
    (0..rows).for_each(|i| bytes.extend_from_slice(&value(i)));
    arrow::array_from_buffer(field, bytes.into(), rows as usize).unwrap().array
}

fn batch(fields: &[FieldSpec], rows: u32) -> RecordBatch {
    let schema = arrow_schema::Schema::new(fields.iter().map(arrow::to_field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), fields.iter().map(|f| column(f, rows)).collect()).unwrap()
}

fn fill(mut sink: Box<dyn ContainerSink>, records: bool) {
    let fields = fields();
    for rows in [0, 1, 1000] {
        for field in fields.iter().filter(|f| records || !matches!(f.name(), "day" | "word")) {
            sink.begin(&format!("{}/{rows}", field.name()), std::slice::from_ref(field)).unwrap();
            sink.write(&batch(std::slice::from_ref(field), rows)).unwrap();
        }
        if records {
            sink.begin(&format!("grüße/{rows}"), &fields).unwrap();
            sink.write(&batch(&fields, rows)).unwrap();
        }
    }
    sink.finish().unwrap();
}

#[test]
fn numpy_and_safetensors_read_what_is_written() {
    let Some(python) = python::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let options = WriteOptions::new();
    fill(create_container(&folder.path().join("stored.npz"), &options).unwrap(), true);
    let deflate = WriteOptions::new().set("codec", "deflate").set("level", "9");
    fill(create_container(&folder.path().join("deflate.npz"), &deflate).unwrap(), true);
    let mut tensors = create_container(&folder.path().join("tensors.safetensors"), &options).unwrap();
    tensors.set_metadata("note", "grüße").unwrap();
    fill(tensors, false);
    let path = folder.path().join("records.npy");
    let mut sink: Box<dyn ArraySink> = Format::named("npy").unwrap().create(&path, &fields(), &options).unwrap();
    sink.write(&batch(&fields(), 1000)).unwrap();
    sink.finish().unwrap();
    let path = folder.path().join("grown.npy");
    for rows in [0..400, 400..1000] {
        let options = WriteOptions::new().set("text_width", "8");
        let mut sink = Format::named("npy").unwrap().append(&path, &fields(), &options).unwrap();
        sink.write(&batch(&fields(), 1000).slice(rows.start, rows.len())).unwrap();
        sink.finish().unwrap();
    }
    python.run("numpy_check.py", &[], folder.path());
}
