//! Jobs of `npy_recover` and `npy_ensure_appendable`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray};
use datafusion::arrow::datatypes::DataType;
use hyperslab_core::Result;
use hyperslab_formats::npy::{Incomplete, Widen, npy_ensure_appendable, npy_recover};

/// What is done to which file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub(crate) struct NpyJob {
    pub(crate) path: PathBuf,
    pub(crate) task: NpyTask,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
pub(crate) enum NpyTask {
    /// The shape is brought in line with the data; a part of a row at the end is filled up with zeros, or dropped.
    Recover { zero: bool },
    /// Room is made in the header, by copying the file or within it.
    EnsureAppendable { in_place: bool },
}

impl NpyTask {
    /// Name, type and nullability of each column of the one row that comes back.
    pub(super) fn columns(self) -> Vec<(&'static str, &'static DataType, bool)> {
        let (text, number, truth) = (&DataType::Utf8, &DataType::Int64, &DataType::Boolean);
        match self {
            Self::Recover { .. } => vec![
                ("path", text, false),
                ("shape_before", text, false),
                ("shape", text, false),
                ("dropped_bytes", number, false),
                ("added_bytes", number, false),
            ],
            Self::EnsureAppendable { .. } => vec![("path", text, false), ("changed", truth, false)],
        }
    }
}

impl NpyJob {
    pub(super) fn run(&self) -> Result<Vec<ArrayRef>> {
        let text = |text: String| Arc::new(StringArray::from(vec![text])) as ArrayRef;
        let number = |n: u64| Arc::new(Int64Array::from(vec![i64::try_from(n).unwrap_or(i64::MAX)])) as ArrayRef;
        let path = text(self.path.display().to_string());
        match self.task {
            NpyTask::Recover { zero } => {
                let done = npy_recover(&self.path, if zero { Incomplete::Zero } else { Incomplete::Drop })?;
                let shapes = [&done.before, &done.after].map(|shape| text(shown(shape)));
                let bytes = [done.dropped_bytes, done.added_bytes].map(number);
                Ok([path].into_iter().chain(shapes).chain(bytes).collect())
            }
            NpyTask::EnsureAppendable { in_place } => {
                let changed = npy_ensure_appendable(&self.path, if in_place { Widen::InPlace } else { Widen::Copy })?;
                Ok(vec![path, Arc::new(BooleanArray::from(vec![changed]))])
            }
        }
    }
}

impl fmt::Display for NpyJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.task {
            NpyTask::Recover { .. } => "recover",
            NpyTask::EnsureAppendable { .. } => "ensure appendable",
        };
        write!(f, "{verb} {}", self.path.display())
    }
}

/// A shape as in the lists of arrays.
pub(crate) fn shown(shape: &[u64]) -> String {
    let axes: Vec<_> = shape.iter().map(ToString::to_string).collect();
    format!("({})", axes.join(", "))
}
