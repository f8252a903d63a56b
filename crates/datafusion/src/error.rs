//! The one place where errors cross the bridge.

use datafusion::error::DataFusionError;
use hyperslab_core::Error;

/// Wraps an engine's error for DataFusion.
pub fn to_datafusion(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The engine's error at the root of a DataFusion error, if there is one.
pub fn from_datafusion(error: &DataFusionError) -> Option<&Error> {
    match error.find_root() {
        DataFusionError::External(e) => e.downcast_ref::<Error>(),
        _ => None,
    }
}
