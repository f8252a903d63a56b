//! Reading an [`ArraySource`](hyperslab_core::ArraySource) as record batches.

/// The physical scan.
#[derive(Debug)]
pub struct ArrayScanExec {}
