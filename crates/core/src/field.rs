//! A field: what SQL calls a column, with a dtype and the shape of one row's cell.

use serde::{Deserialize, Serialize};

use crate::{DType, Error, Result};

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
pub struct FieldSpec {
    name: String,
    dtype: DType,
    #[serde(default)]
    cell: Vec<usize>,
}

impl FieldSpec {
    /// A field. Cell axes may have length 0.
    ///
    /// # Errors
    /// `Invalid` for a name that [`check_name`] refuses, more than 31 cell axes, or a cell of more than
    /// `i32::MAX` elements (Arrow's limit for one cell).
    pub fn new(name: impl Into<String>, dtype: DType, cell: Vec<usize>) -> Result<Self> {
        let name = name.into();
        check_name("field", &name)?;
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
        Ok(Self { name, dtype, cell })
    }

    /// The same field under another name.
    ///
    /// # Errors
    /// `Invalid` for a name that [`check_name`] refuses.
    pub fn renamed(&self, name: impl Into<String>) -> Result<Self> {
        Self::new(name, self.dtype, self.cell.clone())
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

    /// Bytes per row, uncompressed.
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
        if self.cell.is_empty() { Ok(()) } else { write!(f, "{:?}", self.cell) }
    }
}

/// Checks the name of an array, schema or field (`what`): 1 to 255 bytes, no control characters.
/// `row` is no field's name, because every array has it already.
///
/// # Errors
/// `Invalid`, naming the name.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "{name:?} cannot be the name of a {what}: 1 to 255 bytes without control characters"
        )));
    }
    if what == "field" && name == "row" {
        return Err(Error::invalid(
            "a field cannot be named \"row\": every array has that column already, the position of the row; choose another name",
        ));
    }
    Ok(())
}
