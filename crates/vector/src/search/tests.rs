use proptest::prelude::*;

use super::*;
use crate::distances;
use crate::testing::{FromSeed, Seeds, for_every_type};
use crate::to_f64;

type TestResult = Result<(), TestCaseError>;

/// All rows in the documented order, scored one by one, which other tests compare with the definitions.
fn ranked<T: FromSeed>(metric: Metric, rows: &[T], query: &[f64]) -> Vec<Hit> {
    let mut top = TopK::new(usize::MAX, metric);
    let query = PreparedQuery::for_distance(metric.distance(), query);
    for (row, values) in rows.chunks(query.dim()).enumerate() {
        let mut score = [0.0];
        distances(values, query.dim(), &query, &mut score).unwrap();
        top.push(score[0], row as u64);
    }
    top.into_sorted()
}

fn bits(hits: &[Hit]) -> Vec<(u64, u64)> {
    hits.iter().map(|hit| (hit.row, hit.score.to_bits())).collect()
}

fn every_way_agrees<T: FromSeed>(seeds: &Seeds, k: usize, cut: usize) -> TestResult {
    let (rows, dim) = (seeds.a::<T>(), seeds.dim);
    let queries: Vec<Vec<f64>> =
        seeds.b::<T>().chunks(dim).map(to_f64).filter(|q| q.iter().all(|v| v.is_finite())).take(6).collect();
    let cut = cut % (rows.len() / dim + 1);
    for metric in Metric::ALL.into_iter().filter(|m| m.check_dtype(T::DTYPE).is_ok()) {
        let prepared: Vec<_> = queries.iter().map(|q| PreparedQuery::new(metric, q).unwrap()).collect();
        let mut tops = vec![TopK::new(k, metric); queries.len()];
        search_blocks(&prepared, &rows[..cut * dim], dim, 0, &mut tops).unwrap();
        search_blocks(&prepared, &rows[cut * dim..], dim, cut as u64, &mut tops).unwrap();
        for ((query, prepared), top) in queries.iter().zip(&prepared).zip(tops) {
            let mut expected = ranked(metric, &rows, query);
            expected.truncate(k);
            let expected = bits(&expected);
            prop_assert_eq!(&bits(&top.into_sorted()), &expected, "search_blocks, {} of {}", metric, T::NAME);

            let ids: Vec<u64> = (0..(rows.len() / dim) as u64).collect();
            let (mut first, mut second) = (TopK::new(k, metric), TopK::new(k, metric));
            search_block(prepared, &rows[cut * dim..], dim, cut as u64, &mut second).unwrap();
            search_indexed(prepared, &rows[..cut * dim], dim, &ids[..cut], &mut first).unwrap();
            second.merge(first);
            prop_assert_eq!(&bits(&second.into_sorted()), &expected, "search_block, {} of {}", metric, T::NAME);

            for threads in [1, 3] {
                let hits = top_k(&rows, dim, query, k, metric, threads).unwrap();
                prop_assert_eq!(&bits(&hits), &expected, "{} threads, {} of {}", threads, metric, T::NAME);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_search_is_a_sort(seeds in Seeds::any(1..70, 1..12), k in 1..15_usize, cut in any::<usize>()) {
        for_every_type!(every_way_agrees(&seeds, k, cut));
    }

    #[test]
    fn many_rows_over_several_threads(seeds in Seeds::any(1..4, 300..700), k in 1..800_usize, cut in any::<usize>()) {
        every_way_agrees::<f32>(&seeds, k, cut)?;
        every_way_agrees::<i8>(&seeds, k, cut)?; // many ties
    }
}

#[test]
fn ties_go_to_the_smaller_row() {
    let rows = [1.0_f32; 1000];
    for threads in 1..4 {
        let hits = top_k(&rows, 1, &[1.0], 5, Metric::L2, threads).unwrap();
        assert_eq!(hits.iter().map(|hit| hit.row).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }
}

#[test]
fn nan_comes_last_and_is_not_left_out() {
    let hits = top_k(&[f32::NAN, 2.0, f32::INFINITY, 1.0], 1, &[0.0], 10, Metric::L2, 1).unwrap();
    assert_eq!(hits.iter().map(|hit| hit.row).collect::<Vec<_>>(), [3, 1, 2, 0]);
    assert!(hits[3].score.is_nan());
}

#[test]
fn a_query_with_nan_is_ranked_where_it_is_allowed() {
    let query = PreparedQuery::allowing_nan(Metric::Hamming, &[1.0, f64::NAN]).unwrap();
    let mut top = TopK::new(3, Metric::Hamming);
    search_block(&query, &[1.0_f32, 1.0, 2.0, 2.0, 1.0, f32::NAN], 2, 0, &mut top).unwrap();
    assert_eq!(bits(&top.into_sorted()), [(0, 1_f64.to_bits()), (2, 1_f64.to_bits()), (1, 2_f64.to_bits())]);
    let query = PreparedQuery::allowing_nan(Metric::L2, &[f64::INFINITY]).unwrap();
    let mut top = TopK::new(3, Metric::L2);
    search_block(&query, &[f64::INFINITY, 1.0, f64::NAN], 1, 0, &mut top).unwrap();
    assert_eq!(top.into_sorted().iter().map(|hit| hit.row).collect::<Vec<_>>(), [1, 0, 2]);
    assert!(PreparedQuery::allowing_nan(Metric::L2, &[]).is_err());
}

#[test]
fn queries_of_several_metrics_are_searched_together() {
    let rows: Vec<f32> = (0..600).map(|i| (i as f32 * 0.37).sin()).collect();
    let metrics = [Metric::L2, Metric::Dot, Metric::L2, Metric::Cosine, Metric::L2];
    let queries = metrics.map(|metric| PreparedQuery::new(metric, &[0.1, -0.7, 0.3]).unwrap());
    let mut tops = metrics.map(|metric| TopK::new(4, metric));
    search_blocks(&queries, &rows, 3, 0, &mut tops).unwrap();
    for (metric, top) in metrics.into_iter().zip(tops) {
        let expected = top_k(&rows, 3, &[0.1, -0.7, 0.3], 4, metric, 2).unwrap();
        assert_eq!(bits(&top.into_sorted()), bits(&expected));
    }
}

#[test]
fn no_rows_give_no_hits() {
    assert!(top_k::<f32>(&[], 3, &[1.0, 2.0, 3.0], 4, Metric::Cosine, 2).unwrap().is_empty());
}

#[test]
fn bad_input_is_named() {
    let rows = [1.0_f32, 2.0, 3.0, 4.0];
    let message = |dim, query: &[f64], k| top_k(&rows, dim, query, k, Metric::L2, 1).unwrap_err().to_string();
    assert_eq!(message(2, &[1.0, 1.0], 0), "k must be at least 1, not 0");
    assert_eq!(message(0, &[1.0], 1), "rows of no values cannot be ranked: dim is 0");
    assert_eq!(message(2, &[1.0], 1), "the query vector has 1 values, but a row has 2");
    assert_eq!(message(3, &[1.0; 3], 1), "4 values are no whole number of rows of 3");
    assert!(message(2, &[1.0, f64::NAN], 1).starts_with("the query vector has NaN at position 1"));
    assert!(message(2, &[f64::NEG_INFINITY, 0.0], 1).starts_with("the query vector has -inf at position 0"));
    assert!(message(2, &[], 1).starts_with("the query vector is empty"));
}

#[test]
fn queries_and_results_must_fit() {
    let query = PreparedQuery::new(Metric::L2, &[1.0]).unwrap();
    let mut dot = TopK::new(1, Metric::Dot);
    let error = search_block(&query, &[1.0], 1, 0, &mut dot).unwrap_err();
    assert_eq!(error.to_string(), "the query is prepared for l2_distance, but the rows are ranked by dot");
    let mut top = TopK::new(1, Metric::L2);
    let error = search_indexed(&query, &[1.0, 2.0], 1, &[5], &mut top).unwrap_err();
    assert_eq!(error.to_string(), "there are 2 rows, but 1 row numbers");
    let error = search_blocks(&[query], &[1.0], 1, 0, &mut []).unwrap_err();
    assert_eq!(error.to_string(), "there are 1 queries, but 0 results to fill");
}
