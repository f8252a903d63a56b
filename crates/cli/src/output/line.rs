//! One line per value, `name = value`, and an empty line between rows: for rows too wide for a table.

use std::io::{self, Write};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use unicode_width::UnicodeWidthStr;

use super::value::{Style, printable};
use super::{Writer, columns};

pub(crate) struct Lines {
    /// The names, padded on the left.
    names: Vec<String>,
    style: Style,
    rows: u64,
}

impl Lines {
    pub(crate) fn new(schema: &SchemaRef, style: Style) -> Self {
        let names: Vec<String> = schema.fields().iter().map(|f| printable(f.name())).collect();
        let width = names.iter().map(|n| n.width()).max().unwrap_or(0);
        let names = names.iter().map(|n| " ".repeat(width - n.width()) + n).collect();
        Self { names, style, rows: 0 }
    }
}

impl Writer for Lines {
    fn batch(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        columns(batch, |columns| {
            let mut text = String::new();
            for row in 0..batch.num_rows() {
                if self.rows > 0 {
                    out.write_all(b"\n")?;
                }
                for (name, column) in self.names.iter().zip(columns) {
                    text.clear();
                    column.write(row, self.style, &mut text);
                    writeln!(out, "{name} = {}", printable(&text))?;
                }
                self.rows += 1;
            }
            Ok(())
        })
    }

    fn finish(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}
