//! `json`: one array of objects; `ndjson`: one object per line.
//!
//! NULL, NaN, infinities and NaT are `null`, since JSON has no other word for them; tensors are nested arrays of their
//! shape; complex numbers `[real, imaginary]`. A column name that comes twice gets a number (`row`, `row_2`).

use std::collections::HashSet;
use std::io::{self, Write};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

use super::value::{Style, write_quoted};
use super::{Writer, columns};

pub(crate) struct Json {
    /// The names, quoted, with their colon.
    keys: Vec<String>,
    /// One array around all objects.
    array: bool,
    rows: u64,
}

impl Json {
    pub(crate) fn array(schema: &SchemaRef) -> Self {
        Self { keys: keys(schema), array: true, rows: 0 }
    }

    pub(crate) fn lines(schema: &SchemaRef) -> Self {
        Self { keys: keys(schema), array: false, rows: 0 }
    }
}

fn keys(schema: &SchemaRef) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::new();
    let names = schema.fields().iter().map(|f| f.name().clone());
    let unique = names.map(|name| {
        let numbered = (2..).map(|n: u64| format!("{name}_{n}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|n| !taken.contains(n)).unwrap_or(name);
        taken.insert(free.clone());
        free
    });
    let quote = |name: String| {
        let mut key = String::new();
        write_quoted(&name, &mut key);
        key.push(':');
        key
    };
    unique.map(quote).collect()
}

impl Writer for Json {
    fn batch(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        columns(batch, |columns| {
            let mut line = String::new();
            for row in 0..batch.num_rows() {
                line.clear();
                if self.array {
                    line.push_str(if self.rows == 0 { "[\n" } else { ",\n" });
                }
                line.push('{');
                for (i, (key, column)) in self.keys.iter().zip(columns).enumerate() {
                    line.push_str(if i > 0 { ", " } else { "" });
                    line.push_str(key);
                    line.push(' ');
                    column.write(row, Style::Json, &mut line);
                }
                line.push('}');
                if !self.array {
                    line.push('\n');
                }
                out.write_all(line.as_bytes())?;
                self.rows += 1;
            }
            Ok(())
        })
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        match (self.array, self.rows) {
            (true, 0) => out.write_all(b"[]\n"),
            (true, _) => out.write_all(b"\n]\n"),
            (false, _) => Ok(()),
        }
    }
}
