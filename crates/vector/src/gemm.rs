//! The matrix product of rows and queries in float32, in blocks that stay in registers, each product compared
//! with what its query still asks for instead of being stored.
//!
//! Queries are packed by sixteen: element k of sixteen queries is one vector. A block is some rows against one
//! or two such vectors; for each k it broadcasts an element of each row, straight from where the row lies, and
//! multiplies it with the queries' vectors, whose sums stay in registers. (K. Goto and R. van de Geijn,
//! "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), 2008: the packed operand is the
//! queries, and the rows, which are used once per call, are not copied.)
//!
//! What the products are compared with is defined in [`screen`](crate::screen).

use crate::kernel::{Isa, LANES, Pass, Shape, SingleLanes};
use crate::screen::Test;

/// A line of the cache, in bytes.
const LINE: usize = 64;

/// Elements of each row that are multiplied between two prefetches.
const STEP: usize = 8;

/// The fewest rows of a block, for any instruction set.
pub(crate) const MIN_ROWS: usize = 12;

/// Query vectors in float32, packed by sixteen, and what each is compared with.
pub(crate) struct Panels {
    dim: usize,
    /// `dim` vectors for each sixteen queries; the last are padded with queries of zeros.
    packed: Vec<SingleLanes>,
    tests: Vec<Tests>,
}

/// The [`Test`]s of sixteen queries.
#[derive(Clone, Copy)]
struct Tests {
    slopes: SingleLanes,
    scales: SingleLanes,
    least: SingleLanes,
}

impl Panels {
    /// Packs queries of `dim` elements.
    pub(crate) fn pack<'a>(dim: usize, queries: impl ExactSizeIterator<Item = Option<&'a [f32]>>) -> Self {
        let vectors = queries.len().div_ceil(LANES);
        let mut packed = vec![[0.0; LANES]; vectors * dim];
        for (q, query) in queries.enumerate() {
            let panel = &mut packed[q / LANES * dim..][..dim];
            for (lanes, value) in panel.iter_mut().zip(query.unwrap_or_default()) {
                lanes[q % LANES] = *value;
            }
        }
        let none = Tests { slopes: [0.0; LANES], scales: [0.0; LANES], least: [f32::INFINITY; LANES] };
        Self { dim, packed, tests: vec![none; vectors] }
    }

    /// Sets what a query's products are compared with.
    pub(crate) fn set_test(&mut self, query: usize, test: Test) {
        let (tests, lane) = (&mut self.tests[query / LANES], query % LANES);
        tests.slopes[lane] = test.slope;
        tests.scales[lane] = test.scale;
        tests.least[lane] = test.least;
    }

    /// The vectors of sixteen queries.
    pub(crate) fn vectors(&self) -> usize {
        self.tests.len()
    }
}

/// The squared norms of rows in float32.
pub(crate) struct SquaredNorms<'a> {
    /// `dim` elements for each of `out`.
    pub(crate) rows: &'a [f32],
    pub(crate) dim: usize,
    pub(crate) out: &'a mut [f32],
}

impl Pass for SquaredNorms<'_> {
    #[inline(always)]
    fn run<I: Isa>(self) {
        for (row, out) in self.rows.chunks_exact(self.dim.max(1)).zip(self.out) {
            let mut sum = I::single_zero();
            let (groups, rest) = row.as_chunks();
            for group in groups {
                let values = I::single_load(group);
                sum = I::single_mul_add(values, values, sum);
            }
            if !rest.is_empty() {
                let mut group = [0.0; LANES];
                group[..rest.len()].copy_from_slice(rest);
                let values = I::single_load(&group);
                sum = I::single_mul_add(values, values, sum);
            }
            *out = I::single_total(sum);
        }
    }
}

/// Screens rows: which of them may be among the best of which queries.
pub(crate) struct Screening<'a> {
    /// `panels.dim` elements per row, of at least [`MIN_ROWS`] rows.
    pub(crate) rows: &'a [f32],
    pub(crate) panels: &'a Panels,
    /// For each row, [`RowBounds`](crate::screen::RowBounds)' two.
    pub(crate) norms: &'a [f32],
    pub(crate) half_squares: &'a [f32],
    /// Gets, for each sixteen queries, a mask of them for each row: those whose test the row passes.
    pub(crate) masks: &'a mut [u16],
    /// What will be read after these rows, to be fetched meanwhile.
    pub(crate) next: std::ops::Range<*const u8>,
}

impl Pass for Screening<'_> {
    #[inline(always)]
    fn run<I: Isa>(mut self) {
        match I::SHAPE {
            Shape::Rows3 => self.run_blocks::<I, 3, 1>(),
            Shape::Rows6 => self.run_blocks::<I, 6, 1>(),
            Shape::Rows12 => self.run_blocks::<I, 12, 2>(),
        }
    }
}

impl Screening<'_> {
    #[inline(always)]
    fn run_blocks<I: Isa, const ROWS: usize, const VECTORS: usize>(&mut self) {
        let (count, vectors) = (self.norms.len(), self.panels.vectors());
        assert!(count >= ROWS && self.rows.len() == count * self.panels.dim && self.half_squares.len() == count);
        assert!(self.masks.len() == count * vectors);
        let steps = count.div_ceil(ROWS) * vectors.div_ceil(VECTORS) * self.panels.dim.div_ceil(STEP);
        let mut prefetch = Prefetch {
            at: self.next.start,
            end: self.next.end,
            per_step: (self.next.end.addr() - self.next.start.addr()).div_ceil(LINE).div_ceil(steps),
        };
        let mut vector = 0;
        while vector < vectors {
            let wide = vector + VECTORS <= vectors;
            let mut row = 0;
            while row < count {
                // The last block may overlap with the one before it.
                let first = row.min(count - ROWS);
                if wide {
                    self.block::<I, ROWS, VECTORS>(first, vector, &mut prefetch);
                } else {
                    self.block::<I, ROWS, 1>(first, vector, &mut prefetch);
                }
                row += ROWS;
            }
            vector += if wide { VECTORS } else { 1 };
        }
    }

    /// Screens `ROWS` rows with `VECTORS` vectors of queries.
    #[inline(always)]
    #[expect(unsafe_code, reason = "see `Cursor::step`")]
    #[expect(clippy::needless_range_loop, reason = "as in `Cursor::step`")]
    fn block<I: Isa, const ROWS: usize, const VECTORS: usize>(
        &mut self,
        row: usize,
        vector: usize,
        prefetch: &mut Prefetch,
    ) {
        let (dim, count) = (self.panels.dim, self.norms.len());
        let rows = &self.rows[row * dim..][..ROWS * dim];
        let panel = &self.panels.packed[vector * dim..][..VECTORS * dim];
        let mut sums = [[I::single_zero(); VECTORS]; ROWS];
        let mut cursor = Cursor::<VECTORS>::new(rows, panel, dim);
        let mut k = 0;
        while k < dim {
            prefetch.step::<I>();
            let end = dim.min(k + STEP);
            while k < end {
                // SAFETY: `dim` times in all, and the slices above have these lengths.
                unsafe { cursor.step::<I, ROWS>(&mut sums) };
                k += 1;
            }
        }
        for v in 0..VECTORS {
            let tests = &self.panels.tests[vector + v];
            let (slopes, scales) = (I::single_load(&tests.slopes), I::single_load(&tests.scales));
            let least = I::single_load(&tests.least);
            let masks = &mut self.masks[(vector + v) * count + row..][..ROWS];
            let (norms, halves) = (&self.norms[row..][..ROWS], &self.half_squares[row..][..ROWS]);
            for r in 0..ROWS {
                let bounded = I::single_sub_mul(I::single_splat(norms[r]), slopes, sums[r][v]);
                let bounded = I::single_sub_mul(I::single_splat(halves[r]), scales, bounded);
                masks[r] = I::single_not_below(bounded, least);
            }
        }
    }
}

/// Where the elements are that are multiplied next: rows in thirds, so that few addresses are kept, and vectors of
/// queries.
struct Cursor<const VECTORS: usize> {
    thirds: [*const f32; MIN_ROWS / 3],
    dim: usize,
    queries: [*const SingleLanes; VECTORS],
}

impl<const VECTORS: usize> Cursor<VECTORS> {
    #[inline(always)]
    fn new(rows: &[f32], panel: &[SingleLanes], dim: usize) -> Self {
        let mut thirds = [rows.as_ptr(); MIN_ROWS / 3];
        thirds.iter_mut().enumerate().for_each(|(t, third)| *third = third.wrapping_add(3 * t * dim));
        let mut queries = [panel.as_ptr(); VECTORS];
        queries.iter_mut().enumerate().for_each(|(v, query)| *query = query.wrapping_add(v * dim));
        Self { thirds, dim, queries }
    }

    /// Adds the products of the next element of each of `ROWS` rows to the sums.
    ///
    /// # Safety
    /// Called at most `dim` times, with `ROWS` × `dim` elements of rows and `VECTORS` × `dim` vectors of queries.
    #[inline(always)]
    #[expect(unsafe_code, reason = "a bounds check for each element of each row")]
    #[expect(clippy::needless_range_loop, reason = "loops over indices are unrolled, and the sums stay in registers")]
    unsafe fn step<I: Isa, const ROWS: usize>(&mut self, sums: &mut [[I::Single; VECTORS]; ROWS]) {
        let mut queries = [I::single_zero(); VECTORS];
        for v in 0..VECTORS {
            // SAFETY: the caller's.
            queries[v] = I::single_load(unsafe { &*self.queries[v] });
            self.queries[v] = self.queries[v].wrapping_add(1);
        }
        for r in 0..ROWS {
            // SAFETY: as above; row r is row r % 3 of its third.
            let value = I::single_splat(unsafe { *self.thirds[r / 3].wrapping_add(r % 3 * self.dim) });
            for v in 0..VECTORS {
                sums[r][v] = I::single_mul_add(value, queries[v], sums[r][v]);
            }
        }
        for t in 0..ROWS / 3 {
            self.thirds[t] = self.thirds[t].wrapping_add(1);
        }
    }
}

/// Lines that are fetched bit by bit.
struct Prefetch {
    at: *const u8,
    end: *const u8,
    per_step: usize,
}

impl Prefetch {
    #[inline(always)]
    fn step<I: Isa>(&mut self) {
        for _ in 0..self.per_step {
            I::prefetch_later(self.at);
            self.at = self.at.wrapping_add(LINE);
        }
        if self.at >= self.end {
            self.per_step = 0;
        }
    }
}
