//! What a Python script says that an array holds.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, LargeStringArray};
use hyperslab_core::ArraySource;
use hyperslab_formats::NpySource;

/// The values that a `.npy` or a `.json` list of texts holds.
pub(crate) fn wanted(path: &Path) -> ArrayRef {
    if path.extension().is_some_and(|e| e == "json") {
        let texts: Vec<String> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        return Arc::new(LargeStringArray::from(texts));
    }
    let source = NpySource::open(path).unwrap();
    source.read(0, 0..source.rows()).unwrap().array
}
