//! NumPy's `.npy` files, read in place and written with a header that can grow.
//!
//! Axis 0 is the rows and the other axes are the cell of the one field, `value`. A 0-d array is one row with a scalar.
//! | in the file | here |
//! |---|---|
//! | bool, integers, floats, complex, datetime64 and timedelta64 in s, ms, us or ns, of either byte order | the dtype of that name |
//! | datetime64 in Y, M, W, D, h or m, and timedelta64 in W, D, h or m | seconds; an error where they do not fit |
//! | counts of several units, `M8[10ms]` | of one |
//! | `U`, `S` | text without the NULs at its end, one in a row; more in a row, as UTF-8 bytes filled up with NUL |
//! | `V` | bytes of that length |
//! | a structured dtype | a field for each of its own, those of a nested one as `outer.inner`; padding is left out |
//! | longdouble, object | refused: cast them, or save them as something else |
//!
//! Several fields are written as a structured dtype, which a reader sees as one axis of records. Text is written as
//! `U`; a NUL at its end, which `U` does not keep, is refused.
//!
//! As with `numpy.load`, bytes after the data are ignored, and fewer bytes than the shape asks for are an error.
//!
//! Files grow in place with [`NpyAppender`]; [`npy_info`], [`npy_recover`] and [`npy_ensure_appendable`] look after those
//! that do, as NpyAppendArray's tools.
//!
//! Source of the format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>; the header itself is
//! [`hyperslab_core::npy`].

mod append;
mod append_sink;
pub(crate) mod convert;
pub(crate) mod datetime;
pub(crate) mod encode;
mod growth;
mod info;
mod layout;
mod lock;
mod recover;
mod sink;
mod source;
pub(crate) mod spool;
pub(crate) mod text;
mod widen;

pub use append::{HeaderMode, NpyAppender};
pub use append_sink::NpyAppendSink;
pub use info::{NpyInfo, npy_info};
pub(crate) use layout::{Fields, NpyLayout, element, fields_of};
pub use recover::{Incomplete, Recovered, npy_recover};
pub use sink::NpySink;
pub use source::NpySource;
pub use widen::{Widen, npy_ensure_appendable};

#[cfg(test)]
mod tests;
