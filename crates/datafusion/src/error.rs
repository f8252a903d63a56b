//! The one place where errors cross the bridge.

use datafusion::error::DataFusionError;
use hyperslab_core::{Error, ErrorKind};

/// Wraps an engine's error for DataFusion.
pub fn to_datafusion(error: Error) -> DataFusionError {
    let store = error.context().iter().find(|(key, _)| *key == "store").map(|(_, store)| store.clone());
    let error = match store.filter(|_| error.kind() == ErrorKind::Corrupt) {
        Some(store) => error.with("to see what can be saved", format!("run `hyperslab check {store}`")),
        None => error,
    };
    DataFusionError::External(Box::new(error))
}

/// The engine's error at the root of a DataFusion error, if there is one.
pub fn from_datafusion(error: &DataFusionError) -> Option<&Error> {
    match error.find_root() {
        DataFusionError::External(e) => e.downcast_ref::<Error>(),
        _ => None,
    }
}
