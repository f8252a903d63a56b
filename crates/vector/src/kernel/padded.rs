//! Sums over float64 rows that are padded with zeros to whole groups: rows that are converted once and used
//! several times, for several queries or as one of two columns.

use std::marker::PhantomData;

use super::{Groups, Isa, LANES, Lanes, Pass, Term};
use crate::scalar::Load;

/// How many queries a [`Tile`] is run against at once.
pub(crate) const GROUP: usize = 4;

/// A vector in groups of lanes, padded with zeros.
pub(crate) fn pad(values: &[f64]) -> Vec<Lanes> {
    let group = |chunk: &[f64]| {
        let mut lanes = [0.0; LANES];
        lanes[..chunk.len()].copy_from_slice(chunk);
        lanes
    };
    values.chunks(LANES).map(group).collect()
}

/// Converts rows and pads them.
pub(crate) struct Widen<'a, T> {
    /// Rows of `dim` elements.
    pub(crate) rows: &'a [T],
    pub(crate) dim: usize,
    /// Gets `dim` / [`LANES`] groups per row, rounded up.
    pub(crate) out: &'a mut [Lanes],
}

impl<T: Load> Pass for Widen<'_, T> {
    #[inline(always)]
    fn run<I: Isa>(self) {
        let groups = Groups::new(self.dim);
        let mut out = self.out.iter_mut();
        for rows in (0..self.rows.len()).step_by(self.dim.max(1)).map(|start| &self.rows[start..]) {
            for (group, out) in rows[..groups.whole].as_chunks().0.iter().zip(&mut out) {
                I::store(T::load::<I>(group), out);
            }
            if groups.whole < self.dim
                && let Some(out) = out.next()
            {
                I::store(groups.partial::<T, I>(rows), out);
            }
        }
    }
}

/// The sums of each padded row with each of [`GROUP`] queries.
pub(crate) struct Tile<'a, F> {
    /// As many groups for each row as the queries have.
    pub(crate) rows: &'a [Lanes],
    /// The queries' groups, interleaved.
    pub(crate) queries: &'a [[Lanes; GROUP]],
    /// Gets Σ F(row, query) of each row, for each query.
    pub(crate) sums: [&'a mut [f64]; GROUP],
    /// Gets the rows' second sums if `F::SECOND`, which must depend on the row alone; as long as each of `sums`.
    pub(crate) seconds: &'a mut [f64],
    pub(crate) term: PhantomData<F>,
}

impl<F: Term> Pass for Tile<'_, F> {
    #[inline(always)]
    fn run<I: Isa>(self) {
        let [sums_0, sums_1, sums_2, sums_3] = self.sums;
        let sums = sums_0.iter_mut().zip(sums_1).zip(sums_2.iter_mut().zip(sums_3));
        let rows = self.rows.chunks_exact(self.queries.len().max(1));
        for ((row, ((sum_0, sum_1), (sum_2, sum_3))), second_out) in rows.zip(sums).zip(self.seconds) {
            // Four variables rather than an array, so that they stay in registers.
            let (mut a, mut b, mut c, mut d) = (I::zero(), I::zero(), I::zero(), I::zero());
            let mut second = I::zero();
            for (group, queries) in row.iter().zip(self.queries) {
                let row = I::from_f64(group);
                a = I::add(a, F::of::<I>(row, I::from_f64(&queries[0])));
                b = I::add(b, F::of::<I>(row, I::from_f64(&queries[1])));
                c = I::add(c, F::of::<I>(row, I::from_f64(&queries[2])));
                d = I::add(d, F::of::<I>(row, I::from_f64(&queries[3])));
                if F::SECOND {
                    second = I::add(second, F::second::<I>(row, row));
                }
            }
            (*sum_0, *sum_1, *sum_2, *sum_3) = (I::total(a), I::total(b), I::total(c), I::total(d));
            if F::SECOND {
                *second_out = I::total(second);
            }
        }
    }
}

/// The sums of each padded row of `a` with the same row of `b`.
pub(crate) struct Pairs<'a, F> {
    /// `groups` groups per row.
    pub(crate) a: &'a [Lanes],
    /// As many.
    pub(crate) b: &'a [Lanes],
    pub(crate) groups: usize,
    /// Gets Σ F(a, b) of each row.
    pub(crate) sums: &'a mut [f64],
    /// Gets the second sums of (a, b) and of (b, a) if `F::SECOND`; as long as `sums`.
    pub(crate) seconds: [&'a mut [f64]; 2],
    pub(crate) term: PhantomData<F>,
}

impl<F: Term> Pass for Pairs<'_, F> {
    #[inline(always)]
    fn run<I: Isa>(self) {
        let [seconds_a, seconds_b] = self.seconds;
        for (r, sum) in self.sums.iter_mut().enumerate() {
            let row = r * self.groups..(r + 1) * self.groups;
            let (mut acc, mut second_a, mut second_b) = (I::zero(), I::zero(), I::zero());
            for (a, b) in self.a[row.clone()].iter().zip(&self.b[row]) {
                let (a, b) = (I::from_f64(a), I::from_f64(b));
                acc = I::add(acc, F::of::<I>(a, b));
                if F::SECOND {
                    second_a = I::add(second_a, F::second::<I>(a, b));
                    second_b = I::add(second_b, F::second::<I>(b, a));
                }
            }
            *sum = I::total(acc);
            if F::SECOND {
                (seconds_a[r], seconds_b[r]) = (I::total(second_a), I::total(second_b));
            }
        }
    }
}

/// a·b of two padded vectors.
pub(crate) fn dot(a: &[Lanes], b: &[Lanes]) -> f64 {
    let mut sums = [0.0];
    let seconds: [&mut [f64]; 2] = [&mut [], &mut []];
    super::run(Pairs::<super::Product> { a, b, groups: a.len(), sums: &mut sums, seconds, term: PhantomData });
    sums[0]
}

/// Σ aᵢ of a padded vector.
pub(crate) fn sum(a: &[Lanes]) -> f64 {
    super::Plain::total(a.iter().fold([0.0; LANES], |sum, group| super::Plain::add(sum, *group)))
}
