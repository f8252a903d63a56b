use hyperslab_core::Bool8;
use proptest::prelude::*;

use super::*;
use crate::testing::{FromSeed, Seeds, for_every_type, is_as_defined, naive, sequential};
use crate::to_f64;

type TestResult = Result<(), TestCaseError>;

fn as_defined<T: FromSeed>(seeds: &Seeds) -> TestResult {
    let (rows, others, dim) = (seeds.a::<T>(), seeds.b::<T>(), seeds.dim);
    let (wide, wide_others) = (to_f64(&rows), to_f64(&others));
    let count = rows.len() / dim;
    for distance in Distance::ALL.into_iter().filter(|d| d.check_dtype(T::DTYPE).is_ok()) {
        let query = PreparedQuery::for_distance(distance, &wide_others[..dim]);
        let (mut out, mut pairs) = (vec![0.0; count], vec![0.0; count]);
        distances(&rows, dim, &query, &mut out).unwrap();
        pairwise_distances(distance, &rows, &others, dim, &mut pairs).unwrap();
        for r in 0..count {
            let (row, other) = (&wide[r * dim..][..dim], &wide_others[r * dim..][..dim]);
            let what = format!("{distance} of {} in {dim} dimensions", T::NAME);
            let expected = naive::<T>(distance, row, query.values());
            prop_assert!(is_as_defined(distance, out[r], expected), "{}: {} is not {}", what, out[r], expected);
            let expected = naive::<T>(distance, row, other);
            prop_assert!(is_as_defined(distance, pairs[r], expected), "{}: {} is not {}", what, pairs[r], expected);
            let one = PreparedQuery::for_distance(distance, other);
            let mut single = [0.0];
            distances(&rows[r * dim..][..dim], dim, &one, &mut single).unwrap();
            prop_assert_eq!(single[0].to_bits(), pairs[r].to_bits(), "{}", what);
            let pair = pair_distance(distance, &rows[r * dim..][..dim], &others[r * dim..][..dim]).unwrap();
            prop_assert_eq!(pair.to_bits(), pairs[r].to_bits(), "{}", what);
            close(pairs[r], sequential::<T>(distance, row, other), scale::<T>(distance, row, other), &what)?;
        }
    }
    Ok(())
}

/// What rounding errors are relative to.
fn scale<T: FromSeed>(distance: Distance, a: &[f64], b: &[f64]) -> f64 {
    match distance {
        Distance::CosineDistance | Distance::CosineSimilarity => 1.0,
        Distance::JaccardDistance | Distance::JaccardSimilarity => 1.0,
        Distance::L1 | Distance::L2 | Distance::L2sq => sequential::<T>(distance, a, b),
        Distance::Hamming => 0.0,
        // √ of a rounding error, where two distributions are as good as equal.
        Distance::JsDistance => 1e6,
        Distance::KlDivergence => 100.0,
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

/// From SciPy 1.17.1 with NumPy 2.4.6:
/// ```python
/// from scipy.spatial import distance as d; from scipy.stats import entropy; import numpy as np
/// a = [0.5, 1.5, 0.25, 3.0, 0.0]; b = [1.0, 0.75, 0.25, 2.0, 4.0]
/// d.cosine(a, b), d.euclidean(a, b), d.sqeuclidean(a, b), np.dot(a, b), d.cityblock(a, b), d.hamming(a, b) * 5
/// 1 - np.minimum(a, b).sum() / np.maximum(a, b).sum(), entropy(a, b), d.jensenshannon(a, b)
/// ```
#[test]
fn distances_are_those_of_scipy() {
    let (a, b) = ([0.5_f32, 1.5, 0.25, 3.0, 0.0], [1.0, 0.75, 0.25, 2.0, 4.0]);
    let expected = [
        (Distance::CosineDistance, 0.513_837_789_688_258_9),
        (Distance::L2, 4.220_485_754_033_533),
        (Distance::L2sq, 17.812_5),
        (Distance::InnerProduct, 7.687_5),
        (Distance::L1, 6.25),
        (Distance::Hamming, 4.0),
        (Distance::JaccardDistance, 0.641_025_641_025_641),
        (Distance::KlDivergence, 0.784_935_846_959_053_6),
        (Distance::JsDistance, 0.482_584_446_735_083_55),
    ];
    for (distance, expected) in expected {
        let value = pair_distance(distance, &a, &b).unwrap();
        assert!((value - expected).abs() <= 4.0 * f64::EPSILON * expected, "{distance}: {value} is not {expected}");
        let halves = [a.map(half::bf16::from_f32), b.map(half::bf16::from_f32)];
        assert_eq!(pair_distance(distance, &halves[0], &halves[1]).unwrap(), value, "{distance}");
    }
    assert_eq!(pair_distance(Distance::KlDivergence, &b, &a).unwrap(), f64::INFINITY);
}

/// From SciPy: `x, y = np.unpackbits(a), np.unpackbits(b); d.hamming(x, y) * 32, d.jaccard(x == 1, y == 1)` with
/// `a = np.array([0b10110010, 255, 0, 7], np.uint8)`, `b = np.array([0b10010011, 15, 128, 7], np.uint8)`.
#[test]
fn bytes_and_bools_are_compared_by_bits() {
    let (a, b) = ([0b1011_0010_u8, 255, 0, 7], [0b1001_0011, 15, 128, 7]);
    assert_eq!(pair_distance(Distance::Hamming, &a, &b).unwrap(), 7.0);
    assert_eq!(pair_distance(Distance::JaccardDistance, &a, &b).unwrap(), 0.411_764_705_882_352_9);
    let bits =
        |v: [u8; 4]| -> Vec<Bool8> { v.iter().flat_map(|v| (0..8).map(move |bit| Bool8((v >> bit) & 1))).collect() };
    for distance in [Distance::Hamming, Distance::JaccardDistance, Distance::JaccardSimilarity] {
        let of_bytes = pair_distance(distance, &a, &b).unwrap();
        assert_eq!(pair_distance(distance, &bits(a), &bits(b)).unwrap(), of_bytes);
    }
    // Elements of any other dtype.
    assert_eq!(pair_distance(Distance::Hamming, &[1_i8, 2, 3], &[1, 3, 2]).unwrap(), 2.0);
    assert_eq!(pair_distance(Distance::Hamming, &[f64::NAN, 0.0], &[f64::NAN, -0.0]).unwrap(), 1.0);
    assert_eq!(pair_distance(Distance::JaccardSimilarity, &[1_u16, 4], &[2, 4]).unwrap(), 5.0 / 6.0);
}

/// What SciPy's `rel_entr` and `jensenshannon` make of zeros and negative elements.
#[test]
fn what_the_formulas_leave_open_is_defined() {
    let of = |distance, a: [f64; 2], b: [f64; 2]| pair_distance(distance, &a, &b).unwrap();
    use Distance::{JaccardDistance, JsDistance, KlDivergence, L1};
    assert_eq!(of(JsDistance, [1.0, 0.0], [0.0, 1.0]), std::f64::consts::LN_2.sqrt());
    assert_eq!(of(KlDivergence, [1.0, 0.0], [0.0, 1.0]), f64::INFINITY);
    assert_eq!(of(KlDivergence, [0.0, 1.0], [0.0, 3.0]), 0.0);
    for divergence in [KlDivergence, JsDistance] {
        assert_eq!(of(divergence, [-1.0, 2.0], [1.0, 1.0]), f64::INFINITY);
        assert_eq!(of(divergence, [-1.0, -1.0], [1.0, 1.0]), f64::INFINITY);
        assert_eq!(of(divergence, [1.0, 1.0], [-1.0, 2.0]), f64::INFINITY);
        for nothing in [[0.0, 0.0], [-1.0, 1.0], [f64::NAN, 1.0], [f64::INFINITY, 1.0], [f64::MAX, f64::MAX]] {
            assert!(of(divergence, nothing, [1.0, 1.0]).is_nan() && of(divergence, [1.0, 1.0], nothing).is_nan());
        }
        // Ratios that float64 does not hold have a logarithm all the same.
        assert!((of(divergence, [1.0, 1.0], [1e-320, 1.0]) - of(divergence, [1.0, 1.0], [1e-300, 1.0])).abs() < 24.0);
    }
    // Of a whole group of lanes, which needs no padding, as of less.
    let whole: Vec<f64> = (0..16).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    assert!(pair_distance(KlDivergence, &whole, &[1.0; 16]).unwrap().is_nan());
    assert_eq!(of(JaccardDistance, [0.0, 0.0], [0.0, -0.0]), 0.0);
    assert_eq!(of(JaccardDistance, [0.0, 1.0], [1.0, 0.0]), 1.0);
    assert!(
        of(JaccardDistance, [-1.0, 1.0], [1.0, 0.0]).is_nan() && of(JaccardDistance, [1.0, 0.0], [-1.0, 0.0]).is_nan()
    );
    assert_eq!(of(L1, [f64::INFINITY, 0.0], [1.0, 0.0]), f64::INFINITY);
    assert!(of(L1, [f64::INFINITY, 0.0], [f64::INFINITY, 0.0]).is_nan());
}

#[test]
fn a_dtype_that_lacks_a_metric_is_named() {
    let bools = [Bool8(1), Bool8(0)];
    let error = pair_distance(Distance::KlDivergence, &bools, &bools).unwrap_err().to_string();
    assert!(error.starts_with("kl_divergence is not defined for bool") && error.contains("hamming"), "{error}");
    let error = Distance::L2.check_dtype(hyperslab_core::DType::Complex64).unwrap_err().to_string();
    assert_eq!(
        error,
        "l2_distance is not defined for complex64: vectors are of bool, integers or real floating-point numbers"
    );
    let mut out = [0.0];
    let query = PreparedQuery::for_distance(Distance::Hamming, &[1.0, 0.5]);
    let error = distances(&[1_u8, 2], 2, &query, &mut out).unwrap_err().to_string();
    assert_eq!(
        error,
        "hamming_distance compares the bits of uint8: the query vector must hold integers from 0 to 255, not 0.5 at \
         position 1"
    );
    let query = PreparedQuery::for_distance(Distance::JaccardDistance, &[1.0, 2.0]);
    assert!(distances(&bools, 2, &query, &mut out).unwrap_err().to_string().contains("from 0 to 1, not 2"));
    assert!(distances(&[1.0, 2.0], 2, &query, &mut out).is_ok());
}
