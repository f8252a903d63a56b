//! The sketch index: codes and parameters beside a field of vectors, kept by the store.

use half::{bf16, f16};
use hyperslab_core::{DType, Error, FieldSpec, Fill, Result};
use hyperslab_store::{IndexKind, IndexOptions};
use hyperslab_vector::{Scalar, SketchSpec};

/// The name of the kind, in SQL and in the log.
pub(crate) const SKETCH: &str = "sketch";

/// The one option, bits per value, and what it is if it is not given.
pub(crate) const BITS: &str = "bits";
pub(crate) const DEFAULT_BITS: u32 = 8;

/// Bytes of a field that are encoded at once.
const PIECE_BYTES: usize = 1 << 20;

/// The kind of indexes that exact searches use: [`SketchSpec`]'s codes and parameters, as the columns `codes` and
/// `params`. Parameters of NaN say that nothing is known of a row. [`Session`](crate::Session) and
/// [`register`](crate::register) make it known to their stores; a program that writes without them should too:
///
/// ```
/// use std::sync::Arc;
/// use hyperslab_core::{DType, FieldSpec};
/// use hyperslab_datafusion::SketchIndex;
/// use hyperslab_store::{ArrayOptions, IndexOptions, Store};
/// let store = Store::memory();
/// store.add_index_kind(Arc::new(SketchIndex));
/// let mut tx = store.begin()?;
/// tx.create("docs", vec![FieldSpec::new("embedding", DType::Float32, vec![4])?], ArrayOptions::default())?;
/// tx.create_index("docs", "s", "embedding", "sketch", &IndexOptions::new())?;
/// tx.commit()?;
/// store.build_index("docs", "s", &mut |progress| progress.done <= progress.rows)?;
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SketchIndex;

impl SketchIndex {
    /// The codes of a field.
    ///
    /// # Errors
    /// `Invalid` for a field that cannot have any, and for options that are not understood.
    pub fn spec(field: &FieldSpec, options: &IndexOptions) -> Result<SketchSpec> {
        let mut bits = u64::from(DEFAULT_BITS);
        for (name, value) in options {
            if name != BITS {
                return Err(Error::invalid(format!(
                    "a sketch index has no option {name:?}; it has one: {BITS}, which is 8 or 4"
                )));
            }
            let bad = || Error::invalid(format!("the option {BITS} of a sketch index is 8 or 4, not {value}"));
            bits = value.as_u64().ok_or_else(bad)?;
            if !matches!(bits, 4 | 8) {
                return Err(bad());
            }
        }
        let can = "a sketch index is of a field of vectors: one list of float16, bfloat16, float32, float64 or integers \
                   of up to 32 bits per row";
        let (&[dim], true) = (field.cell(), has_sketch(field.dtype())) else {
            return Err(Error::invalid(format!("{can}; {field} is none")));
        };
        SketchSpec::new(u32::try_from(bits).unwrap_or_default(), dim)
    }
}

/// Whether sketches are made of elements of a dtype: real numbers that float64 holds exactly. The others have distances
/// too, but bools only such that no sketch bounds.
fn has_sketch(dtype: DType) -> bool {
    use DType::{Bfloat16, Float16, Float32, Float64, Int8, Int16, Int32, UInt8, UInt16, UInt32};
    matches!(dtype, Float16 | Bfloat16 | Float32 | Float64 | Int8 | Int16 | Int32 | UInt8 | UInt16 | UInt32)
}

impl IndexKind for SketchIndex {
    fn name(&self) -> &str {
        SKETCH
    }

    fn columns(&self, field: &FieldSpec, options: &IndexOptions) -> Result<Vec<FieldSpec>> {
        let spec = Self::spec(field, options)?;
        let codes = FieldSpec::new("codes", DType::UInt8, vec![spec.code_bytes()])?.with_fill(Fill::of(0_u8))?;
        let params = FieldSpec::new("params", DType::Float32, vec![spec.params()])?.with_fill(Fill::of(f32::NAN))?;
        Ok(vec![codes, params])
    }

    fn compute(&self, field: &FieldSpec, options: &IndexOptions, rows: usize, values: &[u8]) -> Result<Vec<Vec<u8>>> {
        let encode = Encode { spec: Self::spec(field, options)?, rows, values };
        match field.dtype() {
            DType::Float16 => encode.run(f16::from_le_bytes),
            DType::Bfloat16 => encode.run(bf16::from_le_bytes),
            DType::Float32 => encode.run(f32::from_le_bytes),
            DType::Float64 => encode.run(f64::from_le_bytes),
            DType::Int8 => encode.run(i8::from_le_bytes),
            DType::Int16 => encode.run(i16::from_le_bytes),
            DType::Int32 => encode.run(i32::from_le_bytes),
            DType::UInt8 => encode.run(u8::from_le_bytes),
            DType::UInt16 => encode.run(u16::from_le_bytes),
            DType::UInt32 => encode.run(u32::from_le_bytes),
            other => Err(Error::invalid(format!("there is no sketch of {other}"))),
        }
    }
}

/// Raw rows to be encoded.
struct Encode<'a> {
    spec: SketchSpec,
    rows: usize,
    values: &'a [u8],
}

impl Encode<'_> {
    /// The raw codes and parameters.
    fn run<T: Scalar, const N: usize>(self, element: impl Fn([u8; N]) -> T) -> Result<Vec<Vec<u8>>> {
        let Self { spec, rows, values } = self;
        let (row_bytes, width) = (spec.dim() * N, spec.code_bytes());
        if rows.checked_mul(row_bytes) != Some(values.len()) {
            return Err(Error::invalid(format!("{} bytes are not {rows} rows of {row_bytes}", values.len())));
        }
        let piece = (PIECE_BYTES / row_bytes).max(1);
        let (mut codes, mut params) =
            (vec![0; rows * width], Vec::with_capacity(rows * spec.params() * size_of::<f32>()));
        let mut numbers = vec![0.0; piece.min(rows) * spec.params()];
        let mut elements: Vec<T> = Vec::with_capacity(piece.min(rows) * spec.dim());
        for (values, codes) in values.chunks(piece * row_bytes).zip(codes.chunks_mut(piece * width)) {
            elements.clear();
            elements.extend(values.as_chunks().0.iter().map(|bytes| element(*bytes)));
            let numbers = &mut numbers[..values.len() / row_bytes * spec.params()];
            spec.encode(&elements, codes, numbers)?;
            params.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
        Ok(vec![codes, params])
    }
}
