//! Texts of many rows, collected one by one.

use hyperslab_core::{Error, Result};

/// The most text that one read returns. Many rows may point at the same long text.
const MAX_TEXT: usize = 1 << 30;

/// Texts one after the other, and where each ends: `ends` starts with a 0.
#[derive(Debug)]
pub(crate) struct Texts {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<i64>,
}

impl Texts {
    pub(crate) fn with_capacity(rows: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Self { bytes: Vec::new(), ends }
    }

    pub(crate) fn push(&mut self, text: &[u8]) -> Result<()> {
        if text.len() > MAX_TEXT - self.bytes.len().min(MAX_TEXT) {
            return Err(Error::unsupported(format!(
                "{} rows have more than {MAX_TEXT} bytes of text; read fewer rows at once",
                self.ends.len()
            )));
        }
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as i64);
        Ok(())
    }

    /// The text of a row.
    pub(crate) fn get(&self, row: usize) -> Option<&[u8]> {
        let (start, end) = (*self.ends.get(row)?, *self.ends.get(row + 1)?);
        self.bytes.get(start as usize..end as usize)
    }
}
