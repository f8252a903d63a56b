//! Result formats. A writer gets batches as they come; only the formats with columns hold some rows back.

mod csv;
mod json;
mod line;
mod plan;
mod table;
mod value;

use std::io::{self, Write};

use clap::ValueEnum;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

use value::{Column, Style};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns between `|`; lists are cut short and rows limited on a terminal, whole elsewhere
    Table,
    /// RFC 4180 with a header; lists as JSON text, NULL empty
    Csv,
    /// Tab-separated with a header; tabs and line ends as \t and \n
    Tsv,
    /// One array of objects; NULL, NaN and infinities are null
    Json,
    /// One object per line
    Ndjson,
    /// A Markdown table
    Markdown,
    /// Like table, with box-drawing characters
    Box,
    /// One `name = value` per line
    Line,
}

impl Format {
    /// The name, as --format and .mode take it.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
    }
}

/// A terminal that results go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// Its width, where known.
    pub(crate) columns: Option<usize>,
    /// Rows that a table shows.
    pub(crate) max_rows: Option<u64>,
}

/// Writes one result.
pub(crate) trait Writer {
    /// Takes the next rows.
    fn batch(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()>;
    /// Ends the result, which may have had no rows.
    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

/// The writer of a format; `terminal` when a person looks on.
pub(crate) fn writer(format: Format, schema: &SchemaRef, terminal: Option<Terminal>) -> Box<dyn Writer> {
    match format {
        Format::Table | Format::Box if plan::Plans::fit(schema) => Box::new(plan::Plans),
        Format::Table => Box::new(table::Table::new(schema, table::Frame::Ascii, terminal)),
        Format::Box => Box::new(table::Table::new(schema, table::Frame::Box, terminal)),
        Format::Markdown => Box::new(table::Table::new(schema, table::Frame::Markdown, terminal)),
        Format::Csv => Box::new(csv::Separated::csv(schema.clone())),
        Format::Tsv => Box::new(csv::Separated::tsv(schema.clone())),
        Format::Json => Box::new(json::Json::array(schema)),
        Format::Ndjson => Box::new(json::Json::lines(schema)),
        Format::Line => {
            let style = if terminal.is_some() { Style::Short } else { Style::Text };
            Box::new(line::Lines::new(schema, style))
        }
    }
}

/// Runs `f` over the formatters of a batch's columns.
fn columns<R>(batch: &RecordBatch, f: impl FnOnce(&[Column<'_>]) -> io::Result<R>) -> io::Result<R> {
    let arrays = batch.columns().iter().map(value::plain).collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(&arrays).map(|(field, array)| {
        let field = field.as_ref().clone().with_data_type(array.data_type().clone());
        Column::new(&field, array.as_ref())
    });
    f(&columns.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?)
}

#[cfg(test)]
mod tests;
