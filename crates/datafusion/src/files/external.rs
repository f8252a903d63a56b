//! `CREATE EXTERNAL TABLE w STORED AS NPY LOCATION 'x.npy'`, of every array format.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{Session, TableProvider, TableProviderFactory};
use datafusion::common::{Result, not_impl_err, plan_err};
use datafusion::logical_expr::CreateExternalTable;
use hyperslab_formats::{FORMATS, Format};

use super::source::FileNames;
use crate::table::ROW;

/// What the array of a file of several may be called in OPTIONS, as the `read_…` functions call it.
const ENTRY: [&str; 4] = ["dataset", "array", "tensor", "name"];

/// A factory for each name and extension of the array formats, in upper case, as DataFusion looks them up.
pub(crate) fn table_factories() -> impl Iterator<Item = (String, Arc<dyn TableProviderFactory>)> {
    FORMATS.iter().flat_map(|format| {
        let extensions = format.extensions().iter().copied().filter(|e| !e.contains('.'));
        extensions
            .chain([format.name()])
            .map(move |name| (name.to_uppercase(), Arc::new(ArrayTableFactory { format }) as _))
    })
}

/// Makes tables of the files of one format.
#[derive(Debug)]
struct ArrayTableFactory {
    format: &'static Format,
}

#[async_trait]
impl TableProviderFactory for ArrayTableFactory {
    async fn create(&self, _state: &dyn Session, command: &CreateExternalTable) -> Result<Arc<dyn TableProvider>> {
        self.refuse_clauses(command)?;
        let entry = self.entry(command)?;
        let names = FileNames { texts: command.locations.clone(), entry, format: Some(self.format) };
        let table = names.open()?;
        check_columns(command, &table.schema())?;
        Ok(table)
    }
}

impl ArrayTableFactory {
    fn statement(&self, command: &CreateExternalTable) -> String {
        format!("CREATE EXTERNAL TABLE {} STORED AS {}", command.name, self.format.name().to_uppercase())
    }

    /// Refuses the clauses that are given and that nothing acts on.
    fn refuse_clauses(&self, command: &CreateExternalTable) -> Result<()> {
        let clauses = [
            ("PARTITIONED BY", !command.table_partition_cols.is_empty()),
            ("WITH ORDER", !command.order_exprs.is_empty()),
            ("UNBOUNDED", command.unbounded),
            ("a constraint such as PRIMARY KEY", !command.constraints.is_empty()),
            ("DEFAULT", !command.column_defaults.is_empty()),
        ];
        match clauses.iter().find(|(_, given)| *given) {
            Some((clause, _)) => {
                not_impl_err!("{}: {clause} is not supported; leave it out", self.statement(command))
            }
            None => Ok(()),
        }
    }

    /// The array that OPTIONS names.
    fn entry(&self, command: &CreateExternalTable) -> Result<Option<String>> {
        let mut entry = None;
        for (key, value) in &command.options {
            let key = key.strip_prefix("format.").unwrap_or(key);
            if !ENTRY.contains(&key) {
                let statement = self.statement(command);
                return plan_err!("{statement}: there is no option {key:?}; the only one is {:?}", ENTRY[0]);
            }
            if entry.replace(value.clone()).is_some() {
                return plan_err!("{}: the array is named twice in OPTIONS", self.statement(command));
            }
        }
        Ok(entry)
    }
}

/// The columns that the statement lists must be those of the file, with `row` or without.
fn check_columns(command: &CreateExternalTable, found: &Schema) -> Result<()> {
    let given = command.schema.fields();
    if given.is_empty() {
        return Ok(());
    }
    let with_row = given.iter().any(|f| f.name() == ROW);
    let found: Vec<&Field> = found.fields().iter().map(AsRef::as_ref).filter(|f| with_row || f.name() != ROW).collect();
    let same = |(a, b): (&Arc<Field>, &&Field)| a.name() == b.name() && same_type(a.data_type(), b.data_type());
    if given.len() == found.len() && given.iter().zip(&found).all(same) {
        return Ok(());
    }
    let columns: Vec<_> = found.iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect();
    plan_err!(
        "CREATE EXTERNAL TABLE {}: the columns are not those of {}, which has {}; leave the list out",
        command.name,
        command.locations.join(", "),
        columns.join(", ")
    )
}

/// Whether two types hold the same, whichever way they hold text and whether or not they may hold NULL.
fn same_type(a: &DataType, b: &DataType) -> bool {
    match (a, b) {
        (DataType::FixedSizeList(a, n), DataType::FixedSizeList(b, m)) => {
            n == m && same_type(a.data_type(), b.data_type())
        }
        _ => a == b || (a.is_string() && b.is_string()) || (a.is_binary() && b.is_binary()),
    }
}
