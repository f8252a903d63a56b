//! Hyperslab's vocabulary, shared by every crate and free of I/O: [`DType`]s and shapes, [`FieldSpec`]s,
//! [`Selection`]s (NumPy's slice language), the [mapping to Arrow](arrow), `.npy` headers ([`npy`]),
//! the [`Error`] type, and the traits [`ArraySource`] and [`ArraySink`] that formats and store meet in.

pub mod arrow;
mod dtype;
mod element;
mod error;
mod field;
mod fill;
pub mod npy;
mod selection;
mod source;

pub use dtype::{ByteOrder, DType, TimeUnit};
pub use element::{Bool8, Datetime64, Element, Timedelta64};
pub use error::{Error, ErrorKind, Result};
pub use field::{FieldSpec, VALUE, check_name};
pub use fill::Fill;
pub use selection::{AxisSelection, NormalizedSelection, Selection};
pub use source::{ArraySink, ArraySource, Block, SinkSummary};
