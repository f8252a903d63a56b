//! Our side of the vector tables of `docs/benchmarks.md`: a session that runs and times the statements that it is sent.
//!
//! `make bench-compare` starts it as `vectors FOLDER THREADS` and writes one JSON object per line, so that our statements
//! take turns with the peers': `{"sql": "…", "parameter": [0.1, …], "number": 5}` runs a statement, the parameter bound as
//! `$1`, and answers `{"ms": 1.2, "row": […], "query_row": […]}` with the least time of `number` runs, from the text to
//! the collected result, and with these two columns where the result has them. `{"sum": "a"}` sums the mapped values of
//! an array instead, and `{"peak": true}` answers `{"gflops": …}`, what the processor multiplies and adds in registers. What
//! fails answers `{"error": "…"}`.

#![allow(clippy::print_stdout, reason = "a bench, which prints its figures")]

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use hyperslab::{Session, SessionOptions, Store};
use hyperslab_benches::{multiply_add, sum};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    // Cargo adds --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let [folder, threads] = arguments.as_slice() else {
        println!("vectors: make bench-compare runs this beside the peers");
        return Ok(());
    };
    let threads = threads.parse()?;
    let store = Store::open(Path::new(folder))?;
    let options = SessionOptions { target_partitions: Some(threads), ..SessionOptions::default() };
    let bench = Bench {
        runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?,
        session: Session::new(store.clone(), options),
        store,
        threads,
    };
    for line in std::io::stdin().lock().lines() {
        let answer = bench.answer(&serde_json::from_str(&line?)?);
        println!("{}", answer.unwrap_or_else(|error| json!({"error": error.to_string()})));
        std::io::stdout().flush()?;
    }
    Ok(())
}

struct Bench {
    runtime: Runtime,
    session: Session,
    store: Store,
    threads: usize,
}

impl Bench {
    fn answer(&self, request: &Value) -> Result<Value> {
        if request["peak"].as_bool() == Some(true) {
            return Ok(json!({"gflops": multiply_add(self.threads)}));
        }
        let number = request["number"].as_u64().unwrap_or(1);
        if let Some(array) = request["sum"].as_str() {
            let view = self.store.snapshot()?.array(array)?.field("value")?.view::<f32>()?;
            if !view.is_view() {
                return Err("the array is not mapped in one piece".into());
            }
            let (ms, _) = least(number, || Ok(sum(black_box(view.as_slice()), self.threads)))?;
            return Ok(json!({"ms": ms}));
        }
        let sql = request["sql"].as_str().ok_or("neither sql nor sum")?;
        let parameter = request["parameter"].as_array().map(|values| vector(values));
        let (ms, batches) = least(number, || {
            self.runtime.block_on(async {
                let frame = self.session.sql(sql).await?;
                let frame = match &parameter {
                    Some(bound) => frame.with_param_values(vec![bound.clone()])?,
                    None => frame,
                };
                Ok(frame.collect().await?)
            })
        })?;
        let mut answer = json!({"ms": ms});
        for name in ["row", "query_row"] {
            if let Some(values) = column(&batches, name)? {
                answer[name] = values;
            }
        }
        Ok(answer)
    }
}

/// The least time of `number` calls in milliseconds, and what the last one gave.
fn least<T>(number: u64, mut call: impl FnMut() -> Result<T>) -> Result<(f64, T)> {
    let mut timed = || {
        let start = Instant::now();
        let result = black_box(call()?);
        Ok::<_, Box<dyn std::error::Error>>((start.elapsed().as_secs_f64() * 1e3, result))
    };
    let mut best = timed()?;
    for _ in 1..number {
        let (ms, result) = timed()?;
        best = (best.0.min(ms), result);
    }
    Ok(best)
}

fn vector(values: &[Value]) -> ScalarValue {
    let values: Vec<_> = values.iter().map(|x| ScalarValue::Float32(x.as_f64().map(|x| x as f32))).collect();
    ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Float32))
}

/// A column of a result, where it has it.
fn column(batches: &[RecordBatch], name: &str) -> Result<Option<Value>> {
    let mut values = vec![];
    for batch in batches {
        let Some(column) = batch.column_by_name(name) else { return Ok(None) };
        let column = cast(column, &DataType::Int64)?;
        values.extend(column.as_primitive::<Int64Type>().values().iter().copied());
    }
    Ok(if batches.is_empty() { None } else { Some(values.into()) })
}
