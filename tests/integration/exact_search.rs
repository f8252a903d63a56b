//! Searches by SQL are those of a brute force in float64, written here once more: random arrays of every dtype with
//! ties, zeros and repeated rows, appended, edited, compressed and compacted in random order, searched by every metric
//! with and without filter, offset, several queries, older versions and numbers of threads.

use std::collections::HashMap;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use hyperslab::Store;
use hyperslab_tests::Sql;
use hyperslab_vector::Metric;

/// Worlds of one run; more with `HYPERSLAB_RUNS`.
const WORLDS: u64 = 26;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Bool,
    Signed,
    Unsigned,
    /// Few bits of mantissa.
    Short,
    Float32,
    Float64,
}

/// SQL's type, and which values it holds.
const TYPES: [(&str, Kind); 13] = [
    ("BOOLEAN", Kind::Bool),
    ("TINYINT", Kind::Signed),
    ("SMALLINT", Kind::Signed),
    ("INT", Kind::Signed),
    ("BIGINT", Kind::Signed),
    ("UTINYINT", Kind::Unsigned),
    ("USMALLINT", Kind::Unsigned),
    ("INT UNSIGNED", Kind::Unsigned),
    ("UBIGINT", Kind::Unsigned),
    ("HALF", Kind::Short),
    ("BFLOAT16", Kind::Short),
    ("FLOAT", Kind::Float32),
    ("DOUBLE", Kind::Float64),
];

#[derive(Debug, Clone)]
struct Row {
    id: i64,
    label: i64,
    value: Vec<f64>,
}

/// An array and what it must hold.
struct World {
    seed: u64,
    random: Random,
    sql_type: &'static str,
    kind: Kind,
    dim: usize,
    /// Without values below zero, which some metrics have no meaning for.
    positive: bool,
    /// One partition, two, seven.
    sessions: [Sql; 3],
    rows: Vec<Row>,
    next_id: i64,
    checks: usize,
    /// How many searches used the sketch index.
    indexed: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x1234_5678_9ABC_DEF1));
        let (sql_type, kind) = TYPES[seed as usize % TYPES.len()];
        let dim = [1, 2, 3, 7, 8, 16, 17, 33, 64][random.below(9)];
        let positive = random.one_in(2);
        let store = Store::memory();
        let sessions = [1, 2, 7].map(|partitions| Sql::on(store.clone(), Some(partitions)));
        let codec = ["none", "zstd"][random.below(2)];
        let world = Self {
            seed,
            random,
            sql_type,
            kind,
            dim,
            positive,
            sessions,
            rows: vec![],
            next_id: 0,
            checks: 0,
            indexed: 0,
        };
        world.run(&format!(
            "CREATE TABLE v (id BIGINT, label BIGINT, value {sql_type}[{dim}]) \
             WITH (shard_bytes = '{}', codec = '{codec}')",
            ["64KiB", "64MiB"][seed as usize % 2]
        ));
        world
    }

    fn run(&self, sql: &str) -> RecordBatch {
        self.sessions[0].run(sql).unwrap_or_else(|e| panic!("seed {}: {sql}\n{e}", self.seed))
    }

    /// In every second world an index, of some bits, which rows of this dtype may not have.
    fn index(&mut self) {
        if (self.seed / TYPES.len() as u64).is_multiple_of(2) {
            let bits = [4, 8][self.random.below(2)];
            let created =
                self.sessions[1].run(&format!("CREATE INDEX s ON v USING sketch (value) WITH (bits = {bits})"));
            assert!(created.is_ok() || !matches!(self.kind, Kind::Float32 | Kind::Float64), "{created:?}");
        }
    }

    /// A value that the dtype holds exactly.
    fn element(&mut self) -> f64 {
        let small = self.random.below(9) as f64;
        let centred = if self.positive { small } else { small - 4.0 };
        match self.kind {
            Kind::Bool => (small > 4.0).into(),
            Kind::Unsigned => small,
            Kind::Signed => centred,
            Kind::Short => centred / 4.0,
            _ if self.random.one_in(3) => centred,
            Kind::Float32 => {
                f64::from((self.random.next() >> 40) as f32 / 1e7) * if centred < 0.0 { -1.0 } else { 1.0 }
            }
            Kind::Float64 => (self.random.next() >> 11) as f64 / 1e15 * if centred < 0.0 { -1.0 } else { 1.0 },
        }
    }

    /// Zeros and vectors that are there already among them.
    fn vector(&mut self) -> Vec<f64> {
        match self.random.below(8) {
            0 => vec![0.0; self.dim],
            1 | 2 if !self.rows.is_empty() => {
                let row = self.random.below(self.rows.len());
                self.rows[row].value.clone()
            }
            _ => (0..self.dim).map(|_| self.element()).collect(),
        }
    }

    fn literal(&self, vector: &[f64]) -> String {
        let element = |v: &f64| match self.kind {
            Kind::Bool => (*v != 0.0).to_string(),
            Kind::Signed | Kind::Unsigned => format!("{v}"),
            _ => format!("{v:?}"),
        };
        format!("[{}]", vector.iter().map(element).collect::<Vec<_>>().join(", "))
    }

    fn append(&mut self) {
        let count = 1 + self.random.below(120);
        let mut values = vec![];
        for _ in 0..count {
            let row = Row { id: self.next_id, label: self.random.below(4) as i64, value: self.vector() };
            values.push(format!("({}, {}, {})", row.id, row.label, self.literal(&row.value)));
            self.next_id += 1;
            self.rows.push(row);
        }
        self.run(&format!("INSERT INTO v VALUES {}", values.join(", ")));
    }

    /// Ids of some rows, as text for IN.
    fn some(&mut self) -> (Vec<i64>, String) {
        let share = 2 + self.random.below(12);
        let ids: Vec<i64> = self.rows.iter().map(|r| r.id).collect();
        let ids: Vec<i64> = ids.into_iter().filter(|_| self.random.one_in(share)).chain([-1]).collect();
        let text = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        (ids, text)
    }

    fn edit(&mut self) {
        match self.random.below(4) {
            0 => {
                let (ids, text) = self.some();
                self.run(&format!("DELETE FROM v WHERE id IN ({text})"));
                self.rows.retain(|r| !ids.contains(&r.id));
            }
            1 => {
                let (ids, text) = self.some();
                let value = self.vector();
                self.run(&format!("UPDATE v SET value = {} WHERE id IN ({text})", self.literal(&value)));
                self.rows.iter_mut().filter(|r| ids.contains(&r.id)).for_each(|r| r.value.clone_from(&value));
            }
            2 => {
                self.run("OPTIMIZE v FULL");
            }
            _ => self.append(),
        }
    }

    /// Every metric on the rows as they are, or as they were.
    fn search(&mut self, rows: &[Row], version: Option<i64>) {
        let from = version.map_or("'v'".to_owned(), |v| format!("(SELECT * FROM v VERSION AS OF {v})"));
        for metric in Metric::ALL {
            if self.kind == Kind::Bool && matches!(metric, Metric::Kl | Metric::Js) {
                continue;
            }
            let query = self.vector();
            let k = 1 + self.random.below(rows.len() + 3);
            let label = self.random.below(5) as i64;
            for filter in [None, Some(label)] {
                let argument = filter.map_or(String::new(), |l| format!(", filter => label = {l}"));
                let sql = format!(
                    "SELECT row, score FROM top_k({from}, {}, {k}, '{metric}'{argument}) ORDER BY rank",
                    self.literal(&query)
                );
                let found = self.found(&sql);
                self.indexed += usize::from(version.is_none() && self.uses_index(&sql));
                let expected = self.brute_force(rows, filter, metric, &query);
                self.check(&sql, &found, k, metric, rows, &expected);
            }
            if version.is_none() {
                self.several(rows, metric, k.min(20));
            }
        }
        if version.is_none() {
            self.order_by(rows);
        }
    }

    /// Several queries give what each gives alone.
    fn several(&mut self, rows: &[Row], metric: Metric, k: usize) {
        let queries: Vec<Vec<f64>> = (0..3).map(|_| self.vector()).collect();
        let values: Vec<_> = queries.iter().enumerate().map(|(i, q)| format!("({i}, {})", self.literal(q))).collect();
        let sql = format!(
            "SELECT query_row, row, score FROM top_k('v', k => {k}, metric => '{metric}', queries => (SELECT column1 AS \
             row, arrow_cast(column2, 'FixedSizeList({}, {})') AS value FROM (VALUES {}) AS q)) ORDER BY query_row, rank",
            self.dim,
            if self.kind == Kind::Bool { "Boolean" } else { "Float64" },
            values.join(", ")
        );
        let batch = self.run(&sql);
        let asked = batch.column(0).as_primitive::<Int64Type>().values().to_vec();
        let found = hits(&batch, 1);
        for (i, query) in queries.iter().enumerate() {
            let found: Vec<_> = asked.iter().zip(&found).filter(|(q, _)| **q == i as i64).map(|(_, h)| *h).collect();
            let expected = self.brute_force(rows, None, metric, query);
            self.check(&sql, &found, k, metric, rows, &expected);
        }
    }

    /// ORDER BY with WHERE, LIMIT and OFFSET.
    fn order_by(&mut self, rows: &[Row]) {
        let (query, label) = (self.vector(), self.random.below(4) as i64);
        let (k, offset) = (1 + self.random.below(30), self.random.below(10));
        for (function, direction, metric) in
            [("l2_distance", "", Metric::L2), ("inner_product", "DESC", Metric::Dot), ("l1_distance", "", Metric::L1)]
        {
            let sql = |limit: &str| {
                format!(
                    "SELECT row, {function}(value, {0}) AS score FROM v WHERE label <> {label} \
                     ORDER BY {function}(value, {0}) {direction}, row {limit}",
                    self.literal(&query)
                )
            };
            let (all, part) = (sql(&format!("LIMIT {}", k + offset)), sql(&format!("LIMIT {k} OFFSET {offset}")));
            let found = self.found(&all);
            let kept: HashMap<i64, f64> = rows
                .iter()
                .enumerate()
                .filter(|(_, r)| r.label != label)
                .map(|(i, r)| (i as i64, score(metric, self.bits(), &r.value, &query)))
                .collect();
            self.check(&all, &found, k + offset, metric, rows, &kept);
            assert_eq!(bits(&self.found(&part)), bits(found.get(offset..).unwrap_or_default()), "{part}");
        }
    }

    /// The rows and scores, the same whatever the number of threads.
    fn found(&self, sql: &str) -> Vec<(i64, f64)> {
        let [found, others @ ..] = self
            .sessions
            .each_ref()
            .map(|s| hits(&s.run(sql).unwrap_or_else(|e| panic!("seed {}: {sql}\n{e}", self.seed)), 0));
        for other in others {
            assert_eq!(bits(&other), bits(&found), "seed {}: {sql}", self.seed);
        }
        found
    }

    fn uses_index(&self, sql: &str) -> bool {
        let plan = self.run(&format!("EXPLAIN {sql}"));
        plan.column(1).as_string::<i32>().iter().flatten().any(|plan| plan.contains("index=s"))
    }

    fn bits(&self) -> bool {
        self.sql_type == "UTINYINT"
    }

    fn brute_force(&self, rows: &[Row], label: Option<i64>, metric: Metric, query: &[f64]) -> HashMap<i64, f64> {
        let kept = rows.iter().enumerate().filter(|(_, r)| label.is_none_or(|l| r.label == l));
        kept.map(|(i, r)| (i as i64, score(metric, self.bits(), &r.value, query))).collect()
    }

    /// That `found` are the k best of `expected`, in order, ties by row.
    fn check(
        &mut self,
        sql: &str,
        found: &[(i64, f64)],
        k: usize,
        metric: Metric,
        rows: &[Row],
        expected: &HashMap<i64, f64>,
    ) {
        self.checks += 1;
        let what = || format!("seed {} ({}[{}]): {sql}\n{found:?}\n{expected:?}", self.seed, self.sql_type, self.dim);
        assert_eq!(found.len(), k.min(expected.len()), "{}", what());
        for (row, score) in found {
            let by_hand = expected.get(row).unwrap_or_else(|| panic!("row {row} must not be there\n{}", what()));
            assert!(is_close(*score, *by_hand), "row {row} has {by_hand:?}\n{}", what());
        }
        let key = |score: f64| (score.is_nan(), if metric.larger_is_better() { -score } else { score });
        for pair in found.windows(2) {
            let ((a_row, a), (b_row, b)) = (pair[0], pair[1]);
            let (a, b) = (key(a), key(b));
            let tie = a.0 && b.0 || a == b;
            let less = !a.0 && b.0 || a.0 == b.0 && a.1 < b.1;
            assert!(if tie { a_row < b_row } else { less }, "rows {a_row} and {b_row}\n{}", what());
        }
        let Some(&(_, worst)) = found.last() else { return };
        let (nan, worst) = key(worst);
        let returned: HashMap<i64, ()> = found.iter().map(|(row, _)| (*row, ())).collect();
        for (row, score) in expected.iter().filter(|(row, _)| !returned.contains_key(row)) {
            let (row_nan, score) = key(*score);
            let no_better = row_nan || !nan && (score >= worst || is_close(score, worst));
            assert!(no_better, "row {row} is better than the last one\n{}", what());
            let vector = &rows[*row as usize].value;
            let later_twin = found.iter().find(|(r, _)| r > row && rows[*r as usize].value == *vector);
            assert!(later_twin.is_none(), "row {row} is equal to {later_twin:?} and comes first\n{}", what());
        }
    }
}

fn hits(batch: &RecordBatch, first: usize) -> Vec<(i64, f64)> {
    let rows = batch.column(first).as_primitive::<Int64Type>().values();
    let scores = batch.column(first + 1).as_primitive::<Float64Type>().values();
    rows.iter().copied().zip(scores.iter().copied()).collect()
}

fn bits(hits: &[(i64, f64)]) -> Vec<(i64, u64)> {
    hits.iter().map(|(row, score)| (*row, score.to_bits())).collect()
}

fn is_close(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
}

/// The metric by its definition.
fn score(metric: Metric, of_bits: bool, a: &[f64], b: &[f64]) -> f64 {
    if of_bits && matches!(metric, Metric::Hamming | Metric::Jaccard | Metric::JaccardSimilarity) {
        let bits =
            |v: &[f64]| -> Vec<f64> { v.iter().flat_map(|v| (0..8).map(|i| f64::from(*v as u8 >> i & 1))).collect() };
        return score(metric, false, &bits(a), &bits(b));
    }
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 { a.iter().zip(b).map(|(a, b)| f(*a, *b)).sum() };
    let shares = |v: &[f64]| -> Vec<f64> {
        let total: f64 = v.iter().sum();
        v.iter().map(|v| if total == 0.0 { f64::NAN } else { v / total.abs() }).collect()
    };
    let divergence = |p: &[f64], q: &[f64]| -> f64 {
        let term = |(p, q): (&f64, &f64)| match (*p, *q) {
            (p, q) if p.is_nan() || q.is_nan() => f64::NAN,
            (p, q) if p > 0.0 && q > 0.0 => p * (p / q).ln(),
            (0.0, q) if q >= 0.0 => 0.0,
            _ => f64::INFINITY,
        };
        p.iter().zip(q).map(term).sum::<f64>()
    };
    let similarity = match (a.iter().all(|v| *v == 0.0), b.iter().all(|v| *v == 0.0)) {
        (true, true) => 1.0,
        (true, false) | (false, true) => 0.0,
        _ => sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt(),
    };
    let jaccard = match (sum(&|a, b| a.min(b)), sum(&|a, b| a.max(b))) {
        _ if a.iter().chain(b).any(|v| *v < 0.0) => f64::NAN,
        (_, 0.0) => 1.0,
        (intersection, union) => intersection / union,
    };
    match metric {
        Metric::Cosine => 1.0 - similarity,
        Metric::CosineSimilarity => similarity,
        Metric::L2 => sum(&|a, b| (a - b).powi(2)).sqrt(),
        Metric::L2sq => sum(&|a, b| (a - b).powi(2)),
        Metric::L1 => sum(&|a, b| (a - b).abs()),
        Metric::Dot => sum(&|a, b| a * b),
        Metric::Hamming => sum(&|a, b| f64::from(a != b)),
        Metric::Jaccard => 1.0 - jaccard,
        Metric::JaccardSimilarity => jaccard,
        Metric::Kl => divergence(&shares(a), &shares(b)),
        Metric::Js => {
            let (p, q) = (shares(a), shares(b));
            let mean: Vec<f64> = p.iter().zip(&q).map(|(p, q)| (p + q) / 2.0).collect();
            let both = divergence(&p, &mean) + divergence(&q, &mean);
            (if both < 0.0 { 0.0 } else { both / 2.0 }).sqrt()
        }
    }
}

#[test]
fn searches_are_those_of_a_brute_force_in_float64() {
    let from_environment = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let worlds = from_environment("HYPERSLAB_RUNS").unwrap_or(WORLDS);
    let first = from_environment("HYPERSLAB_SEED").unwrap_or(0);
    let (mut checks, mut indexed) = (0, 0);
    for seed in first..first + worlds {
        let mut world = World::new(seed);
        world.append();
        world.index();
        world.append();
        let earlier = (world.rows.clone(), version(&world));
        for _ in 0..3 {
            world.edit();
        }
        world.append();
        let rows = world.rows.clone();
        world.search(&rows, None);
        world.search(&earlier.0, Some(earlier.1));
        checks += world.checks;
        indexed += world.indexed;
    }
    println!("{checks} searches agree with the brute force, {indexed} of them by an index");
    assert!(checks as u64 > worlds * 50);
    assert!(indexed > 0 || worlds < TYPES.len() as u64);
}

fn version(world: &World) -> i64 {
    let batch = world.run("SELECT max(version) FROM versions()");
    batch.column(0).as_primitive::<Int64Type>().value(0)
}
