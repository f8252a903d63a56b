use std::cmp::Ordering;

use proptest::prelude::*;

use super::*;

/// The documented order, written out.
fn order(metric: Metric, a: &Hit, b: &Hit) -> Ordering {
    let by_score = match (a.score.is_nan(), b.score.is_nan()) {
        (false, false) if metric.larger_is_better() => b.score.partial_cmp(&a.score).unwrap(),
        (false, false) => a.score.partial_cmp(&b.score).unwrap(),
        (a, b) => a.cmp(&b),
    };
    by_score.then(a.row.cmp(&b.row))
}

fn sorted(metric: Metric, hits: &[Hit], k: usize) -> Vec<Hit> {
    let mut hits = hits.to_vec();
    hits.sort_by(|a, b| order(metric, a, b));
    hits.truncate(k);
    hits
}

fn same(a: &[Hit], b: &[Hit]) -> bool {
    let equal = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.row == b.row && equal(a.score, b.score))
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-3..3_i32).prop_map(f64::from),
        4 => any::<f64>(),
        1 => prop::sample::select(vec![f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0]),
    ]
}

fn metric() -> impl Strategy<Value = Metric> {
    prop::sample::select(Metric::ALL.to_vec())
}

proptest! {
    #[test]
    fn is_a_sort_cut_off(
        metric in metric(), scores in prop::collection::vec(score(), 0..300), k in 0..320_usize,
        shuffled in any::<prop::sample::Index>(), parts in 1..5_usize,
    ) {
        let hits: Vec<Hit> = scores.iter().enumerate().map(|(row, score)| Hit { row: row as u64, score: *score }).collect();
        let expected = sorted(metric, &hits, k);

        let mut rotated = hits.clone();
        if !rotated.is_empty() {
            rotated.rotate_left(shuffled.index(hits.len()));
            rotated.reverse();
        }
        let mut merged = TopK::new(k, metric);
        for part in 0..parts {
            let mut top = TopK::new(k, metric);
            rotated.iter().skip(part).step_by(parts).for_each(|hit| top.push(hit.score, hit.row));
            prop_assert!(top.len() <= k);
            merged.merge(top);
        }
        prop_assert!(same(&merged.into_sorted(), &expected));

        let mut batches = TopK::new(k, metric);
        for (b, batch) in scores.chunks(7).enumerate() {
            batches.push_batch(batch, |i| (b * 7 + i) as u64);
        }
        let threshold = batches.threshold();
        let worst = expected.last().filter(|_| expected.len() == k).map(|hit| hit.score);
        prop_assert!(threshold == worst || threshold.is_some_and(f64::is_nan) && worst.is_some_and(f64::is_nan));
        prop_assert!(same(&batches.into_sorted(), &expected));
    }

    #[test]
    fn keys_keep_order_and_value(metric in metric(), a in any::<f64>(), b in any::<f64>()) {
        let by_key = key(metric, a).cmp(&key(metric, b));
        prop_assert_eq!(by_key, order(metric, &Hit { row: 0, score: a }, &Hit { row: 0, score: b }));
        let back = super::score(metric, key(metric, a));
        prop_assert!(back == a || (back.is_nan() && a.is_nan()));
    }
}

#[test]
fn any_k_costs_what_is_pushed() {
    let mut top = TopK::new(usize::MAX, Metric::L2);
    assert_eq!(top.memory_size(), 0);
    top.push(2.0, 7);
    top.push(1.0, 9);
    assert_eq!(top.threshold(), None);
    assert!(top.memory_size() < 1024);
    assert_eq!(top.into_sorted(), [Hit { row: 9, score: 1.0 }, Hit { row: 7, score: 2.0 }]);
}

#[test]
fn none_are_kept_of_k_0() {
    let mut top = TopK::new(0, Metric::Dot);
    top.push(1.0, 0);
    top.push_batch(&[1.0, 2.0], |i| i as u64);
    assert!(top.is_empty() && top.threshold().is_none());
    assert!(top.into_sorted().is_empty());
}
