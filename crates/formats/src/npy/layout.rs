//! What a `.npy` header says, as fields: one, or those of a structured dtype.

use hyperslab_core::npy::{Descr, DescrField, NpyRawHeader};
use hyperslab_core::{ByteOrder, DType, Error, FieldSpec, Result, TimeUnit, VALUE};

use super::datetime::Scale;
use crate::raw::{Encoding, Layout, RawField};

/// A header, checked.
#[derive(Debug, Clone)]
pub(crate) struct NpyLayout {
    pub(crate) shape: Vec<u64>,
    pub(crate) data_offset: u64,
    pub(crate) data_bytes: u64,
    pub(crate) layout: Layout,
}

impl NpyLayout {
    /// Parses the header at the start of `bytes`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let NpyRawHeader { descr, fortran_order, shape, data_offset } = NpyRawHeader::parse(bytes)?;
        let rows = shape.first().copied().unwrap_or(1);
        let cell = shape.get(1..).unwrap_or_default();
        let cell: Vec<usize> = cell.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect();
        let (found, record) = fields_of(&descr, &cell)?;
        let too_large =
            || Error::corrupt(format!("a .npy of shape {shape:?} of {record} bytes each is larger than any file"));
        let full = shape.iter().try_fold(record as u64, |bytes, &n| bytes.checked_mul(n.max(1)));
        let full = full.filter(|&b| b.checked_add(data_offset).is_some_and(|e| i64::try_from(e).is_ok()));
        let data_bytes = if shape.contains(&0) { full.map(|_| 0) } else { full }.ok_or_else(too_large)?;
        let layout = Layout { fields: found, record, cell, rows, fortran: fortran_order };
        Ok(Self { data_offset, data_bytes, layout, shape })
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = &FieldSpec> {
        self.layout.fields.iter().map(|f| &f.spec)
    }

    pub(crate) fn rows(&self) -> u64 {
        self.layout.rows
    }

    /// Checks that a file of so many bytes, header included, holds all values.
    pub(crate) fn check_length(&self, bytes: u64) -> Result<()> {
        let found = bytes.saturating_sub(self.data_offset);
        if found >= self.data_bytes && bytes >= self.data_offset {
            return Ok(());
        }
        let dtype = match self.layout.fields.as_slice() {
            [field] => field.spec.dtype().to_string(),
            fields => format!("{} fields", fields.len()),
        };
        Err(Error::corrupt(format!(
            "the file is incomplete: shape {:?} of {dtype} needs {} bytes of data, and {found} are there; copy or \
             download it again",
            self.shape, self.data_bytes
        )))
    }
}

/// The fields of a dtype whose rows have `cell` elements: one named `value`, or those of a structured dtype, those of one in
/// it as `outer.inner`; and the bytes of a record.
pub(crate) fn fields_of(descr: &Descr, cell: &[usize]) -> Result<(Vec<RawField>, usize)> {
    let mut fields = Fields::new(cell);
    match descr {
        Descr::Simple(descr) => fields.push(VALUE, descr, &[])?,
        Descr::Fields(inner) => fields.add("", inner)?,
    }
    fields.finish()
}

/// The fields of a record so far, and where the next one starts.
pub(crate) struct Fields<'a> {
    found: Vec<RawField>,
    /// The axes of records in a row.
    cell: &'a [usize],
    end: usize,
}

impl<'a> Fields<'a> {
    /// None yet, of records that are `cell` in a row.
    pub(crate) fn new(cell: &'a [usize]) -> Self {
        Self { found: Vec::new(), cell, end: 0 }
    }

    /// The fields, at least one, and the bytes of a record.
    pub(crate) fn finish(self) -> Result<(Vec<RawField>, usize)> {
        if self.found.is_empty() {
            return Err(Error::unsupported("its structured dtype has no fields; there is nothing to read"));
        }
        check_record(self.end)?;
        Ok((self.found, self.end))
    }

    /// Whether an element, of a subarray of this shape, is all that a row has of a field.
    pub(crate) fn is_alone(&self, shape: &[u64]) -> bool {
        self.cell.is_empty() && shape.is_empty()
    }

    fn add(&mut self, outer: &str, fields: &[DescrField]) -> Result<()> {
        for field in fields {
            let name = if outer.is_empty() { field.name.clone() } else { format!("{outer}.{}", field.name) };
            match &field.descr {
                // Padding between aligned fields.
                Descr::Simple(descr) if field.name.is_empty() => {
                    let (_, _, bytes) = element(descr, false)?;
                    let end = self.end_after(bytes);
                    self.end = end.ok_or_else(|| Error::corrupt("a record with its padding is too large"))?;
                }
                Descr::Simple(descr) => self.push(&name, descr, &field.shape).map_err(|e| e.with("field", &name))?,
                Descr::Fields(inner) if field.shape.is_empty() => self.add(&name, inner)?,
                Descr::Fields(_) => {
                    return Err(Error::unsupported(format!(
                        "field {name:?} is an array of records; save it as an array of its own"
                    )));
                }
            }
        }
        Ok(())
    }

    /// The end of so many bytes more, if a record may have them.
    fn end_after(&self, bytes: usize) -> Option<usize> {
        self.end.checked_add(bytes).filter(|&end| check_record(end).is_ok())
    }

    fn push(&mut self, name: &str, descr: &str, shape: &[u64]) -> Result<()> {
        self.push_element(name, element(descr, self.is_alone(shape))?, shape)
    }

    /// Adds a field whose elements have this dtype, encoding and number of bytes.
    pub(crate) fn push_element(
        &mut self,
        name: &str,
        (dtype, encoding, item): (DType, Encoding, usize),
        shape: &[u64],
    ) -> Result<()> {
        let axes = shape.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX));
        let cell: Vec<usize> = self.cell.iter().copied().chain(axes).collect();
        let spec = FieldSpec::new(name, dtype, cell)?;
        let bytes = shape.iter().try_fold(item, |b, &n| b.checked_mul(usize::try_from(n).ok()?));
        let end = bytes.and_then(|bytes| self.end_after(bytes));
        let (Some(bytes), Some(end)) = (bytes, end) else {
            return Err(Error::corrupt(format!("a record with field {name:?} is too large")));
        };
        if self.found.iter().any(|f| f.spec.name() == name) {
            return Err(Error::corrupt(format!("there are two fields {name:?}")));
        }
        self.found.push(RawField { spec, encoding, offset: self.end, bytes });
        self.end = end;
        Ok(())
    }
}

/// Refuses records of more bytes than NumPy's dtypes have, which count them with 32 bits.
fn check_record(bytes: usize) -> Result<()> {
    match i32::try_from(bytes) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::corrupt(format!("a record of {bytes} bytes is too large; at most {} are read", i32::MAX))),
    }
}

/// The dtype, the encoding and the bytes of an element. Text is text where it is all of a row (`alone`), and bytes
/// filled up with NUL otherwise.
pub(crate) fn element(descr: &str, alone: bool) -> Result<(DType, Encoding, usize)> {
    let order = if descr.starts_with('>') { ByteOrder::Big } else { ByteOrder::Little };
    let kind = descr.trim_start_matches(['<', '>', '=', '|']);
    let length = |digits: &str| digits.parse::<u32>().ok().filter(|&n| n > 0 && n < 1 << 29);
    let empty =
        || Error::unsupported(format!("dtype {descr:?} is not read: its elements must have 1 to 2^29 - 1 characters"));
    if let Some(digits) = kind.strip_prefix('U') {
        let n = length(digits).ok_or_else(empty)? * 4;
        let dtype = if alone { DType::Utf8 } else { DType::FixedBytes(n) };
        return Ok((dtype, Encoding::Unicode(order), n as usize));
    }
    if let Some(digits) = kind.strip_prefix('S') {
        let n = length(digits).ok_or_else(empty)?;
        let dtype = if alone { DType::Utf8 } else { DType::FixedBytes(n) };
        return Ok((dtype, Encoding::Bytes, n as usize));
    }
    if let Some((unit, scale)) = kind.strip_prefix(['M', 'm']).and_then(time) {
        let dtype = if kind.starts_with('M') { DType::Datetime64(unit) } else { DType::Timedelta64(unit) };
        let months = matches!(scale, Scale::Months(_)) && kind.starts_with('m');
        if !months {
            return Ok((dtype, Encoding::Time(order, scale), 8));
        }
    }
    let (dtype, order) = DType::from_npy_descr(descr)?;
    Ok((dtype, Encoding::Plain(order), dtype.size()))
}

/// What `8[10ms]` is in our units, if it is none of them.
fn time(text: &str) -> Option<(TimeUnit, Scale)> {
    let unit = text.strip_prefix("8[")?.strip_suffix(']')?;
    let digits = unit.len() - unit.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (count, unit) = unit.split_at(digits);
    let n: i64 = if count.is_empty() { 1 } else { count.parse().ok().filter(|&n| n > 0)? };
    let seconds = |s: i64| Some((TimeUnit::Second, Scale::Times(n.checked_mul(s)?)));
    let ours = |unit| (n != 1).then_some((unit, Scale::Times(n)));
    match unit {
        "Y" => Some((TimeUnit::Second, Scale::Months(n.checked_mul(12)?))),
        "M" => Some((TimeUnit::Second, Scale::Months(n))),
        "W" => seconds(7 * 86_400),
        "D" => seconds(86_400),
        "h" => seconds(3600),
        "m" => seconds(60),
        "s" => ours(TimeUnit::Second),
        "ms" => ours(TimeUnit::Millisecond),
        "us" | "μs" => ours(TimeUnit::Microsecond),
        "ns" => ours(TimeUnit::Nanosecond),
        _ => None,
    }
}
