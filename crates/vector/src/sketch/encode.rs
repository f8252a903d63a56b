//! Rows to codes and parameters.

use hyperslab_core::{Error, Result};

use super::{PARAMS, SketchSpec};
use crate::Scalar;
use crate::kernel::{self, Isa, LANES, Lanes, Pass};

/// Norms outside of which a row is always re-ranked: within, scale, norm and residual are normal float32 numbers,
/// or a residual too small to matter.
const NORMS: std::ops::RangeInclusive<f64> = 1e-30..=1e30;

/// How many rows are converted at once.
const BATCH: usize = 64;

/// More than the relative error of a sum of squares in float64: 2⁻³⁶.
const ROUNDING: f64 = 1.0 / (1_u64 << 36) as f64;

impl SketchSpec {
    /// Computes the codes and parameters of rows.
    ///
    /// - `rows`: rows × `dim` elements, row after row;
    /// - `codes`: gets rows × [`code_bytes`](Self::code_bytes) bytes;
    /// - `params`: gets rows × [`params`](Self::params) numbers.
    ///
    /// ```
    /// use hyperslab_vector::SketchSpec;
    /// let (mut codes, mut params) = ([0; 2], [0.0; 3]);
    /// SketchSpec::new(8, 2)?.encode(&[-3.0_f32, 4.0], &mut codes, &mut params)?;
    /// assert_eq!(codes, [128 - 95, 128 + 127]);
    /// assert!(params[1] >= 5.0 && params[1] < 5.000001);
    /// # Ok::<(), hyperslab_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Invalid`](hyperslab_core::ErrorKind::Invalid) if the three are not of one number of rows.
    pub fn encode<T: Scalar>(&self, rows: &[T], codes: &mut [u8], params: &mut [f32]) -> Result<()> {
        let count = self.check(codes, params)?;
        if count.checked_mul(self.dim) != Some(rows.len()) {
            let message = format!("{} values are not {count} rows of {}", rows.len(), self.dim);
            return Err(Error::invalid(message));
        }
        let (width, mut lanes) = (self.code_bytes(), Vec::new());
        let codes = codes.chunks_mut(BATCH * width);
        for ((rows, codes), params) in rows.chunks(BATCH * self.dim).zip(codes).zip(params.chunks_mut(BATCH * PARAMS)) {
            T::widen(rows, self.dim, &mut lanes);
            kernel::run(Encode { spec: *self, rows: &mut lanes, codes, params });
        }
        Ok(())
    }
}

/// Encodes padded rows, which are overwritten.
struct Encode<'a> {
    spec: SketchSpec,
    rows: &'a mut [Lanes],
    codes: &'a mut [u8],
    params: &'a mut [f32],
}

impl Pass for Encode<'_> {
    #[inline(always)]
    fn run<I: Isa>(self) {
        let rows = self.rows.chunks_exact_mut(self.spec.dim.div_ceil(LANES));
        let codes = self.codes.chunks_exact_mut(self.spec.code_bytes());
        for ((row, codes), params) in rows.zip(codes).zip(self.params.as_chunks_mut::<PARAMS>().0) {
            *params = encode_row(self.spec, row);
            match self.spec.bits {
                8 => store_bytes(row.as_flattened(), codes),
                _ => store_halves(&row.as_flattened()[..self.spec.dim], codes),
            }
        }
    }
}

/// Replaces a row by its codes and returns its parameters.
#[inline(always)]
fn encode_row(spec: SketchSpec, row: &mut [Lanes]) -> [f32; PARAMS] {
    let (largest, squares) = row.iter().fold(([0.0; LANES], [0.0; LANES]), |(mut largest, mut squares), group| {
        for i in 0..LANES {
            largest[i] = f64::max(largest[i], group[i].abs());
            squares[i] += group[i] * group[i]; // NaN if one is
        }
        (largest, squares)
    });
    let largest = largest.into_iter().fold(0.0, f64::max);
    let norm = total(squares).sqrt();
    if largest == 0.0 || !NORMS.contains(&norm) {
        row.as_flattened_mut().fill(0.0);
        return match (norm.is_nan(), largest == 0.0) {
            (true, _) => [0.0, f32::INFINITY, 0.0],
            (false, true) => [0.0; PARAMS],
            (false, false) => [0.0, 0.0, f32::INFINITY],
        };
    }
    let per_step = f64::from(spec.levels()) / largest;
    let (product, squares) = row.iter().fold(([0.0; LANES], [0.0; LANES]), |(mut product, mut squares), group| {
        for i in 0..LANES {
            let code = round(group[i] * per_step);
            product[i] += group[i] * code;
            squares[i] += code * code;
        }
        (product, squares)
    });
    let scale = (total(product) / total(squares)) as f32;
    let mut squares = [0.0; LANES];
    for group in row {
        for i in 0..LANES {
            let code = round(group[i] * per_step);
            let residual = group[i] - f64::from(scale) * code;
            squares[i] += residual * residual;
            group[i] = code;
        }
    }
    [scale, round_up(norm), round_up(total(squares).sqrt())]
}

/// The nearest integer of a small number, ties to even: in this range float64 has no fractions.
#[inline(always)]
fn round(value: f64) -> f64 {
    const WHOLE: f64 = (3_u64 << 51) as f64;
    value + WHOLE - WHOLE
}

#[inline(always)]
fn total(lanes: Lanes) -> f64 {
    lanes.into_iter().sum()
}

/// A float32 that is not below what was computed in float64 with an error of [`ROUNDING`].
fn round_up(value: f64) -> f32 {
    let value = value * (1.0 + ROUNDING);
    let single = value as f32;
    if f64::from(single) < value { single.next_up() } else { single }
}

#[inline(always)]
fn store_bytes(row: &[f64], codes: &mut [u8]) {
    for (byte, code) in codes.iter_mut().zip(row) {
        *byte = (*code as i32 + 128) as u8;
    }
}

#[inline(always)]
fn store_halves(row: &[f64], codes: &mut [u8]) {
    let (low, high) = row.split_at(codes.len());
    let high = high.iter().chain(std::iter::repeat(&0.0));
    for ((byte, low), high) in codes.iter_mut().zip(low).zip(high) {
        *byte = ((*low as i32 + 8) | ((*high as i32 + 8) << 4)) as u8;
    }
}
