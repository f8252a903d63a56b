//! One query against rows of float32: a pass in float32 tells which rows matter, and those are scored exactly. It does a
//! third of the arithmetic, which leaves the time that reading takes.

use crate::distance::{BATCH, score};
use crate::kernel::{self, Isa, LANES, PREFETCH, Pass, SingleLanes};
use crate::scalar::{Load, Numbers};
use crate::screen::{QueryScreen, RowBounds, Test, is_cosine};
use crate::{PreparedQuery, TopK};

/// Preparing the query is worth it from so many rows on.
const FEWEST: usize = 32;

/// A batch of which more than one row in so many may matter is scored as a whole.
const FEW: usize = 4;

/// A query in float32, and what its products are compared with.
pub(super) struct Screened {
    screen: QueryScreen,
    groups: Vec<SingleLanes>,
    cosine: bool,
    test: Test,
    /// The threshold, as bits, that the test is for.
    threshold: Option<u64>,
}

impl Screened {
    /// `None` where it would not be faster, or there is no bound.
    pub(super) fn new<T: Load>(query: &PreparedQuery, rows: usize) -> Option<Self> {
        if !T::SINGLE || rows < FEWEST {
            return None;
        }
        let screen = QueryScreen::new(query)?;
        let group = |values: &[f32]| {
            let mut lanes = [0.0; LANES];
            lanes[..values.len()].copy_from_slice(values);
            lanes
        };
        let groups = screen.values().chunks(LANES).map(group).collect();
        let cosine = is_cosine(query.distance());
        Some(Self { screen, groups, cosine, test: Test::PASS, threshold: None })
    }

    /// Offers at most [`BATCH`] rows, if few of them may matter, and returns how many scores that took.
    pub(super) fn search<T: Load>(
        &mut self,
        query: &PreparedQuery,
        rows: &[T],
        numbers: Numbers<'_>,
        top: &mut TopK,
    ) -> Option<usize> {
        let threshold = top.threshold()?;
        if self.threshold != Some(threshold.to_bits()) {
            self.threshold = Some(threshold.to_bits());
            self.test = self.screen.test(threshold);
        }
        let (dim, count) = (query.dim(), rows.len() / query.dim());
        let mut passes = [0; BATCH];
        let mut passed = 0;
        let mut none = Vec::new();
        kernel::run(ScreenRows {
            rows: T::singles(rows, &mut none),
            dim,
            query: &self.groups,
            cosine: self.cosine,
            test: self.test,
            passes: &mut passes[..count],
            passed: &mut passed,
        });
        if passed * FEW > count {
            return None;
        }
        if passed > 0 {
            for r in (0..count).filter(|r| passes[*r] != 0) {
                top.push(score(&rows[r * dim..][..dim], query), numbers.get(r));
            }
        }
        Some(passed)
    }
}

/// Which rows pass a query's [`Test`].
pub(super) struct ScreenRows<'a> {
    /// `dim` elements for each of `passes`, of which there are at most [`BATCH`].
    pub(super) rows: &'a [f32],
    pub(super) dim: usize,
    /// The query's groups, padded with zeros.
    pub(super) query: &'a [SingleLanes],
    pub(super) cosine: bool,
    pub(super) test: Test,
    /// Gets 1 for each row that passes, 0 for the others.
    pub(super) passes: &'a mut [u8],
    /// Gets how many do.
    pub(super) passed: &'a mut usize,
}

impl Pass for ScreenRows<'_> {
    #[inline(always)]
    fn run<I: Isa>(self) {
        let (count, dim) = (self.passes.len(), self.dim);
        let whole = dim / LANES * LANES;
        let (query, last_query) = self.query.split_at(whole / LANES);
        let (mut products, mut norms, mut half_squares) = ([0.0; BATCH], [0.0; BATCH], [0.0; BATCH]);
        let mut rows = self.rows;
        for (product_out, norm_out) in products.iter_mut().zip(&mut norms).take(count) {
            let (mut product, mut norm) = (I::single_zero(), I::single_zero());
            for (group, query) in rows[..whole].as_chunks().0.iter().zip(query) {
                I::prefetch(group.as_ptr().wrapping_byte_add(PREFETCH).cast());
                let row = I::single_load(group);
                product = I::single_mul_add(row, I::single_load(query), product);
                norm = I::single_mul_add(row, row, norm);
            }
            if let [query] = last_query {
                let mut group = [0.0; LANES];
                group[..dim - whole].copy_from_slice(&rows[whole..dim]);
                let row = I::single_load(&group);
                product = I::single_mul_add(row, I::single_load(query), product);
                norm = I::single_mul_add(row, row, norm);
            }
            (*product_out, *norm_out) = (I::single_total(product), I::single_total(norm));
            rows = &rows[dim..];
        }
        let (norms, half_squares) = (&mut norms[..count], &mut half_squares[..count]);
        RowBounds { dim, cosine: self.cosine, norms, half_squares }.run::<I>();
        let Test { slope, scale, least } = self.test;
        let mut passed = 0;
        for ((pass, product), (norm, half_square)) in
            self.passes.iter_mut().zip(&products).zip(norms.iter().zip(half_squares.iter()))
        {
            let bounded = product - norm * slope - half_square * scale;
            // NaN passes.
            let fails = bounded < least;
            *pass = u8::from(!fails);
            passed += u32::from(*pass);
        }
        *self.passed = passed as usize;
    }
}
