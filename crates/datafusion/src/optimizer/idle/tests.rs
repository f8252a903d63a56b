#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::config::OptimizerOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::optimizer::{Analyzer, Optimizer, OptimizerContext};
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::displayable;
use datafusion::prelude::SessionContext;

use super::*;
use crate::Session;

/// Statements with something for each of the rules.
const STATEMENTS: [&str; 37] = [
    "SELECT 1",
    "SELECT row, score FROM top_k('a', [1.0, 2.0], 2)",
    "SELECT a.row, a.n + 1 FROM top_k('a', (SELECT value FROM a WHERE row = 1), 2) k JOIN a ON a.row = k.row",
    "SELECT row, n FROM top_k('a', [1.0, 2.0], 2, filter => n > 1) WHERE score > 0.5 ORDER BY n LIMIT 1",
    "SELECT * FROM a ORDER BY l2_distance(value, [1, 2]) LIMIT 2",
    "SELECT n FROM (SELECT n, row FROM a WHERE n > 1) WHERE row < 2",
    "SELECT n FROM a WHERE false",
    "SELECT m + 1 FROM (SELECT n + 1 AS m, row AS r FROM (SELECT * FROM a WHERE n > 1 LIMIT 3)) WHERE r < 2 AND m > 0",
    "SELECT n FROM (SELECT * FROM (SELECT n, row AS r FROM a ORDER BY n LIMIT 3) WHERE r > 0 AND 1 = 1) ORDER BY n",
    "SELECT l2_distance(value, [1, 2]) d, l2_distance(value, [1, 2]) + 1 FROM a WHERE l2_distance(value, [1, 2]) < 3",
    "SELECT row FROM a WHERE value <=> [1, 2] < 0.2 AND row > 1 ORDER BY value <=> [1, 2] LIMIT 1",
    "SELECT row FROM top_k('a', (SELECT value FROM a WHERE row = 1 AND n > 0), 2) WHERE row > 0 LIMIT 1",
    "SELECT n FROM slice('a', '1:3') WHERE n > 2 ORDER BY row DESC",
    "SELECT n FROM a LIMIT 0",
    "SELECT n FROM (SELECT n FROM a LIMIT 3) LIMIT 1 OFFSET 1",
    "SELECT n FROM a UNION ALL SELECT n FROM b UNION SELECT row FROM a",
    "SELECT DISTINCT n FROM a",
    "SELECT count(DISTINCT n), n % 2 FROM a GROUP BY n % 2, 'x'",
    "SELECT sum(n), max(n) FROM a WHERE n IN (SELECT n FROM b)",
    "SELECT n FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.n = a.n)",
    "SELECT n, (SELECT max(n) FROM b WHERE b.row = a.row) FROM a",
    "SELECT a.n FROM a, b WHERE a.n = b.n AND a.row > 0",
    "SELECT a.n FROM a LEFT JOIN b ON a.n = b.n WHERE b.n > 1",
    "SELECT a.n, b.n FROM a FULL JOIN b USING (row)",
    "SELECT n, row_number() OVER (PARTITION BY n % 2 ORDER BY row) FROM a",
    "SELECT * FROM (SELECT n, row_number() OVER (ORDER BY n) r FROM a) WHERE r <= 2",
    "SELECT n FROM a ORDER BY n, n DESC, row",
    "SELECT q.row, k.row FROM b q CROSS JOIN LATERAL top_k('a', q.value, 2) k",
    "SELECT s['x'] FROM (SELECT named_struct('x', n, 'y', row) s FROM a) WHERE s['y'] > 1",
    "SELECT n FROM a WHERE n > ANY (SELECT n FROM b)",
    "SELECT 'x' AS w, n AS m, NULL FROM a",
    "SELECT n FROM a WHERE NULL",
    "SELECT n FROM a UNION ALL SELECT 2.5",
    "SELECT n FROM a LIMIT 1 + 1",
    "VALUES (1, 'x'), (2.5, NULL)",
    "SELECT n, grouping(n), count(*) FROM a GROUP BY GROUPING SETS ((n), ())",
    "SELECT row, score FROM top_k('a', (SELECT v FROM (SELECT value AS v, row FROM a) WHERE row = 1), 1 + 1)",
];

async fn session() -> Session {
    let session = Session::memory();
    for sql in [
        "CREATE TABLE a (value FLOAT[2], n INT)",
        "INSERT INTO a VALUES ([1, 2], 1), ([2, 3], 2), ([3, 4], 3), ([4, 5], 4)",
        "CREATE TABLE b AS SELECT * FROM a",
    ] {
        session.sql(sql).await.unwrap().collect().await.unwrap();
    }
    session
}

/// The session's state with DataFusion's own rules in place of those that are told what they are about.
fn with_all_rules(state: &SessionState) -> SessionState {
    let own = Optimizer::new().rules;
    let logical = state.optimizer().rules.iter();
    let logical = logical.map(|r| own.iter().find(|o| o.name() == r.name()).unwrap_or(r).clone()).collect();
    let own = PhysicalOptimizer::new().rules;
    // Of some names there are two in a row of modes.
    let mut used = vec![false; own.len()];
    let physical = state.physical_optimizers().iter().map(|rule| {
        match (0..own.len()).find(|&i| !used[i] && own[i].name() == rule.name()) {
            Some(i) => {
                used[i] = true;
                Arc::clone(&own[i])
            }
            None => Arc::clone(rule),
        }
    });
    let physical = physical.collect();
    let own = Analyzer::new().rules;
    let analysis = state.analyzer().rules.iter();
    let analysis = analysis.map(|r| own.iter().find(|o| o.name() == r.name()).unwrap_or(r).clone()).collect();
    let mut config = state.config().clone();
    config.options_mut().optimizer.max_passes = OptimizerOptions::default().max_passes;
    SessionStateBuilder::new_from_existing(state.clone())
        .with_config(config)
        .with_analyzer_rules(analysis)
        .with_optimizer_rules(logical)
        .with_physical_optimizer_rules(physical)
        .build()
}

/// A plan's text without the numbers of the names that it generated: each planning goes on counting.
fn text(plan: impl std::fmt::Display) -> String {
    let text = plan.to_string();
    let mut words = text.split("__");
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |text, word| {
        let end = word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len());
        let (name, rest) = word.split_at(end);
        text + "__" + name.trim_end_matches(|c: char| c.is_ascii_digit()) + rest
    })
}

/// The statements whose plans are others with all rules.
async fn others(session: &Session, statements: &[String]) -> Vec<String> {
    let mut others = vec![];
    for sql in statements {
        let (state, plan) = match session.sql(sql).await {
            Ok(frame) => frame.into_parts(),
            Err(error) => panic!("{sql}: {error}"),
        };
        let mut plans = vec![];
        for state in [with_all_rules(&state), state] {
            let optimized = state.optimize(&plan).map(|plan| text(plan.display_indent_schema()));
            let physical = state.create_physical_plan(&plan).await.map(|plan| text(displayable(&*plan).indent(true)));
            plans.push([optimized, physical].map(|plan| plan.unwrap_or_else(|error| error.to_string())).join("\n"));
        }
        if plans[0] != plans[1] {
            others.push(format!("{sql}\nwith all rules:\n{}\nhere:\n{}", plans[0], plans[1]));
        }
    }
    others
}

#[tokio::test]
async fn plans_are_what_they_are_with_all_rules() {
    let others = others(&session().await, &STATEMENTS.map(str::to_owned)).await;
    assert!(others.is_empty(), "{}", others.join("\n\n"));
}

/// Whose scans are DataFusion's own, and large enough to be dealt out.
#[tokio::test]
async fn so_are_plans_over_files() {
    let folder = tempfile::tempdir().unwrap();
    let session = session().await;
    let mut statements = vec![];
    for extension in ["parquet", "csv", "json", "arrow", "npy"] {
        let path = folder.path().join(format!("many.{extension}"));
        let file = format!("'{}'", path.display());
        let rows = "SELECT value AS n, value % 7 AS m FROM generate_series(1, 60000) g";
        session.sql(&format!("COPY ({rows}) TO {file}")).await.unwrap().collect().await.unwrap();
        for sql in ["SELECT * FROM", "SELECT n FROM", "SELECT n + 1, m * n FROM", "SELECT n AS k, m FROM"] {
            statements.push(format!("{sql} {file}"));
        }
        for end in ["WHERE n > 5", "LIMIT 3", "ORDER BY n LIMIT 3", "WHERE n + m = 9"] {
            statements.push(format!("SELECT n FROM {file} {end}"));
        }
    }
    let others = others(&session, &statements).await;
    assert!(others.is_empty(), "{}", others.join("\n\n"));
}

#[test]
fn every_rule_that_is_told_is_there() {
    let logical = Optimizer::new().rules;
    assert!(LOGICAL.iter().all(|(name, _)| logical.iter().any(|rule| rule.name() == *name)));
    let analysis = Analyzer::new().rules;
    assert!(ANALYSIS.iter().all(|(name, _)| analysis.iter().any(|rule| rule.name() == *name)));
    let physical = PhysicalOptimizer::new().rules;
    let told = NOT_PLAIN.iter().chain([&REQUIREMENTS]);
    assert!(told.into_iter().all(|name| physical.iter().any(|rule| rule.name() == *name)));
}

/// Counts its calls.
#[derive(Debug, Default)]
struct Counts(AtomicUsize);

impl OptimizerRule for Counts {
    fn name(&self) -> &str {
        "counts"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Transformed::no(plan))
    }
}

#[tokio::test]
async fn a_rule_runs_where_it_has_something_to_do() {
    let context = SessionContext::new();
    let plans = [
        ("SELECT 1", 0),
        ("SELECT 1 UNION ALL SELECT 2", 0),
        ("SELECT x.a FROM (SELECT 1 AS a) x JOIN (SELECT 2 AS a) y ON x.a = y.a", 1),
        ("SELECT (SELECT max(x.a) FROM (SELECT 1 AS a) x JOIN (SELECT 2 AS a) y ON x.a = y.a)", 1),
    ];
    for (sql, runs) in plans {
        let rule = Arc::new(Counts::default());
        let told = LogicalRule { rule: rule.clone(), about: JOIN };
        let plan = context.sql(sql).await.unwrap().into_unoptimized_plan();
        told.rewrite(plan, &OptimizerContext::new()).unwrap();
        assert_eq!(rule.0.load(Ordering::Relaxed).min(1), runs, "{sql}");
    }
}
