//! The result of EXPLAIN on a terminal or in a table: plans are trees over many lines, which no cell holds.

use std::io::{self, Write};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

use super::value::Style;
use super::{Writer, columns};

/// Each plan's kind on a line, the plan below it.
pub(crate) struct Plans;

impl Plans {
    /// Whether a result is EXPLAIN's.
    pub(crate) fn fit(schema: &SchemaRef) -> bool {
        schema.fields().iter().map(|f| f.name().as_str()).eq(["plan_type", "plan"])
    }
}

impl Writer for Plans {
    fn batch(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        columns(batch, |columns| {
            for row in 0..batch.num_rows() {
                for (column, end) in columns.iter().zip([":\n", "\n"]) {
                    let mut text = String::new();
                    column.write(row, Style::Text, &mut text);
                    out.write_all(text.trim_end().as_bytes())?;
                    out.write_all(end.as_bytes())?;
                }
            }
            Ok(())
        })
    }

    fn finish(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}
