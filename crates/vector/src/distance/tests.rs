use proptest::prelude::*;

use super::*;
use crate::testing::{FromSeed, Seeds, for_every_type, naive, sequential};
use crate::to_f64;

type TestResult = Result<(), TestCaseError>;

fn as_defined<T: FromSeed>(seeds: &Seeds) -> TestResult {
    let (rows, others, dim) = (seeds.a::<T>(), seeds.b::<T>(), seeds.dim);
    let (wide, wide_others) = (to_f64(&rows), to_f64(&others));
    let count = rows.len() / dim;
    for distance in Distance::ALL {
        let query = PreparedQuery::for_distance(distance, &wide_others[..dim]);
        let (mut out, mut pairs) = (vec![0.0; count], vec![0.0; count]);
        distances(&rows, dim, &query, &mut out).unwrap();
        pairwise_distances(distance, &rows, &others, dim, &mut pairs).unwrap();
        for r in 0..count {
            let (row, other) = (&wide[r * dim..][..dim], &wide_others[r * dim..][..dim]);
            let what = format!("{distance} of {} in {dim} dimensions", T::NAME);
            prop_assert_eq!(out[r].to_bits(), naive(distance, row, query.values()).to_bits(), "{}", what);
            prop_assert_eq!(pairs[r].to_bits(), naive(distance, row, other).to_bits(), "{}", what);
            let pair = pair_distance(distance, &rows[r * dim..][..dim], &others[r * dim..][..dim]).unwrap();
            prop_assert_eq!(pair.to_bits(), pairs[r].to_bits(), "{}", what);
            close(pairs[r], sequential(distance, row, other), scale(distance, row, other), &what)?;
        }
    }
    Ok(())
}

/// What rounding errors are relative to.
fn scale(distance: Distance, a: &[f64], b: &[f64]) -> f64 {
    match distance {
        Distance::CosineDistance | Distance::CosineSimilarity => 1.0,
        Distance::L2 | Distance::L2sq => sequential(distance, a, b),
        _ => a.iter().zip(b).map(|(a, b)| (a * b).abs()).sum(),
    }
}

fn close(value: f64, expected: f64, scale: f64, what: &str) -> TestResult {
    let equal = value == expected || (value.is_nan() && expected.is_nan());
    prop_assert!(equal || (value - expected).abs() <= 1e-13 * scale, "{what}: {value} is not {expected}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn distances_are_as_defined(seeds in Seeds::any(1..70, 1..6)) {
        for_every_type!(as_defined(&seeds));
    }

    #[test]
    fn many_rows_are_as_defined(seeds in Seeds::any(1..5, 120..400)) {
        as_defined::<f32>(&seeds)?;
        as_defined::<u8>(&seeds)?;
    }

    #[test]
    fn a_vector_is_at_cosine_distance_0_of_itself(v in prop::collection::vec(-1e30_f32..1e30, 1..70)) {
        prop_assert_eq!(pair_distance(Distance::CosineDistance, &v, &v).unwrap(), 0.0);
        let opposite: Vec<f32> = v.iter().map(|v| -v).collect();
        let zeros = v.iter().all(|v| *v == 0.0);
        prop_assert_eq!(pair_distance(Distance::CosineSimilarity, &v, &opposite).unwrap(), if zeros { 1.0 } else { -1.0 });
    }

    #[test]
    fn cosine_does_not_depend_on_the_length_of_vectors(
        v in prop::collection::vec((-1.0..1.0, -1.0..1.0), 1..40),
        exponents in (-1000..1000, -1000..1000),
    ) {
        let (a, b): (Vec<f64>, Vec<f64>) = v.into_iter().unzip();
        let scaled = |v: &[f64], exponent: i32| -> Vec<f64> { v.iter().map(|v| v * 2_f64.powi(exponent)).collect() };
        let expected = pair_distance(Distance::CosineSimilarity, &a, &b).unwrap();
        let (a, b) = (scaled(&a, exponents.0), scaled(&b, exponents.1));
        let value = pair_distance(Distance::CosineSimilarity, &a, &b).unwrap();
        prop_assert!((value - expected).abs() < 1e-13, "{value} is not {expected}");
        let mut out = [0.0];
        let query = PreparedQuery::for_distance(Distance::CosineSimilarity, &b);
        distances(&a, a.len(), &query, &mut out).unwrap();
        prop_assert_eq!(out[0], value);
    }
}

#[test]
fn zero_vectors_have_a_defined_cosine() {
    let similarity = |a: [f32; 2], b: [f32; 2]| pair_distance(Distance::CosineSimilarity, &a, &b).unwrap();
    assert_eq!(similarity([0.0, 0.0], [1.0, 2.0]), 0.0);
    assert_eq!(similarity([0.0, -0.0], [0.0, 0.0]), 1.0);
    assert!(similarity([0.0, 0.0], [f32::NAN, 0.0]).is_nan());
    assert!(similarity([0.0, 0.0], [f32::INFINITY, 0.0]).is_nan());
}

#[test]
fn extreme_singles_neither_overflow_nor_vanish() {
    for value in [f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1)] {
        let similarity = pair_distance(Distance::CosineSimilarity, &[value, value], &[value, 0.0]).unwrap();
        assert!((similarity - 0.5_f64.sqrt()).abs() < 1e-15, "{value}: {similarity}");
        let l2 = pair_distance(Distance::L2, &[value, 0.0], &[-value, 0.0]).unwrap();
        assert_eq!(l2, 2.0 * f64::from(value));
    }
}

#[test]
fn subnormal_doubles_have_a_cosine() {
    let tiny = f64::from_bits(3);
    assert!((pair_distance(Distance::CosineSimilarity, &[tiny, tiny], &[1e300, 1e300]).unwrap() - 1.0).abs() < 1e-15);
    assert_eq!(pair_distance(Distance::CosineSimilarity, &[tiny, 0.0], &[0.0, 1.0]).unwrap(), 0.0);
}

#[test]
fn infinities_and_nan_follow_arithmetic() {
    let infinity = f32::INFINITY;
    assert_eq!(pair_distance(Distance::L2, &[infinity, 0.0], &[0.0, 0.0]).unwrap(), f64::INFINITY);
    assert!(pair_distance(Distance::L2, &[infinity], &[infinity]).unwrap().is_nan());
    assert_eq!(pair_distance(Distance::InnerProduct, &[infinity], &[-1.0]).unwrap(), f64::NEG_INFINITY);
    assert!(pair_distance(Distance::InnerProduct, &[infinity, 1.0], &[0.0, 1.0]).unwrap().is_nan());
    let zero = pair_distance(Distance::NegativeInnerProduct, &[0.0], &[1.0]).unwrap();
    assert!(zero == 0.0 && zero.is_sign_positive());
}

#[test]
fn vectors_of_no_values_are_equal() {
    let mut out = [f64::NAN; 3];
    for (distance, expected) in [(Distance::L2, 0.0), (Distance::CosineDistance, 0.0), (Distance::InnerProduct, 0.0)] {
        distances::<f32>(&[], 0, &PreparedQuery::for_distance(distance, &[]), &mut out).unwrap();
        assert_eq!(out, [expected; 3]);
        pairwise_distances::<f32>(distance, &[], &[], 0, &mut out).unwrap();
        assert_eq!(out, [expected; 3]);
        assert_eq!(pair_distance::<i8>(distance, &[], &[]).unwrap(), expected);
    }
}

#[test]
fn lengths_that_differ_are_errors() {
    let query = PreparedQuery::for_distance(Distance::L2, &[1.0, 2.0]);
    let mut out = [0.0; 2];
    let error = distances(&[1.0, 2.0, 3.0], 3, &query, &mut out[..1]).unwrap_err();
    assert_eq!(error.to_string(), "the query vector has 2 values, but a row has 3");
    let error = distances(&[1.0, 2.0, 3.0], 2, &query, &mut out).unwrap_err();
    assert_eq!(error.to_string(), "2 rows of 2 values were expected, but there are 3 values");
    assert!(distances(&[1.0, 2.0], usize::MAX, &PreparedQuery::for_distance(Distance::L2, &[]), &mut out).is_err());
    assert!(pairwise_distances(Distance::L2, &[1.0, 2.0], &[1.0], 1, &mut out).is_err());
    assert!(pairwise_distances(Distance::L2, &[1.0], &[1.0, 2.0], 1, &mut out).is_err());
    let error = pair_distance(Distance::CosineDistance, &[1_i32], &[1, 2]).unwrap_err();
    assert_eq!(error.to_string(), "cosine_distance needs vectors of the same length, not 1 and 2 values");
}
