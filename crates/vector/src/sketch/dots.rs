//! Sums of products of codes with a query's two levels of bytes, in 32-bit integers: exact, and so the same with
//! every instruction set.
//!
//! A row's code is an unsigned byte (or half a byte), a query's level a signed one, which is what the instruction
//! `vpdpbusd` of AVX-512 VNNI multiplies: 64 products are added to 16 sums (Intel 64 and IA-32 Architectures
//! Software Developer's Manual, volume 2, VPDPBUSD). Elsewhere bytes are widened to 16 bits first.

use std::sync::OnceLock;

/// Bytes of codes that are taken at once.
pub(super) const CHUNK: usize = 64;

/// One chunk of a query's levels, padded with zeros.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Level(pub(super) [i8; CHUNK]);

/// A query's levels, high and low, for one chunk of codes.
pub(super) type Levels = [Level; 2];

/// The sums of products with the two levels: high and low.
pub(super) type Sums = [i32; 2];

/// A computation over codes, to be compiled for each instruction set. Implementations are `#[inline(always)]`.
pub(super) trait Pass {
    fn run<D: Dots>(self);
}

/// How the sums are computed.
pub(super) trait Dots {
    /// The sums of four rows, which start at `at`, of `width` bytes each.
    ///
    /// - `levels`: for each chunk of a row, and if `HALVES` first for its low and then for its high halves.
    fn dots<const HALVES: bool>(codes: &[u8], at: [usize; 4], width: usize, levels: &[Levels]) -> [Sums; 4];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InstructionSet {
    /// Plain Rust.
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, DQ, VL and VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
}

impl InstructionSet {
    /// All that this processor can run, the best last.
    pub(super) fn available() -> Vec<Self> {
        #[allow(unused_mut)] // elsewhere than on x86-64
        let mut sets = vec![Self::Baseline];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                sets.push(Self::Avx2);
            }
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
            {
                sets.push(Self::Avx512Vnni);
            }
        }
        sets
    }

    /// The one in use, chosen once.
    #[inline]
    pub(super) fn current() -> Self {
        static CURRENT: OnceLock<InstructionSet> = OnceLock::new();
        *CURRENT.get_or_init(|| Self::available().pop().unwrap_or(Self::Baseline))
    }
}

/// Runs a pass with an instruction set, which must be [available](InstructionSet::available).
#[inline]
pub(super) fn run_with<P: Pass>(set: InstructionSet, pass: P) {
    match set {
        InstructionSet::Baseline => pass.run::<Plain>(),
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "calls of functions with target features")]
        // SAFETY: `available` lists a set only if the processor has all features that the function enables.
        InstructionSet::Avx2 => unsafe { x86_64::avx2(pass) },
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "calls of functions with target features")]
        // SAFETY: as above.
        InstructionSet::Avx512Vnni => unsafe { x86_64::avx512_vnni(pass) },
    }
}

/// What a chunk's `part` (0, or 1 for the high halves) multiplies.
#[inline(always)]
fn unpack<const HALVES: bool>(byte: u8, part: usize) -> u8 {
    match (HALVES, part) {
        (false, _) => byte,
        (true, 0) => byte & 15,
        (true, _) => byte >> 4,
    }
}

/// Plain Rust, for whatever the build targets.
pub(super) struct Plain;

impl Dots for Plain {
    #[inline(always)]
    fn dots<const HALVES: bool>(codes: &[u8], at: [usize; 4], width: usize, levels: &[Levels]) -> [Sums; 4] {
        let parts = if HALVES { 2 } else { 1 };
        at.map(|at| {
            let mut sums = [0; 2];
            for (codes, levels) in codes[at..][..width].chunks(CHUNK).zip(levels.chunks_exact(parts)) {
                for (part, levels) in levels.iter().enumerate() {
                    for (sum, level) in sums.iter_mut().zip(levels) {
                        for (code, level) in codes.iter().zip(level.0) {
                            *sum += i32::from(unpack::<HALVES>(*code, part)) * i32::from(level);
                        }
                    }
                }
            }
            sums
        })
    }
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::*;

    use super::{CHUNK, Dots, Levels, Pass, Sums};

    /// How far ahead of its use memory is asked for, in bytes: the processor's own prefetching ends with a page.
    const PREFETCH: usize = 2048;

    #[target_feature(enable = "avx2")]
    pub(super) fn avx2<P: Pass>(pass: P) {
        pass.run::<Avx2>();
    }

    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub(super) fn avx512_vnni<P: Pass>(pass: P) {
        pass.run::<Avx512Vnni>();
    }

    pub(super) struct Avx512Vnni;

    impl Dots for Avx512Vnni {
        #[inline(always)]
        fn dots<const HALVES: bool>(codes: &[u8], at: [usize; 4], width: usize, levels: &[Levels]) -> [Sums; 4] {
            #[expect(unsafe_code, reason = "a function with target features")]
            // SAFETY: passes are run with this set only in the function that enables its features.
            unsafe {
                vnni::<HALVES>(codes, at, width, levels)
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn vnni<const HALVES: bool>(codes: &[u8], at: [usize; 4], width: usize, levels: &[Levels]) -> [Sums; 4] {
        assert!(at.iter().all(|at| at + width <= codes.len()), "a row lies outside of its codes");
        let parts = if HALVES { 2 } else { 1 };
        assert!(levels.len() >= width.div_ceil(CHUNK) * parts, "a row has more codes than the query");
        let mut sums = [[_mm512_setzero_si512(); 2]; 4];
        for chunk in 0..width / CHUNK {
            #[expect(unsafe_code, reason = "a function for checked rows")]
            // SAFETY: the rows lie within `codes`, and the chunk within a row; there are levels for it.
            unsafe {
                sums = step::<HALVES>(sums, codes, at.map(|at| at + chunk * CHUNK), !0, &levels[chunk * parts..]);
            }
        }
        let (whole, rest) = (width / CHUNK, width % CHUNK);
        if rest > 0 {
            #[expect(unsafe_code, reason = "a function for checked rows")]
            // SAFETY: as above; the mask takes what is left of the row.
            unsafe {
                sums = step::<HALVES>(
                    sums,
                    codes,
                    at.map(|at| at + whole * CHUNK),
                    (1 << rest) - 1,
                    &levels[whole * parts..],
                );
            }
        }
        let (high, low) = (totals_512(sums.map(|sums| sums[0])), totals_512(sums.map(|sums| sums[1])));
        [0, 1, 2, 3].map(|r| [high[r], low[r]])
    }

    /// Adds the products of one chunk of four rows, which start at `at`, with its levels.
    ///
    /// # Safety
    /// The bytes at `at` that the mask takes must be within `codes`.
    #[inline]
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    #[expect(unsafe_code, reason = "SIMD intrinsics")]
    unsafe fn step<const HALVES: bool>(
        mut sums: [[__m512i; 2]; 4],
        codes: &[u8],
        at: [usize; 4],
        mask: __mmask64,
        levels: &[Levels],
    ) -> [[__m512i; 2]; 4] {
        // SAFETY: a level is as large and as aligned as a register.
        let load = |part: usize| [0, 1].map(|l| unsafe { _mm512_load_si512((&raw const levels[part][l]).cast()) });
        let first = load(0);
        let second = if HALVES { load(1) } else { first };
        let half = _mm512_set1_epi8(15);
        for r in 0..4 {
            let from = codes.as_ptr().wrapping_add(at[r]);
            _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(PREFETCH).cast());
            // SAFETY: see above.
            let bytes = unsafe { _mm512_maskz_loadu_epi8(mask, from.cast()) };
            let low_half = if HALVES { _mm512_and_si512(bytes, half) } else { bytes };
            let high_half = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), half);
            for l in 0..2 {
                sums[r][l] = _mm512_dpbusd_epi32(sums[r][l], low_half, first[l]);
                if HALVES {
                    sums[r][l] = _mm512_dpbusd_epi32(sums[r][l], high_half, second[l]);
                }
            }
        }
        sums
    }

    /// The totals of the lanes of four registers.
    #[inline]
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn totals_512(sums: [__m512i; 4]) -> [i32; 4] {
        totals_256(sums.map(|sum| _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum))))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn totals_256([a, b, c, d]: [__m256i; 4]) -> [i32; 4] {
        // Each half: the sums of a, b, c, d.
        let sums = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
        let sums = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        [
            _mm_extract_epi32::<0>(sums),
            _mm_extract_epi32::<1>(sums),
            _mm_extract_epi32::<2>(sums),
            _mm_extract_epi32::<3>(sums),
        ]
    }

    pub(super) struct Avx2;

    impl Dots for Avx2 {
        #[inline(always)]
        fn dots<const HALVES: bool>(codes: &[u8], at: [usize; 4], width: usize, levels: &[Levels]) -> [Sums; 4] {
            #[expect(unsafe_code, reason = "a function with target features")]
            // SAFETY: passes are run with this set only in the function that enables its features.
            unsafe {
                avx2_dots::<HALVES>(codes, at, width, levels)
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn avx2_dots<const HALVES: bool>(codes: &[u8], at: [usize; 4], width: usize, levels: &[Levels]) -> [Sums; 4] {
        let parts = if HALVES { 2 } else { 1 };
        let (mut high, mut low) = ([_mm256_setzero_si256(); 4], [_mm256_setzero_si256(); 4]);
        let half = _mm256_set1_epi16(15);
        for (r, at) in at.into_iter().enumerate() {
            let (chunks, rest) = codes[at..][..width].as_chunks::<CHUNK>();
            let mut step = |chunk: &[u8; CHUNK], levels: &[Levels]| {
                for i in 0..CHUNK / 16 {
                    #[expect(unsafe_code, reason = "SIMD intrinsics")]
                    // SAFETY: a chunk has 64 bytes, and so has a level.
                    unsafe {
                        let bytes = _mm256_cvtepu8_epi16(_mm_loadu_si128(chunk.as_ptr().add(16 * i).cast()));
                        for (part, levels) in levels.iter().enumerate() {
                            let codes = match (HALVES, part) {
                                (false, _) => bytes,
                                (true, 0) => _mm256_and_si256(bytes, half),
                                (true, _) => _mm256_srli_epi16::<4>(bytes),
                            };
                            let [h, l] = [0, 1].map(|level| {
                                let level = levels[level].0.as_ptr().add(16 * i);
                                _mm256_madd_epi16(codes, _mm256_cvtepi8_epi16(_mm_loadu_si128(level.cast())))
                            });
                            high[r] = _mm256_add_epi32(high[r], h);
                            low[r] = _mm256_add_epi32(low[r], l);
                        }
                    }
                }
            };
            let mut levels = levels.chunks_exact(parts);
            for (chunk, levels) in chunks.iter().zip(&mut levels) {
                step(chunk, levels);
            }
            if let (false, Some(levels)) = (rest.is_empty(), levels.next()) {
                let mut chunk = [0; CHUNK];
                chunk[..rest.len()].copy_from_slice(rest);
                step(&chunk, levels);
            }
        }
        let (high, low) = (totals_256(high), totals_256(low));
        [0, 1, 2, 3].map(|r| [high[r], low[r]])
    }
}
