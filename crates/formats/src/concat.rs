//! Several sources read as one, one after the other: the files of a glob.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::MutableBuffer;
use arrow_select::concat::concat;
use arrow_select::interleave::interleave;
use hyperslab_core::{ArraySource, Block, Error, FieldSpec, Result, arrow};

/// Sources of the same fields, their rows one after the other.
#[derive(Debug)]
pub struct ConcatSource {
    fields: Vec<FieldSpec>,
    sources: Vec<Arc<dyn ArraySource>>,
    /// The row after the last of each source.
    ends: Vec<u64>,
}

impl ConcatSource {
    /// Opens files, as [`crate::open`] does, and joins them in the order of their paths.
    ///
    /// # Errors
    /// `Invalid` when there is no path, or two files differ in their fields; otherwise [`crate::open`]'s.
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Self> {
        let mut paths: Vec<&Path> = paths.iter().map(AsRef::as_ref).collect();
        paths.sort_unstable();
        let sources = paths.into_iter().map(|p| Ok((p.to_owned(), crate::open(p)?)));
        Self::new(sources.collect::<Result<_>>()?)
    }

    /// Joins sources in the given order; the paths name them in errors.
    ///
    /// # Errors
    /// `Invalid` when there is no source, two sources differ in their fields, or there are more than 2^63 rows.
    pub fn new(sources: Vec<(PathBuf, Arc<dyn ArraySource>)>) -> Result<Self> {
        let Some((first_path, first)) = sources.first() else {
            return Err(Error::invalid("there is no file to read"));
        };
        let fields = first.fields().to_vec();
        let mut ends = Vec::with_capacity(sources.len());
        let mut rows: u64 = 0;
        for (path, source) in &sources {
            if source.fields() != fields {
                return Err(Error::invalid(format!(
                    "{} and {} cannot be read as one array: the first has {}, the second {}",
                    first_path.display(),
                    path.display(),
                    show(&fields),
                    show(source.fields())
                )));
            }
            let sum = rows.checked_add(source.rows()).filter(|&r| i64::try_from(r).is_ok());
            rows = sum
                .ok_or_else(|| Error::invalid("the files have too many rows together").with("file", path.display()))?;
            ends.push(rows);
        }
        Ok(Self { fields, sources: sources.into_iter().map(|(_, s)| s).collect(), ends })
    }

    fn field(&self, field: usize) -> Result<&FieldSpec> {
        let known = self.fields.len();
        self.fields.get(field).ok_or_else(|| Error::invalid(format!("there is no field number {field} of {known}")))
    }

    /// The source that holds a row, and that source's rows. The row must be there.
    fn locate(&self, row: u64) -> Option<(usize, &dyn ArraySource, Range<u64>)> {
        let i = self.ends.partition_point(|&end| end <= row);
        let source = self.sources.get(i)?;
        let end = *self.ends.get(i)?;
        Some((i, source.as_ref(), end - source.rows()..end))
    }

    fn beyond(&self, row: u64) -> Error {
        Error::invalid(format!("there is no row {row}; the files have {} rows together, counted from 0", self.rows()))
    }
}

fn show(fields: &[FieldSpec]) -> String {
    fields.iter().map(FieldSpec::to_string).collect::<Vec<_>>().join(", ")
}

/// Rows of cells without elements: there are no values to join.
fn empty_cells(field: &FieldSpec, rows: usize) -> Result<Block> {
    arrow::array_from_buffer(field, MutableBuffer::new(0).into(), rows)
}

/// The bytes of an array that was just made, and those copied before.
fn joined(array: ArrayRef, before: u64) -> Block {
    let bytes = array.to_data().get_slice_memory_size().unwrap_or(0) as u64;
    Block { array, copied: before + bytes }
}

impl ArraySource for ConcatSource {
    fn fields(&self) -> &[FieldSpec] {
        &self.fields
    }

    fn rows(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn run_end(&self, field: usize, row: u64) -> u64 {
        match self.locate(row) {
            Some((_, source, rows)) => rows.start + source.run_end(field, row - rows.start),
            None => self.rows(),
        }
    }

    fn read(&self, field: usize, rows: Range<u64>) -> Result<Block> {
        let spec = self.field(field)?;
        if rows.start > rows.end || rows.end > self.rows() {
            return Err(self.beyond(rows.start.max(rows.end.saturating_sub(1))));
        }
        let mut pieces = Vec::new();
        let mut at = rows.start;
        while let Some((_, source, span)) = self.locate(at).filter(|_| at < rows.end) {
            let end = span.end.min(rows.end);
            pieces.push(source.read(field, at - span.start..end - span.start)?);
            at = end;
        }
        if pieces.len() == 1 {
            return pieces.pop().ok_or_else(|| self.beyond(rows.start));
        }
        if pieces.is_empty() || spec.elements() == 0 {
            return empty_cells(spec, pieces.iter().map(|p| p.array.len()).sum());
        }
        let arrays: Vec<&dyn Array> = pieces.iter().map(|p| p.array.as_ref()).collect();
        let array = concat(&arrays).map_err(|e| Error::invalid(format!("field {:?}", spec.name())).because(e))?;
        Ok(joined(array, pieces.iter().map(|p| p.copied).sum()))
    }

    fn take(&self, field: usize, rows: &[u64]) -> Result<Block> {
        let spec = self.field(field)?;
        // For each source that holds a wanted row: its place among `taken`, and the rows wanted of it.
        let mut wanted: Vec<(usize, Vec<u64>)> = Vec::new();
        let mut slot_of_source = std::collections::HashMap::new();
        let mut places = Vec::with_capacity(rows.len());
        for &row in rows {
            let (i, _, span) = self.locate(row).ok_or_else(|| self.beyond(row))?;
            let slot = *slot_of_source.entry(i).or_insert_with(|| {
                wanted.push((i, Vec::new()));
                wanted.len() - 1
            });
            let of_source = &mut wanted[slot].1;
            places.push((slot, of_source.len()));
            of_source.push(row - span.start);
        }
        let taken = wanted.iter().map(|(i, rows)| self.sources[*i].take(field, rows));
        let mut taken = taken.collect::<Result<Vec<_>>>()?;
        if taken.len() == 1 {
            return taken.pop().ok_or_else(|| self.beyond(0));
        }
        if taken.is_empty() || spec.elements() == 0 {
            return empty_cells(spec, rows.len());
        }
        let arrays: Vec<&dyn Array> = taken.iter().map(|t| t.array.as_ref()).collect();
        let array = interleave(&arrays, &places);
        let array = array.map_err(|e| Error::invalid(format!("field {:?}", spec.name())).because(e))?;
        Ok(joined(array, taken.iter().map(|t| t.copied).sum()))
    }
}

#[cfg(test)]
mod tests;
