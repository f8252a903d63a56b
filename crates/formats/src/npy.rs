//! NumPy's `.npy` files, read in place and written with a header that can grow.
//!
//! Axis 0 is the rows and the other axes are the cell of the one field, `value`. A 0-d array is one row with a scalar.
//! As with `numpy.load`, bytes after the data are ignored, and fewer bytes than the shape asks for are an error.
//!
//! Source of the format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>; the header itself is
//! [`hyperslab_core::npy`].

pub(crate) mod convert;
pub(crate) mod datetime;
mod sink;
mod source;

pub use sink::NpySink;
pub use source::NpySource;

#[cfg(test)]
mod tests;
