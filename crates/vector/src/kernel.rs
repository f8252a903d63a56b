//! The sums that every metric is made of, in a fixed order of additions.
//!
//! A vector is cut into groups of [`LANES`] elements, the last padded with zeros. Element i of each group
//! is added to lane i, in float64, by a multiplication and an addition of their own (a fused one only where the product
//! is exact, and the fused result therefore the same: see [`Load::NARROW`]);
//! at the end lane i and lane i + 8 are added, then i and i + 4, i and i + 2, and the last two. IEEE 754
//! fixes the result of each step, so a sum has the same bits on every instruction set, for a row alone or
//! in a block, for one query or several, whatever the number of threads. Sixteen partial sums also keep the
//! rounding error below that of a running sum by about that factor (Higham, section 4.2).
//!
//! The code is written once, for arrays of lanes, and compiled for AVX-512, AVX2 and the build's baseline;
//! the best one that the processor has is chosen at run time.

use std::marker::PhantomData;
use std::sync::OnceLock;

use crate::scalar::Load;

mod bits;
mod divergence;
mod isa;
mod ln;
mod padded;
mod singles;

pub(crate) use bits::BitCounts;
pub(crate) use divergence::{Divergences, distribution};
#[cfg(target_arch = "x86_64")]
use isa::{Avx2, Avx512};
pub(crate) use isa::{Isa, Plain};
pub(crate) use padded::{GROUP, Pairs, Tile, Widen, dot, pad};
pub(crate) use singles::{Narrow, Shape, SingleLanes};

/// Partial sums of a vector.
pub(crate) const LANES: usize = 16;

/// One value per lane.
pub(crate) type Lanes = [f64; LANES];

/// The instruction sets that the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InstructionSet {
    /// What the build targets: SSE2 on x86-64, NEON on AArch64.
    Baseline,
    /// AVX2 with F16C, FMA and POPCNT.
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
            if is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("f16c")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("popcnt")
            {
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
#[target_feature(enable = "avx2,f16c,fma,popcnt")]
fn avx2<P: Pass>(pass: P) {
    pass.run::<Avx2>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c,fma,popcnt,avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512<P: Pass>(pass: P) {
    pass.run::<Avx512>();
}

/// What is summed over a pair of vectors.
pub(crate) trait Term {
    /// Whether there is a second sum, of [`second`](Self::second).
    const SECOND: bool;

    /// What one pair of elements adds.
    fn of<I: Isa>(a: I::Vector, b: I::Vector) -> I::Vector;

    /// The sum with what one pair of elements adds; `EXACT` says that products of the two are exact.
    #[inline(always)]
    fn add<I: Isa, const EXACT: bool>(sum: I::Vector, a: I::Vector, b: I::Vector) -> I::Vector {
        I::add(sum, Self::of::<I>(a, b))
    }

    /// What it adds to the second sum; `a` is the row's.
    #[inline(always)]
    fn second<I: Isa>(_a: I::Vector, _b: I::Vector) -> I::Vector {
        I::zero()
    }

    /// The second sum with that; `EXACT` says that squares of `a` are exact.
    #[inline(always)]
    fn add_second<I: Isa, const EXACT: bool>(sum: I::Vector, a: I::Vector, b: I::Vector) -> I::Vector {
        I::add(sum, Self::second::<I>(a, b))
    }
}

/// a b.
pub(crate) struct Product;

impl Term for Product {
    const SECOND: bool = false;

    #[inline(always)]
    fn of<I: Isa>(a: I::Vector, b: I::Vector) -> I::Vector {
        I::mul(a, b)
    }

    #[inline(always)]
    fn add<I: Isa, const EXACT: bool>(sum: I::Vector, a: I::Vector, b: I::Vector) -> I::Vector {
        if EXACT { I::add_exact_product(sum, a, b) } else { I::add(sum, I::mul(a, b)) }
    }
}

/// a b, and the squared norms.
pub(crate) struct ProductAndNorm;

impl Term for ProductAndNorm {
    const SECOND: bool = true;

    #[inline(always)]
    fn of<I: Isa>(a: I::Vector, b: I::Vector) -> I::Vector {
        I::mul(a, b)
    }

    #[inline(always)]
    fn add<I: Isa, const EXACT: bool>(sum: I::Vector, a: I::Vector, b: I::Vector) -> I::Vector {
        Product::add::<I, EXACT>(sum, a, b)
    }

    #[inline(always)]
    fn second<I: Isa>(a: I::Vector, _b: I::Vector) -> I::Vector {
        I::mul(a, a)
    }

    #[inline(always)]
    fn add_second<I: Isa, const EXACT: bool>(sum: I::Vector, a: I::Vector, _b: I::Vector) -> I::Vector {
        Product::add::<I, EXACT>(sum, a, a)
    }
}

macro_rules! terms {
    ($($(#[$doc:meta])* $name:ident: <$isa:ident>|$a:ident, $b:ident| $of:expr $(, second: $second:expr)?;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl Term for $name {
            const SECOND: bool = !<[&str]>::is_empty(&[$(stringify!($second))?]);

            #[inline(always)]
            fn of<$isa: Isa>($a: $isa::Vector, $b: $isa::Vector) -> $isa::Vector {
                $of
            }

            $(
                #[inline(always)]
                #[allow(unused_variables)]
                fn second<$isa: Isa>($a: $isa::Vector, $b: $isa::Vector) -> $isa::Vector {
                    $second
                }
            )?
        }
    )*};
}

terms! {
    /// (a − b)².
    SquaredDifference: <I>|a, b| {
        let difference = I::sub(a, b);
        I::mul(difference, difference)
    };
    /// |a − b|.
    AbsoluteDifference: <I>|a, b| I::abs(I::sub(a, b));
    /// Whether a and b differ.
    Unequal: <I>|a, b| I::unequal(a, b);
    /// The smaller of a and b, and the larger. One below 0 or NaN makes one of the sums NaN: of two numbers that
    /// cannot be compared, the first takes b and the second a.
    Overlap: <I>|a, b| I::min(I::nonnegative(a), I::nonnegative(b)),
        second: I::max(I::nonnegative(b), I::nonnegative(a));
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

    /// Group `g` of the row that `rows` begins with, padded with zeros.
    #[inline(always)]
    fn get<T: Load, I: Isa>(&self, rows: &[T], g: usize) -> I::Vector {
        match rows[..self.whole].as_chunks().0.get(g) {
            Some(group) => T::load::<I>(group),
            None => self.partial::<T, I>(rows),
        }
    }

    /// The last, partial group of the row that `rows` begins with, padded with zeros. What follows the row is
    /// read along and masked where there is enough of it, for that is faster than a copy.
    #[inline(always)]
    fn partial<T: Load, I: Isa>(&self, rows: &[T]) -> I::Vector {
        let rest = &rows[self.whole..];
        match rest.first_chunk::<LANES>() {
            Some(group) => I::keep(T::load::<I>(group), &self.mask),
            None => {
                let mut group = [T::ZERO; LANES];
                let len = self.dim - self.whole;
                group[..len].copy_from_slice(&rest[..len]);
                T::load::<I>(&group)
            }
        }
    }
}

/// How far ahead of its use memory is asked for, in bytes: the processor's own prefetching ends with a page.
pub(crate) const PREFETCH: usize = 4096;

/// The sums of each row with a query.
pub(crate) struct Rows<'a, T, F> {
    /// Rows of `dim` elements, at least as many as there are sums.
    pub(crate) rows: &'a [T],
    pub(crate) dim: usize,
    /// The query's groups.
    pub(crate) query: &'a [Lanes],
    /// Gets Σ F(row, query) of each row.
    pub(crate) sums: &'a mut [f64],
    /// Gets the second sums if `F::SECOND`; as long as `sums`.
    pub(crate) seconds: &'a mut [f64],
    /// Whether the product of every element of the query with any `T` is exact.
    pub(crate) exact: bool,
    pub(crate) term: PhantomData<F>,
}

impl<T: Load, F: Term> Pass for Rows<'_, T, F> {
    #[inline(always)]
    fn run<I: Isa>(self) {
        match (T::NARROW, self.exact) {
            (true, true) => self.sum::<I, true, true>(),
            (true, false) => self.sum::<I, false, true>(),
            (false, _) => self.sum::<I, false, false>(),
        }
    }
}

impl<T: Load, F: Term> Rows<'_, T, F> {
    #[inline(always)]
    fn sum<I: Isa, const PRODUCTS: bool, const SQUARES: bool>(self) {
        let groups = Groups::new(self.dim);
        let (query, last_query) = self.query.split_at(groups.whole / LANES);
        let mut rows = self.rows;
        for (sum_out, second_out) in self.sums.iter_mut().zip(self.seconds) {
            let (mut sum, mut second) = (I::zero(), I::zero());
            for (group, query) in rows[..groups.whole].as_chunks().0.iter().zip(query) {
                I::prefetch(group.as_ptr().wrapping_byte_add(PREFETCH).cast());
                let (row, query) = (T::load::<I>(group), I::from_f64(query));
                sum = F::add::<I, PRODUCTS>(sum, row, query);
                if F::SECOND {
                    second = F::add_second::<I, SQUARES>(second, row, query);
                }
            }
            if let ([query], true) = (last_query, groups.whole < self.dim) {
                I::prefetch(rows.as_ptr().wrapping_add(groups.whole).wrapping_byte_add(PREFETCH).cast());
                let (row, query) = (groups.partial::<T, I>(rows), I::from_f64(query));
                sum = F::add::<I, PRODUCTS>(sum, row, query);
                if F::SECOND {
                    second = F::add_second::<I, SQUARES>(second, row, query);
                }
            }
            *sum_out = I::total(sum);
            if F::SECOND {
                *second_out = I::total(second);
            }
            rows = &rows[self.dim..];
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
