use proptest::prelude::*;

use super::bounds::Bounds;
use super::dots::{Dots, InstructionSet, Levels, Pass, Sums, run_with};
use super::*;
use crate::testing::{FromSeed, Seeds, for_every_type};
use crate::{Hit, Metric, PreparedQuery, Scalar, TopK, search_block, search_indexed, to_f64, top_k};

type TestResult = Result<(), TestCaseError>;

const METRICS: [Metric; 5] = [Metric::Cosine, Metric::CosineSimilarity, Metric::L2, Metric::L2sq, Metric::Dot];

fn bits(hits: &[Hit]) -> Vec<(u64, u64)> {
    hits.iter().map(|hit| (hit.row, hit.score.to_bits())).collect()
}

/// Numbers from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// −1 to 1.
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    /// Nearly normal, of variance 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() / 2.0
    }

    fn vector(&mut self, len: usize) -> Vec<f64> {
        (0..len).map(|_| self.normal()).collect()
    }
}

/// Rows of four shapes, as float32: independent, around few centres, nearly equal to one another with exact copies,
/// and of magnitudes that differ by up to 2^±40 (beyond what has bounds, with the square).
fn table(random: &mut Random, shape: usize, rows: usize, dim: usize) -> Vec<f32> {
    let centres: Vec<Vec<f64>> = (0..4).map(|_| random.vector(dim)).collect();
    let mut all = Vec::with_capacity(rows * dim);
    for row in 0..rows {
        let (noise, centre) = (random.vector(dim), &centres[random.next() as usize % 4]);
        let power = (random.next() % 81) as i32 - 40;
        let value = |i: usize| match shape {
            0 => noise[i],
            1 => centre[i] + 0.05 * noise[i],
            2 if row % 3 == 0 => centre[i],
            2 => centre[i] + 1e-4 * noise[i],
            _ => noise[i] * f64::powi(2.0, power * 3),
        };
        all.extend((0..dim).map(|i| value(i) as f32));
    }
    all
}

/// A search by sketch with one instruction set, of all or of some rows.
fn search<T: Scalar>(
    set: InstructionSet,
    sketch: &Sketch,
    rows: &[T],
    query: &PreparedQuery,
    selected: Option<&[u32]>,
    top: &mut TopK,
) -> SketchCounts {
    let (dim, prepared) = (sketch.spec().dim(), SketchQuery::new(query, sketch.spec()).unwrap());
    let mut candidates = Candidates::new(&prepared, top.k());
    let (codes, params) = (sketch.codes(), sketch.params());
    match selected {
        Some(selected) => prepared.run(set, codes, params, selected, 100, &mut candidates),
        None => prepared.run(set, codes, params, 0..sketch.rows(), 100, &mut candidates),
    }
    candidates.rerank(top, |ids, top| exact(rows, dim, query, ids, top)).unwrap()
}

/// Offers rows, numbered from 100, with their exact scores.
fn exact<T: Scalar>(
    rows: &[T],
    dim: usize,
    query: &PreparedQuery,
    ids: &[u64],
    top: &mut TopK,
) -> hyperslab_core::Result<()> {
    assert!(ids.is_sorted_by(|a, b| a < b));
    let taken: Vec<T> = ids.iter().flat_map(|id| &rows[(*id as usize - 100) * dim..][..dim]).copied().collect();
    search_indexed(query, &taken, dim, ids, top)
}

/// Every metric and instruction set, with and without a filter, against the search without a sketch.
fn agrees<T: Scalar>(rows: &[T], dim: usize, queries: &[Vec<f64>], k: usize) -> TestResult {
    let sketches = [8, 4].map(|bits| Sketch::encode(SketchSpec::new(bits, dim).unwrap(), rows).unwrap());
    let count = rows.len() / dim;
    let third: Vec<u32> = (0..count as u32).filter(|row| row % 3 == 1).collect();
    let ids: Vec<u64> = third.iter().map(|row| u64::from(*row) + 100).collect();
    for metric in METRICS {
        for query in queries {
            let query = PreparedQuery::new(metric, query).unwrap();
            let (mut all, mut some) = (TopK::new(k, metric), TopK::new(k, metric));
            search_block(&query, rows, dim, 100, &mut all).unwrap();
            exact(rows, dim, &query, &ids, &mut some).unwrap();
            let (all, some) = (bits(&all.into_sorted()), bits(&some.into_sorted()));
            for set in InstructionSet::available() {
                for sketch in &sketches {
                    let context = || format!("{metric} of {}, {:?}, {set:?}", T::NAME, sketch.spec());
                    let mut top = TopK::new(k, metric);
                    let counts = search(set, sketch, rows, &query, None, &mut top);
                    prop_assert_eq!(&bits(&top.into_sorted()), &all, "{}", context());
                    prop_assert_eq!(counts.scanned, count as u64);
                    prop_assert!(counts.reranked <= counts.scanned);
                    let mut top = TopK::new(k, metric);
                    let counts = search(set, sketch, rows, &query, Some(&third), &mut top);
                    prop_assert_eq!(&bits(&top.into_sorted()), &some, "filtered, {}", context());
                    prop_assert_eq!(counts.scanned, third.len() as u64);
                }
            }
        }
    }
    Ok(())
}

fn seeds_agree<T: FromSeed>(seeds: &Seeds, k: usize) -> TestResult {
    let finite = |query: &Vec<f64>| query.iter().all(|v| v.is_finite());
    let queries: Vec<_> = seeds.b::<T>().chunks(seeds.dim).map(to_f64).filter(finite).take(3).collect();
    agrees(&seeds.a::<T>(), seeds.dim, &queries, k)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_type_agrees_with_the_exact_search(seeds in Seeds::any(1..70, 1..40), k in 1..50_usize) {
        for_every_type!(seeds_agree(&seeds, k));
    }

    #[test]
    fn many_rows_agree(seeds in Seeds::any(1..6, 200..700), k in 1..300_usize) {
        seeds_agree::<f32>(&seeds, k)?;
        seeds_agree::<i8>(&seeds, k)?; // many ties
        seeds_agree::<f64>(&seeds, k)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_shape_agrees(
        seed in any::<u64>(), shape in 0..4_usize, dim in prop_oneof![4 => 1..70_usize, 1 => Just(128), 1 => Just(768)],
        rows in 1..600_usize, k in prop_oneof![Just(1), Just(10), 1..700_usize], power in -20..20_i32,
    ) {
        let random = &mut Random(seed);
        let mut rows = table(random, shape, rows, dim);
        let far: Vec<f64> = random.vector(dim).iter().map(|v| v * f64::powi(10.0, 3 * power)).collect();
        let near = to_f64(&rows[..dim]);
        if shape == 0 {
            rows[dim / 2] = f32::NAN;
            *rows.last_mut().unwrap() = f32::INFINITY;
        }
        agrees(&rows, dim, &[far, near, vec![0.0; dim]], k)?;
    }
}

/// Σ aᵢ bᵢ in twice the precision: products without error by fused multiplication, their sum compensated (Ogita,
/// Rump and Oishi, "Accurate sum and dot product", 2005).
fn accurate_dot(a: &[f64], b: &[f64]) -> f64 {
    let (mut sum, mut rest) = (0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let product = a * b;
        let next = sum + product;
        let from_product = next - sum;
        rest += (sum - (next - from_product)) + (product - from_product) + a.mul_add(*b, -product);
        sum = next;
    }
    sum + rest
}

/// Each row's bounds hold its true cost and the cost that the exact search computes; returns how much of its width
/// the widest use of a bound takes, 1 being all.
fn bounds_hold(rows: &[f32], dim: usize, query: &[f64], bits: u32) -> Result<f64, TestCaseError> {
    let spec = SketchSpec::new(bits, dim).unwrap();
    let sketch = Sketch::encode(spec, rows).unwrap();
    let wide = to_f64(rows);
    let mut most: f64 = 0.0;
    for metric in METRICS {
        let prepared = PreparedQuery::new(metric, query).unwrap();
        let sketched = SketchQuery::new(&prepared, spec).unwrap();
        let mut computed = vec![0.0; rows.len() / dim];
        crate::distances(rows, dim, &prepared, &mut computed).unwrap();
        for (r, row) in wide.chunks(dim).enumerate() {
            let sums = sums_with(InstructionSet::current(), &sketched, &sketch, r);
            let sum = 256.0 * f64::from(sums[0]) + f64::from(sums[1]) - sketched.correction;
            let params = sketch.params().as_chunks().0[r];
            let mut bounds = [Bounds { lower: 0.0, upper: 0.0 }];
            sketched.bounder.bounds(&[sum], &[params], &mut bounds);
            let [bounds] = bounds;
            let difference: Vec<f64> = row.iter().zip(query).map(|(a, b)| a - b).collect();
            let (truth, cost) = match metric {
                Metric::Dot => (-accurate_dot(row, query), -computed[r]),
                Metric::Cosine | Metric::CosineSimilarity => {
                    let norms = accurate_dot(row, row) * accurate_dot(query, query);
                    let distance = if metric == Metric::Cosine { computed[r] } else { 1.0 - computed[r] };
                    (1.0 - accurate_dot(row, query) / norms.sqrt(), distance)
                }
                Metric::L2 => (accurate_dot(&difference, &difference), computed[r] * computed[r]),
                _ => (accurate_dot(&difference, &difference), computed[r]),
            };
            prop_assert!(bounds.lower <= truth && truth <= bounds.upper, "{metric}: {truth} in {bounds:?}");
            prop_assert!(bounds.lower <= cost && cost <= bounds.upper, "{metric}: {cost} in {bounds:?}");
            let middle = bounds.lower + (bounds.upper - bounds.lower) / 2.0;
            most = most.max(2.0 * (truth - middle).abs() / (bounds.upper - bounds.lower));
            // The screen lets pass what may be within a limit.
            let screen = |limit| !sketched.bounder.screen(limit).excludes(sum, params);
            prop_assert!(screen(cost) && screen(truth) && screen(bounds.lower), "{metric} {bounds:?}");
        }
    }
    Ok(most)
}

fn sums_with(set: InstructionSet, query: &SketchQuery, sketch: &Sketch, row: usize) -> Sums {
    struct One<'a, const HALVES: bool>(&'a [u8], usize, usize, &'a [Levels], &'a mut Sums);
    impl<const HALVES: bool> Pass for One<'_, HALVES> {
        #[inline(always)]
        fn run<D: Dots>(self) {
            let Self(codes, at, width, levels, out) = self;
            let sums = D::dots::<HALVES>(codes, [at, 0, at, 0], width, levels);
            assert_eq!((sums[0], sums[1]), (sums[2], sums[3]));
            *out = sums[0];
        }
    }
    let (mut sums, width) = ([0; 2], sketch.spec().code_bytes());
    match sketch.spec().bits() {
        8 => run_with(set, One::<false>(sketch.codes(), row * width, width, &query.levels, &mut sums)),
        _ => run_with(set, One::<true>(sketch.codes(), row * width, width, &query.levels, &mut sums)),
    }
    sums
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn bounds_hold_the_truth(seed in any::<u64>(), shape in 0..3_usize, dim in 1..140_usize, power in -18..18_i32) {
        let random = &mut Random(seed);
        let rows = table(random, shape, 20, dim);
        let far: Vec<f64> = random.vector(dim).iter().map(|v| v * f64::powi(10.0, 3 * power)).collect();
        for bits in [8, 4] {
            for query in [&far, &to_f64(&rows[..dim])] {
                bounds_hold(&rows, dim, query, bits)?;
            }
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_sums(seed in any::<u64>(), dim in 1..300_usize) {
        let random = &mut Random(seed);
        let rows = table(random, 0, 3, dim);
        let prepared = PreparedQuery::new(Metric::Dot, &random.vector(dim)).unwrap();
        for bits in [8, 4] {
            let sketch = Sketch::encode(SketchSpec::new(bits, dim).unwrap(), &rows).unwrap();
            let query = SketchQuery::new(&prepared, sketch.spec()).unwrap();
            for row in 0..3 {
                let codes = decoded(&sketch, row);
                let sums = sums_with(InstructionSet::Baseline, &query, &sketch, row);
                let sum = 256.0 * f64::from(sums[0]) + f64::from(sums[1]) - query.correction;
                let step = query.bounder.step;
                let product = |(code, value): (&i32, &f64)| f64::from(*code) * (value / step).round_ties_even();
                prop_assert_eq!(sum, codes.iter().zip(prepared.values()).map(product).sum::<f64>());
                for set in InstructionSet::available() {
                    prop_assert_eq!(sums_with(set, &query, &sketch, row), sums, "{:?}", set);
                }
            }
        }
    }
}

/// A row's integers, read as the layout is documented.
fn decoded(sketch: &Sketch, row: usize) -> Vec<i32> {
    let (dim, width) = (sketch.spec().dim(), sketch.spec().code_bytes());
    let codes = sketch.codes()[row * width..][..width].iter().map(|code| i32::from(*code));
    match sketch.spec().bits() {
        8 => codes.map(|code| code - 128).collect(),
        _ => codes.clone().map(|code| code % 16 - 8).chain(codes.map(|code| code / 16 - 8)).take(dim).collect(),
    }
}

/// The extremes of every term: the longest rows, all bytes at their ends.
#[test]
fn the_longest_rows_do_not_overflow() {
    let rows: Vec<f32> = [1.0, -1.0].into_iter().flat_map(|v| vec![v; MAX_DIM]).collect();
    let query = vec![1.0; MAX_DIM];
    for bits in [8, 4] {
        let spec = SketchSpec::new(bits, MAX_DIM).unwrap();
        let sketch = Sketch::encode(spec, &rows).unwrap();
        let prepared = PreparedQuery::new(Metric::Dot, &query).unwrap();
        let sketched = SketchQuery::new(&prepared, spec).unwrap();
        let expected = sums_with(InstructionSet::Baseline, &sketched, &sketch, 0);
        assert!(expected.iter().all(|sum| *sum > 0));
        for set in InstructionSet::available() {
            assert_eq!(sums_with(set, &sketched, &sketch, 0), expected);
        }
        assert!(bounds_hold(&rows, MAX_DIM, &query, bits).unwrap() < 1.0);
    }
}

/// Rows whose residual lies along the query, the worst there can be: the truth is at the very end of the bounds.
fn worst_rows(random: &mut Random, count: usize, dim: usize, query: &[f64]) -> Vec<f32> {
    let mut rows = Vec::with_capacity(count * dim);
    for _ in 0..count {
        let side = if random.next().is_multiple_of(2) { 0.49 } else { -0.49 };
        // One code of 127 fixes the scale at 1.
        rows.push(127.0);
        rows.extend((1..dim).map(|i| (random.next() % 9) as f32 - 4.0 + (side * query[i]) as f32));
    }
    rows
}

#[test]
fn the_bound_is_needed_to_its_end() {
    let (random, dim) = (&mut Random(7), 64);
    let mut used: f64 = 0.0;
    let (mut exact_bound, mut shrunk_bound) = (0, 0);
    for _ in 0..40 {
        let mut query: Vec<f64> = (0..dim).map(|_| if random.next() % 2 == 0 { 1.0 } else { -1.0 }).collect();
        query[0] = 0.0;
        let rows = worst_rows(random, 2000, dim, &query);
        used = used.max(bounds_hold(&rows, dim, &query, 8).unwrap());
        let sketch = Sketch::encode(SketchSpec::new(8, dim).unwrap(), &rows).unwrap();
        let mut shrunk = sketch.clone();
        shrunk.params.chunks_mut(PARAMS).for_each(|params| params[2] *= 0.5);
        for metric in METRICS {
            let expected = bits(&top_k(&rows, dim, &query, 5, metric, 1).unwrap());
            let with = |sketch: &Sketch| bits(&sketch.top_k(&rows, &query, 5, metric, 1).unwrap().0);
            exact_bound += usize::from(with(&sketch) != expected);
            shrunk_bound += usize::from(with(&shrunk) != expected);
        }
    }
    assert!(used > 0.95, "{used}");
    assert_eq!(exact_bound, 0);
    assert!(shrunk_bound > 10, "half the residual changed {shrunk_bound} of 200 answers only");
}

/// The query's own error at its worst: rows that are codes themselves, along what the query's integers leave out.
#[test]
fn the_error_of_the_query_is_within_the_bound() {
    let (random, dim) = (&mut Random(23), 96);
    let mut used: f64 = 0.0;
    for _ in 0..50 {
        let query = random.vector(dim);
        let prepared = PreparedQuery::new(Metric::Dot, &query).unwrap();
        let sketched = SketchQuery::new(&prepared, SketchSpec::new(8, dim).unwrap()).unwrap();
        let step = sketched.bounder.step;
        let sign = |v: f64| if v / step > (v / step).round_ties_even() { 127.0 } else { -127.0 };
        let row: Vec<f32> = query.iter().map(|v| sign(*v)).collect();
        used = used.max(bounds_hold(&row, dim, &query, 8).unwrap());
    }
    assert!(used > 0.75, "{used}");
}

#[test]
fn forks_share_what_they_learn() {
    let (random, dim) = (&mut Random(29), 32);
    let rows = table(random, 0, 5000, dim);
    let spec = SketchSpec::new(8, dim).unwrap();
    let (near, far) = (&rows[..2500 * dim], rows[2500 * dim..].iter().map(|v| v + 100.0).collect::<Vec<_>>());
    let [near, far] = [Sketch::encode(spec, near).unwrap(), Sketch::encode(spec, &far).unwrap()];
    let prepared = PreparedQuery::new(Metric::L2, &random.vector(dim)).unwrap();
    let query = SketchQuery::new(&prepared, spec).unwrap();
    let mut first = Candidates::new(&query, 10);
    let mut fork = first.fork();
    query.scan(near.codes(), near.params(), 0, &mut first).unwrap();
    query.scan(far.codes(), far.params(), 2500, &mut fork).unwrap();
    assert!(first.len() >= 10 && fork.is_empty());
    fork = first.fork();
    query.scan(near.codes(), near.params(), 2500, &mut fork).unwrap();
    first.merge(fork);
    assert_eq!(first.counts().scanned, 5000);
    let top = TopK::new(10, Metric::L2);
    let rows = first.next_rows(&top).unwrap();
    assert!(rows.len() >= 10 && rows.is_sorted() && first.is_empty());
}

#[test]
fn a_query_without_bounds_reads_all_rows() {
    let rows = table(&mut Random(31), 0, 900, 6);
    let sketch = Sketch::encode(SketchSpec::new(8, 6).unwrap(), &rows).unwrap();
    for query in [[0.0; 6], [1e-70; 6], [1e70; 6]] {
        for metric in METRICS {
            let (hits, counts) = sketch.top_k(&rows, &query, 9, metric, 2).unwrap();
            assert_eq!(bits(&hits), bits(&top_k(&rows, 6, &query, 9, metric, 2).unwrap()));
            assert_eq!(counts, SketchCounts { scanned: 900, reranked: 900 });
        }
    }
}

#[test]
fn threads_and_batches_agree() {
    let (random, dim) = (&mut Random(3), 48);
    for shape in 0..3 {
        let rows = table(random, shape, 20_000, dim);
        let spec = SketchSpec::new(8, dim).unwrap();
        let sketch = Sketch::encode(spec, &rows).unwrap();
        let queries: Vec<_> = (0..5).map(|_| random.vector(dim)).collect();
        for metric in METRICS {
            let prepared: Vec<_> = queries.iter().map(|q| PreparedQuery::new(metric, q).unwrap()).collect();
            let sketched: Vec<_> = prepared.iter().map(|q| SketchQuery::new(q, spec).unwrap()).collect();
            let mut candidates: Vec<_> = sketched.iter().map(|q| Candidates::new(q, 7)).collect();
            SketchQuery::scan_all(&sketched, sketch.codes(), sketch.params(), 100, &mut candidates).unwrap();
            for ((values, prepared), mut candidates) in queries.iter().zip(&prepared).zip(candidates) {
                let mut top = TopK::new(7, metric);
                search_block(prepared, &rows, dim, 100, &mut top).unwrap();
                let expected = bits(&top.into_sorted());
                let mut top = TopK::new(7, metric);
                candidates.rerank(&mut top, |ids, top| exact(&rows, dim, prepared, ids, top)).unwrap();
                assert_eq!(bits(&top.into_sorted()), expected);
                let expected = top_k(&rows, dim, values, 7, metric, 1).unwrap();
                for threads in [1, 2, 5, 0] {
                    let (hits, counts) = sketch.top_k(&rows, values, 7, metric, threads).unwrap();
                    assert_eq!(bits(&hits), bits(&expected));
                    assert_eq!(counts.scanned, 20_000);
                }
            }
        }
    }
}

#[test]
fn few_rows_are_reranked() {
    let (random, dim) = (&mut Random(11), 128);
    for (shape, most) in [(0, 150), (1, 1000)] {
        let rows = table(random, shape, 20_000, dim);
        let query: Vec<f64> = to_f64(&rows[..dim]).iter().map(|v| v + 0.05 * random.normal()).collect();
        let sketch = Sketch::encode(SketchSpec::new(8, dim).unwrap(), &rows).unwrap();
        for metric in METRICS {
            let (_, counts) = sketch.top_k(&rows, &query, 10, metric, 1).unwrap();
            assert!(counts.reranked <= most, "{} rows by {metric}, shape {shape}", counts.reranked);
            assert_eq!(counts.pruned() + counts.reranked, 20_000);
        }
    }
}

#[test]
fn rows_may_be_reranked_between_scans() {
    let (random, dim) = (&mut Random(5), 20);
    let rows = table(random, 1, 3000, dim);
    let query = random.vector(dim);
    for metric in METRICS {
        let prepared = PreparedQuery::new(metric, &query).unwrap();
        let sketch = Sketch::encode(SketchSpec::new(4, dim).unwrap(), &rows).unwrap();
        let sketched = SketchQuery::new(&prepared, sketch.spec()).unwrap();
        let (mut top, mut candidates) = (TopK::new(20, metric), Candidates::new(&sketched, 20));
        // The last rows have no codes.
        search_block(&prepared, &rows[2900 * dim..], dim, 3000, &mut top).unwrap();
        let blocks = sketch.codes()[..2900 * 10].chunks(500 * 10).zip(sketch.params()[..2900 * 3].chunks(500 * 3));
        for (b, (codes, params)) in blocks.enumerate() {
            sketched.scan(codes, params, 100 + 500 * b as u64, &mut candidates).unwrap();
            let counts = candidates.rerank(&mut top, |ids, top| exact(&rows, dim, &prepared, ids, top)).unwrap();
            assert!(candidates.is_empty() && counts.scanned == 2900.min(500 * (b as u64 + 1)));
        }
        let mut expected = TopK::new(20, metric);
        search_block(&prepared, &rows, dim, 100, &mut expected).unwrap();
        assert_eq!(bits(&top.into_sorted()), bits(&expected.into_sorted()));
    }
}

#[test]
fn ranges_hold_all_rows_within() {
    let (random, dim) = (&mut Random(17), 33);
    for shape in 0..3 {
        let rows = table(random, shape, 2000, dim);
        let sketch = Sketch::encode(SketchSpec::new(8, dim).unwrap(), &rows).unwrap();
        for metric in METRICS {
            let prepared = PreparedQuery::new(metric, &random.vector(dim)).unwrap();
            let query = SketchQuery::new(&prepared, sketch.spec()).unwrap();
            let mut scores = vec![0.0; 2000];
            crate::distances(&rows, dim, &prepared, &mut scores).unwrap();
            let mut sorted = scores.clone();
            sorted.sort_by(f64::total_cmp);
            let better =
                |score: f64, limit: f64| if metric.larger_is_better() { score >= limit } else { score <= limit };
            for limit in [sorted[0], sorted[50], sorted[1000], sorted[1999], f64::NAN, f64::INFINITY, -1.0] {
                let mut candidates = Candidates::within(&query, limit);
                query.scan(sketch.codes(), sketch.params(), 0, &mut candidates).unwrap();
                let found = candidates.into_rows();
                let missing = (0..2000).find(|r| better(scores[*r], limit) && !found.contains(&(*r as u64)));
                assert_eq!(missing, None, "{metric} {limit}");
                let within = scores.iter().filter(|score| better(**score, limit)).count();
                if shape == 0 && !limit.is_nan() {
                    assert!(found.len() <= within + 300, "{} for {within} rows", found.len());
                }
            }
        }
    }
}

#[test]
fn the_layout_is_as_documented() {
    let rows = [3.0_f32, -4.0, 0.0, 2.0, 1.0];
    let encoded = |bits, rows: &[f32]| Sketch::encode(SketchSpec::new(bits, 5).unwrap(), rows).unwrap();
    let eight = encoded(8, &rows);
    assert_eq!(eight.codes(), [128 + 95, 1, 128, 128 + 64, 128 + 32]); // 95.25, 63.5 and 31.75
    let four = encoded(4, &rows);
    assert_eq!(four.codes(), [(8 + 5) | (8 + 4) << 4, (8 - 7) | (8 + 2) << 4, 8 | 8 << 4]); // 5.25, 3.5 and 1.75
    for sketch in [eight, four] {
        let codes: Vec<f64> = decoded(&sketch, 0).into_iter().map(f64::from).collect();
        let row = to_f64(&rows);
        let scale = (accurate_dot(&row, &codes) / accurate_dot(&codes, &codes)) as f32;
        let rest: Vec<f64> = row.iter().zip(&codes).map(|(v, c)| v - f64::from(scale) * c).collect();
        assert_eq!(sketch.params()[0], scale);
        for (param, length) in sketch.params()[1..].iter().zip([30_f64.sqrt(), accurate_dot(&rest, &rest).sqrt()]) {
            assert!(f64::from(*param) >= length && f64::from(*param) <= length * (1.0 + 2.5e-7));
        }
    }
    let special = [[0.0; 5], [1.0, f32::NAN, 2.0, f32::INFINITY, 0.0], [f32::INFINITY; 5], [1e-31; 5], [1e38; 5]];
    let sketch = encoded(8, special.as_flattened());
    assert!(sketch.codes().iter().all(|code| *code == 128));
    let infinity = f32::INFINITY;
    let params = [[0.0; 3], [0.0, infinity, 0.0], [0.0, 0.0, infinity], [0.0, 0.0, infinity], [0.0, 0.0, infinity]];
    assert_eq!(sketch.params(), params.as_flattened());
}

#[test]
fn rows_of_nan_are_not_reranked() {
    let mut rows = vec![f32::NAN; 1000];
    rows[500..520].fill(1.0);
    let sketch = Sketch::encode(SketchSpec::new(8, 1).unwrap(), &rows).unwrap();
    for metric in METRICS {
        let (hits, counts) = sketch.top_k(&rows, &[2.0], 5, metric, 1).unwrap();
        assert_eq!(hits.iter().map(|hit| hit.row).collect::<Vec<_>>(), [500, 501, 502, 503, 504]);
        assert_eq!(counts.reranked, 20);
        let (hits, _) = sketch.top_k(&rows, &[2.0], 30, metric, 1).unwrap();
        assert_eq!((hits[20].row, hits[29].row), (0, 9));
    }
}

/// Whatever a damaged file holds, nothing panics.
#[test]
fn damaged_sketches_do_no_harm() {
    let random = &mut Random(1);
    let rows = table(random, 0, 500, 9);
    for bits in [8, 4] {
        let mut sketch = Sketch::encode(SketchSpec::new(bits, 9).unwrap(), &rows).unwrap();
        sketch.codes.iter_mut().for_each(|code| *code = random.next() as u8);
        sketch.params.iter_mut().for_each(|param| *param = f32::from_bits(random.next() as u32));
        for metric in METRICS {
            let (hits, _) = sketch.top_k(&rows, &[1.0; 9], 3, metric, 2).unwrap();
            assert!(hits.len() <= 3);
        }
    }
}

#[test]
fn bad_input_is_named() {
    let message = |result: Result<SketchSpec>| result.unwrap_err().to_string();
    assert_eq!(message(SketchSpec::new(7, 3)), "a sketch has 8 or 4 bits per value, not 7");
    assert_eq!(message(SketchSpec::new(8, 0)), "a sketch is of rows of 1 to 65536 values, not of 0");
    assert_eq!(message(SketchSpec::new(8, 70_000)), "a sketch is of rows of 1 to 65536 values, not of 70000");
    let spec = SketchSpec::new(8, 2).unwrap();
    let error = spec.encode(&[1.0_f32; 6], &mut [0; 4], &mut [0.0; 6]).unwrap_err();
    assert_eq!(error.to_string(), "6 values are not 2 rows of 2");
    let error = spec.encode(&[1.0_f32; 4], &mut [0; 4], &mut [0.0; 5]).unwrap_err();
    assert!(error.to_string().starts_with("4 bytes of codes and 5 parameters are no sketch of rows of 2 values"));

    let l2 = PreparedQuery::new(Metric::L2, &[1.0, 2.0]).unwrap();
    let query = SketchQuery::new(&l2, spec).unwrap();
    let mut candidates = Candidates::new(&query, 2);
    let error = query.scan_selected(&[0; 4], &[0.0; 6], &[1, 2], 0, &mut candidates).unwrap_err();
    assert_eq!(error.to_string(), "there is no row 2 in a block of 2 rows");
    assert!(query.scan(&[0; 3], &[0.0; 3], 0, &mut candidates).is_err());
    let error = candidates.rerank(&mut TopK::new(3, Metric::L2), |_, _| Ok(())).unwrap_err();
    assert_eq!(error.to_string(), "the candidates are not those of the 3 best by l2");
    let three = PreparedQuery::new(Metric::L2, &[1.0; 3]).unwrap();
    assert!(SketchQuery::new(&three, spec).is_err());
    let other = PreparedQuery::for_distance(Distance::NegativeInnerProduct, &[1.0, 2.0]);
    assert!(SketchQuery::new(&other, spec).unwrap_err().to_string().ends_with("not by negative_inner_product"));
    let dot = SketchQuery::new(&PreparedQuery::new(Metric::Dot, &[1.0, 2.0]).unwrap(), spec).unwrap();
    assert!(dot.scan(&[0; 4], &[0.0; 6], 0, &mut candidates).is_err());
    assert!(SketchQuery::scan_all(&[dot], &[0; 4], &[0.0; 6], 0, &mut []).is_err());
    let sketch = Sketch::encode(spec, &[1.0_f32; 4]).unwrap();
    assert!(sketch.top_k(&[1.0_f32; 2], &[1.0; 2], 1, Metric::L2, 1).is_err());
    assert!(sketch.top_k(&[1.0_f32; 4], &[1.0; 2], 0, Metric::L2, 1).is_err());
}
