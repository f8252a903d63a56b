//! Columns of vectors: fixed-size and variable-length lists of numbers or bools, as slices of their elements.

use std::ops::Range;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use hyperslab_core::Bool8;

/// Runs `$body` with `$slice` bound to the elements of [`Vectors`] of any type that vectors have; with second ones, which
/// must be of the same type, also `$other` to theirs.
macro_rules! each_number_type {
    ($vectors:expr, $slice:ident => $body:expr) => {
        crate::vectors::each_number_type!($vectors, $slice; $vectors, _same => $body)
    };
    ($vectors:expr, $slice:ident; $second:expr, $other:pat => $body:expr) => {{
        use datafusion::arrow::array::AsArray as _;
        use datafusion::arrow::datatypes as types;
        let (vectors, second): (&crate::vectors::Vectors, &crate::vectors::Vectors) = (&$vectors, &$second);
        macro_rules! arm {
            ($ty:ty) => {{
                let $slice: &[<$ty as types::ArrowPrimitiveType>::Native] =
                    vectors.elements().as_primitive::<$ty>().values();
                let $other: &[<$ty as types::ArrowPrimitiveType>::Native] =
                    second.elements().as_primitive::<$ty>().values();
                $body
            }};
        }
        match vectors.elements().data_type() {
            types::DataType::Boolean => {
                let $slice: &[hyperslab_core::Bool8] = vectors.bools();
                let $other: &[hyperslab_core::Bool8] = second.bools();
                $body
            }
            types::DataType::Int8 => arm!(types::Int8Type),
            types::DataType::Int16 => arm!(types::Int16Type),
            types::DataType::Int32 => arm!(types::Int32Type),
            types::DataType::Int64 => arm!(types::Int64Type),
            types::DataType::UInt8 => arm!(types::UInt8Type),
            types::DataType::UInt16 => arm!(types::UInt16Type),
            types::DataType::UInt32 => arm!(types::UInt32Type),
            types::DataType::UInt64 => arm!(types::UInt64Type),
            types::DataType::Float16 => arm!(types::Float16Type),
            types::DataType::Float32 => arm!(types::Float32Type),
            types::DataType::Float64 => arm!(types::Float64Type),
            other => datafusion::common::plan_err!("vectors hold numbers or bools, not {other}"),
        }
    }};
}
pub(crate) use each_number_type;

/// The element type, if `data_type` is a list of real numbers or bools.
pub(crate) fn element_type(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::FixedSizeList(item, _) | DataType::List(item) | DataType::LargeList(item)
            if item.data_type() == &DataType::Boolean
                || item.data_type().is_numeric() && !is_decimal(item.data_type()) =>
        {
            Some(item.data_type())
        }
        _ => None,
    }
}

/// The length that every vector of the type has.
pub(crate) fn fixed_len(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::FixedSizeList(_, n) => usize::try_from(*n).ok(),
        _ => None,
    }
}

fn is_decimal(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..)
    )
}

/// Where the vectors are among the elements.
enum Layout {
    /// Every vector has `dim` elements.
    Fixed { dim: usize, first: usize },
    /// Vector `i` is `offsets[i]..offsets[i + 1]`.
    Offsets(Vec<usize>),
}

/// A column of vectors.
pub(crate) struct Vectors {
    elements: ArrayRef,
    /// The elements that are bools, of which arrow has bits, a byte each.
    bools: Vec<Bool8>,
    layout: Layout,
    nulls: Option<NullBuffer>,
    len: usize,
}

impl Vectors {
    /// Views a column; of numbers nothing is copied.
    ///
    /// # Errors
    /// When the column is no list of numbers.
    pub(crate) fn try_new(column: &dyn Array) -> Result<Self> {
        if element_type(column.data_type()).is_none() {
            return plan_err!("a list of numbers or bools is needed, not {}", column.data_type());
        }
        let nulls = column.nulls().cloned();
        let len = column.len();
        let (elements, layout) = match column.data_type() {
            DataType::FixedSizeList(_, n) => {
                // arrow slices the elements along with the list.
                let list = column.as_fixed_size_list();
                let dim = usize::try_from(*n).unwrap_or(0);
                (list.values(), Layout::Fixed { dim, first: list.value_offset(0) as usize })
            }
            DataType::List(_) => {
                let list = column.as_list::<i32>();
                (list.values(), Layout::Offsets(list.value_offsets().iter().map(|&o| o as usize).collect()))
            }
            _ => {
                let list = column.as_list::<i64>();
                (list.values(), Layout::Offsets(list.value_offsets().iter().map(|&o| o as usize).collect()))
            }
        };
        let bools = elements.as_boolean_opt().map(|b| b.values().iter().map(|v| Bool8(v.into())).collect());
        Ok(Self { bools: bools.unwrap_or_default(), elements: ArrayRef::clone(elements), layout, nulls, len })
    }

    /// How many vectors there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The length that every vector of the column's type has.
    pub(crate) fn fixed_len(&self) -> Option<usize> {
        match self.layout {
            Layout::Fixed { dim, .. } => Some(dim),
            Layout::Offsets(_) => None,
        }
    }

    /// The elements of all vectors, an array of numbers or bools.
    pub(crate) fn elements(&self) -> &dyn Array {
        self.elements.as_ref()
    }

    /// The elements of all vectors, if they are bools.
    pub(crate) fn bools(&self) -> &[Bool8] {
        &self.bools
    }

    /// Where vector `i` is among the elements.
    pub(crate) fn range(&self, i: usize) -> Range<usize> {
        match &self.layout {
            Layout::Fixed { dim, first } => first + i * dim..first + (i + 1) * dim,
            Layout::Offsets(offsets) => match offsets.get(i..i + 2) {
                Some(&[start, end]) => start..end,
                _ => 0..0,
            },
        }
    }

    /// Whether vector `i` is NULL or has an element that is.
    pub(crate) fn is_null(&self, i: usize) -> bool {
        self.nulls.as_ref().is_some_and(|n| n.is_null(i))
            || self.elements.nulls().is_some_and(|n| self.range(i).any(|e| n.is_null(e)))
    }

    /// Whether no vector is NULL or has an element that is.
    pub(crate) fn has_no_nulls(&self) -> bool {
        self.nulls.as_ref().is_none_or(|n| n.null_count() == 0) && self.elements.null_count() == 0
    }

    /// The length that all vectors that are not NULL have, and where they all lie one after another, if they do.
    pub(crate) fn dense(&self) -> Option<(usize, Range<usize>)> {
        match &self.layout {
            Layout::Fixed { dim, first } => Some((*dim, *first..first + self.len * dim)),
            Layout::Offsets(offsets) => {
                let (first, last) = (*offsets.first()?, *offsets.last()?);
                let dim = self.range(0).len();
                offsets.windows(2).all(|w| w[1] - w[0] == dim).then_some((dim, first..last))
            }
        }
    }

    /// The vectors that are not NULL, as runs of the same length that lie one after another.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        let uniform = self.dense().is_some() && self.has_no_nulls();
        let mut next = 0;
        std::iter::from_fn(move || {
            while next < self.len && !uniform && self.is_null(next) {
                next += 1;
            }
            if next >= self.len {
                return None;
            }
            let start = next;
            if uniform {
                next = self.len;
                return Some(start..next);
            }
            let dim = self.range(start).len();
            next += 1;
            while next < self.len && !self.is_null(next) && self.range(next).len() == dim {
                next += 1;
            }
            Some(start..next)
        })
    }

    /// Vector `i` in float64.
    pub(crate) fn to_f64(&self, i: usize) -> Result<Vec<f64>> {
        let range = self.range(i);
        each_number_type!(*self, values => Ok(hyperslab_vector::to_f64(&values[range])))
    }
}

/// Reads a vector written as text, pgvector's habit: `[0.1, -2, 3e4]`.
pub(crate) fn parse_vector(text: &str) -> Option<Vec<f64>> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    if inner.trim().is_empty() {
        return Some(vec![]);
    }
    inner.split(',').map(|number| number.trim().parse().ok()).collect()
}
