//! Sixteen lanes of float32, for products that are approximate anyway: unlike the float64 operations of
//! [`Isa`](super::Isa), these may be fused where the processor can, and so differ between instruction sets.

use super::isa::Plain;
use super::{Isa, LANES, Pass};
use crate::scalar::Load;

/// One float32 per lane.
pub(crate) type SingleLanes = [f32; LANES];

/// How many rows, and how many vectors of sixteen queries, fit the registers of an instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// For 16 registers of 4.
    Rows3,
    /// For 16 registers of 8, or 32 of 4.
    Rows6,
    /// For 32 registers of 16; two vectors of queries at once.
    Rows12,
}

/// What a matrix product in float32 needs of an instruction set.
pub(crate) trait Singles {
    /// Sixteen lanes.
    type Single: Copy;

    /// The best block of a matrix product.
    const SHAPE: Shape;

    /// Zero in all lanes.
    fn single_zero() -> Self::Single;
    /// The same value in all lanes.
    fn single_splat(value: f32) -> Self::Single;
    /// Reads the lanes.
    fn single_load(from: &SingleLanes) -> Self::Single;
    /// a b + c, rounded once or twice.
    fn single_mul_add(a: Self::Single, b: Self::Single, c: Self::Single) -> Self::Single;
    /// c − a b, rounded once or twice.
    fn single_sub_mul(a: Self::Single, b: Self::Single, c: Self::Single) -> Self::Single;
    /// A bit per lane: whether not a < b, as is also so where one is NaN.
    fn single_not_below(a: Self::Single, b: Self::Single) -> u16;
    /// The total of the lanes, in any order.
    fn single_total(a: Self::Single) -> f32;
    /// Asks for a cache line that will be needed later, in the second-level cache; any address will do.
    fn prefetch_later(at: *const u8);
}

/// Converts elements to float32, rounded to nearest.
pub(crate) struct Narrow<'a, T> {
    pub(crate) values: &'a [T],
    /// As many.
    pub(crate) out: &'a mut [f32],
}

impl<T: Load> Pass for Narrow<'_, T> {
    #[inline(always)]
    fn run<I: Isa>(self) {
        let (groups, rest) = self.values.as_chunks();
        let (out, out_rest) = self.out.as_chunks_mut::<LANES>();
        let mut wide = [0.0; LANES];
        for (group, out) in groups.iter().zip(out) {
            I::store(T::load::<I>(group), &mut wide);
            out.iter_mut().zip(&wide).for_each(|(out, wide)| *out = *wide as f32);
        }
        out_rest.iter_mut().zip(rest).for_each(|(out, value)| *out = value.to_f64() as f32);
    }
}

impl Singles for Plain {
    type Single = SingleLanes;

    const SHAPE: Shape = if cfg!(target_arch = "aarch64") { Shape::Rows6 } else { Shape::Rows3 };

    #[inline(always)]
    fn single_zero() -> SingleLanes {
        [0.0; LANES]
    }

    #[inline(always)]
    fn single_splat(value: f32) -> SingleLanes {
        [value; LANES]
    }

    #[inline(always)]
    fn single_load(from: &SingleLanes) -> SingleLanes {
        *from
    }

    #[inline(always)]
    fn single_mul_add(a: SingleLanes, b: SingleLanes, mut c: SingleLanes) -> SingleLanes {
        c.iter_mut().zip(a.iter().zip(&b)).for_each(|(c, (a, b))| *c += a * b);
        c
    }

    #[inline(always)]
    fn single_sub_mul(a: SingleLanes, b: SingleLanes, mut c: SingleLanes) -> SingleLanes {
        c.iter_mut().zip(a.iter().zip(&b)).for_each(|(c, (a, b))| *c -= a * b);
        c
    }

    #[inline(always)]
    fn single_not_below(a: SingleLanes, b: SingleLanes) -> u16 {
        a.iter().zip(&b).rev().fold(0, |mask, (a, b)| mask << 1 | if a < b { 0 } else { 1 })
    }

    #[inline(always)]
    fn single_total(a: SingleLanes) -> f32 {
        let mut half = LANES / 2;
        let mut a = a;
        while half > 0 {
            for i in 0..half {
                a[i] += a[i + half];
            }
            half /= 2;
        }
        a[0]
    }

    #[inline(always)]
    fn prefetch_later(_at: *const u8) {}
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::*;

    use super::super::isa::{Avx2, Avx512};
    use super::{Shape, SingleLanes, Singles};

    #[expect(unsafe_code, reason = "SIMD intrinsics")]
    // SAFETY, for all blocks: as in `isa`, run only in the function that enables the set's features; loads need
    // no alignment and stay within the lanes, and prefetching needs no valid address.
    impl Singles for Avx512 {
        type Single = __m512;

        const SHAPE: Shape = Shape::Rows12;

        #[inline(always)]
        fn single_zero() -> __m512 {
            unsafe { _mm512_setzero_ps() }
        }

        #[inline(always)]
        fn single_splat(value: f32) -> __m512 {
            unsafe { _mm512_set1_ps(value) }
        }

        #[inline(always)]
        fn single_load(from: &SingleLanes) -> __m512 {
            unsafe { _mm512_loadu_ps(from.as_ptr()) }
        }

        #[inline(always)]
        fn single_mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        fn single_sub_mul(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fnmadd_ps(a, b, c) }
        }

        #[inline(always)]
        fn single_not_below(a: __m512, b: __m512) -> u16 {
            unsafe { _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(a, b) }
        }

        #[inline(always)]
        fn single_total(a: __m512) -> f32 {
            unsafe { _mm512_reduce_add_ps(a) }
        }

        #[inline(always)]
        fn prefetch_later(at: *const u8) {
            unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
        }
    }

    #[expect(unsafe_code, reason = "SIMD intrinsics")]
    // SAFETY: as above.
    impl Singles for Avx2 {
        type Single = [__m256; 2];

        const SHAPE: Shape = Shape::Rows6;

        #[inline(always)]
        fn single_zero() -> [__m256; 2] {
            unsafe { [_mm256_setzero_ps(), _mm256_setzero_ps()] }
        }

        #[inline(always)]
        fn single_splat(value: f32) -> [__m256; 2] {
            let value = unsafe { _mm256_set1_ps(value) };
            [value, value]
        }

        #[inline(always)]
        fn single_load(from: &SingleLanes) -> [__m256; 2] {
            unsafe { [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))] }
        }

        #[inline(always)]
        fn single_mul_add(a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
            unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
        }

        #[inline(always)]
        fn single_sub_mul(a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
            unsafe { [_mm256_fnmadd_ps(a[0], b[0], c[0]), _mm256_fnmadd_ps(a[1], b[1], c[1])] }
        }

        #[inline(always)]
        fn single_not_below(a: [__m256; 2], b: [__m256; 2]) -> u16 {
            unsafe {
                let low = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NLT_UQ>(a[0], b[0]));
                let high = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NLT_UQ>(a[1], b[1]));
                (low | high << 8) as u16
            }
        }

        #[inline(always)]
        fn single_total(a: [__m256; 2]) -> f32 {
            unsafe {
                let a = _mm256_add_ps(a[0], a[1]);
                let a = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
                let a = _mm_add_ps(a, _mm_movehl_ps(a, a));
                _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)))
            }
        }

        #[inline(always)]
        fn prefetch_later(at: *const u8) {
            unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
        }
    }
}
