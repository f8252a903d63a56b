//! Rows on their way to shards, as bytes that can be appended to one another.
//!
//! Of a field of one width that holds no NULL these are its raw rows. Of any other they are *packs*, one after the other:
//! each has a head of 24 bytes (rows, bytes of values, whether some are NULL; u64, little-endian), where its rows start
//! and the last one ends if they are of variable length (int64), one byte per row if some are NULL (1 for a value), and
//! the values.

use std::borrow::Cow;
use std::ops::Range;

use arrow_array::{Array, UInt64Array};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use hyperslab_core::arrow::{self, Parts};
use hyperslab_core::{Block, Error, FieldSpec, Result};

const HEAD: usize = 24;

/// Rows in parts, as they go to shards.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub rows: usize,
    /// Raw rows, or the bytes of text and binary.
    pub values: Vec<u8>,
    /// Of text and binary: where each row starts, from 0, and where the last one ends.
    pub offsets: Vec<i64>,
    /// One byte per row, if some are NULL.
    pub validity: Vec<u8>,
}

/// Whether rows of a field are packed, and not just their raw bytes.
pub(crate) fn is_packed(field: &FieldSpec) -> bool {
    field.nullable() || field.dtype().is_variable()
}

/// The rows of a column, of which the first has the number `first_row` in messages.
///
/// # Errors
/// As [`arrow::parts`].
pub(crate) fn of_array(field: &FieldSpec, column: &dyn Array, first_row: u64) -> Result<Buffer> {
    if !is_packed(field) {
        return arrow::raw_bytes(field, column, first_row);
    }
    let Parts { values, offsets, nulls } = arrow::parts(field, column, first_row)?;
    let rows = column.len();
    let mut out = Vec::with_capacity(HEAD + values.len() + rows * 9 + 8);
    for number in [rows as u64, values.len() as u64, u64::from(nulls.is_some())] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    if let Some(offsets) = &offsets {
        let first = offsets.first().copied().unwrap_or(0);
        offsets.iter().for_each(|offset| out.extend_from_slice(&(offset - first).to_le_bytes()));
    }
    if let Some(nulls) = &nulls {
        out.extend(nulls.iter().map(u8::from));
    }
    out.extend_from_slice(&values);
    Ok(out.into())
}

/// The raw rows of a field of one width, none of which is NULL.
pub(crate) fn of_raw<'a>(field: &FieldSpec, raw: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
    if !is_packed(field) {
        return raw;
    }
    let rows = raw.len().checked_div(field.row_bytes()).unwrap_or(0);
    let head = [rows as u64, raw.len() as u64, 0].map(u64::to_le_bytes);
    Cow::Owned([head.as_flattened(), &raw].concat())
}

/// The rows as an Arrow array.
///
/// # Errors
/// `Corrupt` for what are no such rows.
pub(crate) fn to_array(field: &FieldSpec, bytes: Buffer, rows: u64) -> Result<Block> {
    if !is_packed(field) {
        return arrow::array_from_buffer(field, bytes, count(rows)?);
    }
    let unpacked = unpack(field, &bytes)?;
    let nulls = (!unpacked.validity.is_empty()).then(|| nulls_of(&unpacked.validity));
    let offsets = field.dtype().is_variable().then(|| unpacked.offsets.into());
    let parts = Parts { values: unpacked.values.into(), offsets, nulls };
    arrow::array_from_parts(field, parts, count(rows)?)
}

/// Which rows are not NULL, from one byte per row.
pub(crate) fn nulls_of(validity: &[u8]) -> NullBuffer {
    NullBuffer::new(BooleanBuffer::collect_bool(validity.len(), |i| validity.get(i).is_some_and(|&v| v != 0)))
}

/// Rows by their numbers, in this order.
///
/// # Errors
/// As [`to_array`].
pub(crate) fn pick(field: &FieldSpec, bytes: &[u8], rows: &[usize]) -> Result<Vec<u8>> {
    if !is_packed(field) {
        let row_bytes = field.row_bytes();
        let row = |&n: &usize| bytes.get(n * row_bytes..(n + 1) * row_bytes).unwrap_or_default();
        return Ok(rows.iter().map(row).collect::<Vec<_>>().concat());
    }
    let all = unpack(field, bytes)?.rows as u64;
    let array = to_array(field, Buffer::from_slice_ref(bytes), all)?.array;
    let rows: UInt64Array = rows.iter().map(|&n| n as u64).collect();
    let picked = arrow_select::take::take(array.as_ref(), &rows, None);
    let picked = picked.map_err(|e| Error::invalid(format!("field {:?}", field.name())).because(e))?;
    Ok(of_array(field, picked.as_ref(), 0)?.to_vec())
}

/// Takes packs apart.
pub(crate) fn unpack(field: &FieldSpec, mut bytes: &[u8]) -> Result<Rows> {
    let bad = || Error::corrupt(format!("field {:?}: the rows in memory are damaged", field.name()));
    let variable = field.dtype().is_variable();
    let mut all = Rows { offsets: if variable { vec![0] } else { Vec::new() }, ..Rows::default() };
    while !bytes.is_empty() {
        let mut take = |n: usize| {
            let (taken, rest) = bytes.split_at_checked(n)?;
            bytes = rest;
            Some(taken)
        };
        let mut number = || take(8).and_then(|n| usize::try_from(u64::from_le_bytes(n.try_into().ok()?)).ok());
        let (rows, len) = (number().ok_or_else(bad)?, number().ok_or_else(bad)?);
        let some_null = number().ok_or_else(bad)? != 0;
        if variable {
            let base = all.values.len() as i64;
            let offsets = rows.checked_add(1).and_then(|n| take(n.checked_mul(8)?)).ok_or_else(bad)?;
            let (offsets, _) = offsets.as_chunks::<8>();
            all.offsets.extend(offsets.iter().skip(1).map(|&o| base + i64::from_le_bytes(o)));
        }
        if some_null {
            all.validity.resize(all.rows, 1);
            all.validity.extend_from_slice(take(rows).ok_or_else(bad)?);
        } else if !all.validity.is_empty() {
            all.validity.resize(all.rows + rows, 1);
        }
        all.values.extend_from_slice(take(len).ok_or_else(bad)?);
        all.rows += rows;
    }
    Ok(all)
}

impl Rows {
    /// How many rows from `start` on have at most `room` bytes of text, but one at least.
    pub(crate) fn fitting(&self, start: usize, rows: usize, room: u64) -> usize {
        let Some(&from) = self.offsets.get(start) else { return rows };
        let ends = self.offsets.get(start + 1..start + 1 + rows).unwrap_or_default();
        ends.partition_point(|&end| (end - from) as u64 <= room).clamp(1, rows.max(1))
    }

    /// The bytes of text of some rows.
    pub(crate) fn text(&self, rows: Range<usize>) -> &[u8] {
        let (start, end) = (self.offsets.get(rows.start), self.offsets.get(rows.end));
        let bytes = start.zip(end).and_then(|(&start, &end)| self.values.get(start as usize..end as usize));
        bytes.unwrap_or_default()
    }
}

fn count(rows: u64) -> Result<usize> {
    usize::try_from(rows).map_err(|e| Error::invalid(format!("{rows} rows do not fit in memory")).because(e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int32Array, LargeStringArray};
    use hyperslab_core::DType;

    use super::*;

    #[test]
    fn packs_follow_one_another() {
        let text = FieldSpec::new("t", DType::Utf8, vec![]).unwrap().with_nullable(true);
        let number = FieldSpec::new("n", DType::Int32, vec![]).unwrap().with_nullable(true);
        let texts: [&[Option<&str>]; 4] = [&[Some("a"), Some("")], &[], &[None, Some("ü")], &[Some("b")]];
        let numbers: [&[Option<i32>]; 3] = [&[Some(1)], &[None, Some(2)], &[Some(3)]];
        let texts = texts.map(|t| Arc::new(LargeStringArray::from(t.to_vec())) as ArrayRef);
        let numbers = numbers.map(|n| Arc::new(Int32Array::from(n.to_vec())) as ArrayRef);
        for (field, columns) in [(text, texts.as_slice()), (number, numbers.as_slice())] {
            let mut bytes = Vec::new();
            columns.iter().for_each(|c| bytes.extend_from_slice(&of_array(&field, c.as_ref(), 0).unwrap()));
            let all = arrow_select::concat::concat(&columns.iter().map(|c| c.as_ref()).collect::<Vec<_>>()).unwrap();
            let rows = all.len();
            let back = to_array(&field, Buffer::from_slice_ref(&bytes), rows as u64).unwrap().array;
            assert_eq!(&back, &all);
            let backwards: Vec<usize> = (0..rows).rev().collect();
            let picked = pick(&field, &bytes, &backwards).unwrap();
            let picked = to_array(&field, Buffer::from_slice_ref(&picked), rows as u64).unwrap().array;
            (0..rows).for_each(|i| assert_eq!(&picked.slice(i, 1), &all.slice(rows - 1 - i, 1)));
            assert!(to_array(&field, Buffer::from_slice_ref(&bytes[..bytes.len() - 1]), rows as u64).is_err());
        }
    }
}
