//! The sums that every metric is made of, in a fixed order of additions.
//!
//! A vector is cut into groups of [`LANES`] elements, the last padded with zeros. Element i of each group
//! is added to lane i, in float64, by a multiplication and an addition of their own (never a fused one);
//! at the end lane i and lane i + 8 are added, then i and i + 4, i and i + 2, and the last two. IEEE 754
//! fixes the result of each step, so a sum has the same bits on every instruction set, for a row alone or
//! in a block, for one query or several, whatever the number of threads. Sixteen partial sums also keep the
//! rounding error below that of a running sum by about that factor (Higham, section 4.2).
//!
//! The code is written once, for arrays of lanes, and compiled for AVX-512, AVX2 and the build's baseline;
//! the best one that the processor has is chosen at run time.

use std::sync::OnceLock;

use half::f16;

use crate::scalar::Load;

/// Partial sums of a vector.
pub(crate) const LANES: usize = 16;

/// One value per lane.
pub(crate) type Lanes = [f64; LANES];

/// The instruction sets that the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InstructionSet {
    /// What the build targets: SSE2 on x86-64, NEON on AArch64.
    Baseline,
    /// AVX2 with F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl InstructionSet {
    /// All that this processor can run, the best last.
    pub(crate) fn available() -> Vec<Self> {
        #[allow(unused_mut)] // elsewhere than on x86-64
        let mut sets = vec![Self::Baseline];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") {
                sets.push(Self::Avx2);
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                {
                    sets.push(Self::Avx512);
                }
            }
        }
        sets
    }

    /// The one in use, chosen once.
    #[inline]
    pub(crate) fn current() -> Self {
        static CURRENT: OnceLock<InstructionSet> = OnceLock::new();
        *CURRENT.get_or_init(|| Self::available().pop().unwrap_or(Self::Baseline))
    }
}

/// What differs between instruction sets beyond what the compiler does by itself.
pub(crate) trait Isa {
    /// Converts half-precision values, exactly.
    fn widen(group: &[f16; LANES]) -> Lanes;
}

/// Nothing but plain Rust.
pub(crate) struct Plain;

impl Isa for Plain {
    #[inline(always)]
    fn widen(group: &[f16; LANES]) -> Lanes {
        group.map(|v| f64::from(widen_bits(v.to_bits())))
    }
}

/// Half to single precision without branches, so that the compiler can vectorize it: the exponent is
/// rebiased, once more for infinities and NaN; a subnormal is put under an implicit one, which is then
/// subtracted. (F. Giesen, "Half to float done quick", 2012.)
#[inline(always)]
fn widen_bits(bits: u16) -> f32 {
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

/// The F16C conversion, which both AVX sets come with.
#[cfg(target_arch = "x86_64")]
struct F16c;

#[cfg(target_arch = "x86_64")]
impl Isa for F16c {
    #[inline(always)]
    fn widen(group: &[f16; LANES]) -> Lanes {
        use std::arch::x86_64::{_mm_loadu_si128, _mm256_cvtph_ps, _mm256_storeu_ps};
        let mut wide = [0_f32; LANES];
        #[expect(unsafe_code, reason = "SIMD intrinsics")]
        // SAFETY: `F16c` is used by passes that run in `avx2` and `avx512` only, which enable the feature.
        // Each load reads 8 of the 16 halves, each store writes 8 of the 16 singles; neither needs alignment.
        unsafe {
            let (from, to) = (group.as_ptr(), wide.as_mut_ptr());
            _mm256_storeu_ps(to, _mm256_cvtph_ps(_mm_loadu_si128(from.cast())));
            _mm256_storeu_ps(to.add(8), _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast())));
        }
        wide.map(f64::from)
    }
}

/// A computation to be compiled for each instruction set. Implementations are `#[inline(always)]`, for the
/// code is compiled with the features of the function that it is inlined into.
pub(crate) trait Pass {
    fn run<I: Isa>(self);
}

/// Runs a pass with the best instructions that there are.
#[inline]
pub(crate) fn run<P: Pass>(pass: P) {
    run_with(InstructionSet::current(), pass);
}

/// Runs a pass with a given instruction set, which must be [available](InstructionSet::available).
#[inline]
pub(crate) fn run_with<P: Pass>(set: InstructionSet, pass: P) {
    match set {
        InstructionSet::Baseline => pass.run::<Plain>(),
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "calls of functions with target features")]
        // SAFETY: `available` lists a set only if the processor has all features that the function enables.
        InstructionSet::Avx2 => unsafe { avx2(pass) },
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "calls of functions with target features")]
        // SAFETY: as above.
        InstructionSet::Avx512 => unsafe { avx512(pass) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
fn avx2<P: Pass>(pass: P) {
    pass.run::<F16c>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512<P: Pass>(pass: P) {
    pass.run::<F16c>();
}

/// What is summed over a pair of vectors.
pub(crate) trait Term {
    /// Whether the squared norms of the rows are summed as well.
    const NORM: bool;

    /// What one pair of elements adds.
    fn of(a: f64, b: f64) -> f64;
}

/// a b.
pub(crate) struct Product;

impl Term for Product {
    const NORM: bool = false;

    #[inline(always)]
    fn of(a: f64, b: f64) -> f64 {
        a * b
    }
}

/// a b, and the squared norms.
pub(crate) struct ProductAndNorm;

impl Term for ProductAndNorm {
    const NORM: bool = true;

    #[inline(always)]
    fn of(a: f64, b: f64) -> f64 {
        a * b
    }
}

/// (a − b)².
pub(crate) struct SquaredDifference;

impl Term for SquaredDifference {
    const NORM: bool = false;

    #[inline(always)]
    fn of(a: f64, b: f64) -> f64 {
        let difference = a - b;
        difference * difference
    }
}

#[inline(always)]
fn accumulate<F: Term>(sums: &mut Lanes, a: &Lanes, b: &Lanes) {
    for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
        *sum += F::of(*a, *b);
    }
}

/// The total of the lanes, by halves.
#[inline(always)]
fn total(lanes: &Lanes) -> f64 {
    let mut lanes = *lanes;
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// How rows of one length are cut into groups.
#[derive(Clone, Copy)]
struct Groups {
    dim: usize,
    /// Elements in whole groups.
    whole: usize,
    /// All ones for the elements of the last, partial group.
    mask: [u64; LANES],
}

impl Groups {
    #[inline(always)]
    fn new(dim: usize) -> Self {
        let whole = dim / LANES * LANES;
        let mut mask = [0; LANES];
        mask[..dim - whole].fill(u64::MAX);
        Self { dim, whole, mask }
    }

    /// The last group of the row that `rows` begins with, if it is a partial one, padded with zeros. What
    /// follows the row is read along and masked where there is enough of it, for that is faster than a copy.
    #[inline(always)]
    fn partial<T: Load, I: Isa>(&self, rows: &[T]) -> Option<Lanes> {
        if self.whole == self.dim {
            return None;
        }
        let rest = &rows[self.whole..];
        Some(match rest.first_chunk::<LANES>() {
            Some(group) => {
                let mut lanes = T::load::<I>(group);
                for (lane, mask) in lanes.iter_mut().zip(&self.mask) {
                    *lane = f64::from_bits(lane.to_bits() & mask);
                }
                lanes
            }
            None => {
                let mut group = [T::ZERO; LANES];
                let len = self.dim - self.whole;
                group[..len].copy_from_slice(&rest[..len]);
                T::load::<I>(&group)
            }
        })
    }
}

/// A vector in groups of lanes, padded with zeros.
pub(crate) fn pad(values: &[f64]) -> Vec<Lanes> {
    let group = |chunk: &[f64]| {
        let mut lanes = [0.0; LANES];
        lanes[..chunk.len()].copy_from_slice(chunk);
        lanes
    };
    values.chunks(LANES).map(group).collect()
}

/// The sums of each row with each of `Q` queries.
pub(crate) struct Rows<'a, T, F, const Q: usize> {
    /// `sums.len()` rows of `dim` elements.
    pub(crate) rows: &'a [T],
    pub(crate) dim: usize,
    /// The queries' groups, interleaved.
    pub(crate) queries: &'a [[Lanes; Q]],
    /// Gets Σ F(row, query) per row and query.
    pub(crate) sums: &'a mut [[f64; Q]],
    /// Gets the rows' squared norms if `F::NORM`, and is then as long as `sums`.
    pub(crate) norms: &'a mut [f64],
    pub(crate) term: std::marker::PhantomData<F>,
}

impl<T: Load, F: Term, const Q: usize> Pass for Rows<'_, T, F, Q> {
    #[inline(always)]
    fn run<I: Isa>(self) {
        let groups = Groups::new(self.dim);
        let (queries, last_query) = self.queries.split_at(groups.whole / LANES);
        for (r, sums) in self.sums.iter_mut().enumerate() {
            let rows = &self.rows[r * self.dim..];
            let mut lanes = [[0.0; LANES]; Q];
            let mut norm = [0.0; LANES];
            let mut add = |row: &Lanes, queries: &[Lanes; Q]| {
                for (lanes, query) in lanes.iter_mut().zip(queries) {
                    accumulate::<F>(lanes, row, query);
                }
                if F::NORM {
                    accumulate::<Product>(&mut norm, row, row);
                }
            };
            for (group, queries) in rows[..groups.whole].as_chunks().0.iter().zip(queries) {
                add(&T::load::<I>(group), queries);
            }
            if let (Some(row), [queries, ..]) = (groups.partial::<T, I>(rows), last_query) {
                add(&row, queries);
            }
            for (sum, lanes) in sums.iter_mut().zip(&lanes) {
                *sum = total(lanes);
            }
            if F::NORM {
                self.norms[r] = total(&norm);
            }
        }
    }
}

/// The sums of each row of `a` with the same row of `b`.
pub(crate) struct Pairs<'a, T, F> {
    /// `sums.len()` rows of `dim` elements.
    pub(crate) a: &'a [T],
    /// As many.
    pub(crate) b: &'a [T],
    pub(crate) dim: usize,
    /// Gets Σ F(a, b) per row.
    pub(crate) sums: &'a mut [f64],
    /// Gets the squared norms of both if `F::NORM`, and is then as long as `sums`.
    pub(crate) norms: &'a mut [(f64, f64)],
    pub(crate) term: std::marker::PhantomData<F>,
}

impl<T: Load, F: Term> Pass for Pairs<'_, T, F> {
    #[inline(always)]
    fn run<I: Isa>(self) {
        let groups = Groups::new(self.dim);
        for (r, sum) in self.sums.iter_mut().enumerate() {
            let (a, b) = (&self.a[r * self.dim..], &self.b[r * self.dim..]);
            let mut lanes = [0.0; LANES];
            let mut norms = [[0.0; LANES]; 2];
            let mut add = |a: &Lanes, b: &Lanes| {
                accumulate::<F>(&mut lanes, a, b);
                if F::NORM {
                    accumulate::<Product>(&mut norms[0], a, a);
                    accumulate::<Product>(&mut norms[1], b, b);
                }
            };
            for (a, b) in a[..groups.whole].as_chunks().0.iter().zip(b[..groups.whole].as_chunks().0) {
                add(&T::load::<I>(a), &T::load::<I>(b));
            }
            if let (Some(a), Some(b)) = (groups.partial::<T, I>(a), groups.partial::<T, I>(b)) {
                add(&a, &b);
            }
            *sum = total(&lanes);
            if F::NORM {
                self.norms[r] = (total(&norms[0]), total(&norms[1]));
            }
        }
    }
}

/// The sums of one pair of float64 vectors.
pub(crate) struct PairSums {
    pub(crate) dot: f64,
    pub(crate) norm_a: f64,
    pub(crate) norm_b: f64,
}

/// a·b, ‖a‖² and ‖b‖² of two vectors of the same length.
pub(crate) fn pair_sums(a: &[f64], b: &[f64]) -> PairSums {
    let (mut sums, mut norms) = ([0.0], [(0.0, 0.0)]);
    let dim = a.len();
    run(Pairs::<_, ProductAndNorm> { a, b, dim, sums: &mut sums, norms: &mut norms, term: std::marker::PhantomData });
    PairSums { dot: sums[0], norm_a: norms[0].0, norm_b: norms[0].1 }
}
