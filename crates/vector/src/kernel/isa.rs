//! The instruction sets that the kernels are written for, as sixteen lanes of float64 with the few
//! operations that a kernel needs. Every operation is exact or correctly rounded, so all agree bit for bit.

use half::{bf16, f16};
use hyperslab_core::Bool8;

use super::singles::Singles;
use super::{LANES, Lanes};

/// Declares one conversion per element type.
macro_rules! conversions {
    ($($name:ident: $ty:ty),* $(,)?) => {$(
        /// Converts sixteen elements to float64.
        fn $name(group: &[$ty; LANES]) -> Self::Vector;
    )*};
}

/// Sixteen lanes of float64 and what is done with them.
pub(crate) trait Isa: Singles {
    /// The lanes.
    type Vector: Copy;

    /// Zero in all lanes.
    fn zero() -> Self::Vector;
    /// a + b.
    fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a − b.
    fn sub(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a b.
    fn mul(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// sum + a b, where a b is exact: then it makes no difference whether a fused operation computes it.
    fn add_exact_product(sum: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// |a|.
    fn abs(a: Self::Vector) -> Self::Vector;
    /// The smaller one; b if either is NaN or they are equal.
    fn min(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The larger one; b if either is NaN or they are equal.
    fn max(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// 1 where the two differ or are NaN, 0 where they are equal.
    fn unequal(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// NaN where a value is below 0, the value elsewhere.
    fn nonnegative(a: Self::Vector) -> Self::Vector;
    /// Writes the lanes.
    fn store(a: Self::Vector, to: &mut Lanes);
    /// Asks for a cache line that will be needed soon; any address will do.
    fn prefetch(at: *const u8);
    /// Zero in the lanes whose mask is zero; the mask of the others is all ones.
    fn keep(a: Self::Vector, mask: &[u64; LANES]) -> Self::Vector;
    /// The total of the lanes: lane i and lane i + 8 are added, then i and i + 4, i and i + 2, the last two.
    fn total(a: Self::Vector) -> f64;

    conversions! {
        from_f64: f64, from_f32: f32, from_f16: f16, from_bf16: bf16, from_bool: Bool8,
        from_i8: i8, from_i16: i16, from_i32: i32, from_i64: i64,
        from_u8: u8, from_u16: u16, from_u32: u32, from_u64: u64,
    }
}

/// Plain Rust, for whatever the build targets: SSE2 on x86-64, NEON on AArch64.
pub(crate) struct Plain;

macro_rules! plain_conversions {
    ($($name:ident: $ty:ty),* $(,)?) => {$(
        #[inline(always)]
        fn $name(group: &[$ty; LANES]) -> Lanes {
            group.map(|v| v as f64)
        }
    )*};
}

impl Isa for Plain {
    type Vector = Lanes;

    #[inline(always)]
    fn zero() -> Lanes {
        [0.0; LANES]
    }

    #[inline(always)]
    fn add(mut a: Lanes, b: Lanes) -> Lanes {
        a.iter_mut().zip(&b).for_each(|(a, b)| *a += b);
        a
    }

    #[inline(always)]
    fn sub(mut a: Lanes, b: Lanes) -> Lanes {
        a.iter_mut().zip(&b).for_each(|(a, b)| *a -= b);
        a
    }

    #[inline(always)]
    fn mul(mut a: Lanes, b: Lanes) -> Lanes {
        a.iter_mut().zip(&b).for_each(|(a, b)| *a *= b);
        a
    }

    #[inline(always)]
    fn add_exact_product(sum: Lanes, a: Lanes, b: Lanes) -> Lanes {
        Self::add(sum, Self::mul(a, b))
    }

    #[inline(always)]
    fn abs(a: Lanes) -> Lanes {
        a.map(f64::abs)
    }

    #[inline(always)]
    fn min(mut a: Lanes, b: Lanes) -> Lanes {
        a.iter_mut().zip(&b).for_each(|(a, b)| *a = if *a < *b { *a } else { *b });
        a
    }

    #[inline(always)]
    fn max(mut a: Lanes, b: Lanes) -> Lanes {
        a.iter_mut().zip(&b).for_each(|(a, b)| *a = if *a > *b { *a } else { *b });
        a
    }

    #[inline(always)]
    fn unequal(mut a: Lanes, b: Lanes) -> Lanes {
        a.iter_mut().zip(&b).for_each(|(a, b)| *a = f64::from(u8::from(*a != *b)));
        a
    }

    #[inline(always)]
    fn nonnegative(a: Lanes) -> Lanes {
        a.map(|a| if a >= 0.0 { a } else { f64::NAN })
    }

    #[inline(always)]
    fn keep(mut a: Lanes, mask: &[u64; LANES]) -> Lanes {
        a.iter_mut().zip(mask).for_each(|(a, mask)| *a = f64::from_bits(a.to_bits() & mask));
        a
    }

    #[inline(always)]
    fn store(a: Lanes, to: &mut Lanes) {
        *to = a;
    }

    #[inline(always)]
    fn prefetch(_at: *const u8) {}

    #[inline(always)]
    fn total(mut a: Lanes) -> f64 {
        let mut half = LANES / 2;
        while half > 0 {
            for i in 0..half {
                a[i] += a[i + half];
            }
            half /= 2;
        }
        a[0]
    }

    plain_conversions! {
        from_f64: f64, from_f32: f32,
        from_i8: i8, from_i16: i16, from_i32: i32, from_i64: i64,
        from_u8: u8, from_u16: u16, from_u32: u32, from_u64: u64,
    }

    #[inline(always)]
    fn from_f16(group: &[f16; LANES]) -> Lanes {
        group.map(|v| f64::from(half_to_single(v.to_bits())))
    }

    #[inline(always)]
    fn from_bf16(group: &[bf16; LANES]) -> Lanes {
        group.map(|v| f64::from(f32::from_bits(u32::from(v.to_bits()) << 16)))
    }

    #[inline(always)]
    fn from_bool(group: &[Bool8; LANES]) -> Lanes {
        group.map(|v| f64::from(u8::from(v.0 != 0)))
    }
}

/// Half to single precision without branches, so that the compiler can vectorize it: the exponent is
/// rebiased, once more for infinities and NaN; a subnormal is put under an implicit one, which is then
/// subtracted. (F. Giesen, "Half to float done quick", 2012.)
#[inline(always)]
pub(crate) fn half_to_single(bits: u16) -> f32 {
    const REBIAS: u32 = (127 - 15) << 23;
    const ONE_ABOVE: u32 = REBIAS + (1 << 23);
    const EXPONENT: u32 = 0x7c00 << 13;
    let sign = (u32::from(bits) & 0x8000) << 16;
    let magnitude = (u32::from(bits) & 0x7fff) << 13;
    let exponent = magnitude & EXPONENT;
    let normal = magnitude + REBIAS;
    let subnormal = f32::from_bits(magnitude + ONE_ABOVE) - f32::from_bits(ONE_ABOVE);
    let finite = if exponent == 0 { subnormal.to_bits() } else { normal };
    f32::from_bits(sign | if exponent == EXPONENT { normal + REBIAS } else { finite })
}

/// Defines a set whose vector is an array of registers, from its intrinsics. `$part` lists the registers and
/// the index of the first lane of each; written out rather than looped over, they stay in registers.
#[cfg(target_arch = "x86_64")]
macro_rules! x86 {
    (
        $(#[$doc:meta])* $isa:ident = [$register:ty; $count:literal] at $parts:tt,
        $zero:ident, $add:ident, $sub:ident, $mul:ident, $fused:ident, $min:ident, $max:ident, $store:ident,
        abs: |$abs:ident| $abs_of:expr,
        unequal: |$left:ident, $right:ident| $unequal:expr,
        nonnegative: |$number:ident| $nonnegative:expr,
        keep: |$a:ident, $mask:ident| $keep:expr,
        total: |$total:ident| $total_of:expr,
        $($name:ident: $ty:ty = |$at:ident| $load:expr;)*
    ) => {
        $(#[$doc])*
        pub(crate) struct $isa;

        #[expect(unsafe_code, reason = "SIMD intrinsics")]
        // SAFETY, for all blocks: passes are run with this set only in the function that enables its features,
        // into which these are inlined. A group has `LANES` elements, of which each part reads or writes its
        // own; loads and stores need no alignment, and prefetching no valid address.
        impl Isa for $isa {
            type Vector = [$register; $count];

            #[inline(always)]
            fn zero() -> Self::Vector {
                [unsafe { $zero() }; $count]
            }

            #[inline(always)]
            fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector {
                parts!($parts, |I, _LANE| unsafe { $add(a[I], b[I]) })
            }

            #[inline(always)]
            fn sub(a: Self::Vector, b: Self::Vector) -> Self::Vector {
                parts!($parts, |I, _LANE| unsafe { $sub(a[I], b[I]) })
            }

            #[inline(always)]
            fn mul(a: Self::Vector, b: Self::Vector) -> Self::Vector {
                parts!($parts, |I, _LANE| unsafe { $mul(a[I], b[I]) })
            }

            #[inline(always)]
            fn min(a: Self::Vector, b: Self::Vector) -> Self::Vector {
                parts!($parts, |I, _LANE| unsafe { $min(a[I], b[I]) })
            }

            #[inline(always)]
            fn max(a: Self::Vector, b: Self::Vector) -> Self::Vector {
                parts!($parts, |I, _LANE| unsafe { $max(a[I], b[I]) })
            }

            #[inline(always)]
            fn add_exact_product(sum: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector {
                parts!($parts, |I, _LANE| unsafe { $fused(a[I], b[I], sum[I]) })
            }

            #[inline(always)]
            fn abs(a: Self::Vector) -> Self::Vector {
                parts!($parts, |I, _LANE| unsafe {
                    let $abs = a[I];
                    $abs_of
                })
            }

            #[inline(always)]
            fn unequal(a: Self::Vector, b: Self::Vector) -> Self::Vector {
                parts!($parts, |I, _LANE| unsafe {
                    let ($left, $right) = (a[I], b[I]);
                    $unequal
                })
            }

            #[inline(always)]
            fn nonnegative(a: Self::Vector) -> Self::Vector {
                parts!($parts, |I, _LANE| unsafe {
                    let $number = a[I];
                    $nonnegative
                })
            }

            #[inline(always)]
            fn keep(a: Self::Vector, mask: &[u64; LANES]) -> Self::Vector {
                parts!($parts, |I, LANE| unsafe {
                    let ($a, $mask) = (a[I], mask.as_ptr().add(LANE));
                    $keep
                })
            }

            #[inline(always)]
            fn store(a: Self::Vector, to: &mut Lanes) {
                parts!($parts, |I, LANE| unsafe { $store(to.as_mut_ptr().add(LANE), a[I]) });
            }

            #[inline(always)]
            fn prefetch(at: *const u8) {
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
            }

            #[inline(always)]
            fn total($total: Self::Vector) -> f64 {
                unsafe { $total_of }
            }

            $(
                #[inline(always)]
                fn $name(group: &[$ty; LANES]) -> Self::Vector {
                    parts!($parts, |_I, LANE| unsafe {
                        let $at = group.as_ptr().add(LANE);
                        $load
                    })
                }
            )*
        }
    };
}

#[cfg(target_arch = "x86_64")]
macro_rules! parts {
    ([$(($index:literal, $first:literal)),*], |$i:ident, $lane:ident| $value:expr) => {
        [$({
            const $i: usize = $index;
            const $lane: usize = $first;
            $value
        }),*]
    };
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::*;

    use half::{bf16, f16};
    use hyperslab_core::Bool8;

    use super::{Isa, LANES, Lanes};

    /// The total of the last four lanes.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn total(a: __m256d) -> f64 {
        let a = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd::<1>(a));
        _mm_cvtsd_f64(_mm_add_sd(a, _mm_unpackhi_pd(a, a)))
    }

    x86! {
        /// AVX2 with F16C and FMA.
        Avx2 = [__m256d; 4] at [(0, 0), (1, 4), (2, 8), (3, 12)],
        _mm256_setzero_pd, _mm256_add_pd, _mm256_sub_pd, _mm256_mul_pd, _mm256_fmadd_pd, _mm256_min_pd, _mm256_max_pd, _mm256_storeu_pd,
        abs: |a| _mm256_andnot_pd(_mm256_set1_pd(-0.0), a),
        unequal: |a, b| _mm256_and_pd(_mm256_cmp_pd::<_CMP_NEQ_UQ>(a, b), _mm256_set1_pd(1.0)),
        nonnegative: |a| {
            let negative = _mm256_cmp_pd::<_CMP_NGE_UQ>(a, _mm256_setzero_pd());
            _mm256_blendv_pd(a, _mm256_set1_pd(f64::NAN), negative)
        },
        keep: |a, mask| _mm256_and_pd(a, _mm256_loadu_pd(mask.cast())),
        total: |a| total(_mm256_add_pd(_mm256_add_pd(a[0], a[2]), _mm256_add_pd(a[1], a[3]))),
        from_f64: f64 = |at| _mm256_loadu_pd(at);
        from_f32: f32 = |at| _mm256_cvtps_pd(_mm_loadu_ps(at));
        from_f16: f16 = |at| _mm256_cvtps_pd(_mm_cvtph_ps(_mm_loadl_epi64(at.cast())));
        from_bf16: bf16 = |at| {
            let wide = _mm_slli_epi32::<16>(_mm_cvtepu16_epi32(_mm_loadl_epi64(at.cast())));
            _mm256_cvtps_pd(_mm_castsi128_ps(wide))
        };
        from_bool: Bool8 = |at| {
            let one = _mm_min_epu8(_mm_loadu_si32(at.cast()), _mm_set1_epi8(1));
            _mm256_cvtepi32_pd(_mm_cvtepu8_epi32(one))
        };
        from_i8: i8 = |at| _mm256_cvtepi32_pd(_mm_cvtepi8_epi32(_mm_loadu_si32(at.cast())));
        from_u8: u8 = |at| _mm256_cvtepi32_pd(_mm_cvtepu8_epi32(_mm_loadu_si32(at.cast())));
        from_i16: i16 = |at| _mm256_cvtepi32_pd(_mm_cvtepi16_epi32(_mm_loadl_epi64(at.cast())));
        from_u16: u16 = |at| _mm256_cvtepi32_pd(_mm_cvtepu16_epi32(_mm_loadl_epi64(at.cast())));
        from_i32: i32 = |at| _mm256_cvtepi32_pd(_mm_loadu_si128(at.cast()));
        from_u32: u32 = |at| {
            // Below an exponent of 2⁵², whose float64 is then subtracted.
            let magic = _mm256_set1_pd((1_u64 << 52) as f64);
            let wide = _mm256_castsi256_pd(_mm256_cvtepu32_epi64(_mm_loadu_si128(at.cast())));
            _mm256_sub_pd(_mm256_or_pd(wide, magic), magic)
        };
        from_i64: i64 = |at| _mm256_setr_pd(*at as f64, *at.add(1) as f64, *at.add(2) as f64, *at.add(3) as f64);
        from_u64: u64 = |at| _mm256_setr_pd(*at as f64, *at.add(1) as f64, *at.add(2) as f64, *at.add(3) as f64);
    }

    x86! {
        /// AVX-512 F, BW, DQ and VL.
        Avx512 = [__m512d; 2] at [(0, 0), (1, 8)],
        _mm512_setzero_pd, _mm512_add_pd, _mm512_sub_pd, _mm512_mul_pd, _mm512_fmadd_pd, _mm512_min_pd, _mm512_max_pd, _mm512_storeu_pd,
        abs: |a| _mm512_abs_pd(a),
        unequal: |a, b| _mm512_maskz_mov_pd(_mm512_cmp_pd_mask::<_CMP_NEQ_UQ>(a, b), _mm512_set1_pd(1.0)),
        nonnegative: |a| {
            let negative = _mm512_cmp_pd_mask::<_CMP_NGE_UQ>(a, _mm512_setzero_pd());
            _mm512_mask_mov_pd(a, negative, _mm512_set1_pd(f64::NAN))
        },
        keep: |a, mask| _mm512_and_pd(a, _mm512_loadu_pd(mask.cast())),
        total: |a| {
            let sum = _mm512_add_pd(a[0], a[1]);
            total(_mm256_add_pd(_mm512_castpd512_pd256(sum), _mm512_extractf64x4_pd::<1>(sum)))
        },
        from_f64: f64 = |at| _mm512_loadu_pd(at);
        from_f32: f32 = |at| _mm512_cvtps_pd(_mm256_loadu_ps(at));
        from_f16: f16 = |at| _mm512_cvtps_pd(_mm256_cvtph_ps(_mm_loadu_si128(at.cast())));
        from_bf16: bf16 = |at| {
            let wide = _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast())));
            _mm512_cvtps_pd(_mm256_castsi256_ps(wide))
        };
        from_bool: Bool8 = |at| {
            let one = _mm_min_epu8(_mm_loadl_epi64(at.cast()), _mm_set1_epi8(1));
            _mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(one))
        };
        from_i8: i8 = |at| _mm512_cvtepi32_pd(_mm256_cvtepi8_epi32(_mm_loadl_epi64(at.cast())));
        from_u8: u8 = |at| _mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(_mm_loadl_epi64(at.cast())));
        from_i16: i16 = |at| _mm512_cvtepi32_pd(_mm256_cvtepi16_epi32(_mm_loadu_si128(at.cast())));
        from_u16: u16 = |at| _mm512_cvtepi32_pd(_mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast())));
        from_i32: i32 = |at| _mm512_cvtepi32_pd(_mm256_loadu_si256(at.cast()));
        from_u32: u32 = |at| _mm512_cvtepu32_pd(_mm256_loadu_si256(at.cast()));
        from_i64: i64 = |at| _mm512_cvtepi64_pd(_mm512_loadu_si512(at.cast()));
        from_u64: u64 = |at| _mm512_cvtepu64_pd(_mm512_loadu_si512(at.cast()));
    }
}
