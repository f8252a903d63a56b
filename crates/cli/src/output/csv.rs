//! CSV (RFC 4180, lines ended by `\n`) and TSV (no quotes: tab, line ends and backslash as `\t`, `\n`, `\r`, `\\`).
//!
//! NULL is an empty field, empty text is `""` in CSV. Lists are JSON text.

use std::io::{self, Write};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

use super::value::Style;
use super::{Writer, columns};

pub(crate) struct Separated {
    schema: SchemaRef,
    separator: char,
    started: bool,
}

impl Separated {
    pub(crate) fn csv(schema: SchemaRef) -> Self {
        Self { schema, separator: ',', started: false }
    }

    pub(crate) fn tsv(schema: SchemaRef) -> Self {
        Self { schema, separator: '\t', started: false }
    }

    fn start(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.started {
            return Ok(());
        }
        self.started = true;
        let mut line = String::new();
        for (i, field) in self.schema.fields().iter().enumerate() {
            if i > 0 {
                line.push(self.separator);
            }
            self.field(field.name(), &mut line);
        }
        line.push('\n');
        out.write_all(line.as_bytes())
    }

    fn field(&self, text: &str, line: &mut String) {
        if self.separator == '\t' {
            for c in text.chars() {
                match c {
                    '\t' => line.push_str("\\t"),
                    '\n' => line.push_str("\\n"),
                    '\r' => line.push_str("\\r"),
                    '\\' => line.push_str("\\\\"),
                    c => line.push(c),
                }
            }
        } else if text.is_empty() || text.contains(['"', ',', '\n', '\r']) {
            line.push('"');
            line.push_str(&text.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(text);
        }
    }
}

impl Writer for Separated {
    fn batch(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        self.start(out)?;
        columns(batch, |columns| {
            let (mut line, mut text) = (String::new(), String::new());
            for row in 0..batch.num_rows() {
                line.clear();
                for (i, column) in columns.iter().enumerate() {
                    if i > 0 {
                        line.push(self.separator);
                    }
                    if !column.is_null(row) {
                        text.clear();
                        column.write(row, Style::Text, &mut text);
                        self.field(&text, &mut line);
                    }
                }
                line.push('\n');
                out.write_all(line.as_bytes())?;
            }
            Ok(())
        })
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.start(out)
    }
}
