use std::marker::PhantomData;

use half::f16;
use proptest::prelude::*;

use super::isa::half_to_single;
use super::*;
use crate::testing::{FromSeed, Seeds, for_every_type, lane_sum};

type TestResult = Result<(), TestCaseError>;

/// Sums and norms of every row, with one instruction set.
fn rows_with<T: Load, F: Term>(set: InstructionSet, rows: &[T], query: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (dim, count) = (query.len(), rows.len() / query.len());
    let (mut sums, mut norms) = (vec![0.0; count], vec![0.0; count]);
    let query = pad(query);
    let pass = Rows::<T, F> { rows, dim, query: &query, sums: &mut sums, seconds: &mut norms, term: PhantomData };
    run_with(set, pass);
    (sums, norms)
}

fn bits(values: &[f64]) -> Vec<u64> {
    // The sign and the payload of a NaN are the processor's.
    values.iter().map(|v| if v.is_nan() { f64::NAN.to_bits() } else { v.to_bits() }).collect()
}

fn same_on_every_set<T: FromSeed + Load>(seeds: &Seeds) -> TestResult {
    let rows = seeds.a::<T>();
    let query = &crate::to_f64(&seeds.b::<T>())[..seeds.dim];
    let wide = crate::to_f64(&rows);
    let expected = |term: fn(f64, f64) -> f64| -> Vec<f64> {
        let row = |row: &[f64]| lane_sum(row.iter().zip(query).map(|(a, b)| term(*a, *b)));
        wide.chunks(seeds.dim).map(row).collect()
    };
    let norms: Vec<f64> = wide.chunks(seeds.dim).map(|row| lane_sum(row.iter().map(|v| v * v))).collect();
    for set in InstructionSet::available() {
        let (sums, _) = rows_with::<T, Product>(set, &rows, query);
        prop_assert_eq!(bits(&sums), bits(&expected(|a, b| a * b)), "{:?} {}", set, T::NAME);
        let (sums, norms_here) = rows_with::<T, ProductAndNorm>(set, &rows, query);
        prop_assert_eq!(bits(&sums), bits(&expected(|a, b| a * b)), "{:?} {}", set, T::NAME);
        prop_assert_eq!(bits(&norms_here), bits(&norms), "{:?} {}", set, T::NAME);
        let (sums, _) = rows_with::<T, SquaredDifference>(set, &rows, query);
        prop_assert_eq!(bits(&sums), bits(&expected(|a, b| (a - b) * (a - b))), "{:?} {}", set, T::NAME);
        padded_same(set, &rows, seeds.dim)?;
    }
    others_on_every_set(&rows, query)
}

/// What each instruction set computes for the other terms is the same; the distances' tests say that it is right.
fn others_on_every_set<T: Load>(rows: &[T], query: &[f64]) -> TestResult {
    let bytes: Vec<u8> = query.iter().map(|v| *v as u8).collect();
    let shares = distribution(pad(query));
    let all: Vec<_> = InstructionSet::available()
        .into_iter()
        .map(|set| {
            let absolute = rows_with::<T, AbsoluteDifference>(set, rows, query).0;
            let unequal = rows_with::<T, Unequal>(set, rows, query).0;
            let (smaller, larger) = rows_with::<T, Overlap>(set, rows, query);
            let count = absolute.len();
            let (mut xor, mut both) = (vec![0.0; count], vec![0.0; count]);
            run_with(set, BitCounts { rows, query: &bytes, unequal: &mut xor, both: &mut both });
            let divergences = [false, true].map(|from_mean| {
                let mut sums = vec![0.0; count];
                let (dim, element) = (query.len(), PhantomData);
                run_with(set, Divergences { rows, dim, query: &shares, from_mean, sums: &mut sums, element });
                bits(&sums)
            });
            ([absolute, unequal, smaller, larger, xor, both].map(|sums| bits(&sums)), divergences)
        })
        .collect();
    prop_assert!(all.windows(2).all(|sets| sets[0] == sets[1]), "{}", T::NAME);
    Ok(())
}

/// Converted rows are the rows' values and zeros.
fn padded_same<T: Load + crate::Scalar>(set: InstructionSet, rows: &[T], dim: usize) -> TestResult {
    let groups = dim.div_ceil(LANES);
    let mut out = vec![[f64::NAN; LANES]; rows.len() / dim * groups];
    run_with(set, Widen { rows, dim, out: &mut out });
    let expected: Vec<f64> = rows.chunks(dim).flat_map(|row| pad(&crate::to_f64(row)).concat()).collect();
    prop_assert_eq!(bits(out.as_flattened()), bits(&expected), "{:?} {}", set, T::NAME);
    Ok(())
}

/// Four queries over padded rows, and pairs of padded rows, agree on every set.
fn padded_sums<F: Term>(seeds: &Seeds) -> TestResult {
    let groups = seeds.dim.div_ceil(LANES);
    let padded = |values: Vec<f32>| -> Vec<Lanes> {
        values.chunks(seeds.dim).flat_map(|row| pad(&crate::to_f64(row))).collect()
    };
    let (a, b) = (padded(seeds.a()), padded(seeds.b()));
    let count = a.len() / groups;
    let queries: Vec<[Lanes; GROUP]> =
        (0..groups).map(|g| std::array::from_fn(|q| b[q % count * groups + g])).collect();
    let mut all = Vec::new();
    for set in InstructionSet::available() {
        let mut out = vec![vec![0.0; count]; GROUP];
        let (mut norms, mut norms_b, mut sums) = (vec![0.0; count], vec![0.0; count], vec![0.0; count]);
        let [w, x, y, z] = out.as_mut_slice() else { unreachable!() };
        let sums_4 = [w, x, y, z].map(|sums| sums.as_mut_slice());
        run_with(set, Tile::<F> { rows: &a, queries: &queries, sums: sums_4, seconds: &mut norms, term: PhantomData });
        let tile = bits(&norms);
        let pair_norms = [norms.as_mut_slice(), norms_b.as_mut_slice()];
        run_with(set, Pairs::<F> { a: &a, b: &b, groups, sums: &mut sums, seconds: pair_norms, term: PhantomData });
        prop_assert_eq!(&tile, &bits(&norms));
        // Row 0 with query 0 is the first pair.
        prop_assert_eq!(bits(&out[0][..1]), bits(&sums[..1]));
        all.push((bits(&out.concat()), bits(&norms_b), bits(&sums), tile));
    }
    prop_assert!(all.windows(2).all(|sets| sets[0] == sets[1]));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_instruction_set_gives_the_documented_bits(seeds in Seeds::any(1..70, 1..8)) {
        for_every_type!(same_on_every_set(&seeds));
    }

    #[test]
    fn padded_kernels_agree(seeds in Seeds::any(1..70, 1..8)) {
        padded_sums::<Product>(&seeds)?;
        padded_sums::<ProductAndNorm>(&seeds)?;
        padded_sums::<SquaredDifference>(&seeds)?;
        padded_sums::<AbsoluteDifference>(&seeds)?;
        padded_sums::<Unequal>(&seeds)?;
    }
}

#[test]
fn halves_are_converted_exactly() {
    let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let expected: Vec<f64> = all.iter().map(|v| v.to_f64()).collect();
    for (half, expected) in all.iter().zip(&expected) {
        let single = half_to_single(half.to_bits());
        assert_eq!(bits(&[f64::from(single)]), bits(&[*expected]), "{:#06x}", half.to_bits());
    }
    for set in InstructionSet::available() {
        let mut out = vec![[0.0; LANES]; all.len() / LANES];
        run_with(set, Widen { rows: &all, dim: LANES, out: &mut out });
        assert_eq!(bits(out.as_flattened()), bits(&expected), "{set:?}");
    }
}

#[test]
fn large_integers_are_rounded_to_nearest_even() {
    let odd = (1_u64 << 53) + 1;
    let rows: Vec<u64> = (0..40).map(|i| odd + 2 * i).chain([u64::MAX, u64::MAX - 1024, 1 << 63]).collect();
    let signed: Vec<i64> = rows.iter().map(|v| (*v as i64).wrapping_neg()).collect();
    for set in InstructionSet::available() {
        let mut out = vec![[0.0; LANES]; rows.len()];
        run_with(set, Widen { rows: &rows, dim: 1, out: &mut out });
        assert!(out.iter().zip(&rows).all(|(lanes, v)| lanes[0] == *v as f64), "{set:?}");
        run_with(set, Widen { rows: &signed, dim: 1, out: &mut out });
        assert!(out.iter().zip(&signed).all(|(lanes, v)| lanes[0] == *v as f64), "{set:?}");
        let mut out = vec![[0.0; LANES]; rows.len().div_ceil(LANES)];
        run_with(set, Widen { rows: &rows, dim: rows.len(), out: &mut out });
        assert!(out.as_flattened().iter().zip(&rows).all(|(wide, v)| *wide == *v as f64), "{set:?}");
    }
}
