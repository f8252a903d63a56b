//! Appends: rows wait in memory while they are few, and go to shard files of their own when they are many.

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use hyperslab_core::{ArraySource, DType, Element, Error, FieldSpec, Result, arrow};

use super::{Touched, Transaction};
use crate::writer::{Files, SegmentWriter, Target};
use crate::{ArrayName, elements};

/// An array's rows wait in memory up to this size, to be written in place under the lock.
const WAITING: usize = 8 << 20;
/// All arrays' waiting rows together.
const WAITING_ALL: usize = 64 << 20;
/// Rows of at least this size are not copied once the array's rows go to files.
const DIRECT: usize = 256 << 10;
/// What is read of a source at once.
const CHUNK: usize = 4 << 20;

/// The rows that a transaction appends to one array.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    /// Rows appended, wherever they are.
    pub rows: u64,
    /// Per field, the raw bytes of rows that wait in memory: the last ones.
    pub waiting: Vec<Vec<u8>>,
    pub waiting_rows: u64,
    /// The rows before, in files.
    pub writer: Option<SegmentWriter>,
}

impl Staged {
    fn waiting_bytes(&self) -> usize {
        self.waiting.iter().map(Vec::len).sum()
    }

    /// Writes the waiting rows to shard files of their own.
    pub(crate) fn spill(&mut self, files: &mut Files, target: &Target) -> Result<()> {
        let waiting: Vec<&[u8]> = self.waiting.iter().map(Vec::as_slice).collect();
        if self.waiting_rows > 0 {
            let writer = self.writer.get_or_insert_with(|| SegmentWriter::new(target.clone(), None));
            writer.write(files, &waiting, self.waiting_rows)?;
        }
        self.waiting = Vec::new();
        self.waiting_rows = 0;
        Ok(())
    }

    fn push(&mut self, files: &mut Files, target: &Target, columns: &[&[u8]], rows: u64) -> Result<()> {
        let bytes: usize = columns.iter().map(|column| column.len()).sum();
        if self.waiting_bytes() + bytes > WAITING || (self.writer.is_some() && bytes >= DIRECT) {
            self.spill(files, target)?;
        }
        if bytes > WAITING || (self.writer.is_some() && bytes >= DIRECT) {
            let writer = self.writer.get_or_insert_with(|| SegmentWriter::new(target.clone(), None));
            writer.write(files, columns, rows)?;
        } else {
            self.waiting.resize_with(columns.len(), Vec::new);
            for (waiting, column) in self.waiting.iter_mut().zip(columns) {
                waiting.extend_from_slice(column);
            }
            self.waiting_rows += rows;
        }
        self.rows += rows;
        Ok(())
    }
}

impl Transaction {
    /// Appends rows. The batch's columns are the array's fields, in order, of the Arrow types of
    /// [`hyperslab_core::arrow::data_type`]. Large amounts go to disk at once; memory stays bounded.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for another number of columns, another type or a NULL, naming field and row: none of
    /// the rows is then appended. After `Io` (a full disk) the transaction cannot be committed.
    pub fn append(&mut self, name: impl Into<ArrayName>, rows: &RecordBatch) -> Result<()> {
        let (name, touched) = self.touch_for_append(name)?;
        if rows.num_columns() != touched.target.fields.len() {
            return Err(Error::invalid(format!(
                "array {:?} has {} fields, and {} columns were given",
                name.to_string(),
                touched.target.fields.len(),
                rows.num_columns()
            )));
        }
        let first = touched.staged.rows;
        let columns = touched.target.fields.iter().zip(rows.columns());
        let columns: Vec<Buffer> = columns
            .map(|(field, column)| arrow::raw_bytes(field, column.as_ref(), first))
            .collect::<Result<_>>()
            .map_err(|e| e.with("array", &name))?;
        self.push(&name, &slices(&columns), rows.num_rows() as u64)
    }

    /// Appends every row of a source with the same dtypes and cells, in bounded memory.
    ///
    /// # Errors
    /// As [`append`](Self::append), and what the source says.
    pub fn append_source(&mut self, name: impl Into<ArrayName>, source: &dyn ArraySource) -> Result<()> {
        let (name, touched) = self.touch_for_append(name)?;
        let fields = touched.target.fields.clone();
        check_same(&name, &fields, source.fields())?;
        let row_bytes: usize = fields.iter().map(FieldSpec::row_bytes).sum();
        let chunk = (CHUNK / row_bytes.max(1)).max(1) as u64;
        let mut row = 0;
        while row < source.rows() {
            let wanted = source.rows().min(row + chunk);
            // A chunk ends where joining pieces would need a copy, unless the pieces are tiny.
            let runs = (0..fields.len()).map(|f| source.run_end(f, row)).min().unwrap_or(wanted).min(wanted);
            let end = if runs.saturating_sub(row) * 16 < wanted - row { wanted } else { runs };
            let mut columns = Vec::with_capacity(fields.len());
            for (index, field) in fields.iter().enumerate() {
                let block = source.read(index, row..end)?;
                let bytes = arrow::raw_bytes(field, block.array.as_ref(), row).map_err(|e| e.with("array", &name))?;
                columns.push(bytes);
            }
            self.push(&name, &slices(&columns), end - row)?;
            row = end;
        }
        Ok(())
    }

    /// Appends rows to an array of one field.
    ///
    /// # Errors
    /// As [`append`](Self::append); `Invalid` when elements or shape are not the field's.
    pub fn append_ndarray<T: Element, S, D>(
        &mut self,
        name: impl Into<ArrayName>,
        rows: &ndarray::ArrayBase<S, D>,
    ) -> Result<()>
    where
        S: ndarray::Data<Elem = T>,
        D: ndarray::Dimension,
    {
        let (name, touched) = self.touch_for_append(name)?;
        let [field] = touched.target.fields.as_slice() else {
            let count = touched.target.fields.len();
            let why = format!("array {:?} has {count} fields; append record batches to it", name.to_string());
            return Err(Error::invalid(why));
        };
        if !T::is(field.dtype()) || rows.shape().get(1..) != Some(field.cell()) {
            return Err(Error::invalid(format!(
                "field {:?} of array {:?} has rows of {}{:?}, and an ndarray of {} and shape {:?} was given",
                field.name(),
                name.to_string(),
                field.dtype(),
                field.cell(),
                T::NAME,
                rows.shape()
            )));
        }
        let count = rows.shape().first().copied().unwrap_or(0) as u64;
        let ordered = rows.as_standard_layout();
        let bytes = elements::as_bytes(ordered.as_slice().unwrap_or_default());
        if field.dtype() == DType::Bool {
            let bools: Vec<u8> = bytes.iter().map(|b| u8::from(*b != 0)).collect();
            return self.push(&name, &[&bools], count);
        }
        self.push(&name, &[bytes], count)
    }

    fn touch_for_append(&mut self, name: impl Into<ArrayName>) -> Result<(ArrayName, &mut Touched)> {
        let name = name.into();
        self.check_writable()?;
        let id = self.resolve(&name)?;
        let touched = self.touch(id)?;
        Ok((name, touched))
    }

    fn push(&mut self, name: &ArrayName, columns: &[&[u8]], rows: u64) -> Result<()> {
        let id = self.resolve(name)?;
        let bytes: usize = columns.iter().map(|column| column.len()).sum();
        let waiting: usize = self.touched.values().map(|t| t.staged.waiting_bytes()).sum();
        let Some(touched) = self.touched.get_mut(&id) else { return Ok(()) };
        let pushed =
            if waiting + bytes > WAITING_ALL { touched.staged.spill(&mut self.files, &touched.target) } else { Ok(()) };
        let pushed = pushed.and_then(|()| touched.staged.push(&mut self.files, &touched.target, columns, rows));
        self.failed |= pushed.is_err();
        pushed.map_err(|e| e.with("array", name))
    }
}

fn slices(columns: &[Buffer]) -> Vec<&[u8]> {
    columns.iter().map(Buffer::as_slice).collect()
}

/// Refuses a source whose fields are not, in order, of the array's dtypes and cells.
fn check_same(name: &ArrayName, fields: &[FieldSpec], given: &[FieldSpec]) -> Result<()> {
    if fields.len() != given.len() {
        let (has, gives) = (fields.len(), given.len());
        return Err(Error::invalid(format!("array {:?} has {has} fields, and {gives} were given", name.to_string())));
    }
    for (field, given) in fields.iter().zip(given) {
        if field.dtype() != given.dtype() || field.cell() != given.cell() {
            return Err(Error::invalid(format!(
                "field {:?} of array {:?} has rows of {}{:?}, and {given} was given",
                field.name(),
                name.to_string(),
                field.dtype(),
                field.cell()
            )));
        }
    }
    Ok(())
}
