//! `ORDER BY distance LIMIT k` becomes a search exactly where that changes nothing: every shape gives what the ordinary
//! plan gives, and EXPLAIN says which of the two it was.

use datafusion::arrow::array::AsArray;
use datafusion::arrow::util::pretty::pretty_format_batches;
use hyperslab_tests::Sql;

/// `t`: 1000 rows of (label, value float32[3]) with ties; `q`: four rows of the same kind.
fn tables() -> Sql {
    let sql = Sql::memory();
    for (name, rows) in [("t", 1000), ("q", 4)] {
        sql.ok(&format!(
            "CREATE TABLE {name} AS
             SELECT (i % 10)::INT AS label,
                    [(3 * i * 7919 % 1000) / 10.0, ((3 * i + 1) * 7919 % 1000) / 10.0,
                     ((3 * i + 2) * 7919 % 1000) / 10.0]::FLOAT[3] AS value
             FROM (SELECT value AS i FROM generate_series(0, {})) g ORDER BY i",
            rows - 1
        ));
    }
    sql
}

/// Whether the optimised plan holds a search.
fn searches(sql: &Sql, query: &str) -> bool {
    let batch = sql.ok(&format!("EXPLAIN {query}"));
    let plans = batch.column_by_name("plan").unwrap().as_string::<i32>();
    plans.iter().flatten().any(|plan| plan.lines().any(|l| l.trim_start().starts_with("Search")))
}

fn shown(sql: &Sql, query: &str) -> String {
    pretty_format_batches(&[sql.ok(query)]).unwrap().to_string()
}

/// The queries, with `L2(…)` and `DOT(…)` for the distances, and whether each becomes a search.
const SHAPES: &[(&str, bool)] = &[
    ("SELECT row FROM t ORDER BY L2(value, [1,2,3]) LIMIT 3", true),
    ("SELECT row, label FROM t WHERE label = 3 ORDER BY L2(value, [1,2,3]) LIMIT 3", true),
    ("SELECT row, L2(value, [1,2,3]) AS d FROM t WHERE label = 3 ORDER BY d LIMIT 3", true),
    (
        "SELECT row, sqrt(L2(value, [1,2,3])) AS d, label + 1 AS l FROM t WHERE label = 3
         ORDER BY L2(value, [1,2,3]), row LIMIT 3 OFFSET 2",
        true,
    ),
    (
        "SELECT x.row FROM t AS x WHERE label IN (SELECT label FROM q WHERE row > 1)
         ORDER BY L2(x.value, (SELECT value FROM q WHERE row = 3)) LIMIT 3",
        true,
    ),
    ("SELECT row FROM t ORDER BY DOT(value, [1,2,3]) DESC LIMIT 3", true),
    ("SELECT row FROM t ORDER BY DOT(value, [1,2,3]) DESC NULLS LAST LIMIT 3", true),
    ("SELECT row FROM t ORDER BY L2([1,2,3], value) LIMIT 3", true),
    ("SELECT * FROM t ORDER BY L2(value, [1,2,3]) LIMIT 3", true),
    (
        "SELECT row, d FROM (SELECT row, label, L2(value, [1,2,3]) AS d FROM t) s WHERE label = 3 ORDER BY d LIMIT 3",
        true,
    ),
    (
        "SELECT row FROM t WHERE NOT EXISTS (SELECT 1 FROM q WHERE q.label = t.label)
         ORDER BY L2(value, [1,2,3]) LIMIT 3",
        true,
    ),
    (
        "WITH n AS (SELECT row FROM t ORDER BY L2(value, [1,2,3]) LIMIT 3)
         SELECT q.row AS a, n.row AS b FROM n LEFT JOIN q ON n.row = q.row ORDER BY n.row",
        true,
    ),
    ("SELECT row FROM t WHERE row BETWEEN 100 AND 120 ORDER BY L2(value, [1,2,3]) LIMIT 30", true),
    // The worst ones.
    ("SELECT row FROM t ORDER BY L2(value, [1,2,3]) DESC LIMIT 3", true),
    ("SELECT row FROM t ORDER BY DOT(value, [1,2,3]) LIMIT 3", true),
    // Another tie key; joins that multiply rows; a filter on the distance; aggregates; no limit.
    ("SELECT row FROM t ORDER BY L2(value, [1,2,3]), label LIMIT 3", false),
    ("SELECT row FROM t ORDER BY L2(value, [1,2,3]), row DESC LIMIT 3", false),
    ("SELECT row FROM t ORDER BY label, L2(value, [1,2,3]) LIMIT 3", false),
    ("SELECT t.row, q.label FROM t JOIN q ON t.label = q.label ORDER BY L2(t.value, [1,2,3]), t.row LIMIT 3", false),
    ("SELECT row FROM t ORDER BY L2(value, value) + row LIMIT 3", false),
    ("SELECT label, min(L2(value, [1,2,3])) AS m FROM t GROUP BY label ORDER BY 2 LIMIT 2", false),
    ("SELECT row FROM t ORDER BY L2(value, [1,2,3])", false),
    ("SELECT row FROM t ORDER BY L2(value, [random(),2,3]) LIMIT 0", false),
];

#[test]
fn the_search_gives_what_the_ordinary_plan_gives() {
    let sql = tables();
    for (shape, search) in SHAPES {
        // Adding zero changes no distance and hides it from the rule.
        let fused = shape.replace("L2(", "l2_distance(").replace("DOT(", "inner_product(");
        let plain = hide(&fused);
        assert_eq!(searches(&sql, &fused), *search, "{fused}");
        assert!(!searches(&sql, &plain), "the test's own plan must be the ordinary one: {plain}");
        if !shape.contains("random") {
            assert_eq!(shown(&sql, &fused), shown(&sql, &plain), "{fused}");
        }
    }
}

/// Every distance plus zero.
fn hide(query: &str) -> String {
    let mut out = String::new();
    let mut rest = query;
    while let Some(at) = ["l2_distance(", "inner_product("].iter().filter_map(|f| rest.find(f)).min() {
        let open = at + rest[at..].find('(').unwrap();
        let mut depth = 0;
        let close = rest[open..].find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        let end = open + close.unwrap() + 1;
        out += &format!("{}({} + 0.0)", &rest[..at], &rest[at..end]);
        rest = &rest[end..];
    }
    out + rest
}

#[test]
fn prepared_statements_search_too() {
    let sql = tables();
    sql.ok("PREPARE near AS SELECT row FROM t ORDER BY l2_distance(value, $1) LIMIT 4");
    let bound = shown(&sql, "EXECUTE near([1.0, 2.0, 3.0])");
    assert_eq!(bound, shown(&sql, "SELECT row FROM t ORDER BY l2_distance(value, [1, 2, 3]) LIMIT 4"));
    sql.ok("PREPARE best AS SELECT row, score FROM top_k('t', $1, k => $2)");
    let bound = shown(&sql, "EXECUTE best([1.0, 2.0, 3.0], 3)");
    assert_eq!(bound, shown(&sql, "SELECT row, score FROM top_k('t', [1, 2, 3], 3)"));
}
