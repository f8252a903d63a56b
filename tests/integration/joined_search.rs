//! Searches for each row of another table are those of a brute force in float64: LATERAL, NEAREST and lists of vectors,
//! over random arrays with ties, repeated rows, edits, NULL queries and NULL vectors, with and
//! without an index, by any number of threads.
//!
//! The values are such that every sum is exact, so that scores and the order of ties are compared to the last bit.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use hyperslab::Store;
use hyperslab_tests::Sql;
use hyperslab_vector::Metric;

/// Worlds of one run; more with `HYPERSLAB_RUNS`.
const WORLDS: u64 = 6;

/// A metric, the distance function of it, and how NEAREST goes by it.
const METRICS: [(Metric, &str, &str); 4] = [
    (Metric::L2, "l2_distance", "DISTANCE"),
    (Metric::L2sq, "l2sq_distance", "DISTANCE"),
    (Metric::L1, "l1_distance", "DISTANCE"),
    (Metric::Dot, "inner_product", "SIMILARITY"),
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    /// Few values, so that rows tie and repeat.
    fn vector(&mut self, dim: usize) -> Vec<f64> {
        (0..dim).map(|_| (self.below(9) as f64 - 4.0) / 4.0).collect()
    }
}

struct Row {
    label: i64,
    value: Vec<f64>,
}

/// A query's id, and the rank, the row and the score of what is found for it; NULL where a LEFT JOIN finds nothing.
type Found = (i64, Option<(i64, i64, f64)>);

struct World {
    seed: u64,
    sessions: [Sql; 3],
    /// Of which those with label 3 are searched as NULLs, when they are.
    rows: Vec<Row>,
    /// By id.
    queries: Vec<Option<Vec<f64>>>,
}

fn literal(vector: &[f64]) -> String {
    format!("{vector:?}")
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x1234_5678_9ABC_DEF1));
        let dim = [1, 2, 3, 8, 17, 33][random.below(6)];
        let store = Store::memory();
        let sessions = [1, 2, 7].map(|partitions| Sql::on(store.clone(), Some(partitions)));
        let run = |sql: &str| sessions[0].ok(sql);
        run(&format!("CREATE TABLE d (label BIGINT, v {}[{dim}])", ["FLOAT", "DOUBLE", "HALF"][random.below(3)]));
        if seed % 2 == 1 {
            run("CREATE INDEX s ON d USING sketch (v)");
        }
        let mut rows = vec![];
        for _ in 0..3 {
            let new: Vec<Row> = (0..1 + random.below(300))
                .map(|_| Row { label: random.below(5) as i64, value: random.vector(dim) })
                .collect();
            let values: Vec<_> = new.iter().map(|r| format!("({}, {})", r.label, literal(&r.value))).collect();
            run(&format!("INSERT INTO d VALUES {}", values.join(", ")));
            rows.extend(new);
        }
        let gone = random.below(7);
        run(&format!("DELETE FROM d WHERE row % 7 = {gone}"));
        let mut at = 0..;
        rows.retain(|_| at.next().is_some_and(|i: usize| i % 7 != gone));
        let same = random.vector(dim);
        run(&format!("UPDATE d SET v = {} WHERE row % 11 = 4", literal(&same)));
        rows.iter_mut().skip(4).step_by(11).for_each(|r| r.value.clone_from(&same));

        let count = [1, 5, 64, 200][random.below(4)];
        let queries: Vec<_> = (0..count).map(|_| (random.below(9) > 0).then(|| random.vector(dim))).collect();
        run(&format!("CREATE TABLE q (id BIGINT, known BOOLEAN, value DOUBLE[{dim}])"));
        let value = |(i, q): (usize, &Option<Vec<f64>>)| {
            format!("({i}, {}, {})", q.is_some(), literal(q.as_ref().unwrap_or(&same)))
        };
        run(&format!("INSERT INTO q VALUES {}", queries.iter().enumerate().map(value).collect::<Vec<_>>().join(", ")));
        Self { seed, sessions, rows, queries }
    }

    /// What must be found for the queries from `first` on among the rows that `keep` holds for.
    fn expected(&self, first: usize, metric: Metric, k: usize, outer: bool, keep: &dyn Fn(&Row) -> bool) -> Vec<Found> {
        let mut expected = vec![];
        for (id, query) in self.queries.iter().enumerate().skip(first) {
            let mut all: Vec<(f64, i64)> = match query {
                None => vec![],
                Some(query) => {
                    let kept = self.rows.iter().enumerate().filter(|(_, r)| keep(r));
                    kept.map(|(row, r)| (score(metric, &r.value, query), row as i64)).collect()
                }
            };
            let cost = |s: f64| if metric.larger_is_better() { -s } else { s };
            all.sort_by(|a, b| cost(a.0).total_cmp(&cost(b.0)).then(a.1.cmp(&b.1)));
            all.truncate(k);
            let found = all.iter().enumerate().map(|(i, (score, row))| (id as i64, Some((i as i64 + 1, *row, *score))));
            expected.extend(found);
            if all.is_empty() && outer {
                expected.push((id as i64, None));
            }
        }
        expected
    }

    /// That a statement gives this, whatever the number of threads.
    fn check(&self, sql: &str, expected: &[Found]) {
        for session in &self.sessions {
            let found = found(&session.run(sql).unwrap_or_else(|e| panic!("seed {}: {sql}\n{e}", self.seed)));
            assert_eq!(found, expected, "seed {}: {sql}", self.seed);
        }
    }
}

fn score(metric: Metric, a: &[f64], b: &[f64]) -> f64 {
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 { a.iter().zip(b).map(|(a, b)| f(*a, *b)).sum() };
    // No negative zero.
    0.0 + match metric {
        Metric::L2 => sum(&|a, b| (a - b).powi(2)).sqrt(),
        Metric::L2sq => sum(&|a, b| (a - b).powi(2)),
        Metric::L1 => sum(&|a, b| (a - b).abs()),
        Metric::Dot => sum(&|a, b| a * b),
        other => panic!("{other}"),
    }
}

fn found(batch: &RecordBatch) -> Vec<Found> {
    let [ids, ranks, rows] = [0, 1, 2].map(|i| batch.column(i).as_primitive::<Int64Type>());
    let scores = batch.column(3).as_primitive::<Float64Type>();
    let hit = |i| (ranks.value(i), rows.value(i), scores.value(i) + 0.0);
    (0..batch.num_rows()).map(|i| (ids.value(i), rows.is_valid(i).then(|| hit(i)))).collect()
}

/// Queries of which some are NULL.
const NULLABLE: &str = "(SELECT id, CASE WHEN known THEN value END AS value FROM q)";

/// Rows of which some have no vector.
const HOLES: &str = "(SELECT row, label, CASE WHEN label <> 3 THEN v END AS v FROM d)";

fn check(world: &World, (metric, function, by): (Metric, &str, &str), k: usize) {
    let columns = "q.id, n.rank, n.row, n.score";
    let all = &|_: &Row| true;
    let lateral = |array: &str, join: &str, filter: &str| {
        format!(
            "SELECT {columns} FROM {NULLABLE} q {join} top_k({array}, q.value, {k}, '{metric}'{filter}) n ON true \
             ORDER BY q.id, n.rank"
        )
    };
    world.check(&lateral("'d'", "JOIN LATERAL", ""), &world.expected(0, metric, k, false, all));
    world.check(&lateral("'d'", "LEFT JOIN", ""), &world.expected(0, metric, k, true, all));
    let some = &|r: &Row| r.label == 2;
    world.check(&lateral("'d'", "LEFT JOIN", ", filter => label = 2"), &world.expected(0, metric, k, true, some));
    let none = &|r: &Row| r.label > 77;
    world.check(&lateral("'d'", "LEFT JOIN", ", filter => label > 77"), &world.expected(0, metric, k, true, none));
    let with_vector = &|r: &Row| r.label != 3;
    world.check(&lateral(HOLES, "JOIN", ""), &world.expected(0, metric, k, false, with_vector));

    // NEAREST has no rank: that of the order by score and row.
    let nearest = |join: &str, array: &str, condition: &str| {
        let score = format!("CAST({function}(q.value, n.v) AS DOUBLE)");
        let direction = if metric.larger_is_better() { "DESC" } else { "ASC" };
        format!(
            "SELECT q.id, CAST(row_number() OVER (PARTITION BY q.id ORDER BY {score} {direction}, n.row) AS BIGINT) AS rank, \
             n.row, {score} AS score FROM {NULLABLE} q {join} {array} n EXACT NEAREST {k} BY {by} {function}(q.value, n.v) \
             {condition} ORDER BY q.id, rank"
        )
    };
    let array = "(SELECT row, label, v::DOUBLE[] AS v FROM d)";
    let filtered = "(SELECT row, label, v::DOUBLE[] AS v FROM d WHERE label = 2)";
    world.check(&nearest("JOIN", "d", ""), &world.expected(0, metric, k, false, all));
    world.check(&nearest("LEFT JOIN", array, ""), &world.expected(0, metric, k, true, all));
    world.check(&nearest("LEFT JOIN", filtered, ""), &world.expected(0, metric, k, true, some));
    world.check(&nearest("JOIN", HOLES, "WHERE q.id >= 3"), &world.expected(3, metric, k, false, with_vector));

    // A list of vectors holds no NULL.
    if world.queries.iter().all(Option::is_some) {
        let list: Vec<_> = world.queries.iter().flatten().map(|q| literal(q)).collect();
        let sql = format!(
            "SELECT query_row, rank, row, score FROM top_k('d', [{}], {k}, '{metric}') ORDER BY query_row, rank",
            list.join(", ")
        );
        world.check(&sql, &world.expected(0, metric, k, false, all));
    }
}

#[test]
fn searches_for_each_row_are_those_of_a_brute_force() {
    let worlds = std::env::var("HYPERSLAB_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(WORLDS);
    for seed in 0..worlds {
        let world = World::new(seed);
        let mut random = Random(seed);
        for metric in METRICS {
            let k = [1, 3, 10, 1000][random.below(4)];
            check(&world, metric, k);
        }
    }
}
