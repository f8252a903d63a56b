//! The formats with columns: `table` (ASCII), `box` (box-drawing characters) and `markdown`.
//!
//! The widths come from the first rows; the rows after those are written as they come, so memory stays bounded. On a
//! terminal the widest text columns are cut to fit, long lists are cut short, and rows beyond a limit are counted only.

use std::io::{self, Write};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::value::{Style, printable};
use super::{Terminal, Writer, columns};

/// Rows and bytes that are held back to learn the widths.
const SAMPLE_ROWS: usize = 1000;
const SAMPLE_BYTES: usize = 8 << 20;

/// A text column is not cut below this width.
const NARROWEST: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame {
    Ascii,
    Box,
    Markdown,
}

/// Left end, fill, crossing and right end of a horizontal line.
type Rule = [&'static str; 4];

impl Frame {
    fn top(self) -> Option<Rule> {
        match self {
            Self::Ascii => Some(["+", "-", "+", "+"]),
            Self::Box => Some(["┌", "─", "┬", "┐"]),
            Self::Markdown => None,
        }
    }

    fn below_header(self) -> Rule {
        match self {
            Self::Ascii => ["+", "-", "+", "+"],
            Self::Box => ["├", "─", "┼", "┤"],
            Self::Markdown => ["|", "-", "|", "|"],
        }
    }

    fn bottom(self) -> Option<Rule> {
        match self {
            Self::Ascii => Some(["+", "-", "+", "+"]),
            Self::Box => Some(["└", "─", "┴", "┘"]),
            Self::Markdown => None,
        }
    }

    fn bar(self) -> &'static str {
        if self == Self::Box { "│" } else { "|" }
    }
}

pub(crate) struct Table {
    frame: Frame,
    header: Vec<String>,
    /// Columns of numbers are aligned to the right and never cut.
    numeric: Vec<bool>,
    terminal: Option<Terminal>,
    /// Known once the first rows are written.
    widths: Option<Vec<usize>>,
    sample: Vec<Vec<String>>,
    sample_bytes: usize,
    shown: u64,
    hidden: u64,
}

impl Table {
    pub(crate) fn new(schema: &SchemaRef, frame: Frame, terminal: Option<Terminal>) -> Self {
        let mut table = Self {
            frame,
            header: Vec::new(),
            numeric: schema.fields().iter().map(|f| f.data_type().is_numeric()).collect(),
            terminal,
            widths: None,
            sample: Vec::new(),
            sample_bytes: 0,
            shown: 0,
            hidden: 0,
        };
        table.header = schema.fields().iter().map(|f| table.cell(f.name())).collect();
        table
    }

    fn cell(&self, text: &str) -> String {
        let text = printable(text);
        if self.frame == Frame::Markdown { text.replace('|', "\\|") } else { text }
    }

    /// Writes the header and the rows held back, after which rows are written at once.
    fn start(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.widths.is_some() {
            return Ok(());
        }
        let mut widths: Vec<usize> = self.header.iter().map(|h| h.width()).collect();
        for row in &self.sample {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        if let Some(columns) = self.terminal.and_then(|t| t.columns) {
            fit(&mut widths, &self.numeric, columns);
        }
        if let Some(rule) = self.frame.top() {
            write_rule(rule, &widths, out)?;
        }
        self.write_row(&self.header, &widths, out)?;
        write_rule(self.frame.below_header(), &widths, out)?;
        for row in std::mem::take(&mut self.sample) {
            self.write_row(&row, &widths, out)?;
        }
        self.widths = Some(widths);
        Ok(())
    }

    fn write_row(&self, cells: &[String], widths: &[usize], out: &mut dyn Write) -> io::Result<()> {
        let bar = self.frame.bar();
        let mut line = String::from(bar);
        for ((cell, &width), &numeric) in cells.iter().zip(widths).zip(&self.numeric) {
            let cell = if cell.width() > width && self.terminal.is_some() { cut(cell, width) } else { cell.clone() };
            let pad = " ".repeat(width.saturating_sub(cell.width()));
            line.push(' ');
            line.push_str(&if numeric { pad + &cell } else { cell + &pad });
            line.push(' ');
            line.push_str(bar);
        }
        line.push('\n');
        out.write_all(line.as_bytes())
    }
}

impl Writer for Table {
    fn batch(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        let limit = self.terminal.and_then(|t| t.max_rows).unwrap_or(u64::MAX);
        let room = usize::try_from(limit - self.shown.min(limit)).unwrap_or(usize::MAX);
        let rows = batch.num_rows().min(room);
        self.hidden += (batch.num_rows() - rows) as u64;
        let style = if self.terminal.is_some() { Style::Short } else { Style::Text };
        columns(&batch.slice(0, rows), |columns| {
            for row in 0..rows {
                let mut cells = Vec::with_capacity(columns.len());
                for column in columns {
                    let mut text = String::new();
                    column.write(row, style, &mut text);
                    cells.push(self.cell(&text));
                }
                self.shown += 1;
                if let Some(widths) = &self.widths {
                    self.write_row(&cells, widths, out)?;
                    continue;
                }
                self.sample_bytes += cells.iter().map(String::len).sum::<usize>();
                self.sample.push(cells);
                if self.sample.len() >= SAMPLE_ROWS || self.sample_bytes >= SAMPLE_BYTES {
                    self.start(out)?;
                }
            }
            Ok(())
        })
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.start(out)?;
        if let (Some(rule), Some(widths)) = (self.frame.bottom(), &self.widths) {
            write_rule(rule, widths, out)?;
        }
        if self.hidden > 0 {
            writeln!(out, "… {} more rows (.rows all or --max-rows all shows them)", self.hidden)?;
        }
        Ok(())
    }
}

fn write_rule([left, fill, crossing, right]: Rule, widths: &[usize], out: &mut dyn Write) -> io::Result<()> {
    let fills: Vec<String> = widths.iter().map(|w| fill.repeat(w + 2)).collect();
    writeln!(out, "{left}{}{right}", fills.join(crossing))
}

/// Narrows the widest columns that hold no numbers until the table fits.
fn fit(widths: &mut [usize], numeric: &[bool], columns: usize) {
    let total = |widths: &[usize]| widths.iter().map(|w| w + 3).sum::<usize>() + 1;
    while total(widths) > columns {
        let excess = total(widths) - columns;
        let mut texts: Vec<usize> = (0..widths.len()).filter(|&i| !numeric.get(i).copied().unwrap_or(false)).collect();
        texts.sort_by_key(|&i| std::cmp::Reverse(widths.get(i).copied()));
        let Some(&widest) = texts.first() else { return };
        let next = texts.get(1).and_then(|&i| widths.get(i).copied()).unwrap_or(0);
        let Some(width) = widths.get_mut(widest) else { return };
        if *width <= NARROWEST {
            return;
        }
        // Down to the next widest, and by one once they are equal.
        let step = width.saturating_sub(next).clamp(1, excess);
        *width = (*width - step).max(NARROWEST);
    }
}

/// The text cut to `width`, with an ellipsis.
fn cut(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w + 1 > width {
            break;
        }
        used += w;
        out.push(c);
    }
    out.push('…');
    out
}
