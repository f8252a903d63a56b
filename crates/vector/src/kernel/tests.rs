use std::marker::PhantomData;

use half::f16;
use proptest::prelude::*;

use super::isa::half_to_single;
use super::*;
use crate::scalar::is_narrow;
use crate::testing::{FromSeed, Seeds, for_every_type, lane_sum};

type TestResult = Result<(), TestCaseError>;

/// Sums and norms of every row, with one instruction set.
fn rows_with<T: Load, F: Term>(set: InstructionSet, rows: &[T], query: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (dim, count) = (query.len(), rows.len() / query.len());
    let (mut sums, mut norms) = (vec![0.0; count], vec![0.0; count]);
    let exact = query.iter().all(|v| is_narrow(*v));
    let query = pad(query);
    let (sums_out, seconds) = (&mut sums, &mut norms);
    run_with(set, Rows::<T, F> { rows, dim, query: &query, sums: sums_out, seconds, exact, term: PhantomData });
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
            run_with(set, BitCounts::<T, true> { rows, query: &bytes, unequal: &mut xor, both: &mut both });
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

/// The extremes of what a product may be made of, so that a fused multiplication and addition gives the same bits: the
/// largest and smallest float32, and 29 bits at both ends of the exponents.
#[test]
fn narrow_products_are_exact() {
    let singles = [f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1), f32::from_bits(0x7f_ffff), -1.000_000_1, 0.1, 0.0];
    let bits_29 = f64::from((1 << 29) - 1);
    let others = [2_f64.powi(471) * bits_29, 2_f64.powi(-500) * (1.0 + 2_f64.powi(-28)), bits_29, f64::INFINITY, -0.0];
    assert!(others.iter().all(|v| is_narrow(*v)) && singles.iter().all(|v| is_narrow(f64::from(*v))));
    for wide in [bits_29 * 2.0 + 1.0, 2_f64.powi(500), 2_f64.powi(-501), 0.1, f64::MIN_POSITIVE] {
        assert!(!is_narrow(wide), "{wide:e}");
    }
    for (a, b) in singles.iter().flat_map(|a| others.iter().map(|b| (f64::from(*a), *b))) {
        let product = a * b;
        if product.is_finite() {
            // What a rounded product misses is what a fused operation computes of it.
            assert_eq!(a.mul_add(b, -product), 0.0, "{a:e} {b:e}");
        }
    }
}

fn any_narrow() -> impl Strategy<Value = f64> {
    let narrow = |(bits, exponent, negative): (u32, i32, bool)| {
        f64::from(bits >> 3) * 2_f64.powi(exponent) * if negative { -1.0 } else { 1.0 }
    };
    prop_oneof![
        8 => (any::<u32>(), -490..470_i32, any::<bool>()).prop_map(narrow),
        8 => any::<f32>().prop_map(f64::from),
        1 => prop::sample::select(vec![0.0, -0.0, f64::INFINITY, f64::NAN]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Rows and queries of any magnitude: the sums are those of separate multiplications and additions.
    #[test]
    fn fused_sums_have_the_documented_bits(
        pairs in prop::collection::vec((any::<f32>(), any_narrow()), 1..70),
        near in prop::collection::vec((-2.0_f32..2.0, -2.0_f32..2.0), 1..70),
    ) {
        let (row, query): (Vec<f32>, Vec<f64>) = pairs.into_iter().unzip();
        let (row_near, query_near): (Vec<f32>, Vec<f64>) = near.into_iter().map(|(a, b)| (a, f64::from(b))).unzip();
        for (row, query) in [(row, query), (row_near, query_near)] {
            prop_assert!(query.iter().all(|v| is_narrow(*v)));
            let product = |v: &f64, w: &f64| v * w;
            let wide = crate::to_f64(&row);
            let dot = lane_sum(wide.iter().zip(&query).map(|(a, b)| product(a, b)));
            let norm = lane_sum(wide.iter().map(|a| product(a, a)));
            for set in InstructionSet::available() {
                let (sums, norms) = rows_with::<f32, ProductAndNorm>(set, &row, &query);
                prop_assert_eq!(bits(&sums), bits(&[dot]), "{:?}", set);
                prop_assert_eq!(bits(&norms), bits(&[norm]), "{:?}", set);
                prop_assert_eq!(bits(&rows_with::<f32, Product>(set, &row, &query).0), bits(&[dot]), "{:?}", set);
            }
        }
    }
}
