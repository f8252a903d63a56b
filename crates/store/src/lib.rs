//! Hyperslab's storage engine: versioned arrays in chunked, memory-mappable `.npy` files with a JSON log.
//!
//! ```
//! use hyperslab_core::{DType, FieldSpec};
//! use hyperslab_store::{ArrayOptions, Store};
//! use ndarray::array;
//!
//! let store = Store::memory();
//! let mut tx = store.begin()?;
//! tx.create("points", vec![FieldSpec::new("value", DType::Float32, vec![2])?], ArrayOptions::default())?;
//! tx.append_ndarray("points", &array![[1.0_f32, 2.0], [3.0, 4.0]])?;
//! tx.commit()?;
//!
//! let points = store.snapshot()?.array("points")?;
//! assert_eq!(points.field("value")?.view::<f32>()?.to_ndarray()?.sum(), 10.0);
//! # Ok::<(), hyperslab_core::Error>(())
//! ```

mod action;
mod address;
mod array;
mod codec;
mod column;
mod deletion;
mod elements;
mod history;
mod index;
mod layout;
mod log;
mod maintenance;
mod name;
mod options;
mod owned;
mod pack;
mod packed;
mod patch;
mod pins;
mod placement;
mod refs;
mod runs;
mod segment;
mod shard;
mod snapshot;
mod state;
mod storage;
mod store;
#[cfg(any(test, feature = "testing"))]
mod targets;
mod transaction;
mod verify;
mod view;
mod writer;

pub use address::Addresses;
pub use array::{Array, ArrayInfo, Batches, Field, ShardInfo};
pub use history::{ChangeInfo, Diff, RowChange, VersionInfo};
pub use index::{IndexInfo, IndexKind, IndexOptions};
pub use maintenance::{
    CheckOptions, Finding, IndexProgress, OptimizeOptions, OptimizeReport, Severity, VacuumOptions, VacuumReport,
    check, check_on,
};
pub use name::{ArrayName, DEFAULT_SCHEMA};
pub use options::{ArrayOptions, Codec, Durability, OpenOptions};
pub use pack::{PackInfo, PackOptions, PackReport, UnpackOptions, is_pack, pack_info, unpack, verify_pack};
pub use snapshot::Snapshot;
pub use storage::{FileInfo, FileRange, LocalStorage, LockGuard, MemoryStorage, PinFile, PinGuard, Storage};
pub use store::Store;
pub use transaction::{RowsMut, Savepoint, Transaction};
pub use view::View;

/// What tests of this crate and of those above it use: the contract that every [`Storage`] keeps, and
/// a storage that fails on command, and the parsers as functions of bytes.
#[cfg(any(test, feature = "testing"))]
pub mod testing {
    pub use crate::storage::contract;
    pub use crate::storage::fault::{Counts, Fault, FaultStorage, Files};
    pub mod targets {
        //! The parsers of a store's own files as functions of bytes.
        pub use crate::targets::*;
    }
}
