//! A field: what SQL calls a column, with a dtype and the shape of one row's cell.

use serde::{Deserialize, Serialize};

use crate::{DType, Error, Fill, Result};

/// The name of the only field of an array that came without names, such as a `.npy` file.
pub const VALUE: &str = "value";

/// A field's name, dtype and cell shape (the axes after the first).
///
/// ```
/// use hyperslab_core::{DType, FieldSpec};
/// let images = FieldSpec::new("value", DType::UInt8, vec![28, 28])?;
/// assert_eq!((images.elements(), images.row_bytes()), (784, 784));
/// assert_eq!(images.to_string(), "value uint8[28, 28]");
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Record", into = "Record")]
pub struct FieldSpec {
    name: String,
    dtype: DType,
    cell: Vec<usize>,
    nullable: bool,
    fill: Option<Fill>,
}

/// A field in JSON.
#[derive(Serialize, Deserialize)]
struct Record {
    name: String,
    dtype: DType,
    #[serde(default)]
    cell: Vec<usize>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    nullable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fill: Option<serde_json::Value>,
}

impl TryFrom<Record> for FieldSpec {
    type Error = Error;

    fn try_from(record: Record) -> Result<Self> {
        let fill = record.fill.map(|fill| Fill::from_json(record.dtype, &fill)).transpose()?;
        let field = Self::new(record.name, record.dtype, record.cell)?.with_nullable(record.nullable);
        fill.map_or(Ok(field.clone()), |fill| field.with_fill(fill))
    }
}

impl From<FieldSpec> for Record {
    fn from(field: FieldSpec) -> Self {
        let fill = field.fill.map(|fill| fill.to_json(field.dtype));
        Self { name: field.name, dtype: field.dtype, cell: field.cell, nullable: field.nullable, fill }
    }
}

impl FieldSpec {
    /// A field. Cell axes may have length 0.
    ///
    /// # Errors
    /// `Invalid` for a name that [`check_name`] refuses, more than 31 cell axes, or a cell of more than
    /// `i32::MAX` elements (Arrow's limit for one cell), and for a cell of text or binary: its shape is `()`.
    pub fn new(name: impl Into<String>, dtype: DType, cell: Vec<usize>) -> Result<Self> {
        let name = name.into();
        check_name("field", &name)?;
        dtype.check().map_err(|e| e.with("field", &name))?;
        if dtype.is_variable() && !cell.is_empty() {
            return Err(Error::invalid(format!(
                "field {name:?}: a cell of {dtype} has no axes, and {cell:?} was given"
            )));
        }
        let too_large = || {
            Error::invalid(format!(
                "field {name:?}: a cell of shape {cell:?} is too large; at most 31 axes and {} elements",
                i32::MAX
            ))
        };
        // Zero axes do not hide an overflow of the others: NumPy refuses those shapes too.
        let mut elements: usize = 1;
        for &n in &cell {
            elements = elements.checked_mul(n.max(1)).filter(|&e| i32::try_from(e).is_ok()).ok_or_else(too_large)?;
        }
        if cell.len() > 31 || elements.checked_mul(dtype.size() * 2).is_none() {
            return Err(too_large());
        }
        Ok(Self { name, dtype, cell, nullable: false, fill: None })
    }

    /// The same field, whose rows may be NULL or not.
    #[must_use]
    pub fn with_nullable(mut self, nullable: bool) -> Self {
        self.nullable = nullable;
        self
    }

    /// The same field with a value for rows and cells that nobody wrote; without one they are 0, empty, or NULL where
    /// the field is nullable.
    ///
    /// # Errors
    /// `Invalid` for a value that is no element of the field's dtype.
    ///
    /// ```
    /// use hyperslab_core::{DType, FieldSpec, Fill};
    /// let field = FieldSpec::new("score", DType::Float32, vec![3])?.with_fill(Fill::of(f32::NAN))?;
    /// assert!(field.fill().is_some());
    /// assert!(field.with_fill(Fill::of(1_i64)).is_err());
    /// # Ok::<(), hyperslab_core::Error>(())
    /// ```
    pub fn with_fill(mut self, fill: Fill) -> Result<Self> {
        fill.check(self.dtype).map_err(|e| e.with("field", &self.name))?;
        self.fill = Some(fill);
        Ok(self)
    }

    /// The same field under another name.
    ///
    /// # Errors
    /// `Invalid` for a name that [`check_name`] refuses.
    pub fn renamed(&self, name: impl Into<String>) -> Result<Self> {
        let named = Self::new(name, self.dtype, self.cell.clone())?;
        Ok(Self { name: named.name, ..self.clone() })
    }

    /// The same field with cells of another shape.
    ///
    /// # Errors
    /// `Invalid` for a shape that [`new`](Self::new) refuses.
    pub fn with_cell(&self, cell: Vec<usize>) -> Result<Self> {
        let checked = Self::new(self.name.clone(), self.dtype, cell)?;
        Ok(Self { cell: checked.cell, ..self.clone() })
    }

    /// The field's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The shape of one row's cell: empty for a scalar.
    pub fn cell(&self) -> &[usize] {
        &self.cell
    }

    /// Elements per row.
    pub fn elements(&self) -> usize {
        self.cell.iter().product()
    }

    /// Whether rows may be NULL.
    pub fn nullable(&self) -> bool {
        self.nullable
    }

    /// The value of rows and cells that nobody wrote, if there is one of its own.
    pub fn fill(&self) -> Option<&Fill> {
        self.fill.as_ref()
    }

    /// Bytes per row, uncompressed. A row of text or binary counts with its offset, 8 bytes; its own bytes come on top.
    pub fn row_bytes(&self) -> usize {
        self.elements() * self.dtype.size()
    }

    /// The shape of the field over `rows` rows.
    pub fn shape(&self, rows: u64) -> Vec<u64> {
        std::iter::once(rows).chain(self.cell.iter().map(|&n| n as u64)).collect()
    }
}

impl std::fmt::Display for FieldSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.dtype)?;
        if !self.cell.is_empty() {
            write!(f, "{:?}", self.cell)?;
        }
        f.write_str(if self.nullable { " null" } else { "" })
    }
}

/// Checks the name of an array, schema or field (`what`): 1 to 255 bytes, no control characters.
/// `row` is no field's name, because every array has it already.
///
/// # Errors
/// `Invalid`, naming the name.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        let a = if what.starts_with('a') { "an" } else { "a" };
        return Err(Error::invalid(format!(
            "{name:?} cannot be the name of {a} {what}: 1 to 255 bytes without control characters"
        )));
    }
    if what == "field" && name == "row" {
        return Err(Error::invalid(
            "a field cannot be named \"row\": every array has that column already, the position of the row; choose another name",
        ));
    }
    Ok(())
}
