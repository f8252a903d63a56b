//! Values that are written, and in what pieces.

use std::sync::Arc;

use arrow_array::{ArrayRef, LargeStringArray, RecordBatch};
use hyperslab_core::{DType, FieldSpec, arrow};

/// Values of any bits that are no NaN, so that readers do not change them.
pub(crate) fn values(field: &FieldSpec, rows: usize, seed: &mut u64) -> ArrayRef {
    let mut next = || {
        *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (*seed >> 33) as u32
    };
    if field.dtype() == DType::Utf8 {
        let word = |i: usize, n: u32| {
            if n.is_multiple_of(5) { String::new() } else { format!("wörd {i} {}", "x".repeat(n as usize % 40)) }
        };
        return Arc::new((0..rows).map(|i| Some(word(i, next()))).collect::<LargeStringArray>());
    }
    let mut bytes: Vec<u8> = (0..rows * field.row_bytes()).map(|_| next() as u8).collect();
    let size = field.dtype().component_size();
    match field.dtype() {
        DType::Bool => bytes.iter_mut().for_each(|b| *b &= 1),
        // The upper exponent bits 0.
        d if d.npy_descr().contains(['f', 'c']) => bytes.chunks_mut(size).for_each(|c| c[size - 1] &= 0x83),
        DType::Bfloat16 => bytes.chunks_mut(2).for_each(|c| c[1] &= 0x83),
        _ => {}
    }
    arrow::array_from_buffer(field, bytes.into(), rows).unwrap().array
}

/// The rows of columns, so many at a time.
pub(crate) fn batches(columns: &[(&str, ArrayRef)], size: usize) -> Vec<RecordBatch> {
    let all = RecordBatch::try_from_iter(columns.iter().map(|(n, c)| (*n, Arc::clone(c)))).unwrap();
    (0..all.num_rows()).step_by(size).map(|at| all.slice(at, size.min(all.num_rows() - at))).collect()
}
