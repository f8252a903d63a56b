//! NumPy's `.npy` files, read in place and written with a header that can grow.
//!
//! Axis 0 is the rows and the other axes are the cell of the one field, `value`. A 0-d array is one row with a scalar.
//! As with `numpy.load`, bytes after the data are ignored, and fewer bytes than the shape asks for are an error.
//!
//! Files grow in place with [`NpyAppender`]; [`npy_info`], [`npy_recover`] and [`npy_ensure_appendable`] look after those
//! that do, as NpyAppendArray's tools.
//!
//! Source of the format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>; the header itself is
//! [`hyperslab_core::npy`].

mod append;
pub(crate) mod convert;
pub(crate) mod datetime;
mod growth;
mod info;
mod lock;
mod recover;
mod sink;
mod source;
mod widen;

pub use append::{HeaderMode, NpyAppendSink, NpyAppender};
pub use info::{NpyInfo, npy_info};
pub use recover::{Incomplete, Recovered, npy_recover};
pub use sink::NpySink;
pub use source::NpySource;
pub use widen::{Widen, npy_ensure_appendable};

#[cfg(test)]
mod tests;
