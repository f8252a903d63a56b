//! The sums of the divergences between distributions: vectors divided by the sum of their elements.

use std::marker::PhantomData;

use super::ln::{ln, ln_lanes};
use super::{Groups, Isa, LANES, Lanes, Pass};
use crate::scalar::Load;

/// A vector, padded to whole groups, as a distribution; of a sum that is 0 or leaves float64's range, NaN. A negative
/// element stays negative.
pub(crate) fn distribution(mut groups: Vec<Lanes>) -> Vec<Lanes> {
    let sum = super::padded::sum(&groups);
    groups.iter_mut().flatten().for_each(|v| *v = probability(*v, sum));
    groups
}

#[inline(always)]
fn probability(value: f64, sum: f64) -> f64 {
    value / if sum == 0.0 || sum.is_infinite() { f64::NAN } else { sum.abs() }
}

/// The divergence of each row from a distribution.
pub(crate) struct Divergences<'a, T> {
    /// Rows of `dim` elements, at least as many as there are sums.
    pub(crate) rows: &'a [T],
    pub(crate) dim: usize,
    /// The query's groups, from [`distribution`].
    pub(crate) query: &'a [Lanes],
    /// Whether to sum the divergences of both from their mean, instead of the row's from the query.
    pub(crate) from_mean: bool,
    pub(crate) sums: &'a mut [f64],
    pub(crate) element: PhantomData<T>,
}

impl<T: Load> Pass for Divergences<'_, T> {
    #[inline(always)]
    fn run<I: Isa>(self) {
        let groups = Groups::new(self.dim);
        for (r, out) in self.sums.iter_mut().enumerate() {
            let row = &self.rows[r * self.dim..];
            let mut total = I::zero();
            for g in 0..self.query.len() {
                total = I::add(total, groups.get::<T, I>(row, g));
            }
            let total = I::total(total);
            let mut sum = [0.0; LANES];
            for (g, q) in self.query.iter().enumerate() {
                let mut p = [0.0; LANES];
                I::store(groups.get::<T, I>(row, g), &mut p);
                p.iter_mut().for_each(|p| *p = probability(*p, total));
                let terms = if self.from_mean { from_mean(&p, q) } else { relative_entropy(&p, q) };
                sum.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
            }
            *out = I::total(I::from_f64(&sum));
        }
    }
}

#[inline(always)]
fn from_mean(p: &Lanes, q: &Lanes) -> Lanes {
    let mut mean = [0.0; LANES];
    mean.iter_mut().zip(p.iter().zip(q)).for_each(|(mean, (p, q))| *mean = (p + q) / 2.0);
    let (mut sum, others) = (relative_entropy(p, &mean), relative_entropy(q, &mean));
    sum.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
    sum
}

/// p ln(p/q); 0 where p is 0 and q is not negative; otherwise infinity, or NaN of NaN.
#[inline(always)]
fn relative_entropy(p: &Lanes, q: &Lanes) -> Lanes {
    let (mut ratios, mut ordinary) = ([1.0; LANES], true);
    for i in 0..LANES {
        let ratio = p[i] / q[i];
        ratios[i] = if (p[i] > 0.0) & (q[i] > 0.0) { ratio } else { 1.0 };
        ordinary &= (ratios[i] >= f64::MIN_POSITIVE) & (ratios[i] <= f64::MAX);
    }
    let logarithms = if ordinary { ln_lanes(&ratios) } else { extreme_logarithms(p, q, &ratios) };
    let mut out = [0.0; LANES];
    for i in 0..LANES {
        let (p, q) = (p[i], q[i]);
        let beyond = if p.is_nan() | q.is_nan() { f64::NAN } else { f64::INFINITY };
        let beyond = if (p == 0.0) & (q >= 0.0) { 0.0 } else { beyond };
        out[i] = if (p > 0.0) & (q > 0.0) { p * logarithms[i] } else { beyond };
    }
    out
}

/// ln(p/q) where some ratio is out of the range of normal numbers.
#[cold]
fn extreme_logarithms(p: &Lanes, q: &Lanes, ratios: &Lanes) -> Lanes {
    std::array::from_fn(|i| if ratios[i].is_normal() { ln(ratios[i]) } else { ln(p[i]) - ln(q[i]) })
}
