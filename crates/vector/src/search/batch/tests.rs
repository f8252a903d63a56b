use half::{bf16, f16};
use hyperslab_core::DType;
use proptest::prelude::*;

use super::*;
use crate::kernel::{InstructionSet, run_with};
use crate::screen::RowBounds;
use crate::search::screened::ScreenRows;
use crate::{Hit, Metric, distances, to_f64};

type TestResult = Result<(), TestCaseError>;

/// The metrics that are screened.
const BOUNDED: [Metric; 5] = [Metric::Cosine, Metric::CosineSimilarity, Metric::L2, Metric::L2sq, Metric::Dot];

/// Numbers from a seed (xorshift).
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.bits() >> 33) as usize % end
    }

    /// −1 to 1.
    fn unit(&mut self) -> f64 {
        (self.bits() >> 10) as f64 / (1_u64 << 53) as f64 - 1.0
    }

    fn row(&mut self, dim: usize, scale: f64) -> Vec<f64> {
        (0..dim).map(|_| self.unit() * scale).collect()
    }
}

/// What rows are like.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Random,
    Clustered,
    /// A row again and again, now and then with one element off by a little: many scores that float32 cannot
    /// tell apart.
    NearDuplicates,
    /// Of one magnitude, from float64's subnormals to beyond float32's range.
    Scaled(i32),
    /// Each row and element of its own magnitude.
    Mixed,
    /// With NaN, infinities, zeros and rows of zeros.
    Special,
}

fn any_kind() -> impl Strategy<Value = Kind> {
    let exponent = prop_oneof![-50..=40_i32, -330..=300_i32, Just(38), Just(-40), Just(19), Just(-14), Just(-23)];
    prop_oneof![
        Just(Kind::Random),
        Just(Kind::Clustered),
        Just(Kind::NearDuplicates),
        exponent.prop_map(Kind::Scaled),
        Just(Kind::Mixed),
        Just(Kind::Special),
    ]
}

fn rows_of(kind: Kind, random: &mut Random, count: usize, dim: usize) -> Vec<f64> {
    let centres: Vec<Vec<f64>> = (0..3).map(|_| random.row(dim, 1.0)).collect();
    let near = |random: &mut Random, by: f64| -> Vec<f64> {
        let centre = &centres[random.below(3)];
        centre.iter().map(|v| v + random.unit() * by).collect()
    };
    let mut row = |_| match kind {
        Kind::Random => random.row(dim, 1.0),
        Kind::Clustered => near(random, 1e-3),
        Kind::NearDuplicates => {
            let mut row = centres[0].clone();
            row[random.below(dim)] += [0.0, 1e-8, -1e-7, 1e-6][random.below(4)];
            row
        }
        Kind::Scaled(exponent) => random.row(dim, 10_f64.powi(exponent)),
        Kind::Mixed => {
            let exponent = random.below(90) as i32 - 50;
            let element = |_| random.unit() * 10_f64.powi(exponent + random.below(12) as i32 - 6);
            (0..dim).map(element).collect()
        }
        Kind::Special => {
            let mut row = if random.below(4) == 0 { vec![0.0; dim] } else { random.row(dim, 1.0) };
            let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 0.0, 1e300, 1e-300];
            row[random.below(dim)] = special[random.below(8)];
            row
        }
    };
    (0..count).flat_map(&mut row).collect()
}

/// Queries: rows, rows that are off by a little, others, scaled, and zero.
fn queries_of(rows: &[f64], random: &mut Random, count: usize, dim: usize) -> Vec<Vec<f64>> {
    let mut query = |_| {
        let at = random.below(rows.len() / dim) * dim;
        let row = rows[at..][..dim].iter().map(|v| if v.is_finite() { *v } else { 1.0 });
        match random.below(8) {
            0 | 1 => row.collect(),
            2 => row.map(|v| v * (1.0 + random.unit() * 1e-7)).collect(),
            3 => row.map(|v| -v).collect(),
            4 => vec![0.0; dim],
            5 => {
                let exponent = random.below(400) as i32 - 200;
                random.row(dim, 10_f64.powi(exponent))
            }
            _ => random.row(dim, 1.0),
        }
    };
    (0..count).map(&mut query).collect()
}

/// The k best by the distance functions, which screen nothing.
fn plain<T: Scalar>(query: &PreparedQuery, rows: &[T], dim: usize, k: usize, metric: Metric) -> Vec<Hit> {
    let mut scores = vec![0.0; rows.len() / dim];
    distances(rows, dim, query, &mut scores).unwrap();
    let mut top = TopK::new(k, metric);
    scores.iter().enumerate().for_each(|(row, score)| top.push(*score, row as u64));
    top.into_sorted()
}

fn bits_of(hits: &[Hit]) -> Vec<(u64, u64)> {
    hits.iter().map(|hit| (hit.row, hit.score.to_bits())).collect()
}

fn same_as_plain<T: Scalar>(rows: &[T], dim: usize, queries: &[Vec<f64>], k: usize, cut: usize) -> TestResult {
    let cut = cut % (rows.len() / dim + 1);
    for metric in BOUNDED {
        let queries: Vec<_> = queries.iter().map(|q| PreparedQuery::new(metric, q).unwrap()).collect();
        let mut tops = vec![TopK::new(k, metric); queries.len()];
        let mut stats = search_blocks(&queries, &rows[cut * dim..], dim, cut as u64, &mut tops).unwrap();
        stats += search_blocks(&queries, &rows[..cut * dim], dim, 0, &mut tops).unwrap();
        prop_assert_eq!(stats.scored + stats.passed_over, (rows.len() / dim * queries.len()) as u64);
        let numbers: Vec<u64> = (0..(rows.len() / dim) as u64).collect();
        let mut indexed = vec![TopK::new(k, metric); queries.len()];
        search_blocks_indexed(&queries, &rows[cut * dim..], dim, &numbers[cut..], &mut indexed).unwrap();
        search_blocks_indexed(&queries, &rows[..cut * dim], dim, &numbers[..cut], &mut indexed).unwrap();
        for (q, ((query, top), indexed)) in queries.iter().zip(tops).zip(indexed).enumerate() {
            let expected = bits_of(&plain(query, rows, dim, k, metric));
            prop_assert_eq!(bits_of(&top.into_sorted()), expected.clone(), "{} of {}, k {}", metric, T::NAME, k);
            prop_assert_eq!(bits_of(&indexed.into_sorted()), expected.clone(), "{}, {}, numbers", metric, T::NAME);
            if q >= 4 {
                continue;
            }
            let (mut alone, query) = ([TopK::new(k, metric)], std::slice::from_ref(query));
            let mut stats = search_blocks(query, &rows[..cut * dim], dim, 0, &mut alone).unwrap();
            stats += search_blocks_indexed(query, &rows[cut * dim..], dim, &numbers[cut..], &mut alone).unwrap();
            prop_assert_eq!(stats.scored + stats.passed_over, numbers.len() as u64);
            let [alone] = alone;
            prop_assert_eq!(bits_of(&alone.into_sorted()), expected, "{} of {}, alone", metric, T::NAME);
        }
    }
    Ok(())
}

fn narrow<T>(rows: &[f64], convert: impl Fn(f64) -> T) -> Vec<T> {
    rows.iter().map(|v| convert(*v)).collect()
}

fn every_type_is_same(kind: Kind, seed: u64, dim: usize, count: usize, queries: usize, k: usize) -> TestResult {
    let mut random = Random(seed | 1);
    let rows = rows_of(kind, &mut random, count, dim);
    let single: Vec<f32> = narrow(&rows, |v| v as f32);
    let queries = queries_of(&to_f64(&single), &mut random, queries, dim);
    let cut = random.below(count + 1);
    same_as_plain(&single, dim, &queries, k, cut)?;
    same_as_plain(&rows, dim, &queries, k, cut)?;
    same_as_plain(&narrow(&rows, f16::from_f64), dim, &queries, k, cut)?;
    same_as_plain(&narrow(&rows, bf16::from_f64), dim, &queries, k, cut)?;
    same_as_plain(&narrow(&rows, |v| (v * 100.0) as i8), dim, &queries, k, cut)?;
    same_as_plain(&narrow(&rows, |v| (v * 100.0) as u8), dim, &queries, k, cut)?;
    same_as_plain(&narrow(&rows, |v| (v * 3e4) as i16), dim, &queries, k, cut)?;
    same_as_plain(&narrow(&rows, |v| (v * 2e9) as i32), dim, &queries, k, cut)?;
    same_as_plain(&narrow(&rows, |v| (v * 9e18) as i64), dim, &queries, k, cut)
}

/// Which rows pass a query's test of a score when it is asked alone.
fn alone_passes(
    set: InstructionSet,
    query: &PreparedQuery,
    screen: &QueryScreen,
    rows: &[f32],
    score: f64,
) -> Vec<bool> {
    let (dim, mut passed) = (query.dim(), 0);
    let mut passes = vec![0; rows.len() / dim];
    let mut padded = screen.values().to_vec();
    padded.resize(dim.next_multiple_of(LANES), 0.0);
    let (test, cosine) = (screen.test(score), is_cosine(query.distance()));
    let query = padded.as_chunks().0;
    run_with(set, ScreenRows { rows, dim, query, cosine, test, passes: &mut passes, passed: &mut passed });
    assert_eq!(passes.iter().filter(|pass| **pass == 1).count(), passed);
    passes.iter().map(|pass| *pass == 1).collect()
}

/// A row passes the test of its own score, with every instruction set; so do all that are as good.
fn own_score_passes<T: Scalar>(rows: &[T], dim: usize, queries: &[Vec<f64>]) -> TestResult {
    let count = rows.len() / dim;
    let mut scratch = vec![];
    let singles = T::singles(rows, &mut scratch);
    for metric in BOUNDED {
        let queries: Vec<_> = queries.iter().map(|q| PreparedQuery::new(metric, q).unwrap()).collect();
        let mut scores = vec![vec![0.0; count]; queries.len()];
        queries.iter().zip(&mut scores).for_each(|(query, scores)| distances(rows, dim, query, scores).unwrap());
        let screens: Vec<_> = queries.iter().map(QueryScreen::new).collect();
        let mut panels = Panels::pack(dim, screens.iter().map(|s| s.as_ref().map(QueryScreen::values)));
        for set in InstructionSet::available() {
            let (mut norms, mut half_squares) = (vec![0.0; count], vec![0.0; count]);
            run_with(set, SquaredNorms { rows: singles, dim, out: &mut norms });
            let cosine = is_cosine(metric.distance());
            run_with(set, RowBounds { dim, cosine, norms: &mut norms, half_squares: &mut half_squares });
            for row in 0..count {
                for (query, (screen, scores)) in queries.iter().zip(screens.iter().zip(&scores)) {
                    let Some(screen) = screen.as_ref().filter(|_| T::DTYPE == DType::Float32) else { continue };
                    let passes = alone_passes(set, query, screen, singles, scores[row]);
                    prop_assert!(passes[row], "{} of {}, {:?}: row {}, alone", metric, T::NAME, set, row);
                }
                for (q, screen) in screens.iter().enumerate() {
                    panels.set_test(q, screen.as_ref().map_or(Test::PASS, |s| s.test(scores[q][row])));
                }
                let mut masks = vec![0; count * panels.vectors()];
                let (panels, norms, half_squares) = (&panels, &norms, &half_squares);
                let next = std::ptr::null()..std::ptr::null();
                run_with(set, Screening { rows: singles, panels, norms, half_squares, masks: &mut masks, next });
                for (q, scores) in scores.iter().enumerate() {
                    let as_good = |score: f64| {
                        let (cost, least) =
                            if metric.larger_is_better() { (-score, -scores[row]) } else { (score, scores[row]) };
                        scores[row].is_nan() || cost <= least
                    };
                    for r in (0..count).filter(|r| as_good(scores[*r])) {
                        let passes = masks[q / LANES * count + r] >> (q % LANES) & 1 == 1;
                        prop_assert!(passes, "{} of {}, {:?}: row {}, query {}", metric, T::NAME, set, r, q);
                    }
                }
            }
        }
    }
    Ok(())
}

fn any_dim() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 1..70_usize, 1 => Just(128), 1 => Just(768)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn batches_find_what_the_plain_search_finds(
        kind in any_kind(), seed in any::<u64>(), dim in any_dim(), count in 1..260_usize, queries in 2..40_usize,
        k in prop_oneof![4 => 1..20_usize, 1 => 1..300_usize],
    ) {
        every_type_is_same(kind, seed, dim, count, queries, k)?;
    }

    #[test]
    fn no_row_fails_the_test_of_its_own_score(
        kind in any_kind(), seed in any::<u64>(), dim in any_dim(), count in MIN_ROWS..30, queries in 1..20_usize,
    ) {
        let mut random = Random(seed | 1);
        let rows = rows_of(kind, &mut random, count, dim);
        let single = narrow(&rows, |v| v as f32);
        let queries = queries_of(&to_f64(&single), &mut random, queries, dim);
        own_score_passes(&single, dim, &queries)?;
        own_score_passes(&rows, dim, &queries)?;
        own_score_passes(&narrow(&rows, |v| (v * 9e18) as i64), dim, &queries)?;
    }
}

#[test]
fn few_rows_are_scored() {
    let (dim, count, k) = (64, 5000, 10);
    let mut random = Random(7);
    let rows = narrow(&rows_of(Kind::Random, &mut random, count, dim), |v| v as f32);
    for metric in BOUNDED {
        let queries: Vec<_> = (0..20).map(|_| PreparedQuery::new(metric, &random.row(dim, 1.0)).unwrap()).collect();
        let mut tops = vec![TopK::new(k, metric); queries.len()];
        let stats = search_blocks(&queries, &rows, dim, 0, &mut tops).unwrap();
        // k (1 + ln(count / k)) rows are among the best when they come; some more within a chunk.
        assert!(stats.scored < 20 * 400, "{metric}: {stats:?}");
        assert_eq!(stats.scored + stats.passed_over, 20 * count as u64);
        let stats = search_blocks(&queries[..1], &rows, dim, 0, &mut [TopK::new(k, metric)]).unwrap();
        assert!(stats.scored < 400, "{metric}, alone: {stats:?}");
    }
}

#[test]
fn rows_without_a_bound_are_scored_and_others_are_not() {
    let (dim, count) = (20, 960);
    let mut random = Random(11);
    let mut rows = narrow(&rows_of(Kind::Random, &mut random, count, dim), |v| v as f32);
    for (at, value) in [(500, f32::NAN), (600, f32::INFINITY), (700, 1e30), (701, -1e25)] {
        rows[at * dim] = value;
    }
    rows[800 * dim..801 * dim].fill(0.0);
    rows[900 * dim..901 * dim].fill(1e-41);
    let queries: Vec<_> = (0..5).map(|_| random.row(dim, 1.0)).collect();
    same_as_plain(&rows, dim, &queries, 3, 0).unwrap();
    let prepared: Vec<_> = queries.iter().map(|q| PreparedQuery::new(Metric::Cosine, q).unwrap()).collect();
    let mut tops = vec![TopK::new(3, Metric::Cosine); 5];
    search_blocks(&prepared, &rows[..480 * dim], dim, 0, &mut tops).unwrap();
    let stats = search_blocks(&prepared, &rows[480 * dim..], dim, 480, &mut tops).unwrap();
    assert!((6 * 5..6 * 5 + 5 * 15).contains(&stats.scored), "{stats:?}");
}
