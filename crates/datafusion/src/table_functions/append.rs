//! `append`: rows at the end of an array, in one commit.

use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::LogicalPlan;
use hyperslab_core::VALUE;

use super::call::keep_order;
use super::columns::as_vectors;
use super::{Call, Parameter, TableFunction};
use crate::functions::{FunctionDoc, FunctionKind};
use crate::table::Origin;
use crate::write::append_plan;

pub(super) static APPEND: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "append",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "append(array, source[, value => 'first:last'])",
        summary: "Appends a file, a glob ('more/*.npy'), another array or a subquery to an array, all of it or \
                  nothing; returns the rows appended, the new shape and the version. A column `row` of the source is \
                  left out, the others are the fields in order; with `value`, columns such as 'c0:c9' become the one \
                  field of vectors, as by `matrix`. Like every table function in FROM it runs once for \
                  each time that it stands there; EXPLAIN does not run it.",
        example: "CREATE TABLE digits AS SELECT value FROM 'examples/data/digits.npy'; \
                  SELECT * FROM append('digits', 'examples/data/digits.npy')",
    },
    parameters: &[Parameter::required("array"), Parameter::required("source"), Parameter::named("value")],
    plan,
};

fn plan(call: &mut Call<'_>) -> Result<LogicalPlan> {
    let (array, table) = call.array_itself("array")?;
    let Origin::Store { store, array: target, .. } = table.origin() else {
        return plan_err!("append: {} is a file; append to an array of the store", array.name);
    };
    if store.read_only() {
        return plan_err!("append to {}: the store {} was opened read-only", array.name, store.describe());
    }
    let source = call.array("source")?;
    let rows = match call.text("value")? {
        None => source.plan,
        Some(_) if target.fields().iter().all(|f| f.cell().is_empty()) => {
            return plan_err!("append: {} has no field of vectors; leave value => … out", array.name);
        }
        Some(range) => {
            // Fields go by their place: any name does that the source has not.
            let mut name = VALUE.to_owned();
            while source.plan.schema().has_column_with_unqualified_name(&name) {
                name.push('_');
            }
            as_vectors(call, &source, &range, &name)?
        }
    };
    keep_order(append_plan(store, target, rows)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use hyperslab_store::{OpenOptions, Store};

    use crate::{Session, SessionOptions};

    #[tokio::test]
    async fn a_store_opened_read_only_is_not_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.slab");
        let writer = Session::open(&path).unwrap();
        for sql in ["CREATE TABLE t (v INT)", "INSERT INTO t VALUES (1), (2)"] {
            writer.sql(sql).await.unwrap().collect().await.unwrap();
        }
        drop(writer);
        let store = Store::open_with(&path, OpenOptions { read_only: true, ..OpenOptions::default() }).unwrap();
        let reader = Session::new(store, SessionOptions::default());
        let error = reader.sql("SELECT * FROM append('t', 't')").await.unwrap_err().to_string();
        assert!(error.contains("append to t") && error.contains("was opened read-only"), "{error}");
        let rows = reader.sql("SELECT * FROM slice('t', '::-1')").await.unwrap().count().await.unwrap();
        assert_eq!(rows, 2);
    }
}
